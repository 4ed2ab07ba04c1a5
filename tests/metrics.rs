//! /metrics, the Grafana board and the alert rules: a real Prometheus asks a real runner, and is asked all that they ask.

mod prometheus;

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use crate::support::wordpress::unix_now;
use crate::support::{Redis, Runner, Site, secs, wait_for};
use prometheus::{Prometheus, promtool};

const BOARD: &str = include_str!("../config/grafana-board.json");
const RULES: &str = include_str!("../config/alert-rules.yml");

fn here(file: &str) -> String {
    format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// A line of /metrics: name, labels and value.
#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: String,
    value: f64,
}

fn samples(text: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let all = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        Sample { name: name.to_owned(), labels: labels.to_owned(), value }
    });
    all.collect()
}

/// The one sample of this name that has all of these labels.
fn value(runner: &Runner, name: &str, labels: &[&str]) -> Option<f64> {
    let text = runner.get("/metrics").body;
    let is_it = |one: &Sample| one.name == name && labels.iter().all(|label| one.labels.contains(label));
    let found: Vec<Sample> = samples(&text).into_iter().filter(is_it).collect();
    assert!(found.len() < 2, "{name} {labels:?}: {found:?}");
    found.first().map(|one| one.value)
}

/// Every name that a query could use, by the types that the text tells.
fn names(text: &str) -> HashSet<String> {
    let mut names = HashSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a type");
        let ends: &[&str] = match kind {
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "gauge" => &[""],
            other => panic!("{other} of {name}"),
        };
        names.extend(ends.iter().map(|end| format!("{name}{end}")));
    }
    names
}

/// Name and expression of all that the rules and the board ask, the board's variables filled in.
fn expressions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    let board: Value = serde_json::from_str(BOARD).expect("the board is JSON");
    for panel in board["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            all.push((format!("board: {}", text(&panel["title"])), text(&target["expr"])));
        }
    }
    for note in board["annotations"]["list"].as_array().expect("annotations") {
        all.push(("board: annotation".to_owned(), note["expr"].as_str().expect("an expression").to_owned()));
    }
    let panels = all.len();
    all.extend(rules());
    assert!(panels > 40 && all.len() - panels > 10, "{panels} expressions of the board, {} in all", all.len());
    let filled = |text: &str| {
        let text = text.replace("$__rate_interval", "1m").replace("$__range", "5m").replace("$site", ".*");
        assert!(!text.contains('$'), "{text}");
        text
    };
    all.into_iter().map(|(name, text)| (name, filled(&text))).collect()
}

/// `expr: ...` and `expr: >-` with its lines, each behind its `alert:`.
fn rules() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let (mut name, mut is_folded) = (String::new(), false);
    for line in RULES.lines() {
        let text = line.trim();
        if let Some(alert) = text.strip_prefix("- alert: ") {
            alert.clone_into(&mut name);
        } else if let Some(expression) = text.strip_prefix("expr: ") {
            is_folded = expression == ">-";
            all.push((name.clone(), if is_folded { String::new() } else { expression.to_owned() }));
        } else if is_folded && line.starts_with("          ") {
            let last = &mut all.last_mut().expect("a rule").1;
            *last += text;
            *last += " ";
        } else {
            is_folded = false;
        }
    }
    all
}

#[test]
fn the_rules_fire_when_they_should() {
    promtool(&["check", "rules", &here("config/alert-rules.yml")]);
    promtool(&["test", "rules", &here("tests/metrics/alert-rules.test.yml")]);
    let tests = std::fs::read_to_string(here("tests/metrics/alert-rules.test.yml")).expect("the tests");
    let tested = rules().iter().filter(|(name, _)| tests.contains(&format!("alertname: {name}\n"))).count();
    assert!(tested >= 11, "{tested} rules are tested");
    let steps = RULES.lines().filter(|line| line.trim().starts_with("description:"));
    let missing: Vec<&str> = steps.filter(|line| !line.contains(" Type: ")).collect();
    assert!(missing.is_empty(), "each says what to type: {missing:?}");
}

#[test]
fn the_board_can_be_imported() {
    let board: Value = serde_json::from_str(BOARD).expect("JSON");
    assert_eq!(board["templating"]["list"][0]["type"], "datasource");
    let mut ids = HashSet::new();
    let mut taken = HashSet::new();
    for panel in board["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_i64().expect("an id")), "{panel}");
        let at = |name: &str| panel["gridPos"][name].as_i64().expect("a place");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && taken.insert((x, y)), "{} lies on another panel", panel["title"]);
            }
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        }
    }
}

