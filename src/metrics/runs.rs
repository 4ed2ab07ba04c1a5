//! How runs ended, by site and hook, and by job.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Ago, Ended};
use crate::outcome::Outcome;
use crate::text;

/// So many hooks have series of their own, shared evenly among the sites.
const MOST: usize = 500;
/// A site has at least so many.
const FEWEST: usize = 5;
/// All hooks of a site that have none.
pub const OTHER: &str = "other";
/// The longest label, in bytes; how many there were beyond it is said behind it.
const LONGEST: usize = 256;

/// Upper bounds in seconds. An event should begin within a tenth, and may within a second.
pub const LATENESS: [f64; 7] = [0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0];
pub const DURATION: [f64; 7] = [0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0];

pub const OUTCOMES: [Outcome; 5] =
    [Outcome::Ok, Outcome::Failed, Outcome::TimedOut, Outcome::Interrupted, Outcome::Skipped];

/// Cheap to clone: whoever writes it out does so from a copy.
#[derive(Debug, Clone, Default)]
pub struct Runs {
    pub sites: BTreeMap<String, Arc<Hooks>>,
    pub jobs: BTreeMap<String, Arc<Job>>,
    /// How many hooks of each site have series of their own.
    room: usize,
}

/// The hooks of one site by their labels, `other` among them. A site that had more room once keeps what it has.
#[derive(Debug, Clone, Default)]
pub struct Hooks(pub BTreeMap<Box<str>, Series>);

#[derive(Debug, Clone, Default)]
pub struct Job {
    /// Empty where it belongs to none.
    pub site: String,
    pub series: Series,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    outcomes: [u64; OUTCOMES.len()],
    pub last_success_ms: Option<i64>,
    pub last_failure_ms: Option<i64>,
    pub lateness: Histogram,
    pub duration: Histogram,
}

/// Counts by bucket, the last without a bound.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    pub counts: [u64; 8],
    pub sum: f64,
}

/// A hook's name as a label: shown, never obeyed.
pub fn label(hook: &str) -> String {
    text::safe_cut(hook, LONGEST)
}

impl Runs {
    pub fn keep(&mut self, sites: &[String], jobs: &[(String, String)]) -> bool {
        let before = (self.sites.len(), self.jobs.len());
        self.sites.retain(|site, _| sites.contains(site));
        self.jobs.retain(|job, of| jobs.iter().any(|(name, site)| name == job && *site == of.site));
        let is_new = sites.len() + jobs.len() > self.sites.len() + self.jobs.len() || before == (0, 0);
        for site in sites {
            self.sites.entry(site.clone()).or_default();
        }
        for (job, site) in jobs {
            self.jobs
                .entry(job.clone())
                .or_insert_with(|| Arc::new(Job { site: site.clone(), series: Series::default() }));
        }
        self.room = (MOST / sites.len().max(1)).max(FEWEST);
        is_new
    }

    pub fn seed(&mut self, ago: &Ago<'_>) {
        let Some(series) = self.series(ago.site, ago.hook, ago.job) else { return };
        series.last_success_ms = series.last_success_ms.max(ago.ok_ms);
        series.last_failure_ms = series.last_failure_ms.max(ago.not_ok_ms);
    }

    pub fn ended(&mut self, run: &Ended<'_>) {
        if let Some(series) = self.series(run.site, run.hook, run.job) {
            series.ended(run);
        }
    }

    /// None for what is not in the configuration.
    fn series(&mut self, site: &str, hook: &str, job: Option<&str>) -> Option<&mut Series> {
        match job {
            Some(job) => {
                let of_site = self.jobs.get_mut(job).filter(|job| job.site == site);
                of_site.map(|job| &mut Arc::make_mut(job).series)
            }
            None => {
                let room = self.room;
                self.sites.get_mut(site).map(|hooks| Arc::make_mut(hooks).series(hook, room))
            }
        }
    }

    /// Has this hook of a site series of its own, or would it get some?
    pub fn room(&self) -> usize {
        self.room
    }
}

impl Hooks {
    fn series(&mut self, hook: &str, room: usize) -> &mut Series {
        let label = label(hook);
        let label = if self.0.contains_key(label.as_str()) || self.own() < room { label } else { OTHER.to_string() };
        self.0.entry(label.into_boxed_str()).or_default()
    }

    /// How many have a name.
    pub fn own(&self) -> usize {
        self.0.len() - usize::from(self.0.contains_key(OTHER))
    }
}

impl Series {
    fn ended(&mut self, run: &Ended<'_>) {
        if let Some(count) =
            OUTCOMES.iter().position(|one| *one == run.outcome).and_then(|at| self.outcomes.get_mut(at))
        {
            *count += 1;
        }
        match run.outcome {
            Outcome::Ok => self.last_success_ms = self.last_success_ms.max(Some(run.ended_ms)),
            // It never began, and proves nothing.
            Outcome::Skipped => return,
            _ => self.last_failure_ms = self.last_failure_ms.max(Some(run.ended_ms)),
        }
        if let Some(ms) = run.lateness_ms {
            self.lateness.note(ms, &LATENESS);
        }
        if let Some(ms) = run.ms {
            self.duration.note(ms, &DURATION);
        }
    }

    /// From 0 on, or the first would be in no rate; but what was skipped, which is in none.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        let is_shown = |(outcome, count): &(Outcome, u64)| *count > 0 || *outcome != Outcome::Skipped;
        OUTCOMES.into_iter().zip(self.outcomes).filter(is_shown)
    }
}

impl Histogram {
    fn note(&mut self, ms: i64, bounds: &[f64]) {
        #[allow(clippy::cast_precision_loss, reason = "a time within centuries")]
        let seconds = ms.max(0) as f64 / 1000.0;
        let at = bounds.iter().position(|bound| seconds <= *bound).unwrap_or(bounds.len());
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum += seconds;
    }
}
