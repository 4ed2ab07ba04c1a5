//! Sites that change under the runner: maintenance, new core files, another plugin, another key.

use std::path::Path;

use serde_json::json;

use crate::faults::door::{Door, between, view};
use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, Trigger, account, secs, wait_for};

/// A site behind a door that counts its calls.
fn behind_a_door(site: &Site) -> (Door, Runner) {
    let address = site.address();
    let door = Door::open(move |asked, stream| asked.pass_on(&address, stream));
    let runner = Runner::builder(site)
        .trigger(Trigger::Http)
        .site_line(&between(site, &door))
        .site_line("rescan = \"1s\"")
        .start();
    (door, runner)
}

/// What stays wrong until a person puts it right: called at the start and no more, and nothing is run. Gives the sentence.
fn is_left_alone(site: &Site, runner: &Runner, door: &Door) -> String {
    let told = wait_for("its state", secs(20), || {
        Some(view(runner, &site.name)).filter(|view| view["state"] == "misconfigured")
    });
    let (begun, asked) = (site.ledger().begins("fx_ok").len(), door.asked().len());
    let since = std::time::Instant::now();
    wait_for("four rescans", secs(10), || (since.elapsed() > secs(4)).then_some(()));
    assert_eq!((site.ledger().begins("fx_ok").len(), door.asked().len()), (begun, asked), "{}", runner.log());
    told["message"].as_str().expect("a message").to_owned()
}

/// A site whose configuration has changed is called at once.
fn look_again(runner: &mut Runner) {
    runner.rewrite_config(|text| text.replace("rescan = \"1s\"", "rescan = \"2s\""));
    assert!(runner.reload().contains("changed shop"), "{}", runner.log());
}

#[test]
fn a_plugin_of_another_protocol_is_named_and_runs_once_renewed() {
    let site = Site::builder().sqlite().start();
    let (door, mut runner) = behind_a_door(&site);
    let mut plan = Plan::new();
    site.change_plugin("protocol.php", "const PROTOCOL       = 1;", "const PROTOCOL       = 0;");
    plan.schedule(&site, &[(unix_now() - 1, "fx_ok", json!(["of an older plugin"]))]);
    let message = is_left_alone(&site, &runner, &door);
    assert!(message.contains("the plugin speaks protocol [0, 0], this runner 1"), "{message}");
    assert!(message.contains("`wp-cron-runner plugin install SITE`"), "{message}");
    assert_eq!(site.scheduled("fx_ok").len(), 1, "it waits");
    runner.install_plugin();
    look_again(&mut runner);
    assert!(plan.wait(&site, secs(20)), "{}", runner.log());
    assert_eq!(site.ledger().ends("fx_ok").len(), 1);
    assert_eq!(plan.judge(&site).wrong(), 0);
}

#[test]
fn a_key_that_was_changed_in_wordpress_alone_is_named_and_nothing_is_lost() {
    let site = Site::builder().mariadb().start();
    let (door, mut runner) = behind_a_door(&site);
    let mut plan = Plan::new();
    let key = std::fs::read_to_string(runner.dir.join("home/shop.key")).expect("the key");
    let file = site.path.join("wp-config.php");
    let right = std::fs::read_to_string(&file).expect("wp-config.php");
    assert_eq!(right.matches(key.trim()).count(), 1, "the key stands in wp-config.php");
    std::fs::write(&file, right.replace(key.trim(), &"9d4e".repeat(16))).expect("wp-config.php");
    plan.schedule(&site, &[(unix_now() - 1, "fx_ok", json!(["with another key"]))]);
    let message = is_left_alone(&site, &runner, &door);
    assert!(message.contains("refused the signature"), "{message}");
    assert_eq!(site.scheduled("fx_ok").len(), 1, "it waits");
    std::fs::write(&file, right).expect("wp-config.php");
    look_again(&mut runner);
    assert!(plan.wait(&site, secs(20)), "{}", runner.log());
    assert_eq!(site.ledger().ends("fx_ok").len(), 1);
    assert_eq!(plan.judge(&site).wrong(), 0);
}

fn maintain(site: &Site, since: i64) -> std::path::PathBuf {
    let file = site.path.join(".maintenance");
    std::fs::write(&file, format!("<?php $upgrading = {since};")).expect(".maintenance");
    account::give_to(account::SITE, &file);
    file
}

#[test]
fn maintenance_claims_nothing_and_ends_by_itself_and_a_forgotten_mark_is_none() {
    let site = Site::builder().sqlite().start();
    let forgotten = Site::builder().name("forgotten").mariadb().start();
    let (door, runner) = behind_a_door(&site);
    let direct = Runner::builder(&forgotten).site_line("rescan = \"1s\"").start();
    let mut plans = [Plan::new(), Plan::new()];
    // Core keeps everybody out meanwhile, a command as well.
    let due = unix_now() + 8;
    plans[0].schedule(&site, &[(due, "fx_ok", json!(["meanwhile"]))]);
    plans[1].schedule(&forgotten, &[(due, "fx_ok", json!(["beside a forgotten mark"]))]);
    let file = maintain(&site, unix_now());
    let old = maintain(&forgotten, unix_now() - 601);
    wait_for("its name", secs(10), || (view(&runner, "shop")["state"] == "maintenance").then_some(()));
    assert!(unix_now() < due, "this machine is too slow for eight seconds");
    let (runs, asked) = (door.count("run"), door.asked().len());
    assert!(plans[1].wait(&forgotten, secs(15)), "ten minutes old is forgotten: {}", direct.log());
    assert!(old.exists() && forgotten.ledger().ends("fx_ok").len() == 1);
    wait_for("its time", secs(10), || (unix_now() > due).then_some(()));
    assert_eq!((door.count("run"), site.ledger().begins("fx_ok").len()), (runs, 0), "nothing is claimed");
    assert!(door.asked().len() <= asked + 1, "one call in a quarter of a minute");
    std::fs::remove_file(&file).expect("the end of it");
    wait_for("its run, by itself", secs(60), || runner.history_of("fx_ok").first().cloned());
    assert_eq!(site.ledger().ends("fx_ok").len(), 1);
    assert_eq!(runner.json(&["history", "--failed"]), json!([]));
    wait_for("good word", secs(10), || (view(&runner, "shop")["state"] == "ok").then_some(()));
    assert_eq!(plans[1].judge(&forgotten).wrong() + plans[0].judge(&site).wrong(), 0);
}

