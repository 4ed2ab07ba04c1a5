//! `check`: the configuration alone, and with `--connect` what it names.

pub mod jobs;
pub mod redis;

use std::collections::HashMap;
use std::path::Path;

use super::finding::{self, Finding, Judgement};
use super::progress;
use super::{Stop, calls, exit, pinned_install, print_json, visitor};
use crate::config::problem::{Level, Refused};
use crate::config::{self, Config, Secrets, Site};
use crate::outcome::Failure;
use crate::run_site::calls::Looked;
use crate::scheduler::{disable_wp_cron_sentence, stray_sentence};
use crate::trigger::wp_cron_php;

/// Reads the configuration itself: what is wrong with it is this command's answer.
pub async fn check(path: &Path, connect: bool, json: bool) -> Result<u8, Stop> {
    let config = match config::read(path, Secrets::Needed) {
        Ok(config) => config,
        Err(refused) if json => {
            print_json(&refused_findings(&refused))?;
            return Ok(exit::CONFIGURATION);
        }
        Err(refused) => return Err(super::refused(&refused, json)),
    };
    let mut findings = vec![Finding::new("config", Judgement::Ok, format!("{}, {}", path.display(), count(&config)))];
    findings.extend(config.warnings.iter().map(|warning| Finding::new("config", Judgement::Warn, warning)));
    if connect {
        findings.extend(progress::shown("asking all that it names", connect_all(&config)).await);
        findings.extend(jobs::findings(&config));
    }
    finding::show(&findings, json)?;
    Ok(findings.iter().map(|finding| finding.code).max().unwrap_or(exit::FINE))
}

pub fn count(config: &Config) -> String {
    let sites = match config.sites.len() {
        1 => "1 site".to_string(),
        many => format!("{many} sites"),
    };
    match config.jobs.len() {
        0 => sites,
        1 => format!("{sites}, 1 job"),
        many => format!("{sites}, {many} jobs"),
    }
}

pub fn refused_findings(refused: &Refused) -> Vec<Finding> {
    let finding = |problem: &config::problem::Problem| {
        let level = if problem.level == Level::Error { Judgement::Fail } else { Judgement::Warn };
        let found = format!("{}: {}", refused.place(problem), problem.message);
        Finding::new("config", level, found).expecting(&problem.expected, "edit the file, then `wp-cron-runner check`")
    };
    refused.problems.iter().map(finding).collect()
}

async fn connect_all(config: &Config) -> Vec<Finding> {
    let (mut findings, redis_port) = redis::findings(config).await;
    let mut installs: HashMap<String, String> = HashMap::new();
    for site in &config.sites {
        let name = format!("site {}", site.name);
        findings.extend(root_finding(site));
        if !site.has_plugin() {
            findings.push(without_plugin(&name, site));
            continue;
        }
        let install = pinned_install(config, &site.name);
        let looked = match calls(site, &visitor()) {
            Ok(calls) => calls.look(install.as_deref(), false).await,
            Err(stop) => Err(Failure::Misconfigured(stop.failed)),
        };
        match looked {
            Ok(looked) => {
                if let Some(other) = installs.insert(looked.due.install.clone(), site.name.clone()) {
                    let found = format!("is the same WordPress install as site {other} ({})", looked.due.install);
                    let fix = "take one of the two [[site]] out";
                    findings
                        .push(Finding::new(&name, Judgement::Fail, found).expecting("one [[site]] per install", fix));
                }
                findings.extend(site_findings(&name, site, &looked));
                let shared = config.redis.as_ref();
                findings.extend(shared.and_then(|own| redis::shared_database(&name, own, &looked.due, redis_port)));
                findings.extend(redis::other_install(config, site, &looked.due).await);
            }
            Err(failure) => {
                let code = failure.code();
                let finding = Finding::new(&name, Judgement::Fail, failure.to_string());
                findings.push(Finding { code, ..finding.expecting("a signed answer of the plugin", failure.advice()) });
            }
        }
    }
    findings
}

/// Only wp-cron.php itself could be asked, and it would run what is due.
pub fn without_plugin(name: &str, site: &Site) -> Finding {
    let found = format!("is not asked, since that would run what is due; {}", wp_cron_php::unknown(site));
    let fix = format!("install the plugin where that can be done, or see `wp-cron-runner trigger {}`", site.name);
    Finding::new(name, Judgement::Warn, found).expecting("another trigger than wp-cron.php", fix)
}

pub fn root_finding(site: &Site) -> Option<Finding> {
    let path = site.path.as_ref()?;
    let missing = !path.join("wp-load.php").is_file();
    missing.then(|| {
        let found = format!("{} holds no wp-load.php that this user can see", path.display());
        Finding::new(format!("site {}", site.name), Judgement::Warn, found)
            .expecting("the WordPress root", "see `path`")
    })
}

fn site_findings(name: &str, site: &Site, looked: &Looked) -> Vec<Finding> {
    let due = &looked.due;
    let found = format!(
        "answers over {} in {} ms: plugin {}, WordPress {}, PHP {}, locks {}, {} events due",
        site.trigger_word(),
        looked.timing.received_ms - looked.timing.sent_ms,
        due.plugin,
        due.wp,
        due.php,
        due.lock_kind.as_deref().unwrap_or("not proven yet"),
        due.due
    );
    let mut findings = vec![Finding::new(name, Judgement::Ok, found)];
    if due.lock_kind.as_deref() == Some("lease-row") {
        let found = "locks are rows with a lease: this database has no GET_LOCK, or two connections share one session";
        findings.push(Finding::new(name, Judgement::Warn, found.to_string()).expecting(
            "GET_LOCK that a second connection is refused",
            "name the database server itself in DB_HOST, not a proxy; else a worker that dies on another host is known dead only an hour after its time limit",
        ));
    }
    if due.plugin != env!("CARGO_PKG_VERSION") {
        let found = format!("the plugin has version {}", due.plugin);
        let fix = format!("`wp-cron-runner plugin install {}`", site.name);
        findings.push(Finding::new(name, Judgement::Warn, found).expecting(env!("CARGO_PKG_VERSION"), fix));
    }
    if due.disable_wp_cron {
        findings.push(Finding::new(name, Judgement::Warn, disable_wp_cron_sentence(&site.name)));
    }
    if let Some(stray) = &due.stray {
        findings.push(Finding::new(name, Judgement::Warn, stray_sentence(&site.name, &stray.who)));
    }
    findings
}
