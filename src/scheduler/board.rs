//! The scheduler among others: what the keeper of the leases tells, and what it is told.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::oneshot;

use super::Scheduler;
use super::entry::{Answer, Entry, Shared};
use super::orders::{PAUSED, fact_of, pause_of};
use super::pauses::Pauses;
use super::stop::leave;
use crate::clock;
use crate::config::redis::{Redis, Risk};
use crate::lease::redis::{Board, Leases, Member, Part, Tell};
use crate::outcome::Failure;
use crate::protocol::{Due, Notice};
use crate::site::Pause;

/// What another host may not suffer from is waited out for so long.
pub(super) const UNABLE_AFTER_MS: i64 = 20_000;

/// Other hosts, and the Redis in between.
#[derive(Debug)]
pub struct Others {
    pub config: Arc<Redis>,
    pub leases: Leases,
    /// Runs that were started without a lease.
    pub degraded_runs: u64,
    pauses: Pauses,
    /// How often Redis was lost when the board was looked at last.
    lost: u64,
    part: Part,
}

pub enum Word {
    Board,
    Notice(String, Notice),
}

impl Others {
    pub fn new(config: &Arc<Redis>, part: Part, leases: Leases) -> Self {
        Self { config: config.clone(), leases, degraded_runs: 0, pauses: Pauses::default(), lost: 0, part }
    }

    pub fn tell(&self, what: Tell) {
        // It ends only with this process.
        let _ = self.leases.keeper.send(what);
    }

    pub fn board(&self) -> Arc<Board> {
        self.leases.board.borrow().clone()
    }

    /// Why a site must not be shared through this Redis.
    fn refusal_of(&self, site: &str, due: &Due) -> Option<String> {
        let board = self.board();
        let known = board.facts.get(site).and_then(|facts| facts.install.as_deref());
        if known.is_some_and(|install| install != due.install) {
            return Some(format!(
                "the runners that share {} know another WordPress install under the name `{site}`; give one of the two another \
                 `name`, or another `prefix` in [redis]; where the site moved, `wp-cron-runner plugin install {site}` says so",
                self.config
            ));
        }
        let reported = due.object_cache.as_deref()?;
        let is_same = self.config.is_database(reported, board.contact.tcp_port);
        (is_same && !self.config.accepts(Risk::ObjectCache)).then(|| self.config.shared_sentence(reported))
    }

    /// Nobody waits for the answer.
    fn tell_pause(&self, site: &str, pause: Option<Pause>) {
        let (answer, _) = oneshot::channel();
        let value = pause.map(|pause| fact_of(Some(pause)));
        self.tell(Tell::Pause { site: site.to_string(), value, answer });
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
    pub runners: Vec<RunnerView>,
}

#[derive(Debug, Clone, Serialize)]
pub struct RunnerView {
    pub id: String,
    pub name: String,
    pub listen: String,
    pub version: String,
    /// How many it can reach.
    pub sites: usize,
}

impl RunnerView {
    fn of(member: &Member) -> Self {
        Self {
            id: member.id.clone(),
            name: member.name.clone(),
            listen: member.listen.clone(),
            version: member.version.clone(),
            sites: member.sites.len(),
        }
    }
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
            runners: board.runners.iter().map(RunnerView::of).collect(),
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
        // Who is on his way out has his own leave to take.
        for entry in self.entries.values_mut().filter(|entry| entry.removal.is_none()) {
            let epoch = entry.heed(&board, &self.me.id);
            if let (Some(epoch), Some(calls)) = (epoch, entry.calls.clone()) {
                let install = entry.state.install.clone();
                // Beside the loop: the site is another's already, whatever comes of it.
                tokio::spawn(async move { leave(&calls, install.as_deref(), epoch, true).await });
            }
        }
        self.heed_board_for_jobs(&board);
        let Some(others) = &mut self.others else { return };
        // It may have come back before anybody looked.
        if std::mem::replace(&mut others.lost, board.contact.lost) != board.contact.lost || !board.contact.is_there {
            others.pauses.lost();
        }
        if board.contact.is_there {
            self.heed_pauses(&board);
        }
    }

    fn heed_pauses(&mut self, board: &Board) {
        let Some(others) = &mut self.others else { return };
        let (now, wall) = (clock::steady_ms(), clock::now_ms());
        // One that is over stays until the next one, or `resume`: taking it out could hit a new one.
        let is_over = |pause: &Pause| pause.until.is_some_and(|until| until <= wall);
        let shown = |site: &str| pause_of(board.paused.get(site).map(String::as_str)).filter(|pause| !is_over(pause));
        if others.part == Part::Member {
            let entries = self.entries.values();
            let sites = entries.filter_map(|entry| Some((entry.site.name.clone(), entry.state.pause()?)));
            let jobs = self.jobs.entries.iter().filter_map(|(name, entry)| Some((name.clone(), entry.state.pause()?)));
            others.pauses.begin(sites.chain(jobs));
        }
        let turn = others.pauses.turn(shown, now);
        for (site, pause) in turn.to_tell {
            others.tell_pause(&site, pause);
        }
        for site in turn.settled {
            // From here on it is everybody's to know.
            self.history.learn(&site, PAUSED, fact_of(None));
        }
        for entry in self.entries.values_mut() {
            let name = &entry.site.name;
            if !others.pauses.knows_better(name) && shown(name) != entry.state.pause() {
                entry.state.set_pause(shown(name));
            }
        }
        for (name, entry) in &mut self.jobs.entries {
            if !others.pauses.knows_better(name) && shown(name) != entry.state.pause() {
                entry.state.set_pause(shown(name));
            }
        }
    }

