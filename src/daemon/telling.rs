//! What goes on here, as news for those whom the configuration names.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::alerts::{Alerts, Ended, News, Watch};
use crate::api::shared::Loaded;
use crate::clock;
use crate::config::Alert;
use crate::history::RunRecord;
use crate::history::sqlite::Reader;
use crate::scheduler::Published;
use crate::site::{Running, View};

/// Sites change many times a second while they run events.
const PAUSE: Duration = Duration::from_secs(1);

pub struct Telling {
    /// Each run that the history did not know.
    pub runs: UnboundedReceiver<RunRecord>,
    pub published: watch::Receiver<Published>,
    pub loaded: watch::Receiver<Loaded>,
    /// The runner's name.
    pub runner: String,
}

impl Telling {
    /// Until the history is closed. `reader`: what did not end well before.
    pub async fn work(mut self, reader: Option<Reader>) {
        let mut in_force: Vec<Arc<Alert>> = self.loaded.borrow_and_update().alerts.clone();
        let mut alerts = Alerts::begin(&in_force, &self.runner);
        let failing = reader.and_then(|reader| reader.failing().ok()).unwrap_or_default();
        let mut watch = Watch::new(alerts.late_ms(), failing.iter().map(ended));
        let mut seen = Seen::default();
        let mut look = tokio::time::interval(PAUSE);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                run = self.runs.recv() => match run {
                    Some(run) => watch.ended(&ended(&run), clock::now_ms()).iter().for_each(|news| alerts.tell(news)),
                    None => break,
                },
                // Nobody looks where nobody wants to hear.
                _ = look.tick(), if !in_force.is_empty() => {
                    let published = self.published.borrow().clone();
                    seen.look(&published, &mut watch).iter().for_each(|news| alerts.tell(news));
                }
                Ok(()) = self.loaded.changed() => {
                    let now = self.loaded.borrow_and_update().alerts.clone();
                    if now != in_force {
                        let old = std::mem::replace(&mut alerts, Alerts::begin(&now, &self.runner));
                        tokio::spawn(old.finish());
                        watch.late_ms = alerts.late_ms();
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
}

impl Seen {
    fn look(&mut self, published: &Published, watch: &mut Watch) -> Vec<News> {
        let now = clock::now_ms();
        let mut all = Vec::new();
        let mut alive: HashSet<String> = HashSet::new();
        for view in &published.sites {
            for run in &view.running {
                self.begun(run, || Watch::started(&view.site, Some(&run.hook), None, &run.run, now), &mut all);
                if let Some(reason) = run.overdue.as_ref().filter(|_| self.overdue.insert(run.run.clone())) {
                    all.push(Watch::overdue(&view.site, &run.hook, &run.run, reason, now));
                }
                alive.insert(run.run.clone());
            }
            all.extend(watch.waits(&view.site, waits(view).as_ref().map(|(since, why)| (*since, why.as_str())), now));
        }
        for view in &published.jobs {
            if let Some(run) = &view.running {
                let site = view.site.as_deref().unwrap_or_default();
                self.begun(run, || Watch::started(site, None, Some(&view.job), &run.run, now), &mut all);
                alive.insert(run.run.clone());
            }
        }
        self.begun.retain(|run| alive.contains(run));
        self.overdue.retain(|run| alive.contains(run));
        all
    }

    fn begun(&mut self, run: &Running, news: impl FnOnce() -> News, all: &mut Vec<News>) {
        if self.begun.insert(run.run.clone()) {
            all.push(news());
        }
    }
}

/// Since when something of a site is not started that should be, and why.
fn waits(view: &View) -> Option<(i64, String)> {
    if !view.is_ours || view.paused || view.state == "standby" {
        return None;
    }
    let time = |text: &Option<String>| text.as_deref().and_then(clock::from_rfc3339);
    let trouble = time(&view.since).zip(view.message.clone());
    let due = time(&view.oldest).map(|at| (at - view.php_offset_ms, "an event is due and was not started".to_string()));
    trouble.or(due)
}
