//! What a site wants next: the one question that the scheduler asks.

use super::{AFTER_SECOND_MS, Limits, Pass, Right, SECOND, STANDBY_LOOK_MS, State, Want};

/// Before anything is known: closed until the first time of the schedule, if there is one.
pub(super) fn first_pass(limits: &Limits, now: i64) -> Pass {
    match &limits.schedule {
        Some(schedule) => Pass::Closed { until: schedule.next_after(now).map(|fire| fire.at_ms) },
        None if limits.has_plugin => Pass::Always,
        None => Pass::Open { at: now },
    }
}

impl State {
    fn lanes(&self) -> usize {
        if self.is_spreading { 1 } else { self.limits.lanes }
    }

    pub fn has_free_lane(&self) -> bool {
        self.running < if self.limits.has_plugin { self.limits.lanes } else { 1 }
    }

    /// Time has passed: a pass may begin or be over, and a pause too.
    pub fn tick(&mut self, now: i64) {
        if self.pause.is_some_and(|pause| pause.until.is_some_and(|until| now >= until)) {
            self.pause = None;
        }
        match self.pass {
            Pass::Closed { until: Some(until) } if now >= until => self.pass = Pass::Open { at: until },
            Pass::Open { .. } if self.limits.has_plugin && self.is_at_rest(now) => self.pass = self.next_pass(now),
            _ => {}
        }
    }

    pub(super) fn next_pass(&self, now: i64) -> Pass {
        Pass::Closed { until: self.limits.schedule.as_ref().and_then(|s| s.next_after(now)).map(|fire| fire.at_ms) }
    }

    /// When the pass that is open began.
    pub fn pass_began(&self) -> Option<i64> {
        match self.pass {
            Pass::Open { at } => Some(at),
            _ => None,
        }
    }

    /// Nothing is due, as far as is known, and nothing is on its way that could tell otherwise.
    fn is_at_rest(&self, now: i64) -> bool {
        let is_due = self.due > 0 || self.next.is_some_and(|next| next * SECOND <= self.clock.to_php(now));
        let is_known = self.epoch().is_some() && self.trouble.is_none() && self.looked.is_some();
        is_known && !is_due && self.running == 0 && !self.is_calling && self.pause.is_none()
    }

    pub fn wants(&self, now: i64) -> Want {
        if !self.limits.has_plugin {
            return self.pass_wants(now);
        }
        if now < self.not_before {
            return Want::Nothing { until: self.not_before };
        }
        let take_at = match self.right {
            Right::Owner { .. } => return self.owner_wants(now),
            Right::None => now,
            Right::Standby { until } => until,
        };
        let look_at = self.looked.unwrap_or(now) + self.limits.rescan_ms.min(STANDBY_LOOK_MS);
        // While a call is on its way its answer decides; it wakes the scheduler by itself.
        match () {
            () if self.is_calling => Want::Nothing { until: now + 60 * SECOND },
            () if now >= take_at => Want::Take,
            () if now >= look_at => Want::Look,
            () => Want::Nothing { until: take_at.min(look_at) },
        }
    }

    /// `wp-cron.php` at the times of the schedule, never beside itself.
    fn pass_wants(&self, now: i64) -> Want {
        let later = now + 60 * SECOND;
        if self.running > 0 {
            return Want::Nothing { until: later };
        }
        match (self.may_start_at(now), self.pass) {
            (Some(at), _) if at > now => Want::Nothing { until: at },
            (Some(_), Pass::Open { .. }) => Want::Run,
            _ => Want::Nothing { until: later },
        }
    }

    /// From when on pass and pause let something start, if they ever do by themselves.
    fn may_start_at(&self, now: i64) -> Option<i64> {
        let pass = match self.pass {
            Pass::Always | Pass::Open { .. } => now,
            Pass::Closed { until } => until?,
        };
        Some(match self.pause {
            Some(pause) => pass.max(pause.until?),
            None => pass,
        })
    }

    fn owner_wants(&self, now: i64) -> Want {
        let mut until = now + 60 * SECOND;
        if self.looked.is_none() && !self.is_calling {
            return Want::Look;
        }
        if self.is_to_be_told && self.running == 0 && !self.is_calling {
            return Want::Take;
        }
        if self.running < self.lanes()
            && let (Some(run_at), Some(may_at)) = (self.run_at(), self.may_start_at(now))
        {
            let at = run_at.max(may_at);
            if now >= at {
                return Want::Run;
            }
            until = until.min(at);
        }
        if let Pass::Closed { until: Some(pass) } = self.pass {
            until = until.min(pass);
        }
        if self.is_calling {
            return Want::Nothing { until };
        }
        let look_at = self.looked.unwrap_or(now) + self.limits.rescan_ms;
        if now >= look_at {
            return Want::Look;
        }
        if self.foreign_open().next().is_some() {
            if now >= self.settle_at {
                return Want::Settle;
            }
            until = until.min(self.settle_at);
        }
        Want::Nothing { until: until.min(look_at) }
    }

    /// A site that wants to run while all lanes of the host are taken is looked at all the same.
    pub fn is_look_due(&self, now: i64) -> bool {
        let is_due = self.looked.is_none_or(|looked| now >= looked + self.limits.rescan_ms);
        self.limits.has_plugin && !self.is_calling && is_due
    }

    /// When to ask for what is due next.
    fn run_at(&self) -> Option<i64> {
        if self.due > 0 {
            return Some(self.ask_again);
        }
        let at = self.clock.to_ours(self.next? * SECOND) + AFTER_SECOND_MS;
        Some(if self.next == self.asked { at.max(self.ask_again) } else { at })
    }
}
