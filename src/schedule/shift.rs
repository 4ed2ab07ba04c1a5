//! What a clock that is set does to a line, in words.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::zone::Change;

/// Times of a line that fall where the clock is set.
#[derive(Debug, Clone, PartialEq)]
pub struct Shift {
    pub what: What,
    /// The first of these times, and the last, as the line says them, on the wall clock.
    pub first: DateTime,
    pub last: DateTime,
    pub times: u32,
    /// The clock goes from here to there.
    pub clock: (DateTime, DateTime),
    correction: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The clock leaves them out, and one run when it has been set stands for all of them.
    Moved,
    /// They come twice, and run the first time only.
    FirstOfTwo,
    /// The clock leaves them out, and no run stands for them.
    Skipped,
    /// They come twice, and run twice.
    Twice,
}

impl Shift {
    /// `first_s` and `last_s` are wall times.
    pub(super) fn new(what: What, (first_s, last_s, times): (i64, i64, u32), change: &Change) -> Self {
        let clock = (wall(change.wall_from()), wall(change.wall_to()));
        Self { what, first: wall(first_s), last: wall(last_s), times, clock, correction: change.is_correction() }
    }

    /// What happens, and why: `moved from 02:30, which is left out: the clock goes from 02:00 to 03:00`.
    pub fn sentence(&self) -> String {
        let times = self.times();
        let clock =
            format!("the clock goes{} from {} to {}", self.back(), self.say(self.clock.0), self.say(self.clock.1));
        match (self.what, self.times) {
            (What::Moved, 1) => format!("moved from {times}, which is left out: {clock}"),
            (What::Moved, _) => format!("one run for {times}, which are left out: {clock}"),
            (What::FirstOfTwo, _) => format!("{times} comes twice and runs the first time only: {clock}"),
            (What::Skipped, 1) => format!("{times} is left out: {clock}; {}", self.rule()),
            (What::Skipped, _) => format!("{times} are left out: {clock}; {}", self.rule()),
            (What::Twice, 1) => format!("{times} runs twice: {clock}; {}", self.rule()),
            (What::Twice, _) => format!("{times} run twice: {clock}; {}", self.rule()),
        }
    }

    fn times(&self) -> String {
        match self.times {
            1 => self.say(self.first),
            many => format!("{many} times from {} to {}", self.say(self.first), self.say(self.last)),
        }
    }

    fn back(&self) -> &'static str {
        if self.clock.1 < self.clock.0 { " back" } else { "" }
    }

    fn rule(&self) -> &'static str {
        if self.correction {
            "so large a change is a correction of the clock, and nothing makes up for it"
        } else {
            "a line with `*` first in minute or hour follows the clock"
        }
    }

    /// With the date where midnight lies between the two.
    fn say(&self, time: DateTime) -> String {
        let one_day = self.clock.0.date() == self.clock.1.date();
        time.strftime(if one_day { "%H:%M" } else { "%Y-%m-%d %H:%M" }).to_string()
    }
}

fn wall(wall_s: i64) -> DateTime {
    Timestamp::from_second(wall_s).map(|time| Offset::UTC.to_datetime(time)).unwrap_or_default()
}
