//! The calendar of a line: the wall times that its five fields allow. The only file that knows the crate `cron`.
//!
//! A wall time is a number of seconds here, counted as if the wall clock showed UTC, so that it never jumps.

use std::fmt::Write as _;
use std::str::FromStr;

use chrono::{DateTime, Utc};

use super::fields::Fields;
use super::{EXPRESSION, Wrong};

/// Either of these schedules is enough. Two, where day of month and day of week are both given: `cron` only knows "and".
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar(Vec<cron::Schedule>);

impl Calendar {
    pub fn new(fields: &Fields) -> Result<Self, Wrong> {
        let days = numbers(fields.days, 31);
        let weekdays = names(fields.weekdays);
        let wanted = if fields.both_days {
            vec![text(fields, &days, &weekdays)]
        } else {
            vec![text(fields, &days, "*"), text(fields, "*", &weekdays)]
        };
        let schedules = wanted.iter().map(|text| {
            let refused = |error| Wrong::new(EXPRESSION, text, format!("what the calendar can read: {error}"));
            cron::Schedule::from_str(text).map_err(refused)
        });
        Ok(Self(schedules.collect::<Result<_, _>>()?))
    }

    /// The first wall time strictly after `wall_s`. None after the year 2100, where `cron` ends.
    pub fn next_after(&self, wall_s: i64) -> Option<i64> {
        let after = DateTime::<Utc>::from_timestamp(wall_s, 0)?;
        self.0.iter().filter_map(|schedule| schedule.after(&after).next()).map(|time| time.timestamp()).min()
    }

    /// The first wall time, the last one, and how many there are, from `from_s` to before `until_s`.
    pub fn within(&self, from_s: i64, until_s: i64) -> Option<(i64, i64, u32)> {
        let next = |wall_s: i64| self.next_after(wall_s).filter(|time| *time < until_s);
        let first = next(from_s - 1)?;
        let mut found = (first, first, 1);
        while let Some(time) = next(found.1) {
            found = (first, time, found.2 + 1);
        }
        Some(found)
    }
}

/// `cron` wants seconds first, and numbers weekdays from 1 for Sunday: it gets their names.
fn text(fields: &Fields, days: &str, weekdays: &str) -> String {
    let (minutes, hours) = (numbers(fields.minutes, 59), numbers(fields.hours, 23));
    format!("0 {minutes} {hours} {days} {} {weekdays}", numbers(fields.months, 12))
}

fn numbers(set: u64, high: u32) -> String {
    (0..=high).filter(|number| set >> number & 1 == 1).fold(String::new(), |mut list, number| {
        let comma = if list.is_empty() { "" } else { "," };
        let _ = write!(list, "{comma}{number}");
        list
    })
}

fn names(weekdays: u64) -> String {
    if weekdays == 0x7f {
        return "*".to_owned();
    }
    let names = (0..).zip(["sun", "mon", "tue", "wed", "thu", "fri", "sat"]);
    names.filter(|(day, _)| weekdays >> day & 1 == 1).map(|(_, name)| name).collect::<Vec<_>>().join(",")
}
