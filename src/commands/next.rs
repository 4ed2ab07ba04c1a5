//! `next`: when does this crontab line come? Needs no configuration, so that a line can be tried before it is written down.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Serialize;

use super::{Stop, exit, print, print_json};
use crate::clock;
use crate::schedule::{self, Fire, Note, Schedule, Wrong};
use crate::text;

/// What is asked, as it was typed.
pub struct Ask {
    pub expression: String,
    pub timezone: Option<String>,
    pub from: Option<String>,
    pub n: u16,
}

/// The answer for programs.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    expression: &'a str,
    timezone: String,
    next: Vec<String>,
    notes: Vec<Said>,
}

#[derive(Debug, Serialize)]
struct Said {
    time: String,
    note: String,
}

/// The coming times, and what the clock being set does to them. `now_ms` is in Unix milliseconds.
pub fn next(ask: &Ask, json: bool, now_ms: i64) -> Result<u8, Stop> {
    let zone = schedule::zone(ask.timezone.as_deref()).map_err(|wrong| refused(&wrong, "--timezone"))?;
    let schedule = Schedule::parse(&ask.expression, zone.clone()).map_err(|wrong| refused(&wrong, "EXPR"))?;
    let from_ms = match &ask.from {
        Some(time) => start(time, &zone)?,
        None => now_ms,
    };
    let fires = coming(&schedule, from_ms, ask.n);
    let notes = schedule.notes_between(from_ms, fires.last().map_or(from_ms, |fire| fire.at_ms));
    if json {
        print_json(&answer(&schedule, &zone, &fires, &notes))?;
    } else {
        let distance = |ms: i64| match ask.from {
            Some(_) => format!("{} later", clock::span(ms - from_ms)),
            None => format!("in {}", clock::span(ms - from_ms)),
        };
        let mut text = lines(&schedule, &zone, &fires, &notes, distance);
        if fires.len() < usize::from(ask.n) && !schedule.is_reboot() {
            text += &format!("{}: does not come again before the year 2101\n", schedule.expression());
        }
        print(&text)?;
    }
    Ok(exit::FINE)
}

fn refused(wrong: &Wrong, place: &str) -> Stop {
    let stop = Stop::new(exit::USAGE, format!("{} is wrong", wrong.subject())).at(place);
    stop.found(format!("\"{}\"", wrong.found)).expected(&*wrong.expected).next("`wp-cron-runner next --help`")
}

/// A wall time that comes twice is taken the first time; one that is left out, as much later as the clock was set.
fn start(time: &str, zone: &TimeZone) -> Result<i64, Stop> {
    if let Ok(time) = time.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    // jiff would read the wall time, and pass over a zone or an offset behind it.
    let wall = time.parse::<DateTime>().ok().filter(|_| !time.contains(['[', '+', 'Z', 'z']));
    let found = wall.and_then(|wall| zone.to_timestamp(wall).ok());
    found.map(Timestamp::as_millisecond).ok_or_else(|| {
        let expected = "RFC 3339 such as 2026-03-08T01:00:00Z, or a wall time of the zone such as \"2026-03-08 01:00\"";
        let found = format!("\"{}\"", text::safe_cut(time, 80));
        Stop::new(exit::USAGE, "the time to begin at is wrong")
            .at("--from")
            .found(found)
            .expected(expected)
            .next("`wp-cron-runner next --help`")
    })
}

fn coming(schedule: &Schedule, from_ms: i64, n: u16) -> Vec<Fire> {
    let first = schedule.next_after(from_ms);
    std::iter::successors(first, |fire| schedule.next_after(fire.at_ms)).take(usize::from(n)).collect()
}

fn lines(
    schedule: &Schedule,
    zone: &TimeZone,
    fires: &[Fire],
    notes: &[Note],
    distance: impl Fn(i64) -> String,
) -> String {
    if schedule.is_reboot() {
        return format!("{}: when the runner starts, at no time of day\n", schedule.expression());
    }
    let (mut out, mut notes) = (String::new(), notes.iter().peekable());
    for fire in fires {
        while let Some(note) = notes.next_if(|note| note.at_ms <= fire.at_ms) {
            out += &format!("    {}\n", note.shift.sentence());
        }
        let time = written(fire.at_ms, zone, "%Y-%m-%d %H:%M:%S %:z");
        out += &format!("{time}  {}  ({})\n", schedule.zone_name(), distance(fire.at_ms));
        if let Some(why) = &fire.why {
            out += &format!("    {}\n", why.sentence());
        }
    }
    out
}

