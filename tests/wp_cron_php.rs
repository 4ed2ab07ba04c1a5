//! A site where no plugin can be installed: WordPress's own wp-cron.php on a crontab schedule, over HTTP and through WP-CLI.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::process::signal_pid;
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, http, secs, wait_for};

/// The same site, reached in this way; the plugin was never there.
fn without_plugin(site: &Site, lines: &str) -> Runner {
    let runner = Runner::builder(site).without_plugin().prepare();
    runner.rewrite_config(|config| {
        let is_of_the_plugin = |line: &&str| line.starts_with("fastcgi") || line.starts_with("secret_file");
        let kept: Vec<&str> = config.lines().filter(|line| !is_of_the_plugin(line)).collect();
        kept.join("\n").replace("trigger = \"fastcgi\"", &format!("trigger = \"wp-cron.php\"\n{lines}"))
    });
    runner
}

fn by_wp_cli(site: &Site) -> String {
    format!("wp_cli = \"{}\"", site.phar().display())
}

fn pass_of(runs: &Value) -> Value {
    let [run] = runs.as_array().expect("a list").as_slice() else { panic!("{runs}") };
    assert_eq!((run["hook"].as_str(), run["trigger"].as_str()), (Some("wp-cron.php"), Some("wp-cron.php")), "{run}");
    run.clone()
}

fn runs_what_is_due_and_says_what_it_cannot_know(site: &Site, lines: &str) {
    let mut runner = without_plugin(site, &format!("schedule = \"0 0 1 1 *\"\n{lines}"));
    runner.start();
    let view = runner.json(&["status"])["sites"][0].clone();
    assert_eq!((view["state"].as_str(), view["schedule"].as_str()), (Some("ok"), Some("0 0 1 1 *")), "{view}");
    let said = runner.cli(&["status"]);
    assert!(said.stdout.contains("without the plugin nobody says"), "{said:?}");

    site.schedule(&[(unix_now() - 5, "fx_ok", json!(["due"])), (unix_now() + 3600, "fx_ok", json!(["not due"]))]);
    let run = pass_of(&runner.json(&["trigger", "shop"]));
    assert_eq!(run["outcome"], "ok", "{run}");
    assert!(run["note"].as_str().is_some_and(|note| note.contains("does not say")), "{run}");
    wait_for("the event", secs(10), || site.ledger().end_of("fx_ok"));
    assert_eq!(site.ledger().begins("fx_ok").len(), 1);
    assert_eq!(runner.history().len(), 1);

    let said = runner.cli(&["trigger", "shop", "fx_ok"]);
    assert!(said.code() == 1 && said.stderr.contains("never one hook alone"), "{said:?}");
    // It is off the plugin's ground: nothing was installed, and nothing is left.
    assert!(!site.path.join("wp-content/mu-plugins/wp-cron-runner").exists());
    assert_eq!(site.php("echo get_option('wp_cron_runner', 'none');"), "none");
    assert!(runner.stop().success());
}

#[test]
fn over_http() {
    let site = Site::builder().sqlite().start();
    runs_what_is_due_and_says_what_it_cannot_know(&site, "");
}

#[test]
fn through_wp_cli() {
    let site = Site::builder().mariadb().start();
    runs_what_is_due_and_says_what_it_cannot_know(&site, &by_wp_cli(&site));
}

#[test]
fn a_pass_that_runs_is_shown() {
    let site = Site::builder().sqlite().start();
    let mut runner = without_plugin(&site, &format!("schedule = \"0 0 1 1 *\"\n{}", by_wp_cli(&site)));
    runner.start();
    site.schedule(&[(unix_now() - 5, "fx_sleep", json!([3]))]);
    let running = || runner.json(&["status"])["sites"][0]["running"].clone();
    let seen = std::thread::scope(|scope| {
        let pass = scope.spawn(|| pass_of(&runner.json(&["trigger", "shop"])));
        let seen = wait_for("the pass", secs(10), || running().get(0).cloned());
        let run = pass.join().expect("its record");
        assert_eq!((run["run"].as_str(), run["outcome"].as_str()), (seen["run"].as_str(), Some("ok")), "{run}");
        seen
    });
    assert_eq!(seen["hook"], "wp-cron.php", "{seen}");
    assert_eq!(running(), json!([]));
}

