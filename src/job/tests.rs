use super::*;
use crate::config::Work;
use crate::schedule::Schedule;
use jiff::tz::TimeZone;
use std::time::Duration;

/// A full hour: 2023-11-14T22:00:00Z.
const T: i64 = 1_699_999_200_000;
const MINUTE: i64 = 60_000;

fn job(schedule: &str, overlap: Overlap, missed: Missed) -> Arc<Job> {
    Arc::new(Job {
        name: "j".into(),
        schedule: Schedule::parse(schedule, TimeZone::UTC).unwrap(),
        site: None,
        work: Work::Command(vec!["true".into()]),
        overlap,
        missed,
        jitter: Duration::ZERO,
        timeout: Duration::from_secs(3600),
        user: None,
        environment: Vec::new(),
        directory: None,
    })
}

fn skips() -> State {
    State::new(&job("*/5 * * * *", Overlap::Skip, Missed::Skip), "j", None, T)
}

#[test]
fn a_new_job_starts_at_its_next_time_and_once_at_each() {
    let mut state = skips();
    assert_eq!((state.tick(T), state.due(T), state.next_ms()), (vec![], None, Some(T + 5 * MINUTE)));
    for round in 1..4 {
        let at = T + round * 5 * MINUTE;
        assert!(state.tick(at - 1).is_empty() && state.due(at - 1).is_none());
        assert!(state.tick(at).is_empty());
        let due = state.due(at).unwrap().clone();
        assert_eq!((due.at_ms, due.slot_ms, &due.note), (at, at, &None));
        state.started(&due);
        assert!(state.tick(at + 1000).is_empty() && state.due(at + 1000).is_none());
        state.ended();
        assert_eq!((state.due(at + 2000), state.dealt_with()), (None, at));
    }
}

#[test]
fn a_time_that_comes_while_it_runs_is_skipped_and_said() {
    let mut state = skips();
    start(&mut state, T + 5 * MINUTE);
    let skipped = state.tick(T + 10 * MINUTE);
    assert_eq!(skipped, [Skipped { at_ms: T + 10 * MINUTE, count: 1, why: Why::Overlap }]);
    assert!(skipped[0].reason().contains("the run before had not ended"));
    state.ended();
    assert_eq!(state.due(T + 11 * MINUTE), None);
}

#[test]
fn one_waits_in_the_queue_and_no_more() {
    let mut state = State::new(&job("*/5 * * * *", Overlap::Queue, Missed::Skip), "j", None, T);
    start(&mut state, T + 5 * MINUTE);
    assert!(state.tick(T + 10 * MINUTE).is_empty());
    assert_eq!(state.due(T + 10 * MINUTE), None, "it still runs");
    assert_eq!(state.tick(T + 15 * MINUTE), [Skipped { at_ms: T + 15 * MINUTE, count: 1, why: Why::Overlap }]);
    state.ended();
    let due = state.due(T + 16 * MINUTE).unwrap().clone();
    assert_eq!(due.at_ms, T + 10 * MINUTE);
    state.started(&due);
    state.ended();
    assert_eq!(state.due(T + 17 * MINUTE), None);
}

#[test]
fn missed_times_are_skipped_or_made_up_for_once() {
    let hour = 60 * MINUTE;
    let mut skip = State::new(&job("*/5 * * * *", Overlap::Skip, Missed::Skip), "j", Some(T), T + hour + 2 * MINUTE);
    assert_eq!(skip.tick(T + hour + 2 * MINUTE), [Skipped { at_ms: T + hour, count: 12, why: Why::Missed }]);
    assert_eq!(skip.due(T + hour + 2 * MINUTE), None);
    let mut once = State::new(&job("*/5 * * * *", Overlap::Skip, Missed::Once), "j", Some(T), T + hour + 2 * MINUTE);
    assert_eq!(once.tick(T + hour + 2 * MINUTE), []);
    let due = once.due(T + hour + 2 * MINUTE).unwrap().clone();
    assert_eq!((due.at_ms, due.note.as_deref()), (T + hour, Some("once for 12 times that were missed")));
    once.started(&due);
    once.ended();
    assert_eq!((once.due(T + hour + 3 * MINUTE), once.next_ms()), (None, Some(T + hour + 5 * MINUTE)));
}

