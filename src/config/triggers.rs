//! The keys of `[[site]]` that say how its PHP is reached.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::{Certificate, Url};
use toml::Spanned;

use super::file::Table;
use super::problem::excerpt;
use super::sites::{Reader, host_ip, is_link_local};
use super::{Address, CaFile, Http, Trigger, User, WpCli, WpCronPhp, secret};

const FASTCGI: &str =
    "php-fpm's socket, such as \"/run/php/php8.2-fpm.sock\", or an address of this machine, such as \"127.0.0.1:9000\"";
const TRIGGER: &str = "\"fastcgi\", \"http\", \"wp-cli\" or \"wp-cron.php\"";
const WP_CLI_KEYS: [&str; 5] = ["wp_cli", "php", "ini", "user", "wp_command"];
const HTTP_KEYS: [&str; 4] = ["ca_file", "connect_to", "basic_auth_file", "insecure"];
const FASTCGI_KEYS: [&str; 1] = ["fastcgi"];
const PLUGIN_KEYS: [&str; 5] = ["secret_file", "lanes", "rescan", "grace", "hook"];
/// A process of WP-CLI has no limit by itself on most machines.
const MEMORY: &str = "memory_limit=512M";

impl Reader<'_> {
    /// Reads the keys of every trigger, so that all of them are known and checked.
    pub(super) fn trigger(&self, url: Option<&Spanned<Url>>, path: Option<&PathBuf>) -> Option<Trigger> {
        let word = self.table.text("trigger", TRIGGER);
        let (address, wp_cli) = (self.fastcgi(), self.wp_cli());
        let uses_wp_cli = WP_CLI_KEYS.iter().any(|key| self.table.has(key));
        let word_text = word.as_ref().map(|word| word.get_ref().as_str());
        let is_http = match word_text {
            Some("http") => true,
            Some("wp-cron.php") => !uses_wp_cli,
            None => !self.table.has("fastcgi"),
            Some(_) => false,
        };
        let http = self.http(url, is_http);
        match word_text {
            _ if is_http && word_text == Some("wp-cron.php") => {
                http.map(|http| Trigger::WpCronPhp(WpCronPhp::Http(http)))
            }
            _ if is_http => http.map(Trigger::Http),
            Some("fastcgi") | None => {
                self.needs_path("fastcgi", path);
                if address.is_none() && !self.table.has("fastcgi") {
                    self.table.missing("fastcgi", FASTCGI);
                }
                address.map(Trigger::FastCgi)
            }
            Some("wp-cli") => {
                self.needs_path("wp-cli", path);
                wp_cli.map(Trigger::WpCli)
            }
            Some("wp-cron.php") => {
                self.needs_path("wp-cron.php", path);
                wp_cli.map(|wp_cli| Trigger::WpCronPhp(WpCronPhp::WpCli(wp_cli)))
            }
            Some(_) => {
                if let Some(word) = &word {
                    self.wrong("trigger", word, TRIGGER);
                }
                None
            }
        }
    }

    /// A key that another trigger reads was probably meant for this one.
    pub(super) fn check_unused(&self, trigger: &Trigger) {
        let (none, word): (&[&str], _) = (&[], trigger.word());
        let unused = match trigger {
            Trigger::FastCgi(_) => [&HTTP_KEYS[..], &WP_CLI_KEYS, none],
            Trigger::Http(_) => [&FASTCGI_KEYS[..], &WP_CLI_KEYS, none],
            Trigger::WpCli(_) => [&FASTCGI_KEYS[..], &HTTP_KEYS, none],
            Trigger::WpCronPhp(WpCronPhp::Http(_)) => [&FASTCGI_KEYS[..], &PLUGIN_KEYS, none],
            Trigger::WpCronPhp(WpCronPhp::WpCli(_)) => [&FASTCGI_KEYS[..], &HTTP_KEYS, &PLUGIN_KEYS],
        };
        for key in unused.concat().into_iter().filter(|key| self.table.has(key)) {
            let (span, message) = (self.table.span_of(key), format!("`{key}` means nothing to the trigger {word}"));
            match key {
                // Whoever writes it believes that PHP is somebody else.
                "user" => self.table.refuse(span, message, "it with the trigger wp-cli alone"),
                _ => self.table.warn(span, message, "only keys that this trigger reads"),
            }
        }
    }

    fn needs_path(&self, trigger: &str, path: Option<&PathBuf>) {
        if path.is_none() && !self.table.has("path") {
            let expected = format!("the folder that holds wp-load.php: the trigger `{trigger}` names it to PHP");
            self.table.missing("path", &expected);
        }
    }

    fn fastcgi(&self) -> Option<Address> {
        let text = self.table.text("fastcgi", FASTCGI)?;
        let value = text.get_ref();
        let value = value.strip_prefix("unix:").unwrap_or(value);
        if value.starts_with('/') {
            return Some(Address::Unix(PathBuf::from(value)));
        }
        match value.parse::<SocketAddr>() {
            // FastCGI has no signature of its own: who can connect can run any PHP file.
            Ok(address) if address.ip().is_loopback() => return Some(Address::Tcp(address)),
            _ => self.wrong("fastcgi", &text, FASTCGI),
        }
        None
    }

    fn http(&self, url: Option<&Spanned<Url>>, is_used: bool) -> Option<Http> {
        let ca_file = ca_file(self.table, self.folder);
        let connect_to = self.connect_to();
        let file = self.path("basic_auth_file", "a file with user:password, mode 0600");
        let basic_auth = file.and_then(|path| match secret::user_and_password(&path) {
            Ok(auth) => Some(auth),
            Err(refusal) => {
                let span = self.table.span_of("basic_auth_file");
                self.table.wrong("basic_auth_file", span, &refusal.to_string(), "user:password, mode 0600");
                None
            }
        });
        let insecure = self.table.flag("insecure").unwrap_or(false);
        let url = url?;
        let is_near = is_loopback(url.get_ref()) || connect_to.is_some_and(|address| address.ip().is_loopback());
        if url.get_ref().scheme() == "http" && !is_near && !insecure && is_used {
            let message = format!("`url` is \"{}\", which leaves this machine in the clear", url.get_ref());
            self.table.refuse(url.span(), message, "https://, or `insecure = true`");
        }
        Some(Http { ca_file, connect_to, basic_auth })
    }

    fn connect_to(&self) -> Option<SocketAddr> {
        let expected = "an address and a port, such as \"10.0.0.5:443\"";
        let text = self.table.text("connect_to", expected)?;
        match text.get_ref().parse::<SocketAddr>() {
            Ok(address) if !is_link_local(address.ip()) => Some(address),
            _ => {
                self.wrong("connect_to", &text, expected);
                None
            }
        }
    }

    fn wp_cli(&self) -> Option<WpCli> {
        let php = self.table.text("php", "the PHP of this site, such as \"/usr/bin/php8.2\"");
        let wp_cli = self.table.text("wp_cli", "WP-CLI's phar, such as \"/usr/local/bin/wp\"");
        let wrapper = self.table.texts(
            "wp_command",
            "words that are put in front of PHP, such as [\"docker\", \"exec\", \"-i\", \"shop\"]",
        );
        let ini = self.table.texts("ini", "settings of PHP, such as [\"memory_limit=512M\"]");
        let user = user(self.table);
        if user.is_some() && wrapper.is_some() {
            let span = self.table.span_of("user");
            self.table.refuse(
                span,
                "`user` and `wp_command` are both there",
                "one of them: the command can name a user itself, as `sudo -u` does",
            );
        }
        let wp_cli = WpCli {
            php: php.map_or_else(|| "php".to_string(), Spanned::into_inner),
            wp_cli: wp_cli.map_or_else(|| "/usr/local/bin/wp".to_string(), Spanned::into_inner),
            ini: self.ini(ini),
            user,
            wrapper: wrapper.map(Spanned::into_inner).unwrap_or_default(),
        };
        self.check_shell_of_ssh(&wp_cli);
        Some(wp_cli)
    }

    fn ini(&self, written: Option<Spanned<Vec<String>>>) -> Vec<String> {
        let expected = "name=value, such as \"memory_limit=512M\"";
        let span = written.as_ref().map_or(0..0, Spanned::span);
        let mut ini = written.map(Spanned::into_inner).unwrap_or_default();
        for setting in &ini {
            let name = setting.split_once('=').map_or("", |(name, _)| name.trim());
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
            if name.is_empty() || !name.chars().all(is_plain) {
                self.table.wrong("ini", span.clone(), &format!("\"{}\"", excerpt(setting)), expected);
            }
        }
        if !ini.iter().any(|setting| setting.trim_start().starts_with("memory_limit")) {
            ini.insert(0, MEMORY.to_string());
        }
        ini
    }

    /// ssh hands one string to a shell on the other side: our words have to be such that it changes nothing.
    fn check_shell_of_ssh(&self, wp_cli: &WpCli) {
        let is_ssh = |word: &String| word.rsplit('/').next() == Some("ssh");
        if !wp_cli.wrapper.iter().any(is_ssh) {
            return;
        }
        let path = self.table.plain_text("path").unwrap_or_default();
        let url = self.table.plain_text("url").unwrap_or_default();
        let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
        let words = [("path", path), ("url", url), ("php", wp_cli.php.clone()), ("wp_cli", wp_cli.wp_cli.clone())];
        let ini = wp_cli.ini.iter().map(|setting| ("ini", setting.clone()));
        for (key, word) in words.into_iter().chain(ini).filter(|(_, word)| !word.chars().all(is_plain)) {
            let expected =
                "letters, digits and / . _ - + = : , @ % alone: ssh gives the words to a shell on the other side";
            self.table.wrong(key, self.table.span_of(key), &format!("\"{}\"", excerpt(&word)), expected);
        }
    }
}

