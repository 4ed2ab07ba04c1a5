//! Pure: what is known of a site, and what it wants next. It reads no clock and calls nobody; `scheduler` tells it what
//! happened and asks what to do. All times are this machine's unix milliseconds unless they say otherwise.

mod php_clock;
mod runs;
mod told;
mod trouble;
mod view;
mod wants;

use std::collections::HashSet;
use std::sync::Arc;

use crate::outcome::Failure;
use crate::protocol::{Busy, Open};
use crate::schedule::Schedule;
pub use php_clock::PhpClock;
pub use told::{About, Counts, RunEnd, Seen};
use trouble::Trouble;
pub use view::{Running, View};
use wants::first_pass;

/// A due event is asked for so much after its second begins: never before it, by any rounding.
const AFTER_SECOND_MS: i64 = 2;
/// The owner of a site has to be silent for so long beyond its word before somebody else takes over.
pub const SILENCE_MS: i64 = 45_000;
/// So long after a take-over the site is looked at again.
const SECOND_LOOK_MS: i64 = 3000;
/// A runner that stands by looks so often whether the owner has left.
const STANDBY_LOOK_MS: i64 = 15_000;
const SECOND: i64 = 1000;

/// What the configuration says about a site's runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    pub lanes: usize,
    pub rescan_ms: i64,
    /// When passes begin; None: each event at its own time.
    pub schedule: Option<Schedule>,
    /// Without it there is nobody to ask, and a pass is all there is.
    pub has_plugin: bool,
}

/// With a crontab expression, due events wait for the next pass; a pass goes on until nothing is due.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pass {
    Always,
    /// Nothing starts before this time; None: never again.
    Closed {
        until: Option<i64>,
    },
    /// Began at this time.
    Open {
        at: i64,
    },
}

/// Nothing is started until somebody says so, or until this time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pause {
    pub until: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Nothing before this time.
    Nothing { until: i64 },
    /// To be taken over: settle what is open, get an epoch.
    Take,
    /// To be asked what is due.
    Look,
    /// Something is due.
    Run,
    /// Runs of an earlier time are open: are their processes alive?
    Settle,
}

#[derive(Debug, Clone, PartialEq)]
enum Right {
    None,
    Standby { until: i64 },
    Owner { epoch: i64 },
}

#[derive(Debug, Clone)]
pub struct State {
    limits: Limits,
    pass: Pass,
    pause: Option<Pause>,
    right: Right,
    pub clock: PhpClock,
    pub install: Option<String>,
    /// The earliest event that is not due yet, in WordPress's seconds.
    next: Option<i64>,
    /// How many are due now and could be claimed.
    due: u64,
    oldest: Option<i64>,
    /// Due, but running still: not asked for until one of these ends, or a look finds them again.
    busy: Vec<Busy>,
    running: usize,
    is_calling: bool,
    is_taking: bool,
    /// Requests are numbered as they are sent; the call that is on its way has this number.
    sent: u64,
    call: u64,
    notice: Option<Noticed>,
    looked: Option<i64>,
    not_before: i64,
    trouble: Option<Trouble>,
    /// The due time that was asked for last, how often nothing came of it, and when to ask again.
    asked: Option<i64>,
    vain: u32,
    ask_again: i64,
    /// Not before: requests that began before anybody had ever taken the site over know nothing of a claim.
    first_run_at: i64,
    open: Vec<Open>,
    batches: HashSet<String>,
    settle_at: i64,
    settle_step: i64,
    /// What the plugin keeps of the configuration has changed: it is told with the next take-over.
    is_to_be_told: bool,
    /// A backlog was found at the take-over: one lane until the first event ended well.
    is_spreading: bool,
    /// A look has answered since the take-over.
    is_looked_at: bool,
    pub about: About,
    counts: Arc<Counts>,
}

/// A notice that came while an answer was on its way: that answer may have been read from the option before.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Noticed {
    next: i64,
    /// The last request that was sent before it.
    sent: u64,
}

impl State {
    pub fn new(now: i64, limits: Limits, install: Option<String>) -> Self {
        let pass = first_pass(&limits, now);
        Self {
            limits,
            pass,
            pause: None,
            right: Right::None,
            clock: PhpClock::default(),
            install,
            next: None,
            due: 0,
            oldest: None,
            busy: Vec::new(),
            running: 0,
            is_calling: false,
            is_taking: false,
            sent: 0,
            call: 0,
            notice: None,
            looked: None,
            not_before: 0,
            trouble: None,
            asked: None,
            vain: 0,
            ask_again: 0,
            first_run_at: 0,
            open: Vec::new(),
            batches: HashSet::new(),
            settle_at: 0,
            settle_step: SECOND,
            is_to_be_told: false,
            is_spreading: false,
            is_looked_at: false,
            about: About::default(),
            counts: Arc::default(),
        }
    }

