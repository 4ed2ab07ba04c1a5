//! Rows 16 and 17: MariaDB dies in the middle of a run, or is away for a while.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Random, nothing_wrong, times};
use crate::support::mariadb::MariaDb;
use crate::support::site::Database;
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Plan, Runner, Site, Trigger, secs, wait_for};

fn server(site: &Site) -> &MariaDb {
    let Database::MariaDb { server, .. } = &site.database else { panic!("a site on MariaDB") };
    server
}

/// The locks are gone with the server; only that it is younger than the run says that a free lock proves nothing.
#[test]
fn row_16_mariadb_dies_mid_run() {
    let rounds = times(2, 15);
    let mut random = Random::new();
    let site = Site::builder().own_mariadb().start();
    let mut plan = Plan::new();
    let runner = Runner::builder(&site).site_line("rescan = \"1s\"\nlanes = 3").start();
    plan.recurring(&site, 1, "every_2s", "fx_sleep", &json!([2.5]));
    for _ in 0..rounds {
        let begun = site.ledger().begins("fx_sleep").len();
        plan.schedule_by_page(&site, "fx_sleep", "0.5", 2);
        wait_for("a run", secs(40), || (site.ledger().begins("fx_sleep").len() > begun).then_some(()));
        // The moment is the point; nothing is waited for here.
        std::thread::sleep(Duration::from_millis(random.below(600)));
        server(&site).kill();
        server(&site).start_again();
    }
    plan.end_recurring(&site);
    plan.wait(&site, secs(60));
    let figure = plan.judge(&site);
    nothing_wrong("row 16", &figure, &format!("{rounds} kills of MariaDB, seed {}", random.seed));
    plan.wait_until_told(&site, &runner, secs(30));
}

/// Events are due for every second of it, and one runs when it begins: its end can be written only afterwards.
fn mariadb_is_away(trigger: Trigger) -> (Figure, String) {
    let away = secs(u64::try_from(times(8, 60)).expect("a few"));
    let site = Site::builder().own_mariadb().start();
    let mut plan = Plan::new();
    let runner = Runner::builder(&site).trigger(trigger).site_line("rescan = \"2s\"").start();
    let at = unix_now() + 3;
    let seconds = i64::try_from(away.as_secs()).expect("a few");
    plan.schedule(&site, &(0..seconds).map(|i| (at + i, "fx_ok", json!(["meanwhile", i]))).collect::<Vec<_>>());
    plan.schedule_by_page(&site, "fx_sleep", "3", 1);
    wait_for("the run", secs(20), || site.ledger().begin_of("fx_sleep"));
    server(&site).stop();
    let before = calls(&site);
    // As long as it takes: this is what the row is about.
    std::thread::sleep(away);
    let meanwhile = calls(&site) - before;
    server(&site).start_again();
    let back = Instant::now();
    plan.wait(&site, secs(90));
    let caught_up = back.elapsed();
    let figure = plan.judge(&site);
    let a_minute = 60.0 * f64::from(u32::try_from(meanwhile).expect("a few")) / away.as_secs_f64();
    let called = match trigger {
        Trigger::Http => format!("{meanwhile} calls meanwhile ({a_minute:.1} a minute), "),
        _ => String::new(),
    };
    let told = format!("away for {} s, {called}caught up after {:.1} s", away.as_secs(), caught_up.as_secs_f64());
    if figure.wrong() == 0 {
        plan.wait_until_told(&site, &runner, secs(30));
        assert!(caught_up <= secs(30), "{told}");
    }
    (figure, told)
}

#[test]
fn row_17_through_http() {
    let (figure, told) = mariadb_is_away(Trigger::Http);
    // In full nginx gives up on it while nobody can be asked.
    nothing_wrong("row 17 (http)", &figure, &told);
}

#[test]
fn row_17_through_fastcgi() {
    let (figure, told) = mariadb_is_away(Trigger::FastCgi);
    nothing_wrong("row 17 (fastcgi)", &figure, &told);
    assert_eq!(figure.held, 0, "what ran has ended well, and says so when it can");
}

/// How often the runner has called, as nginx saw it: through fastcgi it sees nothing.
fn calls(site: &Site) -> usize {
    let log = std::fs::read_to_string(site.dir.join("access.log")).expect("nginx's access.log");
    log.lines().filter(|line| line.contains("wp-cron-runner")).count()
}
