//! How the runs of a site change what it wants next.

use super::{RunEnd, SECOND, Seen, State};
use crate::outcome::Failure;

impl State {
    /// A run for one hook alone. It says nothing about what is due: that is asked for as if it were not there.
    pub fn hook_run_started(&mut self) -> u64 {
        // It must not be the one lane that a backlog has.
        self.is_spreading = false;
        self.running += 1;
        self.sent += 1;
        self.sent
    }

    /// Gives the run's number among the requests.
    pub fn run_started(&mut self, now: i64) -> u64 {
        self.running += 1;
        if !self.limits.has_plugin {
            self.pass = self.next_pass(now);
        }
        self.sent += 1;
        let php_now = self.clock.to_php(now) / SECOND;
        let due_next = self.next.filter(|next| *next <= php_now);
        self.asked = if self.due > 0 { self.oldest.or(due_next) } else { due_next };
        // Whatever else is due, the first `claimed` of this run will say.
        self.due = 0;
        if due_next.is_some() {
            self.next = None;
        }
        self.sent
    }

    /// A run of ours took `count` events out, and saw what is still due.
    pub fn claimed(&mut self, sent: u64, batch: String, count: u64, seen: Seen) {
        self.batches.insert(batch);
        self.next = self.next_by(sent, seen.next);
        self.due = seen.claimable();
        self.busy = seen.waiting();
        if count > 0 {
            self.vain = 0;
            self.ask_again = 0;
        }
    }

    /// An event ended; what waited for it may be claimed now.
    pub fn event_ended(&mut self, run: &str, went_well: bool) {
        self.is_spreading = self.is_spreading && !went_well;
        if self.busy.iter().any(|busy| busy.run.as_deref() == Some(run)) {
            self.busy.clear();
            self.due += 1;
            self.ask_again = 0;
        }
    }

    pub fn run_ended(&mut self, now: i64, end: RunEnd) {
        self.running = self.running.saturating_sub(1);
        self.batches.remove(&end.batch);
        self.is_spreading = self.is_spreading && !end.went_well && end.claimed == 0;
        if let Some(failure) = end.failure {
            self.run_failed(now, end.epoch, failure);
            return;
        }
        // It began when the site was ours: its good end does not make it ours again.
        if !self.is_standing_by() {
            self.succeeded();
        }
        if !end.open.is_empty() {
            self.found_open(now, end.open);
        }
        let waited = !self.busy.is_empty();
        if let Some(seen) = end.seen {
            self.see(now, end.sent, seen);
        }
        if end.claimed > 0 {
            self.vain = 0;
            self.ask_again = 0;
            // Something ended: was it that which kept others waiting?
            if waited && !self.busy.is_empty() {
                self.due += 1;
                self.busy.clear();
            }
            return;
        }
        if end.for_hook {
            return;
        }
        self.vain += 1;
        let step = if self.vain == 1 { 100 } else { (SECOND << (self.vain - 2).min(6)).min(60 * SECOND) };
        self.ask_again = now + step;
        self.asked = if self.due > 0 { self.oldest } else { self.next };
    }

    /// What a run met that began before the last take-over, or before the site was given away, says nothing of now.
    fn run_failed(&mut self, now: i64, epoch: i64, failure: Failure) {
        if self.limits.has_plugin && self.epoch() != Some(epoch) {
            self.looked = None;
        } else {
            self.run_met(now, failure);
        }
    }
}
