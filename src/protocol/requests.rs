//! What the runner asks.

use serde::{Deserialize, Serialize};

use super::Busy;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Due,
    Run,
    Inspect,
    Settle,
    End,
    Doctor,
}

impl Call {
    pub fn word(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Run => "run",
            Self::Inspect => "inspect",
            Self::Settle => "settle",
            Self::End => "end",
            Self::Doctor => "doctor",
        }
    }
}

/// What every call says about the caller.
#[derive(Debug, Clone, Serialize)]
pub struct Caller {
    /// Which WordPress the runner believes this is; null until it was told.
    pub install: Option<String>,
    pub blog: u32,
    pub owner: String,
    pub runner: String,
}

#[derive(Debug, Serialize)]
pub struct DueBody {
    #[serde(flatten)]
    pub caller: Caller,
    /// The runner asks again within this time; silence beyond it means that the runner is gone.
    pub expect_ms: i64,
    pub list: bool,
}

/// For `doctor`: it asks nothing but who calls.
#[derive(Debug, Serialize)]
pub struct DoctorBody {
    #[serde(flatten)]
    pub caller: Caller,
}

#[derive(Debug, Serialize)]
pub struct RunBody {
    #[serde(flatten)]
    pub caller: Caller,
    pub epoch: i64,
    pub lanes: usize,
    pub budget_ms: i64,
    /// The longest time limit of any event here, in seconds: so long the database connection may be silent.
    pub longest_s: i64,
    pub expect_ms: i64,
    /// As in `settle`: for an event that PHP's own time limit ends.
    pub policies: Vec<(String, String)>,
    pub trigger: &'static str,
    #[serde(flatten)]
    pub only: Option<Only>,
}

/// Only events of this hook, and these whether they are due or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Only {
    pub hook: String,
    /// Of those only the ones with these arguments: WordPress's key of an event, a hash of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// And of those only the one of this time, unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<i64>,
}

impl Only {
    pub fn covers(&self, busy: &Busy) -> bool {
        self.hook == busy.hook
            && self.key.as_ref().is_none_or(|key| *key == busy.key)
            && self.due_at.is_none_or(|at| Some(at) == busy.due_at)
    }
}

/// For `inspect` and `end`.
#[derive(Debug, Serialize)]
pub struct RunIdBody {
    #[serde(flatten)]
    pub caller: Caller,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    pub run: String,
}

#[derive(Debug, Serialize)]
pub struct SettleBody {
    #[serde(flatten)]
    pub caller: Caller,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    pub take: bool,
    pub expect_ms: i64,
    pub grace_s: i64,
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    pub rest: bool,
    /// The request of `batch` is known to be over: whatever its rows say, nobody works on them any more.
    pub over: bool,
    pub timed_out: Vec<String>,
    /// Runs that were open when last seen: told whatever became of them.
    pub runs: Vec<String>,
    /// Hook pattern and what becomes of its interrupted runs.
    pub policies: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requeue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<String>,
    /// The `cron` option from its newest snapshot, where it cannot be read or holds nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restore: bool,
    /// The runners that share their leases, where `take` is asked for: one of them may follow another at once.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub realm: String,
    /// Until when the caller has the lease, on PHP's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    pub leave: bool,
    /// Along with `leave`: another runner takes over within seconds, so page-load cron stays off.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follows: bool,
    pub uninstall: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_flat() {
        let caller = Caller { install: None, blog: 1, owner: "o".into(), runner: "r".into() };
        let body = serde_json::to_value(DueBody { caller, expect_ms: 5, list: false }).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"install": null, "blog": 1, "owner": "o", "runner": "r", "expect_ms": 5, "list": false})
        );
    }
}
