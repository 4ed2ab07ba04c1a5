//! Builds everything from the configuration, runs it, loads it anew on request, and ends it.

mod metering;
mod port;
mod reload;
mod signals;
mod systemd;
mod telling;
mod views;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::alerts;
use crate::api;
use crate::api::metrics::Sources;
use crate::api::shared::Server;
use crate::clock;
use crate::config::Config;
use crate::config::redis::Redis;
use crate::history::redis::{Sending, SharedHistory};
use crate::history::sqlite::{self, History, Reader};
use crate::lease::file::{Lease, Refusal, StateDir};
use crate::lease::redis::{Part, keep, probe};
use crate::metrics::Metrics;
use crate::outcome::Stop;
use crate::redis_link::{Link, Trouble};
use crate::run_site::calls::Me;
use crate::scheduler::{Others, Parts, Scheduler};
use metering::Metering;
use reload::{Reloading, loaded};
use signals::Signals;
use telling::Telling;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "`wp-cron-runner {0}` was started as root, which PHP never needs: whatever a site's code does, it would do as root; \
         set User= in the systemd unit, or try `sudo -u www-data wp-cron-runner {0}`; nothing was started"
    )]
    Root(&'static str),
    #[error("{0}; another daemon runs already; `wp-cron-runner status` asks it")]
    Second(Refusal),
    #[error("{0}")]
    State(Refusal),
    #[error("cannot listen on {0}: {1}{2}; set `listen` in [runner] to another port, or end that program")]
    Listen(SocketAddr, io::Error, String),
    #[error("{0}")]
    History(#[from] sqlite::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
    #[error("{0}")]
    Redis(Box<Stop>),
}

/// Root is refused wherever PHP code is asked to run.
pub fn refuse_root(command: &'static str) -> Result<(), Error> {
    if rustix::process::geteuid().is_root() { Err(Error::Root(command)) } else { Ok(()) }
}

/// For what nobody has been told of yet.
const LAST_ALERTS: Duration = Duration::from_secs(6);

/// Notices come in bursts; whoever waits for an answer waits for his place as well.
const ORDERS: usize = 10_000;

pub async fn run(config: Config) -> Result<(), Error> {
    refuse_root("run")?;
    // First of all: a signal that comes meanwhile must not end the process before it has begun.
    let signals = Signals::listen().map_err(Error::Signals)?;
    let state = StateDir::open(&config.runner.state_dir).map_err(Error::State)?;
    let lease = only_daemon(&state)?;
    let listener = listen(config.runner.listen).await?;
    let address = listener.local_addr().unwrap_or(config.runner.listen);
    let control = state.control_key().map_err(Error::State)?;
    let history_file = state.history_file();
    let history = Arc::new(History::open(&history_file, &config.history)?);
    let (orders, order_queue) = mpsc::channel(ORDERS);
    let me = Arc::new(Me { id: state.id.clone(), name: config.runner.name.clone(), listen: address.to_string() });
    let slice = systemd::slice();
    let others = match &config.redis {
        Some(redis) => Some(share(&config, redis, &me).await?),
        None => None,
    };
    let failing = Reader::open(&history_file)?;
    let shared = config.redis.as_ref().map(|redis| {
        let link = Arc::new(Link::new(redis));
        Arc::new(SharedHistory::new(&link, &config.history, config.names().len()))
    });
    let sending = shared.as_ref().map(|shared| Sending::begin(shared, &history, &history_file));
    let parts = Parts {
        state,
        me,
        history: history.clone(),
        orders: order_queue,
        records: None,
        slice,
        others,
        shared: shared.clone(),
    };
    let (mut scheduler, published) = Scheduler::new(&config, parts)?;

    let (in_force, loaded) = watch::channel(loaded(&config));
    let counts = Arc::<alerts::Counts>::default();
    let telling = Telling {
        runs: history.hear(),
        published: published.clone(),
        loaded: loaded.clone(),
        runner: config.runner.name.clone(),
        counts: counts.clone(),
    };
    let telling = tokio::spawn(telling.work(Some(failing)));
    let metrics = Arc::new(Metrics::new(clock::now_ms()));
    let metering = Metering {
        runs: history.hear(),
        loaded: loaded.clone(),
        metrics: metrics.clone(),
        history_file: history_file.clone(),
    };
    // It ends with the history.
    tokio::spawn(metering.work());
    let server = Server {
        runner: runner(&config, address),
        listen: address,
        control,
        loaded,
        published: published.clone(),
        orders: orders.clone(),
        history: Arc::downgrade(&history),
        history_file,
        shared: shared.clone(),
        doors: Mutex::default(),
        sources: Sources { metrics, alerts: counts },
    };
    // It answers during the drain as well: only the end of the process ends it.
    let serving = tokio::spawn(api::server::serve(listener, server));
    tracing::info!("runner {} looks after {} on {address}", config.runner.name, sites(&config));
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let watching = tokio::spawn(systemd::report(published.clone()));
    let viewing = shared.clone().map(|shared| tokio::spawn(views::share(published, shared)));
    let (stop, hang_up) = signals.attend();
    let name = config.runner.name.clone();
    let reloading = tokio::spawn(Reloading { config, in_force, orders, shared }.on(hang_up));
    systemd::ready();
    let stopping = stop.clone();
    tokio::spawn(async move {
        stopping.cancelled().await;
        systemd::stopping();
    });
    scheduler.run(&stop).await;

    reloading.abort();
    watching.abort();
    serving.abort();
    if let Some(viewing) = viewing {
        viewing.abort();
    }
    drop(scheduler);
    if let Some(sending) = sending {
        sending.finish().await;
    }
    // The last to go: it writes what is left.
    drop(history);
    // It hears of the last run before that, and sends what waits.
    let _ = tokio::time::timeout(LAST_ALERTS, telling).await;
    drop(lease);
    tracing::info!("runner {name} has stopped");
    Ok(())
}

/// A Redis that leases cannot be kept in is refused now; one that does not answer is waited for.
async fn share(config: &Config, redis: &Arc<Redis>, me: &Me) -> Result<Others, Error> {
    let link = Arc::new(Link::new(redis));
    let refuse = |stop: Stop| Error::Redis(Box::new(stop));
    link.refuse_unfit().await.map_err(refuse)?;
    if let Err(trouble @ Trouble::Denied(_)) = probe(&link).await {
        return Err(refuse(trouble.stop(redis)));
    }
    let names = config.names();
    Ok(Others::new(redis, Part::Member, keep(&link, Part::Member, me.member(), &names)))
}

fn only_daemon(state: &StateDir) -> Result<Lease, Error> {
    state.daemon().map_err(|refusal| match refusal {
        held @ Refusal::Held { .. } => Error::Second(held),
        other => Error::State(other),
    })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| {
        let holder = port::holder_of(address).map_or_else(String::new, |holder| format!(" ({holder} has it)"));
        Error::Listen(address, error, holder)
    })
}

fn sites(config: &Config) -> String {
    let sites = match config.sites.as_slice() {
        [site] => format!("site {}", site.name),
        many => format!("{} sites", many.len()),
    };
    match config.jobs.len() {
        0 => sites,
        1 => format!("{sites} and 1 job"),
        many => format!("{sites} and {many} jobs"),
    }
}

fn runner(config: &Config, listen: SocketAddr) -> api::Runner {
    api::Runner {
        name: config.runner.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        state: "running".to_string(),
        pid: Some(std::process::id()),
        since: Some(clock::rfc3339(clock::now_ms())),
        listen: listen.to_string(),
        configuration: api::Configuration::default(),
        not_ready: Vec::new(),
        redis: None,
    }
}
