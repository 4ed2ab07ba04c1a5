//! Concurrent scheduling loses nothing, and what has run does not come back.

use serde_json::json;

use crate::support::{Runner, Site, secs, wait_for};

const WRITERS: usize = 6;
const EACH: usize = 25;

/// Writers in processes of their own, each with its own copy of the option, while a runner claims and runs what is due.
fn concurrent_writers(site: &Site) {
    let _runner = Runner::builder(site).site_line("rescan = \"2s\"").start();
    let due: Vec<_> =
        (0..60).map(|i| (crate::support::wordpress::unix_now() + 1 + i / 10, "fx_ok", json!(["due", i]))).collect();
    site.schedule(&due);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let told = site.php_json(&format!(
                    "$ok = 0; for ($i = 0; $i < {EACH}; $i++) {{
                        $r = wp_schedule_single_event(time() + 86400 + $i, 'fx_ok', ['far', {writer}, $i], true);
                        $ok += true === $r ? 1 : 0; usleep(2000); }}
                     echo json_encode($ok);"
                ));
                assert_eq!(told, json!(EACH), "core was told of a failure");
            });
        }
    });
    wait_for("the sixty due events", secs(30), || (site.ledger().ends("fx_ok").len() >= 60).then_some(()));
    wait_for("their leaving the option", secs(10), || {
        let left = site.scheduled("fx_ok").len();
        (left == WRITERS * EACH).then_some(())
    });
    assert_eq!(site.ledger().begins("fx_ok").len(), 60, "an event that had run came back");
}

#[test]
fn writers_lose_nothing_beside_a_runner_on_mariadb() {
    concurrent_writers(&Site::builder().mariadb().start());
}

#[test]
fn writers_lose_nothing_beside_a_runner_on_sqlite() {
    concurrent_writers(&Site::builder().sqlite().start());
}

#[test]
fn a_long_request_does_not_bring_back_what_has_run_meanwhile() {
    let site = Site::builder().mariadb().start();
    let _runner = Runner::builder(&site).start();
    let due = site.schedule_in(2, "fx_ok", &json!(["once"]));
    // It has read the option before the event ran, and writes after.
    let result = site.php_json(&format!(
        "_get_cron_array(); while (time() < {due} + 3) {{ usleep(50000); }}
         echo json_encode(wp_schedule_single_event(time() + 86400, 'fx_nobody', ['unrelated'], true));"
    ));
    assert_eq!(result, json!(true));
    assert!(site.scheduled("fx_ok").is_empty(), "the event came back");
    assert_eq!(site.scheduled("fx_nobody").len(), 1);
    assert_eq!(site.ledger().begins("fx_ok").len(), 1);
}
