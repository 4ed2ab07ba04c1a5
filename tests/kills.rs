//! Kills at random moments: every event ends in exactly one outcome, and none runs twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

const EVENTS: usize = 240;

/// A worker dies every second or so, the runner twice; events of a few milliseconds to a second are due all the while.
fn nothing_is_lost_or_doubled(site: &Site) {
    let mut runner = Runner::builder(site).site_line("rescan = \"2s\"\nlanes = 2").start();
    let start = unix_now() + 3;
    let lengths = [0.0, 0.02, 0.2, 1.2];
    let events: Vec<_> = (0..EVENTS)
        .map(|i| (start + i64::try_from(i / 12).unwrap(), "fx_sleep", json!([lengths[i % lengths.len()], i])))
        .collect();
    site.schedule(&events);
    let began = Instant::now();
    let mut kills = 0;
    let mut restarts = 0;
    while began.elapsed() < secs(24) {
        // The moment of a kill is the point; nothing is waited for here.
        std::thread::sleep(Duration::from_millis(900 + 37 * (kills % 11)));
        let workers = site.php_fpm.workers();
        if !workers.is_empty() {
            let victim = usize::try_from(kills).unwrap() * 7 % workers.len();
            site.php_fpm.kill_worker(workers[victim]);
            kills += 1;
        }
        if began.elapsed() > secs(8 * (restarts + 1)) && restarts < 2 {
            runner.kill();
            runner.start();
            restarts += 1;
        }
    }
    let open = || site.sql_text("SELECT COUNT(*) FROM wp_cron_runner_journal WHERE state IN ('claimed', 'running')");
    wait_for("the end of all", secs(90), || {
        (site.scheduled("fx_sleep").is_empty() && open().as_deref() == Some("0")).then_some(())
    });

    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut final_rows: BTreeMap<String, usize> = BTreeMap::new();
    for row in site
        .sql("SELECT state, event_key FROM wp_cron_runner_journal WHERE hook = 'fx_sleep' AND state <> 'given_back'")
    {
        *outcomes.entry(row[0].clone().unwrap()).or_default() += 1;
        *final_rows.entry(row[1].clone().unwrap()).or_default() += 1;
    }
    let ledger = site.ledger();
    let mut begins: BTreeMap<&str, usize> = BTreeMap::new();
    for line in ledger.begins("fx_sleep") {
        *begins.entry(&line.key).or_default() += 1;
    }
    let lost = EVENTS - final_rows.len();
    let doubled =
        begins.values().filter(|count| **count > 1).count() + final_rows.values().filter(|count| **count > 1).count();
    eprintln!(
        "lost {lost}, doubled {doubled}, of {EVENTS}; {kills} workers and {restarts} runners killed; {outcomes:?}"
    );
    assert_eq!((lost, doubled), (0, 0), "{outcomes:?}");
    // An end that was not committed before the kill counts as interrupted: held, not repeated. But no ok without an end.
    assert!(outcomes.get("ok").copied().unwrap_or(0) <= ledger.ends("fx_sleep").len(), "{outcomes:?}");
    // The runner's own record says the same.
    wait_for("the history", secs(20), || {
        let history = runner.history_of("fx_sleep");
        (history.len() == EVENTS).then_some(())
    });
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_on_mariadb() {
    nothing_is_lost_or_doubled(&Site::builder().mariadb().workers(5).start());
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_on_sqlite() {
    nothing_is_lost_or_doubled(&Site::builder().sqlite().workers(5).start());
}
