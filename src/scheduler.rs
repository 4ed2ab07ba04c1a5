//! THE LOOP. One task owns all sites: it sleeps until the earliest of them wants something, starts calls and runs up to
//! the limits, and takes their results. Nobody else changes a site.

mod entry;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::{self, Config};
use crate::history::sqlite::History;
use crate::lease::file::StateDir;
use crate::outcome::{Failure, Outcome};
use crate::protocol::Notice;
use crate::run_site::calls::{Looked, Me, Settle, Timing, seen_in_due, seen_in_settled};
use crate::run_site::{Ask, Context, Progress, run_site, take};
use crate::site::{RunEnd, View, Want};
pub use entry::{Entry, disable_wp_cron_sentence, left_alone_sentence, stray_sentence};

/// A host may sleep and its clock may be set: nobody sleeps longer without looking.
const SLICE_MS: i64 = 30_000;
const JUMP_MS: i64 = 60_000;
/// At the end: so long for calls that are on their way, and so long for goodbyes.
const GOODBYE: Duration = Duration::from_secs(5);
const SINCE_BEFORE_MS: i64 = 60_000;
/// Looks and the like cost PHP two milliseconds; they need no lane, but a start with a thousand sites must not be a storm.
const CALLS_AT_ONCE: usize = 16;

pub struct Scheduler {
    entries: Vec<Entry>,
    pools: Vec<Pool>,
    max_parallel: usize,
    running: usize,
    calling: usize,
    /// Grows with every start; who started least recently is next.
    turn: u64,
    state: StateDir,
    history: Arc<History>,
    tasks: JoinSet<(usize, TaskEnd)>,
    progress_in: mpsc::UnboundedSender<(usize, Progress)>,
    progress: mpsc::UnboundedReceiver<(usize, Progress)>,
    notices: mpsc::Receiver<(String, Notice)>,
    views: watch::Sender<Vec<View>>,
    /// `once`: records of the runs that were made; and end when nothing is left to do.
    records: Option<mpsc::UnboundedSender<crate::history::RunRecord>>,
    clock: (i64, Instant),
    history_trouble: Option<String>,
}

/// Sites that share a php-fpm address share its workers.
struct Pool {
    lanes: usize,
    running: usize,
}

enum TaskEnd {
    Took(Result<(crate::protocol::Settled, Timing), Failure>),
    Looked(Result<Looked, Failure>),
    Settled(Result<(crate::protocol::Settled, Timing), Failure>),
    Ran(RunEnd),
}

pub struct Parts {
    pub state: StateDir,
    pub me: Arc<Me>,
    pub history: Arc<History>,
    pub notices: mpsc::Receiver<(String, Notice)>,
    pub records: Option<mpsc::UnboundedSender<crate::history::RunRecord>>,
}

impl Scheduler {
    pub fn new(
        config: &Config,
        parts: Parts,
    ) -> Result<(Self, watch::Receiver<Vec<View>>), crate::history::sqlite::Error> {
        let reader = crate::history::sqlite::Reader::open(&parts.state.history_file())?;
        let mut pools = Vec::new();
        let mut pool_of: HashMap<config::Address, usize> = HashMap::new();
        let mut entries = Vec::new();
        for site in &config.sites {
            let pool = match &site.trigger {
                config::Trigger::FastCgi(address) => {
                    let number = *pool_of.entry(address.clone()).or_insert_with(|| {
                        pools.push(Pool { lanes: 0, running: 0 });
                        pools.len() - 1
                    });
                    if let Some(pool) = pools.get_mut(number) {
                        pool.lanes = pool.lanes.max(site.lanes);
                    }
                    Some(number)
                }
                _ => None,
            };
            let install = reader.fact(&site.name, "install")?;
            // With several lanes an earlier end may have been written to the journal and not to the history.
            let since_ms = Some(reader.last_ended(&site.name)?.map_or(0, |last| last - SINCE_BEFORE_MS));
            let epoch = reader.fact(&site.name, "epoch")?.and_then(|epoch| epoch.parse().ok());
            entries.push(Entry::new(site, &parts.me, pool, install, since_ms, epoch));
        }
        let (views, receiver) = watch::channel(Vec::new());
        let (progress_in, progress) = mpsc::unbounded_channel();
        let scheduler = Self {
            entries,
            pools,
            max_parallel: config.runner.max_parallel,
            running: 0,
            calling: 0,
            turn: 0,
            state: parts.state,
            history: parts.history,
            tasks: JoinSet::new(),
            progress_in,
            progress,
            notices: parts.notices,
            views,
            records: parts.records,
            clock: (clock::now_ms(), Instant::now()),
            history_trouble: None,
        };
        Ok((scheduler, receiver))
    }

