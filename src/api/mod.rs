//! What the runner serves on `listen`, as data.

pub mod client;
mod door;
pub mod metrics;
mod reads;
pub mod server;
pub mod shared;
mod signed;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::scheduler::JobView;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Runner {
    pub name: String,
    pub version: String,
    /// `running`, or `not running` where the command line answers instead.
    pub state: String,
    pub pid: Option<u32>,
    pub since: Option<String>,
    pub listen: String,
    #[serde(default)]
    pub configuration: Configuration,
    /// Why nothing, or nothing on some site, can be started.
    #[serde(default)]
    pub not_ready: Vec<String>,
    /// How Redis answers, and who shares the sites; null on a host of its own.
    #[serde(default)]
    pub redis: Option<Value>,
}

/// The configuration that is in force, and what kept a newer one from it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Configuration {
    pub path: String,
    /// The beginning of the file's SHA-256.
    pub hash: Option<String>,
    pub loaded: Option<String>,
    pub error: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Status<'a> {
    pub runner: &'a Runner,
    pub sites: &'a [Value],
    pub jobs: &'a [JobView],
}

/// The same, as a client reads it: the command line shows what it gets.
#[derive(Debug, Deserialize, Serialize)]
pub struct StatusReply {
    pub runner: Runner,
    pub sites: Vec<Value>,
    #[serde(default)]
    pub jobs: Vec<Value>,
}
