//! Keepers against a real redis-server of the test's own.

use std::time::Duration;

use super::*;
use crate::redis_link::own_redis::OwnRedis;

/// The runners know this server already.
async fn known() -> OwnRedis {
    let redis = OwnRedis::started();
    let server = redis.link().server().await.unwrap();
    redis.ask(&["SET", "wpcr:server", &server.identity()]);
    redis
}

fn keeper(redis: &OwnRedis, name: &str, part: Part, sites: &[&str]) -> Leases {
    let id = crate::protocol::signature::sha256(name.as_bytes()).get(..32).unwrap().to_string();
    let process = crate::protocol::signature::random_hex::<8>().unwrap();
    let me = Member { id, name: name.into(), process, ..Member::default() };
    let sites: Vec<String> = sites.iter().map(ToString::to_string).collect();
    keep(&redis.link(), part, me, &sites)
}

fn prove(leases: &Leases, sites: &[&str]) {
    for site in sites {
        leases.keeper.send(Tell::Able { site: (*site).into(), is_able: true }).unwrap();
    }
}

async fn until(leases: &mut Leases, what: &str, is_so: impl Fn(&Board) -> bool) -> Arc<Board> {
    let wait = async { leases.board.wait_for(|board| is_so(board)).await.unwrap().clone() };
    match tokio::time::timeout(Duration::from_secs(10), wait).await {
        Ok(board) => board,
        Err(_) => panic!("{what}: {:#?}", leases.board.borrow()),
    }
}

fn is_ours(board: &Board, site: &str) -> bool {
    matches!(board.sites.get(site), Some(Standing::Ours { .. }))
}

