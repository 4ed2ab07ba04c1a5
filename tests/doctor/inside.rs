//! Sites in which nearly everything is wrong at once, as far as one thing does not hide another.

use serde_json::json;

use super::all_is_well::PATIENT;
use super::examined;
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site};

#[test]
fn what_is_wrong_inside_a_site_is_found() {
    let site = Site::builder()
        .mariadb()
        .workers(2)
        .php_fpm_line("request_terminate_timeout = 30s")
        .php_ini("memory_limit", "60M")
        .php_ini("max_execution_time", "20")
        .php_ini("disable_functions", "posix_kill,set_time_limit")
        .wp_config("define( 'DISABLE_WP_CRON', true );")
        .wp_config("define( 'ALTERNATE_WP_CRON', true );")
        .wp_config("define( 'WP_CRON_LOCK_TIMEOUT', 5 );")
        .start();
    let mut runner = Runner::builder(&site).start();
    site.get("/wp-cron.php");
    runner.stop();
    let at = unix_now() + 3600;
    site.php(&format!(
        "for ( $i = 0; $i < 3; $i++ ) {{ wp_schedule_event( {at} + $i * 5000, 'hourly', 'fx_recurring', array( 'same' ) ); }}
        wp_schedule_single_event( {at}, 'gone_plugin_import' );
        add_filter( 'cron_schedules', function ( $all ) {{ $all['fortnight'] = array( 'interval' => 1209600, 'display' => 'x' ); return $all; }} );
        wp_schedule_event( {at}, 'fortnight', 'fx_ok' );
        $id = wp_insert_post( array( 'post_title' => 'late', 'post_status' => 'future', 'post_date' => gmdate( 'Y-m-d H:i:s', time() + 9000 ) ) );
        global $wpdb;
        $wpdb->update( $wpdb->posts, array( 'post_date_gmt' => gmdate( 'Y-m-d H:i:s', time() - 900 ) ), array( 'ID' => $id ) );
        wp_clear_scheduled_hook( 'publish_future_post', array( $id ) );
        $wpdb->query( \"ALTER TABLE $wpdb->options ENGINE=MyISAM\" );
        $wpdb->query( \"UPDATE $wpdb->options SET autoload = 'no' WHERE option_name = 'cron'\" );
        update_option( 'gmt_offset', 5.5 );
        update_option( 'timezone_string', '' );"
    ));
    site.add_plugin(
        "add_filter( 'pre_schedule_event', function ( $pre ) { return $pre; } );
        add_action( 'plugins_loaded', function () { add_action( 'init', 'wp_cron' ); } );",
    );
    // There all the time, and keeping nothing.
    std::fs::write(site.path.join("wp-content/object-cache.php"), "<?php // Its server is not there.").unwrap();

    let findings = examined(&runner);
    for (level, check, found, fix) in [
        ("warn", "php", "without posix_kill()", "take posix_kill out of `disable_functions`"),
        ("fail", "php limits", "set_time_limit() is disabled: PHP ends events after 20 s", "max_execution_time = 600"),
        ("fail", "request_terminate_timeout", "30s: php-fpm kills events", "`request_terminate_timeout = 0` into "),
        (
            "warn",
            "process_control_timeout",
            "kills the events that run",
            "`process_control_timeout = 60s` into [global] of ",
        ),
        ("fail", "pm.max_children", "2 workers, of which events take 2", "`pm.max_children = 5` into "),
        ("warn", "DISABLE_WP_CRON", "is defined", "`define( 'DISABLE_WP_CRON', true );` out of wp-config.php"),
        ("warn", "ALTERNATE_WP_CRON", "is defined", "`define( 'ALTERNATE_WP_CRON', true );` out of wp-config.php"),
        ("warn", "WP_CRON_LOCK_TIMEOUT", "5 s", "take WP_CRON_LOCK_TIMEOUT out"),
        ("fail", "page-load cron", "wp_cron at init", "grep -rn wp_cron wp-content"),
        ("warn", "callers of wp-cron.php", "127.0.0.1", "take the line out of the crontab"),
        ("warn", "other runners", "pre_schedule_event by a closure (mu-plugins/zz-test.php)", "look what it does"),
        ("warn", "cron option", "it is not autoloaded", "`wp option set-autoload cron yes`"),
        ("warn", "duplicates", "fx_recurring (3)", "`wp cron event delete fx_recurring`"),
        ("warn", "hooks", "nobody listens to gone_plugin_import (1)", "`wp cron event delete gone_plugin_import`"),
        ("warn", "schedules", "fx_ok (fortnight)", "activate the plugin that has the schedule"),
        ("warn", "scheduled posts", "1 should be published by now, such as ", "`wp post update "),
        ("fail", "tables", "wp_options is MyISAM", "ALTER TABLE wp_options ENGINE=InnoDB"),
        ("warn", "object cache", "keeps nothing from one page to the next", "delete wp-content/object-cache.php"),
        ("warn", "time zone", "UTC+5.5, which knows no summer time", "`wp option update timezone_string"),
    ] {
        findings.has(level, &format!("site shop: {check}"), found, fix);
    }
    assert_eq!(site.ledger().begins("fx_recurring").len(), 0);
}

#[test]
fn what_hides_the_rest_is_found_by_itself() {
    let site = Site::builder()
        .mariadb()
        .php_fpm_line(PATIENT)
        .php_ini("disable_functions", "getmypid")
        .php_ini("opcache.validate_timestamps", "0")
        .php_ini("memory_limit", "60M")
        .start();
    site.add_plugin(
        "class Fx_Elsewhere { public static function cron( $pre ) { return $pre; } }
        add_filter( 'pre_option_cron', array( 'Fx_Elsewhere', 'cron' ) );
        date_default_timezone_set( 'Europe/Berlin' );",
    );
    let runner = Runner::builder(&site).start();
    let findings = examined(&runner);
    let name = |check: &str| format!("site shop: {check}");
    findings.has(
        "fail",
        &name("other runners"),
        "pre_option_cron by Fx_Elsewhere::cron",
        "deactivate what Fx_Elsewhere",
    );
    findings.has("fail", &name("php"), "without getmypid()", "take getmypid out of `disable_functions`");
    findings.has("warn", &name("opcache"), "validate_timestamps = 0", "systemctl reload php");
    findings.has("warn", &name("php limits"), "memory_limit 60M", "memory_limit = 256M");
    findings.has("warn", &name("time zone"), "PHP's own zone to Europe/Berlin", "date_default_timezone_set()");

    let restore = "`wp-cron-runner restore shop`";
    site.sql("UPDATE wp_options SET option_value = 'a:1:{broken' WHERE option_name = 'cron'");
    examined(&runner).has("fail", &name("cron option"), "cron", restore);
}
