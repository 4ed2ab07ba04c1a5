//! The scheduler among others: what the keeper of the leases tells, and what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::oneshot;

use super::Scheduler;
use super::entry::{Answer, Entry, Right, Shared};
use super::orders::{PAUSED, fact_of, pause_of};
use crate::clock;
use crate::config::redis::{Redis, Risk};
use crate::lease::redis::{Board, Leases, Member, Tell};
use crate::outcome::Failure;
use crate::protocol::{Due, Notice};
use crate::site::Pause;

/// Other hosts, and the Redis in between.
#[derive(Debug)]
pub struct Others {
    pub config: Arc<Redis>,
    pub leases: Leases,
    /// Runs that were started without a lease.
    pub degraded_runs: u64,
    /// What this host knows of pauses before the others do.
    pending: BTreeMap<String, Pending>,
    is_heeded: bool,
}

/// A pause, or its end, on its way to the other hosts.
#[derive(Debug)]
struct Pending {
    pause: Option<Pause>,
    /// When the keeper was told; None: Redis does not answer.
    told: Option<i64>,
}

/// So long the board may show what was before.
const PENDING_MS: i64 = 15_000;

pub enum Word {
    Board,
    Notice(String, Notice),
}

impl Others {
    pub fn new(config: &Arc<Redis>, leases: Leases) -> Self {
        Self { config: config.clone(), leases, degraded_runs: 0, pending: BTreeMap::new(), is_heeded: false }
    }

    pub fn tell(&self, what: Tell) {
        // It ends only with this process.
        let _ = self.leases.keeper.send(what);
    }

    pub fn board(&self) -> Arc<Board> {
        self.leases.board.borrow().clone()
    }

    /// Why a site must not share this Redis, where its object cache does.
    fn shares_database(&self, due: &Due) -> Option<String> {
        let reported = due.object_cache.as_deref()?;
        let is_same = self.config.is_database(reported, self.board().contact.tcp_port);
        (is_same && !self.config.accepts(Risk::ObjectCache)).then(|| self.config.shared_sentence(reported))
    }
}

/// For ever where there is nobody else.
pub async fn next_word(others: &mut Option<Others>) -> Word {
    let Some(others) = others else { return std::future::pending().await };
    tokio::select! {
        changed = others.leases.board.changed() => match changed {
            Ok(()) => Word::Board,
            Err(_) => std::future::pending().await,
        },
        Some((site, notice)) = others.leases.notices.recv() => Word::Notice(site, notice),
    }
}

/// Redis as reports show it.
#[derive(Debug, Clone, Serialize)]
pub struct RedisView {
    /// Without user and password.
    pub url: String,
    /// `ok`, or `lost`; `starting` before the first word.
    pub state: &'static str,
    pub reason: Option<String>,
    pub since: String,
    /// How often it was lost since this runner was started.
    pub lost: u64,
    /// Runs that were started without a lease.
    pub degraded_runs: u64,
    pub runners: Vec<Member>,
}

impl Others {
    pub fn view(&self) -> RedisView {
        let board = self.board();
        RedisView {
            url: self.config.to_string(),
            state: match &board.contact.why {
                _ if board.contact.is_there => "ok",
                Some(_) => "lost",
                None => "starting",
            },
            reason: board.contact.why.clone(),
            since: clock::rfc3339(board.contact.since_ms),
            lost: board.contact.lost,
            degraded_runs: self.degraded_runs,
            runners: board.runners.clone(),
        }
    }
}

impl Scheduler {
    pub(super) fn shared_of(&self) -> Option<Shared> {
        self.others.as_ref().map(|_| Shared::default())
    }

    pub(super) fn heard(&mut self, word: Word) {
        match word {
            Word::Board => self.heed_board(),
            Word::Notice(site, notice) => self.noticed(&site, &notice),
        }
    }

