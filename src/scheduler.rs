//! THE LOOP. One task owns all sites: it sleeps until the earliest of them wants something, starts calls and runs up to
//! the limits, and takes their results. Nobody else changes a site.

mod board;
mod changes;
mod entry;
mod jobs;
pub mod orders;
mod pauses;
mod places;
mod start;
mod stop;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::{Config, Site};
use crate::history::RunRecord;
use crate::history::redis::SharedHistory;
use crate::history::sqlite::{self, History, Reader};
use crate::lease::file::StateDir;
use crate::outcome::{Failure, Outcome};
use crate::run_site::Progress;
use crate::run_site::calls::{Looked, Me, Timing, seen_in_due, seen_in_settled};
use crate::site::{Pause, RunEnd, View};
use board::next_word;
pub use board::{Others, RedisView};
pub use entry::{Entry, disable_wp_cron_sentence, left_alone_sentence, limits_of, stray_sentence};
pub use jobs::JobView;
use jobs::{JobFacts, Jobs};
use orders::{Order, PAUSED, pause_of};
use places::{Place, Places};

/// A host may sleep and its clock may be set: nobody sleeps longer without looking.
const SLICE_MS: i64 = 30_000;
const JUMP_MS: i64 = 60_000;
const SINCE_BEFORE_MS: i64 = 60_000;
/// Looks and the like cost PHP two milliseconds; they need no lane, but a start with a thousand sites must not be a storm.
const CALLS_AT_ONCE: usize = 16;

pub struct Scheduler {
    /// By their numbers, which are never used again.
    entries: BTreeMap<usize, Entry>,
    numbers: usize,
    places: Places,
    max_parallel: usize,
    drain: Duration,
    running: usize,
    calling: usize,
    /// Grows with every start; who started least recently is next.
    turn: u64,
    state: StateDir,
    me: Arc<Me>,
    history: Arc<History>,
    tasks: JoinSet<(usize, Arc<Site>, TaskEnd)>,
    progress_in: mpsc::UnboundedSender<(usize, Progress)>,
    progress: mpsc::UnboundedReceiver<(usize, Progress)>,
    orders: mpsc::Receiver<Order>,
    published: watch::Sender<Published>,
    /// `once`: records of the runs that were made; and end when nothing is left to do.
    records: Option<mpsc::UnboundedSender<RunRecord>>,
    /// Nobody sleeps longer without looking round.
    slice_ms: i64,
    clock: (i64, Instant),
    history_trouble: Option<String>,
    /// On the steady clock.
    history_trouble_since: Option<i64>,
    is_stopping: bool,
    /// None on a host of its own.
    others: Option<Others>,
    jobs: Jobs,
}

/// What the scheduler shows of itself, anew each time round.
#[derive(Debug, Clone, Default)]
pub struct Published {
    pub sites: Vec<View>,
    pub jobs: Vec<JobView>,
    /// Why nothing, or nothing on some site, can be started; empty where all is well.
    pub not_ready: Vec<String>,
    pub history_trouble: Option<String>,
    /// None on a host of its own.
    pub redis: Option<RedisView>,
}

enum TaskEnd {
    Took(Result<(crate::protocol::Settled, Timing), Failure>),
    Looked(Result<Looked, Failure>),
    Settled(Result<(crate::protocol::Settled, Timing), Failure>),
    /// A site that is not in the configuration any more was told so.
    Left,
    Ran(Box<Ran>),
}

struct Ran {
    end: RunEnd,
    place: Option<Place>,
    /// A pass without the plugin.
    record: Option<RunRecord>,
}

pub struct Parts {
    pub state: StateDir,
    pub me: Arc<Me>,
    pub history: Arc<History>,
    pub orders: mpsc::Receiver<Order>,
    pub records: Option<mpsc::UnboundedSender<RunRecord>>,
    /// At most so long between two looks round, for those who watch over this process.
    pub slice: Duration,
    pub others: Option<Others>,
    /// For what the hosts know of jobs together.
    pub shared: Option<Arc<SharedHistory>>,
}

/// What the history remembers of a site.
#[derive(Debug, Default)]
pub struct Facts {
    pub install: Option<String>,
    /// Ends before this time are known; on PHP's clock.
    pub since_ms: Option<i64>,
    pub epoch: Option<i64>,
    pub pause: Option<Pause>,
}

impl Facts {
    fn read(reader: &Reader, site: &str) -> Result<Self, sqlite::Error> {
        Ok(Self {
            install: reader.fact(site, "install")?,
            // With several lanes an earlier end may have been written to the journal and not to the history.
            since_ms: Some(reader.last_ended(site)?.map_or(0, |last| last - SINCE_BEFORE_MS)),
            epoch: reader.fact(site, "epoch")?.and_then(|epoch| epoch.parse().ok()),
            pause: pause_of(reader.fact(site, PAUSED)?.as_deref()),
        })
    }
}

