//! Pure: what one request has claimed, and what became of each event so far.

use std::collections::{HashMap, HashSet};

use crate::history::RunRecord;
use crate::protocol::{Claimed, ClaimedEvent, End, Row};
use crate::text;
use crate::trigger::Output;

/// When an event has run for so long, the rest of its batch is given back.
pub const SLOW_MS: i64 = 1000;

#[derive(Debug)]
struct Claim {
    event: ClaimedEvent,
    started: Option<Started>,
    output: Output,
}

#[derive(Debug, Clone, Copy)]
struct Started {
    /// On PHP's clock.
    php_ms: i64,
    /// On the steady clock: what time limits are measured by.
    steady_ms: i64,
}

#[derive(Debug, Default)]
pub struct Batch {
    claims: HashMap<String, Claim>,
    /// Ends that the stream has told; the journal tells them again.
    told: HashSet<String>,
    current: Option<String>,
    pub claimed: u64,
    pub went_well: bool,
    pub pid: Option<i64>,
    pub host: Option<String>,
    /// The rest was asked back while this run was current.
    rest_asked: Option<String>,
}

impl Batch {
    pub fn claim(&mut self, claimed: &Claimed) {
        self.pid = claimed.pid.or(self.pid);
        self.host = claimed.host.clone().or(self.host.take());
        for event in &claimed.events {
            self.claimed += 1;
            let claim = Claim { event: event.clone(), started: None, output: Output::default() };
            self.claims.insert(event.run.clone(), claim);
        }
    }

    /// Gives the hook, if the run is one of this batch.
    pub fn start(&mut self, run: &str, php_ms: i64, steady_ms: i64) -> Option<String> {
        let claim = self.claims.get_mut(run)?;
        claim.started = Some(Started { php_ms, steady_ms });
        self.current = Some(run.to_string());
        Some(claim.event.hook.clone())
    }

    pub fn give_back(&mut self, run: &str) {
        self.claims.remove(run);
    }

    pub fn output(&mut self, bytes: &[u8]) {
        let current = self.current.as_ref().and_then(|run| self.claims.get_mut(run));
        if let Some(claim) = current {
            claim.output.push(bytes);
        }
    }

    /// An event of this batch ended, as the stream says.
    pub fn end(&mut self, site: &str, trigger: &str, batch: &str, end: &End) -> Option<RunRecord> {
        let claim = self.claims.remove(&end.run)?;
        self.told.insert(end.run.clone());
        if self.current.as_deref() == Some(&end.run) {
            self.current = None;
        }
        let started_ms = claim.started.map(|started| started.php_ms);
        let mut record = RunRecord {
            run: end.run.clone(),
            site: site.to_string(),
            blog: 1,
            hook: claim.event.hook.clone(),
            job: None,
            key: claim.event.key.clone(),
            schedule: claim.event.schedule.clone(),
            due: claim.event.due_at,
            started_ms,
            ended_ms: Some(end.at_ms),
            lateness_ms: started_ms.map(|started| started - claim.event.due_at * 1000),
            ms: end.ms.or(started_ms.map(|started| end.at_ms - started)),
            outcome: end.outcome,
            then: end.then,
            reason: end.reason.clone(),
            note: end.note.clone(),
            error: end.error.clone(),
            output: None,
            output_dropped: 0,
            peak_memory: end.peak_memory,
            queries: end.queries,
            host: self.host.clone(),
            pid: self.pid,
            trigger: Some(trigger.to_string()),
            batch: Some(batch.to_string()),
        };
        add_output(&mut record, &claim);
        self.note(&record);
        Some(record)
    }

    /// An event of this batch ended, as the journal says; None where it was given back, has not ended, or is known already.
    pub fn end_by_journal(&mut self, site: &str, row: &Row) -> Option<RunRecord> {
        if self.told.contains(&row.run) {
            return None;
        }
        let mut record = RunRecord::from_row(site, row);
        let claim = match row.state {
            crate::protocol::RowState::Claimed | crate::protocol::RowState::Running => None,
            _ => self.claims.remove(&row.run),
        };
        if let (Some(record), Some(claim)) = (&mut record, &claim) {
            add_output(record, claim);
            self.note(record);
        }
        record
    }

