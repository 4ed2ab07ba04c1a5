//! The only reader of the system's clock, and the way times are written. Pure code gets `now` as an argument.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Unix milliseconds, as the wall clock says now.
pub fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds on a clock that nobody sets: time limits are measured by it. Like PHP it stands still while the host sleeps.
/// It says nothing beyond this process.
pub fn steady_ms() -> i64 {
    millis(START.elapsed())
}

/// Milliseconds since the machine was started, also while it slept (CLOCK_BOOTTIME): what others may have done meanwhile is
/// measured by it.
pub fn boot_ms() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec.saturating_mul(1000) + time.tv_nsec / 1_000_000
}

/// `2026-11-22T08:15:30.250Z`
pub fn rfc3339(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) if ms % 1000 == 0 => time.to_string(),
        Ok(time) => format!("{time:.3}"),
        Err(_) => ms.to_string(),
    }
}

/// What [`rfc3339`] has written.
pub fn from_rfc3339(text: &str) -> Option<i64> {
    text.parse().map(Timestamp::as_millisecond).ok().or_else(|| text.parse().ok())
}

/// `2026-11-22 08:15:30` in the zone of the machine, for tables.
pub fn local(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => ms.to_string(),
    }
}

/// How long something is, in the two units that matter: `3 d 4 h`, `12 s`, `250 ms`.
pub fn span(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    let (seconds, minutes, hours, days) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    let text = match ms {
        0..1000 => format!("{ms} ms"),
        1000..10_000 => format!("{}.{} s", seconds, ms % 1000 / 100),
        10_000..60_000 => format!("{seconds} s"),
        60_000..3_600_000 => two(minutes, "min", seconds % 60, "s"),
        3_600_000..86_400_000 => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    };
    format!("{sign}{text}")
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
}

pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_name_two_units_at_most() {
        let table = [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_250, "1.2 s"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (7_200_000, "2 h"),
            (277_200_000, "3 d 5 h"),
            (-1_500, "-1.5 s"),
        ];
        for (ms, expected) in table {
            assert_eq!(span(ms), expected);
        }
    }

    #[test]
    fn times_carry_milliseconds_only_where_there_are_some() {
        assert_eq!(rfc3339(1_700_000_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(1_700_000_000_250), "2023-11-14T22:13:20.250Z");
        for ms in [0, 1, -1, 999, -999, 1_700_000_000_250, -62_167_219_200_001, 253_402_300_799_999, i64::MAX, i64::MIN]
        {
            assert_eq!(from_rfc3339(&rfc3339(ms)), Some(ms));
        }
        assert_eq!(from_rfc3339("yesterday"), None);
    }
}
