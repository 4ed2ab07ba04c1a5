//! One event each second on every site, beside one that takes longer than its interval: what a fault does to punctuality, and
//! that it loses and doubles nothing.

use serde_json::json;

use crate::support::ledger::Line;
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Plan, Site, secs};

pub struct Ticks {
    first: i64,
    seconds: usize,
    plans: Vec<Plan>,
}

/// A tick that ran: due, and begun so many milliseconds later.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    pub due: i64,
    pub late_ms: i64,
}

impl Ticks {
    /// From a few seconds from now on, for so long.
    pub fn schedule(sites: &[Site], seconds: usize) -> Ticks {
        let first = unix_now() + 3 + i64::try_from(sites.len()).expect("a few");
        let due = |i: usize| first + i64::try_from(i).expect("a few");
        let plan = |site| {
            let mut plan = Plan::new();
            let ticks: Vec<_> = (0..seconds).map(|i| (due(i), "fx_ok", json!(["tick", i, first]))).collect();
            plan.schedule(site, &ticks);
            plan.recurring(site, 1, "every_2s", "fx_sleep", &json!([2.7]));
            plan
        };
        let plans = std::thread::scope(|scope| {
            let plans: Vec<_> = sites.iter().map(|site| scope.spawn(move || plan(site))).collect();
            plans.into_iter().map(|plan| plan.join().expect("a plan")).collect()
        });
        Ticks { first, seconds, plans }
    }

    /// The second after the last one.
    pub fn end(&self) -> i64 {
        self.first + i64::try_from(self.seconds).expect("a few")
    }

    pub fn wait_for_the_first(&self) {
        wait_until(self.first + 1);
    }

    /// All have been due and have run, or are lost.
    pub fn judge(&mut self, sites: &[Site]) -> Figure {
        wait_until(self.end());
        judge_all(&mut self.plans, sites)
    }

    /// Those of one site that have begun, in the order in which they were due.
    pub fn begun(&self, site: &Site) -> Vec<Tick> {
        let tick = |line: &&Line| {
            // Another round has ticks of its own.
            let due = self.first + line.args[1].as_i64().filter(|_| line.args[2] == self.first)?;
            Some(Tick { due, late_ms: i64::try_from(line.wall_ms).expect("a time") - due * 1000 })
        };
        let mut ticks: Vec<Tick> = site.ledger().begins("fx_ok").iter().filter_map(tick).collect();
        ticks.sort_by_key(|tick| tick.due);
        ticks
    }

    /// Those that began later than they should, by site, with what each host wrote about them.
    pub fn later_than(&self, sites: &[Site], ms: i64) -> String {
        let of_site = |site: &Site| {
            let late = self.begun(site).into_iter().filter(|tick| tick.late_ms > ms);
            let late: Vec<String> =
                late.map(|tick| format!("{} s + {} ms", tick.due - self.first, tick.late_ms)).collect();
            (!late.is_empty()).then(|| format!("{}: due at {}", site.name, late.join(", ")))
        };
        sites.iter().filter_map(of_site).collect::<Vec<_>>().join("\n")
    }

    /// How late the latest began.
    pub fn worst_ms(&self, sites: &[Site]) -> i64 {
        sites.iter().flat_map(|site| self.begun(site)).map(|tick| tick.late_ms).max().unwrap_or(0)
    }
}

/// Each site by its plan, at once: most of it is waiting for PHP.
pub fn judge_all(plans: &mut [Plan], sites: &[Site]) -> Figure {
    let judge = |plan: &mut Plan, site: &Site| {
        plan.end_recurring(site);
        plan.wait(site, secs(90));
        plan.judge(site)
    };
    std::thread::scope(|scope| {
        let pairs = plans.iter_mut().zip(sites);
        let judged: Vec<_> = pairs.map(|(plan, site)| scope.spawn(move || judge(plan, site))).collect();
        judged.into_iter().map(|figure| figure.join().expect("a figure")).fold(Figure::default(), Figure::plus)
    })
}

/// A moment that is the point, and not one that something is expected by.
pub fn wait_until(time: i64) {
    while unix_now() < time {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// An event of every two seconds: the longest time between two of its beginnings, in milliseconds.
pub fn longest_gap_ms(site: &Site, hook: &str) -> u64 {
    let ledger = site.ledger();
    let begins: Vec<u64> = ledger.begins(hook).iter().map(|line| line.mono_ns / 1_000_000).collect();
    begins.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or(0)
}