impl Scheduler {
    pub fn new(config: &Config, parts: Parts) -> Result<(Self, watch::Receiver<Published>), sqlite::Error> {
        let reader = Reader::open(&parts.state.history_file())?;
        let (published, receiver) = watch::channel(Published::default());
        let (progress_in, progress) = mpsc::unbounded_channel();
        let mut scheduler = Self {
            entries: BTreeMap::new(),
            numbers: 0,
            places: Places::default(),
            max_parallel: config.runner.max_parallel,
            drain: config.runner.drain,
            running: 0,
            calling: 0,
            turn: 0,
            state: parts.state,
            me: parts.me,
            history: parts.history,
            tasks: JoinSet::new(),
            progress_in,
            progress,
            orders: parts.orders,
            published,
            records: parts.records,
            slice_ms: clock::millis(parts.slice).clamp(100, SLICE_MS),
            clock: (clock::now_ms(), Instant::now()),
            history_trouble: None,
            history_trouble_since: None,
            is_stopping: false,
            others: parts.others,
            jobs: Jobs::new(parts.shared),
        };
        scheduler.places.resize(config);
        for site in &config.sites {
            scheduler.add(site, Facts::read(&reader, &site.name)?);
        }
        for job in &config.jobs {
            scheduler.add_job(job, JobFacts::read(&reader, job)?);
        }
        // `once` looks after no job.
        if scheduler.records.is_none() {
            scheduler.note_boot();
        }
        Ok((scheduler, receiver))
    }

    fn add(&mut self, site: &Arc<Site>, facts: Facts) {
        self.numbers += 1;
        let mut entry = Entry::new(site, &self.me, facts, self.shared_of());
        if let Some(others) = &self.others {
            entry.heed(&others.board(), &self.me.id);
        }
        self.entries.insert(self.numbers, entry);
    }

