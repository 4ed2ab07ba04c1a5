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
        !self.is_taking && self.running < if self.limits.has_plugin { self.limits.lanes } else { 1 }
    }

    /// Time has passed: a pass may begin or be over, and a pause too.
    pub fn tick(&mut self, now: i64) {
        if self.pause.is_some_and(|pause| pause.until.is_some_and(|until| now >= until)) {
            self.pause = None;
        }
        match self.pass {
            Pass::Closed { until: Some(until) } if now >= until => {
                self.pass = Pass::Open { at: until };
                // What was written behind the plugin's back since the last look shall not wait for the next pass; and what
                // is known shall not wait for this look.
                self.looked = self.looked.map(|looked| looked.min(now - self.limits.rescan_ms));
            }
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
        let is_known = self.epoch().is_some() && self.trouble.is_none() && !self.is_look_due(now);
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
        let look_at = self.looked.map_or(now, |looked| looked + self.limits.rescan_ms.min(STANDBY_LOOK_MS));
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
        if self.is_taking {
            // The epoch that is about to come refuses whatever starts with the old one.
            return Want::Nothing { until };
        }
        if self.running < self.lanes()
            && let (Some(run_at), Some(may_at)) = (self.run_at(), self.may_start_at(now))
        {
            let at = run_at.max(may_at).max(self.first_run_at);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Failure;
    use crate::schedule::Schedule;
    use crate::site::{Pause, RunEnd, Seen};

    /// A full hour: 2023-11-14T22:00:00Z.
    const T: i64 = 1_699_999_200_000;
    const MINUTE: i64 = 60_000;

    fn state(expression: Option<&str>, has_plugin: bool) -> State {
        let schedule = expression.map(|text| Schedule::parse(text, jiff::tz::TimeZone::UTC).unwrap());
        State::new(T, Limits { lanes: 2, rescan_ms: 10 * MINUTE, schedule, has_plugin }, None)
    }

    fn owner(expression: &str, next_s: i64) -> State {
        let mut state = state(Some(expression), true);
        let seen = Seen { next: Some(next_s), ..Seen::default() };
        state.taken(T, 7, seen.clone(), Vec::new());
        state.looked(T, seen, Vec::new());
        state
    }

    #[test]
    fn what_is_due_waits_for_the_next_pass_and_the_pass_lasts_until_nothing_is_due() {
        let due_s = T / 1000 + 60;
        let mut state = owner("*/5 * * * *", due_s);
        assert_eq!(state.wants(T + MINUTE + 2), Want::Nothing { until: T + 2 * MINUTE + 2 });
        assert_eq!(state.wants(T + 4 * MINUTE + 2), Want::Nothing { until: T + 5 * MINUTE });
        state.tick(T + 5 * MINUTE);
        assert_eq!(state.wants(T + 5 * MINUTE), Want::Run);
        assert!(state.is_look_due(T + 5 * MINUTE), "nobody may have told of all that is due");
        state.looked(T + 5 * MINUTE, Seen { due: 1, oldest: Some(due_s), ..Seen::default() }, Vec::new());
        assert_eq!(state.wants(T + 5 * MINUTE), Want::Run);
        let sent = state.run_started(T + 5 * MINUTE);
        let rest = Seen { due: 3, oldest: Some(due_s + 1), ..Seen::default() };
        state.run_ended(T + 6 * MINUTE, RunEnd { sent, claimed: 1, seen: Some(rest), ..RunEnd::default() });
        state.tick(T + 6 * MINUTE);
        assert_eq!(state.wants(T + 6 * MINUTE), Want::Run, "the pass goes on");
        let sent = state.run_started(T + 6 * MINUTE);
        let none = Seen { next: Some(T / 1000 + 400), ..Seen::default() };
        state.run_ended(T + 6 * MINUTE, RunEnd { sent, claimed: 3, seen: Some(none), ..RunEnd::default() });
        state.tick(T + 6 * MINUTE);
        assert_eq!(state.wants(T + 9 * MINUTE + 2), Want::Nothing { until: T + 10 * MINUTE });
    }

    #[test]
    fn a_pass_with_nothing_known_to_be_due_looks_before_it_is_over() {
        let mut state = owner("*/5 * * * *", T / 1000 + 600);
        state.tick(T + 5 * MINUTE);
        state.tick(T + 5 * MINUTE);
        assert_eq!(state.wants(T + 5 * MINUTE), Want::Look);
        state.looked(T + 5 * MINUTE, Seen { next: Some(T / 1000 + 600), ..Seen::default() }, Vec::new());
        state.tick(T + 5 * MINUTE);
        assert_eq!(state.pass_began(), None);
    }

    #[test]
    fn trouble_does_not_end_a_pass() {
        let mut state = owner("*/5 * * * *", T / 1000 + 60);
        state.tick(T + 5 * MINUTE);
        let sent = state.run_started(T + 5 * MINUTE);
        let failure = Some(Failure::QueueFull);
        state.run_ended(T + 5 * MINUTE, RunEnd { sent, failure, ..RunEnd::default() });
        state.tick(T + 5 * MINUTE + 500);
        let seen = Seen { due: 1, oldest: Some(T / 1000 + 60), ..Seen::default() };
        state.looked(T + 5 * MINUTE + 1000, seen, Vec::new());
        state.tick(T + 5 * MINUTE + 1000);
        assert_eq!(state.wants(T + 5 * MINUTE + 1000), Want::Run);
    }

    #[test]
    fn a_site_without_the_plugin_is_passed_at_its_times_and_never_beside_itself() {
        let mut state = state(Some("*/5 * * * *"), false);
        assert_eq!(state.wants(T), Want::Nothing { until: T + 5 * MINUTE });
        state.tick(T + 5 * MINUTE);
        assert_eq!((state.wants(T + 5 * MINUTE), state.pass_began()), (Want::Run, Some(T + 5 * MINUTE)));
        let sent = state.run_started(T + 5 * MINUTE);
        state.tick(T + 11 * MINUTE);
        assert_eq!(state.wants(T + 11 * MINUTE), Want::Nothing { until: T + 12 * MINUTE }, "it still runs");
        state.run_ended(T + 12 * MINUTE, RunEnd { sent, claimed: 1, ..RunEnd::default() });
        state.tick(T + 12 * MINUTE);
        assert_eq!(state.wants(T + 12 * MINUTE), Want::Run, "what was missed meanwhile, once");
        let failure = Some(Failure::NotReached("refused".into()));
        let sent = state.run_started(T + 12 * MINUTE);
        state.run_ended(T + 12 * MINUTE, RunEnd { sent, failure, ..RunEnd::default() });
        assert_eq!(state.wants(T + 12 * MINUTE), Want::Nothing { until: T + 15 * MINUTE }, "no storm: the next time");
    }

    #[test]
    fn once_passes_a_site_without_the_plugin_one_time() {
        let mut state = state(None, false);
        assert_eq!((state.wants(T), state.has_nothing_due(T)), (Want::Run, false));
        let sent = state.run_started(T);
        state.run_ended(T, RunEnd { sent, claimed: 1, ..RunEnd::default() });
        state.tick(T + MINUTE);
        assert!(state.has_nothing_due(T) && state.wants(T + MINUTE) != Want::Run);
    }

    #[test]
    fn a_pause_stops_starts_and_nothing_else_until_its_time() {
        let mut state = owner_due();
        state.set_pause(Some(Pause { until: None }));
        assert_eq!(state.wants(T + MINUTE), Want::Nothing { until: T + 2 * MINUTE });
        assert_eq!(state.wants(T + 10 * MINUTE), Want::Look, "page-load cron must stay off");
        state.set_pause(Some(Pause { until: Some(T + 90_000) }));
        assert_eq!(state.wants(T + MINUTE), Want::Nothing { until: T + 90_000 });
        state.tick(T + 90_000);
        assert_eq!(state.wants(T + 90_000), Want::Run);
        state.set_pause(Some(Pause { until: None }));
        state.set_pause(None);
        assert_eq!(state.wants(T + 90_000), Want::Run);
    }

    fn owner_due() -> State {
        let mut state = state(None, true);
        let seen = Seen { due: 1, oldest: Some(T / 1000), ..Seen::default() };
        state.taken(T, 7, seen.clone(), Vec::new());
        state.looked(T, seen, Vec::new());
        state
    }

    #[test]
    fn a_changed_schedule_counts_from_now_and_a_changed_grace_is_told_when_nothing_runs() {
        let mut state = owner("0 3 * * *", T / 1000 + 60);
        let limits = Limits {
            lanes: 2,
            rescan_ms: 10 * MINUTE,
            schedule: Some(Schedule::parse("*/7 * * * *", jiff::tz::TimeZone::UTC).unwrap()),
            has_plugin: true,
        };
        let sent = state.run_started(T);
        state.reconfigured(T, limits, true);
        state.looked(T, Seen { next: Some(T / 1000 + 60), ..Seen::default() }, Vec::new());
        assert_eq!(state.wants(T), Want::Nothing { until: T + MINUTE }, "a take-over would refuse what runs");
        state.run_ended(T, RunEnd { sent, epoch: 7, claimed: 1, ..RunEnd::default() });
        assert_eq!(state.wants(T), Want::Take);
        state.taken(T, 8, Seen { next: Some(T / 1000 + 60), ..Seen::default() }, Vec::new());
        state.looked(T, Seen { next: Some(T / 1000 + 60), ..Seen::default() }, Vec::new());
        assert_eq!(state.wants(T + 2 * MINUTE), Want::Nothing { until: T + 3 * MINUTE });
        assert_eq!(state.wants(T + 3 * MINUTE), Want::Nothing { until: T + 4 * MINUTE });
        state.tick(T + 7 * MINUTE);
        state.looked(T + 7 * MINUTE, Seen { next: Some(T / 1000 + 60), ..Seen::default() }, Vec::new());
        assert_eq!(state.wants(T + 7 * MINUTE), Want::Run);
    }

    #[test]
    fn nothing_starts_while_the_site_is_taken_over_anew() {
        let mut state = owner_due();
        let limits = state.limits.clone();
        state.reconfigured(T, limits, true);
        state.looked(T, Seen { due: 1, oldest: Some(T / 1000), ..Seen::default() }, Vec::new());
        assert_eq!(state.wants(T), Want::Take);
        state.call_started(Want::Take);
        assert!(matches!(state.wants(T), Want::Nothing { .. }) && !state.has_free_lane());
        state.call_ended();
        state.taken(T, 8, Seen { due: 1, oldest: Some(T / 1000), ..Seen::default() }, Vec::new());
        assert_eq!(state.wants(T), Want::Run);
    }

    #[test]
    fn a_run_for_one_hook_changes_nothing_for_what_is_due() {
        let mut state = owner("*/5 * * * *", T / 1000 + 600);
        state.looked(T, Seen { due: 3, oldest: Some(T / 1000), ..Seen::default() }, Vec::new());
        for _ in 0..10 {
            let sent = state.hook_run_started();
            state.run_ended(T, RunEnd { sent, epoch: 7, for_hook: true, ..RunEnd::default() });
        }
        state.tick(T + 5 * MINUTE);
        state.looked(T + 5 * MINUTE, Seen { due: 3, oldest: Some(T / 1000), ..Seen::default() }, Vec::new());
        state.tick(T + 5 * MINUTE);
        assert_eq!(state.wants(T + 5 * MINUTE), Want::Run);
    }

    #[test]
    fn who_stands_by_and_knows_nothing_looks_at_once() {
        let mut state = state(None, true);
        state.failed(T, Failure::Stale { name: "web-2".into(), expected_ms: Some(T + MINUTE), epoch: Some(3) });
        state.look_again();
        assert_eq!(state.wants(T + 1000), Want::Look);
    }

    #[test]
    fn a_run_of_before_the_take_over_does_not_send_the_site_away() {
        let mut state = owner_due();
        let sent = state.run_started(T);
        state.taken(T, 8, Seen::default(), Vec::new());
        let stale = Failure::Stale { name: "me".into(), expected_ms: None, epoch: Some(8) };
        state.run_ended(T, RunEnd { sent, epoch: 7, failure: Some(stale), ..RunEnd::default() });
        assert_eq!((state.epoch(), state.failure()), (Some(8), None));
        assert_eq!(state.wants(T), Want::Look);
    }
}
