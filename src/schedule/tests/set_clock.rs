//! What cron(8) does to single lines where the clock is set, worked out by hand, and the words for it.

use super::super::zone;
use super::{local, ms, schedule};

#[test]
fn a_set_clock_shifts_fixed_times_and_says_why() {
    // Zone, expression, after, then each start with what is said about it.
    let table = [
        (
            "America/New_York",
            "30 2 * * *",
            "2026-03-07T05:00:00Z",
            vec![
                ("2026-03-07T02:30:00-05:00", ""),
                (
                    "2026-03-08T03:00:00-04:00",
                    "moved from 02:30, which is left out: the clock goes from 02:00 to 03:00",
                ),
                ("2026-03-09T02:30:00-04:00", ""),
            ],
        ),
        (
            "America/New_York",
            "0,20,40 2,3 8 3 *",
            "2026-03-08T05:00:00Z",
            vec![
                ("2026-03-08T03:00:00-04:00", "one run for 3 times from 02:00 to 02:40, which are left out"),
                ("2026-03-08T03:20:00-04:00", ""),
            ],
        ),
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-10-24T12:00:00Z",
            vec![
                (
                    "2026-10-25T02:30:00+02:00",
                    "02:30 comes twice and runs the first time only: the clock goes back from 03:00 to 02:00",
                ),
                ("2026-10-26T02:30:00+01:00", ""),
            ],
        ),
        (
            "Europe/Berlin",
            "*/30 * * * *",
            "2026-10-25T00:10:00Z",
            vec![
                ("2026-10-25T02:30:00+02:00", ""),
                ("2026-10-25T02:00:00+01:00", ""),
                ("2026-10-25T02:30:00+01:00", ""),
                ("2026-10-25T03:00:00+01:00", ""),
            ],
        ),
        // Half an hour.
        (
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-03T12:00:00Z",
            vec![("2026-10-04T02:30:00+11:00", "moved from 02:15"), ("2026-10-05T02:15:00+11:00", "")],
        ),
        // A clock that is set at midnight has no midnight.
        (
            "Africa/Cairo",
            "@daily",
            "2026-04-23T12:00:00Z",
            vec![("2026-04-24T01:00:00+03:00", "moved from 00:00"), ("2026-04-25T00:00:00+03:00", "")],
        ),
        // From 23:00 to midnight: the time that was left out is of the day before.
        (
            "America/Scoresbysund",
            "30 23 * * *",
            "2026-03-28T12:00:00Z",
            vec![
                (
                    "2026-03-29T00:00:00-01:00",
                    "moved from 2026-03-28 23:30, which is left out: the clock goes from 2026-03-28 23:00 to 2026-03-29 00:00",
                ),
                ("2026-03-29T23:30:00-01:00", ""),
            ],
        ),
        // Samoa had no 30 December 2011: a correction, nothing is made up for.
        (
            "Pacific/Apia",
            "0 12 * * *",
            "2011-12-29T00:00:00Z",
            vec![("2011-12-29T12:00:00-10:00", ""), ("2011-12-31T12:00:00+14:00", "")],
        ),
    ];
    for (name, expression, after, starts) in table {
        let (schedule, zone) = (schedule(expression, name), zone(Some(name)).unwrap());
        let mut at_ms = ms(after);
        for (expected, said) in starts {
            let fire = schedule.next_after(at_ms).unwrap();
            assert_eq!(local(fire.at_ms, &zone), expected, "{name} {expression}");
            let sentence = fire.why.map(|why| why.sentence()).unwrap_or_default();
            assert!(sentence.starts_with(said) && said.is_empty() == sentence.is_empty(), "{expected}: {sentence}");
            at_ms = fire.at_ms;
        }
    }
}

#[test]
fn times_without_a_run_of_their_own_are_noted() {
    let table = [
        ("America/New_York", "*/15 * * * *", "2026-03-08", "4 times from 02:00 to 02:45 are left out"),
        ("America/New_York", "30 * * * *", "2026-03-08", "02:30 is left out"),
        ("America/New_York", "*/30 * * * *", "2026-11-01", "2 times from 01:00 to 01:30 run twice"),
        ("America/New_York", "* 1 * * *", "2026-11-01", "60 times from 01:00 to 01:59 run twice"),
        ("America/New_York", "0 */6 * * *", "2026-11-01", ""),
        ("America/New_York", "30 2 * * *", "2026-03-08", ""),
        ("Europe/Berlin", "* * * * *", "2026-03-08", ""),
        ("Pacific/Apia", "0 12 * * *", "2011-12-30", "2011-12-30 12:00 is left out"),
    ];
    for (name, expression, day, said) in table {
        let noon = ms(&format!("{day}T12:00:00Z"));
        let notes = schedule(expression, name).notes_between(noon - 86_400_000, noon + 86_400_000);
        let sentences: Vec<String> = notes.iter().map(|note| note.shift.sentence()).collect();
        assert_eq!(sentences.len(), usize::from(!said.is_empty()), "{expression}: {sentences:?}");
        assert!(sentences.iter().all(|sentence| sentence.starts_with(said)), "{expression}: {sentences:?}");
    }
}
