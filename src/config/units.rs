//! Durations and sizes as a person writes them: `30s`, `1h 30m`, `1d`, `200MB`.

use std::time::Duration;

/// None where `text` is anything but numbers with a unit each, largest first or not.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let length = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" | "sec" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(milliseconds)?))?;
        rest = after.trim_start();
    }
    Some(total)
}

/// Bytes. `MB` is a million, `MiB` is 2^20.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = number(text.trim())?;
    let factor: u64 = match unit {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn number(text: &str) -> Option<(u64, &str)> {
    let length = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(length);
    Some((digits.parse().ok()?, rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units() {
        for (text, seconds) in
            [("30s", 30), ("10m", 600), ("1h 30m", 5400), ("1h30m", 5400), ("1d", 86_400), ("2 min", 120)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "s", "5 x", "-5s", "1.5h", "5s!", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_need_units() {
        for (text, bytes) in [("200MB", 200_000_000), ("1 GiB", 1 << 30), ("10KB", 10_000)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "200", "MB", "1XB", "99999999999999GB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
