//! What a site does after a failure: how long it waits, and when it gives up.

use std::sync::Arc;

use super::{Right, SECOND, SILENCE_MS, State};
use crate::outcome::Failure;

/// What only a person can put right is tried so often.
const PROBE_MS: i64 = 300_000;

#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    pub failure: Failure,
    pub since: i64,
    pub times: u32,
    /// A look that gets its answer proves nothing about what only a run can meet.
    pub of_runs: bool,
}

impl State {
    pub fn failed(&mut self, now: i64, failure: Failure) {
        *Arc::make_mut(&mut self.counts).failures.entry(failure.kind()).or_default() += 1;
        let known = self.trouble.as_ref().filter(|trouble| same_kind(&trouble.failure, &failure));
        let (times, since) = known.map_or((1, now), |trouble| (trouble.times + 1, trouble.since));
        let doubled = |cap: i64| (SECOND << (times - 1).min(10)).min(cap * SECOND);
        let delay = match &failure {
            // WordPress says 600 whatever it does, and most updates take seconds: its word shortens the wait, never lengthens it.
            Failure::Maintenance { retry_after_s } => {
                let grown = (15_i64 << (times - 1).min(2)).min(60);
                i64::try_from(retry_after_s.unwrap_or(60)).unwrap_or(60).clamp(15, grown) * SECOND
            }
            Failure::Misconfigured(_) | Failure::WrongInstall(_) | Failure::Refused { .. } | Failure::Clock(_) => {
                PROBE_MS
            }
            Failure::Stale { expected_ms, .. } => {
                let silent = expected_ms.map_or(now, |php| self.clock.to_ours(php)) + SILENCE_MS;
                self.right = Right::Standby { until: silent.max(now + 5 * SECOND) };
                0
            }
            Failure::UnknownEpoch(_) | Failure::Left => {
                self.right = Right::None;
                doubled(60)
            }
            Failure::Busy(_) | Failure::QueueFull => doubled(15),
            // It is back within seconds, or somebody has to do something; and what is due then must not wait for minutes.
            Failure::Database(_) if times > 3 => 15 * SECOND,
            Failure::Database(_) => doubled(15),
            Failure::NotReached(_) | Failure::Unclear(_) | Failure::TimedOut(_) => doubled(60),
            Failure::ServerError(_)
            | Failure::Corrupt(_)
            | Failure::Stopping
            | Failure::NotStarted(_)
            | Failure::NoSuchRun
            | Failure::NoSuchHook(_)
            | Failure::State(_) => doubled(300),
        };
        self.not_before = now + delay;
        // Its tables may be gone, and no look makes them anew: a take-over does.
        let is_without_tables = matches!(failure, Failure::Database(_)) && times > 1 && self.running == 0;
        self.is_to_be_told |= is_without_tables && self.epoch().is_some();
        self.trouble = Some(Trouble { failure, since, times, of_runs: false });
        // After trouble the first thing is to look, not to run on what was known before.
        self.looked = if self.is_standing_by() || is_without_tables { Some(now) } else { None };
        self.due = 0;
    }

    /// A run met it. Looks go on in between; each further run that fails waits longer.
    pub(super) fn run_met(&mut self, now: i64, failure: Failure) {
        self.failed(now, failure);
        if let Some(trouble) = &mut self.trouble {
            trouble.of_runs = true;
        }
    }

    /// How long there has been trouble that another host may not have (the way to PHP, not what lies behind it), and whether runs
    /// alone meet it.
    pub fn trouble_of_this_host(&self, now: i64) -> Option<(i64, bool)> {
        let trouble = self.trouble.as_ref()?;
        let is_ours = matches!(
            trouble.failure,
            Failure::NotReached(_)
                | Failure::TimedOut(_)
                | Failure::Misconfigured(_)
                | Failure::WrongInstall(_)
                | Failure::Clock(_)
                | Failure::Refused { .. }
                | Failure::ServerError(_)
        );
        is_ours.then_some((now - trouble.since, trouble.of_runs))
    }

    /// This host could not get the lease.
    pub fn lease_refused(&mut self, now: i64) {
        self.not_before = now + 5 * SECOND;
    }

    /// For `once`: whatever failed is not waited for, but a lock that was not free for a moment is.
    pub fn give_up(&self) -> Option<Failure> {
        let trouble = self.trouble.as_ref().filter(|_| self.running == 0 && !self.is_calling)?;
        let is_passing = matches!(trouble.failure, Failure::Busy(_) | Failure::QueueFull) && trouble.times < 5;
        (!is_passing).then(|| trouble.failure.clone())
    }

    /// For `once`: nothing is left to do now. Busy events are somebody else's, and what stays due although it was asked for
    /// twice is left alone by the plugin.
    pub fn has_nothing_due(&self, now: i64) -> bool {
        if !self.limits.has_plugin {
            return self.running == 0 && self.pass_began().is_none();
        }
        let is_due = self.due > 0 || self.next.is_some_and(|next| next * SECOND <= self.clock.to_php(now));
        self.epoch().is_some() && self.trouble.is_none() && self.running == 0 && (!is_due || self.vain >= 2)
    }

    pub fn is_news(&self, failure: &Failure) -> bool {
        self.trouble.as_ref().is_none_or(|trouble| !same_kind(&trouble.failure, failure))
    }
}

fn same_kind(a: &Failure, b: &Failure) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}
