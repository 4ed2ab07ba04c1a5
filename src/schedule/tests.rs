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
