//! Alerts: what went wrong, and that it goes well again, for whom the configuration names. One task a destination: it groups
//! what comes at once, says no more than it may, and waits for a slow receiver, for whom no run ever waits.

mod late;
mod message;
mod send;
mod telling;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{Alert, On, To};
use crate::{clock, text};
use late::Late;
pub use late::Wait;
pub use message::{Message, News};
pub use send::send;
use telling::{Telling, WAITING};
pub use watch::{Ended, Watch};

/// What became of all alerts so far.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    lost: AtomicU64,
}

impl Counts {
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// All destinations. Cheap to tell, and never waited for.
#[derive(Debug)]
pub struct Alerts {
    /// The name of this one, for every message.
    runner: String,
    destinations: Vec<Destination>,
    tasks: JoinSet<()>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Destination {
    alert: Arc<Alert>,
    sender: mpsc::Sender<Box<News>>,
    /// What its task has not room for.
    refused: Arc<AtomicU64>,
    late: Late,
}

impl Alerts {
    pub fn new(runner: &str, counts: &Arc<Counts>) -> Self {
        let (runner, counts) = (runner.to_string(), counts.clone());
        Self { runner, destinations: Vec::new(), tasks: JoinSet::new(), counts }
    }

    /// By difference: what goes on keeps what waits for it, and when it may go.
    pub fn load(&mut self, alerts: &[Arc<Alert>]) {
        let mut before = std::mem::take(&mut self.destinations);
        for alert in alerts {
            let known = before.iter().position(|destination| destination.alert == *alert);
            let destination = known.map(|known| before.swap_remove(known));
            let destination = destination.unwrap_or_else(|| self.begin(alert));
            self.destinations.push(destination);
        }
        // Without a sender a task sends what it has, and ends.
        drop(before);
        while self.tasks.try_join_next().is_some() {}
    }

    fn begin(&mut self, alert: &Arc<Alert>) -> Destination {
        let (destination, receiver) = Destination::new(alert.clone());
        let (refused, counts) = (destination.refused.clone(), self.counts.clone());
        let telling = Telling::new(alert.clone(), self.runner.clone(), refused, counts);
        self.tasks.spawn(telling.work(receiver));
        destination
    }

    pub fn tell(&self, news: &News) {
        self.destinations.iter().for_each(|destination| destination.tell(news));
    }

    /// `waits`: all that is to be started now and is not.
    pub fn tell_of_waits(&mut self, waits: &[Wait], now: i64) {
        for destination in &mut self.destinations {
            let all = destination.late.look(waits, now);
            all.iter().for_each(|news| destination.tell(news));
        }
    }

    /// Sends what waits; not for long.
    pub async fn finish(mut self) {
        self.destinations.clear();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Destination {
    fn new(alert: Arc<Alert>) -> (Self, mpsc::Receiver<Box<News>>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let late = Late::new(clock::millis(alert.late));
        (Self { alert, sender, refused: Arc::default(), late }, receiver)
    }

    fn tell(&self, news: &News) {
        let Some(news) = self.alert.hears(news) else { return };
        if self.sender.try_send(Box::new(news)).is_err() && self.refused.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("{WAITING} alerts wait for {}; more are counted", self.alert.to.shown());
        }
    }
}

impl Alert {
    /// News as this one hears it: a run that began late and failed is late to whom failures are nothing. None: not at all.
    fn hears(&self, news: &News) -> Option<News> {
        let matches = |glob: &Option<String>, name: Option<&str>| {
            glob.as_ref().is_none_or(|glob| name.is_some_and(|name| text::matches_glob(glob, name)))
        };
        let is_of_subject = matches(&self.site, Some(news.site.as_str()).filter(|site| !site.is_empty()))
            && matches(&self.hook, news.hook.as_deref())
            && matches(&self.job, news.job.as_deref());
        let wants = |on: On| self.on.contains(&on);
        let is_late = news.late_ms.is_some_and(|ms| ms >= clock::millis(self.late));
        let is_heard = match &self.to {
            _ if !is_of_subject => false,
            // Every run, and nothing but runs.
            To::Ping(_) => news.ping.is_some(),
            _ if news.on.is_some_and(wants) => true,
            _ if is_late && wants(On::Late) => return Some(News { on: Some(On::Late), ..news.clone() }),
            _ => false,
        };
        is_heard.then(|| news.clone())
    }
}

#[cfg(test)]
mod tests;
