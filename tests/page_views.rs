//! Page views cost nothing while the runner is alive, and bring cron back when it is not.

use serde_json::json;

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

#[test]
fn a_page_view_costs_no_query_and_no_request_more_than_without_the_plugin() {
    let site = Site::builder().mariadb().start();
    site.get("/"); // Caches of WordPress's own.
    let without = site.page_cost("/?p=1");
    let mut runner = Runner::builder(&site).start();
    // Something to be tempted by: due, far off, and recurring events.
    site.schedule(&[(unix_now() + 3600, "fx_nobody", json!([])), (unix_now() + 1, "fx_ok", json!([]))]);
    wait_for("the event", secs(10), || site.ledger().end_of("fx_ok"));
    for path in ["/?p=1", "/?p=1", "/?p=1"] {
        let with = site.page_cost(path);
        assert_eq!((with.0, &with.1), (without.0, &without.1), "queries, requests");
    }
    runner.stop();
}

#[test]
fn wp_cron_php_does_nothing_while_the_runner_is_alive_and_is_remembered() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).site_line("rescan = \"1s\"").start();
    wait_for("the take-over", secs(10), || (site_view(&runner)["state"] == "ok").then_some(()));
    // A sleeping event keeps the only lane busy, so that another one stays due while wp-cron.php is called.
    site.schedule(&[(unix_now() + 1, "fx_sleep", json!([3])), (unix_now() + 2, "fx_ok", json!([]))]);
    wait_for("the first event", secs(10), || site.ledger().begin_of("fx_sleep"));
    assert_eq!(site.get("/wp-cron.php").status, 200);
    let run = wait_for("the second event's run", secs(15), || runner.history_of("fx_ok").first().cloned());
    assert_eq!(run["trigger"], "fastcgi", "{run}");
    assert_eq!(site.ledger().begins("fx_ok").len(), 1);
    let said = wait_for("the warning", secs(10), || {
        let said = runner.cli(&["status"]);
        said.stdout.contains("wp-cron.php").then_some(said)
    });
    assert!(said.stdout.contains("127.0.0.1"), "who called: {said:?}");
}

fn site_view(runner: &Runner) -> serde_json::Value {
    runner.json(&["status"])["sites"][0].clone()
}

#[test]
fn status_and_log_name_the_constant_that_is_not_needed_any_more() {
    let site = Site::builder().sqlite().wp_config("define( 'DISABLE_WP_CRON', true );").start();
    let runner = Runner::builder(&site).start();
    let said = wait_for("the warning", secs(10), || {
        let said = runner.cli(&["status"]);
        said.stdout.contains("DISABLE_WP_CRON").then_some(said)
    });
    assert!(said.stdout.contains("define( 'DISABLE_WP_CRON', true );"), "the line to remove: {said:?}");
    wait_for("the same in the log", secs(5), || runner.log().contains("DISABLE_WP_CRON").then_some(()));
}

/// Killed while it holds twenty claimed events: they are in nobody's hands, and in no option.
fn fallback_and_return(site: &Site) {
    let mut runner = Runner::builder(site).site_line("grace = \"8s\"\nrescan = \"2s\"\nlanes = 1").start();
    // Eighty due at once: the first claim takes twenty, and its first event keeps the process for a while.
    let at = unix_now() + 2;
    let mut events = vec![(at, "fx_sleep", json!([0.9]))];
    events.extend((0..79).map(|i| (at, "fx_ok", json!(["backlog", i]))));
    site.schedule(&events);
    wait_for("the first event's beginning", secs(15), || site.ledger().begin_of("fx_sleep"));
    let workers = site.php_fpm.workers();
    runner.kill();
    // The PHP process dies with it, as on a host that goes down.
    for pid in workers {
        site.php_fpm.kill_worker(pid);
    }
    let claimed = site.sql_text("SELECT COUNT(*) FROM wp_cron_runner_journal WHERE state = 'claimed'");
    assert_eq!(claimed.as_deref(), Some("19"), "claimed and not started");
    // Ordinary visitors; nothing happens before the grace is over.
    site.get("/");
    assert_eq!(site.ledger().begins("fx_ok").len(), 0);
    let ran = wait_for("page views to run all seventy-nine", secs(60), || {
        site.get("/");
        let ran = site.ledger().ends("fx_ok").len();
        (ran >= 79).then_some(ran)
    });
    assert_eq!(ran, 79);
    let open = site.sql_text("SELECT COUNT(*) FROM wp_cron_runner_journal WHERE state IN ('claimed', 'running')");
    assert_eq!(open.as_deref(), Some("0"));
    let interrupted = site.sql_text("SELECT hook FROM wp_cron_runner_journal WHERE state = 'interrupted'");
    assert_eq!(interrupted.as_deref(), Some("fx_sleep"));

    // Back again: it takes over, learns what happened, and page-load cron is off.
    runner.start();
    let record =
        wait_for("the interrupted run in the history", secs(15), || runner.history_of("fx_sleep").first().cloned());
    assert_eq!((record["outcome"].as_str(), record["then"].as_str()), (Some("interrupted"), Some("held")), "{record}");
    wait_for("the runs of the page loads in the history", secs(10), || {
        let by_pages = runner.history_of("fx_ok").iter().filter(|run| run["trigger"] == "page-load").count();
        (by_pages == 79).then_some(())
    });
    site.schedule_in(1, "fx_ok", &json!(["after the return"]));
    wait_for("the runner's own run", secs(10), || {
        runner.history_of("fx_ok").iter().find(|run| run["trigger"] == "fastcgi").cloned()
    });
    assert_eq!(site.page_cost("/").1, Vec::<String>::new(), "a page view still spawns wp-cron.php");
    let ledger = site.ledger();
    assert!(ledger.overlaps().is_empty());
    assert_eq!(ledger.begins("fx_ok").len(), 80, "each of the events ran once");
}

/// Core waits a minute between two calls of wp-cron.php, and the runner's take-over counts as one.
fn quick(site: crate::support::site::Builder) -> Site {
    site.wp_config("define( 'WP_CRON_LOCK_TIMEOUT', 10 );").start()
}

#[test]
fn visitors_run_what_a_killed_runner_had_claimed_on_mariadb() {
    fallback_and_return(&quick(Site::builder().mariadb()));
}

#[test]
fn visitors_run_what_a_killed_runner_had_claimed_on_sqlite() {
    fallback_and_return(&quick(Site::builder().sqlite()));
}

#[test]
fn after_a_clean_stop_page_load_cron_is_back_at_once() {
    let site = Site::builder().sqlite().wp_config("define( 'DISABLE_WP_CRON', true );").start();
    let mut runner = Runner::builder(&site).start();
    site.schedule_in(1, "fx_ok", &json!(["by the runner"]));
    wait_for("its run", secs(10), || site.ledger().end_of("fx_ok"));
    assert!(runner.stop().success());
    site.schedule_in(-1, "fx_ok", &json!(["by a page"]));
    site.get("/");
    wait_for("its run", secs(10), || (site.ledger().ends("fx_ok").len() == 2).then_some(()));
}
