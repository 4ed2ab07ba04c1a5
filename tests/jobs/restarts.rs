//! A runner that ends, well or badly, while a job runs, or was not there when its time came.

use serde_json::{Value, json};

use super::{NEVER, job, runs_of, start};
use crate::support::{Runner, Site, account, secs, wait_for};

const LONG: &str = "command = [\"sleep\", \"300\"]";

fn end(pid: i64) {
    account::succeed(std::process::Command::new("kill").arg(pid.to_string()));
}

fn lives(pid: i64) -> bool {
    // Whoever has inherited it may not have asked for its end yet.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_killed_runner_s_job_is_looked_after_and_never_started_beside_itself() {
    let site = Site::builder().sqlite().start();
    let table = format!("[[job]]\nname = \"long\"\n{NEVER}\n{LONG}\n");
    let mut runner = Runner::builder(&site).table(&table).start();
    let pid = start(&runner, "long");
    let run = job(&runner, "long")["running"]["run"].clone();
    runner.kill();
    runner.start();
    assert!(lives(pid), "it outlived its runner");
    let view = job(&runner, "long");
    assert_eq!((&view["state"], &view["running"]["run"]), (&json!("running"), &run), "{view}");
    let beside = runner.cli(&["trigger", "long"]);
    assert!(beside.code() != 0 && beside.stderr.contains("it is running already"), "{beside:?}");
    end(pid);
    let record = wait_for("its record", secs(10), || runs_of(&runner, "long").first().cloned());
    assert_eq!((&record["run"], &record["outcome"], &record["then"]), (&run, &json!("interrupted"), &json!("dropped")));
    let reason = record["reason"].as_str().expect("a reason");
    assert!(reason.contains("its runner ended before it did") && !record["started"].is_null(), "{record}");
    assert_eq!(job(&runner, "long")["state"], "ok");
    end(start(&runner, "long"));
    wait_for("the next one's record", secs(10), || (runs_of(&runner, "long").len() == 2).then_some(()));
}

#[test]
fn a_runner_that_is_told_to_end_waits_for_its_job() {
    let site = Site::builder().sqlite().start();
    let go = site.dir.join("go");
    let script = format!("until [ -e {} ]; do sleep 0.1; done; echo done", go.display());
    let table = format!("[[job]]\nname = \"long\"\n{NEVER}\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n");
    let mut runner = Runner::builder(&site).table(&table).start();
    start(&runner, "long");
    runner.signal(rustix::process::Signal::TERM);
    wait_for("its drain", secs(10), || runner.log().contains("1 requests or jobs still run").then_some(()));
    std::fs::write(&go, "").expect("go");
    assert_eq!(runner.stop().code(), Some(0));
    let runs = runs_of(&runner, "long");
    assert_eq!((runs.len(), &runs[0]["outcome"], &runs[0]["output"]), (1, &json!("ok"), &json!("done\n")));
}

/// What a runner leaves that was ended an hour and a half ago.
fn dealt_with(runner: &Runner, job: &str, slot_ms: i64, open: &Value) {
    let file = runner.home().join("state/history.sqlite");
    let history = rusqlite::Connection::open(file).expect("the history");
    // Its schedule stays as the runner has noted it.
    let known: String = history
        .query_row("SELECT value FROM facts WHERE site = ?1 AND name = 'job'", [job], |row| row.get(0))
        .expect("what the runner has noted");
    let mut value: Value = serde_json::from_str(&known).expect("JSON");
    (value["slot_ms"], value["open"]) = (json!(slot_ms), open.clone());
    let value = value.to_string();
    history
        .execute("INSERT OR REPLACE INTO facts (site, name, value) VALUES (?1, 'job', ?2)", [job, &value])
        .expect("a fact");
}

