//! What `make bench` measures: how late events start, and what they cost, beside WordPress's own ways on the same machine in
//! the same run. Times are told and never asserted; that every event ran exactly once is.
//!
//! `QUICK=1` leaves out the long queues and the crontab, and takes some three minutes. The figures go to `target/bench.json`.

pub mod cpu;
mod due_at_once;
mod lateness;
mod leases;
mod report;

use std::process::Command;

use crate::support::Site;
use crate::support::account::{self, command_as};

fn is_quick() -> bool {
    std::env::var("QUICK").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// What a line of a crontab calls.
fn wp_cron_event_run(site: &Site) -> Command {
    let mut command = command_as(account::SITE, "php");
    command.env("HOME", site.dir.path()).current_dir(site.dir.path()).arg(site.phar());
    command.arg(format!("--path={}", site.path.display())).arg(format!("--url={}", site.url));
    command.args(["--quiet", "cron", "event", "run", "--due-now"]);
    command
}

/// The tests' servers are set up for speed; these are MariaDB's own defaults: every commit is on the disk before it is answered.
fn make_durable(site: &Site) {
    for setting in ["flush_log_at_trx_commit = 1", "log_file_size = 100663296", "buffer_pool_size = 134217728"] {
        site.sql(&format!("SET GLOBAL innodb_{setting}"));
    }
}
