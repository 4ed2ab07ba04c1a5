//! The test support itself: each kind of site stands, and core's own cron works on it.

use serde_json::json;

use crate::support::{Site, WordPress, secs, wait_for};

fn stands_and_runs_an_event(builder: crate::support::site::Builder, wordpress: WordPress) {
    let site = builder.wordpress(wordpress).start();

    let front = site.get("/");
    assert_eq!(front.status, 200, "{}", front.body);
    assert!(front.body.contains("Test site"), "{}", front.body);
    let version = site.php("echo $GLOBALS['wp_version'];");
    assert!(version.starts_with(if wordpress == WordPress::Current { "7.1" } else { "6.1" }), "{version}");

    let due = site.schedule_in(-1, "fx_ok", &json!(["one", 2]));
    assert_eq!(site.scheduled("fx_ok"), [due]);
    assert_eq!(site.get("/wp-cron.php").status, 200);
    let end = wait_for("the end of the event", secs(10), || site.ledger().end_of("fx_ok"));
    assert_eq!(end.args, json!(["one", 2]));
    wait_for("an empty schedule", secs(5), || site.scheduled("fx_ok").is_empty().then_some(()));

    let dashboard = site.get_as_admin("/wp-admin/");
    assert_eq!(dashboard.status, 200);
    assert!(dashboard.body.contains("Dashboard"), "{}", dashboard.body);
    assert_eq!(site.sql_text("SELECT option_value FROM wp_options WHERE option_name = 'home'"), Some(site.url.clone()));
    assert_eq!(site.wp(&["option", "get", "home"]).trim(), site.url);
}

#[test]
fn wordpress_7_on_sqlite() {
    stands_and_runs_an_event(Site::builder().sqlite(), WordPress::Current);
}

#[test]
fn wordpress_7_on_mariadb() {
    stands_and_runs_an_event(Site::builder().mariadb(), WordPress::Current);
}

#[test]
fn wordpress_6_on_sqlite() {
    stands_and_runs_an_event(Site::builder().sqlite(), WordPress::Oldest);
}

#[test]
fn wordpress_6_on_mariadb() {
    stands_and_runs_an_event(Site::builder().mariadb(), WordPress::Oldest);
}

#[test]
fn sites_that_share_everything_are_sites_of_their_own() {
    let sites = Site::many(3, 4);
    for site in &sites {
        assert!(site.get("/").body.contains("Test site"));
        site.schedule_in(3600, "fx_ok", &json!([site.name]));
        assert_eq!(site.php("echo get_option('home');"), site.url);
        assert_eq!(site.wp(&["option", "get", "siteurl"]).trim(), site.url);
    }
    let [first, others @ ..] = &sites[..] else { panic!("three sites") };
    first.schedule_in(-1, "fx_ok", &json!(["due"]));
    assert_eq!(first.get("/wp-cron.php").status, 200);
    let end = wait_for("its event", secs(10), || first.ledger().end_of("fx_ok"));
    assert_eq!(end.args, json!(["due"]));
    for site in others {
        assert!(site.ledger().0.is_empty() && site.scheduled("fx_ok").len() == 1, "{}", site.name);
    }
}
