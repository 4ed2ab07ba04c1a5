//! `run` and `once`.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use super::peers::Peers;
use super::{Stop, calls, exit, pinned_install, pinned_pause, pretty, print, print_json, report, selected, visitor};
use crate::clock;
use crate::config::{Config, Site};
use crate::daemon;
use crate::history::RunRecord;
use crate::history::redis::Sending;
use crate::history::sqlite::History;
use crate::lease::file::StateDir;
use crate::lease::redis::{Part, keep};
use crate::outcome::{Failure, Outcome};
use crate::redis_link::Link;
use crate::run_site::calls::Me;
use crate::scheduler::{self, Parts, Scheduler};
use crate::site::Pause;
use crate::text;

const SLICE: Duration = Duration::from_secs(30);

pub async fn run(config: Config) -> Result<u8, Stop> {
    daemon::run(config).await?;
    Ok(exit::FINE)
}

pub async fn once(config: &Config, names: &[String], dry_run: bool, json: bool) -> Result<u8, Stop> {
    let sites = selected(config, names)?;
    if dry_run {
        return say_what_is_due(config, &sites, json).await;
    }
    daemon::refuse_root("once")?;
    let pauses = match Peers::of(config) {
        Some(peers) => peers.pauses_where_fit().await?,
        None => sites.iter().filter_map(|site| Some((site.name.clone(), pinned_pause(config, &site.name)?))).collect(),
    };
    let sites = not_paused(sites, &pauses)?;
    let state = StateDir::open(&config.runner.state_dir)?;
    for site in &sites {
        state
            .site(&site.name)
            .map_err(|refusal| Stop::from(refusal).next("a daemon that looks after it runs what is due by itself"))?;
    }
    let me = Arc::new(Me { id: state.id.clone(), name: config.runner.name.clone(), listen: String::new() });
    let (records, made) = mpsc::unbounded_channel();
    let history = Arc::new(History::open(&state.history_file(), &config.history)?);
    let (_orders, orders) = mpsc::channel(1);
    let config = Config {
        path: config.path.clone(),
        hash: config.hash.clone(),
        runner: config.runner.clone(),
        redis: config.redis.clone(),
        // Whoever asks for it now does not mean the next time of a schedule.
        sites: sites.iter().map(|site| Arc::new(Site { schedule: None, ..Site::clone(site) })).collect(),
        jobs: Vec::new(),
        alerts: config.alerts.clone(),
        history: config.history.clone(),
        warnings: Vec::new(),
    };
    let others = config.redis.as_ref().map(|redis| {
        let names: Vec<String> = config.sites.iter().map(|site| site.name.clone()).collect();
        scheduler::Others::new(redis, Part::Guest, keep(&Arc::new(Link::new(redis)), Part::Guest, me.member(), &names))
    });
    let sending = Peers::of(&config).map(|peers| {
        let shared = Arc::new(peers.history);
        Sending::begin(&shared, &history, &state.history_file())
    });
    let (records, slice) = (Some(records), SLICE);
    let parts = Parts { state, me: me.clone(), history: history.clone(), orders, records, slice, others, shared: None };
    let (mut scheduler, _views) = Scheduler::new(&config, parts)?;
    leave_only_what_was_nobodys(&mut scheduler, &me).await;
    let failures = scheduler.run_until_nothing_is_due().await;
    scheduler.leave().await;
    scheduler.give_leases_back(|_| false).await;
    drop(scheduler);
    if let Some(sending) = sending {
        sending.finish().await;
    }
    drop(history);
    tell(&collect(made), &failures, json)
}

/// A pause holds for a crontab as well; it is said, and is an error only where nothing else was asked for.
fn not_paused(sites: Vec<Arc<Site>>, pauses: &HashMap<String, Pause>) -> Result<Vec<Arc<Site>>, Stop> {
    let (now, mut left, mut last) = (clock::now_ms(), Vec::new(), None);
    for site in sites {
        let pause = pauses.get(&site.name).filter(|pause| pause.until.is_none_or(|until| until > now));
        let Some(pause) = pause else {
            left.push(site);
            continue;
        };
        let until = pause.until.map_or_else(String::new, |until| format!(" until {}", clock::rfc3339(until)));
        let stop = Stop::new(exit::LATER, format!("site `{}` is paused{until}; nothing was started there", site.name));
        let stop = stop.at(format!("site {}", site.name)).next(format!("`wp-cron-runner resume {}`", site.name));
        tracing::warn!("{stop}");
        last = Some(stop);
    }
    match last {
        Some(stop) if left.is_empty() => Err(stop),
        _ => Ok(left),
    }
}

/// A site that another runner looks after, silent as it may be, is not sent back to page-load cron.
async fn leave_only_what_was_nobodys(scheduler: &mut Scheduler, me: &Me) {
    for entry in scheduler.entries() {
        let Some(calls) = entry.calls.clone() else { continue };
        if let Ok(looked) = calls.look(entry.state.install.as_deref(), false).await {
            entry.may_leave = looked.due.owner.is_none_or(|owner| owner.left || owner.id == me.id);
        }
    }
}

fn collect(mut made: mpsc::UnboundedReceiver<RunRecord>) -> Vec<RunRecord> {
    let mut runs = Vec::new();
    while let Ok(record) = made.try_recv() {
        runs.push(record);
    }
    runs
}

fn tell(runs: &[RunRecord], failures: &[(String, Failure)], json: bool) -> Result<u8, Stop> {
    if json {
        print_json(&runs)?;
    } else if runs.is_empty() && failures.is_empty() {
        print("nothing was due\n")?;
    } else if !runs.is_empty() {
        print(&report::runs_table(runs))?;
    }
    let stops: Vec<Stop> = failures.iter().map(|(site, failure)| Stop::site(site, failure)).collect();
    for stop in &stops {
        // The runs are on stdout already.
        let text = if json { pretty(&json!({"error": stop}))? } else { format!("{stop}\n") };
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    if let Some(stop) = stops.first() {
        return Ok(stop.code);
    }
    let all_well = runs.iter().all(|run| matches!(run.outcome, Outcome::Ok | Outcome::Skipped));
    Ok(if all_well { exit::FINE } else { exit::FAILED })
}

async fn say_what_is_due(config: &Config, sites: &[Arc<Site>], json: bool) -> Result<u8, Stop> {
    let mut due = Vec::new();
    for site in sites.iter().filter(|site| site.has_plugin()) {
        let install = pinned_install(config, &site.name);
        let looked = calls(site, &visitor())?.look(install.as_deref(), true).await;
        let looked = looked.map_err(|failure| Stop::site(&site.name, &failure))?;
        let now = looked.due.now_ms / 1000;
        due.extend(
            looked.events.into_iter().filter(|event| event.due_at <= now).map(|event| (site.name.clone(), event, now)),
        );
    }
    if json {
        let list: Vec<_> = due.iter().map(|(site, event, _)| report::event_json(site, event)).collect();
        print_json(&json!(list))?;
        return Ok(exit::FINE);
    }
    let lines: Vec<String> = due
        .iter()
        .map(|(site, event, now)| {
            let late = clock::span((now - event.due_at) * 1000);
            format!("{site}: {} is due since {late}; it would be run\n", text::safe(&event.hook))
        })
        .collect();
    print(&if lines.is_empty() { "nothing is due\n".to_string() } else { lines.concat() })?;
    Ok(exit::FINE)
}