    fn note(&mut self, record: &RunRecord) {
        self.went_well |= record.outcome == crate::outcome::Outcome::Ok;
    }

    pub fn current(&self) -> Option<(&str, &str, i64)> {
        let run = self.current.as_deref()?;
        let claim = self.claims.get(run)?;
        Some((run, &claim.event.hook, claim.started?.steady_ms))
    }

    /// When the rest should be given back, because one event is slow and others wait behind it.
    pub fn rest_at(&self) -> Option<i64> {
        let (run, _, started) = self.current()?;
        let somebody_waits = self.claims.values().any(|claim| claim.started.is_none());
        (somebody_waits && self.rest_asked.as_deref() != Some(run)).then_some(started + SLOW_MS)
    }

    pub fn rest_was_asked(&mut self) {
        self.rest_asked = self.current.clone();
    }

    pub fn is_settled(&self) -> bool {
        self.claims.is_empty()
    }
}

fn add_output(record: &mut RunRecord, claim: &Claim) {
    if !claim.output.kept.is_empty() {
        record.output = Some(text::lossy(&claim.output.kept));
        record.output_dropped = claim.output.dropped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Outcome, Then};

    fn batch() -> Batch {
        let mut batch = Batch::default();
        let event = |run: &str| ClaimedEvent {
            run: run.into(),
            hook: format!("hook_{run}"),
            key: "k".into(),
            due_at: 100,
            schedule: None,
        };
        batch.claim(&Claimed {
            events: vec![event("A"), event("B")],
            remaining: 0,
            next: None,
            busy: Vec::new(),
            pid: Some(4),
            host: Some("h".into()),
        });
        batch
    }

    fn end(run: &str) -> End {
        End {
            run: run.into(),
            outcome: Outcome::Ok,
            then: Then::None,
            at_ms: 100_080,
            ms: Some(50),
            peak_memory: None,
            queries: None,
            error: None,
            note: None,
            reason: None,
        }
    }

    #[test]
    fn output_belongs_to_the_event_that_runs() {
        let mut batch = batch();
        batch.output(b"nobody's");
        batch.start("A", 100_030, 5);
        batch.output(b"caf\xe9");
        let record = batch.end("shop", "fastcgi", "b", &end("A")).unwrap();
        assert_eq!((record.output.as_deref(), record.lateness_ms, record.pid), (Some("caf\\xE9"), Some(30), Some(4)));
        batch.output(b"nobody's either");
        batch.start("B", 100_040, 6);
        for _ in 0..100 {
            batch.output(&[b'x'; 1_000_000]);
        }
        let record = batch.end("shop", "fastcgi", "b", &end("B")).unwrap();
        assert_eq!((record.output.unwrap().len(), record.output_dropped), (65_536, 100_000_000 - 65_536));
        assert!(batch.is_settled() && batch.end("shop", "fastcgi", "b", &end("B")).is_none());
    }

    #[test]
    fn a_slow_event_gives_the_rest_back_once() {
        let mut batch = batch();
        assert_eq!(batch.rest_at(), None);
        batch.start("A", 0, 5000);
        assert_eq!(batch.rest_at(), Some(6000));
        batch.rest_was_asked();
        assert_eq!(batch.rest_at(), None);
        batch.give_back("B");
        assert!(!batch.is_settled());
    }

    #[test]
    fn the_last_event_of_a_batch_keeps_nobody_waiting() {
        let mut batch = batch();
        batch.start("A", 0, 0);
        batch.end("shop", "http", "b", &end("A"));
        batch.start("B", 0, 0);
        assert_eq!(batch.rest_at(), None);
    }
}
