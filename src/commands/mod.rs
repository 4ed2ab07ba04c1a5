//! The commands, and what they share: how they print and how they stop.

pub mod alert;
pub mod control;
mod crontab;
pub mod deploy;
pub mod diagnose;
pub mod doctor;
mod finding;
mod fpm_pools;
pub mod import;
pub mod init;
pub mod next;
mod owner;
mod peers;
mod plugin_files;
mod progress;
pub mod removal;
pub mod report;
pub mod restore;
pub mod run;
pub mod setup;
mod table;
pub mod uninstall;
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
use crate::scheduler::orders::{PAUSED, pause_of};
use crate::site::Pause;
use crate::text;

impl From<daemon::Error> for Stop {
    fn from(error: daemon::Error) -> Self {
        match error {
            daemon::Error::Root(command) => Self::new(exit::CONFIGURATION, error.to_string())
                .found("uid 0")
                .expected("the user that PHP runs as")
                .next(format!("`sudo -u www-data wp-cron-runner {command}`")),
            daemon::Error::Second(refusal) => Self::from(refusal).next("`wp-cron-runner status` asks it"),
            daemon::Error::State(refusal) => Self::from(refusal),
            daemon::Error::Listen(address, error, holder) => {
                Self::new(exit::UNREACHABLE, format!("cannot listen on {address}"))
                    .found(format!("{error}{holder}"))
                    .expected("a port that is free")
                    .at("`listen` in [runner]")
                    .next("end that program, or set `listen` to another port")
            }
            daemon::Error::History(error) => Self::from(error),
            daemon::Error::Redis(stop) => *stop,
            daemon::Error::Signals(_) => Self::new(exit::UNREACHABLE, error.to_string()),
        }
    }
}

impl From<sqlite::Error> for Stop {
    fn from(error: sqlite::Error) -> Self {
        let (sqlite::Error::Sqlite { path, .. } | sqlite::Error::TooNew { path, .. } | sqlite::Error::Io { path, .. }) =
            &error;
        if error.is_full() {
            return no_room(error.to_string(), path);
        }
        let path = path.display().to_string();
        Self::new(exit::CONFIGURATION, error.to_string())
            .at(path)
            .next("see `state_dir`: its files belong to the user of the runner")
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Held { what, holder, path } => Self::new(exit::LATER, format!("{what} is held"))
                .found(format!("{holder} has it"))
                .expected("one daemon at a time")
                .at(path.display().to_string())
                .next("wait for its end, or end it"),
            Refusal::Io { path, error } if error.kind() == io::ErrorKind::StorageFull => {
                no_room(format!("{} cannot be written: {error}", path.display()), &path)
            }
            Refusal::Io { path, error } => Self::new(exit::CONFIGURATION, format!("{} cannot be used", path.display()))
                .found(error.to_string())
                .expected("a folder that this user may write (mode 0700)")
                .at(path.display().to_string())
                .next("see `state_dir`"),
        }
    }
}

/// systemd tries again what ends so, and it starts once there is room.
fn no_room(failed: String, path: &Path) -> Stop {
    Stop::new(exit::LATER, failed)
        .found(sqlite::room_beside(path))
        .expected("room for what a run leaves behind")
        .at(path.display().to_string())
        .next("free space there, then it goes on by itself")
}

/// Everything that is wrong with a configuration, as one refusal. For people it is shown at its places.
pub fn refused(refused: &config::problem::Refused, json: bool) -> Stop {
    let styled = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let failed = match json {
        _ if refused.source.is_empty() => format!("{} cannot be used", refused.path.display()),
        false => refused.render(styled),
        true => {
            let line = |problem: &config::problem::Problem| {
                format!("{}: {}; expected {}", refused.place(problem), problem.message, problem.expected)
            };
            refused.problems.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    };
    let stop = Stop::new(exit::CONFIGURATION, failed.trim_end()).next("`wp-cron-runner check`");
    let first = refused.problems.iter().find(|problem| problem.level == config::problem::Level::Error);
    match first {
        Some(first) => stop.at(refused.place(first)).found(&first.message).expected(&first.expected),
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
    if io::stdout().is_terminal() && !json {
        // Home, and clear to the end of the screen: no colour, and meant also where none is wanted.
        let _ = io::stdout().write_all(b"\x1b[H\x1b[J");
    }
    print(text)
}

pub fn pretty(value: &impl Serialize) -> Result<String, Stop> {
    let json = serde_json::to_string_pretty(value);
    json.map(|json| text::safe_json(&json) + "\n")
        .map_err(|error| Stop::new(exit::FAILED, format!("cannot print: {error}")))
}

pub fn print_json(value: &impl Serialize) -> Result<(), Stop> {
    print(&pretty(value)?).map(drop)
}

/// The site of this name, or the nearest name there is.
pub fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Arc<Site>, Stop> {
    config.sites.iter().find(|site| site.name == name).ok_or_else(|| {
        let names: Vec<String> = config.sites.iter().map(|site| site.name.clone()).collect();
        no_such(config, name, &names, "site", "[[site]]")
    })
}

/// `site` or `job`: what has this name.
pub fn kind_of(config: &Config, name: &str) -> Result<&'static str, Stop> {
    if config.jobs.iter().any(|job| job.name == name) {
        return Ok("job");
    }
    if config.jobs.is_empty() {
        return find(config, name).map(|_| "site");
    }
    match config.sites.iter().any(|site| site.name == name) {
        true => Ok("site"),
        false => Err(no_such(config, name, &config.names(), "site and no job", "[[site]] or [[job]]")),
    }
}

fn no_such(config: &Config, name: &str, names: &[String], kind: &str, table: &str) -> Stop {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let near = match text::nearest(name, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are: {}", names.join(", ")),
    };
    Stop::new(exit::USAGE, format!("no such {kind} in {}", config.path.display()))
        .found(format!("\"{}\"", text::safe_cut(name, 80)))
        .expected(format!("the `name` of a {table}"))
        .at(config.path.display().to_string())
        .next(near)
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

/// The pause that a runner of this state directory keeps.
pub fn pinned_pause(config: &Config, site: &str) -> Option<Pause> {
    let reader = sqlite::Reader::open(&history_file(config)).ok()?;
    pause_of(reader.fact(site, PAUSED).ok()?.as_deref())
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
