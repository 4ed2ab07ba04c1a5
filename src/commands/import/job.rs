//! All other lines as `[[job]]`. What needs no shell gets none; what needs one is handed to the same shell as before.

use std::path::{Path, PathBuf};

use reqwest::Url;

use super::account::Account;
use super::site::KnownSite;
use super::text::{Names, line, list, quoted};
use super::{Place, zone_of};
use crate::commands::crontab::{Entry, Part, Word, fetch, parts};

/// What a job starts.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Wp { site: String, words: Vec<String> },
    Command(Vec<String>),
    Url(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    pub name: String,
    /// What people would call its command.
    called: String,
    pub schedule: String,
    pub timezone: Option<String>,
    pub what: What,
    pub user: String,
    pub environment: Vec<(String, String)>,
    /// Where cron would start it.
    pub directory: String,
    /// Where it starts without `directory`: at its user's home, or in its site's folder.
    usual: PathBuf,
    pub notes: Vec<String>,
    pub place: Place,
}

/// What cron itself reads; they say nothing to the command that a job has no better word for.
const CRONS_OWN: [&str; 6] = ["MAILTO", "MAILFROM", "SHELL", "CRON_TZ", "LOGNAME", "RANDOM_DELAY"];
/// They have quotes and pipes as sh has them.
const POSIX: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];
/// The shell does them itself.
const BUILTINS: [&str; 24] = [
    "cd", ".", "source", "export", "exec", "eval", "test", "[", "[[", ":", "ulimit", "umask", "set", "unset",
    "command", "alias", "trap", "wait", "if", "for", "while", "case", "{", "!",
];

/// The job that does what the line did. Err: why none can.
pub fn job(
    entry: &Entry,
    place: Place,
    account: &Account,
    home: &Path,
    sites: &[KnownSite],
    comment: Option<&str>,
) -> Result<NewJob, String> {
    if account.uid == 0 {
        return Err("it runs as root, which a job never does".to_string());
    }
    let home =
        home.to_str().filter(|home| home.starts_with('/')).ok_or("its home is no folder that can be written here")?;
    let environment = environment(entry)?;
    let mut job = NewJob {
        name: String::new(),
        called: called(&entry.command),
        schedule: entry.schedule.clone(),
        timezone: zone_of(entry)?,
        what: What::Command(Vec::new()),
        user: account.name.clone(),
        environment,
        directory: home.to_string(),
        usual: account.home.clone(),
        notes: comment.map(str::to_string).into_iter().collect(),
        place,
    };
    job.what = match job.without_shell(entry, sites) {
        Some(what) => what,
        None => What::Command(in_shell(entry)?),
    };
    if let Some(address) = entry.variable("MAILTO").filter(|address| !address.is_empty()) {
        job.notes.push(format!("MAILTO was {address}: an [[alert]] tells when it fails."));
    }
    Ok(job)
}