#[test]
fn half_a_minute_late_is_not_missed() {
    let now = T + 10 * MINUTE + 30_000;
    let mut state = State::new(&job("*/5 * * * *", Overlap::Skip, Missed::Skip), "j", Some(T), now);
    assert_eq!(state.tick(now), [Skipped { at_ms: T + 5 * MINUTE, count: 1, why: Why::Missed }]);
    assert_eq!(state.due(now).unwrap().at_ms, T + 10 * MINUTE);
    // What was dealt with before the restart does not come again.
    let mut state = State::new(&job("*/5 * * * *", Overlap::Skip, Missed::Once), "j", Some(T + 10 * MINUTE), now);
    assert_eq!((state.tick(now), state.due(now)), (vec![], None));
}

#[test]
fn a_pause_starts_nothing_and_its_times_are_missed() {
    let mut state = skips();
    state.set_pause(Some(Pause { until: Some(T + 12 * MINUTE) }));
    assert_eq!((state.tick(T + 6 * MINUTE), state.due(T + 6 * MINUTE)), (vec![], None));
    assert_eq!(state.wakes_at(), Some(T + 12 * MINUTE));
    let skipped = state.tick(T + 12 * MINUTE);
    assert_eq!((skipped[0].count, skipped[0].why, state.pause()), (2, Why::Missed, None));
    state.tick(T + 15 * MINUTE);
    assert!(state.due(T + 15 * MINUTE).is_some());
    state.set_pause(Some(Pause { until: None }));
    assert_eq!((state.due(T + 15 * MINUTE), state.wakes_at()), (None, None));
    // What waited when the pause began is judged when it is over.
    state.set_pause(None);
    let skipped = state.tick(T + 30 * MINUTE);
    assert_eq!((skipped[0].count, skipped[0].why), (3, Why::Missed));
    assert_eq!(state.due(T + 30 * MINUTE).map(|due| due.at_ms), Some(T + 30 * MINUTE));
}

#[test]
fn what_waits_for_its_start_is_not_dealt_with() {
    let mut state = State::new(&job("*/5 * * * *", Overlap::Queue, Missed::Skip), "j", None, T);
    start(&mut state, T + 5 * MINUTE);
    assert_eq!(state.dealt_with(), T + 5 * MINUTE);
    state.tick(T + 10 * MINUTE);
    assert_eq!(state.dealt_with(), T + 10 * MINUTE - 1, "the queued one would be found again");
    state.ended();
    state.is_kept_back();
    assert_eq!((state.due(T + 10 * MINUTE), state.next_ms()), (None, Some(T + 10 * MINUTE)));
    state.tick(T + 10 * MINUTE);
    assert_eq!(state.due(T + 10 * MINUTE).map(|due| due.at_ms), Some(T + 10 * MINUTE));
}

#[test]
fn a_clock_that_was_years_ahead_stops_no_job_and_an_hour_back_repeats_none() {
    let mut state = skips();
    let year = 365 * 24 * 60 * MINUTE;
    state.tick(T + year);
    state.clock_was_set(T);
    assert_eq!((state.due(T), state.next_ms()), (None, Some(T + 5 * MINUTE)));
    // A line with `*` follows the clock; one with fixed times is not done again.
    let hour_back = T + 5 * MINUTE - 60 * MINUTE;
    for (line, next) in [("*/5 * * * *", hour_back + 5 * MINUTE), ("5,10,15 22 * * *", T + 10 * MINUTE)] {
        let mut state = State::new(&job(line, Overlap::Skip, Missed::Skip), "j", None, T);
        start(&mut state, T + 5 * MINUTE);
        state.ended();
        state.clock_was_set(hour_back);
        assert_eq!(state.next_ms(), Some(next), "{line}");
        let restarted = State::new(&job(line, Overlap::Skip, Missed::Skip), "j", Some(T + 5 * MINUTE), hour_back);
        assert_eq!(restarted.next_ms(), Some(next), "{line}");
    }
}

