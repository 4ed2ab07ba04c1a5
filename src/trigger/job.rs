//! A job's work: a process of our own without a shell, or one GET.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use reqwest::{Url, header};
use rustix::process::Signal;

use super::output::BothEnds;
use super::process::{Ending, GRACE, Handle, Input, Program, Said};
use super::rights::Rights;
use super::wp_cli;
use crate::clock;
use crate::config::{Job, Work, WpCli};
use crate::outcome::{Failure, Outcome};
use crate::outward;

const USER_ADVICE: &str = "; to become another user, this process needs CAP_SETUID, CAP_SETGID and CAP_KILL, which \
     config/wp-cron-runner-user.conf, beside config/wp-cron-runner-wp-cli.conf, gives it under systemd";

/// How it ended.
#[derive(Debug)]
pub struct JobEnd {
    pub outcome: Outcome,
    /// Why it did not end well.
    pub error: Option<String>,
    pub note: Option<String>,
    pub output: BothEnds,
    pub pid: Option<u32>,
    /// As far as we know, something of it still runs.
    pub goes_on: bool,
}

impl JobEnd {
    fn new(outcome: Outcome, error: Option<String>) -> Self {
        Self { outcome, error, note: None, output: BothEnds::default(), pid: None, goes_on: false }
    }

    fn failed(error: impl Into<String>) -> Self {
        Self::new(Outcome::Failed, Some(error.into()))
    }
}

/// `lock`: what the process has as its stdin, an empty file; it is locked for as long as the process lives. `started` hears the
/// number of the process.
pub async fn run(job: &Job, lock: &File, started: impl FnOnce(Option<u32>)) -> JobEnd {
    match &job.work {
        Work::Url(url) => {
            started(None);
            get(url, job.timeout).await
        }
        Work::Command(words) => process(job, words.clone(), &[], lock, started).await,
        Work::Wp { wp_cli, path, url, arguments } => {
            let mut words = wp_cli::php(wp_cli, &[]);
            words.push(wp_cli.wp_cli.clone());
            words.extend(arguments.iter().cloned());
            words.extend([format!("--path={}", path.display()), format!("--url={url}"), "--no-color".to_string()]);
            process(job, words, &wp_cli.wrapper, lock, started).await
        }
    }
}

async fn process(
    job: &Job,
    words: Vec<String>,
    wrapper: &[String],
    lock: &File,
    started: impl FnOnce(Option<u32>),
) -> JobEnd {
    let wp_cli: Option<&WpCli> = match &job.work {
        Work::Wp { wp_cli, .. } => Some(wp_cli),
        _ => None,
    };
    let user = wp_cli.and_then(|wp_cli| wp_cli.user.as_ref()).or(job.user.as_ref());
    let input = match lock.try_clone() {
        Ok(file) => Input::File(file),
        Err(error) => return JobEnd::failed(format!("its lock cannot be handed on: {error}")),
    };
    let program = program(job, &[wrapper, &words].concat(), &Rights::of_user(user), input);
    let mut running = match program.start(None) {
        Ok(running) => running,
        Err(error) => return JobEnd::failed(not_started(job, &words, &error)),
    };
    started(running.pid);
    let mut end = JobEnd { pid: running.pid, ..JobEnd::new(Outcome::Ok, None) };
    let mut limit = std::pin::pin!(tokio::time::sleep(job.timeout));
    let mut patience = std::pin::pin!(end_after(job, running.handle.clone()));
    let mut is_late = false;
    let status = loop {
        tokio::select! {
            said = running.said.recv() => match said {
                Some(Said::Out(bytes) | Said::Err(bytes)) => end.output.push(&bytes),
                Some(Said::Ended(status)) => break Some(status),
                None => break Some(ExitStatus::default()),
            },
            () = &mut limit, if !is_late => is_late = true,
            () = &mut patience => break None,
        }
    };
    judge(end, status, is_late, job.timeout)
}

/// What a job says of its surroundings is for its program alone. The words in front of it may have rights that its user must not get
/// by a PATH or an LD_PRELOAD of his; and his folder may be open to nobody else.
fn program(job: &Job, words: &[String], rights: &Rights<'_>, input: Input) -> Program {
    let (front, mut env) = (rights.words(), rights.environment());
    let folder = job.folder();
    if front.is_empty() {
        env.retain(|(name, _)| !job.environment.iter().any(|(own, _)| own == name));
        env.extend(job.environment.iter().cloned());
        return Program { words: words.to_vec(), env, folder, input, ends_unheard: false, is_one_output: true };
    }
    // Most of it they cannot notice; and a password has no place on a command line.
    let is_noticed = |name: &str| {
        let begins = ["LD_", "GLIBC_", "MALLOC_", "GCONV_", "LOC", "NLS", "TMP", "PATH", "LANG", "LC_"];
        begins.iter().any(|begin| name.starts_with(begin))
    };
    let (noticed, quiet): (Vec<_>, Vec<_>) = job.environment.iter().partition(|(name, _)| is_noticed(name));
    env.retain(|(name, _)| !quiet.iter().any(|(own, _)| own == name));
    env.extend(quiet.into_iter().cloned());
    let mut all = front;
    all.push("/usr/bin/env".to_string());
    all.extend(folder.map(|folder| format!("--chdir={}", folder.display())));
    all.extend(noticed.into_iter().map(|(name, value)| format!("{name}={value}")));
    // env(1) would take such a program for one more variable.
    if words.first().is_some_and(|program| program.contains('=')) {
        all.extend(["/bin/sh", "-c", "exec \"$0\" \"$@\""].map(str::to_string));
    }
    all.extend(words.iter().cloned());
    Program { words: all, env, folder: None, input, ends_unheard: false, is_one_output: true }
}

