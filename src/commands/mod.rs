//! The commands, and what they share: how they print and how they stop.

pub mod diagnose;
mod owner;
mod plugin_files;
pub mod report;
pub mod run;
pub mod setup;
mod table;
mod wp_config;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::config::{Config, Site};
use crate::daemon;
use crate::history::sqlite::{self, Reader};
use crate::lease::file::Refusal;
use crate::outcome::Failure;
use crate::run_site::calls::{Calls, Me};
use crate::text;

/// Exit codes, as sysexits.h has them where it has them.
pub mod exit {
    pub const FINE: u8 = 0;
    /// A run failed, or a check did.
    pub const FAILED: u8 = 1;
    pub const USAGE: u8 = 2;
    /// Something cannot be reached.
    pub const UNREACHABLE: u8 = 69;
    /// Safe to try again later.
    pub const LATER: u8 = 75;
    pub const CONFIGURATION: u8 = 78;
}

/// A command that could not do what it was asked: a sentence and an exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Stop {
    pub code: u8,
    pub message: String,
}

impl Stop {
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn site(site: &str, failure: &Failure) -> Self {
        Self::new(code_of(failure), failure.sentence(site))
    }
}

pub fn code_of(failure: &Failure) -> u8 {
    match failure {
        Failure::NotReached(_)
        | Failure::TimedOut(_)
        | Failure::Unclear(_)
        | Failure::ServerError(_)
        | Failure::Database(_) => exit::UNREACHABLE,
        Failure::QueueFull
        | Failure::Busy
        | Failure::Maintenance { .. }
        | Failure::Stale { .. }
        | Failure::UnknownEpoch(_)
        | Failure::Left => exit::LATER,
        Failure::Misconfigured(_) | Failure::WrongInstall(_) | Failure::Clock(_) | Failure::Refused { .. } => {
            exit::CONFIGURATION
        }
        Failure::Corrupt(_) | Failure::NoSuchRun | Failure::State(_) => exit::FAILED,
    }
}

impl From<daemon::Error> for Stop {
    fn from(error: daemon::Error) -> Self {
        let code = match &error {
            daemon::Error::Root(_) | daemon::Error::History(_) | daemon::Error::State(_) => exit::CONFIGURATION,
            daemon::Error::Second(_) => exit::LATER,
            daemon::Error::Listen(..) | daemon::Error::Signals(_) => exit::UNREACHABLE,
        };
        Self::new(code, error.to_string())
    }
}

impl From<sqlite::Error> for Stop {
    fn from(error: sqlite::Error) -> Self {
        Self::new(exit::CONFIGURATION, error.to_string())
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Held { .. } => exit::LATER,
            Refusal::Io { .. } => exit::CONFIGURATION,
        };
        Self::new(code, refusal.to_string())
    }
}

/// A closed pipe (`| head`) is not an error: nobody wants the rest.
pub fn print(text: &str) -> Result<(), Stop> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::new(exit::FAILED, format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}

pub fn print_json(value: &impl Serialize) -> Result<(), Stop> {
    let json = serde_json::to_string_pretty(value);
    let json = json.map_err(|error| Stop::new(exit::FAILED, format!("cannot print: {error}")))?;
    print(&format!("{json}\n"))
}

/// The site of this name, or the nearest name there is.
pub fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Arc<Site>, Stop> {
    config.sites.iter().find(|site| site.name == name).ok_or_else(|| {
        let names: Vec<&str> = config.sites.iter().map(|site| site.name.as_str()).collect();
        let near = match text::nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", names.join(", ")),
        };
        Stop::new(exit::USAGE, format!("no site `{}` in {}; {near}", text::safe_cut(name, 80), config.path.display()))
    })
}

/// The named sites, or all.
pub fn selected(config: &Config, names: &[String]) -> Result<Vec<Arc<Site>>, Stop> {
    if names.is_empty() {
        return Ok(config.sites.clone());
    }
    names.iter().map(|name| find(config, name).cloned()).collect()
}

/// Who asks, when a report does: not the runner itself, whose word would keep page-load cron off.
pub fn visitor() -> Arc<Me> {
    Arc::new(Me { id: "0".repeat(32), name: "command line".into(), listen: String::new() })
}

/// The runner of this state directory, if it has ever run; else a visitor.
pub fn runner(config: &Config) -> Arc<Me> {
    let id = fs::read_to_string(config.runner.state_dir.join("runner.id")).unwrap_or_default();
    let id = id.trim();
    if id.len() != 32 {
        return visitor();
    }
    Arc::new(Me { id: id.into(), name: config.runner.name.clone(), listen: config.runner.listen.to_string() })
}

pub fn calls(site: &Arc<Site>, me: &Arc<Me>) -> Result<Calls, Stop> {
    Calls::new(site, me).map_err(|failure| Stop::site(&site.name, &failure))
}

pub fn history_file(config: &Config) -> std::path::PathBuf {
    config.runner.state_dir.join("history.sqlite")
}

/// Which install this site was the last time; it goes with every call, so that a copy of the site refuses it.
pub fn pinned_install(config: &Config, site: &str) -> Option<String> {
    Reader::open(&history_file(config)).ok()?.fact(site, "install").ok()?
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
