//! Rows 1 and 2: the runner is killed at random moments, and PHP goes on. What was in flight is adopted, not started again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::storm::Storm;
use super::{Random, nothing_wrong, times};
use crate::support::ledger::Line;
use crate::support::{Figure, Plan, Runner, Site, Trigger, Victim, secs, wait_for};

struct Told {
    kills: usize,
    in_flight: usize,
    seed: u64,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} kills of the runner, {} runs in flight, seed {}", self.kills, self.in_flight, self.seed)
    }
}

fn killed_runners(site: &Site, trigger: Trigger, kills: usize) -> (Figure, Told) {
    let mut random = Random::new();
    let mut plan = Plan::new();
    let mut runner = Runner::builder(site).trigger(trigger).site_line("rescan = \"1s\"\nlanes = 3").start();
    let mut in_flight = BTreeSet::new();
    for kill in 0..kills {
        plan.schedule_by_page(site, "fx_sleep", "2", 1);
        plan.schedule_by_page(site, "fx_sleep", "0.02", 4);
        // Every second time something surely runs.
        if kill % 2 == 0 {
            wait_for("a run", secs(30), || (!unended(site).is_empty()).then_some(()));
        }
        // The moment is the point; nothing is waited for here.
        std::thread::sleep(Duration::from_millis(random.below(1200)));
        runner.kill();
        in_flight.extend(unended(site).into_iter().map(|line| line.key));
        runner.start();
        let status = runner.json(&["status"]);
        let known = status["sites"][0].to_string();
        for line in unended(site).iter().filter(|line| in_flight.contains(&line.key)) {
            let is_known = known.contains(&format!("\"pid\":{}", line.pid));
            assert!(is_known || !is_unended(site, line), "process {} runs, and is not known: {status}", line.pid);
        }
    }
    plan.wait(site, secs(60));
    plan.wait_until_told(site, &runner, secs(20));
    let ends = ends(site);
    for key in &in_flight {
        assert_eq!(ends.get(key), Some(&(1, vec!["ok".to_owned()])), "it was in flight: {key}");
    }
    (plan.judge(site), Told { kills, in_flight: in_flight.len(), seed: random.seed })
}

/// Nothing of PHP is killed here: what has begun and not ended runs.
fn unended(site: &Site) -> Vec<Line> {
    let ledger = site.ledger();
    ledger.begins("fx_sleep").into_iter().filter(|line| is_open(&ledger.ends("fx_sleep"), line)).cloned().collect()
}

fn is_open(ends: &[&Line], begin: &Line) -> bool {
    !ends.iter().any(|end| end.key == begin.key)
}

fn is_unended(site: &Site, begin: &Line) -> bool {
    is_open(&site.ledger().ends("fx_sleep"), begin)
}

/// By key: how often it began, and its outcomes.
fn ends(site: &Site) -> BTreeMap<String, (usize, Vec<String>)> {
    let mut ends: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
    for line in site.ledger().begins("fx_sleep") {
        ends.entry(line.key.clone()).or_default().0 += 1;
    }
    for row in site.sql("SELECT event_key, state FROM wp_cron_runner_journal WHERE state <> 'given_back'") {
        let [key, state] = row.try_into().expect("two columns");
        ends.entry(key.expect("a key")).or_default().1.push(state.expect("a state"));
    }
    ends
}

#[test]
fn row_1_through_http() {
    let (figure, told) = killed_runners(&Site::builder().sqlite().workers(6).start(), Trigger::Http, times(3, 50));
    nothing_wrong("row 1 (SQLite, http)", &figure, &told);
    assert!(told.in_flight >= told.kills / 2, "the kills hit nothing: {told}");
}

#[test]
fn row_1_through_fastcgi() {
    let (figure, told) = killed_runners(&Site::builder().mariadb().workers(6).start(), Trigger::FastCgi, times(3, 50));
    nothing_wrong("row 1 (MariaDB, fastcgi)", &figure, &told);
    assert!(told.in_flight >= told.kills / 2, "the kills hit nothing: {told}");
}

#[test]
fn row_2_a_child_of_wp_cli_lives_on() {
    let (figure, told) = killed_runners(&Site::builder().mariadb().workers(6).start(), Trigger::WpCli, times(3, 50));
    nothing_wrong("row 2 (MariaDB, wp-cli)", &figure, &told);
    assert!(told.in_flight >= told.kills / 2, "the kills hit nothing: {told}");
}

/// More ended than one answer holds, and the first thing that the runner does decides about one more.
#[test]
fn row_1_what_ended_without_a_record_is_told() {
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).site_line("rescan = \"1s\"\nlanes = 2").start();
    let mut plan = Plan::new();
    plan.schedule_by_page(&site, "fx_ok", "ended", 700);
    plan.wait(&site, secs(60));
    plan.schedule_by_page(&site, "fx_sleep", "30", 1);
    let begin = wait_for("a run", secs(20), || unended(&site).first().cloned());
    runner.kill();
    for file in ["history.sqlite", "history.sqlite-wal", "history.sqlite-shm"] {
        let _ = std::fs::remove_file(runner.dir.join("home/state").join(file));
    }
    site.php_fpm.kill_worker(begin.pid);
    runner.start();
    plan.wait(&site, secs(20));
    nothing_wrong("row 1 (history gone)", &plan.judge(&site), &"700 runs told anew");
    plan.wait_until_told(&site, &runner, secs(10));
}

/// Processes of WP-CLI and the runner, at random.
fn a_storm_on_wp_cli(name: &str, site: Site) {
    let mut storm = Storm::begin(site, Trigger::WpCli, Random::new());
    storm.rage(secs(times(12, 180) as u64));
    let calm = storm.calm();
    let kills = [Victim::Worker, Victim::Runner].map(|victim| calm.kills(victim));
    nothing_wrong(name, &calm.figure, &format!("{} kills of WP-CLI, {} of the runner; {calm}", kills[0], kills[1]));
    // A busy machine starts few processes of WP-CLI in that time; that none of them is hit would prove nothing.
    assert!(kills.iter().all(|kills| *kills >= times(1, 20)), "the kills hit too little: {calm}");
}

#[test]
fn row_2_a_storm_on_mariadb() {
    a_storm_on_wp_cli("row 2 (MariaDB, wp-cli, storm)", Site::builder().own_mariadb().start());
}

#[test]
fn row_2_a_storm_on_sqlite() {
    a_storm_on_wp_cli("row 2 (SQLite, wp-cli, storm)", Site::builder().sqlite().start());
}
