//! The configuration that is there, and the `[[site]]` that is added to it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::Url;

use super::super::{Stop, exit, owner, refused};
use super::Found;
use super::php::Way;
use crate::config::{self, Config, DEFAULT_PATH, Secrets, Site, User, look_up};

/// What the configuration was before.
pub struct Present {
    path: PathBuf,
    /// None where there is no file yet.
    pub text: Option<String>,
    config: Option<Config>,
}

impl Present {
    pub fn read(path: &Path, json: bool) -> Result<Self, Stop> {
        let text = match fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let shown = path.display().to_string();
                return Err(Stop::new(exit::CONFIGURATION, format!("cannot read {shown}: {error}")).at(shown));
            }
        };
        let Some(source) = &text else { return Ok(Self { path: path.to_path_buf(), text, config: None }) };
        let config = match config::parse(path, source, Secrets::MayBeMissing) {
            Ok(config) => Some(config),
            // One that only lacks its first site becomes right by what is added.
            Err(problems) => {
                let with_site = format!("{source}\n[[site]]\nname = \"x\"\nurl = \"https://x.example\"\n");
                if source.contains("[[site]]") || config::parse(path, &with_site, Secrets::MayBeMissing).is_err() {
                    return Err(refused(&problems, json));
                }
                None
            }
        };
        Ok(Self { path: path.to_path_buf(), text, config })
    }

    /// The one of this folder that has the plugin.
    pub fn site(&self, root: &Path) -> Option<&Arc<Site>> {
        self.sites().find(|site| site.has_plugin() && site.path.as_deref().is_some_and(|path| same(path, root)))
    }

    /// The one that was looked after without the plugin until now.
    pub fn bare_site(&self, root: &Path, url: &Url) -> Option<&Arc<Site>> {
        let is_it = |site: &&Arc<Site>| match &site.path {
            Some(path) => same(path, root),
            None => site.url == *url,
        };
        self.sites().filter(|site| !site.has_plugin()).find(is_it)
    }

    fn sites(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.config.iter().flat_map(|config| &config.sites)
    }

    /// Of sites and of jobs.
    pub fn names(&self) -> Vec<&str> {
        let jobs = self.config.iter().flat_map(|config| &config.jobs);
        self.sites().map(|site| site.name.as_str()).chain(jobs.map(|job| job.name.as_str())).collect()
    }

    /// Beside a configuration in a place of its own; else where the unit has it.
    pub fn state_dir(&self) -> PathBuf {
        match &self.config {
            Some(config) => config.runner.state_dir.clone(),
            None if self.is_usual() => PathBuf::from("/var/lib/wp-cron-runner"),
            None => self.path.parent().unwrap_or(Path::new("/")).join("state"),
        }
    }

    fn is_usual(&self) -> bool {
        self.path == Path::new(DEFAULT_PATH) || self.text.is_some()
    }

    /// Whoever owns the state directory is the runner.
    pub fn runner(&self) -> Option<User> {
        let uid = fs::metadata(self.state_dir()).ok()?.uid();
        look_up(&owner::name(uid))
    }

    /// The whole file with this site in it: added at the end, or in place of the one that had no plugin.
    pub fn with(&self, found: &Found) -> String {
        let table = site(found, self.path.parent().unwrap_or(Path::new("/")));
        match &self.text {
            Some(text) if text.trim().is_empty() => table,
            Some(text) if self.names().contains(&found.site.as_str()) => replaced(text, &found.site, &table),
            Some(text) => {
                let end = if text.ends_with('\n') { "" } else { "\n" };
                format!("{text}{end}\n{table}")
            }
            None if self.is_usual() => table,
            None => format!("[runner]\nstate_dir = {}\n\n{table}", quoted(&self.state_dir().display().to_string())),
        }
    }
}

fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    real(one) == real(other)
}

/// The text with this table in the place of the one with that name. Comments around it stay.
fn replaced(text: &str, name: &str, table: &str) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_header = |line: &str| line.trim_start().starts_with('[');
    let is_site = |line: &str| line.split('#').next().unwrap_or_default().trim() == "[[site]]";
    let starts = lines.iter().enumerate().filter(|(_, line)| is_site(line)).map(|(at, _)| at);
    for start in starts {
        let rest = lines.get(start + 1..).unwrap_or_default();
        let own = rest.iter().position(|line| is_header(line)).unwrap_or(rest.len());
        // What stands above the next table belongs to that one.
        let is_key = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        let keys = rest.get(..own).unwrap_or_default().iter().rposition(is_key).map_or(0, |last| last + 1);
        let block: String = lines.get(start..=start + keys).unwrap_or_default().concat();
        let named = block
            .parse::<toml::Table>()
            .ok()
            .and_then(|parsed| Some(parsed.get("site")?.as_array()?.first()?.get("name")?.as_str()?.to_string()));
        if named.as_deref() == Some(name) {
            let (before, after) = (lines.get(..start).unwrap_or_default(), lines.get(start + keys + 1..));
            return before.concat() + table + &after.unwrap_or_default().concat();
        }
    }
    format!("{text}\n{table}")
}

fn site(found: &Found, folder: &Path) -> String {
    let mut lines = vec![
        "[[site]]".to_string(),
        format!("name = {}", quoted(&found.site)),
        format!("path = {}", quoted(&found.root.display().to_string())),
        format!("url = {}", quoted(&found.url)),
        format!("trigger = {}", quoted(trigger(&found.php.way))),
    ];
    match &found.php.way {
        Way::FastCgi(address) => lines.push(format!("fastcgi = {}", quoted(&address.to_string()))),
        Way::WpCli { php, wp_cli, user } => {
            lines.push(format!("php = {}", quoted(&php.display().to_string())));
            lines.push(format!("wp_cli = {}", quoted(&wp_cli.display().to_string())));
            lines.extend(user.as_ref().map(|user| format!("user = {}", quoted(user))));
        }
        Way::Http => {}
    }
    let key = folder.join(format!("{}.key", found.site));
    lines.push(format!("secret_file = {}", quoted(&key.display().to_string())));
    lines.join("\n") + "\n"
}

pub fn trigger(way: &Way) -> &'static str {
    match way {
        Way::FastCgi(_) => "fastcgi",
        Way::WpCli { .. } => "wp-cli",
        Way::Http => "http",
    }
}

pub fn fastcgi(way: &Way) -> Option<String> {
    match way {
        Way::FastCgi(address) => Some(address.to_string()),
        _ => None,
    }
}

/// As TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "[[site]]\nname = \"blog\"\nnew = true\n";

    #[test]
    fn a_site_without_the_plugin_is_replaced_where_it_stands() {
        let before = "# mine\n[runner]\nname = \"x\"\n\n# from a crontab\n[[site]] # by import\nurl = \"https://b.example\"\n\
                      name = \"blog\"\n# and this\nschedule = \"* * * * *\"\n\n# the shop\n[[site]]\nname = \"shop\"\n";
        let expected = format!(
            "# mine\n[runner]\nname = \"x\"\n\n# from a crontab\n{NEW}\n# the shop\n[[site]]\nname = \"shop\"\n"
        );
        assert_eq!(replaced(before, "blog", NEW), expected);
        assert_eq!(replaced("[[site]]\nname = \"blog\"", "blog", NEW), NEW, "the last one, without a line end");
    }

    #[test]
    fn a_text_is_written_as_toml_reads_it() {
        for text in ["/var/www/shop", "/srv/it's \"quoted\" \\ here", "/srv/ünï"] {
            let read: toml::Table = format!("x = {}", quoted(text)).parse().unwrap();
            assert_eq!(read["x"].as_str(), Some(text));
        }
    }
}
