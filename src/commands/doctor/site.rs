//! One site: its key, its pool, its door, then what it says of itself from inside.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Around, Finding, cron_option, fail, files, fpm, inside, ok, page_load, warn};
use crate::clock;
use crate::commands::diagnose::{self, redis};
use crate::commands::{calls, pinned_install, visitor};
use crate::config::{Config, Site, Trigger};
use crate::outcome::Failure;
use crate::run_site::calls::{Calls, Looked};

/// PHP's clock decides what is due, and the runner knows how far it is off; a signature is good for a minute.
const CLOCKS_AGREE_MS: i64 = 2000;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

pub async fn findings(config: &Config, site: &Arc<Site>, around: &Around<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = diagnose::root_finding(site).into_iter().collect();
    let door = format!("site {}: door", site.name);
    if !site.has_plugin() {
        findings.push(diagnose::without_plugin(&door, site));
        return findings;
    }
    findings.push(files::key(site, around.runner));
    findings.extend(fpm::findings(config, site, around));
    findings.extend(inside::schedule_zone(site));
    findings.push(front_door(site).await);
    if site.keys.is_empty() {
        return findings;
    }
    let install = pinned_install(config, &site.name);
    let reached = match calls(site, &visitor()) {
        Ok(calls) => calls.look(install.as_deref(), false).await.map(|looked| (calls, looked)),
        Err(stop) => Err(Failure::Misconfigured(stop.failed)),
    };
    match reached {
        Ok((calls, looked)) => {
            let shared = config.redis.as_ref();
            findings.push(door_is_open(&door, site, &looked));
            findings.push(clocks(site, &looked));
            findings.extend(shared.and_then(|own| redis::shared_database(&door, own, &looked.due, around.redis_port)));
            findings.extend(redis::other_install(config, site, &looked.due).await);
            findings.extend(from_inside(&calls, &looked, install.as_deref()).await);
        }
        Err(failure) => findings.push(closed(&door, site, &failure)),
    }
    findings
}

/// Where no runner is, WordPress starts wp-cron.php by a request to itself. No request is made here: it would be a page view.
async fn front_door(site: &Site) -> Finding {
    let check = format!("site {}: front door", site.name);
    let host = site.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = site.url.port_or_known_default().unwrap_or(80);
    let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect((host, port))).await;
    let why = match connected {
        Ok(Ok(stream)) => {
            let at = stream.peer_addr().map(|at| at.to_string()).unwrap_or_default();
            return ok(&check, format!("{host}:{port} is reached from here, at {at}"));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "nobody accepts".to_string(),
    };
    warn(
        &check,
        format!("{host}:{port} cannot be reached from here: {why}"),
        "reached: without a runner WordPress starts its events by a request to itself",
        format!(
            "`curl -sI {}` on this machine; a line `127.0.0.1 {host}` in /etc/hosts may be what is missing",
            site.url
        ),
    )
}

fn door_is_open(check: &str, site: &Site, looked: &Looked) -> Finding {
    let took = looked.timing.received_ms - looked.timing.sent_ms;
    ok(check, format!("the plugin answers over {} in {took} ms, and the signatures are good", site.trigger_word()))
}

fn closed(check: &str, site: &Site, failure: &Failure) -> Finding {
    let fix = fix_of(site, failure);
    let found = failure.to_string().replace("SITE", &site.name);
    match failure {
        Failure::Clock(ms) => fail(
            &format!("site {}: clock", site.name),
            format!("PHP's clock is {} {}: no call is accepted", clock::span(ms.abs()), behind(*ms)),
            failure.expected(),
            "`timedatectl set-ntp true` on both machines",
        ),
        Failure::Corrupt(_) => fail(&format!("site {}: cron option", site.name), found, failure.expected(), fix),
        _ => fail(check, found, failure.expected(), fix),
    }
}

fn behind(off_ms: i64) -> &'static str {
    if off_ms < 0 { "behind" } else { "ahead" }
}

/// What a person types here. Elsewhere it is said what the runner does by itself.
fn fix_of(site: &Site, failure: &Failure) -> String {
    let name = &site.name;
    match (failure, &site.trigger) {
        (Failure::NotReached(_), Trigger::FastCgi(_)) => {
            "`systemctl start php8.2-fpm` (your version's); `fastcgi` of the site has to be the `listen` of its pool"
                .into()
        }
        (Failure::NotReached(_), Trigger::Http(_)) => {
            format!("`curl -sI {}`: is the web server up, and does the name lead to it?", site.url)
        }
        (Failure::NotReached(_), _) => format!("see `php`, `wp_cli` and `wp_command` of the [[site]] {name}"),
        (Failure::Misconfigured(_), Trigger::Http(_)) => format!(
            "see `url`, `host`, `ca_file` and `basic_auth_file` of the site, and let POST {} through; `wp-cron-runner plugin install {name}` renews plugin and key",
            site.path_and_query("due")
        ),
        (Failure::Misconfigured(_), _) => {
            format!(
                "`wp-cron-runner plugin status {name}` compares plugin and keys, `wp-cron-runner plugin install {name}` renews both"
            )
        }
        (Failure::UnknownEpoch(_), _) => "`systemctl restart wp-cron-runner`: it makes the plugin's tables anew".into(),
        (Failure::Database(_), _) => "is the database up, and does wp-config.php name it? `wp db check`".into(),
        (Failure::Maintenance { .. }, _) => {
            "wait for the update to end; a `.maintenance` that was forgotten may be deleted".into()
        }
        (Failure::Unclear(_) | Failure::TimedOut(_), _) => {
            format!("see the error log of PHP, then `wp-cron-runner doctor {name}`")
        }
        _ => {
            let advice = failure.advice().replace("SITE", name);
            advice.strip_prefix("nothing was started; ").unwrap_or(&advice).to_string()
        }
    }
}

fn clocks(site: &Site, looked: &Looked) -> Finding {
    let check = format!("site {}: clock", site.name);
    let off = looked.due.now_ms - (looked.timing.sent_ms + looked.timing.received_ms) / 2;
    // The answer may have been on its way for a while.
    let unsure = (looked.timing.received_ms - looked.timing.sent_ms) / 2;
    let found = format!("PHP's clock is {} {}", clock::span(off.abs()), behind(off));
    match off.abs() > CLOCKS_AGREE_MS + unsure {
        true => warn(
            &check,
            format!("{found}; events start by PHP's clock, and from 60 s on no call is accepted"),
            "clocks that agree",
            "`timedatectl set-ntp true` on both machines",
        ),
        false => ok(&check, found),
    }
}

async fn from_inside(calls: &Calls, looked: &Looked, install: Option<&str>) -> Vec<Finding> {
    let site = &calls.site;
    let check = format!("site {}: plugin", site.name);
    let again = format!("`wp-cron-runner plugin install {}`, then reload php-fpm", site.name);
    let own = env!("CARGO_PKG_VERSION");
    if looked.due.plugin != own {
        let found = format!("the plugin has version {}", looked.due.plugin);
        return vec![fail(&check, found, format!("version {own}, as this program"), again)];
    }
    match calls.examine(install).await {
        Ok(examined) => {
            let mut findings = inside::findings(site, &examined);
            findings.extend(page_load::findings(site, &examined));
            findings.extend(cron_option::findings(site, &examined));
            findings
        }
        Err(failure) => {
            let found = format!("WordPress as a whole: {failure}");
            let expected = "WordPress with all its plugins, loaded to the end";
            let fix = "see the error log of PHP: what ends a page ends every event";
            vec![fail(&check, found, expected, fix)]
        }
    }
}
