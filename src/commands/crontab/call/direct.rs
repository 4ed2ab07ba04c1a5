//! The call itself: a program that fetches wp-cron.php, PHP that runs it, or WP-CLI.

use std::path::PathBuf;

use super::super::fetch::fetch;
use super::super::shell::Word;
use super::wrappers::skip;
use super::{Line, WpCron, base, is_wp_cron};

impl Line<'_> {
    /// The call itself, without anything in front.
    pub(super) fn direct(&mut self, words: &[Word]) -> bool {
        let Some(first) = words.first() else { return false };
        if let Some(mut fetch) = fetch(words) {
            let Some(at) = fetch.urls.iter().position(|url| is_wp_cron(&url.text)) else { return false };
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
                // What is not for wp-cron itself is for a plugin, which asks PHP for it.
                let words = words.get(script + 1..).unwrap_or_default();
                if let Some(other) = words.iter().find(|word| !word.text.starts_with("doing_wp_cron")) {
                    self.hinder(&format!("it hands `{}` to wp-cron.php", other.text));
                }
                let file = self.below(Some(script_word));
                self.php = Some(first.text.clone());
                self.calls.push((WpCron::File(PathBuf::from(file.text)), None));
                return true;
            }
            let is_it = is_wp(base(script_word)) && self.wp(script_word, words.get(script + 1..).unwrap_or_default());
            if is_it {
                self.php = Some(first.text.clone());
            }
            return is_it;
        }
        is_wp(base(first)) && self.wp(first, skip(words))
    }

    /// `wp ... cron event run --due-now`. Other events than those that are due are no business of wp-cron.
    fn wp(&mut self, program: &Word, words: &[Word]) -> bool {
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
        self.wp_cli = Some(program.text.clone()).filter(|program| program.starts_with('/'));
        self.calls.push((WpCron::WpCli { path, url }, None));
        true
    }
}

/// `php`, `php8.2`, `php82`, `php-cli`, `ea-php81`, `php8.1-cli`, `lsphp`
fn is_php(name: &str) -> bool {
    let name = name.strip_prefix("ea-").unwrap_or(name);
    let name = name.strip_prefix("ls").unwrap_or(name);
    let rest = name.strip_prefix("php").map(|rest| rest.trim_start_matches('-'));
    let rest = rest.map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'));
    matches!(rest.map(|rest| rest.trim_start_matches('-')), Some("" | "cli" | "cgi"))
}

pub(super) fn is_wp(name: &str) -> bool {
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
