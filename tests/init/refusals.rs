//! What `init` and `uninstall` refuse, and that nothing is lost by it.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::{bare, differences, on_a_port_of_its_own, tree};
use crate::support::account::is_root;
use crate::support::{Site, WordPress, secs, wait_for};

#[test]
fn a_step_that_fails_is_told_with_the_way_on_and_the_way_back() {
    let site = Site::builder().sqlite().without_fixture().start();
    let runner = bare(&site);
    // No line says where the block belongs.
    let file = site.path.join("wp-config.php");
    let text = fs::read_to_string(&file).expect("wp-config.php");
    let unusual = text.replace("/* That's all", "/* Done").replace("'wp-settings.php'", "'wp-' . 'settings.php'");
    fs::write(&file, &unusual).expect("wp-config.php");
    let before = (tree(&site.path), tree(runner.dir.path()));
    let path = site.path.display().to_string();
    let dry = runner.cli_as_caller(&["init", "--dry-run", &path]);
    assert!(dry.stdout.contains("to put into it by hand"), "{dry:?}");
    let said = runner.cli_as_caller(&["init", &path]);
    assert_eq!(said.code(), 78, "{said:?}");
    assert!(said.stdout.contains("key made") && said.stderr.contains("WP_CRON_RUNNER_KEYS"), "{said:?}");
    for way in [format!("init {path}"), "plugin remove shop --force".to_owned(), "uninstall".to_owned()] {
        assert!(said.stderr.contains(&way), "`{way}` in {}", said.stderr);
    }
    let key = fs::read_to_string(runner.dir.join("etc/wpcr/shop.key")).expect("the key");
    let block =
        format!("define( 'WP_CRON_RUNNER_SITE', 'shop' );\ndefine( 'WP_CRON_RUNNER_KEYS', '{}' );\n", key.trim());
    let by_hand = format!("// BEGIN WP Cron Runner.\n{block}// END WP Cron Runner\n");
    fs::write(&file, unusual.replace("/* Done", &format!("{by_hand}/* Done"))).expect("wp-config.php");
    // The block that stands there is brought into its usual words.
    let again = runner.cli_as_caller(&["init", &path]);
    assert!(again.code() == 0 && again.stdout.contains("site shop answers"), "{again:?}");
    let gone = runner.cli_as_caller(&["uninstall", "--yes"]);
    assert_eq!(gone.code(), 0, "{gone:?}");
    assert_eq!(differences(&before.0, &tree(&site.path)), [""; 0]);
}

#[test]
fn uninstall_refuses_what_would_be_lost_before_anything_is_touched() {
    let mut site = Site::builder().mariadb().start();
    let mut runner = bare(&site);
    let said = runner.cli_as_caller(&["init", &site.path.display().to_string()]);
    assert_eq!(said.code(), 0, "{said:?}");
    on_a_port_of_its_own(&runner);
    runner.start();
    site.schedule_in(1, "fx_sleep", &json!(["60"]));
    let begin = wait_for("its beginning", secs(20), || site.ledger().begins("fx_sleep").first().map(|line| line.pid));
    site.php_fpm.kill_worker(begin);
    let run = wait_for("its record", secs(20), || runner.history_of("fx_sleep").first().cloned());
    assert_eq!(run["then"], "held", "{run}");
    runner.stop();
    let before = (tree(&site.path), tree(runner.dir.path()));
    let held = runner.cli_as_caller(&["uninstall", "--yes"]);
    assert!(held.code() == 1 && held.stderr.contains("holds 1 runs"), "{held:?}");
    site.php_fpm.stop();
    let silent = runner.cli_as_caller(&["uninstall", "--yes"]);
    assert!(silent.code() == 69 && silent.stderr.contains("plugin remove shop --force"), "{silent:?}");
    let after = (tree(&site.path), tree(runner.dir.path()));
    assert_eq!([differences(&before.0, &after.0), differences(&before.1, &after.1)].concat(), [""; 0]);
    site.php_fpm.start_again();
    assert_eq!(runner.cli(&["drop", run["run"].as_str().expect("a run")]).code(), 0);
    let gone = runner.cli_as_caller(&["uninstall", "--yes"]);
    assert_eq!(gone.code(), 0, "{gone:?}");
}

#[test]
fn what_is_not_ours_stays_and_is_named() {
    let site = Site::builder().sqlite().wordpress(WordPress::Oldest).without_fixture().start();
    let runner = bare(&site);
    assert_eq!(runner.cli_as_caller(&["init", &site.path.display().to_string()]).code(), 0);
    let folder = runner.dir.join("etc/wpcr");
    fs::write(folder.join("redis.password"), "x\n").expect("a file of the admin's");
    fs::write(folder.join("crontab.www-data.20261123T115500.123Z"), "* * * * * true\n").expect("a copy");
    runner.rewrite_config(|text| {
        text + "\n[[job]]\nname = \"export\"\nschedule = \"15 3 * * *\"\nsite = \"shop\"\nwp = [\"export\"]\n"
    });
    let asked = |answer: &str| {
        let command = format!("{} --config {} uninstall", runner.binary.display(), runner.config.display());
        let script = format!("printf '{answer}\\n' | script -qec '{command}' /dev/null");
        let output = Command::new("sh").args(["-c", &script]).output().expect("script");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = asked("n");
    assert!(text.contains("Remove all this? [y/N]") && text.contains("nothing was removed"), "{text}");
    assert!(runner.config.exists(), "{text}");
    let said = runner.cli_as_caller(&["uninstall", "--yes", "--json"]);
    assert_eq!(said.code(), 0, "{said:?}");
    let left = said.json()["left"].to_string();
    for part in ["redis.password", "crontab -u www-data ", "# job export", "15 3 * * * wp export --path="] {
        assert!(left.contains(part), "`{part}` in {left}");
    }
    assert!(folder.join("redis.password").exists() && folder.join("crontab.www-data.20261123T115500.123Z").exists());
    assert!(!runner.config.exists() && !folder.join("shop.key").exists());
}

#[test]
fn an_ordinary_user_is_told_what_to_type() {
    if !is_root() {
        eprintln!("not root: nobody to be refused");
        return;
    }
    let site = Site::builder().sqlite().without_fixture().start();
    let runner = bare(&site);
    let before = (tree(&site.path), tree(runner.dir.path()));
    let path = site.path.display().to_string();
    let said = runner.cli(&["init", &path]);
    assert_eq!(said.code(), 78, "{said:?}");
    assert!(said.stderr.contains(&format!("`sudo wp-cron-runner init {path}`")), "{said:?}");
    // Nor does root write where another user could swap what is written.
    let home = runner.home().join("of-the-user/config.toml").display().to_string();
    let output = Command::new(&runner.binary).args(["--config", &home, "init", &path]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(78) && text.contains("`sudo -u www-data wp-cron-runner --config"), "{text}");
    let after = (tree(&site.path), tree(runner.dir.path()));
    assert_eq!([differences(&before.0, &after.0), differences(&before.1, &after.1)].concat(), [""; 0]);
}
