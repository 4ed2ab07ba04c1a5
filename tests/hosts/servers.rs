//! Which Redis is taken, which is not, and the ways to it.

use std::fs;

use serde_json::json;

use super::{OFTEN, SELDOM, on, redis};
use crate::support::redis::{DATABASE, Sentinel};
use crate::support::tls::Certificate;
use crate::support::{Hosts, Redis, Runner, Site, secs, wait_for};

/// Looks after its site, with its lease in Redis.
fn works(hosts: &Hosts, site: &Site, redis: &Redis) {
    wait_for("its holder", secs(20), || hosts.told_holder(0, &site.name));
    site.schedule_in(0, "fx_ok", &json!([]));
    wait_for("an event", secs(15), || hosts[0].history_of("fx_ok").first().cloned());
    assert!(redis.keys().iter().any(|key| key.starts_with("wpcr:lease:")), "{:?}", redis.keys());
    assert_eq!(hosts.redis_of(0)["state"], "ok");
}

/// What `check --connect` finds wrong, as one text; what the daemon says is the same.
fn refused(runner: &Runner, parts: &[&str]) {
    for arguments in [&["check", "--connect"][..], &["run"]] {
        let said = runner.cli(arguments);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert_eq!(said.code(), 78, "{arguments:?}: {said:?}");
        for part in parts {
            assert!(text.contains(part), "{arguments:?} without `{part}`: {text}");
        }
    }
}

#[test]
fn through_tls_with_an_authority_of_its_own() {
    let sites = Site::many(1, 4);
    let redis = Redis::builder().tls().start();
    redis.make_known();
    let authority = redis.certificate.as_ref().expect("a certificate").authority.clone();
    let mut hosts =
        on(&redis, &sites, SELDOM).redis_line(&format!("ca_file = \"{}\"", authority.display())).alone().start();
    works(&hosts, &sites[0], &redis);
    hosts[0].stop();
    // Another authority: the server is not believed.
    let other = crate::support::test_dir::TestDir::new();
    let wrong = Certificate::issue(other.path(), "redis.test").authority;
    let (right, wrong) = (authority.display().to_string(), wrong.display().to_string());
    hosts[0].rewrite_config(|text| text.replace(&right, &wrong));
    let said = hosts[0].cli(&["check", "--connect"]);
    assert!(!said.status.success() && said.stdout.contains("certificate"), "{said:?}");
    // Nor without any.
    hosts[0]
        .rewrite_config(|text| text.lines().filter(|line| !line.starts_with("ca_file")).collect::<Vec<_>>().join("\n"));
    let said = hosts[0].cli(&["check", "--connect"]);
    assert!(!said.status.success() && said.stdout.contains("certificate"), "{said:?}");
}

#[test]
fn through_a_socket() {
    let sites = Site::many(1, 4);
    let redis = redis();
    let url = format!("url = \"redis+unix://{}?db={DATABASE}\"", redis.socket.display());
    let hosts = on(&redis, &sites, SELDOM).redis_line(&url).alone().start();
    works(&hosts, &sites[0], &redis);
}

#[test]
fn as_a_user_with_few_rights() {
    let sites = Site::many(1, 4);
    let redis = redis();
    let account = redis.account();
    let login = format!("user = \"{}\"\npassword_file = \"{}\"", account.user, account.password_file.display());
    let mut hosts = on(&redis, &sites, OFTEN).redis_line(&login).start();
    works(&hosts, &sites[0], &redis);
    let denied = redis.ask(&["ACL", "LOG"]);
    assert!(denied.is_empty(), "{denied}");
    // One right less: the command is named.
    redis.ask(&["ACL", "SETUSER", &account.user, "-xadd"]);
    sites[0].schedule_in(0, "fx_ok", &json!(["not told"]));
    let holder = hosts.holder("site-1");
    wait_for("the command that is refused", secs(15), || {
        hosts.redis_of(holder)["history_trouble"].as_str().filter(|trouble| trouble.contains("'xadd'")).map(drop)
    });
    redis.ask(&["ACL", "SETUSER", &account.user, "+xadd"]);
    wait_for("both records on both", secs(30), || {
        (hosts[0].history_of("fx_ok").len() == 2 && hosts[1].history_of("fx_ok").len() == 2).then_some(())
    });
    for host in 0..2 {
        hosts[host].stop();
    }
    redis.ask(&["ACL", "SETUSER", &account.user, "-evalsha"]);
    refused(&hosts[0], &["evalsha", "config/redis.acl"]);
    // A wrong password, and none.
    fs::write(&account.password_file, "another one\n").expect("the password file");
    let said = hosts[0].cli(&["check", "--connect"]);
    let text = format!("{}{}", said.stdout, said.stderr);
    assert!(!said.status.success() && text.contains("password") && !text.contains("another one"), "{said:?}");
}

