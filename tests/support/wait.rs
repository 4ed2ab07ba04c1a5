//! Waiting for a fact, never for a while.

use std::time::{Duration, Instant};

use super::test_dir::tails_of_logs;

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Looks every 20 ms. In vain, it shows what the runner, the servers and the site have written so far.
#[track_caller]
pub fn wait_for<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < patience, "waited {patience:?} in vain for {what}\n{}", tails_of_logs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
