//! The trigger for a site without the plugin: WordPress's own way to run what is due. One pass, and what can be said about it,
//! which is little: [`unknown`].

use std::fs::File;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use super::ended::Ended;
use super::output::Output;
use super::process::{Ending, GRACE, Handle, Input, Program, Running, Said};
use super::rights::Rights;
use super::{Chunk, EndOfStream, http, wp_cli};
use crate::clock;
use crate::config::{self, Site, WpCli, WpCronPhp};
use crate::outcome::{Failure, Outcome};

/// How long core believes a `.maintenance` file.
const MAINTENANCE_S: i64 = 600;
/// Without it PHP ends an event that prints something when nobody reads it any more, as after this runner's death.
const UNHEARD: &str = "ignore_user_abort=1";
const RAN: &str =
    "WP-CLI ran what was due; it does not say which event failed inside, or whether a page view ran the same one";
const ANSWERED: &str = "it answered; wp-cron.php does not say whether its events ended, failed or overlapped";

/// What `status` and the README say about a site that is looked after in this way.
pub fn unknown(site: &Site) -> &'static str {
    match &site.trigger {
        config::Trigger::WpCronPhp(WpCronPhp::Http(_)) => {
            "without the plugin nobody says whether an event ended, which failed, or whether one overlapped itself: wp-cron.php answers before its events have run"
        }
        config::Trigger::WpCronPhp(WpCronPhp::WpCli(_)) => {
            "without the plugin nobody says which event of a pass failed, or whether a page view ran the same event at the same time"
        }
        _ => "",
    }
}

/// How a pass ended, as far as it can be known.
#[derive(Debug, Clone, PartialEq)]
pub struct PassEnd {
    pub outcome: Outcome,
    pub failure: Option<Failure>,
    /// Why it was skipped.
    pub reason: Option<String>,
    pub note: Option<String>,
    pub output: String,
    pub output_dropped: u64,
    pub ms: i64,
    /// WP-CLI's process, or the words in front of it.
    pub pid: Option<i64>,
    /// As far as we know, something of it still runs.
    pub goes_on: bool,
}

impl PassEnd {
    /// It was never started.
    pub fn skipped(reason: String) -> Self {
        Self { reason: Some(reason), ..Self::new(Outcome::Skipped) }
    }

    fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            failure: None,
            reason: None,
            note: None,
            output: String::new(),
            output_dropped: 0,
            ms: 0,
            pid: None,
            goes_on: false,
        }
    }

    pub fn failed(failure: Failure) -> Self {
        match failure {
            Failure::Maintenance { .. } => {
                let reason = Some("the site is in maintenance mode".to_string());
                Self { failure: Some(failure), reason, ..Self::new(Outcome::Skipped) }
            }
            Failure::TimedOut(_) => Self { failure: Some(failure), ..Self::new(Outcome::TimedOut) },
            failure => Self { failure: Some(failure), ..Self::new(Outcome::Failed) },
        }
    }
}

/// Runs what is due, once; takes the site's `timeout`, and some seconds to end what is late. `lock`: for the process, where
/// there is one.
pub async fn run(site: &Arc<Site>, lock: Option<&File>) -> PassEnd {
    let started = clock::steady_ms();
    let mut output = Output::default();
    let end = match &site.trigger {
        config::Trigger::WpCronPhp(WpCronPhp::Http(door)) => {
            match tokio::time::timeout(site.timeout, over_http(site, door, &mut output)).await {
                Ok(end) => end,
                Err(_) => PassEnd::failed(Failure::TimedOut(clock::millis(site.timeout))),
            }
        }
        config::Trigger::WpCronPhp(WpCronPhp::WpCli(wp_cli)) => through_wp_cli(site, wp_cli, lock, &mut output).await,
        _ => PassEnd::failed(Failure::Misconfigured("its trigger is not `wp-cron.php`".into())),
    };
    let ms = clock::steady_ms() - started;
    PassEnd { ms, output: crate::text::lossy(&output.kept), output_dropped: output.dropped, ..end }
}

/// As core's own page views do it, but that the answer is waited for and read.
async fn over_http(site: &Arc<Site>, door: &config::Http, output: &mut Output) -> PassEnd {
    let mut stream = match http::Client::new(site, door) {
        Ok(client) => client.get_wp_cron_php(),
        Err(failure) => return PassEnd::failed(failure),
    };
    let mut head = None;
    let end = loop {
        match stream.next().await {
            Chunk::Head(seen) => head = Some(seen),
            Chunk::Body(bytes) | Chunk::Stderr(bytes) => output.push(&bytes),
            Chunk::End(end) => break end,
        }
    };
    match (head, end) {
        (Some(head), _) if head.status != 200 => PassEnd::failed(head.explain_wp_cron_php(&output.kept)),
        (_, EndOfStream::HttpEnd { .. }) => PassEnd { note: Some(ANSWERED.to_string()), ..PassEnd::new(Outcome::Ok) },
        (_, end) => PassEnd::failed(end.failure()),
    }
}

