//! What the runners of other hosts know, for commands: from Redis, where it is configured.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::Stop;
use crate::config::Config;
use crate::config::redis::Redis;
use crate::history::RunRecord;
use crate::history::redis::SharedHistory;
use crate::lease::redis::{Leased, leased, set_pause};
use crate::redis_link::Link;
use crate::scheduler::orders::{fact_of, pause_of};
use crate::site::Pause;

/// The way to them.
pub struct Peers {
    config: Arc<Redis>,
    link: Arc<Link>,
    sites: Vec<String>,
    pub history: SharedHistory,
}

impl Peers {
    /// None on a host of its own.
    pub fn of(config: &Config) -> Option<Self> {
        let redis = config.redis.as_ref()?;
        let link = Arc::new(Link::new(redis));
        let sites = config.names();
        let history = SharedHistory::new(&link, &config.history, sites.len());
        Some(Self { config: redis.clone(), link, sites, history })
    }

    /// Names of the configuration, of sites and jobs.
    pub fn sites(&self) -> &[String] {
        &self.sites
    }

    pub async fn leased(&self) -> Result<Leased, Stop> {
        leased(&self.link, &self.sites).await.map_err(|trouble| trouble.stop(&self.config))
    }

    /// Of a server that leases can be kept in.
    pub async fn pauses_where_fit(&self) -> Result<HashMap<String, Pause>, Stop> {
        self.link.refuse_unfit().await?;
        let paused = self.leased().await?.paused;
        Ok(paused.into_iter().filter_map(|(site, value)| Some((site, pause_of(Some(&value))?))).collect())
    }

    pub async fn set_pause(&self, site: &str, pause: Option<Pause>) -> Result<(), Stop> {
        let value = pause.map(|pause| fact_of(Some(pause)));
        let set = set_pause(&self.link, site, value.as_deref()).await;
        set.map_err(|trouble| trouble.stop(&self.config).again(crate::outcome::Again::Safe))
    }

    /// A site as the runner sees it that looks after it.
    pub async fn view(&self, site: &str, runner: &str) -> Option<Value> {
        let view: Value = serde_json::from_str(&self.history.fact(site, "view").await.ok()??).ok()?;
        (view.get("runner")? == runner).then_some(view)
    }

    /// Which install a site is, for all runners: after it has moved.
    pub async fn pin(&self, site: &str, install: &str) {
        if let Err(trouble) = self.history.set_fact(site, "install", install).await {
            tracing::warn!(
                "{trouble}; other hosts may take site `{site}` for another install: try again when Redis answers"
            );
        }
    }

    /// A run that was decided about while no runner is up here to tell of it.
    pub async fn tell_of(&self, record: &RunRecord) {
        if let (_, Err(trouble)) = self.history.add(std::slice::from_ref(record)).await {
            tracing::warn!("{trouble}; the other hosts learn of it from the site");
        }
    }
}
