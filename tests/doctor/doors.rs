//! What keeps the runner from a site, or does not fit between them.

use std::fs;

use super::all_is_well::PATIENT;
use super::{Findings, examined};
use crate::support::account::is_root;
use crate::support::mysql_proxy;
use crate::support::site::Database;
use crate::support::{Redis, Runner, Site, Trigger};

const DOOR: &str = "site shop: door";

#[test]
fn a_door_that_is_shut_is_explained() {
    let mut site = Site::builder().sqlite().nginx_line("add_header cf-ray 8f2 always;").start();
    let runner = Runner::builder(&site).trigger(Trigger::Http).prepare();
    examined(&runner).has(
        "warn",
        "site shop: page-load cron",
        "no runner looks after this site yet",
        "`systemctl enable",
    );
    let mut url = site.url.clone();
    // A redirect, as of a www. that is missing; nginx has another name for loopback.
    runner.rewrite_config(|text| text.replace(&url, &format!("{}/wp-content", site.url)));
    let findings = examined(&runner);
    findings.has(
        "fail",
        DOOR,
        "it came through Cloudflare (cf-ray)",
        "see `url`, `host`, `ca_file` and `basic_auth_file`",
    );
    runner.rewrite_config(|text| text.replace(&format!("{url}/wp-content"), &url));

    let (key, other) = (runner.home().join("shop.key"), "5".repeat(63) + "6\n");
    let right = fs::read_to_string(&key).expect("the key");
    fs::write(&key, other).expect("another key");
    examined(&runner).has(
        "fail",
        DOOR,
        "the key in `secret_file` and the one in wp-config.php differ",
        "plugin install shop",
    );
    fs::write(&key, right).expect("the key");

    url = url.replace("127.0.0.1", "localhost");
    runner.rewrite_config(|text| text.replace(&site.url, &url));
    let findings = examined(&runner);
    findings.has(
        "warn",
        "site shop: address",
        &format!("WordPress calls itself {}", site.url),
        "`url = \"http://127.0.0.1:",
    );
    let mark = site.path.join(".maintenance");
    fs::write(&mark, "<?php $upgrading = time();").expect(".maintenance");
    examined(&runner).has("fail", DOOR, "", "a `.maintenance` that was forgotten may be deleted");
    fs::remove_file(&mark).expect("removed");
    site.nginx.stop();
    examined(&runner).has("fail", DOOR, "", "`curl -sI http://localhost:");

    let runner = Runner::builder(&site).prepare();
    examined(&runner).has(
        "warn",
        "site shop: front door",
        "cannot be reached from here",
        "`curl -sI http://127.0.0.1:",
    );
    site.php_fpm.stop();
    examined(&runner).has("fail", DOOR, "there is no such socket", "`systemctl start php8.2-fpm`");
    let pool = site.dir.join("php-fpm.conf");
    fs::remove_file(&pool).expect("removed");
    let findings = examined(&runner);
    findings.has("warn", "site shop: php-fpm pool", "no pool file that user ", "look into the pool file where it is");
}

#[test]
fn clocks_that_differ_are_found() {
    let site = Site::builder().sqlite().clock().start();
    let runner = Runner::builder(&site).prepare();
    let clock = site.clock.as_ref().expect("a clock");
    let fix = "`timedatectl set-ntp true`";
    clock.set(20);
    examined(&runner).has("warn", "site shop: clock", "ahead; events start by PHP's clock", fix);
    clock.set(-200);
    examined(&runner).has("fail", "site shop: clock", "behind: no call is accepted", fix);
}

#[test]
fn the_plugin_s_version_and_place_are_looked_at() {
    let site = Site::builder().sqlite().workers(3).php_fpm_line(PATIENT).start();
    let runner = crate::plugin_lifecycle::started_with_a_normal_plugin(&site);
    let plugins = site.path.join("wp-content/plugins");
    fs::write(plugins.join("first.php"), "<?php // Plugin Name: First").expect("a plugin");
    site.php("$GLOBALS['wpdb']->update( 'wp_options', array( 'option_value' => serialize( array( 'first.php', 'wp-cron-runner/wp-cron-runner.php' ) ) ), array( 'option_name' => 'active_plugins' ) );");
    let check = "site shop: plugin";
    let findings = examined(&runner);
    findings.has("warn", check, "loaded after first.php", "`wp-cron-runner plugin install shop`");
    findings.has(
        "warn",
        "site shop: pm.max_children",
        "3 workers, of which events take 2",
        "`pm.max_children = 5` into ",
    );

    site.add_plugin("if ( defined( 'DOING_CRON' ) ) { add_action( 'init', function () { exit; } ); }");
    examined(&runner).has("fail", check, "WordPress as a whole: ", "see the error log of PHP");
    let settings = plugins.join("wp-cron-runner/src/settings.php");
    let text = fs::read_to_string(&settings).expect("settings.php");
    fs::write(&settings, text.replace("VERSION = '0.1.0'", "VERSION = '0.0.9'")).expect("settings.php");
    examined(&runner).has("fail", check, "the plugin has version 0.0.9", "`wp-cron-runner plugin install shop`");
}

#[test]
fn an_object_cache_with_a_past_timetable_is_found() {
    let site = Site::builder().mariadb().php_fpm_line(PATIENT).start();
    let redis = Redis::start();
    site.cache_in(&redis);
    let runner = Runner::builder(&site).start();
    site.get("/");
    let check = "site shop: object cache";
    examined(&runner).has("ok", check, "holds what the database holds", "");
    // Past WordPress, as a restored backup does it.
    site.sql("UPDATE wp_options SET option_value = 'a:1:{s:7:\"version\";i:2;}' WHERE option_name = 'cron'");
    examined(&runner).has("fail", check, "another `cron` option than the database", "`wp cache flush`");
    site.sql("DELETE FROM wp_options WHERE option_name = 'cron'");
    examined(&runner).has("warn", "site shop: cron option", "there is none", "load a page of wp-admin");
}