async fn through_wp_cli(site: &Site, wp_cli: &WpCli, lock: Option<&File>, output: &mut Output) -> PassEnd {
    let path = site.path.clone().unwrap_or_default();
    // WP-CLI itself does not care, and would run events over half a copy of WordPress.
    if is_in_maintenance(&path, clock::now_ms() / 1000) {
        return PassEnd::failed(Failure::Maintenance { retry_after_s: None });
    }
    let rights = match Rights::of(site, wp_cli) {
        Ok(rights) => rights,
        Err(failure) => return PassEnd::failed(failure),
    };
    let mut words = [rights.words(), wp_cli::php(wp_cli, &[UNHEARD])].concat();
    words.push(wp_cli.wp_cli.clone());
    words.extend(["cron", "event", "run", "--due-now"].map(str::to_string));
    words.extend([format!("--path={}", path.display()), format!("--url={}", site.url), "--no-color".to_string()]);
    let input = match lock.map(File::try_clone).transpose() {
        Ok(file) => file.map_or(Input::Bytes(Vec::new()), Input::File),
        Err(error) => return PassEnd::failed(Failure::NotReached(format!("its lock cannot be handed on: {error}"))),
    };
    let program = Program {
        words,
        env: rights.environment(),
        folder: wp_cli::folder(site),
        input,
        ends_unheard: false,
        is_one_output: false,
    };
    let first = program.words.first().cloned().unwrap_or_default();
    let mut running = match program.start(None) {
        Ok(running) => running,
        Err(error) => return PassEnd::failed(wp_cli::not_started(&first, &error)),
    };
    let pid = running.pid.map(i64::from);
    let read = read(&mut running, site, output).await;
    let Some(status) = read.status else { return given_up(pid, site.timeout) };
    let ended = Ended::of(wp_cli::name(wp_cli), status, wp_cli);
    // What stands in front of PHP may have been ended without it.
    let goes_on = !ended.is_php && (read.is_late || status.code().is_none());
    PassEnd { pid, goes_on, ..judged(&read, status, ended, site.timeout, output) }
}

struct Read {
    /// None where it could not be ended, and goes on.
    status: Option<ExitStatus>,
    stderr: Output,
    is_late: bool,
}

/// To the end of the process, which comes at its time limit where not before. One that cannot be ended is given up.
async fn read(running: &mut Running, site: &Site, output: &mut Output) -> Read {
    let mut read = Read { status: None, stderr: Output::default(), is_late: false };
    let mut limit = std::pin::pin!(tokio::time::sleep(site.timeout));
    let mut patience = std::pin::pin!(end_after(site.timeout, running.handle.clone(), &site.name));
    loop {
        tokio::select! {
            said = running.said.recv() => match said {
                Some(Said::Out(bytes)) => output.push(&bytes),
                Some(Said::Err(bytes)) => read.stderr.push(&bytes),
                Some(Said::Ended(status)) => return Read { status: Some(status), ..read },
                None => return Read { status: Some(ExitStatus::default()), ..read },
            },
            () = &mut limit, if !read.is_late => read.is_late = true,
            () = &mut patience => return read,
        }
    }
}

/// Ends it at the limit; returns where that had no effect.
async fn end_after(limit: Duration, process: Handle, site: &str) {
    tokio::time::sleep(limit).await;
    tracing::warn!(site, "a pass of WP-CLI has reached its time limit; its process is ended");
    if process.end().await == Ending::NotPermitted {
        tracing::warn!(
            site,
            "the process of that pass belongs to another user and could not be ended; CAP_KILL is needed"
        );
    }
    tokio::time::sleep(GRACE).await;
}

/// Its lane is wanted by others.
fn given_up(pid: Option<i64>, limit: Duration) -> PassEnd {
    let process = pid.map_or("its process".to_string(), |pid| format!("process {pid}"));
    let note = Some(format!("{process} could not be ended, and goes on"));
    PassEnd { note, pid, goes_on: true, ..PassEnd::failed(Failure::TimedOut(clock::millis(limit))) }
}

fn judged(read: &Read, status: ExitStatus, ended: Ended, limit: Duration, output: &Output) -> PassEnd {
    let is_php = ended.is_php;
    match () {
        () if status.success() => PassEnd { note: Some(RAN.to_string()), ..PassEnd::new(Outcome::Ok) },
        () if read.is_late => {
            let note = (!is_php).then(|| "what stood in front of PHP was ended; PHP itself may go on".to_string());
            PassEnd { note, ..PassEnd::failed(Failure::TimedOut(clock::millis(limit))) }
        }
        () => PassEnd::failed(ended.explain(&output.kept, &read.stderr.kept).failure()),
    }
}

/// Core's own rule, as far as it can be followed without PHP: a mark that is ten minutes old was forgotten.
fn is_in_maintenance(path: &Path, now_s: i64) -> bool {
    let Ok(text) = std::fs::read(path.join(".maintenance")) else { return false };
    let text = crate::text::lossy(&text);
    let after = text.split_once("$upgrading").map(|(_, rest)| rest.trim_start_matches([' ', '=']));
    let digits: String = after.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    // Where a program stands instead of a number it is there to keep people out.
    digits.parse::<i64>().map_or(true, |since| now_s - since < MAINTENANCE_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_of_maintenance_is_believed_for_ten_minutes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |text: &str| {
            std::fs::write(folder.path().join(".maintenance"), text).unwrap();
            is_in_maintenance(folder.path(), 10_000)
        };
        assert!(at("<?php $upgrading = 9401; ?>") && at("<?php $upgrading=10500;") && at("<?php $upgrading = time();"));
        assert!(!at("<?php $upgrading = 9400; ?>"));
        std::fs::remove_file(folder.path().join(".maintenance")).unwrap();
        assert!(!is_in_maintenance(folder.path(), 10_000));
    }
}
