//! `status`, `events` and `history`.

mod jobs;
mod since;
mod sites;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::peers::Peers;
use super::progress;
use super::table::{row, show, table};
use super::{
    Reader, Stop, calls, exit, history_file, kind_of, pinned_install, pinned_pause, pretty, print, print_again,
    print_json, selected, visitor,
};
use crate::api::{self, StatusReply, client};
use crate::clock;
use crate::config::{Config, Site};
use crate::history::{Filter, error_sentence, sqlite};
use crate::outcome::Failure;
use crate::protocol::Event;
use crate::run_site::calls::seen_in_due;
use crate::scheduler::limits_of;
use crate::scheduler::orders::pause_of;
use crate::site::{About, State};
use crate::text;

const WATCH: Duration = Duration::from_secs(1);

/// `--watch` looks again each second until it is interrupted.
pub async fn status(config: &Config, watch: bool, since: Option<&String>, json: bool) -> Result<u8, Stop> {
    let since = match since {
        Some(since) => Some(since::compared(config, since).await?),
        None => None,
    };
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let reply = match client::status(config.runner.listen).await {
            Some(reply) => reply,
            None => progress::shown("asking the sites", status_without_runner(config)).await,
        };
        let code = if reply.runner.state == "running" { exit::FINE } else { exit::UNREACHABLE };
        let text = match json {
            true if watch => text::safe_json(&json!(reply).to_string()) + "\n",
            true => pretty(&Reply { reply: &reply, since: since.as_ref() })?,
            false => status_text(config, &reply) + &since.as_ref().map_or_else(String::new, since::text),
        };
        if !watch {
            print(&text)?;
            return Ok(code);
        }
        if print_again(&text, json)? == Reader::Gone {
            return Ok(exit::FINE);
        }
        tokio::select! {
            _ = &mut interrupt => return Ok(exit::FINE),
            () = tokio::time::sleep(WATCH) => {}
        }
    }
}

#[derive(Serialize)]
struct Reply<'a> {
    #[serde(flatten)]
    reply: &'a StatusReply,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<&'a since::Since>,
}

fn status_text(config: &Config, reply: &StatusReply) -> String {
    let runner = &reply.runner;
    let mut out = match &runner.since {
        Some(since) => format!(
            "runner {} {}, process {}, since {since}, on {}\n",
            runner.name,
            runner.version,
            runner.pid.unwrap_or(0),
            runner.listen
        ),
        None => format!(
            "no runner answers on {}: events are not started by it; this is what the sites say themselves, and {}; start it with `systemctl start wp-cron-runner` or `wp-cron-runner run`\n",
            runner.listen,
            config.runner.state_dir.display()
        ),
    };
    if let Some(problem) = &runner.configuration.error {
        out += &format!("the configuration was not reloaded: {}\n", text::safe_cut(problem, 2000));
    }
    if let Some(redis) = &runner.redis {
        out += &sites::redis_line(redis);
    }
    for reason in &runner.not_ready {
        out += &format!("not ready: {}\n", text::safe_cut(reason, 2000));
    }
    let is_shared = config.redis.is_some();
    if !reply.sites.is_empty() {
        out += &format!("\n{}{}", sites::sites_table(&reply.sites, is_shared), sites::remarks(&reply.sites));
    }
    out + &jobs::jobs_table(&reply.jobs, is_shared) + &jobs::remarks(&reply.jobs)
}

/// What can be known without a runner: each site is asked itself, or the runner of another host that looks after it.
async fn status_without_runner(config: &Config) -> StatusReply {
    let mut sites = Vec::new();
    let peers = Peers::of(config);
    let shared = match &peers {
        Some(peers) => peers.leased().await.map_err(|stop| tracing::warn!("{stop}")).ok(),
        None => None,
    };
    for site in &config.sites {
        let holder = shared.as_ref().and_then(|shared| shared.holders.get(&site.name));
        if let (Some(peers), Some(holder)) = (&peers, holder)
            && let Some(view) = peers.view(&site.name, holder).await
        {
            sites.push(view);
            continue;
        }
        let install = pinned_install(config, &site.name);
        let now = clock::now_ms();
        let mut state = State::new(now, limits_of(site), install.clone());
        state.set_pause(match &shared {
            Some(shared) => pause_of(shared.paused.get(&site.name).map(String::as_str)),
            None => pinned_pause(config, &site.name),
        });
        if site.has_plugin() {
            let looked = match calls(site, &visitor()) {
                Ok(calls) => calls.look(install.as_deref(), false).await,
                Err(stop) => Err(Failure::Misconfigured(stop.failed)),
            };
            match looked {
                Ok(looked) => {
                    state.about = About::from_due(&looked.due);
                    let seen = seen_in_due(&looked.due);
                    state.looked(now, seen, looked.due.open);
                }
                Err(failure) => state.failed(now, failure),
            }
        }
        sites.push(without_runner(json!(state.view(&site.name, site.trigger_word(), Vec::new()))));
    }
    let runner = api::Runner {
        name: config.runner.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        state: "not running".into(),
        pid: None,
        since: None,
        listen: config.runner.listen.to_string(),
        configuration: api::Configuration { path: config.path.display().to_string(), ..Default::default() },
        not_ready: Vec::new(),
        redis: None,
    };
    let jobs = config.jobs.iter().map(|job| jobs::without_runner(config, job, shared.as_ref())).collect();
    StatusReply { runner, sites, jobs }
}

