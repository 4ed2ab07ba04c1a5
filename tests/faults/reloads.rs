//! Row 25: the configuration is loaded anew while events run, then a broken file is put in its place.

use serde_json::{Value, json};

use super::{nothing_wrong, times};
use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, secs, wait_for};

#[test]
fn row_25_reloads_under_runs_and_broken_files() {
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).site_line("rescan = \"2s\"\nlanes = 2").start();
    let rounds = times(4, 40);
    let mut plan = Plan::new();
    let start = unix_now() + 2;
    let second = |round: usize| start + 3 * i64::try_from(round).expect("a few");
    let events: Vec<_> = (0..rounds)
        .flat_map(|round| {
            [
                (second(round), "fx_sleep", json!([4, round])),
                (second(round), "fx_ok", json!([round, "a"])),
                (second(round) + 2, "fx_ok", json!([round, "b"])),
            ]
        })
        .collect();
    plan.schedule(&site, &events);
    let good = std::fs::read_to_string(&runner.config).expect("config.toml");
    let (mut loaded, mut refused) = (0, 0);
    for round in 0..rounds {
        wait_for("a run of this round", secs(30), || (site.ledger().begins("fx_sleep").len() > round).then_some(()));
        // Another limit and another number of lanes, under what runs.
        let limit = format!("timeout = \"{}s\"\nlanes = {}", 700 + round, 2 + round % 2);
        runner.rewrite_config(|_| good.replace("lanes = 2", &limit));
        assert!(runner.reload().contains("loaded anew: changed shop"), "{}", runner.log());
        loaded += 1;
        let status = |runner: &Runner| -> Value { serde_json::from_str(&runner.get("/v1/status").body).expect("JSON") };
        let hash = status(&runner)["runner"]["configuration"]["hash"].clone();
        let lines = good.lines().count();
        let broken = [
            (format!("{good}timout = \"5s\"\n"), format!("config.toml:{}:1", lines + 1)),
            (good.replace("lanes = 2", "lanes = \"two\""), ":".to_owned() + &place_of(&good, "lanes = 2", 8)),
            (format!("{good}\n[[site"), format!("config.toml:{}:", lines + 2)),
        ];
        let (text, place) = &broken[round % broken.len()];
        runner.rewrite_config(|_| text.clone());
        let log = runner.reload();
        let last = log.lines().rfind(|line| line.contains("was not loaded")).expect("a refusal").to_owned();
        assert!(last.contains("stays in force"), "{last}");
        let told = status(&runner)["runner"]["configuration"].clone();
        assert!(told["error"].as_str().is_some_and(|error| error.contains(place.as_str())), "{place}: {told}");
        assert_eq!(told["hash"], hash, "the old one is in force");
        refused += 1;
        runner.rewrite_config(|_| good.clone());
    }
    assert!(plan.wait(&site, secs(60)), "{}", runner.log());
    wait_for("all records", secs(20), || (runner.history().len() == 3 * rounds).then_some(()));
    assert!(runner.history().iter().all(|run| run["outcome"] == "ok"), "{:?}", runner.history());
    let slowest = runner.history().iter().filter_map(|run| run["lateness_ms"].as_i64()).max().expect("runs");
    nothing_wrong(
        "row 25",
        &plan.judge(&site),
        &format!("{loaded} loaded, {refused} refused; worst lateness {slowest} ms"),
    );
}

/// `LINE:COLUMN` of a text, `beyond` characters further.
fn place_of(config: &str, text: &str, beyond: usize) -> String {
    let at = config.find(text).expect("this text");
    let line = config[..at].matches('\n').count() + 1;
    let column = at - config[..at].rfind('\n').map_or(0, |end| end + 1) + 1 + beyond;
    format!("{line}:{column}")
}
