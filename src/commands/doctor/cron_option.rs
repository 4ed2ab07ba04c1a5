//! The timetable itself: the `cron` option, and posts that wait for it.

use super::inside::list;
use super::{Finding, fail, ok, warn};
use crate::config::Site;
use crate::protocol::Examined;
use crate::protocol::examined::{Cron, Listed, Post};
use crate::{clock, text};

/// A long event before it, on each lane, is nothing to worry about.
const LATE_MS: i64 = 900_000;
/// Every page reads the whole option.
const LARGE: i64 = 1 << 20;

pub fn findings(site: &Site, examined: &Examined) -> Vec<Finding> {
    let name = |what: &str| format!("site {}: {what}", site.name);
    let cron = &examined.cron;
    let mut findings = vec![option(&name("cron option"), site, examined)];
    if cron.error.is_none() {
        findings.push(late(&name("due events"), site, examined));
        findings.push(duplicates(&name("duplicates"), cron));
        findings.push(hooks(&name("hooks"), cron));
        findings.push(schedules(&name("schedules"), cron));
        findings.push(posts(&name("scheduled posts"), examined));
    }
    findings
}

fn duplicates(check: &str, cron: &Cron) -> Finding {
    match cron.doubled.count {
        0 => ok(check, "none"),
        _ => warn(
            check,
            format!("recurring events that stand there several times: {}", list(&cron.doubled, pair)),
            "each once: they run as often as they stand there",
            format!("{}; the plugin that needs it schedules it anew", delete(&cron.doubled)),
        ),
    }
}

fn hooks(check: &str, cron: &Cron) -> Finding {
    match cron.no_callback.count {
        0 => ok(check, "each has a callback"),
        _ => warn(
            check,
            format!("nobody listens to {}", list(&cron.no_callback, pair)),
            "a callback for each: their events do nothing",
            format!("activate the plugin that it belongs to, or {}", delete(&cron.no_callback)),
        ),
    }
}

fn schedules(check: &str, cron: &Cron) -> Finding {
    let fix = |listed| format!("activate the plugin that has the schedule, or {}", delete(listed));
    match (cron.no_interval.count, cron.no_schedule.count) {
        (0, 0) => ok(check, "all are known"),
        (0, _) => warn(
            check,
            format!("schedules that nobody knows any more: {}", list(&cron.no_schedule, pair)),
            "a known schedule: they go on with the interval that they have",
            fix(&cron.no_schedule),
        ),
        _ => fail(
            check,
            format!("events without an interval whose schedule nobody knows: {}", list(&cron.no_interval, pair)),
            "a known schedule: they are left alone",
            fix(&cron.no_interval),
        ),
    }
}

fn option(check: &str, site: &Site, examined: &Examined) -> Finding {
    let cron = &examined.cron;
    let Some(bytes) = cron.bytes else {
        return warn(
            check,
            "there is none: nothing is scheduled",
            "WordPress's own events at least",
            "load a page of wp-admin: core schedules its own events again",
        );
    };
    let found = format!("{} events in {}, {} of them due", cron.events, size(bytes), cron.due);
    match () {
        () if cron.error.is_some() => fail(
            check,
            cron.error.clone().unwrap_or_default(),
            "a serialized array",
            format!("`wp-cron-runner restore {}` puts the last snapshot back", site.name),
        ),
        () if cron.autoload.as_deref().is_some_and(|load| ["no", "off", "auto-off"].contains(&load)) => warn(
            check,
            format!("{found}; it is not autoloaded, so every page asks for it once more"),
            "autoload on",
            "`wp option set-autoload cron yes`",
        ),
        () if bytes > LARGE => warn(
            check,
            format!("{found}; every page reads all of it"),
            "less than 1 MB",
            format!("see what fills it: `wp-cron-runner events {}`; unschedule what is not needed", site.name),
        ),
        () => ok(check, found),
    }
}

/// Whoever has to start them: what is due for long waits for something.
fn late(check: &str, site: &Site, examined: &Examined) -> Finding {
    let cron = &examined.cron;
    let Some(oldest) = cron.oldest else { return ok(check, "none") };
    let late_ms = examined.page_load.now.saturating_sub(oldest).saturating_mul(1000);
    let found = format!("{}, the oldest since {}", cron.due, clock::span(late_ms.max(1000)));
    match late_ms > LATE_MS {
        true => warn(
            check,
            found,
            "events that start when they are due",
            format!("`wp-cron-runner status` says what site {} waits for", site.name),
        ),
        false => ok(check, found),
    }
}

fn posts(check: &str, examined: &Examined) -> Finding {
    let posts = &examined.posts;
    let Some(first) = posts.first.first() else { return ok(check, "none is late") };
    // More than a hundred are not counted.
    let count = if posts.count > 100 { "more than 100".to_string() } else { posts.count.to_string() };
    let word = |post: &Post| format!("{}{}", post.id, if post.scheduled { "" } else { " (no event)" });
    let named: Vec<String> = posts.first.iter().map(word).collect();
    warn(
        check,
        format!("{count} should be published by now, such as {}", named.join(", ")),
        "published posts",
        format!("`wp post update {} --post_status=publish`, or save it anew with another date", first.id),
    )
}

fn pair(pair: &(String, String)) -> String {
    format!("{} ({})", text::safe(&pair.0), text::safe(&pair.1))
}

/// The name is a site's own: what a shell would obey, nobody is told to type.
fn delete(listed: &Listed<(String, String)>) -> String {
    let hook = listed.first.first().map_or("", |(hook, _)| hook);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    match !hook.is_empty() && !hook.starts_with('-') && hook.chars().all(is_plain) {
        true => format!("`wp cron event delete {hook}`"),
        false => "`wp cron event delete` with its exact name, in quotes".to_string(),
    }
}

fn size(bytes: i64) -> String {
    if bytes < 10_000 { format!("{bytes} bytes") } else { format!("{} KB", bytes / 1000) }
}
