//! What is remembered of a job beside its runs: up to which time of its schedule all is dealt with, and a run that may go on.
//! On this host it is a fact of the history, between hosts one in Redis, where a script of ours compares before it writes.

use serde::{Deserialize, Serialize};

pub const FACT: &str = "job";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The schedule's own time, Unix milliseconds.
    pub slot_ms: i64,
    /// Which schedule that is, with its zone; empty where it does not matter.
    #[serde(default)]
    pub schedule: String,
    /// A run that was begun, and of whose end nothing was said yet.
    pub open: Option<Open>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    pub run: String,
    pub due_ms: i64,
    pub started_ms: i64,
    /// Nobody else starts it before this time: the time limit, and what an end takes. Whoever looks after it moves it on.
    pub until_ms: i64,
    /// The runner's id, and its name.
    pub runner: String,
    pub host: String,
    /// Of its process, which leads a group.
    #[serde(default)]
    pub pid: Option<u32>,
}

impl Mark {
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// None: nothing is known, or another version has written it.
    pub fn read(text: Option<&str>) -> Option<Self> {
        serde_json::from_str(text?).ok()
    }
}
