//! SIGHUP: the configuration is read anew, and takes the old one's place as a whole or not at all.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot, watch};

use super::systemd;
use crate::api::Configuration;
use crate::api::shared::Loaded;
use crate::clock;
use crate::config::redis::Redis;
use crate::config::{self, Config, Secrets};
use crate::history::redis::SharedHistory;
use crate::scheduler::orders::{Changes, Order};

pub struct Reloading {
    pub config: Config,
    pub in_force: watch::Sender<Loaded>,
    pub orders: mpsc::Sender<Order>,
    pub shared: Option<Arc<SharedHistory>>,
}

pub fn loaded(config: &Config) -> Loaded {
    let configuration = Configuration {
        path: config.path.display().to_string(),
        hash: Some(config.hash.clone()),
        loaded: Some(clock::rfc3339(clock::now_ms())),
        error: None,
    };
    let sites = config.sites.iter().map(|site| (site.name.clone(), site.keys.clone()));
    let jobs = config.jobs.iter().map(|job| (job.name.clone(), Vec::new()));
    Loaded {
        configuration,
        keys: sites.chain(jobs).collect(),
        alerts: config.alerts.clone(),
        sites: config.sites.iter().map(|site| site.name.clone()).collect(),
        jobs: config.jobs.iter().map(|job| (job.name.clone(), job.site.clone().unwrap_or_default())).collect(),
    }
}

impl Reloading {
    /// For ever: one reload per hang-up; those that come meanwhile are one.
    pub async fn on(self, mut hang_up: Signal) {
        let fixed = Fixed::of(&self.config);
        let path = self.config.path.clone();
        while hang_up.recv().await.is_some() {
            systemd::reloading();
            match self.reload(path.clone(), &fixed).await {
                Ok(changes) => tracing::info!("{} loaded anew: {changes}", path.display()),
                Err(problem) => self.keep(&path, problem),
            }
            systemd::ready();
        }
    }

    async fn reload(&self, path: PathBuf, fixed: &Fixed) -> Result<Changes, String> {
        let read = tokio::task::spawn_blocking(move || config::read(&path, Secrets::Needed)).await;
        let config = read.map_err(|error| error.to_string())?.map_err(|refused| refused.to_string())?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        for key in fixed.differences(&Fixed::of(&config)) {
            tracing::warn!("{key} has changed; it is used from the next start on");
        }
        let next = loaded(&config);
        let (history, sites) = (config.history.clone(), config.names().len());
        let (answer, answered) = oneshot::channel();
        let order = Order::Reload { config: Box::new(config), answer };
        self.orders.send(order).await.map_err(|_| "the runner is stopping".to_string())?;
        let changes = answered.await.map_err(|_| "the runner is stopping".to_string())??;
        if let Some(shared) = &self.shared {
            shared.set_limits(&history, sites);
        }
        self.in_force.send_replace(next);
        Ok(changes)
    }

    fn keep(&self, path: &Path, problem: String) {
        let kept = self.in_force.borrow().configuration.clone();
        tracing::error!(
            "{} was not loaded; the configuration of {} ({}) stays in force, and nothing was changed; put it right, try \
             `wp-cron-runner check`, and send SIGHUP again\n{problem}",
            path.display(),
            kept.loaded.unwrap_or_default(),
            kept.hash.unwrap_or_default()
        );
        self.in_force.send_modify(|loaded| loaded.configuration.error = Some(problem));
    }
}

/// What a running process cannot change.
#[derive(PartialEq)]
struct Fixed {
    name: String,
    state_dir: PathBuf,
    listen: SocketAddr,
    redis: Option<Arc<Redis>>,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        let runner = &config.runner;
        let (name, state_dir) = (runner.name.clone(), runner.state_dir.clone());
        Self { name, state_dir, listen: runner.listen, redis: config.redis.clone() }
    }

    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let all = [
            ("`name` in [runner]", self.name != other.name),
            ("`state_dir` in [runner]", self.state_dir != other.state_dir),
            ("`listen` in [runner]", self.listen != other.listen),
            ("[redis]", self.redis != other.redis),
        ];
        all.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}
