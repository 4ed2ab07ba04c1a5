//! Does a command line call wp-cron, and of which site? The forms that hosters and handbooks show, behind whatever cron
//! lines put in front of them: `cd`, `flock`, `nice`, `timeout`, `sudo -u`, a shell.

mod direct;
mod wrappers;

use std::path::{Path, PathBuf};

use super::fetch::Fetch;
use super::shell::{Part, Word, parts};
use direct::is_wp;
use wrappers::skip;

/// What a command line calls wp-cron by. A relative path begins at the home of the line's user, where cron starts.
#[derive(Debug, Clone, PartialEq)]
pub enum WpCron {
    /// As it is written; without a scheme `http://` is put in front.
    Url(String),
    /// wp-cron.php itself.
    File(PathBuf),
    WpCli {
        path: Option<PathBuf>,
        url: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub wp_cron: WpCron,
    /// Of `sudo -u`, `su` and the like.
    pub user: Option<String>,
    /// The PHP that is named, and WP-CLI's own file, where the line has its path.
    pub php: Option<String>,
    pub wp_cli: Option<String>,
    /// Why the line cannot be replaced as a whole by somebody who looks after that site.
    pub obstacle: Option<String>,
    /// Where it fetches: what was said about certificates and redirects.
    pub fetch: Option<Fetch>,
}

/// What a command line calls wp-cron by, if it does.
#[allow(dead_code, reason = "for whoever needs no more than that")]
pub fn wp_cron(command: &str) -> Option<WpCron> {
    call(command, &[]).map(|call| call.wp_cron)
}

/// The same with all that is known about it. `variables` are those above the line.
pub fn call(command: &str, variables: &[(String, String)]) -> Option<Call> {
    let mut line = Line { variables, ..Line::default() };
    line.read(command, 0);
    let (wp_cron, fetch) = line.calls.first().cloned()?;
    let is_one = line.calls.iter().all(|(other, _)| *other == wp_cron);
    let more = line.others.first().map(|other| format!("it does more than call wp-cron: `{other}`"));
    let several = (!is_one).then(|| "it calls more than one wp-cron; write a line for each".to_string());
    let (php, wp_cli) = (line.php, line.wp_cli);
    Some(Call { wp_cron, user: line.user, php, wp_cli, obstacle: line.obstacle.or(several).or(more), fetch })
}

/// What was understood so far.
#[derive(Default)]
struct Line<'a> {
    variables: &'a [(String, String)],
    folder: Option<Word>,
    user: Option<String>,
    php: Option<String>,
    wp_cli: Option<String>,
    calls: Vec<(WpCron, Option<Fetch>)>,
    obstacle: Option<String>,
    others: Vec<String>,
}

/// `sh -c` within `sh -c`: nobody nests deeper.
const DEEPEST: usize = 4;
/// They change nothing that lasts.
const HARMLESS: [&str; 17] = [
    "sleep", "test", "[", "[[", "true", ":", "echo", "printf", "date", "export", "set", "umask", "ulimit", ".",
    "source", "exit", "logger",
];
/// They read what a pipe brings.
const READERS: [&str; 11] =
    ["logger", "tee", "grep", "egrep", "cat", "head", "tail", "sed", "awk", "ts", "systemd-cat"];
/// What they start is not among the files and processes of this machine as we know it.
const ELSEWHERE: [&str; 12] = [
    "docker",
    "docker-compose",
    "podman",
    "kubectl",
    "lxc",
    "lxc-attach",
    "ddev",
    "lando",
    "vagrant",
    "nerdctl",
    "ssh",
    "chroot",
];

