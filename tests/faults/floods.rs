//! Row 33: events that print without end. The runner reads all of it, keeps a little, and does not grow.

use serde_json::json;

use super::{nothing_wrong, times};
use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, Trigger, secs, wait_for};

/// What the record of one event may keep.
const KEPT: usize = 64 * 1024;
const GROWTH_KB: u64 = 4096;

/// A line of /proc/PID/status, in KiB.
fn memory(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the runner's status");
    let value = status.lines().find_map(|text| text.strip_prefix(line)).expect("a line of it");
    value.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
}

fn floods(site: &Site, trigger: Trigger, row: &str) {
    let runner = Runner::builder(site).trigger(trigger).site_line("lanes = 1").start();
    let mut plan = Plan::new();
    let megabytes = times(20, 100);
    let lines = times(2, 20);
    // What every run needs is there before: buffers, the history's pages, the allocator's own.
    for round in 0..3 {
        plan.schedule(
            site,
            &[
                (unix_now(), "fx_flood", json!([1, 0, "first", round])),
                (unix_now(), "fx_flood", json!([1, 2, "first", round])),
            ],
        );
        wait_for("the first floods", secs(60), || {
            (runner.history_of("fx_flood").len() == 2 * (round + 1)).then_some(())
        });
    }
    std::fs::write(format!("/proc/{}/clear_refs", runner.pid()), "5").expect("the runner's high water mark");
    let before = memory(runner.pid(), "VmRSS");
    let log = runner.log().len();

    // Without a line break; in lines of a hundred bytes; in a million lines of one letter for every two megabytes.
    let floods = [json!([megabytes, 0]), json!([megabytes, 100]), json!([lines, 2])];
    plan.schedule(site, &floods.iter().map(|args| (unix_now(), "fx_flood", args.clone())).collect::<Vec<_>>());
    plan.schedule(site, &[(unix_now() + 1, "fx_output", json!(["behind them"]))]);
    wait_for("all of it", secs(180), || (runner.history().len() == 10).then_some(()));
    let after = memory(runner.pid(), "VmHWM");
    let figure = plan.judge(site);
    let grown = after.saturating_sub(before);
    nothing_wrong(
        row,
        &figure,
        &format!("{megabytes} MB twice, {lines} MB in lines of one letter; RSS +{grown} KiB on {before} KiB"),
    );
    let mut printed = Vec::new();
    for run in runner.history_of("fx_flood").iter().take(3) {
        let kept = run["output"].as_str().expect("an output").len();
        assert_eq!(
            (run["outcome"].as_str(), run["then"].as_str(), kept),
            (Some("ok"), Some("none"), KEPT),
            "{}",
            run["run"]
        );
        printed.push(run["output_dropped"].as_u64().expect("a number") + kept as u64);
    }
    printed.sort_unstable();
    let mut expected = [megabytes << 20, (1 << 20) / 100 * 100 * megabytes, lines << 20].map(|size| size as u64);
    expected.sort_unstable();
    // The line break before a frame is the frame's.
    let is_counted = printed.iter().zip(expected).all(|(printed, expected)| expected - printed <= 1);
    assert!(is_counted && printed.len() == 3, "kept and dropped make {printed:?}, not {expected:?}");
    let behind = &runner.history_of("fx_output")[0];
    assert_eq!((behind["output"].as_str(), behind["output_dropped"].as_u64()), (Some("behind them"), Some(0)));
    assert!(grown <= GROWTH_KB, "the runner grew by {grown} KiB");
    assert!(runner.log().len() - log < KEPT, "the log took part of the flood");
}

#[test]
fn row_33_floods_through_fastcgi() {
    floods(&Site::builder().sqlite().start(), Trigger::FastCgi, "row 33 (fastcgi)");
}

#[test]
fn row_33_floods_through_http() {
    floods(&Site::builder().mariadb().start(), Trigger::Http, "row 33 (http)");
}

#[test]
fn row_33_floods_through_wp_cli() {
    floods(&Site::builder().mariadb().start(), Trigger::WpCli, "row 33 (wp-cli)");
}
