//! A job as reports show it.

use serde::Serialize;

use super::{Held, JobEntry};
use crate::clock;
use crate::run_job::mark::Open;
use crate::site::Running;

#[derive(Debug, Clone, Serialize)]
pub struct JobView {
    pub job: String,
    pub site: Option<String>,
    /// `ok`, `running`, `starting`, `waiting`, `standby`, `paused`, `removed`.
    pub state: &'static str,
    /// The name of the runner that looks after it; null where nobody is known to.
    pub runner: Option<String>,
    /// No other runner is known to look after it.
    #[serde(skip)]
    pub is_ours: bool,
    /// It could be started here.
    #[serde(skip)]
    pub has_lease: bool,
    pub message: Option<String>,
    pub next: Option<String>,
    pub schedule: String,
    pub timezone: String,
    pub paused: bool,
    pub paused_until: Option<String>,
    pub running: Option<Running>,
    pub last: Option<LastRun>,
    /// `wp`, `command` or `url`.
    pub work: &'static str,
}

#[derive(Debug, Clone, Serialize)]
pub struct LastRun {
    pub run: String,
    pub outcome: &'static str,
    pub ended: Option<String>,
}

impl JobEntry {
    pub fn view(&self, runner: &str, now: i64) -> JobView {
        let why = self.why_not(now);
        let pause = self.state.pause();
        let left = self.left.as_ref().map(|left| Running { overdue: left.overdue(), ..self.running_of(&left.open) });
        let running = self.running.as_ref().map(|open| self.running_of(open)).or(left);
        let state = match &why {
            _ if self.is_removed => "removed",
            _ if running.is_some() => "running",
            Some((state, _)) => state,
            None if pause.is_some() => "paused",
            None => "ok",
        };
        let others = self.held.as_ref().and_then(Held::runner).map(str::to_string);
        let is_known = self.held.as_ref().is_none_or(Held::is_known);
        JobView {
            job: self.job.name.clone(),
            site: self.job.site.clone(),
            state,
            is_ours: others.is_none(),
            has_lease: self.is_held_here() && self.lease_trouble.is_none(),
            runner: others.or_else(|| is_known.then(|| runner.to_string())),
            message: why.map(|(_, words)| words),
            next: self.state.next_ms().map(clock::rfc3339),
            schedule: self.job.schedule.expression().to_string(),
            timezone: self.job.schedule.zone_name(),
            paused: pause.is_some(),
            paused_until: pause.and_then(|pause| pause.until).map(clock::rfc3339),
            running,
            last: self.last.as_ref().map(|last| LastRun {
                run: last.run.clone(),
                outcome: last.outcome.word(),
                ended: last.ended_ms.map(clock::rfc3339),
            }),
            work: self.job.work.word(),
        }
    }

    fn running_of(&self, open: &Open) -> Running {
        Running {
            run: open.run.clone(),
            hook: format!("job {}", self.job.name),
            started: clock::rfc3339(open.started_ms),
            pid: open.pid.map(i64::from),
            host: Some(open.host.clone()),
            overdue: None,
        }
    }
}
