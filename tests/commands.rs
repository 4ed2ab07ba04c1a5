//! What a person types, against a real site: reports, exit codes, messages.

use serde_json::json;

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, Trigger, secs, wait_for};

#[test]
fn once_runs_what_is_due_and_says_how_it_went() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).prepare();
    site.schedule(&[(unix_now() - 60, "fx_ok", json!([1])), (unix_now() - 30, "fx_output", json!([]))]);
    site.schedule(&[(unix_now() + 3600, "fx_nobody", json!([]))]);

    let dry = runner.cli(&["once", "--dry-run"]);
    assert_eq!(dry.code(), 0, "{dry:?}");
    assert!(dry.stdout.contains("fx_ok") && dry.stdout.contains("fx_output"), "{dry:?}");
    assert!(!dry.stdout.contains("fx_nobody"), "not due: {dry:?}");
    assert_eq!(site.ledger().0.len(), 0, "a dry run runs nothing");

    let runs = runner.json(&["once"]);
    let hooks: Vec<_> = runs.as_array().expect("a list").iter().map(|run| run["hook"].clone()).collect();
    assert_eq!(hooks.len(), 2, "{runs}");
    assert!(runs.as_array().unwrap().iter().all(|run| run["outcome"] == "ok"), "{runs}");
    assert_eq!(site.ledger().begins("fx_ok").len(), 1);
    // Nothing is left to do, and page-load cron is not kept waiting.
    assert_eq!(runner.json(&["once"]), json!([]));
    site.schedule_in(-1, "fx_ok", &json!(["by a page"]));
    site.get("/");
    wait_for("the page's run", secs(10), || (site.ledger().ends("fx_ok").len() == 2).then_some(()));

    let unknown = runner.cli(&["once", "shpo"]);
    assert!([2, 78].contains(&unknown.code()) && unknown.stderr.contains("shop"), "{unknown:?}");
}

#[test]
fn once_ends_with_1_where_a_run_failed() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).prepare();
    site.schedule_in(-1, "fx_exception", &json!([]));
    let failed = runner.cli(&["once"]);
    assert_eq!(failed.code(), 1, "{failed:?}");
    assert!(failed.stdout.contains("fx_exception") || failed.stderr.contains("fx_exception"), "{failed:?}");
}

#[test]
fn once_and_run_refuse_root() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: nothing to refuse");
        return;
    }
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).prepare();
    for command in ["run", "once"] {
        let said = runner.cli_as_caller(&[command]);
        assert_eq!(said.code(), 78, "{said:?}");
        assert!(said.stderr.contains("root"), "{said:?}");
    }
}

#[test]
fn events_history_and_status_have_the_names_that_are_promised() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    site.schedule_recurring(3600, "hourly", "fx_recurring", &json!([{"a": 1}]));
    site.schedule_in(1, "fx_output", &json!(["\u{1b}[31mred\u{1b}[0m \u{202e}evil"]));
    wait_for("the run", secs(10), || runner.history_of("fx_output").first().cloned());

    let events = runner.json(&["events"]);
    let ours =
        events.as_array().expect("a list").iter().find(|event| event["hook"] == "fx_recurring").expect("it").clone();
    for name in ["site", "hook", "key", "due", "schedule", "args"] {
        assert!(!ours[name].is_null(), "`{name}` in {ours}");
    }
    assert_eq!((&ours["site"], &ours["schedule"]), (&json!("shop"), &json!("hourly")));
    let run = runner.history_of("fx_output")[0].clone();
    for name in [
        "run",
        "site",
        "blog",
        "hook",
        "due",
        "started",
        "ended",
        "lateness_ms",
        "ms",
        "outcome",
        "then",
        "output",
        "host",
        "trigger",
    ] {
        assert!(!run[name].is_null(), "`{name}` in {run}");
    }
    for name in ["error", "peak_memory", "queries"] {
        assert!(run.get(name).is_some(), "`{name}` in {run}");
    }
    let status = runner.json(&["status"]);
    assert!(status["runner"].is_object() && status["sites"].is_array(), "{status}");

    // Tables for people: nothing that a site's code printed reaches the terminal as it is.
    site.schedule_in(1, "fx_nobody", &json!(["\u{1b}]0;title\u{7}"]));
    for command in ["events", "history", "status"] {
        let said = runner.cli(&[command]);
        assert_eq!(said.code(), 0, "{said:?}");
        assert!(!said.stdout.contains('\u{1b}') && !said.stdout.contains('\u{202e}'), "{said:?}");
    }
    assert_eq!(runner.json(&["history", "--failed"]), json!([]));
    let unknown = runner.cli(&["requeue", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]);
    assert_ne!(unknown.code(), 0, "{unknown:?}");
}

