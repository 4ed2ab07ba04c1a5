//! Crontab expressions with a time zone: which times does a line mean?
//!
//! The language is crontab(5), and what happens when the clock is set is cron(8), both as Debian's cron has them. We read
//! the five fields ourselves (`fields.rs`), because no crate reads them as crontab does, and because an error has to name
//! the field. The crate `cron` only walks the calendar (`calendar.rs`): it is given a wall clock that never jumps, so that
//! its own weekday numbers and its own idea of daylight saving never come into play. `walk.rs` lays that calendar over the
//! real time of a zone, which jiff knows from the system's tzdata.
//!
//! Nothing here reads a clock.

mod calendar;
mod fields;
mod shift;
mod walk;
mod zone;

#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;

use crate::text;
pub use shift::Shift;
use walk::Walk;
pub use zone::zone;

/// A crontab expression in a time zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    expression: String,
    zone: TimeZone,
    when: When,
}

#[derive(Debug, Clone, PartialEq)]
enum When {
    /// `@reboot`: when the runner starts, at no time of day.
    Reboot,
    At(Walk),
}

/// One time at which a job starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Fire {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// Where this is not simply what the line says: why.
    pub why: Option<Shift>,
}

/// Times of a line that did not get a run of their own, or got two.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// When the clock was set, in Unix milliseconds.
    pub at_ms: i64,
    pub shift: Shift,
}

/// What cannot be read: `the field minute is "61"; expected 0 to 59`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{} is \"{found}\"; expected {expected}", self.subject())]
pub struct Wrong {
    pub field: &'static str,
    /// Safe to print, and not long.
    pub found: String,
    pub expected: String,
}

const EXPRESSION: &str = "expression";
const TIME_ZONE: &str = "time zone";

impl Wrong {
    fn new(field: &'static str, found: &str, expected: impl Into<String>) -> Self {
        Self { field, found: text::safe_cut(found, 80), expected: expected.into() }
    }

    /// `the field minute`, `the expression`, `the time zone`
    pub fn subject(&self) -> String {
        let kind = if matches!(self.field, EXPRESSION | TIME_ZONE) { "" } else { "field " };
        format!("the {kind}{}", self.field)
    }
}

impl Schedule {
    /// Reads `expression` as crontab(5) has it: five fields, or a nickname such as `@daily`.
    ///
    /// # Errors
    /// What crontab would refuse, and what would never come, such as 30 February.
    pub fn parse(expression: &str, zone: TimeZone) -> Result<Self, Wrong> {
        let expression = expression.trim_matches([' ', '\t']);
        let when = match fields::read(expression)? {
            Some(fields) => When::At(Walk::new(&fields)?),
            None => When::Reboot,
        };
        Ok(Self { expression: expression.to_owned(), zone, when })
    }

    pub fn is_reboot(&self) -> bool {
        self.when == When::Reboot
    }

    /// It has `*` first in minute or hour: it follows the clock when that is set, as cron(8) has it.
    pub fn follows_the_clock(&self) -> bool {
        matches!(&self.when, When::At(walk) if walk.follows_the_clock())
    }

    /// The first start strictly after `after_ms` (Unix milliseconds). Asked again with each answer, it gives every start once
    /// and in order. None for `@reboot`, and where the next one would be after the year 2100.
    pub fn next_after(&self, after_ms: i64) -> Option<Fire> {
        let When::At(walk) = &self.when else { return None };
        let (at_s, why) = walk.next_after(&self.zone, after_ms.div_euclid(1000))?;
        Some(Fire { at_ms: at_s * 1000, why })
    }

    /// What the clock being set does to this line after `after_ms` up to `until_ms`, beyond what [`Fire::why`] says: times
    /// that are left out, or that come twice.
    pub fn notes_between(&self, after_ms: i64, until_ms: i64) -> Vec<Note> {
        let When::At(walk) = &self.when else { return Vec::new() };
        let notes = walk.notes_between(&self.zone, after_ms.div_euclid(1000), until_ms.div_euclid(1000));
        notes.into_iter().map(|(at_s, shift)| Note { at_ms: at_s * 1000, shift }).collect()
    }

    /// As it was written, without the blanks around it.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    pub fn zone_name(&self) -> String {
        zone::name(&self.zone)
    }
}
