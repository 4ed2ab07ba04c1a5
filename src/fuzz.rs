//! Seeded disorder for the tests of whatever reads what others wrote. The same seed gives the same input on every machine.

/// Calls `check` so many times, each time with numbers of its own. A failure names the seed with which the failing input
/// comes first: `SEED=2029 cargo test NAME`.
pub fn each(rounds: u64, mut check: impl FnMut(&mut Random)) {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026_u64);
    for round in 0..rounds {
        let told = Told(first.wrapping_add(round));
        check(&mut Random(told.0));
    }
}

struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input that failed comes first with SEED={}", self.0);
        }
    }
}

/// SplitMix64: small, and the same numbers everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.within(0, bound as u64 - 1)).unwrap()
    }

    pub fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    /// A few changes of a few bytes each: what a broken disk, a careless editor or an attacker would do.
    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.within(1, 4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            let end = (at + self.below(40) + 1).min(bytes.len());
            match self.within(0, 6) {
                0 => bytes[at] ^= 1 << self.within(0, 7),
                1 => bytes[at] = self.byte(),
                2 => bytes.insert(at, *self.pick(b"\n\0\r \"=[{}]:0\xff\x1b")),
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let again = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, again);
                }
                5 => bytes[at..end].reverse(),
                _ => bytes.truncate(at),
            }
        }
    }

    /// The same bytes in pieces: one, single bytes, or as it comes.
    pub fn cut<'a>(&mut self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let longest = *self.pick(&[1, 3, 20, 300, 8192, usize::MAX]);
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(self.below(longest) + 1));
            pieces.push(piece);
            rest = after;
        }
        pieces
    }
}
