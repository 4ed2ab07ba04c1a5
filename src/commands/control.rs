//! What an operator tells a runner: run this now, pause, go on, put that run back. The runner does it where one is up; what can
//! be done without one is done here, and said.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use serde_json::{Value, json};

use super::peers::Peers;
use super::progress;
use super::report::runs_table;
use super::{Stop, calls, exit, history_file, kind_of, pinned_install, print, print_json, runner};
use crate::api::client;
use crate::clock;
use crate::config::{Config, Site, duration};
use crate::history::RunRecord;
use crate::history::sqlite::{History, Reader};
use crate::lease::file::{Refusal, StateDir};
use crate::outcome::{Again, Failure};
use crate::run_site::decide::{Decision, decide};
use crate::scheduler::orders::{PAUSED, fact_of};
use crate::site::Pause;
use crate::text;

/// Waits for the run's end. Who loses patience ends the waiting, not the run.
pub async fn trigger(config: &Config, name: &str, hook: Option<&String>, json: bool) -> Result<u8, Stop> {
    let kind = kind_of(config, name)?;
    let (path, body) = (format!("/v1/{kind}s/{name}/run"), json!({"hook": hook}));
    let answered =
        progress::shown(&format!("waiting for the end of {kind} {name}"), client::post(config, name, &path, &body))
            .await?;
    let Some(runs) = answered else {
        let next = match kind {
            "job" => "start it".to_string(),
            _ => format!("start it, or run what is due without it: `wp-cron-runner once {name}`"),
        };
        return Err(Stop::new(exit::UNREACHABLE, "the runner cannot be asked")
            .found(format!("no runner answers on {}", config.runner.listen))
            .expected("a runner that is up")
            .at("`listen` in [runner]")
            .next(next));
    };
    let list = runs.as_array().map(Vec::as_slice).unwrap_or_default();
    if json {
        print_json(&runs)?;
    } else if list.is_empty() {
        print("nothing was due\n")?;
    } else {
        print(&runs_table(list))?;
    }
    let all_well = list.iter().all(|run| matches!(run.get("outcome").and_then(Value::as_str), Some("ok" | "skipped")));
    Ok(if all_well { exit::FINE } else { exit::FAILED })
}

pub async fn pause(config: &Config, name: &str, until: Option<&String>, json: bool) -> Result<u8, Stop> {
    let until = until.map(|until| time_ahead(until, clock::now_ms())).transpose()?;
    set_pause(config, name, Some(Pause { until }), json).await
}

pub async fn resume(config: &Config, name: &str, json: bool) -> Result<u8, Stop> {
    set_pause(config, name, None, json).await
}

async fn set_pause(config: &Config, name: &str, pause: Option<Pause>, json: bool) -> Result<u8, Stop> {
    let kind = kind_of(config, name)?;
    let until = pause.and_then(|pause| pause.until);
    let word = if pause.is_some() { "pause" } else { "resume" };
    let path = format!("/v1/{kind}s/{name}/{word}");
    let body = if pause.is_some() { json!({"until_ms": until}) } else { json!({}) };
    let is_told = client::post(config, name, &path, &body).await?.is_some();
    let peers = Peers::of(config);
    match &peers {
        _ if is_told => {}
        Some(peers) => peers.set_pause(name, pause).await?,
        None => write_as_runner(config, |history| history.learn(name, PAUSED, fact_of(pause))).await?,
    }
    if json {
        print_json(
            &json!({kind: name, "paused": pause.is_some(), "until": until.map(clock::rfc3339), "runner": is_told}),
        )?;
        return Ok(exit::FINE);
    }
    let what = match (pause, until) {
        (None, _) => "goes on".to_string(),
        (Some(_), None) => format!("is paused: nothing is started until `wp-cron-runner resume {name}`"),
        (Some(_), Some(until)) => format!("is paused: nothing is started until {}", clock::local(until)),
    };
    let note = match &peers {
        _ if is_told => "",
        Some(_) => "; no runner is up on this host: noted in Redis, for all of them",
        None => "; no runner is up: noted in its state directory, for its next start",
    };
    print(&format!("{kind} {name} {what}{note}\n"))?;
    Ok(exit::FINE)
}

