//! The runner's own files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::{Findings, examined, mounted};
use crate::support::account::is_root;
use crate::support::{Runner, Site};

#[test]
fn modes_and_owners_are_looked_at() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).prepare();
    let (home, state, key) = (runner.home(), runner.home().join("state"), runner.home().join("shop.key"));
    let mode = |path: &std::path::Path, mode: u32| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let path = |path: &std::path::Path| path.display().to_string();

    mode(&runner.config, 0o644);
    mode(&state, 0o755);
    let findings = examined(&runner);
    findings.has("warn", "config mode", "has mode 0644", &format!("`chmod 640 {}`", path(&runner.config)));
    findings.has("warn", "state", "has mode 0755", &format!("`chmod 700 {}`", path(&state)));
    mode(&runner.config, 0o660);
    mode(&home, 0o777);
    let findings = examined(&runner);
    findings.has("fail", "config mode", "has mode 0660", &format!("`chmod 640 {}`", path(&runner.config)));
    findings.has("fail", "config mode", "has mode 0777", &format!("`chmod go-w {}`", path(&home)));
    mode(&home, 0o755);

    mode(&key, 0o644);
    let findings = examined(&runner);
    findings.has("fail", "config", "has mode 0644", &format!("`chmod 600 {}`", path(&key)));
    fs::remove_file(&key).unwrap();
    let findings = examined(&runner);
    findings.has("fail", "site shop: key", "does not exist", "`wp-cron-runner plugin install shop`");
    fs::remove_dir_all(&state).unwrap();
    examined(&runner).has("warn", "state", "does not exist", "install -d -m 700 -o ");
    fs::write(&runner.config, "[[site]]\ntirgger = 1\n").unwrap();
    examined(&runner).has("fail", "config", "tirgger", "`wp-cron-runner check`");
    fs::remove_file(&runner.config).unwrap();
    examined(&runner).has("fail", "config", "there is no ", "`wp-cron-runner init`");
}

#[test]
fn root_sees_that_the_runner_cannot_read_its_files() {
    if !is_root() {
        eprintln!("not root: cannot give files away");
        return;
    }
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).prepare();
    let key = runner.home().join("shop.key");
    std::os::unix::fs::chown(&key, Some(0), Some(0)).unwrap();
    let findings = Findings::said(&runner.cli_as_caller(&["doctor", "--json"]));
    findings.has("fail", "site shop: key", "belongs to root", &format!("`chown www-data {}`", key.display()));
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--"]).arg(&runner.binary);
    let said = command.arg("--config").arg(&runner.config).args(["doctor", "--json"]).output().expect("setpriv");
    let findings: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let findings = Findings(findings.as_array().expect("a list").clone());
    findings.has("fail", "config", "cannot be read by uid", "`sudo wp-cron-runner doctor`");
    std::os::unix::fs::chown(runner.home().join("state"), Some(0), Some(0)).unwrap();
    let findings = Findings::said(&runner.cli_as_caller(&["doctor", "--json"]));
    findings.has("warn", "user", "who the runner will be is not known", "install -d -m 700 -o www-data");
    findings.has("fail", "state", "belongs to root", "chown -R www-data");
}

/// A file system of its own for the state directory, for as long as the command runs.
#[test]
fn a_disk_that_is_nearly_full_is_found() {
    if !is_root() {
        eprintln!("not root: cannot mount");
        return;
    }
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).prepare();
    let on_a_disk_of = |size: &str| {
        let state = runner.home().join("state");
        let script = format!(
            "mount -t tmpfs -o size={size},mode=0700,uid=33,gid=33 tmpfs {} && exec \"$0\" \"$@\"",
            state.display()
        );
        mounted(&runner, &script, &[])
    };
    on_a_disk_of("8m").has("fail", "disk space", "8 MB are free in ", "`df -h ");
    on_a_disk_of("100m").has("warn", "disk space", "104 MB are free in ", "make `size` in [history] smaller");
}
