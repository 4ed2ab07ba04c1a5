//! `GET /metrics`. It is written while it is sent, a piece at a time: with a thousand sites it is megabytes.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::shared::{Server, Shared};
use crate::alerts;
use crate::clock;
use crate::history::sqlite::Reader;
use crate::metrics::{JobNow, Metrics, Now, RedisNow, SiteNow};
use crate::scheduler::JobView;

const FORM: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PIECE: usize = 64 * 1024;
/// Who takes longer over one piece, or over the whole, is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(60);
/// And so long for those before.
const QUEUE: Duration = Duration::from_secs(3);

/// What the answer is made of, beside what is published.
#[derive(Debug)]
pub struct Sources {
    pub metrics: Arc<Metrics>,
    pub alerts: Arc<alerts::Counts>,
}

pub async fn metrics(State(server): Shared) -> Response {
    let sources = &server.sources;
    let Ok(Ok(place)) = tokio::time::timeout(QUEUE, sources.metrics.places.clone().acquire_owned()).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "others are being answered\n").into_response();
    };
    let mut now = now(&server);
    let (metrics, history_file) = (sources.metrics.clone(), server.history_file.clone());
    let (sender, receiver) = channel(1);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        if let Ok(reader) = Reader::open(&history_file) {
            now.last_deploy_s = reader.deploys(1).ok().and_then(|marks| Some(marks.first()?.at_ms.div_euclid(1000)));
            if let Some(redis) = &mut now.redis {
                redis.waiting = reader.unsent_count().ok();
            }
        }
        let until = Instant::now() + WHOLE;
        let mut out = Pieces { text: String::with_capacity(PIECE), sender, runtime, until };
        // An error is that of somebody who has gone.
        let _ = metrics.write(&mut out, now).and_then(|()| out.send());
        drop(place);
    });
    ([(header::CONTENT_TYPE, FORM)], Body::new(Answer(receiver))).into_response()
}

fn now(server: &Server) -> Now {
    let counts = &server.sources.alerts;
    let is_configuration_loaded = server.loaded.borrow().configuration.error.is_none();
    let published = server.published.borrow();
    Now {
        sites: published.sites.iter().map(SiteNow::of).collect(),
        jobs: published.jobs.iter().map(job).collect(),
        redis: published.redis.as_ref().map(|redis| RedisNow {
            is_up: redis.state == "ok",
            lost: redis.lost,
            degraded_runs: redis.degraded_runs,
            waiting: None,
        }),
        is_ready: published.not_ready.is_empty(),
        is_history_writable: published.history_trouble.is_none(),
        is_configuration_loaded,
        alerts_sent: counts.sent(),
        alerts_lost: counts.lost(),
        last_deploy_s: None,
    }
}

fn job(view: &JobView) -> JobNow {
    JobNow {
        job: view.job.clone(),
        site: view.site.clone().unwrap_or_default(),
        has_lease: view.has_lease,
        is_paused: view.paused,
        is_running: view.running.is_some(),
        is_overdue: view.running.as_ref().is_some_and(|run| run.overdue.is_some()),
        next_ms: view.next.as_deref().and_then(clock::from_rfc3339),
    }
}

/// Waits for whoever reads, on a thread of its own.
struct Pieces {
    text: String,
    sender: Sender<Bytes>,
    runtime: Handle,
    until: Instant,
}

impl Pieces {
    fn send(&mut self) -> fmt::Result {
        let piece = Bytes::from(std::mem::replace(&mut self.text, String::with_capacity(PIECE)));
        let patience = PATIENCE.min(self.until.saturating_duration_since(Instant::now()));
        let sent = self.runtime.block_on(tokio::time::timeout(patience, self.sender.send(piece)));
        sent.map_or(Err(fmt::Error), |sent| sent.map_err(|_| fmt::Error))
    }
}

impl fmt::Write for Pieces {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > PIECE {
            self.send()?;
        }
        self.text.push_str(text);
        Ok(())
    }
}

struct Answer(Receiver<Bytes>);

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
