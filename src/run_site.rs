//! ONE RUN of a site, top to bottom: send `run`, read the stream, end what takes too long, settle what did not end,
//! record everything. The result goes back to the scheduler.

pub mod batch;
pub mod calls;
mod conclude;
pub mod decide;
pub mod take;
pub mod without_plugin;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use crate::clock;
use crate::history::RunRecord;
use crate::history::sqlite::History;
use crate::outcome::Failure;
use crate::protocol::{Busy, Call, Done, Ended, Frame, Inspected, Only, RunBody, Settled};
use crate::site::{RunEnd, Seen};
use crate::text;
use crate::trigger::process::{Ending, Handle};
use crate::trigger::{Answer, EndOfStream, Item};
use batch::Batch;
use calls::{Calls, Settle, seen_in_settled};

/// A signature is good for a minute; an answer that did not begin by then cannot begin any more.
const FIRST_FRAME_MS: i64 = 65_000;
/// After so much silence it is asked whether the process of an event lives. Somebody whom the event started may hold the
/// connection of a dead one open.
const SILENCE_MS: i64 = 15_000;
/// How often the process of an overdue event is asked to end.
const END_AGAIN_MS: i64 = 15_000;
const END_BY_PHP_FPM: &str =
    "php-fpm's request_terminate_timeout, above the longest time limit, ends what nobody else can";
/// How long one request may go on claiming: a site with a backlog then lets others have its place, for one more start of
/// WordPress.
pub const BUDGET_MS: i64 = 5_000;

/// What the scheduler knows when it starts a run.
#[derive(Debug, Clone)]
pub struct Ask {
    pub install: Option<String>,
    pub epoch: i64,
    /// The request's number, which comes back with what it saw.
    pub sent: u64,
    /// Somebody asked for this hook alone, due or not.
    pub only: Option<Only>,
}

/// What happens while a run goes on.
#[derive(Debug)]
pub enum Progress {
    Claimed {
        sent: u64,
        batch: String,
        count: u64,
        seen: Seen,
    },
    Started {
        run: String,
        hook: String,
        at_ms: i64,
        pid: Option<i64>,
        host: Option<String>,
    },
    /// Its time is over, and nobody can end it.
    Overdue {
        run: String,
        reason: String,
    },
    /// By the request of this number.
    Ended(u64, Box<RunRecord>),
    Next(Option<i64>),
}

pub struct Context {
    pub calls: Arc<Calls>,
    pub history: Arc<History>,
    /// The site's number among the scheduler's, which comes back with the progress.
    pub site: usize,
    pub progress: UnboundedSender<(usize, Progress)>,
}

pub async fn run_site(context: &Context, ask: &Ask) -> RunEnd {
    let site = &context.calls.site;
    let body = RunBody {
        caller: context.calls.caller(ask.install.as_deref()),
        epoch: ask.epoch,
        lanes: site.lanes,
        budget_ms: BUDGET_MS,
        longest_s: clock::millis(site.longest_timeout()) / 1000,
        expect_ms: context.calls.expect_ms(),
        policies: site.policies(),
        trigger: site.trigger_word(),
        only: ask.only.clone(),
    };
    let sent_at = clock::steady_ms();
    let answer = context.calls.trigger.call(Call::Run, &body).await;
    let mut run = Run::new(context, ask, &answer, sent_at);
    let end = run.read(answer).await;
    run.conclude(end).await
}

/// Its times (`..._at`) are steady ones: nothing here ends because a clock was set.
struct Run<'a> {
    context: &'a Context,
    ask: &'a Ask,
    batch_id: String,
    batch: Batch,
    done: Option<Done>,
    refused: Option<Failure>,
    sent_at: i64,
    has_frames: bool,
    heard_at: i64,
    /// Calls beside the stream; it must be read on meanwhile.
    beside: JoinSet<Beside>,
    end_again_at: i64,
    timed_out: Vec<String>,
    left_alone: Option<Vec<Busy>>,
    /// The process itself, where it is our child.
    process: Option<Handle>,
}

enum Beside {
    Rest(Result<Box<Settled>, Failure>),
    End(String, Result<Ended, Failure>),
    Lives(Result<Inspected, Failure>),
    Over,
}

impl<'a> Run<'a> {
    fn new(context: &'a Context, ask: &'a Ask, answer: &Answer, sent_at: i64) -> Self {
        Self {
            context,
            ask,
            batch_id: answer.nonce.clone(),
            batch: Batch::default(),
            done: None,
            refused: None,
            sent_at,
            has_frames: false,
            heard_at: sent_at,
            beside: JoinSet::new(),
            end_again_at: i64::MIN,
            timed_out: Vec::new(),
            left_alone: None,
            process: answer.process(),
        }
    }

