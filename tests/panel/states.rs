//! The panel where not all is well: no runner yet, a copy of a site, a site whose hooks belong to somebody.

use std::fs;

use serde_json::json;

use super::{GIVE_NONCES, Visitor};
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, account, secs, wait_for};

#[test]
fn before_a_runner_has_taken_over_it_says_what_to_do() {
    for site in [Site::builder().sqlite().start(), Site::builder().mariadb().start()] {
        let runner = Runner::builder(&site).prepare();
        // The plugin is there, and nothing has called it.
        site.php("global $wpdb; delete_option( 'wp_cron_runner' ); $wpdb->query( \"DROP TABLE IF EXISTS {$wpdb->base_prefix}cron_runner_journal\" ); $wpdb->query( \"DROP TABLE IF EXISTS {$wpdb->base_prefix}cron_runner_state\" );");
        let admin = Visitor::admin(&site);
        for screen in ["", "&screen=events", "&screen=history", "&screen=run&run=01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            let page = admin.panel(screen);
            assert_eq!(page.status, 200, "{screen}");
            assert!(page.body.contains("No runner has taken over this site yet"), "{screen}: {}", page.body);
            assert!(page.body.contains("wp-cron-runner check --connect"), "{screen}");
        }
        assert!(
            admin.panel("&screen=events").body.contains("wp_version_check"),
            "what is scheduled can be seen all the same"
        );
        drop(runner);
    }
}

#[test]
fn a_copy_of_a_site_says_that_it_is_one() {
    let site = Site::builder().mariadb().start();
    let _runner = Runner::builder(&site).start();
    let admin = Visitor::admin(&site);
    assert!(!admin.panel("").body.contains("This is a copy"));
    site.php("$own = get_option( 'wp_cron_runner' ); $own['install'] = str_repeat( '0', 32 ); update_option( 'wp_cron_runner', $own );");
    let page = admin.panel("");
    assert!(page.body.contains("This is a copy of a site that a runner looks after"), "{}", page.body);
}

#[test]
fn a_hook_is_said_to_be_its_plugins_themes_or_wordpresses_own() {
    let site = Site::builder().sqlite().start();
    let _runner = Runner::builder(&site).start();
    let plugins = site.path.join("wp-content/plugins");
    fs::create_dir(plugins.join("shop-mails")).expect("a plugin's folder");
    fs::write(
        plugins.join("shop-mails/main.php"),
        "<?php\n/* Plugin Name: Mails of the Shop <b>2</b> */\nadd_action( 'shop_mail', 'shop_mail' );\nfunction shop_mail() {}\nadd_action( 'shop_object', array( new ArrayObject(), 'count' ) );\n",
    )
    .expect("a plugin");
    account::give_to(account::SITE, &plugins);
    site.wp(&["plugin", "activate", "shop-mails"]);
    let theme = site.php("echo get_stylesheet_directory();");
    let functions = format!("{theme}/functions.php");
    let code = fs::read_to_string(&functions).unwrap_or_else(|_| "<?php\n".to_owned());
    fs::write(&functions, code + "\nadd_action( 'theme_hook', static function () {} );\n").expect("the theme");
    let at = unix_now() + 3600;
    let hooks = ["shop_mail", "shop_object", "theme_hook", "fx_ok", "nobodys_hook"];
    site.schedule(&hooks.map(|hook| (at, hook, json!([]))));
    let page = Visitor::admin(&site).panel("&screen=events").body;
    let of = |hook: &str| {
        let (_, row) = page.split_once(&format!("{hook}</code>")).unwrap_or_else(|| panic!("{hook}: {page}"));
        row.split("</tr>").next().expect("the row").to_owned()
    };
    let theme = site.php("echo wp_get_theme()->get( 'Name' );");
    for (hook, owner) in [
        ("shop_mail", "Mails of the Shop"),
        ("shop_object", "PHP itself"),
        ("theme_hook", &format!("{theme} (theme)")),
        ("fx_ok", "Fixture hooks for the tests of WP Cron Runner (must-use)"),
        ("nobodys_hook", "no callback"),
        ("wp_version_check", "WordPress"),
    ] {
        assert!(of(hook).contains(owner), "{hook}: {}", of(hook));
    }
    assert!(!page.contains("Shop <b>2</b>"));
}

#[test]
fn what_nobody_expects_breaks_no_screen() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    // As far ahead as an integer goes, and entries that no WordPress writes.
    site.php(
        "wp_schedule_single_event( PHP_INT_MAX, 'far_away' );
        $cron = _get_cron_array(); $cron[ time() + 7200 ]['odd']['40cd750bba9870f18aada2478b24840a'] = array( 'schedule' => array( 1 ), 'args' => array() );
        ksort( $cron ); _set_cron_array( $cron );",
    );
    site.schedule_in(0, "fx_sleep", &json!([8]));
    let running = wait_for("a run", secs(15), || {
        let view = runner.json(&["status"])["sites"][0].clone();
        view["running"][0]["run"].as_str().map(str::to_owned)
    });
    let admin = Visitor::admin(&site);
    let run = format!("&screen=run&run={running}");
    for screen in ["", "&screen=events", "&screen=history&from=%00&to=%00", "&screen=events&paged=99", run.as_str()] {
        let page = admin.panel(screen);
        assert!(page.status == 200 && page.body.contains("wpfooter"), "{screen}: {} {}", page.status, page.body);
    }
    let events = admin.panel("&screen=events").body;
    assert!(events.contains("far_away") && events.contains(">odd<"), "{events}");
    let page = admin.panel(&run).body;
    assert!(page.contains("It has not ended yet.") && !page.contains("class=\"wpcr-bad\""), "{page}");
    assert!(!admin.panel("&screen=events&paged=99").body.contains("Nothing is scheduled"));
}

#[test]
fn wp_admin_may_have_another_host_than_the_site() {
    let site = Site::builder().sqlite().start();
    let _runner = Runner::builder(&site).start();
    site.add_plugin(GIVE_NONCES);
    site.schedule_in(3600, "fx_ok", &json!([]));
    // The cookies are those of wp-admin's address.
    site.wp(&["option", "update", "siteurl", &site.url.replace("127.0.0.1", "localhost")]);
    let admin = Visitor::admin(&site);
    let form = admin.form("pause-hook", "hook=fx_ok");
    let sent = admin.send(&form);
    let to = sent.header("Location").expect("where to");
    assert!(to.contains("//localhost:") && to.contains("page=wp-cron-runner") && to.contains("said=1"), "{to}");
}

#[test]
fn whose_login_is_over_comes_to_the_panel_after_the_next() {
    let site = Site::builder().sqlite().start();
    let _runner = Runner::builder(&site).start();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let sent = site.request("POST", "/wp-admin/admin-post.php", &form, "action=wp_cron_runner&do=pause-site");
    let to = sent.header("Location").expect("where to");
    assert!(to.contains("wp-login.php") && to.contains("page%3Dwp-cron-runner"), "{to}");
}
