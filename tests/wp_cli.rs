//! PHP as a process for every call: its words, its user, its end, and what stands in front of it.

mod door;
mod people;
mod users;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::process::signal_pid;
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, Trigger, account, secs, wait_for};

/// A program of the test's own, for everybody to run. Written by another process: a test beside this one that forks while
/// the file is open here would make it "busy".
fn script(site: &Site, name: &str, text: &str) -> PathBuf {
    let file = site.dir.join(name);
    let mut write = Command::new("sh");
    write.args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod 755 \"$1\"", "sh"]);
    account::succeed(write.arg(&file).arg(text));
    file
}

/// A file that the site's user may write.
fn open_file(site: &Site, name: &str) -> PathBuf {
    let file = site.dir.join(name);
    fs::write(&file, "").expect("a file");
    account::give_to(account::SITE, &file);
    file
}

fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn parent_of(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("its parent");
    line.trim().parse().expect("a number")
}

/// What stands in front of PHP, like `sudo -u`: the tests install the plugin as root.
fn words_in_front(site: &Site, name: &str, how: &str) -> String {
    let user = account::SITE;
    let text = format!(
        "[ $(id -u) != 0 ] || exec setpriv --reuid {user} --regid {user} --init-groups -- \"$0\" \"$@\"\n{how}"
    );
    format!("wp_command = [\"{}\"]", script(site, name, &text).display())
}

fn view_of(runner: &Runner) -> Value {
    runner.json(&["status"])["sites"][0].clone()
}

#[test]
fn neither_hook_names_nor_keys_are_ever_words_of_a_command() {
    let site = Site::builder().mariadb().start();
    let log = open_file(&site, "words.txt");
    let php = script(&site, "php", &format!("printf '%s\\n' \"$*\" >> {}\nexec php \"$@\"", log.display()));
    // Loaded before the plugin is; what others see when they are loaded after it is what counts.
    site.add_plugin(
        "$GLOBALS['at_load'] = array( defined( 'DOING_CRON' ) && DOING_CRON, has_action( 'init', 'wp_cron' ) );
         foreach ( array( '$(touch x)', '--exec=touch x', '; rm -rf x', '`id`' ) as $hostile ) {
             add_action( $hostile, function ( ...$args ) use ( $hostile ) {
                 fx_write( 'END', $hostile, $args, array( $GLOBALS['at_load'], file_get_contents( '/proc/self/cmdline' ) ) );
             } );
         }",
    );
    let runner = Runner::builder(&site)
        .trigger(Trigger::WpCli)
        .site_line(&format!("php = \"{}\"\nrescan = \"2s\"", php.display()))
        .start();
    let hostile = ["$(touch x)", "--exec=touch x", "; rm -rf x", "`id`"];
    let events: Vec<_> = hostile.iter().map(|hook| (unix_now() + 1, *hook, json!(["$(id)", "--allow-root"]))).collect();
    site.schedule(&events);
    wait_for("all of them", secs(20), || (runner.history().len() == hostile.len()).then_some(()));
    let words = fs::read_to_string(&log).expect("the words");
    let key = fs::read_to_string(runner.dir.join("home").join(format!("{}.key", site.name))).expect("the key");
    for hook in hostile {
        let ledger = site.ledger();
        let ends = ledger.ends(hook);
        assert_eq!(ends.len(), 1, "{hook}");
        assert_eq!(
            ends[0].note[0],
            json!([true, false]),
            "DOING_CRON, and no wp_cron on init, when plugins are loaded"
        );
        let cmdline = ends[0].note[1].as_str().expect("a command line").replace('\0', " ");
        assert!(cmdline.contains("cron-runner call run --path="), "{cmdline}");
        assert_eq!(runner.history_of(hook)[0]["outcome"], "ok");
        for all in [&words, &cmdline] {
            assert!(!all.contains(hook) && !all.contains("allow-root") && !all.contains(key.trim()), "{all}");
        }
    }
    let of = |what: &str| words.lines().filter(|line| line.contains(what)).count();
    assert!(
        of("endpoint.php due ") >= 1 && of("cron-runner call run ") >= 1 && of("cron-runner call settle ") >= 1,
        "{words}"
    );
    assert_eq!(of("cron-runner call due"), 0, "a look needs no WP-CLI: {words}");
    assert_eq!(of("-d memory_limit=512M"), words.lines().count(), "{words}");
    assert!(!site.path.join("x").exists() && !site.dir.join("x").exists());
}

