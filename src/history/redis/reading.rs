//! Reading the streams: the same answers as the local history gives, for all runners.
//!
//! A stream is in the order in which runs were sent, which is not the order in which they ended: what Redis could not take for
//! an hour comes an hour late. But nothing is sent before it has ended. So whoever walks back from the newest entry is done when
//! he stands at a time before which nothing that he wants has ended; by then he has also met every entry of each run.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use redis::Pipeline;

use super::stored::{self, merge};
use super::{Filter, RunRecord, SharedHistory};
use crate::history::made_ms;
use crate::outcome::{Outcome, Then};
use crate::redis_link::Trouble;

/// So much may an end, on PHP's clock, lie after its entry, on the clock of Redis.
const SKEW_MS: i64 = 300_000;
/// Entries of one stream at once, and streams: an answer has a second, and an entry may have ten kilobytes.
const CHUNK: usize = 100;
const STREAMS: usize = 10;

/// The id of an entry, and what is in it: names and values.
type Entry = (String, Vec<Vec<u8>>);

/// On the way through one stream.
struct Walk {
    site: String,
    /// Where to go on, as XRANGE and XREVRANGE want it.
    next: String,
    /// When the last entry that was met was added.
    at_ms: i64,
    is_over: bool,
}

impl Walk {
    fn new(site: &str, from: &str) -> Self {
        Self { site: site.to_string(), next: from.to_string(), at_ms: i64::MAX, is_over: false }
    }

    fn met(&mut self, entries: &[Entry], asked: usize) {
        self.is_over = entries.len() < asked;
        if let Some((id, _)) = entries.last() {
            self.next = format!("({id}");
            self.at_ms = id.split_once('-').and_then(|(ms, _)| ms.parse().ok()).unwrap_or(self.at_ms);
        }
    }
}

impl SharedHistory {
    /// Newest first, each run once; of `sites`, or of the one that the filter names.
    pub async fn runs(&self, filter: &Filter, sites: &[String]) -> Result<Vec<RunRecord>, Trouble> {
        let sites = filter.site.as_ref().map_or(sites, std::slice::from_ref);
        let mut walks: Vec<Walk> = sites.iter().map(|site| Walk::new(site, "+")).collect();
        let mut found = Found::new(filter);
        // Nothing is sent before it has ended.
        let oldest = filter.since_ms.map_or("-".into(), |since| since.saturating_sub(SKEW_MS).max(0).to_string());
        let is_choosy = filter.failed || filter.held || filter.hook.is_some() || filter.outcome.is_some();
        let mut count = if is_choosy { CHUNK } else { filter.limit.clamp(20, CHUNK) };
        loop {
            let cutoff = found.cut_off();
            let is_open = |walk: &&mut Walk| !walk.is_over && walk.at_ms.saturating_add(SKEW_MS) >= cutoff;
            let mut open: Vec<&mut Walk> = walks.iter_mut().filter(is_open).collect();
            if open.is_empty() || filter.limit == 0 {
                break;
            }
            for some in open.chunks_mut(STREAMS) {
                let ask = |pipeline: &mut Pipeline, walk: &Walk| {
                    pipeline.cmd("XREVRANGE").arg(self.key("history", &walk.site)).arg(&walk.next).arg(&oldest);
                };
                for (site, entry) in self.step(some.iter_mut().map(|walk| &mut **walk), count, ask).await? {
                    if let Some(record) = self.read(&site, &entry) {
                        found.add(record);
                    }
                }
            }
            count = CHUNK;
        }
        Ok(found.newest())
    }

    /// One run by its id. A run that is not there costs a walk through all that was sent since it would have been claimed.
    pub async fn find(&self, run: &str, sites: &[String]) -> Result<Option<RunRecord>, Trouble> {
        let Some(made) = made_ms(run) else { return Ok(None) };
        let from = (made - SKEW_MS).max(0).to_string();
        let mut walks: Vec<Walk> = sites.iter().map(|site| Walk::new(site, &from)).collect();
        let mut found: Option<RunRecord> = None;
        while !walks.is_empty() {
            for some in walks.chunks_mut(STREAMS) {
                let ask = |pipeline: &mut Pipeline, walk: &Walk| {
                    pipeline.cmd("XRANGE").arg(self.key("history", &walk.site)).arg(&walk.next).arg("+");
                };
                for (site, entry) in self.step(some.iter_mut(), CHUNK, ask).await? {
                    let names_it =
                        entry.1.iter().any(|text| text.windows(run.len()).any(|part| part == run.as_bytes()));
                    let read = if names_it { self.read(&site, &entry) } else { None };
                    if let Some(newer) = read.filter(|record| record.run == run) {
                        found = Some(match found {
                            Some(older) => merge(older, newer),
                            None => newer,
                        });
                    }
                }
            }
            // What became of it comes later, in the same stream.
            walks.retain(|walk| !walk.is_over && found.as_ref().is_none_or(|record| record.subject() == walk.site));
        }
        Ok(found)
    }

