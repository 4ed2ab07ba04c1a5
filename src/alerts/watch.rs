//! Pure: which news there are, from runs that end and from how late things are.

use std::collections::{HashMap, HashSet};

use super::message::{News, Told};
use crate::config::On;
use crate::outcome::Outcome;
use crate::{clock, text};

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
    /// The shortest lateness that somebody wants to hear of.
    pub late_ms: Option<i64>,
    failing: HashSet<Subject>,
    /// Sites with something that is due and not started, since when.
    late: HashMap<String, i64>,
}

impl Watch {
    /// What did not end well before this runner was started.
    pub fn new(late_ms: Option<i64>, failing: impl Iterator<Item = Ended>) -> Self {
        Self { late_ms, failing: failing.map(|ended| ended.subject()).collect(), late: HashMap::new() }
    }

    pub fn ended(&mut self, ended: &Ended, now: i64) -> Vec<News> {
        if now - ended.ended_ms > OLD_MS {
            return Vec::new();
        }
        let mut all = Vec::new();
        let is_bad = match ended.outcome {
            Outcome::Skipped => return Vec::new(),
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
        all.push(News { on, ping: Some(told), late_ms: ended.lateness_ms, ..ended.news(now) });
        let late = ended.lateness_ms.zip(self.late_ms).filter(|(ms, limit)| ms >= limit);
        if let (Some((ms, _)), true) = (late, on.is_none()) {
            all.push(News { on: Some(On::Late), late_ms: Some(ms), ..ended.news(now) });
        }
        all
    }

    /// `waits`: since when something of the site waits to be started, on this machine's clock, and what is wrong; None: nothing
    /// waits, or nobody is to start it.
    pub fn waits(&mut self, site: &str, waits: Option<(i64, &str)>, now: i64) -> Option<News> {
        let limit = self.late_ms?;
        let news = |on, words, late_ms| News {
            on: Some(on),
            site: site.to_string(),
            words,
            late_ms,
            at_ms: now,
            ..News::default()
        };
        match waits.filter(|(since, _)| now - since >= limit) {
            Some((since, why)) if !self.late.contains_key(site) => {
                self.late.insert(site.to_string(), since);
                let words = format!("{} (for {})", text::safe_cut(why, 1000), clock::span(now - since));
                Some(news(On::Late, words, Some(now - since)))
            }
            Some(_) => None,
            None => {
                let since = self.late.remove(site)?;
                let words = format!("nothing waits any more, after {}", clock::span(now - since));
                Some(news(On::Recovered, words, None))
            }
        }
    }

    /// A run's time limit is over, and nobody can end it.
    pub fn overdue(site: &str, hook: &str, run: &str, reason: &str, now: i64) -> News {
        News {
            on: Some(On::Overdue),
            site: site.to_string(),
            hook: Some(hook.to_string()),
            run: Some(run.to_string()),
            words: format!(
                "{} is over its time limit and could not be ended: {}",
                text::safe(hook),
                text::safe(reason)
            ),
            at_ms: now,
            ..News::default()
        }
    }

    pub fn started(site: &str, hook: Option<&str>, job: Option<&str>, run: &str, now: i64) -> News {
        News {
            site: site.to_string(),
            hook: hook.map(str::to_string),
            job: job.map(str::to_string),
            run: Some(run.to_string()),
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
