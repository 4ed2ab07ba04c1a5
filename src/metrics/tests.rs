use std::collections::HashSet;

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_string()).collect()
}

fn ended<'a>(site: &'a str, hook: &'a str, outcome: Outcome, ended_ms: i64) -> Ended<'a> {
    Ended { site, hook, job: None, outcome, ended_ms, lateness_ms: Some(40), ms: Some(2000) }
}

fn written(metrics: &Metrics) -> String {
    let mut text = String::new();
    metrics.write(&mut text, Now::default()).unwrap();
    text
}

/// The values of one metric whose line has all of these.
#[track_caller]
fn value(text: &str, metric: &str, labels: &[&str]) -> f64 {
    let is_it = |line: &&str| line.starts_with(metric) && labels.iter().all(|label| line.contains(label));
    let lines: Vec<&str> = text.lines().filter(is_it).collect();
    assert_eq!(lines.len(), 1, "{metric} {labels:?}: {lines:?}\n{text}");
    lines[0].rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn ten_thousand_hooks_are_five_hundred_series_and_one() {
    let metrics = Metrics::new(0);
    metrics.keep(&names(&["shop"]), &[]);
    let ago = |hook| Ago { site: "shop", hook, job: None, ok_ms: Some(1000), not_ok_ms: None };
    metrics.seed(&ago("known"));
    for number in 0..10_000 {
        metrics.ended(&ended("shop", &format!("random_{number}"), Outcome::Ok, 1000));
    }
    metrics.ended(&ended("shop", "known", Outcome::Failed, 5000));
    let text = written(&metrics);
    let of_runs = |line: &&str| line.starts_with("wp_cron_runner_runs_total{");
    let hooks: HashSet<&str> =
        text.lines().filter(of_runs).map(|line| line.split("\",cron_job").next().unwrap()).collect();
    assert_eq!(hooks.len(), 501, "500 and `other`");
    assert!(text.lines().count() < 501 * 30, "{} lines", text.lines().count());
    assert_eq!(value(&text, "wp_cron_runner_runs_total", &["\"other\"", "\"ok\""]), 9501.0);
    assert_eq!(value(&text, "wp_cron_runner_runs_total", &["\"known\"", "\"failed\""]), 1.0);
    assert_eq!(value(&text, "wp_cron_runner_last_success_timestamp_seconds", &["\"known\""]), 1.0);
    assert_eq!(value(&text, "wp_cron_runner_last_failure_timestamp_seconds", &["\"known\""]), 5.0);
}

#[test]
fn many_sites_share_the_room_evenly() {
    let metrics = Metrics::new(0);
    let all: Vec<String> = (0..1000).map(|number| format!("site-{number}")).collect();
    metrics.keep(&all, &[]);
    for site in &all {
        (0..20).for_each(|hook| metrics.ended(&ended(site, &format!("hook_{hook}"), Outcome::Ok, 1)));
    }
    let text = written(&metrics);
    assert_eq!(text.lines().filter(|line| line.starts_with("wp_cron_runner_last_success")).count(), 6000);
    assert_eq!(value(&text, "wp_cron_runner_runs_total", &["\"site-7\"", "\"other\"", "\"ok\""]), 15.0);
}

#[test]
fn a_histogram_counts_up_to_each_bound() {
    let metrics = Metrics::new(0);
    metrics.keep(&names(&["shop"]), &[]);
    for lateness_ms in [-5, 100, 101, 700_000] {
        let run = Ended { lateness_ms: Some(lateness_ms), ..ended("shop", "h", Outcome::TimedOut, 1) };
        metrics.ended(&run);
    }
    metrics.ended(&ended("shop", "h", Outcome::Skipped, 9));
    let text = written(&metrics);
    let lateness = |le: &str| value(&text, "wp_cron_runner_run_lateness_seconds_bucket", &[&format!("le=\"{le}\"")]);
    assert_eq!([lateness("0.1"), lateness("0.5"), lateness("600.0"), lateness("+Inf")], [2.0, 3.0, 3.0, 4.0]);
    assert_eq!(value(&text, "wp_cron_runner_run_duration_seconds_sum", &[]), 8.0);
    assert_eq!(value(&text, "wp_cron_runner_last_failure_timestamp_seconds{", &[]), 0.001);
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_name_is_shown_and_never_obeyed() {
    let metrics = Metrics::new(0);
    metrics.keep(&names(&["shop"]), &[]);
    let long = "long ".repeat(2047);
    let hooks = ["\u{1b}[31mred", "a\"} 1\nwp_cron_runner_ready 0", "nul\0", "back\\slash", "\u{202e}txt", &long];
    for hook in hooks {
        metrics.ended(&ended("shop", hook, Outcome::Ok, 1));
        metrics.ended(&ended("shop", hook, Outcome::Ok, 1));
    }
    let text = written(&metrics);
    assert_eq!(text.matches("\nwp_cron_runner_ready ").count(), 1, "{text}");
    assert!(!text.chars().any(|c| c != '\n' && c.is_control()) && !text.contains('\u{202e}'), "{text}");
    for label in ["\\\\x1B[31mred", "a\\\"} 1\\\\nwp_cron", "nul\\\\x00", "back\\\\slash", "(10235 bytes)"] {
        assert_eq!(value(&text, "wp_cron_runner_runs_total{", &[label, "\"ok\""]), 2.0);
    }
    assert!(text.lines().all(|line| line.len() < 600), "{text}");
}

#[test]
fn what_leaves_the_configuration_is_forgotten() {
    let metrics = Metrics::new(0);
    let jobs = |site: &str| vec![("backup".to_string(), site.to_string())];
    assert!(metrics.keep(&names(&["shop", "blog"]), &jobs("shop")));
    let of_job = Ended { job: Some("backup"), hook: "", ..ended("shop", "", Outcome::Ok, 1) };
    metrics.ended(&of_job);
    metrics.ended(&ended("blog", "h", Outcome::Ok, 1));
    metrics.ended(&ended("nobody's", "h", Outcome::Ok, 1));
    let text = written(&metrics);
    assert_eq!(value(&text, "wp_cron_runner_runs_total", &["hook=\"\",cron_job=\"backup\"", "\"ok\""]), 1.0);
    assert!(text.contains("\"blog\"") && !text.contains("nobody's"));
    assert!(!metrics.keep(&names(&["shop"]), &jobs("shop")), "nothing is new");
    assert!(metrics.keep(&names(&["shop"]), &jobs("")), "another job has its name");
    let text = written(&metrics);
    assert_eq!(value(&text, "wp_cron_runner_runs_total", &["cron_job=\"backup\"", "\"ok\""]), 0.0);
    assert!(!text.contains("\"blog\""));
}

/// Megabytes, and as many with ten times the hooks.
#[test]
fn a_thousand_sites_are_a_bounded_answer() {
    let metrics = Metrics::new(0);
    let all: Vec<String> = (0..1000).map(|number| format!("site-{number}")).collect();
    metrics.keep(&all, &[]);
    for site in &all {
        (0..120).for_each(|hook| metrics.ended(&ended(site, &format!("wp_some_hook_{hook}"), Outcome::Ok, 1)));
    }
    let views: Vec<crate::site::View> = all
        .iter()
        .map(|site| {
            let state = crate::site::State::new(
                0,
                crate::site::Limits { lanes: 1, rescan_ms: 1, schedule: None, has_plugin: true },
                None,
            );
            let mut view = state.view(site, "fastcgi", Vec::new());
            view.hooks = (0..120).map(|hook| (format!("wp_some_hook_{hook}"), 1_700_000_000)).collect();
            view
        })
        .collect();
    let mut text = String::new();
    let now = Now { sites: views.iter().map(SiteNow::of).collect(), ..Now::default() };
    metrics.write(&mut text, now).unwrap();
    let lines = text.lines().count();
    assert!((100_000..170_000).contains(&lines) && text.len() < 17_000_000, "{lines} lines, {} bytes", text.len());
}