/// Into the history of a runner that is not up.
pub async fn write_as_runner(config: &Config, write: impl FnOnce(&History)) -> Result<(), Stop> {
    let folder = &config.runner.state_dir;
    let own = rustix::process::geteuid();
    let is_ours = match fs::metadata(folder) {
        Ok(folder) => folder.uid() == own.as_raw(),
        // Root would make it root's.
        Err(_) => !own.is_root(),
    };
    if !is_ours {
        // What another user writes there the runner could not open.
        let stop = Stop::new(exit::UNREACHABLE, "no runner answers, and its state directory is not this user's");
        let next = "start the runner, or try as the user that it runs as";
        return Err(stop.at(folder.display().to_string()).again(Again::Useless).next(next));
    }
    let state = StateDir::open(&config.runner.state_dir)?;
    let _lease = state.daemon().map_err(|refusal| match refusal {
        Refusal::Held { .. } => {
            Stop::new(exit::LATER, format!("{refusal}, and does not answer on {}", config.runner.listen))
        }
        other => Stop::from(other),
    })?;
    let history = History::open(&history_file(config), &config.history)?;
    write(&history);
    history.written_soon().await.map_err(|trouble| {
        Stop::new(exit::LATER, "nothing was noted").found(trouble).at(history_file(config).display().to_string())
    })
}

/// A duration from now, an RFC 3339 time, or the next such time of the clock on the wall.
fn time_ahead(written: &str, now_ms: i64) -> Result<i64, Stop> {
    let zone = jiff::tz::TimeZone::system();
    let wall = || -> Option<i64> {
        let now = jiff::Timestamp::from_millisecond(now_ms).ok()?.to_zoned(zone.clone());
        // A time alone is also what a date with a time is read as.
        let is_time = !written.contains('-') && !written.contains('T');
        if let Some(time) = written.parse::<jiff::civil::Time>().ok().filter(|_| is_time) {
            let today = now.date().to_datetime(time).to_zoned(zone.clone()).ok()?;
            let next = if today > now { today } else { today.tomorrow().ok()? };
            return Some(next.timestamp().as_millisecond());
        }
        let at = written.parse::<jiff::civil::DateTime>().ok()?;
        Some(at.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
    };
    let at = match (duration(written), written.parse::<jiff::Timestamp>()) {
        (Some(duration), _) => Some(now_ms.saturating_add(clock::millis(duration))),
        (None, Ok(time)) => Some(time.as_millisecond()),
        _ => wall(),
    };
    at.filter(|at| *at > now_ms).ok_or_else(|| {
        Stop::new(exit::USAGE, "--until cannot be read as a time ahead")
            .found(format!("\"{}\"", text::safe_cut(written, 80)))
            .expected("a duration such as 2h, a time such as 18:30 or \"2026-11-23 18:30\", or an RFC 3339 one")
            .at("--until")
            .next("such as `wp-cron-runner pause SITE --until 2h`")
    })
}

/// The history knows whose run it is; where it does not, each site is asked.
pub async fn decide_about(config: &Config, run: &str, decision: Decision, json: bool) -> Result<u8, Stop> {
    let mut known = Reader::open(&history_file(config))?.find(run)?;
    if let (None, Some(peers)) = (&known, Peers::of(config)) {
        // Where Redis does not answer each site is asked.
        known = peers.history.find(run, peers.sites()).await.unwrap_or_default();
    }
    let of_the_run =
        |site: &&Arc<Site>| known.as_ref().is_none_or(|record| record.site == site.name) && site.has_plugin();
    if let Some(job) = known.as_ref().and_then(|record| record.job.as_ref()) {
        return Err(Stop::new(exit::USAGE, format!("this is a run of job `{job}`; nothing was changed"))
            .found(format!("\"{}\"", text::safe_cut(run, 80)))
            .expected("the id of an event's run")
            .next(format!("`wp-cron-runner trigger {job}` runs it once more")));
    }
    let mut problem = None;
    for site in config.sites.iter().filter(of_the_run) {
        match decide_at(config, site, run, decision).await {
            Ok(Decided { record, by }) => {
                let record = record.or(known.map(|record| json!(record)));
                return tell(run, decision, record.as_ref(), &by, json);
            }
            Err(stop) if stop.failed.contains(&Failure::NoSuchRun.to_string()) => {}
            Err(stop) => problem = Some(stop),
        }
    }
    Err(problem.unwrap_or_else(|| {
        Stop::new(exit::USAGE, "no site knows this run; nothing was changed")
            .found(format!("\"{}\"", text::safe_cut(run, 80)))
            .expected("the id of a run")
            .at(format!("run {}", text::safe_cut(run, 80)))
            .next("`wp-cron-runner history` shows run ids")
    }))
}

struct Decided {
    record: Option<Value>,
    by: By,
}

enum By {
    Runner,
    /// Nobody answers for the runner; the site itself was told.
    Site,
}

/// Through the runner, which then starts what was put back; without one the site itself is told.
async fn decide_at(config: &Config, site: &Arc<Site>, run: &str, decision: Decision) -> Result<Decided, Stop> {
    if run.len() != 26 || !run.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(Stop::site(&site.name, &Failure::NoSuchRun));
    }
    let path = format!("/v1/runs/{run}/{}", decision.word());
    if let Some(answer) = client::post(config, &site.name, &path, &json!({})).await? {
        return Ok(Decided { record: Some(answer).filter(|value| !value.is_null()), by: By::Runner });
    }
    let install = pinned_install(config, &site.name);
    let calls = calls(site, &runner(config))?;
    let record = decide(&calls, install.as_deref(), run, decision).await;
    let record = record.map_err(|failure| Stop::site(&site.name, &failure).at(format!("run {run}")))?;
    if let Some(record) = &record {
        note(config, record);
        if let Some(peers) = Peers::of(config) {
            peers.tell_of(record).await;
        }
    }
    Ok(Decided { record: record.map(|record| json!(record)), by: By::Site })
}

