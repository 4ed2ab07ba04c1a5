//! What is remembered of a job beside its runs: which time of its schedule was started last, and whether that run may go on.
//! On this host it is a fact of the history, between hosts one in Redis.

use serde::{Deserialize, Serialize};

pub const FACT: &str = "job";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The schedule's own time, Unix milliseconds.
    pub slot_ms: i64,
    /// A run that was begun, and of whose end nothing was said yet.
    pub open: Option<Open>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    pub run: String,
    pub due_ms: i64,
    pub started_ms: i64,
    /// It has ended by then, whatever becomes of its runner: the time limit, and what an end takes.
    pub until_ms: i64,
    /// The runner's id, and its name.
    pub runner: String,
    pub host: String,
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
