//! Two hosts that look after the same sites through one Redis: two runners, each with a state of its own, a name, a port, and
//! a way to Redis that can be cut. Where Redis has a network of its own, so has each host; PHP is reached by its socket.

use std::ops::{Index, IndexMut};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::account;
use super::network::{Cable, Namespace};
use super::redis::{DATABASE, Redis};
use super::redis_proxy::{Mode, Proxy};
use super::runner::{self, Runner};
use super::site::Site;
use super::wait::{secs, wait_for};

pub const NAMES: [&str; 2] = ["web-1", "web-2"];

/// How a host reaches Redis.
pub enum Way {
    Proxy(Proxy),
    Cable(Cable),
}

impl Way {
    /// What is sent arrives nowhere, and nobody is told.
    pub fn cut(&self) {
        match self {
            Way::Proxy(proxy) => proxy.set(Mode::BlackHole),
            Way::Cable(cable) => cable.cut(),
        }
    }

    pub fn mend(&self) {
        match self {
            Way::Proxy(proxy) => proxy.set(Mode::Pass),
            Way::Cable(cable) => cable.mend(),
        }
    }

    pub fn proxy(&self) -> &Proxy {
        match self {
            Way::Proxy(proxy) => proxy,
            Way::Cable(_) => panic!("hosts with cables have no proxies"),
        }
    }
}

pub struct Hosts {
    runners: Vec<Runner>,
    pub ways: Vec<Way>,
}

impl Index<usize> for Hosts {
    type Output = Runner;

    fn index(&self, host: usize) -> &Runner {
        &self.runners[host]
    }
}

impl IndexMut<usize> for Hosts {
    fn index_mut(&mut self, host: usize) -> &mut Runner {
        &mut self.runners[host]
    }
}

#[must_use]
pub struct Builder<'a> {
    runner: runner::Builder<'a>,
    sites: &'a [Site],
    redis: &'a Redis,
    redis_lines: Vec<String>,
    count: usize,
}

impl Hosts {
    pub fn builder<'a>(redis: &'a Redis, sites: &'a [Site]) -> Builder<'a> {
        let (first, others) = sites.split_first().expect("a site");
        let runner = others.iter().fold(Runner::builder(first), runner::Builder::and);
        Builder { runner, sites, redis, redis_lines: Vec::new(), count: 2 }
    }

    pub fn all(&self) -> impl Iterator<Item = &Runner> {
        self.runners.iter()
    }

    pub fn start(&mut self) {
        for runner in &mut self.runners {
            runner.start();
        }
    }

    /// Who looks after a site, as this host tells it.
    pub fn told_holder(&self, host: usize, site: &str) -> Option<usize> {
        let status = self[host].json(&["status"]);
        let views = status["sites"].as_array().expect("sites");
        let view = views.iter().find(|view| view["site"] == site).expect("the site");
        NAMES.iter().position(|name| view["runner"] == *name)
    }

    /// Who looks after a site, once all hosts say the same and go on to: at first sites change hands.
    #[track_caller]
    pub fn holder(&self, site: &str) -> usize {
        let holder = |host| self.told_holder(host, site);
        self.wait_until_it_stays(&format!("one word on who looks after `{site}`"), || {
            holder(0).filter(|of_first| (1..self.runners.len()).all(|host| holder(host) == Some(*of_first)))
        })
    }

    /// The same answer for a second and a half.
    #[track_caller]
    fn wait_until_it_stays<T: PartialEq>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let mut known: Option<(T, Instant)> = None;
        wait_for(what, secs(60), || {
            let now = look();
            match (now, &known) {
                (Some(now), Some((before, since))) if now == *before => {
                    (since.elapsed() > Duration::from_millis(1500)).then_some(now)
                }
                (now, _) => {
                    known = now.map(|now| (now, Instant::now()));
                    None
                }
            }
        })
    }

    /// How many sites each host looks after, by the word of one.
    pub fn shares(&self, host: usize) -> Vec<usize> {
        let status = self[host].json(&["status"]);
        let views = status["sites"].as_array().expect("sites");
        let of = |name: &str| views.iter().filter(|view| view["runner"] == name).count();
        NAMES[..self.runners.len()].iter().map(|name| of(name)).collect()
    }

    /// Each host says that every site has a runner, and that the hosts' shares differ by one at most.
    #[track_caller]
    pub fn wait_until_shared(&self, sites: usize) {
        self.wait_until_it_stays("an even split of the sites", || {
            (0..self.runners.len()).all(|host| is_even(&self.shares(host), sites)).then_some(())
        });
    }

    /// `runner.redis` of a host's status.
    pub fn redis_of(&self, host: usize) -> Value {
        self[host].json(&["status"])["runner"]["redis"].clone()
    }

    /// Waits until a host calls its Redis so, and gives all that it says of it.
    #[track_caller]
    pub fn wait_for_redis(&self, host: usize, state: &str) -> Value {
        wait_for(&format!("{} calling its Redis {state}", NAMES[host]), secs(60), || {
            let redis = self.redis_of(host);
            (redis["state"] == state).then_some(redis)
        })
    }
}

pub fn is_even(shares: &[usize], sites: usize) -> bool {
    let (least, most) = (shares.iter().min().copied(), shares.iter().max().copied());
    shares.iter().sum::<usize>() == sites && most.zip(least).is_some_and(|(most, least)| most - least <= 1)
}

impl<'a> Builder<'a> {
    /// The same on both hosts.
    pub fn configure(mut self, change: impl FnOnce(runner::Builder<'a>) -> runner::Builder<'a>) -> Self {
        self.runner = change(self.runner);
        self
    }

    /// A line of TOML in `[redis]`.
    pub fn redis_line(mut self, line: &str) -> Self {
        self.redis_lines.push(line.to_owned());
        self
    }

    /// One host, with its way to Redis.
    pub fn alone(mut self) -> Self {
        self.count = 1;
        self
    }

    /// Configured, not started.
    pub fn prepare(self) -> Hosts {
        let mut hosts = Hosts { runners: Vec::new(), ways: Vec::new() };
        for name in &NAMES[..self.count] {
            let (way, address, network) = match &self.redis.network {
                Some(redis) => {
                    let host = Namespace::new().expect("a network, as Redis has one");
                    let cable = Cable::between(redis, &host);
                    let address = format!("{}:{}", cable.address, self.redis.port());
                    (Way::Cable(cable), address, Some(host))
                }
                None => {
                    let proxy = Proxy::before(&self.redis.address());
                    let address = proxy.address();
                    (Way::Proxy(proxy), address, None)
                }
            };
            let scheme = if self.redis.certificate.is_some() { "rediss" } else { "redis" };
            let mut lines = self.redis_lines.clone();
            if !lines.iter().any(|line| line.starts_with("url ")) {
                lines.push(format!("url = \"{scheme}://{address}/{DATABASE}\""));
            }
            let mut builder = self.runner.clone().name(name).table(&format!("[redis]\n{}\n", lines.join("\n")));
            builder = network.iter().fold(builder, runner::Builder::inside);
            let runner = match hosts.runners.first() {
                None => builder.prepare(),
                Some(first) => {
                    let runner = builder.without_plugin().prepare();
                    for site in self.sites {
                        runner.take_key_of(first, site);
                    }
                    runner
                }
            };
            hosts.runners.push(runner);
            hosts.ways.push(way);
        }
        hosts
    }

    pub fn start(self) -> Hosts {
        let mut hosts = self.prepare();
        hosts.start();
        hosts
    }
}
