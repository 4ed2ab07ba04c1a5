//! Rows 8, 13 and 27: two hosts with a common lease. One is stopped, one or both lose sight of Redis, and nothing happens at
//! all, for long.

use rustix::process::Signal;
use serde_json::json;

use super::ticks::{Ticks, judge_all, longest_gap_ms, wait_until};
use super::{Random, nothing_wrong, times};
use crate::support::hosts::is_even;
use crate::support::test_dir::tails_of_logs;
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Hosts, Plan, Redis, Site, secs, wait_for};

/// A figure of hosts is told with its overlaps.
#[track_caller]
pub fn no_overlap(row: &str, figure: &Figure, told: &str) {
    nothing_wrong(row, figure, &format!("overlaps {}, {told}", figure.overlaps));
}

const LINES: &str = "rescan = \"2s\"\nlanes = 3";

/// Longer than a lease lasts, and twice as long where there is time.
fn long() -> u64 {
    times(36, 60) as u64
}

#[test]
fn row_8_redis_a_stopped_holder() {
    let sites = [Site::builder().mariadb().workers(8).start()];
    let site = &sites[0];
    let redis = Redis::start();
    redis.make_known();
    let mut hosts = Hosts::builder(&redis, &sites).configure(|runner| runner.site_line(LINES)).prepare();
    // Every call of an outdated runner that the site refuses leaves a line.
    site.enter_plugin("owner.php", &["function stale("], "\\fx_write('NOTE', 'stale', array($owner['name']));");
    hosts.start();
    let (mut figure, mut refused, mut worst) = (Figure::default(), 0, 0);
    let rounds = times(1, 3);
    for _ in 0..rounds {
        let stopped = hosts.holder(&site.name);
        let other = 1 - stopped;
        let mut ticks = Ticks::schedule(&sites, usize::try_from(long()).expect("a minute") + 8);
        ticks.wait_for_the_first();
        let began = unix_now();
        let notes = site.ledger().0.len();
        let number = |sql: &str| site.sql_text(sql).expect("a number").parse::<i64>().expect("a number");
        let epoch = || number("SELECT MAX(epoch) FROM wp_cron_runner_journal");
        let before = epoch();
        hosts[stopped].signal(Signal::STOP);
        wait_for("an event that the other one runs", secs(60), || (epoch() > before).then_some(()));
        let (last, epoch) = (number("SELECT MAX(id) FROM wp_cron_runner_journal"), epoch());
        assert_eq!(hosts.told_holder(other, &site.name), Some(other));
        wait_until(began + i64::try_from(long()).expect("a minute"));
        hosts[stopped].signal(Signal::CONT);
        wait_for("one word of both", secs(30), || {
            (hosts.told_holder(stopped, &site.name)? == hosts.told_holder(other, &site.name)?).then_some(())
        });
        figure = figure.plus(ticks.judge(&sites));
        let outdated = format!("SELECT COUNT(*) FROM wp_cron_runner_journal WHERE id > {last} AND epoch < {epoch}");
        figure.doubled += usize::try_from(number(&outdated)).expect("a number");
        refused += site.ledger().0[notes..].iter().filter(|line| line.hook == "stale").count();
        worst = worst.max(ticks.worst_ms(&sites));
    }
    let told = format!(
        "{rounds} times stopped for {} s, {refused} calls refused, none that claimed; the latest event {worst} ms",
        long()
    );
    no_overlap("row 8 (SIGSTOP, Redis)", &figure, &told);
}

