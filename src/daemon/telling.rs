//! What goes on here, as news for those whom the configuration names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::alerts::{Alerts, Counts, Ended, News, Wait, Watch};
use crate::api::shared::Loaded;
use crate::clock;
use crate::config::Alert;
use crate::history::RunRecord;
use crate::history::sqlite::Reader;
use crate::scheduler::{JobView, Published};
use crate::site::View;

/// Sites change many times a second while they run events.
const PAUSE: Duration = Duration::from_secs(1);

/// So long after the end of a run nothing is told of its beginning, whatever the scheduler still shows.
const MOMENT_MS: i64 = 60_000;

pub struct Telling {
    /// Each run that the history did not know.
    pub runs: UnboundedReceiver<RunRecord>,
    pub published: watch::Receiver<Published>,
    pub loaded: watch::Receiver<Loaded>,
    /// The runner's name.
    pub runner: String,
    pub counts: Arc<Counts>,
}

impl Telling {
    /// Until the history is closed. `reader`: what did not end well before.
    pub async fn work(mut self, reader: Option<Reader>) {
        let mut in_force: Vec<Arc<Alert>> = self.loaded.borrow_and_update().alerts.clone();
        let mut alerts = Alerts::new(&self.runner, &self.counts);
        alerts.load(&in_force);
        let failing = reader.and_then(|reader| reader.failing().ok()).unwrap_or_default();
        let mut watch = Watch::new(failing.iter().map(ended));
        let mut seen = Seen::default();
        let mut look = tokio::time::interval(PAUSE);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                run = self.runs.recv() => match run {
                    Some(run) => {
                        let now = clock::now_ms();
                        watch.ended(&ended(&run), now).iter().for_each(|news| alerts.tell(news));
                        if !in_force.is_empty() {
                            seen.ended(&run.run, now);
                        }
                    }
                    None => break,
                },
                // Nobody looks where nobody wants to hear.
                _ = look.tick(), if !in_force.is_empty() => {
                    let published = self.published.borrow().clone();
                    let now = clock::now_ms();
                    seen.look(&published, now).iter().for_each(|news| alerts.tell(news));
                    alerts.tell_of_waits(&seen.waits(&published, now), now);
                }
                Ok(()) = self.loaded.changed() => {
                    let now = self.loaded.borrow_and_update().alerts.clone();
                    if now != in_force {
                        alerts.load(&now);
                        in_force = now;
                    }
                }
            }
        }
        alerts.finish().await;
    }
}

fn ended(run: &RunRecord) -> Ended {
    Ended {
        site: run.site.clone(),
        hook: run.job.is_none().then(|| run.hook.clone()),
        job: run.job.clone(),
        run: run.run.clone(),
        outcome: run.outcome,
        lateness_ms: run.lateness_ms,
        ended_ms: run.ended_ms.unwrap_or_else(clock::now_ms),
        words: run.sentence(),
    }
}

/// Runs that were told of while they ran.
#[derive(Default)]
struct Seen {
    begun: HashSet<String>,
    overdue: HashSet<String>,
    /// Runs whose end was told, and when.
    ended: HashMap<String, i64>,
    /// Jobs with a time that has come: that time, and when it was first seen here.
    waiting: HashMap<String, (i64, i64)>,
}

impl Seen {
    fn ended(&mut self, run: &str, now: i64) {
        self.ended.insert(run.to_string(), now);
    }

    fn look(&mut self, published: &Published, now: i64) -> Vec<News> {
        let mut all = Vec::new();
        let mut alive: HashSet<String> = HashSet::new();
        let of_sites = published
            .sites
            .iter()
            .flat_map(|view| view.running.iter().map(|run| (view.site.as_str(), Some(run.hook.as_str()), None, run)));
        let of_jobs = published.jobs.iter().filter_map(|view| {
            let site = view.site.as_deref().unwrap_or_default();
            view.running.as_ref().map(|run| (site, None, Some(view.job.as_str()), run))
        });
        for (site, hook, job, run) in of_sites.chain(of_jobs) {
            alive.insert(run.run.clone());
            if self.ended.contains_key(&run.run) {
                continue;
            }
            if self.begun.insert(run.run.clone()) {
                all.push(Watch::started(site, hook, job, run, now));
            }
            if let Some(reason) = run.overdue.as_ref().filter(|_| self.overdue.insert(run.run.clone())) {
                all.push(Watch::overdue(site, hook, job, run, reason, now));
            }
        }
        self.begun.retain(|run| alive.contains(run));
        self.overdue.retain(|run| alive.contains(run));
        self.ended.retain(|run, at| alive.contains(run) || now - *at < MOMENT_MS);
        all
    }

    /// All that is not started although it should be. A job's wait begins when it is seen: after a start, or a sleep of the
    /// machine, times are shown for a moment that others dealt with, or that are to be missed.
    fn waits(&mut self, published: &Published, now: i64) -> Vec<Wait> {
        let mut all: Vec<Wait> = published.sites.iter().filter_map(of_site).collect();
        let before = std::mem::take(&mut self.waiting);
        for view in published.jobs.iter().filter(|view| view.is_ours && !view.paused && view.state != "removed") {
            let next = view.next.as_deref().and_then(clock::from_rfc3339);
            let Some(next) = next.filter(|next| *next <= now) else { continue };
            let known = before.get(&view.job).filter(|(time, _)| *time == next);
            let since = known.map_or(now, |(_, since)| *since);
            self.waiting.insert(view.job.clone(), (next, since));
            all.push(of_job(view, since));
        }
        all
    }
}

fn of_site(view: &View) -> Option<Wait> {
    if !view.is_ours || view.paused || view.state == "standby" {
        return None;
    }
    let time = |text: &Option<String>| text.as_deref().and_then(clock::from_rfc3339);
    let trouble = time(&view.since).zip(view.message.clone());
    let due = time(&view.oldest).map(|at| (at - view.php_offset_ms, "an event is due and was not started".to_string()));
    let (since_ms, why) = trouble.or(due)?;
    Some(Wait { site: view.site.clone(), job: None, since_ms, why })
}

/// A time of its schedule that it could not be started at stays its next one.
fn of_job(view: &JobView, since_ms: i64) -> Wait {
    let why = view.message.clone().unwrap_or_else(|| match &view.running {
        Some(run) => format!("its time has come, and run {} goes on", run.run),
        None => "its time has come, and it was not started".to_string(),
    });
    Wait { site: view.site.clone().unwrap_or_default(), job: Some(view.job.clone()), since_ms, why }
}

#[cfg(test)]
mod tests;
