use super::*;
use crate::outcome::Failure;

const T: i64 = 1_700_000_000_000;

fn fresh() -> State {
    State::new(T, Limits { lanes: 2, rescan_ms: 60_000, schedule: None, has_plugin: true }, None)
}

fn owner(next: Option<i64>) -> State {
    let mut state = fresh();
    state.taken(T, 7, Seen { next, ..Seen::default() }, Vec::new());
    state.looked(T, Seen { next, ..Seen::default() }, Vec::new());
    state
}

fn seen(next: Option<i64>, due: u64, oldest: Option<i64>) -> Seen {
    Seen { next, due, oldest, busy: Vec::new() }
}

fn open(run: &str, batch: &str) -> Open {
    Open {
        run: run.into(),
        hook: "h".into(),
        state: "running".into(),
        batch: batch.into(),
        due_at: None,
        started_ms: None,
        pid: None,
        host: None,
    }
}

#[test]
fn a_site_is_taken_first_and_then_sleeps_until_its_next_second() {
    let mut state = fresh();
    assert_eq!(state.wants(T), Want::Take);
    state.call_started(Want::Take);
    assert!(matches!(state.wants(T), Want::Nothing { .. }));
    state.call_ended();
    state.taken(T, 7, seen(Some(T / 1000 + 10), 0, None), Vec::new());
    assert_eq!(state.epoch(), Some(7));
    assert_eq!(state.wants(T), Want::Nothing { until: T + 3000 });
    assert_eq!(state.wants(T + 3000), Want::Look, "who was loading at the take-over could not send a notice");
    state.looked(T + 3000, seen(Some(T / 1000 + 10), 0, None), Vec::new());
    assert_eq!(state.wants(T + 10_001), Want::Nothing { until: T + 10_002 });
    assert_eq!(state.wants(T + 10_002), Want::Run);
}

#[test]
fn it_wakes_in_php_s_time() {
    let mut state = owner(Some(T / 1000 + 10));
    state.clock.learn(T, T + 2, T + 3001);
    assert_eq!(state.wants(T), Want::Nothing { until: T + 10_002 - 2999 });
}

#[test]
fn nobody_told_so_it_looks_at_each_rescan() {
    let mut state = owner(None);
    assert_eq!(state.wants(T), Want::Nothing { until: T + 60_000 });
    assert_eq!(state.wants(T + 60_000), Want::Look);
    state.looked(T + 60_000, seen(None, 1, Some(T / 1000 + 30)), Vec::new());
    assert_eq!(state.wants(T + 60_000), Want::Run);
}

/// What no notice told of is counted once, and only what one should have told of.
#[test]
fn an_event_that_no_notice_told_of_is_counted() {
    let missed = |state: &State| state.counts.missed_notices;
    let mut state = owner(Some(T / 1000 + 100));
    assert_eq!(missed(&state), 0, "the first look after a take-over");
    state.looked(T + 60_000, seen(Some(T / 1000 + 100), 0, None), Vec::new());
    state.noticed(Some(T / 1000 + 90));
    state.looked(T + 70_000, seen(Some(T / 1000 + 90), 0, None), Vec::new());
    assert_eq!((missed(&state), state.counts.notices), (0, 1), "a notice told of it");
    state.looked(T + 75_000, seen(Some(T / 1000 + 80), 0, None), Vec::new());
    assert_eq!(missed(&state), 1);
    state.looked(T + 76_000, seen(Some(T / 1000 + 80), 0, None), Vec::new());
    assert_eq!(missed(&state), 1, "once");
    // One that is left alone stays due at each look.
    state.looked(T + 90_000, seen(Some(T / 1000 + 200), 1, Some(T / 1000 + 80)), Vec::new());
    state.due = 0;
    state.looked(T + 150_000, seen(Some(T / 1000 + 200), 1, Some(T / 1000 + 80)), Vec::new());
    assert_eq!(missed(&state), 1, "it was known");
    // A look is quicker than the start of WordPress: what the run is about to claim was known.
    let mut state = owner(Some(T / 1000 + 100));
    state.looked(T + 60_000, seen(Some(T / 1000 + 100), 0, None), Vec::new());
    state.run_started(T + 100_000);
    state.looked(T + 100_010, seen(None, 1, Some(T / 1000 + 100)), Vec::new());
    assert_eq!(missed(&state), 0, "it is being run");
}