#[test]
fn times_without_a_runner_are_skipped_or_made_up_for_and_said() {
    let site = Site::builder().sqlite().start();
    let yearly = "schedule = \"0 0 1 1 *\"";
    let lines = |name: &str, missed: &str| {
        format!("[[job]]\nname = \"{name}\"\n{yearly}\nmissed = \"{missed}\"\ncommand = [\"true\"]\n")
    };
    let reboot = "[[job]]\nname = \"boot\"\nschedule = \"@reboot\"\ncommand = [\"true\"]\n";
    let mut runner = Runner::builder(&site)
        .table(&lines("skips", "skip"))
        .table(&lines("once", "once"))
        .table(reboot)
        .table("[[job]]\nname = \"lost\"\nschedule = \"0 0 1 1 *\"\ncommand = [\"true\"]\n")
        .start();
    assert!(runs_of(&runner, "once").is_empty(), "nothing of before a job was new counts");
    runner.stop();
    runner.forget_boot();
    let three_years = 3 * 366 * 86_400_000_i64;
    let slot_ms = crate::support::wordpress::unix_now() * 1000 - three_years;
    dealt_with(&runner, "skips", slot_ms, &Value::Null);
    dealt_with(&runner, "once", slot_ms, &Value::Null);
    let gone = json!({"run": "01HF7YAT00AAAAAAAAAAAAAAAA", "due_ms": slot_ms, "started_ms": slot_ms, "until_ms": 0, "runner": "x", "host": "test"});
    dealt_with(&runner, "lost", crate::support::wordpress::unix_now() * 1000, &gone);
    runner.start();

    wait_for("the start of the machine", secs(10), || runs_of(&runner, "boot").first().cloned());
    let once = wait_for("the run that makes up for them", secs(10), || runs_of(&runner, "once").first().cloned());
    assert_eq!((&once["outcome"], &once["note"]), (&json!("ok"), &json!("once for 3 times that were missed")));
    assert!(once["lateness_ms"].as_i64().is_some_and(|ms| ms > 86_400_000), "since its last time: {once}");
    let skipped = wait_for("the record", secs(10), || runs_of(&runner, "skips").first().cloned());
    assert_eq!((&skipped["outcome"], &skipped["started"]), (&json!("skipped"), &Value::Null));
    assert!(skipped["reason"].as_str().is_some_and(|why| why.contains("(3 times)")), "{skipped}");
    let lost = wait_for("what died with its runner", secs(10), || runs_of(&runner, "lost").first().cloned());
    assert_eq!((&lost["run"], &lost["outcome"]), (&json!("01HF7YAT00AAAAAAAAAAAAAAAA"), &json!("interrupted")));

    // Said once, and not again.
    runner.stop();
    runner.start();
    wait_for("a first look", secs(5), || (job(&runner, "once")["state"] == "ok").then_some(()));
    for (name, runs) in [("once", 1), ("skips", 1), ("boot", 1), ("lost", 1)] {
        assert_eq!(runs_of(&runner, name).len(), runs, "{name}");
    }
}

/// Nobody else keeps the limit of a process that outlived its runner.
#[test]
fn a_job_of_a_killed_runner_is_ended_at_its_time_limit() {
    let site = Site::builder().sqlite().start();
    let script = "trap '' TERM; while :; do sleep 1; done";
    let table =
        format!("[[job]]\nname = \"long\"\n{NEVER}\ntimeout = \"3s\"\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n");
    let mut runner = Runner::builder(&site).table(&table).start();
    let pid = start(&runner, "long");
    runner.kill();
    runner.start();
    let overdue = wait_for("its time", secs(15), || {
        Some(job(&runner, "long")["running"]["overdue"].clone()).filter(|why| !why.is_null())
    });
    assert!(overdue.as_str().is_some_and(|why| why.contains("its time limit is over")), "{overdue}");
    let record = wait_for("its end", secs(30), || runs_of(&runner, "long").first().cloned());
    assert!(record["outcome"] == "timed_out" && !lives(pid), "{record}");
}
