//! Row 23: SIGTERM while a long event runs, with a drain longer and shorter than it.

use super::{nothing_wrong, times};
use crate::support::{Figure, Plan, Runner, Site, Trigger, secs, wait_for};

fn stopped_mid_run(site: &Site, trigger: Trigger, drain: &str, length: &str, ends_before: bool) -> Figure {
    let mut plan = Plan::new();
    let drain = format!("drain = \"{drain}\"");
    let mut runner =
        Runner::builder(site).trigger(trigger).runner_line(&drain).site_line("rescan = \"1s\"\nlanes = 1").start();
    for round in 0..times(1, 3) {
        plan.schedule_by_page(site, "fx_sleep", length, 1);
        wait_for("its beginning", secs(20), || (site.ledger().begins("fx_sleep").len() > round).then_some(()));
        // Due while the runner drains: these wait for the next one.
        plan.schedule_by_page_in(site, 2, "fx_ok", "late", 3);
        assert!(runner.stop_within(secs(90)).success(), "{}", runner.log());
        let ends = site.ledger().ends("fx_sleep").len();
        assert_eq!(ends > round, ends_before, "the stop waited for it, or left it to its process\n{}", runner.log());
        runner.start();
        wait_for("its end", secs(60), || (site.ledger().ends("fx_sleep").len() > round).then_some(()));
    }
    plan.wait(site, secs(60));
    plan.wait_until_told(site, &runner, secs(20));
    let outcomes = runner.history_of("fx_sleep");
    assert!(outcomes.iter().all(|run| run["outcome"] == "ok"), "{outcomes:?}");
    plan.judge(site)
}

fn length() -> &'static str {
    if times(1, 2) == 1 { "3" } else { "30" }
}

#[test]
fn row_23_a_drain_that_is_long_enough() {
    let figure = stopped_mid_run(&Site::builder().mariadb().start(), Trigger::FastCgi, "60s", length(), true);
    nothing_wrong("row 23 (drain 60 s)", &figure, &format!("events of {} s end ok", length()));
}

#[test]
fn row_23_a_drain_that_is_too_short() {
    let drain = if length() == "3" { "1s" } else { "5s" };
    let figure = stopped_mid_run(&Site::builder().sqlite().start(), Trigger::Http, drain, length(), false);
    nothing_wrong(
        "row 23 (short drain)",
        &figure,
        &format!("events of {} s end ok, adopted after a restart", length()),
    );
}

#[test]
fn row_23_a_drain_that_is_too_short_for_wp_cli() {
    let drain = if length() == "3" { "1s" } else { "5s" };
    let figure = stopped_mid_run(&Site::builder().mariadb().start(), Trigger::WpCli, drain, length(), false);
    nothing_wrong("row 23 (short drain, wp-cli)", &figure, &format!("events of {} s end ok, adopted", length()));
}
