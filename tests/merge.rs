//! The merge: concurrent scheduling loses nothing, whatever core, caches and other plugins do around it.

mod object_cache;
mod pitfalls;

use serde_json::json;

use crate::support::{Runner, Site};

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