/// As core's own update does it: a new file in the place of the old one. The tests' core files are links to a cache.
fn replace(file: &Path, change: impl Fn(String) -> String) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let new = file.with_extension("new");
    std::fs::write(&new, change(text)).expect("a new file");
    std::fs::rename(&new, file).expect("in its place");
}

#[test]
fn core_is_replaced_under_a_run_and_the_next_one_runs_on_the_new_version() {
    let site = Site::builder().mariadb().start();
    site.add_plugin("fx_hook('up_version', function () { return $GLOBALS['wp_version']; });");
    let runner = Runner::builder(&site).site_line("rescan = \"1s\"\nlanes = 1").start();
    let mut plan = Plan::new();
    let now = unix_now();
    plan.schedule(&site, &[(now, "up_version", json!(["before"])), (now, "fx_sleep", json!([6]))]);
    // Due while the site is updated, by then in the hands of core's new files.
    plan.schedule(&site, &[(now + 4, "up_version", json!(["after"]))]);
    wait_for("the long one", secs(10), || site.ledger().begin_of("fx_sleep"));
    let file = maintain(&site, unix_now());
    let includes = site.path.join("wp-includes");
    let mut replaced = 0;
    for entry in std::fs::read_dir(&includes).expect("wp-includes").flatten() {
        if entry.path().extension().is_some_and(|end| end == "php") && entry.file_name() != "version.php" {
            replace(&entry.path(), |text| text + "\n");
            replaced += 1;
        }
    }
    replace(&includes.join("version.php"), |text| text + "\n$wp_version = '7.1.2-test';\n");
    assert!(replaced > 100, "{replaced} files");
    assert!(site.ledger().end_of("fx_sleep").is_none(), "under the run");
    let run = wait_for("the long one's record", secs(20), || runner.history_of("fx_sleep").first().cloned());
    assert_eq!(run["outcome"], "ok", "{run}");
    std::fs::remove_file(&file).expect("the end of it");
    wait_for("the next one", secs(60), || (site.ledger().ends("up_version").len() == 2).then_some(()));
    let notes: Vec<_> = site.ledger().ends("up_version").iter().map(|line| line.note.clone()).collect();
    assert_eq!(notes, ["7.1.1", "7.1.2-test"]);
    wait_for("its name", secs(15), || (view(&runner, "shop")["wp"] == "7.1.2-test").then_some(()));
    assert!(runner.history().iter().all(|run| run["outcome"] == "ok"), "{:?}", runner.history());
    assert_eq!(plan.judge(&site).wrong(), 0);
}

#[test]
fn a_plugin_that_is_deactivated_gives_back_what_it_has_claimed() {
    let site = Site::builder().mariadb().start();
    let mut runner = crate::plugin_lifecycle::started_with_a_normal_plugin(&site);
    let at = unix_now() + 2;
    let mut events = vec![(at, "fx_sleep", json!([6]))];
    events.extend((0..39).map(|i| (at, "fx_ok", json!(["behind it", i]))));
    runner.rewrite_config(|text| text.replace("trigger = ", "lanes = 1\ntrigger = "));
    runner.reload();
    site.schedule(&events);
    wait_for("the beginning", secs(10), || site.ledger().begin_of("fx_sleep"));
    // Nobody else has the rest given back.
    runner.kill();
    let claimed = || site.sql("SELECT 1 FROM wp_cron_runner_journal WHERE state = 'claimed'").len();
    assert!(claimed() > 0);
    site.wp(&["plugin", "deactivate", "wp-cron-runner"]);
    assert_eq!(claimed(), 0);
    assert!(site.ledger().end_of("fx_sleep").is_none(), "during the run");
    assert_eq!(site.scheduled("fx_ok").len(), 39, "all of them are in the option again");
    runner.start();
    let message = wait_for("its state", secs(20), || {
        let view = view(&runner, "shop");
        (view["state"] == "misconfigured").then(|| view["message"].as_str().unwrap_or_default().to_owned())
    });
    assert!(message.contains("not active"), "{message}");
    // Core's own cron has them now; what ran goes on to its end.
    wait_for("the long one's end", secs(20), || site.ledger().end_of("fx_sleep"));
    assert_eq!(site.ledger().begins("fx_ok").len(), 0);
    site.get("/");
    wait_for("all of them, by core", secs(30), || (site.ledger().ends("fx_ok").len() >= 39).then_some(()));
    wait_for("an empty option", secs(10), || site.scheduled("fx_ok").is_empty().then_some(()));
    assert_eq!((site.ledger().begins("fx_ok").len(), site.ledger().begins("fx_sleep").len()), (39, 1), "once each");
    assert!(site.ledger().overlaps().is_empty());
}
