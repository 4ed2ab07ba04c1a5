//! For those who keep no leases and ask about them all the same: commands.

use std::collections::HashMap;

use redis::Value;

use super::Member;
use super::keeper::Message;
use super::round::{Beaten, beat, holder, key, read, release_in};
use crate::protocol::signature::random_hex;
use crate::redis_link::{Link, Trouble};

/// What the runners know, as the key of each kind has it.
#[derive(Debug, Default)]
pub struct Shared {
    /// Site to the name of the runner that holds its lease.
    pub holders: HashMap<String, String>,
    /// Site to the value of the fact `paused`.
    pub paused: HashMap<String, String>,
}

pub async fn shared(link: &Link, sites: &[String]) -> Result<Shared, Trouble> {
    let config = &link.config;
    let mut pipeline = beat(config);
    pipeline.arg("").arg("").arg(0).arg("");
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
    Ok(Shared { holders, paused: paused.into_iter().collect() })
}

/// For all runners, and they hear of it at once. None: it goes on.
pub async fn set_pause(link: &Link, site: &str, value: Option<&str>) -> Result<(), Trouble> {
    let mut pipeline = redis::pipe();
    match value {
        Some(value) => pipeline.cmd("HSET").arg(key(&link.config, "paused")).arg(site).arg(value),
        None => pipeline.cmd("HDEL").arg(key(&link.config, "paused")).arg(site),
    };
    link.ask::<Vec<Value>>(&pipeline).await?;
    say(link, &Message::Changed { from: String::new() }).await
}

pub(super) async fn say(link: &Link, message: &Message) -> Result<(), Trouble> {
    let json = serde_json::to_string(message).map_err(|error| Trouble::Refused(error.to_string()))?;
    let mut pipeline = redis::pipe();
    pipeline.cmd("PUBLISH").arg(key(&link.config, "events")).arg(json);
    link.ask::<Vec<Value>>(&pipeline).await.map(drop)
}

/// Does everything once that a keeper does, with a lease of no site: where a right is missing, Redis names the command. Gives
/// the runners that live.
pub async fn probe(link: &Link) -> Result<Vec<Member>, Trouble> {
    let config = &link.config;
    let mut pipeline = beat(config);
    pipeline.arg("").arg("").arg(0).arg("");
    pipeline.cmd("SCRIPT").arg("LOAD").arg(include_str!("release.lua"));
    let value = format!("check:{}", random_hex::<16>().unwrap_or_default());
    // An upper case letter: no site has such a name.
    let site = "CHECK";
    pipeline.cmd("SET").arg(key(config, &format!("lease:{site}"))).arg(&value).arg("NX").arg("PX").arg(1000);
    release_in(&mut pipeline, config, site, &value);
    pipeline.cmd("PUBLISH").arg(key(config, "events")).arg("{}");
    let answers = link.each(&pipeline).await?.into_iter().collect::<Result<Vec<Value>, Trouble>>()?;
    let (_, _, alive, ..): Beaten = read(answers.into_iter().nth(1).unwrap_or(Value::Nil))?;
    Ok(alive.iter().filter_map(|json| serde_json::from_str(json).ok()).collect())
}
