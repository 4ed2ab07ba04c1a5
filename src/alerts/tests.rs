use std::time::Duration;

use super::*;
use crate::config::Ping;
use crate::outcome::Outcome;
use crate::site::Running;

const T: i64 = 1_700_000_000_000;

fn alert(on: &[On]) -> Alert {
    let url = "https://hooks.example/T0/secret".parse().unwrap();
    let (late, every) = (Duration::from_secs(300), Duration::from_secs(300));
    Alert { on: on.to_vec(), to: To::Webhook(url), site: None, hook: None, job: None, late, every }
}

fn ended(outcome: Outcome) -> Ended {
    Ended {
        site: "shop".into(),
        hook: Some("wc_import".into()),
        job: None,
        run: "01".into(),
        outcome,
        lateness_ms: Some(5),
        ended_ms: T,
        words: format!("wc_import {}", outcome.word()),
    }
}

fn running() -> Running {
    Running { run: "01".into(), hook: "wc_import".into(), started: String::new(), pid: None, host: None, overdue: None }
}

fn on(news: Option<News>) -> Option<Option<On>> {
    news.map(|news| news.on)
}

#[test]
fn what_failed_is_told_each_time_and_recovers_once() {
    let mut watch = Watch::new(std::iter::empty());
    assert_eq!(on(watch.ended(&ended(Outcome::Ok), T)), Some(None));
    assert_eq!(on(watch.ended(&ended(Outcome::TimedOut), T)), Some(Some(On::Failed)));
    assert_eq!(on(watch.ended(&ended(Outcome::Interrupted), T)), Some(Some(On::Interrupted)));
    assert!(watch.ended(&ended(Outcome::Skipped), T).is_none(), "it says nothing of the hook");
    let other = Ended { hook: Some("other".into()), ..ended(Outcome::Ok) };
    assert_eq!(on(watch.ended(&other, T)), Some(None));
    assert_eq!(on(watch.ended(&ended(Outcome::Ok), T)), Some(Some(On::Recovered)));
    assert_eq!(on(watch.ended(&ended(Outcome::Ok), T)), Some(None));
    let mut after_a_restart = Watch::new(std::iter::once(ended(Outcome::Failed)));
    assert_eq!(on(after_a_restart.ended(&ended(Outcome::Ok), T)), Some(Some(On::Recovered)));
    assert!(watch.ended(&ended(Outcome::Failed), T + 2 * 3_600_000).is_none(), "old news");
}

#[test]
fn a_run_that_began_late_is_late_whatever_became_of_it() {
    let heard = |on_what: &[On], outcome, ms| {
        let late = Ended { lateness_ms: Some(ms), ..ended(outcome) };
        let news = Watch::new(std::iter::empty()).ended(&late, T).expect("news");
        on(alert(on_what).hears(&news)).flatten()
    };
    assert_eq!(heard(&[On::Late], Outcome::Ok, 300_000), Some(On::Late));
    assert_eq!(heard(&[On::Late], Outcome::Ok, 299_999), None);
    assert_eq!(heard(&[On::Late], Outcome::Failed, 300_000), Some(On::Late));
    assert_eq!(heard(&On::ALL, Outcome::Failed, 300_000), Some(On::Failed), "once, and the worse of the two");
}

fn wait(job: Option<&str>) -> Wait {
    Wait { site: "shop".into(), job: job.map(str::to_string), since_ms: T, why: "an event is due".into() }
}

#[test]
fn what_is_not_started_is_told_once_and_so_is_its_end() {
    let mut late = Late::new(300_000);
    assert_eq!(late.look(&[wait(None)], T + 299_999), []);
    let news = late.look(&[wait(None)], T + 300_000);
    assert_eq!((news.len(), news[0].on, news[0].late_ms), (1, Some(On::Late), Some(300_000)));
    assert_eq!(news[0].words, "an event is due (for 5 min)");
    let job = late.look(&[wait(None), wait(Some("backup"))], T + 400_000);
    assert_eq!((job.len(), job[0].job.as_deref()), (1, Some("backup")), "a job of the site is another thing");
    let over = late.look(&[wait(Some("backup"))], T + 400_000);
    assert_eq!((over.len(), over[0].on, over[0].job.as_deref()), (1, Some(On::Recovered), None));
    assert_eq!(late.look(&[wait(Some("backup"))], T + 400_000), []);
}

