//! A job's lease where several hosts share their jobs, and what the host before this one left of it.

use super::{JobEntry, JobTask};
use crate::clock;
use crate::lease::redis::{Board, Standing, Tell};
use crate::outcome::Failure;
use crate::run_job::END_MS;
use crate::run_job::mark::{FACT, Mark, Open};
use crate::scheduler::Scheduler;
use crate::text;

/// How another host's run goes on is asked so often.
const LOOK_MS: i64 = 5000;

#[derive(Debug, Default)]
pub struct Held {
    standing: Standing,
    /// Why Redis does not answer.
    lost: Option<String>,
    told_able: Option<bool>,
    /// The grant for which it is known what was started elsewhere.
    known: Option<u64>,
    is_asking: bool,
    /// On the steady clock.
    look_at: i64,
    /// A run of another host, which may go on.
    elsewhere: Option<Open>,
    /// The grant that was handed over last: the keeper may not have heard of it yet.
    given: u64,
}

impl Held {
    fn grant(&self) -> Option<u64> {
        match self.standing {
            Standing::Ours { grant, .. } => Some(grant),
            _ => None,
        }
    }

    /// No fence guards a job: only under a lease that is trusted, and that long.
    pub fn is_trusted(&self) -> bool {
        matches!(self.standing, Standing::Ours { until, .. } if clock::boot_ms() < until)
    }

    /// What was started last is known, here or elsewhere.
    pub fn is_known(&self) -> bool {
        self.grant().is_some() && self.known == self.grant()
    }

    pub fn may_start(&self, now: i64) -> bool {
        let is_elsewhere = self.elsewhere.as_ref().is_some_and(|open| now < open.until_ms);
        self.is_trusted() && self.is_known() && !is_elsewhere
    }

    pub fn is_others(&self) -> bool {
        matches!(self.standing, Standing::Theirs { .. })
    }

    pub fn runner(&self) -> Option<&str> {
        match &self.standing {
            Standing::Theirs { runner } => Some(runner),
            _ => None,
        }
    }

    /// In how many milliseconds Redis is to be asked what another host did; None: it is known, or asked already.
    pub fn look_again_in(&self) -> Option<i64> {
        let is_open = self.known != self.grant() || self.elsewhere.is_some();
        let is_wanted = self.grant().is_some() && is_open && !self.is_asking;
        is_wanted.then(|| self.look_at.saturating_sub(clock::steady_ms()).max(0))
    }
}

impl JobEntry {
    /// Why nothing can be started: state and sentence.
    pub fn why_not(&self, now: i64) -> Option<(&'static str, String)> {
        let name = &self.job.name;
        if let Some(trouble) = &self.lease_trouble {
            return Some(("standby", trouble.clone()));
        }
        if let (Some(trouble), None) = (&self.trouble, &self.running) {
            return Some(("waiting", format!("job `{name}` was not started, and is tried again by itself: {trouble}")));
        }
        let held = self.held.as_ref()?;
        match (&held.standing, &held.lost, &held.elsewhere) {
            (Standing::Theirs { runner }, ..) => {
                Some(("standby", format!("runner {} looks after job `{name}`", text::safe(runner))))
            }
            (Standing::Ours { .. }, _, Some(open)) if now < open.until_ms => Some((
                "waiting",
                format!(
                    "job `{name}`: run {} of runner {} may still go on, at the longest until {}; nothing is started beside it",
                    open.run,
                    text::safe(&open.host),
                    clock::local(open.until_ms)
                ),
            )),
            _ if held.may_start(now) => None,
            (_, Some(lost), _) => Some((
                "paused",
                format!(
                    "job `{name}` is not started: {lost}; without a lease another host may run it; by itself as soon as Redis answers"
                ),
            )),
            (Standing::Free { why }, ..) if !why.is_empty() => Some(("starting", format!("job `{name}`: {why}"))),
            _ => Some(("starting", format!("job `{name}` waits for its lease"))),
        }
    }

    /// For whoever asks for a run.
    pub fn refusal(&self, now: i64) -> Option<Failure> {
        let (state, why) = self.why_not(now)?;
        match self.held.as_ref().and_then(Held::runner) {
            Some(runner) => {
                Some(Failure::NotStarted(format!("runner `{}` looks after it; ask there", text::safe(runner))))
            }
            None => (state != "starting").then_some(Failure::NotStarted(why)),
        }
    }

