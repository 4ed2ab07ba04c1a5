//! The runner's own record of runs.

pub mod compare;
pub mod redis;
pub mod sqlite;
pub mod summary;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock;
use crate::outcome::{Outcome, Then};
use crate::protocol::signature::random_hex;
use crate::protocol::{Error, Row};

/// One run that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub run: String,
    /// Empty for a job that belongs to no site.
    pub site: String,
    pub blog: u32,
    /// Empty for a job.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hook: String,
    /// Of a job's run: its name. None for an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    pub key: String,
    pub schedule: Option<String>,
    /// Unix seconds, WordPress's own timestamp.
    #[serde(serialize_with = "seconds", deserialize_with = "from_seconds")]
    pub due: i64,
    #[serde(rename = "started", default, serialize_with = "maybe_millis", deserialize_with = "from_maybe_millis")]
    pub started_ms: Option<i64>,
    #[serde(rename = "ended", default, serialize_with = "maybe_millis", deserialize_with = "from_maybe_millis")]
    pub ended_ms: Option<i64>,
    pub lateness_ms: Option<i64>,
    pub ms: Option<i64>,
    pub outcome: Outcome,
    pub then: Then,
    pub reason: Option<String>,
    pub note: Option<String>,
    pub error: Option<Error>,
    pub output: Option<String>,
    /// Bytes of output beyond what was kept.
    pub output_dropped: u64,
    pub peak_memory: Option<i64>,
    pub queries: Option<i64>,
    pub host: Option<String>,
    pub pid: Option<i64>,
    pub trigger: Option<String>,
    pub batch: Option<String>,
}

impl RunRecord {
    /// From the plugin's journal; None while the row has no final state.
    pub fn from_row(site: &str, row: &Row) -> Option<Self> {
        Some(Self {
            run: row.run.clone(),
            site: site.to_string(),
            blog: row.blog.unwrap_or(1),
            hook: row.hook.clone(),
            job: None,
            key: row.key.clone(),
            schedule: row.schedule.clone(),
            due: row.due_at,
            started_ms: row.started_ms,
            ended_ms: row.ended_ms,
            lateness_ms: row.started_ms.map(|started| started - row.due_at * 1000),
            ms: row.ms,
            outcome: row.state.outcome()?,
            then: row.then,
            reason: row.reason.clone(),
            note: row.note.clone(),
            error: row.error.clone(),
            output: None,
            output_dropped: 0,
            peak_memory: row.peak_memory,
            queries: row.queries,
            host: row.host.clone(),
            pid: row.pid,
            trigger: row.trigger.clone(),
            batch: row.batch.clone(),
        })
    }

    /// What it goes by among leases, pauses and streams: the job's name, else the site's.
    pub fn subject(&self) -> &str {
        self.job.as_deref().unwrap_or(&self.site)
    }

    /// One line per run.
    pub fn log(&self) {
        let (site, run, hook) = (&self.site, &self.run, &self.hook);
        match (&self.job, self.outcome) {
            (None, Outcome::Ok) => tracing::info!(site, run, hook, "{}", self.sentence()),
            (None, _) => tracing::warn!(site, run, hook, "{}", self.sentence()),
            (Some(job), Outcome::Ok) => tracing::info!(job, run, "{}", self.sentence()),
            (Some(job), _) => tracing::warn!(job, run, "{}", self.sentence()),
        }
    }

    /// One line for people; everything in it that a site's code chose is escaped.
    pub fn sentence(&self) -> String {
        let what = self.job.as_ref().map_or_else(|| crate::text::safe(&self.hook), |job| format!("job {job}"));
        let mut words = format!("{what} {}", self.outcome.word());
        if let Some(ms) = self.ms {
            words += &format!(" after {}", clock::span(ms));
        }
        if let Some(lateness) = self.lateness_ms {
            words += &format!(", started {} late", clock::span(lateness));
        }
        if self.then != Then::None {
            words += &format!(", {}", self.then.word());
        }
        for text in [&self.reason, &self.note].into_iter().flatten() {
            words += &format!(": {}", crate::text::safe(text));
        }
        if let Some(error) = &self.error {
            words += &format!(": {}", error_sentence(error));
        }
        words
    }
}

pub fn error_sentence(error: &Error) -> String {
    let place = match (&error.file, error.line) {
        (Some(file), Some(line)) => format!(" ({}:{line})", crate::text::safe(file)),
        (Some(file), None) => format!(" ({})", crate::text::safe(file)),
        _ => String::new(),
    };
    format!("{}{place}", crate::text::safe(&error.message))
}

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What a report asks for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub site: Option<String>,
    pub failed: bool,
    pub held: bool,
    pub since_ms: Option<i64>,
    /// Ended before.
    pub until_ms: Option<i64>,
    /// Of events of this hook.
    pub hook: Option<String>,
    pub outcome: Option<Outcome>,
    pub limit: usize,
}

/// A deployment, as an operator has marked it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deploy {
    pub at_ms: i64,
    pub note: String,
    /// The name of the runner that was told.
    #[serde(default)]
    pub host: String,
}

impl Deploy {
    /// Bytes of a note.
    pub const LONGEST_NOTE: usize = 200;
}

fn seconds<S: Serializer>(seconds: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&clock::rfc3339(seconds.saturating_mul(1000)))
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn maybe_millis<S: Serializer>(millis: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match millis {
        Some(millis) => serializer.serialize_str(&clock::rfc3339(*millis)),
        None => serializer.serialize_none(),
    }
}

fn from_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    millis_of::<D>(&String::deserialize(deserializer)?).map(|millis| millis.div_euclid(1000))
}

fn from_maybe_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Option::<String>::deserialize(deserializer)?.map(|text| millis_of::<D>(&text)).transpose()
}

fn millis_of<'de, D: Deserializer<'de>>(text: &str) -> Result<i64, D::Error> {
    clock::from_rfc3339(text).ok_or_else(|| D::Error::custom(format!("`{text}` is no time")))
}

/// The id of a run that no plugin names: 48 bits of milliseconds and 80 random ones, in Crockford's base 32 (a ULID: sorts by
/// time), as the plugin makes them.
pub fn run_id(now_ms: i64) -> String {
    let random = random_hex::<10>().ok().and_then(|hex| u128::from_str_radix(&hex, 16).ok()).unwrap_or_default();
    let number = u128::from(now_ms.unsigned_abs()) << 80 | random;
    let digit = |place: u32| DIGITS.get((number >> (place * 5)) as usize & 31).copied().map_or('0', char::from);
    (0..26).rev().map(digit).collect()
}

/// When a run id was made, on the clock of whoever made it.
pub fn made_ms(run: &str) -> Option<i64> {
    let is_id = run.len() == 26 && run.bytes().all(|byte| DIGITS.contains(&byte));
    let value = |byte: u8| DIGITS.iter().position(|digit| *digit == byte).and_then(|value| i64::try_from(value).ok());
    run.bytes().take(10).try_fold(0_i64, |ms, byte| Some((ms << 5) | value(byte)?)).filter(|_| is_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_sort_by_time() {
        let (a, b) = (run_id(1_700_000_000_000), run_id(1_700_000_000_001));
        assert!(a < b && a.len() == 26 && a.starts_with("01HF7YAT00"), "{a} {b}");
        assert_ne!(run_id(5), run_id(5));
        assert_eq!(made_ms(&a), Some(1_700_000_000_000));
        assert_eq!((made_ms("short"), made_ms(&"U".repeat(26)), made_ms(&"é".repeat(13))), (None, None, None));
    }
}
