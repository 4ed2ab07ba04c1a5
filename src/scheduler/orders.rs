//! What others ask of the scheduler while it works: notices, pauses, runs out of turn, another configuration.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tokio::sync::oneshot;

pub use super::entry::Answer;
use super::entry::{Asked, Entry, Removal};
use super::jobs::JobFacts;
use super::places::{Place, Places};
use super::{Facts, Scheduler};
use crate::clock;
use crate::config::{Config, Site, Work};
use crate::history::RunRecord;
use crate::history::sqlite::Reader;
use crate::outcome::Failure;
use crate::protocol::{Notice, Only};
use crate::run_site::decide::{Decision, decide};
use crate::site::Pause;
use crate::text;

/// The name of the fact that outlives a restart; its value is `no`, `yes`, or until when in unix milliseconds.
pub const PAUSED: &str = "paused";

#[derive(Debug)]
pub enum Order {
    /// The plugin says that something earlier is due now.
    Notice {
        site: String,
        notice: Notice,
    },
    /// Run what is due now, or the events of one hook whether they are due or not. Answered when that run has ended.
    Run {
        site: String,
        only: Option<Only>,
        answer: Answer<Vec<RunRecord>>,
    },
    /// Start nothing more until this time, or until `Resume`.
    Pause {
        site: String,
        until: Option<i64>,
        answer: Answer<()>,
    },
    Resume {
        site: String,
        answer: Answer<()>,
    },
    Decide {
        site: String,
        run: String,
        decision: Decision,
        answer: Answer<Option<RunRecord>>,
    },
    Reload {
        config: Box<Config>,
        answer: oneshot::Sender<Result<Changes, String>>,
    },
}

/// What a reload did, by names of sites.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    pub unchanged: usize,
}

impl std::fmt::Display for Changes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (word, names) in [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)] {
            if !names.is_empty() {
                write!(out, "{word} {}; ", names.join(", "))?;
            }
        }
        write!(out, "{} unchanged", self.unchanged)
    }
}

/// The pause that a fact stands for.
pub fn pause_of(fact: Option<&str>) -> Option<Pause> {
    match fact {
        None | Some("no") => None,
        Some(until) => Some(Pause { until: until.parse().ok() }),
    }
}

pub fn fact_of(pause: Option<Pause>) -> String {
    match pause {
        None => "no".to_string(),
        Some(pause) => pause.until.map_or_else(|| "yes".to_string(), |until| until.to_string()),
    }
}

