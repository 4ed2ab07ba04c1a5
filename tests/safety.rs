//! One host's safety: leases, kills, drains.

use rustix::process::Signal;
use serde_json::json;

use crate::support::site::Database;
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, Trigger, secs, wait_for};

#[test]
fn a_second_daemon_on_the_same_state_directory_does_not_start() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    let said = runner.cli(&["run"]);
    assert_eq!(said.code(), 75, "{said:?}");
    assert!(said.stderr.contains(&runner.pid().to_string()), "names the holder: {said:?}");
}

#[test]
fn once_leaves_a_site_alone_that_a_daemon_looks_after() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    let said = runner.cli(&["once"]);
    assert_eq!(said.code(), 75, "{said:?}");
}

#[test]
fn a_second_runner_with_a_state_of_its_own_stands_by() {
    let site = Site::builder().mariadb().start();
    let mut first = Runner::builder(&site).start();
    site.schedule_in(1, "fx_ok", &json!(["first"]));
    wait_for("the first runner's run", secs(10), || site.ledger().end_of("fx_ok"));
    // The same key, another state directory: what happens when a server is cloned.
    let mut second = Runner::builder(&site).without_plugin().prepare();
    second.take_key_of(&first, &site);
    second.start();
    let view = wait_for("standby", secs(15), || {
        let view = second.json(&["status"])["sites"][0].clone();
        (view["state"] == "standby").then_some(view)
    });
    assert!(view.to_string().contains("test"), "names the owner: {view}");
    site.schedule(&(0..10).map(|i| (unix_now() + 1, "fx_ok", json!(["both", i]))).collect::<Vec<_>>());
    wait_for("ten runs", secs(15), || (site.ledger().ends("fx_ok").len() == 11).then_some(()));
    assert_eq!(second.history().len(), 0);
    // A clean stop hands over without a wait.
    first.stop();
    site.schedule_in(1, "fx_ok", &json!(["handed over"]));
    wait_for("the second runner's run", secs(75), || second.history_of("fx_ok").first().cloned());
    assert!(site.ledger().overlaps().is_empty());
}

/// The runner dies, PHP goes on: what runs is not started again, and its end is learned afterwards.
fn a_killed_runner_finds_everything_again(site: &Site, trigger: Trigger) {
    let mut runner = Runner::builder(site).trigger(trigger).site_line("rescan = \"2s\"\nlanes = 1").start();
    let at = unix_now() + 2;
    let mut events = vec![(at, "fx_sleep", json!([4]))];
    events.extend((0..11).map(|i| (at, "fx_ok", json!(["rest", i]))));
    site.schedule(&events);
    wait_for("the long event's beginning", secs(15), || site.ledger().begin_of("fx_sleep"));
    runner.kill();
    runner.start();
    wait_for("all of them", secs(30), || (runner.history().len() >= 12).then_some(()));
    let sleep = &runner.history_of("fx_sleep")[0];
    assert_eq!(sleep["outcome"], "ok", "it was never interrupted: {sleep}");
    let ledger = site.ledger();
    assert_eq!(ledger.begins("fx_sleep").len(), 1);
    assert_eq!(ledger.begins("fx_ok").len(), 11);
    assert!(ledger.overlaps().is_empty());
    assert_eq!(runner.history().len(), 12, "each event has one record");
}

#[test]
fn after_kill_9_of_the_runner_nothing_is_lost_or_doubled_through_fastcgi() {
    a_killed_runner_finds_everything_again(&Site::builder().mariadb().start(), Trigger::FastCgi);
}

#[test]
fn after_kill_9_of_the_runner_nothing_is_lost_or_doubled_through_http() {
    a_killed_runner_finds_everything_again(&Site::builder().sqlite().start(), Trigger::Http);
}

