//! The test support itself: each kind of site stands, and core's own cron works on it.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::account;
use crate::support::network::{Cable, Namespace};
use crate::support::redis::Sentinel;
use crate::support::redis_proxy::{Mode, Proxy};
use crate::support::{Redis, Site, WordPress, secs, wait_for};

fn stands_and_runs_an_event(builder: crate::support::site::Builder, wordpress: WordPress) {
    let site = builder.wordpress(wordpress).start();

    let front = site.get("/");
    assert_eq!(front.status, 200, "{}", front.body);
    assert!(front.body.contains("Test site"), "{}", front.body);
    let version = site.php("echo $GLOBALS['wp_version'];");
    assert!(version.starts_with(if wordpress == WordPress::Current { "7.1" } else { "6.1" }), "{version}");

    let due = site.schedule_in(-1, "fx_ok", &json!(["one", 2]));
    assert_eq!(site.scheduled("fx_ok"), [due]);
    assert_eq!(site.get("/wp-cron.php").status, 200);
    let end = wait_for("the end of the event", secs(10), || site.ledger().end_of("fx_ok"));
    assert_eq!(end.args, json!(["one", 2]));
    wait_for("an empty schedule", secs(5), || site.scheduled("fx_ok").is_empty().then_some(()));

    let dashboard = site.get_as_admin("/wp-admin/");
    assert_eq!(dashboard.status, 200);
    assert!(dashboard.body.contains("Dashboard"), "{}", dashboard.body);
    assert_eq!(site.sql_text("SELECT option_value FROM wp_options WHERE option_name = 'home'"), Some(site.url.clone()));
    assert_eq!(site.wp(&["option", "get", "home"]).trim(), site.url);
}

#[test]
fn wordpress_7_on_sqlite() {
    stands_and_runs_an_event(Site::builder().sqlite(), WordPress::Current);
}

#[test]
fn wordpress_7_on_mariadb() {
    stands_and_runs_an_event(Site::builder().mariadb(), WordPress::Current);
}

#[test]
fn wordpress_6_on_sqlite() {
    stands_and_runs_an_event(Site::builder().sqlite(), WordPress::Oldest);
}

#[test]
fn wordpress_6_on_mariadb() {
    stands_and_runs_an_event(Site::builder().mariadb(), WordPress::Oldest);
}

#[test]
fn sites_that_share_everything_are_sites_of_their_own() {
    let sites = Site::many(3, 4);
    for site in &sites {
        assert!(site.get("/").body.contains("Test site"));
        site.schedule_in(3600, "fx_ok", &json!([site.name]));
        assert_eq!(site.php("echo get_option('home');"), site.url);
        assert_eq!(site.wp(&["option", "get", "siteurl"]).trim(), site.url);
    }
    let [first, others @ ..] = &sites[..] else { panic!("three sites") };
    first.schedule_in(-1, "fx_ok", &json!(["due"]));
    assert_eq!(first.get("/wp-cron.php").status, 200);
    let end = wait_for("its event", secs(10), || first.ledger().end_of("fx_ok"));
    assert_eq!(end.args, json!(["due"]));
    for site in others {
        assert!(site.ledger().0.is_empty() && site.scheduled("fx_ok").len() == 1, "{}", site.name);
    }
}

fn cli(port: u16, words: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args(["1", "redis-cli", "-p", &port.to_string()]).args(words);
    String::from_utf8_lossy(&command.output().expect("redis-cli").stdout).trim().to_owned()
}

fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').expect("an address").1.parse().expect("a port")
}

#[test]
fn a_proxy_before_redis_does_as_it_is_told() {
    let redis = Redis::start();
    let proxy = Proxy::before(&redis.address());
    let port = port_of(&proxy.address());
    let ping = || cli(port, &["PING"]);
    assert_eq!(ping(), "PONG");
    proxy.set(Mode::Cut);
    wait_for("a refusal", secs(5), || std::net::TcpStream::connect(proxy.address()).err());
    proxy.set(Mode::BlackHole);
    wait_for("a port that takes everything", secs(5), || std::net::TcpStream::connect(proxy.address()).ok());
    assert_eq!(ping(), "", "no answer");
    proxy.set(Mode::Answer("LOADING not now"));
    assert_eq!(ping(), "LOADING not now");
    proxy.set(Mode::Delay(Duration::from_millis(100)));
    let asked = Instant::now();
    assert_eq!((ping(), asked.elapsed() >= Duration::from_millis(200)), ("PONG".to_owned(), true));
    proxy.set(Mode::Pass);
    assert!(ping() == "PONG" && proxy.connections() >= 6);
    let other = Redis::start();
    other.ask(&["SET", "which", "the other"]);
    proxy.lead_to(&other.address());
    assert_eq!(cli(port, &["GET", "which"]), "the other");
}

#[test]
fn a_replica_falls_behind_and_a_sentinel_knows_its_master() {
    let (master, replica) = (Redis::start(), Redis::start());
    let between = Proxy::before(&master.address());
    replica.replica_of(&between.address());
    master.ask(&["SET", "first", "1"]);
    wait_for("what the master has", secs(5), || (replica.ask(&["GET", "first"]) == "1").then_some(()));
    between.set(Mode::Cut);
    master.ask(&["SET", "second", "2"]);
    replica.promote();
    assert_eq!(replica.ask(&["GET", "second"]), "");
    assert_ne!(replica.identity(), master.identity());
    let before = master.identity();
    master.kill();
    master.start_again();
    assert!(master.identity() != before && master.ask(&["GET", "first"]).is_empty());

    replica.ask(&["FLUSHALL"]);
    replica.replica_of(&master.address());
    let sentinel = Sentinel::of(&master);
    assert_eq!(sentinel.master(), master.port());
    sentinel.fail_over();
    assert_eq!(sentinel.master(), replica.port());
}

#[test]
fn an_account_may_touch_what_is_the_runners() {
    let redis = Redis::start();
    let account = redis.account();
    let ask = |words: &[&str]| {
        let login = ["--user", &account.user, "--pass", account.password, "--no-auth-warning", "-n", "3"];
        cli(redis.port(), &[&login, words].concat())
    };
    assert_eq!(ask(&["SET", "wpcr:lease:shop", "x", "PX", "1000"]), "OK");
    for refused in [&["GET", "other"][..], &["CONFIG", "GET", "dir"], &["KEYS", "*"], &["PUBLISH", "other", "x"]] {
        assert!(ask(refused).contains("NOPERM"), "{refused:?}");
    }
}

/// As root only: there a host has a network of its own.
#[test]
fn a_cable_between_two_hosts_can_be_cut() {
    let redis = Redis::builder().in_a_network_of_its_own().start();
    let Some(network) = &redis.network else { return };
    let host = Namespace::new().expect("another one");
    let cable = Cable::between(network, &host);
    let port = redis.port().to_string();
    let ping = || {
        let mut command = host.command_as(account::SITE, "timeout");
        command.args(["1", "redis-cli", "-h", &cable.address, "-p", &port, "PING"]);
        String::from_utf8_lossy(&command.output().expect("redis-cli").stdout).trim().to_owned()
    };
    assert_eq!(ping(), "PONG");
    cable.cut();
    assert_eq!(ping(), "");
    cable.mend();
    wait_for("the way there", secs(10), || (ping() == "PONG").then_some(()));
    assert!(std::net::TcpStream::connect(redis.address()).is_err(), "it is reached from inside alone");
}
