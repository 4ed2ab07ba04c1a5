//! Who looks after which site.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::json;

use super::{OFTEN, SELDOM, on, redis};
use crate::support::hosts::NAMES;
use crate::support::site::Database;
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

/// Every call that looks at a site leaves a line: whose it is.
const NOTE_CALLS: &str = "file_put_contents( FX_LEDGER, json_encode( array( 'at' => 'NOTE', 'hook' => 'called', 'key' => '',
    'args' => array( $id ), 'pid' => getmypid(), 'mono_ns' => hrtime( true ), 'wall_ms' => 0 ) ) . \"\\n\", FILE_APPEND );";

fn callers(site: &Site, after: usize) -> Vec<String> {
    let calls = site.ledger().0.into_iter().filter(|line| line.hook == "called").skip(after);
    calls.map(|line| line.args[0].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn two_hosts_share_their_sites_evenly_and_one_alone_calls_each() {
    let sites = Site::many(5, 8);
    let redis = redis();
    sites[0].enter_plugin("owner.php", &["function owner_was_here("], NOTE_CALLS);
    let hosts = on(&redis, &sites, OFTEN).start();
    hosts.wait_until_shared(sites.len());
    let before: Vec<usize> = sites.iter().map(|site| callers(site, 0).len()).collect();
    let mut all = BTreeSet::new();
    for (site, before) in sites.iter().zip(before) {
        let calls = wait_for("five looks", secs(20), || Some(callers(site, before)).filter(|calls| calls.len() >= 5));
        let callers: BTreeSet<_> = calls.into_iter().collect();
        assert_eq!(callers.len(), 1, "{}: {callers:?}", site.name);
        all.extend(callers);
    }
    assert_eq!(all.len(), 2, "both hosts call some");
}

/// Events run where the site is looked after, and each once.
#[test]
fn events_run_on_the_host_that_looks_after_their_site() {
    let sites = Site::many(4, 8);
    let redis = redis();
    let hosts = on(&redis, &sites, SELDOM).start();
    hosts.wait_until_shared(sites.len());
    for site in &sites {
        site.schedule_in(1, "fx_ok", &json!([site.name]));
    }
    for site in &sites {
        wait_for("its event", secs(15), || site.ledger().end_of("fx_ok"));
    }
    let runs = wait_for("all records", secs(15), || Some(hosts[0].history_of("fx_ok")).filter(|runs| runs.len() == 4));
    assert!(runs.iter().all(|run| run["outcome"] == "ok"), "{runs:?}");
    let own: Vec<usize> = hosts.all().map(|runner| runner.own_runs("fx_ok")).collect();
    assert_eq!(own, hosts.shares(0));
    assert!(sites.iter().all(|site| site.ledger().begins("fx_ok").len() == 1));
}

#[test]
fn a_host_that_comes_gets_its_share_and_one_that_leaves_gives_it_back() {
    let sites = Site::many(4, 8);
    let redis = redis();
    let mut hosts = on(&redis, &sites, SELDOM).prepare();
    hosts[0].start();
    wait_for("one host for all", secs(20), || (hosts.shares(0) == [4, 0]).then_some(()));
    // Due while the sites change hands, and after.
    let at = unix_now() + 2;
    for site in &sites {
        site.schedule(&(0..20).map(|i| (at + i / 2, "fx_ok", json!(["joining", i]))).collect::<Vec<_>>());
    }
    hosts[1].start();
    hosts.wait_until_shared(sites.len());
    for site in &sites {
        wait_for("its events", secs(30), || (site.ledger().ends("fx_ok").len() == 20).then_some(()));
        let late = site.ledger().begins("fx_ok").iter().map(|line| lateness(line, at)).max().expect("twenty");
        eprintln!("{}: {late} ms late at most while a host came", site.name);
    }
    let leaving = hosts.holder("site-1");
    let at = unix_now() + 4;
    sites[0].schedule(&[(at, "fx_sleep", json!([0.1]))]);
    let before = Instant::now();
    assert!(hosts[leaving].stop().success());
    let other = 1 - leaving;
    // Without its word it would take as long as a lease: 30 seconds.
    wait_for("the other one's taking over", secs(10), || (hosts.shares(other)[other] == 4).then_some(()));
    eprintln!("taken over {:?} after SIGTERM", before.elapsed());
    wait_for("an event", secs(15), || sites[0].ledger().end_of("fx_sleep"));
    wait_for("its record", secs(10), || (hosts[other].own_runs("fx_sleep") == 1).then_some(()));
    assert!(sites.iter().all(|site| site.ledger().overlaps().is_empty()));
}

fn lateness(line: &crate::support::ledger::Line, first: i64) -> i64 {
    let due = first + line.args[1].as_i64().expect("a number") / 2;
    i64::try_from(line.wall_ms).expect("a time") - due * 1000
}

/// The page view was on the host that does not look after the site.
#[test]
fn a_notice_to_one_host_wakes_the_other() {
    let sites = Site::many(1, 4);
    let site = &sites[0];
    let redis = redis();
    let hosts = on(&redis, &sites, SELDOM).start();
    let holder = hosts.holder(&site.name);
    let mut took = BTreeMap::new();
    for (way, told) in [("its own host", holder), ("the other host", 1 - holder)] {
        // Written behind the plugin, so that nobody hears of it but through this notice.
        schedule_unheard(site, way);
        let posted = Instant::now();
        let body = json!({ "next": unix_now() - 1 }).to_string();
        let page = hosts[told].post_as_site(&site.name, &format!("/v1/sites/{}/notice", site.name), &body);
        assert_eq!(page.status, 204, "{page:?}");
        wait_for("the event", secs(20), || (site.ledger().ends("fx_ok").len() == took.len() + 1).then_some(()));
        took.insert(way, posted.elapsed());
    }
    eprintln!("a notice, signed and sent by a process of PHP, and the event's end after: {took:?}");
    wait_for("both records", secs(10), || (hosts[0].history_of("fx_ok").len() == 2).then_some(()));
    assert_eq!((hosts[holder].own_runs("fx_ok"), hosts[1 - holder].own_runs("fx_ok")), (2, 0));
}

fn schedule_unheard(site: &Site, label: &str) {
    let Database::Sqlite { .. } = site.database else { panic!("a site on SQLite") };
    site.php(&format!(
        "global $wpdb; $c = get_option('cron'); $args = ['{label}'];
         $c[time() - 1]['fx_ok'][md5(serialize($args))] = ['schedule' => false, 'args' => $args]; ksort($c);
         $wpdb->update($wpdb->options, ['option_value' => serialize($c)], ['option_name' => 'cron']);"
    ));
}

#[test]
fn once_leaves_a_site_alone_that_another_host_looks_after() {
    let sites = Site::many(1, 4);
    let redis = redis();
    let mut hosts = on(&redis, &sites, SELDOM).prepare();
    hosts[0].start();
    wait_for("its holder", secs(20), || hosts.told_holder(0, "site-1"));
    let said = hosts[1].cli(&["once"]);
    assert!(said.code() == 75 && said.stderr.contains(NAMES[0]), "names the holder: {said:?}");
    hosts[0].stop();
    sites[0].schedule(&[(unix_now() + 2, "fx_ok", json!([]))]);
    std::thread::sleep(secs(3));
    let said = hosts[1].cli(&["once"]);
    assert!(said.status.success(), "{said:?}");
    assert!(sites[0].ledger().begins("fx_ok").len() == 1);
}

/// A third one with a site of its own: it is not given what it does not have, and nobody else gets what is its.
#[test]
fn a_host_is_given_the_sites_that_it_has() {
    let sites = Site::many(2, 4);
    let redis = redis();
    let hosts = on(&redis, &sites[..1], SELDOM).start();
    let mut other = on(&redis, &sites[1..], SELDOM).alone().prepare();
    other[0].rewrite_config(|text| text.replace("name = \"web-1\"", "name = \"web-3\""));
    other.start();
    let view = |runner: &Runner| runner.json(&["status"])["sites"].clone();
    wait_for("its own site", secs(20), || (view(&other[0])[0]["runner"] == "web-3").then_some(()));
    hosts.holder("site-1");
    assert_eq!(view(&other[0]).as_array().map(Vec::len), Some(1));
}

/// Redis is started again with all that it knew, leases as well. Whether it knows all is in doubt for a while, and not any more
/// when a host leaves much later.
#[test]
fn a_host_that_leaves_after_a_restart_of_redis_is_followed_at_once() {
    let sites = Site::many(2, 4);
    let redis = redis();
    let mut hosts = on(&redis, &sites, SELDOM).start();
    hosts.wait_until_shared(sites.len());
    redis.ask(&["SAVE"]);
    redis.kill();
    redis.start_again();
    wait_for("the end of the doubt", secs(90), || {
        let is_known = redis.ask_runners(&["GET", "wpcr:server"]) == redis.identity();
        (is_known && redis.ask_runners(&["EXISTS", "wpcr:quarantine"]) == "0").then_some(())
    });
    hosts.wait_until_shared(sites.len());
    let began = Instant::now();
    assert!(hosts[0].stop().success());
    // A doubt that began only now would last for half a minute.
    wait_for("the other one's taking over", secs(10), || (hosts.shares(1)[1] == 2).then_some(()));
    eprintln!("taken over {:?} after SIGTERM", began.elapsed());
}
