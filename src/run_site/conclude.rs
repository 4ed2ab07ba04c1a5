//! What a run was worth: where the stream did not say how its events ended, the journal does.

use std::time::Duration;

use super::calls::{Settle, seen_in_settled};
use super::{Run, note_time_limit};
use crate::clock;
use crate::outcome::Failure;
use crate::protocol::Open;
use crate::site::{RunEnd, Seen};
use crate::text;
use crate::trigger::EndOfStream;

/// Where nobody knows whether a process lives, its lane is kept for its time limit and so much longer; not for ever.
const UNKNOWN_MS: i64 = 60_000;

impl Run<'_> {
    /// The stream is over. What it did not say, the journal does.
    pub(super) async fn conclude(mut self, end: EndOfStream) -> RunEnd {
        // A call beside the stream may still be about to say that a time limit was the reason.
        while let Ok(Some(Ok(beside))) = tokio::time::timeout(Duration::from_secs(1), self.beside.join_next()).await {
            self.beside_ended(beside);
        }
        let seen_done = self.done.take().filter(|_| self.batch.is_settled());
        if let Some(done) = seen_done {
            self.left_alone = Some(done.busy.iter().filter(|busy| busy.reason.is_some()).cloned().collect());
            let seen = Seen { next: done.next, due: done.due, oldest: None, busy: done.busy };
            return self.result(Some(seen), None, Vec::new());
        }
        let nothing_started = self.batch.claimed == 0;
        match (self.refused.take(), end) {
            (Some(failure), _) if nothing_started => self.result(None, Some(failure), Vec::new()),
            (None, EndOfStream::Nothing(failure)) if nothing_started => self.result(None, Some(failure), Vec::new()),
            (_, end) => self.settle_batch(end).await,
        }
    }

    /// Until no row of this batch is open: settle at once, then watch the process with growing patience.
    async fn settle_batch(mut self, end: EndOfStream) -> RunEnd {
        let over = end.is_over();
        let why = end.failure();
        tracing::debug!(
            site = self.context.calls.site.name,
            "the stream of a run ended early: {why}; the journal decides"
        );
        let mut step = 1;
        let mut failures = 0;
        let mut is_known = true;
        let give_up_at = clock::steady_ms() + clock::millis(self.context.calls.site.longest_timeout()) + UNKNOWN_MS;
        loop {
            let what = Settle { batch: Some(self.batch_id.clone()), over, ..self.settle() };
            match self.context.calls.settle(self.ask.install.as_deref(), what).await {
                Ok((settled, _)) => {
                    failures = 0;
                    self.learn(&settled);
                    let (ours, open): (Vec<Open>, Vec<Open>) =
                        settled.open.iter().cloned().partition(|open| open.batch == self.batch_id);
                    if ours.is_empty() {
                        // Nothing was claimed and nobody knows why: that is trouble, not success.
                        let failure = (self.batch.claimed == 0 && !matches!(why, Failure::Unclear(_))).then_some(why);
                        return self.result(Some(seen_in_settled(&settled)), failure, open);
                    }
                    if !is_known && clock::steady_ms() >= give_up_at {
                        self.log_unknown(&ours);
                        return self.result(Some(seen_in_settled(&settled)), None, settled.open);
                    }
                    is_known = self.watch(&ours, &mut step).await;
                }
                Err(failure) => {
                    failures += 1;
                    // A process that ended before it claimed anything left nothing to wait for.
                    let patience = if over && self.batch.claimed == 0 { 0 } else { 5 };
                    if failures > patience
                        || matches!(
                            failure,
                            Failure::Stale { .. } | Failure::UnknownEpoch(_) | Failure::WrongInstall(_)
                        )
                    {
                        // Whoever takes the site over next finds the rows open and settles them.
                        return self.result(None, Some(failure), Vec::new());
                    }
                    wait(&mut step).await;
                }
            }
        }
    }

    fn log_unknown(&self, ours: &[Open]) {
        for open in ours {
            tracing::warn!(
                site = self.context.calls.site.name,
                run = open.run,
                "nobody can say whether {} still runs (process {}), and its time is long over; its lane is free again, and \
                 it is asked about from time to time",
                text::safe(&open.hook),
                open.pid.unwrap_or(0)
            );
        }
    }

    /// Waits while the process lives, and ends it when its time is over. False where nobody knows whether it lives.
    async fn watch(&mut self, ours: &[Open], step: &mut u64) -> bool {
        let (install, epoch) = (self.ask.install.as_deref(), self.ask.epoch);
        loop {
            wait(step).await;
            let running = ours.iter().find(|open| open.started_ms.is_some()).or(ours.first());
            let Some(open) = running else { return true };
            let calls = &self.context.calls;
            let overdue = self.batch.current().is_some_and(|(_, hook, started)| {
                clock::steady_ms() > started + clock::millis(calls.site.timeout_of(hook))
            });
            if overdue && calls.end(install, epoch, &open.run).await.is_ok_and(|ended| !ended.alive) {
                note_time_limit(&mut self.timed_out, &open.run);
                return true;
            }
            match calls.inspect(install, epoch, &open.run).await {
                Ok(inspected) if inspected.process == "alive" => {}
                Ok(inspected) => return inspected.process == "dead",
                Err(_) => return false,
            }
        }
    }

    fn result(self, seen: Option<Seen>, failure: Option<Failure>, open: Vec<Open>) -> RunEnd {
        RunEnd {
            batch: self.batch_id,
            epoch: self.ask.epoch,
            sent: self.ask.sent,
            for_hook: self.ask.only.is_some(),
            claimed: self.batch.claimed,
            went_well: self.batch.went_well,
            seen,
            failure,
            left_alone: self.left_alone,
            open,
        }
    }
}

/// 1, 2, 4, 8, 15, 15 ... seconds.
async fn wait(step: &mut u64) {
    tokio::time::sleep(Duration::from_secs(*step)).await;
    *step = (*step * 2).min(15);
}