fn answer<'a>(schedule: &'a Schedule, zone: &TimeZone, fires: &[Fire], notes: &[Note]) -> Answer<'a> {
    let rfc3339 = |ms: i64| written(ms, zone, "%Y-%m-%dT%H:%M:%S%:z");
    let told = fires.iter().filter_map(|fire| fire.why.as_ref().map(|why| (fire.at_ms, why)));
    let mut said: Vec<_> = told.chain(notes.iter().map(|note| (note.at_ms, &note.shift))).collect();
    said.sort_by_key(|(at_ms, _)| *at_ms);
    Answer {
        expression: schedule.expression(),
        timezone: schedule.zone_name(),
        next: fires.iter().map(|fire| rfc3339(fire.at_ms)).collect(),
        notes: said.into_iter().map(|(at_ms, shift)| Said { time: rfc3339(at_ms), note: shift.sentence() }).collect(),
    }
}

fn written(ms: i64, zone: &TimeZone, form: &str) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => Zoned::new(time, zone.clone()).strftime(form).to_string(),
        Err(_) => ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(expression: &str, name: &str, from: &str, n: u16) -> String {
        let zone = schedule::zone(Some(name)).unwrap();
        let schedule = Schedule::parse(expression, zone.clone()).unwrap();
        let from_ms = start(from, &zone).unwrap();
        let fires = coming(&schedule, from_ms, n);
        let notes = schedule.notes_between(from_ms, fires.last().map_or(from_ms, |fire| fire.at_ms));
        lines(&schedule, &zone, &fires, &notes, |ms| clock::span(ms - from_ms))
    }

    #[test]
    fn a_time_that_is_moved_has_its_reason_below() {
        assert_eq!(
            printed("30 2 * * *", "America/New_York", "2026-03-08 01:00", 2),
            "2026-03-08 03:00:00 -04:00  America/New_York  (1 h)\n    \
             moved from 02:30, which is left out: the clock goes from 02:00 to 03:00\n\
             2026-03-09 02:30:00 -04:00  America/New_York  (1 d)\n"
        );
    }

    #[test]
    fn times_that_run_twice_are_told_between_the_two() {
        let text = printed("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:10:00Z", 2);
        let words: Vec<&str> = text.lines().map(|line| line.get(..25).unwrap_or(line).trim()).collect();
        assert_eq!(words, ["2026-10-25 02:30:00 +02:0", "2 times from 02:00 to", "2026-10-25 02:00:00 +01:0"]);
    }

    #[test]
    fn a_start_is_an_instant_or_a_wall_time() {
        let zone = schedule::zone(Some("Europe/Berlin")).unwrap();
        for (time, expected) in [
            ("2026-03-08T01:00:00Z", "2026-03-08T01:00:00Z"),
            ("2026-03-08T01:00:00+01:00", "2026-03-08T00:00:00Z"),
            ("2026-03-08 01:00", "2026-03-08T00:00:00Z"),
            ("2026-03-08T01:00:30", "2026-03-08T00:00:30Z"),
            ("2026-03-08", "2026-03-07T23:00:00Z"),
        ] {
            assert_eq!(start(time, &zone).unwrap(), expected.parse::<Timestamp>().unwrap().as_millisecond(), "{time}");
        }
        for time in
            ["", "tomorrow", "2026-02-30 01:00", "2026-03-08 01:00 Z+", "2026-03-08 01:00[Asia/Tokyo]", "\u{1b}"]
        {
            let stop = start(time, &zone).expect_err(time);
            assert!(stop.code == exit::USAGE && stop.place.as_deref() == Some("--from"), "{time}: {stop}");
        }
    }

    #[test]
    fn a_refusal_names_field_value_and_what_was_expected() {
        let ask = |expression: &str, timezone: &str| {
            let (expression, timezone) = (expression.to_owned(), Some(timezone.to_owned()));
            next(&Ask { expression, timezone, from: None, n: 5 }, false, 0).expect_err("refused")
        };
        let stop = ask("61 * * * *", "UTC");
        assert_eq!((stop.code, stop.place.as_deref()), (exit::USAGE, Some("EXPR")));
        assert!(stop.to_string().starts_with("the field minute is wrong: \"61\"; expected 0 to 59"), "{stop}");
        let stop = ask("@daily", "Mars/X");
        assert_eq!((stop.code, stop.place.as_deref()), (exit::USAGE, Some("--timezone")));
        assert!(stop.to_string().starts_with("the time zone is wrong: \"Mars/X\"; expected an IANA name"), "{stop}");
    }

    #[test]
    fn reboot_has_no_next_time() {
        let reboot = Schedule::parse("@reboot", TimeZone::UTC).unwrap();
        let answer = serde_json::to_value(answer(&reboot, &TimeZone::UTC, &coming(&reboot, 0, 5), &[])).unwrap();
        let expected = serde_json::json!({"expression": "@reboot", "timezone": "UTC", "next": [], "notes": []});
        assert_eq!(answer, expected);
        assert!(printed("@reboot", "UTC", "2026-01-01", 5).contains("when the runner starts"));
    }
}
