//! The configuration as the program uses it: everything resolved, nothing optional that is needed. `check`, `run` and
//! every other command read it with the same code.

mod alerts;
pub mod file;
mod jobs;
pub mod problem;
pub mod redis;
pub mod secret;
mod sites;
mod triggers;
mod units;
pub mod wp_content;

pub use alerts::{Alert, On, Ping, To};
pub use jobs::{Job, Missed, Overlap, Work};
pub use sites::is_link_local;
pub use triggers::{account, look_up};
pub use units::duration;

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use toml::de::DeTable;

use crate::protocol::signature::{Key, sha256};
use crate::schedule::Schedule;
use crate::text;
use file::{Problems, Table};
use problem::{Level, Problem, Refused, conceal, excerpt};

pub const DEFAULT_PATH: &str = "/etc/wp-cron-runner/config.toml";
const LARGEST_FILE: u64 = 16 << 20;

#[derive(Debug)]
pub struct Config {
    pub path: PathBuf,
    /// The beginning of the file's SHA-256, to tell one version from another.
    pub hash: String,
    pub runner: Runner,
    /// None for one host: leases and history are then local files.
    pub redis: Option<Arc<redis::Redis>>,
    pub sites: Vec<Arc<Site>>,
    pub jobs: Vec<Arc<Job>>,
    pub alerts: Vec<Arc<Alert>>,
    pub history: History,
    /// What is legal and probably not wanted, ready to print.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Runner {
    pub name: String,
    pub state_dir: PathBuf,
    pub listen: SocketAddr,
    pub max_parallel: usize,
    /// Runs through WP-CLI at once: each is a process of 80 MB.
    pub max_wp_cli: usize,
    pub drain: Duration,
}

#[derive(Debug, Clone)]
pub struct History {
    pub age: Duration,
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    pub name: String,
    /// The WordPress root on this machine, where it is known.
    pub path: Option<PathBuf>,
    pub url: Url,
    pub trigger: Trigger,
    pub secret_file: PathBuf,
    /// The first signs. Empty only for commands that may make the file.
    pub keys: Vec<Key>,
    pub timeout: Duration,
    pub lanes: usize,
    pub rescan: Duration,
    pub grace: Duration,
    /// The Host header, as the site must see it.
    pub host: String,
    pub hooks: Vec<Hook>,
    /// When what is due is run; None: each event at its own time.
    pub schedule: Option<Schedule>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    FastCgi(Address),
    Http(Http),
    WpCli(WpCli),
    /// No plugin is there: WordPress's own way, on a crontab schedule.
    WpCronPhp(WpCronPhp),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Http {
    pub ca_file: Option<CaFile>,
    pub connect_to: Option<SocketAddr>,
    pub basic_auth: Option<secret::Password>,
}

/// Read with the configuration, so that a reload sees a new certificate.
#[derive(Debug, Clone, PartialEq)]
pub struct CaFile {
    pub path: PathBuf,
    pub pem: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct WpCli {
    /// The interpreter; a name is looked for in PATH.
    pub php: String,
    /// WP-CLI itself, a file that PHP reads.
    pub wp_cli: String,
    /// `name=value`, each for one `-d`.
    pub ini: Vec<String>,
    pub user: Option<User>,
    /// Words in front of it all, such as `docker exec -i shop`; empty where PHP is a child of this process.
    pub wrapper: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

/// How `wp-cron.php` is asked to run what is due.
#[derive(Debug, Clone, PartialEq)]
pub enum WpCronPhp {
    Http(Http),
    /// `wp cron event run --due-now`
    WpCli(WpCli),
}

/// Where php-fpm listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl std::fmt::Display for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "{}", path.display()),
            Self::Tcp(address) => write!(out, "{address}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    /// A glob.
    pub name: String,
    pub timeout: Option<Duration>,
    pub interrupted: Option<Interrupted>,
}

/// What becomes of an interrupted or timed out event of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    Hold,
    Drop,
    Retry,
}

impl Trigger {
    pub fn word(&self) -> &'static str {
        match self {
            Self::FastCgi(_) => "fastcgi",
            Self::Http(_) => "http",
            Self::WpCli(_) => "wp-cli",
            Self::WpCronPhp(_) => "wp-cron.php",
        }
    }
}

impl Config {
    /// Of all sites and jobs: what leases, pauses and histories are named by.
    pub fn names(&self) -> Vec<String> {
        let sites = self.sites.iter().map(|site| site.name.clone());
        sites.chain(self.jobs.iter().map(|job| job.name.clone())).collect()
    }
}

impl Site {
    pub fn trigger_word(&self) -> &'static str {
        self.trigger.word()
    }