/// The key `user`: whom a process runs as.
pub(super) fn user(table: &Table<'_>) -> Option<User> {
    let expected = "the name of a user of this machine, and not root's";
    let name = table.text("user", expected)?;
    let user = look_up(name.get_ref());
    if user.is_none() {
        table.wrong("user", name.span(), &format!("\"{}\"", excerpt(name.get_ref())), expected);
    }
    user
}

/// The certificates that `ca_file` names, beside those of this machine.
pub(super) fn ca_file(table: &Table<'_>, folder: &Path) -> Option<CaFile> {
    let expected = "a file with certificates (PEM)";
    let path = folder.join(table.text("ca_file", expected)?.into_inner());
    let read = fs::read(&path).map_err(|error| format!("cannot be read: {error}"));
    let read = read.and_then(|pem| match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        Ok(_) => Err("holds no certificate".to_string()),
        Err(error) => Err(format!("is wrong: {error}")),
    });
    match read {
        Ok(pem) => Some(CaFile { path, pem }),
        Err(why) => {
            let found = format!("{}, which {why}", path.display());
            table.wrong("ca_file", table.span_of("ca_file"), &found, expected);
            None
        }
    }
}

/// Whom PHP or a job may be: never root.
pub fn look_up(name: &str) -> Option<User> {
    account(name).filter(|user| user.uid != 0)
}

/// Anybody, as the machine's name services know him (passwd(5), LDAP and the like), through getent(1).
pub fn account(name: &str) -> Option<User> {
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && !name.starts_with('-');
    if !is_name || name.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let output = Command::new("getent").args(["passwd", name]).stdin(Stdio::null()).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    let mut fields = line.trim_end().split(':');
    let name = fields.next().filter(|found| *found == name)?.to_string();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = PathBuf::from(fields.nth(1)?);
    Some(User { name, uid, gid, home })
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || host.ends_with(".localhost") || host_ip(url).is_some_and(|ip| ip.is_loopback())
}
