//! What has become of sites and jobs since the last time round, for the log: one line for each change, and none for what whoever
//! changed it has told already (failures, take-overs).

use super::{JobView, Published};
use crate::site::View;

/// `before`: what was published the last time.
pub fn tell(before: &Published, sites: &[View], jobs: &[JobView]) {
    for (at, view) in sites.iter().enumerate() {
        let told = same(&before.sites, at, |told| told.site == view.site);
        let pause = pause_of(view.paused, view.paused_until.as_ref());
        let told_pause = told.map(|told| pause_of(told.paused, told.paused_until.as_ref()));
        let site = view.site.as_str();
        if told_pause.unwrap_or_default() != pause {
            tracing::info!(site, "{}", pause_words(site, pause));
        }
        tell_state(told.map(|told| told.state), view);
    }
    for (at, view) in jobs.iter().enumerate() {
        let told = same(&before.jobs, at, |told| told.job == view.job);
        let pause = pause_of(view.paused, view.paused_until.as_ref());
        let told_pause = told.map(|told| pause_of(told.paused, told.paused_until.as_ref()));
        let job = view.job.as_str();
        if told_pause.unwrap_or_default() != pause {
            tracing::info!(job, "{}", pause_words(job, pause));
        }
    }
}

/// The order is the same but after a reload.
fn same<T>(before: &[T], at: usize, is_it: impl Fn(&&T) -> bool) -> Option<&T> {
    before.get(at).filter(&is_it).or_else(|| before.iter().find(is_it))
}

/// Until when, or for ever: then it is empty.
fn pause_of(is_paused: bool, until: Option<&String>) -> Option<&str> {
    is_paused.then(|| until.map(String::as_str).unwrap_or_default())
}

fn pause_words(name: &str, pause: Option<&str>) -> String {
    match pause {
        Some("") => format!("paused: nothing is started until `wp-cron-runner resume {name}`"),
        Some(until) => format!("paused until {until}"),
        None => "goes on".to_string(),
    }
}

fn tell_state(before: Option<&str>, view: &View) {
    let site = view.site.as_str();
    let message = view.message.as_deref().unwrap_or_default();
    match (before, view.state) {
        (Some(before), now) if before == now => {}
        (_, "degraded") => tracing::warn!(site, "{message}"),
        // Nobody paused it: its lease is not to be had.
        (_, "paused") if !view.paused => tracing::warn!(site, "{message}"),
        // Where this host's own lock is taken, whoever tried has said so.
        (_, "standby") if view.since.is_none() && !view.is_ours => tracing::info!(site, "{message}"),
        (
            Some(before @ ("maintenance" | "misconfigured" | "unreachable" | "busy" | "error" | "degraded")),
            "ok" | "paused",
        ) => {
            tracing::info!(site, "goes well again; it was {before}");
        }
        _ => {}
    }
}
