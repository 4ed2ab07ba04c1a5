//! ONE PASS of a site without the plugin: `wp-cron.php`, or WP-CLI's own `cron event run`, is told to run what is due. What
//! became of the single events nobody says, so the pass itself is the record.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::Progress;
use crate::clock;
use crate::config::{Site, Trigger, WpCronPhp};
use crate::history::sqlite::History;
use crate::history::{RunRecord, run_id};
use crate::lease::file::{Refusal, StateDir};
use crate::lease::pass::Pass;
use crate::outcome::{Failure, Outcome, Then};
use crate::protocol::Error;
use crate::site::RunEnd;
use crate::trigger::wp_cron_php::{self, PassEnd};

/// The hook's place in the record.
pub const PASS: &str = "wp-cron.php";

/// `number`: the site's among the scheduler's; `due_ms`: when the schedule said so. The record is in the history already.
pub async fn run_without_plugin(
    site: &Arc<Site>,
    history: &History,
    progress: &UnboundedSender<(usize, Progress)>,
    number: usize,
    state: &StateDir,
    sent: u64,
    due_ms: i64,
) -> (RunEnd, RunRecord) {
    let started_ms = clock::now_ms();
    let run = run_id(started_ms);
    let end = match lock(site, state) {
        Ok(lock) => {
            let started = Progress::Started {
                run: run.clone(),
                hook: PASS.to_string(),
                at_ms: started_ms,
                pid: None,
                host: None,
            };
            let _ = progress.send((number, started));
            let end = wp_cron_php::run(site, lock.as_ref().map(Pass::file)).await;
            if let Some(lock) = lock.filter(|_| !end.goes_on) {
                lock.over();
            }
            end
        }
        Err(refusal) => not_begun(&refusal),
    };
    let record = RunRecord {
        run,
        site: site.name.clone(),
        blog: 1,
        hook: PASS.to_string(),
        job: None,
        key: String::new(),
        schedule: site.schedule.as_ref().map(|schedule| schedule.expression().to_string()),
        due: due_ms.div_euclid(1000),
        started_ms: Some(started_ms),
        ended_ms: Some(clock::now_ms()),
        lateness_ms: Some(started_ms - due_ms),
        ms: Some(end.ms),
        outcome: end.outcome,
        then: Then::None,
        reason: end.reason,
        note: end.note,
        error: end.failure.as_ref().map(|failure| Error { message: failure.to_string(), ..Error::default() }),
        output: (!end.output.is_empty()).then_some(end.output),
        output_dropped: end.output_dropped,
        peak_memory: None,
        queries: None,
        host: None,
        pid: end.pid,
        trigger: Some(site.trigger_word().to_string()),
        batch: None,
    };
    let went_well = record.outcome == Outcome::Ok;
    record.log();
    history.record(record.clone());
    // That an event of the pass failed says nothing about the site.
    let failure = end
        .failure
        .filter(|failure| !matches!(failure, Failure::ServerError(_) | Failure::TimedOut(_) | Failure::Unclear(_)));
    (RunEnd { sent, claimed: 1, went_well, failure, ..RunEnd::default() }, record)
}

/// A pass is a process of ours only through WP-CLI; over HTTP core's own lock has to do.
fn lock(site: &Site, state: &StateDir) -> Result<Option<Pass>, Refusal> {
    match site.trigger {
        Trigger::WpCronPhp(WpCronPhp::WpCli(_)) => state.pass(&site.name).map(Some),
        _ => Ok(None),
    }
}

fn not_begun(refusal: &Refusal) -> PassEnd {
    match refusal {
        Refusal::Held { path, .. } => PassEnd::skipped(format!(
            "an earlier pass still runs, or something that it left behind ({} is locked; fuser(1) names who has it)",
            path.display()
        )),
        refusal => PassEnd::failed(Failure::NotReached(refusal.to_string())),
    }
}
