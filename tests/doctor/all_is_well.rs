//! Where nothing is wrong nothing is said to be, and nothing is changed by asking.

use std::os::unix::fs::MetadataExt;

use serde_json::json;

use super::examined;
use crate::support::{Runner, Site, Trigger, secs, wait_for};

/// php-fpm's own section, from within the pool's.
pub const PATIENT: &str = "[global]\nprocess_control_timeout = 10s";

/// Options, the plugin's tables, and every file below wp-content.
fn state(site: &Site) -> Vec<String> {
    let options =
        "SELECT option_name, option_value FROM wp_options WHERE option_name NOT LIKE '%transient%' ORDER BY 1";
    let tables = "SELECT run, state, `then` FROM wp_cron_runner_journal ORDER BY id";
    let state = "SELECT name, value FROM wp_cron_runner_state WHERE name <> 'owner' ORDER BY 1";
    let rows: Vec<_> = [options, tables, state].iter().flat_map(|query| site.sql(query)).collect();
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut folders = vec![site.path.join("wp-content")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => files.push((path.display().to_string(), std::fs::read(&path).expect("a file"))),
            }
        }
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    let hash =
        |bytes: &[u8]| bytes.iter().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let files = files.iter().map(|(name, bytes)| format!("{name} {}", hash(bytes)));
    rows.iter().map(|row| format!("{row:?}")).chain(files).collect()
}

#[test]
fn all_is_ok_and_nothing_is_changed() {
    let site = Site::builder().mariadb().php_fpm_line(PATIENT).start();
    let mut runner = Runner::builder(&site).start();
    site.schedule_in(1, "fx_ok", &json!([]));
    wait_for("the run", secs(10), || runner.history_of("fx_ok").first().cloned());
    let findings = examined(&runner);
    assert!(findings.not_ok().is_empty(), "{:#?}", findings.not_ok());
    assert!(findings.0.len() > 25, "{:#?}", findings.0);
    // Due, and nobody is there who would run it; a page would.
    let at = site.schedule_in(5000, "fx_ok", &json!(["due"]));
    runner.stop();
    site.sql(&format!(
        "UPDATE wp_options SET option_value = REPLACE(option_value, 'i:{at};', 'i:{};') WHERE option_name = 'cron'",
        at - 6000
    ));
    let before = state(&site);
    for said in [runner.cli(&["doctor"]), runner.cli_as_caller(&["doctor", "shop"])] {
        assert_eq!(said.code(), 0, "{said:?}");
        assert!(said.stdout.contains("warn  daemon: no runner answers on "), "{said:?}");
        assert!(said.stdout.contains("warn  site shop: page-load cron: on: "), "{said:?}");
        assert!(said.stdout.contains("warn  site shop: due events: 1, the oldest since 16 min"), "{said:?}");
        assert!(said.stdout.contains("; do: `systemctl enable --now wp-cron-runner`"), "{said:?}");
    }
    let after = state(&site);
    let changed: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    assert!(changed.is_empty() && before.len() == after.len(), "{changed:#?}");
    // Root has left nothing that the runner could not use.
    let owner = std::fs::metadata(runner.home()).expect("its home").uid();
    for file in std::fs::read_dir(runner.home().join("state")).expect("the state").map(|file| file.expect("a file")) {
        assert_eq!(file.metadata().expect("a file").uid(), owner, "{}", file.path().display());
    }
    assert_eq!(site.ledger().begins("fx_ok").len(), 1, "an event was started");
    let unknown = runner.cli(&["doctor", "shpo"]);
    assert_eq!(unknown.code(), 2, "{unknown:?}");
}

#[test]
fn it_looks_inside_through_every_door() {
    let site = Site::builder().sqlite().php_fpm_line(PATIENT).start();
    for (trigger, sapi) in [(Trigger::Http, "fpm-fcgi"), (Trigger::WpCli, "cli")] {
        let runner = Runner::builder(&site).trigger(trigger).start();
        let findings = examined(&runner);
        assert!(findings.not_ok().is_empty(), "{trigger:?}: {:#?}", findings.not_ok());
        findings.has("ok", "site shop: php", sapi, "");
        findings.has("ok", "site shop: lock kind", "file-lock", "");
    }
}
