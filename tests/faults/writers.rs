//! Rows 41 and 42: the option written by many at once, and by a request that knows an old copy of it.

use serde_json::json;

use super::{nothing_wrong, times};
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Guard, Plan, Runner, Site, secs};

const WRITERS: usize = 8;

/// Eight processes schedule while a runner claims: what `wp_schedule_single_event` called done is there afterwards, and
/// what has run does not come back. Also what it called `could_not_set`: refused, not lost.
pub fn writers_beside_a_runner(site: &Site, without: Option<Guard>, each: usize) -> (Figure, usize) {
    let mut runner = Runner::builder(site).site_line("rescan = \"2s\"").prepare();
    if let Some(guard) = without {
        site.without(guard);
    }
    runner.start();
    let mut plan = Plan::new();
    let start = unix_now() + 2;
    let due: Vec<_> = (0..60).map(|i| (start + i / 10, "fx_ok", json!(["due", i]))).collect();
    plan.schedule(site, &due);
    let write = |writer: usize| {
        let done = site.php_json(&format!(
            "$done = []; for ($i = 0; $i < {each}; $i++) {{
                $done[] = wp_schedule_single_event(time() + 86400 + $i, 'fx_nobody', [{writer}, $i], true); usleep(2000); }}
             echo json_encode(array_map(function ($one) {{ return is_wp_error($one) ? $one->get_error_code() : $one; }}, $done));"
        ));
        let done = done.as_array().expect("a list").clone();
        assert!(done.iter().all(|one| one == true || one == "could_not_set"), "{done:?}");
        done.into_iter().enumerate().filter(|(_, one)| one == true).map(move |(i, _)| ("fx_nobody", json!([writer, i])))
    };
    let far: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect()
    });
    plan.expect(&far);
    let mut ran = Plan::new();
    ran.expect(&due.iter().map(|(_, hook, args)| (*hook, args.clone())).collect::<Vec<_>>());
    ran.wait(site, secs(30));
    (plan.judge(site), WRITERS * each - far.len())
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

fn writers(row: &str, site: &Site, each: usize) {
    let (figure, refused) = writers_beside_a_runner(site, None, each);
    nothing_wrong(row, &figure, &format!("{WRITERS} writers of {each}, {refused} refused (could_not_set)"));
    assert!(refused * 100 <= WRITERS * each, "{refused} were refused: a page waits a fifth of a second");
}

#[test]
fn row_41_writers_on_mariadb() {
    let each = times(25, 250);
    writers("row 41 (MariaDB)", &Site::builder().mariadb().start(), each);
}

#[test]
fn row_41_writers_on_sqlite() {
    let each = times(25, 250);
    writers("row 41 (SQLite)", &Site::builder().sqlite().start(), each);
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
