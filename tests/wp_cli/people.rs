//! `wp cron-runner` for people.

use serde_json::{Value, json};

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

/// `wp cron-runner ...`: what it printed, and whether it went well.
fn wp(site: &Site, words: &[&str]) -> (bool, String, String) {
    let mut command = site.php_command();
    command.arg(site.phar()).arg("cron-runner").args(words);
    let said = command.args(["--no-color", &format!("--path={}", site.path.display())]).output().expect("wp");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (said.status.success(), text(&said.stdout), text(&said.stderr))
}

fn rows(site: &Site, words: &[&str]) -> Value {
    let said = wp(site, &[words, &["--format=json"]].concat());
    serde_json::from_str(&said.1).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

#[test]
fn every_command_does_what_it_says() {
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).start();
    assert_eq!(rows(&site, &["status"])["runner"], "test");
    site.schedule(&[
        (unix_now() + 3600, "fx_output", json!(["a"])),
        (unix_now() + 3600, "fx_output", json!(["b"])),
        (unix_now() + 3600, "fx_dies", json!([99, "x"])),
    ]);
    let events = rows(&site, &["events", "--hook=fx_output"]);
    assert_eq!(events.as_array().map(Vec::len), Some(2), "{events}");

    let of_a = events.as_array().expect("events").iter().find(|event| event["args"] == "[\"a\"]").expect("that of a");
    let key = format!("--key={}", of_a["key"].as_str().expect("a key"));
    let runs = rows(&site, &["run", "fx_output", &key]);
    assert_eq!((runs.as_array().map(Vec::len), &runs[0]["output"]), (Some(1), &json!("a")), "{runs}");
    let (well, _, errors) = wp(&site, &["run", "fx_nobody"]);
    assert!(!well && errors.contains("no event of the hook"), "{errors}");

    let (well, ..) = wp(&site, &["run", "fx_dies"]);
    assert!(!well, "what did not end well is no success");
    let held = rows(&site, &["history", "--held"]);
    let run = held[0]["run"].as_str().expect("an id");
    assert!(wp(&site, &["requeue", run]).0);
    let again = wait_for("it to die again", secs(15), || {
        let held = rows(&site, &["history", "--held"]);
        held[0]["run"].as_str().map(str::to_string)
    });
    assert!(again != run && wp(&site, &["drop", &again]).0);
    let (well, _, errors) = wp(&site, &["drop", &again]);
    assert!(!well && errors.contains("dropped"), "{errors}");

    assert!(wp(&site, &["pause", "fx_output"]).0);
    assert_eq!(rows(&site, &["events", "--hook=fx_output"])[0]["paused"], "yes");
    assert!(wp(&site, &["resume", "fx_output"]).0 && wp(&site, &["pause", "--until=+1 hour"]).0);
    assert_eq!(runner.json(&["status"])["sites"][0]["state"], "paused");
    assert!(wp(&site, &["resume"]).0);
    let (well, _, errors) = wp(&site, &["pause", "--until=yesterday"]);
    assert!(!well && errors.contains("no time ahead"), "{errors}");

    let csv = wp(&site, &["history", "--hook=fx_output", "--format=csv"]).1;
    assert!(csv.starts_with("due,hook,outcome") && csv.lines().count() == 2, "{csv}");
    runner.stop();
    let (well, out, errors) = wp(&site, &["history"]);
    assert!(well && out.contains("fx_output") && errors.contains("the site's own journal"), "{out}{errors}");
    let (well, _, errors) = wp(&site, &["run", "fx_output"]);
    assert!(!well && errors.contains("No runner answers"), "{errors}");
}

#[test]
fn a_hostile_name_steers_no_terminal() {
    let site = Site::builder().sqlite().start();
    let _runner = Runner::builder(&site).start();
    site.php("wp_schedule_single_event( time() + 3600, \"\\x1b[2Jx\\nfake line\\u{202e}\", array( \"\\x1b]0;title\\x07\" ) );");
    let (well, out, _) = wp(&site, &["events"]);
    assert!(well && out.contains("\\x1B[2Jx\\nfake line\\u{202e}"), "{out}");
    assert!(!out.contains('\u{1b}') && !out.contains('\u{202e}') && !out.contains('\u{7}'), "{out}");
    let named = wp(&site, &["help", "cron-runner"]).1;
    assert!(!named.contains("Error"), "{named}");
}
