//! Commands: with a daemon and without one.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{is_steering, refused, said};
use crate::support::account::{self, command_as};
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

/// In words and with `--json`: exit code, whether to try again, and what both say.
fn refuses(runner: &Runner, arguments: &[&str], code: i32, again: &str, parts: &[&str]) -> Value {
    let words = runner.cli(arguments);
    assert_eq!((words.code(), words.stdout.as_str()), (code, ""), "{arguments:?}: {words:?}");
    assert!(!words.stderr.contains(is_steering), "{arguments:?}: {words:?}");
    let error = refused(&runner.cli(&[arguments, &["--json"]].concat()));
    assert_eq!((&error["code"], &error["again"]), (&json!(code), &json!(again)), "{arguments:?}: {error}");
    let fields: String = error.as_object().expect("fields").values().map(|part| format!("{part}\n")).collect();
    let sentence = match again {
        "safe" => "trying again is safe",
        "unsafe" => "it could run twice",
        _ => "trying again as it is changes nothing",
    };
    // clap's words for people are its own.
    let by_clap = error["place"] == "command line" || words.stderr.contains("For more information");
    for part in parts.iter().copied().chain((!by_clap).then_some(sentence)) {
        assert!(words.stderr.contains(part), "{arguments:?}: `{part}` is missing in {}", words.stderr);
        let quoted = json!(part).to_string();
        let is_there = part == sentence || fields.contains(quoted.trim_matches('"'));
        assert!(is_there, "{arguments:?}: `{part}` is missing in {error}");
    }
    error
}

/// What no refused command may change: the option, the journal, the history, and a pause.
fn state(site: &Site, runner: &Runner) -> [Value; 4] {
    [
        json!(site.sql("SELECT option_value FROM wp_options WHERE option_name = 'cron'")),
        json!(site.sql("SELECT run, state, `then` FROM wp_cron_runner_journal ORDER BY id")),
        json!(runner.history()),
        runner.json(&["status"])["sites"][0]["paused"].clone(),
    ]
}

const NO_RUN: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

