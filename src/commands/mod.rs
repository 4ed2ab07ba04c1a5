//! The commands, and what they share: how they print and how they stop.

pub mod control;
pub mod diagnose;
pub mod next;
mod owner;
mod plugin_files;
pub mod report;
pub mod run;
pub mod setup;
mod table;
mod wp_config;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::config::{self, Config, Site};
use crate::daemon;
use crate::history::sqlite;
use crate::lease::file::Refusal;
pub use crate::outcome::{Stop, exit};
use crate::run_site::calls::{Calls, Me};
use crate::text;

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

/// Everything that is wrong with a configuration, as one refusal. For people it is shown at its places.
pub fn refused(refused: &config::problem::Refused, json: bool) -> Stop {
    let styled = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A file that could not be read has no place to show.
    let failed = match json || refused.source.is_empty() {
        false => refused.render(styled),
        true => {
            let line = |problem: &config::problem::Problem| format!("{}: {}", refused.place(problem), problem.message);
            refused.problems.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    };
    let stop = Stop::new(exit::CONFIGURATION, failed.trim_end());
    let first = refused.problems.iter().find(|problem| problem.level == config::problem::Level::Error);
    match first {
        Some(first) => stop.at(refused.place(first)).expected(&first.expected).next("`wp-cron-runner check`"),
        None => stop,
    }
}

/// Whoever reads what is printed.
#[derive(Debug, PartialEq, Eq)]
pub enum Reader {
    There,
    Gone,
}

/// A closed pipe (`| head`) is not an error: nobody wants the rest.
pub fn print(text: &str) -> Result<Reader, Stop> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Stop::new(exit::FAILED, format!("cannot print: {error}"))),
    }
}

/// Over what was printed before, on a terminal; else below it.
pub fn print_again(text: &str, json: bool) -> Result<Reader, Stop> {
    match io::stdout().is_terminal() && !json {
        // Home, and clear to the end of the screen.
        true => print(&format!("\x1b[H\x1b[J{text}")),
        false => print(text),
    }
}

pub fn pretty(value: &impl Serialize) -> Result<String, Stop> {
    let json = serde_json::to_string_pretty(value);
    json.map(|json| json + "\n").map_err(|error| Stop::new(exit::FAILED, format!("cannot print: {error}")))
}

pub fn print_json(value: &impl Serialize) -> Result<(), Stop> {
    print(&pretty(value)?).map(drop)
}

/// The site of this name, or the nearest name there is.
pub fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Arc<Site>, Stop> {
    config.sites.iter().find(|site| site.name == name).ok_or_else(|| {
        let names: Vec<&str> = config.sites.iter().map(|site| site.name.as_str()).collect();
        let near = match text::nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", names.join(", ")),
        };
        let failed = format!("no site `{}` in {}", text::safe_cut(name, 80), config.path.display());
        Stop::new(exit::USAGE, failed).next(near)
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
    sqlite::Reader::open(&history_file(config)).ok()?.fact(site, "install").ok()?
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