    async fn read(&mut self, mut answer: Answer) -> EndOfStream {
        loop {
            let now = clock::steady_ms();
            let wake = self.wake(now);
            if let Some(end) = self.at_time(now) {
                return end;
            }
            tokio::select! {
                item = answer.next() => {
                    self.heard_at = clock::steady_ms();
                    match item {
                        Item::Frame(frame) => match *frame {
                            Frame::Error(refusal) => self.refused = Some(answer.refused(refusal)),
                            frame => self.frame(frame),
                        },
                        Item::Output(bytes) => self.batch.output(&bytes),
                        Item::End(end) => {
                            self.log_stderr(&answer);
                            // Frames were swallowed: the journal knows what they said.
                            return if answer.swallowed() > 0 { self.distrust(end) } else { end };
                        }
                    }
                }
                Some(Ok(beside)) = self.beside.join_next() => {
                    let is_dead = matches!(&beside, Beside::Lives(Ok(inspected)) if inspected.process == "dead");
                    self.beside_ended(beside);
                    if is_dead {
                        return EndOfStream::Reset("the PHP process is gone, and somebody else holds its stream open".into());
                    }
                }
                () = tokio::time::sleep(wake) => {}
            }
        }
    }

    fn distrust(&mut self, end: EndOfStream) -> EndOfStream {
        if !self.batch.is_settled() {
            self.done = None;
        }
        end
    }

    fn log_stderr(&self, answer: &Answer) {
        let stderr = text::lossy(answer.stderr());
        if let Some(line) = stderr.lines().find(|line| !line.trim().is_empty()) {
            tracing::warn!(site = self.context.calls.site.name, "PHP says on stderr: {}", text::safe(line));
        }
    }

    /// When something has to be done although the stream says nothing.
    fn wake(&self, now: i64) -> Duration {
        let first_frame = (!self.has_frames).then_some(self.sent_at + FIRST_FRAME_MS);
        let next = [first_frame, self.rest_at(), self.overdue_at(), self.doubt_at()].into_iter().flatten().min();
        let wait = next.map_or(30_000, |next| (next - now).clamp(1, 30_000));
        Duration::from_millis(wait.unsigned_abs())
    }

    /// What was asked for by name is not given back: nobody would start it again before it is due.
    fn rest_at(&self) -> Option<i64> {
        self.batch.rest_at().filter(|_| self.ask.only.is_none())
    }

    fn overdue_at(&self) -> Option<i64> {
        let (_, hook, started) = self.batch.current()?;
        let limit = clock::millis(self.context.calls.site.timeout_of(hook));
        Some((started + limit).max(self.end_again_at))
    }

    /// A child of our own is known to live.
    fn doubt_at(&self) -> Option<i64> {
        let is_running = self.process.is_none() && self.batch.current().is_some();
        is_running.then_some(self.heard_at + SILENCE_MS)
    }

    fn at_time(&mut self, now: i64) -> Option<EndOfStream> {
        if !self.has_frames && now >= self.sent_at + FIRST_FRAME_MS {
            if let Some(process) = self.process.clone() {
                self.beside.spawn(async move {
                    process.end().await;
                    Beside::Over
                });
            }
            return Some(EndOfStream::Reset(format!("no answer began within {}", clock::span(FIRST_FRAME_MS))));
        }
        if self.rest_at().is_some_and(|at| now >= at) {
            self.give_rest_back();
        }
        if self.overdue_at().is_some_and(|at| now >= at) {
            self.end_current(now);
        }
        if self.doubt_at().is_some_and(|at| now >= at) {
            self.heard_at = now;
            self.ask_whether_it_lives();
        }
        None
    }

    fn ask_whether_it_lives(&mut self) {
        let Some((run, _, _)) = self.batch.current() else { return };
        let (calls, ask, run) = (self.context.calls.clone(), self.ask.clone(), run.to_string());
        self.beside.spawn(async move { Beside::Lives(calls.inspect(ask.install.as_deref(), ask.epoch, &run).await) });
    }

    fn give_rest_back(&mut self) {
        self.batch.rest_was_asked();
        let (calls, ask) = (self.context.calls.clone(), self.ask.clone());
        let what = Settle { batch: Some(self.batch_id.clone()), rest: true, ..self.settle() };
        self.beside.spawn(async move {
            let settled = calls.settle(ask.install.as_deref(), what).await;
            Beside::Rest(settled.map(|(settled, _)| Box::new(settled)))
        });
    }

