//! Jobs: lines of a crontab that the runner starts, with real programs, a real WP-CLI and real addresses.

mod hosts;
mod restarts;
mod schedule;
mod work;

use serde_json::Value;

use crate::support::{Runner, secs, wait_for};

/// A time that does not come while a test runs.
const NEVER: &str = "schedule = \"0 0 29 2 *\"";

/// One job of the runner's status.
fn job(runner: &Runner, name: &str) -> Value {
    let status: Value = serde_json::from_str(&runner.get("/v1/status").body).expect("JSON");
    let jobs = status["jobs"].as_array().expect("jobs");
    jobs.iter().find(|job| job["job"] == name).unwrap_or_else(|| panic!("no job {name} in {status}")).clone()
}

fn runs_of(runner: &Runner, job: &str) -> Vec<Value> {
    runner.json(&["history", job]).as_array().expect("a list").clone()
}

/// Starts it beside the test, and gives the number of its process once that is known.
fn start(runner: &Runner, name: &str) -> i64 {
    let trigger = runner.command_for_later(&["trigger", name]);
    wait_for("its process", secs(10), || {
        let view = job(runner, name);
        assert!(!trigger.is_finished(), "{view}");
        view["running"]["pid"].as_i64()
    })
}