#[test]
fn through_a_sentinel_to_whoever_is_the_master() {
    let sites = Site::many(2, 4);
    let (master, replica) = (Redis::start(), Redis::start());
    replica.replica_of(&master.address());
    // Not before: the first replica gives a master another replication id.
    master.make_known();
    let sentinel = Sentinel::of(&master);
    let hosts = on(&master, &sites, SELDOM).redis_line(&format!("url = \"{}\"", sentinel.url())).start();
    hosts.wait_until_shared(sites.len());
    sentinel.fail_over();
    // They stay with the old one until it ends their connections.
    wait_for("both at the new master", secs(60), || {
        replica.ask(&["PUBSUB", "NUMSUB", "wpcr:events"]).ends_with('2').then_some(())
    });
    for host in 0..2 {
        hosts.wait_for_redis(host, "ok");
    }
    let is_lease = |key: &String| key.starts_with("wpcr:lease:");
    wait_for("both leases", secs(20), || (replica.keys().into_iter().filter(is_lease).count() == 2).then_some(()));
    for site in &sites {
        site.schedule_in(0, "fx_ok", &json!([]));
        wait_for("an event", secs(15), || site.ledger().end_of("fx_ok"));
    }
    for host in 0..2 {
        wait_for("both records", secs(20), || (hosts[host].history_of("fx_ok").len() == 2).then_some(()));
    }
}

#[test]
fn what_leases_cannot_be_kept_in_is_refused() {
    let sites = Site::many(1, 4);
    let (master, replica) = (redis(), Redis::start());
    replica.replica_of(&master.address());
    let hosts = on(&replica, &sites, SELDOM).alone().prepare();
    refused(&hosts[0], &["replica", "redis+sentinel://"]);

    let cluster = Redis::builder().line("cluster-enabled yes").start();
    let hosts = on(&cluster, &sites, SELDOM)
        .redis_line(&format!("url = \"redis://{}/0\"", cluster.address()))
        .alone()
        .prepare();
    refused(&hosts[0], &["Cluster"]);

    let evicting = Redis::builder().line("maxmemory 50mb").line("maxmemory-policy volatile-lru").start();
    evicting.make_known();
    let mut hosts = on(&evicting, &sites, SELDOM).alone().prepare();
    refused(&hosts[0], &["volatile-lru", "noeviction"]);
    hosts[0].rewrite_config(|text| text.replace("[redis]", "[redis]\naccept = [\"eviction\"]"));
    hosts.start();
    works(&hosts, &sites[0], &evicting);
}

#[test]
fn the_database_of_the_object_cache_is_refused() {
    let redis = redis();
    let constants = format!(
        "define( 'WP_REDIS_HOST', '127.0.0.1' ); define( 'WP_REDIS_PORT', {} ); define( 'WP_REDIS_DATABASE', {DATABASE} );",
        redis.port()
    );
    let sites = [Site::builder().sqlite().wp_config(&constants).start()];
    sites[0].cache_in(&redis);
    let mut hosts = on(&redis, &sites, SELDOM).alone().prepare();
    // By the name that the site has for it.
    hosts[0].rewrite_config(|text| text.replace(&hosts.ways[0].proxy().address(), &redis.address()));
    let said = hosts[0].cli(&["check", "--connect"]);
    assert!(said.code() == 78 && said.stdout.contains("object cache"), "{said:?}");
    hosts.start();
    let view = wait_for("a site that is refused", secs(15), || {
        let view = hosts[0].json(&["status"])["sites"][0].clone();
        (view["state"] == "misconfigured").then_some(view)
    });
    assert!(view["message"].to_string().contains("accept = ["), "names the way out: {view}");
    hosts[0].stop();
    hosts[0].rewrite_config(|text| text.replace("[redis]", "[redis]\naccept = [\"object-cache\"]"));
    hosts.start();
    works(&hosts, &sites[0], &redis);
}

/// A Redis that is away is no reason to end, nor not to begin.
#[test]
fn a_runner_starts_without_redis_and_finds_it_later() {
    let sites = Site::many(1, 4);
    let redis = redis();
    let mut hosts = on(&redis, &sites, OFTEN).alone().prepare();
    redis.kill();
    hosts[0].start();
    let told = hosts.wait_for_redis(0, "lost");
    assert!(told["reason"].is_string(), "{told}");
    let status = hosts[0].json(&["status"]);
    let view = &status["sites"][0];
    assert!(view["state"] == "paused" && view["message"].to_string().contains("Redis"), "{view}");
    sites[0].schedule_in(0, "fx_ok", &json!([]));
    redis.start_again();
    redis.make_known();
    hosts.wait_for_redis(0, "ok");
    wait_for("its event", secs(20), || sites[0].ledger().end_of("fx_ok"));
}
