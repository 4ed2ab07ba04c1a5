//! CPU time of everything that takes part.

use std::fs;
use std::ops::{Add, Div};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::account::succeed;
use crate::support::process::children_of;
use crate::support::site::Database;
use crate::support::{Runner, Site};

pub const HOW: &str = "CPU is user + system time of php-fpm, MariaDB, nginx, the runner and WP-CLI, with their children, also those \
that have ended: utime + stime + cutime + cstime of /proc/PID/stat, before and after.";

/// Milliseconds, by who spent them.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    pub php: f64,
    pub database: f64,
    /// nginx and the runner.
    pub others: f64,
}

impl Spent {
    pub fn all(self) -> f64 {
        self.php + self.database + self.others
    }
}

impl Add for Spent {
    type Output = Spent;

    fn add(self, other: Spent) -> Spent {
        Spent {
            php: self.php + other.php,
            database: self.database + other.database,
            others: self.others + other.others,
        }
    }
}

impl Div<f64> for Spent {
    type Output = Spent;

    fn div(self, by: f64) -> Spent {
        Spent { php: self.php / by, database: self.database / by, others: self.others / by }
    }
}

/// The processes of a site, and of the runner where there is one.
pub struct Meter {
    php: u32,
    database: u32,
    others: Vec<u32>,
    ms_per_tick: f64,
}

impl Meter {
    pub fn of(site: &Site, runner: Option<&Runner>) -> Meter {
        let Database::MariaDb { server, .. } = &site.database else { panic!("a site on MariaDB") };
        let others = [site.nginx.pid()].into_iter().chain(runner.map(Runner::pid)).collect();
        let ticks_per_s = succeed(Command::new("getconf").arg("CLK_TCK"));
        let ticks_per_s: f64 = String::from_utf8_lossy(&ticks_per_s).trim().parse().expect("CLK_TCK");
        Meter { php: site.php_fpm.pid(), database: server.pid(), others, ms_per_tick: 1000.0 / ticks_per_s }
    }

    /// Since they were started, once all of them have come to rest: what is written down after the last event counts as well.
    pub fn at_rest(&self) -> Spent {
        let (mut seen, mut since) = (self.ticks(), Instant::now());
        let started = Instant::now();
        while since.elapsed() < Duration::from_millis(400) && started.elapsed() < Duration::from_secs(15) {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.ticks();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
        let [php, database, others] = seen.map(|ticks| self.ms(ticks));
        Spent { php, database, others }
    }

    /// Of a child of ours, from its start to its end.
    pub fn of_whole(&self, mut child: Child) -> f64 {
        let ticks = loop {
            let (state, ticks) = stat(child.id()).expect("a child that nobody has waited for");
            if state == 'Z' {
                break ticks;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let status = child.wait().expect("its end");
        assert!(status.success(), "it ended with {status}");
        self.ms(ticks)
    }

    fn ticks(&self) -> [u64; 3] {
        [of_tree(self.php), of_tree(self.database), self.others.iter().map(|pid| of_tree(*pid)).sum()]
    }

    #[allow(clippy::cast_precision_loss, reason = "no machine has run for so long")]
    fn ms(&self, ticks: u64) -> f64 {
        ticks as f64 * self.ms_per_tick
    }
}

fn of_tree(pid: u32) -> u64 {
    let own = stat(pid).map_or(0, |(_, ticks)| ticks);
    own + children_of(pid).into_iter().map(of_tree).sum::<u64>()
}

/// Its state, and the ticks of itself and of its children that have ended.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, also a bracket.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some((fields.first()?.chars().next()?, ticks))
}
