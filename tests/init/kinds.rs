//! Layouts and servers other than the usual: Bedrock, a network, several sites, no php-fpm, a site that had no plugin.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::{bare, differences, owner, tree};
use crate::support::account::{self, give_to, is_root, succeed};
use crate::support::{Runner, Site};

/// What Composer would make: WordPress in web/wp, all that is the site's in web/app, its settings above the web root.
fn move_into_bedrock(site: &Site) -> PathBuf {
    let bedrock = site.dir.join("bedrock");
    let web = bedrock.join("web");
    fs::create_dir_all(bedrock.join("config")).expect("config");
    fs::create_dir(&web).expect("web");
    fs::rename(&site.path, web.join("wp")).expect("moved");
    fs::rename(web.join("wp/wp-content"), web.join("app")).expect("moved");
    let old = fs::read_to_string(web.join("wp/wp-config.php")).expect("wp-config.php");
    fs::remove_file(web.join("wp/wp-config.php")).expect("it goes");
    let (settings, _) = old.split_once("/* That's all").expect("its last comment");
    let constants =
        "define( 'CONTENT_DIR', '/app' );\ndefine( 'WP_CONTENT_DIR', dirname( __DIR__ ) . '/web' . CONTENT_DIR );\n";
    fs::write(bedrock.join("config/application.php"), format!("{settings}\n{constants}")).expect("application.php");
    let config = "<?php\nrequire_once dirname( __DIR__ ) . '/config/application.php';\nrequire_once ABSPATH . 'wp-settings.php';\n";
    fs::write(web.join("wp-config.php"), config).expect("wp-config.php");
    give_to(account::SITE, &web.join("wp-config.php"));
    bedrock
}

#[test]
fn bedrock_is_set_up_and_left_as_it_was() {
    let site = Site::builder().sqlite().without_fixture().start();
    let runner = bare(&site);
    let bedrock = move_into_bedrock(&site);
    let before = tree(&bedrock);
    let said = runner.cli_as_caller(&["init", &bedrock.join("web/app/plugins").display().to_string(), "--json"]);
    assert_eq!(said.code(), 0, "{said:?}");
    assert_eq!(said.json()["path"], json!(bedrock.join("web/wp")), "{said:?}");
    assert!(bedrock.join("web/app/mu-plugins/wp-cron-runner/src/endpoint.php").is_file(), "beside the other plugins");
    let checked = runner.cli(&["check", "--connect"]);
    assert_eq!(checked.code(), 0, "the whole of it answers: {checked:?}");
    let gone = runner.cli_as_caller(&["uninstall", "--yes"]);
    assert_eq!(gone.code(), 0, "{gone:?}");
    assert_eq!(differences(&before, &tree(&bedrock)), [""; 0]);
}

#[test]
fn of_a_network_the_main_blog_is_taken_and_the_others_are_named() {
    let site = Site::builder().mariadb().without_fixture().start();
    site.wp(&["core", "multisite-convert", "--skip-config"]);
    let address = site.address();
    let constants = format!(
        "define( 'MULTISITE', true );\ndefine( 'SUBDOMAIN_INSTALL', false );\ndefine( 'DOMAIN_CURRENT_SITE', '{address}' );\n\
         define( 'PATH_CURRENT_SITE', '/' );\ndefine( 'SITE_ID_CURRENT_SITE', 1 );\ndefine( 'BLOG_ID_CURRENT_SITE', 1 );\n"
    );
    let file = site.path.join("wp-config.php");
    let text = fs::read_to_string(&file).expect("wp-config.php");
    fs::write(&file, text.replace("/* That's all", &format!("{constants}/* That's all"))).expect("wp-config.php");
    site.wp(&["site", "create", "--slug=second"]);
    let runner = bare(&site);
    let said = runner.cli_as_caller(&["init", &site.path.display().to_string(), "--json"]);
    assert_eq!(said.code(), 0, "{said:?}");
    let told = said.json();
    assert_eq!((&told["network"], &told["blogs"], &told["url"]), (&json!(true), &json!(2), &json!(site.url)), "{told}");
    let next = told["next"].to_string();
    assert!(next.contains("/second/") && next.contains("wp-cron.php"), "{next}");
}

