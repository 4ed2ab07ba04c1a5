//! Processes and runners are killed at random moments: every event ends in exactly one outcome, and none runs twice.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::process::signal_pid;
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, Trigger, secs, wait_for};

const EVENTS: usize = 90;

/// Processes of this site that work on a run, whoever started them: a killed runner's live on.
fn working(site: &Site) -> Vec<u32> {
    let path = format!("--path={}", site.path.display());
    let is_one = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = words.split(|byte| *byte == 0).collect();
        let has = |word: &str| words.contains(&word.as_bytes());
        has("cron-runner") && has("run") && has(&path)
    };
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
}

fn nothing_is_lost_or_doubled(site: &Site) {
    let mut runner = Runner::builder(site).trigger(Trigger::WpCli).site_line("rescan = \"2s\"\nlanes = 2").start();
    let start = unix_now() + 2;
    let lengths = [0.0, 0.02, 0.2, 1.2];
    let due = |i: usize| start + i64::try_from(i / 5).expect("a few");
    let events: Vec<_> = (0..EVENTS).map(|i| (due(i), "fx_sleep", json!([lengths[i % lengths.len()], i]))).collect();
    site.schedule(&events);
    let began = Instant::now();
    let (mut kills, mut restarts) = (0, 0);
    while began.elapsed() < secs(19) {
        // The moment of a kill is the point; nothing is waited for here.
        std::thread::sleep(Duration::from_millis(1100 + 37 * (kills % 11)));
        let working = working(site);
        if !working.is_empty() {
            signal_pid(working[usize::try_from(kills).expect("a few") * 7 % working.len()], Signal::KILL);
            kills += 1;
        }
        if began.elapsed() > secs(6 * (restarts + 1)) && restarts < 2 {
            runner.kill();
            runner.start();
            restarts += 1;
        }
    }
    let open = || site.sql_text("SELECT COUNT(*) FROM wp_cron_runner_journal WHERE state IN ('claimed', 'running')");
    wait_for("the end of all", secs(90), || {
        (site.scheduled("fx_sleep").is_empty() && open().as_deref() == Some("0")).then_some(())
    });
    let mut ends: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in site
        .sql("SELECT event_key, state FROM wp_cron_runner_journal WHERE hook = 'fx_sleep' AND state <> 'given_back'")
    {
        ends.entry(row[0].clone().expect("a key")).or_default().push(row[1].clone().expect("a state"));
    }
    let ledger = site.ledger();
    let mut begins: BTreeMap<&str, usize> = BTreeMap::new();
    for line in ledger.begins("fx_sleep") {
        *begins.entry(&line.key).or_default() += 1;
    }
    let interrupted = ends.values().flatten().filter(|state| *state == "interrupted").count();
    eprintln!("{kills} processes and {restarts} runners killed; {interrupted} of {EVENTS} interrupted");
    assert!(kills >= 5 && interrupted >= 1, "the kills hit nothing");
    assert_eq!(ends.len(), EVENTS, "an event is lost");
    assert!(ends.values().all(|states| states.len() == 1), "an event ended twice: {ends:?}");
    assert!(begins.values().all(|count| *count == 1), "an event ran twice: {begins:?}");
    wait_for("the history", secs(20), || (runner.history_of("fx_sleep").len() == EVENTS).then_some(()));
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_of_wp_cli_on_mariadb() {
    nothing_is_lost_or_doubled(&Site::builder().mariadb().start());
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_of_wp_cli_on_sqlite() {
    nothing_is_lost_or_doubled(&Site::builder().sqlite().start());
}
