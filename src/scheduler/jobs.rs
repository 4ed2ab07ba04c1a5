//! The jobs, beside the sites: same lease, same limits, same loop.

mod facts;
mod held;
mod left;
mod run;
mod told;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::Scheduler;
use super::entry::Answer;
use super::places::Place;
use crate::clock;
use crate::config::{Job, Work};
use crate::history::redis::SharedHistory;
use crate::history::{RunRecord, run_id};
use crate::job::{Due, Skipped, State};
use crate::lease::file::Lease;
use crate::outcome::Failure;
use crate::run_job::mark::{FACT, Mark, Open};
use crate::run_job::{JobRan, skipped_times};
pub use facts::JobFacts;
use facts::schedule_of;
use held::Held;
use left::Left;
pub use view::JobView;

/// What could not be started is tried again after so much.
const AGAIN_MS: i64 = 5000;
/// Nobody looks at a job more often than that, whatever its times say.
const SOONEST_MS: i64 = 50;

pub struct Jobs {
    pub entries: BTreeMap<String, JobEntry>,
    tasks: JoinSet<JobTask>,
    begun_in: UnboundedSender<JobTask>,
    begun: UnboundedReceiver<JobTask>,
    /// None on a host of its own.
    pub shared: Option<Arc<SharedHistory>>,
    running: usize,
}

impl Jobs {
    pub fn new(shared: Option<Arc<SharedHistory>>) -> Self {
        let (begun_in, begun) = unbounded_channel();
        Self { entries: BTreeMap::new(), tasks: JoinSet::new(), begun_in, begun, shared, running: 0 }
    }

    /// What happens next to one of them; for ever where nothing does.
    pub async fn next(&mut self) -> JobTask {
        loop {
            tokio::select! {
                biased;
                Some(begun) = self.begun.recv() => return begun,
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(task) => return task,
                    Err(error) => tracing::error!("a task failed: {error}"),
                },
                else => std::future::pending().await,
            }
        }
    }
}

/// What a task tells.
pub enum JobTask {
    Begun {
        job: String,
        pid: Option<u32>,
    },
    Ran {
        job: String,
        due: Due,
        ran: JobRan,
    },
    /// What Redis knows of the job, once its lease is here.
    Known {
        job: String,
        grant: u64,
        mark: Result<Option<Mark>, String>,
    },
}

pub struct JobEntry {
    pub job: Arc<Job>,
    pub state: State,
    place: Option<Place>,
    lease: Option<Lease>,
    lease_trouble: Option<String>,
    /// None where no other host shares it.
    held: Option<Held>,
    /// Runs that somebody asked for, and waits for.
    asked: VecDeque<Answer<Vec<RunRecord>>>,
    answer: Option<Answer<Vec<RunRecord>>>,
    running: Option<Open>,
    /// The place that its run has: the definition may change meanwhile.
    taken: Option<Place>,
    /// A process that nobody of this runner waits for.
    left: Option<Left>,
    /// Up to when this runner has started or told of its times.
    dealt: i64,
    last: Option<RunRecord>,
    /// On the steady clock.
    not_before: i64,
    /// Why it could not be started the last time.
    trouble: Option<String>,
    pub is_removed: bool,
}

impl JobEntry {
    fn new(job: &Arc<Job>, spread: &str, facts: JobFacts, is_shared: bool, now: i64) -> Self {
        let handled = facts.mark.as_ref().map(|mark| mark.slot_ms);
        let mut state = State::new(job, spread, handled, now);
        state.set_pause(facts.pause);
        if facts.is_new_boot {
            state.machine_has_started(now);
        }
        let left = facts.mark.and_then(|mark| mark.open).map(Left::unknown);
        if left.is_some() {
            state.runs_elsewhere();
        }
        Self {
            job: job.clone(),
            state,
            place: place_of(job),
            lease: None,
            lease_trouble: None,
            held: is_shared.then(Held::default),
            asked: VecDeque::new(),
            answer: None,
            running: None,
            taken: None,
            left,
            dealt: handled.unwrap_or(i64::MIN),
            last: facts.last,
            not_before: i64::MIN,
            trouble: None,
            is_removed: false,
        }
    }

    /// Nobody else starts it at the moment.
    pub fn is_held_here(&self) -> bool {
        self.held.as_ref().is_none_or(Held::is_trusted)
    }

    pub fn is_running_here(&self) -> bool {
        self.running.is_some() || self.left.is_some()
    }

    fn is_gone(&self) -> bool {
        self.is_removed && !self.is_running_here()
    }

