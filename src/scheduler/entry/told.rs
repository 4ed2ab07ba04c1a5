//! What calls and runs told, and what follows from it for the site.

use std::sync::Arc;

use super::{Entry, disable_wp_cron_sentence, left_alone_sentence, stray_sentence};
use crate::clock;
use crate::config::Site;
use crate::history::sqlite::History;
use crate::outcome::Failure;
use crate::protocol::{Busy, Due, Owner, Settled};
use crate::run_site::calls::{Looked, Timing, seen_in_settled};
use crate::site::{About, RunEnd, Seen};
use crate::text;

impl Entry {
    pub fn took(&mut self, now: i64, result: Result<(Settled, Timing), Failure>, history: &History) {
        let (settled, timing) = match result {
            Ok(taken) => taken,
            Err(failure) => return self.failed(now, failure),
        };
        self.learn_clock(timing, settled.now_ms);
        let name = &self.site.name;
        if let Some(install) = &settled.install {
            if self.state.install.is_none() {
                history.learn(name, "install", install.clone());
            }
            self.state.install = Some(install.clone());
        }
        history.learn(name, "epoch", settled.epoch.to_string());
        self.known_epoch = Some(settled.epoch);
        self.state.about.lock_kind.clone_from(&settled.lock_kind);
        let backlog = backlog(&settled);
        tracing::info!(
            site = name,
            "took over {name}: {}",
            backlog.clone().unwrap_or_else(|| "nothing is overdue".into())
        );
        for open in &settled.open {
            tracing::info!(
                site = name,
                run = open.run,
                "{} is {} there (process {}); it is looked after, not started again",
                text::safe(&open.hook),
                text::safe(&open.state),
                open.pid.unwrap_or(0)
            );
        }
        self.state.about.backlog = backlog;
        self.since_ms = Some(settled.now_ms);
        let seen = seen_in_settled(&settled);
        self.state.taken(now, settled.epoch, seen, settled.open);
    }

    pub fn looked(&mut self, now: i64, result: Result<(Seen, Looked), Failure>) {
        let (seen, looked) = match result {
            Ok(looked) => looked,
            Err(failure) => return self.failed(now, failure),
        };
        self.learn_clock(looked.timing, looked.due.now_ms);
        self.learn_about(&looked.due);
        let Due { epoch, owner, open, .. } = looked.due;
        // Our own word, from a take-over whose answer was lost: that is nobody to stand by for.
        let is_ours = |owner: &Owner| self.calls.as_ref().is_some_and(|calls| calls.me.id == owner.id);
        if self.state.is_standing_by() {
            let owner = owner.filter(|owner| !owner.left && !is_ours(owner));
            return self.state.stood_by(now, owner.as_ref().map(|owner| (owner.name.as_str(), owner.expected_ms)));
        }
        if let Some(ours) = self.state.epoch()
            && epoch != ours
        {
            let is_lost = owner.as_ref().is_some_and(is_ours);
            let name = owner.as_ref().map_or_else(|| "?".to_string(), |owner| owner.name.clone());
            let expected_ms = owner.and_then(|owner| owner.expected_ms);
            let failure = match epoch > ours && !is_lost {
                true => Failure::Stale { name, expected_ms, epoch: Some(epoch) },
                false => Failure::UnknownEpoch(Some(epoch)),
            };
            return self.failed(now, failure);
        }
        self.state.looked(now, seen, open);
    }

    pub fn settled(&mut self, now: i64, result: Result<(Seen, Settled, Timing), Failure>) {
        match result {
            Ok((seen, settled, timing)) => {
                self.learn_clock(timing, settled.now_ms);
                self.since_ms = Some(settled.now_ms - 1000);
                self.state.settled(now, seen, settled.open);
            }
            Err(failure) => self.failed(now, failure),
        }
    }

    /// `site`: what the run was begun with.
    pub fn ran(&mut self, now: i64, mut end: RunEnd, site: &Arc<Site>) {
        if let Some(left_alone) = end.left_alone.take() {
            self.learn_left_alone(left_alone);
        }
        let is_last = self.state.running() <= 1;
        self.answer(&mut end);
        if let Some(seen) = end.seen.as_mut().filter(|_| end.for_hook) {
            seen.busy.clear();
        }
        if !Arc::ptr_eq(site, &self.site) && end.failure.is_some() {
            // The configuration that failed is not in force any more; the next look tells how it is now.
            end.failure = None;
            self.state.look_again();
        }
        if let Some(failure) = &end.failure {
            self.log_failure(failure);
            if matches!(failure, Failure::Stale { .. }) && self.state.epoch() == Some(end.epoch) {
                self.dispute();
            }
        }
        self.state.run_ended(now, end);
        if is_last {
            self.running.clear();
        }
    }

    fn learn_left_alone(&mut self, left_alone: Vec<Busy>) {
        let name = &self.site.name;
        for event in &left_alone {
            if self.warned.insert((event.hook.clone(), event.key.clone())) {
                tracing::warn!(
                    site = name,
                    "{}",
                    left_alone_sentence(name, &event.hook, event.reason.as_deref().unwrap_or_default())
                );
            }
        }
        self.state.about.left_alone = left_alone;
    }

    /// What a call would have been refused for.
    pub fn refused(&mut self, now: i64, failure: Failure) {
        self.failed(now, failure);
    }

    fn failed(&mut self, now: i64, failure: Failure) {
        self.log_failure(&failure);
        if matches!(failure, Failure::Stale { .. }) {
            self.dispute();
        }
        self.state.failed(now, failure);
    }

    /// The first of a row of equal failures is news.
    fn log_failure(&self, failure: &Failure) {
        if self.state.is_news(failure) {
            tracing::warn!(site = self.site.name, "{}", failure.sentence(&self.site.name));
        } else {
            tracing::debug!(site = self.site.name, "{}", failure.sentence(&self.site.name));
        }
    }

    fn learn_clock(&mut self, timing: Timing, php_ms: i64) {
        if php_ms > 0 {
            self.state.clock.learn(timing.sent_ms, timing.received_ms, php_ms);
        }
    }

    fn learn_about(&mut self, due: &Due) {
        let name = &self.site.name;
        if due.disable_wp_cron && !self.state.about.disable_wp_cron {
            tracing::warn!(site = name, "{}", disable_wp_cron_sentence(name));
        }
        if let Some(stray) = &due.stray
            && self.state.about.stray.as_ref().map(|known| &known.who) != Some(&stray.who)
        {
            tracing::warn!(site = name, "{}", stray_sentence(name, &stray.who));
        }
        let known = std::mem::take(&mut self.state.about);
        // Where nothing is due, nothing is left alone any more.
        let left_alone = if due.due > 0 { known.left_alone } else { Vec::new() };
        self.state.about = About { backlog: known.backlog, left_alone, ..About::from_due(due) };
        // Most looks tell the same as the one before.
        if self.state.about.hooks == known.hooks {
            self.state.about.hooks = known.hooks;
        }
        if self.state.about.lock_kind.is_none() {
            self.state.about.lock_kind = known.lock_kind;
        }
    }
}

fn backlog(settled: &Settled) -> Option<String> {
    let oldest = settled.oldest?;
    let late = settled.now_ms - oldest * 1000;
    (settled.due > 0).then(|| match settled.due {
        1 => format!("1 event is due, since {}", clock::span(late)),
        many => format!("{many} events are due, the oldest since {}", clock::span(late)),
    })
}
