//! How a run ended, and why a call got no proper answer: both as data, and the sentence for each.

mod stop;

use serde::{Deserialize, Serialize};

use crate::{clock, text};
pub use stop::{Again, Stop, exit};

/// Every due event ends in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    Failed,
    TimedOut,
    Interrupted,
    /// Never started; the record's reason says why.
    Skipped,
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ok, Self::Failed, Self::TimedOut, Self::Interrupted, Self::Skipped]
            .into_iter()
            .find(|o| o.word() == word)
    }
}

/// What became of a run that did not end ok.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    #[default]
    None,
    Held,
    Requeued,
    Dropped,
}

impl Then {
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Held => "held",
            Self::Requeued => "requeued",
            Self::Dropped => "dropped",
        }
    }

    pub fn from_word(word: &str) -> Self {
        [Self::Held, Self::Requeued, Self::Dropped].into_iter().find(|then| then.word() == word).unwrap_or_default()
    }
}

/// Why a call to a site got no proper answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    #[error("cannot be reached: {0}")]
    NotReached(String),
    #[error("php-fpm's queue is full (connect says try again)")]
    QueueFull,
    #[error("no complete answer: {0}; PHP may still be at work")]
    Unclear(String),
    #[error("did not answer within {}", clock::span(*.0))]
    TimedOut(i64),
    #[error("answers with an error: {0}")]
    ServerError(String),
    #[error("is in maintenance mode")]
    Maintenance { retry_after_s: Option<u64> },
    #[error("is misconfigured: {0}")]
    Misconfigured(String),
    #[error("PHP's clock differs from this one by {} (signatures are good for 60 s)", clock::span(*.0))]
    Clock(i64),
    #[error("is looked after by runner `{}`", text::safe(.name))]
    Stale { name: String, expected_ms: Option<i64>, epoch: Option<i64> },
    #[error("has epoch {} now, less than this runner's: the database was put back from a backup", .0.unwrap_or(0))]
    UnknownEpoch(Option<i64>),
    #[error("was told that this runner has left")]
    Left,
    #[error("gets nothing started any more: the runner is stopping")]
    Stopping,
    #[error("is another WordPress install ({}) than the one that was pinned; it is a copy, or the site moved", text::safe(.0))]
    WrongInstall(String),
    #[error("was busy: {0}")]
    Busy(String),
    #[error("cannot use its database: {0}")]
    Database(String),
    #[error("has lost its timetable: {0}")]
    Corrupt(String),
    #[error("does not know that run")]
    NoSuchRun,
    #[error("has no event of the hook that was asked for: \"{}\"", text::safe_cut(.0, 80))]
    NoSuchHook(String),
    #[error("starts nothing: {0}")]
    NotStarted(String),
    #[error("refused: {0}")]
    State(String),
    #[error("refused the request: {code}{}{}", if .message.is_empty() { "" } else { ": " }, text::safe(.message))]
    Refused { code: String, message: String },
}

impl Failure {
    /// What to do about it, and whether trying again is safe; the second half of every message.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NotReached(_) => "nothing was started; it is tried again by itself",
            Self::QueueFull => {
                "every php-fpm worker is taken; nothing was started; raise pm.max_children or lower `lanes`"
            }
            Self::Unclear(_) | Self::TimedOut(_) => "the journal decides what was done; asking again is safe",
            Self::ServerError(_) => "nothing was started; see the error log of PHP; it is tried again by itself",
            Self::Maintenance { .. } => "nothing was started; it is tried again by itself",
            Self::Misconfigured(_) => "nothing was started; put it right, then `wp-cron-runner check --connect`",
            Self::Clock(_) => "nothing was started; set both clocks (NTP)",
            Self::Stale { .. } => "nothing was started; only one runner looks after a site; stop one of them",
            Self::UnknownEpoch(_) | Self::Left => "nothing was started; the runner takes the site over anew",
            Self::NotStarted(_) => "nothing was changed; see `wp-cron-runner status`",
            Self::Stopping => "nothing was started; ask again when a runner is up",
            Self::WrongInstall(_) => {
                "nothing was started; where the site moved, `wp-cron-runner plugin install SITE` pins the new one; a copy wants a key of its own"
            }
            Self::Busy(_) => "nothing was started; trying again is safe",
            Self::Database(_) => "nothing was started; it is tried again by itself",
            Self::Corrupt(_) => "nothing was started; `wp-cron-runner restore SITE` puts its last snapshot back",
            Self::NoSuchRun => "see `wp-cron-runner history` for run ids",
            Self::NoSuchHook(_) => "nothing was started; `wp-cron-runner events` shows what is scheduled",
            Self::State(_) => "nothing was changed; see `wp-cron-runner history`",
            Self::Refused { .. } => {
                "nothing was started; do plugin and runner have the same version? `wp-cron-runner plugin status SITE`"
            }
        }
    }

    /// One word for each kind, for whoever counts them.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotReached(_) => "not_reached",
            Self::QueueFull => "queue_full",
            Self::Unclear(_) => "unclear",
            Self::TimedOut(_) => "timed_out",
            Self::ServerError(_) => "server_error",
            Self::Maintenance { .. } => "maintenance",
            Self::Misconfigured(_) => "misconfigured",
            Self::Clock(_) => "clock",
            Self::Stale { .. } => "stale",
            Self::UnknownEpoch(_) => "unknown_epoch",
            Self::Left => "left",
            Self::Stopping => "stopping",
            Self::WrongInstall(_) => "wrong_install",
            Self::Busy(_) => "busy",
            Self::Database(_) => "database",
            Self::Corrupt(_) => "corrupt",
            Self::NoSuchRun => "no_such_run",
            Self::NoSuchHook(_) => "no_such_hook",
            Self::NotStarted(_) => "not_started",
            Self::State(_) => "state",
            Self::Refused { .. } => "refused",
        }
    }

    pub fn sentence(&self, site: &str) -> String {
        format!("site `{site}` {self}; {}", self.advice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_values_are_one_to_one() {
        for outcome in [Outcome::Ok, Outcome::Failed, Outcome::TimedOut, Outcome::Interrupted, Outcome::Skipped] {
            assert_eq!(Outcome::from_word(outcome.word()), Some(outcome));
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.word());
        }
        for then in [Then::None, Then::Held, Then::Requeued, Then::Dropped] {
            assert_eq!(Then::from_word(then.word()), then);
        }
    }

    #[test]
    fn a_sentence_says_what_failed_and_what_to_do() {
        let sentence = Failure::Misconfigured("a redirect to https://x.example/".into()).sentence("shop");
        assert_eq!(
            sentence,
            "site `shop` is misconfigured: a redirect to https://x.example/; nothing was started; put it right, then `wp-cron-runner check --connect`"
        );
    }
}
