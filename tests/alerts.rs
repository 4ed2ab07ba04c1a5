//! Who is told what, by a receiver of ours that notes it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, account, secs, wait_for};

#[derive(Clone, Debug)]
struct Asked {
    method: String,
    path: String,
    body: String,
}

/// Answers everything with one status; 0: accepts, and never answers.
struct Receiver {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Receiver {
    fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming().flatten() {
                match status {
                    0 => open.push(stream),
                    _ => answer(&stream, status, &noted),
                }
            }
        });
        Self { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("the list").clone()
    }

    fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.path).collect()
    }

    /// All events of all messages, in order.
    fn events(&self) -> Vec<Value> {
        let bodies = self.asked().into_iter().map(|asked| serde_json::from_str::<Value>(&asked.body).expect("JSON"));
        bodies.flat_map(|body| body["events"].as_array().expect("events").clone()).collect()
    }

    fn event(&self, what: &str, of: &str) -> Option<Value> {
        self.events().into_iter().find(|event| event["what"] == what && (event["hook"] == of || event["job"] == of))
    }
}

fn answer(stream: &TcpStream, status: u16, noted: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).expect("a header");
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let body = String::from_utf8(body).expect("text");
    noted.lock().expect("the list").push(Asked { method, path, body });
    let mut out = stream;
    let _ = write!(out, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

const FAST: &str = "every = \"0s\"";

#[test]
fn failures_and_recoveries_reach_whom_they_are_for() {
    let site = Site::builder().sqlite().start();
    let (hook, ping) = (Receiver::start(200), Receiver::start(200));
    let file = site.dir.join("told");
    std::fs::write(&file, "").expect("a file");
    account::give_to(account::SITE, &file);
    let script = format!("cat >> {}", file.display());
    let job = format!(
        "[[job]]\nname = \"backup\"\nschedule = \"0 0 29 2 *\"\ncommand = [\"/bin/sh\", \"-c\", \"sleep 2; test -e {}\"]\n",
        site.dir.join("good").display()
    );
    let runner = Runner::builder(&site)
        .table(&format!("[[alert]]\nwebhook = \"{}\"\n{FAST}", hook.url("/T0/secret-path")))
        .table(&format!(
            "[[alert]]\non = [\"failed\"]\njob = \"back*\"\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n{FAST}"
        ))
        .table(&format!("[[alert]]\nping = \"{}\"\njob = \"backup\"", ping.url("/uuid")))
        .table(&job)
        .start();

    let test = runner.cli(&["alert", "test"]);
    assert_eq!(test.code(), 0, "{test:?}");
    assert_eq!(test.stdout.matches("ok    ").count(), 3, "{test:?}");
    assert!(!format!("{test:?}").contains("secret-path"), "an address is a secret: {test:?}");
    let told = hook.asked()[0].clone();
    assert_eq!((told.method.as_str(), told.path.as_str()), ("POST", "/T0/secret-path"));
    let body: Value = serde_json::from_str(&told.body).expect("JSON");
    assert!(body["text"].as_str().is_some_and(|text| text.contains("test")) && body["runner"] == "test", "{body}");
    assert_eq!(body["events"][0]["what"], "test");
    assert_eq!(ping.paths(), ["/uuid"]);

    site.schedule(&[(unix_now(), "fx_exception", json!([])), (unix_now(), "fx_ok", json!([]))]);
    let failed = wait_for("word of the failure", secs(15), || hook.event("failed", "fx_exception"));
    assert_eq!(failed["site"], "shop");
    assert!(failed["text"].as_str().is_some_and(|text| text.contains("RuntimeException")), "{failed}");
    assert!(!failed["run"].is_null() && hook.event("failed", "fx_ok").is_none());

    // A job: its beginning, its end, and only to those who asked for it.
    assert_eq!(runner.cli(&["trigger", "backup"]).code(), 1);
    wait_for("the dead man's switch", secs(15), || (ping.paths().len() == 3).then_some(()));
    assert_eq!(ping.paths(), ["/uuid", "/uuid/start", "/uuid/fail"]);
    wait_for("word to the webhook", secs(15), || hook.event("failed", "backup"));
    let told = wait_for("word to the program", secs(15), || {
        std::fs::read_to_string(&file).ok().filter(|t| t.contains("backup"))
    });
    assert!(!told.contains("fx_exception"), "{told}");

    std::fs::write(site.dir.join("good"), "").expect("a file");
    let again = runner.cli(&["trigger", "backup"]);
    assert_eq!(again.code(), 0, "{again:?}");
    let recovered = wait_for("the recovery", secs(15), || hook.event("recovered", "backup"));
    assert_eq!(recovered["job"], "backup");
    wait_for("the success", secs(15), || (ping.paths().last().map(String::as_str) == Some("/uuid")).then_some(()));
}

#[test]
fn a_storm_is_one_message_and_a_receiver_that_does_not_answer_delays_no_run() {
    let site = Site::builder().mariadb().start();
    let (slow, hook) = (Receiver::start(0), Receiver::start(200));
    let runner = Runner::builder(&site)
        .table(&format!("[[alert]]\nwebhook = \"{}\"\n{FAST}", slow.url("/")))
        .table(&format!("[[alert]]\nwebhook = \"{}\"\nevery = \"1h\"", hook.url("/")))
        .start();
    let at = unix_now() + 1;
    let mut events: Vec<_> = (0..30).map(|number| (at, "fx_exception", json!([number]))).collect();
    events.extend((0..30).map(|number| (at + 1 + number / 10, "fx_ok", json!([number]))));
    site.schedule(&events);
    wait_for("all of them", secs(30), || (site.ledger().ends("fx_ok").len() == 30).then_some(()));
    let told = wait_for("the one message", secs(15), || hook.asked().first().cloned());
    let body: Value = serde_json::from_str(&told.body).expect("JSON");
    let events = body["events"].as_array().expect("events").len();
    assert!(events == 20 && body["more"].as_u64().is_some_and(|more| more > 0), "{body}");
    assert!(
        body["text"].as_str().is_some_and(|text| text.contains("more: `wp-cron-runner history --failed`")),
        "{body}"
    );
    wait_for("all records", secs(10), || (runner.history_of("fx_exception").len() == 30).then_some(()));
    assert_eq!(hook.asked().len(), 1, "the rest waits for its hour");
}

#[test]
fn what_died_with_its_runner_is_told_by_the_next_one_and_what_waits_too() {
    let site = Site::builder().sqlite().start();
    let hook = Receiver::start(200);
    let table = format!("[[alert]]\nwebhook = \"{}\"\nlate = \"2s\"\n{FAST}", hook.url("/"));
    let mut runner = Runner::builder(&site).table(&table).start();
    site.schedule_in(0, "fx_sleep", &json!([300]));
    let pid = wait_for("its beginning", secs(15), || site.ledger().begins("fx_sleep").first().map(|line| line.pid));
    runner.kill();
    site.php_fpm.kill_worker(pid);
    runner.start();
    let told = wait_for("its death", secs(20), || hook.event("interrupted", "fx_sleep"));
    assert!(told["text"].as_str().is_some_and(|text| text.contains("held")), "{told}");

    // Nothing can be started: that is late, and is over when it can.
    std::fs::write(site.path.join(".maintenance"), "<?php $upgrading = time();").expect(".maintenance");
    account::give_to(account::SITE, &site.path.join(".maintenance"));
    site.sql("UPDATE wp_options SET option_value = option_value WHERE option_name = 'cron'");
    let late = wait_for("its lateness", secs(90), || {
        hook.events().into_iter().find(|event| event["what"] == "late" && event["hook"].is_null())
    });
    assert!(late["text"].as_str().is_some_and(|text| text.contains("maintenance")), "{late}");
    std::fs::remove_file(site.path.join(".maintenance")).expect("its end");
    wait_for("its end", secs(90), || {
        hook.events().into_iter().find(|event| event["what"] == "recovered" && event["hook"].is_null())
    });
}

/// Two jobs and one place.
#[test]
fn a_job_that_is_held_back_is_late_for_those_who_wait_no_longer() {
    let site = Site::builder().sqlite().start();
    let (soon, patient) = (Receiver::start(200), Receiver::start(200));
    let on = "on = [\"late\", \"recovered\"]";
    let job = |name: &str, script: &str| {
        format!("[[job]]\nname = \"{name}\"\nschedule = \"@reboot\"\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n")
    };
    let go = site.dir.join("go");
    let dead = |port| format!("webhook = \"http://127.0.0.1:{port}/secret-path\"\nlate = \"2s\"");
    let mut runner = Runner::builder(&site)
        .runner_line("max_parallel = 1")
        .table(&format!("[[alert]]\non = [\"late\"]\njob = \"*\"\n{}\n{FAST}", dead(1)))
        .table(&format!("[[alert]]\non = [\"late\"]\njob = \"*\"\n{}\n{FAST}", dead(2)))
        .table(&format!("[[alert]]\n{on}\nwebhook = \"{}\"\nlate = \"2s\"\n{FAST}", soon.url("/")))
        .table(&format!("[[alert]]\n{on}\nwebhook = \"{}\"\nlate = \"1h\"\n{FAST}", patient.url("/")))
        .table(&job("a-first", &format!("until test -e {}; do sleep 0.1; done", go.display())))
        .table(&job("b-second", "exit 1"))
        .start();
    runner.stop();
    runner.forget_boot();
    runner.start();
    let waits = wait_for("word of what waits", secs(30), || soon.event("late", "b-second"));
    assert!(waits["run"].is_null() && waits["late_ms"].as_i64().is_some_and(|ms| ms >= 2000), "{waits}");
    assert!(waits["text"].as_str().is_some_and(|text| text.contains("was not started")), "{waits}");

    std::fs::write(&go, "").expect("a file");
    wait_for("the end of that", secs(30), || soon.event("recovered", "b-second"));
    wait_for("the run, which failed, and began late", secs(30), || {
        soon.events().into_iter().find(|event| event["what"] == "late" && !event["run"].is_null())
    });
    assert!(patient.asked().is_empty(), "{:?}", patient.asked());

    // What nobody takes is not dropped without a word: neither with its [[alert]] nor with the runner.
    let log_of = |runner: &Runner| {
        let log = runner.log();
        assert!(!log.contains("secret-path"), "{log}");
        log
    };
    let lost = |runner: &Runner| log_of(runner).matches("an alert is lost: webhook http://127.0.0.1/...").count();
    let tried = |log: &str| log.matches("did not take an alert").count() >= 2;
    wait_for("the first trials", secs(15), || tried(&log_of(&runner)).then_some(()));
    assert_eq!(lost(&runner), 0, "{}", runner.log());
    runner.rewrite_config(|text| text.replace(&dead(1), &dead(1).replace("2s", "3s")));
    runner.reload();
    wait_for("the one whose table is another now", secs(15), || (lost(&runner) == 1).then_some(()));
    runner.stop();
    assert_eq!(lost(&runner), 2, "{}", runner.log());
}

#[test]
fn a_destination_that_fails_is_said_without_its_address() {
    let site = Site::builder().sqlite().start();
    let hook = Receiver::start(410);
    let runner = Runner::builder(&site)
        .table(&format!("[[alert]]\nwebhook = \"{}\"", hook.url("/secret-path")))
        .table("[[alert]]\nwebhook = \"http://127.0.0.1:1/secret-path\"")
        .table("[[alert]]\ncommand = [\"/no/such/program\"]")
        .prepare();
    let test = runner.cli(&["alert", "test"]);
    assert_eq!(test.code(), 69, "{test:?}");
    for words in ["did not take it: HTTP 410", "refused", "it cannot be started: No such file"] {
        assert!(test.stdout.contains(words), "{words}: {test:?}");
    }
    let json = runner.cli(&["alert", "test", "--json"]);
    assert!(json.json().as_array().is_some_and(|list| list.len() == 3 && list.iter().all(|one| one["ok"] == false)));
    assert!(!format!("{test:?}{json:?}").contains("secret-path"), "{test:?}");
    runner.rewrite_config(|text| text[..text.find("[[alert]]").expect("an alert")].to_owned());
    let none = runner.cli(&["alert", "test"]);
    assert!(none.code() == 78 && none.stderr.contains("nobody is to be told"), "{none:?}");
}
