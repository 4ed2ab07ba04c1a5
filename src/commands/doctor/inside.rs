//! What a site says of itself: PHP, the plugin, other plugins, the database, the object cache, its time.

use reqwest::Url;

use super::{Finding, fail, ok, warn};
use crate::config::{Site, Trigger};
use crate::protocol::Examined;
use crate::protocol::examined::Listed;
use crate::schedule::Schedule;
use crate::text;

/// As WordPress itself wants it.
const LEAST_MEMORY: i64 = 64 << 20;

pub fn findings(site: &Site, examined: &Examined) -> Vec<Finding> {
    let name = |what: &str| format!("site {}: {what}", site.name);
    let mut findings = vec![
        php(&name("php"), site, examined),
        limits(&name("php limits"), site, examined),
        opcache(&name("opcache"), examined),
        plugin(&name("plugin"), site, examined),
        lock_kind(&name("lock kind"), examined),
        others(&name("other runners"), examined),
        cache(&name("object cache"), examined),
        address(&name("address"), site, examined),
        zone(&name("time zone"), site, examined),
    ];
    findings.extend(tables(&name("tables"), examined));
    findings.extend(network(&name("network"), examined));
    findings
}

fn php(check: &str, site: &Site, examined: &Examined) -> Finding {
    let php = &examined.php;
    let pool = php.pool.as_ref().map_or_else(String::new, |pool| format!(", pool {}", text::safe(pool)));
    let found = format!(
        "PHP {} ({}{pool}), WordPress {}, {}",
        php.version, php.sapi, examined.site.wordpress, examined.site.database
    );
    let missing = &php.missing_functions;
    let lacks = |function: &str| missing.iter().any(|name| name == function);
    let can_kill = !lacks("posix_kill") || matches!(site.trigger, Trigger::WpCli(_));
    match () {
        () if lacks("getmypid") => fail(
            check,
            format!("{found}; without getmypid(): no event can be claimed"),
            "getmypid not in disable_functions",
            "take getmypid out of `disable_functions`",
        ),
        () if !can_kill => warn(
            check,
            format!("{found}; without posix_kill(), so a hung event is not ended by PHP"),
            "the extension posix, and posix_kill not in disable_functions",
            "take posix_kill out of `disable_functions`; else set request_terminate_timeout of the pool a little above the time limit",
        ),
        () => ok(check, found),
    }
}

fn limits(check: &str, site: &Site, examined: &Examined) -> Finding {
    let ini = |name: &str| examined.php.ini.get(name).cloned().unwrap_or_default();
    let (memory, time) = (ini("memory_limit"), ini("max_execution_time"));
    let found = format!("memory_limit {memory}, max_execution_time {time}");
    let longest = site.longest_timeout().as_secs();
    let is_fixed = examined.php.missing_functions.iter().any(|name| name == "set_time_limit");
    let seconds = time.parse::<u64>().unwrap_or(0);
    match () {
        () if is_fixed && seconds > 0 && seconds < longest => fail(
            check,
            format!(
                "{found}, and set_time_limit() is disabled: PHP ends events after {seconds} s, before their limit of {longest} s"
            ),
            "set_time_limit not in disable_functions",
            format!("take set_time_limit out of `disable_functions`, or set max_execution_time = {longest}"),
        ),
        () if bytes(&memory).is_some_and(|limit| limit < LEAST_MEMORY) => warn(
            check,
            found,
            "64M or more",
            "`memory_limit = 256M` in the php.ini of php-fpm, or `php_admin_value[memory_limit] = 256M` in its pool",
        ),
        () => ok(check, found),
    }
}

/// PHP's sizes. None for -1, which is no limit, and for what cannot be read.
fn bytes(written: &str) -> Option<i64> {
    let written = written.trim();
    let (number, shift) = match written.chars().last()?.to_ascii_lowercase() {
        'k' => (written.get(..written.len() - 1)?, 10),
        'm' => (written.get(..written.len() - 1)?, 20),
        'g' => (written.get(..written.len() - 1)?, 30),
        _ => (written, 0),
    };
    let number = number.trim().parse::<i64>().ok().filter(|number| *number >= 0)?;
    number.checked_mul(1 << shift)
}

