//! The short calls to a site: look, settle, inspect, end.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::config::Site;
use crate::lease::redis::Member;
use crate::outcome::Failure;
use crate::protocol::signature::random_hex;
use crate::protocol::{
    Call, Caller, DoctorBody, Due, DueBody, Ended, Event, Examined, Frame, Inspected, RunIdBody, SettleBody, Settled,
};
use crate::site::Seen;
use crate::trigger::worker::Worker;
use crate::trigger::{Reply, Trigger};

const LOOK_LIMIT: Duration = Duration::from_secs(15);
/// All of WordPress is loaded, and the whole timetable walked through.
const DOCTOR_LIMIT: Duration = Duration::from_secs(60);
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// TERM, ten seconds, KILL, and a little.
const END_LIMIT: Duration = Duration::from_secs(20);

/// Who calls.
#[derive(Debug, Clone)]
pub struct Me {
    pub id: String,
    pub name: String,
    /// Where notices may be sent: the runner's own address. Empty where nothing listens.
    pub listen: String,
}

impl Me {
    /// As other runners see it. `process` is new with each start.
    pub fn member(&self) -> Member {
        let process = random_hex::<8>().unwrap_or_default();
        let (id, name, listen) = (self.id.clone(), self.name.clone(), self.listen.clone());
        Member { id, name, process, listen, version: env!("CARGO_PKG_VERSION").into(), sites: Vec::new() }
    }
}

#[derive(Debug)]
pub struct Calls {
    pub site: Arc<Site>,
    pub trigger: Trigger,
    pub me: Arc<Me>,
}

/// When a call was sent and answered, on this machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub sent_ms: i64,
    pub received_ms: i64,
}

#[derive(Debug)]
pub struct Looked {
    pub due: Due,
    pub events: Vec<Event>,
    pub timing: Timing,
}

/// What a `settle` is to do besides what it always does.
#[derive(Debug, Clone, Default)]
pub struct Settle {
    pub take: bool,
    pub epoch: Option<i64>,
    pub since_ms: Option<i64>,
    pub batch: Option<String>,
    pub rest: bool,
    pub over: bool,
    pub timed_out: Vec<String>,
    pub runs: Vec<String>,
    pub requeue: Option<String>,
    pub drop: Option<String>,
    pub restore: bool,
    pub realm: String,
    pub until_ms: Option<i64>,
    pub leave: bool,
    pub follows: bool,
    pub uninstall: bool,
}

impl Calls {
    pub fn new(site: &Arc<Site>, me: &Arc<Me>) -> Result<Self, Failure> {
        Ok(Self { site: site.clone(), trigger: Trigger::new(site)?, me: me.clone() })
    }

    pub fn caller(&self, install: Option<&str>) -> Caller {
        Caller {
            install: install.map(str::to_string),
            blog: 1,
            owner: self.me.id.clone(),
            runner: self.me.name.clone(),
        }
    }

    /// The runner is heard of again within this time, or it is gone.
    pub fn expect_ms(&self) -> i64 {
        clock::millis(self.site.rescan).max(15_000)
    }

    pub async fn look(&self, install: Option<&str>, list: bool) -> Result<Looked, Failure> {
        let body = DueBody { caller: self.caller(install), expect_ms: self.expect_ms(), list };
        let mut reply = self.trigger.ask(Call::Due, &body, LOOK_LIMIT).await?;
        let timing = timing(&reply);
        let mut events = Vec::new();
        reply.frames.retain(|frame| match frame {
            Frame::Event(event) => {
                events.push(event.clone());
                false
            }
            _ => true,
        });
        let due = reply.take(|frame| match frame {
            Frame::Due(due) => Some(*due),
            _ => None,
        })?;
        if due.v != 1 {
            return Err(Failure::Misconfigured(format!("the plugin speaks protocol {}, this runner 1", due.v)));
        }
        Ok(Looked { due, events, timing })
    }

    pub async fn settle(&self, install: Option<&str>, what: Settle) -> Result<(Settled, Timing), Failure> {
        let body = SettleBody {
            caller: self.caller(install),
            epoch: what.epoch,
            take: what.take,
            expect_ms: self.expect_ms(),
            grace_s: clock::millis(self.site.grace) / 1000,
            url: self.me.listen.clone(),
            since_ms: what.since_ms,
            batch: what.batch,
            rest: what.rest,
            over: what.over,
            timed_out: what.timed_out,
            runs: what.runs,
            policies: self.site.policies(),
            requeue: what.requeue,
            drop: what.drop,
            restore: what.restore,
            realm: what.realm,
            until_ms: what.until_ms,
            leave: what.leave,
            follows: what.follows,
            uninstall: what.uninstall,
        };
        let reply = self.trigger.ask(Call::Settle, &body, SETTLE_LIMIT).await?;
        let timing = timing(&reply);
        let settled = reply.take(|frame| match frame {
            Frame::Settled(settled) => Some(*settled),
            _ => None,
        })?;
        Ok((settled, timing))
    }

    pub async fn inspect(&self, install: Option<&str>, epoch: i64, run: &str) -> Result<Inspected, Failure> {
        let body = RunIdBody { caller: self.caller(install), epoch: Some(epoch), run: run.to_string() };
        self.trigger.ask(Call::Inspect, &body, LOOK_LIMIT).await?.take(|frame| match frame {
            Frame::Inspect(inspected) => Some(*inspected),
            _ => None,
        })
    }

    /// What the site says of itself, from inside. Nothing there is changed.
    pub async fn examine(&self, install: Option<&str>) -> Result<Examined, Failure> {
        let body = DoctorBody { caller: self.caller(install) };
        self.trigger.ask(Call::Doctor, &body, DOCTOR_LIMIT).await?.take(|frame| match frame {
            Frame::Doctor(examined) => Some(*examined),
            _ => None,
        })
    }

    /// Asks PHP to end the process of a run; what PHP may not, this runner tries itself. `alive` and `reason` say what came
    /// of both.
    pub async fn end(&self, install: Option<&str>, epoch: i64, run: &str) -> Result<Ended, Failure> {
        let body = RunIdBody { caller: self.caller(install), epoch: Some(epoch), run: run.to_string() };
        let mut ended = self.trigger.ask(Call::End, &body, END_LIMIT).await?.take(|frame| match frame {
            Frame::Ended(ended) => Some(ended),
            _ => None,
        })?;
        // Where PHP has ended it, its lock may still be there for a moment.
        if ended.held && (ended.alive || ended.reason.is_some()) {
            let worker = Worker { host: &ended.host, pid: ended.pid, start: &ended.start };
            let by_us = worker.end().await;
            ended.alive = by_us.is_err();
            ended.held = by_us.is_err();
            ended.reason = by_us.err().map(|ours| match ended.reason.take() {
                Some(reason) => format!("{reason}; and {ours}"),
                None => ours,
            });
        }
        Ok(ended)
    }
}

fn timing(reply: &Reply) -> Timing {
    Timing { sent_ms: reply.sent_ms, received_ms: reply.received_ms }
}

pub fn seen_in_due(due: &Due) -> Seen {
    Seen { next: due.next, due: due.due, oldest: due.oldest, busy: Vec::new() }
}

pub fn seen_in_settled(settled: &Settled) -> Seen {
    Seen { next: settled.next, due: settled.due, oldest: settled.oldest, busy: Vec::new() }
}
