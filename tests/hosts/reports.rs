//! What is asked of one host is answered, and done, as if there were only one.

use serde_json::{Value, json};

use super::{OFTEN, SELDOM, on, redis};
use crate::support::hosts::NAMES;
use crate::support::wordpress::unix_now;
use crate::support::{Hosts, Site, secs, wait_for};

fn view(hosts: &Hosts, host: usize, site: &str) -> Value {
    let status = hosts[host].json(&["status"]);
    status["sites"].as_array().expect("sites").iter().find(|view| view["site"] == site).expect("the site").clone()
}

#[test]
fn both_hosts_tell_the_same_history() {
    let sites = Site::many(3, 6);
    let redis = redis();
    let hosts = on(&redis, &sites, SELDOM).start();
    hosts.wait_until_shared(sites.len());
    for site in &sites {
        site.schedule_in(1, "fx_ok", &json!(["a"]));
        site.schedule_in(2, "fx_exception", &json!(["b"]));
    }
    let told = |host: usize| {
        let mut runs = hosts[host].history();
        runs.sort_by_key(|run| run["run"].as_str().map(str::to_owned));
        runs
    };
    wait_for("all six on both", secs(20), || (told(0).len() == 6 && told(1).len() == 6).then_some(()));
    assert_eq!(told(0), told(1));
    let failed = hosts[1].json(&["history", "--failed"]);
    assert_eq!(failed.as_array().map(Vec::len), Some(3), "{failed}");
    // Newest first, over all sites.
    let ended: Vec<_> = hosts[0].history().iter().map(|run| run["ended"].as_str().map(str::to_owned)).collect();
    assert!(ended.is_sorted_by(|one, next| one >= next), "{ended:?}");
    for host in 0..2 {
        let page = hosts[host].get("/v1/sites/site-2/history");
        assert!(page.body.contains("fx_exception") && !page.body.contains("hooks.php"), "{page:?}");
        // The site itself reads more, of either host.
        let page = hosts[host].post_as_site("site-2", "/v1/sites/site-2/history", "{\"outcome\": \"failed\"}");
        assert!(page.body.contains("hooks.php") && !page.body.contains("fx_ok"), "{page:?}");
        let since = (unix_now() - 3600) * 1000;
        let page =
            hosts[host].post_as_site("site-2", "/v1/sites/site-2/summary", &format!("{{\"since_ms\": {since}}}"));
        let summary: Value = serde_json::from_str(&page.body).expect("JSON");
        assert_eq!((&summary["total"]["runs"], &summary["total"]["bad"]), (&json!(2), &json!(1)), "{summary}");
    }
    assert!(hosts[1].cli(&["deploy", "for both"]).status.success());
    let since = hosts[0].json(&["status", "--since", "deploy"])["since"].clone();
    assert_eq!(since["deploy"]["note"], "for both", "{since}");
    assert_eq!(since["compared"].as_array().map(Vec::len), Some(3), "{since}");
}

#[test]
fn both_hosts_tell_the_same_state_and_what_runs_where() {
    let sites = Site::many(2, 6);
    let redis = redis();
    let hosts = on(&redis, &sites, OFTEN).start();
    hosts.wait_until_shared(sites.len());
    for site in &sites {
        site.schedule_in(0, "fx_sleep", &json!([8]));
    }
    for site in &sites {
        let holder = hosts.holder(&site.name);
        for host in 0..2 {
            let view = wait_for("what runs", secs(20), || {
                Some(view(&hosts, host, &site.name)).filter(|view| view["running"][0]["hook"] == "fx_sleep")
            });
            let running = &view["running"][0];
            assert_eq!((&view["state"], &view["runner"]), (&json!("ok"), &json!(NAMES[holder])), "{view}");
            assert!(running["host"].is_string() && running["pid"].is_number(), "{running}");
        }
    }
    for host in 0..2 {
        let said = hosts[host].cli(&["status"]);
        assert!(said.stdout.contains(NAMES[0]) && said.stdout.contains(NAMES[1]), "{said:?}");
        assert_eq!(hosts.redis_of(host)["state"], "ok");
    }
}

