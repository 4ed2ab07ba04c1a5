//! Install, be a normal plugin, remove: and the site is as before.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use crate::support::{Runner, Site, secs, wait_for};

/// Every file below wp-content and wp-config.php, with its content; what WordPress itself writes while it runs is left out.
pub fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.join("wp-content")];
    found.insert("wp-config.php".to_owned(), std::fs::read(root.join("wp-config.php")).expect("wp-config.php"));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let name = entry.strip_prefix(root).expect("below the root").display().to_string();
            if entry.is_dir() {
                found.insert(format!("{name}/"), Vec::new());
                folders.push(entry);
            } else if !name.contains(".ht.sqlite") {
                found.insert(name, std::fs::read(&entry).expect("a file"));
            }
        }
    }
    found
}

/// Options (but for what changes by itself), tables, and the events of the `cron` option.
pub fn database(site: &Site) -> (Vec<String>, Vec<String>, serde_json::Value) {
    let list = |query: &str| -> Vec<String> {
        site.sql(query).into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
    };
    let options = list(
        "SELECT option_name FROM wp_options WHERE option_name NOT LIKE '%transient%' AND option_name NOT LIKE '%doing_cron%' ORDER BY 1",
    );
    let tables = site.php_json("global $wpdb; echo json_encode($wpdb->get_col('SHOW TABLES'));");
    let mut tables: Vec<String> = serde_json::from_value(tables).expect("names");
    tables.sort();
    (options, tables, site.cron_array_json())
}

fn leaves_nothing_behind(site: &Site) {
    site.schedule(&[(crate::support::wordpress::unix_now() + 7200, "fx_ok", json!(["stays"]))]);
    site.schedule_recurring(7300, "hourly", "fx_recurring", &json!([]));
    let before = (files(&site.path), database(site));
    let mut runner = Runner::builder(site).start();
    site.schedule_in(1, "fx_ok", &json!(["while it was there"]));
    wait_for("a run", secs(10), || site.ledger().end_of("fx_ok"));
    wait_for("an idle site", secs(10), || site.scheduled("fx_ok").len().eq(&1).then_some(()));

    let said = runner.cli_as_caller(&["plugin", "remove", &site.name]);
    assert_ne!(said.code(), 0, "refused while a daemon looks after the site: {said:?}");
    runner.stop();
    let said = runner.cli_as_caller(&["plugin", "remove", &site.name]);
    assert_eq!(said.code(), 0, "{said:?}");
    let after = (files(&site.path), database(site));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before.0), names(&after.0), "files");
    for (name, content) in &before.0 {
        assert!(after.0[name] == *content, "{name} is not as before");
    }
    assert_eq!(before.1, after.1, "options, tables, events");
    let twice = runner.cli_as_caller(&["plugin", "remove", &site.name]);
    assert_eq!(twice.code(), 0, "twice changes nothing: {twice:?}");
    assert_eq!(site.get("/").status, 200);
}

#[test]
fn remove_leaves_the_site_as_before_on_mariadb() {
    leaves_nothing_behind(&Site::builder().mariadb().start());
}

#[test]
fn remove_leaves_the_site_as_before_on_sqlite() {
    leaves_nothing_behind(&Site::builder().sqlite().start());
}

#[test]
fn install_twice_changes_nothing_and_status_tells() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).prepare();
    let before = files(&site.path);
    let said = runner.cli_as_caller(&["plugin", "install", &site.name]);
    assert_eq!(said.code(), 0, "{said:?}");
    assert!(before == files(&site.path), "the second install changed something: {said:?}");
    let status = runner.cli_as_caller(&["plugin", "status", &site.name]);
    assert_eq!(status.code(), 0, "{status:?}");
    assert!(status.stdout.contains("0.1.0"), "{status:?}");
}

/// By hand, as from a zip: the folder under plugins, activated; no loader in mu-plugins.
pub fn started_with_a_normal_plugin(site: &Site) -> Runner {
    let mut runner = Runner::builder(site).prepare();
    let content = site.path.join("wp-content");
    std::fs::rename(content.join("mu-plugins/wp-cron-runner"), content.join("plugins/wp-cron-runner")).expect("moved");
    std::fs::remove_file(content.join("mu-plugins/wp-cron-runner.php")).expect("the loader goes");
    site.wp(&["plugin", "activate", "wp-cron-runner"]);
    runner.start();
    runner
}

#[test]
fn a_normal_plugin_works_like_one_in_mu_plugins() {
    let site = Site::builder().mariadb().start();
    let runner = started_with_a_normal_plugin(&site);
    site.schedule_in(1, "fx_output", &json!(["from a normal plugin"]));
    let run = wait_for("the run", secs(15), || runner.history_of("fx_output").first().cloned());
    assert_eq!((run["outcome"].as_str(), run["output"].as_str()), (Some("ok"), Some("from a normal plugin")), "{run}");
    // Switched off by an admin: core's cron works at once, and nothing of ours is called.
    site.wp(&["plugin", "deactivate", "wp-cron-runner"]);
    site.schedule_in(-1, "fx_ok", &json!(["by core"]));
    site.get("/");
    wait_for("core's run", secs(10), || site.ledger().end_of("fx_ok"));
    site.wp(&["plugin", "uninstall", "wp-cron-runner"]);
    assert!(!site.path.join("wp-content/plugins/wp-cron-runner").exists());
    let left = site.php("global $wpdb; echo count($wpdb->get_col(\"SHOW TABLES LIKE '%cron_runner%'\")), get_option('wp_cron_runner') === false ? 'none' : 'option';");
    assert_eq!(left, "0none");
}

#[test]
fn remove_of_a_normal_plugin_takes_out_all_but_the_folder_and_says_so() {
    let site = Site::builder().sqlite().start();
    let mut runner = started_with_a_normal_plugin(&site);
    site.schedule_in(1, "fx_ok", &json!([]));
    wait_for("a run", secs(10), || site.ledger().end_of("fx_ok"));
    runner.stop();
    let said = runner.cli_as_caller(&["plugin", "remove", &site.name]);
    assert_eq!(said.code(), 0, "{said:?}");
    assert!(said.stdout.contains("wp-admin"), "the step that remains: {said:?}");
    let left = site.php("global $wpdb; echo count($wpdb->get_col(\"SHOW TABLES LIKE '%cron_runner%'\"));");
    assert_eq!(left, "0");
    let config = std::fs::read_to_string(site.path.join("wp-config.php")).expect("wp-config.php");
    assert!(!config.contains("WP_CRON_RUNNER"), "{config}");
}

#[test]
fn the_versions_agree() {
    let header = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/wp-plugin/wp-cron-runner.php")).unwrap();
    let settings = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/wp-plugin/src/settings.php")).unwrap();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/wp-plugin/readme.txt")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(header.contains(&format!("* Version:           {version}\n")));
    assert!(settings.contains(&format!("const VERSION = '{version}';")));
    assert!(readme.contains(&format!("Stable tag: {version}\n")));
}
