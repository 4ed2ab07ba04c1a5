//! Taking a site over, and settling what an earlier runner or request left open.

use super::calls::{Calls, Settle, Timing};
use crate::history::RunRecord;
use crate::history::sqlite::History;
use crate::outcome::Failure;
use crate::protocol::{Open, Row, Settled};

/// What a runner brings along to a take-over.
#[derive(Debug, Default)]
pub struct Known {
    /// Ends before this time, on PHP's clock, are known.
    pub since_ms: Option<i64>,
    /// The epoch that was had last, here or by others.
    pub epoch: Option<i64>,
    /// Of the runners that share their leases; empty where there are none.
    pub realm: String,
    /// Until when this runner has the lease, on PHP's clock.
    pub until_ms: Option<i64>,
    /// Runs that waited for a person when they were last heard of: one may have decided meanwhile.
    pub held: Vec<String>,
}

/// Becomes the owner, and learns the runs that ended while nobody was here.
pub async fn take(
    calls: &Calls,
    install: Option<&str>,
    known: Known,
    history: &History,
) -> Result<(Settled, Timing), Failure> {
    let Known { since_ms, epoch: known_epoch, realm, until_ms, held } = known;
    // A database that was put back from a backup must not issue an epoch for a second time.
    let what = Settle { take: true, since_ms, epoch: known_epoch, realm, until_ms, runs: held, ..Settle::default() };
    let (mut settled, timing) = calls.settle(install, what).await?;
    if settled.was_older {
        tracing::warn!(
            site = calls.site.name,
            "its database was put back from a backup: the epoch was less than {}; what it showed as running is held, see \
             `wp-cron-runner history {} --held`",
            known_epoch.unwrap_or(0),
            calls.site.name
        );
    }
    learn(calls, &settled.settled, history);
    let epoch = Some(settled.epoch);
    let mut last = last_ended(&settled);
    while settled.more && last.is_some() {
        let more = Settle { epoch, since_ms: last, ..Settle::default() };
        let (next, _) = calls.settle(install.or(settled.install.as_deref()), more).await?;
        learn(calls, &next.settled, history);
        let reached = last_ended(&next);
        // Five hundred runs of one millisecond would keep this going for ever.
        settled.more = next.more && reached > last;
        last = reached;
        settled.open = next.open;
    }
    Ok((settled, timing))
}

fn last_ended(settled: &Settled) -> Option<i64> {
    settled.settled.iter().filter_map(|row| row.ended_ms).max()
}

/// Runs that ended elsewhere; those known already stay as they are.
pub fn learn(calls: &Calls, rows: &[Row], history: &History) {
    for record in rows.iter().filter_map(|row| RunRecord::from_row(&calls.site.name, row)) {
        history.record(record);
    }
}

/// What an earlier runner or request left open in a site that is ours.
pub struct Left<'a> {
    pub install: Option<&'a str>,
    pub epoch: i64,
    pub open: &'a [Open],
    /// Those of them whose time is over.
    pub overdue: &'a [String],
    /// Ends before this time, on PHP's clock, are known.
    pub since_ms: Option<i64>,
}

/// Settles open rows whose processes died, ends those whose time is over, and learns how others ended.
pub async fn settle_open(calls: &Calls, left: Left<'_>, history: &History) -> Result<(Settled, Timing), Failure> {
    let mut timed_out = Vec::new();
    let Left { install, epoch, open, overdue, since_ms } = left;
    for run in overdue {
        let ended = calls.end(install, epoch, run).await;
        if ended.is_ok_and(|ended| !ended.alive) {
            timed_out.push(run.clone());
        }
    }
    // Some will have ended by themselves meanwhile: nobody else tells how.
    let runs = open.iter().map(|row| row.run.clone()).collect();
    let what = Settle { epoch: Some(epoch), since_ms, timed_out, runs, ..Settle::default() };
    let (settled, timing) = calls.settle(install, what).await?;
    let was_open = |row: &&Row| open.iter().any(|open| open.run == row.run);
    for row in settled.settled.iter().filter(was_open) {
        if let Some(record) = RunRecord::from_row(&calls.site.name, row) {
            record.log();
        }
    }
    learn(calls, &settled.settled, history);
    Ok((settled, timing))
}
