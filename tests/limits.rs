//! Time limits: whatever an event does, its process ends; and where nobody can end it, that is said.

use serde_json::{Value, json};

use crate::support::{Plan, Runner, Site, Trigger, secs, wait_for};

fn record_of(runner: &Runner, hook: &str) -> Value {
    wait_for("its record", secs(40), || runner.history_of(hook).first().cloned())
}

fn is_ended_at_its_limit(site: &Site, trigger: Trigger) {
    let runner =
        Runner::builder(site).trigger(trigger).site_line("timeout = \"2s\"\nlanes = 1\nrescan = \"2s\"").start();
    let mut plan = Plan::new();
    plan.schedule(site, &[(crate::support::wordpress::unix_now() + 1, "fx_stubborn", json!([]))]);
    let pid = wait_for("its beginning", secs(15), || site.ledger().begin_of("fx_stubborn")).pid;
    plan.schedule(site, &[(crate::support::wordpress::unix_now(), "fx_ok", json!(["behind it"]))]);
    let run = record_of(&runner, "fx_stubborn");
    assert_eq!((run["outcome"].as_str(), run["then"].as_str()), (Some("timed_out"), Some("held")), "{run}");
    wait_for("the lane", secs(20), || runner.history_of("fx_ok").first().cloned());
    assert!(!std::path::Path::new(&format!("/proc/{pid}/environ")).exists(), "process {pid} lives on");
    assert!(!runner.log().contains("overdue:"), "it could be ended: {}", runner.log());
    assert_eq!(plan.judge(site).wrong(), 0);
}

#[test]
fn php_ends_a_worker_of_its_own_pool() {
    is_ended_at_its_limit(&Site::builder().mariadb().start(), Trigger::FastCgi);
}

#[test]
fn the_runner_ends_a_worker_where_php_may_not() {
    let site = Site::builder().sqlite().php_ini("disable_functions", "posix_kill,set_time_limit").start();
    is_ended_at_its_limit(&site, Trigger::Http);
}

#[test]
fn a_wp_cli_process_that_hears_no_signal_is_killed_with_its_group() {
    is_ended_at_its_limit(&Site::builder().sqlite().start(), Trigger::WpCli);
}

/// As if PHP were on another host: neither its pool nor this runner can end it.
#[test]
fn what_nobody_can_end_is_overdue_and_keeps_its_lane() {
    let site = Site::builder().mariadb().php_ini("disable_functions", "posix_kill").start();
    let mut runner = Runner::builder(&site).site_line("timeout = \"2s\"\nlanes = 1\nrescan = \"2s\"").prepare();
    site.change_plugin("process.php", "return (string) php_uname( 'n' );", "return 'web-7';");
    runner.start();
    site.schedule_in(1, "fx_sleep", &json!([12]));
    let running = wait_for("its name", secs(20), || {
        let view = runner.json(&["status"])["sites"][0]["running"][0].clone();
        view["overdue"].is_string().then_some(view)
    });
    let why = running["overdue"].as_str().unwrap_or_default();
    assert!(why.contains("posix_kill") && why.contains("web-7"), "{why}");
    assert!(runner.log().contains("request_terminate_timeout"), "names what would end it");
    site.schedule_in(0, "fx_ok", &json!(["waits for the lane"]));
    let run = record_of(&runner, "fx_sleep");
    assert_eq!(run["outcome"], "ok", "nobody could end it, and it did: {run}");
    record_of(&runner, "fx_ok");
    let ledger = site.ledger();
    let ended = ledger.end_of("fx_sleep").expect("its end").mono_ns;
    assert!(ledger.begin_of("fx_ok").expect("its beginning").mono_ns > ended, "its lane stayed taken");
}
