//! Time zones by name, and when their clocks are set.

use jiff::Timestamp;
use jiff::tz::{self, TimeZone};

use super::{TIME_ZONE, Wrong};
use crate::text;

/// cron(8): changes of the clock by less than three hours are daylight saving; a larger one is a correction.
const CORRECTION_S: i64 = 3 * 3600;

/// The zone of this IANA name, or the system's (`TZ`, then /etc/localtime; UTC where there is neither, as libc has it).
///
/// # Errors
/// A name that the system's tzdata does not have; the message gives the three nearest.
pub fn zone(name: Option<&str>) -> Result<TimeZone, Wrong> {
    let Some(name) = name else {
        return Ok(TimeZone::try_system().unwrap_or(TimeZone::UTC));
    };
    tz::db().get(name).map_err(|_| {
        let near = nearest_three(&text::safe_cut(name, 80)).join(", ");
        Wrong::new(TIME_ZONE, name, format!("an IANA name such as Europe/Berlin; the nearest are {near}"))
    })
}

pub fn name(zone: &TimeZone) -> String {
    match zone.iana_name() {
        Some(name) => name.to_owned(),
        // /etc/localtime may be a copied file; it does not say its name.
        None => "local time".to_owned(),
    }
}

/// By the pairs of letters that two names share, so that `Berlin` and `america/newyork` find theirs.
fn nearest_three(wrong: &str) -> Vec<String> {
    let wanted = pairs(wrong);
    let likeness = |name: &str| {
        let known = pairs(name);
        let shared = wanted.iter().filter(|pair| known.contains(pair)).count();
        2000 * shared / (wanted.len() + known.len()).max(1)
    };
    let names = tz::db().available().map(|name| name.to_string());
    let mut names: Vec<(usize, String)> = names.map(|name| (likeness(&name), name)).collect();
    names.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    names.into_iter().take(3).map(|(_, name)| name).collect()
}

fn pairs(name: &str) -> Vec<(char, char)> {
    let letters: Vec<char> = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    letters.iter().copied().zip(letters.iter().copied().skip(1)).collect()
}

/// A clock that is set: until `at_s` it is `old_s` ahead of UTC, from then on `new_s`. All in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    pub at_s: i64,
    pub old_s: i64,
    pub new_s: i64,
}

impl Change {
    /// The wall time that the clock would have shown next.
    pub fn wall_from(&self) -> i64 {
        self.at_s + self.old_s
    }

    /// The wall time that it shows instead.
    pub fn wall_to(&self) -> i64 {
        self.at_s + self.new_s
    }

    /// Wall times are left out.
    pub fn is_gap(&self) -> bool {
        self.new_s > self.old_s
    }

    /// Too large to be daylight saving, as when Samoa left out a day: cron(8) then takes the new time as it is.
    pub fn is_correction(&self) -> bool {
        (self.new_s - self.old_s).abs() >= CORRECTION_S
    }
}

/// Seconds ahead of UTC. None for a time that no calendar of ours reaches.
pub fn offset_at(zone: &TimeZone, unix_s: i64) -> Option<i64> {
    let time = Timestamp::from_second(unix_s).ok()?;
    Some(i64::from(zone.to_offset(time).seconds()))
}

/// Every change strictly after `unix_s`, in order. tzdata also lists moments at which only an abbreviation changes: not these.
pub fn changes_after(zone: &TimeZone, unix_s: i64) -> impl Iterator<Item = Change> {
    let start = Timestamp::from_second(unix_s).ok();
    let mut old_s = offset_at(zone, unix_s).unwrap_or(0);
    let transitions = start.into_iter().flat_map(|start| zone.following(start));
    transitions.filter_map(move |transition| {
        let new_s = i64::from(transition.offset().seconds());
        let change = Change { at_s: transition.timestamp().as_second(), old_s, new_s };
        old_s = new_s;
        (change.new_s != change.old_s).then_some(change)
    })
}
