//! What all handlers of the server share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use axum::extract::State;
use tokio::sync::{mpsc, watch};

use super::metrics::Sources;
use super::{Configuration, Runner};
use crate::config::Alert;
use crate::history::redis::SharedHistory;
use crate::history::sqlite::History;
use crate::protocol::signature::{Door, Key};
use crate::scheduler::Published;
use crate::scheduler::orders::Order;

pub struct Server {
    pub runner: Runner,
    pub listen: SocketAddr,
    pub control: Key,
    pub loaded: watch::Receiver<Loaded>,
    pub published: watch::Receiver<Published>,
    pub orders: mpsc::Sender<Order>,
    /// Weak: the runner closes it as its last act, and a connection may outlive that.
    pub history: Weak<History>,
    pub history_file: PathBuf,
    /// The runs of all hosts; None on a host of its own.
    pub shared: Option<Arc<SharedHistory>>,
    pub doors: Mutex<HashMap<String, Door>>,
    pub sources: Sources,
}

/// The configuration in force, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    pub configuration: Configuration,
    /// The keys of each site by its name; a job has none, only the command line speaks of it.
    pub keys: HashMap<String, Vec<Key>>,
    pub alerts: Vec<Arc<Alert>>,
    pub sites: Vec<String>,
    /// Each with the site that it belongs to, or nothing.
    pub jobs: Vec<(String, String)>,
}

pub type Shared = State<Arc<Server>>;
