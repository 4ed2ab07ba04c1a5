//! ONE RUN of a job, top to bottom: its lock, a mark that it runs, the work itself, the record. The result goes back to the
//! scheduler.
//!
//! A job has no database that could fence it. What keeps two of its runs apart is its lease, then a lock that its process
//! holds (`pass-NAME.lock`, its stdin) for as long as it lives, also when this runner is dead; and between hosts the mark in
//! Redis: who starts it says until when it may run at the longest, and nobody else starts it before that time, or before it is
//! said that it has ended. What none of these can keep from running twice is a process that outlives its runner on a host
//! that is gone for good, and its own time limit.

pub mod mark;

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::config::{Job, Overlap};
use crate::history::RunRecord;
use crate::history::redis::SharedHistory;
use crate::history::sqlite::History;
use crate::job::{Due, Skipped};
use crate::lease::file::{Refusal, StateDir};
use crate::outcome::{Outcome, Then};
use crate::protocol::Error;
use crate::trigger::job::{self, JobEnd};
use mark::{Mark, Open};

/// From the time limit to the end of its process: TERM, ten seconds, KILL, and a little.
pub const END_MS: i64 = 60_000;
/// For the history of this host: what cannot be written now is tried again later, as a start of its own.
const WRITTEN: Duration = Duration::from_secs(10);

pub struct Context {
    pub job: Arc<Job>,
    pub state: StateDir,
    pub history: Arc<History>,
    /// None on a host of its own.
    pub shared: Option<Arc<SharedHistory>>,
    /// The run, as this host's history has it already.
    pub open: Open,
}

/// What came of it.
#[derive(Debug)]
pub enum JobRan {
    /// It is in the history already. `goes_on`: its process could not be ended.
    Recorded { record: Box<RunRecord>, goes_on: bool },
    /// Nothing was started, and it is wanted as before.
    NotStarted(String),
}

/// `started` hears the number of the process.
pub async fn run_job(context: &Context, due: &Due, started: impl FnOnce(Option<u32>)) -> JobRan {
    let (job, open) = (&context.job, &context.open);
    let pass = match context.state.pass(&job.name) {
        Ok(pass) => pass,
        Err(Refusal::Held { path, .. }) => {
            let why = format!(
                "an earlier run, or something that it left behind, still runs ({} is locked; fuser(1) names who has it)",
                path.display()
            );
            return match job.overlap {
                Overlap::Queue => JobRan::NotStarted(why),
                Overlap::Skip => record(context, skipped(job, open, why), false),
            };
        }
        Err(refusal) => return JobRan::NotStarted(refusal.to_string()),
    };
    if let Err(why) = note_start(context, due).await {
        pass.over();
        return JobRan::NotStarted(why);
    }
    let (started_ms, steady) = (clock::now_ms(), clock::steady_ms());
    let end = job::run(job, pass.file(), started).await;
    let goes_on = end.goes_on;
    if !goes_on {
        pass.over();
    }
    let made = RunRecord { ms: Some(clock::steady_ms() - steady), ..made(job, open, due, started_ms, end) };
    record(context, made, goes_on)
}

/// In this host's history first, then for the others: whoever finds it knows that the job may run.
async fn note_start(context: &Context, due: &Due) -> Result<(), String> {
    let written = tokio::time::timeout(WRITTEN, context.history.written()).await;
    written.map_err(|_| "this host's history cannot be written".to_string())?;
    let Some(shared) = &context.shared else { return Ok(()) };
    let mark = Mark { slot_ms: due.slot_ms, schedule: String::new(), open: Some(context.open.clone()) };
    match shared.mark(&context.job.name, "open", &mark.text()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("a run of another host may still go on".to_string()),
        Err(trouble) => Err(format!("the other runners cannot be told that it starts: {trouble}")),
    }
}

fn record(context: &Context, record: RunRecord, goes_on: bool) -> JobRan {
    record.log();
    context.history.record(record.clone());
    JobRan::Recorded { record: Box::new(record), goes_on }
}

fn made(job: &Job, open: &Open, due: &Due, started_ms: i64, end: JobEnd) -> RunRecord {
    let notes: Vec<&str> = due.note.iter().chain(end.note.iter()).map(String::as_str).collect();
    let then = if end.outcome == Outcome::Interrupted { Then::Dropped } else { Then::None };
    RunRecord {
        started_ms: Some(started_ms),
        ended_ms: Some(clock::now_ms()),
        lateness_ms: Some(started_ms - due.at_ms),
        outcome: end.outcome,
        then,
        note: (!notes.is_empty()).then(|| notes.join("; ")),
        error: end.error.map(|message| Error { message, ..Error::default() }),
        output: end.output.text(),
        output_dropped: end.output.dropped(),
        pid: end.pid.map(i64::from),
        ..bare(job, &open.host, &open.run, due.at_ms)
    }
}

fn skipped(job: &Job, open: &Open, why: String) -> RunRecord {
    RunRecord { reason: Some(why), ended_ms: Some(clock::now_ms()), ..bare(job, &open.host, &open.run, open.due_ms) }
}

/// Times that get no run, as one record.
pub fn skipped_times(job: &Job, host: &str, run: &str, skipped: &Skipped) -> RunRecord {
    RunRecord { reason: Some(skipped.reason()), ended_ms: Some(clock::now_ms()), ..bare(job, host, run, skipped.at_ms) }
}

/// A run whose runner died, and whose process is gone by now. `is_late`: it was ended at its time limit.
pub fn left_behind(job: &Job, open: &Open, is_late: bool) -> RunRecord {
    RunRecord {
        started_ms: Some(open.started_ms),
        ended_ms: Some(clock::now_ms()),
        lateness_ms: Some(open.started_ms - open.due_ms),
        outcome: if is_late { Outcome::TimedOut } else { Outcome::Interrupted },
        then: Then::Dropped,
        reason: Some(match is_late {
            true => "its runner ended before it did, and the next one ended it at its time limit".to_string(),
            false => "its runner ended before it did; how it ended nobody knows".to_string(),
        }),
        ..bare(job, &open.host, &open.run, open.due_ms)
    }
}

/// Never started, where nothing else is said.
fn bare(job: &Job, host: &str, run: &str, due_ms: i64) -> RunRecord {
    RunRecord {
        run: run.to_string(),
        site: job.site.clone().unwrap_or_default(),
        blog: 1,
        hook: String::new(),
        job: Some(job.name.clone()),
        key: String::new(),
        schedule: Some(job.schedule.expression().to_string()),
        due: due_ms.div_euclid(1000),
        started_ms: None,
        ended_ms: None,
        lateness_ms: None,
        ms: None,
        outcome: Outcome::Skipped,
        then: Then::None,
        reason: None,
        note: None,
        error: None,
        output: None,
        output_dropped: 0,
        peak_memory: None,
        queries: None,
        host: Some(host.to_string()),
        pid: None,
        trigger: Some(job.work.word().to_string()),
        batch: None,
    }
}
