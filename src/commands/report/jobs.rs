//! Jobs in `status`.

use serde_json::{Value, json};

use super::{at, until, word};
use crate::clock;
use crate::commands::table::{row, show, table};
use crate::commands::{history_file, pinned_pause};
use crate::config::{Config, Job};
use crate::history::Filter;
use crate::history::sqlite;
use crate::lease::redis::Leased;
use crate::scheduler::orders::pause_of;
use crate::text;

/// What can be known of a job while no runner is up here.
pub fn without_runner(config: &Config, job: &Job, shared: Option<&Leased>) -> Value {
    let name = &job.name;
    let pause = match shared {
        Some(shared) => pause_of(shared.paused.get(name).map(String::as_str)),
        None => pinned_pause(config, name),
    };
    let holder = shared.and_then(|shared| shared.holders.get(name));
    let filter = Filter { site: Some(name.clone()), limit: 1, ..Filter::default() };
    let last = sqlite::Reader::open(&history_file(config)).and_then(|reader| reader.runs(&filter));
    let last = last.ok().and_then(|mut runs| runs.pop());
    let state = match (holder, pause) {
        (Some(_), _) => "standby",
        (None, Some(_)) => "paused",
        (None, None) => "no runner",
    };
    json!({
        "job": name,
        "site": job.site,
        "state": state,
        "runner": holder,
        "message": null,
        "next": null,
        "schedule": job.schedule.expression(),
        "timezone": job.schedule.zone_name(),
        "paused": pause.is_some(),
        "paused_until": pause.and_then(|pause| pause.until).map(clock::rfc3339),
        "running": null,
        "last": last.map(|last| json!({"run": last.run, "outcome": last.outcome, "ended": last.ended_ms.map(clock::rfc3339)})),
        "work": job.work.word(),
    })
}

pub fn jobs_table(jobs: &[Value], is_shared: bool) -> String {
    if jobs.is_empty() {
        return String::new();
    }
    let mut heads = vec!["JOB", "STATE", "NEXT", "SCHEDULE", "LAST", "ENDED", "DOES"];
    if is_shared {
        heads.push("RUNNER");
    }
    let mut out = table(&heads).long(&[0, 3, 7]).words(&[1, 4]);
    let now = clock::now_ms();
    for view in jobs {
        let last = at(view, "last");
        let mut cells = vec![
            word(at(view, "job")),
            word(at(view, "state")),
            until(at(view, "next"), now),
            word(at(view, "schedule")),
            word(at(last, "outcome")),
            until(at(last, "ended"), now),
            word(at(view, "work")),
        ];
        if is_shared {
            cells.push(word(at(view, "runner")));
        }
        row(&mut out, &cells);
    }
    format!("\n{}", show(&out))
}

/// What needs an operator's eye, below the table.
pub fn remarks(jobs: &[Value]) -> String {
    let mut lines = Vec::new();
    for view in jobs {
        let name = word(at(view, "job"));
        if let Some(message) = at(view, "message").as_str() {
            lines.push(text::safe_cut(message, 5000));
        }
        let running = at(view, "running");
        if running.is_object() {
            let (run, pid) = (word(at(running, "run")), word(at(running, "pid")));
            let since = until(at(running, "started"), clock::now_ms());
            lines.push(format!("{name}: is running, run {run}, process {pid}, begun {since}"));
        }
        if at(view, "paused").as_bool() == Some(true) {
            let until = at(view, "paused_until").as_str().map_or_else(String::new, |until| format!(" until {until}"));
            lines.push(format!("{name}: paused{until}: nothing is started; `wp-cron-runner resume {name}`"));
        }
        if matches!(at(at(view, "last"), "outcome").as_str(), Some("failed" | "timed_out" | "interrupted")) {
            lines.push(format!("{name}: its last run did not end well: `wp-cron-runner history {name}`"));
        }
    }
    if lines.is_empty() { String::new() } else { format!("\n{}\n", lines.join("\n")) }
}
