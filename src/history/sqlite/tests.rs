use super::*;
use crate::history::Filter;
use crate::outcome::{Outcome, Then};

fn limits(age_s: u64, size: u64) -> config::History {
    config::History { age: Duration::from_secs(age_s), size }
}

fn record(run: &str, ended_ms: i64) -> RunRecord {
    RunRecord {
        run: run.into(),
        site: "shop".into(),
        blog: 1,
        hook: "wc_import".into(),
        job: None,
        key: "k".into(),
        schedule: None,
        due: ended_ms / 1000 - 1,
        started_ms: Some(ended_ms - 20),
        ended_ms: Some(ended_ms),
        lateness_ms: Some(12),
        ms: Some(20),
        outcome: Outcome::Failed,
        then: Then::Held,
        reason: None,
        note: Some("exit".into()),
        error: Some(crate::protocol::Error { message: "boom".into(), file: Some("a.php".into()), line: Some(3) }),
        output: Some("warning".into()),
        output_dropped: 9,
        peak_memory: Some(2),
        queries: Some(3),
        host: Some("h".into()),
        pid: Some(7),
        trigger: Some("fastcgi".into()),
        batch: Some("b".into()),
    }
}

fn all(path: &Path) -> Vec<RunRecord> {
    Reader::open(path).unwrap().runs(&Filter { limit: 100_000, ..Filter::default() }).unwrap()
}

#[test]
fn a_run_is_recorded_once_and_only_what_became_of_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    let now = clock::now_ms();
    let history = History::open(&path, &limits(86_400, 1_000_000)).unwrap();
    history.record(record("A", now));
    let again = RunRecord { then: Then::Requeued, output: None, outcome: Outcome::Ok, ..record("A", now) };
    history.record(again);
    history.learn("shop", "install", "abc".into());
    drop(history);
    assert_eq!(all(&path), [RunRecord { then: Then::Requeued, ..record("A", now) }]);
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.last_ended("shop").unwrap(), Some(now));
    assert_eq!(reader.last_ended("other").unwrap(), None);
    assert_eq!(reader.fact("shop", "install").unwrap().as_deref(), Some("abc"));
    assert!(reader.find("A").unwrap().is_some() && reader.find("B").unwrap().is_none());
}

#[test]
fn filters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    let now = clock::now_ms();
    let history = History::open(&path, &limits(86_400, 1_000_000)).unwrap();
    history.record(record("A", now - 5000));
    history.record(RunRecord { outcome: Outcome::Ok, then: Then::None, ..record("B", now - 4000) });
    history.record(RunRecord { site: "blog".into(), then: Then::Dropped, ..record("C", now - 3000) });
    drop(history);
    let reader = Reader::open(&path).unwrap();
    let found = |filter: Filter| -> String {
        reader.runs(&Filter { limit: 10, ..filter }).unwrap().into_iter().map(|record| record.run).collect()
    };
    assert_eq!(found(Filter::default()), "CBA");
    assert_eq!(found(Filter { failed: true, ..Filter::default() }), "CA");
    assert_eq!(found(Filter { held: true, ..Filter::default() }), "A");
    assert_eq!(found(Filter { site: Some("shop".into()), ..Filter::default() }), "BA");
    assert_eq!(found(Filter { since_ms: Some(now - 4500), ..Filter::default() }), "CB");
}

#[test]
fn old_runs_are_forgotten_by_age_and_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    let now = clock::now_ms();
    let mut connection = open(&path).unwrap();
    let transaction = connection.transaction().unwrap();
    for number in 0..3000_i64 {
        let big = RunRecord {
            output: Some("x".repeat(1000)),
            ..record(&format!("{number:05}"), now - 3_000_000 + number * 1000)
        };
        insert(&transaction, &big).unwrap();
    }
    transaction.commit().unwrap();
    prune(&connection, &limits(2000, 100_000_000), now).unwrap();
    assert_eq!(all(&path).len(), 2000);
    prune(&connection, &limits(2000, 1_000_000), now).unwrap();
    let left = all(&path);
    assert!(left.len() > 300 && left.len() < 1000, "{}", left.len());
    assert_eq!(left[0].run, "02999");
    assert!(std::fs::metadata(&path).unwrap().len() < 1_500_000);
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = History::open(&path, &limits(1, 1)).unwrap_err().to_string();
    assert!(refused.contains("version 99") && refused.contains("newer"), "{refused}");
    assert!(Reader::open(&path).is_err());
}

#[test]
fn a_file_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    let now = clock::now_ms();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(MIGRATIONS[0]).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    for (run, ended_ms) in [("B", now), ("A", now - 5)] {
        let sql = "INSERT INTO runs (run, site, blog, hook, key, due, ended_ms, outcome, then_) VALUES (?1, 'shop', 1, 'h', '', 0, ?2, 'ok', 'none')";
        connection.execute(sql, params![run, ended_ms]).unwrap();
    }
    drop(connection);
    assert_eq!(all(&path).len(), 2, "whoever only reads changes nothing");
    let reader = Reader::open(&path).unwrap();
    assert_eq!((reader.points(Some("shop"), 0).unwrap().len(), reader.deploys(5).unwrap().len()), (2, 0));
    drop(reader);
    let history = History::open(&path, &limits(86_400, 1_000_000)).unwrap();
    history.record(record("C", now));
    drop(history);
    let reader = Reader::open(&path).unwrap();
    assert_eq!((all(&path).len(), reader.unsent(0, 10).unwrap().len()), (3, 0), "nobody is there to be told");
}

