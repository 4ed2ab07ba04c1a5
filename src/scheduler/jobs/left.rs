//! A job's process that nobody of this runner waits for: an earlier runner began it, or it could not be ended. It has the job's lock
//! for as long as it lives, and nothing is started beside it.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process_group};

use super::facts::schedule_of;
use crate::clock;
use crate::run_job::mark::{FACT, Mark, Open};
use crate::run_job::{END_MS, left_behind};
use crate::scheduler::Scheduler;

/// Whether it lives is asked so often.
pub const LOOK_MS: i64 = 1000;
/// From TERM to KILL, and from there to the next try.
const END_AGAIN_MS: i64 = 10_000;
/// The others are told in time that it goes on, and for how long at least.
const AHEAD_MS: i64 = 60_000;
const LONGER_MS: i64 = 300_000;

#[derive(Debug)]
pub struct Left {
    pub open: Open,
    /// How it ended was recorded already.
    is_recorded: bool,
    /// Its own time limit, Unix milliseconds.
    limit_ms: i64,
    /// Since when it is asked to end, and when it was last (steady milliseconds).
    asked_to_end: Option<(i64, i64)>,
}

impl Left {
    /// By the word of an earlier runner of this state directory.
    pub fn unknown(open: Open) -> Self {
        Self { limit_ms: open.until_ms - END_MS, open, is_recorded: false, asked_to_end: None }
    }

    pub fn recorded(open: Open) -> Self {
        let now = clock::steady_ms();
        Self { is_recorded: true, asked_to_end: Some((now, now)), ..Self::unknown(open) }
    }

    /// Why it goes on although its time is over.
    pub fn overdue(&self) -> Option<String> {
        let (since, _) = self.asked_to_end?;
        let since = clock::span(clock::steady_ms() - since);
        Some(format!(
            "its time limit is over since {since}, and it could not be ended yet; nothing is started beside it"
        ))
    }
}

impl Scheduler {
    pub(super) fn look_after_left(&mut self, name: &str) {
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        let Some(left) = &mut entry.left else { return };
        let Ok(pass) = self.state.pass(name) else {
            left.end_in_time(&self.state.pass_file(name));
            let now = clock::now_ms();
            if now > left.open.until_ms - AHEAD_MS {
                left.open.until_ms = now + LONGER_MS;
                let mark =
                    Mark { slot_ms: entry.dealt, schedule: schedule_of(&entry.job), open: Some(left.open.clone()) };
                self.history.learn(name, FACT, mark.text());
                self.tell_others(name, "open", mark);
            }
            return;
        };
        pass.over();
        let left = entry.left.take();
        entry.state.ended();
        if let Some(left) = left {
            if !left.is_recorded {
                let record = left_behind(&entry.job, &left.open, left.asked_to_end.is_some());
                record.log();
                self.history.record(record.clone());
                entry.last = Some(record);
            }
            self.close(name, Some(left.open));
        }
    }
}

impl Left {
    /// Nobody else keeps its time limit any more. Whose number it is now is seen by what it has as its stdin.
    fn end_in_time(&mut self, lock: &Path) {
        let steady = clock::steady_ms();
        let is_over = clock::now_ms() > self.limit_ms;
        let signal = match self.asked_to_end {
            _ if !is_over => return,
            None => Signal::TERM,
            Some((_, last)) if steady > last + END_AGAIN_MS => Signal::KILL,
            Some(_) => return,
        };
        // Overdue also where this user may not see, or end, what another one's process is.
        let (since, _) = self.asked_to_end.unwrap_or((steady, steady));
        self.asked_to_end = Some((since, steady));
        let pid = self.open.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|pid| has_lock(*pid, lock)) else { return };
        tracing::warn!(run = self.open.run, "process {pid:?} of a job is over its time limit, and is ended");
        let _ = kill_process_group(pid, signal);
    }
}

fn has_lock(pid: Pid, lock: &Path) -> bool {
    fs::read_link(format!("/proc/{}/fd/0", pid.as_raw_nonzero())).is_ok_and(|file| file == lock)
}
