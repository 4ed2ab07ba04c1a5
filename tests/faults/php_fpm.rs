//! Rows 6 and 7: php-fpm itself ends what runs, by its time limit, a reload, or a stop.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{nothing_wrong, times};
use crate::support::ledger::Line;
use crate::support::{Figure, Plan, Runner, Site, secs, wait_for};

fn begin(plan: &mut Plan, site: &Site, seconds: &str) -> Line {
    let known = site.ledger().begins("fx_sleep").len();
    assert_eq!(plan.schedule_by_page(site, "fx_sleep", seconds, 1), 1);
    wait_for("its beginning", secs(20), || site.ledger().begins("fx_sleep").get(known).map(|line| (*line).clone()))
}

fn record(runner: &Runner, begin: &Line) -> Value {
    wait_for("its record", secs(30), || {
        runner.history_of("fx_sleep").into_iter().find(|run| run["key"] == begin.key.as_str())
    })
}

#[test]
fn row_6_request_terminate_timeout() {
    let rounds = times(2, 10);
    let site = Site::builder().mariadb().php_fpm_line("request_terminate_timeout = 3s").start();
    let runner = Runner::builder(&site).site_line("rescan = \"1s\"").start();
    let mut plan = Plan::new();
    let (mut worst, mut late) = (Duration::ZERO, 0);
    for _ in 0..rounds {
        let begin = begin(&mut plan, &site, "60");
        wait_for("its end by php-fpm", secs(20), || (!site.php_fpm.workers().contains(&begin.pid)).then_some(()));
        let ended = Instant::now();
        let run = record(&runner, &begin);
        let took = ended.elapsed();
        assert_eq!((run["outcome"].as_str(), run["then"].as_str()), (Some("interrupted"), Some("held")), "{run}");
        worst = worst.max(took);
        late += usize::from(took > secs(1));
    }
    plan.wait(&site, secs(20));
    let figure = plan.judge(&site);
    let told = format!("{rounds} ended, known after {} ms at the latest, {late} later than 1000 ms", worst.as_millis());
    nothing_wrong("row 6", &figure, &told);
    assert_eq!(figure.held, rounds);
    assert!(worst <= secs(3) || rounds < 10, "{told}");
}

/// What php-fpm is told while an event runs, and what becomes of that event.
fn told_mid_run(control: &str, seconds: &str, tell: fn(&mut Site), expected: (&str, &str)) -> Figure {
    let line = format!("[global]\nprocess_control_timeout = {control}");
    let mut site = Site::builder().mariadb().php_fpm_line(&line).start();
    let runner = Runner::builder(&site).site_line("rescan = \"1s\"").start();
    let mut plan = Plan::new();
    for _ in 0..times(1, 10) {
        let begin = begin(&mut plan, &site, seconds);
        // Due while nobody answers.
        plan.schedule_by_page_in(&site, 1, "fx_ok", "meanwhile", 5);
        tell(&mut site);
        let run = record(&runner, &begin);
        assert_eq!((run["outcome"].as_str(), run["then"].as_str()), (Some(expected.0), Some(expected.1)), "{run}");
    }
    plan.wait(&site, secs(30));
    plan.judge(&site)
}

#[test]
fn row_7_a_reload_that_waits_for_nothing() {
    let figure = told_mid_run("0", "30", |site| site.php_fpm.reload(), ("interrupted", "held"));
    nothing_wrong("row 7 (reload, control timeout 0)", &figure, &"held");
    assert_eq!(figure.held, times(1, 10));
}

#[test]
fn row_7_a_reload_that_waits() {
    let figure = told_mid_run("10s", "3", |site| site.php_fpm.reload(), ("ok", "none"));
    nothing_wrong("row 7 (reload, control timeout 10 s)", &figure, &"ok");
}

#[test]
fn row_7_a_restart() {
    let restart = |site: &mut Site| {
        site.php_fpm.stop();
        site.php_fpm.start_again();
    };
    let figure = told_mid_run("0", "30", restart, ("interrupted", "held"));
    nothing_wrong("row 7 (restart)", &figure, &"held");
    assert_eq!(figure.held, times(1, 10));
}
