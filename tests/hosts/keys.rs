//! What is in Redis: these keys and no others, each for as long as it says.

use std::collections::BTreeMap;

use serde_json::json;

use super::{OFTEN, SELDOM, on, redis};
use crate::support::wordpress::unix_now;
use crate::support::{Redis, Site, secs, wait_for};

const DAY_MS: i64 = 86_400_000;

/// Name, type, and milliseconds to live (-1: for ever).
fn keys(redis: &Redis) -> BTreeMap<String, (String, i64)> {
    let about = |key: String| {
        let kind = redis.ask_runners(&["TYPE", &key]);
        let life = redis.ask_runners(&["PTTL", &key]).parse().expect("a number");
        (key, (kind, life))
    };
    redis.keys().into_iter().map(about).collect()
}

#[test]
fn the_keys_are_the_documented_ones() {
    let sites = Site::many(2, 4);
    let redis = redis();
    let hosts = on(&redis, &sites, OFTEN).start();
    hosts.wait_until_shared(sites.len());
    for site in &sites {
        site.schedule_in(0, "fx_ok", &json!([]));
    }
    hosts[0].cli(&["pause", "site-1"]);
    hosts[0].cli(&["resume", "site-1"]);
    wait_for("both records", secs(20), || (hosts[1].history_of("fx_ok").len() == 2).then_some(()));
    let keys = keys(&redis);
    let known: Vec<(&str, &str, std::ops::RangeInclusive<i64>)> = vec![
        ("wpcr:history:site-1", "stream", 29 * DAY_MS..=30 * DAY_MS),
        ("wpcr:history:site-2", "stream", 29 * DAY_MS..=30 * DAY_MS),
        ("wpcr:lease:site-1", "string", 15_000..=30_000),
        ("wpcr:lease:site-2", "string", 15_000..=30_000),
        ("wpcr:realm", "string", -1..=-1),
        ("wpcr:runners", "hash", -1..=-1),
        ("wpcr:server", "string", -1..=-1),
        ("wpcr:site:site-1", "hash", 29 * DAY_MS..=30 * DAY_MS),
        ("wpcr:site:site-2", "hash", 29 * DAY_MS..=30 * DAY_MS),
    ];
    let names: Vec<_> = known.iter().map(|(name, ..)| *name).collect();
    assert_eq!(keys.keys().map(String::as_str).collect::<Vec<_>>(), names, "{keys:?}");
    for (name, kind, life) in known {
        let found = &keys[name];
        assert!(found.0 == kind && life.contains(&found.1), "{name}: {found:?}, expected {kind} and {life:?} ms");
    }
    assert_eq!(redis.ask_runners(&["GET", "wpcr:server"]), redis.identity());
    assert_eq!(redis.ask_runners(&["HLEN", "wpcr:runners"]), "2");
    assert_eq!(redis.ask_runners(&["XLEN", "wpcr:history:site-1"]), "1");
    assert_eq!(redis.ask(&["DBSIZE"]), "0", "nothing in another database");
    // Renewed long before it ends, and not granted anew.
    let lease = redis.ask_runners(&["GET", "wpcr:lease:site-1"]);
    let life = || redis.ask_runners(&["PTTL", "wpcr:lease:site-1"]).parse::<i64>().expect("a number");
    let mut least = life();
    wait_for("a renewal", secs(15), || {
        let now = life();
        let is_longer = now > least + 1000;
        least = least.min(now);
        is_longer.then_some(())
    });
    assert!(least > 15_000, "{least} ms before its end");
    assert_eq!(redis.ask_runners(&["GET", "wpcr:lease:site-1"]), lease);
}

#[test]
fn another_prefix_is_another_world() {
    let sites = Site::many(1, 4);
    let redis = redis();
    redis.ask_runners(&["RENAME", "wpcr:server", "other:server"]);
    let hosts = on(&redis, &sites, SELDOM).redis_line("prefix = \"other\"").alone().start();
    wait_for("its holder", secs(20), || hosts.told_holder(0, "site-1"));
    assert!(redis.keys().iter().all(|key| key.starts_with("other:")), "{:?}", redis.keys());
}

/// Nobody knows which leases an empty Redis has forgotten, so the first one comes when all of them have ended.
#[test]
fn an_empty_redis_grants_nothing_until_leases_of_the_past_have_ended() {
    let sites = Site::many(1, 4);
    let redis = Redis::start();
    let mut hosts = on(&redis, &sites, OFTEN).prepare();
    let began = unix_now();
    hosts[0].start_within(secs(60));
    let lease = || redis.keys().iter().any(|key| key.starts_with("wpcr:lease:"));
    wait_for("a lease", secs(60), || {
        let (is_waiting, has_lease) = (redis.ask_runners(&["EXISTS", "wpcr:quarantine"]) == "1", lease());
        assert!(!(is_waiting && has_lease), "{:?}", redis.keys());
        has_lease.then_some(())
    });
    let took = unix_now() - began;
    assert!((29..=45).contains(&took), "{took} s");
    assert_eq!(redis.ask_runners(&["GET", "wpcr:server"]), redis.identity());
    sites[0].schedule_in(0, "fx_ok", &json!([]));
    wait_for("an event", secs(10), || sites[0].ledger().end_of("fx_ok"));
}
