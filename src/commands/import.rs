//! `import`: crontab lines become [[site]] and [[job]].
//!
//! Crontabs are read (`crontab.rs`), each line is turned into what does the same here (`site.rs`, `job.rs`), and all of it
//! is printed. Only `--write` changes something (`write.rs`).

mod account;
mod job;
mod report;
mod site;
#[cfg(test)]
mod tests;
mod text;
mod web_server;
mod write;

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::crontab::{self, Crontab, Entry, Line};
use super::{Stop, exit, is_root, owner, print, print_json, refused};
use crate::config::{self, Secrets, Trigger, WpCronPhp};
use crate::schedule;
use account::{Account, Found};
use job::NewJob;
use report::{answer, report};
use site::{KnownSite, NewSite};
use text::Names;

/// Where the unit keeps the runner's state.
const STATE: &str = "/var/lib/wp-cron-runner";

/// A line of a crontab.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
    pub text: String,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file.display(), self.line, self.text.trim())
    }
}

/// What is asked about the machine.
pub struct Machine<'a> {
    pub account: &'a dyn Fn(&str) -> Option<Account>,
    pub wordpress: &'a dyn Fn(&Path, &Account) -> Option<Found>,
    pub wp_cli: &'a dyn Fn() -> Option<String>,
    /// Would the configuration take these tables?
    pub accepts: &'a dyn Fn(&str) -> Result<(), String>,
    /// The sites of the configuration.
    pub known: &'a [KnownSite],
}

/// What becomes of all lines.
#[derive(Debug, Default)]
pub struct Plan {
    pub sites: Vec<NewSite>,
    pub jobs: Vec<NewJob>,
    pub left: Vec<(Place, String)>,
    /// Converted, or needed no more.
    pub remove: Vec<Place>,
}

/// The configuration as it is.
#[derive(Debug, Default)]
pub struct Present {
    /// None: there is no such file.
    pub text: Option<String>,
    pub sites: Vec<KnownSite>,
    pub names: Names,
    /// The user of the runner, as far as that is known before it runs.
    pub runner: String,
}

pub fn import(config: &Path, file: Option<&Path>, system: bool, write: bool, json: bool) -> Result<u8, Stop> {
    let (crontabs, unread) = match file {
        Some(file) => (vec![named(file, system)?], Vec::new()),
        None => of_this_user(),
    };
    let present = present(config, json)?;
    let machine = Machine {
        account: &account::account,
        wordpress: &account::wordpress,
        wp_cli: &wp_cli,
        accepts: &write::accepts,
        known: &present.sites,
    };
    let plan = plan(&crontabs, &present, &machine);
    let done = match write {
        true => Some(write::write(config, &crontabs, &present, &plan, json)?),
        false => None,
    };
    if json {
        print_json(&answer(&plan, &unread, done.as_ref()))?;
    } else {
        print(&report(config, &plan, &present.runner, &unread, done.as_ref()))?;
    }
    Ok(exit::FINE)
}

/// The tables under /etc are root's, although others may read them.
fn of_this_user() -> (Vec<Crontab>, Vec<(PathBuf, String)>) {
    let (mut found, mut unread) = crontab::of_this_machine(Path::new("/"));
    if !is_root() {
        found.retain(|crontab| crontab.owner.is_some());
        unread.retain(|(path, _)| crontab::is_spooled(path));
    }
    (found, unread)
}

/// A file that somebody names. cron's own are known by their place.
fn named(file: &Path, system: bool) -> Result<Crontab, Stop> {
    let cannot = |why: String| {
        Stop::new(exit::UNREACHABLE, format!("{} cannot be read", file.display()))
            .found(why)
            .expected("a crontab, as `crontab -l` prints it")
            .at(file.display().to_string())
    };
    let file = fs::canonicalize(file).map_err(|error| cannot(error.to_string()))?;
    let is_system = system || file == Path::new("/etc/crontab") || file.starts_with("/etc/cron.d");
    let uid = fs::metadata(&file).map_err(|error| cannot(error.to_string()))?.uid();
    let uid = if is_root() { uid } else { rustix::process::geteuid().as_raw() };
    let spooled = file.starts_with("/var/spool/cron").then(|| file.file_name()).flatten();
    let owner = spooled.map_or_else(|| owner::name(uid), |name| name.to_string_lossy().into_owned());
    crontab::read(&file, (!is_system).then_some(owner)).map_err(cannot)
}

fn wp_cli() -> Option<String> {
    ["/usr/local/bin/wp", "/usr/bin/wp"].into_iter().find(|path| Path::new(path).is_file()).map(str::to_string)
}

fn present(path: &Path, json: bool) -> Result<Present, Stop> {
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(Present { runner: runner(Path::new(STATE)), ..Present::default() });
    }
    let config = config::read(path, Secrets::MayBeMissing).map_err(|why| refused(&why, json))?;
    let text = fs::read_to_string(path).map_err(|error| {
        Stop::new(exit::UNREACHABLE, format!("{} cannot be read", path.display())).found(error.to_string())
    })?;
    let known = |site: &std::sync::Arc<config::Site>| {
        let path = site.path.as_ref().map(|path| path.components().collect());
        let user = match &site.trigger {
            Trigger::WpCli(wp_cli) | Trigger::WpCronPhp(WpCronPhp::WpCli(wp_cli)) => wp_cli.user.as_ref(),
            _ => None,
        };
        let user = user.map(|user| user.name.clone());
        KnownSite { name: site.name.clone(), path, url: site.url.clone(), writer: None, user }
    };
    let table: toml::Table = text.parse().unwrap_or_default();
    let tables = ["site", "job"].into_iter().filter_map(|key| table.get(key)?.as_array()).flatten();
    let names = tables.filter_map(|table| table.get("name")?.as_str().map(str::to_string)).collect();
    let (sites, runner) = (config.sites.iter().map(known).collect(), runner(&config.runner.state_dir));
    Ok(Present { text: Some(text), sites, names: Names(names), runner })
}