impl Line<'_> {
    fn read(&mut self, command: &str, depth: usize) {
        let Some(parts) = parts(command, self.variables).filter(|_| depth < DEEPEST) else {
            if command.contains("wp-cron.php") || command.contains("cron event run") {
                self.calls.push((WpCron::WpCli { path: None, url: None }, None));
                self.hinder("its shell commands cannot be read");
            }
            return;
        };
        let mut is_piped = false;
        for part in &parts {
            self.part(part, is_piped, depth);
            is_piped = part.then.starts_with('|') && part.then != "||";
        }
    }

    fn part(&mut self, part: &Part, is_piped: bool, depth: usize) {
        let words = self.without_keywords(&part.words);
        let words = self.without_wrappers(words, depth);
        let Some(first) = words.first() else { return };
        let name = base(first);
        match name {
            "cd" | "pushd" => self.folder = Some(self.below(words.get(1))),
            _ if ELSEWHERE.contains(&name) => self.elsewhere(name, words),
            _ if self.direct(words) => {}
            _ if HARMLESS.contains(&name) || is_piped && READERS.contains(&name) => {}
            // Trellis asks so first.
            _ if is_wp(name) && words.iter().any(|word| word.text == "is-installed") => {}
            "perl" if words.iter().any(|word| word.text.contains("sleep")) => {}
            _ => match words.iter().find(|word| word.text.contains("://") && is_wp_cron(&word.text)) {
                Some(url) => {
                    self.calls.push((WpCron::Url(url.text.clone()), None));
                    self.hinder(&format!("`{name}` is not known here"));
                }
                None => self.others.push(name.to_string()),
            },
        }
    }

    /// Loops and conditions, as far as they stand before a command.
    fn without_keywords<'w>(&mut self, mut words: &'w [Word]) -> &'w [Word] {
        while let Some((first, rest)) = words.split_first() {
            match first.text.as_str() {
                "for" | "select" | "case" => {
                    self.hinder("it is a loop: `wp-cron-runner init PATH` looks after all sites of a network");
                    return &[];
                }
                "while" | "until" | "if" | "elif" => {
                    self.hinder("it is a loop, or has a condition");
                    words = rest;
                }
                "do" | "then" | "else" | "{" | "}" | "!" | "done" | "fi" => words = rest,
                _ => break,
            }
        }
        words
    }

    fn elsewhere(&mut self, name: &str, words: &[Word]) {
        let before = self.calls.len();
        for at in 1..words.len() {
            let Some(rest) = words.get(at..) else { break };
            match rest.first() {
                Some(text) if text.text.contains(' ') => self.read(&text.text, DEEPEST - 1),
                _ => {
                    if self.direct(self.without_wrappers_quietly(rest)) {
                        break;
                    }
                }
            }
        }
        if self.calls.len() > before {
            self.obstacle = Some(format!("`{name}` runs it somewhere else: see `wp_command` of [[site]]"));
        } else {
            self.others.push(name.to_string());
        }
    }

    fn without_wrappers_quietly<'w>(&self, words: &'w [Word]) -> &'w [Word] {
        match words.first() {
            Some(first) if is_assignment(&first.text) => skip(words),
            _ => words,
        }
    }

    /// A path as seen from the folder of the last `cd`. What begins with `~` begins at home.
    fn below(&mut self, word: Option<&Word>) -> Word {
        let Some(word) = word else { return Word { text: String::new(), is_exact: true } };
        let from_home = match word.text.as_str() {
            "~" => Some(""),
            text => text.strip_prefix("~/"),
        };
        if from_home.is_some() && self.user.is_some() {
            self.hinder("its path begins at a home that is not known here");
        }
        let path = match (from_home, &self.folder) {
            (Some(path), _) => PathBuf::from(path),
            (None, Some(folder)) => Path::new(&folder.text).join(&word.text),
            (None, None) => PathBuf::from(&word.text),
        };
        let is_exact = word.is_exact || from_home.is_some_and(|path| !path.contains(['$', '*', '?', '`']));
        Word { text: path.display().to_string(), is_exact }
    }

    /// What the shell would put in, nobody here knows.
    fn look_at(&mut self, word: &Word) {
        let is_another_s = |text: &str| text.starts_with('~') && text != "~" && !text.starts_with("~/");
        let is_known =
            |word: &Word| word.is_exact || !(word.text.contains(['$', '*', '`', '{']) || is_another_s(&word.text));
        let unknown = [Some(word), self.folder.as_ref()].into_iter().flatten().find(|word| !is_known(word));
        if let Some(unknown) = unknown {
            let why = format!("only a shell knows what `{}` stands for", unknown.text);
            self.hinder(&why);
        }
    }

    fn hinder(&mut self, why: &str) {
        self.obstacle.get_or_insert_with(|| why.to_string());
    }
}

fn base(word: &Word) -> &str {
    word.text.rsplit('/').next().unwrap_or_default()
}

/// wp-cron.php, and nothing that is for a plugin: one that gets its key there (`?import_key=...&action=trigger`) does
/// something else, which nobody does who only runs wp-cron.
fn is_wp_cron(url: &str) -> bool {
    let url = url.split_once("://").map_or(url, |(_, rest)| rest);
    let url = url.split('#').next().unwrap_or_default();
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let is_host = |host: &str| !host.is_empty();
    path.strip_suffix("/wp-cron.php").is_some_and(is_host) && query.split('&').all(is_nothing_but_wp_cron)
}

/// `doing_wp_cron`, `doing_wp_cron=1764000000.12`; or against caches: `1764000000`, `t=1764000000`.
fn is_nothing_but_wp_cron(pair: &str) -> bool {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    name == "doing_wp_cron" || (is_number(name) || name.len() == 1) && is_number(value)
}

fn is_assignment(text: &str) -> bool {
    let name = text.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}