    /// What the keeper has to know of the sites, and which leases others are to have.
    pub(super) fn tell_keeper(&mut self, now: i64) {
        let Some(others) = &self.others else { return };
        let steady = clock::steady_ms();
        let is_hindered = self.history_trouble_since.is_some_and(|since| steady >= since + UNABLE_AFTER_MS);
        for entry in self.entries.values_mut().filter(|entry| entry.removal.is_none()) {
            if let Some(is_able) = entry.ability(now, steady, is_hindered) {
                others.tell(Tell::Able { site: entry.site.name.clone(), is_able });
            }
            if let Some(grant) = entry.hands_over(steady) {
                tracing::info!(site = entry.site.name, "its lease is handed over to another runner");
                others.tell(Tell::Release { site: entry.site.name.clone(), grant });
            }
        }
        self.tell_keeper_of_jobs(is_hindered);
    }

    /// A pass without the plugin has nothing but the lease, and a take-over on its way could take the site from whoever has it
    /// then: these keep it to their end.
    pub(super) fn configure_keeper(&self) {
        let Some(others) = &self.others else { return };
        let is_kept = |entry: &&Entry| entry.removal.is_none() || entry.needs_its_lease() || entry.state.is_taking();
        let names = self.entries.values().filter(is_kept);
        let jobs = self.jobs.entries.iter().filter(|(_, entry)| !entry.is_removed || entry.is_running_here());
        let jobs = jobs.map(|(name, _)| name.clone());
        others.tell(Tell::Sites(names.map(|entry| entry.site.name.clone()).chain(jobs).collect()));
    }

    /// A look has ended: can the site be served from here?
    pub(super) fn looked_from_here(&mut self, number: usize, due: Option<&Due>) {
        let (Some(others), Some(entry)) = (&self.others, self.entries.get_mut(&number)) else { return };
        let refusal = due.and_then(|due| others.refusal_of(&entry.site.name, due));
        let went_well = due.is_some() && refusal.is_none();
        if let Some(why) = refusal {
            entry.refused(clock::now_ms(), Failure::Misconfigured(why));
        }
        entry.was_looked_at(went_well);
    }

    /// True where the notice is for another runner, and was passed on.
    pub(super) fn passed_on(&self, site: &str, notice: &Notice) -> bool {
        let Some(others) = &self.others else { return false };
        let is_ours = |entry: &Entry| entry.site.name == site && entry.removal.is_none() && entry.is_held_here();
        if self.entries.values().any(is_ours) {
            return false;
        }
        others.tell(Tell::Notice { site: site.to_string(), notice: notice.clone() });
        true
    }

    /// For all hosts. Without Redis only where the site is this runner's, until it can be told.
    pub(super) fn pause_everywhere(&mut self, site: &str, pause: Option<Pause>, answer: Answer<()>) {
        let Some(others) = &mut self.others else { return };
        let found = self.entries.values_mut().find(|entry| entry.site.name == site && entry.removal.is_none());
        let job = self.jobs.entries.get_mut(site);
        let (board, now) = (others.board(), clock::steady_ms());
        let is_held_here = found.as_ref().is_some_and(|entry| entry.is_held_here());
        let is_held_here = is_held_here || job.as_ref().is_some_and(|job| job.is_held_here());
        let is_there = board.contact.is_there;
        if !is_there && !is_held_here {
            let why = board.contact.why.clone().unwrap_or_else(|| "Redis has not been reached yet".into());
            let _ = answer.send(Err(Failure::NotStarted(format!(
                "{why}, and the site is not this runner's at the moment; ask again when Redis answers"
            ))));
            return;
        }
        // On this host at once; on the others when they hear of it.
        if let Some(entry) = found {
            entry.state.set_pause(pause);
        }
        if let Some(job) = job {
            job.state.set_pause(pause);
        }
        others.pauses.say(site, pause, now, is_there);
        // Until all know.
        self.history.learn(site, PAUSED, fact_of(pause));
        if !is_there {
            let _ = answer.send(Ok(()));
            return;
        }
        let (done, told) = oneshot::channel();
        let value = pause.map(|pause| fact_of(Some(pause)));
        others.tell(Tell::Pause { site: site.to_string(), value, answer: done });
        tokio::spawn(async move {
            let _ = answer.send(match told.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(why)) => {
                    Err(Failure::NotStarted(format!("{why}; it holds on this host, and the others are told later")))
                }
                Err(_) => Err(Failure::Stopping),
            });
        });
    }
}
