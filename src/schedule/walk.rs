//! The calendar of a line, laid over the real time of a zone.
//!
//! Between two changes of the clock, wall time and real time run side by side, and the calendar gives the next time. Where
//! the clock is set, cron(8) has two rules. A line with `*` first in minute or hour starts at every real minute whose wall
//! time matches: in a repeated hour both times, in a gap never. A line with fixed times starts once for each of them: in a
//! repeated hour the first time, and what a gap leaves out once for all when the gap ends. Changes of three hours and more
//! are corrections: then every line follows the clock.
//!
//! `_s` is seconds: `at_s` since 1970, a wall time as if the wall clock showed UTC.

use jiff::tz::TimeZone;

use super::Wrong;
use super::calendar::Calendar;
use super::fields::Fields;
use super::shift::{Shift, What};
use super::zone::{Change, changes_after, offset_at};

/// A repeated hour may still be running out: it began less than so long ago.
const RECENT_S: i64 = 86_400;

#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    calendar: Calendar,
    wildcard: bool,
}

impl Walk {
    pub fn follows_the_clock(&self) -> bool {
        self.wildcard
    }

    pub fn new(fields: &Fields) -> Result<Self, Wrong> {
        Ok(Self { calendar: Calendar::new(fields)?, wildcard: fields.wildcard })
    }

    pub fn next_after(&self, zone: &TimeZone, after_s: i64) -> Option<(i64, Option<Shift>)> {
        let mut offset_s = offset_at(zone, after_s)?;
        let mut done = after_s + offset_s;
        let mut changes = changes_after(zone, after_s - RECENT_S).peekable();
        while let Some(change) = changes.next_if(|change| change.at_s <= after_s) {
            done = done.max(self.done_at(&change));
        }
        // Always the first wall time after `done`, which is the last one that can be of no use any more.
        let mut next = self.calendar.next_after(done)?;
        for change in changes {
            if next < change.wall_from() {
                return Some((next - offset_s, self.first_of_two(next, &change)));
            }
            if next < change.wall_to() && !self.follows_clock(&change) {
                let left_out = self.calendar.within(next, change.wall_to())?;
                return Some((change.at_s, Some(Shift::new(What::Moved, left_out, &change))));
            }
            let resumed = self.done_at(&change);
            if resumed < done || next <= resumed {
                next = self.calendar.next_after(resumed)?;
            }
            (done, offset_s) = (resumed, change.new_s);
        }
        Some((next - offset_s, None))
    }

    /// What a change does beyond the shifts that [`Walk::next_after`] tells.
    pub fn notes_between(&self, zone: &TimeZone, after_s: i64, until_s: i64) -> Vec<(i64, Shift)> {
        let changes = changes_after(zone, after_s).take_while(|change| change.at_s <= until_s);
        let note = |change: Change| {
            let (from, to) = (change.wall_from(), change.wall_to());
            let times = self.calendar.within(from.min(to), from.max(to))?;
            let what = if change.is_gap() { What::Skipped } else { What::Twice };
            Some((change.at_s, Shift::new(what, times, &change)))
        };
        changes.filter(|change| self.follows_clock(change)).filter_map(note).collect()
    }

    fn follows_clock(&self, change: &Change) -> bool {
        self.wildcard || change.is_correction()
    }

    /// When `change` has been made: the last wall time that needs no run any more.
    fn done_at(&self, change: &Change) -> i64 {
        let wall_s =
            if self.follows_clock(change) { change.wall_to() } else { change.wall_from().max(change.wall_to()) };
        wall_s - 1
    }

    fn first_of_two(&self, wall_s: i64, change: &Change) -> Option<Shift> {
        let again = wall_s >= change.wall_to() && !self.follows_clock(change);
        again.then(|| Shift::new(What::FirstOfTwo, (wall_s, wall_s, 1), change))
    }
}