#[test]
fn a_command_is_refused_with_all_the_parts_and_changes_nothing() {
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).start();
    site.schedule(&[(unix_now(), "fx_ok", json!([])), (unix_now(), "fx_exception", json!([]))]);
    let ended = |hook: &str| wait_for(hook, secs(10), || runner.history_of(hook).first().cloned());
    let id = |run: &Value| run["run"].as_str().expect("an id").to_owned();
    let (ok, failed) = (id(&ended("fx_ok")), id(&ended("fx_exception")));
    site.schedule_in(0, "fx_sleep", &json!([120]));
    let running = wait_for("a run that runs", secs(10), || {
        let status = runner.json(&["status"]);
        status["sites"][0]["running"][0]["run"].as_str().map(str::to_owned)
    });
    site.schedule_in(3600, "fx_later", &json!([]));

    let long = "x".repeat(10_000);
    let nearest = "did you mean `shop`?";
    let ids = "`wp-cron-runner history` shows run ids";
    let always: Vec<(Vec<&str>, i32, &str, Vec<&str>)> = vec![
        (vec!["histroy"], 2, "useless", vec!["history"]),
        (vec!["frobnicate"], 2, "useless", vec!["frobnicate"]),
        (vec!["history", "--fialed"], 2, "useless", vec!["--failed"]),
        (vec!["history", "-n", "many"], 2, "useless", vec!["invalid digit", "-n <COUNT>"]),
        (vec!["next", "@daily", "extra"], 2, "useless", vec!["extra"]),
        (vec!["next", "@daily", "-n", "0"], 2, "useless", vec!["0 is not in 1..=1000"]),
        (vec!["trigger"], 2, "useless", vec!["<SITE>"]),
        (vec!["next", "61 * * * *"], 2, "useless", vec!["the field minute is wrong", "61", "0 to 59"]),
        (vec!["next", "\u{1b}[31m"], 2, "useless", vec!["the expression is wrong", "ASCII on one line"]),
        (vec!["next", "0 0 30 2 *"], 2, "useless", vec!["so this never comes"]),
        (vec!["next", "@daily", "--timezone", "Mars/X"], 2, "useless", vec!["Mars/X", "the nearest are "]),
        (vec!["next", "@daily", "--from", "tomorrow"], 2, "useless", vec!["tomorrow", "RFC 3339"]),
        (vec!["trigger", "shpo"], 2, "useless", vec!["shpo", nearest]),
        (vec!["pause", "shpo"], 2, "useless", vec!["shpo", nearest]),
        (vec!["resume", "shpo"], 2, "useless", vec!["shpo", nearest]),
        (vec!["events", "shpo"], 2, "useless", vec!["shpo", nearest]),
        (vec!["history", "shpo"], 2, "useless", vec!["shpo", nearest]),
        (vec!["once", "shpo"], 2, "useless", vec!["shpo", nearest]),
        (vec!["plugin", "status", "shpo"], 2, "useless", vec!["shpo", nearest]),
        (vec!["trigger", "far\u{202e}away"], 2, "useless", vec!["far\\u{202e}away", "there are: shop"]),
        (vec!["pause", "shop", "--until", "yesterday"], 2, "useless", vec!["yesterday", "18:30", "--until"]),
        (vec!["pause", "shop", "--until", "2001-01-01T00:00:00Z"], 2, "useless", vec!["a time ahead"]),
        (vec!["history", "--since", "always"], 2, "useless", vec!["always", "30m, 2h or 1d"]),
        (vec!["requeue", NO_RUN], 2, "useless", vec![NO_RUN, ids]),
        (vec!["drop", NO_RUN], 2, "useless", vec![NO_RUN, ids]),
        (vec!["requeue", "short"], 2, "useless", vec!["short", ids]),
        (vec!["drop", "../../etc"], 2, "useless", vec!["../../etc", ids]),
        (vec!["requeue", &long], 2, "useless", vec!["... (10000 bytes)", ids]),
        (vec!["requeue", &ok], 1, "unsafe", vec!["the run ended `ok`", "nothing was changed"]),
        (vec!["drop", &ok], 1, "unsafe", vec!["the run ended `ok`", "nothing was changed"]),
        (vec!["requeue", &running], 1, "unsafe", vec!["it would run twice", "nothing was changed"]),
        (vec!["drop", &running], 1, "unsafe", vec!["has not ended", "nothing was changed"]),
    ];
    let before = state(&site, &runner);
    for (arguments, code, again, parts) in &always {
        refuses(&runner, arguments, *code, again, parts);
    }
    // What only a daemon can be asked.
    let events = "`wp-cron-runner events` shows what is scheduled";
    for hook in ["", "fx_nobody", "a\u{1b}]0;x\u{7}b", &long] {
        let error = refuses(&runner, &["trigger", "shop", hook], 1, "useless", &["no event of the hook", events]);
        assert!(error["failed"].as_str().is_some_and(|failed| failed.len() < 200), "{error}");
    }
    let other = said(command(&runner).args(["once", "--json"]));
    let error = refused(&other);
    assert_eq!((other.code(), &error["again"]), (75, &json!("safe")), "{error}");
    assert!(error["found"].to_string().contains(&format!("process {} since 20", runner.pid())), "{error}");
    assert_eq!(state(&site, &runner), before);

    // A run that was decided about is decided about.
    assert_eq!(runner.cli(&["drop", &failed]).code(), 0);
    for command in ["requeue", "drop"] {
        refuses(&runner, &[command, &failed], 1, "unsafe", &["the run ended `failed` and was dropped already"]);
    }

    // The same without a daemon: killed, so that the event goes on in PHP.
    let sleeps = site.ledger().begin_of("fx_sleep").expect("its begin").pid;
    runner.kill();
    let history = runner.history();
    let journal = site.sql("SELECT run, state, `then` FROM wp_cron_runner_journal ORDER BY id");
    for (arguments, code, again, parts) in &always {
        refuses(&runner, arguments, *code, again, parts);
    }
    refuses(&runner, &["trigger", "shop"], 69, "safe", &["no runner answers on", "`wp-cron-runner once shop`"]);
    assert_eq!(site.sql("SELECT run, state, `then` FROM wp_cron_runner_journal ORDER BY id"), journal);
    assert_eq!(runner.history(), history);
    assert_eq!(site.scheduled("fx_later").len(), 1);
    assert!(site.ledger().end_of("fx_sleep").is_none(), "it still ran when it was asked about");
    site.php_fpm.kill_worker(sleeps);
}

/// Reports that people read, for a hook whose name was chosen to be obeyed.
#[test]
fn a_terminal_is_told_and_never_obeys() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).start();
    let names = [
        "a\u{1b}]0;title\u{7}\u{1b}[31mred",
        "two\nlines\r\tand",
        "n\u{0}ul",
        "r\u{202e}tl \u{9b}31m",
        &"l".repeat(10_000),
    ];
    // As a plugin would: the names are made in PHP, NUL and all.
    let hex: Vec<String> = names.iter().map(|name| name.bytes().map(|byte| format!("{byte:02x}")).collect()).collect();
    for at in ["time() + 1", "time() + 3600"] {
        let code = "foreach (HOOKS as $hook) { wp_schedule_single_event(AT, hex2bin($hook), [hex2bin($hook)]); }";
        site.php(&code.replace("HOOKS", &json!(hex).to_string()).replace("AT", at));
    }
    wait_for("their runs", secs(20), || (runner.history().len() >= names.len()).then_some(()));

    let status = runner.json(&["status"]);
    assert_eq!(status["sites"][0]["state"], "ok", "{status}");
    let hooks: Vec<Value> = runner.history().iter().map(|run| run["hook"].clone()).collect();
    for name in names {
        assert!(hooks.contains(&json!(name)), "programs get the name as it is: {name:?}");
    }
    for command in [&["events"][..], &["history"], &["status"], &["once", "--dry-run"]] {
        for json in [&[][..], &["--json"]] {
            let said = runner.cli(&[command, json].concat());
            assert_eq!((said.code(), said.stderr.as_str()), (0, ""), "{command:?}");
            assert!(!said.stdout.contains(is_steering), "{command:?} {json:?}: {:?}", said.stdout);
        }
    }
    let shown = runner.cli(&["history"]).stdout + &runner.cli(&["events"]).stdout;
    for part in ["\\x1B", "\\x00", "\\u{202e}", "\\n"] {
        // Cells are folded, and a name may be on several lines.
        assert!(shown.replace(['\n', ' '], "").contains(part), "{part} is not shown");
    }
    let log = runner.log();
    assert!(log.contains("\\x1B") && !log.contains(is_steering), "{log:?}");
}

