//! The timetable itself: the `cron` option, and posts that wait for it.

use super::inside::list;
use super::{Finding, fail, ok, warn};
use crate::config::Site;
use crate::protocol::Examined;
use crate::{clock, text};

/// A long event before it, on each lane, is nothing to worry about.
const LATE_MS: i64 = 900_000;
/// Every page reads the whole option.
const LARGE: i64 = 1 << 20;

pub fn findings(site: &Site, examined: &Examined) -> Vec<Finding> {
    let name = |what: &str| format!("site {}: {what}", site.name);
    let cron = &examined.cron;
    let mut findings = vec![option(&name("cron option"), site, examined)];
    if cron.error.is_some() {
        return findings;
    }
    findings.push(late(&name("due events"), site, examined));
    let pair = |pair: &(String, String)| format!("{} ({})", text::safe(&pair.0), text::safe(&pair.1));
    let first = |listed: &crate::protocol::examined::Listed<(String, String)>| {
        listed.first.first().map_or_else(String::new, |(hook, _)| text::safe(hook))
    };
    findings.push(match cron.doubled.count {
        0 => ok(&name("duplicates"), "none"),
        _ => warn(
            &name("duplicates"),
            format!("recurring events that stand there several times: {}", list(&cron.doubled, pair)),
            "each once: they run as often as they stand there",
            format!("`wp cron event delete {}`; the plugin that needs it schedules it anew", first(&cron.doubled)),
        ),
    });
    findings.push(match cron.no_callback.count {
        0 => ok(&name("hooks"), "each has a callback"),
        _ => warn(
            &name("hooks"),
            format!("nobody listens to {}", list(&cron.no_callback, pair)),
            "a callback for each: their events do nothing",
            format!("activate the plugin that it belongs to, or `wp cron event delete {}`", first(&cron.no_callback)),
        ),
    });
    if cron.no_interval.count > 0 {
        findings.push(fail(
            &name("schedules"),
            format!("events without an interval whose schedule nobody knows: {}", list(&cron.no_interval, pair)),
            "a known schedule: they are left alone",
            format!(
                "activate the plugin that has the schedule, or `wp cron event delete {}`",
                first(&cron.no_interval)
            ),
        ));
    } else if cron.no_schedule.count > 0 {
        findings.push(warn(
            &name("schedules"),
            format!("schedules that nobody knows any more: {}", list(&cron.no_schedule, pair)),
            "a known schedule: they go on with the interval that they have",
            format!(
                "activate the plugin that has the schedule, or `wp cron event delete {}`",
                first(&cron.no_schedule)
            ),
        ));
    } else {
        findings.push(ok(&name("schedules"), "all are known"));
    }
    findings.push(posts(&name("scheduled posts"), examined));
    findings
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
    let named = list(posts, |post| format!("{}{}", post.id, if post.scheduled { "" } else { " (no event)" }));
    warn(
        check,
        format!("{count} should be published by now: {named}"),
        "published posts",
        format!("`wp post update {} --post_status=publish`, or save it anew with another date", first.id),
    )
}

fn size(bytes: i64) -> String {
    if bytes < 10_000 { format!("{bytes} bytes") } else { format!("{} KB", bytes / 1000) }
}
