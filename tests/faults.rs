//! Faults, injected on purpose: each row ends with one figure, `lost 0, doubled 0, held h, repeated r, of N`.
//!
//! `make test` runs every row short. `make faults` runs them as long as they are meant (`FAULTS=full`), and shows the
//! figures; `make faults BREAK=merge` takes a guard away, and the figure must then be above 0: a checker that cannot see
//! proves nothing. The moments are drawn from a seed, which is printed; `SEED=n` repeats it.

mod aimed;
mod answers;
mod by_hand;
mod corrupt;
mod database;
pub mod door;
mod drain;
mod endings;
mod failover;
mod fence;
mod floods;
mod full_disk;
mod hosts_table;
mod hung;
mod jumps;
mod names;
mod neighbours;
mod php_fpm;
mod proofs;
mod redis_server;
mod reloads;
mod runner_kills;
mod signatures;
mod soak;
mod storm;
mod take_over;
mod thousand_sites;
mod ticks;
mod two_hosts;
mod worker_kills;
mod writers;

use std::fmt::Display;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::Figure;

/// How often something is done: short within the suite, else as often as the row asks for.
pub fn times(short: usize, full: usize) -> usize {
    if std::env::var("FAULTS").is_ok_and(|mode| mode == "full") { full } else { short }
}

/// Moments and victims, from a seed (splitmix64).
pub struct Random {
    pub seed: u64,
    state: u64,
}

impl Random {
    /// From `SEED`, else from the clock.
    pub fn new() -> Random {
        let given = std::env::var("SEED").ok().map(|text| text.parse().expect("SEED is a number"));
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| u64::from(now.subsec_nanos()));
        let seed = given.unwrap_or_else(clock);
        Random::from_seed(seed)
    }

    pub fn from_seed(seed: u64) -> Random {
        Random { seed, state: seed }
    }

    /// From 0 to `below` - 1.
    pub fn below(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let count = u64::try_from(of.len()).expect("a few");
        &of[usize::try_from(self.below(count)).expect("a few")]
    }
}

/// Shows a row's figure, here and at the end of `make faults`.
pub fn show(row: &str, figure: &Figure, hits: &dyn Display) {
    let line = format!("{row}: {figure}; {hits}");
    eprintln!("{line}");
    if let Some(file) = std::env::var_os("FAULTS_FIGURES") {
        let mut file = std::fs::File::options().create(true).append(true).open(file).expect("FAULTS_FIGURES");
        writeln!(file, "{line}").expect("FAULTS_FIGURES");
    }
}

/// A row that must end without loss.
#[track_caller]
pub fn nothing_wrong(row: &str, figure: &Figure, hits: &dyn Display) {
    show(row, figure, hits);
    assert_eq!(figure.wrong(), 0, "{row}: {figure}; {hits}");
}