    /// Until `stop`; then nothing new starts, and what runs may end within `drain`.
    pub async fn run(&mut self, stop: &CancellationToken, drain: Duration) {
        while !stop.is_cancelled() {
            let now = clock::now_ms();
            self.notice_jump(now);
            let until = self.start_what_is_wanted(now);
            self.publish();
            let sleep = Duration::from_millis((until - clock::now_ms()).clamp(0, SLICE_MS).unsigned_abs());
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(sleep) => {}
                happened = next_event(&mut self.tasks, &mut self.progress, &mut self.notices) => self.take(happened),
            }
        }
        self.drain(drain).await;
    }

    /// `once`: until no site has anything due. Gives how the sites that failed did so.
    pub async fn run_until_nothing_is_due(&mut self) -> Vec<(String, Failure)> {
        let mut failures = Vec::new();
        loop {
            let now = clock::now_ms();
            for entry in &mut self.entries {
                if let Some(failure) = entry.state.give_up() {
                    failures.push((entry.site.name.clone(), failure));
                    entry.is_finished = true;
                }
                entry.is_finished |= entry.state.has_nothing_due(now);
            }
            self.start_what_is_wanted(now);
            if self.tasks.is_empty() && self.entries.iter().all(|entry| entry.is_finished) {
                return failures;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(50)), if self.tasks.is_empty() => {}
                happened = next_event(&mut self.tasks, &mut self.progress, &mut self.notices) => self.take(happened),
            }
        }
    }

    /// Compares both clocks: the wall clock may be set, and a host may sleep.
    fn notice_jump(&mut self, now: i64) {
        let (wall, monotonic) = self.clock;
        let passed = clock::millis(monotonic.elapsed());
        self.clock = (now, Instant::now());
        let jump = now - wall - passed;
        if jump.abs() > JUMP_MS {
            tracing::warn!("the clock jumped by {}; every site is looked at again", clock::span(jump));
            for entry in &mut self.entries {
                entry.state.replan();
            }
        }
    }

    /// Starts what may start now; gives the time when somebody wants something next.
    fn start_what_is_wanted(&mut self, now: i64) -> i64 {
        self.start_what_may(now);
        // Asked anew: a site that is being called, or whose lease was refused, has another time now than before. Who wants
        // something this moment and did not get it waits for a place, and whoever gives one back wakes the loop.
        let waiting = self.entries.iter().filter(|entry| !entry.is_finished);
        let times = waiting.filter_map(|entry| match entry.state.wants(now) {
            Want::Nothing { until } => Some(until),
            _ => None,
        });
        let slice = if self.history_trouble.is_some() { 1000 } else { SLICE_MS };
        times.min().unwrap_or(i64::MAX).min(now + slice)
    }

    fn start_what_may(&mut self, now: i64) {
        self.notice_history_trouble();
        let mut runs: Vec<usize> = Vec::new();
        for number in 0..self.entries.len() {
            let Some(entry) = self.entries.get(number).filter(|entry| !entry.is_finished) else { continue };
            match entry.state.wants(now) {
                Want::Nothing { .. } => {}
                Want::Run => {
                    runs.push(number);
                    // The lanes may be taken: the look that tells the site that the runner lives goes on.
                    if entry.state.is_look_due(now) && self.calling < CALLS_AT_ONCE {
                        self.call(number, Want::Look, now);
                    }
                }
                want if self.calling < CALLS_AT_ONCE => self.call(number, want, now),
                _ => {}
            }
        }
        if self.history_trouble.is_some() {
            return;
        }
        runs.sort_by_key(|number| self.entries.get(*number).map(|entry| entry.turn));
        for number in runs {
            if self.running < self.max_parallel && self.has_worker(number) {
                self.start_run(number, now);
            }
        }
    }

    fn notice_history_trouble(&mut self) {
        let trouble = self.history.trouble();
        if trouble.is_some() != self.history_trouble.is_some() {
            match &trouble {
                Some(trouble) => tracing::error!("nothing new is started: {trouble}"),
                None => tracing::info!("the history can be written again"),
            }
        }
        self.history_trouble = trouble;
    }

    fn has_worker(&self, number: usize) -> bool {
        let pool = self.entries.get(number).and_then(|entry| self.pools.get(entry.pool?));
        pool.is_none_or(|pool| pool.running < pool.lanes)
    }

    fn call(&mut self, number: usize, want: Want, now: i64) {
        let Some(entry) = self.entries.get_mut(number) else { return };
        let Some(calls) = entry.ready(&self.state, now) else { return };
        entry.state.call_started();
        self.calling += 1;
        let history = self.history.clone();
        let install = entry.state.install.clone();
        let epoch = entry.state.epoch().unwrap_or(0);
        let (since_ms, known_epoch) = (entry.since_ms, entry.known_epoch);
        let open: Vec<_> = entry.state.foreign_open().cloned().collect();
        let overdue = entry.overdue(&open, now, clock::steady_ms());
        self.tasks.spawn(async move {
            let install = install.as_deref();
            let end = match want {
                Want::Take => TaskEnd::Took(take::take(&calls, install, since_ms, known_epoch, &history).await),
                Want::Settle => {
                    let left = take::Left { install, epoch, open: &open, overdue: &overdue, since_ms };
                    TaskEnd::Settled(take::settle_open(&calls, left, &history).await)
                }
                _ => TaskEnd::Looked(calls.look(install, false).await),
            };
            (number, end)
        });
    }

    fn start_run(&mut self, number: usize, now: i64) {
        let Some(entry) = self.entries.get_mut(number) else { return };
        let (Some(calls), Some(epoch)) = (entry.ready(&self.state, now), entry.state.epoch()) else { return };
        let sent = entry.state.run_started(now);
        self.turn += 1;
        entry.turn = self.turn;
        self.running += 1;
        if let Some(pool) = entry.pool.and_then(|pool| self.pools.get_mut(pool)) {
            pool.running += 1;
        }
        let ask = Ask { install: entry.state.install.clone(), epoch, sent };
        let context =
            Context { calls, history: self.history.clone(), site: number, progress: self.progress_in.clone() };
        self.tasks.spawn(async move { (number, TaskEnd::Ran(run_site(&context, &ask).await)) });
    }

    fn take(&mut self, happened: Happened) {
        // What a run said on its way comes before what it ended with.
        if matches!(happened, Happened::Ended(..)) {
            while let Ok((number, progress)) = self.progress.try_recv() {
                self.progressed(number, progress);
            }
        }
        match happened {
            Happened::Ended(number, end) => self.ended(number, *end),
            Happened::Progressed(number, progress) => self.progressed(number, progress),
            Happened::Noticed(site, notice) => self.noticed(&site, &notice),
        }
    }

    fn ended(&mut self, number: usize, end: TaskEnd) {
        let now = clock::now_ms();
        let Some(entry) = self.entries.get_mut(number) else { return };
        match end {
            TaskEnd::Ran(end) => {
                self.running = self.running.saturating_sub(1);
                if let Some(pool) = entry.pool.and_then(|pool| self.pools.get_mut(pool)) {
                    pool.running = pool.running.saturating_sub(1);
                }
                entry.ran(now, end);
            }
            call => {
                self.calling = self.calling.saturating_sub(1);
                entry.state.call_ended();
                match call {
                    TaskEnd::Took(result) => entry.took(now, result, &self.history),
                    TaskEnd::Looked(result) => {
                        entry.looked(now, result.map(|looked| (seen_in_due(&looked.due), looked)));
                    }
                    TaskEnd::Settled(result) => {
                        entry
                            .settled(now, result.map(|(settled, timing)| (seen_in_settled(&settled), settled, timing)));
                    }
                    TaskEnd::Ran(_) => {}
                }
            }
        }
    }

    fn progressed(&mut self, number: usize, progress: Progress) {
        let Some(entry) = self.entries.get_mut(number) else { return };
        match progress {
            Progress::Claimed { sent, batch, count, seen } => entry.state.claimed(sent, batch, count, seen),
            Progress::Started { run, hook, at_ms, pid, host } => entry.event_started(run, hook, at_ms, pid, host),
            Progress::Ended(record) => {
                entry.running.remove(&record.run);
                entry.state.event_ended(&record.run, record.outcome == Outcome::Ok);
                if let Some(records) = &self.records {
                    let _ = records.send(*record);
                }
            }
            Progress::Next(next) => entry.state.moved(next),
        }
    }

    fn noticed(&mut self, site: &str, notice: &Notice) {
        let entry = self.entries.iter_mut().find(|entry| entry.site.name == site);
        let Some(entry) = entry else { return };
        // A copy of the site has the same key; what is due there is not due here.
        let is_other =
            notice.install.is_some() && entry.state.install.is_some() && notice.install != entry.state.install;
        if !is_other {
            entry.state.noticed(notice.next);
        }
    }

    fn publish(&self) {
        self.views.send_replace(self.entries.iter().map(Entry::view).collect());
    }

    /// Says goodbye, then waits for what runs. In this order: PHP claims nothing more for a runner that has left, and gives what
    /// it has claimed and not started back at once.
    async fn drain(&mut self, limit: Duration) {
        let deadline = tokio::time::Instant::now() + limit;
        self.end_calls().await;
        self.leave().await;
        if self.running > 0 {
            tracing::info!("stopping: {} requests still run events; waiting up to {limit:?} for them", self.running);
        }
        while self.running > 0 {
            self.publish();
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => break,
                happened = next_event(&mut self.tasks, &mut self.progress, &mut self.notices) => self.take(happened),
            }
        }
        if self.running > 0 {
            tracing::warn!(
                "{} requests still run events; PHP goes on with them, and the next start looks after them",
                self.running
            );
        }
    }

    /// A site that is being taken over has noted this runner already, and can be left only with the epoch that it answers.
    async fn end_calls(&mut self) {
        let deadline = tokio::time::Instant::now() + GOODBYE;
        while self.calling > 0 {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                happened = next_event(&mut self.tasks, &mut self.progress, &mut self.notices) => self.take(happened),
            }
        }
    }

    /// Page-load cron is back at once on a site that nobody looks after any more.
    pub async fn leave(&mut self) {
        let mut leaving = JoinSet::new();
        for entry in self.entries.iter().filter(|entry| entry.may_leave) {
            let (Some(calls), Some(epoch)) = (entry.calls.clone(), entry.state.epoch()) else { continue };
            let install = entry.state.install.clone();
            leaving.spawn(async move {
                let what = Settle { epoch: Some(epoch), leave: true, ..Settle::default() };
                if let Err(failure) = calls.settle(install.as_deref(), what).await {
                    tracing::warn!("could not say goodbye: {}", failure.sentence(&calls.site.name));
                }
            });
        }
        let all = async { while leaving.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GOODBYE, all).await;
    }

    pub fn entries(&mut self) -> &mut [Entry] {
        &mut self.entries
    }
}

enum Happened {
    Ended(usize, Box<TaskEnd>),
    Progressed(usize, Progress),
    Noticed(String, Notice),
}

/// Progress first: it frees nothing, but a second lane waits for it.
async fn next_event(
    tasks: &mut JoinSet<(usize, TaskEnd)>,
    progress: &mut mpsc::UnboundedReceiver<(usize, Progress)>,
    notices: &mut mpsc::Receiver<(String, Notice)>,
) -> Happened {
    loop {
        tokio::select! {
            biased;
            Some((number, progress)) = progress.recv() => return Happened::Progressed(number, progress),
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => match ended {
                Ok((number, end)) => return Happened::Ended(number, Box::new(end)),
                Err(error) => tracing::error!("a task failed: {error}"),
            },
            Some((site, notice)) = notices.recv() => return Happened::Noticed(site, notice),
            else => std::future::pending::<()>().await,
        }
    }
}
