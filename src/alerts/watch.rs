//! Pure: which news there are of runs that begin, end, or do not end.

use std::collections::HashSet;

use super::message::{News, Told};
use crate::config::On;
use crate::outcome::Outcome;
use crate::site::Running;
use crate::text;

/// What ended so long ago and is heard of only now is history.
const OLD_MS: i64 = 3_600_000;

/// A run that has ended, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Ended {
    pub site: String,
    pub hook: Option<String>,
    pub job: Option<String>,
    pub run: String,
    pub outcome: Outcome,
    pub lateness_ms: Option<i64>,
    pub ended_ms: i64,
    /// One line for people.
    pub words: String,
}

type Subject = (String, Option<String>, Option<String>);

#[derive(Debug, Default)]
pub struct Watch {
    failing: HashSet<Subject>,
}

impl Watch {
    /// What did not end well before this runner was started.
    pub fn new(failing: impl Iterator<Item = Ended>) -> Self {
        Self { failing: failing.map(|ended| ended.subject()).collect() }
    }

    pub fn ended(&mut self, ended: &Ended, now: i64) -> Option<News> {
        if now - ended.ended_ms > OLD_MS {
            return None;
        }
        let is_bad = match ended.outcome {
            Outcome::Skipped => return None,
            Outcome::Ok => false,
            Outcome::Failed | Outcome::TimedOut | Outcome::Interrupted => true,
        };
        let was_failing = if is_bad {
            self.failing.insert(ended.subject());
            false
        } else {
            self.failing.remove(&ended.subject())
        };
        let on = match ended.outcome {
            Outcome::Interrupted => Some(On::Interrupted),
            _ if is_bad => Some(On::Failed),
            _ if was_failing => Some(On::Recovered),
            _ => None,
        };
        let told = if is_bad { Told::Fail } else { Told::Success };
        Some(News { on, ping: Some(told), late_ms: ended.lateness_ms, ..ended.news(now) })
    }

    /// A run's time limit is over, and nobody can end it.
    pub fn overdue(site: &str, hook: Option<&str>, job: Option<&str>, run: &Running, reason: &str, now: i64) -> News {
        let words =
            format!("{} is over its time limit and could not be ended: {}", text::safe(&run.hook), text::safe(reason));
        News { on: Some(On::Overdue), words, ping: None, ..Self::started(site, hook, job, run, now) }
    }

    pub fn started(site: &str, hook: Option<&str>, job: Option<&str>, run: &Running, now: i64) -> News {
        News {
            site: site.to_string(),
            hook: hook.map(str::to_string),
            job: job.map(str::to_string),
            run: Some(run.run.clone()),
            words: format!("{} began", text::safe(&run.hook)),
            at_ms: now,
            ping: Some(Told::Start),
            ..News::default()
        }
    }
}

impl Ended {
    fn subject(&self) -> Subject {
        (self.site.clone(), self.hook.clone(), self.job.clone())
    }

    fn news(&self, now: i64) -> News {
        News {
            site: self.site.clone(),
            hook: self.hook.clone(),
            job: self.job.clone(),
            run: Some(self.run.clone()),
            words: self.words.clone(),
            at_ms: now,
            ..News::default()
        }
    }
}