fn environment(entry: &Entry) -> Result<Vec<(String, String)>, String> {
    let kept: Vec<(String, String)> =
        entry.environment.iter().filter(|(name, _)| !CRONS_OWN.contains(&name.as_str())).cloned().collect();
    let is_name = |name: &str| {
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    match kept.iter().find(|(name, value)| !is_name(name) || value.contains(char::is_control)) {
        Some((name, _)) => {
            Err(format!("the variable `{name}` above it has a name or a value that a job's cannot have"))
        }
        None => Ok(kept),
    }
}

impl NewJob {
    /// Where the line is one command in plain words, with nothing that only a shell can do.
    fn without_shell(&mut self, entry: &Entry, sites: &[KnownSite]) -> Option<What> {
        if entry.input.is_some() {
            return None;
        }
        let mut variables = entry.environment.clone();
        if entry.variable("HOME").is_none() {
            variables.push(("HOME".to_string(), self.directory.clone()));
        }
        let parts = parts(&entry.command, &variables)?;
        let (folder, part) = match parts.as_slice() {
            [part] if part.then.is_empty() || part.then == ";" => (None, part),
            [cd, part] if cd.then == "&&" && part.then.is_empty() => (Some(folder_of(cd)?), part),
            _ => return None,
        };
        let is_plain = part.words.iter().all(|word| word.is_exact && !word.text.contains(char::is_control))
            && part.redirects.iter().all(super::super::crontab::Redirect::is_harmless);
        let first = part.words.first()?;
        let is_program =
            !first.text.is_empty() && !first.text.contains('=') && !BUILTINS.contains(&first.text.as_str());
        // Which folder a relative name is looked for in, is a matter of who starts it.
        let is_found = first.text.starts_with('/') || !first.text.contains('/');
        let is_complete = part.words.iter().all(|word| !word.text.is_empty());
        if !(is_plain && is_program && is_found && is_complete) {
            return None;
        }
        if let Some(folder) = folder {
            self.directory = Path::new(&self.directory).join(folder).to_str()?.to_string();
        }
        let words: Vec<String> = part.words.iter().map(|word| word.text.clone()).collect();
        if let Some((what, path)) = wp(&words, &self.directory, &self.user, sites) {
            self.usual = path;
            return Some(what);
        }
        Some(self.url(&part.words).unwrap_or(What::Command(words)))
    }

    /// A plain GET. Others stay what they are: a job's address goes nowhere that a redirect points to.
    fn url(&mut self, words: &[Word]) -> Option<What> {
        let fetch = fetch(words)?;
        let [url] = fetch.urls.as_slice() else { return None };
        let is_other = fetch.is_insecure || fetch.is_head || fetch.has_agent;
        let is_plain = fetch.obstacle.is_none() && fetch.file.is_none() && !is_other;
        let read = Url::parse(&url.text).ok()?;
        let is_safe = read.scheme() == "https" && read.username().is_empty() && read.password().is_none();
        if !(is_plain && is_safe) {
            return None;
        }
        if fetch.is_following {
            self.notes.push(
                "The line went where a redirect points. A job does not: `url` has to be the last address.".into(),
            );
        }
        Some(What::Url(url.text.clone()))
    }

    pub fn choose_name(&mut self, names: &mut Names) {
        let wanted = match &self.what {
            What::Wp { words, .. } => format!("wp-{}", words.iter().take(2).cloned().collect::<Vec<_>>().join("-")),
            What::Url(url) => {
                Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_string)).unwrap_or_default()
            }
            What::Command(_) => self.called.clone(),
        };
        self.name = names.unique(&wanted);
    }

    pub fn toml(&self) -> String {
        let mut out = line(&format!("# {}", self.place));
        for note in &self.notes {
            out += &line(&format!("# {note}"));
        }
        let mut key = |name: &str, value: String| out += &format!("{name} = {value}\n");
        key("[[job]]\nname", quoted(&self.name));
        key("schedule", quoted(&self.schedule));
        if let Some(zone) = &self.timezone {
            key("timezone", quoted(zone));
        }
        match &self.what {
            What::Wp { site, words } => {
                key("site", quoted(site));
                key("wp", list(words));
            }
            What::Command(words) => key("command", list(words)),
            What::Url(url) => key("url", quoted(url)),
        }
        // What starts with the machine is often meant to stay.
        let timeout = match self.schedule.as_str() {
            "@reboot" => "\"30d\"   # cron has no limit, and this is the longest; a daemon is better a systemd unit",
            _ => "\"1d\"   # cron has no limit",
        };
        key("timeout", timeout.to_string());
        if !matches!(self.what, What::Url(_)) {
            key("user", quoted(&self.user));
            if !self.environment.is_empty() {
                let pairs: Vec<String> =
                    self.environment.iter().map(|(name, value)| format!("{name} = {}", quoted(value))).collect();
                key("environment", format!("{{ {} }}", pairs.join(", ")));
            }
            // What it writes under a relative name goes where it went: not into the web server's folder.
            if Path::new(&self.directory) != self.usual {
                key("directory", quoted(&self.directory));
            }
        }
        out
    }
}

impl NewJob {
    /// With a site of its name, where it belongs to one.
    pub fn toml_to_check(&self, sites: &[KnownSite]) -> String {
        let What::Wp { site, .. } = &self.what else { return self.toml() };
        let known = sites.iter().find(|known| known.name == *site);
        let path = known.and_then(|known| known.path.as_ref()).map(|path| path.display().to_string());
        format!(
            "{}[[site]]\nname = {}\npath = {}\nurl = \"https://site.invalid\"\ntrigger = \"wp-cron.php\"\nschedule = \"@daily\"\n",
            self.toml(),
            quoted(site),
            quoted(&path.unwrap_or_default())
        )
    }
}