fn note(config: &Config, record: &RunRecord) {
    let file = history_file(config);
    if file.exists()
        && let Ok(history) = History::open(&file, &config.history)
    {
        history.record(record.clone());
    }
}

fn tell(run: &str, decision: Decision, record: Option<&Value>, by: &By, json: bool) -> Result<u8, Stop> {
    if json {
        print_json(&record)?;
        return Ok(exit::FINE);
    }
    let hook = record.and_then(|record| record.get("hook")).and_then(Value::as_str);
    let hook = hook.map_or_else(|| "its event".to_string(), text::safe);
    let run = text::safe(run);
    let words = match (decision, by) {
        (Decision::Requeue, By::Runner) => format!("run {run}: {hook} is put back and runs once more\n"),
        (Decision::Requeue, By::Site) => {
            format!(
                "run {run}: {hook} is put back; no runner is up: it runs with the next start of one, or by a page view\n"
            )
        }
        (Decision::Drop, _) => format!("run {run}: {hook} is dropped\n"),
    };
    print(&words)?;
    Ok(exit::FINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_at_a_time_ahead() {
        let now = 1_700_000_000_000;
        assert_eq!(time_ahead("2h", now).unwrap(), now + 7_200_000);
        assert_eq!(time_ahead("2023-11-14T22:13:21Z", now).unwrap(), now + 1000);
        let next = time_ahead("18:30", now).unwrap();
        assert!(next > now && next <= now + 90_000_000, "{next}");
        let day = time_ahead("2023-12-24 18:30", now).unwrap();
        assert!((now + 39 * 86_400_000..now + 41 * 86_400_000).contains(&day), "{day}");
        for wrong in ["yesterday", "2023-11-14T22:13:20Z", "2001-01-01 12:00", "2001-01-01", "25:00", "", "-2h", "0s"] {
            let stop = time_ahead(wrong, now).unwrap_err();
            assert!(stop.code == exit::USAGE && stop.to_string().contains("18:30"), "{wrong}: {stop}");
        }
    }
}
