//! What others ask of the jobs, and what the other hosts are told of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{JobEntry, JobFacts, place_of};
use crate::clock;
use crate::config::Job;
use crate::history::RunRecord;
use crate::outcome::Failure;
use crate::protocol::Only;
use crate::run_job::mark::Mark;
use crate::scheduler::Scheduler;
use crate::scheduler::entry::Answer;
use crate::scheduler::orders::Changes;

/// What Redis did not take is told again after this.
const AGAIN: Duration = Duration::from_secs(2);

impl Scheduler {
    /// What a jitter is spread by: on hosts that share a job it must be the same.
    fn spread(&self, job: &Job) -> String {
        match self.others {
            Some(_) => job.name.clone(),
            None => format!("{} {}", job.name, self.me.name),
        }
    }

    pub(in crate::scheduler) fn add_job(&mut self, job: &Arc<Job>, facts: JobFacts) {
        let is_known = facts.mark.is_some();
        let entry = JobEntry::new(job, &self.spread(job), facts, self.others.is_some(), clock::now_ms());
        self.jobs.entries.insert(job.name.clone(), entry);
        // From now on its times count, also while no runner is there. What hosts share Redis says.
        if !is_known && self.others.is_none() {
            self.note(&job.name);
        }
        if let Some(others) = &self.others {
            let board = others.board();
            self.heed_board_for_jobs(&board);
        }
    }

    /// Beside the loop. An end that Redis did not hear of would keep the others from the job until it must be over: it is told
    /// until it is heard, or nobody waits for it any more.
    pub(super) fn tell_others(&self, name: &str, what: &'static str, mark: Mark) {
        let Some(shared) = self.jobs.shared.clone() else { return };
        let name = name.to_string();
        let until_ms = mark.open.as_ref().filter(|_| what == "close").map_or(0, |open| open.until_ms);
        tokio::spawn(async move {
            while let Err(trouble) = shared.mark(&name, what, &mark.text()).await {
                if clock::now_ms() > until_ms {
                    return;
                }
                tracing::debug!(job = name, "the other runners were not told of job {name}: {trouble}");
                tokio::time::sleep(AGAIN).await;
            }
        });
    }

    /// A run now, due or not, on a paused job too.
    pub(in crate::scheduler) fn ask_job(&mut self, name: &str, only: Option<&Only>, answer: Answer<Vec<RunRecord>>) {
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        let running = entry.running.as_ref().or(entry.left.as_ref().map(|left| &left.open));
        let refusal = match running {
            _ if only.is_some() => Some("a job has no hooks".to_string()),
            Some(open) => Some(format!("it is running already, run {}", open.run)),
            None => None,
        };
        match refusal {
            Some(why) => drop(answer.send(Err(Failure::NotStarted(why)))),
            None => {
                entry.not_before = i64::MIN;
                entry.asked.push_back(answer);
            }
        }
    }

    pub(in crate::scheduler) fn refuse_asked_jobs(&mut self, reason: &Failure) {
        for entry in self.jobs.entries.values_mut() {
            entry.refuse_asked(reason);
        }
    }

    /// The wall clock was set; what is measured on the steady one goes on.
    pub(in crate::scheduler) fn clock_of_jobs_was_set(&mut self, now: i64) {
        for entry in self.jobs.entries.values_mut() {
            entry.state.clock_was_set(now);
            entry.dealt = entry.dealt.min(entry.state.dealt_with());
        }
        if !self.jobs.entries.is_empty() {
            self.note_boot();
        }
    }

    /// By difference, as sites are.
    pub(in crate::scheduler) fn reload_jobs(
        &mut self,
        jobs: &[Arc<Job>],
        mut facts: BTreeMap<String, JobFacts>,
        changes: &mut Changes,
    ) {
        for (name, entry) in &mut self.jobs.entries {
            if !jobs.iter().any(|job| job.name == *name) && !entry.is_removed {
                entry.is_removed = true;
                entry.refuse_asked(&Failure::NotStarted("the job is not in the configuration any more".into()));
                changes.removed.push(name.clone());
            }
        }
        for job in jobs {
            if self.jobs.entries.contains_key(&job.name) {
                self.reload_job(job, changes);
            } else {
                self.add_job(job, facts.remove(&job.name).unwrap_or_default().counted_from_now());
                changes.added.push(job.name.clone());
            }
        }
    }

    fn reload_job(&mut self, job: &Arc<Job>, changes: &mut Changes) {
        let (spread, now, name) = (self.spread(job), clock::now_ms(), &job.name);
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        let was_removed = std::mem::take(&mut entry.is_removed);
        match (was_removed, entry.job == *job) {
            (false, true) => changes.unchanged += 1,
            (true, _) => changes.added.push(name.clone()),
            (false, false) => changes.changed.push(name.clone()),
        }
        let (mut skipped, is_other) = (None, entry.job != *job);
        if is_other {
            skipped = entry.state.reconfigured(job, &spread, now);
            (entry.job, entry.place) = (job.clone(), place_of(job));
        }
        if was_removed {
            // Meanwhile it was nobody's, and the keeper has forgotten it.
            entry.state.leave_to_others(now);
            entry.is_shared_anew();
        }
        self.skip(name, skipped.as_slice());
        if is_other {
            self.note(name);
        }
    }
}
