//! What calls and runs tell of a site, as far as it matters for what comes next.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::outcome::Failure;
use crate::protocol::{Busy, Due, Open, Stray};

/// What replies say beside what is due; for reports.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    pub plugin: String,
    pub php: String,
    pub wp: String,
    pub lock_kind: Option<String>,
    pub disable_wp_cron: bool,
    pub stray: Option<Stray>,
    pub held: u64,
    pub paused_hooks: Vec<String>,
    pub backlog: Option<String>,
    /// Events that are due and left alone, each with its reason, as the last run found them.
    pub left_alone: Vec<Busy>,
    /// When the next event of each hook is due, soonest first; on PHP's clock.
    pub hooks: Arc<[(String, i64)]>,
}

/// More than the plugin tells of.
const MOST_HOOKS: usize = 200;

impl About {
    pub fn from_due(due: &Due) -> Self {
        Self {
            plugin: due.plugin.clone(),
            php: due.php.clone(),
            wp: due.wp.clone(),
            lock_kind: due.lock_kind.clone(),
            disable_wp_cron: due.disable_wp_cron,
            stray: due.stray.clone(),
            held: due.held,
            paused_hooks: due.paused_hooks.clone(),
            backlog: None,
            left_alone: Vec::new(),
            hooks: due.hooks.iter().take(MOST_HOOKS).cloned().collect(),
        }
    }
}

/// What happened to a site since this runner was started. Behind an `Arc` in the state: views are made anew each time round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Calls without a proper answer, by [`crate::outcome::Failure::kind`].
    pub failures: BTreeMap<&'static str, u64>,
    pub notices: u64,
    /// Looks that found an earlier event that no notice had told of.
    pub missed_notices: u64,
}

/// What a take-over, a look, a settle or a finished run told about the `cron` option.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    pub next: Option<i64>,
    pub due: u64,
    pub oldest: Option<i64>,
    pub busy: Vec<Busy>,
}

impl Seen {
    /// How many are due and could be claimed.
    pub(super) fn claimable(&self) -> u64 {
        self.due.saturating_sub(u64::try_from(self.busy.len()).unwrap_or(u64::MAX))
    }

    /// Those that wait for a run to end. What is left alone waits for nothing but the next rescan.
    pub(super) fn waiting(self) -> Vec<Busy> {
        self.busy.into_iter().filter(|busy| busy.reason.is_none()).collect()
    }
}

/// How a run of ours ended, as far as what to do next depends on it.
#[derive(Debug, Clone, Default)]
pub struct RunEnd {
    pub batch: String,
    /// The right by which it claimed.
    pub epoch: i64,
    /// The number that `run_started` gave.
    pub sent: u64,
    /// It was for one hook alone.
    pub for_hook: bool,
    /// Events that it took out of the option.
    pub claimed: u64,
    /// At least one of them ended ok.
    pub went_well: bool,
    pub seen: Option<Seen>,
    pub failure: Option<Failure>,
    /// Events that were left alone, where the run got as far as to tell.
    pub left_alone: Option<Vec<Busy>>,
    /// Rows whose process may live.
    pub open: Vec<Open>,
}