/// An event that starts another process and waits for it.
fn add_parent(site: &Site) {
    site.add_plugin(
        "add_action( 'parent', function () {
             $child = proc_open( array( 'sleep', '300' ), array(), $pipes );
             fx_write( 'BEGIN', 'parent', array(), proc_get_status( $child )['pid'] );
             while ( true ) { usleep( 50000 ); }
         } );",
    );
}

fn ended_at_its_limit(site: &Site, runner: &Runner) {
    site.schedule_in(1, "parent", &json!([]));
    let begin = wait_for("the beginning", secs(15), || site.ledger().begin_of("parent"));
    let child = u32::try_from(begin.note.as_u64().expect("a process")).expect("its number");
    assert!(lives(child) && lives(begin.pid));
    let run = wait_for("the record", secs(30), || runner.history_of("parent").first().cloned());
    assert_eq!((run["outcome"].as_str(), run["then"].as_str()), (Some("timed_out"), Some("held")), "{run}");
    wait_for("the end of the process", secs(5), || (!lives(begin.pid)).then_some(()));
    wait_for("the end of what it started", secs(5), || (!lives(child)).then_some(()));
}

#[test]
fn at_the_time_limit_the_process_goes_with_all_that_it_started() {
    let site = Site::builder().mariadb().start();
    add_parent(&site);
    let runner = Runner::builder(&site).trigger(Trigger::WpCli).site_line("timeout = \"2s\"\nlanes = 1").start();
    ended_at_its_limit(&site, &runner);
    site.schedule_in(0, "fx_ok", &json!(["afterwards"]));
    wait_for("the lane", secs(15), || site.ledger().end_of("fx_ok"));
}

#[test]
fn behind_other_words_the_plugin_ends_the_process() {
    let site = Site::builder().sqlite().start();
    add_parent(&site);
    let words = words_in_front(&site, "words", "exec \"$@\"");
    let runner = Runner::builder(&site).trigger(Trigger::WpCli).site_line(&words).site_line("timeout = \"2s\"").start();
    ended_at_its_limit(&site, &runner);
}

#[test]
fn an_event_outlives_its_runner_and_is_learned_by_the_next() {
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).trigger(Trigger::WpCli).site_line("rescan = \"2s\"\nlanes = 1").start();
    let at = unix_now() + 1;
    // It prints while nobody listens any more.
    site.add_plugin(
        "add_action( 'talker', function () {
             fx_write( 'BEGIN', 'talker', array() );
             for ( $i = 0; $i < 60; $i++ ) { usleep( 100000 ); echo str_repeat( 'x', 2000 ); fwrite( STDERR, 'y' ); }
             fx_write( 'END', 'talker', array() );
         } );",
    );
    let mut events = vec![(at, "talker", json!([]))];
    events.extend((0..7).map(|i| (at, "fx_ok", json!(["rest", i]))));
    site.schedule(&events);
    wait_for("the long event's beginning", secs(15), || site.ledger().begin_of("talker"));
    runner.kill();
    runner.start();
    wait_for("all of them", secs(40), || (runner.history().len() == 8).then_some(()));
    let run = &runner.history_of("talker")[0];
    assert_eq!(run["outcome"], "ok", "it was never interrupted: {run}");
    let ledger = site.ledger();
    assert_eq!((ledger.begins("talker").len(), ledger.ends("talker").len(), ledger.begins("fx_ok").len()), (1, 1, 7));
    assert!(ledger.overlaps().is_empty());
}

#[test]
fn a_killed_process_is_named_at_once() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).trigger(Trigger::WpCli).site_line("lanes = 1").start();
    let at = unix_now() + 1;
    site.schedule(&[(at, "fx_sleep", json!([60])), (at, "fx_ok", json!(["behind it"]))]);
    let pid = wait_for("the beginning", secs(15), || site.ledger().begin_of("fx_sleep")).pid;
    signal_pid(pid, Signal::KILL);
    let run = wait_for("its record", secs(8), || runner.history_of("fx_sleep").first().cloned());
    assert_eq!((run["outcome"].as_str(), run["then"].as_str()), (Some("interrupted"), Some("held")), "{run}");
    wait_for("the other one", secs(15), || runner.history_of("fx_ok").first().cloned());
    assert_eq!(site.ledger().begins("fx_sleep").len(), 1);
}

