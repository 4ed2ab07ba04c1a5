//! Against a real redis-server, beside the local history wherever both have to give the same answer.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use crate::history::run_id;
use crate::history::sqlite::{History, Reader};
use crate::outcome::{Outcome, Then};
use crate::protocol::Error;
use crate::redis_link::own_redis::OwnRedis;

fn limits() -> config::History {
    config::History { age: Duration::from_secs(7 * 86_400), size: 200_000_000 }
}

fn shared(redis: &OwnRedis) -> Arc<SharedHistory> {
    Arc::new(SharedHistory::new(&redis.link(), &limits(), 3))
}

fn record(run: &str, site: &str, ended_ms: i64) -> RunRecord {
    RunRecord {
        run: run.into(),
        site: site.into(),
        blog: 1,
        hook: "wc_import".into(),
        job: None,
        key: "k".into(),
        schedule: Some("hourly".into()),
        due: ended_ms / 1000 - 1,
        started_ms: Some(ended_ms - 20),
        ended_ms: Some(ended_ms),
        lateness_ms: Some(12),
        ms: Some(20),
        outcome: Outcome::Failed,
        then: Then::Held,
        reason: Some("r".into()),
        note: Some("exit".into()),
        error: Some(Error { message: "boom".into(), file: Some("a.php".into()), line: Some(3) }),
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

fn bare(run: &str, site: &str) -> RunRecord {
    RunRecord {
        schedule: None,
        started_ms: None,
        ended_ms: None,
        lateness_ms: None,
        ms: None,
        outcome: Outcome::Skipped,
        then: Then::None,
        reason: None,
        note: None,
        error: None,
        output: None,
        output_dropped: 0,
        peak_memory: None,
        queries: None,
        host: None,
        pid: None,
        trigger: None,
        batch: None,
        ..record(run, site, 0)
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn every(site: Option<&str>) -> Filter {
    Filter { site: site.map(str::to_string), limit: 1_000_000, ..Filter::default() }
}

async fn add(shared: &SharedHistory, records: &[RunRecord]) {
    let mut rest = records;
    while !rest.is_empty() {
        let (count, result) = shared.add(rest).await;
        result.unwrap();
        rest = &rest[count..];
    }
}

/// This host's own record, and the way from there to Redis.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("history.sqlite")
    }

    fn open(&self) -> Arc<History> {
        Arc::new(History::open(&self.file(), &limits()).unwrap())
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.file()).unwrap()
    }

    fn waiting(&self) -> usize {
        self.reader().unsent(0, 1_000_000).unwrap().len()
    }
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(15), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Any order of things that a seed makes.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn time(&mut self, most: u64) -> i64 {
        i64::try_from(self.below(most)).unwrap()
    }
}

#[test]
fn a_run_is_the_same_after_its_way_there_and_back() {
    let odd = RunRecord {
        hook: "\u{1b}[31m\u{0}\u{202e} \"é\" 😀 \\".into(),
        error: Some(Error { message: "line\nbreak".into(), file: None, line: None }),
        started_ms: Some(-1),
        ended_ms: Some(i64::MAX),
        due: -62_167_219_200,
        lateness_ms: Some(i64::MIN),
        output_dropped: u64::MAX,
        ..record("A", "shop", 1_700_000_000_001)
    };
    for record in [record("A", "shop", 1_700_000_000_250), bare("A", "shop"), odd] {
        let text = stored::write(&record);
        assert_eq!(stored::read("shop", text.as_bytes()), Some(record.clone()));
        assert_eq!(stored::read("other", text.as_bytes()), None);
        assert_eq!(serde_json::from_value::<RunRecord>(serde_json::to_value(&record).unwrap()).unwrap(), record);
    }
    let text = stored::write(&bare("A", "shop"));
    assert!(text.len() < 200 && !text.contains("null"), "{text}");
    let long = RunRecord { output: Some("é".repeat(5000) + "x"), ..record("A", "shop", 0) };
    let cut = stored::read("shop", stored::write(&long).as_bytes()).unwrap();
    assert_eq!((cut.output.unwrap().len(), cut.output_dropped), (8192, 9 + 10_001 - 8192));
    for text in ["", "{}", "[]", "null", r#"{"run":"A","outcome":"exploded"}"#] {
        assert_eq!(stored::read("shop", text.as_bytes()), None);
    }
}

#[test]
fn as_much_is_kept_as_the_local_history_would_keep_for_that_many_sites() {
    let length = |size: u64, sites: usize| Limits::new(&config::History { size, ..limits() }, sites).length;
    assert_eq!((length(200_000_000, 200), length(200_000_000, 0)), (1000, 100_000));
    assert_eq!((length(1_000_000, 200), length(1_000_000, 2)), (100, 500));
}

/// Whatever was recorded, in whatever order and by whom: both histories say the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_answers_as_the_local_history_does() {
    let (redis, host, mut dice) = (OwnRedis::started(), Host::new(), Dice(42));
    let (shared, sites) = (shared(&redis), names(&["a", "b", "c"]));
    let history = host.open();
    let sending = Sending::begin(&shared, &history, &host.file());
    let now = clock::now_ms();
    let mut runs: Vec<RunRecord> = Vec::new();
    for _ in 0..800 {
        let ended = now - dice.time(86_400_000);
        let then = [Then::None, Then::None, Then::Held, Then::Dropped][dice.below(4) as usize];
        let outcome = [Outcome::Ok, Outcome::Failed, Outcome::Interrupted, Outcome::Skipped][dice.below(4) as usize];
        let site = &sites[dice.below(3) as usize];
        let ended_ms = Some(ended).filter(|_| dice.below(40) > 0);
        runs.push(RunRecord { outcome, then, ended_ms, ..record(&run_id(ended), site, ended) });
        history.record(runs[runs.len() - 1].clone());
        if dice.below(5) == 0 {
            // Something became of an earlier one, or somebody learned of it again; in the journal there is no output.
            let known = &runs[dice.below(runs.len() as u64) as usize];
            let then = [Then::None, Then::Requeued, Then::Dropped][dice.below(3) as usize];
            history.record(RunRecord { then, output: None, output_dropped: 0, ..known.clone() });
        }
        if dice.below(50) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    history.written().await;
    sending.finish().await;
    let local = host.reader();
    let mut asked = 0;
    for site in [None, Some("a"), Some("c"), Some("nobody")] {
        for (failed, held) in [(false, false), (true, false), (false, true), (true, true)] {
            for since in [None, Some(now - 3_600_000), Some(now - 40_000_000), Some(now + 5)] {
                for limit in [0, 1, 150, 10_000] {
                    let filter = Filter { failed, held, since_ms: since, limit, ..every(site) };
                    let (ours, theirs) = (shared.runs(&filter, &sites).await.unwrap(), local.runs(&filter).unwrap());
                    assert_eq!(ours.len(), theirs.len(), "{filter:?}");
                    assert!(ours == theirs, "{filter:?}");
                    asked += usize::from(!ours.is_empty());
                }
            }
        }
    }
    assert!(asked > 100, "{asked}");
    for site in &sites {
        assert_eq!(ended(&shared, site).await, local.last_ended(site).unwrap());
    }
    for run in runs.iter().step_by(97) {
        assert_eq!(shared.find(&run.run, &sites).await.unwrap(), local.find(&run.run).unwrap());
    }
    for run in ["", "short", &run_id(now), &run_id(now + 86_400_000), &run_id(0), &"Z".repeat(26)] {
        assert_eq!(shared.find(run, &sites).await.unwrap(), None, "{run}");
    }
    assert_eq!(shared.unreadable(), 0);
}

/// Two hosts tell of one run: the one that has run it, and one that learned of it when it took the site over.
#[tokio::test]
async fn entries_of_one_run_are_one_run() {
    let redis = OwnRedis::started();
    let (shared, sites, now) = (shared(&redis), names(&["shop"]), clock::now_ms());
    let (one, two, three) = (run_id(now), run_id(now - 5), run_id(now - 9));
    let learned = |run: &RunRecord| RunRecord { output: None, output_dropped: 0, ..run.clone() };
    let first = record(&one, "shop", now);
    let second = RunRecord { outcome: Outcome::Ok, then: Then::None, ..record(&two, "shop", now - 5) };
    let third = record(&three, "shop", now - 9);
    add(&shared, &[learned(&first), second.clone(), first.clone()]).await;
    add(&shared, &[third.clone(), RunRecord { then: Then::Requeued, ..learned(&third) }]).await;
    add(&shared, &[RunRecord { then: Then::None, ..third.clone() }, learned(&second)]).await;
    let third = RunRecord { then: Then::Requeued, ..third };
    assert_eq!(shared.runs(&every(None), &sites).await.unwrap(), [first.clone(), second, third.clone()]);
    let held = Filter { held: true, ..every(None) };
    assert_eq!(shared.runs(&held, &sites).await.unwrap().len(), 1, "requeued is held no more");
    assert_eq!(shared.find(&three, &sites).await.unwrap(), Some(third));
    assert_eq!(shared.find(&one, &sites).await.unwrap(), Some(first));
}

#[tokio::test]
async fn what_another_version_has_written_is_left_out() {
    let redis = OwnRedis::started();
    let (shared, sites, now) = (shared(&redis), names(&["shop", "blog"]), clock::now_ms());
    let id = run_id(now);
    redis.ask(&["XADD", "wpcr:history:shop", "*", "run", "garbage"]);
    redis.ask(&["XADD", "wpcr:history:shop", "*", "v2", "x"]);
    add(&shared, &[record(&id, "shop", now)]).await;
    let later = stored::write(&record(&id, "shop", now)).replace("\"failed\"", "\"exploded\"");
    redis.ask(&["XADD", "wpcr:history:shop", "*", "v", "2", "run", &later]);
    assert_eq!(shared.runs(&every(None), &sites).await.unwrap(), [record(&id, "shop", now)]);
    assert_eq!(shared.unreadable(), 3);
    assert!(shared.find(&id, &sites).await.unwrap().is_some());
    // A field more is no other version.
    let more = stored::write(&record(&id, "shop", now)).replacen('{', r#"{"new":[1],"#, 1);
    redis.ask(&["XADD", "wpcr:history:blog", "*", "run", &more.replace("\"shop\"", "\"blog\"")]);
    assert_eq!(shared.runs(&every(Some("blog")), &sites).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_while_redis_was_away_is_sent_when_it_is_back() {
    let (mut redis, host) = (OwnRedis::new(), Host::new());
    let (shared, sites, now) = (shared(&redis), names(&["shop"]), clock::now_ms());
    let of = |number: i64| record(&run_id(now - 1000 + number), "shop", now - 1000 + number);
    let runs: Vec<RunRecord> = (0..700).map(of).collect();
    let [eight, nine] = [of(800), of(801)];
    // Before anybody shared anything; then with nobody there to send to, and by a runner that was killed.
    let history = host.open();
    runs[..200].iter().for_each(|run| history.record(run.clone()));
    drop(history);
    assert_eq!(host.waiting(), 0, "without [redis] nothing is noted");
    let history = host.open();
    let sending = Sending::begin(&shared, &history, &host.file());
    runs[200..400].iter().for_each(|run| history.record(run.clone()));
    until("a word of trouble", async || shared.trouble().is_some()).await;
    let began = Instant::now();
    sending.finish().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    drop(history);
    assert_eq!(host.waiting(), 400);

    redis.start();
    let history = host.open();
    let sending = Sending::begin(&shared, &history, &host.file());
    runs[400..].iter().for_each(|run| history.record(run.clone()));
    until("all runs", async || shared.runs(&every(None), &sites).await.unwrap().len() == 700).await;
    let newest_first: Vec<RunRecord> = runs.iter().rev().cloned().collect();
    assert_eq!(shared.runs(&every(None), &sites).await.unwrap(), newest_first);
    assert_eq!(redis.ask(&["XLEN", "wpcr:history:shop"]), "700", "each of them once");
    assert_eq!(ended(&shared, "shop").await, runs[699].ended_ms);
    // What becomes of one later is news.
    history.record(RunRecord { then: Then::Requeued, output: None, ..runs[3].clone() });
    let requeued =
        async || shared.find(&runs[3].run, &sites).await.unwrap().is_some_and(|run| run.then == Then::Requeued);
    until("the change", requeued).await;
    assert_eq!((shared.trouble(), redis.ask(&["XLEN", "wpcr:history:shop"]).as_str()), (None, "701"));

    // It hangs: nobody waits for it, and nothing is lost.
    redis.hang();
    history.record(eight.clone());
    until("a word of trouble", async || shared.trouble().is_some()).await;
    history.record(nine.clone());
    let began = Instant::now();
    sending.finish().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    drop(history);
    assert_eq!(host.waiting(), 2, "all else is known to be there");
    redis.stop();
    redis.start();
    let history = host.open();
    Sending::begin(&shared, &history, &host.file()).finish().await;
    assert_eq!(shared.runs(&every(None), &sites).await.unwrap(), [nine, eight]);
    drop(history);
    assert_eq!(host.waiting(), 0);
}

#[tokio::test]
async fn a_stream_has_its_bounds_and_ends() {
    let redis = OwnRedis::started();
    let small = config::History { age: Duration::from_secs(3600), size: 1_000_000 };
    let shared = SharedHistory::new(&redis.link(), &small, 1000);
    let now = clock::now_ms();
    let mut old = redis::pipe();
    for number in 1..=150 {
        old.cmd("XADD").arg("wpcr:history:shop").arg(format!("{number}-1")).arg("run").arg("of long ago");
    }
    redis.link().ask::<Value>(&old).await.unwrap();
    add(&shared, &[record(&run_id(now), "shop", now)]).await;
    let left: usize = redis.ask(&["XLEN", "wpcr:history:shop"]).parse().unwrap();
    assert!(left <= 51, "whole nodes of those that are too old are gone: {left}");
    let many: Vec<RunRecord> = (0..1000).map(|n| record(&run_id(now + n), "shop", now + n)).collect();
    add(&shared, &many).await;
    let left: usize = redis.ask(&["XLEN", "wpcr:history:shop"]).parse().unwrap();
    assert!((100..=200).contains(&left), "{left}");
    let ttl: i64 = redis.ask(&["PTTL", "wpcr:history:shop"]).parse().unwrap();
    assert!((3_590_000..=3_600_000).contains(&ttl), "{ttl}");
    shared.set_limits(&config::History { age: Duration::from_secs(7200), ..small }, 1);
    add(&shared, &many[..1]).await;
    assert!(redis.ask(&["PTTL", "wpcr:history:shop"]).parse::<i64>().unwrap() > 7_100_000);
    // Large ones go over one by one, each within its second.
    let large = RunRecord { output: Some("\u{1}".repeat(8192)), ..record(&run_id(now), "blog", now) };
    let (count, result) = shared.add(&vec![large.clone(); 20]).await;
    assert!(result.is_ok() && count > 1 && count < 10, "{count}");
}

async fn ended(shared: &SharedHistory, site: &str) -> Option<i64> {
    shared.fact(site, "ended_ms").await.unwrap().and_then(|text| text.parse().ok())
}

#[tokio::test]
async fn facts_are_kept_and_the_newest_end_only_grows() {
    let redis = OwnRedis::started();
    let (shared, now) = (shared(&redis), clock::now_ms());
    assert_eq!(ended(&shared, "shop").await, None);
    for (name, value) in [("install", "abc"), ("epoch", "7"), ("view", "{}")] {
        shared.set_fact("shop", name, value).await.unwrap();
    }
    add(&shared, &[record(&run_id(now), "shop", now), record(&run_id(now), "shop", now - 9), bare("B", "shop")]).await;
    add(&shared, &[record(&run_id(now), "shop", now - 5), bare("C", "blog")]).await;
    let views = shared.facts(&["blog", "shop"], "view").await.unwrap();
    assert_eq!(views, [None, Some("{}".to_string())]);
    assert_eq!(shared.fact("shop", "epoch").await.unwrap().as_deref(), Some("7"));
    assert_eq!((ended(&shared, "shop").await, ended(&shared, "blog").await), (Some(now), None));
    let ttl: i64 = redis.ask(&["PTTL", "wpcr:site:shop"]).parse().unwrap();
    assert!(ttl > FACTS_LIVE_MS - 10_000, "{ttl}");
}

#[tokio::test]
async fn the_shipped_user_may_do_all_of_it() {
    let redis = OwnRedis::started();
    let shipped =
        include_str!("../../../config/redis.acl").lines().find_map(|line| line.strip_prefix("user ")).unwrap();
    let rules = shipped.replace("PASSWORD", "secret");
    let words: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(rules.split_whitespace()).collect();
    assert_eq!(redis.ask(&words), "OK");
    let (user, password) = (Some(words[2].to_string()), Some(config::secret::Password::new("secret")));
    let config = config::redis::Redis { user, password, database: 3, ..redis.config() };
    let shared = SharedHistory::new(&Arc::new(Link::new(&Arc::new(config))), &limits(), 1);
    let (id, sites, now) = (run_id(clock::now_ms()), names(&["shop"]), clock::now_ms());
    add(&shared, &[record(&id, "shop", now)]).await;
    shared.set_fact("shop", "install", "x").await.unwrap();
    assert_eq!(ended(&shared, "shop").await, Some(now));
    assert_eq!(ended(&shared, "shop").await, Some(now));
    assert_eq!(shared.runs(&every(None), &sites).await.unwrap().len(), 1);
    assert!(shared.find(&id, &sites).await.unwrap().is_some());
    assert_eq!(redis.ask(&["-n", "3", "--scan"]).lines().collect::<BTreeSet<_>>().len(), 2);
    // Whoever may not is told so, and what he wanted to send stays his.
    redis.ask(&["ACL", "SETUSER", words[2], "-xadd"]);
    let (count, result) = shared.add(&[record(&id, "shop", now)]).await;
    assert!(count == 0 && matches!(&result, Err(Trouble::Denied(why)) if why.contains("xadd")), "{result:?}");
}

/// More than one chunk of streams, and of entries in one of them that was sent late.
#[tokio::test]
async fn many_sites_are_walked_through_until_nothing_newer_can_come() {
    let redis = OwnRedis::started();
    let (shared, now) = (shared(&redis), clock::now_ms());
    let sites: Vec<String> = (0..25).map(|n| format!("site-{n}")).collect();
    let mut runs: Vec<RunRecord> = Vec::new();
    for site in &sites {
        runs.push(record(&run_id(now - 10_000), site, now - 10_000));
    }
    // The newest of all lies under three hundred that ended an hour ago and were sent afterwards.
    let newest = record(&run_id(now - 60), "site-7", now);
    runs.push(newest.clone());
    runs.extend((0..300).map(|n| record(&run_id(now - 3_600_000 + n), "site-7", now - 3_600_000 + n)));
    add(&shared, &runs).await;
    let top = shared.runs(&Filter { limit: 1, ..every(None) }, &sites).await.unwrap();
    assert_eq!(top, std::slice::from_ref(&newest));
    assert_eq!(shared.runs(&every(None), &sites).await.unwrap().len(), 326);
    assert_eq!(shared.find(&newest.run, &sites).await.unwrap(), Some(newest));
    assert_eq!(shared.runs(&every(None), &sites[..3]).await.unwrap().len(), 3);
}

#[tokio::test]
async fn what_is_marked_of_a_job_is_compared_before_it_is_written() {
    let redis = OwnRedis::started();
    let shared = shared(&redis);
    let now = clock::now_ms();
    let open = |run: &str, runner: &str, until_ms: i64| serde_json::json!({"run": run, "runner": runner, "until_ms": until_ms});
    let mark =
        |slot_ms: i64, open: serde_json::Value| serde_json::json!({"slot_ms": slot_ms, "open": open}).to_string();
    let known = async || -> serde_json::Value {
        serde_json::from_str(&shared.fact("j", "job").await.unwrap().unwrap()).unwrap()
    };
    let ours = open("R1", "a", now + 60_000);
    assert!(shared.mark("j", "open", &mark(1000, ours.clone())).await.unwrap());
    // Another host may not, and changes nothing; an idle host's word is about times alone.
    assert!(!shared.mark("j", "open", &mark(2000, open("R2", "b", now + 60_000))).await.unwrap());
    assert!(shared.mark("j", "note", &mark(500, serde_json::Value::Null)).await.unwrap());
    assert_eq!((known().await["slot_ms"].as_i64(), &known().await["open"]), (Some(1000), &ours));
    // The end of another run ends nothing; its own does, and never goes back.
    shared.mark("j", "close", &mark(3000, open("R0", "a", 0))).await.unwrap();
    assert_eq!(known().await["open"], ours);
    shared.mark("j", "close", &mark(2000, ours)).await.unwrap();
    assert_eq!(known().await, serde_json::json!({"slot_ms": 3000, "open": null}));
    // What must be over by its time is nobody's any more, and a time of a clock that was ahead gives way.
    shared.mark("j", "open", &mark(4000, open("R3", "a", now - 1))).await.unwrap();
    assert!(shared.mark("j", "open", &mark(now + 90_000_000, open("R4", "b", now + 5))).await.unwrap());
    assert!(shared.mark("j", "note", &mark(now, serde_json::Value::Null)).await.unwrap());
    assert_eq!(
        (known().await["slot_ms"].as_i64(), &known().await["open"]["run"]),
        (Some(now), &serde_json::json!("R4"))
    );
}
