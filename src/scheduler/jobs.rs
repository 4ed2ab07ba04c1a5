//! The jobs, beside the sites: same lease, same limits, same loop.

mod held;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use tokio::task::JoinSet;

use super::entry::Answer;
use super::places::Place;
use super::{Facts, Scheduler};
use crate::clock;
use crate::config::{Job, Work};
use crate::history::redis::SharedHistory;
use crate::history::sqlite::{self, Reader};
use crate::history::{Filter, RunRecord, run_id};
use crate::job::{Due, State};
use crate::lease::file::Lease;
use crate::outcome::Failure;
use crate::run_job::mark::{Mark, Open};
use crate::run_job::{self, Context, JobRan, interrupted, skipped_times};
use held::Held;
pub use view::JobView;

/// Whether the process of an earlier runner lives on is asked so often.
const LOOK_MS: i64 = 1000;
/// What could not be started is tried again after so much.
const AGAIN_MS: i64 = 5000;

#[derive(Default)]
pub struct Jobs {
    pub entries: BTreeMap<String, JobEntry>,
    pub tasks: JoinSet<JobTask>,
    /// None on a host of its own.
    pub shared: Option<Arc<SharedHistory>>,
}

/// One that has ended.
pub enum JobTask {
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
    pub place: Option<Place>,
    lease: Option<Lease>,
    lease_trouble: Option<String>,
    /// None where no other host shares it.
    held: Option<Held>,
    /// Runs that somebody asked for, and waits for.
    asked: VecDeque<Answer<Vec<RunRecord>>>,
    answer: Option<Answer<Vec<RunRecord>>>,
    running: Option<Open>,
    pid: Arc<AtomicU32>,
    /// The schedule's time up to which all is dealt with, for whoever notes the end of a run.
    handled: Arc<AtomicI64>,
    /// The place that its run has: the definition may change meanwhile.
    taken: Option<Place>,
    /// Begun by an earlier runner of this state directory, which said nothing of its end.
    orphan: Option<Open>,
    last: Option<RunRecord>,
    not_before: i64,
    /// Why it could not be started the last time.
    trouble: Option<String>,
    pub is_removed: bool,
}

/// What the history remembers of a job.
#[derive(Default)]
pub struct JobFacts {
    pub facts: Facts,
    pub mark: Option<Mark>,
    pub last: Option<RunRecord>,
    /// `@reboot` counts the starts of the machine.
    pub is_new_boot: bool,
}

/// The fact, of no site, that names the start of the machine that `@reboot` was done for.
const BOOT: &str = "boot";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl JobFacts {
    pub fn read(reader: &Reader, job: &str) -> Result<Self, sqlite::Error> {
        let filter = Filter { site: Some(job.to_string()), limit: 1, ..Filter::default() };
        Ok(Self {
            facts: Facts::read(reader, job)?,
            mark: Mark::read(reader.fact(job, run_job::mark::FACT)?.as_deref()),
            last: reader.runs(&filter)?.pop(),
            is_new_boot: reader.fact("", BOOT)? != boot_id(),
        })
    }
}

fn boot_id() -> Option<String> {
    std::fs::read_to_string(BOOT_ID).ok().map(|id| id.trim().to_string())
}

impl JobEntry {
    fn new(job: &Arc<Job>, spread: &str, facts: JobFacts, is_shared: bool, now: i64) -> Self {
        let handled = facts.mark.as_ref().map(|mark| mark.slot_ms);
        let mut state = State::new(job, spread, handled, now);
        state.set_pause(facts.facts.pause);
        if facts.is_new_boot {
            state.machine_has_started(now);
        }
        let orphan = facts.mark.and_then(|mark| mark.open);
        if orphan.is_some() {
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
            pid: Arc::default(),
            handled: Arc::default(),
            taken: None,
            orphan,
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
        self.running.is_some()
    }

    fn is_gone(&self) -> bool {
        self.is_removed && self.running.is_none()
    }

    fn may_start(&self, now: i64) -> bool {
        !self.is_removed && !self.state.is_running() && now >= self.not_before && self.held_since(now)
    }

    fn held_since(&self, now: i64) -> bool {
        self.held.as_ref().is_none_or(|held| held.may_start(now))
    }

    /// Whoever asked for it comes first, and means now.
    fn wanted(&self, now: i64) -> Option<Due> {
        let asked = (!self.asked.is_empty()).then(|| Due {
            at_ms: now,
            slot_ms: self.state.handled(),
            note: Some("somebody asked for it".to_string()),
        });
        asked.or_else(|| self.state.due(now).cloned()).filter(|_| self.may_start(now))
    }

    fn wakes_at(&self, now: i64) -> i64 {
        let later = now + super::SLICE_MS;
        let waits = self.orphan.as_ref().map(|_| now + LOOK_MS);
        let elsewhere = self.held.as_ref().and_then(|held| held.look_again_at(now));
        let retried = Some(self.not_before).filter(|at| *at > now);
        [self.state.wakes_at(), waits, elsewhere, retried].into_iter().flatten().min().unwrap_or(later)
    }

    pub fn refuse_asked(&mut self, reason: &Failure) {
        for asked in self.asked.drain(..) {
            let _ = asked.send(Err(reason.clone()));
        }
    }
}

fn place_of(job: &Job) -> Option<Place> {
    matches!(job.work, Work::Wp { .. }).then_some(Place::WpCli)
}

impl Scheduler {
    /// What a jitter is spread by: on hosts that share a job it must be the same.
    fn spread(&self, job: &Job) -> String {
        match self.others {
            Some(_) => job.name.clone(),
            None => format!("{} {}", job.name, self.me.name),
        }
    }