/// Nothing is ever `starting` where nobody starts it.
fn without_runner(mut view: Value) -> Value {
    if let Some(state) = view.get_mut("state").filter(|state| *state == "starting" || *state == "ok") {
        *state = json!("no runner");
    }
    view
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

pub async fn events(config: &Config, site: Option<&String>, json: bool) -> Result<u8, Stop> {
    let sites = selected(config, site.map(std::slice::from_ref).unwrap_or_default())?;
    let mut list = Vec::new();
    let mut failed = None;
    for site in sites.iter().filter(|other| site.is_some() || other.has_plugin()) {
        match progress::shown(&format!("asking site {}", site.name), events_of(config, site)).await {
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
    let mut out = table(&["SITE", "DUE", "", "HOOK", "SCHEDULE", "ARGS"]).long(&[0, 3, 4, 5]).below(5);
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

pub async fn history(config: &Config, filter: Filter, since: Option<&String>, json: bool) -> Result<u8, Stop> {
    let mut filter = filter;
    if let Some(since) = since {
        filter.since_ms = Some(since::since(config, since, clock::now_ms()).await?.1);
    }
    let runs = match Peers::of(config) {
        Some(peers) => match progress::shown("asking Redis", peers.history.runs(&filter, peers.sites())).await {
            Ok(runs) => runs,
            Err(trouble) => {
                tracing::warn!("{trouble}; these are the runs of this host alone");
                sqlite::Reader::open(&history_file(config))?.runs(&filter)?
            }
        },
        None => sqlite::Reader::open(&history_file(config))?.runs(&filter)?,
    };
    // A site that was taken out of the configuration has its runs all the same.
    if let (Some(name), true) = (&filter.site, runs.is_empty()) {
        kind_of(config, name)?;
    }
    if json {
        print_json(&runs)?;
    } else if runs.is_empty() {
        print("no such runs\n")?;
    } else {
        print(&runs_table(&runs))?;
    }
    Ok(exit::FINE)
}

/// Runs in the form that `history --json` has them.
pub fn runs_table(runs: &[impl Serialize]) -> String {
    let heads = ["SITE", "DUE", "HOOK / JOB", "OUTCOME", "LATE", "TOOK", "RUN", "WHY"];
    let mut out = table(&heads).long(&[0, 2, 7]).below(6).words(&[3]);
    for run in runs {
        let run = &json!(run);
        let outcome = match word(at(run, "then")).as_str() {
            "none" | "-" => word(at(run, "outcome")),
            then => format!("{}, {then}", word(at(run, "outcome"))),
        };
        let due = at(run, "due").as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let error = serde_json::from_value::<crate::protocol::Error>(at(run, "error").clone()).ok();
        let texts = [at(run, "reason"), at(run, "note")].into_iter().filter_map(Value::as_str).map(str::to_string);
        let cells = [
            word(at(run, "site")),
            due.map_or_else(|| "-".into(), |due| clock::local(due.as_millisecond())),
            word(Some(at(run, "hook")).filter(|hook| !hook.is_null()).unwrap_or(at(run, "job"))),
            outcome,
            at(run, "lateness_ms").as_i64().map_or_else(|| "-".into(), clock::span),
            at(run, "ms").as_i64().map_or_else(|| "-".into(), clock::span),
            word(at(run, "run")),
            texts.chain(error.as_ref().map(error_sentence)).collect::<Vec<_>>().join("; "),
        ];
        row(&mut out, &cells);
    }
    show(&out)
}