#[test]
fn what_others_hold_is_theirs() {
    let mut state = skips();
    state.leave_to_others(T + 7 * MINUTE);
    assert_eq!((state.tick(T + 7 * MINUTE), state.due(T + 7 * MINUTE)), (vec![], None));
    assert_eq!(state.next_ms(), Some(T + 10 * MINUTE));
}

#[test]
fn a_year_of_minutes_is_walked_through_quickly_and_ends() {
    let now = T + 365 * 24 * 60 * MINUTE;
    let mut state = State::new(&job("* * * * *", Overlap::Skip, Missed::Once), "j", Some(T), now);
    assert_eq!(state.tick(now), []);
    let due = state.due(now).unwrap();
    assert!(due.at_ms <= now && now - due.at_ms < 2 * MINUTE, "{due:?}");
    assert_eq!(state.next_ms(), Some(due.at_ms));
    assert!(state.dealt_with() >= now - 2 * MINUTE);
}

#[test]
fn a_spread_is_stable_within_its_bounds_and_even() {
    let spread: Vec<i64> = (0..1000).map(|number| offset(&format!("job-{number}"), 120_000)).collect();
    assert!(spread.iter().all(|ms| (0..120_000).contains(ms) && ms % 1000 == 0));
    let early = spread.iter().filter(|ms| **ms < 60_000).count();
    assert!((400..600).contains(&early), "{early}");
    assert_eq!(offset("job-7", 120_000), spread[7]);
    assert_eq!(offset("job-7", 0), 0);
    let job = Job { jitter: Duration::from_secs(120), ..Job::clone(&job("*/5 * * * *", Overlap::Skip, Missed::Skip)) };
    let mut state = State::new(&Arc::new(job), "job-7", None, T);
    let at = T + spread[7] + if spread[7] == 0 { 5 * MINUTE } else { 0 };
    assert_eq!(state.next_ms().map(|next| (next - at) % (5 * MINUTE)), Some(0));
    state.tick(state.next_ms().unwrap());
    let due = state.due(T + 10 * MINUTE).unwrap();
    assert_eq!(due.at_ms - due.slot_ms, spread[7]);
}

#[test]
fn another_schedule_counts_from_now_on() {
    let mut state = skips();
    state.tick(T + 5 * MINUTE);
    let lost = state.reconfigured(&job("*/7 * * * *", Overlap::Skip, Missed::Once), "j", T + 6 * MINUTE);
    assert_eq!(lost.map(|lost| (lost.at_ms, lost.why)), Some((T + 5 * MINUTE, Why::Changed)), "it is said");
    assert_eq!((state.due(T + 6 * MINUTE), state.next_ms()), (None, Some(T + 7 * MINUTE)));
    start(&mut state, T + 7 * MINUTE);
    state.reconfigured(&job("*/7 * * * *", Overlap::Queue, Missed::Once), "j", T + 8 * MINUTE);
    assert!(state.is_running(), "what runs goes on");
}

#[test]
fn what_could_not_be_started_is_wanted_as_before() {
    let mut state = skips();
    state.tick(T + 5 * MINUTE);
    let due = state.due(T + 5 * MINUTE).unwrap().clone();
    state.started(&due);
    assert_eq!(state.not_started(due.clone()), None);
    assert_eq!(state.due(T + 5 * MINUTE), Some(&due));
    let mut state = State::new(&job("*/5 * * * *", Overlap::Queue, Missed::Skip), "j", None, T);
    start(&mut state, T + 5 * MINUTE);
    assert!(state.tick(T + 10 * MINUTE).is_empty(), "it waits in the queue");
    let displaced = state.not_started(due).expect("the later one");
    assert_eq!((displaced.at_ms, displaced.why), (T + 10 * MINUTE, Why::Overlap));
}

fn start(state: &mut State, at: i64) {
    assert!(state.tick(at).is_empty());
    let due = state.due(at).unwrap().clone();
    state.started(&due);
}
