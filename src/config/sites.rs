//! `[[site]]` and `[[site.hook]]`, resolved.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use reqwest::Url;
use toml::Spanned;

use super::file::{Problems, Table};
use super::problem::{Level, excerpt};
use super::secret::{self, Refusal};
use super::{Hook, Interrupted, Secrets, Site, Trigger, days};
use crate::schedule::{self, Schedule};

const SECOND: Duration = Duration::from_secs(1);

pub fn resolve(tables: &[Table<'_>], folder: &Path, problems: &Problems, secrets: Secrets) -> Vec<Site> {
    let mut seen: HashMap<String, ()> = HashMap::new();
    let mut sites = Vec::new();
    for table in tables {
        let reader = Reader { table, folder, secrets };
        if let Some(site) = reader.site() {
            if seen.insert(site.name.clone(), ()).is_some() {
                let message = format!("two sites have the name `{}`", site.name);
                problems.add(Level::Error, table.span.clone(), message, "a name of its own for each [[site]]");
            }
            sites.push(site);
        }
    }
    sites
}

pub(super) struct Reader<'a> {
    pub(super) table: &'a Table<'a>,
    pub(super) folder: &'a Path,
    secrets: Secrets,
}

impl Reader<'_> {
    /// Reads every key, also after the first wrong one, so that all problems are told.
    fn site(&self) -> Option<Site> {
        let table = self.table;
        let name = name(table);
        let path = self.path("path", "the folder that holds wp-load.php");
        let url = self.url();
        let trigger = self.trigger(url.as_ref(), path.as_ref());
        if let Some(trigger) = &trigger {
            self.check_unused(trigger);
        }
        // Where no plugin can be installed there is nobody to share a key with.
        let needs_key = !matches!(trigger, Some(Trigger::WpCronPhp(_)));
        let (secret_file, keys) = if needs_key { self.keys(name.as_deref()) } else { self.no_keys() };
        let timeout = table.duration("timeout", SECOND..days(30)).unwrap_or(Duration::from_secs(600));
        let lanes = table.whole("lanes", 1..129).unwrap_or(2);
        let rescan = table.duration("rescan", SECOND..days(1)).unwrap_or(Duration::from_secs(60));
        let grace = table.duration("grace", SECOND..days(7)).unwrap_or(Duration::from_secs(600));
        if grace <= rescan {
            let message = "`grace` is not longer than `rescan`: page loads would run events beside the runner";
            table.warn(table.span.clone(), message, "a grace of several times the rescan");
        }
        let host = self.host(url.as_ref());
        let tables = table.tables("hook");
        let hooks = tables.iter().filter_map(hook).collect();
        warn_of_equal(&tables);
        let schedule = self.schedule(trigger.as_ref());
        table.finish();
        let (name, url) = (name?, url?.into_inner());
        let host = host?;
        let trigger = trigger?;
        Some(Site { name, path, url, trigger, secret_file, keys, timeout, lanes, rescan, grace, host, hooks, schedule })
    }

    pub(super) fn wrong(&self, key: &str, value: &Spanned<String>, expected: &str) {
        self.table.wrong(key, value.span(), &format!("\"{}\"", excerpt(value.get_ref())), expected);
    }

    pub(super) fn path(&self, key: &'static str, expected: &str) -> Option<PathBuf> {
        self.table.text(key, expected).map(|path| self.folder.join(path.into_inner()))
    }

    fn url(&self) -> Option<Spanned<Url>> {
        let expected = "the site's address, such as \"https://shop.example\"";
        let Some(text) = self.table.text("url", expected) else {
            self.table.missing("url", expected);
            return None;
        };
        let part = match address(text.get_ref(), expected) {
            Err(expected) => expected,
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                "no user and password in it; `basic_auth_file` names a file for these"
            }
            Ok(url) if url.fragment().is_some() || url.query().is_some() => {
                "no query and no fragment: the home address alone"
            }
            Ok(url) => return Some(Spanned::new(text.span(), url)),
        };
        self.wrong("url", &text, part);
        None
    }

    fn host(&self, url: Option<&Spanned<Url>>) -> Option<String> {
        let expected = "a host name, and a port where the site's address has one";
        if let Some(host) = self.table.text("host", expected) {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]_".contains(c);
            if host.get_ref().chars().all(is_plain) {
                return Some(host.into_inner().to_ascii_lowercase());
            }
            self.wrong("host", &host, expected);
            return None;
        }
        let url = url?.get_ref();
        let host = url.host_str()?.to_ascii_lowercase();
        Some(url.port().map_or(host.clone(), |port| format!("{host}:{port}")))
    }

    fn keys(&self, name: Option<&str>) -> (PathBuf, Vec<crate::protocol::signature::Key>) {
        let expected = "the file with the site's key, mode 0600";
        let written = self.table.text("secret_file", expected);
        let span = written.as_ref().map_or(self.table.span.clone(), Spanned::span);
        let file = written.map_or(format!("{}.key", name.unwrap_or("site")), Spanned::into_inner);
        let file = self.folder.join(file);
        match secret::keys(&file) {
            Ok(keys) => (file, keys),
            Err(Refusal::Missing(_)) if self.secrets == Secrets::MayBeMissing || name.is_none() => (file, Vec::new()),
            Err(refusal) => {
                let (found, expected) = match refusal {
                    Refusal::Missing(path) => (
                        format!("a file that does not exist ({})", path.display()),
                        "the site's key, mode 0600; `wp-cron-runner plugin install SITE` makes one",
                    ),
                    Refusal::Wrong { path, found, expected } => (format!("{path}, which {found}"), expected),
                };
                self.table.wrong("secret_file", span, &found, expected);
                (file, Vec::new())
            }
        }
    }

    /// Known, and not read.
    fn no_keys(&self) -> (PathBuf, Vec<crate::protocol::signature::Key>) {
        (self.path("secret_file", "the file with the site's key, mode 0600").unwrap_or_default(), Vec::new())
    }

    fn schedule(&self, trigger: Option<&Trigger>) -> Option<Schedule> {
        let expected = "\"due\" (each event at its own time), or a crontab expression such as \"*/5 * * * *\"";
        let zone = timezone(self.table);
        let written = self.table.text("schedule", expected);
        let is_due = written.as_ref().is_none_or(|written| written.get_ref() == "due");
        if is_due {
            if matches!(trigger, Some(Trigger::WpCronPhp(_))) {
                let expected = "a crontab expression such as \"*/5 * * * *\": without the plugin nobody knows when an event is due";
                self.table.refuse(
                    self.table.span_of("schedule"),
                    "`schedule` is \"due\" with the trigger wp-cron.php",
                    expected,
                );
            }
            if self.table.has("timezone") {
                let span = self.table.span_of("timezone");
                self.table.refuse(
                    span,
                    "`timezone` is there and `schedule` is \"due\"",
                    "a crontab expression as `schedule`: only its times have a zone",
                );
            }
            return None;
        }
        let written = written?;
        let schedule = crontab_line(self.table, &written, zone?)?;
        if schedule.is_reboot() {
            self.wrong("schedule", &written, expected);
            return None;
        }
        Some(schedule)
    }
}

