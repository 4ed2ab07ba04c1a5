//! What core, other plugins and the database do around a write of the option.

use std::time::Instant;

use serde_json::json;

use crate::support::{Runner, Site, secs, wait_for};

fn both() -> [Site; 2] {
    [Site::builder().mariadb().start(), Site::builder().sqlite().start()]
}

#[test]
fn a_row_that_is_missing_is_made_and_two_that_make_it_lose_nothing() {
    for site in both() {
        let _runner = Runner::builder(&site).start();
        site.sql("DELETE FROM wp_options WHERE option_name = 'cron'");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let site = &site;
                scope.spawn(move || {
                    let told = site.php_json(&format!(
                        "$ok = 0; for ($i = 0; $i < 10; $i++) {{
                            $ok += true === wp_schedule_single_event(time() + 9000 + $i, 'fx_nobody', [{writer}, $i], true) ? 1 : 0; }}
                         echo json_encode($ok);"
                    ));
                    assert_eq!(told, json!(10));
                });
            }
        });
        assert_eq!(site.scheduled("fx_nobody").len(), 40);
    }
}

#[test]
fn no_change_writes_nothing_and_holds_no_lock() {
    for site in both() {
        let _runner = Runner::builder(&site).start();
        let told = site.php_json(
            "global $wpdb; $cron = _get_cron_array(); $before = $wpdb->num_queries; $same = _set_cron_array($cron, true);
             $queries = $wpdb->num_queries - $before;
             // What this request removes somebody else has removed already: the copy changes, the row does not.
             wp_schedule_single_event(time() + 9000, 'fx_nobody', [], true);
             $at = wp_next_scheduled('fx_nobody');
             $wpdb->query(\"UPDATE $wpdb->options SET option_value = '\" . esc_sql(serialize($cron)) . \"' WHERE option_name = 'cron'\");
             $gone = wp_unschedule_event($at, 'fx_nobody', [], true);
             echo json_encode([is_wp_error($same) ? $same->get_error_code() : $same, $queries, $gone]);",
        );
        assert_eq!(told, json!(["could_not_set", 0, true]), "as core says where nothing changed");
        let at = Instant::now();
        assert_eq!(site.php("echo json_encode(wp_schedule_single_event(time() + 9000, 'fx_ok', [], true));"), "true");
        assert!(at.elapsed() < secs(5), "nobody holds the lock");
        assert_eq!((site.scheduled("fx_ok").len(), site.scheduled("fx_nobody").len()), (1, 0));
    }
}

#[test]
fn a_merge_that_equals_the_stale_copy_is_written_all_the_same() {
    for site in both() {
        let _runner = Runner::builder(&site).start();
        let told = site.php_json(
            "global $wpdb; $copy = _get_cron_array(); $text = get_option('cron');
             $more = $copy; $more[time() + 7000]['fx_nobody'][md5(serialize([]))] = ['schedule' => false, 'args' => []];
             // Another request has added an event, and this one adds and removes that very event again.
             $wpdb->query(\"UPDATE $wpdb->options SET option_value = '\" . esc_sql(serialize($more)) . \"' WHERE option_name = 'cron'\");
             $at = max(array_map('intval', array_keys($more)));
             foreach ($more as $time => $hooks) { if (is_array($hooks) && isset($hooks['fx_nobody'])) { $at = $time; } }
             wp_schedule_single_event($at, 'fx_nobody', [], true);
             echo json_encode(wp_unschedule_event($at, 'fx_nobody', [], true));",
        );
        assert_eq!(told, json!(true));
        assert_eq!(site.scheduled("fx_nobody").len(), 0, "the row holds what the request meant");
    }
}

#[test]
fn a_hook_of_the_write_that_schedules_in_its_turn_loses_neither() {
    for site in both() {
        site.add_plugin(
            "add_action('update_option', function ($option) {
                static $done = false;
                if ('cron' === $option && !$done && wp_next_scheduled('fx_outer') === false && isset($GLOBALS['fx_nested'])) {
                    $done = true; wp_schedule_single_event(time() + 9100, 'fx_inner');
                }
            });",
        );
        let _runner = Runner::builder(&site).start();
        site.php("$GLOBALS['fx_nested'] = true; wp_schedule_single_event(time() + 9000, 'fx_outer');");
        assert_eq!((site.scheduled("fx_outer").len(), site.scheduled("fx_inner").len()), (1, 1));
    }
}

