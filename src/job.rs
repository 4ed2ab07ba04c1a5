//! Pure: one job's state, and what it wants next. A time of its schedule is started, queued or skipped, and each that is
//! skipped is said; none is started twice.

use std::sync::Arc;

use crate::clock;
use crate::config::{Job, Missed, Overlap};
use crate::protocol::signature::sha256;
use crate::site::Pause;

/// A start within so much of its time is late; after it the time was missed.
const LATE_MS: i64 = 60_000;
/// A clock that is set back by less repeats no times.
const BACK_MS: i64 = 3 * 3_600_000;
/// More times than this are not counted one by one.
const MOST_MISSED: u64 = 10_000;

#[derive(Debug, Clone, PartialEq)]
pub struct State {
    job: Arc<Job>,
    /// Its own part of `jitter`.
    offset_ms: i64,
    /// All times of the schedule (without the jitter) up to this one are dealt with.
    handled: i64,
    next: Option<i64>,
    /// What is to be started now.
    pending: Option<Due>,
    is_running: bool,
    pause: Option<Pause>,
}

/// A start that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// With the jitter.
    pub at_ms: i64,
    /// The schedule's own time.
    pub slot_ms: i64,
    /// Where it is not simply that time: why.
    pub note: Option<String>,
}

/// Times that have come since the last look.
struct Come {
    /// The last of them, and the one before it.
    slot: i64,
    before: Option<i64>,
    /// How many came before it.
    earlier: u64,
}

/// Times that get no run.
#[derive(Debug, Clone, PartialEq)]
pub struct Skipped {
    /// The last of them, with the jitter.
    pub at_ms: i64,
    pub count: u64,
    pub why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The run before still runs, or waits.
    Overlap,
    /// Its schedule was changed, or could not be kept, while it waited.
    Changed,
    /// No runner was up, or the job was paused.
    Missed,
}

impl Skipped {
    pub fn reason(&self) -> String {
        let times = if self.count == 1 { String::new() } else { format!(" ({} times)", self.count) };
        match self.why {
            Why::Overlap => format!("the run before had not ended{times}; `overlap` says what is done then"),
            Why::Changed => format!("it waited for its start when its definition was changed{times}"),
            Why::Missed => {
                format!("no runner was there for it, or it was paused{times}; `missed` says what is done then")
            }
        }
    }
}

impl State {
    /// `spread`: what the offset comes from, the same on all hosts that share the job. `handled`: the last time that an earlier
    /// runner dealt with; None: the job is new, and nothing of before counts.
    pub fn new(job: &Arc<Job>, spread: &str, handled: Option<i64>, now: i64) -> Self {
        let mut state = Self {
            job: job.clone(),
            offset_ms: offset(spread, clock::millis(job.jitter)),
            handled: 0,
            next: None,
            pending: None,
            is_running: false,
            pause: None,
        };
        let handled = handled.unwrap_or(now);
        state.go_on_from(if handled > state.allowed_ahead(now) { now } else { handled });
        state
    }

    /// All times up to this one are dealt with, here or elsewhere.
    pub fn go_on_from(&mut self, handled: i64) {
        self.handled = handled;
        self.next = self.job.schedule.next_after(handled).map(|fire| fire.at_ms);
    }

    /// Up to when all is dealt with: what waits for its start is not.
    pub fn dealt_with(&self) -> i64 {
        self.pending.as_ref().map_or(self.handled, |due| self.handled.min(due.slot_ms - 1))
    }

    /// Nothing may be started for a while: what waits is judged anew afterwards, by how late it is then.
    pub fn is_kept_back(&mut self) {
        if self.pending.is_some() && !self.job.schedule.is_reboot() {
            let dealt = self.dealt_with();
            self.pending = None;
            self.go_on_from(dealt);
        }
    }

    /// A later time than this was dealt with by a clock that was ahead.
    fn allowed_ahead(&self, now: i64) -> i64 {
        if self.job.schedule.follows_the_clock() { now } else { now + BACK_MS }
    }

    /// The clock was set. Within three hours the times that come again are not done again, as cron(8) has it.
    pub fn clock_was_set(&mut self, now: i64) {
        let allowed = self.allowed_ahead(now);
        if self.handled > allowed {
            self.pending = self.pending.take().filter(|_| self.job.schedule.is_reboot());
            self.go_on_from(now);
        }
    }

    /// Another holds the job: what comes now is for him.
    pub fn leave_to_others(&mut self, now: i64) {
        self.pending = self.pending.take().filter(|_| self.job.schedule.is_reboot());
        if self.next.is_some_and(|next| next + self.offset_ms <= now) {
            self.go_on_from(now - self.offset_ms);
        }
    }

    /// `@reboot`: once, when the machine has started.
    pub fn machine_has_started(&mut self, now: i64) {
        if self.job.schedule.is_reboot() {
            self.pending = Some(Due { at_ms: now, slot_ms: now, note: None });
        }
    }

