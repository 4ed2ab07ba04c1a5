//! `doctor`: each check is seen to fail on the real thing, and its fix is read; and where all is well, all is ok.

mod all_is_well;
mod doors;
mod files;
mod inside;
mod others;

use std::process::Command;

use serde_json::Value;

use crate::support::Runner;

/// What it found: as the runner's user, in JSON. 0 where nothing fails, else 1.
fn examined(runner: &Runner) -> Findings {
    let said = runner.cli(&["doctor", "--json"]);
    Findings::said(&said)
}

/// As root, where `script` has mounted what is meant; `before`: words in front of the command.
fn mounted(runner: &Runner, script: &str, before: &[&str]) -> Findings {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).args(before).arg(&runner.binary);
    let said = command.arg("--config").arg(&runner.config).args(["doctor", "--json"]).output().expect("unshare");
    let findings = serde_json::from_slice::<Value>(&said.stdout);
    let findings = findings.unwrap_or_else(|error| panic!("{error}: {said:?}"));
    Findings(findings.as_array().expect("a list").clone())
}

struct Findings(Vec<Value>);

impl Findings {
    fn said(said: &crate::support::runner::Said) -> Findings {
        let findings = said.json().as_array().unwrap_or_else(|| panic!("a list: {said:?}")).clone();
        let fails = findings.iter().any(|finding| finding["level"] == "fail");
        assert_eq!(said.code(), i32::from(fails), "{said:?}");
        for finding in &findings {
            let is_ok = finding["level"] == "ok";
            assert!(is_ok || finding["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "no fix: {finding}");
            assert!(is_ok || finding["expected"].as_str().is_some_and(|text| !text.is_empty()), "expected? {finding}");
        }
        Findings(findings)
    }

    /// One of this name and level says so and names this fix.
    #[track_caller]
    fn has(&self, level: &str, check: &str, found: &str, fix: &str) {
        let text = |finding: &Value, name: &str| finding[name].as_str().expect("text").to_owned();
        let is_it = |finding: &&Value| {
            text(finding, "check") == check
                && text(finding, "level") == level
                && text(finding, "found").contains(found)
                && text(finding, "fix").contains(fix)
        };
        let of_name = self.of(check);
        assert!(self.0.iter().any(|finding| is_it(&finding)), "{level} {check}: {found}; do: {fix}\n{of_name:#?}");
    }

    fn of(&self, check: &str) -> Vec<&Value> {
        self.0.iter().filter(|finding| finding["check"] == check).collect()
    }

    fn not_ok(&self) -> Vec<&Value> {
        self.0.iter().filter(|finding| finding["level"] != "ok").collect()
    }
}
