//! Everything at random: what a site schedules, and what dies beside it. The moments come from a seed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::Random;
use crate::support::process::signal_pid;
use crate::support::site::Database;
use crate::support::{Figure, Hits, Plan, Point, Runner, Site, Trigger, Victim, secs};

/// What visitors schedule: hook and first argument.
const EVENTS: [(&str, &str); 9] = [
    ("fx_ok", "storm"),
    ("fx_ok", "storm"),
    ("fx_sleep", "0.05"),
    ("fx_sleep", "0.4"),
    ("fx_sleep", "1.2"),
    ("fx_exit", "storm"),
    ("fx_exception", "storm"),
    ("fx_die_message", "storm"),
    ("fx_flood", "1"),
];

pub struct Storm {
    runner: Runner,
    site: Site,
    trigger: Trigger,
    plan: Plan,
    random: Random,
    done: BTreeMap<&'static str, usize>,
}

/// What a storm leaves behind.
pub struct Calm {
    pub figure: Figure,
    pub hits: Hits,
    pub done: BTreeMap<&'static str, usize>,
    pub seed: u64,
}

impl Calm {
    pub fn kills(&self, victim: Victim) -> usize {
        let kind = match victim {
            Victim::Worker => "workers killed",
            Victim::Runner => "runner killed",
        };
        self.done.get(kind).copied().unwrap_or(0) + self.hits.total(victim)
    }

    pub fn plus(mut self, other: &Calm) -> Calm {
        for (kind, count) in &other.done {
            *self.done.entry(kind).or_default() += count;
        }
        self.figure = self.figure.plus(other.figure);
        self.hits = self.hits.plus(&other.hits);
        self
    }
}

impl fmt::Display for Calm {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (kind, count) in &self.done {
            write!(f, "{kind} {count}, ")?;
        }
        write!(f, "{}, seed {}", self.hits, self.seed)
    }
}

impl Storm {
    pub fn begin(site: Site, trigger: Trigger, random: Random) -> Storm {
        let mut plan = Plan::new();
        let mut runner = Runner::builder(&site).trigger(trigger).site_line("rescan = \"1s\"\nlanes = 3").prepare();
        site.plant_points();
        // One is due again before it has ended.
        plan.recurring(&site, 1, "every_2s", "fx_sleep", &json!([2.7]));
        plan.recurring(&site, 1, "every_2s", "fx_recurring", &json!(["storm"]));
        runner.start();
        Storm { runner, site, trigger, plan, random, done: BTreeMap::new() }
    }

    pub fn rage(&mut self, length: Duration) {
        let began = Instant::now();
        while began.elapsed() < length {
            // PHP that dies all the time gets little done, and WP-CLI starts slowly: a backlog without end would prove nothing.
            let pages = if self.is_behind() { 0 } else { 1 + self.random.below(2) };
            for _ in 0..pages {
                let (hook, label) = *self.random.pick(&EVENTS);
                let count = 1 + usize::try_from(self.random.below(3)).expect("a few");
                self.plan.schedule_by_page(&self.site, hook, label, count);
            }
            // The moment is the point; nothing is waited for here.
            std::thread::sleep(Duration::from_millis(self.random.below(250)));
            self.fault();
            if self.runner.has_died() {
                self.start_runner();
            }
        }
    }

    /// Everything is up again; what is due runs, and what runs ends.
    pub fn calm(mut self) -> Calm {
        self.site.disarm();
        if self.runner.has_died() {
            self.start_runner();
        }
        self.plan.end_recurring(&self.site);
        // Whoever had passed an armed point just before that kills a moment later.
        let mut is_over = self.plan.wait(&self.site, secs(15));
        if !is_over {
            if self.runner.has_died() {
                self.start_runner();
            }
            is_over = self.plan.wait(&self.site, secs(105));
        }
        if !is_over {
            self.show_what_is_left();
        }
        let figure = self.plan.judge(&self.site);
        let hits = self.site.ledger().hits();
        if figure.wrong() == 0 {
            self.plan.wait_until_told(&self.site, &self.runner, secs(30));
        }
        Calm { figure, hits, done: self.done, seed: self.random.seed }
    }

    fn is_behind(&self) -> bool {
        let bytes = self.site.sql_text("SELECT LENGTH(option_value) FROM wp_options WHERE option_name = 'cron'");
        bytes.expect("a length").parse::<usize>().expect("a number") > 12_000
    }

