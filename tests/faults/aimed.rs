//! Aimed kills: a process of PHP or the runner dies at each point of a run where a promise could break.

use serde_json::json;

use super::{nothing_wrong, times};
use std::time::{Duration, Instant};

use crate::support::{Figure, Hits, Plan, Point, Runner, Site, Trigger, Victim, secs, wait_for};

fn aimed_kills(site: &Site, trigger: Trigger, least: usize) -> (Figure, Hits) {
    let mut plan = Plan::new();
    let mut runner = Runner::builder(site).trigger(trigger).site_line("rescan = \"1s\"\nlanes = 2").prepare();
    site.plant_points();
    plan.recurring(site, 1, "every_2s", "fx_recurring", &json!(["aimed"]));
    runner.start();
    for round in 0..least {
        for (point, victim) in Point::ALL.into_iter().flat_map(|point| Victim::BOTH.map(|victim| (point, victim))) {
            if site.ledger().hits().of(point, victim) <= round {
                aim(site, &mut runner, &mut plan, point, victim);
            }
        }
    }
    plan.end_recurring(site);
    plan.wait(site, secs(60));
    let figure = plan.judge(site);
    plan.wait_until_told(site, &runner, secs(20));
    (figure, site.ledger().hits())
}

/// Arms a point, lets events come by, and waits until it was hit.
fn aim(site: &Site, runner: &mut Runner, plan: &mut Plan, point: Point, victim: Victim) {
    site.arm_with_cause(point, victim, runner);
    // Ten at once are claimed two by two, and the end of the first and the start of the second are one commit; unless a run that
    // is under way takes them one by one, as they come.
    for _ in 0..8 {
        let scheduled = plan.schedule_by_page(site, "fx_ok", "aimed", 10);
        assert_eq!(scheduled, 10, "a page view schedules");
        if is_hit_within(site, point, secs(5)) {
            break;
        }
    }
    assert!(!site.is_armed(point), "{} was never hit", point.name());
    if victim == Victim::Runner {
        wait_for("the runner's death", secs(5), || runner.has_died().then_some(()));
        runner.start();
    }
}

fn is_hit_within(site: &Site, point: Point, patience: Duration) -> bool {
    let armed = Instant::now();
    while site.is_armed(point) && armed.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(20));
    }
    !site.is_armed(point)
}

#[test]
fn row_aimed_on_mariadb_through_fastcgi() {
    let least = times(3, 20);
    let (figure, hits) = aimed_kills(&Site::builder().mariadb().start(), Trigger::FastCgi, least);
    nothing_wrong("aimed kills (MariaDB, fastcgi)", &figure, &hits);
    assert!(hits.least() >= least, "{hits}");
}

#[test]
fn row_aimed_on_sqlite_through_http() {
    let least = times(3, 20);
    let (figure, hits) = aimed_kills(&Site::builder().sqlite().start(), Trigger::Http, least);
    nothing_wrong("aimed kills (SQLite, http)", &figure, &hits);
    assert!(hits.least() >= least, "{hits}");
}
