//! Rows 10, 11 and 15: Redis loses what it knew, or says that it cannot, or says nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::ticks::{judge_all, longest_gap_ms, wait_until};
use super::two_hosts::no_overlap;
use super::{Random, times};
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Hosts, Plan, Redis, Runner, Site, secs, wait_for};

/// Two sites on two hosts, at work.
struct AtWork {
    hosts: Hosts,
    sites: Vec<Site>,
    plans: Vec<Plan>,
}

impl AtWork {
    fn begin(redis: &Redis, line: &str) -> AtWork {
        let sites = vec![
            Site::builder().name("shop").mariadb().workers(8).start(),
            Site::builder().name("blog").sqlite().workers(8).start(),
        ];
        redis.make_known();
        let hosts = Hosts::builder(redis, &sites)
            .configure(|runner| runner.site_line("rescan = \"2s\"\nlanes = 3"))
            .redis_line(line)
            .start();
        hosts.wait_until_shared(sites.len());
        let plan = |site| {
            let mut plan = Plan::new();
            plan.recurring(site, 1, "every_2s", "fx_recurring", &json!(["tick"]));
            plan.recurring(site, 1, "every_2s", "fx_sleep", &json!([2.7]));
            plan
        };
        let plans = sites.iter().map(plan).collect();
        let at_work = AtWork { hosts, sites, plans };
        at_work.wait_for_more();
        at_work
    }

    fn ticks(&self, site: &Site) -> usize {
        site.ledger().begins("fx_recurring").len()
    }

    /// Each site runs two more.
    fn wait_for_more(&self) {
        for site in &self.sites {
            let before = self.ticks(site);
            wait_for("two events more", secs(60), || (self.ticks(site) >= before + 2).then_some(()));
        }
    }

    fn schedule(&mut self, label: &str) {
        for (plan, site) in self.plans.iter_mut().zip(&self.sites) {
            plan.schedule_by_page(site, "fx_ok", label, 3);
        }
    }

    fn are_all_ok(&self) -> bool {
        self.hosts.all().enumerate().all(|(host, _)| self.hosts.redis_of(host)["state"] == "ok")
    }

    /// Both are back to normal, each with a site.
    fn end(&mut self) -> (Figure, u64) {
        for host in 0..2 {
            self.hosts.wait_for_redis(host, "ok");
        }
        self.hosts.wait_until_shared(self.sites.len());
        let figure = judge_all(&mut self.plans, &self.sites);
        // What Redis has forgotten it does not tell any more.
        let hosts: Vec<&Runner> = self.hosts.all().collect();
        for (plan, site) in self.plans.iter().zip(&self.sites) {
            plan.wait_until_recorded(site, &hosts, secs(30));
        }
        (figure, self.sites.iter().map(|site| longest_gap_ms(site, "fx_recurring")).max().unwrap_or(0))
    }
}

#[test]
fn row_10_redis_restarted_empty() {
    let redis = Redis::start();
    let mut at_work = AtWork::begin(&redis, "");
    let mut random = Random::new();
    let kills = times(2, 20);
    for kill in 0..kills {
        at_work.schedule(&format!("kill-{kill}"));
        // The moments are the point: within a round of the runners, and over the time in which nobody is granted a lease.
        std::thread::sleep(Duration::from_millis(random.below(7000)));
        redis.kill();
        std::thread::sleep(Duration::from_millis(random.below(3000)));
        redis.start_again();
        wait_for("both to find it again", secs(60), || at_work.are_all_ok().then_some(()));
        if times(0, 1) == 1 && kill % 2 == 0 {
            std::thread::sleep(Duration::from_millis(random.below(35_000)));
        }
    }
    let (figure, gap) = at_work.end();
    let told = format!("{kills} restarts, longest gap of an event of every 2 s {gap} ms, seed {}", random.seed);
    no_overlap("row 10", &figure, &told);
    assert!(gap <= 35_000 + 2000, "{told}");
}