    /// Time has passed. Gives the times that get no run.
    pub fn tick(&mut self, now: i64) -> Vec<Skipped> {
        if self.pause.is_some_and(|pause| pause.until.is_some_and(|until| now >= until)) {
            self.pause = None;
        }
        if self.pause.is_some() {
            return Vec::new();
        }
        let mut come: Option<Come> = None;
        while let Some(slot) = self.next.filter(|slot| slot + self.offset_ms <= now) {
            let before = come.take();
            let earlier = before.as_ref().map_or(0, |come| come.earlier + 1);
            come = Some(Come { slot, earlier, before: before.map(|come| come.slot) });
            // No clock is walked through minute by minute for years.
            self.go_on_from(if earlier < MOST_MISSED { slot } else { slot.max(now - self.offset_ms - LATE_MS) });
        }
        come.and_then(|come| self.came(&come, now)).into_iter().collect()
    }

    fn came(&mut self, come: &Come, now: i64) -> Option<Skipped> {
        let at_ms = come.slot + self.offset_ms;
        if self.is_running || self.pending.is_some() {
            let count = come.earlier + 1;
            let may_queue = self.job.overlap == Overlap::Queue && self.pending.is_none();
            if may_queue {
                self.pending = Some(Due { at_ms, slot_ms: come.slot, note: None });
            }
            let count = if may_queue { count - 1 } else { count };
            return (count > 0).then_some(Skipped { at_ms, count, why: Why::Overlap });
        }
        let is_missed = now - at_ms > LATE_MS;
        let missed = come.earlier + u64::from(is_missed);
        if is_missed && self.job.missed == Missed::Skip {
            return Some(Skipped { at_ms, count: missed, why: Why::Missed });
        }
        let makes_up = missed > 0 && self.job.missed == Missed::Once;
        let note = makes_up.then(|| match missed {
            1 => "for a time that was missed".to_string(),
            many => format!("once for {many} times that were missed"),
        });
        self.pending = Some(Due { at_ms, slot_ms: come.slot, note });
        let last = come.before.filter(|_| !makes_up && missed > 0)?;
        Some(Skipped { at_ms: last + self.offset_ms, count: missed, why: Why::Missed })
    }

    /// What is to be started now, if anything.
    pub fn due(&self, now: i64) -> Option<&Due> {
        self.pending.as_ref().filter(|_| !self.is_running && !self.is_paused(now))
    }

    /// Whoever asked for it does not mean the next time of the schedule.
    pub fn started(&mut self, due: &Due) {
        self.is_running = true;
        if self.pending.as_ref() == Some(due) {
            self.pending = None;
        }
    }

    /// It could not be started, and is wanted as before. Gives what had its place meanwhile.
    pub fn not_started(&mut self, due: Due) -> Option<Skipped> {
        self.is_running = false;
        let later = self.pending.replace(due)?;
        Some(Skipped { at_ms: later.at_ms, count: 1, why: Why::Overlap })
    }

    pub fn ended(&mut self) {
        self.is_running = false;
    }

    /// A run of an earlier runner, or of another host, may still go on.
    pub fn runs_elsewhere(&mut self) {
        self.is_running = true;
    }

    pub fn is_running(&self) -> bool {
        self.is_running
    }

    fn is_paused(&self, now: i64) -> bool {
        self.pause.is_some_and(|pause| pause.until.is_none_or(|until| now < until))
    }

    pub fn pause(&self) -> Option<Pause> {
        self.pause
    }

    pub fn set_pause(&mut self, pause: Option<Pause>) {
        if pause.is_some() {
            self.is_kept_back();
        }
        self.pause = pause;
    }

    /// When to look at it next.
    pub fn wakes_at(&self) -> Option<i64> {
        match self.pause {
            Some(pause) => pause.until,
            None => self.next.map(|next| next + self.offset_ms),
        }
    }

    /// Its next start, with the jitter.
    pub fn next_ms(&self) -> Option<i64> {
        self.pending.as_ref().map(|due| due.at_ms).or(self.next.map(|next| next + self.offset_ms))
    }

    /// Another definition of the same job: its times count from now on, what runs goes on. Gives what waited for its start.
    pub fn reconfigured(&mut self, job: &Arc<Job>, spread: &str, now: i64) -> Option<Skipped> {
        let is_other_schedule = job.schedule != self.job.schedule;
        let is_other_time = is_other_schedule || job.jitter != self.job.jitter;
        self.job = job.clone();
        self.offset_ms = offset(spread, clock::millis(job.jitter));
        if !is_other_time {
            return None;
        }
        // With another jitter a time that was done does not come again.
        self.go_on_from(if is_other_schedule { now } else { self.handled.max(now - self.offset_ms) });
        self.pending.take().map(|due| Skipped { at_ms: due.at_ms, count: 1, why: Why::Changed })
    }
}

/// Stable, and even over names: 0 to `jitter_ms`, in whole seconds.
fn offset(spread: &str, jitter_ms: i64) -> i64 {
    let hash = sha256(spread.as_bytes());
    let number = hash.get(..12).and_then(|part| i64::from_str_radix(part, 16).ok()).unwrap_or_default();
    number % (jitter_ms / 1000).max(1) * 1000
}

#[cfg(test)]
mod tests;
