//! What an operator decides about one run that did not end well.

use super::calls::{Calls, Settle};
use crate::history::RunRecord;
use crate::outcome::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Its event is put back, to run once more.
    Requeue,
    /// It is let go.
    Drop,
}

impl Decision {
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "requeue" => Some(Self::Requeue),
            "drop" => Some(Self::Drop),
            _ => None,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Requeue => "requeue",
            Self::Drop => "drop",
        }
    }
}

/// Gives the run as the site's journal has it now. `NoSuchRun` where it has none of that name, `State` where deciding about it
/// would run it twice or has been done.
pub async fn decide(
    calls: &Calls,
    install: Option<&str>,
    run: &str,
    decision: Decision,
) -> Result<Option<RunRecord>, Failure> {
    let run = Some(run.to_string());
    let what = match decision {
        Decision::Requeue => Settle { requeue: run, ..Settle::default() },
        Decision::Drop => Settle { drop: run, ..Settle::default() },
    };
    let (settled, _) = calls.settle(install, what).await?;
    let changed = settled.requeued.or(settled.dropped);
    Ok(changed.and_then(|row| RunRecord::from_row(&calls.site.name, &row)))
}