#[test]
fn several_are_listed_and_none_is_taken() {
    let site = Site::builder().sqlite().without_fixture().start();
    let runner = bare(&site);
    let other = site.dir.join("other");
    for file in ["wp-load.php", "wp-includes/version.php"] {
        fs::create_dir_all(other.join(file).parent().unwrap()).expect("a folder");
        fs::write(other.join(file), "<?php\n").expect("a file");
    }
    let said = runner.cli_as_caller(&["init", &site.dir.path().display().to_string()]);
    assert_eq!(said.code(), 2, "{said:?}");
    for root in [&site.path, &other] {
        assert!(said.stderr.contains(&format!("`wp-cron-runner init {}`", root.display())), "{said:?}");
    }
    assert!(!runner.config.exists());
    // On a terminal a person says which; script(1) is one.
    let command = format!(
        "{} --config {} init --dry-run {}",
        runner.binary.display(),
        runner.config.display(),
        site.dir.path().display()
    );
    let asked = format!("printf '7\\n2\\n' | script -qec '{command}' /dev/null");
    let output = Command::new("sh").args(["-c", &asked]).output().expect("script");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Which one (1 to 2)?") && text.contains("A number of the list, please."), "{text}");
    assert!(text.contains(&format!("WordPress in {}", site.path.display())), "{text}");
}

#[test]
fn a_site_that_had_no_plugin_gets_it_under_its_name() {
    let site = Site::builder().sqlite().without_fixture().start();
    let runner = Runner::builder(&site).without_plugin().prepare();
    let bare = format!(
        "# Mine.\n[[site]]\nname = \"other\"\nurl = \"https://other.example\"\ntrigger = \"wp-cron.php\"\nschedule = \"@hourly\"\n\n\
         # From a crontab.\n[[site]]\nname = \"old-name\"\nurl = \"{}\"\ntrigger = \"wp-cron.php\"\nschedule = \"*/5 * * * *\"\n",
        site.url
    );
    runner.rewrite_config(|text| text.split("\n[[site]]").next().unwrap_or_default().to_owned() + "\n" + &bare);
    let before = owner(&runner.config);
    let said = runner.cli_as_caller(&["init", &site.path.display().to_string()]);
    assert_eq!(said.code(), 0, "{said:?}");
    assert_eq!(owner(&runner.config), before, "mode and owner stay");
    let text = fs::read_to_string(&runner.config).expect("the configuration");
    assert!(text.contains("# Mine.") && text.contains("# From a crontab.") && text.contains("@hourly"), "{text}");
    assert!(!text.contains("*/5") && text.contains("trigger = \"fastcgi\""), "{text}");
    let checked = runner.cli(&["check", "--connect"]);
    assert!(checked.stdout.contains("site old-name: answers over fastcgi"), "{checked:?}");
}

/// Where no other process of the machine is seen, after some words of shell. We are root.
fn alone(runner: &Runner, first: &str, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--mount-proc", "sh", "-c"]).arg(format!("{first} \"$@\"")).arg("sh");
    command.arg(&runner.binary).arg("--config").arg(&runner.config).args(arguments).stdin(Stdio::null());
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().expect("unshare")
}

#[test]
fn without_php_fpm_it_is_wp_cli() {
    if !is_root() {
        eprintln!("not root: the php-fpm of other tests cannot be hidden");
        return;
    }
    let mut site = Site::builder().sqlite().start();
    let runner = bare(&site);
    let phar = site.phar();
    site.php_fpm.stop();
    let path = site.path.display().to_string();
    let output = alone(&runner, "", &["init", &path, "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&told["trigger"], &told["fastcgi"], &told["user"]),
        (&json!("wp-cli"), &json!(null), &json!("www-data"))
    );
    let named = |file: &str| Path::new(file).canonicalize().expect("a file");
    assert_eq!(named(told["wp_cli"].as_str().expect("a path")), named(&phar.display().to_string()), "{told}");
    site.schedule_in(-1, "fx_ok", &json!(["through WP-CLI"]));
    let runs = runner.json(&["once"]);
    assert_eq!((&runs[0]["hook"], &runs[0]["outcome"]), (&json!("fx_ok"), &json!("ok")), "{runs}");
}

#[test]
fn without_any_php_of_this_machine_it_is_the_front_door() {
    if !is_root() {
        eprintln!("not root: PHP cannot be hidden");
        return;
    }
    let site = Site::builder().sqlite().without_fixture().start();
    let runner = bare(&site);
    let hide = "mount --bind /dev/null \"$(readlink -f /usr/bin/php)\" && exec";
    let path = site.path.display().to_string();
    // Nobody can ask WordPress then.
    let output = alone(&runner, hide, &["init", &path]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(69) && text.contains("WP_HOME"), "{text}");
    assert!(!runner.config.exists());
    let file = site.path.join("wp-config.php");
    let config = fs::read_to_string(&file).expect("wp-config.php");
    let home = format!("define( 'WP_HOME', '{}' );\n/* That's all", site.url);
    fs::write(&file, config.replace("/* That's all", &home)).expect("wp-config.php");
    let output = alone(&runner, hide, &["init", &path, "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&told["trigger"], &told["url"], &told["wp_cli"]), (&json!("http"), &json!(site.url), &json!(null)));
    assert!(runner.cli(&["check", "--connect"]).stdout.contains("answers over http"));
}
