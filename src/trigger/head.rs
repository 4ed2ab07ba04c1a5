//! The head of an answer, and what an answer without a single frame means.

use super::EndOfStream;
use crate::outcome::Failure;
use crate::text;

/// No plugin sends longer heads.
pub const LONGEST_HEAD: usize = 64 * 1024;
/// What core prints where the database does not let it in; not translated, for translations are not loaded by then.
pub const NO_DATABASE: &str = "Error establishing a database connection";
const FRAMES: &str = "application/x-wp-cron-runner";
/// The plugin has one answer for every bad signature.
pub const KEYS_DIFFER: &str = "the plugin refused the signature: the key in `secret_file` and the one in wp-config.php differ (`wp-cron-runner plugin install SITE` writes it)";

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Head {
    pub status: u16,
    pub content_type: String,
    pub location: Option<String>,
    pub retry_after_s: Option<u64>,
    pub asks_for_password: bool,
    /// What stands between us and the site, as its headers tell.
    pub through: Vec<String>,
}

impl Head {
    pub fn set(&mut self, name: &str, value: &str) {
        match name.to_ascii_lowercase().as_str() {
            "content-type" => self.content_type = value.to_string(),
            "location" => self.location = Some(value.to_string()),
            "retry-after" => self.retry_after_s = value.trim().parse().ok().or(Some(60)),
            "www-authenticate" => self.asks_for_password = true,
            "cf-ray" => self.through.push("Cloudflare (cf-ray)".into()),
            "x-sucuri-id" => self.through.push("Sucuri (x-sucuri-id)".into()),
            "x-varnish" | "x-cache" | "via" => {
                self.through.push(format!("{}: {}", name.to_ascii_lowercase(), text::safe_cut(value.trim(), 60)));
            }
            // CGI's way to say the status.
            "status" => {
                if let Some(status) = value.trim().get(..3).and_then(|code| code.parse().ok()) {
                    self.status = status;
                }
            }
            _ => {}
        }
    }

    /// CGI's head: lines up to an empty one. None while it is incomplete; how many bytes it takes.
    pub fn from_cgi(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut head = Self { status: 200, ..Self::default() };
        let mut at = 0;
        loop {
            let rest = bytes.get(at..)?;
            let length = rest.iter().position(|byte| *byte == b'\n')?;
            at += length + 1;
            let line = text::lossy(rest.get(..length)?.trim_ascii_end());
            if line.is_empty() {
                return Some((head, at));
            }
            if let Some((name, value)) = line.split_once(':') {
                head.set(name, value.trim());
            }
        }
    }

    /// What it was that answered without a frame.
    pub fn explain(&self, beginning: &[u8], stderr: &[u8]) -> EndOfStream {
        if let 502 | 504 | 524 = self.status {
            return EndOfStream::Gateway { status: self.status };
        }
        let failure = match self.failure(beginning, stderr) {
            Failure::Misconfigured(why) if !self.through.is_empty() => {
                Failure::Misconfigured(format!("{why}; it came through {}", self.through.join(", ")))
            }
            failure => failure,
        };
        EndOfStream::Nothing(failure)
    }

    /// Why the plugin did not answer.
    fn failure(&self, beginning: &[u8], stderr: &[u8]) -> Failure {
        let reason = match self.status {
            503 if contains(beginning, "E_INACTIVE") => "the plugin's files are there, but it is not active".to_string(),
            500 if contains(beginning, "E_NO_WORDPRESS") => "PHP finds no wp-load.php there; is `path` right?".to_string(),
            401 if contains(beginning, "E_AUTH") => KEYS_DIFFER.to_string(),
            404 if contains(stderr, "Primary script unknown") => {
                "php-fpm does not find the plugin's file there (Primary script unknown); is `path` right as php-fpm sees it, and is the plugin installed?".to_string()
            }
            _ => match self.refusal_of_the_server(beginning, stderr) {
                Some(failure) => return failure,
                None => self.something_else(beginning),
            },
        };
        Failure::Misconfigured(reason)
    }

    /// Why `wp-cron.php` did not answer, where no plugin is expected.
    pub fn explain_wp_cron_php(&self, beginning: &[u8]) -> Failure {
        match self.status {
            502 | 504 | 524 => Failure::Unclear(format!("the web server gave up waiting (HTTP {})", self.status)),
            404 => Failure::Misconfigured("there is no wp-cron.php (HTTP 404); is `url` the home address?".into()),
            status => self.refusal_of_the_server(beginning, &[]).unwrap_or_else(|| {
                Failure::Misconfigured(format!("something else than wp-cron.php answers (HTTP {status})"))
            }),
        }
    }

    /// What a web server has to say, whoever stands behind it.
    fn refusal_of_the_server(&self, beginning: &[u8], stderr: &[u8]) -> Option<Failure> {
        let reason = match self.status {
            503 | 429 if self.retry_after_s.is_some() => {
                return Some(Failure::Maintenance { retry_after_s: self.retry_after_s });
            }
            500..=599 => {
                let error = self.error(beginning, stderr);
                let is_of_the_database = error.contains(NO_DATABASE) || contains(beginning, NO_DATABASE);
                return Some(if is_of_the_database { Failure::Database(error) } else { Failure::ServerError(error) });
            }
            300..=399 => {
                let to = self.location.as_deref().unwrap_or("nowhere");
                format!("it redirects to {} (HTTP {}), which is never followed; is `url` the home address?", text::safe(to), self.status)
            }
            401 => "it asks for a password (HTTP 401); `basic_auth_file` names a file with user:password, and what it holds must be right".to_string(),
            403 => "it is forbidden (HTTP 403): a firewall, or a rule of the web server".to_string(),
            413 => "the web server refuses the request's size (HTTP 413)".to_string(),
            _ => return None,
        };
        Some(Failure::Misconfigured(reason))
    }

    fn something_else(&self, beginning: &[u8]) -> String {
        let is_ours = self.content_type.starts_with(FRAMES);
        let status = self.status;
        if is_ours && beginning.is_empty() {
            return format!("the plugin's answer is empty (HTTP {status})");
        }
        if is_ours {
            return "the answer is not signed with this site's key: something between changed it, or the keys differ"
                .to_string();
        }
        if beginning.iter().all(u8::is_ascii_whitespace) {
            return format!("the answer is empty (HTTP {status}); the plugin is not there, or not active");
        }
        format!(
            "something else than the plugin answers (HTTP {status}, type {}): \"{}\"; the plugin is not there, or not active",
            text::safe_cut(if self.content_type.is_empty() { "none" } else { &self.content_type }, 60),
            text::safe_cut(text::lossy(beginning).trim(), 80)
        )
    }

    fn error(&self, beginning: &[u8], stderr: &[u8]) -> String {
        let stderr = text::lossy(stderr);
        let line = stderr.lines().find(|line| !line.trim().is_empty());
        let detail = match line {
            Some(line) => text::safe(line.trim()),
            None => text::safe_cut(&without_tags(&text::lossy(beginning)), 80),
        };
        format!("HTTP {}{}{detail}", self.status, if detail.is_empty() { "" } else { ": " })
    }
}

pub fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

fn without_tags(html: &str) -> String {
    let mut inside = false;
    let text: String = html
        .chars()
        .filter(|c| {
            let keep = !inside && *c != '<';
            inside = (inside || *c == '<') && *c != '>';
            keep
        })
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
