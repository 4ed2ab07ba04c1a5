//! How long a site waits when a host goes, or comes: a line for each way.

use rustix::process::Signal;

use super::ticks::Ticks;
use super::two_hosts::no_overlap;
use crate::support::wordpress::unix_now;
use crate::support::{Hosts, Redis, Site, secs, wait_for};

#[derive(Clone, Copy, PartialEq)]
enum Change {
    Kill,
    Stop,
    Term,
    Cut,
    Join,
}

/// The host that looks after the only site goes in this way; or the other one comes, to which the site belongs by right.
fn hand_over(change: Change, name: &str) {
    let sites = Site::many(4, 16);
    let redis = Redis::builder().in_a_network_of_its_own().start();
    redis.make_known();
    let mut hosts = Hosts::builder(&redis, &sites)
        .configure(|runner| runner.site_line("rescan = \"10s\"\nlanes = 8").runner_line("max_parallel = 16"))
        .prepare();
    hosts[0].start();
    if change != Change::Join {
        hosts[1].start();
        hosts.wait_until_shared(sites.len());
    } else {
        wait_for("a host that looks after all", secs(60), || (hosts.shares(0)[0] == sites.len()).then_some(()));
    }
    let seconds = if matches!(change, Change::Term | Change::Join) { 20 } else { 60 };
    let mut ticks = Ticks::schedule(&sites, seconds);
    // Those of the host that goes, or all.
    let of_host = |host| sites.iter().filter(|site| hosts.told_holder(0, &site.name) == Some(host)).collect::<Vec<_>>();
    let concerned = of_host(0);
    ticks.wait_for_the_first();
    let began = unix_now();
    match change {
        Change::Kill => hosts[0].kill(),
        Change::Stop => hosts[0].signal(Signal::STOP),
        Change::Term => drop(hosts[0].stop()),
        Change::Cut => hosts.ways[0].cut(),
        Change::Join => hosts[1].start(),
    }
    if change != Change::Join {
        wait_for("another host for all sites", secs(90), || (hosts.shares(1)[1] == sites.len()).then_some(()));
    } else {
        hosts.wait_until_shared(sites.len());
    }
    if change == Change::Stop {
        hosts[0].signal(Signal::CONT);
    }
    let figure = ticks.judge(&sites);
    // The next event of each site that the change concerns: due after it.
    let next = |site: &&Site| {
        let ticks = ticks.begun(site);
        let next = ticks.iter().find(|tick| tick.due > began).map(|tick| tick.due * 1000 + tick.late_ms - began * 1000);
        (next.unwrap_or(0), ticks.iter().map(|tick| tick.late_ms).max().unwrap_or(0))
    };
    let measured: Vec<(i64, i64)> = concerned.iter().map(next).collect();
    let most = |of: fn(&(i64, i64)) -> i64| measured.iter().map(of).max().unwrap_or(0);
    let told = format!(
        "next event of {} sites after {:.1} s, the latest event {:.1} s late",
        measured.len(),
        seconds_of(most(|(next, _)| *next)),
        seconds_of(most(|(_, late)| *late))
    );
    no_overlap(&format!("hand-over ({name})"), &figure, &told);
}

#[allow(clippy::cast_precision_loss, reason = "minutes in milliseconds")]
fn seconds_of(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[test]
#[ignore = "measures; in `make faults`"]
fn row_hosts_one_is_killed() {
    hand_over(Change::Kill, "kill -9");
}

#[test]
#[ignore = "measures; in `make faults`"]
fn row_hosts_one_is_stopped() {
    hand_over(Change::Stop, "SIGSTOP");
}

#[test]
#[ignore = "measures; in `make faults`"]
fn row_hosts_one_leaves() {
    hand_over(Change::Term, "SIGTERM");
}

#[test]
#[ignore = "measures; in `make faults`"]
fn row_hosts_one_is_cut_off() {
    hand_over(Change::Cut, "cut off from Redis");
}

#[test]
#[ignore = "measures; in `make faults`"]
fn row_hosts_one_comes() {
    hand_over(Change::Join, "a host comes");
}