#[test]
fn a_site_that_cannot_be_loaded_is_named_and_waited_for() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).trigger(Trigger::WpCli).site_line("lanes = 1").start();
    let at = site.schedule_in(4, "fx_ok", &json!([]));
    site.add_plugin("if ( defined( 'WP_CLI' ) ) { throw new Error( 'no way in' ); }");
    let view = wait_for("its name", secs(12), || {
        let view = view_of(&runner);
        view.to_string().contains("no way in").then_some(view)
    });
    assert!(view.to_string().contains("`php` ended with exit status"), "{view}");
    assert_eq!(site.scheduled("fx_ok"), [at], "nothing was claimed");
    site.add_plugin("");
    wait_for("the event", secs(30), || site.ledger().end_of("fx_ok"));
    wait_for("its record", secs(5), || runner.history_of("fx_ok").first().cloned());
    assert_eq!(runner.history().len(), 1);
}

#[test]
fn an_event_that_ends_in_an_error_of_wp_cli_has_failed() {
    let site = Site::builder().mariadb().start();
    site.add_plugin(
        "add_action( 'cli_error', function () { WP_CLI::warning( 'not yet' ); WP_CLI::error( 'the error of cli_error' ); } );
         add_action( 'cli_soft', function () { WP_CLI::error( 'said, and gone on', false ); } );
         add_action( 'cli_halt', function () { WP_CLI::halt( 3 ); } );",
    );
    let runner = Runner::builder(&site).trigger(Trigger::WpCli).site_line("lanes = 1").start();
    let at = unix_now() + 1;
    site.schedule(&["cli_error", "cli_soft", "cli_halt"].map(|hook| (at, hook, json!([]))));
    wait_for("all three", secs(20), || (runner.history().len() == 3).then_some(()));
    let run = |hook: &str| runner.history_of(hook)[0].clone();
    assert_eq!(
        (run("cli_error")["outcome"].as_str(), run("cli_error")["note"].as_str()),
        (Some("failed"), Some("WP_CLI::error"))
    );
    let error = &run("cli_error")["error"];
    assert_eq!(error["message"], "the error of cli_error");
    assert!(error["file"].as_str().is_some_and(|file| file.ends_with("zz-test.php")) && error["line"] == 2, "{error}");
    assert_eq!(run("cli_soft")["outcome"], "ok");
    assert_eq!((run("cli_halt")["outcome"].as_str(), run("cli_halt")["note"].as_str()), (Some("ok"), Some("exit")));
}

#[test]
fn the_end_of_what_stands_in_front_of_php_is_not_the_end_of_the_event() {
    let site = Site::builder().mariadb().start();
    // As ssh and docker do: PHP is somebody else's child, and goes on without it.
    let words = words_in_front(&site, "words", "exec 3<&0\n\"$@\" <&3 3<&- &\nwait");
    let runner = Runner::builder(&site)
        .trigger(Trigger::WpCli)
        .site_line(&words)
        .site_line("rescan = \"1s\"\nlanes = 1")
        .start();
    site.schedule_in(1, "fx_sleep", &json!([7]));
    let begin = wait_for("the beginning", secs(15), || site.ledger().begin_of("fx_sleep"));
    let front = parent_of(begin.pid);
    signal_pid(front, Signal::KILL);
    wait_for("the death of the words in front", secs(5), || (!lives(front)).then_some(()));
    let run = wait_for("its record", secs(40), || runner.history_of("fx_sleep").first().cloned());
    assert_eq!(run["outcome"], "ok", "it was called dead while it lived: {run}");
    assert_eq!((site.ledger().begins("fx_sleep").len(), site.ledger().ends("fx_sleep").len()), (1, 1));
}

/// Where the plugin's file is out of sight: every call goes through WP-CLI.
fn out_of_sight(site: &Site) -> String {
    words_in_front(site, "ssh", "exec \"$@\"")
}

fn maintenance(site: &Site, line: &str) {
    let runner = Runner::builder(site).trigger(Trigger::WpCli).site_line("rescan = \"1s\"").site_line(line).start();
    let file = site.path.join(".maintenance");
    let at = site.schedule_in(6, "fx_ok", &json!([]));
    fs::write(&file, format!("<?php $upgrading = {};", unix_now())).expect(".maintenance");
    wait_for("its name", secs(20), || (view_of(&runner)["state"] == "maintenance").then_some(()));
    wait_for("the due time", secs(12), || (unix_now() > at + 3).then_some(()));
    let option = site.sql_text("SELECT option_value FROM wp_options WHERE option_name = 'cron'").expect("an option");
    assert!(option.contains("fx_ok"), "nothing is claimed meanwhile: {option}");
    fs::remove_file(&file).expect("the end of it");
    wait_for("the event", secs(60), || site.ledger().end_of("fx_ok"));
    assert_eq!(runner.json(&["history", "--failed"]), json!([]));
    // A mark that was forgotten ten minutes ago counts for nothing, as in core.
    fs::write(&file, format!("<?php $upgrading = {};", unix_now() - 601)).expect(".maintenance");
    site.schedule_in(1, "fx_output", &json!([]));
    wait_for("the other event", secs(20), || site.ledger().end_of("fx_output"));
}