impl Scheduler {
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Run { answer, .. } if self.is_stopping => drop(answer.send(Err(Failure::Stopping))),
            Order::Notice { site, notice } => {
                if !self.passed_on(&site, &notice) {
                    self.noticed(&site, &notice);
                }
            }
            Order::Run { site, only, answer } if self.has_job(&site) => self.ask_job(&site, only.as_ref(), answer),
            Order::Run { site, only, answer } => match self.named(&site) {
                Some(entry) => entry.ask(Asked { only, answer }),
                None => drop(answer.send(Err(no_such_site()))),
            },
            Order::Pause { site, until, answer } => self.pause(&site, Some(Pause { until }), answer),
            Order::Resume { site, answer } => self.pause(&site, None, answer),
            Order::Decide { site, run, decision, answer } => self.decide(&site, run, decision, answer),
            Order::Reload { config, answer } => drop(answer.send(self.reload(&config))),
        }
    }

    fn has_job(&self, name: &str) -> bool {
        self.jobs.entries.get(name).is_some_and(|entry| !entry.is_removed)
    }

    fn named(&mut self, site: &str) -> Option<&mut Entry> {
        self.entries.values_mut().find(|entry| entry.site.name == site && entry.removal.is_none())
    }

    pub(super) fn noticed(&mut self, site: &str, notice: &Notice) {
        let Some(entry) = self.named(site) else { return };
        // A copy of the site has the same key; what is due there is not due here.
        let is_other =
            notice.install.is_some() && entry.state.install.is_some() && notice.install != entry.state.install;
        if !is_other {
            entry.state.noticed(notice.next);
        }
    }

    fn pause(&mut self, site: &str, pause: Option<Pause>, answer: Answer<()>) {
        if self.named(site).is_none() && !self.has_job(site) {
            return drop(answer.send(Err(no_such_site())));
        }
        if self.others.is_some() {
            return self.pause_everywhere(site, pause, answer);
        }
        if let Some(entry) = self.named(site) {
            entry.state.set_pause(pause);
        }
        if let Some(job) = self.jobs.entries.get_mut(site) {
            job.state.set_pause(pause);
        }
        self.history.learn(site, PAUSED, fact_of(pause));
        let _ = answer.send(Ok(()));
    }

    /// Beside the loop: it changes nothing that the scheduler keeps.
    fn decide(&mut self, site: &str, run: String, decision: Decision, answer: Answer<Option<RunRecord>>) {
        let history = self.history.clone();
        let Some(entry) = self.named(site) else { return drop(answer.send(Err(no_such_site()))) };
        let Some(calls) = entry.calls.clone() else { return drop(answer.send(Err(Failure::NoSuchRun))) };
        let install = entry.state.install.clone();
        tokio::spawn(async move {
            let decided = decide(&calls, install.as_deref(), &run, decision).await;
            if let Ok(Some(record)) = &decided {
                tracing::info!(site = calls.site.name, run, "{}: {}", text::safe(&record.hook), record.then.word());
                history.record(record.clone());
            }
            let _ = answer.send(decided);
        });
    }

    /// By difference: a site whose definition is the same is not touched, and runs go on as they were begun.
    fn reload(&mut self, config: &Config) -> Result<Changes, String> {
        let reader = Reader::open(&self.state.history_file()).map_err(|error| error.to_string())?;
        let mut added: BTreeMap<String, (Arc<Site>, Facts)> = BTreeMap::new();
        let known: HashSet<(&str, bool)> =
            self.entries.values().map(|entry| (entry.site.name.as_str(), entry.site.has_plugin())).collect();
        // Whatever may fail comes first: a reload happens as a whole or not at all. What is known of a site stays known.
        for site in &config.sites {
            let facts = match known.contains(&(site.name.as_str(), site.has_plugin())) {
                true => Facts::default(),
                false => Facts::read(&reader, &site.name).map_err(|error| error.to_string())?,
            };
            added.insert(site.name.clone(), (site.clone(), facts));
        }
        let mut jobs = BTreeMap::new();
        for job in config.jobs.iter().filter(|job| !self.jobs.entries.contains_key(&job.name)) {
            let facts = JobFacts::read(&reader, job).map_err(|error| error.to_string())?;
            jobs.insert(job.name.clone(), facts);
        }
        let mut changes = Changes::default();
        let now = clock::now_ms();
        self.max_parallel = config.runner.max_parallel;
        self.drain = config.runner.drain;
        self.history.set_limits(&config.history);
        self.places.resize(config);
        for entry in self.entries.values_mut() {
            let name = entry.site.name.clone();
            let is_same_kind = |site: &Arc<Site>| site.has_plugin() == entry.site.has_plugin();
            match added.get(&name) {
                // It was on its way out, and something of it still runs: its lease and what is known of it are here.
                Some((site, _)) if entry.removal.is_some() && is_same_kind(site) => {
                    entry.return_to(site, &self.me, now);
                    changes.added.push(name.clone());
                }
                _ if entry.removal.is_some() => continue,
                Some((site, _)) if **site == *entry.site => changes.unchanged += 1,
                Some((site, _)) if is_same_kind(site) => {
                    entry.reconfigure(site, &self.me, now);
                    changes.changed.push(name.clone());
                }
                // With the plugin or without it is another life: the old one ends, and the new one takes its lease then.
                Some(_) => {
                    entry.removal = Some(Removal::Wanted);
                    changes.changed.push(name);
                    continue;
                }
                None => {
                    entry.removal = Some(Removal::Wanted);
                    changes.removed.push(name);
                    continue;
                }
            }
            added.remove(&name);
        }
        for (name, (site, facts)) in added {
            self.add(&site, facts);
            if !changes.changed.contains(&name) {
                changes.added.push(name);
            }
        }
        self.reload_jobs(&config.jobs, jobs, &mut changes);
        self.configure_keeper();
        Ok(changes)
    }
}

fn no_such_site() -> Failure {
    Failure::NotStarted("no [[site]] and no [[job]] has this name".into())
}

impl Places {
    /// As many as the configuration has now; what runs keeps its place.
    pub(super) fn resize(&mut self, config: &Config) {
        self.close_all();
        for site in &config.sites {
            match Place::of(site) {
                Some(Place::WpCli) => self.allow(Place::WpCli, config.runner.max_wp_cli),
                Some(place) => self.allow(place, site.lanes),
                None => {}
            }
        }
        if config.jobs.iter().any(|job| matches!(job.work, Work::Wp { .. })) {
            self.allow(Place::WpCli, config.runner.max_wp_cli);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_survives_as_a_fact() {
        for pause in [None, Some(Pause { until: None }), Some(Pause { until: Some(1_700_000_000_000) })] {
            assert_eq!(pause_of(Some(&fact_of(pause))), pause);
        }
        assert_eq!(pause_of(None), None);
    }
}
