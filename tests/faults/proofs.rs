//! The proof that the checker can see: with a guard taken away, the same situation gives a figure above 0, and 0 with it.

use serde_json::json;

use super::{nothing_wrong, show, writers};
use crate::calls::{call, signed};
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Guard, Plan, Runner, Site, secs, wait_for};

/// A recurring event takes longer than its interval.
fn longer_than_its_interval(site: &Site, without: Option<Guard>) -> Figure {
    let mut plan = Plan::new();
    let mut runner = Runner::builder(site).site_line("rescan = \"1s\"\nlanes = 2").prepare();
    break_if(site, without);
    plan.recurring(site, 1, "every_2s", "fx_sleep", &json!([3]));
    runner.start();
    wait_for("two runs", secs(20), || (site.ledger().begins("fx_sleep").len() >= 2).then_some(()));
    plan.end_recurring(site);
    plan.wait(site, secs(10));
    plan.judge(site)
}

/// The rest of a batch is given back behind a slow event, and runs elsewhere; then the slow one ends, and its request goes on.
fn behind_a_slow_event(site: &Site, without: Option<Guard>) -> Figure {
    let mut plan = Plan::new();
    let mut runner = Runner::builder(site).site_line("lanes = 2").prepare();
    break_if(site, without);
    let at = unix_now() - 5;
    let mut events = vec![(at, "fx_sleep", json!([3, "slow"]))];
    events.extend((0..15).map(|i| (at + 1, "fx_ok", json!(["behind it", i]))));
    plan.schedule(site, &events);
    runner.start();
    wait_for("the end of the slow one", secs(15), || site.ledger().end_of("fx_sleep"));
    plan.wait(site, secs(15));
    plan.judge(site)
}

/// The calls of a runner whose epoch is over: what they claim all the same counts as doubled. Also how many were sent.
pub fn outdated_calls(site: &Site, without: Option<Guard>, count: usize) -> (Figure, usize) {
    let mut plan = Plan::new();
    let mut runner = Runner::builder(site).site_line("rescan = \"1s\"").prepare();
    break_if(site, without);
    runner.start();
    let old = epoch(site);
    runner.kill();
    runner.start();
    assert!(epoch(site) > old, "a restart takes a new epoch");
    runner.kill();
    let due: Vec<_> = (0..count).map(|i| (unix_now() - 5, "fx_ok", json!(["due", i]))).collect();
    plan.schedule(site, &due);
    let body = format!(r#"{{"epoch":{old},"owner":"x","runner":"old","lanes":1}}"#);
    let mut refused = 0;
    for _ in 0..count {
        let (status, answer) = call(site, "run", &signed(site, "run", &body, 0), &body);
        refused += usize::from(status == 409 && answer.contains("stale"));
    }
    runner.start();
    plan.wait(site, secs(15));
    let mut figure = plan.judge(site);
    figure.doubled += (count - refused).max(claims_of_epoch(site, old));
    (figure, count)
}

/// A worker dies in an event that nobody else will tell the end of.
fn a_killed_worker(site: &Site, without: Option<Guard>) -> Figure {
    let mut plan = Plan::new();
    let mut runner = Runner::builder(site).site_line("rescan = \"1s\"").prepare();
    break_if(site, without);
    runner.start();
    plan.schedule_by_page(site, "fx_sleep", "30", 1);
    let begin = wait_for("its beginning", secs(15), || site.ledger().begin_of("fx_sleep"));
    site.php_fpm.kill_worker(begin.pid);
    // In vain where nobody settles.
    plan.wait(site, if without.is_some() { secs(3) } else { secs(15) });
    plan.judge(site)
}

fn break_if(site: &Site, without: Option<Guard>) {
    if let Some(guard) = without {
        site.without(guard);
    }
}

fn epoch(site: &Site) -> i64 {
    site.php_json("namespace WP_Cron_Runner; echo owner( page_connection() )['epoch'];").as_i64().expect("an epoch")
}

fn claims_of_epoch(site: &Site, epoch: i64) -> usize {
    let count = site.sql_text(&format!("SELECT COUNT(*) FROM wp_cron_runner_journal WHERE epoch = {epoch}"));
    count.expect("a count").parse().expect("a number")
}

#[track_caller]
fn seen(guard: &str, figure: &Figure) {
    show(&format!("BREAK={guard}"), figure, &"must be above 0");
    assert!(figure.wrong() > 0, "without {guard} the checker sees nothing: {figure}");
}

#[test]
fn without_process_lock() {
    let site = Site::builder().mariadb().start();
    seen("process-lock", &longer_than_its_interval(&site, Some(Guard::ProcessLock)));
}

#[test]
fn without_merge() {
    let site = Site::builder().mariadb().start();
    seen("merge", &writers::writers_beside_a_runner(&site, Some(Guard::Merge), 10).0);
}

#[test]
fn without_conditional_start() {
    let site = Site::builder().mariadb().start();
    seen("conditional-start", &behind_a_slow_event(&site, Some(Guard::ConditionalStart)));
}

#[test]
fn without_fence() {
    let site = Site::builder().mariadb().start();
    seen("fence", &outdated_calls(&site, Some(Guard::Fence), 2).0);
}

#[test]
fn without_settle() {
    let site = Site::builder().mariadb().start();
    seen("settle", &a_killed_worker(&site, Some(Guard::Settle)));
}

// The same situations with every guard in its place. Of the merge: row 41; of the fence: row 8.

#[test]
fn with_process_lock() {
    let site = Site::builder().mariadb().start();
    nothing_wrong("with process-lock", &longer_than_its_interval(&site, None), &"an event longer than its interval");
}

#[test]
fn with_conditional_start() {
    let site = Site::builder().mariadb().start();
    nothing_wrong("with conditional-start", &behind_a_slow_event(&site, None), &"a batch behind a slow event");
}

#[test]
fn with_settle() {
    let site = Site::builder().mariadb().start();
    let figure = a_killed_worker(&site, None);
    nothing_wrong("with settle", &figure, &"1 worker killed");
    assert_eq!(figure.held, 1);
}
