//! `doctor`: is everything around it right? One line a check, from the machine to the inside of each site.
//!
//! It looks and asks. Nothing is changed, and no event is started: a site is called as a visitor, whose word keeps no
//! page-load cron off, and wp-cron.php is never called.

mod cron_option;
mod files;
mod fpm;
mod inside;
mod machine;
mod others;
mod page_load;
mod site;

use std::path::Path;

use super::diagnose::{self, jobs, redis};
use super::finding::{self, Finding, Judgement};
use super::fpm_pools::{self, Pool};
use super::progress;
use super::{Stop, exit, find};
use crate::config::problem::Refused;
use crate::config::{self, Config, Secrets};

/// Useful also where nothing is set up yet, or the configuration cannot be used: what can be seen without it is shown.
pub async fn doctor(path: &Path, name: Option<&str>, json: bool) -> Result<u8, Stop> {
    let findings = match config::read(path, Secrets::MayBeMissing) {
        Ok(config) => {
            let only = name.map(|name| find(&config, name)).transpose()?.map(|site| site.name.clone());
            progress::shown("examining", everything(&config, only.as_deref())).await
        }
        Err(refused) => without_configuration(path, &refused),
    };
    finding::show(&findings, json)?;
    let failed = findings.iter().any(|finding| finding.level == Judgement::Fail);
    Ok(if failed { exit::FAILED } else { exit::FINE })
}

async fn everything(config: &Config, only: Option<&str>) -> Vec<Finding> {
    let runner = machine::runner_user(config);
    let mut findings = vec![ok("config", format!("{}, {}", config.path.display(), diagnose::count(config)))];
    findings.extend(config.warnings.iter().map(|warning| {
        warn("config", warning, "a configuration without it", "edit the file, then `wp-cron-runner check`")
    }));
    findings.extend(files::configuration(&config.path, runner));
    findings.extend(files::state(config, runner));
    findings.push(machine::user(config, runner));
    findings.push(machine::daemon(config).await);
    findings.push(machine::time_zone());
    findings.extend(others::findings(Some(config)));
    let (of_redis, redis_port) = redis::findings(config).await;
    findings.extend(of_redis);
    let pools = fpm_pools::pools();
    for site in config.sites.iter().filter(|site| only.is_none_or(|only| site.name == only)) {
        findings.extend(site::findings(config, site, &Around { runner, redis_port, pools: &pools }).await);
    }
    if only.is_none() {
        findings.extend(config.jobs.iter().map(|job| machine::schedule(&job.name, &job.schedule)));
        findings.extend(jobs::findings(config));
    }
    findings
}

fn without_configuration(path: &Path, refused: &Refused) -> Vec<Finding> {
    let mut findings = match super::exists(path) {
        false => vec![fail("config", format!("there is no {}", path.display()), "a configuration", INIT)],
        // Unreadable as a whole.
        true if refused.source.is_empty() => diagnose::refused_findings(refused).into_iter().map(as_another).collect(),
        true => diagnose::refused_findings(refused).into_iter().map(with_chmod).collect(),
    };
    if super::exists(path) {
        findings.extend(files::configuration(path, None));
    }
    findings.push(machine::time_zone());
    findings.extend(others::findings(None));
    findings.extend(machine::pools());
    findings.push(machine::wp_cli());
    findings
}

/// What all sites share.
struct Around<'a> {
    /// Who the runner is, where that is known.
    runner: Option<u32>,
    redis_port: u16,
    pools: &'a [Pool],
}

const INIT: &str = "`wp-cron-runner init`, in the folder of WordPress";

/// A key file that others may read is no matter of the configuration's text.
fn with_chmod(finding: Finding) -> Finding {
    let file = finding.found.split_once(" is ").and_then(|(_, rest)| rest.split_once(", which has mode "));
    match file.map(|(file, _)| format!("`chmod 600 {file}`")) {
        Some(fix) => Finding { fix, ..finding },
        None => finding,
    }
}

fn as_another(finding: Finding) -> Finding {
    Finding { fix: "`sudo wp-cron-runner doctor`, or as the user of the runner".into(), ..finding }
}

fn ok(check: &str, found: impl Into<String>) -> Finding {
    Finding::new(check, Judgement::Ok, found)
}

fn warn(check: &str, found: impl Into<String>, expected: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding::new(check, Judgement::Warn, found).expecting(expected, fix)
}

fn fail(check: &str, found: impl Into<String>, expected: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding::new(check, Judgement::Fail, found).expecting(expected, fix)
}