    pub fn has_plugin(&self) -> bool {
        !matches!(self.trigger, Trigger::WpCronPhp(_))
    }

    /// `/blog/?wp-cron-runner=due`
    pub fn path_and_query(&self, call: &str) -> String {
        format!("{}/?wp-cron-runner={call}", self.url.path().trim_end_matches('/'))
    }

    pub fn longest_timeout(&self) -> Duration {
        self.hooks.iter().filter_map(|pattern| pattern.timeout).fold(self.timeout, Duration::max)
    }

    /// The first `[[site.hook]]` that matches and has a time limit, else the site's.
    pub fn timeout_of(&self, hook: &str) -> Duration {
        let own = self
            .hooks
            .iter()
            .filter(|pattern| text::matches_glob(&pattern.name, hook))
            .find_map(|pattern| pattern.timeout);
        own.unwrap_or(self.timeout)
    }

    pub fn policies(&self) -> Vec<(String, String)> {
        let word = |interrupted| match interrupted {
            Interrupted::Hold => "hold".to_string(),
            Interrupted::Drop => "drop".to_string(),
            Interrupted::Retry => "retry".to_string(),
        };
        self.hooks.iter().filter_map(|hook| Some((hook.name.clone(), word(hook.interrupted?)))).collect()
    }
}

/// Whether a secret file must be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    Needed,
    MayBeMissing,
}

pub fn read(path: &Path, secrets: Secrets) -> Result<Config, Refused> {
    let source = read_file(path)?;
    parse(path, &source, secrets)
}

fn read_file(path: &Path) -> Result<String, Refused> {
    let expected = "a TOML file with mode 0600 to 0640; config/wp-cron-runner.toml is the shortest useful one";
    let refuse = |message: String| Refused::unreadable(path, message, expected);
    let file = fs::File::open(path).map_err(|error| {
        let uid = rustix::process::geteuid().as_raw();
        refuse(format!("cannot be read by uid {uid}: {error}"))
    })?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(refuse("is a directory".into()));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(refuse("is larger than 16 MiB".into()));
    }
    String::from_utf8(bytes)
        .map_err(|error| refuse(format!("is not UTF-8 text (byte {})", error.utf8_error().valid_up_to())))
}

/// What a file of this text would be.
pub fn parse(path: &Path, source: &str, secrets: Secrets) -> Result<Config, Refused> {
    let (table, errors) = DeTable::parse_recoverable(source);
    let problems = Problems::default();
    for error in &errors {
        let (span, message) = (error.span().unwrap_or(0..0), error.message().trim_end());
        match first_defined(source, &span).filter(|_| message.starts_with("duplicate")) {
            Some(line) => {
                problems.add(Level::Error, span, format!("{message}, first defined on line {line}"), "it once");
            }
            None => problems.add(Level::Error, span, message, "TOML"),
        }
    }
    let config =
        if errors.is_empty() { resolve(path, &Table::root(&table, &problems), &problems, secrets) } else { None };
    let problems = problems.into_sorted();
    let failed = problems.iter().any(|problem| problem.level == Level::Error);
    match config {
        Some(mut config) if !failed => {
            config.hash = sha256(source.as_bytes()).chars().take(12).collect();
            config.warnings = problems.iter().map(|warning| sentence(path, source, warning)).collect();
            Ok(config)
        }
        _ => Err(Refused { path: path.to_path_buf(), source: conceal(source), problems }),
    }
}

