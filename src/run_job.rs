//! ONE RUN of a job, top to bottom: its lock, a mark that it runs, the work itself, the record. The result goes back to the
//! scheduler.
//!
//! A job has no database that could fence it. What keeps two of its runs apart is its lease, then a lock that its process
//! holds (`pass-NAME.lock`, its stdin) for as long as it lives, also when this runner is dead; and between hosts the mark in
//! Redis: who starts it says until when it may run at the longest, and nobody else starts it before that time, or before he
//! hears that it has ended.

pub mod mark;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

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
const END_MS: i64 = 30_000;

pub struct Context {
    pub job: Arc<Job>,
    pub state: StateDir,
    pub history: Arc<History>,
    /// None on a host of its own.
    pub shared: Option<Arc<SharedHistory>>,
    /// The runner's id and name.
    pub me: (String, String),
    /// The schedule's time up to which all is dealt with: while it runs, others come and are skipped.
    pub handled: Arc<AtomicI64>,
}

/// What came of it.
#[derive(Debug)]
pub enum JobRan {
    /// It is in the history already.
    Recorded(Box<RunRecord>),
    /// Nothing was started, and it is wanted as before.
    NotStarted(String),
}

/// `started` hears the number of the process.
pub async fn run_job(context: &Context, run: &str, due: &Due, started: impl FnOnce(Option<u32>)) -> JobRan {
    let job = &context.job;
    let pass = match context.state.pass(&job.name) {
        Ok(pass) => pass,
        Err(Refusal::Held { path, .. }) => {
            let why = format!(
                "an earlier run, or something that it left behind, still runs ({} is locked; fuser(1) names who has it)",
                path.display()
            );
            return match job.overlap {
                Overlap::Queue => JobRan::NotStarted(why),
                Overlap::Skip => record(context, skipped(job, &context.me.1, run, due, why)),
            };
        }
        Err(refusal) => return JobRan::NotStarted(refusal.to_string()),
    };
    let started_ms = clock::now_ms();
    if let Err(why) = note_start(context, run, due, started_ms).await {
        pass.over();
        return JobRan::NotStarted(why);
    }
    let steady = clock::steady_ms();
    let end = job::run(job, pass.file(), started).await;
    if !end.goes_on {
        pass.over();
    }
    let ms = clock::steady_ms() - steady;
    let made = RunRecord { ms: Some(ms), ..made(job, &context.me.1, run, due, started_ms, end) };
    let ran = record(context, made);
    note_end(context, due).await;
    ran
}

/// Written down before anything is started: whoever finds it knows that the job may run.
async fn note_start(context: &Context, run: &str, due: &Due, started_ms: i64) -> Result<(), String> {
    let job = &context.job;
    let open = Open {
        run: run.to_string(),
        due_ms: due.at_ms,
        started_ms,
        until_ms: started_ms + clock::millis(job.timeout) + END_MS,
        runner: context.me.0.clone(),
        host: context.me.1.clone(),
    };
    let text = Mark { slot_ms: due.slot_ms, open: Some(open) }.text();
    if let Some(shared) = &context.shared {
        let set = shared.set_fact(&job.name, mark::FACT, &text).await;
        set.map_err(|trouble| format!("the other runners cannot be told that it starts: {trouble}"))?;
    }
    context.history.learn(&job.name, mark::FACT, text);
    context.history.written().await;
    Ok(())
}

async fn note_end(context: &Context, due: &Due) {
    let job = &context.job.name;
    let slot_ms = due.slot_ms.max(context.handled.load(Ordering::Relaxed));
    let text = Mark { slot_ms, open: None }.text();
    context.history.learn(job, mark::FACT, text.clone());
    if let Some(shared) = &context.shared
        && let Err(trouble) = shared.set_fact(job, mark::FACT, &text).await
    {
        tracing::warn!(site = job, "the other runners were not told that job {job} has ended: {trouble}");
    }
}

fn record(context: &Context, record: RunRecord) -> JobRan {
    record.log();
    context.history.record(record.clone());
    JobRan::Recorded(Box::new(record))
}

fn made(job: &Job, host: &str, run: &str, due: &Due, started_ms: i64, end: JobEnd) -> RunRecord {
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
        ..bare(job, host, run, due.at_ms)
    }
}

fn skipped(job: &Job, host: &str, run: &str, due: &Due, why: String) -> RunRecord {
    RunRecord { reason: Some(why), ended_ms: Some(clock::now_ms()), ..bare(job, host, run, due.at_ms) }
}

/// Times that get no run, as one record.
pub fn skipped_times(job: &Job, host: &str, run: &str, skipped: &Skipped) -> RunRecord {
    RunRecord { reason: Some(skipped.reason()), ended_ms: Some(clock::now_ms()), ..bare(job, host, run, skipped.at_ms) }
}

/// A run whose runner died, and whose process is gone by now.
pub fn interrupted(job: &Job, open: &Open) -> RunRecord {
    RunRecord {
        started_ms: Some(open.started_ms),
        ended_ms: Some(clock::now_ms()),
        lateness_ms: Some(open.started_ms - open.due_ms),
        outcome: Outcome::Interrupted,
        then: Then::Dropped,
        reason: Some("its runner ended before it did; how it ended nobody knows".to_string()),
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