/// A pause is the site's, wherever it was asked for, and outlives all hosts.
#[test]
fn a_pause_holds_on_every_host() {
    let sites = Site::many(1, 4);
    let site = &sites[0];
    let redis = redis();
    let mut hosts = on(&redis, &sites, OFTEN).start();
    let holder = hosts.holder(&site.name);
    let said = hosts[1 - holder].cli(&["pause", &site.name]);
    assert!(said.status.success(), "{said:?}");
    for host in 0..2 {
        wait_for("the pause", secs(10), || (view(&hosts, host, &site.name)["paused"] == true).then_some(()));
    }
    site.schedule_in(0, "fx_ok", &json!(["paused"]));
    wait_for("a look that sees it", secs(10), || (view(&hosts, holder, &site.name)["due"] == 1).then_some(()));
    assert_eq!(view(&hosts, 1 - holder, &site.name)["state"], "paused");
    // Whoever takes over keeps it.
    assert!(hosts[holder].stop().success());
    wait_for("the other one", secs(10), || {
        (hosts.told_holder(1 - holder, &site.name) == Some(1 - holder)).then_some(())
    });
    wait_for("its look", secs(10), || (view(&hosts, 1 - holder, &site.name)["due"] == 1).then_some(()));
    assert_eq!(view(&hosts, 1 - holder, &site.name)["paused"], true);
    assert!(site.ledger().begins("fx_ok").is_empty());
    hosts[holder].start();
    let said = hosts[holder].cli(&["resume", &site.name]);
    assert!(said.status.success(), "{said:?}");
    wait_for("the run", secs(15), || site.ledger().end_of("fx_ok"));
    for host in 0..2 {
        wait_for("the end of the pause", secs(10), || {
            (view(&hosts, host, &site.name)["paused"] == false).then_some(())
        });
    }
}

/// Two events are interrupted and held; each host decides about one, as the one that does not look after the site, too.
#[test]
fn what_is_held_is_decided_about_from_every_host() {
    let sites = Site::many(1, 4);
    let site = &sites[0];
    let redis = redis();
    let hosts = on(&redis, &sites, OFTEN).start();
    let holder = hosts.holder(&site.name);
    for label in ["back", "away"] {
        site.schedule_in(0, "fx_dies", &json!([1, label]));
    }
    let held = |host: usize| hosts[host].json(&["history", "--held"]).as_array().expect("a list").clone();
    wait_for("two that are held", secs(30), || (held(0).len() == 2 && held(1).len() == 2).then_some(()));
    let hooks = held(0).iter().map(|run| run["run"].as_str().expect("a run").to_owned()).collect::<Vec<_>>();
    let said = hosts[1 - holder].cli(&["requeue", &hooks[0]]);
    assert!(said.status.success(), "{said:?}");
    wait_for("its second run", secs(20), || (site.ledger().ends("fx_dies").len() == 1).then_some(()));
    let again = hosts[holder].cli(&["requeue", &hooks[0]]);
    assert_ne!(again.code(), 0, "a second requeue would run it twice: {again:?}");
    let said = hosts[1 - holder].cli(&["drop", &hooks[1]]);
    assert!(said.status.success(), "{said:?}");
    for host in 0..2 {
        wait_for("nothing held", secs(15), || held(host).is_empty().then_some(()));
        let runs = hosts[host].history_of("fx_dies");
        let then = |run: &str| runs.iter().find(|known| known["run"] == run).expect("the run")["then"].clone();
        assert_eq!((then(&hooks[0]), then(&hooks[1])), (json!("requeued"), json!("dropped")));
    }
}

#[test]
fn who_asks_the_wrong_host_for_a_run_is_told_the_right_one() {
    let sites = Site::many(1, 4);
    let site = &sites[0];
    let redis = redis();
    let hosts = on(&redis, &sites, SELDOM).start();
    let holder = hosts.holder(&site.name);
    site.schedule_in(3600, "fx_ok", &json!(["far"]));
    let said = hosts[1 - holder].cli(&["trigger", &site.name, "fx_ok"]);
    assert!(said.code() == 1 && said.stderr.contains(&format!("`{}`", NAMES[holder])), "{said:?}");
    assert!(site.ledger().begins("fx_ok").is_empty());
    let said = hosts[holder].cli(&["trigger", &site.name, "fx_ok"]);
    assert!(said.status.success(), "{said:?}");
    assert_eq!(site.ledger().ends("fx_ok").len(), 1);
}
