//! Events start at their own second, whoever schedules them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, Trigger, secs, wait_for};

/// A small generator with a printed seed: which moments are drawn does not matter, that one can draw them again does.
pub struct Draw(pub u64);

impl Draw {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn lateness(site: &Site, hook: &str, due: &BTreeMap<String, i64>) -> Vec<i64> {
    let ledger = site.ledger();
    let mut late: Vec<i64> = ledger
        .begins(hook)
        .iter()
        .map(|line| {
            let label = line.args[0].as_str().expect("a label");
            i64::try_from(line.wall_ms).expect("a time") - due[label] * 1000
        })
        .collect();
    late.sort_unstable();
    late
}

/// Half of the events are there before the runner, half are scheduled by page views while it runs.
#[test]
fn sixty_events_at_random_moments_each_run_once_and_on_time() {
    const SPAN: u64 = 70;
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_2026_u64);
    let mut draw = Draw(seed);
    let site = Site::builder().mariadb().workers(8).start();
    let start = unix_now() + 8;
    let mut due = BTreeMap::new();
    for i in 0..30 {
        let at = start + i64::try_from(draw.below(SPAN)).expect("small");
        due.insert(format!("before-{i}"), at);
    }
    let before: Vec<_> = due.iter().map(|(label, at)| (*at, "fx_ok", json!([label, 0]))).collect();
    site.schedule(&before);
    let _runner = Runner::builder(&site).trigger(Trigger::FastCgi).start();
    std::thread::scope(|scope| {
        for i in 0..30 {
            let at = start + 4 + i64::try_from(draw.below(SPAN - 4)).expect("small");
            let label = format!("during-{i}");
            // Asked for one to seven seconds ahead, several page views at the same moment.
            let ask_at = at - 1 - i64::try_from(draw.below(7)).expect("small");
            due.insert(label.clone(), at);
            let site = &site;
            scope.spawn(move || {
                while unix_now() < ask_at {
                    std::thread::sleep(Duration::from_millis(50));
                }
                let page = site.get(&format!("/?fx_schedule=fx_ok&at={at}&label={label}"));
                assert!(page.body.contains("\"results\":[true]"), "{label}: {} {}", page.status, page.body);
            });
        }
    });
    wait_for("all sixty", secs(SPAN + 60), || (site.ledger().ends("fx_ok").len() >= 60).then_some(()));
    wait_for("an empty timetable", secs(10), || site.scheduled("fx_ok").is_empty().then_some(()));

    let late = lateness(&site, "fx_ok", &due);
    let at = |percent: usize| late[(late.len() - 1) * percent / 100];
    eprintln!("lateness of {} events, ms: p50 {}, p95 {}, max {} (seed {seed})", late.len(), at(50), at(95), at(100));
    assert!(late[0] >= 0, "an event started before its time: {} ms", late[0]);
    for label in due.keys() {
        let ledger = site.ledger();
        let times = ledger.begins("fx_ok").iter().filter(|line| line.args[0] == json!(label)).count();
        assert_eq!(times, 1, "{label} ran {times} times");
    }
}

#[test]
fn a_page_view_that_schedules_something_sooner_wakes_the_runner() {
    let site = Site::builder().sqlite().start();
    // A rescan that would come far too late: only the notice can do it.
    let _runner = Runner::builder(&site).site_line("rescan = \"10m\"\ngrace = \"1h\"").start();
    let page = site.get("/?fx_schedule=fx_ok&in=2&label=sooner");
    assert!(page.body.contains("true"), "{}", page.body);
    wait_for("the event", secs(10), || site.ledger().end_of("fx_ok"));
}

#[test]
fn an_event_that_is_written_behind_the_plugin_is_found_by_the_rescan() {
    let site = Site::builder().mariadb().start();
    let _runner = Runner::builder(&site).site_line("rescan = \"2s\"").start();
    // Straight into the row, as a restored backup or another program would.
    site.php(
        "global $wpdb; $c = get_option('cron'); $c[time()]['fx_ok'][md5(serialize([]))] = ['schedule' => false, 'args' => []];
         $wpdb->update($wpdb->options, ['option_value' => serialize($c)], ['option_name' => 'cron']);",
    );
    wait_for("the event", secs(10), || site.ledger().end_of("fx_ok"));
}

#[test]
fn a_run_tells_of_what_its_hook_schedules_while_it_still_runs() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).site_line("rescan = \"10m\"\ngrace = \"1h\"\nlanes = 2").start();
    site.php("wp_schedule_single_event(time() - 1, 'fx_long', []);");
    // fx_long schedules fx_ok for the next second and goes on for five more.
    let ok = wait_for("the inner event", secs(15), || site.ledger().begin_of("fx_ok"));
    let long = wait_for("the outer event's end", secs(15), || site.ledger().end_of("fx_long"));
    assert!(ok.mono_ns < long.mono_ns, "the inner event had to wait for the outer one\n{}", runner.log());
}

#[test]
fn what_a_hook_collects_is_its_own() {
    let site = Site::builder().sqlite().start();
    let _runner = Runner::builder(&site).site_line("rescan = \"10m\"\ngrace = \"1h\"").start();
    site.schedule_in(1, "fx_collect", &json!([]));
    wait_for("what it scheduled", secs(15), || site.ledger().end_of("fx_ok"));
    let end = site.ledger().end_of("fx_collect").expect("its end");
    assert_eq!(end.note, json!("rendered"), "a frame of ours was printed into the hook's buffer");
}
