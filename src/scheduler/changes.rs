//! What has become of sites and jobs since the last time round, for the log: one line for each change, and none for what whoever
//! changed it has told already (failures, take-overs).

use std::collections::HashMap;

use super::JobView;
use crate::site::View;

#[derive(Debug, Default)]
pub struct Changes {
    sites: HashMap<String, Told>,
    jobs: HashMap<String, Option<String>>,
}

#[derive(Debug, PartialEq)]
struct Told {
    state: &'static str,
    pause: Option<String>,
}

/// Until when, or for ever.
fn pause_of(is_paused: bool, until: Option<&String>) -> Option<String> {
    is_paused.then(|| until.cloned().unwrap_or_default())
}

impl Changes {
    pub fn tell(&mut self, sites: &[View], jobs: &[JobView]) {
        for view in sites {
            let (site, pause) = (view.site.as_str(), pause_of(view.paused, view.paused_until.as_ref()));
            let told = self.sites.get(site);
            if told.is_some_and(|told| told.state == view.state && told.pause == pause) {
                continue;
            }
            if told.map_or(pause.is_some(), |told| told.pause != pause) {
                tracing::info!(site, "{}", pause_words(site, pause.as_deref()));
            }
            tell_state(told.map(|told| told.state), view);
            self.sites.insert(site.to_string(), Told { state: view.state, pause });
        }
        for view in jobs {
            let (job, pause) = (view.job.as_str(), pause_of(view.paused, view.paused_until.as_ref()));
            let told = self.jobs.get(job);
            if told.is_some_and(|told| *told == pause) {
                continue;
            }
            if told.is_some() || pause.is_some() {
                tracing::info!(job, "{}", pause_words(job, pause.as_deref()));
            }
            self.jobs.insert(job.to_string(), pause);
        }
        // Rarely, for with a thousand sites it takes a while.
        if self.sites.len() > sites.len() {
            self.sites.retain(|site, _| sites.iter().any(|view| view.site == *site));
        }
        if self.jobs.len() > jobs.len() {
            self.jobs.retain(|job, _| jobs.iter().any(|view| view.job == *job));
        }
    }
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
