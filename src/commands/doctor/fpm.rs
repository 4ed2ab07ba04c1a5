//! The php-fpm pool that a site is reached through: what its settings do to events.

use std::path::Path;

use super::{Around, Finding, fail, ok, warn};
use crate::clock;
use crate::commands::fpm_pools::Pool;
use crate::commands::owner;
use crate::config::{Address, Config, Site, Trigger};

/// None of it for sites that are reached otherwise.
pub fn findings(config: &Config, site: &Site, around: &Around<'_>) -> Vec<Finding> {
    let Trigger::FastCgi(address) = &site.trigger else { return Vec::new() };
    let check = format!("site {}: php-fpm pool", site.name);
    let Some(pool) = around.pools.iter().find(|pool| pool.listens_at(address)) else {
        let user = owner::name(rustix::process::geteuid().as_raw());
        let found = format!("no pool file that user {user} may read listens at {address}: its limits are not known");
        let expected = "a pool of this machine with `listen` = `fastcgi` of the site";
        let fix =
            "look into the pool file where it is: request_terminate_timeout, process_control_timeout, pm.max_children";
        return vec![warn(&check, found, expected, fix)];
    };
    let found = format!("{} in {} listens at {address}", pool.name, pool.file.display());
    vec![
        whose(&check, &found, pool, around.runner),
        terminate(site, pool),
        control(site, pool),
        share(config, site, address, pool),
    ]
}

fn reload(file: &Path, line: &str) -> String {
    format!("put `{line}` into {}, then reload php-fpm", file.display())
}

/// Another user than the pool's is allowed: he can call PHP, and cannot end its workers himself.
fn whose(check: &str, found: &str, pool: &Pool, runner: Option<u32>) -> Finding {
    let user = pool.user.clone().unwrap_or_default();
    match runner.map(owner::name) {
        Some(own) if !user.is_empty() && own != user => warn(
            check,
            format!("{found}; it runs as {user}, the runner as {own}"),
            format!("the runner as {user}: it can then end a hung worker where PHP cannot"),
            format!("`User={user}` in the unit, then `chown -R {user}` of the key and of `state_dir`"),
        ),
        _ => ok(check, format!("{found} as {user}")),
    }
}

fn terminate(site: &Site, pool: &Pool) -> Finding {
    let check = format!("site {}: request_terminate_timeout", site.name);
    let longest = clock::millis(site.longest_timeout()) / 1000;
    let written = pool.settings.get("request_terminate_timeout").map_or("0", String::as_str);
    match seconds(written) {
        Some(0) => ok(&check, "0: php-fpm ends no event of its own accord"),
        Some(limit) if limit > longest => {
            ok(&check, format!("{written}, longer than the longest time limit ({longest} s)"))
        }
        _ => fail(
            &check,
            format!("{written}: php-fpm kills events before their time limit of {longest} s"),
            format!("0, or more than {longest} s"),
            reload(&pool.file, "request_terminate_timeout = 0"),
        ),
    }
}

fn control(site: &Site, pool: &Pool) -> Finding {
    let check = format!("site {}: process_control_timeout", site.name);
    let written = pool.global.get("process_control_timeout").map_or("0", String::as_str);
    match seconds(written) {
        Some(0) | None => warn(
            &check,
            format!("{written}: `systemctl reload` of php-fpm kills the events that run"),
            "time for them to end",
            format!(
                "put `process_control_timeout = 60s` into [global] of {}, then reload php-fpm",
                pool.main.display()
            ),
        ),
        Some(_) => ok(&check, written),
    }
}

/// Sites at one address share its workers; so many lanes as the site with the most has may be taken at once.
fn share(config: &Config, site: &Site, address: &Address, pool: &Pool) -> Finding {
    let check = format!("site {}: pm.max_children", site.name);
    let at_address = |other: &&std::sync::Arc<Site>| matches!(&other.trigger, Trigger::FastCgi(at) if at == address);
    let lanes = config.sites.iter().filter(at_address).map(|other| other.lanes).max().unwrap_or(site.lanes);
    let workers = pool.settings.get("pm.max_children").and_then(|written| written.parse::<usize>().ok());
    let fix = reload(&pool.file, &format!("pm.max_children = {}", lanes * 2 + 1)) + "; or lower `lanes`";
    match workers {
        None => warn(&check, "is not in the pool file", "the number of workers", fix),
        Some(workers) => {
            let found = format!("{workers} workers, of which events take {lanes} at most (`lanes`)");
            match () {
                () if workers <= lanes => fail(&check, found, "workers that are left for visitors", fix),
                () if workers < lanes * 2 => warn(&check, found, "at least half of the workers for visitors", fix),
                () => ok(&check, found),
            }
        }
    }
}

/// php-fpm's times: a number, and `s`, `m`, `h` or `d` behind it.
fn seconds(written: &str) -> Option<i64> {
    let written = written.trim();
    let (number, unit) = match written.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, written.chars().last()?),
        None => (written, 's'),
    };
    let factor = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => 1,
    };
    number.trim().parse::<u32>().ok().map(|number| i64::from(number) * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_php_fpm() {
        for (written, expected) in [
            ("0", Some(0)),
            ("30", Some(30)),
            ("30s", Some(30)),
            ("2m", Some(120)),
            ("1d", Some(86_400)),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(seconds(written), expected, "{written}");
        }
    }
}
