//! A site as reports show it.

use std::sync::Arc;

use serde::Serialize;

use super::{Counts, Pass, Right, State};
use crate::clock;
use crate::outcome::Failure;
use crate::protocol::{Busy, Open, Stray};

#[derive(Debug, Clone, Serialize)]
pub struct View {
    pub site: String,
    /// `ok`, `starting`, `standby`, `degraded`, `paused`, or what is wrong.
    pub state: &'static str,
    /// The name of the runner that looks after it; null where nobody is known to.
    pub runner: Option<String>,
    /// By the runner whose view this is.
    #[serde(skip)]
    pub is_ours: bool,
    /// Another one does, by the site's own word.
    #[serde(skip)]
    pub is_standby: bool,
    pub message: Option<String>,
    pub since: Option<String>,
    /// When something is started next: an event, or the next pass of a schedule.
    pub next: Option<String>,
    /// A crontab expression, or `due`.
    pub schedule: String,
    pub paused: bool,
    pub paused_until: Option<String>,
    pub due: u64,
    pub oldest: Option<String>,
    pub running: Vec<Running>,
    /// Runs of an earlier runner or request whose process may live.
    pub open: Vec<Open>,
    pub held: u64,
    pub paused_hooks: Vec<String>,
    pub trigger: &'static str,
    pub lock_kind: Option<String>,
    pub epoch: Option<i64>,
    pub install: Option<String>,
    pub plugin: String,
    pub php: String,
    pub wp: String,
    pub php_offset_ms: i64,
    pub disable_wp_cron: bool,
    pub stray: Option<Stray>,
    pub backlog: Option<String>,
    pub left_alone: Vec<Busy>,
    /// What this trigger cannot tell.
    pub unknown: Option<&'static str>,
    /// When the next event of each hook is due, on PHP's clock; for monitoring.
    #[serde(skip)]
    pub hooks: Arc<[(String, i64)]>,
    #[serde(skip)]
    pub counts: Arc<Counts>,
    /// How many are due now and could be started: they wait for nothing of their own.
    #[serde(skip)]
    pub startable: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Running {
    pub run: String,
    pub hook: String,
    pub started: String,
    pub pid: Option<i64>,
    pub host: Option<String>,
    /// Why it goes on although its time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overdue: Option<String>,
}

impl State {
    pub fn view(&self, site: &str, trigger: &'static str, running: Vec<Running>) -> View {
        let seconds = |seconds: i64| clock::rfc3339(seconds.saturating_mul(1000));
        let about = self.about.clone();
        View {
            site: site.to_string(),
            state: self.word(),
            runner: None,
            is_ours: true,
            is_standby: self.is_standing_by(),
            message: self.trouble.as_ref().map(|trouble| trouble.failure.sentence(site)),
            since: self.trouble.as_ref().map(|trouble| clock::rfc3339(trouble.since)),
            next: match self.pass {
                Pass::Closed { until } => until.map(clock::rfc3339),
                Pass::Always | Pass::Open { .. } => self.next.map(seconds),
            },
            schedule: self.limits.schedule.as_ref().map_or("due", |schedule| schedule.expression()).to_string(),
            paused: self.pause.is_some(),
            paused_until: self.pause.and_then(|pause| pause.until).map(clock::rfc3339),
            due: self.due + u64::try_from(self.busy.len()).unwrap_or(0),
            oldest: self.oldest.map(seconds),
            running,
            open: self.foreign_open().cloned().collect(),
            held: about.held,
            paused_hooks: about.paused_hooks,
            trigger,
            lock_kind: about.lock_kind,
            epoch: self.epoch(),
            install: self.install.clone(),
            plugin: about.plugin,
            php: about.php,
            wp: about.wp,
            php_offset_ms: self.clock.offset_ms(),
            disable_wp_cron: about.disable_wp_cron,
            stray: about.stray,
            backlog: about.backlog,
            left_alone: about.left_alone,
            unknown: None,
            hooks: about.hooks,
            counts: self.counts.clone(),
            startable: self.due,
        }
    }

    fn word(&self) -> &'static str {
        let Some(trouble) = &self.trouble else {
            return match self.right {
                Right::Owner { .. } | Right::None if self.pause.is_some() => "paused",
                Right::Owner { .. } => "ok",
                _ if !self.limits.has_plugin => "ok",
                _ => "starting",
            };
        };
        match trouble.failure {
            Failure::Stale { .. } => "standby",
            Failure::Maintenance { .. } => "maintenance",
            Failure::Misconfigured(_) | Failure::WrongInstall(_) | Failure::Clock(_) | Failure::Refused { .. } => {
                "misconfigured"
            }
            Failure::NotReached(_) | Failure::TimedOut(_) | Failure::Unclear(_) => "unreachable",
            Failure::QueueFull | Failure::Busy(_) => "busy",
            Failure::ServerError(_)
            | Failure::Database(_)
            | Failure::Corrupt(_)
            | Failure::UnknownEpoch(_)
            | Failure::Left
            | Failure::Stopping
            | Failure::NotStarted(_)
            | Failure::NoSuchRun
            | Failure::NoSuchHook(_)
            | Failure::State(_) => "error",
        }
    }
}
