//! Row 36: what a web server may answer in the plugin's place. Each answer has a state and a sentence of its own, nothing is
//! claimed, and nobody is called in a storm.

use std::time::Instant;

use serde_json::json;

use super::door::{Door, add_site, between, view};
use super::{nothing_wrong, show, times};
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Plan, Runner, Site, Trigger, secs, wait_for};

/// How its calls follow each other.
#[derive(Clone, Copy, PartialEq)]
enum Calls {
    /// After 1, 2, 4 ... seconds.
    Doubled,
    /// After at least a quarter of a minute.
    Patient,
    /// Every five minutes.
    Probes,
}

/// Name, what is answered, the state, what the message says, and how the calls follow.
type Row = (&'static str, &'static str, &'static str, &'static str, Calls);

const ROWS: [Row; 13] = [
    (
        "s500",
        "500 Oops\r\n\r\n<h1>There has been a critical error</h1>",
        "error",
        "HTTP 500: There has been",
        Calls::Doubled,
    ),
    ("s502", "502 Bad Gateway\r\n\r\n", "unreachable", "gave up waiting (HTTP 502)", Calls::Doubled),
    ("s503", "503 Service Unavailable\r\n\r\nbusy", "error", "HTTP 503: busy", Calls::Doubled),
    (
        "s503-later",
        "503 Service Unavailable\r\nRetry-After: 1\r\n\r\n",
        "maintenance",
        "in maintenance mode",
        Calls::Patient,
    ),
    (
        "s503-much-later",
        "503 Service Unavailable\r\nRetry-After: 99999\r\n\r\n",
        "maintenance",
        "in maintenance mode",
        Calls::Patient,
    ),
    ("s504", "504 Gateway Timeout\r\n\r\n", "unreachable", "gave up waiting (HTTP 504)", Calls::Doubled),
    ("s524", "524 A Timeout Occurred\r\n\r\n", "unreachable", "gave up waiting (HTTP 524)", Calls::Doubled),
    (
        "s301",
        "301 Moved\r\nLocation: http://@TRAP@/x\r\n\r\n",
        "misconfigured",
        "it redirects to http://@TRAP@/x (HTTP 301)",
        Calls::Probes,
    ),
    (
        "s302",
        "302 Found\r\nLocation: /wp-login.php\r\n\r\n",
        "misconfigured",
        "it redirects to /wp-login.php",
        Calls::Probes,
    ),
    (
        "s401",
        "401 No\r\nWWW-Authenticate: Basic\r\n\r\n",
        "misconfigured",
        "asks for a password (HTTP 401)",
        Calls::Probes,
    ),
    ("s403", "403 Forbidden\r\n\r\n", "misconfigured", "it is forbidden (HTTP 403): a firewall", Calls::Probes),
    (
        "html",
        "200 OK\r\nContent-Type: text/html\r\n\r\n<!doctype html>",
        "misconfigured",
        "something else than the plugin answers (HTTP 200, type text/html): \"<!doctype html>\"",
        Calls::Probes,
    ),
    ("empty", "200 OK\r\n\r\n", "misconfigured", "the answer is empty (HTTP 200)", Calls::Probes),
];

