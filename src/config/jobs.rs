//! `[[job]]`, resolved.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use toml::Spanned;

use super::file::{Problems, Table};
use super::problem::{Level, excerpt};
use super::sites::{address, crontab_line, name, timezone};
use super::triggers::user;
use super::{Site, Trigger, User, WpCli, WpCronPhp, days};
use crate::schedule::Schedule;

const SECOND: Duration = Duration::from_secs(1);
const WORK: [&str; 3] = ["wp", "command", "url"];
/// Where the site says nothing else.
const WP: &str = "/usr/local/bin/wp";
const MEMORY: &str = "memory_limit=512M";

/// `[[job]]`: a line of a crontab, with all that such a line lacks.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Unique among sites as well.
    pub name: String,
    pub schedule: Schedule,
    /// The name of the site that it belongs to.
    pub site: Option<String>,
    pub work: Work,
    pub overlap: Overlap,
    pub missed: Missed,
    /// It starts up to so much later than its schedule says, by its name.
    pub jitter: Duration,
    pub timeout: Duration,
    /// Whom its process runs as; None: the runner's own user.
    pub user: Option<User>,
    pub environment: Vec<(String, String)>,
    pub directory: Option<PathBuf>,
}

/// What a job does.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A program and its arguments; no shell sees them.
    Command(Vec<String>),
    /// WP-CLI, for one site.
    Wp { wp_cli: WpCli, path: PathBuf, url: Url, arguments: Vec<String> },
    /// One GET.
    Url(Url),
}

/// What becomes of a time that comes while the run before still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    Skip,
    /// It starts when that one has ended. One waits at most.
    Queue,
}

/// What becomes of times at which no runner was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    Skip,
    Once,
}

impl Work {
    /// The word for it in the configuration and in records.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Command(_) => "command",
            Self::Wp { .. } => "wp",
            Self::Url(_) => "url",
        }
    }
}

