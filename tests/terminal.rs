//! What a person sees on a terminal: tables that fit it, colour, and a word while something takes its time.

use std::process::Command;

use serde_json::json;

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, account, secs, wait_for};

/// What a terminal of so many columns is sent, its colours and all.
fn on_terminal(runner: &Runner, columns: u32, environment: &[(&str, &str)], words: &[&str]) -> String {
    let line = format!(
        "stty cols {columns} rows 50 -onlcr && {} --config {} {}",
        runner.binary.display(),
        runner.config.display(),
        words.join(" ")
    );
    let mut command = account::command_as(account::SITE, "script");
    command
        .args(["-qec", &line, "/dev/null"])
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .current_dir(runner.dir.path());
    command.stdin(std::process::Stdio::null());
    command.envs(environment.iter().copied());
    String::from_utf8(command.output().expect("script").stdout).expect("text")
}

fn without_colour(text: &str) -> String {
    ["\u{1b}[31m", "\u{1b}[33m", "\u{1b}[0m"].iter().fold(text.to_owned(), |text, colour| text.replace(colour, ""))
}

#[test]
fn tables_fit_the_terminal_and_colour_is_for_it_alone() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    let long = format!("fx_{}", "a_very_long_name_".repeat(20));
    site.schedule(&[(unix_now(), "fx_exception", json!([])), (unix_now(), "fx_ok", json!([]))]);
    site.schedule(&[
        (unix_now() + 1000, &long, json!(["an argument"])),
        (unix_now(), &format!("{long}_now"), json!([])),
    ]);
    wait_for("the runs", secs(20), || (runner.history().len() >= 3).then_some(()));
    let runs = runner.history();
    let run = runs[0]["run"].as_str().expect("an id");
    for columns in [20, 80, 200] {
        for command in ["status", "events", "history"] {
            let seen = on_terminal(&runner, columns, &[], &[command]);
            let text = without_colour(&seen);
            assert!(!text.contains('\u{1b}'), "{text:?}");
            // The first line of `status`, and what it remarks, is prose.
            let is_prose = |line: &&str| command == "status" && !line.starts_with(' ');
            let widest = text.lines().filter(|line| !is_prose(line)).map(|line| line.chars().count()).max();
            assert!(
                widest <= Some(columns as usize) && widest > Some(10),
                "{command} at {columns}: {widest:?}\n{text}"
            );
            assert!(columns == 20 || text.lines().count() < 40, "{command} at {columns} is a wall:\n{text}");
            if command == "history" {
                assert!(seen.contains("\u{1b}[31mfailed\u{1b}[0m"), "{seen:?}");
                assert!(columns == 20 || text.contains(run), "{text}");
            }
        }
    }
    let plain = on_terminal(&runner, 80, &[("NO_COLOR", "1")], &["history"]);
    assert!(!plain.contains('\u{1b}') && plain.contains("failed"), "{plain:?}");
    let piped =
        Command::new(&runner.binary).arg("--config").arg(&runner.config).arg("history").output().expect("history");
    let piped = String::from_utf8(piped.stdout).expect("text");
    assert!(!piped.contains('\u{1b}') && piped.contains("the exception of fx_exception"), "{piped}");
}

#[test]
fn a_terminal_is_told_what_is_waited_for_and_a_pipe_is_not() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    site.schedule(&[(unix_now() + 1000, "fx_sleep", json!([2])), (unix_now() + 2000, "fx_sleep", json!([2.5]))]);
    let seen = on_terminal(&runner, 80, &[("NO_COLOR", "1")], &["trigger", "shop", "fx_sleep"]);
    let (before, after) =
        seen.split_once("\rwaiting for the end of site shop, 1 s\u{1b}[K").unwrap_or_else(|| panic!("{seen:?}"));
    assert_eq!(before, "", "{seen:?}");
    let (line, answer) = after.rsplit_once("\r\u{1b}[K").unwrap_or_else(|| panic!("never erased: {seen:?}"));
    assert!(!line.contains('\n') && answer.contains("fx_sleep") && !answer.contains("waiting"), "{seen:?}");

    site.schedule(&[(unix_now() + 1000, "fx_sleep", json!([2]))]);
    let said = runner.cli(&["trigger", "shop", "fx_sleep"]);
    assert!(said.stdout.contains("fx_sleep") && said.stderr.is_empty(), "{said:?}");
    // What is quick has no such line; a machine that is busy may take its second.
    let quick = on_terminal(&runner, 80, &[("NO_COLOR", "1")], &["events", "shop"]);
    assert!(!quick.contains('\u{1b}') || quick.contains(", 1 s\u{1b}[K"), "{quick:?}");
}
