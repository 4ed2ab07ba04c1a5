use super::*;
use crate::config::Ping;
use crate::outcome::Outcome;

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

fn kinds(news: &[News]) -> Vec<Option<On>> {
    news.iter().map(|news| news.on).collect()
}

#[test]
fn what_failed_is_told_each_time_and_recovers_once() {
    let mut watch = Watch::new(Some(300_000), std::iter::empty());
    assert_eq!(kinds(&watch.ended(&ended(Outcome::Ok), T)), [None]);
    assert_eq!(kinds(&watch.ended(&ended(Outcome::TimedOut), T)), [Some(On::Failed)]);
    assert_eq!(kinds(&watch.ended(&ended(Outcome::Interrupted), T)), [Some(On::Interrupted)]);
    assert!(watch.ended(&ended(Outcome::Skipped), T).is_empty(), "it says nothing of the hook");
    let other = Ended { hook: Some("other".into()), ..ended(Outcome::Ok) };
    assert_eq!(kinds(&watch.ended(&other, T)), [None]);
    assert_eq!(kinds(&watch.ended(&ended(Outcome::Ok), T)), [Some(On::Recovered)]);
    assert_eq!(kinds(&watch.ended(&ended(Outcome::Ok), T)), [None]);
    let mut after_a_restart = Watch::new(None, std::iter::once(ended(Outcome::Failed)));
    assert_eq!(kinds(&after_a_restart.ended(&ended(Outcome::Ok), T)), [Some(On::Recovered)]);
    assert!(watch.ended(&ended(Outcome::Failed), T + 2 * 3_600_000).is_empty(), "old news");
}

#[test]
fn lateness_is_told_of_a_start_and_of_what_is_not_started() {
    let mut watch = Watch::new(Some(300_000), std::iter::empty());
    let late = Ended { lateness_ms: Some(300_000), ..ended(Outcome::Ok) };
    assert_eq!(kinds(&watch.ended(&late, T)), [None, Some(On::Late)]);
    let waits = Some((T, "an event is due"));
    assert_eq!(watch.waits("shop", waits, T + 299_999), None);
    let news = watch.waits("shop", waits, T + 300_000).unwrap();
    assert_eq!((news.on, news.late_ms), (Some(On::Late), Some(300_000)));
    assert_eq!(news.words, "an event is due (for 5 min)");
    assert_eq!(watch.waits("shop", waits, T + 400_000), None, "once");
    assert_eq!(watch.waits("shop", None, T + 400_000).unwrap().on, Some(On::Recovered));
    assert_eq!(watch.waits("shop", None, T + 400_000), None);
}

#[test]
fn each_hears_what_he_asked_for() {
    let mut watch = Watch::new(Some(1000), std::iter::empty());
    let failed = watch.ended(&ended(Outcome::Failed), T).remove(0);
    let late = News { on: Some(On::Late), late_ms: Some(200_000), ..failed.clone() };
    let job = News { job: Some("nightly-export".into()), hook: None, ..failed.clone() };
    assert!(alert(&On::ALL).is_for(&failed) && !alert(&[On::Late]).is_for(&failed));
    assert!(!alert(&On::ALL).is_for(&late), "not late enough for this one");
    let of = |site: Option<&str>, hook: Option<&str>, job: Option<&str>| {
        let word = |word: Option<&str>| word.map(str::to_string);
        Alert { site: word(site), hook: word(hook), job: word(job), ..alert(&On::ALL) }
    };
    assert!(of(Some("sh*"), None, None).is_for(&failed) && !of(Some("blog"), None, None).is_for(&failed));
    assert!(of(None, Some("wc_*"), None).is_for(&failed) && !of(None, Some("wc_*"), None).is_for(&job));
    assert!(of(None, None, Some("nightly-*")).is_for(&job) && !of(None, None, Some("nightly-*")).is_for(&failed));
    let ping = Alert { to: To::Ping(Ping::default()), ..alert(&[]) };
    let began = Watch::started("shop", Some("wc_import"), None, "01", T);
    assert!(ping.is_for(&began) && ping.is_for(&failed) && !ping.is_for(&News { ping: None, ..late }));
    assert!(!alert(&On::ALL).is_for(&began));
}

#[test]
fn a_message_is_for_people_and_programs() {
    let mut watch = Watch::new(None, std::iter::empty());
    let news = watch.ended(&ended(Outcome::Failed), T).remove(0);
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

/// What comes at once is one message, and the next one waits its time.
#[test]
fn a_storm_is_a_few_messages() {
    let mut telling = Telling::new(Arc::new(alert(&On::ALL)), "r".into());
    let mut watch = Watch::new(None, std::iter::empty());
    let news = watch.ended(&ended(Outcome::Failed), T).remove(0);
    for _ in 0..5000 {
        telling.note(news.clone());
    }
    assert_eq!((telling.waiting.len(), telling.more), (WAITING, 4000));
    telling.waiting.clear();
    (telling.at, telling.sent) = (None, Some(Instant::now()));
    telling.note(news);
    assert!(telling.at.unwrap() > Instant::now() + Duration::from_secs(290));
}
