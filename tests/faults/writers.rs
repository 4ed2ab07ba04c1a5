//! Rows 41 and 42: the option written by many at once, and by a request that knows an old copy of it.

use serde_json::json;

use super::{nothing_wrong, times};
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Guard, Plan, Runner, Site, secs};

const WRITERS: usize = 8;

/// Eight processes schedule while a runner claims: what `wp_schedule_single_event` called done is there afterwards, and
/// what has run does not come back.
pub fn writers_beside_a_runner(site: &Site, without: Option<Guard>, each: usize) -> Figure {
    let mut runner = Runner::builder(site).site_line("rescan = \"2s\"").prepare();
    if let Some(guard) = without {
        site.without(guard);
    }
    runner.start();
    let mut plan = Plan::new();
    let start = unix_now() + 2;
    let due: Vec<_> = (0..60).map(|i| (start + i / 10, "fx_ok", json!(["due", i]))).collect();
    plan.schedule(site, &due);
    let far: Vec<_> = (0..WRITERS).flat_map(|w| (0..each).map(move |i| ("fx_nobody", json!([w, i])))).collect();
    plan.expect(&far);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                site.php(&format!(
                    "for ($i = 0; $i < {each}; $i++) {{
                        wp_schedule_single_event(time() + 86400 + $i, 'fx_nobody', [{writer}, $i], true); usleep(2000); }}"
                ))
            });
        }
    });
    let mut ran = Plan::new();
    ran.expect(&due.iter().map(|(_, hook, args)| (*hook, args.clone())).collect::<Vec<_>>());
    ran.wait(site, secs(30));
    plan.judge(site)
}

/// It has read the option before the events ran, and writes something unrelated afterwards.
pub fn a_stale_request(site: &Site, without: Option<Guard>) -> Figure {
    let mut runner = Runner::builder(site).prepare();
    if let Some(guard) = without {
        site.without(guard);
    }
    runner.start();
    let mut plan = Plan::new();
    let due = unix_now() + 2;
    plan.schedule(site, &(0..5).map(|i| (due, "fx_ok", json!(["once", i]))).collect::<Vec<_>>());
    site.php(&format!(
        "_get_cron_array(); while (time() < {due} + 3) {{ usleep(50000); }}
         wp_schedule_single_event(time() + 86400, 'fx_nobody', ['unrelated'], true);"
    ));
    plan.wait(site, secs(10));
    plan.judge(site)
}

#[test]
fn row_41_writers_on_mariadb() {
    let each = times(25, 250);
    let figure = writers_beside_a_runner(&Site::builder().mariadb().start(), None, each);
    nothing_wrong("row 41 (MariaDB)", &figure, &format!("{WRITERS} writers of {each}"));
}

#[test]
fn row_41_writers_on_sqlite() {
    let each = times(25, 250);
    let figure = writers_beside_a_runner(&Site::builder().sqlite().start(), None, each);
    nothing_wrong("row 41 (SQLite)", &figure, &format!("{WRITERS} writers of {each}"));
}

#[test]
fn row_42_a_stale_request() {
    let mut figure = Figure::default();
    let rounds = times(1, 5);
    for round in 0..rounds {
        let site = Site::builder();
        let site = if round % 2 == 0 { site.mariadb() } else { site.sqlite() };
        figure = figure.plus(a_stale_request(&site.start(), None));
    }
    nothing_wrong("row 42", &figure, &format!("{rounds} requests"));
}
