//! `make soak`: a storm for as long as one likes, on a site on MariaDB and one on SQLite at once.

use super::storm::{Calm, Storm};
use super::{Random, nothing_wrong, show, times};
use crate::support::{Site, Trigger, Victim, secs};

/// Minutes from `SOAK_MINUTES`; short within the suite.
fn seconds() -> u64 {
    let minutes = std::env::var("SOAK_MINUTES").ok().map(|text| text.parse::<u64>().expect("SOAK_MINUTES is a number"));
    minutes.map_or(20, |minutes| minutes * 60)
}

fn on_mariadb(random: Random) -> Storm {
    Storm::begin(Site::builder().own_mariadb().workers(6).start(), Trigger::FastCgi, random)
}

fn on_sqlite(random: Random) -> Storm {
    Storm::begin(Site::builder().sqlite().workers(6).start(), Trigger::Http, random)
}

#[test]
fn row_soak_both_databases() {
    let seed = Random::new().seed;
    let length = secs(seconds());
    let storm = |name: &str, seed: u64, begin: fn(Random) -> Storm| {
        let mut storm = begin(Random::from_seed(seed));
        storm.rage(length);
        let calm = storm.calm();
        show(&format!("soak ({name})"), &calm.figure, &calm);
        calm
    };
    let (on_mariadb, on_sqlite): (Calm, Calm) = std::thread::scope(|scope| {
        let one = scope.spawn(|| storm("MariaDB, fastcgi", seed, on_mariadb));
        let other = scope.spawn(|| storm("SQLite, http", seed.wrapping_add(1), on_sqlite));
        (one.join().expect("a storm on MariaDB"), other.join().expect("a storm on SQLite"))
    });
    let both = on_mariadb.plus(&on_sqlite);
    let kills = [Victim::Worker, Victim::Runner].map(|victim| both.kills(victim));
    let told = format!("{} s, {} kills of workers, {} of the runner; {both}", length.as_secs(), kills[0], kills[1]);
    nothing_wrong("soak", &both.figure, &told);
    assert!(kills[0] >= times(3, 10) && kills[1] >= times(1, 4), "the kills hit too little: {told}");
}
