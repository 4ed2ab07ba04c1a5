//! `status`, `events`, `history`, and what an operator decides about single runs: `requeue`, `drop`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::table::{row, show, table};
use super::{Stop, calls, exit, history_file, pinned_install, print, print_json, selected, visitor};
use crate::api::{self, StatusReply, client};
use crate::clock;
use crate::config::{Config, Site, duration};
use crate::history::sqlite::{History, Reader};
use crate::history::{Filter, RunRecord, error_sentence};
use crate::outcome::Failure;
use crate::protocol::Event;
use crate::run_site::calls::{Settle, seen_in_due};
use crate::scheduler::{disable_wp_cron_sentence, left_alone_sentence, stray_sentence};
use crate::site::{About, Limits, State};
use crate::text;

pub async fn status(config: &Config, json: bool) -> Result<u8, Stop> {
    let reply = match client::status(config.runner.listen).await {
        Some(reply) => reply,
        None => status_without_runner(config).await,
    };
    let is_running = reply.runner.state == "running";
    let code = if is_running { exit::FINE } else { exit::UNREACHABLE };
    if json {
        print_json(&json!({"runner": reply.runner, "sites": reply.sites}))?;
        return Ok(code);
    }
    let mut out = match &reply.runner.since {
        Some(since) => format!(
            "runner {} {}, process {}, since {since}, on {}\n\n",
            reply.runner.name,
            reply.runner.version,
            reply.runner.pid.unwrap_or(0),
            reply.runner.listen
        ),
        None => format!(
            "no runner answers on {}: events are not started by it; start it with `systemctl start wp-cron-runner` or `wp-cron-runner run`\n\n",
            reply.runner.listen
        ),
    };
    out += &sites_table(&reply.sites);
    out += &remarks(&reply.sites);
    print(&out)?;
    Ok(code)
}

/// What can be known without a runner: each site is asked itself.
async fn status_without_runner(config: &Config) -> StatusReply {
    let mut sites = Vec::new();
    for site in &config.sites {
        let install = pinned_install(config, &site.name);
        let limits = Limits { lanes: site.lanes, rescan_ms: clock::millis(site.rescan) };
        let mut state = State::new(limits, install.clone());
        let now = clock::now_ms();
        let looked = match calls(site, &visitor()) {
            Ok(calls) => calls.look(install.as_deref(), false).await,
            Err(stop) => Err(Failure::Misconfigured(stop.message)),
        };
        match looked {
            Ok(looked) => {
                state.about = About::from_due(&looked.due);
                let seen = seen_in_due(&looked.due);
                state.looked(now, seen, looked.due.open);
            }
            Err(failure) => state.failed(now, failure),
        }
        let mut view = json!(state.view(&site.name, site.trigger_word(), Vec::new()));
        if let Some(state) = view.get_mut("state").filter(|state| *state == "starting") {
            *state = json!("no runner");
        }
        sites.push(view);
    }
    let runner = api::Runner {
        name: config.runner.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        state: "not running".into(),
        pid: None,
        since: None,
        listen: config.runner.listen.to_string(),
    };
    StatusReply { runner, sites }
}

fn sites_table(sites: &[Value]) -> String {
    let mut out = table(&["SITE", "STATE", "NEXT", "DUE", "RUNNING", "HELD", "TRIGGER", "LOCKS"]);
    let now = clock::now_ms();
    for view in sites {
        let running =
            at(view, "running").as_array().map_or(0, Vec::len) + at(view, "open").as_array().map_or(0, Vec::len);
        let cells = [
            word(at(view, "site")),
            word(at(view, "state")),
            until(at(view, "next"), now),
            word(at(view, "due")),
            running.to_string(),
            word(at(view, "held")),
            word(at(view, "trigger")),
            word(at(view, "lock_kind")),
        ];
        row(&mut out, &cells);
    }
    show(&out)
}

/// A field, or null: another version of the runner may answer.
fn at<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_string(),
        Value::String(word) if word.is_empty() => "-".to_string(),
        Value::String(word) => word.clone(),
        other => other.to_string(),
    }
}