    /// `@reboot` was done for this start of the machine.
    pub(super) fn note_boot(&self) {
        if let Some(id) = boot_id() {
            self.history.learn("", BOOT, id);
        }
    }

    pub(super) fn add_job(&mut self, job: &Arc<Job>, facts: JobFacts) {
        let entry = JobEntry::new(job, &self.spread(job), facts, self.others.is_some(), clock::now_ms());
        self.jobs.entries.insert(job.name.clone(), entry);
        if let Some(others) = &self.others {
            let board = others.board();
            self.heed_board_for_jobs(&board);
        }
    }

    /// Starts what may start now; gives the time when a job wants something next.
    pub(super) fn start_jobs(&mut self, now: i64) -> i64 {
        self.jobs.entries.retain(|_, entry| !entry.is_gone());
        let names: Vec<String> = self.jobs.entries.keys().cloned().collect();
        for name in &names {
            self.look_after_orphan(name);
            self.ask_about(name, now);
            self.tick_job(name, now);
        }
        if self.history_trouble.is_none() {
            for name in &names {
                self.start_job(name, now);
            }
        }
        self.jobs.entries.values().map(|entry| entry.wakes_at(now)).min().unwrap_or(i64::MAX)
    }

    fn tick_job(&mut self, name: &str, now: i64) {
        let Some(entry) = self.jobs.entries.get_mut(name).filter(|entry| !entry.is_removed) else { return };
        let trouble = self.history_trouble.clone().map(Failure::NotStarted);
        if let Some(refusal) = trouble.or_else(|| entry.refusal(now)) {
            entry.refuse_asked(&refusal);
        }
        if entry.held.as_ref().is_some_and(Held::is_others) {
            return entry.state.leave_to_others(now);
        }
        // Before it is known what another host did last, nothing is missed.
        if entry.held.as_ref().is_some_and(|held| !held.is_known()) {
            return;
        }
        let skipped = entry.state.tick(now);
        entry.handled.store(entry.state.handled(), Ordering::Relaxed);
        for skipped in &skipped {
            let record = skipped_times(&entry.job, &self.me.name, &run_id(now), skipped);
            record.log();
            self.history.record(record.clone());
            entry.last = Some(record);
        }
        if !skipped.is_empty() && entry.running.is_none() {
            self.note_mark(name);
        }
    }

    /// Up to when the times of an idle job are dealt with, for the next start of a runner and for other hosts.
    fn note_mark(&mut self, name: &str) {
        let Some(entry) = self.jobs.entries.get(name).filter(|entry| entry.orphan.is_none()) else { return };
        let text = Mark { slot_ms: entry.state.handled(), open: None }.text();
        self.history.learn(name, run_job::mark::FACT, text.clone());
        if let Some(shared) = self.jobs.shared.clone() {
            let name = name.to_string();
            tokio::spawn(async move { shared.set_fact(&name, run_job::mark::FACT, &text).await });
        }
    }

    /// An earlier runner began it. Its process has the lock for as long as it lives.
    fn look_after_orphan(&mut self, name: &str) {
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        let Some(open) = entry.orphan.as_ref() else { return };
        let Ok(pass) = self.state.pass(name) else { return };
        pass.over();
        let record = interrupted(&entry.job, open);
        record.log();
        self.history.record(record.clone());
        entry.last = Some(record);
        entry.orphan = None;
        entry.state.ended();
        self.note_mark(name);
    }