#[test]
fn reports_work_without_a_daemon_and_say_so() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).start();
    site.schedule_in(1, "fx_ok", &json!([]));
    wait_for("the run", secs(10), || runner.history_of("fx_ok").first().cloned());
    runner.stop();
    let said = runner.cli(&["status"]);
    assert!(format!("{}{}", said.stdout, said.stderr).contains("no runner answers"), "{said:?}");
    assert_eq!(runner.history_of("fx_ok").len(), 1);
    assert!(!runner.json(&["events"]).as_array().expect("a list").is_empty());
}

#[test]
fn a_bad_configuration_is_refused_with_its_place_and_changes_nothing() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).prepare();
    let good = std::fs::read_to_string(&runner.config).expect("the configuration");
    std::fs::write(&runner.config, good.replace("trigger =", "tirgger =") + "\nlanes = \"two\"\n").expect("written");
    for command in [&["check"][..], &["run"], &["status"]] {
        let said = runner.cli(command);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert_eq!(said.code(), 78, "{said:?}");
        assert!(text.contains("tirgger") && text.contains("`trigger`") && text.contains("config.toml:"), "{said:?}");
        assert!(text.contains("lanes"), "all problems at once: {said:?}");
    }
    assert_eq!(runner.cli(&["frobnicate"]).code(), 2);
    std::fs::write(&runner.config, good).expect("written");
    assert_eq!(runner.cli(&["check"]).code(), 0);
    let findings = runner.json(&["check"]);
    let one = &findings.as_array().expect("a list")[0];
    assert!(one["check"].is_string() && ["ok", "warn", "fail"].contains(&one["level"].as_str().unwrap()), "{findings}");
}

#[test]
fn a_busy_site_leaves_room_for_the_others() {
    let busy = Site::builder().mariadb().name("busy").start();
    let quiet = Site::builder().mariadb().name("quiet").start();
    let runner = Runner::builder(&busy).and(&quiet).runner_line("max_parallel = 1").site_line("lanes = 1").start();
    let at = unix_now() + 2;
    // Twenty-four seconds of work on the only place there is; the other site's event is due in the midst of it.
    busy.schedule(&(0..120).map(|i| (at, "fx_sleep", json!([0.2, i]))).collect::<Vec<_>>());
    quiet.schedule(&[(at + 2, "fx_ok", json!([]))]);
    wait_for("the quiet site's event", secs(20), || quiet.ledger().end_of("fx_ok"));
    let done = busy.ledger().ends("fx_sleep").len();
    assert!(done < 120, "it had to wait for all of the busy site's events\n{}", runner.log());
}

#[test]
fn lanes_bound_what_runs_at_once() {
    let site = Site::builder().mariadb().workers(8).start();
    let runner = Runner::builder(&site).trigger(Trigger::FastCgi).site_line("lanes = 3").start();
    let at = unix_now() + 2;
    site.schedule(&(0..12).map(|i| (at, "fx_sleep", json!([0.5, i]))).collect::<Vec<_>>());
    wait_for("all of them", secs(30), || (runner.history_of("fx_sleep").len() == 12).then_some(()));
    // The most that the hooks themselves saw at one time.
    let (mut now, mut most) = (0_usize, 0);
    let mut lines: Vec<_> = site.ledger().0.into_iter().filter(|line| line.hook == "fx_sleep").collect();
    lines.sort_by_key(|line| line.mono_ns);
    for line in lines {
        now = if line.at == "BEGIN" { now + 1 } else { now - 1 };
        most = most.max(now);
    }
    assert!((2..=3).contains(&most), "{most} at once");
}