    fn heed_board(&mut self) {
        let Some(others) = &mut self.others else { return };
        let board = others.leases.board.borrow_and_update().clone();
        for entry in self.entries.values_mut() {
            entry.heed(&board, &self.me.id);
        }
        if !board.contact.is_there {
            others.pending.values_mut().for_each(|pending| pending.told = None);
            return;
        }
        // A pause that only this host knows of: from before it shared its sites, or from a time without Redis.
        if !std::mem::replace(&mut others.is_heeded, true) {
            for entry in self.entries.values() {
                if let Some(pause) = entry.state.pause() {
                    others.pending.entry(entry.site.name.clone()).or_insert(Pending { pause: Some(pause), told: None });
                }
            }
        }
        let now = clock::now_ms();
        let shown = |site: &str| pause_of(board.paused.get(site).map(String::as_str));
        let is_old = |pending: &Pending| pending.told.is_some_and(|told| (now - told).abs() > PENDING_MS);
        others.pending.retain(|site, pending| shown(site) != pending.pause && !is_old(pending));
        for (site, pending) in others.pending.iter_mut().filter(|(_, pending)| pending.told.is_none()) {
            pending.told = Some(now);
            let (answer, _) = oneshot::channel();
            let value = pending.pause.map(|pause| fact_of(Some(pause)));
            let _ = others.leases.keeper.send(Tell::Pause { site: site.clone(), value, answer });
        }
        for entry in self.entries.values_mut() {
            let name = &entry.site.name;
            if shown(name) != entry.state.pause() && !others.pending.contains_key(name) {
                entry.state.set_pause(shown(name));
                // From here on it is the others' to know.
                self.history.learn(name, PAUSED, fact_of(None));
            }
        }
    }

    /// What the keeper has to know of the sites, and which leases others are to have.
    pub(super) fn tell_keeper(&mut self, now: i64) {
        let Some(others) = &self.others else { return };
        for entry in self.entries.values_mut().filter(|entry| entry.removal.is_none()) {
            if let Some(is_able) = entry.ability(now) {
                others.tell(Tell::Able { site: entry.site.name.clone(), is_able });
            }
            if entry.hands_over(now) {
                tracing::info!(site = entry.site.name, "its lease is handed over to another runner");
                others.tell(Tell::Release(entry.site.name.clone()));
            }
        }
    }

    pub(super) fn configure_keeper(&self) {
        let Some(others) = &self.others else { return };
        let names = self.entries.values().filter(|entry| entry.removal.is_none());
        others.tell(Tell::Sites(names.map(|entry| entry.site.name.clone()).collect()));
    }

    /// A look has ended: can the site be served from here?
    pub(super) fn looked_from_here(&mut self, number: usize, due: Option<&Due>) {
        let (Some(others), Some(entry)) = (&self.others, self.entries.get_mut(&number)) else { return };
        let refusal = due.and_then(|due| others.shares_database(due));
        let went_well = due.is_some() && refusal.is_none();
        if let Some(why) = refusal {
            entry.refused(clock::now_ms(), Failure::Misconfigured(why));
        }
        if let Some(is_able) = entry.was_looked_at(went_well) {
            others.tell(Tell::Able { site: entry.site.name.clone(), is_able });
        }
    }

    /// True where the notice is for another runner, and was passed on.
    pub(super) fn passed_on(&self, site: &str, notice: &Notice) -> bool {
        let Some(others) = &self.others else { return false };
        let is_ours = |entry: &Entry| entry.site.name == site && entry.right() != Right::Nothing;
        if self.entries.values().any(is_ours) {
            return false;
        }
        others.tell(Tell::Notice { site: site.to_string(), notice: notice.clone() });
        true
    }

    /// For all hosts. Without Redis only where the site is this runner's, until it can be told.
    pub(super) fn pause_everywhere(&mut self, site: &str, pause: Option<Pause>, answer: Answer<()>) {
        let Some(others) = &mut self.others else { return };
        let Some(entry) = self.entries.values_mut().find(|entry| entry.site.name == site) else { return };
        let board = others.leases.board.borrow().clone();
        if board.contact.is_there {
            let (done, told) = oneshot::channel();
            let value = pause.map(|pause| fact_of(Some(pause)));
            others.tell(Tell::Pause { site: site.to_string(), value, answer: done });
            // On this host at once; on the others when they hear of it.
            entry.state.set_pause(pause);
            others.pending.insert(site.to_string(), Pending { pause, told: Some(clock::now_ms()) });
            tokio::spawn(async move {
                let _ = answer.send(match told.await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(why)) => {
                        Err(Failure::NotStarted(format!("{why}; whether the other hosts know is not known")))
                    }
                    Err(_) => Err(Failure::Stopping),
                });
            });
        } else if entry.is_held_here() {
            entry.state.set_pause(pause);
            others.pending.insert(site.to_string(), Pending { pause, told: None });
            self.history.learn(site, PAUSED, fact_of(pause));
            let _ = answer.send(Ok(()));
        } else {
            let why = board.contact.why.clone().unwrap_or_else(|| "Redis has not been reached yet".into());
            let _ = answer.send(Err(Failure::NotStarted(format!(
                "{why}, and the site is not this runner's at the moment; ask again when Redis answers"
            ))));
        }
    }
}
