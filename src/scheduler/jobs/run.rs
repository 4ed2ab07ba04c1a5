//! The runs of jobs: what may start, and what came of it.

use super::facts::schedule_of;
use super::left::Left;
use super::{AGAIN_MS, JobTask};
use crate::clock;
use crate::history::run_id;
use crate::job::Due;
use crate::outcome::Failure;
use crate::run_job::mark::{FACT, Mark, Open};
use crate::run_job::{self, Context, END_MS, JobRan};
use crate::scheduler::Scheduler;
use crate::scheduler::places::Place;

impl Scheduler {
    /// Places that jobs never take, so that long ones keep no event waiting.
    fn has_place_for_job(&self, place: Option<&Place>) -> bool {
        let most = self.max_parallel.saturating_sub(1).max(1);
        self.running < self.max_parallel && self.jobs.running < most && self.places.is_free_for_job(place)
    }

    pub(super) fn start_job(&mut self, name: &str, now: i64) {
        let Some(entry) = self.jobs.entries.get(name) else { return };
        let Some(due) = entry.wanted(now) else { return };
        if !self.has_place_for_job(entry.place.as_ref()) || !self.has_lease_of_job(name) {
            return;
        }
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        let open = Open {
            run: run_id(now),
            due_ms: due.at_ms,
            started_ms: now,
            until_ms: now + clock::millis(entry.job.timeout) + END_MS,
            runner: self.me.id.clone(),
            host: self.me.name.clone(),
            pid: None,
        };
        entry.answer = entry.asked.pop_front();
        entry.state.started(&due);
        entry.dealt = entry.dealt.max(entry.state.dealt_with());
        entry.running = Some(open.clone());
        entry.taken = entry.place.clone();
        self.history.learn(
            name,
            FACT,
            Mark { slot_ms: entry.dealt, schedule: schedule_of(&entry.job), open: Some(open.clone()) }.text(),
        );
        self.running += 1;
        self.jobs.running += 1;
        self.places.take(entry.place.as_ref());
        let context = Context {
            job: entry.job.clone(),
            state: self.state.clone(),
            history: self.history.clone(),
            shared: self.jobs.shared.clone(),
            open,
        };
        let (begun, job) = (self.jobs.begun_in.clone(), name.to_string());
        self.jobs.tasks.spawn(async move {
            let started = |pid: Option<u32>| _ = begun.send(JobTask::Begun { job: job.clone(), pid });
            let ran = run_job::run_job(&context, &due, started).await;
            JobTask::Ran { job, due, ran }
        });
    }

    fn has_lease_of_job(&mut self, name: &str) -> bool {
        let Some(entry) = self.jobs.entries.get_mut(name) else { return false };
        if entry.lease.is_some() {
            return true;
        }
        match self.state.site(name) {
            Ok(lease) => (entry.lease, entry.lease_trouble) = (Some(lease), None),
            Err(refusal) => {
                entry.lease_trouble = Some(refusal.to_string());
                entry.not_before = clock::steady_ms() + AGAIN_MS;
                entry.refuse_asked(&Failure::NotStarted(refusal.to_string()));
            }
        }
        entry.lease.is_some()
    }

    pub(in crate::scheduler) fn take_job(&mut self, task: JobTask) {
        match task {
            JobTask::Begun { job, pid } => self.job_has_begun(&job, pid),
            JobTask::Ran { job, due, ran } => self.job_ran(&job, due, ran),
            JobTask::Known { job, grant, mark } => self.job_is_known(&job, grant, mark),
        }
    }

    /// The next runner has to know whom to end in time.
    fn job_has_begun(&mut self, name: &str, pid: Option<u32>) {
        if let Some(running) = self.jobs.entries.get_mut(name).and_then(|entry| entry.running.as_mut()) {
            running.pid = pid;
            self.note(name);
        }
    }

    fn job_ran(&mut self, name: &str, due: Due, ran: JobRan) {
        self.running = self.running.saturating_sub(1);
        self.jobs.running = self.jobs.running.saturating_sub(1);
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        self.places.give_back(entry.taken.take().as_ref());
        let (open, answer) = (entry.running.take(), entry.answer.take());
        let mut skipped = None;
        match ran {
            JobRan::Recorded { record, goes_on } => {
                entry.trouble = None;
                entry.last = Some((*record).clone());
                if let Some(answer) = answer {
                    let _ = answer.send(Ok(vec![*record]));
                }
                match open {
                    Some(open) if goes_on => entry.left = Some(Left::recorded(open)),
                    open => {
                        entry.state.ended();
                        self.close(name, open);
                    }
                }
            }
            JobRan::NotStarted(why) => {
                if entry.trouble.as_ref() != Some(&why) {
                    tracing::warn!(job = name, "job {name} was not started, and is tried again by itself: {why}");
                }
                match answer {
                    Some(answer) => {
                        entry.state.ended();
                        let _ = answer.send(Err(Failure::NotStarted(why.clone())));
                    }
                    None => skipped = entry.state.not_started(due),
                }
                entry.trouble = Some(why);
                entry.not_before = clock::steady_ms() + AGAIN_MS;
                entry.dealt = entry.dealt.min(entry.state.dealt_with());
                self.close(name, open);
            }
        }
        self.skip(name, skipped.as_slice());
    }

    /// Nothing of that run goes on.
    pub(super) fn close(&mut self, name: &str, open: Option<Open>) {
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        let (slot_ms, schedule) = (entry.dealt, schedule_of(&entry.job));
        self.history.learn(name, FACT, Mark { slot_ms, schedule: schedule.clone(), open: None }.text());
        if open.is_some() {
            self.tell_others(name, "close", Mark { slot_ms, schedule: schedule.clone(), open });
        }
    }
}
