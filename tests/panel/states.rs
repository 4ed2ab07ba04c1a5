//! The panel where not all is well: no runner yet, a copy of a site, a site whose hooks belong to somebody.

use std::fs;

use serde_json::json;

use super::Visitor;
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, account};

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