    /// Until `stop`; then nothing new starts, and what runs may end within the configuration's `drain`.
    pub async fn run(&mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let now = clock::now_ms();
            self.notice_jump(now);
            let until = self.start_jobs(now).min(self.start_what_is_wanted(now));
            self.publish();
            let sleep = Duration::from_millis((until - clock::now_ms()).clamp(0, self.slice_ms).unsigned_abs());
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(sleep) => {}
                word = next_word(&mut self.others) => self.heard(word),
                task = self.jobs.next() => self.take_job(task),
                happened = next_event(&mut self.tasks, &mut self.progress, &mut self.orders) => self.take(happened),
            }
        }
        self.drain().await;
    }

    /// `once`: until no site has anything due. Gives how the sites that failed did so.
    pub async fn run_until_nothing_is_due(&mut self) -> Vec<(String, Failure)> {
        let mut failures = Vec::new();
        loop {
            let now = clock::now_ms();
            for entry in self.entries.values_mut() {
                if let Some(refusal) = entry.cannot_be_had().filter(|_| !entry.is_finished) {
                    entry.is_finished = true;
                    failures.push((entry.site.name.clone(), refusal));
                }
                if let Some(failure) = entry.state.give_up() {
                    entry.is_finished = true;
                    // Without the plugin the record of the pass has it.
                    if entry.site.has_plugin() {
                        failures.push((entry.site.name.clone(), failure));
                    }
                }
                entry.is_finished |= entry.state.has_nothing_due(now);
            }
            self.start_what_is_wanted(now);
            if self.tasks.is_empty() && self.entries.values().all(|entry| entry.is_finished) {
                return failures;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(50)), if self.tasks.is_empty() => {}
                word = next_word(&mut self.others) => self.heard(word),
                happened = next_event(&mut self.tasks, &mut self.progress, &mut self.orders) => self.take(happened),
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
            for entry in self.entries.values_mut() {
                entry.state.replan(now);
            }
            self.clock_of_jobs_was_set(now);
        }
    }

    fn take(&mut self, happened: Happened) {
        // What a run said on its way comes before what it ended with.
        if matches!(happened, Happened::Ended(..)) {
            while let Ok((number, progress)) = self.progress.try_recv() {
                self.progressed(number, progress);
            }
        }
        match happened {
            Happened::Ended(number, site, end) => self.ended(number, &site, *end),
            Happened::Progressed(number, progress) => self.progressed(number, progress),
            Happened::Ordered(order) => self.obey(*order),
        }
    }

    /// `site`: with what it was begun; the site may have been configured anew meanwhile.
    fn ended(&mut self, number: usize, site: &Arc<Site>, end: TaskEnd) {
        let now = clock::now_ms();
        if let TaskEnd::Ran(ran) = &end {
            self.running = self.running.saturating_sub(1);
            self.places.give_back(ran.place.as_ref());
        } else {
            self.calling = self.calling.saturating_sub(1);
        }
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if !matches!(end, TaskEnd::Ran(_)) {
            entry.state.call_ended();
        }
        let is_old = !Arc::ptr_eq(site, &entry.site);
        match end {
            // What failed by a configuration that is not in force any more says nothing.
            TaskEnd::Took(Err(_)) | TaskEnd::Looked(Err(_)) | TaskEnd::Settled(Err(_)) if is_old => {
                entry.state.look_again();
            }
            TaskEnd::Took(result) => {
                entry.took(now, result, &self.history);
                if site.grace != entry.site.grace {
                    entry.state.tell_again();
                }
            }
            TaskEnd::Looked(result) => {
                let due = result.as_ref().ok().map(|looked| looked.due.clone());
                entry.looked(now, result.map(|looked| (seen_in_due(&looked.due), looked)));
                self.looked_from_here(number, due.as_ref());
            }
            TaskEnd::Settled(result) => {
                let seen = result.map(|(settled, timing)| (seen_in_settled(&settled), settled, timing));
                entry.settled(now, seen);
            }
            TaskEnd::Left => {}
            TaskEnd::Ran(ran) => {
                if let Some(record) = ran.record {
                    self.event_ended(number, ran.end.sent, record);
                }
                if let Some(entry) = self.entries.get_mut(&number) {
                    entry.ran(now, ran.end, site);
                }
            }
        }
    }

    fn progressed(&mut self, number: usize, progress: Progress) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        match progress {
            Progress::Claimed { sent, batch, count, mut seen } => {
                if entry.is_for_hook(sent) {
                    seen.busy.clear();
                }
                entry.state.claimed(sent, batch, count, seen);
            }
            Progress::Started { run, hook, at_ms, pid, host } => entry.event_started(run, hook, at_ms, pid, host),
            Progress::Overdue { run, reason } => entry.run_is_overdue(&run, reason),
            Progress::Ended(sent, record) => self.event_ended(number, sent, *record),
            Progress::Next(next) => entry.state.moved(next),
        }
    }

    fn event_ended(&mut self, number: usize, sent: u64, record: RunRecord) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.running.remove(&record.run);
            entry.state.event_ended(&record.run, record.outcome == Outcome::Ok);
            entry.note_answer(sent, &record);
        }
        if let Some(records) = &self.records {
            let _ = records.send(record);
        }
    }

    fn publish(&self) {
        let entries = self.entries.values().filter(|entry| entry.removal.is_none() || entry.state.running() > 0);
        let sites: Vec<View> = entries.map(|entry| entry.view(&self.me.name)).collect();
        let leases = self.entries.values().filter_map(Entry::why_not_ready);
        let redis = self.others.as_ref().map(Others::view);
        let lost = redis.as_ref().filter(|redis| redis.state == "lost").and_then(|redis| redis.reason.clone());
        let not_ready = self.history_trouble.iter().cloned().chain(lost).chain(leases).collect();
        let now = clock::now_ms();
        let jobs: Vec<JobView> = self.jobs.entries.values().map(|entry| entry.view(&self.me.name, now)).collect();
        changes::tell(&self.published.borrow(), &sites, &jobs);
        let history_trouble = self.history_trouble.clone();
        self.published.send_replace(Published { sites, jobs, not_ready, history_trouble, redis });
    }

    pub fn entries(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut()
    }
}

enum Happened {
    Ended(usize, Arc<Site>, Box<TaskEnd>),
    Progressed(usize, Progress),
    Ordered(Box<Order>),
}

/// Progress first: it frees nothing, but a second lane waits for it.
async fn next_event(
    tasks: &mut JoinSet<(usize, Arc<Site>, TaskEnd)>,
    progress: &mut mpsc::UnboundedReceiver<(usize, Progress)>,
    orders: &mut mpsc::Receiver<Order>,
) -> Happened {
    loop {
        tokio::select! {
            biased;
            Some((number, progress)) = progress.recv() => return Happened::Progressed(number, progress),
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => match ended {
                Ok((number, site, end)) => return Happened::Ended(number, site, Box::new(end)),
                Err(error) => tracing::error!("a task failed: {error}"),
            },
            Some(order) = orders.recv() => return Happened::Ordered(Box::new(order)),
            else => std::future::pending::<()>().await,
        }
    }
}
