//! `check --connect` for `[redis]`: can leases be kept there, and do the runners that share it fit together?

use std::sync::Arc;

use super::{Finding, Judgement};
use crate::commands::peers::Peers;
use crate::config::redis::{Redis, Risk};
use crate::config::{Config, Site};
use crate::history::redis::SharedHistory;
use crate::lease::redis::{Member, probe};
use crate::outcome::exit;
use crate::protocol::Due;
use crate::redis_link::{Link, Server, Trouble};

const CHECK: &str = "redis";

pub async fn findings(config: &Config) -> (Vec<Finding>, u16) {
    let Some(redis) = &config.redis else { return (Vec::new(), 0) };
    let link = Arc::new(Link::new(redis));
    let server = match link.server().await {
        Ok(server) => server,
        Err(trouble) => return (vec![not_used(redis, &trouble)], 0),
    };
    let mut findings = risks(redis, &server);
    if findings.iter().all(|finding| finding.level != Judgement::Fail) && !server.is_replica {
        let history = SharedHistory::new(&link, &config.history, config.sites.len());
        findings.extend(match (probe(&link).await, history.probe().await) {
            (Ok(members), Ok(())) => fits(config, redis, &server, &members),
            (Err(trouble), _) | (_, Err(trouble)) => vec![not_used(redis, &trouble)],
        });
    }
    (findings, server.tcp_port)
}

fn not_used(redis: &Redis, trouble: &Trouble) -> Finding {
    let stop = trouble.stop(redis);
    let finding = Finding::new(CHECK, Judgement::Fail, format!("{}: {trouble}", stop.failed));
    let expected = stop.expected.unwrap_or_default();
    let fix = match trouble {
        Trouble::NoAnswer(_) | Trouble::Refused(_) => "is it up, and does `url` in [redis] name it?",
        Trouble::Denied(_) | Trouble::Unfit(_) => "see `user` and `password_file` in [redis], and config/redis.acl",
    };
    Finding { code: stop.code, ..finding.expecting(expected.into_string(), fix) }
}

/// What speaks against this server: refused, or accepted by name and said all the same.
fn risks(redis: &Redis, server: &Server) -> Vec<Finding> {
    let finding = |unfit: crate::redis_link::Unfit| {
        let is_accepted = unfit.risk.is_some_and(|risk| redis.accepts(risk));
        let level = if is_accepted { Judgement::Warn } else { Judgement::Fail };
        let fix = if is_accepted { "it was accepted by name in [redis]" } else { "see `url` and `accept` in [redis]" };
        Finding::new(CHECK, level, unfit.found.clone()).expecting(unfit.expected, fix)
    };
    server.risks().into_iter().map(finding).collect()
}

fn fits(config: &Config, redis: &Redis, server: &Server, members: &[Member]) -> Vec<Finding> {
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let living = if names.is_empty() { "none".to_string() } else { names.join(", ") };
    let found = format!(
        "{redis} answers: version {}, maxmemory-policy {}, runners that live: {living}",
        server.version, server.eviction
    );
    let mut findings = vec![Finding::new(CHECK, Judgement::Ok, found)];
    if server.replicas < redis.wait_replicas {
        let found =
            format!("{} replicas are connected, and `wait_replicas` is {}", server.replicas, redis.wait_replicas);
        let fix = "no lease is granted before there are as many";
        let finding =
            Finding::new(CHECK, Judgement::Fail, found).expecting("as many replicas, or a smaller number", fix);
        findings.push(Finding { code: exit::UNREACHABLE, ..finding });
    }
    let mut equal: Vec<&str> =
        names.iter().copied().filter(|name| names.iter().filter(|other| *other == name).count() > 1).collect();
    equal.dedup();
    for name in equal {
        let found = format!("several runners are named {name}");
        findings.push(
            Finding::new(CHECK, Judgement::Warn, found).expecting("a `name` in [runner] of its own", "rename one"),
        );
    }
    let own = config.runner.listen.port().to_string();
    for member in members.iter().filter(|member| member.listen.rsplit(':').next() != Some(own.as_str())) {
        let found =
            format!("runner {} listens on {}, and this one on {}", member.name, member.listen, config.runner.listen);
        let fix = "give `listen` one port on all hosts: a page tells the runner of its own host, at the port that the site knows";
        findings.push(Finding::new(CHECK, Judgement::Warn, found).expecting("the same port everywhere", fix));
    }
    findings
}

/// The leases and a site's object cache in one database.
pub fn shared_database(name: &str, redis: &Redis, due: &Due, tcp_port: u16) -> Option<Finding> {
    let reported = due.object_cache.as_deref().filter(|reported| redis.is_database(reported, tcp_port))?;
    let level = if redis.accepts(Risk::ObjectCache) { Judgement::Warn } else { Judgement::Fail };
    let expected = "a database of its own for [redis]";
    Some(Finding::new(name, level, redis.shared_sentence(reported)).expecting(expected, "see `url` in [redis]"))
}

/// Another host's site of the same name.
pub async fn other_install(config: &Config, site: &Site, due: &Due) -> Option<Finding> {
    let known = Peers::of(config)?.history.fact(&site.name, "install").await.ok()??;
    let found = format!("other runners know the name {} as another WordPress install", site.name);
    let expected = format!("{known}, not {}", crate::text::safe(&due.install));
    let fix = "give one of the two another `name`, or [redis] another `prefix`; where the site moved, `wp-cron-runner plugin install`";
    (known != due.install)
        .then(|| Finding::new(format!("site {}", site.name), Judgement::Fail, found).expecting(expected, fix))
}