/// Runs that end ok and not, one that is held, one job; a Redis, so that all metrics are there.
#[test]
fn prometheus_understands_the_runner_and_the_board_and_the_rules_are_answered() {
    let site = Site::builder().sqlite().start();
    let redis = Redis::start();
    redis.make_known();
    let hold = "[[site.hook]]\nname = \"fx_sleep\"\ninterrupted = \"hold\"";
    let job = "[[job]]\nname = \"backup\"\nschedule = \"0 0 29 2 *\"\ncommand = [\"true\"]";
    let database = crate::support::redis::DATABASE;
    let shared = format!("[redis]\nurl = \"redis://{}/{database}\"", redis.address());
    let mut runner = Runner::builder(&site).site_line("lanes = 2").table(hold).table(job).table(&shared).start();
    wait_for("the lease of the site", secs(30), || {
        (value(&runner, "wp_cron_runner_site_lease", &["shop"]) == Some(1.0)).then_some(())
    });
    let prometheus = Prometheus::start(&runner.listen(), &here("config/alert-rules.yml"));

    site.schedule_recurring(3600, "hourly", "fx_hourly", &json!([]));
    let now = unix_now();
    let sleep = (now, "fx_sleep", json!([60]));
    site.schedule(&[(now, "fx_ok", json!([1])), (now, "fx_ok", json!([2])), (now, "fx_exception", json!([])), sleep]);
    let worker = wait_for("the one that is to be interrupted", secs(15), || site.ledger().begin_of("fx_sleep")).pid;
    let runs = || value(&runner, "wp_cron_runner_site_running_events", &["shop"]) == Some(1.0);
    wait_for("it in the metrics", secs(10), || runs().then_some(()));
    site.php_fpm.kill_worker(worker);
    assert_eq!(runner.cli(&["trigger", "backup"]).code(), 0);
    assert_eq!(runner.cli(&["deploy", "another theme"]).code(), 0);
    let held = || value(&runner, "wp_cron_runner_site_held_runs", &["shop"]) == Some(1.0);
    // The next look tells of it: a notice, whatever it says, is not one.
    wait_for("the held run", secs(75), || held().then_some(()));

    // The counts are those of the history.
    let mut expected: BTreeMap<(String, String), f64> = BTreeMap::new();
    for run in runner.history() {
        let name = run["job"].as_str().or(run["hook"].as_str()).expect("a name");
        let outcome = run["outcome"].as_str().expect("an outcome");
        *expected.entry((name.to_owned(), outcome.to_owned())).or_default() += 1.0;
    }
    for (name, outcome) in [("fx_ok", "ok"), ("fx_exception", "failed"), ("fx_sleep", "interrupted"), ("backup", "ok")]
    {
        assert!(expected.contains_key(&(name.to_owned(), outcome.to_owned())), "{name} {outcome}: {expected:?}");
    }
    for ((name, outcome), count) in &expected {
        let labels = [format!("=\"{name}\""), format!("outcome=\"{outcome}\"")];
        let found = value(&runner, "wp_cron_runner_runs_total", &[&labels[0], &labels[1]]);
        assert_eq!(found, Some(*count), "{name} {outcome}");
    }
    let of_hook = |runner: &Runner, metric: &str, hook: &str| value(runner, metric, &[&format!("hook=\"{hook}\"")]);
    let began = runner.history_of("fx_ok").iter().map(|run| run["ms"].as_f64().expect("ms") / 1000.0).sum::<f64>();
    let took = of_hook(&runner, "wp_cron_runner_run_duration_seconds_sum", "fx_ok").expect("a sum");
    assert!((took - began).abs() < 0.001, "{took} {began}");
    let due = of_hook(&runner, "wp_cron_runner_next_due_timestamp_seconds", "fx_hourly").expect("its next time");
    #[allow(clippy::cast_precision_loss)]
    let ahead = due - unix_now() as f64;
    assert!((3000.0..=3600.0).contains(&ahead), "{due}");

    // Everything that is asked is there, and is answered.
    wait_for("some scrapes", secs(20), || (prometheus.number("count_over_time(up[1m])") >= Some(4.0)).then_some(()));
    let held = || prometheus.number("wp_cron_runner_site_held_runs") == Some(1.0);
    wait_for("one that saw the held run", secs(20), || held().then_some(()));
    assert_eq!(prometheus.number("up"), Some(1.0), "{}", prometheus.log());
    let names = names(&runner.get("/metrics").body);
    for (of, expression) in expressions() {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("wp_cron_runner_") || word.starts_with("process_")) {
            assert!(names.contains(word), "{of}: nothing says {word}");
        }
        prometheus.ask(&expression);
    }
    let answered: Vec<(String, String)> =
        expressions().into_iter().filter(|(_, expression)| !prometheus.ask(expression).is_empty()).collect();
    for name in [
        "Runners",
        "Version",
        "Ready",
        "Sites in trouble",
        "Runs that ended, by outcome",
        "Sites by state",
        "CPU of the runner",
        "How late runs begin",
        "How long runs take",
        "Due now",
        "Held runs",
        "Overdue",
        "History writable",
        "Notices",
        "Each site",
        "Not succeeded for the longest",
        "Failing: the last run did not end well",
        "Slowest on average",
        "Most failures",
        "Due next",
        "Redis",
        "Runs the other hosts do not know of yet",
        "Paused",
        "Last deployment",
        "annotation",
    ] {
        assert!(answered.iter().any(|(of, _)| *of == format!("board: {name}")), "{name} is empty");
    }
    for name in ["WPCronRunnerRunFailed", "WPCronRunnerHeldRuns"] {
        assert!(answered.iter().any(|(of, _)| of == name), "{name} does not fire");
    }
    let quiet =
        ["WPCronRunnerDown", "WPCronRunnerNobodyHasTheLease", "WPCronRunnerRedisLost", "WPCronRunnerDueAndNotStarted"];
    assert!(!answered.iter().any(|(of, _)| quiet.contains(&of.as_str())), "{answered:?}");

    // A restart forgets counts, and not when something last succeeded.
    let last = of_hook(&runner, "wp_cron_runner_last_success_timestamp_seconds", "fx_ok");
    let failed = of_hook(&runner, "wp_cron_runner_last_failure_timestamp_seconds", "fx_exception");
    runner.stop();
    runner.start();
    assert_eq!(of_hook(&runner, "wp_cron_runner_last_success_timestamp_seconds", "fx_ok"), last);
    assert_eq!(of_hook(&runner, "wp_cron_runner_last_failure_timestamp_seconds", "fx_exception"), failed);
    assert!(last.is_some() && failed.is_some());
    assert_eq!(value(&runner, "wp_cron_runner_runs_total", &["\"fx_ok\"", "\"ok\""]), Some(0.0));
}

