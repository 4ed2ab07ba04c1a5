//! Alerts: what went wrong, and that it goes well again, for whom the configuration names. One task a destination: it groups
//! what comes at once, says no more than it may, and waits for a slow receiver, for whom no run ever waits.

mod late;
mod message;
mod send;
mod watch;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::config::{Alert, On, To};
use crate::{clock, text};
use late::Late;
pub use late::Wait;
pub use message::{Message, News};
pub use send::send;
pub use watch::{Ended, Watch};

/// What comes within so much of the first is one message.
const TOGETHER: Duration = Duration::from_secs(2);
/// A receiver that does not answer is tried again after these.
const AGAIN: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];
/// So many wait for one receiver; more are counted.
const WAITING: usize = 1000;
/// At the end, for what was not sent yet.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// All destinations. Cheap to tell, and never waited for.
#[derive(Debug, Default)]
pub struct Alerts {
    destinations: Vec<Destination>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Destination {
    alert: Arc<Alert>,
    sender: mpsc::Sender<Item>,
    late: Late,
}

#[derive(Debug)]
enum Item {
    News(Box<News>),
    /// Send what there is, now.
    Finish(oneshot::Sender<()>),
}

impl Alerts {
    /// `runner`: the name of this one, for every message.
    pub fn begin(alerts: &[Arc<Alert>], runner: &str) -> Self {
        let mut all = Self::default();
        for alert in alerts {
            let (destination, receiver) = Destination::new(alert.clone());
            all.tasks.spawn(Telling::new(alert.clone(), runner.to_string()).work(receiver));
            all.destinations.push(destination);
        }
        all
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
        let mut answers = JoinSet::new();
        for destination in self.destinations.drain(..) {
            let (answer, done) = oneshot::channel();
            if destination.sender.try_send(Item::Finish(answer)).is_ok() {
                answers.spawn(done);
            }
        }
        let all = async { while answers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
        self.tasks.abort_all();
    }
}

impl Destination {
    fn new(alert: Arc<Alert>) -> (Self, mpsc::Receiver<Item>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let late = Late::new(clock::millis(alert.late));
        (Self { alert, sender, late }, receiver)
    }

    fn tell(&self, news: &News) {
        let Some(news) = self.alert.hears(news) else { return };
        if self.sender.try_send(Item::News(Box::new(news))).is_err() {
            tracing::warn!("{} takes no alerts: {WAITING} wait for it already", self.alert.to.shown());
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

/// One destination's task.
struct Telling {
    alert: Arc<Alert>,
    runner: String,
    waiting: VecDeque<News>,
    /// What did not fit into `waiting`.
    more: u64,
    /// When the first of them may go.
    at: Option<Instant>,
    sent: Option<Instant>,
}

impl Telling {
    fn new(alert: Arc<Alert>, runner: String) -> Self {
        Self { alert, runner, waiting: VecDeque::new(), more: 0, at: None, sent: None }
    }

    async fn work(mut self, mut receiver: mpsc::Receiver<Item>) {
        loop {
            let wait = self.at.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                item = receiver.recv() => match item {
                    Some(Item::News(news)) => self.note(*news),
                    Some(Item::Finish(answer)) => {
                        self.send_all(&[]).await;
                        let _ = answer.send(());
                    }
                    None => return,
                },
                () = tokio::time::sleep(wait), if self.at.is_some() => self.send_all(&AGAIN).await,
            }
        }
    }

    fn note(&mut self, news: News) {
        let is_ping = matches!(self.alert.to, To::Ping(_));
        if is_ping {
            // What a receiver was too slow for is old news: the last of each run says it all.
            self.waiting.retain(|other| other.run != news.run || other.run.is_none());
        }
        if self.waiting.len() < WAITING {
            self.waiting.push_back(news);
        } else {
            self.more += 1;
        }
        let now = Instant::now();
        let soonest = if is_ping { now } else { now + TOGETHER };
        let allowed = self.sent.map_or(soonest, |sent| if is_ping { soonest } else { sent + self.alert.every });
        self.at.get_or_insert(soonest.max(allowed));
    }

    async fn send_all(&mut self, again: &[Duration]) {
        let news: Vec<News> = self.waiting.drain(..).collect();
        self.at = None;
        if news.is_empty() {
            return;
        }
        let message =
            Message { runner: self.runner.clone(), news, more: std::mem::take(&mut self.more), is_test: false };
        let mut trials = again.iter();
        while let Err(why) = send(&self.alert.to, &message).await {
            let shown = self.alert.to.shown();
            let Some(pause) = trials.next() else {
                tracing::error!("an alert is lost: {shown} did not take it: {why}: {}", message.text());
                break;
            };
            tracing::warn!("{shown} did not take an alert: {why}; once more in {}", clock::span(clock::millis(*pause)));
            tokio::time::sleep(*pause).await;
        }
        self.sent = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests;
