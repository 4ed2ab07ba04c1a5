//! Whose processes and files these are. As root, a site belongs to `www-data` and the database to `mysql`, as on a
//! Debian server; otherwise everything is the caller's own.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

pub const SITE: &str = "www-data";
pub const DATABASE: &str = "mysql";

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `program`, to be run as `account` where we are root.
pub fn command_as(account: &str, program: impl AsRef<OsStr>) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", account, "--regid", account, "--init-groups", "--"]);
    command.arg(program);
    command
}

/// `program` as the site's user, who may do a little more than others. We are root.
pub fn command_with(capabilities: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", SITE, "--regid", SITE, "--init-groups"]);
    command.args(["--inh-caps", capabilities, "--ambient-caps", capabilities, "--"]).arg(program);
    command
}

/// Hands a file or a tree to `account` where we are root.
pub fn give_to(account: &str, path: &Path) {
    if is_root() {
        succeed(Command::new("chown").args(["-R", "-h", &format!("{account}:{account}")]).arg(path));
    }
}

/// Runs a command of the test's own scaffolding, whose failure is the scaffolding's fault and not a result.
pub fn succeed(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output.stdout
}