/// Each has its own `late`; the end is for those who heard of the beginning.
#[tokio::test]
async fn each_hears_of_what_waits_after_his_own_time() {
    let after = |late| Alert { late: Duration::from_secs(late), ..alert(&[On::Late, On::Recovered]) };
    let mut alerts = Alerts::new("r", &Arc::default());
    let mut heard: Vec<_> = [300, 3600, 7200]
        .map(|late| {
            let (destination, receiver) = Destination::new(Arc::new(after(late)));
            alerts.destinations.push(destination);
            receiver
        })
        .into();
    let mut look = |waits: &[Wait], at| {
        alerts.tell_of_waits(waits, at);
        heard.iter_mut().map(|receiver| receiver.try_recv().ok().and_then(|news| news.on)).collect::<Vec<_>>()
    };
    assert_eq!(look(&[wait(None)], T + 300_000), [Some(On::Late), None, None]);
    assert_eq!(look(&[wait(None)], T + 3_600_000), [None, Some(On::Late), None]);
    assert_eq!(look(&[], T + 3_700_000), [Some(On::Recovered), Some(On::Recovered), None]);
}

#[test]
fn each_hears_what_he_asked_for() {
    let mut watch = Watch::new(std::iter::empty());
    let failed = watch.ended(&ended(Outcome::Failed), T).expect("news");
    let job = News { job: Some("nightly-export".into()), hook: None, ..failed.clone() };
    let hears = |alert: &Alert, news: &News| alert.hears(news).is_some();
    assert!(hears(&alert(&On::ALL), &failed) && !hears(&alert(&[On::Late]), &failed));
    let of = |site: Option<&str>, hook: Option<&str>, job: Option<&str>| {
        let word = |word: Option<&str>| word.map(str::to_string);
        Alert { site: word(site), hook: word(hook), job: word(job), ..alert(&On::ALL) }
    };
    assert!(hears(&of(Some("sh*"), None, None), &failed) && !hears(&of(Some("blog"), None, None), &failed));
    assert!(hears(&of(None, Some("wc_*"), None), &failed) && !hears(&of(None, Some("wc_*"), None), &job));
    let nightly = of(None, None, Some("nightly-*"));
    assert!(hears(&nightly, &job) && !hears(&nightly, &failed));
    let ping = Alert { to: To::Ping(Ping::default()), ..alert(&[]) };
    let began = Watch::started("shop", Some("wc_import"), None, &running(), T);
    assert!(hears(&ping, &began) && hears(&ping, &failed));
    assert!(!hears(&ping, &News { ping: None, ..failed }) && !hears(&alert(&On::ALL), &began));
}

#[test]
fn a_message_is_for_people_and_programs() {
    let mut watch = Watch::new(std::iter::empty());
    let news = watch.ended(&ended(Outcome::Failed), T).expect("news");
    let one = Message { runner: "web-1".into(), news: vec![news.clone()], more: 0, is_test: false };
    assert_eq!(one.text(), "WP Cron Runner on web-1: shop: failed: wc_import failed");
    let many = Message { news: vec![news; 25], more: 3, ..one.clone() };
    assert!(many.text().ends_with("and 8 more: `wp-cron-runner history --failed`"), "{}", many.text());
    let json = many.json();
    assert_eq!((json["events"].as_array().unwrap().len(), &json["more"]), (20, &serde_json::json!(8)));
    assert_eq!(json["events"][0]["what"], "failed");
    assert!(json["text"].as_str().unwrap().starts_with("WP Cron Runner on web-1:\nshop: failed"));
    assert!(Message::test("web-1").text().contains("nothing is wrong"));
    assert_eq!(alert(&[]).to.shown(), "webhook https://hooks.example/...");
}

/// Whoever changes one of them loses nothing of the others.
#[tokio::test]
async fn a_reload_leaves_those_alone_that_stay_as_they_are() {
    let (one, other) = (Arc::new(alert(&On::ALL)), Arc::new(alert(&[On::Late])));
    let mut alerts = Alerts::new("r", &Arc::default());
    alerts.load(&[other.clone(), one.clone()]);
    let senders: Vec<_> = alerts.destinations.iter().map(|destination| destination.sender.clone()).collect();
    alerts.tell_of_waits(&[wait(None)], T + 300_000);
    // The same in another place, and one that is new.
    alerts.load(&[Arc::new(Alert::clone(&one)), Arc::new(alert(&[On::Failed]))]);
    assert!(alerts.destinations[0].sender.same_channel(&senders[1]));
    assert!(!alerts.destinations[1].sender.same_channel(&senders[0]));
    assert_eq!(alerts.destinations[0].late.look(&[wait(None)], T + 300_001), [], "and it knows what it was told");
}

#[test]
fn what_finds_no_room_is_counted() {
    let (destination, _receiver) = Destination::new(Arc::new(alert(&On::ALL)));
    let failed = News { on: Some(On::Failed), ..News::default() };
    (0..WAITING + 5).for_each(|_| destination.tell(&failed));
    assert_eq!(destination.refused.load(Ordering::Relaxed), 5);
}
