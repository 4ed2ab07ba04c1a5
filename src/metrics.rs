//! What a monitoring system is told: how runs ended, hook by hook, and how each site is now. It is fed with the runs that have
//! ended, and with what the scheduler shows when somebody asks; nothing is ever asked of PHP for it.
//!
//! A hook's name is text of a site's code, and there may be any number of them: so many have series of their own, and all
//! others of a site are one, `other` (`runs`). The labels of a run are `site`, `hook` and `cron_job`, and one of the last two is
//! empty; `job` is what Prometheus itself calls whom it asks.

mod families;
mod process;
mod runs;
mod scrape;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use crate::outcome::Outcome;
use runs::Runs;
pub use scrape::{Ago, JobNow, Now, RedisNow, SiteNow};

/// Who asks slowly keeps a thread: so many may at once.
const AT_ONCE: usize = 2;

#[derive(Debug)]
pub struct Metrics {
    runs: Mutex<Runs>,
    notices_refused: AtomicU64,
    /// When this process was started, in unix milliseconds.
    started_ms: i64,
    pub places: Arc<Semaphore>,
}

/// A run that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// Empty for a job of no site.
    pub site: &'a str,
    pub hook: &'a str,
    pub job: Option<&'a str>,
    pub outcome: Outcome,
    pub ended_ms: i64,
    pub lateness_ms: Option<i64>,
    pub ms: Option<i64>,
}

impl Metrics {
    pub fn new(started_ms: i64) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Self { runs: Mutex::default(), notices_refused: AtomicU64::new(0), started_ms, places }
    }

    /// The names of the configuration; a job with the site that it belongs to, or none. What is not in it any more is forgotten.
    /// True where something is new.
    pub fn keep(&self, sites: &[String], jobs: &[(String, String)]) -> bool {
        self.runs().keep(sites, jobs)
    }

    /// What the history knew before.
    pub fn seed(&self, ago: &Ago<'_>) {
        self.runs().seed(ago);
    }

    pub fn ended(&self, run: &Ended<'_>) {
        self.runs().ended(run);
    }

    /// Somebody sent one without a good signature.
    pub fn notice_refused(&self) {
        self.notices_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The whole answer, in OpenMetrics' text form. `out` may be slow: nothing is locked meanwhile.
    pub fn write(&self, out: &mut impl fmt::Write, now: Now) -> fmt::Result {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(scrape::Scrape {
            runs: self.runs().clone(),
            now,
            notices_refused: self.notices_refused.load(Ordering::Relaxed),
            process: process::Process::read(self.started_ms),
        }));
        text::encode(out, &registry)
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