    pub fn epoch(&self) -> Option<i64> {
        match self.right {
            Right::Owner { epoch } => Some(epoch),
            Right::None | Right::Standby { .. } => None,
        }
    }

    /// A take-over is on its way.
    pub fn is_taking(&self) -> bool {
        self.is_taking
    }

    pub fn is_calling(&self) -> bool {
        self.is_calling
    }

    /// What is wrong at the moment.
    pub fn failure(&self) -> Option<&Failure> {
        self.trouble.as_ref().map(|trouble| &trouble.failure)
    }

    /// What is known of it may be out of date.
    pub fn look_again(&mut self) {
        self.looked = None;
    }

    /// What the plugin was told is not what it has to know.
    pub fn tell_again(&mut self) {
        self.is_to_be_told = true;
    }

    /// The lease has gone, or come anew: whoever had it meanwhile may have taken the site over.
    pub fn start_anew(&mut self) {
        self.return_to();
        self.succeeded();
        self.open.clear();
    }

    /// Told to leave, and wanted again: to be taken over anew.
    pub fn return_to(&mut self) {
        self.right = Right::None;
        self.looked = None;
        self.not_before = 0;
    }

    pub fn running(&self) -> usize {
        self.running
    }

    /// The configuration was changed. What was wrong before may be right now.
    pub fn reconfigured(&mut self, now: i64, limits: Limits, is_to_be_told: bool) {
        if limits.schedule != self.limits.schedule {
            self.pass = first_pass(&limits, now);
        }
        self.limits = limits;
        self.is_to_be_told |= is_to_be_told;
        self.not_before = 0;
        self.looked = None;
    }

    pub fn set_pause(&mut self, pause: Option<Pause>) {
        self.pause = pause;
    }

    pub fn pause(&self) -> Option<Pause> {
        self.pause
    }

    pub fn is_standing_by(&self) -> bool {
        matches!(self.right, Right::Standby { .. })
    }

    /// Another runner looks after the site, by its own word until `expected_ms` on PHP's clock; None: it has left.
    /// What was wrong meanwhile is right again.
    pub fn stood_by(&mut self, now: i64, owner: Option<(&str, Option<i64>)>) {
        self.looked = Some(now);
        let expected_ms = owner.and_then(|(_, expected_ms)| expected_ms);
        let is_stale = |trouble: &Trouble| matches!(trouble.failure, Failure::Stale { .. });
        if let (Some((name, expected_ms)), false) = (owner, self.trouble.as_ref().is_some_and(is_stale)) {
            let failure = Failure::Stale { name: name.to_string(), expected_ms, epoch: None };
            self.trouble = Some(Trouble { failure, since: now, times: 1, of_runs: false });
        }
        let silent = expected_ms.map_or(now, |php| self.clock.to_ours(php) + SILENCE_MS);
        self.right = Right::Standby { until: silent };
    }

    /// Open rows that no run of ours looks after.
    pub fn foreign_open(&self) -> impl Iterator<Item = &Open> {
        self.open.iter().filter(|open| !self.batches.contains(&open.batch))
    }

    pub fn call_started(&mut self, what: Want) {
        self.is_calling = true;
        self.is_taking = what == Want::Take;
        self.sent += 1;
        self.call = self.sent;
    }

    pub fn call_ended(&mut self) {
        self.is_calling = false;
        self.is_taking = false;
    }

    /// The site is ours now.
    pub fn taken(&mut self, now: i64, epoch: i64, seen: Seen, open: Vec<Open>) {
        if epoch == 1 {
            self.first_run_at = now + SECOND;
        }
        self.right = Right::Owner { epoch };
        self.is_to_be_told = false;
        self.is_spreading = seen.due > 1;
        self.is_looked_at = false;
        self.succeeded();
        // Pages that were loading at the take-over did not know of a runner to tell.
        self.looked = Some(now - self.limits.rescan_ms + SECOND_LOOK_MS.min(self.limits.rescan_ms));
        self.found_open(now, open);
        self.see(now, self.call, seen);
    }

    pub fn looked(&mut self, now: i64, seen: Seen, open: Vec<Open>) {
        if self.is_news_to_all(&seen) {
            Arc::make_mut(&mut self.counts).missed_notices += 1;
        }
        self.is_looked_at = true;
        self.call_succeeded(&seen);
        self.looked = Some(now);
        self.busy.clear();
        self.found_open(now, open);
        self.see(now, self.call, seen);
    }

    pub fn settled(&mut self, now: i64, seen: Seen, open: Vec<Open>) {
        self.call_succeeded(&seen);
        self.still_open(now, open);
        self.see(now, self.call, seen);
    }