#[test]
fn no_pass_begins_beside_one_whose_runner_died() {
    let site = Site::builder().mariadb().start();
    // It prints while nobody listens any more, then leaves something behind that keeps its stdin.
    site.add_plugin(
        "add_action( 'talker', function () {
             fx_write( 'BEGIN', 'talker', array() );
             for ( $i = 0; $i < 70; $i++ ) { usleep( 100000 ); echo str_repeat( 'x', 2000 ); }
             fx_write( 'END', 'talker', array() );
         } );
         add_action( 'leaver', function () {
             exec( 'exec 3<&0; sleep 300 <&3 3<&- >/dev/null 2>&1 & echo $!', $said );
             fx_write( 'END', 'leaver', array(), (int) $said[0] );
         } );",
    );
    let mut runner = without_plugin(&site, &format!("schedule = \"0 0 1 1 *\"\n{}", by_wp_cli(&site)));
    runner.start();
    let past = unix_now() - 60;
    site.schedule(&[(past, "talker", json!([])), (past + 1, "fx_sleep", json!([2]))]);
    std::thread::scope(|scope| {
        scope.spawn(|| runner.cli(&["trigger", "shop"]));
        wait_for("the beginning", secs(15), || site.ledger().begin_of("talker"));
        signal_pid(runner.pid(), Signal::KILL);
    });
    runner.kill();
    runner.start();

    let run = pass_of(&runner.json(&["trigger", "shop"]));
    let reason = run["reason"].as_str().expect("a reason");
    assert_eq!(run["outcome"], "skipped", "{run}");
    assert!(reason.starts_with("an earlier pass still runs") && reason.contains("pass-shop.lock is locked"), "{run}");
    assert!(site.ledger().end_of("talker").is_none(), "it still ran");
    wait_for("the end of the first pass", secs(20), || site.ledger().end_of("fx_sleep"));
    let ledger = site.ledger();
    assert_eq!((ledger.ends("talker").len(), ledger.begins("fx_sleep").len()), (1, 1));

    site.schedule(&[(unix_now() - 5, "leaver", json!([]))]);
    let run = wait_for("a pass", secs(10), || {
        let run = pass_of(&runner.json(&["trigger", "shop"]));
        (run["outcome"] != "skipped").then_some(run)
    });
    assert_eq!(run["outcome"], "ok", "{run}");
    let left = site.ledger().end_of("leaver").expect("its end").note.as_u64().expect("a process");
    site.schedule(&[(unix_now() - 5, "fx_ok", json!([]))]);
    let run = pass_of(&runner.json(&["trigger", "shop"]));
    let keeps = fs::read_link(format!("/proc/{left}/fd/0"));
    signal_pid(u32::try_from(left).expect("its number"), Signal::KILL);
    let keeps = keeps.expect("its stdin").display().to_string();
    assert!(keeps.ends_with("pass-shop.lock (deleted)"), "it keeps the old lock: {keeps}");
    assert_eq!((run["outcome"].as_str(), site.ledger().ends("fx_ok").len()), (Some("ok"), 1), "{run}");
}

#[test]
fn a_pass_begins_at_the_second_of_the_schedule_and_a_failed_one_waits_for_the_next() {
    let site = Site::builder().sqlite().start();
    let mut runner = without_plugin(&site, "schedule = \"* * * * *\"");
    runner.start();
    let first = wait_for("the first pass", secs(75), || runner.history().first().cloned());
    assert!(first["lateness_ms"].as_i64().is_some_and(|late| (0..5000).contains(&late)), "{first}");
    assert!(first["due"].as_str().is_some_and(|due| due.ends_with(":00Z")), "{first}");
    assert_eq!(runner.history().len(), 1);
    drop(site);
    // Whoever asks now learns why; the schedule does not hammer at a closed door.
    let said = runner.cli(&["trigger", "shop"]);
    assert!(said.code() == 1 && said.stdout.contains("cannot be reached"), "{said:?}");
    let view: Value = runner.json(&["status"])["sites"][0].clone();
    assert_eq!(view["state"], "unreachable", "{view}");
    assert!(view["next"].as_str().is_some_and(|next| next.ends_with(":00Z")), "{view}");
    let failed = runner.history().first().cloned().expect("its record");
    assert_eq!(failed["outcome"], "failed", "{failed}");
}

#[test]
fn a_failing_event_is_named_through_wp_cli_and_once_needs_no_daemon() {
    let site = Site::builder().sqlite().start();
    let runner = without_plugin(&site, &format!("schedule = \"0 0 1 1 *\"\n{}", by_wp_cli(&site)));
    site.schedule(&[(unix_now() - 5, "fx_fatal", json!([]))]);
    let said = runner.cli(&["once", "--json"]);
    assert_eq!(said.code(), 1, "{said:?}");
    assert!(said.stdout.contains("fx_there_is_no_such_function"), "{said:?}");
    let again = runner.cli(&["once"]);
    assert_eq!(again.code(), 0, "{again:?}");
    assert_eq!(runner.history().len(), 2);
    http::request("GET", &site.address(), "/", &[], b"").expect("a page");
}
