//! What the runners know together: each site's runs in a stream, and a hash of facts. Every host answers `history` from here;
//! its own SQLite file is written first and stays what it is, and what Redis could not take is sent later (`sending`).
//!
//! An entry is never changed. A run is in the stream again when something became of it, when another runner learned of it from
//! the site's journal, or when nobody knows whether it was sent: whoever reads makes one of them (`reading`).

mod reading;
mod sending;
mod stored;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use redis::{Pipeline, Script, Value};

use super::{Deploy, Filter, RunRecord};
use crate::clock;
use crate::config;
use crate::redis_link::{Link, Trouble};
pub use sending::Sending;

/// A site that nobody has looked after for so long is forgotten.
const FACTS_LIVE_MS: i64 = 30 * 86_400_000;
/// In the place of a site's name: no site has upper case letters.
const DEPLOYS: &str = "DEPLOYS";
const MOST_DEPLOYS: usize = 200;
/// What a run takes in Redis, roughly.
const RUN_BYTES: u64 = 1000;
/// So much goes over at once: it has to be done within the second that is waited for an answer.
const MOST_BYTES: usize = 256 * 1024;
const GROW: &str = include_str!("redis/grow.lua");
const MARK: &str = include_str!("redis/mark.lua");
static MARK_HASH: LazyLock<String> = LazyLock::new(|| Script::new(MARK).get_hash().to_string());
static GROW_HASH: LazyLock<String> = LazyLock::new(|| Script::new(GROW).get_hash().to_string());

/// How much is kept of each site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    age_ms: i64,
    length: u64,
}

impl Limits {
    fn new(limits: &config::History, sites: usize) -> Self {
        let sites = u64::try_from(sites).unwrap_or(u64::MAX).max(1);
        Self { age_ms: clock::millis(limits.age), length: (limits.size / RUN_BYTES / sites).clamp(100, 100_000) }
    }
}

/// Its link should be nobody else's: a lease must not wait behind a batch of runs.
#[derive(Debug)]
pub struct SharedHistory {
    link: Arc<Link>,
    limits: Mutex<Limits>,
    unreadable: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl SharedHistory {
    pub fn new(link: &Arc<Link>, limits: &config::History, sites: usize) -> Self {
        let limits = Mutex::new(Limits::new(limits, sites));
        Self { link: link.clone(), limits, unreadable: AtomicU64::new(0), trouble: Mutex::default() }
    }

    pub fn set_limits(&self, limits: &config::History, sites: usize) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = Limits::new(limits, sites);
    }

    /// How many entries of another version were met and left out so far.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// Why nothing can be sent at the moment.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does everything once, for no site: where a right is missing, Redis names the command.
    pub async fn probe(&self) -> Result<(), Trouble> {
        // An upper case letter: no site has such a name.
        let (stream, hash) = (self.key("history", "CHECK"), self.key("site", "CHECK"));
        let mut pipeline = redis::pipe();
        pipeline.cmd("XADD").arg(&stream).arg("NOMKSTREAM").arg("*").arg(stored::FIELD).arg("");
        pipeline.cmd("XTRIM").arg(&stream).arg("MINID").arg("~").arg(0);
        pipeline.cmd("XRANGE").arg(&stream).arg("-").arg("+").cmd("XREVRANGE").arg(&stream).arg("+").arg("-");
        pipeline.cmd("PEXPIRE").arg(&hash).arg(1);
        pipeline.cmd("SCRIPT").arg("LOAD").arg(GROW);
        pipeline.cmd("EVALSHA").arg(GROW_HASH.as_str()).arg(1).arg(&hash).arg(0).arg(1);
        self.link.ask::<Value>(&pipeline).await.map(drop)
    }

    /// What the runners know of a site beside its runs: `install`, `epoch`, `ended_ms` (the newest end in the history, on PHP's
    /// clock), or `view` (the site as its runner sees it, JSON).
    pub async fn fact(&self, site: &str, name: &str) -> Result<Option<String>, Trouble> {
        Ok(self.facts(&[site], name).await?.pop().flatten())
    }

    /// Of each of the sites.
    pub async fn facts(&self, sites: &[&str], name: &str) -> Result<Vec<Option<String>>, Trouble> {
        let mut pipeline = redis::pipe();
        for site in sites {
            pipeline.cmd("HGET").arg(self.key("site", site)).arg(name);
        }
        if sites.is_empty() { Ok(Vec::new()) } else { self.link.ask(&pipeline).await }
    }