    /// It tells of an event that was scheduled since the last look, earlier than all that was known of, and no page had said
    /// so. Pages that were loading at the take-over did not know whom to tell; and while a run goes on, what is known is what it
    /// will say.
    fn is_news_to_all(&self, seen: &Seen) -> bool {
        let Some(looked) = self.looked.filter(|_| self.is_looked_at && self.running == 0 && self.epoch().is_some())
        else {
            return false;
        };
        let known = if self.due > 0 { self.oldest } else { self.next };
        let found = if seen.due > 0 { seen.oldest } else { seen.next };
        let is_new = |at: i64| at.saturating_mul(SECOND) >= self.clock.to_php(looked);
        found.is_some_and(|found| is_new(found) && known.is_none_or(|known| found < known))
    }

    /// What runs have met stays until one succeeds, or until there is nothing left to run.
    fn call_succeeded(&mut self, seen: &Seen) {
        self.not_before = 0;
        if seen.due == 0 || self.trouble.as_ref().is_some_and(|trouble| !trouble.of_runs) {
            self.succeeded();
        }
    }

    fn succeeded(&mut self) {
        self.trouble = None;
        self.not_before = 0;
    }

    /// Rows that are open, by a look or a run: news is asked about in a second, the rest in its own time. What was open and
    /// is not any more has ended, and only `settle` tells how.
    fn found_open(&mut self, now: i64, mut open: Vec<Open>) {
        let gone = |old: &&Open| !open.iter().any(|row| row.run == old.run);
        let gone: Vec<Open> = self.foreign_open().filter(gone).cloned().collect();
        open.extend(gone);
        let is_known = open.iter().all(|row| self.open.iter().any(|known| known.run == row.run));
        if !is_known {
            self.settle_step = SECOND;
            self.settle_at = now + SECOND;
        }
        self.open = open;
    }

    /// Rows that are open still after they were asked about: their processes live, so patience grows.
    fn still_open(&mut self, now: i64, open: Vec<Open>) {
        let is_same = open.len() == self.open.len();
        self.settle_step = if is_same { (self.settle_step * 2).min(15 * SECOND) } else { SECOND };
        self.settle_at = now + self.settle_step;
        self.open = open;
    }

    /// The next time by the answer to request `sent`, or an earlier one that a notice named after that was sent. At worst
    /// it is asked for in vain, once: the answer to that question was sent later and is believed.
    fn next_by(&mut self, sent: u64, next: Option<i64>) -> Option<i64> {
        self.notice = self.notice.filter(|notice| sent <= notice.sent);
        let noticed = self.notice.map(|notice| notice.next);
        [next, noticed].into_iter().flatten().min()
    }

    fn see(&mut self, now: i64, sent: u64, seen: Seen) {
        self.next = self.next_by(sent, seen.next);
        self.oldest = seen.oldest;
        self.due = seen.claimable();
        self.busy = seen.waiting();
        // What is overdue by PHP's word but not counted as due was asked for a moment too early.
        let first = if self.due > 0 { self.oldest } else { self.next };
        if first != self.asked {
            self.vain = 0;
            self.ask_again = now.min(self.ask_again);
        }
    }

    /// The plugin says that something earlier was scheduled, by a page or a command.
    pub fn noticed(&mut self, next: Option<i64>) {
        Arc::make_mut(&mut self.counts).notices += 1;
        // Somebody has put it right.
        if matches!(self.failure(), Some(Failure::Corrupt(_))) {
            self.not_before = 0;
            self.looked = None;
        }
        if let Some(next) = next
            && (self.is_calling || self.running > 0)
        {
            let next = self.notice.map_or(next, |known| known.next.min(next));
            self.notice = Some(Noticed { next, sent: self.sent });
        }
        self.moved(next);
    }

    /// Something earlier was scheduled by a hook of a run, whose own next words know of it.
    pub fn moved(&mut self, next: Option<i64>) {
        match next {
            Some(next) => self.next = Some(self.next.map_or(next, |known| known.min(next))),
            None => self.looked = None,
        }
    }

    /// The clock was set, or the host slept: every time that was noted may be wrong.
    pub fn replan(&mut self, now: i64) {
        self.clock = PhpClock::default();
        self.not_before = 0;
        self.ask_again = 0;
        self.first_run_at = 0;
        self.looked = None;
        self.settle_at = 0;
        if let Right::Standby { until } = &mut self.right {
            *until = 0;
        }
        // A time that has passed begins its pass; one that lies ahead may be another now.
        if let Pass::Closed { until: Some(until) } = self.pass
            && now < until
        {
            self.pass = self.next_pass(now);
        }
    }
}

#[cfg(test)]
mod tests;
