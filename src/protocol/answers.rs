//! What the plugin answers.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Examined, Refusal};
use crate::outcome::{Outcome, Then};

/// One line of an answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Frame {
    Event(Event),
    Due(Box<Due>),
    Settled(Box<Settled>),
    Claimed(Claimed),
    Start(Start),
    End(Box<End>),
    /// It was given back meanwhile, by `settle`.
    GivenBack {
        run: String,
    },
    /// A hook scheduled something earlier than what was said before.
    Next {
        next: Option<i64>,
    },
    Done(Done),
    Inspect(Box<Inspected>),
    Ended(Ended),
    Doctor(Box<Examined>),
    Error(Refusal),
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Event {
    pub hook: String,
    pub key: String,
    #[serde(deserialize_with = "whole")]
    pub due_at: i64,
    #[serde(default)]
    pub schedule: Option<String>,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub interval: Option<i64>,
    /// For showing only: the runner never reads PHP's own form of the arguments.
    #[serde(default)]
    pub args: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Due {
    pub v: u32,
    pub install: String,
    #[serde(default)]
    pub plugin: String,
    #[serde(default)]
    pub php: String,
    #[serde(default)]
    pub wp: String,
    #[serde(deserialize_with = "whole")]
    pub now_ms: i64,
    /// The earliest event that is not due yet.
    #[serde(default, deserialize_with = "maybe_whole")]
    pub next: Option<i64>,
    #[serde(default)]
    pub due: u64,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub oldest: Option<i64>,
    #[serde(default)]
    pub open: Vec<Open>,
    #[serde(default)]
    pub epoch: i64,
    #[serde(default)]
    pub owner: Option<Owner>,
    #[serde(default)]
    pub lock_kind: Option<String>,
    #[serde(default)]
    pub disable_wp_cron: bool,
    #[serde(default)]
    pub stray: Option<Stray>,
    #[serde(default)]
    pub held: u64,
    /// Hooks whose events are not started, as they are printed.
    #[serde(default)]
    pub paused_hooks: Vec<String>,
    /// The Redis database of WordPress's object cache: `tcp://host:port/db`, `tls://host:port/db` or `unix:/path/db`.
    #[serde(default)]
    pub object_cache: Option<String>,
    /// When the next event of each hook is due, soonest first; empty from an older plugin.
    #[serde(default)]
    pub hooks: Vec<(String, i64)>,
}

/// Somebody called wp-cron.php although the runner looks after the site.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Stray {
    #[serde(default, deserialize_with = "whole")]
    pub at_ms: i64,
    #[serde(default)]
    pub count: u64,
    #[serde(default)]
    pub who: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Owner {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub expected_ms: Option<i64>,
    #[serde(default)]
    pub left: bool,
}

/// A journal row without a final state: its process may live.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Open {
    pub run: String,
    pub hook: String,
    pub state: String,
    #[serde(default)]
    pub batch: String,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub due_at: Option<i64>,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub started_ms: Option<i64>,
    #[serde(default)]
    pub pid: Option<i64>,
    #[serde(default)]
    pub host: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Settled {
    #[serde(default)]
    pub epoch: i64,
    #[serde(default)]
    pub lock_kind: Option<String>,
    #[serde(default)]
    pub install: Option<String>,
    #[serde(default)]
    pub settled: Vec<Row>,
    #[serde(default)]
    pub open: Vec<Open>,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub next: Option<i64>,
    #[serde(default)]
    pub due: u64,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub oldest: Option<i64>,
    #[serde(default, deserialize_with = "whole")]
    pub now_ms: i64,
    #[serde(default)]
    pub more: bool,
    /// The site was taken over with an epoch that is less than the runner's last one: it was put back from a backup.
    #[serde(default)]
    pub was_older: bool,
    #[serde(default)]
    pub requeued: Option<Row>,
    #[serde(default)]
    pub dropped: Option<Row>,
    #[serde(default)]
    pub restored: Option<Restored>,
}

/// The `cron` option, put back from a snapshot.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Restored {
    /// When the snapshot was made, on PHP's clock.
    #[serde(deserialize_with = "whole")]
    pub at_ms: i64,
    pub events: u64,
    /// Events of the snapshot that were claimed since, and do not come back.
    pub claimed: u64,
    /// What the option held is kept.
    pub kept: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowState {
    Claimed,
    Running,
    GivenBack,
    Ok,
    Failed,
    TimedOut,
    Interrupted,
    Skipped,
}

impl RowState {
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Claimed | Self::Running | Self::GivenBack => None,
            Self::Ok => Some(Outcome::Ok),
            Self::Failed => Some(Outcome::Failed),
            Self::TimedOut => Some(Outcome::TimedOut),
            Self::Interrupted => Some(Outcome::Interrupted),
            Self::Skipped => Some(Outcome::Skipped),
        }
    }
}