/// Who imports; for root, whoever its state belongs to, or else whom the unit names.
fn runner(state: &Path) -> String {
    let uid = match is_root() {
        false => Some(rustix::process::geteuid().as_raw()),
        true => fs::metadata(state).ok().map(|found| found.uid()).filter(|uid| *uid != 0),
    };
    uid.map_or_else(|| "www-data".to_string(), owner::name)
}

/// The zone of the line's times: cronie's CRON_TZ. TZ alone changes what the command sees, and not when it comes.
fn zone_of(entry: &Entry) -> Result<Option<String>, String> {
    let Some(zone) = entry.variable("CRON_TZ").filter(|zone| !zone.is_empty()) else { return Ok(None) };
    match schedule::zone(Some(zone)) {
        Ok(_) => Ok(Some(zone.to_string())),
        Err(wrong) => Err(format!("CRON_TZ above it is wrong: {wrong}")),
    }
}

/// Decides about each line, sites first: a job may belong to one.
pub fn plan(crontabs: &[Crontab], present: &Present, machine: &Machine<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut names = present.names.clone();
    let mut others = Vec::new();
    for crontab in crontabs {
        let texts: Vec<&str> = crontab.text.split('\n').collect();
        let mut comment = None;
        for (number, line) in (1..).zip(crontab.lines()) {
            let text = texts.get(number - 1).map(ToString::to_string).unwrap_or_default();
            let place = Place { file: crontab.path.clone(), line: number, text };
            match line {
                Line::Entry(entry) => match plan.entry(&entry, crontab, &place, present, machine) {
                    Ok(Some((account, home))) => others.push((entry, place, account, home, comment.take())),
                    Ok(None) => {}
                    Err(reason) => plan.left.push((place, reason)),
                },
                Line::Wrong { reason, .. } => plan.left.push((place, reason)),
                Line::Comment(text) => {
                    comment = Some(text).filter(|text| !text.is_empty());
                    continue;
                }
                Line::Variable { .. } | Line::Blank => {}
            }
            comment = None;
        }
    }
    plan.sites.iter_mut().for_each(|site| site.choose_name(&mut names));
    let new = plan.sites.iter().map(|site| KnownSite {
        name: site.name.clone(),
        path: site.path.clone(),
        url: site.url.clone(),
        writer: Some(site.writer.clone()).filter(|writer| writer != "root"),
        user: site.wp_cli.as_ref().map(|wp_cli| wp_cli.user.clone()),
    });
    let sites: Vec<KnownSite> = present.sites.iter().cloned().chain(new).collect();
    for (entry, place, account, home, comment) in others {
        let job = job::job(&entry, place.clone(), &account, &home, &sites, comment.as_deref()).and_then(|mut job| {
            job.choose_name(&mut names);
            (machine.accepts)(&job.toml_to_check(&sites)).map(|()| job)
        });
        match job {
            Ok(job) => {
                plan.jobs.push(job);
                plan.remove.push(place);
            }
            Err(reason) => plan.left.push((place, reason)),
        }
    }
    let order =
        |place: &Place| crontabs.iter().position(|crontab| crontab.path == place.file).map(|at| (at, place.line));
    plan.remove.sort_by_key(order);
    plan.left.sort_by_key(|(place, _)| order(place));
    plan
}

impl Plan {
    /// Takes a line that calls wp-cron. Any other is given back, with whose it is and where it starts.
    fn entry(
        &mut self,
        entry: &Entry,
        crontab: &Crontab,
        place: &Place,
        present: &Present,
        machine: &Machine<'_>,
    ) -> Result<Option<(Account, PathBuf)>, String> {
        let user = entry.user.as_ref().or(crontab.owner.as_ref()).ok_or("it has no user")?;
        let account = (machine.account)(user).ok_or_else(|| format!("this machine has no user `{user}`"))?;
        let home = entry.variable("HOME").map_or_else(|| account.home.clone(), PathBuf::from);
        let mut variables = entry.environment.clone();
        if entry.variable("HOME").is_none() {
            variables.push(("HOME".to_string(), home.display().to_string()));
        }
        let Some(call) = crontab::call(&entry.command, &variables) else { return Ok(Some((account, home))) };
        let writer = crontab.owner.as_deref().unwrap_or("root");
        let mut site = site::site(entry, &call, writer, &account, &home, machine)?;
        site.lines.push(place.clone());
        let is_known = present.sites.iter().any(|known| site.is(known.path.as_deref(), &known.url));
        if !is_known {
            (machine.accepts)(&NewSite { name: "site".into(), ..site.clone() }.toml())?;
            // What one user says of a site takes nothing from another's lines.
            let is_same =
                |other: &&mut NewSite| other.writer == site.writer && other.is(site.path.as_deref(), &site.url);
            match self.sites.iter_mut().find(is_same) {
                Some(other) => other.join(site),
                None => self.sites.push(site),
            }
        }
        self.remove.push(place.clone());
        Ok(None)
    }

    /// What is added to the configuration.
    pub fn toml(&self) -> String {
        let tables = self.sites.iter().map(NewSite::toml).chain(self.jobs.iter().map(NewJob::toml));
        tables.collect::<Vec<_>>().join("\n")
    }
}
