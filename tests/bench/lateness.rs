//! Events at random moments: how late each begins, by the clock of the PHP that runs it.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use super::{is_quick, make_durable, report, wp_cron_event_run};
use crate::on_time::Draw;
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

/// An event, and the page view that schedules it, where it is not there from the beginning.
struct Planned {
    label: String,
    at: i64,
    asked_at: Option<i64>,
}

/// Half of the events are there before, half are scheduled by page views one to seven seconds ahead.
fn plan(count: u32, span: u64) -> Vec<Planned> {
    let mut draw = Draw(0x5eed_2026);
    let mut below = |bound: u64| i64::try_from(draw.below(bound)).expect("small");
    let start = unix_now() + 8;
    let event = |number: u32| {
        let label = format!("event-{number}");
        if number.is_multiple_of(2) {
            return Planned { label, at: start + below(span), asked_at: None };
        }
        let at = start + 4 + below(span - 4);
        Planned { label, at, asked_at: Some(at - 1 - below(7)) }
    };
    (0..count).map(event).collect()
}

/// Milliseconds after the due second, in order. Events that core has lost while two requests scheduled at once are not in it.
fn lateness(site: &Site, planned: &[Planned]) -> Vec<i64> {
    std::thread::scope(|scope| {
        for Planned { label, at, asked_at } in planned {
            let Some(asked_at) = *asked_at else { continue };
            scope.spawn(move || {
                while unix_now() < asked_at {
                    std::thread::sleep(Duration::from_millis(50));
                }
                let page = site.get(&format!("/?fx_schedule=fx_ok&at={at}&label={label}"));
                assert!(page.body.contains("\"results\":[true]"), "{label}: {} {}", page.status, page.body);
            });
        }
    });
    wait_for("the moment after the last event", secs(200), || (unix_now() > last(planned) + 1).then_some(()));
    wait_for("the end of all events", secs(90), || {
        let ledger = site.ledger();
        let is_at_rest = ledger.begins("fx_ok").len() == ledger.ends("fx_ok").len();
        (is_at_rest && site.scheduled("fx_ok").is_empty()).then_some(())
    });
    let mut begun: BTreeMap<String, i64> = BTreeMap::new();
    for line in site.ledger().begins("fx_ok") {
        let label = line.args[0].as_str().expect("a label").to_owned();
        let before = begun.insert(label, i64::try_from(line.wall_ms).expect("a time"));
        assert!(before.is_none(), "{} ran twice", line.args[0]);
    }
    let late = planned.iter().filter_map(|event| Some(begun.get(&event.label)? - event.at * 1000));
    let mut late: Vec<i64> = late.collect();
    late.sort_unstable();
    assert!(late[0] >= 0, "an event began before its time: {} ms", late[0]);
    late
}

fn last(planned: &[Planned]) -> i64 {
    planned.iter().map(|event| event.at).max().expect("events")
}

fn schedule_known(site: &Site, planned: &[Planned]) {
    let known = planned.iter().filter(|event| event.asked_at.is_none());
    let known: Vec<_> = known.map(|event| (event.at, "fx_ok", json!([event.label, 0]))).collect();
    site.schedule(&known);
}

fn of_the_runner(site: &Site, count: u32, span: u64) -> Vec<i64> {
    let planned = plan(count, span);
    schedule_known(site, &planned);
    let _runner = Runner::builder(site).start();
    let late = lateness(site, &planned);
    assert_eq!(late.len(), planned.len(), "an event did not run");
    late
}

/// As a crontab does: at each full minute, one process of WP-CLI.
fn of_a_crontab(count: u32, span: u64) -> Vec<i64> {
    let site = Site::builder().mariadb().workers(8).wp_config("define( 'DISABLE_WP_CRON', true );").start();
    make_durable(&site);
    let planned = plan(count, span);
    schedule_known(&site, &planned);
    let until = (last(&planned) / 60 + 1) * 60;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut minute = unix_now() / 60;
            while unix_now() <= until {
                std::thread::sleep(Duration::from_millis(20));
                if unix_now() / 60 > minute {
                    minute = unix_now() / 60;
                    let ended = wp_cron_event_run(&site).stdin(Stdio::null()).stdout(Stdio::null()).status();
                    assert!(ended.expect("php").success(), "wp cron event run");
                }
            }
        });
        lateness(&site, &planned)
    })
}

#[test]
#[ignore = "measures for minutes; `make bench`"]
fn lateness_at_random_moments() {
    let (count, span) = if is_quick() { (30, 60) } else { (60, 120) };
    let site = Site::builder().mariadb().workers(8).start();
    make_durable(&site);
    let machine = report::machine(&site);
    let ours = of_the_runner(&site, count, span);
    drop(site);
    let mut measured = vec![("runner, fastcgi", ours.clone())];
    let mut notes = vec!["Half of the events are known before, half are scheduled by page views 1 to 7 s ahead."];
    if is_quick() {
        notes.push("Not measured with QUICK=1: a crontab that calls `wp cron event run --due-now` every minute.");
    } else {
        notes.push(
            "Every event of the runner ran exactly once; core loses some where two requests schedule at the same time.",
        );
        measured.push(("crontab + wp cron event run", of_a_crontab(count, span)));
    }
    let rows: Vec<Vec<String>> = measured.iter().map(|(way, late)| row(way, late, &ours)).collect();
    let values: Vec<Value> = measured.iter().map(|(way, late)| value(way, late)).collect();
    report::tell(
        "lateness",
        &machine,
        &format!("Lateness of {count} events at random moments within {span} s, in ms after the due second"),
        &notes,
        &["way", "events run", "p50", "p95", "max", "x ours (p50)"],
        &rows,
        &json!(values),
    );
}

fn percentile(late: &[i64], percent: usize) -> i64 {
    late[(late.len() - 1) * percent / 100]
}

#[allow(clippy::cast_precision_loss, reason = "minutes in milliseconds")]
fn row(way: &str, late: &[i64], ours: &[i64]) -> Vec<String> {
    let times = percentile(late, 50) as f64 / percentile(ours, 50).max(1) as f64;
    let mut cells = vec![way.to_owned(), late.len().to_string()];
    cells.extend([50, 95, 100].map(|percent| percentile(late, percent).to_string()));
    cells.push(format!("{times:.2}"));
    cells
}

fn value(way: &str, late: &[i64]) -> Value {
    let at = |percent| percentile(late, percent);
    json!({ "way": way, "events": late.len(), "p50_ms": at(50), "p95_ms": at(95), "max_ms": at(100) })
}