/// The PHP process dies: the event it ran is interrupted and held, the rest of its batch runs elsewhere.
fn a_killed_worker(site: &Site, trigger: Trigger) {
    let runner = Runner::builder(site).trigger(trigger).site_line("lanes = 1").start();
    let at = unix_now() + 2;
    let mut events = vec![(at, "fx_sleep", json!([0.8]))];
    events.extend((0..11).map(|i| (at, "fx_ok", json!(["rest", i]))));
    site.schedule(&events);
    site.schedule_recurring(3600, "hourly", "fx_hang", &json!([]));
    let pid = wait_for("the first event's beginning", secs(15), || site.ledger().begin_of("fx_sleep")).pid;
    site.php_fpm.kill_worker(pid);
    let run = wait_for("its record", secs(15), || runner.history_of("fx_sleep").first().cloned());
    assert_eq!((run["outcome"].as_str(), run["then"].as_str()), (Some("interrupted"), Some("held")), "{run}");
    wait_for("the others", secs(20), || (runner.history_of("fx_ok").len() == 11).then_some(()));
    assert_eq!(site.ledger().begins("fx_ok").len(), 11);

    // Held: `requeue` runs it once more, and only once.
    let id = run["run"].as_str().expect("a run id");
    assert_eq!(runner.json(&["history", "--held"]).as_array().map(Vec::len), Some(1));
    let said = runner.cli(&["requeue", id]);
    assert_eq!(said.code(), 0, "{said:?}");
    wait_for("its second run", secs(15), || site.ledger().end_of("fx_sleep"));
    let again = runner.cli(&["requeue", id]);
    assert_ne!(again.code(), 0, "a second requeue would run it twice: {again:?}");
    assert!(runner.cli(&["drop", id]).code() != 0);
    wait_for("the record's new state", secs(10), || {
        runner.history_of("fx_sleep").iter().find(|old| old["run"] == id && old["then"] == "requeued").cloned()
    });
}

#[test]
fn a_killed_worker_is_named_at_once_through_fastcgi() {
    a_killed_worker(&Site::builder().mariadb().start(), Trigger::FastCgi);
}

#[test]
fn a_killed_worker_is_named_through_http() {
    a_killed_worker(&Site::builder().sqlite().start(), Trigger::Http);
}

#[test]
fn an_event_past_its_limit_is_ended_and_named() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site)
        .site_line("timeout = \"2s\"")
        .table("[[site.hook]]\nname = \"fx_sleep\"\ntimeout = \"1h\"\n")
        .start();
    site.schedule(&[(unix_now() + 1, "fx_hang", json!(["sleep"])), (unix_now() + 1, "fx_sleep", json!([3]))]);
    let run = wait_for("the record", secs(30), || runner.history_of("fx_hang").first().cloned());
    assert_eq!((run["outcome"].as_str(), run["then"].as_str()), (Some("timed_out"), Some("held")), "{run}");
    assert!(run["ms"].as_i64().is_some_and(|ms| ms >= 2000), "{run}");
    let slow = wait_for("the other one", secs(30), || runner.history_of("fx_sleep").first().cloned());
    assert_eq!(slow["outcome"], "ok", "a limit of its own: {slow}");
}

#[test]
fn a_small_backlog_does_not_queue_behind_a_slow_event() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).site_line("lanes = 2").start();
    let at = unix_now() + 2;
    let mut events = vec![(at, "fx_sleep", json!([8]))];
    events.extend((0..30).map(|i| (at, "fx_ok", json!(["small", i]))));
    site.schedule(&events);
    wait_for("the small ones", secs(20), || (site.ledger().ends("fx_ok").len() == 30).then_some(()));
    assert!(site.ledger().end_of("fx_sleep").is_none(), "they had to wait for the slow one\n{}", runner.log());
    wait_for("the slow one", secs(20), || (runner.history().len() == 31).then_some(()));
}

#[test]
fn sigterm_waits_for_what_runs_and_starts_nothing_new() {
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).site_line("lanes = 1").start();
    let at = unix_now() + 1;
    site.schedule(&[(at, "fx_sleep", json!([3])), (at + 2, "fx_ok", json!(["too late"]))]);
    wait_for("the beginning", secs(10), || site.ledger().begin_of("fx_sleep"));
    assert!(runner.stop().success(), "{}", runner.log());
    assert_eq!(runner.history_of("fx_sleep")[0]["outcome"], "ok");
    assert_eq!(site.ledger().begins("fx_ok").len(), 0);
    assert_eq!(site.scheduled("fx_ok").len(), 1, "still in the option");
}

#[test]
fn a_drain_that_is_too_short_leaves_the_run_to_its_process_and_learns_its_end() {
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).runner_line("drain = \"1s\"").site_line("rescan = \"2s\"").start();
    site.schedule_in(1, "fx_sleep", &json!([5]));
    wait_for("the beginning", secs(10), || site.ledger().begin_of("fx_sleep"));
    runner.signal(Signal::TERM);
    runner.stop();
    assert_eq!(site.ledger().ends("fx_sleep").len(), 0, "the stop did not wait for the whole run");
    runner.start();
    let run = wait_for("its record", secs(20), || runner.history_of("fx_sleep").first().cloned());
    assert_eq!(run["outcome"], "ok", "{run}");
    assert_eq!(site.ledger().begins("fx_sleep").len(), 1);
}