#[test]
fn a_notice_brings_the_wake_forward_and_never_back() {
    let mut state = owner(Some(T / 1000 + 100));
    state.noticed(Some(T / 1000 + 5));
    assert_eq!(state.wants(T), Want::Nothing { until: T + 5002 });
    state.noticed(Some(T / 1000 + 50));
    assert_eq!(state.wants(T), Want::Nothing { until: T + 5002 });
}

/// An answer was read from the option before the notice was sent, and came after it.
#[test]
fn an_answer_that_was_on_its_way_does_not_undo_a_notice() {
    let (early, late) = (T / 1000 + 5, Some(T / 1000 + 100));
    type Answer = fn(&mut State, Option<i64>);
    let table: [(&str, Answer); 4] = [
        ("looked", |state, next| state.looked(T, seen(next, 0, None), Vec::new())),
        ("settled", |state, next| state.settled(T, seen(next, 0, None), Vec::new())),
        ("taken", |state, next| state.taken(T, 8, seen(next, 0, None), Vec::new())),
        ("ran", |state, next| {
            state.run_ended(T, RunEnd { sent: 1, claimed: 1, seen: Some(seen(next, 0, None)), ..RunEnd::default() });
        }),
    ];
    for (name, answer) in table {
        let mut state = owner(late);
        if name == "ran" {
            assert_eq!(state.run_started(T), 1);
        } else {
            state.call_started(Want::Take);
        }
        state.noticed(Some(early));
        state.noticed(Some(early + 20));
        state.call_ended();
        answer(&mut state, late);
        assert_eq!(state.next, Some(early), "{name}");
        // Whatever is sent from here on knows better: the event may have been unscheduled again.
        state.call_started(Want::Take);
        state.call_ended();
        state.looked(T, seen(late, 0, None), Vec::new());
        assert_eq!(state.next, late, "{name}: a later answer is believed");
    }
}

#[test]
fn a_notice_that_proves_empty_is_asked_for_once() {
    let mut state = owner(Some(T / 1000 + 100));
    state.call_started(Want::Take);
    state.noticed(Some(T / 1000));
    state.call_ended();
    state.looked(T, seen(Some(T / 1000 + 100), 0, None), Vec::new());
    assert_eq!(state.wants(T + 2), Want::Run);
    let sent = state.run_started(T + 2);
    state.claimed(sent, "b".into(), 0, seen(Some(T / 1000 + 100), 0, None));
    let end = RunEnd { sent, seen: Some(seen(Some(T / 1000 + 100), 0, None)), ..RunEnd::default() };
    state.run_ended(T + 10, end);
    assert!(matches!(state.wants(T + 10), Want::Nothing { until } if until >= T + 60_000));
}

#[test]
fn what_a_hook_scheduled_is_known_to_its_run() {
    let mut state = owner(None);
    let sent = state.run_started(T);
    state.moved(Some(T / 1000));
    state.claimed(sent, "b".into(), 1, Seen::default());
    assert_eq!(state.next, None);
}

#[test]
fn a_look_that_hangs_hides_no_due_time() {
    let mut state = owner(Some(T / 1000 + 10));
    state.call_started(Want::Look);
    assert_eq!(state.wants(T), Want::Nothing { until: T + 10_002 });
    assert_eq!(state.wants(T + 10_002), Want::Run);
}

#[test]
fn a_second_lane_starts_when_the_first_claim_left_something() {
    let mut state = owner(Some(T / 1000));
    assert_eq!(state.wants(T + 2), Want::Run);
    state.run_started(T + 2);
    assert!(matches!(state.wants(T + 2), Want::Nothing { .. }), "one lane until the claim says more");
    state.claimed(1, "b".into(), 2, seen(None, 6, None));
    assert_eq!(state.wants(T + 20), Want::Run);
    state.run_started(T + 20);
    state.claimed(2, "c".into(), 2, seen(None, 4, None));
    assert!(matches!(state.wants(T + 21), Want::Nothing { .. }), "all lanes are taken");
    let end = RunEnd { batch: "b".into(), claimed: 2, seen: Some(seen(None, 4, None)), ..RunEnd::default() };
    state.run_ended(T + 30, end);
    assert_eq!(state.wants(T + 30), Want::Run);
}

