//! Row 3: a process of PHP is killed inside a single event. The runner knows at once, and the event is held.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Random, nothing_wrong, times};
use crate::support::{Figure, Plan, Runner, Site, Trigger, secs, wait_for};

struct Told {
    kills: usize,
    worst: Duration,
    /// So many were known later than promised.
    late: usize,
    promise: Duration,
    seed: u64,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Told { kills, worst, late, promise, seed } = self;
        let (worst, promise) = (worst.as_millis(), promise.as_millis());
        write!(
            f,
            "{kills} workers killed, known after {worst} ms at the latest, {late} later than {promise} ms, seed {seed}"
        )
    }
}

fn killed_workers(site: &Site, trigger: Trigger, promise: Duration) -> (Figure, Told) {
    let mut random = Random::new();
    let mut plan = Plan::new();
    let runner = Runner::builder(site).trigger(trigger).site_line("lanes = 2").start();
    let mut told = Told { kills: times(4, 100), worst: Duration::ZERO, late: 0, promise, seed: random.seed };
    for kill in 0..told.kills {
        plan.schedule_by_page(site, "fx_sleep", "60", 1);
        plan.schedule_by_page(site, "fx_ok", "beside it", 3);
        let begins =
            || site.ledger().begins("fx_sleep").into_iter().find(|line| line.args == json!(["60", 4 * kill])).cloned();
        let begin = wait_for("its beginning", secs(20), begins);
        // The moment is the point; nothing is waited for here.
        std::thread::sleep(Duration::from_millis(random.below(300)));
        let killed = Instant::now();
        site.php_fpm.kill_worker(begin.pid);
        let run = wait_for("its record", secs(20), || {
            runner.history_of("fx_sleep").into_iter().find(|run| run["key"] == begin.key.as_str())
        });
        let took = killed.elapsed();
        assert_eq!((run["outcome"].as_str(), run["then"].as_str()), (Some("interrupted"), Some("held")), "{run}");
        told.worst = told.worst.max(took);
        told.late += usize::from(took > promise);
    }
    plan.wait(site, secs(30));
    (plan.judge(site), told)
}

#[track_caller]
fn judged(row: &str, (figure, told): &(Figure, Told)) {
    nothing_wrong(row, figure, told);
    assert_eq!(figure.held, told.kills, "every one is held, and nothing else");
    // A machine that does other things as well may be late, but not for long.
    assert!(told.worst <= 3 * told.promise || told.kills < 100, "{told}");
}

#[test]
fn row_3_through_fastcgi() {
    judged("row 3 (MariaDB, fastcgi)", &killed_workers(&Site::builder().mariadb().start(), Trigger::FastCgi, secs(1)));
}

#[test]
fn row_3_through_http() {
    judged("row 3 (SQLite, http)", &killed_workers(&Site::builder().sqlite().start(), Trigger::Http, secs(3)));
}