/// The line (from 1) where the key or table that is marked was written before. A key counts within its own table.
fn first_defined(source: &str, span: &Range<usize>) -> Option<usize> {
    let before = source.get(..span.start)?;
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    let name = |line: &str| line.split('=').next().unwrap_or_default().trim().to_string();
    let wanted = name(source.get(line..)?.lines().next()?);
    let lines: Vec<&str> = source.get(..line)?.lines().collect();
    let is_table = wanted.starts_with('[');
    let from = lines.iter().rposition(|line| !is_table && line.trim_start().starts_with('[')).unwrap_or(0);
    lines.iter().skip(from).position(|line| name(line) == wanted).map(|at| from + at + 1)
}

fn sentence(path: &Path, source: &str, problem: &Problem) -> String {
    format!("{}: {}; expected {}", problem::place(path, source, problem), problem.message, problem.expected)
}

fn resolve(path: &Path, root: &Table<'_>, problems: &Problems, secrets: Secrets) -> Option<Config> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let runner = runner(&root.table("runner"), folder);
    let redis = root.has("redis").then(|| redis::resolve(&root.table("redis"), folder)).flatten().map(Arc::new);
    let history = root.table("history");
    let history_limits = History {
        age: history.duration("age", Duration::from_secs(3600)..Duration::from_secs(3650 * 86_400)).unwrap_or(days(30)),
        size: history.size("size", 1_000_000).unwrap_or(200_000_000),
    };
    history.finish();
    let tables = root.tables("site");
    let sites = sites::resolve(&tables, folder, problems, secrets);
    let job_tables = root.tables("job");
    let jobs = jobs::resolve(&job_tables, folder, &sites, &tables, problems);
    let alerts = alerts::resolve(&root.tables("alert")).into_iter().map(Arc::new).collect();
    root.finish();
    if tables.is_empty() && job_tables.is_empty() {
        problems.add(
            Level::Error,
            0..0,
            "the configuration names no site and no job",
            "at least one [[site]] or [[job]]",
        );
    }
    let sites = sites.into_iter().map(Arc::new).collect();
    let jobs = jobs.into_iter().map(Arc::new).collect();
    let (path, hash, warnings) = (path.to_path_buf(), String::new(), Vec::new());
    Some(Config { path, hash, runner, redis, sites, jobs, alerts, history: history_limits, warnings })
}

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

fn runner(table: &Table<'_>, folder: &Path) -> Runner {
    let name = table.text("name", "a name of 1 to 64 characters").map_or_else(host_name, toml::Spanned::into_inner);
    let state_dir = table.text("state_dir", "a folder that the runner may write");
    let state_dir = state_dir.map_or(PathBuf::from("/var/lib/wp-cron-runner"), |dir| folder.join(dir.into_inner()));
    let expected =
        "an address on this machine, such as \"127.0.0.1:9747\": what is served there is for this machine alone";
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 9747));
    if let Some(text) = table.text("listen", expected) {
        match text.get_ref().parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => listen = address,
            _ => table.wrong("listen", text.span(), &format!("\"{}\"", excerpt(text.get_ref())), expected),
        }
    }
    let max_parallel = table.whole("max_parallel", 1..1025).unwrap_or(8);
    let max_wp_cli = table.whole("max_wp_cli", 1..1025).unwrap_or(4);
    let drain = table.duration("drain", Duration::ZERO..days(1)).unwrap_or(Duration::from_secs(60));
    table.finish();
    Runner { name, state_dir, listen, max_parallel, max_wp_cli, drain }
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "runner".to_string() } else { name }
}

#[cfg(test)]
mod tests;
