//! Builds everything from the configuration, runs it, and ends it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::api::{self, server::Server};
use crate::clock;
use crate::config::Config;
use crate::history::sqlite::{self, History};
use crate::lease::file::{Refusal, StateDir};
use crate::run_site::calls::Me;
use crate::scheduler::{Parts, Scheduler};
use crate::site::View;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "`wp-cron-runner {0}` was started as root, which PHP never needs: whatever a site's code does, it would do as root; \
         set User= in the systemd unit, or try `sudo -u www-data wp-cron-runner {0}`; nothing was started"
    )]
    Root(&'static str),
    #[error(
        "{0}; another daemon runs already; `wp-cron-runner status` asks it; trying again is safe once it has ended"
    )]
    Second(Refusal),
    #[error("{0}")]
    State(Refusal),
    #[error(
        "cannot listen on {0}: {1}; does another program use this port? set `listen` in [runner]; trying again is safe"
    )]
    Listen(SocketAddr, io::Error),
    #[error("{0}")]
    History(#[from] sqlite::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
}

/// Root is refused wherever PHP code is asked to run.
pub fn refuse_root(command: &'static str) -> Result<(), Error> {
    if rustix::process::geteuid().is_root() { Err(Error::Root(command)) } else { Ok(()) }
}

pub async fn run(config: &Config) -> Result<(), Error> {
    refuse_root("run")?;
    let state = StateDir::open(&config.runner.state_dir).map_err(Error::State)?;
    let lease = state.daemon().map_err(|refusal| match refusal {
        held @ Refusal::Held { .. } => Error::Second(held),
        other => Error::State(other),
    })?;
    let address = config.runner.listen;
    let listener = TcpListener::bind(address).await.map_err(|error| Error::Listen(address, error))?;
    let address = listener.local_addr().unwrap_or(address);
    let history = Arc::new(History::open(&state.history_file(), &config.history)?);
    let (notices, notice_queue) = mpsc::channel(10_000);
    let me = Me { id: state.id.clone(), name: config.runner.name.clone(), listen: address.to_string() };
    let history_file = state.history_file();
    let parts = Parts { state, me: Arc::new(me), history: history.clone(), notices: notice_queue, records: None };
    let (mut scheduler, views) = Scheduler::new(config, parts)?;

    let stop = stop_on_signals()?;
    let server = server(config, address, views, notices, history_file);
    // It answers during the drain as well: only the end of the process ends it.
    let serving = tokio::spawn(serve(listener, server));
    tracing::info!("runner {} looks after {} on {address}", config.runner.name, sites(config));
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    scheduler.run(&stop, config.runner.drain).await;

    serving.abort();
    drop(scheduler);
    // The last to go: it writes what is left.
    drop(history);
    drop(lease);
    tracing::info!("runner {} has stopped", config.runner.name);
    Ok(())
}

fn sites(config: &Config) -> String {
    match config.sites.as_slice() {
        [site] => format!("site {}", site.name),
        many => format!("{} sites", many.len()),
    }
}

fn server(
    config: &Config,
    listen: SocketAddr,
    views: watch::Receiver<Vec<View>>,
    notices: mpsc::Sender<(String, crate::protocol::Notice)>,
    history_file: std::path::PathBuf,
) -> Server {
    let runner = api::Runner {
        name: config.runner.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        state: "running".to_string(),
        pid: Some(std::process::id()),
        since: Some(clock::rfc3339(clock::now_ms())),
        listen: listen.to_string(),
    };
    let sites = config.sites.iter().map(|site| (site.name.clone(), site.clone())).collect();
    Server { runner, listen, sites, views, notices, history_file, doors: std::sync::Mutex::default() }
}

async fn serve(listener: TcpListener, server: Server) {
    if let Err(error) = axum::serve(listener, api::server::router(server)).await {
        tracing::error!("the server has ended: {error}");
    }
}

/// The first signal stops; the second ends the process at once.
fn stop_on_signals() -> Result<CancellationToken, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        token.cancel();
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("a second signal: ending at once; PHP goes on with what it runs");
        std::process::exit(0);
    });
    Ok(stop)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
