//! wp-cron lines as `[[site]]`. Without the plugin a site is run by WordPress's own way on a schedule, which is what its
//! lines did; what it takes to do better, the comment above it says.

use std::path::{Component, Path, PathBuf};

use jiff::tz::TimeZone;
use reqwest::Url;

use super::account::Account;
use super::text::{Names, line, quoted};
use super::{Machine, Place, zone_of};
use crate::commands::crontab::{Call, Entry, WpCron};
use crate::schedule::Schedule;

const DEFAULT_WP_CLI: &str = "/usr/local/bin/wp";

/// A site that lines look after.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSite {
    pub name: String,
    /// Who wrote its lines: root, where they stand in a table under /etc.
    pub writer: String,
    pub path: Option<PathBuf>,
    /// The home address.
    pub url: Url,
    /// None: by HTTP.
    pub wp_cli: Option<WpCli>,
    pub schedule: String,
    pub timezone: Option<String>,
    pub notes: Vec<String>,
    pub lines: Vec<Place>,
}

/// How the line's PHP is started.
#[derive(Debug, Clone, PartialEq)]
pub struct WpCli {
    pub user: String,
    pub php: Option<String>,
    pub wp_cli: String,
}

/// One that the configuration has, or will have.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownSite {
    pub name: String,
    pub path: Option<PathBuf>,
    pub url: Url,
    /// Whose crontab says all this. None: root says it.
    pub writer: Option<String>,
    /// Whom its WP-CLI runs as. None: the table says nothing about that.
    pub user: Option<String>,
}

impl KnownSite {
    /// A job takes PHP, WP-CLI and the address from its site, and runs them as its own user. So it gets no site of which
    /// another user has said them, nor one whose programs have to be safe for another user alone.
    pub fn is_for(&self, user: &str) -> bool {
        [&self.writer, &self.user].into_iter().flatten().all(|name| name == user)
    }
}

/// What a line says about its site. Err: why it cannot become one. `writer`: who may say so. A user's crontab that names
/// another user gets nothing by that here: sudo, which would have asked, is no part of what is made of it.
pub fn site(
    entry: &Entry,
    call: &Call,
    writer: &str,
    account: &Account,
    home: &Path,
    machine: &Machine<'_>,
) -> Result<NewSite, String> {
    if let Some(obstacle) = &call.obstacle {
        return Err(obstacle.clone());
    }
    if let Some(user) = call.user.as_ref().filter(|user| **user != account.name && writer != "root") {
        return Err(format!("it becomes `{user}`, which only a crontab of root may say here"));
    }
    if entry.schedule.starts_with('@') && entry.schedule.eq_ignore_ascii_case("@reboot") {
        return Err("a site needs times, and @reboot has none".to_string());
    }
    let mut site = match &call.wp_cron {
        WpCron::Url(url) => by_url(url, call)?,
        WpCron::File(file) => by_path(file.parent().unwrap_or(Path::new("")), None, call, account, home, machine)?,
        WpCron::WpCli { path, url } => {
            let folder = path.as_deref().unwrap_or(Path::new(""));
            by_path(folder, url.as_deref(), call, account, home, machine)?
        }
    };
    site.writer = writer.to_string();
    site.schedule.clone_from(&entry.schedule);
    site.timezone = zone_of(entry)?;
    Ok(site)
}

fn new(path: Option<PathBuf>, url: Url) -> NewSite {
    let (name, writer, schedule) = (String::new(), String::new(), String::new());
    NewSite { name, writer, path, url, wp_cli: None, schedule, timezone: None, notes: Vec::new(), lines: Vec::new() }
}

/// `https://shop.example/blog/wp-cron.php?doing_wp_cron` is the site `https://shop.example/blog`.
fn by_url(text: &str, call: &Call) -> Result<NewSite, String> {
    let mut url = Url::parse(text).map_err(|error| format!("its address cannot be read: {error}"))?;
    let path = url.path().strip_suffix("/wp-cron.php").ok_or("its address is not that of a wp-cron.php")?.to_string();
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    if !url.username().is_empty() || url.password().is_some() {
        return Err("its address holds a password, which belongs into a file: see `basic_auth_file`".to_string());
    }
    let mut site = new(None, url);
    let fetch = call.fetch.as_ref();
    if fetch.is_some_and(|fetch| fetch.is_insecure) {
        site.notes.push("The line did not look at the certificate. This does: see `ca_file`.".to_string());
    }
    if fetch.is_some_and(|fetch| fetch.has_agent) {
        site.notes.push("The line said that it is another program, by its User-Agent. This does not.".to_string());
    }
    if fetch.is_some_and(|fetch| fetch.is_following) && site.url.scheme() == "http" {
        site.notes.push(
            "The line went where a redirect points. This does not: `url` has to be the last address.".to_string(),
        );
    }
    Ok(site)
}