fn is_of(board: &Board, site: &str, name: &str) -> bool {
    matches!(board.sites.get(site), Some(Standing::Theirs { runner }) if runner == name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runners_share_hand_over_and_follow_one_another() {
    let redis = known().await;
    let sites = ["a", "b", "c", "d"];
    let mut one = keeper(&redis, "web-1", Part::Member, &sites);
    prove(&one, &sites);
    let board = until(&mut one, "all four for one", |board| sites.iter().all(|site| is_ours(board, site))).await;
    assert_eq!(board.realm.len(), 32);
    let mut two = keeper(&redis, "web-2", Part::Member, &sites);
    prove(&two, &sites);
    let wanted = |board: &Board| {
        let is_wanted =
            |standing: &&Standing| matches!(standing, Standing::Ours { wanted_by: Some(by), .. } if by == "web-2");
        board.sites.values().filter(is_wanted).count()
    };
    let board = until(&mut one, "two of them wanted", |board| wanted(board) == 2).await;
    let handed: Vec<String> = board
        .sites
        .iter()
        .filter(|(_, s)| matches!(s, Standing::Ours { wanted_by: Some(_), .. }))
        .map(|(site, _)| site.clone())
        .collect();
    for site in &handed {
        let Standing::Ours { grant, .. } = board.sites[site] else { panic!("{board:#?}") };
        one.keeper.send(Tell::Release { site: site.clone(), grant }).unwrap();
    }
    until(&mut two, "its part", |board| handed.iter().all(|site| is_ours(board, site))).await;
    let board = until(&mut one, "the rest", |board| handed.iter().all(|site| is_of(board, site, "web-2"))).await;
    assert_eq!(sites.iter().filter(|site| is_ours(&board, site)).count(), 2);

    let mut guest = keeper(&redis, "guest", Part::Guest, &["a"]);
    until(&mut guest, "refused", |board| is_of(board, "a", "web-1") || is_of(board, "a", "web-2")).await;
    assert_eq!(guest.board.borrow().runners.len(), 2, "a guest is nobody to share with");

    let (answer, answered) = oneshot::channel();
    one.keeper.send(Tell::Leave { keep: Vec::new(), answer }).unwrap();
    answered.await.unwrap();
    let began = std::time::Instant::now();
    until(&mut two, "everything", |board| sites.iter().all(|site| is_ours(board, site))).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let mut keys: Vec<String> = redis.ask(&["KEYS", "*"]).lines().map(str::to_string).collect();
    keys.sort_unstable();
    let leases = sites.iter().map(|site| format!("wpcr:lease:{site}"));
    let expected: Vec<String> =
        leases.chain(["realm", "runners", "server"].map(|name| format!("wpcr:{name}"))).collect();
    assert_eq!(keys, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_grants_nothing_anew_and_takes_nothing_away() {
    let redis = known().await;
    let mut one = keeper(&redis, "web-1", Part::Member, &["a"]);
    let board = until(&mut one, "the lease", |board| is_ours(board, "a")).await;
    let grant = |board: &Board| match board.sites.get("a") {
        Some(Standing::Ours { grant, until, .. }) => (*grant, *until),
        other => panic!("{other:?}"),
    };
    let (first, trusted) = grant(&board);
    redis.ask(&["FLUSHALL"]);
    let mut two = keeper(&redis, "web-2", Part::Guest, &["a"]);
    let board =
        until(&mut two, "the quarantine", |board| matches!(board.sites.get("a"), Some(Standing::Free { .. }))).await;
    let Some(Standing::Free { why }) = board.sites.get("a") else { panic!() };
    assert!(why.contains("grants new ones after"), "{why}");
    // It sets its own again as soon as it is renewed, which is when the board shows a longer trust.
    let renewed = tokio::time::timeout(
        Duration::from_secs(15),
        one.board
            .wait_for(|board| matches!(board.sites.get("a"), Some(Standing::Ours { until, .. }) if *until > trusted)),
    );
    let board = renewed.await.unwrap().unwrap().clone();
    assert_eq!(grant(&board).0, first, "nobody had it meanwhile");
    until(&mut two, "known", |board| is_of(board, "a", "web-1")).await;
    assert_eq!(redis.ask(&["EXISTS", "wpcr:lease:a"]), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_everybodys_and_a_notice_is_heard() {
    let redis = known().await;
    let mut one = keeper(&redis, "web-1", Part::Member, &["a"]);
    let mut two = keeper(&redis, "web-2", Part::Member, &["a"]);
    until(&mut one, "both", |board| board.runners.len() == 2).await;
    until(&mut two, "both", |board| board.runners.len() == 2).await;
    let (answer, answered) = oneshot::channel();
    one.keeper.send(Tell::Pause { site: "a".into(), value: Some("yes".into()), answer }).unwrap();
    assert_eq!(answered.await.unwrap(), Ok(()));
    until(&mut two, "paused", |board| board.paused.get("a").is_some_and(|value| value == "yes")).await;
    let (answer, answered) = oneshot::channel();
    two.keeper.send(Tell::Pause { site: "a".into(), value: None, answer }).unwrap();
    assert_eq!(answered.await.unwrap(), Ok(()));
    until(&mut one, "not paused", |board| board.paused.is_empty()).await;
    let notice = Notice { install: Some("i".into()), next: Some(7) };
    one.keeper.send(Tell::Notice { site: "a".into(), notice }).unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(5), two.notices.recv()).await.unwrap().unwrap();
    assert_eq!((heard.0.as_str(), heard.1.next), ("a", Some(7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runners_of_one_identity_are_told_so_and_never_trust_one_lease_for_long() {
    let redis = known().await;
    let mut one = keeper(&redis, "web-1", Part::Member, &["a"]);
    prove(&one, &["a"]);
    until(&mut one, "the lease", |board| is_ours(board, "a")).await;
    let mut two = keeper(&redis, "web-1", Part::Member, &["a"]);
    let of_both = |board: &Board| board.contact.why.as_ref().is_some_and(|why| why.contains("same identity"));
    let (mut first, mut second) = (one.board.clone(), two.board.clone());
    tokio::time::timeout(Duration::from_secs(25), async {
        tokio::select! {
            found = first.wait_for(|board| of_both(board)) => drop(found.unwrap()),
            found = second.wait_for(|board| of_both(board)) => drop(found.unwrap()),
        }
    })
    .await
    .unwrap();
    // Nobody renews what the other one believes to have.
    let trusted = |leases: &mut Leases| match leases.board.borrow_and_update().sites.get("a") {
        Some(Standing::Ours { until, .. }) => *until,
        _ => 0,
    };
    let before = (trusted(&mut one), trusted(&mut two));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = (trusted(&mut one), trusted(&mut two));
    assert!(after.0 <= before.0.max(before.1) && after.1 <= before.0.max(before.1), "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_leaves_nothing_behind() {
    let redis = OwnRedis::started();
    assert!(probe(&redis.link()).await.is_ok());
    assert_eq!(redis.ask(&["KEYS", "*"]), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_while_redis_hangs_hide_nothing_and_hold_nobody_up() {
    let redis = known().await;
    let mut one = keeper(&redis, "web-1", Part::Member, &["a"]);
    prove(&one, &["a"]);
    until(&mut one, "the lease", |board| is_ours(board, "a")).await;
    redis.hang();
    for _ in 0..500 {
        let notice = Notice { install: None, next: Some(7) };
        one.keeper.send(Tell::Notice { site: "b".into(), notice }).unwrap();
    }
    until(&mut one, "the loss", |board| !board.contact.is_there).await;
    let (answer, answered) = oneshot::channel();
    one.keeper.send(Tell::Leave { keep: Vec::new(), answer }).unwrap();
    tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_wrote_keeps_no_lease_away_and_no_keeper_busy() {
    let redis = known().await;
    redis.ask(&["HSET", "wpcr:site:a", "epoch", "x"]);
    redis.ask(&["SET", "wpcr:site:b", "no hash"]);
    redis.ask(&["SET", "wpcr:lease:c", "someone:token"]);
    redis.ask(&["HSET", "wpcr:runners", "newer", "{\"until\":1}"]);
    let sites = ["a", "b", "c"];
    let mut one = keeper(&redis, "web-1", Part::Member, &sites);
    prove(&one, &sites);
    until(&mut one, "both", |board| is_ours(board, "a") && is_ours(board, "b")).await;
    let c = |board: &Board| matches!(board.sites.get("c"), Some(Standing::Theirs { .. }));
    until(&mut one, "another's", c).await;
    let left: i64 = redis.ask(&["PTTL", "wpcr:lease:c"]).parse().unwrap();
    assert!((1..=TTL_MS).contains(&left), "it has an end now: {left}");
    assert_eq!(redis.ask(&["HEXISTS", "wpcr:runners", "newer"]), "1", "its own version knows what it means");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_keeps_what_he_waits_for() {
    let redis = known().await;
    let (sites, keep) = (["a", "b"], vec!["b".to_string()]);
    let mut one = keeper(&redis, "web-1", Part::Member, &sites);
    prove(&one, &sites);
    until(&mut one, "both", |board| sites.iter().all(|site| is_ours(board, site))).await;
    let (answer, answered) = oneshot::channel();
    one.keeper.send(Tell::Leave { keep, answer }).unwrap();
    answered.await.unwrap();
    let mut two = keeper(&redis, "web-2", Part::Member, &sites);
    prove(&two, &sites);
    let board =
        until(&mut two, "the other one", |board| is_ours(board, "a") && !board.sites["b"].eq(&Standing::Unknown)).await;
    assert!(!is_ours(&board, "b") && board.runners.len() == 1, "{board:#?}");
    let (answer, answered) = oneshot::channel();
    one.keeper.send(Tell::Leave { keep: Vec::new(), answer }).unwrap();
    answered.await.unwrap();
    until(&mut two, "the rest", |board| is_ours(board, "b")).await;
}