    fn end_current(&mut self, now: i64) {
        self.end_again_at = now + END_AGAIN_MS;
        let Some((run, hook, _)) = self.batch.current() else { return };
        tracing::warn!(
            site = self.context.calls.site.name,
            run,
            "{} has reached its time limit of {}; its process is asked to end",
            text::safe(hook),
            clock::span(clock::millis(self.context.calls.site.timeout_of(hook)))
        );
        let (calls, ask, run) = (self.context.calls.clone(), self.ask.clone(), run.to_string());
        // Noted before it is asked to end: the stream may break off before the answer comes. From here on its death has this
        // reason; where it ends well all the same, the journal says so.
        note_time_limit(&mut self.timed_out, &run);
        let process = self.process.clone();
        self.beside.spawn(async move {
            // A child of ours goes with all that it started. Where it belongs to another user, one of his has to end it.
            if let Some(process) = process
                && process.end().await == Ending::Ended
            {
                return Beside::Over;
            }
            let ended = calls.end(ask.install.as_deref(), ask.epoch, &run).await;
            Beside::End(run, ended)
        });
    }

    fn beside_ended(&mut self, beside: Beside) {
        let site = &self.context.calls.site.name;
        match beside {
            Beside::Rest(Ok(settled)) => {
                self.learn(&settled);
                self.send(Progress::Claimed {
                    sent: self.ask.sent,
                    batch: self.batch_id.clone(),
                    count: 0,
                    seen: seen_in_settled(&settled),
                });
            }
            Beside::Rest(Err(failure)) => tracing::warn!("{}", failure.sentence(site)),
            Beside::End(run, Ok(ended)) => {
                if ended.alive {
                    let reason = text::safe(ended.reason.as_deref().unwrap_or("it does not die"));
                    tracing::warn!(
                        site,
                        run,
                        "overdue: its process could not be ended: {reason}; its lane stays taken; {END_BY_PHP_FPM}"
                    );
                    self.send(Progress::Overdue { run, reason });
                }
            }
            Beside::Over | Beside::Lives(_) => {}
            Beside::End(run, Err(failure)) => tracing::warn!(site, run, "{}", failure.sentence(site)),
        }
    }

    fn frame(&mut self, frame: Frame) {
        self.has_frames = true;
        match frame {
            Frame::Claimed(claimed) => {
                self.batch.claim(&claimed);
                let count = u64::try_from(claimed.events.len()).unwrap_or(0);
                let seen = Seen { next: claimed.next, due: claimed.remaining, oldest: None, busy: claimed.busy };
                self.send(Progress::Claimed { sent: self.ask.sent, batch: self.batch_id.clone(), count, seen });
            }
            Frame::Start(start) => {
                if let Some(hook) = self.batch.start(&start.run, start.at_ms, clock::steady_ms()) {
                    self.end_again_at = i64::MIN;
                    let (pid, host) = (self.batch.pid, self.batch.host.clone());
                    self.send(Progress::Started { run: start.run, hook, at_ms: start.at_ms, pid, host });
                }
            }
            Frame::End(end) => {
                let site = &self.context.calls.site;
                let record = self.batch.end(&site.name, site.trigger_word(), &self.batch_id, &end);
                self.record(record);
            }
            Frame::GivenBack { run } => self.batch.give_back(&run),
            Frame::Next { next } => self.send(Progress::Next(next)),
            Frame::Done(done) => self.done = Some(done),
            _ => {}
        }
    }

    fn record(&self, record: Option<RunRecord>) {
        if let Some(record) = record {
            record.log();
            self.context.history.record(record.clone());
            self.send(Progress::Ended(self.ask.sent, Box::new(record)));
        }
    }

    fn send(&self, progress: Progress) {
        let _ = self.context.progress.send((self.context.site, progress));
    }

    fn settle(&self) -> Settle {
        Settle { epoch: Some(self.ask.epoch), timed_out: self.timed_out.clone(), ..Settle::default() }
    }

    /// Every row that the journal calls ended; of this batch and of others.
    fn learn(&mut self, settled: &Settled) {
        for row in &settled.settled {
            let is_ours = row.batch.as_deref() == Some(&self.batch_id);
            let record = self.batch.end_by_journal(&self.context.calls.site.name, row);
            match record {
                Some(record) if is_ours => self.record(Some(record)),
                Some(record) => self.context.history.record(record),
                None => {}
            }
        }
    }
}

fn note_time_limit(timed_out: &mut Vec<String>, run: &str) {
    if !timed_out.iter().any(|known| known == run) {
        timed_out.push(run.to_string());
    }
}