fn by_path(
    folder: &Path,
    url: Option<&str>,
    call: &Call,
    account: &Account,
    home: &Path,
    machine: &Machine<'_>,
) -> Result<NewSite, String> {
    let path = plain(&home.join(folder)).ok_or("its path has `..` in it")?;
    if let Some(known) = machine.known.iter().find(|known| url.is_none() && known.path.as_ref() == Some(&path)) {
        return Ok(new(Some(path), known.url.clone()));
    }
    let shown = path.display();
    let found = (machine.wordpress)(&path, account).ok_or_else(|| {
        format!("{} finds no wp-load.php in {shown}; `wp-cron-runner init {shown}` looks further", account.name)
    })?;
    let is_by_web_server = url.is_none() && found.is_by_web_server;
    let url = url.map(str::to_string).or(found.url).ok_or_else(|| {
        format!(
            "neither its wp-config.php nor a web server says the site's address; `wp-cron-runner init {shown}` finds it, then import again"
        )
    })?;
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    let url = Url::parse(&url).map_err(|error| format!("its address cannot be read: {error}"))?;
    let user = call.user.clone().unwrap_or_else(|| account.name.clone());
    // WP-CLI as root runs plugins as root; whose files they are ought to run them.
    let user = if user == "root" { found.owner } else { user };
    if user == "root" {
        return Err(format!("it runs as root, and {shown} belongs to root: PHP has to be another user"));
    }
    let mut site = new(Some(path), url);
    if is_by_web_server {
        site.notes.push("The address is what the web server's configuration says.".into());
    }
    let is_wp_cli = matches!(call.wp_cron, WpCron::WpCli { .. });
    let wp_cli = call.wp_cli.clone().or((machine.wp_cli)());
    match wp_cli.or(is_wp_cli.then(|| DEFAULT_WP_CLI.to_string())) {
        Some(wp_cli) => {
            let is_usual = |php: &String| matches!(php.as_str(), "php" | "/usr/bin/php");
            site.wp_cli = Some(WpCli { user, php: call.php.clone().filter(|php| !is_usual(php)), wp_cli });
        }
        None => {
            site.notes.push("The line ran wp-cron.php by PHP itself. Without WP-CLI the web server is asked.".into());
        }
    }
    Ok(site)
}

/// Without `.` and doubled slashes; None where `..` could lead anywhere.
fn plain(path: &Path) -> Option<PathBuf> {
    let is_up = path.components().any(|part| part == Component::ParentDir);
    (!is_up).then(|| path.components().collect())
}

/// The same address, whichever scheme and spelling.
fn same_url(one: &Url, other: &Url) -> bool {
    let key =
        |url: &Url| (url.host_str().map(str::to_string), url.port(), url.path().trim_end_matches('/').to_string());
    key(one) == key(other)
}

impl NewSite {
    /// One blog of a network has the path of the others; the address tells them apart.
    pub fn is(&self, path: Option<&Path>, url: &Url) -> bool {
        same_url(&self.url, url) && (path.is_none() || self.path.is_none() || self.path.as_deref() == path)
    }

    /// Two lines for one site: the one that says more wins, and the one that comes more often.
    pub fn join(&mut self, other: Self) {
        if comes(&other.schedule) > comes(&self.schedule) {
            (self.schedule, self.timezone) = (other.schedule, other.timezone);
        }
        if self.path.is_none() && other.path.is_some() {
            (self.path, self.wp_cli, self.url, self.notes) = (other.path, other.wp_cli, other.url, other.notes);
        }
        self.lines.extend(other.lines);
    }

    pub fn choose_name(&mut self, names: &mut Names) {
        let host = self.url.host_str().unwrap_or_default();
        let host = host.strip_prefix("www.").unwrap_or(host);
        self.name = names.unique(&format!("{host}{}", self.url.path()));
    }

    pub fn toml(&self) -> String {
        let mut out = String::new();
        for place in &self.lines {
            out += &line(&format!("# {place}"));
        }
        let path = self.path.as_ref().map_or("PATH".to_string(), |path| path.display().to_string());
        out += "# As its line did: without the plugin, at these times.\n";
        out += &line(&format!("# `wp-cron-runner init {path}` gives it the plugin, and each event its own time."));
        for note in &self.notes {
            out += &line(&format!("# {note}"));
        }
        out += "[[site]]\n";
        out += &format!("name = {}\n", quoted(&self.name));
        if let Some(path) = &self.path {
            out += &format!("path = {}\n", quoted(&path.display().to_string()));
        }
        out += &format!("url = {}\n", quoted(self.url.as_str().trim_end_matches('/')));
        out += "trigger = \"wp-cron.php\"\n";
        out += &format!("schedule = {}\n", quoted(&self.schedule));
        if let Some(zone) = &self.timezone {
            out += &format!("timezone = {}\n", quoted(zone));
        }
        match &self.wp_cli {
            Some(WpCli { user, php, wp_cli }) => {
                out += &format!("user = {}\nwp_cli = {}\n", quoted(user), quoted(wp_cli));
                if let Some(php) = php {
                    out += &format!("php = {}\n", quoted(php));
                }
            }
            None if self.url.scheme() == "http" => out += "insecure = true   # the line used http as well\n",
            None => {}
        }
        out
    }
}

/// How often in the days after 1 January 2026.
fn comes(schedule: &str) -> usize {
    let Ok(schedule) = Schedule::parse(schedule, TimeZone::UTC) else { return 0 };
    let (mut at, mut count) = (1_767_225_600_000, 0);
    while let Some(fire) =
        schedule.next_after(at).filter(|fire| fire.at_ms < 1_767_225_600_000 + 86_400_000 && count < 1500)
    {
        (at, count) = (fire.at_ms, count + 1);
    }
    count
}