#[test]
fn a_backlog_at_the_first_take_over_is_told_and_run() {
    let site = Site::builder().mariadb().start();
    let old = unix_now() - 3 * 86400;
    site.schedule(&(0..40).map(|i| (old + i, "fx_ok", json!(["old", i]))).collect::<Vec<_>>());
    let runner = Runner::builder(&site).start();
    wait_for("all forty", secs(30), || (site.ledger().ends("fx_ok").len() == 40).then_some(()));
    let log = runner.log();
    assert!(log.contains("40 events") && log.contains("3 d"), "how many, and how old: {log}");
}

#[test]
fn a_gateway_that_gives_up_is_not_the_end_of_the_event() {
    let site = Site::builder().mariadb().read_timeout("2s").start();
    let runner = Runner::builder(&site).trigger(Trigger::Http).site_line("lanes = 1").start();
    site.schedule(&[(unix_now() + 1, "fx_sleep", json!([5])), (unix_now() + 1, "fx_ok", json!(["behind it"]))]);
    let run = wait_for("its record", secs(30), || runner.history_of("fx_sleep").first().cloned());
    assert_eq!(run["outcome"], "ok", "504 at two seconds, and PHP went on: {run}");
    wait_for("the other one", secs(20), || runner.history_of("fx_ok").first().cloned());
    assert_eq!((site.ledger().begins("fx_sleep").len(), site.ledger().begins("fx_ok").len()), (1, 1));
}

#[test]
fn maintenance_is_waited_for_and_is_no_failure() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).site_line("rescan = \"1s\"").start();
    let file = site.path.join(".maintenance");
    std::fs::write(&file, format!("<?php $upgrading = {};", unix_now())).expect(".maintenance");
    let view = wait_for("its name", secs(10), || {
        let view = runner.json(&["status"])["sites"][0].clone();
        (view["state"] == "maintenance").then_some(view)
    });
    std::fs::remove_file(&file).expect("the end of it");
    site.schedule_in(1, "fx_ok", &json!([]));
    wait_for("the event", secs(40), || site.ledger().end_of("fx_ok"));
    assert_eq!(runner.json(&["history", "--failed"]), json!([]), "{view}");
}

#[test]
fn a_database_that_is_restarted_during_a_run_loses_and_doubles_nothing() {
    let site = Site::builder().own_mariadb().start();
    let runner = Runner::builder(&site).site_line("rescan = \"2s\"").start();
    let at = unix_now() + 1;
    // Due again before it has ended: only its lock, which the restart drops, keeps it from overlapping itself.
    site.schedule_recurring(1, "every_2s", "fx_sleep", &json!([5]));
    site.schedule(&[(at + 2, "fx_ok", json!(["after it"]))]);
    wait_for("the beginning", secs(10), || site.ledger().begin_of("fx_sleep"));
    let Database::MariaDb { server, .. } = &site.database else { unreachable!() };
    server.kill();
    server.start_again();
    let run = wait_for("its record", secs(40), || runner.history_of("fx_sleep").first().cloned());
    assert_eq!(run["outcome"], "ok", "it ran to its end: {run}");
    wait_for("the other one", secs(40), || runner.history_of("fx_ok").first().cloned());
    wait_for("its next run", secs(40), || (site.ledger().ends("fx_sleep").len() >= 2).then_some(()));
    assert_eq!(site.ledger().begins("fx_ok").len(), 1);
    assert!(site.ledger().overlaps().is_empty(), "{:?}", site.ledger().overlaps());
}

#[test]
fn a_first_take_over_does_not_run_beside_a_wp_cron_php_that_is_at_work() {
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).prepare();
    let past = unix_now() - 60;
    let mut events = vec![(past, "fx_sleep", json!([3]))];
    events.extend((0..8).map(|i| (past + 1 + i, "fx_ok", json!(["listed", i]))));
    site.schedule(&events);
    assert_eq!(site.get("/wp-cron.php").status, 200);
    wait_for("core's own loop", secs(10), || site.ledger().begin_of("fx_sleep"));
    runner.start();
    wait_for("the eight", secs(20), || (site.ledger().ends("fx_ok").len() >= 8).then_some(()));
    wait_for("the end of core's loop", secs(20), || site.ledger().end_of("fx_sleep"));
    // Whoever takes a turn after this finds nothing: what was listed ran once.
    site.schedule_in(1, "fx_output", &json!([]));
    wait_for("one more run", secs(10), || runner.history_of("fx_output").first().cloned());
    assert_eq!(site.ledger().begins("fx_ok").len(), 8, "an event ran by both");
}