#[test]
fn the_timetable_may_be_large_and_its_events_without_end() {
    let site = Site::builder().mariadb().php_fpm_line(PATIENT).start();
    site.add_plugin("namespace HM\\Cavalcade\\Plugin; function bootstrap() {}");
    let mut runner = Runner::builder(&site).start();
    site.php(
        "$cron = _get_cron_array();
        for ( $i = 0; $i < 1200; $i++ ) { $cron[ 1900000000 + $i ]['fx_ok'][ md5( $i ) ] = array( 'schedule' => false, 'args' => array( str_repeat( 'x', 1000 ) ) ); }
        $cron[1900002000]['fx_ok']['k'] = array( 'schedule' => 'never heard of', 'args' => array(), 'interval' => 0 );
        $cron[1900002001]['x; $(touch /tmp/x)']['k'] = array( 'schedule' => false, 'args' => array() );
        ksort( $cron );
        _set_cron_array( $cron );",
    );
    let findings = examined(&runner);
    findings.has("warn", "site shop: cron option", "every page reads all of it", "`wp-cron-runner events shop`");
    findings.has("fail", "site shop: schedules", "fx_ok (never heard of)", "`wp cron event delete fx_ok`");
    findings.has(
        "warn",
        "site shop: hooks",
        "listens to x; $(touch /tmp/x) (1)",
        "`wp cron event delete` with its exact name",
    );
    findings.has("fail", "site shop: other runners", "Cavalcade is active", "`wp plugin deactivate` Cavalcade");
    runner.stop();
    site.sql("DROP TABLE wp_cron_runner_journal");
    examined(&runner).has("fail", DOOR, "", "`systemctl restart wp-cron-runner`");
    // That was noted; from now on the site knows that it has none.
    examined(&runner).has("fail", "site shop: lock kind", "the plugin's tables cannot be read", "restart the runner");
}

#[test]
fn a_network_and_a_database_without_locks_are_said_to_be_so() {
    let site = Site::builder().mariadb().php_fpm_line(PATIENT).start();
    let Database::MariaDb { server, .. } = &site.database else { unreachable!() };
    let socket = site.dir.join("proxy.sock");
    mysql_proxy::start(&socket, server.socket.clone(), mysql_proxy::Spoil::NotShared);
    crate::locks::reconfigure(&site, "DB_HOST", &format!("localhost:{}", socket.display()));
    site.wp(&["core", "multisite-convert", "--title=Network", "--base=/"]);
    site.wp(&["site", "create", "--slug=second", "--title=Second"]);
    let runner = Runner::builder(&site).start();
    let findings = examined(&runner);
    findings.has(
        "warn",
        "site shop: lock kind",
        "lease-row: this database has no GET_LOCK",
        "name the database server itself in DB_HOST",
    );
    findings.has("warn", "site shop: network", "a network of 2 blogs", "a [[site]] with `trigger");
}

#[test]
fn the_configuration_may_fit_badly() {
    let site = Site::builder().sqlite().start();
    let job = "\n[[job]]\nname = \"export\"\nschedule = \"15 3 * * *\"\ntimezone = \"Europe/Berlin\"\n";
    let mut runner = Runner::builder(&site)
        .site_line("grace = \"1m\"\nschedule = \"15 3 * * *\"\ntimezone = \"Europe/Berlin\"")
        .table(&format!("{job}command = [\"no-such-program\"]\n"))
        .start();
    site.wp(&["option", "update", "timezone_string", "America/New_York"]);
    let findings = examined(&runner);
    let fix = "`timezone = \"America/New_York\"` in the [[site]] shop";
    findings.has("warn", "site shop: time zone", "`schedule` of the site follows Europe/Berlin", fix);
    findings.has("ok", "site shop: schedule", "\"15 3 * * *\" in the zone Europe/Berlin", "");
    findings.has("ok", "job export: schedule", "\"15 3 * * *\" in the zone Europe/Berlin, next in ", "");
    findings.has("fail", "job export", "no program `no-such-program`", "see `command`, or PATH in `environment`");
    findings.has("warn", "config", "`grace` is not longer than `rescan`", "`wp-cron-runner check`");
    runner.rewrite_config(|text| text + "\n[redis]\nurl = \"redis://127.0.0.1:1/3\"\n");
    let findings = examined(&runner);
    findings.has("warn", "daemon", "another configuration than ", "`systemctl reload wp-cron-runner`");
    findings.has("fail", "redis", "127.0.0.1:1", "is it up, and does `url` in [redis] name it?");
    runner.stop();
    if is_root() {
        std::os::unix::fs::chown(runner.home().join("state"), Some(65_534), None).expect("another owner");
        let findings = Findings::said(&runner.cli_as_caller(&["doctor", "--json"]));
        let found = "it runs as www-data, the runner as nobody";
        findings.has("warn", "site shop: php-fpm pool", found, "`User=www-data` in the unit");
    }
    let line = format!(
        "[[site]]\nname = \"shop\"\nurl = \"{}\"\ntrigger = \"wp-cron.php\"\nschedule = \"@hourly\"\n",
        site.url
    );
    fs::write(&runner.config, line).expect("config.toml");
    examined(&runner).has("warn", DOOR, "is not asked, since that would run what is due", "install the plugin");
}
