//! The sites of `status`: the table, and what needs an operator's eye.

use serde_json::Value;

use super::super::table::{row, show, table};
use super::{at, until, word};
use crate::clock;
use crate::scheduler::{disable_wp_cron_sentence, left_alone_sentence, stray_sentence};
use crate::text;

pub fn redis_line(redis: &Value) -> String {
    let names: Vec<String> =
        at(redis, "runners").as_array().into_iter().flatten().map(|one| word(at(one, "name"))).collect();
    let mut line =
        format!("redis {}, {} since {}", word(at(redis, "url")), word(at(redis, "state")), word(at(redis, "since")));
    if !names.is_empty() {
        line += &format!("; runners {}", text::safe_cut(&names.join(", "), 300));
    }
    match (at(redis, "lost").as_u64().unwrap_or(0), at(redis, "degraded_runs").as_u64().unwrap_or(0)) {
        (0, _) => {}
        (lost, degraded) => {
            line += &format!("; lost {lost} times so far, {degraded} runs were started without a lease");
        }
    }
    if let Some(trouble) = at(redis, "history_trouble").as_str() {
        line += &format!(
            "\nruns are recorded on this host only, and sent to the others later: {}",
            text::safe_cut(trouble, 500)
        );
    }
    line + "\n"
}

pub fn sites_table(sites: &[Value], is_shared: bool) -> String {
    let is_shared = sites.iter().any(|view| at(view, "runner").is_string()) && is_shared;
    let mut heads = vec!["SITE", "STATE", "NEXT", "DUE", "RUNNING", "HELD", "TRIGGER", "LOCKS"];
    if is_shared {
        heads.push("RUNNER");
    }
    let mut out = table(&heads).long(&[0, 8]).words(&[1]);
    let now = clock::now_ms();
    for view in sites {
        let running =
            at(view, "running").as_array().map_or(0, Vec::len) + at(view, "open").as_array().map_or(0, Vec::len);
        let mut cells = vec![
            word(at(view, "site")),
            word(at(view, "state")),
            until(at(view, "next"), now),
            word(at(view, "due")),
            running.to_string(),
            word(at(view, "held")),
            word(at(view, "trigger")),
            word(at(view, "lock_kind")),
        ];
        if is_shared {
            cells.push(word(at(view, "runner")));
        }
        row(&mut out, &cells);
    }
    show(&out)
}

/// What needs an operator's eye, below the table.
pub fn remarks(sites: &[Value]) -> String {
    let mut lines = Vec::new();
    for view in sites {
        let site = word(at(view, "site"));
        if let Some(message) = at(view, "message").as_str() {
            lines.push(text::safe_cut(message, 5000));
        }
        for run in at(view, "running").as_array().into_iter().chain(at(view, "open").as_array()).flatten() {
            let pid = word(at(run, "pid"));
            let overdue = at(run, "overdue").as_str().map_or_else(String::new, |why| {
                format!("; overdue, and its lane stays taken: {}", text::safe_cut(why, 300))
            });
            lines.push(format!(
                "{site}: {} is running, run {}, process {pid}{overdue}",
                text::safe(&word(at(run, "hook"))),
                word(at(run, "run"))
            ));
        }
        if at(view, "paused").as_bool() == Some(true) {
            let until = at(view, "paused_until").as_str().map_or_else(String::new, |until| format!(" until {until}"));
            lines.push(format!("{site}: paused{until}: nothing is started; `wp-cron-runner resume {site}`"));
        }
        let hooks: Vec<String> = at(view, "paused_hooks").as_array().into_iter().flatten().map(word).collect();
        if !hooks.is_empty() {
            let hooks = text::safe_cut(&hooks.join(", "), 300);
            lines.push(format!("{site}: paused hooks, whose events are not started: {hooks}; they go on in wp-admin, Tools > Cron Runner, or by `wp cron-runner resume HOOK`"));
        }
        if let Some(unknown) = at(view, "unknown").as_str() {
            lines.push(format!("{site}: {unknown}"));
        }
        if let Some(backlog) = at(view, "backlog").as_str() {
            lines.push(format!("{site}: at the take-over {}", text::safe(backlog)));
        }
        if at(view, "held").as_u64().unwrap_or(0) > 0 {
            lines.push(format!("{site}: held runs wait for you: `wp-cron-runner history {site} --held`"));
        }
        if at(view, "disable_wp_cron").as_bool() == Some(true) {
            lines.push(disable_wp_cron_sentence(&site));
        }
        for event in at(view, "left_alone").as_array().into_iter().flatten() {
            lines.push(left_alone_sentence(&site, &word(at(event, "hook")), &word(at(event, "reason"))));
        }
        if at(view, "stray").is_object() {
            lines.push(stray_sentence(&site, &word(at(at(view, "stray"), "who"))));
        }
    }
    if lines.is_empty() { String::new() } else { format!("\n{}\n", lines.join("\n")) }
}
