use super::*;
use crate::site::Running;

const T: i64 = 1_700_000_000_000;

fn running(run: &str) -> Running {
    Running { run: run.into(), hook: "job backup".into(), started: String::new(), pid: None, host: None, overdue: None }
}

fn job() -> JobView {
    JobView {
        job: "backup".into(),
        site: None,
        state: "ok",
        runner: Some("web-1".into()),
        is_ours: true,
        has_lease: true,
        message: None,
        next: Some(clock::rfc3339(T)),
        schedule: "* * * * *".into(),
        timezone: "UTC".into(),
        paused: false,
        paused_until: None,
        running: None,
        last: None,
        work: "command",
    }
}

fn published(job: JobView) -> Published {
    Published { jobs: vec![job], ..Published::default() }
}

#[test]
fn a_job_whose_time_has_come_waits_whatever_holds_it_back() {
    let why = |job: JobView| Seen::default().waits(&published(job), T).pop().map(|wait| (wait.since_ms, wait.why));
    let redis = JobView { state: "paused", runner: None, message: Some("Redis is gone".into()), ..job() };
    assert_eq!(why(redis), Some((T, "Redis is gone".into())));
    let locked = JobView { state: "standby", message: Some("another process has its lock".into()), ..job() };
    assert_eq!(why(locked), Some((T, "another process has its lock".into())));
    assert_eq!(why(job()), Some((T, "its time has come, and it was not started".into())), "no place, or a full disk");
    let queued = JobView { running: Some(running("01")), ..job() };
    assert_eq!(why(queued), Some((T, "its time has come, and run 01 goes on".into())));
    let others = JobView { state: "standby", is_ours: false, ..job() };
    let paused = JobView { state: "paused", paused: true, ..job() };
    let nothing = [others, paused, JobView { state: "removed", ..job() }, JobView { next: None, ..job() }];
    assert!(nothing.into_iter().all(|job| why(job).is_none()));
}

#[test]
fn a_job_that_nobody_can_end_is_overdue_once() {
    let mut seen = Seen::default();
    let mut left = running("01");
    assert_eq!(seen.look(&published(JobView { running: Some(left.clone()), ..job() }), T).len(), 1, "it began");
    left.overdue = Some("its process lives".into());
    let all = published(JobView { running: Some(left), ..job() });
    let news = seen.look(&all, T).pop().expect("news");
    assert_eq!((news.on, news.job.as_deref(), news.ping), (Some(crate::config::On::Overdue), Some("backup"), None));
    assert_eq!(news.words, "job backup is over its time limit and could not be ended: its process lives");
    assert!(seen.look(&all, T).is_empty());
}

/// The history has the end of a run before the scheduler shows it.
#[test]
fn no_run_begins_after_its_end() {
    let mut seen = Seen::default();
    let (idle, shown) = (published(job()), published(JobView { running: Some(running("01")), ..job() }));
    seen.ended("01", T);
    assert!(seen.look(&idle, T).is_empty() && seen.look(&shown, T + 1000).is_empty());
    assert!(seen.look(&shown, T + 100_000).is_empty() && !seen.ended.is_empty(), "it is still shown");
    assert!(seen.look(&idle, T + 100_000).is_empty() && seen.ended.is_empty(), "nothing is kept for ever");
}

/// A host that was away shows times that the other one dealt with.
#[test]
fn a_job_waits_from_when_that_is_seen() {
    let mut seen = Seen::default();
    let mut since = |next, now| {
        let view = JobView { next: Some(clock::rfc3339(next)), ..job() };
        seen.waits(&published(view), now).first().map(|wait| wait.since_ms)
    };
    let day = 86_400_000;
    assert_eq!(since(T - day, T), Some(T));
    assert_eq!(since(T - day, T + 5000), Some(T), "and goes on from then");
    assert_eq!(since(T + 3000, T + 5000), Some(T + 5000), "another time");
    assert_eq!(since(T + 9000, T + 6000), None);
    assert_eq!(since(T + 3000, T + 7000), Some(T + 7000));
}
