//! Several hosts that look after the same sites, with their leases and their history in one Redis.
//!
//! Two runners on this machine are two hosts: each has a state, a name, a port and a way to Redis of its own. What becomes of
//! them when something fails is in the faults.

mod keys;
mod reports;
mod servers;
mod sharing;

use crate::support::hosts::Builder;
use crate::support::{Hosts, Redis, Site};

/// One look takes long enough to come that nothing is found by it.
const SELDOM: &str = "rescan = \"1h\"\ngrace = \"2h\"\nlanes = 8";
const OFTEN: &str = "rescan = \"1s\"\nlanes = 8";

/// A Redis that runners have used before, so that nobody has to wait for leases of the past.
fn redis() -> Redis {
    let redis = Redis::start();
    redis.make_known();
    redis
}

fn on<'a>(redis: &'a Redis, sites: &'a [Site], lines: &str) -> Builder<'a> {
    Hosts::builder(redis, sites).configure(|runner| runner.site_line(lines).runner_line("max_parallel = 16"))
}
