//! Pure: what has waited to be started for longer than one destination puts up with, and that it waits no more.

use std::collections::BTreeMap;

use super::message::News;
use crate::config::On;
use crate::{clock, text};

/// Something of a site, or a job, is to be started and is not.
#[derive(Debug, Clone)]
pub struct Wait {
    /// Empty for a job that belongs to no site.
    pub site: String,
    pub job: Option<String>,
    /// On this machine's clock.
    pub since_ms: i64,
    /// What is wrong.
    pub why: String,
}

/// Each destination has its own: who was told hears the end, and nobody else does.
#[derive(Debug)]
pub struct Late {
    limit_ms: i64,
    /// Site and job, since when.
    told: BTreeMap<(String, Option<String>), i64>,
}

impl Late {
    pub fn new(limit_ms: i64) -> Self {
        Self { limit_ms, told: BTreeMap::new() }
    }

    /// `waits`: all that waits now.
    pub fn look(&mut self, waits: &[Wait], now: i64) -> Vec<News> {
        let mut all = Vec::new();
        let mut over = std::mem::take(&mut self.told);
        for wait in waits.iter().filter(|wait| now - wait.since_ms >= self.limit_ms) {
            let subject = (wait.site.clone(), wait.job.clone());
            let since = over.remove(&subject).unwrap_or_else(|| {
                let waited = now - wait.since_ms;
                let words = format!("{} (for {})", text::safe_cut(&wait.why, 1000), clock::span(waited));
                all.push(News { late_ms: Some(waited), ..news(&subject, On::Late, words, now) });
                wait.since_ms
            });
            self.told.insert(subject, since);
        }
        for (subject, since) in over {
            let words = format!("nothing waits any more, after {}", clock::span(now - since));
            all.push(news(&subject, On::Recovered, words, now));
        }
        all
    }
}

fn news((site, job): &(String, Option<String>), on: On, words: String, now: i64) -> News {
    News { on: Some(on), site: site.clone(), job: job.clone(), words, at_ms: now, ..News::default() }
}
