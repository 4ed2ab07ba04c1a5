//! A process that ended, and what its answer means where it has not a single frame.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Signal;

use super::EndOfStream;
use super::head::{KEYS_DIFFER, NO_DATABASE, contains};
use crate::config::WpCli;
use crate::outcome::Failure;
use crate::text;

#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// "`php` ended with exit status: 255", and what it said about that.
    pub how: String,
    /// PHP itself, a child of ours. Else it was something in front of PHP, and its end proves nothing.
    pub is_php: bool,
    /// What was given to PHP as WP-CLI.
    pub wp_cli: String,
    pub user: Option<String>,
}

impl Ended {
    pub fn of(program: &str, status: ExitStatus, how: &WpCli) -> Self {
        // A filter of system calls ends a process so.
        let is_filtered = status.signal() == Some(Signal::SYS.as_raw());
        let advice = if is_filtered { "; under systemd, PHP needs config/wp-cron-runner-wp-cli.conf" } else { "" };
        Self {
            how: format!("`{program}` ended with {status}{advice}"),
            is_php: how.wrapper.is_empty(),
            wp_cli: how.wp_cli.clone(),
            user: how.user.as_ref().map(|user| user.name.clone()),
        }
    }

    /// For a short call: it starts nothing, so nothing was started.
    pub fn failure(self) -> Failure {
        if self.is_php { Failure::ServerError(self.how) } else { Failure::NotReached(self.how) }
    }

    /// Only what is said before anything can have been claimed is the end of the matter; else the journal decides.
    pub fn explain(self, stdout: &[u8], stderr: &[u8]) -> EndOfStream {
        let said = |words: &str| contains(stdout, words) || contains(stderr, words);
        let failure = match () {
            () if said("{\"error\":\"E_MAINTENANCE\"}") => Failure::Maintenance { retry_after_s: None },
            () if said(NO_DATABASE) => Failure::Database(NO_DATABASE.into()),
            () => match self.what_is_wrong(stdout, stderr) {
                Some(reason) => Failure::Misconfigured(reason),
                None => {
                    let line = telling_line(stderr).or_else(|| telling_line(stdout));
                    let how = line.map_or(self.how.clone(), |line| format!("{}: {line}", self.how));
                    return EndOfStream::Ended(Self { how, ..self });
                }
            },
        };
        EndOfStream::Nothing(failure)
    }

    fn what_is_wrong(&self, stdout: &[u8], stderr: &[u8]) -> Option<String> {
        let said = |words: &str| contains(stdout, words) || contains(stderr, words);
        let reason = match () {
            () if said("{\"error\":\"E_AUTH\"}") && !self.is_php => format!(
                "{KEYS_DIFFER}; or what stands in front of PHP does not hand its input on (`docker exec` and `kubectl exec` do with `-i`)"
            ),
            () if said("{\"error\":\"E_AUTH\"}") => KEYS_DIFFER.to_string(),
            () if said("{\"error\":\"E_NO_WORDPRESS\"}") || said("does not seem to be a WordPress install") => {
                "PHP finds no WordPress there; is `path` right, as PHP sees it?".to_string()
            }
            () if said("'wp-config.php' not found") => {
                "WP-CLI finds no wp-config.php there; is `path` right?".to_string()
            }
            () if said("is not a registered wp command") => "the plugin is not there, or not active".to_string(),
            () if said("is not a registered subcommand of 'cron-runner'") => {
                "the plugin is older than this runner; `wp-cron-runner plugin install SITE` renews it".to_string()
            }
            () if said("YIKES! It looks like you're running this as root") => {
                "WP-CLI would run as root, and give the site's code the whole machine; `user` names the one that the site belongs to".to_string()
            }
            () if contains(stderr, "setpriv: failed to execute") => {
                format!("PHP cannot be started: {}", telling_line(stderr).unwrap_or_default())
            }
            () if self.user.is_some() && contains(stderr, "setpriv: ") => format!(
                "to become `{}`, this process needs CAP_SETUID, CAP_SETGID and CAP_KILL, which config/wp-cron-runner-user.conf, beside config/wp-cron-runner-wp-cli.conf, gives it under systemd; or leave `user` out and set `wp_command = [\"sudo\", \"-n\", \"-u\", \"{0}\"]` ({}: {})",
                self.user.as_deref().unwrap_or_default(),
                self.how,
                telling_line(stderr).unwrap_or_default()
            ),
            () if said("Could not open input file: ") => {
                let file = telling_line(stdout).filter(|line| line.contains("input file")).or_else(|| telling_line(stderr));
                format!("PHP finds no such file ({}: {}); is `wp_cli` right?", self.how, file.unwrap_or_default())
            }
            () if is_script_of_a_shell(&self.wp_cli) && stdout.contains(&b'\n') => format!(
                "`wp_cli` is to be WP-CLI's phar, or another file that PHP reads; {} is a shell script, and was printed instead of being run ({}{})",
                text::safe_cut(&self.wp_cli, 200),
                self.how,
                telling_line(stderr).map(|line| format!(": {line}")).unwrap_or_default()
            ),
            () => return None,
        };
        Some(reason)
    }
}

/// The line that a person would point at: the first that names an error, else the first.
fn telling_line(bytes: &[u8]) -> Option<String> {
    let all = text::lossy(bytes);
    let lines = || all.lines().map(str::trim).filter(|line| !line.is_empty());
    let names_error = |line: &&str| line.starts_with("Error:") || line.contains("Fatal error:");
    lines().find(names_error).or_else(|| lines().next()).map(text::safe)
}

fn is_script_of_a_shell(file: &str) -> bool {
    let mut beginning = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(128).read_to_end(&mut beginning));
    let first = text::lossy(beginning.split(|byte| *byte == b'\n').next().unwrap_or_default());
    read.is_ok() && first.starts_with("#!") && !first.contains("php")
}
