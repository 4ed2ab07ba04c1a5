//! Site Health and the dashboard's notice, as a WordPress administrator finds them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, WordPress, secs, wait_for};

/// Name of each direct test of ours and core's: its status and label, where it is one of ours.
fn tests_of(site: &Site) -> BTreeMap<String, Value> {
    let code = "
        require_once ABSPATH . 'wp-admin/includes/admin.php';
        require_once ABSPATH . 'wp-admin/includes/class-wp-site-health.php';
        $said = array();
        foreach ( WP_Site_Health::get_tests()['direct'] as $name => $test ) {
            $said[ $name ] = 0 === strpos( $name, 'cron_runner' ) ? call_user_func( $test['test'] ) : null;
        }
        echo json_encode( $said );";
    serde_json::from_value(site.php_json(code)).expect("tests by name")
}

fn status<'a>(tests: &'a BTreeMap<String, Value>, name: &str) -> (&'a str, String) {
    let test = tests.get(&format!("cron_runner_{name}")).unwrap_or_else(|| panic!("no {name}: {tests:?}"));
    let words =
        format!("{} {}", test["label"].as_str().expect("a label"), test["description"].as_str().expect("words"));
    (test["status"].as_str().expect("a status"), words)
}

/// What the dashboard says to an administrator.
fn notice(site: &Site) -> String {
    site.php(
        "wp_set_current_user( 1 ); require_once ABSPATH . 'wp-admin/includes/admin.php';
        WP_Cron_Runner\\action_dashboard(); global $wpdb; $before = $wpdb->num_queries; WP_Cron_Runner\\dashboard_notice();
        echo $wpdb->num_queries === $before ? '' : 'ASKED THE DATABASE';",
    )
}

fn health(site: &Site) {
    let mut runner = Runner::builder(site).site_line("rescan = \"1s\"\ngrace = \"10s\"").start();
    site.schedule_in(0, "fx_ok", &json!([]));
    wait_for("a run", secs(10), || runner.history_of("fx_ok").first().cloned());
    let tests = wait_for("a look at the living runner", secs(10), || {
        Some(tests_of(site)).filter(|tests| !tests.contains_key("scheduled_events"))
    });
    assert!(!tests.contains_key("scheduled_events"), "core's own test is replaced: {tests:?}");
    for name in ["alive", "lateness", "failures", "page_load", "versions"] {
        assert_eq!(status(&tests, name).0, "good", "{name}: {tests:?}");
    }
    assert_eq!(notice(site), "");

    // Something fails, and something is cut off.
    site.schedule(&[(unix_now(), "fx_exception", json!([])), (unix_now(), "fx_dies", json!([99, "h"]))]);
    wait_for("a held run", secs(15), || (runner.json(&["history", "--held"]) != json!([])).then_some(()));
    let tests = tests_of(site);
    let (word, words) = status(&tests, "failures");
    assert!(word == "recommended" && words.contains("held"), "{words}");
    // The look that notes it comes within a quarter of the grace.
    wait_for("the notice of the held run", secs(10), || notice(site).contains("waits for your decision").then_some(()));
    let held = runner.json(&["history", "--held"])[0]["run"].as_str().expect("an id").to_string();
    assert!(runner.cli(&["drop", &held]).status.success());
    let words = status(&tests_of(site), "failures").1;
    assert!(words.contains("fx_exception (1 of 1 runs)"), "{words}");

    runner.cli(&["pause", "shop"]);
    let (word, words) = wait_for("the pause", secs(5), || {
        let tests = tests_of(site);
        let (word, words) = status(&tests, "alive");
        (word == "recommended").then(|| (word.to_string(), words))
    });
    assert!(words.contains("paused"), "{word}: {words}");
    runner.cli(&["resume", "shop"]);

    runner.kill();
    let (word, words) = wait_for("the silence", secs(25), || {
        let tests = tests_of(site);
        let (word, words) = status(&tests, "alive");
        (word == "critical").then(|| (word.to_string(), words))
    });
    assert!(words.contains("silent") && words.contains("systemctl start"), "{word}: {words}");
    assert!(tests_of(site).contains_key("scheduled_events"), "core's own test counts again");
    assert!(notice(site).contains("has been silent for"), "{}", notice(site));
    let subscriber = site.php(
        "wp_set_current_user( wp_insert_user( array( 'user_login' => 'reader', 'user_pass' => 'x', 'role' => 'subscriber' ) ) );
        require_once ABSPATH . 'wp-admin/includes/admin.php'; WP_Cron_Runner\\action_dashboard(); WP_Cron_Runner\\dashboard_notice();",
    );
    assert_eq!(subscriber, "", "nobody else needs to know");
}

#[test]
fn site_health_on_the_oldest_wordpress() {
    health(&Site::builder().sqlite().wordpress(WordPress::Oldest).start());
}

#[test]
fn site_health_on_the_current_wordpress() {
    health(&Site::builder().mariadb().start());
}

#[test]
fn what_stands_in_the_way_is_named() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).start();
    let file = site.path.join("wp-content/mu-plugins/wp-cron-runner/src/settings.php");
    let text = std::fs::read_to_string(&file).expect("settings.php");
    std::fs::write(&file, text.replace("VERSION = '0.1.0'", "VERSION = '0.0.9'")).expect("settings.php");
    site.add_plugin("add_action( 'plugins_loaded', function () { add_action( 'init', 'wp_cron' ); } );");
    let tests = wait_for("the other version", secs(10), || {
        let tests = tests_of(&site);
        (status(&tests, "versions").0 == "recommended").then_some(tests)
    });
    assert!(status(&tests, "versions").1.contains("0.0.9"), "{tests:?}");
    let (word, words) = status(&tests, "page_load");
    assert!(word == "recommended" && words.contains("hooked page-load cron again"), "{words}");
    let info = site.php_json(
        "require_once ABSPATH . 'wp-admin/includes/admin.php'; echo json_encode( apply_filters( 'debug_information', array() ) );",
    );
    assert_eq!(info["wp-cron-runner"]["fields"]["runner"]["value"], "test", "{info}");

    // A copy of the site steers nothing, and says what it is.
    site.wp(&["option", "update", "home", "http://127.0.0.1:1"]);
    let tests = tests_of(&site);
    let (word, words) = status(&tests, "alive");
    assert!(word == "recommended" && words.contains("copy"), "{words}");
    assert_eq!(notice(&site), "");
    runner.stop();
}