/// `cd /var/www/shop`
fn folder_of(part: &Part) -> Option<String> {
    match part.words.as_slice() {
        [cd, folder] if cd.text == "cd" && folder.is_exact && part.redirects.is_empty() => {
            let is_plain = !folder.text.starts_with('-') && !folder.text.contains(char::is_control);
            (is_plain && !folder.text.is_empty()).then(|| folder.text.clone())
        }
        _ => None,
    }
}

/// WP-CLI on a site of the configuration, and that site's folder. Path and address come from there.
fn wp(words: &[String], folder: &str, user: &str, sites: &[KnownSite]) -> Option<(What, PathBuf)> {
    let (program, rest) = words.split_first()?;
    if !matches!(program.rsplit('/').next(), Some("wp" | "wp-cli.phar" | "wp-cli")) {
        return None;
    }
    let ours = ["--url", "--ssh", "--http", "--user=root", "--require", "--exec"];
    if rest.iter().any(|word| ours.iter().any(|option| word.starts_with(option)) || word.starts_with('@')) {
        return None;
    }
    let path = rest.iter().find_map(|word| word.strip_prefix("--path="));
    let path: PathBuf = Path::new(folder).join(path.unwrap_or("")).components().collect();
    let mut known = sites.iter().filter(|site| site.path.as_deref() == Some(&path) && site.is_for(user));
    let site = known.next().filter(|_| known.next().is_none())?;
    let words: Vec<String> =
        rest.iter().filter(|word| !word.starts_with("--path=") && *word != "--allow-root").cloned().collect();
    (!words.is_empty()).then(|| (What::Wp { site: site.name.clone(), words }, path))
}

/// The line as cron would hand it to a shell, in words that hold no control character.
fn in_shell(entry: &Entry) -> Result<Vec<String>, String> {
    let shell = match entry.variable("SHELL") {
        None | Some("") => "/bin/sh",
        Some(shell) if shell.starts_with('/') => shell,
        Some(other) => return Err(format!("its SHELL is `{other}`; expected a path")),
    };
    let command = match entry.command.contains('\t') {
        false => entry.command.clone(),
        true if !entry.command.contains(['\'', '"', '\\']) => entry.command.replace('\t', " "),
        true => return Err("a tab stands in it, perhaps within quotes; write a blank instead".to_string()),
    };
    let command = match &entry.input {
        None => command.trim_end().to_string(),
        Some(_) if !POSIX.contains(&shell.rsplit('/').next().unwrap_or_default()) => {
            return Err(format!("it has input, and how {shell} is given that is not known here"));
        }
        Some(input) => {
            format!("printf -- '{}' | {} -c {}", for_printf(input)?, in_quotes(shell), in_quotes(&command))
        }
    };
    let words = vec![shell.to_string(), "-c".to_string(), command];
    match words.iter().any(|word| word.contains(char::is_control)) {
        true => Err("it holds a control character".to_string()),
        false => Ok(words),
    }
}

fn in_quotes(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Within single quotes, as the format of printf(1).
fn for_printf(input: &str) -> Result<String, String> {
    if input.contains('\t') {
        return Err("a tab stands in its input; write a blank instead".to_string());
    }
    Ok(input.replace('\\', "\\\\").replace('%', "%%").replace('\n', "\\n").replace('\'', "'\\''"))
}

/// The script, where an interpreter runs one; else the program of the first command that does something.
fn called(command: &str) -> String {
    let base = |word: &Word| {
        let name = word.text.rsplit('/').next().unwrap_or_default();
        name.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or(name).to_string()
    };
    let is_said = |word: &&Word| !BUILTINS.contains(&word.text.as_str()) && !word.text.contains('=');
    let parts = parts(command, &[]).unwrap_or_default();
    let Some(part) = parts.iter().find(|part| part.words.first().as_ref().is_some_and(is_said)) else {
        return "shell".to_string();
    };
    let mut plain = part.words.iter().filter(|word| !word.text.starts_with('-'));
    let first = plain.next().map(base).unwrap_or_default();
    let interpreters = ["php", "python", "perl", "bash", "sh", "node", "ruby"];
    let is_interpreter = interpreters.iter().any(|name| first.trim_end_matches(|c: char| c.is_ascii_digit()) == *name);
    plain.next().filter(|_| is_interpreter).map_or(first, base)
}
