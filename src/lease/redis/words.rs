//! What is said to Redis, and how its answers are read: keys, scripts, messages.

use std::sync::LazyLock;

use redis::{FromRedisValue, Pipeline, Script, Value};
use serde::{Deserialize, Serialize};

use super::{Facts, GUEST, TTL_MS};
use crate::config::redis::Redis;
use crate::protocol::Notice;
use crate::redis_link::{Link, Trouble};

static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("beat.lua")));
static HOLD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("hold.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("release.lua")));

/// What `beat.lua` answers: this runner's entry before, the realm, those who live, sites that are paused, the server that the
/// runners know, how long the quarantine lasts, and how long until one of them may be dead.
pub(super) type Beaten = (String, String, Vec<String>, Vec<(String, String)>, String, i64, i64);

/// What `hold.lua` answers.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Renewed,
    Granted,
    /// The value that is there, and for how long still.
    Other(String, i64),
    Quarantine(i64),
}

/// One site that a round asks for.
#[derive(Debug)]
pub(super) struct Want {
    pub site: String,
    pub value: String,
    pub is_ours: bool,
    pub is_trusted: bool,
    /// Another's part, which he did not take.
    pub is_left_lying: bool,
}

/// What runners say to one another.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(super) enum Message {
    /// Who lives, who can serve what, what is free or paused has changed: look now.
    Changed {
        from: String,
    },
    Here {
        from: String,
    },
    Notice {
        site: String,
        notice: Notice,
    },
}

/// For all runners, and they hear of it at once. None: it goes on.
pub async fn set_pause(link: &Link, site: &str, value: Option<&str>) -> Result<(), Trouble> {
    let mut pipeline = redis::pipe();
    match value {
        Some(value) => pipeline.cmd("HSET").arg(key(&link.config, "paused")).arg(site).arg(value),
        None => pipeline.cmd("HDEL").arg(key(&link.config, "paused")).arg(site),
    };
    link.ask::<Vec<Value>>(&pipeline).await?;
    say(link, &[Message::Changed { from: String::new() }]).await
}

pub(super) async fn say(link: &Link, messages: &[Message]) -> Result<(), Trouble> {
    let mut pipeline = redis::pipe();
    for message in messages {
        let json = serde_json::to_string(message).map_err(|error| Trouble::Refused(error.to_string()))?;
        pipeline.cmd("PUBLISH").arg(key(&link.config, "events")).arg(json);
    }
    link.ask::<Vec<Value>>(&pipeline).await.map(drop)
}

/// The name of whoever has the lease with this value.
pub(super) fn holder(value: &str, name: impl Fn(&str) -> Option<String>) -> String {
    let whole = value.split(':').next().unwrap_or_default();
    let id = whole.strip_suffix(GUEST).unwrap_or(whole);
    let name = name(id).unwrap_or_else(|| format!("?{}", id.get(..8).unwrap_or(id)));
    if id == whole { name } else { format!("once of {name}") }
}

pub(super) fn key(config: &Redis, name: &str) -> String {
    format!("{}:{name}", config.prefix)
}

/// `word`: this runner's id, its entry, the realm where there is none yet, and which server this is; without it nothing is said. The script is loaded
/// each time: a server that was started anew has none, and a pipeline cannot ask twice.
pub(super) fn beat(config: &Redis, word: Option<[&str; 4]>) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("SCRIPT").arg("LOAD").arg(include_str!("beat.lua"));
    pipeline.cmd("EVALSHA").arg(BEAT.get_hash()).arg(5);
    for name in ["runners", "realm", "paused", "server", "quarantine"] {
        pipeline.arg(key(config, name));
    }
    let [id, entry, realm, server] = word.unwrap_or_default();
    pipeline.arg(id).arg(entry).arg(TTL_MS).arg(realm).arg(server);
    pipeline
}

pub(super) fn hold_in(pipeline: &mut Pipeline, config: &Redis, want: &Want, identity: &str, id: &str) {
    pipeline.cmd("EVALSHA").arg(HOLD.get_hash()).arg(3);
    pipeline.arg(key(config, &format!("lease:{}", want.site))).arg(key(config, "server"));
    pipeline.arg(key(config, "quarantine")).arg(&want.value).arg(TTL_MS).arg(identity);
    pipeline.arg(if want.is_trusted { "1" } else { "0" }).arg(format!("{id}:"));
}

pub(super) fn release_in(pipeline: &mut Pipeline, config: &Redis, site: &str, value: &str) {
    pipeline.cmd("EVALSHA").arg(RELEASE.get_hash()).arg(1).arg(key(config, &format!("lease:{site}"))).arg(value);
}

pub(super) fn second(results: Vec<Result<Value, Trouble>>) -> Result<Value, Trouble> {
    results.into_iter().nth(1).unwrap_or(Ok(Value::Nil))
}

pub(super) fn read<T: FromRedisValue>(value: Value) -> Result<T, Trouble> {
    redis::from_redis_value(value).map_err(|error| Trouble::Refused(format!("an answer that cannot be read: {error}")))
}

pub(super) fn answer_in(value: Value) -> Result<Answer, Trouble> {
    let (code, holder, ms): (i64, String, i64) = read(value)?;
    match code {
        0 => Ok(Answer::Other(holder, ms)),
        1 => Ok(Answer::Renewed),
        2 => Ok(Answer::Quarantine(ms)),
        3 => Ok(Answer::Granted),
        other => Err(Trouble::Refused(format!("an answer that cannot be read: {other}"))),
    }
}

pub(super) fn acknowledged(answer: Option<Result<Value, Trouble>>, least: usize) -> Result<(), Trouble> {
    let replicas: usize = read(answer.unwrap_or(Ok(Value::Nil))?)?;
    if replicas >= least {
        return Ok(());
    }
    Err(Trouble::Refused(format!("{replicas} replicas have the leases, and `wait_replicas` in [redis] wants {least}")))
}

/// What cannot be read is not known: it keeps no lease away.
pub(super) fn facts_in(answer: Result<Value, Trouble>) -> Facts {
    let fields = answer.and_then(read::<Vec<Option<String>>>).unwrap_or_default();
    let field = |at: usize| fields.get(at).cloned().flatten();
    let number = |at| field(at).and_then(|text| text.parse().ok());
    Facts { install: field(0), epoch: number(1), ended_ms: number(2) }
}