fn judge(end: JobEnd, status: Option<ExitStatus>, is_late: bool, limit: Duration) -> JobEnd {
    let over = || Some(format!("its time limit of {} was over", clock::span(clock::millis(limit))));
    match status {
        None => {
            let note = end.pid.map(|pid| format!("process {pid} could not be ended, and goes on"));
            JobEnd { outcome: Outcome::TimedOut, error: over(), note, goes_on: true, ..end }
        }
        Some(status) if is_late => {
            let note = status.success().then(|| "it ended well when it was asked to".to_string());
            JobEnd { outcome: Outcome::TimedOut, error: over(), note, ..end }
        }
        Some(status) if status.success() => end,
        // 126, 127 and the like: setpriv(1) and shells say what they could not start.
        Some(status) => match status.signal() {
            Some(signal) => {
                let why = format!("it was ended by {status}{}", advice(signal));
                JobEnd { outcome: Outcome::Interrupted, error: Some(why), ..end }
            }
            None => {
                let line = end.output.last_line();
                let is_setpriv = line.as_ref().is_some_and(|line| line.starts_with("setpriv: "));
                let said = line.map_or_else(String::new, |line| format!("; its last words: {line}"));
                let advice = if is_setpriv { USER_ADVICE } else { "" };
                JobEnd { outcome: Outcome::Failed, error: Some(format!("{status}{said}{advice}")), ..end }
            }
        },
    }
}

/// What a signal of the kernel's usually means.
fn advice(signal: i32) -> &'static str {
    match signal {
        signal if signal == Signal::SYS.as_raw() => {
            "; under systemd, programs may need config/wp-cron-runner-wp-cli.conf"
        }
        signal if signal == Signal::KILL.as_raw() => {
            "; somebody did, or the kernel, for want of memory (`journalctl -k` says so)"
        }
        _ => "",
    }
}

fn not_started(job: &Job, words: &[String], error: &std::io::Error) -> String {
    if let Some(folder) = job.folder().filter(|folder| job.user.is_none() && !folder.is_dir()) {
        return format!("it cannot be started: there is no folder {}", folder.display());
    }
    let program = words.first().map_or("", String::as_str);
    match wp_cli::not_started(program, error) {
        Failure::Misconfigured(why) | Failure::NotReached(why) => why,
        other => other.to_string(),
    }
}

/// Ends it at the limit; returns where that had no effect.
async fn end_after(job: &Job, process: Handle) {
    tokio::time::sleep(job.timeout).await;
    tracing::warn!(job = job.name, "job {} has reached its time limit; its process is ended", job.name);
    if process.end().await == Ending::NotPermitted {
        tracing::warn!(
            job = job.name,
            "the process belongs to another user and could not be ended; CAP_KILL is needed"
        );
    }
    tokio::time::sleep(GRACE).await;
}

async fn fetch(url: &Url, limit: Duration) -> reqwest::Result<reqwest::Response> {
    outward::client(limit)?.get(url.clone()).send().await
}

/// Redirects are not followed: whoever moved the address is told so instead.
async fn get(url: &Url, limit: Duration) -> JobEnd {
    let over = || {
        JobEnd::new(Outcome::TimedOut, Some(format!("no whole answer within {}", clock::span(clock::millis(limit)))))
    };
    let mut response = match fetch(url, limit).await {
        Ok(response) => response,
        Err(error) if error.is_timeout() => return over(),
        Err(error) => return JobEnd::failed(outward::causes(&error)),
    };
    let status = response.status();
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_string);
    let mut end = JobEnd::new(Outcome::Ok, None);
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) => end.output.push(&bytes),
            Ok(None) => break,
            Err(error) if error.is_timeout() => return JobEnd { output: end.output, ..over() },
            Err(error) => return JobEnd { output: end.output, ..JobEnd::failed(outward::causes(&error)) },
        }
    }
    if !status.is_success() {
        let to = location.map_or_else(String::new, |to| format!(" to {}", crate::text::safe_cut(&to, 300)));
        let why =
            if status.is_redirection() { format!("a redirect{to}, which is not followed") } else { String::new() };
        let error = format!("HTTP {status}{}{why}", if why.is_empty() { "" } else { ": " });
        return JobEnd { outcome: Outcome::Failed, error: Some(error), ..end };
    }
    end
}