    /// Calm did not come: what the runner says, and which processes of PHP there are.
    fn show_what_is_left(&self) {
        let log = self.runner.log();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        eprintln!("{}", self.runner.cli(&["status", "--json"]).stdout);
        for pid in self.workers() {
            let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let state: Vec<String> = read("status").lines().take(6).map(str::to_owned).collect();
            eprintln!("{pid}: {} {}; {}", read("wchan"), state.join(", "), read("cmdline").replace('\0', " "));
        }
    }

    fn fault(&mut self) {
        let has_php_fpm = self.trigger != Trigger::WpCli;
        match self.random.below(100) {
            0..40 => self.kill_worker(),
            40..60 => self.kill_runner(),
            60..85 => self.arm(),
            85..88 if has_php_fpm => {
                self.site.php_fpm.reload();
                self.count("reloads");
            }
            88..89 if has_php_fpm => {
                self.site.php_fpm.stop();
                self.site.php_fpm.start_again();
                self.count("php-fpm restarts");
            }
            89..91 => self.restart_database(),
            91..94 => self.write_at_once(),
            94..100 => self.requeue(),
            _ => {}
        }
    }

    fn kill_worker(&mut self) {
        // Half of them inside a hook, where one is; the others wherever they are.
        let in_hook = self.random.below(2) == 0;
        let workers = self.workers();
        let busy: Vec<u32> = self.site.ledger_end().open().into_iter().filter(|pid| workers.contains(pid)).collect();
        let victims = if in_hook && !busy.is_empty() { busy } else { workers };
        if !victims.is_empty() {
            signal_pid(*self.random.pick(&victims), Signal::KILL);
            self.count("workers killed");
        }
    }

    /// Processes of PHP that the runner reaches: php-fpm's, or WP-CLI's of this site, whoever started them. A killed
    /// runner's live on.
    fn workers(&self) -> Vec<u32> {
        if self.trigger != Trigger::WpCli {
            return self.site.php_fpm.workers();
        }
        let path = format!("--path={}", self.site.path.display());
        let is_one = |pid: &u32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = words.split(|byte| *byte == 0).collect();
            let has = |word: &str| words.contains(&word.as_bytes());
            has("cron-runner") && has("run") && has(&path)
        };
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
    }

    fn kill_runner(&mut self) {
        self.site.disarm();
        if !self.runner.has_died() {
            self.runner.kill();
            self.count("runner killed");
        }
        self.start_runner();
    }

    fn start_runner(&mut self) {
        // What is armed against the old one is not meant for a start.
        self.site.disarm();
        self.runner.start();
    }

    fn arm(&mut self) {
        let (point, victim) = (*self.random.pick(&Point::ALL), *self.random.pick(&Victim::BOTH));
        if !self.runner.has_died() {
            self.site.disarm();
            self.site.arm_with_cause(point, victim, &self.runner);
            // Something comes by; where nothing does, the next fault does not wait for it.
            self.plan.schedule_by_page(&self.site, "fx_ok", "armed", 6);
            let armed = Instant::now();
            while self.site.is_armed(point) && armed.elapsed() < secs(1) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn restart_database(&mut self) {
        let Database::MariaDb { server, .. } = &self.site.database else { return };
        server.kill();
        server.start_again();
        self.count("database restarts");
    }

    /// Eight page views at once, beside what the runner claims meanwhile.
    fn write_at_once(&mut self) {
        self.plan.schedule_by_pages(&self.site, 8, "fx_ok", "writer", 3);
        self.count("8 writers");
    }

    fn requeue(&mut self) {
        if self.runner.has_died() {
            return;
        }
        let said = self.runner.cli(&["history", "--held", "--json"]);
        let held: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        let held: Vec<&str> = held.as_array().into_iter().flatten().filter_map(|run| run["run"].as_str()).collect();
        if !held.is_empty() {
            // It may be refused, where the site cannot be reached or the runner dies meanwhile; the journal knows.
            let run = *self.random.pick(&held);
            if self.runner.cli(&["requeue", run]).code() == 0 {
                self.count("requeued");
            }
        }
    }

    fn count(&mut self, kind: &'static str) {
        *self.done.entry(kind).or_default() += 1;
    }
}