fn opcache(check: &str, examined: &Examined) -> Finding {
    let ini = |name: &str| examined.php.ini.get(name).cloned().unwrap_or_default();
    let looks = ini("opcache.validate_timestamps");
    match ini("opcache.enable").as_str() {
        "1" if looks == "0" => warn(
            check,
            "opcache.validate_timestamps = 0: a new version of the plugin is not seen",
            "a reload of php-fpm after each `wp-cron-runner plugin install`",
            "`systemctl reload php8.2-fpm` (your version's) then; or opcache.validate_timestamps = 1",
        ),
        "1" => ok(check, format!("looks for new files every {} s", ini("opcache.revalidate_freq"))),
        _ => ok(check, "off"),
    }
}

fn plugin(check: &str, site: &Site, examined: &Examined) -> Finding {
    let plugin = &examined.plugin;
    let found = format!("version {}, protocol {}", plugin.version, plugin.protocol);
    let before = &plugin.before;
    match plugin.mu {
        true => ok(check, format!("{found}, a must-use plugin: loaded before all others")),
        false if before.count > 0 => warn(
            check,
            format!("{found}, loaded after {}", list(before, Clone::clone)),
            "loaded before all others, so that they find DOING_CRON defined",
            format!(
                "`wp-cron-runner plugin install {}` puts it into mu-plugins; or deactivate and activate it once",
                site.name
            ),
        ),
        false => ok(check, format!("{found}, a normal plugin, the first to be loaded")),
    }
}

fn lock_kind(check: &str, examined: &Examined) -> Finding {
    let plugin = &examined.plugin;
    match plugin.lock_kind.as_deref() {
        Some("lease-row") => warn(
            check,
            "lease-row: this database has no GET_LOCK, or two connections share one session; a worker that dies on another host is known dead only an hour after its time limit",
            "session-lock",
            "name the database server itself in DB_HOST, not a proxy; the kind is proven anew at the next take-over",
        ),
        Some(_) if !plugin.tables => fail(
            check,
            "the plugin's tables cannot be read",
            "cron_runner_journal and cron_runner_state, with the prefix of the site",
            "restart the runner: it makes them; the database's user needs CREATE",
        ),
        Some(kind) => ok(check, kind),
        None => ok(check, "not proven yet: the runner has not been at this site"),
    }
}

fn others(check: &str, examined: &Examined) -> Finding {
    let (known, filters) = (&examined.takeovers.known, &examined.takeovers.filters);
    if let Some(first) = known.first() {
        let found = format!("{} is active and runs events as well", known.join(", "));
        let fix = format!("`wp plugin deactivate` {first}, once its events are back in the option `cron`");
        return fail(check, found, "one runner", fix);
    }
    let named = || list(filters, |filter| format!("{} by {}", filter.filter, filter.by));
    let is_deep = |filter: &str| ["pre_option_cron", "option_cron", "pre_get_scheduled_event"].contains(&filter);
    match filters.first.iter().find(|filter| is_deep(&filter.filter)) {
        Some(filter) => fail(
            check,
            format!("a filter keeps events elsewhere than in the option `cron`: {}", named()),
            "events in the option `cron`: the runner sees no others",
            format!("deactivate what {} belongs to", filter.by),
        ),
        None if filters.count > 0 => warn(
            check,
            format!("a filter decides what is scheduled or ready: {}", named()),
            "none, or one that you know",
            "look what it does; events that it keeps from being scheduled never run",
        ),
        None => ok(check, "none inside this WordPress"),
    }
}

fn cache(check: &str, examined: &Examined) -> Finding {
    let cache = &examined.cache;
    match (cache.persistent, cache.differs) {
        (true, Some(true)) => fail(
            check,
            "it holds another `cron` option than the database: pages schedule into a timetable that is past",
            "the same option in both",
            "`wp cache flush`; if it comes again, look for a write past WordPress, or for a cache that two sites share",
        ),
        (true, _) => ok(check, "persistent, and holds what the database holds"),
        (false, _) if cache.drop_in => warn(
            check,
            "object-cache.php is there, and keeps nothing from one page to the next",
            "a cache that works, or none",
            "see the settings of the plugin that it came with; else delete wp-content/object-cache.php",
        ),
        (false, _) => ok(check, "none"),
    }
}