    /// The next entries of some streams, each with its site.
    async fn step<'a>(
        &self,
        walks: impl Iterator<Item = &'a mut Walk>,
        count: usize,
        ask: impl Fn(&mut Pipeline, &Walk),
    ) -> Result<Vec<(String, Entry)>, Trouble> {
        let walks: Vec<&mut Walk> = walks.collect();
        let mut pipeline = redis::pipe();
        for walk in &walks {
            ask(&mut pipeline, walk);
            pipeline.arg("COUNT").arg(count);
        }
        let answers: Vec<Vec<Entry>> = self.link.ask(&pipeline).await?;
        let mut met = Vec::new();
        for (walk, entries) in walks.into_iter().zip(answers) {
            walk.met(&entries, count);
            met.extend(entries.into_iter().map(|entry| (walk.site.clone(), entry)));
        }
        Ok(met)
    }

    /// None: another version has written it. That is said once, and the rest of a report is as good as before.
    fn read(&self, site: &str, entry: &Entry) -> Option<RunRecord> {
        let (id, parts) = entry;
        let pair = parts.chunks(2).find(|pair| pair.first().is_some_and(|name| name == stored::FIELD.as_bytes()));
        let record = pair.and_then(|pair| stored::read(site, pair.get(1)?));
        if record.is_none() && self.unreadable.fetch_add(1, Ordering::Relaxed) == 0 {
            let key = self.key("history", site);
            tracing::warn!("entry {id} of {key} cannot be read and is left out; another version may have written it");
        }
        record
    }
}

/// What a report will show, as far as it is known.
struct Found<'a> {
    filter: &'a Filter,
    runs: HashMap<String, RunRecord>,
    /// What became of runs at last.
    thens: HashMap<String, Then>,
    /// What ended before this time will not be shown.
    cutoff: i64,
}

impl<'a> Found<'a> {
    fn new(filter: &'a Filter) -> Self {
        Self { filter, runs: HashMap::new(), thens: HashMap::new(), cutoff: i64::MIN }
    }

    /// An older entry than those of the same site before.
    fn add(&mut self, record: RunRecord) {
        if record.then != Then::None {
            self.thens.entry(record.run.clone()).or_insert(record.then);
        }
        let then = self.thens.get(&record.run).copied().unwrap_or_default();
        let record = RunRecord { then, ..record };
        if !self.is_asked_for(&record) || order(&record) < self.cutoff {
            return;
        }
        let merged = match self.runs.remove(&record.run) {
            Some(newer) => merge(record, newer),
            None => record,
        };
        self.runs.insert(merged.run.clone(), merged);
    }

    fn is_asked_for(&self, record: &RunRecord) -> bool {
        let Filter { since_ms, until_ms, hook, outcome, failed, held, .. } = self.filter;
        let ended = record.ended_ms.or(record.started_ms);
        since_ms.is_none_or(|since| ended.is_some_and(|ended| ended >= since))
            && until_ms.is_none_or(|until| ended.is_some_and(|ended| ended < until))
            && hook.as_ref().is_none_or(|hook| record.job.is_none() && record.hook == *hook)
            && outcome.is_none_or(|outcome| record.outcome == outcome)
            && !(*failed && matches!(record.outcome, Outcome::Ok | Outcome::Skipped))
            && !(*held && record.then != Then::Held)
    }

    /// Lets go of what will not be shown, and tells what that is by now.
    fn cut_off(&mut self) -> i64 {
        let mut ends: Vec<i64> = self.runs.values().map(order).collect();
        if let Some(last) = self.filter.limit.checked_sub(1).filter(|last| *last < ends.len()) {
            self.cutoff = self.cutoff.max(*ends.select_nth_unstable_by(last, |a, b| b.cmp(a)).1);
            self.runs.retain(|_, record| order(record) >= self.cutoff);
        }
        self.cutoff
    }

    fn newest(self) -> Vec<RunRecord> {
        let mut runs: Vec<RunRecord> = self.runs.into_values().collect();
        runs.sort_by(|a, b| (b.ended_ms, b.started_ms, &b.run).cmp(&(a.ended_ms, a.started_ms, &a.run)));
        runs.truncate(self.filter.limit);
        runs
    }
}

fn order(record: &RunRecord) -> i64 {
    record.ended_ms.unwrap_or(i64::MIN)
}