fn until(value: &Value, now: i64) -> String {
    let time = value.as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    time.map_or("-".to_string(), |time| match time.as_millisecond() - now {
        ms if ms >= 0 => format!("in {}", clock::span(ms)),
        ms => format!("{} ago", clock::span(-ms)),
    })
}

/// What needs an operator's eye, below the table.
fn remarks(sites: &[Value]) -> String {
    let mut lines = Vec::new();
    for view in sites {
        let site = word(at(view, "site"));
        if let Some(message) = at(view, "message").as_str() {
            lines.push(text::safe_cut(message, 1000));
        }
        for run in at(view, "running").as_array().into_iter().chain(at(view, "open").as_array()).flatten() {
            let pid = word(at(run, "pid"));
            lines.push(format!(
                "{site}: {} is running, run {}, process {pid}",
                text::safe(&word(at(run, "hook"))),
                word(at(run, "run"))
            ));
        }
        if let Some(backlog) = at(view, "backlog").as_str() {
            lines.push(format!("{site}: at the take-over {}", text::safe(backlog)));
        }
        if at(view, "held").as_u64().unwrap_or(0) > 0 {
            lines.push(format!("{site}: held runs wait for you: `wp-cron-runner history {site} --held`"));
        }
        if at(view, "disable_wp_cron").as_bool() == Some(true) {
            lines.push(disable_wp_cron_sentence(&site));
        }
        for event in at(view, "left_alone").as_array().into_iter().flatten() {
            lines.push(left_alone_sentence(&site, &word(at(event, "hook")), &word(at(event, "reason"))));
        }
        if at(view, "stray").is_object() {
            lines.push(stray_sentence(&site, &word(at(at(view, "stray"), "who"))));
        }
    }
    if lines.is_empty() { String::new() } else { format!("\n{}\n", lines.join("\n")) }
}

pub async fn events(config: &Config, site: Option<&String>, json: bool) -> Result<u8, Stop> {
    let sites = selected(config, site.map(std::slice::from_ref).unwrap_or_default())?;
    let mut list = Vec::new();
    let mut failed = None;
    for site in &sites {
        match events_of(config, site).await {
            Ok(events) => list.extend(events.into_iter().map(|event| (site.name.clone(), event))),
            Err(stop) => failed = Some(stop),
        }
    }
    list.sort_by_key(|(_, event)| event.due_at);
    if json {
        print_json(&list.iter().map(|(site, event)| event_json(site, event)).collect::<Vec<_>>())?;
    } else if !list.is_empty() {
        print(&events_table(&list))?;
    } else if failed.is_none() {
        print("no events are scheduled\n")?;
    }
    failed.map_or(Ok(exit::FINE), Err)
}

async fn events_of(config: &Config, site: &Arc<Site>) -> Result<Vec<Event>, Stop> {
    let install = pinned_install(config, &site.name);
    let looked = calls(site, &visitor())?.look(install.as_deref(), true).await;
    Ok(looked.map_err(|failure| Stop::site(&site.name, &failure))?.events)
}

pub fn event_json(site: &str, event: &Event) -> Value {
    json!({
        "site": site,
        "hook": event.hook,
        "key": event.key,
        "due": clock::rfc3339(event.due_at.saturating_mul(1000)),
        "schedule": event.schedule,
        "interval": event.interval,
        "args": serde_json::from_str::<Value>(&event.args).unwrap_or_else(|_| json!(event.args)),
    })
}

fn events_table(list: &[(String, Event)]) -> String {
    let mut out = table(&["SITE", "DUE", "", "HOOK", "SCHEDULE", "ARGS"]);
    let now = clock::now_ms();
    for (site, event) in list {
        let due_ms = event.due_at.saturating_mul(1000);
        let when = if due_ms <= now {
            format!("{} ago", clock::span(now - due_ms))
        } else {
            format!("in {}", clock::span(due_ms - now))
        };
        let schedule = event.schedule.clone().unwrap_or_else(|| "once".into());
        row(&mut out, &[site.clone(), clock::local(due_ms), when, event.hook.clone(), schedule, event.args.clone()]);
    }
    show(&out)
}