    /// Its times are this runner's to start, or to tell of.
    fn is_ticking(&self) -> bool {
        !self.is_removed && self.held.as_ref().is_none_or(|held| held.is_trusted() && held.is_known())
    }

    fn may_start(&self, now: i64) -> bool {
        let is_free = self.held.as_ref().is_none_or(|held| held.may_start(now));
        !self.is_removed && !self.state.is_running() && clock::steady_ms() >= self.not_before && is_free
    }

    /// Whoever asked for it comes first, and means now.
    fn wanted(&self, now: i64) -> Option<Due> {
        let asked = (!self.asked.is_empty()).then(|| Due {
            at_ms: now,
            slot_ms: self.state.dealt_with(),
            note: Some("somebody asked for it".to_string()),
        });
        asked.or_else(|| self.state.due(now).cloned()).filter(|_| self.may_start(now))
    }

    fn wakes_at(&self, now: i64) -> i64 {
        let times = self.state.wakes_at().filter(|_| self.is_ticking());
        let left = self.left.as_ref().map(|_| now + left::LOOK_MS);
        let elsewhere = self.held.as_ref().and_then(Held::look_again_in).map(|ms| now + ms);
        let again = Some(self.not_before.saturating_sub(clock::steady_ms())).filter(|ms| *ms > 0).map(|ms| now + ms);
        let soonest = [times, left, elsewhere, again].into_iter().flatten().min();
        soonest.unwrap_or(now + super::SLICE_MS).max(now + SOONEST_MS)
    }

    fn refuse_asked(&mut self, reason: &Failure) {
        for asked in self.asked.drain(..) {
            let _ = asked.send(Err(reason.clone()));
        }
    }
}

fn place_of(job: &Job) -> Option<Place> {
    matches!(job.work, Work::Wp { .. }).then_some(Place::WpCli)
}

impl Scheduler {
    /// Starts what may start now; gives the time when a job wants something next.
    pub(super) fn start_jobs(&mut self, now: i64) -> i64 {
        let before = self.jobs.entries.len();
        self.jobs.entries.retain(|_, entry| !entry.is_gone());
        if self.jobs.entries.len() != before {
            self.configure_keeper();
        }
        let names: Vec<String> = self.jobs.entries.keys().cloned().collect();
        for name in &names {
            self.look_after_left(name);
            self.ask_about(name);
            self.tick_job(name, now);
        }
        if self.history_trouble.is_none() {
            let mut wanted: Vec<(i64, &String)> = Vec::new();
            for name in &names {
                let due = self.jobs.entries.get(name).and_then(|entry| entry.wanted(now));
                wanted.extend(due.map(|due| (due.at_ms, name)));
            }
            // Who waits longest comes first.
            wanted.sort();
            for (_, name) in wanted {
                self.start_job(name, now);
            }
        }
        self.jobs.entries.values().map(|entry| entry.wakes_at(now)).min().unwrap_or(i64::MAX)
    }

    fn tick_job(&mut self, name: &str, now: i64) {
        let trouble = self.history_trouble.clone().map(Failure::NotStarted);
        let Some(entry) = self.jobs.entries.get_mut(name).filter(|entry| !entry.is_removed) else { return };
        if let Some(refusal) = trouble.or_else(|| entry.refusal(now)) {
            entry.refuse_asked(&refusal);
        }
        if entry.held.as_ref().is_some_and(Held::is_others) {
            return entry.state.leave_to_others(now);
        }
        // Before it is known what another host did last, nothing is missed.
        if !entry.is_ticking() {
            return entry.state.is_kept_back();
        }
        let skipped = entry.state.tick(now);
        self.skip(name, &skipped);
    }

    /// Times that get no run get a record.
    fn skip(&mut self, name: &str, skipped: &[Skipped]) {
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        for skipped in skipped {
            let record = skipped_times(&entry.job, &self.me.name, &run_id(clock::now_ms()), skipped);
            record.log();
            self.history.record(record.clone());
            entry.last = Some(record);
        }
        if !skipped.is_empty() {
            self.note(name);
        }
    }

    /// Up to when the times of a job are dealt with, for the next start of this runner and for other hosts.
    fn note(&mut self, name: &str) {
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        entry.dealt = entry.dealt.max(entry.state.dealt_with());
        let open = entry.running.clone().or_else(|| entry.left.as_ref().map(|left| left.open.clone()));
        let mark = Mark { slot_ms: entry.dealt, schedule: schedule_of(&entry.job), open };
        self.history.learn(name, FACT, mark.text());
        self.tell_others(name, "note", mark);
    }
}