#[test]
fn maintenance_stops_a_look_by_php() {
    maintenance(&Site::builder().sqlite().start(), "");
}

#[test]
fn maintenance_stops_what_wp_cli_would_do_all_the_same() {
    let site = Site::builder().mariadb().start();
    let line = out_of_sight(&site);
    maintenance(&site, &line);
}

#[test]
fn a_process_that_was_left_behind_does_not_hold_the_lane() {
    let site = Site::builder().mariadb().start();
    let note = open_file(&site, "left");
    site.add_plugin(&format!(
        "add_action( 'leaver', function () {{ proc_close( proc_open( array( 'sh', '-c', 'sleep 120 & echo $! > {}' ), array(), $pipes ) ); }} );",
        note.display()
    ));
    let runner = Runner::builder(&site).trigger(Trigger::WpCli).site_line("lanes = 1").start();
    site.schedule_in(1, "leaver", &json!([]));
    let left = wait_for("what it left behind", secs(15), || {
        fs::read_to_string(&note).ok().and_then(|text| text.trim().parse::<u32>().ok())
    });
    wait_for("its record", secs(5), || runner.history_of("leaver").first().cloned());
    site.schedule_in(0, "fx_ok", &json!([]));
    wait_for("the lane", secs(10), || site.ledger().end_of("fx_ok"));
    let still = lives(left);
    signal_pid(left, Signal::KILL);
    assert!(still, "nobody asked for its end");
}

#[test]
fn a_flood_of_output_is_drained_counted_and_cut() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).trigger(Trigger::WpCli).start();
    site.schedule_in(1, "fx_flood", &json!([20, 100]));
    let run = wait_for("its record", secs(20), || runner.history_of("fx_flood").first().cloned());
    let kept = run["output"].as_str().expect("output").len();
    assert_eq!(run["outcome"], "ok");
    assert_eq!(kept, 64 * 1024);
    let written = 20 * (1_048_576 / 100) * 100;
    assert_eq!(run["output_dropped"].as_u64(), Some(written - 65_536), "{}", run["output_dropped"]);
}

#[test]
fn a_wrong_key_is_named_through_php_and_through_wp_cli() {
    let site = Site::builder().sqlite().start();
    for line in [String::new(), out_of_sight(&site)] {
        let runner = Runner::builder(&site).trigger(Trigger::WpCli).site_line(&line).prepare();
        let key = runner.dir.join("home").join(format!("{}.key", site.name));
        let good = fs::read_to_string(&key).expect("the key");
        assert_eq!(runner.cli(&["check", "--connect"]).code(), 0);
        fs::write(&key, "0123456789abcdef".repeat(4)).expect("another key");
        let said = runner.cli(&["check", "--connect"]);
        let all = said.stdout.clone() + &said.stderr;
        assert!(said.code() != 0 && all.contains("differ"), "{said:?}");
        assert!(!all.contains(good.trim()));
        // `plugin install` of the next round shall find its own key.
        fs::write(&key, &good).expect("the key again");
    }
}

#[test]
fn a_program_that_is_not_wp_cli_is_named() {
    let site = Site::builder().sqlite().start();
    let shell = script(&site, "wp", "exec php wp-cli.phar \"$@\"");
    for (wp_cli, words) in
        [("/nowhere/wp-cli.phar".to_owned(), "no such file"), (shell.display().to_string(), "shell script")]
    {
        let mut runner = Runner::builder(&site).trigger(Trigger::WpCli).prepare();
        let text = fs::read_to_string(&runner.config).expect("config.toml");
        let phar = site.phar().display().to_string();
        assert!(text.contains(&phar));
        fs::write(&runner.config, text.replace(&phar, &wp_cli)).expect("config.toml");
        runner.start();
        let view = wait_for("its state", secs(20), || {
            let view = view_of(&runner);
            (view["state"] == "misconfigured").then_some(view)
        });
        assert!(view.to_string().contains(words) && view.to_string().contains(&wp_cli), "{view}");
        runner.stop();
    }
}