    pub async fn set_fact(&self, site: &str, name: &str, value: &str) -> Result<(), Trouble> {
        let key = self.key("site", site);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HSET").arg(&key).arg(name).arg(value).cmd("PEXPIRE").arg(&key).arg(FACTS_LIVE_MS);
        self.link.ask::<Value>(&pipeline).await.map(drop)
    }

    /// What the hosts know of a job: `what` is `note`, `open` or `close`, `mark` its JSON. False where another runner's run may
    /// still go on; nothing is changed then.
    pub async fn mark(&self, job: &str, what: &str, mark: &str) -> Result<bool, Trouble> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SCRIPT").arg("LOAD").arg(MARK);
        pipeline.cmd("EVALSHA").arg(MARK_HASH.as_str()).arg(1).arg(self.key("site", job));
        pipeline.arg(what).arg(mark).arg(clock::now_ms()).arg(FACTS_LIVE_MS);
        let (_, taken): (Value, i64) = self.link.ask(&pipeline).await?;
        Ok(taken == 1)
    }

    /// For all hosts; none of them is the first to know.
    pub async fn mark_deploy(&self, deploy: &Deploy) -> Result<(), Trouble> {
        let json = serde_json::to_string(deploy).unwrap_or_default();
        let mut pipeline = redis::pipe();
        pipeline.cmd("XADD").arg(self.key("history", DEPLOYS)).arg("MAXLEN").arg("~").arg(MOST_DEPLOYS);
        pipeline.arg("*").arg(stored::FIELD).arg(json);
        self.link.ask::<Value>(&pipeline).await.map(drop)
    }

    /// The newest, newest first, as they were added.
    pub async fn deploys(&self, limit: usize) -> Result<Vec<Deploy>, Trouble> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("XREVRANGE").arg(self.key("history", DEPLOYS)).arg("+").arg("-").arg("COUNT").arg(limit);
        let (entries,): (Vec<(String, HashMap<String, String>)>,) = self.link.ask(&pipeline).await?;
        let read = |(_, parts): (String, HashMap<String, String>)| serde_json::from_str(parts.get(stored::FIELD)?).ok();
        Ok(entries.into_iter().filter_map(read).collect())
    }

    /// Adds runs, oldest first: as many of them as go over at once. Tells how many are there, and what went wrong; those of an
    /// answer that did not come may be there as well.
    pub async fn add(&self, records: &[RunRecord]) -> (usize, Result<(), Trouble>) {
        let limits = *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pipeline = redis::pipe();
        pipeline.cmd("SCRIPT").arg("LOAD").arg(GROW);
        let (mut bytes, mut count) = (0, 0);
        let mut newest: HashMap<&str, i64> = HashMap::new();
        for record in records {
            let text = stored::write(record);
            bytes += text.len();
            if count > 0 && bytes > MOST_BYTES {
                break;
            }
            count += 1;
            let key = self.key("history", record.subject());
            pipeline
                .cmd("XADD")
                .arg(key)
                .arg("MAXLEN")
                .arg("~")
                .arg(limits.length)
                .arg("*")
                .arg(stored::FIELD)
                .arg(text);
            let ended = newest.entry(record.subject()).or_insert(i64::MIN);
            *ended = record.ended_ms.map_or(*ended, |ms| ms.max(*ended));
        }
        for (site, ended) in newest {
            self.keep_in_bounds(&mut pipeline, site, limits, ended);
        }
        match self.link.each(&pipeline).await {
            Err(trouble) => (0, Err(trouble)),
            Ok(answers) => {
                let refused = answers.iter().skip(1).take(count).position(Result::is_err);
                let first = answers.into_iter().find_map(Result::err);
                (refused.unwrap_or(count), first.map_or(Ok(()), Err))
            }
        }
    }

    fn keep_in_bounds(&self, pipeline: &mut Pipeline, site: &str, limits: Limits, ended: i64) {
        let stream = self.key("history", site);
        let oldest = (clock::now_ms() - limits.age_ms).max(0);
        pipeline.cmd("XTRIM").arg(&stream).arg("MINID").arg("~").arg(oldest);
        pipeline.cmd("PEXPIRE").arg(&stream).arg(limits.age_ms);
        if ended > i64::MIN {
            pipeline
                .cmd("EVALSHA")
                .arg(GROW_HASH.as_str())
                .arg(1)
                .arg(self.key("site", site))
                .arg(ended)
                .arg(FACTS_LIVE_MS);
        }
    }

    fn key(&self, what: &str, site: &str) -> String {
        format!("{}:{what}:{site}", self.link.config.prefix)
    }
}

#[cfg(test)]
mod tests;