#[test]
fn filters_of_other_plugins_have_their_say() {
    let site = Site::builder().mariadb().start();
    site.add_plugin(
        "add_filter('pre_schedule_event', function ($pre, $event) { return 'fx_theirs' === $event->hook ? true : $pre; }, 10, 2);
         add_filter('schedule_event', function ($event) { return $event && 'fx_refused' === $event->hook ? false : $event; });
         add_filter('pre_option_cron', function ($pre) { return $pre; });
         add_filter('pre_update_option_cron', function ($value) {
            foreach ($value as $time => $hooks) { if (is_array($hooks)) { unset($value[$time]['fx_forbidden']); } }
            return array_filter($value); });",
    );
    let _runner = Runner::builder(&site).start();
    let told = site.php_json(
        "$told = []; foreach (['fx_theirs', 'fx_refused', 'fx_forbidden', 'fx_nobody'] as $hook) {
            $told[] = wp_schedule_single_event(time() + 9000, $hook); }
         echo json_encode($told);",
    );
    assert_eq!(told, json!([true, false, false, true]));
    let there = ["fx_theirs", "fx_refused", "fx_forbidden", "fx_nobody"].map(|hook| site.scheduled(hook).len());
    assert_eq!(there, [0, 0, 0, 1]);
}

#[test]
fn a_connection_that_is_lost_between_reading_and_writing_loses_nothing() {
    let site = Site::builder().mariadb().start();
    let _runner = Runner::builder(&site).start();
    let told = site.php_json(
        "global $wpdb; $other = new wpdb(DB_USER, DB_PASSWORD, DB_NAME, DB_HOST);
         add_filter('query', function ($query) use ($wpdb, $other) {
            static $killed = false;
            if (!$killed && 0 === strpos($query, 'UPDATE') && false !== strpos($query, \"'cron'\")) {
                $killed = true; $other->query('KILL ' . mysqli_thread_id($wpdb->dbh)); }
            return $query; }, 1);
         $told = wp_schedule_single_event(time() + 9000, 'fx_nobody', ['after the loss'], true);
         echo json_encode(is_wp_error($told) ? $told->get_error_code() : $told);",
    );
    assert_eq!(told, json!(true));
    assert_eq!(site.scheduled("fx_nobody").len(), 1);
    assert_eq!(site.php("echo json_encode(wp_schedule_single_event(time() + 9000, 'fx_ok', [], true));"), "true");
}

/// The longest wait of pages while one holds the row in a transaction for five seconds.
#[test]
fn a_page_that_holds_a_transaction_for_long_keeps_no_other_waiting() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).start();
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            site.php(
                "global $wpdb; $wpdb->query('START TRANSACTION');
                 $told = wp_schedule_single_event(time() + 9000, 'fx_nobody', ['inside'], true);
                 fx_write('NOTE', 'held', []); $until = microtime(true) + 5; while (microtime(true) < $until) { usleep(20000); }
                 $wpdb->query('COMMIT'); echo json_encode($told);",
            )
        });
        wait_for("the transaction", secs(10), || site.ledger().0.iter().any(|line| line.hook == "held").then_some(()));
        let longest = site.php_json(
            "$longest = 0; $ok = 0; $until = microtime(true) + 3;
             for ($i = 0; microtime(true) < $until; $i++) { $at = microtime(true);
                $ok += true === wp_schedule_single_event(time() + 9000 + $i, 'fx_ok', ['page', $i], true) ? 1 : 0;
                $longest = max($longest, microtime(true) - $at); }
             echo json_encode([$longest, $ok, $i]);",
        );
        assert!(longest[0].as_f64().is_some_and(|longest| longest < 0.5), "seconds: {longest}");
        assert_eq!(longest[1], json!(0), "told that it could not be set");
        assert_eq!(holder.join().expect("the holder"), "true");
    });
    assert_eq!((site.scheduled("fx_nobody").len(), site.scheduled("fx_ok").len()), (1, 0));
    site.schedule_in(1, "fx_output", &json!([]));
    wait_for("a run afterwards", secs(20), || runner.history_of("fx_output").first().cloned());
}

#[test]
fn another_blog_of_a_network_is_written_in_its_own_table() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).start();
    site.wp(&["core", "multisite-convert", "--title=Network", "--base=/"]);
    site.wp(&["site", "create", "--slug=second", "--title=Second"]);
    let told = site.php_json(
        "wp_schedule_single_event(time() + 9000, 'fx_nobody', ['first']);
         switch_to_blog(2); $told = wp_schedule_single_event(time() + 9000, 'fx_nobody', ['second'], true);
         $here = wp_next_scheduled('fx_nobody', ['second']) !== false; restore_current_blog();
         wp_schedule_single_event(time() + 9001, 'fx_nobody', ['first again']);
         echo json_encode([$told, $here, wp_next_scheduled('fx_nobody', ['second'])]);",
    );
    assert_eq!(told, json!([true, true, false]));
    assert_eq!(site.scheduled("fx_nobody").len(), 2);
    let second = site.sql_text("SELECT option_value FROM wp_2_options WHERE option_name = 'cron'").unwrap_or_default();
    assert!(second.contains("fx_nobody") && second.contains("second") && !second.contains("first"), "{second}");
    let first = site.sql_text("SELECT option_value FROM wp_options WHERE option_name = 'cron'").unwrap_or_default();
    assert!(!first.contains("\"second\""), "{first}");
    site.schedule_in(1, "fx_ok", &json!([]));
    wait_for("a run of the first blog", secs(20), || runner.history_of("fx_ok").first().cloned());
}