#[test]
fn row_11_redis_flushed_in_a_loop() {
    let redis = Redis::start();
    let mut at_work = AtWork::begin(&redis, "");
    let (until, mut flushes) = (Instant::now() + secs(times(8, 240) as u64), 0);
    while Instant::now() < until {
        redis.ask(&["FLUSHALL"]);
        flushes += 1;
        if flushes % 20 == 0 {
            at_work.schedule(&format!("flush-{flushes}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let (figure, gap) = at_work.end();
    no_overlap("row 11 (FLUSHALL)", &figure, &format!("{flushes} flushes, longest gap {gap} ms"));
    assert!(gap <= 37_000, "{gap} ms");
}

#[test]
#[ignore = "mostly waiting, beside others of its kind: in `make faults`"]
fn row_11_redis_evicts_leases() {
    let redis = Redis::builder().line("maxmemory 4mb").line("maxmemory-policy allkeys-lru").start();
    let mut at_work = AtWork::begin(&redis, "accept = [\"eviction\"]");
    let until = Instant::now() + secs(times(8, 240) as u64);
    let (mut filled, mut taken) = (0, 0);
    while Instant::now() < until {
        // Somebody else's cache, in another database: twice the room that there is.
        let code = format!("for i = 1, 20000 do redis.call('SET', 'cache:{filled}:' .. i, string.rep('x', 300)) end");
        redis.ask(&["EVAL", &code, "0"]);
        filled += 1;
        taken += usize::from(!redis.keys().iter().any(|key| key.starts_with("wpcr:lease:")));
        if filled % 10 == 0 {
            at_work.schedule(&format!("fill-{filled}"));
        }
    }
    redis.ask(&["FLUSHDB"]);
    let (figure, gap) = at_work.end();
    let told = format!("filled {filled} times, no lease left after {taken} of them, longest gap {gap} ms");
    no_overlap("row 11 (allkeys-lru)", &figure, &told);
    assert!(taken > 0, "{told}");
    at_work.hosts[0].stop();
    at_work.hosts[0].rewrite_config(|text| text.replace("accept = [\"eviction\"]", ""));
    for arguments in [&["check", "--connect"][..], &["run"]] {
        let said = at_work.hosts[0].cli(arguments);
        assert!(said.code() == 78 && format!("{}{}", said.stdout, said.stderr).contains("allkeys-lru"), "{said:?}");
    }
}

/// What a server says that can do nothing for a while.
struct Stall {
    name: &'static str,
    /// Part of the reason that `status` gives.
    word: &'static str,
    begin: fn(&Redis),
    end: fn(&Redis),
}

const STALLS: [Stall; 4] = [
    Stall { name: "SIGSTOP", word: "answer", begin: Redis::freeze, end: Redis::thaw },
    Stall {
        name: "OOM",
        word: "OOM",
        begin: |redis| drop(redis.ask(&["CONFIG", "SET", "maxmemory", "1"])),
        end: |redis| drop(redis.ask(&["CONFIG", "SET", "maxmemory", "0"])),
    },
    Stall {
        name: "MISCONF",
        word: "MISCONF",
        begin: |redis| {
            // A folder that this user cannot write, and a snapshot that is due at once.
            redis.ask(&["CONFIG", "SET", "dir", "/"]);
            redis.ask(&["CONFIG", "SET", "save", "1 1"]);
            wait_for("a snapshot that fails", secs(20), || {
                redis.ask(&["SET", "something", "new"]).contains("MISCONF").then_some(())
            });
        },
        end: |redis| {
            redis.ask(&["CONFIG", "SET", "save", ""]);
            redis.ask(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
        },
    },
    Stall {
        name: "READONLY",
        word: "replica",
        // Of nobody: what it has it keeps.
        begin: |redis| drop(redis.ask(&["REPLICAOF", "127.0.0.1", "1"])),
        end: |redis| redis.promote(),
    },
];

#[test]
fn row_15_redis_says_that_it_cannot() {
    let redis = Redis::start();
    let mut at_work = AtWork::begin(&redis, "");
    let seconds = times(5, 20);
    let mut said = Vec::new();
    for stall in &STALLS {
        at_work.schedule(stall.name);
        let began = unix_now();
        (stall.begin)(&redis);
        let told = at_work.hosts.wait_for_redis(0, "lost");
        assert!(told["reason"].to_string().contains(stall.word), "{}: {told}", stall.name);
        wait_until(began + i64::try_from(seconds).expect("a few"));
        // Nobody is in doubt about who looks after what: that goes on.
        at_work.wait_for_more();
        (stall.end)(&redis);
        for host in 0..2 {
            at_work.hosts.wait_for_redis(host, "ok");
        }
        said.push(format!("{}: {}", stall.name, told["reason"]));
    }
    let (figure, gap) = at_work.end();
    no_overlap("row 15", &figure, &format!("{seconds} s each, longest gap {gap} ms; {}", said.join("; ")));
    assert!(gap <= 7000, "{gap} ms");
}

/// A real one: it has been restarted, and reads an old snapshot, slowly.
#[test]
#[ignore = "mostly waiting, beside others of its kind: in `make faults`"]
fn row_15_redis_loads() {
    let microseconds = 1_000_000 * times(6, 20) / 20_000;
    let delay = format!("key-load-delay {microseconds}");
    let redis = Redis::builder().line("loading-process-events-interval-bytes 1024").line(&delay).start();
    let mut at_work = AtWork::begin(&redis, "");
    redis.ask(&["DEBUG", "POPULATE", "20000"]);
    redis.ask(&["SAVE"]);
    at_work.schedule("loading");
    at_work.wait_for_more();
    redis.kill();
    redis.start_again();
    let mut said = BTreeSet::new();
    wait_for("the word of a server that loads, and its end", secs(60), || {
        let told = at_work.hosts.redis_of(0);
        said.extend(told["reason"].as_str().map(str::to_owned));
        (told["state"] == "ok" && !said.is_empty()).then_some(())
    });
    assert!(said.iter().any(|reason| reason.contains("is loading")), "{said:?}");
    at_work.wait_for_more();
    let (figure, gap) = at_work.end();
    no_overlap("row 15 (LOADING)", &figure, &format!("longest gap {gap} ms; {said:?}"));
    assert!(gap <= 37_000, "{gap} ms");
}
