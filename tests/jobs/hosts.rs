//! Jobs that several hosts share.

use serde_json::{Value, json};

use super::{job, runs_of, start};
use crate::support::{Hosts, Redis, Runner, Site, secs, wait_for};

const TABLE: &str =
    "[[job]]\nname = \"nightly\"\nschedule = \"0 0 29 2 *\"\ntimeout = \"8s\"\ncommand = [\"sleep\", \"300\"]\n
[[job]]\nname = \"quick\"\nschedule = \"* * * * *\"\ncommand = [\"true\"]\n";

fn hosts(redis: &Redis, sites: &[Site]) -> Hosts {
    Hosts::builder(redis, sites).configure(|runner| runner.table(TABLE)).start()
}

/// The site and the jobs that a host has; None while it is still being said.
fn has(runner: &Runner) -> Option<usize> {
    let status: Value = serde_json::from_str(&runner.get("/v1/status").body).expect("JSON");
    let all = ["sites", "jobs"].map(|kind| status[kind].as_array().expect("a list").clone()).concat();
    let states: Vec<&str> = all.iter().map(|view| view["state"].as_str().expect("a state")).collect();
    let is_settled = states.len() == 3 && states.iter().all(|state| ["ok", "standby"].contains(state));
    // Of a site that another has, its runner's word is shown.
    let name = &status["runner"]["name"];
    is_settled.then(|| all.iter().filter(|view| view["runner"] == *name).count())
}

/// The host that has the job, once each has its even part: until then leases change hands.
fn holder(hosts: &Hosts, name: &str) -> usize {
    wait_for("an even part for each", secs(30), || {
        let parts: Option<Vec<usize>> = hosts.all().map(has).collect();
        parts.filter(|parts| parts.iter().sum::<usize>() == 3 && parts.iter().all(|part| *part > 0))
    });
    wait_for("its holder", secs(30), || {
        let views: Vec<_> = hosts.all().map(|runner| job(runner, name)).collect();
        let is_settled = views.iter().any(|view| view["state"] == "standby");
        views.iter().position(|view| view["state"] == "ok").filter(|_| is_settled)
    })
}

#[test]
fn one_host_has_a_job_and_the_other_waits_until_its_run_must_be_over() {
    let sites = Site::many(1, 4);
    let redis = Redis::start();
    redis.make_known();
    let mut hosts = hosts(&redis, &sites);
    let one = holder(&hosts, "nightly");
    let other = 1 - one;
    let elsewhere = hosts[other].cli(&["trigger", "nightly"]);
    let name = job(&hosts[one], "nightly")["runner"].as_str().expect("a name").to_owned();
    assert!(
        elsewhere.code() != 0 && elsewhere.stderr.contains(&format!("runner `{name}` looks after it")),
        "{elsewhere:?}"
    );

    // It runs on one host, that host's runner dies, and its process lives on: nobody starts it beside itself.
    let pid = start(&hosts[one], "nightly");
    let run = job(&hosts[one], "nightly")["running"]["run"].clone();
    hosts[one].kill();
    let view = wait_for("the lease's end, and the mark", secs(50), || {
        let view = job(&hosts[other], "nightly");
        (view["state"] == "waiting" || view["state"] == "ok").then_some(view)
    });
    if view["state"] == "waiting" {
        assert!(view["message"].as_str().is_some_and(|words| words.contains(run.as_str().expect("an id"))), "{view}");
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
    wait_for("the time by which it must be over", secs(60), || {
        (job(&hosts[other], "nightly")["state"] == "ok").then_some(())
    });
    crate::support::account::succeed(std::process::Command::new("kill").arg(pid.to_string()));
    let record = hosts[other].cli(&["trigger", "nightly", "--json"]).json();
    assert_eq!(record[0]["outcome"], "timed_out", "{record}");

    // The dead one comes back, and tells how the other's run ended that it began.
    hosts[one].start();
    let told = wait_for("its word", secs(15), || {
        runs_of(&hosts[other], "nightly").into_iter().find(|record| record["run"] == run)
    });
    assert_eq!(told["outcome"], "interrupted", "{told}");

    // And all along each minute of the other job came once.
    let runs =
        wait_for("two minutes", secs(130), || Some(runs_of(&hosts[other], "quick")).filter(|runs| runs.len() >= 2));
    let mut due: Vec<_> = runs.iter().filter(|run| run["outcome"] == "ok").map(|run| run["due"].clone()).collect();
    let count = due.len();
    due.dedup();
    assert_eq!(due.len(), count, "{runs:?}");
    assert!(runs.iter().all(|run| run["outcome"] == json!("ok")), "{runs:?}");
}
