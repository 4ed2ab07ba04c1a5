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

#[test]
fn what_a_page_schedules_inside_a_transaction_is_not_lost() {
    let site = Site::builder().mariadb().start();
    let _runner = Runner::builder(&site).start();
    let told = site.php_json(
        "global $wpdb; $wpdb->query('START TRANSACTION'); $wpdb->get_var(\"SELECT COUNT(*) FROM $wpdb->options\");
         // Somebody else writes the option meanwhile; this transaction does not see it.
         $other = new wpdb(DB_USER, DB_PASSWORD, DB_NAME, DB_HOST);
         $cron = unserialize($other->get_var(\"SELECT option_value FROM $wpdb->options WHERE option_name = 'cron'\"));
         $cron[time() + 9000]['fx_nobody'][md5(serialize([]))] = ['schedule' => false, 'args' => []];
         $other->update($wpdb->options, ['option_value' => serialize($cron)], ['option_name' => 'cron']);
         $told = wp_schedule_single_event(time() + 8000, 'fx_ok', ['inside'], true);
         $wpdb->query('COMMIT'); echo json_encode(is_wp_error($told) ? $told->get_error_code() : $told);",
    );
    assert_eq!(told, json!(true));
    assert_eq!((site.scheduled("fx_ok").len(), site.scheduled("fx_nobody").len()), (1, 1));
}

#[test]
fn a_page_does_not_hang_where_another_holds_the_row_in_a_transaction() {
    let site = Site::builder().mariadb().start();
    let _runner = Runner::builder(&site).start();
    let told = site.php_json(
        "global $wpdb; $other = new wpdb(DB_USER, DB_PASSWORD, DB_NAME, DB_HOST);
         $other->query('START TRANSACTION'); $other->get_var(\"SELECT option_value FROM $wpdb->options WHERE option_name = 'cron' FOR UPDATE\");
         $told = wp_schedule_single_event(time() + 8000, 'fx_ok', ['while locked'], true);
         $other->query('COMMIT');
         $then = wp_schedule_single_event(time() + 8000, 'fx_ok', ['afterwards'], true);
         echo json_encode([is_wp_error($told) ? $told->get_error_code() : $told, $then]);",
    );
    assert_eq!(told, json!(["could_not_set", true]), "told, not lost in silence; and no fatal error");
    assert_eq!(site.scheduled("fx_ok").len(), 1);
}

#[test]
fn an_option_in_latin1_can_be_written() {
    let site = Site::builder().mariadb().start();
    let _runner = Runner::builder(&site).start();
    site.sql("ALTER TABLE wp_options CONVERT TO CHARACTER SET latin1");
    let told = site.php_json(
        "$a = wp_schedule_single_event(time() + 8000, 'fx_ok', [\"M\u{fc}ller\"], true);
         $b = wp_schedule_single_event(time() + 9000, 'fx_nobody', [], true);
         $c = wp_clear_scheduled_hook('fx_ok', [\"M\u{fc}ller\"], true);
         echo json_encode([$a, $b, $c]);",
    );
    assert_eq!(told, json!([true, true, 1]));
}