/// One host, or both, lose sight of Redis for so long.
fn a_partition(row: &str, cut: &[usize]) {
    let sites = Site::many(4, 16);
    let redis = Redis::builder().in_a_network_of_its_own().start();
    redis.make_known();
    let lines = "rescan = \"2s\"\nlanes = 8";
    let hosts = Hosts::builder(&redis, &sites)
        .configure(|runner| runner.site_line(lines).runner_line("max_parallel = 16"))
        .start();
    hosts.wait_until_shared(sites.len());
    let seconds = long();
    let mut ticks = Ticks::schedule(&sites, usize::try_from(seconds).expect("a minute") + 10);
    ticks.wait_for_the_first();
    let began = unix_now();
    cut.iter().for_each(|host| hosts.ways[*host].cut());
    for host in cut {
        hosts.wait_for_redis(*host, "lost");
    }
    wait_until(began + i64::try_from(seconds).expect("a minute"));
    let states: Vec<Vec<String>> = cut.iter().map(|host| states(&hosts, *host)).collect();
    cut.iter().for_each(|host| hosts.ways[*host].mend());
    for host in cut {
        hosts.wait_for_redis(*host, "ok");
    }
    let figure = ticks.judge(&sites);
    hosts.wait_until_shared(sites.len());
    let worst = ticks.worst_ms(&sites);
    let told = format!("{seconds} s, {}; the latest event {worst} ms; {states:?}", wire(&redis));
    no_overlap(row, &figure, &told);
    assert!(worst <= 5000, "{told}\n{}\n{}", ticks.later_than(&sites, 5000), tails_of_logs());
    if cut.len() == 2 {
        let by_site = states[0].iter().zip(&states[1]);
        let is_right = |(one, other): (&String, &String)| (one == "degraded") != (other == "degraded");
        assert!(by_site.into_iter().all(is_right), "a site goes on where its database knows the runner: {told}");
    }
}

fn states(hosts: &Hosts, host: usize) -> Vec<String> {
    let status = hosts[host].json(&["status"]);
    let views = status["sites"].as_array().expect("sites").iter();
    views.map(|view| view["state"].as_str().expect("a state").to_owned()).collect()
}

/// Which kind of partition it was.
fn wire(redis: &Redis) -> &'static str {
    if redis.network.is_some() { "veth down" } else { "proxies that swallow everything" }
}

#[test]
#[ignore = "the half of the other one; in `make faults`"]
fn row_13_redis_out_of_one_host_s_sight() {
    a_partition("row 13 (one host)", &[0]);
}

#[test]
#[ignore = "mostly waiting, beside others of its kind: in `make faults`"]
fn row_13_redis_out_of_sight() {
    a_partition("row 13 (both hosts)", &[0, 1]);
}

#[test]
fn row_27_two_hosts_for_long() {
    let count = 12;
    let sites = Site::many(count, 24);
    let redis = Redis::builder().in_a_network_of_its_own().start();
    redis.make_known();
    let hosts = Hosts::builder(&redis, &sites)
        .configure(|runner| runner.site_line("rescan = \"5s\"\nlanes = 10").runner_line("max_parallel = 16"))
        .start();
    hosts.wait_until_shared(count);
    let mut random = Random::new();
    let mut plans: Vec<Plan> = sites.iter().map(|_| Plan::new()).collect();
    for (plan, site) in plans.iter_mut().zip(&sites) {
        plan.recurring(site, 1, "every_2s", "fx_recurring", &json!(["soak"]));
        plan.recurring(site, 1, "every_2s", "fx_sleep", &json!([2.3]));
    }
    let began = unix_now();
    let seconds = times(20, 600);
    while unix_now() < began + i64::try_from(seconds).expect("ten minutes") {
        let which = usize::try_from(random.below(count as u64)).expect("a few");
        let hook: &&str = random.pick(&["fx_ok", "fx_exit", "fx_exception"]);
        plans[which].schedule_by_page(&sites[which], hook, "soak", 2);
        // The moment is the point; nothing is waited for here.
        std::thread::sleep(std::time::Duration::from_millis(random.below(400)));
    }
    let shares = hosts.shares(0);
    let figure = judge_all(&mut plans, &sites);
    for (plan, site) in plans.iter().zip(&sites) {
        plan.wait_until_told(site, &hosts[0], secs(30));
    }
    let runs: Vec<usize> = hosts.all().map(|runner| runner.own_history().len()).collect();
    let gap = sites.iter().map(|site| longest_gap_ms(site, "fx_recurring")).max().unwrap_or(0);
    let told = format!(
        "{seconds} s, {}: sites {shares:?}, runs {runs:?}, longest gap of an event of every 2 s {gap} ms, seed {}",
        if redis.network.is_some() { "two networks" } else { "two proxies" },
        random.seed
    );
    no_overlap("row 27", &figure, &told);
    assert!(is_even(&shares, count), "{told}");
    let all = runs.iter().sum::<usize>();
    assert!(runs.iter().all(|of| of * 100 >= all * 40), "{told}");
}
