//! Leases in Redis, kept by one task that nobody waits for: it says that this runner lives, renews what it has, takes what
//! is its part, and gives back what another is to have. What it knows is on a board that everybody may read.

mod asking;
mod keeper;
mod round;
pub mod share;
mod words;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::protocol::Notice;
pub use asking::{Leased, leased, probe};
pub use keeper::{Part, keep};
pub use words::set_pause;

/// A lease ends so long after it was granted or renewed last.
pub const TTL_MS: i64 = 30_000;
/// It is trusted for so much less: clocks drift, and what was begun on it takes its time.
pub const MARGIN_MS: i64 = 5_000;
/// Between two renewals.
const RENEW_MS: i64 = 10_000;
/// Between two looks at who lives and what is free.
const ROUND_MS: i64 = 5_000;
/// What the id of a guest ends with, beside whom a daemon of the same state directory may live.
const GUEST: &str = "-once";
/// A site that nobody takes although somebody should: then anybody may.
const LEFT_LYING_MS: i64 = 10_000;

/// A runner that lives, by its own word.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    pub id: String,
    pub name: String,
    /// New with each start.
    pub process: String,
    pub listen: String,
    pub version: String,
    /// The sites that it can serve.
    pub sites: Vec<String>,
}

/// One site's lease, as this runner sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Standing {
    /// Nobody has been asked yet.
    #[default]
    Unknown,
    /// Trusted until this time (boot_ms).
    Ours {
        until: i64,
        /// Grows with each lease that was granted anew.
        grant: u64,
        /// The runner that is to have it.
        wanted_by: Option<String>,
    },
    Theirs {
        runner: String,
    },
    /// Nobody's, and not to be had at the moment.
    Free {
        why: String,
    },
}

/// What the runners know of a site together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub install: Option<String>,
    pub epoch: Option<i64>,
    /// The newest end in the history, on PHP's clock.
    pub ended_ms: Option<i64>,
}

/// How Redis answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contact {
    /// None: it has not been reached yet, or is lost.
    pub is_there: bool,
    pub why: Option<String>,
    /// Unix milliseconds.
    pub since_ms: i64,
    /// How often it was lost.
    pub lost: u64,
    /// What it listens on by its own word; 0: sockets only, or not known.
    pub tcp_port: u16,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Board {
    pub contact: Contact,
    /// Names the runners that share this Redis.
    pub realm: String,
    pub runners: Vec<Member>,
    pub sites: BTreeMap<String, Standing>,
    pub facts: HashMap<String, Facts>,
    /// The value of the fact `paused`, for sites that are.
    pub paused: HashMap<String, String>,
}

impl Board {
    /// Does another living runner serve the site as well?
    pub fn has_follower(&self, site: &str, own: &str) -> bool {
        self.runners.iter().any(|member| member.id != own && member.sites.iter().any(|name| name == site))
    }
}

/// What the keeper is told.
#[derive(Debug)]
pub enum Tell {
    /// The sites of the configuration; others are forgotten.
    Sites(Vec<String>),
    /// This runner can serve the site, or cannot.
    Able {
        site: String,
        is_able: bool,
    },
    /// Another one is to have it: the lease of this grant.
    Release {
        site: String,
        grant: u64,
    },
    /// A page of this host told of an event, and the site is another runner's.
    Notice {
        site: String,
        notice: Notice,
    },
    Pause {
        site: String,
        value: Option<String>,
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// This runner stops: it is nobody to share with any more, and everything goes back but the leases of these sites, for which
    /// it waits. Once more without any, and it is over.
    Leave {
        keep: Vec<String>,
        answer: oneshot::Sender<()>,
    },
}

/// The scheduler's end of it.
#[derive(Debug)]
pub struct Leases {
    pub board: watch::Receiver<Arc<Board>>,
    pub keeper: mpsc::UnboundedSender<Tell>,
    /// What pages of other hosts told.
    pub notices: mpsc::UnboundedReceiver<(String, Notice)>,
}

#[cfg(test)]
mod tests;