pub fn history(config: &Config, filter: Filter, since: Option<&String>, json: bool) -> Result<u8, Stop> {
    let mut filter = filter;
    if let Some(since) = since {
        let expected = "expected a duration such as 30m, 2h or 1d";
        let duration = duration(since).ok_or_else(|| {
            Stop::new(exit::USAGE, format!("--since is \"{}\"; {expected}", text::safe_cut(since, 80)))
        })?;
        filter.since_ms = Some(clock::now_ms() - clock::millis(duration));
    }
    let runs = Reader::open(&history_file(config))?.runs(&filter)?;
    if json {
        print_json(&runs)?;
    } else if runs.is_empty() {
        print("no such runs\n")?;
    } else {
        print(&runs_table(&runs))?;
    }
    Ok(exit::FINE)
}

pub fn runs_table(runs: &[RunRecord]) -> String {
    let mut out = table(&["SITE", "DUE", "HOOK", "OUTCOME", "LATE", "TOOK", "RUN", "WHY"]);
    for run in runs {
        let outcome = match run.then {
            crate::outcome::Then::None => run.outcome.word().to_string(),
            then => format!("{}, {}", run.outcome.word(), then.word()),
        };
        let why = [run.reason.clone(), run.note.clone(), run.error.as_ref().map(error_sentence)];
        let cells = [
            run.site.clone(),
            clock::local(run.due * 1000),
            run.hook.clone(),
            outcome,
            run.lateness_ms.map_or("-".into(), clock::span),
            run.ms.map_or("-".into(), clock::span),
            run.run.clone(),
            why.into_iter().flatten().collect::<Vec<_>>().join("; "),
        ];
        row(&mut out, &cells);
    }
    show(&out)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Requeue,
    Drop,
}

/// The history knows whose run it is; where it does not, each site is asked.
pub async fn decide(config: &Config, run: &str, decision: Decision, json: bool) -> Result<u8, Stop> {
    let known = Reader::open(&history_file(config))?.find(run)?;
    let sites: Vec<Arc<Site>> = match &known {
        Some(record) => config.sites.iter().filter(|site| site.name == record.site).cloned().collect(),
        None => config.sites.clone(),
    };
    let mut problem = None;
    for site in &sites {
        let install = pinned_install(config, &site.name);
        let what = match decision {
            Decision::Requeue => Settle { requeue: Some(run.to_string()), ..Settle::default() },
            Decision::Drop => Settle { drop: Some(run.to_string()), ..Settle::default() },
        };
        match calls(site, &super::runner(config))?.settle(install.as_deref(), what).await {
            Ok((settled, _)) => {
                let changed = settled.requeued.or(settled.dropped);
                let record = changed.as_ref().and_then(|row| RunRecord::from_row(&site.name, row)).or(known);
                return decided(config, run, decision, record, json);
            }
            Err(Failure::NoSuchRun) => {}
            Err(failure) => problem = Some(Stop::site(&site.name, &failure)),
        }
    }
    Err(problem.unwrap_or_else(|| {
        let run = text::safe_cut(run, 80);
        Stop::new(
            exit::USAGE,
            format!("no site knows run `{run}`; nothing was changed; `wp-cron-runner history` shows run ids"),
        )
    }))
}

fn decided(config: &Config, run: &str, decision: Decision, record: Option<RunRecord>, json: bool) -> Result<u8, Stop> {
    if let Some(record) = &record {
        let file = history_file(config);
        if file.exists()
            && let Ok(history) = History::open(&file, &config.history)
        {
            history.record(record.clone());
        }
    }
    if json {
        print_json(&record)?;
        return Ok(exit::FINE);
    }
    let hook = record.map_or_else(|| "its event".to_string(), |record| text::safe(&record.hook));
    let words = match decision {
        Decision::Requeue => format!("run {}: {hook} is put back and runs once more\n", text::safe(run)),
        Decision::Drop => format!("run {}: {hook} is dropped\n", text::safe(run)),
    };
    print(&words)?;
    Ok(exit::FINE)
}
