//! One destination's task: what waits for it, when that goes, and what becomes of what was not taken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Counts;
use super::message::{Message, News};
use super::send::send;
use crate::clock;
use crate::config::{Alert, To};

/// What comes within so much of the first is one message.
const TOGETHER: Duration = Duration::from_secs(2);
/// What a receiver did not take is tried again after these.
const AGAIN: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];
/// So many wait for one receiver; more are counted.
pub const WAITING: usize = 1000;
/// At the end, for what was not sent yet.
const LAST_WORDS: Duration = Duration::from_secs(5);

pub struct Telling {
    alert: Arc<Alert>,
    runner: String,
    waiting: VecDeque<News>,
    /// What did not fit into `waiting`.
    more: u64,
    /// What did not even come here.
    refused: Arc<AtomicU64>,
    counts: Arc<Counts>,
    /// When the first of them may go.
    at: Option<Instant>,
    sent: Option<Instant>,
    /// There comes no more, and what is left has to be gone by then.
    end: Option<Instant>,
}

impl Telling {
    pub fn new(alert: Arc<Alert>, runner: String, refused: Arc<AtomicU64>, counts: Arc<Counts>) -> Self {
        Self { alert, runner, waiting: VecDeque::new(), more: 0, refused, counts, at: None, sent: None, end: None }
    }

    /// Until nobody can send any more.
    pub async fn work(mut self, mut receiver: Receiver<Box<News>>) {
        while self.end.is_none() {
            let at = self.at.unwrap_or_else(Instant::now);
            tokio::select! {
                news = receiver.recv() => self.hear(news),
                () = sleep_until(at), if self.at.is_some() => self.send_all(&mut receiver).await,
            }
        }
        self.send_all(&mut receiver).await;
    }

    fn hear(&mut self, news: Option<Box<News>>) {
        match news {
            Some(news) => self.note(*news),
            None => self.end = Some(Instant::now() + LAST_WORDS),
        }
    }

    fn is_ping(&self) -> bool {
        matches!(self.alert.to, To::Ping(_))
    }

    fn note(&mut self, news: News) {
        if self.is_ping() {
            // What a receiver was too slow for is old news: the last of each run says it all.
            self.waiting.retain(|other| other.run != news.run || other.run.is_none());
        }
        self.waiting.push_back(news);
        self.cut();
        let now = Instant::now();
        let next = if self.is_ping() { now } else { self.allowed().max(now + TOGETHER) };
        self.at.get_or_insert(next);
    }

    fn cut(&mut self) {
        while self.waiting.len() > WAITING {
            if self.more == 0 {
                tracing::warn!("{WAITING} alerts wait for {}; more are counted", self.alert.to.shown());
            }
            self.more += 1;
            // Of pings, the last word is the one that counts.
            let _ = if self.is_ping() { self.waiting.pop_front() } else { self.waiting.pop_back() };
        }
    }

    fn allowed(&self) -> Instant {
        self.sent.filter(|_| !self.is_ping()).map_or_else(Instant::now, |sent| sent + self.alert.every)
    }

    async fn send_all(&mut self, receiver: &mut Receiver<Box<News>>) {
        let is_last = self.end.is_some();
        self.at = None;
        if self.waiting.is_empty() {
            return;
        }
        let mut message = self.message();
        let alert = self.alert.clone();
        let count = u64::try_from(message.news.len()).unwrap_or(u64::MAX);
        match self.meanwhile(receiver, send(&alert.to, &mut message)).await {
            Some(Ok(())) => {
                self.counts.sent.fetch_add(count, Ordering::Relaxed);
                self.sent = Some(Instant::now());
                self.at = (!self.waiting.is_empty()).then(|| self.allowed());
            }
            Some(Err(why)) => self.not_taken(message, &why, is_last),
            None => self.not_taken(message, "no answer came before the end", true),
        }
    }

    fn message(&mut self) -> Message {
        let more = std::mem::take(&mut self.more) + self.refused.swap(0, Ordering::Relaxed);
        Message { runner: self.runner.clone(), news: self.waiting.drain(..).collect(), more, is_test: false }
    }

    /// Notes what comes while a receiver is asked. None: the end came before the answer.
    async fn meanwhile<T>(&mut self, receiver: &mut Receiver<Box<News>>, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            if let Some(end) = self.end {
                return timeout_at(end, work).await.ok();
            }
            tokio::select! {
                done = &mut work => return Some(done),
                news = receiver.recv() => self.hear(news),
            }
        }
    }

    /// What was tried too often is lost, and that is said; the rest is tried again, with what came meanwhile.
    fn not_taken(&mut self, message: Message, why: &str, is_last: bool) {
        let shown = self.alert.to.shown();
        let Message { runner, news, more, is_test } = message;
        let (lost, left): (Vec<News>, Vec<News>) =
            news.into_iter().partition(|news| is_last || news.trials > AGAIN.len());
        let trials = left.iter().map(|news| news.trials).max();
        let (lost_more, left_more) = if left.is_empty() { (more, 0) } else { (0, more) };
        if !lost.is_empty() {
            let count = u64::try_from(lost.len()).unwrap_or(u64::MAX);
            self.counts.lost.fetch_add(count.saturating_add(lost_more), Ordering::Relaxed);
            let text = Message { runner, news: lost, more: lost_more, is_test }.text();
            tracing::error!("an alert is lost: {shown} did not take it: {why}: {text}");
            self.sent = Some(Instant::now());
        }
        self.more += left_more;
        self.put_back(left);
        let pause = trials.and_then(|trials| AGAIN.get(trials.saturating_sub(1)));
        if let Some(pause) = pause.filter(|_| self.end.is_none()) {
            tracing::warn!("{shown} did not take an alert: {why}; once more in {}", clock::span(clock::millis(*pause)));
            self.at = Some(Instant::now() + *pause);
        } else {
            self.at = (!self.waiting.is_empty()).then(|| self.allowed());
        }
    }

    fn put_back(&mut self, left: Vec<News>) {
        let is_ping = self.is_ping();
        for news in left.into_iter().rev() {
            let is_old = news.run.is_some() && self.waiting.iter().any(|other| other.run == news.run);
            if !(is_ping && is_old) {
                self.waiting.push_front(news);
            }
        }
        self.cut();
    }
}

#[cfg(test)]
mod tests;
