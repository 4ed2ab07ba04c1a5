//! Row 5: events that end their process, or fail, in every way that PHP knows. What is due beside them runs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{nothing_wrong, times};
use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, Trigger, secs};

/// Hook, its first argument, and the outcome.
const KINDS: [(&str, &str, &str); 7] = [
    ("fx_memory", "memory limit", "failed"),
    ("fx_hang", "limit", "timed_out"),
    ("fx_fatal", "class", "failed"),
    ("fx_fatal", "call", "failed"),
    ("fx_exit", "exit", "ok"),
    ("fx_type_error", "type", "failed"),
    ("fx_die_message", "died", "failed"),
];

fn endings(row: &str, site: &Site, trigger: Trigger) {
    let each = times(3, 100);
    let mut plan = Plan::new();
    let mut runner = Runner::builder(site).trigger(trigger).site_line("rescan = \"2s\"\nlanes = 2").prepare();
    // In turn, a second apart, so that every bad one has good ones beside it in its batch.
    let mut events: Vec<(i64, &str, Value)> = Vec::new();
    let past = unix_now() - 3600;
    for i in 0..each {
        for (hook, label, _) in KINDS {
            for (hook, label) in [(hook, label), ("fx_ok", label)] {
                let at = past + i64::try_from(events.len()).expect("a few");
                events.push((at, hook, json!([label, i])));
            }
        }
    }
    plan.schedule(site, &events);
    runner.start();
    plan.wait(site, secs(60 + 5 * u64::try_from(each).expect("a few")));
    let figure = plan.judge(site);
    let mut expected: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (hook, _, outcome) in KINDS.into_iter().chain(KINDS.map(|(_, label, _)| ("fx_ok", label, "ok"))) {
        *expected.entry((hook.to_owned(), outcome.to_owned())).or_default() += each;
    }
    let mut found: BTreeMap<(String, String), usize> = BTreeMap::new();
    for row in site.sql(
        "SELECT hook, state, COUNT(*) FROM wp_cron_runner_journal WHERE state <> 'given_back' GROUP BY hook, state",
    ) {
        let [hook, state, count] = row.try_into().expect("three columns");
        let count = count.expect("a count").parse().expect("a number");
        found.insert((hook.expect("a hook"), state.expect("a state")), count);
    }
    let right: usize = expected.iter().map(|(of, count)| found.get(of).copied().unwrap_or(0).min(*count)).sum();
    nothing_wrong(
        row,
        &figure,
        &format!("{each} of each of {} endings, {right} of {} right", KINDS.len(), events.len()),
    );
    assert_eq!(found, expected, "{row}");
    plan.wait_until_told(site, &runner, secs(20));
}

#[test]
fn row_5_through_fastcgi() {
    endings("row 5 (MariaDB, fastcgi)", &Site::builder().mariadb().start(), Trigger::FastCgi);
}

#[test]
fn row_5_through_http() {
    endings("row 5 (SQLite, http)", &Site::builder().sqlite().start(), Trigger::Http);
}
