//! Does a command line call wp-cron, and of which site? The forms that hosters and handbooks show, behind whatever cron
//! lines put in front of them: `cd`, `flock`, `nice`, `timeout`, `sudo -u`, a shell.

use std::path::{Path, PathBuf};

use super::fetch::{Fetch, fetch};
use super::shell::{Part, Word, parts};

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
    /// Why the line cannot be replaced as a whole by somebody who looks after that site.
    pub obstacle: Option<String>,
    /// Where it fetches: what was said about certificates and redirects.
    pub fetch: Option<Fetch>,
}

/// What a command line calls wp-cron by, if it does.
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
    Some(Call { wp_cron, user: line.user, obstacle: line.obstacle.or(several).or(more), fetch })
}

/// What was understood so far.
#[derive(Default)]
struct Line<'a> {
    variables: &'a [(String, String)],
    folder: Option<Word>,
    user: Option<String>,
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
            _ => match words.iter().find(|word| is_url(&word.text)) {
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

    /// What stands in front of the command proper. Nothing is left where a shell was given a text; that has been read then.
    fn without_wrappers<'w>(&mut self, mut words: &'w [Word], depth: usize) -> &'w [Word] {
        while let Some((first, rest)) = words.split_first() {
            words = match base(first) {
                _ if is_assignment(&first.text) => rest,
                "env" => after_options(rest, &["-u", "--unset", "-C", "--chdir"]),
                "nice" => after_options(rest, &["-n", "--adjustment"]),
                "ionice" => after_options(rest, &["-c", "-n", "--class", "--classdata"]),
                "nohup" | "setsid" | "time" | "exec" | "command" | "chronic" | "cronic" | "builtin" | "stdbuf" => {
                    after_options(rest, &[])
                }
                "timeout" => skip(after_options(rest, &["-k", "-s", "--kill-after", "--signal"])),
                "flock" => {
                    let rest = skip(after_options(rest, &["-w", "-E", "--timeout", "--wait", "--conflict-exit-code"]));
                    match rest.split_first() {
                        Some((option, rest)) if matches!(option.text.as_str(), "-c" | "--command") => {
                            return self.nested(rest.first(), depth);
                        }
                        _ => rest,
                    }
                }
                "sudo" | "doas" => self.sudo(rest),
                "su" | "runuser" => match self.su(rest) {
                    Ok(rest) => rest,
                    Err(text) => return self.nested(text, depth),
                },
                "xargs" | "parallel" => {
                    self.hinder("it is a loop: `wp-cron-runner init PATH` looks after all sites of a network");
                    after_options(rest, &["-I", "-n", "-P", "-L", "-d", "-a", "-s", "-E", "-i"])
                }
                "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" => {
                    let is_text = |word: &&Word| word.text.starts_with('-') && word.text.ends_with('c');
                    let Some(at) = rest.iter().position(|word| is_text(&word)) else { return words };
                    return self.nested(rest.get(at + 1), depth);
                }
                _ => return words,
            };
        }
        words
    }

    fn nested<'w>(&mut self, text: Option<&Word>, depth: usize) -> &'w [Word] {
        if let Some(text) = text {
            self.read(&text.text, depth + 1);
        }
        &[]
    }

    fn sudo<'w>(&mut self, words: &'w [Word]) -> &'w [Word] {
        let options: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        let user =
            options.iter().enumerate().take_while(|(_, word)| word.starts_with('-')).find_map(
                |(at, word)| match *word {
                    "-u" | "--user" => options.get(at + 1).map(ToString::to_string),
                    word => word.strip_prefix("--user=").or(word.strip_prefix("-u")).map(ToString::to_string),
                },
            );
        // `-Hu www-data`, and options before it that take a value.
        let joined = || options.windows(2).find(|pair| matches!(pair, [word, _] if is_joined_user(word)));
        let joined = joined().and_then(|pair| pair.get(1).map(ToString::to_string));
        self.user = user.or(joined).or(Some("root".to_string()));
        let rest =
            after_options(words, &["-u", "--user", "-g", "--group", "-C", "-h", "-p", "-Hu", "-nu", "-iu", "-Eu"]);
        rest
    }

    /// The command, or the text for a shell.
    fn su<'w>(&mut self, words: &'w [Word]) -> Result<&'w [Word], Option<&'w Word>> {
        let mut rest = words.iter().enumerate();
        let (mut user, mut text) = (None, None);
        while let Some((at, word)) = rest.next() {
            match word.text.as_str() {
                "-c" | "--command" => text = rest.next().map(|(_, word)| word),
                "-u" | "--user" => user = rest.next().map(|(_, word)| word.text.clone()),
                "-s" | "--shell" | "-g" | "-G" => drop(rest.next()),
                "--" => return self.as_user(user, words.get(at + 1..).unwrap_or_default()),
                option if option.starts_with('-') => {}
                _ if user.is_some() && text.is_none() => {
                    return self.as_user(user, words.get(at..).unwrap_or_default());
                }
                name => user = Some(name.to_string()),
            }
        }
        self.user = user.or(Some("root".to_string()));
        Err(text)
    }

    fn as_user<'w>(&mut self, user: Option<String>, rest: &'w [Word]) -> Result<&'w [Word], Option<&'w Word>> {
        self.user = user.or(Some("root".to_string()));
        Ok(rest)
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

    /// The call itself, without anything in front.
    fn direct(&mut self, words: &[Word]) -> bool {
        let Some(first) = words.first() else { return false };
        if let Some(mut fetch) = fetch(words) {
            let Some(at) = fetch.urls.iter().position(|url| url.text.contains("wp-cron.php")) else { return false };
            let url = fetch.urls.remove(at);
            if let Some(other) = fetch.urls.first() {
                self.others.push(other.text.clone());
            }
            self.look_at(&url);
            if let Some(obstacle) = fetch.obstacle.clone() {
                self.hinder(&obstacle);
            }
            let url = if url.text.contains("://") { url.text } else { format!("http://{}", url.text) };
            self.calls.push((WpCron::Url(url), Some(fetch)));
            return true;
        }
        if is_php(base(first)) {
            let Some(script) = script(words) else { return false };
            let Some(script_word) = words.get(script) else { return false };
            if base(script_word) == "wp-cron.php" {
                self.look_at(script_word);
                let file = self.below(Some(script_word));
                self.calls.push((WpCron::File(PathBuf::from(file.text)), None));
                return true;
            }
            return is_wp(base(script_word)) && self.wp(words.get(script + 1..).unwrap_or_default());
        }
        is_wp(base(first)) && self.wp(skip(words))
    }

    /// `wp ... cron event run --due-now`. Other events than those that are due are no business of wp-cron.
    fn wp(&mut self, words: &[Word]) -> bool {
        let plain: Vec<&str> =
            words.iter().map(|word| word.text.as_str()).filter(|word| !word.starts_with('-')).collect();
        let has = |option: &str| words.iter().any(|word| word.text == option);
        let names: Vec<&str> = plain.iter().filter(|word| !word.starts_with('@')).copied().collect();
        if !matches!(names.as_slice(), ["cron", "event", "run"]) || !has("--due-now") {
            return false;
        }
        let value = |option: &str| words.iter().rev().find_map(|word| word.text.strip_prefix(option));
        let find = |option: &str| words.iter().rev().find(|word| word.text.starts_with(option));
        for (option, why) in [
            ("--ssh", "`--ssh` runs it on another machine: see `wp_command` of [[site]]"),
            ("--http", "`--http` runs it on another machine"),
            ("--exclude", "`--exclude` leaves hooks out"),
            ("--require", "`--require` loads more code"),
            ("--exec", "`--exec` runs more code"),
            ("--skip-plugins", "`--skip-plugins` leaves plugins out"),
            ("--skip-themes", "`--skip-themes` leaves themes out"),
        ] {
            if find(option).is_some() {
                self.hinder(why);
            }
        }
        if plain.len() > names.len() {
            self.hinder("an alias (`@name`) stands for sites that WP-CLI's own configuration knows");
        }
        for word in [find("--path="), find("--url=")].into_iter().flatten() {
            self.look_at(word);
        }
        let named = value("--path=").map(|path| Word { text: path.to_string(), is_exact: true });
        let folder = match (&named, &self.folder) {
            (Some(_), _) => Some(self.below(named.as_ref())),
            (None, folder) => folder.clone(),
        };
        let path = folder.map(|folder| PathBuf::from(folder.text));
        let url = value("--url=").map(str::to_string);
        self.calls.push((WpCron::WpCli { path, url }, None));
        true
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
        let is_known = |word: &Word| word.is_exact || !word.text.contains(['$', '*', '`', '{']);
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

fn is_url(text: &str) -> bool {
    text.contains("://") && text.contains("/wp-cron.php")
}

fn is_assignment(text: &str) -> bool {
    let name = text.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn is_joined_user(word: &str) -> bool {
    word.len() > 2 && word.starts_with('-') && !word.starts_with("--") && word.ends_with('u')
}

/// `php`, `php8.2`, `php82`, `php-cli`, `ea-php81`, `php8.1-cli`, `lsphp`
fn is_php(name: &str) -> bool {
    let name = name.strip_prefix("ea-").unwrap_or(name);
    let name = name.strip_prefix("ls").unwrap_or(name);
    let rest = name.strip_prefix("php").map(|rest| rest.trim_start_matches('-'));
    let rest = rest.map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'));
    matches!(rest.map(|rest| rest.trim_start_matches('-')), Some("" | "cli" | "cgi"))
}

fn is_wp(name: &str) -> bool {
    matches!(name, "wp" | "wp-cli" | "wp-cli.phar" | "wp.phar" | "wpcli")
}

/// The number of the word that names the script. The words after it are the script's.
fn script(words: &[Word]) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = words.get(at) {
        match word.text.as_str() {
            "-f" | "--file" | "--" => return Some(at + 1),
            "-r" | "-R" | "-S" | "-i" | "-m" | "-v" => return None,
            "-c" | "-d" | "-z" | "-t" => at += 2,
            option if option.starts_with('-') => at += 1,
            _ => return Some(at),
        }
    }
    None
}

fn skip(words: &[Word]) -> &[Word] {
    words.get(1..).unwrap_or_default()
}

/// What follows the options. Those of `valued` have a word of their own for their value.
fn after_options<'w>(mut words: &'w [Word], valued: &[&str]) -> &'w [Word] {
    while let Some((first, rest)) = words.split_first() {
        words = match first.text.as_str() {
            "--" => return rest,
            option if valued.contains(&option) => skip(rest),
            option if option.starts_with('-') => rest,
            _ => return words,
        };
    }
    words
}
