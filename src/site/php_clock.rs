//! PHP's clock, as far as this machine can know it. PHP decides what is due; the runner has to wake by PHP's clock.

/// Every answer brackets the offset: PHP read its clock between our sending and our receiving.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PhpClock {
    bracket: Option<Bracket>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bracket {
    low: i64,
    high: i64,
    at_ms: i64,
}

/// A narrow bracket is believed for so long before a wider one may replace it.
const TRUSTED_MS: i64 = 600_000;

impl PhpClock {
    pub fn learn(&mut self, sent_ms: i64, received_ms: i64, php_ms: i64) {
        let new = Bracket { low: php_ms - received_ms, high: php_ms - sent_ms, at_ms: received_ms };
        let is_better = match self.bracket {
            None => true,
            Some(old) => {
                let is_narrower = new.high - new.low <= old.high - old.low;
                let is_elsewhere = new.low > old.high || new.high < old.low;
                is_narrower || is_elsewhere || received_ms - old.at_ms > TRUSTED_MS
            }
        };
        if is_better && new.low <= new.high {
            self.bracket = Some(new);
        }
    }

    /// PHP's clock minus ours. The same clock where that is possible; else the end that never wakes us early.
    pub fn offset_ms(self) -> i64 {
        match self.bracket {
            Some(bracket) if bracket.low > 0 || bracket.high < 0 => bracket.low,
            _ => 0,
        }
    }

    pub fn to_php(self, ours_ms: i64) -> i64 {
        ours_ms + self.offset_ms()
    }

    pub fn to_ours(self, php_ms: i64) -> i64 {
        php_ms - self.offset_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_machine_has_no_offset_however_slow_the_answer() {
        let mut clock = PhpClock::default();
        clock.learn(1000, 1400, 1390);
        assert_eq!(clock.offset_ms(), 0);
    }

    #[test]
    fn another_clock_never_wakes_us_early() {
        let mut clock = PhpClock::default();
        // PHP is 5000 ahead; it read its clock 30 ms after we sent, 10 ms before we received.
        clock.learn(1000, 1040, 6030);
        assert_eq!(clock.offset_ms(), 4990);
        assert!(clock.to_ours(10_000) >= 5000);
        clock.learn(2000, 2004, 7002);
        assert_eq!(clock.offset_ms(), 4998);
        clock.learn(3000, 3400, 8300);
        assert_eq!(clock.offset_ms(), 4998, "a slower answer knows less");
        clock.learn(4000, 4400, 4300);
        assert_eq!(clock.offset_ms(), 0, "the clock was set");
    }
}
