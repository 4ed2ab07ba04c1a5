//! Row 31: one site with far more slow events than it has lanes, and quick sites on the same runner.

use serde_json::json;

use super::{nothing_wrong, times};
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Plan, Runner, Site, secs, wait_for};

#[test]
fn row_31_quick_sites_do_not_wait_for_a_slow_one() {
    let lanes = times(2, 8);
    let slow = Site::builder().name("slow").mariadb().workers(12).start();
    let names: Vec<String> = (0..times(2, 10)).map(|i| format!("quick-{i}")).collect();
    let quick: Vec<Site> = names.iter().map(|name| Site::builder().name(name).sqlite().workers(3).start()).collect();
    // As many places as the slow site has lanes, and two for all the others.
    let builder = quick.iter().fold(Runner::builder(&slow), crate::support::runner::Builder::and);
    let places = format!("max_parallel = {}", lanes + 2);
    let runner = builder.runner_line(&places).site_line(&format!("rescan = \"2s\"\nlanes = {lanes}")).start();

    let (count, seconds) = (times(10, 200), times(6, 30));
    let start = unix_now() + 3;
    let mut of_slow = Plan::new();
    let events: Vec<_> = (0..count).map(|i| (start, "fx_sleep", json!([seconds, i]))).collect();
    of_slow.schedule(&slow, &events);
    let begun = wait_for("the slow site's first", secs(20), || slow.ledger().begin_of("fx_sleep"));
    // Short: while the first of them run. Full: ten minutes, an event every other second and all of them in the same one.
    let (rounds, gap) = (times(6, 300), 2);
    // Each site's schedule is written by a process of its own, before the first of them is due.
    let first = unix_now() + 3 + 6 * i64::try_from(quick.len()).expect("a few");
    let mut plans: Vec<Plan> = Vec::new();
    for site in &quick {
        let mut plan = Plan::new();
        let due: Vec<_> =
            (0..rounds).map(|i| (first + i64::try_from(i * gap).expect("a few"), "fx_ok", json!([i]))).collect();
        plan.schedule(site, &due);
        plans.push(plan);
    }
    assert!(unix_now() < first, "this machine is too slow");
    for (plan, site) in plans.iter().zip(&quick) {
        assert!(plan.wait(site, secs((rounds * gap + 40 + 6 * quick.len()) as u64)), "{}", runner.log());
    }
    let all = rounds * quick.len();
    wait_for("the records of the quick ones", secs(20), || {
        (runner
            .json(&["history", "-n", "1000000"])
            .as_array()
            .expect("a list")
            .iter()
            .filter(|run| run["hook"] == "fx_ok")
            .count()
            >= all)
            .then_some(())
    });
    let of_quick: Vec<i64> =
        runner.history_of("fx_ok").iter().map(|run| run["lateness_ms"].as_i64().expect("ms")).collect();
    let mut sorted = of_quick;
    sorted.sort_unstable();
    let p99 = sorted[(sorted.len() * 99).div_ceil(100) - 1];
    let worst = sorted[sorted.len() - 1];
    let ended = slow.ledger().ends("fx_sleep").len();
    assert!(ended < count, "the slow site was busy all the time");
    let took = u64::try_from(unix_now() * 1000).expect("a time") - begun.wall_ms;
    // What is left of the slow ones ends by itself, lane by lane.
    let patience = (count - ended).div_ceil(lanes) * (seconds + 2) + 30;
    assert!(of_slow.wait(&slow, secs(patience as u64)), "{}", runner.log());
    let pairs = plans.iter().zip(&quick).chain([(&of_slow, &slow)]);
    let figure = pairs.fold(Figure::default(), |sum, (plan, site)| sum.plus(plan.judge(site)));
    let hits = format!(
        "{all} events of {} quick sites in {} s beside {count} of {seconds} s: p99 {p99} ms, worst {worst} ms",
        quick.len(),
        took / 1000
    );
    nothing_wrong("row 31", &figure, &hits);
    // None of them waited for a slow event's end, which a full runner would have made it.
    assert!(worst < i64::try_from(seconds).expect("a few") * 1000 - 2000, "{hits}");
    assert!(times(0, 1) == 0 || p99 < 2000, "{hits}");
}