    /// Wanted again: the keeper has forgotten it meanwhile.
    pub fn is_shared_anew(&mut self) {
        if let Some(held) = &mut self.held {
            held.told_able = None;
            held.standing = Standing::Unknown;
        }
    }

    fn heed(&mut self, board: &Board) {
        let Some(held) = &mut self.held else { return };
        let now = board.sites.get(&self.job.name).cloned().unwrap_or_default();
        let is_given = matches!(now, Standing::Ours { grant, .. } if grant <= held.given);
        let before = held.grant();
        held.standing = if is_given { Standing::Unknown } else { now };
        held.lost = (!board.contact.is_there).then(|| board.contact.why.clone()).flatten();
        if held.grant() != before {
            (held.known, held.look_at) = (None, i64::MIN);
            if held.elsewhere.take().is_some() && self.running.is_none() && self.left.is_none() {
                self.state.ended();
            }
        }
    }
}

impl Scheduler {
    pub(in crate::scheduler) fn heed_board_for_jobs(&mut self, board: &Board) {
        for entry in self.jobs.entries.values_mut() {
            entry.heed(board);
        }
    }

    /// What another host started last, before anything is started here.
    pub(super) fn ask_about(&mut self, name: &str) {
        let (Some(entry), Some(shared)) = (self.jobs.entries.get_mut(name), &self.jobs.shared) else { return };
        let Some(held) = entry.held.as_mut().filter(|held| held.look_again_in() == Some(0)) else { return };
        let Some(grant) = held.grant() else { return };
        held.is_asking = true;
        held.look_at = clock::steady_ms() + LOOK_MS;
        let (job, shared) = (name.to_string(), shared.clone());
        self.jobs.tasks.spawn(async move {
            let read = shared.fact(&job, FACT).await;
            let mark = read.map(|text| Mark::read(text.as_deref())).map_err(|trouble| trouble.to_string());
            JobTask::Known { job, grant, mark }
        });
    }

    pub(super) fn job_is_known(&mut self, name: &str, grant: u64, mark: Result<Option<Mark>, String>) {
        let Some(entry) = self.jobs.entries.get_mut(name) else { return };
        let Some(held) = &mut entry.held else { return };
        held.is_asking = false;
        let mark = match mark {
            Ok(mark) if held.grant() == Some(grant) => mark,
            _ => return,
        };
        let is_first = held.known.replace(grant) != Some(grant);
        let now = clock::now_ms();
        // A clock that was ahead must stop nobody for years.
        let slot_ms = mark.as_ref().map(|mark| mark.slot_ms.min(now));
        let longest = now + clock::millis(entry.job.timeout) + END_MS;
        let open = mark.and_then(|mark| mark.open).filter(|open| open.runner != self.me.id && open.until_ms > now);
        let open = open.map(|open| Open { until_ms: open.until_ms.min(longest), ..open });
        let was_elsewhere = held.elsewhere.is_some();
        held.elsewhere = open;
        match (&held.elsewhere, was_elsewhere) {
            (Some(_), _) => entry.state.runs_elsewhere(),
            (None, true) if entry.running.is_none() && entry.left.is_none() => entry.state.ended(),
            _ => {}
        }
        match slot_ms {
            // He has told what he started; what came after that nobody did.
            Some(slot_ms) if is_first && entry.running.is_none() => entry.state.go_on_from(slot_ms.max(entry.dealt)),
            Some(_) => {}
            None => self.note(name),
        }
    }

    /// What the keeper has to know of the jobs, and which leases others are to have.
    pub(in crate::scheduler) fn tell_keeper_of_jobs(&mut self, is_hindered: bool) {
        let Some(others) = &self.others else { return };
        for (name, entry) in &mut self.jobs.entries {
            let is_able = !is_hindered && entry.lease_trouble.is_none() && !entry.is_removed;
            let is_running = entry.is_running_here() || !entry.asked.is_empty();
            let Some(held) = &mut entry.held else { continue };
            if held.told_able.replace(is_able) != Some(is_able) {
                others.tell(Tell::Able { site: name.clone(), is_able });
            }
            // A run in its middle has no other guard.
            if let Standing::Ours { wanted_by: Some(_), grant, .. } = held.standing
                && !is_running
                && held.lost.is_none()
            {
                (held.given, held.standing) = (grant, Standing::Unknown);
                tracing::info!(job = name, "the lease of job {name} is handed over to another runner");
                others.tell(Tell::Release { site: name.clone(), grant });
            }
        }
    }
}