#[test]
fn a_scrape_asks_nothing_of_php() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).site_line("rescan = \"10m\"").start();
    // Only a look tells which plugin it is.
    wait_for("the second look", secs(15), || of_site(&runner, "shop").filter(|site| site["plugin"] != "").map(drop));
    // Whoever asked PHP now would wait for ever.
    let stop = |signal| crate::support::process::signal_pid(site.php_fpm.pid(), signal);
    let workers = site.php_fpm.workers();
    for worker in &workers {
        crate::support::process::signal_pid(*worker, rustix::process::Signal::STOP);
    }
    stop(rustix::process::Signal::STOP);
    let failures = || {
        let text = runner.get("/metrics").body;
        samples(&text).iter().filter(|one| one.name == "wp_cron_runner_site_failures_total").count()
    };
    let found: Vec<usize> = (0..50).map(|_| failures()).collect();
    let calls = count_connections(&site);
    stop(rustix::process::Signal::CONT);
    for worker in &workers {
        crate::support::process::signal_pid(*worker, rustix::process::Signal::CONT);
    }
    assert!(found.iter().all(|count| *count == 0), "{found:?}");
    assert_eq!(calls, 0, "connections that wait for php-fpm");
}

fn of_site(runner: &Runner, name: &str) -> Option<Value> {
    let status: Value = serde_json::from_str(&runner.get("/v1/status").body).expect("JSON");
    status["sites"].as_array()?.iter().find(|site| site["site"] == name).cloned()
}

/// Connections to the pool's socket that somebody has open, beside the one that listens.
fn count_connections(site: &Site) -> usize {
    let socket = site.php_fpm.socket.display().to_string();
    let table = std::fs::read_to_string("/proc/net/unix").expect("the sockets");
    table.lines().filter(|line| line.ends_with(&socket)).count() - 1
}

#[test]
fn hooks_by_the_thousand_are_a_bounded_number_of_series() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    let count = 1500;
    let at = unix_now();
    site.php(&format!(
        "$cron = _get_cron_array();
        for ($i = 0; $i < {count}; $i++) {{ $cron[{at}][\"random_$i\\n\\\"}} 1\"]['40cd750bba9870f18aada2478b24840a'] = ['schedule' => false, 'args' => []]; }}
        ksort($cron); _set_cron_array($cron);"
    ));
    let total = || {
        let text = runner.get("/metrics").body;
        let all = samples(&text);
        let runs: f64 = all
            .iter()
            .filter(|one| one.name == "wp_cron_runner_runs_total" && one.labels.contains("\"ok\""))
            .map(|one| one.value)
            .sum();
        (runs >= f64::from(count)).then_some((all, text.len()))
    };
    let (all, bytes) = wait_for("the ends of all", secs(60), total);
    let hooks: HashSet<&str> = all
        .iter()
        .filter(|one| one.name == "wp_cron_runner_last_success_timestamp_seconds")
        .map(|one| one.labels.as_str())
        .collect();
    assert_eq!(hooks.len(), 501, "500, and `other`");
    // Of each: five outcomes, three times, and two histograms of ten.
    assert!(all.len() < 501 * 28 + 200 && bytes < 2_500_000, "{} series, {bytes} bytes", all.len());
}
