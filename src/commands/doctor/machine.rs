//! What belongs to no site: the user, the daemon, the time zone, and what there is of PHP.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Finding, INIT, ok, warn};
use crate::api::client;
use crate::clock;
use crate::commands::{fpm_pools, is_root, owner};
use crate::config::Config;
use crate::schedule::{self, Schedule};

/// Who the runner is: whoever asks, or, where root asks, whoever the state directory belongs to.
pub fn runner_user(config: &Config) -> Option<u32> {
    match is_root() {
        false => Some(rustix::process::geteuid().as_raw()),
        true => fs::metadata(&config.runner.state_dir).ok().map(|found| found.uid()).filter(|uid| *uid != 0),
    }
}

pub fn user(config: &Config, runner: Option<u32>) -> Finding {
    let check = "user";
    let state = config.runner.state_dir.display();
    match runner {
        Some(uid) if is_root() => ok(check, format!("root asks; the runner is {}, who owns {state}", owner::name(uid))),
        Some(uid) => ok(check, format!("{}; what only root may see is said below to be hidden", owner::name(uid))),
        None => warn(
            check,
            format!("root asks, and {state} belongs to no other user yet: who the runner will be is not known"),
            "a runner that is not root, best the user of the php-fpm pool",
            format!("`install -d -m 700 -o www-data {state}`, with that user in place of www-data"),
        ),
    }
}

pub async fn daemon(config: &Config) -> Finding {
    let (check, listen) = ("daemon", config.runner.listen);
    let Some(status) = client::status(listen).await else {
        let expected = "a runner that is up: until then page loads start events";
        let fix = "`systemctl enable --now wp-cron-runner`, or `wp-cron-runner run` as the runner's user";
        return warn(check, format!("no runner answers on {listen}"), expected, fix);
    };
    let runner = status.runner;
    let found = format!("runner {} {} answers on {listen}", runner.name, runner.version);
    let reload = "`systemctl restart wp-cron-runner`";
    let own = env!("CARGO_PKG_VERSION");
    match runner.configuration.error {
        _ if runner.version != own => warn(check, found, format!("version {own}, as this program"), reload),
        Some(error) => {
            let fix = "put it right, then `systemctl reload wp-cron-runner`";
            warn(
                check,
                format!("{found}; the newest configuration was not loaded: {error}"),
                "the newest configuration",
                fix,
            )
        }
        None if runner.configuration.hash.as_ref().is_some_and(|hash| *hash != config.hash) => {
            let found = format!("{found} with another configuration than {} holds now", config.path.display());
            warn(check, found, "the newest configuration", "`systemctl reload wp-cron-runner`")
        }
        None => ok(check, found),
    }
}

pub fn time_zone() -> Finding {
    let zone = schedule::zone(None).unwrap_or(jiff::tz::TimeZone::UTC);
    // /etc/localtime may be a copied file, which does not say its name.
    ok("time zone", format!("this machine has {}", zone.iana_name().unwrap_or("a zone without a name")))
}

pub fn schedule(job: &str, schedule: &Schedule) -> Finding {
    let (now_ms, zone) = (clock::now_ms(), schedule.zone_name());
    let found = match schedule.next_after(now_ms) {
        Some(fire) => {
            let wait = clock::span(fire.at_ms.saturating_sub(now_ms));
            format!("\"{}\" in the zone {zone}, next in {wait}", schedule.expression())
        }
        None => schedule.expression().to_string(),
    };
    ok(&format!("job {job}: schedule"), found)
}

/// Where there is no configuration that would name one.
pub fn pools() -> Vec<Finding> {
    let pools = fpm_pools::pools();
    if pools.is_empty() {
        let found = "no pool of php-fpm is to be seen here";
        return vec![warn("php-fpm", found, "a pool, or another way to reach PHP", "see `trigger`: wp-cli or http")];
    }
    let line = |pool: &fpm_pools::Pool| {
        let user = pool.user.as_deref().unwrap_or("its master's user");
        let state = if pool.is_running { "" } else { "; its master is not to be seen" };
        let found =
            format!("pool {} of {} listens at {} as {user}{state}", pool.name, pool.file.display(), pool.listen);
        ok("php-fpm", found)
    };
    pools.iter().map(line).collect()
}

pub fn wp_cli() -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    let found = places.map(|folder| folder.join("wp")).find(|file: &PathBuf| Path::is_file(file));
    match found {
        Some(file) => ok("wp-cli", format!("{}", file.display())),
        None => ok("wp-cli", format!("there is none; it is needed only where php-fpm cannot be reached; next: {INIT}")),
    }
}