#[tokio::test]
async fn what_others_are_to_be_told_is_noted_until_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    let now = clock::now_ms();
    let waiting = || {
        let unsent = Reader::open(&path).unwrap().unsent(0, 10).unwrap();
        unsent
            .iter()
            .map(|(number, record)| format!("{number}{}{}", record.run, record.then.word()))
            .collect::<Vec<_>>()
    };
    let history = History::open(&path, &limits(86_400, 1_000_000)).unwrap();
    history.record(record("B", now));
    history.record(record("A", now - 5));
    let news = history.share();
    history.record(record("C", now));
    history.record(record("C", now));
    history.record(RunRecord { then: Then::Dropped, ..record("A", now) });
    history.written().await;
    news.notified().await;
    assert_eq!(
        waiting(),
        ["1Adropped", "2Bheld", "3Cheld", "4Adropped"],
        "as they are now, and nothing that is no news"
    );
    history.sent(3);
    drop(history);
    assert_eq!(waiting(), ["4Adropped"]);
    // All that was there before is noted once, and a number never comes again.
    let history = History::open(&path, &limits(86_400, 1_000_000)).unwrap();
    history.share();
    history.sent(4);
    history.record(record("D", now));
    drop(history);
    assert_eq!(waiting(), ["5Dheld"]);
    let connection = open(&path).unwrap();
    prune(&connection, &limits(0, 1_000_000), now + 1).unwrap();
    let left: i64 = connection.query_row("SELECT count(*) FROM unsent", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "what is forgotten is not sent");
}

#[test]
fn what_cannot_be_written_waits_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    let history = History::open(&path, &limits(86_400, 1_000_000)).unwrap();
    let blocker = Connection::open(&path).unwrap();
    blocker.execute_batch("ALTER TABLE runs RENAME TO hidden").unwrap();
    history.record(record("A", clock::now_ms()));
    let until = Instant::now() + Duration::from_secs(10);
    while history.trouble().is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(history.trouble().unwrap().contains("cannot be written"));
    blocker.execute_batch("ALTER TABLE hidden RENAME TO runs").unwrap();
    while history.trouble().is_some() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((history.trouble(), all(&path).len()), (None, 1));
}

#[test]
fn no_file_is_an_empty_history() {
    assert!(all(Path::new("/nonexistent/history.sqlite")).is_empty());
}

#[test]
fn the_last_deployment_stays_however_old_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    let now = clock::now_ms();
    let history = History::open(&path, &limits(86_400, 1_000_000)).unwrap();
    for at_ms in [now - 9, now - 5, now - 7] {
        history.mark(Deploy { at_ms, note: format!("{}", now - at_ms), host: "web-1".into() });
    }
    drop(history);
    let notes = || -> Vec<String> {
        Reader::open(&path).unwrap().deploys(2).unwrap().into_iter().map(|deploy| deploy.note).collect()
    };
    assert_eq!(notes(), ["5", "7"]);
    prune(&open(&path).unwrap(), &limits(86_400, 1_000_000), now + 2 * 86_400_000).unwrap();
    assert_eq!(notes(), ["5"]);
}

#[test]
fn a_report_asks_by_hook_outcome_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    let now = clock::now_ms();
    let history = History::open(&path, &limits(86_400, 1_000_000)).unwrap();
    for (run, hook, outcome, ago) in
        [("A", "x", Outcome::Ok, 30), ("B", "x", Outcome::Failed, 20), ("C", "y", Outcome::TimedOut, 10)]
    {
        history.record(RunRecord { hook: hook.into(), outcome, ..record(run, now - ago) });
    }
    drop(history);
    let reader = Reader::open(&path).unwrap();
    let ids = |filter: Filter| -> String {
        let runs = reader.runs(&Filter { limit: 9, ..filter }).unwrap();
        runs.into_iter().map(|run| run.run).collect()
    };
    assert_eq!(ids(Filter { hook: Some("x".into()), ..Filter::default() }), "BA");
    assert_eq!(ids(Filter { outcome: Some(Outcome::TimedOut), ..Filter::default() }), "C");
    assert_eq!(ids(Filter { until_ms: Some(now - 20), ..Filter::default() }), "A");
    assert_eq!(
        ids(Filter { since_ms: Some(now - 20), hook: Some("x".into()), failed: true, ..Filter::default() }),
        "B"
    );
    assert_eq!(ids(Filter { hook: Some("' OR 1=1 --".into()), ..Filter::default() }), "");
    let points = reader.points(None, now - 20).unwrap();
    assert_eq!(points.iter().map(|point| point.hook.as_str()).collect::<String>(), "yx");
}
