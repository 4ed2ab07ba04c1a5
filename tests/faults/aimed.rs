//! Aimed kills: a process of PHP or the runner dies at each point of a run where a promise could break.

use serde_json::json;

use super::{nothing_wrong, times};
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
    // With two lanes a batch of two: the end of the first and the start of the second are one commit.
    let scheduled = plan.schedule_by_page(site, "fx_ok", "aimed", 10);
    assert_eq!(scheduled, 10, "a page view schedules");
    wait_for(point.name(), secs(30), || (!site.is_armed(point)).then_some(()));
    if victim == Victim::Runner {
        wait_for("the runner's death", secs(5), || runner.has_died().then_some(()));
        runner.start();
    }
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