/// `site_tables`: also those of which nothing could be made; a job that names one of them is not wrong.
pub fn resolve(
    tables: &[Table<'_>],
    folder: &Path,
    sites: &[Site],
    site_tables: &[Table<'_>],
    problems: &Problems,
) -> Vec<Job> {
    let mut seen: HashSet<String> = site_tables.iter().filter_map(|table| table.plain_text("name")).collect();
    let known = seen.clone();
    let mut jobs = Vec::new();
    for table in tables {
        let job = Reader { table, folder, sites, known: &known }.job();
        if let Some(name) = table.plain_text("name")
            && !seen.insert(name.clone())
        {
            let kind = if known.contains(&name) { "a site and a job have" } else { "two jobs have" };
            let message = format!("{kind} the name `{}`", excerpt(&name));
            let expected = "a name of its own for each: runs, leases and pauses go by it";
            problems.add(Level::Error, table.span.clone(), message, expected);
        }
        jobs.extend(job);
    }
    jobs
}

struct Reader<'a> {
    table: &'a Table<'a>,
    folder: &'a Path,
    sites: &'a [Site],
    /// Names of sites.
    known: &'a HashSet<String>,
}

impl Reader<'_> {
    /// Reads every key, also after the first wrong one, so that all problems are told.
    fn job(&self) -> Option<Job> {
        let table = self.table;
        let name = name(table);
        let schedule = self.schedule();
        let site = self.site();
        let user = user(table);
        let work = self.work(site.as_ref(), user.as_ref());
        let overlap = self.word("overlap", &[("skip", Overlap::Skip), ("queue", Overlap::Queue)]);
        let missed = self.word("missed", &[("skip", Missed::Skip), ("once", Missed::Once)]);
        let jitter = table.duration("jitter", Duration::ZERO..days(1)).unwrap_or(Duration::ZERO);
        let timeout = table.duration("timeout", SECOND..days(30)).unwrap_or(Duration::from_secs(3600));
        let environment = self.environment();
        let directory = table.text("directory", "a folder").map(|path| self.folder.join(path.into_inner()));
        if let Some(Work::Url(_)) = work {
            for key in ["user", "environment", "directory"].into_iter().filter(|key| table.has(key)) {
                let message = format!("`{key}` means nothing to a `url`: no process is started");
                table.warn(table.span_of(key), message, "it beside `wp` or `command`");
            }
        }
        self.warn_of_missed(schedule.as_ref());
        table.finish();
        Some(Job {
            name: name?,
            schedule: schedule?,
            site: site.map(Spanned::into_inner),
            work: work?,
            overlap: overlap.unwrap_or(Overlap::Skip),
            missed: missed.unwrap_or(Missed::Skip),
            jitter,
            timeout,
            user,
            environment,
            directory,
        })
    }

    fn schedule(&self) -> Option<Schedule> {
        let expected = "a crontab expression such as \"15 3 * * *\", or a nickname such as \"@daily\"";
        let zone = timezone(self.table);
        let Some(written) = self.table.text("schedule", expected) else {
            self.table.missing("schedule", expected);
            return None;
        };
        crontab_line(self.table, &written, zone?)
    }

    fn warn_of_missed(&self, schedule: Option<&Schedule>) {
        if schedule.is_some_and(Schedule::is_reboot) && (self.table.has("missed") || self.table.has("jitter")) {
            let message = "`missed` and `jitter` mean nothing with \"@reboot\": it has no time of day";
            self.table.warn(self.table.span_of("schedule"), message, "a schedule with times");
        }
    }

    fn site(&self) -> Option<Spanned<String>> {
        let expected = "the `name` of a [[site]]";
        let site = self.table.text("site", expected)?;
        if !self.known.contains(site.get_ref()) {
            let names: Vec<&str> = self.known.iter().map(String::as_str).collect();
            let near = crate::text::nearest(site.get_ref(), &names);
            let expected = near.map_or(expected.to_string(), |near| format!("{expected}; did you mean `{near}`?"));
            self.table.wrong("site", site.span(), &format!("\"{}\"", excerpt(site.get_ref())), &expected);
        }
        Some(site)
    }

    /// Exactly one of the three.
    fn work(&self, site: Option<&Spanned<String>>, user: Option<&User>) -> Option<Work> {
        let table = self.table;
        let wp = table.texts("wp", "arguments of WP-CLI, such as [\"shop\", \"export\", \"--all\"]");
        let command = table.texts(
            "command",
            "a program and its arguments, such as [\"/usr/local/bin/backup\", \"--full\"]; a shell is a program as well: [\"/bin/sh\", \"-c\", \"...\"]",
        );
        let url = self.url();
        let there: Vec<&str> = WORK.into_iter().filter(|key| table.has(key)).collect();
        match there.as_slice() {
            [] => {
                let expected = "one of `wp`, `command` and `url`";
                table.refuse(table.span.clone(), "nothing says what this [[job]] does", expected);
                None
            }
            [_] => match (wp, command, url) {
                (Some(wp), ..) => self.wp(wp.into_inner(), site, user),
                (_, Some(command), _) => Some(Work::Command(command.into_inner())),
                (.., url) => url.map(Work::Url),
            },
            several => {
                let message = format!("`{}` are both there", several.join("` and `"));
                table.refuse(table.span.clone(), message, "one of `wp`, `command` and `url`");
                None
            }
        }
    }

    fn url(&self) -> Option<Url> {
        let expected = "an address, such as \"https://shop.example/feed\"";
        let text = self.table.text("url", expected)?;
        address(text.get_ref(), expected)
            .map_err(|expected| {
                self.table.wrong("url", text.span(), &format!("\"{}\"", excerpt(text.get_ref())), expected);
            })
            .ok()
    }

    /// As the site's own trigger calls WP-CLI, where that is how it is called.
    fn wp(&self, arguments: Vec<String>, site: Option<&Spanned<String>>, user: Option<&User>) -> Option<Work> {
        let Some(site) = site else {
            self.table.missing("site", "the `name` of the [[site]] that WP-CLI is to work on");
            return None;
        };
        let site_of = |site: &&Site| site.name == *self.table.plain_text("site").unwrap_or_default();
        let found = self.sites.iter().find(site_of)?;
        let Some(path) = found.path.clone() else {
            let message = format!("site `{}` has no `path`, and WP-CLI needs it", found.name);
            self.table.refuse(site.span(), message, "a [[site]] with a `path`");
            return None;
        };
        let mut wp_cli = match &found.trigger {
            Trigger::WpCli(wp_cli) | Trigger::WpCronPhp(WpCronPhp::WpCli(wp_cli)) => wp_cli.clone(),
            _ => WpCli {
                php: "php".to_string(),
                wp_cli: WP.to_string(),
                ini: vec![MEMORY.to_string()],
                user: None,
                wrapper: Vec::new(),
            },
        };
        if user.is_some() {
            wp_cli.user = user.cloned();
        }
        Some(Work::Wp { wp_cli, path, url: found.url.clone(), arguments })
    }

    fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let expected = all.join(" or ");
        let written = self.table.text(key, &expected)?;
        let found = words.iter().find(|(word, _)| word == written.get_ref());
        if found.is_none() {
            self.table.wrong(key, written.span(), &format!("\"{}\"", excerpt(written.get_ref())), &expected);
        }
        found.map(|(_, value)| *value)
    }

    fn environment(&self) -> Vec<(String, String)> {
        let expected = "texts by names, such as { LANG = \"C.UTF-8\" }";
        let variables = self.table.pairs("environment", expected);
        let is_name = |name: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            !name.is_empty() && name.chars().all(is_plain) && !name.starts_with(|c: char| c.is_ascii_digit())
        };
        for (name, _) in variables.iter().filter(|(name, _)| !is_name(name)) {
            let expected = "names of letters, digits and _, as a shell has them";
            let found = format!("a table with \"{}\"", excerpt(name));
            self.table.wrong("environment", self.table.span_of("environment"), &found, expected);
        }
        variables
    }
}

impl Job {
    /// Where its process starts: its own `directory`, its site's folder, or its user's home, as cron(8) does.
    pub fn folder(&self) -> Option<PathBuf> {
        let own = self.directory.clone();
        own.or_else(|| match &self.work {
            Work::Wp { path, .. } => Some(path.clone()),
            _ => self.user.as_ref().map(|user| user.home.clone()),
        })
    }
}
