//! For those who keep no leases and ask about them all the same: commands.

use std::collections::HashMap;

use redis::Value;

use super::Member;
use super::words::{Beaten, beat, holder, key, read};
use crate::protocol::signature::random_hex;
use crate::redis_link::{Link, Trouble};

/// What the runners know, as the key of each kind has it.
#[derive(Debug, Default)]
pub struct Leased {
    /// Site to the name of the runner that holds its lease.
    pub holders: HashMap<String, String>,
    /// Site to the value of the fact `paused`.
    pub paused: HashMap<String, String>,
}

pub async fn leased(link: &Link, sites: &[String]) -> Result<Leased, Trouble> {
    let config = &link.config;
    let mut pipeline = beat(config, None);
    for site in sites {
        pipeline.cmd("GET").arg(key(config, &format!("lease:{site}")));
    }
    let mut answers = link.each(&pipeline).await?.into_iter().skip(1);
    let (_, _, alive, paused, ..): Beaten = read(answers.next().unwrap_or(Ok(Value::Nil))?)?;
    let runners: Vec<Member> = alive.iter().filter_map(|json| serde_json::from_str(json).ok()).collect();
    let mut holders = HashMap::new();
    for (site, answer) in sites.iter().zip(answers) {
        let value: Option<String> = read(answer?)?;
        let name = |id: &str| runners.iter().find(|member| member.id == id).map(|member| member.name.clone());
        if let Some(value) = value {
            holders.insert(site.clone(), holder(&value, name));
        }
    }
    Ok(Leased { holders, paused: paused.into_iter().collect() })
}

/// Does everything once that a keeper does, for no site. Outside of its scripts: there Redis does not name the command that a
/// user may not call. Gives the runners that live.
pub async fn probe(link: &Link) -> Result<Vec<Member>, Trouble> {
    let config = &link.config;
    let value = random_hex::<16>().unwrap_or_default();
    // An upper case letter: no site has such a name.
    let (lease, hash) = (key(config, "lease:CHECK"), key(config, "site:CHECK"));
    let mut pipeline = redis::pipe();
    pipeline.cmd("TIME");
    pipeline.cmd("SET").arg(&lease).arg(&value).arg("PX").arg(1000);
    pipeline.cmd("GET").arg(&lease).cmd("MGET").arg(&lease).cmd("PTTL").arg(&lease);
    pipeline.cmd("PEXPIRE").arg(&lease).arg(1000).cmd("DEL").arg(&lease);
    pipeline.cmd("HSET").arg(&hash).arg("check").arg(&value).cmd("HMGET").arg(&hash).arg("check");
    pipeline.cmd("HGET").arg(&hash).arg("check").cmd("HGETALL").arg(&hash).cmd("HDEL").arg(&hash).arg("check");
    pipeline.cmd("PUBLISH").arg(key(config, "events")).arg("{}");
    if config.wait_replicas > 0 {
        pipeline.cmd("WAIT").arg(0).arg(1);
    }
    link.ask::<Vec<Value>>(&pipeline).await?;
    link.listen(&key(config, "events")).await?;
    let pipeline = beat(config, None);
    let answer = link.each(&pipeline).await?.into_iter().nth(1).unwrap_or(Ok(Value::Nil))?;
    let (_, _, alive, ..): Beaten = read(answer)?;
    Ok(alive.iter().filter_map(|json| serde_json::from_str(json).ok()).collect())
}
