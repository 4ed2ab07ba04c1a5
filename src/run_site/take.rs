//! Taking a site over, and settling what an earlier runner or request left open.

use super::calls::{Calls, Settle, Timing};
use super::log_end;
use crate::clock;
use crate::history::RunRecord;
use crate::history::sqlite::History;
use crate::outcome::Failure;
use crate::protocol::{Open, Row, Settled};

/// Becomes the owner, and learns the runs that ended while nobody was here.
pub async fn take(
    calls: &Calls,
    install: Option<&str>,
    since_ms: Option<i64>,
    history: &History,
) -> Result<(Settled, Timing), Failure> {
    let (mut settled, timing) = calls.settle(install, Settle { take: true, since_ms, ..Settle::default() }).await?;
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

/// Settles open rows whose processes died; ends those whose time is over. `php_now_ms` is the time on PHP's clock.
pub async fn settle_open(
    calls: &Calls,
    install: Option<&str>,
    epoch: i64,
    open: &[Open],
    php_now_ms: i64,
    history: &History,
) -> Result<(Settled, Timing), Failure> {
    let mut timed_out = Vec::new();
    for row in open {
        let limit = clock::millis(calls.site.timeout_of(&row.hook));
        if row.started_ms.is_some_and(|started| started + limit < php_now_ms) {
            let ended = calls.end(install, epoch, &row.run).await;
            if ended.is_ok_and(|ended| !ended.alive) {
                timed_out.push(row.run.clone());
            }
        }
    }
    let what = Settle { epoch: Some(epoch), timed_out, ..Settle::default() };
    let (settled, timing) = calls.settle(install, what).await?;
    for row in &settled.settled {
        if let Some(record) = RunRecord::from_row(&calls.site.name, row) {
            log_end(&record);
        }
    }
    learn(calls, &settled.settled, history);
    Ok((settled, timing))
}
