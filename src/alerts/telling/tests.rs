use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use reqwest::Url;

use super::*;
use crate::alerts::message::Told;
use crate::config::{On, Ping};

fn to(to: To) -> Arc<Alert> {
    let (late, every) = (Duration::from_secs(300), Duration::from_secs(300));
    Arc::new(Alert { on: On::ALL.to_vec(), to, site: None, hook: None, job: None, late, every })
}

fn webhook() -> Telling {
    telling(To::Webhook("https://hooks.example/T0/secret".parse().unwrap()))
}

fn telling(whom: To) -> Telling {
    Telling::new(to(whom), "r".into(), Arc::default(), Arc::default())
}

fn failed(words: &str) -> News {
    News { on: Some(On::Failed), words: words.into(), ..News::default() }
}

fn ping(job: &str, run: &str, told: Told) -> News {
    News { job: Some(job.into()), run: Some(run.into()), ping: Some(told), ..News::default() }
}

fn words(telling: &Telling) -> Vec<&str> {
    telling.waiting.iter().map(|news| news.words.as_str()).collect()
}

fn told(telling: &Telling) -> Vec<(&str, Option<Told>)> {
    telling.waiting.iter().map(|news| (news.run.as_deref().unwrap(), news.ping)).collect()
}

fn in_seconds(telling: &Telling) -> u64 {
    (telling.at.unwrap() - Instant::now()).as_secs_f64().round() as u64
}

/// What `send` leaves of a message that was not taken.
fn tried(mut message: Message) -> Message {
    message.news.iter_mut().for_each(|news| news.trials += 1);
    message
}

/// What comes at once is one message, and the next one waits its time.
#[test]
fn a_storm_is_a_few_messages() {
    let mut telling = webhook();
    (0..5000).for_each(|_| telling.note(failed("x")));
    assert_eq!((telling.waiting.len(), telling.more), (WAITING, 4000));
    telling.refused.store(7, Ordering::Relaxed);
    assert_eq!(telling.message().more, 4007, "what found no room on the way is counted as well");
    assert_eq!(telling.message().more, 0);
    (telling.at, telling.sent) = (None, Some(Instant::now()));
    telling.note(failed("x"));
    assert_eq!(in_seconds(&telling), 300);
}

#[test]
fn what_was_not_taken_goes_with_what_came_meanwhile_and_is_lost_by_itself() {
    let mut telling = webhook();
    telling.note(failed("old"));
    for pause in [5, 30, 120] {
        let message = telling.message();
        telling.not_taken(tried(message), "why", false);
        assert_eq!(in_seconds(&telling), pause);
    }
    telling.note(failed("new"));
    assert_eq!((words(&telling), in_seconds(&telling)), (vec!["old", "new"], 120));
    let message = telling.message();
    telling.not_taken(tried(message), "why", false);
    assert_eq!((words(&telling), in_seconds(&telling)), (vec!["new"], 5), "it was tried once");
    let message = telling.message();
    telling.not_taken(tried(message), "why", true);
    assert!(telling.waiting.is_empty() && telling.at.is_none());
}

/// A start that was not taken is nothing once the run has ended.
#[test]
fn the_last_word_of_a_run_is_its_end() {
    let mut telling = telling(To::Ping(Ping::default()));
    telling.note(ping("a", "01", Told::Start));
    let message = telling.message();
    telling.note(ping("a", "01", Told::Success));
    telling.not_taken(tried(message), "why", false);
    assert_eq!(told(&telling), [("01", Some(Told::Success))]);
    (0..WAITING).for_each(|run| telling.note(ping("a", &run.to_string(), Told::Fail)));
    assert_eq!(telling.waiting.len(), WAITING);
    assert_eq!(told(&telling).last(), Some(&("999", Some(Told::Fail))), "the newest is the one that counts");
}

/// Answers one request with each of these, and gives the paths.
fn receiver(statuses: Vec<u16>) -> (Url, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let asked = std::thread::spawn(move || {
        let answer = |status| {
            let mut stream = listener.accept().unwrap().0;
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
            let first = lines.next().unwrap();
            lines.find(String::is_empty).unwrap();
            write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            first.split(' ').nth(1).unwrap().to_string()
        };
        statuses.into_iter().map(answer).collect()
    });
    (url, asked)
}

#[tokio::test]
async fn a_ping_that_was_taken_is_not_sent_again_and_the_order_stays() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (url, asked) = receiver(vec![200, 503, 200, 200, 200]);
    let to = To::Ping(Ping {
        start: url.join("start").ok(),
        fail: url.join("fail").ok(),
        success: url.join("success").ok(),
    });
    let news = vec![
        ping("a", "01", Told::Success),
        ping("b", "02", Told::Fail),
        ping("b", "03", Told::Success),
        ping("c", "04", Told::Start),
    ];
    let mut message = Message { runner: "r".into(), news, more: 0, is_test: false };
    assert!(send(&to, &mut message).await.is_err_and(|why| why.contains("503")));
    let left: Vec<_> = message.news.iter().map(|news| (news.run.as_deref().unwrap(), news.trials)).collect();
    assert_eq!(left, [("02", 1), ("03", 0)]);
    assert_eq!(send(&to, &mut message).await, Ok(()));
    assert!(message.news.is_empty());
    assert_eq!(asked.join().unwrap(), ["/success", "/fail", "/start", "/fail", "/success"]);
}

/// A command that takes nothing before there is a file `good`.
fn command(folder: &std::path::Path) -> To {
    let script = "cd \"$0\"; test -e good && exec cat >> told; touch tried; exit 1".to_string();
    To::Command(vec!["/bin/sh".into(), "-c".into(), script, folder.display().to_string()])
}

async fn until(path: &std::path::Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_end_does_not_wait_for_the_next_trial_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(10);
    let mut telling = telling(command(folder.path()));
    telling.note(failed("the first"));
    telling.at = Some(Instant::now());
    let task = tokio::spawn(telling.work(receiver));
    until(&folder.path().join("tried")).await;
    std::fs::write(folder.path().join("good"), "").unwrap();
    sender.send(Box::new(failed("the second"))).await.unwrap();
    drop(sender);
    task.await.unwrap();
    let told = std::fs::read_to_string(folder.path().join("told")).unwrap();
    assert!(told.contains("the first") && told.contains("the second"), "{told}");
}

#[tokio::test]
async fn the_end_waits_for_an_answer_but_not_for_ever() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let mut telling = telling(To::Webhook(url));
    let (sender, mut receiver) = tokio::sync::mpsc::channel(10);
    telling.note(failed("x"));
    drop(sender);
    telling.end = Some(Instant::now() + Duration::from_millis(50));
    telling.send_all(&mut receiver).await;
    assert!(telling.waiting.is_empty() && telling.sent.is_some(), "it is lost, and that was said");
}