/// What a hook threw or died of.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub struct Error {
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub file: Option<String>,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub line: Option<i64>,
}

/// A row of the plugin's journal.
#[derive(Debug, Clone, Deserialize)]
pub struct Row {
    pub run: String,
    pub hook: String,
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub blog: Option<u32>,
    #[serde(default)]
    pub schedule: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    pub due_at: i64,
    #[serde(default)]
    pub batch: Option<String>,
    pub state: RowState,
    #[serde(default)]
    pub then: Then,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub started_ms: Option<i64>,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub ended_ms: Option<i64>,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub ms: Option<i64>,
    #[serde(default)]
    pub error: Option<Error>,
    #[serde(default)]
    pub note: Option<String>,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub peak_memory: Option<i64>,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub queries: Option<i64>,
    #[serde(default)]
    pub host: Option<String>,
    #[serde(default)]
    pub pid: Option<i64>,
    #[serde(default)]
    pub trigger: Option<String>,
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Claimed {
    #[serde(default)]
    pub events: Vec<ClaimedEvent>,
    /// Due events that are still in the option.
    #[serde(default)]
    pub remaining: u64,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub next: Option<i64>,
    #[serde(default)]
    pub busy: Vec<Busy>,
    #[serde(default)]
    pub pid: Option<i64>,
    #[serde(default)]
    pub host: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ClaimedEvent {
    pub run: String,
    pub hook: String,
    #[serde(default)]
    pub key: String,
    #[serde(default, deserialize_with = "whole")]
    pub due_at: i64,
    #[serde(default)]
    pub schedule: Option<String>,
}

/// Due, but not claimed: its process lock is taken, so the same event still runs; or it is left alone for a reason.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Busy {
    #[serde(default)]
    pub hook: String,
    #[serde(default)]
    pub key: String,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub due_at: Option<i64>,
    #[serde(default)]
    pub run: Option<String>,
    /// Why it is never claimed as it is, if it is not the lock that keeps it.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Start {
    pub run: String,
    #[serde(default, deserialize_with = "whole")]
    pub at_ms: i64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct End {
    pub run: String,
    pub outcome: Outcome,
    #[serde(default)]
    pub then: Then,
    #[serde(default, deserialize_with = "whole")]
    pub at_ms: i64,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub ms: Option<i64>,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub peak_memory: Option<i64>,
    #[serde(default, deserialize_with = "maybe_whole")]
    pub queries: Option<i64>,
    #[serde(default)]
    pub error: Option<Error>,
    #[serde(default)]
    pub note: Option<String>,
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Done {
    #[serde(default, deserialize_with = "maybe_whole")]
    pub next: Option<i64>,
    /// Still due, the busy ones included.
    #[serde(default)]
    pub due: u64,
    #[serde(default)]
    pub busy: Vec<Busy>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Inspected {
    /// `alive`, `dead` or `unknown`.
    #[serde(default)]
    pub process: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Ended {
    /// It is to be seen from where PHP answered, and is the same still.
    #[serde(default)]
    pub alive: bool,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub host: String,
    #[serde(default)]
    pub pid: i64,
    /// Boot id, pid namespace and start in clock ticks: which process that number means.
    #[serde(default)]
    pub start: String,
    /// The run goes on: its process holds its lock.
    #[serde(default)]
    pub held: bool,
}

/// What the plugin tells the runner: something earlier is due now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notice {
    #[serde(default)]
    pub install: Option<String>,
    #[serde(default)]
    pub next: Option<i64>,
}

/// PHP may write a whole number with a decimal point.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(maybe_whole(deserializer)?.unwrap_or(0))
}

pub(super) fn maybe_whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    #[allow(clippy::cast_possible_truncation, reason = "a saturating cast is what is wanted")]
    Ok(number.and_then(|number| number.as_i64().or_else(|| number.as_f64().map(|value| value as i64))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_with_php_s_liberties() {
        let frame: Frame = serde_json::from_str(
            r#"{"t":"end","run":"R","outcome":"timed_out","then":"held","at_ms":1.0,"ms":3.7,"error":null,"php_ms":2}"#,
        )
        .unwrap();
        let Frame::End(end) = frame else { panic!("{frame:?}") };
        assert_eq!((end.outcome, end.then, end.at_ms, end.ms), (Outcome::TimedOut, Then::Held, 1, Some(3)));
        let frame: Frame = serde_json::from_str(r#"{"t":"claimed","batch":"b","events":[],"next":null}"#).unwrap();
        assert!(matches!(frame, Frame::Claimed(_)));
    }
}