#[test]
fn nobody_reads_and_nothing_is_said_about_it() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).start();
    site.schedule_in(0, "fx_ok", &json!([]));
    wait_for("a run", secs(10), || runner.history_of("fx_ok").first().cloned());
    let reports = [
        &["status"][..],
        &["status", "--watch"],
        &["events"],
        &["history"],
        &["history", "--failed"],
        &["check"],
        &["check", "--connect"],
        &["plugin", "status", "shop"],
        &["once", "--dry-run"],
        &["trigger", "shop"],
        &["next", "@daily"],
        &["resume", "shop"],
        &["--help"],
        &["--version"],
    ];
    for report in reports {
        for json in [&[][..], &["--json"]] {
            let arguments = [report, json].concat();
            assert_eq!(unread(&runner, &arguments), (Some(0), String::new()), "{arguments:?}");
        }
    }
    // A refusal is one all the same.
    assert_eq!(unread(&runner, &["trigger", "shpo", "--json"]), (Some(2), String::new()));
    runner.stop();
    assert_eq!(unread(&runner, &["once"]), (Some(0), String::new()));
}

/// A terminal of 20 columns, and one that wants no colours.
#[test]
fn a_narrow_terminal_is_told_the_same_in_more_lines() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    site.schedule_in(0, "fx_a_hook_with_a_name_that_is_far_wider_than_the_terminal", &json!([]));
    wait_for("its run", secs(10), || runner.history().first().cloned());
    let on_terminal = |arguments: &str, columns: u32, no_color: bool| {
        let binary = format!("{} --config {}", runner.binary.display(), runner.config.display());
        let line = format!("stty cols {columns}; {binary} {arguments}");
        let mut script = command_as(account::SITE, "script");
        script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env_remove("COLUMNS").env_remove("NO_COLOR");
        if no_color {
            script.env("NO_COLOR", "1");
        }
        let output = said(&mut script);
        (output.code(), output.stdout.replace("\r\n", "\n"))
    };
    for arguments in ["status", "events", "history", "check --connect", "plugin status shop", "next @daily"] {
        for columns in [1, 20, 80] {
            let (code, text) = on_terminal(arguments, columns, true);
            assert_eq!(code, 0, "{arguments} in {columns} columns: {text}");
            assert!(text.len() > 20 && text.len() < 20_000, "{arguments} in {columns} columns: {} bytes", text.len());
            assert!(!text.contains(is_steering), "{arguments}: {text:?}");
        }
    }
    // Eight columns need more than 20 characters; none takes more than a few.
    let (_, text) = on_terminal("history", 20, true);
    assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");

    runner.rewrite_config(|config| config.replace("trigger =", "tirgger ="));
    let (code, plain) = on_terminal("check", 20, true);
    assert!(code == 78 && plain.contains("tirgger") && !plain.contains('\u{1b}'), "{plain:?}");
    let (code, coloured) = on_terminal("check", 20, false);
    assert!(code == 78 && coloured.contains('\u{1b}'), "with colours where they are wanted: {coloured:?}");
    let words = said(command(&runner).arg("check").env("TERM", "xterm"));
    assert!(words.code() == 78 && !words.stderr.contains('\u{1b}'), "no terminal, no colours: {words:?}");
}

/// The binary as the runner's user, with nothing said about colours.
fn command(runner: &Runner) -> Command {
    let mut command = command_as(account::SITE, &runner.binary);
    command.arg("--config").arg(&runner.config).current_dir(runner.dir.path()).stdin(Stdio::null());
    command.env_remove("NO_COLOR");
    command
}

/// The exit code, and what is on stderr, where stdout is a pipe that nobody reads.
fn unread(runner: &Runner, arguments: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command(runner).args(arguments).stdout(writer).stderr(Stdio::piped()).output().expect("the binary");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