/// The engine that takes a lock on one row, and takes back what was not completed.
fn tables(check: &str, examined: &Examined) -> Vec<Finding> {
    let wrong = examined.tables.iter().filter(|(_, engine)| !engine.eq_ignore_ascii_case("innodb"));
    let mut findings: Vec<Finding> = wrong
        .map(|(table, engine)| {
            let found = format!("{table} is {engine}, which has no transactions: a claim that breaks off loses events");
            // The site's own word: it is not put into a shell.
            let is_plain = table.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let fix = match is_plain {
                true => format!("`wp db query \"ALTER TABLE {table} ENGINE=InnoDB\"`"),
                false => "give that table ENGINE=InnoDB".to_string(),
            };
            fail(check, found, "InnoDB", fix)
        })
        .collect();
    if findings.is_empty() && !examined.tables.is_empty() {
        let names: Vec<&str> = examined.tables.iter().map(|(table, _)| table.as_str()).collect();
        findings.push(ok(check, format!("{}: InnoDB", names.join(", "))));
    }
    findings
}

fn address(check: &str, site: &Site, examined: &Examined) -> Finding {
    let home = examined.site.home.trim_end_matches('/');
    let url = site.url.as_str().trim_end_matches('/');
    match home.eq_ignore_ascii_case(url) {
        true => ok(check, home),
        // As an address, so that nothing of it ends the line that is to be written.
        false => warn(
            check,
            format!("WordPress calls itself {home}, the configuration {url}"),
            "the same address",
            format!(
                "`url = \"{}\"` in the [[site]] {}",
                home.parse::<Url>().unwrap_or_else(|_| site.url.clone()),
                site.name
            ),
        ),
    }
}

fn zone(check: &str, configured: &Site, examined: &Examined) -> Finding {
    let site = &examined.site;
    // In a line such as "*/5 * * * *" no hour is meant.
    let by_hours =
        configured.schedule.as_ref().filter(|schedule| schedule.expression().split_whitespace().nth(1) != Some("*"));
    let other = by_hours.filter(|schedule| !site.zone.is_empty() && schedule.zone_name() != site.zone);
    let found = match site.zone.as_str() {
        "" => format!("WordPress has UTC{:+}", site.gmt_offset),
        zone => format!("WordPress has {zone}"),
    };
    match () {
        () if site.php_zone != "UTC" => warn(
            check,
            format!("{found}; a plugin has set PHP's own zone to {}", site.php_zone),
            "UTC, as core sets it: what plugins compute with date() is off otherwise",
            "look for date_default_timezone_set() in wp-config.php, plugins and theme, and take it out",
        ),
        () if site.zone.is_empty() && site.gmt_offset != 0.0 => warn(
            check,
            format!("{found}, which knows no summer time: daily events move by an hour against the clock on the wall"),
            "the name of a zone",
            "`wp option update timezone_string Europe/Berlin`, with your zone",
        ),
        () if other.is_some() => warn(
            check,
            format!("{found}; `schedule` of the site follows {}", other.map(Schedule::zone_name).unwrap_or_default()),
            "the same zone",
            format!("`timezone = \"{}\"` in the [[site]] {}", text::safe_cut(&site.zone, 60), configured.name),
        ),
        () => ok(check, found),
    }
}

/// Only where the site's passes follow a crontab expression.
pub fn schedule_zone(site: &Site) -> Option<Finding> {
    let schedule = site.schedule.as_ref()?;
    let found = format!("\"{}\" in the zone {}", schedule.expression(), schedule.zone_name());
    Some(ok(&format!("site {}: schedule", site.name), found))
}

fn network(check: &str, examined: &Examined) -> Option<Finding> {
    let site = &examined.site;
    (site.blogs > 1).then(|| {
        let found = format!("a network of {} blogs; the runner runs the events of blog {}", site.blogs, site.blog);
        let fix = "a [[site]] with `trigger = \"wp-cron.php\"` and a `schedule` for each of the others, as `wp-cron-runner init` prints them";
        warn(check, found, "a runner for each blog: the others run on page loads", fix)
    })
}

/// The first of a list, and how many more there are.
pub fn list<T>(listed: &Listed<T>, word: impl Fn(&T) -> String) -> String {
    let words: Vec<String> = listed.first.iter().map(word).collect();
    let more = listed.count.saturating_sub(words.len() as u64);
    if more > 0 { format!("{} and {more} more", words.join(", ")) } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_php() {
        for (written, expected) in [
            ("128M", Some(128 << 20)),
            ("1g", Some(1 << 30)),
            ("1024", Some(1024)),
            ("-1", None),
            ("", None),
            ("xM", None),
        ] {
            assert_eq!(bytes(written), expected, "{written}");
        }
        assert_eq!(bytes("9223372036854775807G"), None);
    }
}