#[test]
fn a_backlog_starts_with_one_lane_until_something_ended_well() {
    let mut state = fresh();
    state.taken(T, 7, seen(None, 200, Some(T / 1000 - 259_200)), Vec::new());
    assert_eq!(state.wants(T), Want::Run);
    state.run_started(T);
    state.claimed(1, "b".into(), 25, seen(None, 175, None));
    assert!(matches!(state.wants(T), Want::Nothing { .. }));
    state.event_ended("r", false);
    assert!(matches!(state.wants(T), Want::Nothing { .. }));
    state.event_ended("r", true);
    assert_eq!(state.wants(T), Want::Run);
}

#[test]
fn the_same_due_time_is_asked_for_again_only_with_backoff() {
    let mut state = owner(Some(T / 1000));
    let mut now = T + 2;
    let mut waits = Vec::new();
    for _ in 0..10 {
        assert_eq!(state.wants(now), Want::Run);
        state.run_started(now);
        let nothing = RunEnd { seen: Some(seen(Some(T / 1000), 0, None)), ..RunEnd::default() };
        state.run_ended(now, nothing);
        state.looked = Some(now);
        let Want::Nothing { until } = state.wants(now) else { panic!("asked in a loop") };
        waits.push(until - now);
        now = until;
    }
    assert_eq!(waits, [100, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    state.noticed(Some(T / 1000 - 5));
    assert_eq!(state.wants(now), Want::Run, "another due time is not held back");
}

#[test]
fn a_busy_event_is_asked_for_when_its_run_ends_or_at_the_rescan() {
    let busy = vec![Busy { hook: "h".into(), key: "k".into(), due_at: None, run: Some("R".into()), reason: None }];
    let mut state = owner(Some(T / 1000));
    state.run_started(T + 2);
    state.run_ended(
        T + 10,
        RunEnd { seen: Some(Seen { busy: busy.clone(), ..seen(None, 1, Some(T / 1000)) }), ..RunEnd::default() },
    );
    assert!(matches!(state.wants(T + 5000), Want::Nothing { until } if until == T + 60_000));
    let mut rescanned = state.clone();
    rescanned.looked(T + 60_000, seen(None, 1, Some(T / 1000)), Vec::new());
    assert_eq!(rescanned.wants(T + 60_000), Want::Run);
    state.event_ended("R", true);
    assert_eq!(state.wants(T + 5000), Want::Run);
}

#[test]
fn an_event_that_is_left_alone_is_asked_for_at_the_rescan_only() {
    let reason = Some("its schedule is unknown".to_string());
    let busy = vec![Busy { hook: "h".into(), key: "k".into(), due_at: None, run: None, reason }];
    let due = || Seen { busy: busy.clone(), ..seen(Some(T / 1000 + 600), 1, None) };
    let mut state = owner(Some(T / 1000));
    for claimed in [0, 3, 3] {
        let sent = state.run_started(T);
        state.claimed(sent, "b".into(), claimed, due());
        state.event_ended("somebody's", true);
        state.run_ended(T, RunEnd { sent, claimed, seen: Some(due()), ..RunEnd::default() });
        assert_eq!(state.wants(T), Want::Nothing { until: T + 60_000 }, "{claimed} claimed");
    }
    state.looked(T + 60_000, seen(Some(T / 1000 + 600), 1, Some(T / 1000)), Vec::new());
    assert_eq!(state.wants(T + 60_000), Want::Run);
}

#[test]
fn each_failure_has_its_own_patience() {
    let table = [
        (Failure::ServerError("500".into()), vec![1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]),
        (Failure::Database("down".into()), vec![1, 2, 4, 15, 15]),
        (Failure::NotReached("refused".into()), vec![1, 2, 4, 8, 16, 32, 60, 60]),
        (Failure::QueueFull, vec![1, 2, 4, 8, 15, 15]),
        (Failure::Busy(String::new()), vec![1, 2, 4, 8, 15, 15]),
        (Failure::Maintenance { retry_after_s: None }, vec![15, 30, 60, 60]),
        (Failure::Maintenance { retry_after_s: Some(600) }, vec![15, 30, 60, 60]),
        (Failure::Maintenance { retry_after_s: Some(20) }, vec![15, 20, 20]),
        (Failure::Misconfigured("301".into()), vec![300, 300]),
        (Failure::WrongInstall("x".into()), vec![300]),
    ];
    for (failure, seconds) in table {
        let mut state = owner(Some(T / 1000));
        let mut now = T;
        // Tables that are gone are made anew by a take-over alone.
        let is_database = matches!(failure, Failure::Database(_));
        for (number, expected) in seconds.into_iter().enumerate() {
            state.failed(now, failure.clone());
            assert_eq!(state.wants(now), Want::Nothing { until: now + expected * 1000 }, "{failure:?}");
            now += expected * 1000;
            let first = if is_database && number > 0 { Want::Take } else { Want::Look };
            assert_eq!(state.wants(now), first, "{failure:?}: it looks first");
        }
        state.looked(now, seen(None, 1, None), Vec::new());
        assert_eq!(state.wants(now), if is_database { Want::Take } else { Want::Run });
    }
}

#[test]
fn what_only_runs_meet_is_not_forgotten_by_the_looks_between_them() {
    let mut state = owner(Some(T / 1000));
    let mut now = T;
    for seconds in [1, 2, 4, 8, 15, 15] {
        let sent = state.run_started(now);
        let failure = Some(Failure::Busy("no connection".into()));
        state.run_ended(now, RunEnd { sent, epoch: 7, failure, ..RunEnd::default() });
        assert_eq!(state.wants(now), Want::Nothing { until: now + seconds * 1000 });
        now += seconds * 1000;
        assert_eq!(state.wants(now), Want::Look);
        state.looked(now, seen(None, 1, Some(T / 1000)), Vec::new());
        assert_eq!((state.wants(now), state.failure().is_some()), (Want::Run, true), "tried, and shown until it works");
    }
    let sent = state.run_started(now);
    state.run_ended(now, RunEnd { sent, epoch: 7, claimed: 1, ..RunEnd::default() });
    assert_eq!(state.failure(), None);
    let failure = Some(Failure::Busy("no connection".into()));
    let sent = state.run_started(now);
    state.run_ended(now, RunEnd { sent, epoch: 7, failure, ..RunEnd::default() });
    state.looked(now + 1000, Seen::default(), Vec::new());
    assert_eq!(state.failure(), None, "somebody else ran what was due");
}

#[test]
fn a_refused_runner_stands_by_and_asks_again_whether_the_owner_has_left() {
    let mut state = fresh();
    let stale = |expected_ms| Failure::Stale { name: "web-2".into(), expected_ms: Some(expected_ms), epoch: Some(3) };
    state.failed(T, stale(T + 60_000));
    assert_eq!(state.wants(T), Want::Nothing { until: T + 15_000 });
    assert_eq!(state.wants(T + 15_000), Want::Look);
    state.stood_by(T + 15_000, Some(("web-2", Some(T + 60_000))));
    assert_eq!(state.wants(T + 16_000), Want::Nothing { until: T + 30_000 });
    assert_eq!(state.wants(T + 105_000), Want::Take);
    state.stood_by(T + 30_000, None);
    assert_eq!(state.wants(T + 30_000), Want::Take, "he has left");
    // Silent in seven seconds: then, and not later.
    state.failed(T, stale(T - 38_000));
    assert_eq!(state.wants(T), Want::Nothing { until: T + 7000 });
    assert_eq!(state.view("shop", "http", Vec::new()).state, "standby");
}

#[test]
fn the_good_end_of_a_run_does_not_make_a_site_ours_again() {
    let mut state = owner(None);
    let sent = state.run_started(T);
    state.failed(T, Failure::Stale { name: "web-2".into(), expected_ms: Some(T + 60_000), epoch: Some(8) });
    state.run_ended(T + 5000, RunEnd { sent, epoch: 7, claimed: 1, went_well: true, ..RunEnd::default() });
    assert_eq!(state.view("shop", "http", Vec::new()).state, "standby");
    assert_eq!(state.wants(T + 5000), Want::Nothing { until: T + 15_000 });
}

#[test]
fn a_lower_epoch_means_to_take_over_anew() {
    let mut state = owner(None);
    state.failed(T, Failure::UnknownEpoch(Some(3)));
    assert_eq!(state.wants(T + 1000), Want::Take);
}

#[test]
fn a_run_that_ended_unseen_is_asked_about_also_where_another_run_tells_what_is_open() {
    let mut state = owner(None);
    state.looked(T, Seen::default(), vec![open("R", "left by another runner")]);
    let sent = state.run_started(T);
    state.run_ended(T, RunEnd { sent, claimed: 1, open: vec![open("S", "another")], ..RunEnd::default() });
    assert_eq!(state.foreign_open().map(|row| row.run.as_str()).collect::<Vec<_>>(), ["S", "R"]);
}

#[test]
fn a_run_that_was_open_and_is_not_any_more_is_asked_about() {
    let mut state = fresh();
    state.taken(T, 7, Seen::default(), vec![open("R", "old")]);
    state.looked(T, Seen::default(), Vec::new());
    assert_eq!(state.foreign_open().map(|row| row.run.as_str()).collect::<Vec<_>>(), ["R"]);
    state.settled(T, Seen::default(), Vec::new());
    assert_eq!(state.foreign_open().count(), 0);
}

#[test]
fn what_an_earlier_runner_left_is_watched_with_patience() {
    let mut state = fresh();
    state.taken(T, 7, Seen::default(), Vec::new());
    state.looked(T, Seen::default(), vec![open("R", "old")]);
    let mut now = T;
    let mut waits = Vec::new();
    for _ in 0..6 {
        let Want::Nothing { until } = state.wants(now) else { panic!() };
        waits.push(until - now);
        now = until;
        assert_eq!(state.wants(now), Want::Settle);
        state.settled(now, Seen::default(), vec![open("R", "old")]);
    }
    assert_eq!(waits, [1000, 2000, 4000, 8000, 15_000, 15_000]);
    state.settled(now, Seen::default(), Vec::new());
    assert!(!matches!(state.wants(now), Want::Settle));
}

#[test]
fn rows_of_a_run_of_ours_are_its_own_business() {
    let mut state = owner(Some(T / 1000));
    state.run_started(T + 2);
    state.claimed(1, "mine".into(), 1, seen(None, 0, None));
    state.looked(T + 60_000, Seen::default(), vec![open("R", "mine")]);
    assert_eq!(state.foreign_open().count(), 0);
}

#[test]
fn a_jump_of_the_clock_looks_at_the_site_again() {
    for failure in [None, Some(Failure::ServerError("x".into())), Some(Failure::Misconfigured("x".into()))] {
        let mut state = owner(Some(T / 1000 + 3600));
        if let Some(failure) = failure {
            state.failed(T, failure);
        }
        state.replan(T - 3_600_000);
        assert_eq!(state.wants(T - 3_600_000), Want::Look);
    }
}

#[test]
fn one_failure_of_another_kind_starts_counting_anew() {
    let mut state = owner(None);
    for _ in 0..5 {
        state.failed(T, Failure::ServerError("x".into()));
    }
    state.failed(T, Failure::NotReached("x".into()));
    assert_eq!(state.wants(T), Want::Nothing { until: T + 1000 });
}

#[test]
fn once_ends_although_an_event_stays_due_for_ever() {
    let mut state = owner(None);
    state.looked(T, seen(None, 1, Some(T / 1000 - 60)), Vec::new());
    let mut now = T;
    for _ in 0..2 {
        assert!(!state.has_nothing_due(now));
        state.run_started(now);
        state.run_ended(now, RunEnd { seen: Some(seen(None, 1, Some(T / 1000 - 60))), ..RunEnd::default() });
        now += 5000;
    }
    assert!(state.has_nothing_due(now));
}

/// Whoever renames a state disarms the alert that names it.
#[test]
fn the_alert_rules_name_every_trouble() {
    let rules = include_str!("../../config/alert-rules.yml");
    let known: Vec<&str> =
        rules.split_once("site_state{state=~\"").unwrap().1.split('"').next().unwrap().split('|').collect();
    let troubles = [
        Failure::NotReached(String::new()),
        Failure::QueueFull,
        Failure::Unclear(String::new()),
        Failure::TimedOut(1),
        Failure::ServerError(String::new()),
        Failure::Maintenance { retry_after_s: None },
        Failure::Misconfigured(String::new()),
        Failure::Clock(1),
        Failure::WrongInstall(String::new()),
        Failure::Busy(String::new()),
        Failure::Database(String::new()),
        Failure::Corrupt(String::new()),
        Failure::Refused { code: String::new(), message: String::new() },
    ];
    for trouble in troubles {
        let mut state = owner(None);
        state.failed(T, trouble.clone());
        let word = state.view("shop", "fastcgi", Vec::new()).state;
        assert!(known.contains(&word), "{trouble:?} is shown as {word}");
    }
    let first = fresh().view("shop", "fastcgi", Vec::new()).state;
    assert!(known.contains(&first), "{first}");
}
