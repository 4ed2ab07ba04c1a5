//! What a server says of itself (INFO), and why leases cannot be kept in some.

use crate::config::redis::{Redis, Risk};
use crate::outcome::Stop;

/// As INFO told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    pub version: String,
    /// New with each start of the server.
    pub run_id: String,
    /// New with each promotion of a replica.
    pub replication_id: String,
    pub is_replica: bool,
    pub is_cluster: bool,
    pub eviction: String,
    pub replicas: usize,
    /// 0: none, a socket only.
    pub tcp_port: u16,
}

/// One reason not to use a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    pub found: String,
    pub expected: &'static str,
    /// The risk that could be accepted by name.
    pub risk: Option<Risk>,
}

impl Server {
    /// None where there is no run id: that is no INFO.
    pub fn from_info(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).unwrap_or_default()
        };
        let server = Self {
            version: field("redis_version").to_string(),
            run_id: field("run_id").to_string(),
            replication_id: field("master_replid").to_string(),
            is_replica: field("role") == "slave",
            is_cluster: field("cluster_enabled") == "1",
            eviction: field("maxmemory_policy").to_string(),
            replicas: field("connected_slaves").parse().unwrap_or(0),
            tcp_port: field("tcp_port").parse().unwrap_or(0),
        };
        (!server.run_id.is_empty()).then_some(server)
    }

    /// Another one means: what was written may be gone.
    pub fn identity(&self) -> String {
        format!("{}:{}", self.run_id, self.replication_id)
    }

    /// Valkey names the version of Redis that it is like. What cannot be read is believed to be new.
    fn is_older_than(&self, major: u32, minor: u32) -> bool {
        let mut parts = self.version.split('.').map_while(|part| part.parse::<u32>().ok());
        parts.next().is_some_and(|found| (found, parts.next().unwrap_or(0)) < (major, minor))
    }

    /// Everything that speaks against it, accepted or not.
    pub fn risks(&self) -> Vec<Unfit> {
        let mut risks = Vec::new();
        let mut add = |found: String, expected, risk| risks.push(Unfit { found, expected, risk });
        if self.is_cluster {
            let found = "it is a node of a Redis Cluster, which gives a key away with its slot (MOVED)".to_string();
            add(found, "a single server, or a redis+sentinel:// URL", None);
        }
        if self.is_older_than(6, 2) {
            let found = format!("its version is {}", self.version);
            add(found, "Redis 6.2, Valkey, or newer", None);
        }
        if self.is_replica {
            let found = "it is a replica, which cannot be written (READONLY)".to_string();
            add(found, "the primary, or a redis+sentinel:// URL, which finds it", Some(Risk::Replica));
        }
        if !self.eviction.is_empty() && self.eviction != "noeviction" {
            let found = format!("its maxmemory-policy is {}: leases may be evicted to make room", self.eviction);
            add(found, "maxmemory-policy noeviction, or a server of its own", Some(Risk::Eviction));
        }
        risks
    }

    /// The first reason that the configuration does not accept.
    pub fn unfit(&self, config: &Redis) -> Option<Unfit> {
        self.risks().into_iter().find(|unfit| unfit.risk.is_none_or(|risk| !config.accepts(risk)))
    }
}

impl Unfit {
    pub fn sentence(&self, config: &Redis) -> String {
        format!("{config} cannot keep leases: {}; expected {}{}", self.found, self.expected, self.way_out())
    }

    fn way_out(&self) -> String {
        let by_name = |risk: Risk| format!("; or accept it by name: accept = [\"{}\"] in [redis]", risk.word());
        self.risk.map_or_else(String::new, by_name)
    }

    pub fn stop(&self, config: &Redis) -> Stop {
        Stop::new(crate::outcome::exit::CONFIGURATION, format!("{config} cannot keep leases"))
            .found(&self.found)
            .expected(format!("{}{}", self.expected, self.way_out()))
            .at("[redis]")
            .next("`wp-cron-runner check --connect`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\ntcp_port:6379\r\n# Replication\r\nrole:master\r\n\
        connected_slaves:2\r\nmaster_replid:def\r\nmaster_replid2:000\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n\
        # Cluster\r\ncluster_enabled:0\r\n";

    #[test]
    fn a_server_tells_what_it_is() {
        let server = Server::from_info(INFO).unwrap();
        assert_eq!((server.identity().as_str(), server.replicas, server.tcp_port), ("abc:def", 2, 6379));
        assert!(server.risks().is_empty());
        assert_eq!(Server::from_info("HTTP/1.1 400 Bad Request"), None);
        for (from, to, found) in [
            ("role:master", "role:slave", "a replica"),
            ("noeviction", "allkeys-lru", "allkeys-lru"),
            ("cluster_enabled:0", "cluster_enabled:1", "Cluster"),
            ("7.0.15", "6.0.16", "6.0.16"),
            ("7.0.15", "5.0", "5.0"),
        ] {
            let risks = Server::from_info(&INFO.replace(from, to)).unwrap().risks();
            assert!(risks.len() == 1 && risks[0].found.contains(found), "{risks:?}");
        }
    }
}