    fn start_job(&mut self, name: &str, now: i64) {
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        let Some(due) = entry.wanted(now) else { return };
        if self.running >= self.max_parallel || !self.places.is_free(entry.place.as_ref()) {
            return;
        }
        if entry.lease.is_none() {
            match self.state.site(name) {
                Ok(lease) => (entry.lease, entry.lease_trouble) = (Some(lease), None),
                Err(refusal) => {
                    entry.lease_trouble = Some(refusal.to_string());
                    entry.not_before = now + AGAIN_MS;
                    entry.refuse_asked(&Failure::NotStarted(refusal.to_string()));
                    return;
                }
            }
        }
        let run = run_id(now);
        entry.answer = entry.asked.pop_front();
        entry.state.started(&due);
        entry.pid.store(0, Ordering::Relaxed);
        entry.running = Some(Open {
            run: run.clone(),
            due_ms: due.at_ms,
            started_ms: now,
            until_ms: 0,
            runner: self.me.id.clone(),
            host: self.me.name.clone(),
        });
        self.running += 1;
        self.places.take(entry.place.as_ref());
        entry.taken = entry.place.clone();
        let context = Context {
            job: entry.job.clone(),
            state: self.state.clone(),
            history: self.history.clone(),
            shared: self.jobs.shared.clone(),
            me: (self.me.id.clone(), self.me.name.clone()),
            handled: entry.handled.clone(),
        };
        let (pid, job) = (entry.pid.clone(), name.to_string());
        self.jobs.tasks.spawn(async move {
            let started = |id: Option<u32>| pid.store(id.unwrap_or(0), Ordering::Relaxed);
            let ran = run_job::run_job(&context, &run, &due, started).await;
            JobTask::Ran { job, due, ran }
        });
    }

    pub(super) fn job_task_ended(&mut self, task: JobTask) {
        match task {
            JobTask::Ran { job, due, ran } => self.job_ran(&job, due, ran),
            JobTask::Known { job, grant, mark } => self.job_is_known(&job, grant, mark),
        }
    }

    fn job_ran(&mut self, name: &str, due: Due, ran: JobRan) {
        self.running = self.running.saturating_sub(1);
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        self.places.give_back(entry.taken.take().as_ref());
        entry.running = None;
        let answer = entry.answer.take();
        match ran {
            JobRan::Recorded(record) => {
                entry.state.ended();
                entry.trouble = None;
                entry.last = Some((*record).clone());
                if let Some(answer) = answer {
                    let _ = answer.send(Ok(vec![*record]));
                }
            }
            JobRan::NotStarted(why) => {
                if entry.trouble.as_ref() != Some(&why) {
                    tracing::warn!(site = name, "job {name} was not started, and is tried again by itself: {why}");
                }
                match answer {
                    Some(answer) => {
                        entry.state.ended();
                        let _ = answer.send(Err(Failure::NotStarted(why.clone())));
                    }
                    None => entry.state.not_started(due),
                }
                entry.trouble = Some(why);
                entry.not_before = clock::now_ms() + AGAIN_MS;
            }
        }
    }

    /// A run now, due or not, on a paused job too.
    pub(super) fn ask_job(&mut self, name: &str, hook: Option<&String>, answer: Answer<Vec<RunRecord>>) {
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        let refusal = match (&entry.running, &entry.orphan) {
            _ if hook.is_some() => Some("a job has no hooks".to_string()),
            (Some(open), _) | (None, Some(open)) => Some(format!("it is running already, run {}", open.run)),
            (None, None) => None,
        };
        match refusal {
            Some(why) => drop(answer.send(Err(Failure::NotStarted(why)))),
            None => {
                entry.not_before = i64::MIN;
                entry.asked.push_back(answer);
            }
        }
    }

    /// By difference, as sites are.
    pub(super) fn reload_jobs(
        &mut self,
        jobs: &[Arc<Job>],
        mut facts: BTreeMap<String, JobFacts>,
        changes: &mut super::orders::Changes,
    ) {
        let now = clock::now_ms();
        for (name, entry) in &mut self.jobs.entries {
            if !jobs.iter().any(|job| job.name == *name) && !entry.is_removed {
                entry.is_removed = true;
                entry.refuse_asked(&Failure::NotStarted("the job is not in the configuration any more".into()));
                changes.removed.push(name.clone());
            }
        }
        for job in jobs {
            let spread = self.spread(job);
            match self.jobs.entries.get_mut(&job.name) {
                Some(entry) => {
                    let was_removed = std::mem::take(&mut entry.is_removed);
                    match (was_removed, entry.job == *job) {
                        (false, true) => changes.unchanged += 1,
                        (true, _) => changes.added.push(job.name.clone()),
                        (false, false) => changes.changed.push(job.name.clone()),
                    }
                    if entry.job != *job {
                        entry.state.reconfigured(job, &spread, now);
                        (entry.job, entry.place) = (job.clone(), place_of(job));
                    }
                }
                None => {
                    self.add_job(job, facts.remove(&job.name).unwrap_or_default());
                    changes.added.push(job.name.clone());
                }
            }
        }
    }
}