#[test]
fn row_36_every_answer_has_its_name_and_no_storm_follows() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).site_line("rescan = \"2s\"").start();
    let trap = Door::saying("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    let text = |text: &str| text.replace("@TRAP@", &trap.address());
    let doors: Vec<Door> = ROWS
        .iter()
        .map(|(name, answer, ..)| {
            let door =
                Door::saying(&text(&format!("HTTP/1.1 {}", answer.replacen("\r\n", "\r\nConnection: close\r\n", 1))));
            add_site(&runner, name, &door, "rescan = \"2s\"");
            door
        })
        .collect();
    let began = Instant::now();
    assert!(runner.reload().contains("loaded anew"), "{}", runner.log());

    for (row, door) in ROWS.iter().zip(&doors) {
        let (name, _, state, message, _) = row;
        let view = wait_for(name, secs(10), || Some(view(&runner, name)).filter(|view| view["state"] == *state));
        let told = view["message"].as_str().unwrap_or_default().to_owned();
        assert!(told.contains(&text(message)), "{name}: {told}");
        assert_eq!(door.count("run"), 0, "{name}: something was claimed");
    }
    // The one that answers well is looked after all the time.
    let mut plan = Plan::new();
    plan.schedule(&site, &[(unix_now() + 1, "fx_ok", json!(["beside them"]))]);
    wait_for("a run of the good site", secs(10), || runner.history_of("fx_ok").first().cloned());

    // Calls in so many minutes; in the short version as long as the fourth try takes: 1 + 2 + 4 seconds.
    let minutes = times(0, 3);
    let patience = secs(60 * minutes as u64);
    wait_for("the time", patience + secs(30), || {
        let fourth =
            doors[0].asked().get(3).is_some_and(|asked| asked.at.elapsed() > std::time::Duration::from_millis(500));
        (fourth && began.elapsed() >= patience).then_some(())
    });
    let mut counts = Vec::new();
    for ((name, _, _, _, calls), door) in ROWS.iter().zip(&doors) {
        let asked = door.asked();
        let minute = |minute: u64| {
            let since = |at: Instant| at.duration_since(began).as_secs() / 60;
            asked.iter().filter(|asked| since(asked.at) == minute).count()
        };
        let by_minute: Vec<usize> = (0..minutes.max(1)).map(|at| minute(at as u64)).collect();
        assert!(by_minute.iter().skip(1).all(|calls| *calls <= 4), "{name}: {by_minute:?}");
        let gaps: Vec<f64> = asked.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()).collect();
        let least = |at: usize| match calls {
            Calls::Doubled => f64::from(1_u32 << at.min(5)),
            Calls::Patient => 15.0,
            Calls::Probes => 300.0,
        };
        assert!(gaps.iter().enumerate().all(|(at, gap)| *gap > least(at) - 0.1), "{name}: {gaps:?}");
        assert!(
            !asked.is_empty() && (*calls != Calls::Doubled || asked.len() >= 3),
            "{name}: it is tried again: {gaps:?}"
        );
        assert_eq!(door.count("run"), 0, "{name}");
        let by_minute: Vec<String> = by_minute.iter().map(ToString::to_string).collect();
        counts.push(format!("{name} {}", by_minute.join("/")));
    }
    assert_eq!(trap.asked().len(), 0, "a redirect was followed");
    let unit = if minutes == 0 { format!("{} s", began.elapsed().as_secs()) } else { "each minute".to_owned() };
    nothing_wrong(
        "row 36 (in the plugin's place)",
        &plan.judge(&site),
        &format!("calls in {unit}: {}", counts.join(", ")),
    );
}

/// PHP has run it all, and what comes back says that nothing was.
#[test]
fn row_36_an_answer_that_something_replaced_is_not_the_end_of_an_event() {
    const REPLACED: [&str; 6] =
        ["500 Oops", "502 Bad Gateway", "503 Busy", "504 Timeout", "524 Timeout", "503 Busy\r\nRetry-After: 1"];
    let site = Site::builder().mariadb().start();
    let address = site.address();
    let status = std::sync::Arc::new(std::sync::Mutex::new(None::<&str>));
    let current = status.clone();
    let door = Door::open(move |asked, stream| {
        let Some(status) = *current.lock().expect("a status") else { return asked.pass_on(&address, stream) };
        if asked.call != "run" {
            return asked.pass_on(&address, stream);
        }
        asked.answer_of(&address);
        let _ = std::io::Write::write_all(stream, format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n").as_bytes());
    });
    let mut runner = Runner::builder(&site)
        .trigger(Trigger::Http)
        .site_line(&between(&site, &door))
        .site_line("rescan = \"2s\"\nlanes = 1")
        .start();
    let mut plan = Plan::new();
    for replaced in REPLACED {
        *status.lock().expect("a status") = Some(replaced);
        plan.schedule(
            &site,
            &[(unix_now(), "fx_sleep", json!([0.2, replaced])), (unix_now(), "fx_ok", json!([replaced]))],
        );
        assert!(plan.wait(&site, secs(60)), "{replaced}: {}", runner.log());
    }
    *status.lock().expect("a status") = None;
    // What it was not told while it ran, it learns from the journal.
    runner.stop();
    runner.start();
    wait_for("twelve records", secs(30), || (runner.history().len() == 2 * REPLACED.len()).then_some(()));
    assert!(runner.history().iter().all(|run| run["outcome"] == "ok"), "{:?}", runner.history());
    let runs = door.count("run");
    nothing_wrong(
        "row 36 (an answer replaced)",
        &plan.judge(&site),
        &format!("{} statuses, {runs} calls", REPLACED.len()),
    );
    assert!(runs <= 3 * REPLACED.len(), "{runs} calls");
}
