//! What crontab(5) says, worked out by hand (`table.rs`, `set_clock.rs`), what cron(8) does, by a model that walks every minute
//! (`against_a_model.rs`), and what an owner counts on (`every_day.rs`).

mod against_a_model;
mod every_day;
mod set_clock;
mod table;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Schedule, zone};

fn schedule(expression: &str, name: &str) -> Schedule {
    Schedule::parse(expression, zone(Some(name)).unwrap()).unwrap_or_else(|wrong| panic!("{expression}: {wrong}"))
}

fn ms(time: &str) -> i64 {
    time.parse::<Timestamp>().unwrap().as_millisecond()
}

/// `2026-03-08T03:00:00-04:00`
fn local(at_ms: i64, zone: &TimeZone) -> String {
    Timestamp::from_millisecond(at_ms).unwrap().to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// SplitMix64: small, and the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = self.within(0, from.len() as u64 - 1);
        &from[usize::try_from(at).unwrap()]
    }
}