/// The five fields, or a nickname, of the key `schedule`.
pub(super) fn crontab_line(table: &Table<'_>, written: &Spanned<String>, zone: TimeZone) -> Option<Schedule> {
    match Schedule::parse(written.get_ref(), zone) {
        Ok(schedule) => Some(schedule),
        Err(wrong) => {
            let found = format!("\"{}\": {} is \"{}\"", excerpt(written.get_ref()), wrong.subject(), wrong.found);
            table.wrong("schedule", written.span(), &found, &wrong.expected);
            None
        }
    }
}

/// The key `timezone`; without it the zone of this machine.
pub(super) fn timezone(table: &Table<'_>) -> Option<TimeZone> {
    let written = table.text("timezone", "an IANA name such as \"Europe/Berlin\"");
    match schedule::zone(written.as_ref().map(|name| name.get_ref().as_str())) {
        Ok(zone) => Some(zone),
        Err(wrong) => {
            let (span, found) = match &written {
                Some(name) => (name.span(), format!("\"{}\"", excerpt(name.get_ref()))),
                None => (table.span.clone(), wrong.to_string()),
            };
            table.wrong("timezone", span, &found, &wrong.expected);
            None
        }
    }
}

pub(super) const NAME: &str = "1 to 64 of the characters a-z 0-9 _ -";

/// The key `name` of a site or a job.
pub(super) fn name(table: &Table<'_>) -> Option<String> {
    let Some(name) = table.text("name", NAME) else {
        table.missing("name", NAME);
        return None;
    };
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if name.get_ref().len() > 64 || !name.get_ref().chars().all(is_plain) {
        table.wrong("name", name.span(), &format!("\"{}\"", excerpt(name.get_ref())), NAME);
        return None;
    }
    Some(name.into_inner())
}

/// Both are shown, each at its line.
fn warn_of_equal(tables: &[Table<'_>]) {
    let names: Vec<Option<String>> = tables.iter().map(|table| table.plain_text("name")).collect();
    for (number, table) in tables.iter().enumerate() {
        let is_equal = |other: &usize| *other != number && names.get(*other) == names.get(number);
        if let Some(Some(name)) = names.get(number)
            && (0..names.len()).any(|other| is_equal(&other))
        {
            let message =
                format!("two [[site.hook]] have the name `{}`: of each key the first one counts", excerpt(name));
            table.warn(table.span.clone(), message, "one [[site.hook]] per name");
        }
    }
}

fn hook(table: &Table<'_>) -> Option<Hook> {
    let expected = "the hook's name; * stands for anything";
    let name = table.text("name", expected);
    if name.is_none() {
        table.missing("name", expected);
    }
    let timeout = table.duration("timeout", SECOND..days(30));
    let expected = "\"hold\", \"drop\" or \"retry\"";
    let interrupted = table.text("interrupted", expected).and_then(|word| match word.get_ref().as_str() {
        "hold" => Some(Interrupted::Hold),
        "drop" => Some(Interrupted::Drop),
        "retry" => Some(Interrupted::Retry),
        other => {
            table.wrong("interrupted", word.span(), &format!("\"{}\"", excerpt(other)), expected);
            None
        }
    });
    table.finish();
    Some(Hook { name: name?.into_inner(), timeout, interrupted })
}

/// An address of the web, or what is expected of one.
pub(super) fn address<'a>(text: &str, expected: &'a str) -> Result<Url, &'a str> {
    match Url::parse(text) {
        _ if text.contains(char::is_whitespace) => Err("without a space"),
        Err(_) => Err(expected),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => Err("https:// or http://"),
        Ok(url) if url.host_str().is_none_or(str::is_empty) => Err("a host name"),
        Ok(url) if host_ip(&url).is_some_and(is_link_local) => Err("no link-local address: no site lives there"),
        Ok(url) => Ok(url),
    }
}

pub(super) fn host_ip(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Cloud metadata services live there; no site does.
pub fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_unspecified(),
    }
}
