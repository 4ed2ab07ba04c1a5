//! Points of the plugin at which a process dies when a test has armed them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use super::account;
use super::ledger::Ledger;
use super::runner::Runner;
use super::site::Site;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    Claimed,
    BeforeStart,
    Started,
    InsideHook,
    HookEnded,
    InSettle,
    InGiveBack,
}

impl Point {
    pub const ALL: [Point; 7] = [
        Point::Claimed,
        Point::BeforeStart,
        Point::Started,
        Point::InsideHook,
        Point::HookEnded,
        Point::InSettle,
        Point::InGiveBack,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Point::Claimed => "claim committed",
            Point::BeforeStart => "before the start commit",
            Point::Started => "start committed, hook not called",
            Point::InsideHook => "inside the hook",
            Point::HookEnded => "hook ended, end not committed",
            Point::InSettle => "in settle",
            Point::InGiveBack => "in give-back",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    Worker,
    Runner,
}

impl Victim {
    pub const BOTH: [Victim; 2] = [Victim::Worker, Victim::Runner];

    fn name(self) -> &'static str {
        match self {
            Victim::Worker => "worker",
            Victim::Runner => "runner",
        }
    }
}

/// How often each point was hit, by victim.
#[derive(Clone, Debug, Default)]
pub struct Hits(BTreeMap<(Point, Victim), usize>);

impl Hits {
    pub fn of(&self, point: Point, victim: Victim) -> usize {
        self.0.get(&(point, victim)).copied().unwrap_or(0)
    }

    pub fn total(&self, victim: Victim) -> usize {
        Point::ALL.iter().map(|point| self.of(*point, victim)).sum()
    }

    /// Of the point that was hit least.
    pub fn least(&self) -> usize {
        let all = Point::ALL.iter().flat_map(|point| Victim::BOTH.map(|victim| self.of(*point, victim)));
        all.min().unwrap_or(0)
    }

    pub fn plus(mut self, other: &Hits) -> Hits {
        for (of, count) in &other.0 {
            *self.0.entry(*of).or_default() += count;
        }
        self
    }
}

impl fmt::Display for Hits {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "hits (worker+runner)")?;
        for point in Point::ALL {
            write!(f, " {} {}+{},", point.name(), self.of(point, Victim::Worker), self.of(point, Victim::Runner))?;
        }
        write!(f, " least {}", self.least())
    }
}

impl Ledger {
    pub fn hits(&self) -> Hits {
        let mut hits = Hits::default();
        for line in self.0.iter().filter(|line| line.at == "HIT") {
            let point = Point::ALL.into_iter().find(|point| point.name() == line.hook).expect("a point");
            let victim = Victim::BOTH.into_iter().find(|victim| line.args[0] == victim.name()).expect("a victim");
            *hits.0.entry((point, victim)).or_default() += 1;
        }
        hits
    }
}

impl Site {
    /// Puts the points into the installed plugin; the one inside the hook is the fixture's own.
    pub fn plant_points(&self) {
        let call = |point: Point| format!("\\fx_point( '{}' );\n", point.name());
        let before = |point: Point, file: &str, text: &str| self.change_plugin(file, text, &(call(point) + text));
        let claimed = format!("if ( $claimed['rows'] ) {{ {} }}\n$this->report_claim(", call(Point::Claimed));
        self.change_plugin("execute.php", "$this->report_claim(", &claimed);
        let start =
            format!("if ( $started && $is_both ) {{ {} }}\n$is_both && $db->commit();", call(Point::BeforeStart));
        self.change_plugin("execute.php", "$is_both && $db->commit();", &start);
        before(Point::Started, "execute.php", "Death::expect_none();");
        before(Point::HookEnded, "execute.php", "$this->end( $error");
        self.enter_plugin("settle.php", &["function end_dead_run("], &call(Point::InSettle));
        before(Point::InGiveBack, "claim.php", "$decided[ $row['run'] ] = $to;");
        let points = self.points();
        fs::create_dir(&points).expect("the directory of armed points");
        account::give_to(account::SITE, &points);
    }

    /// Who comes there next dies, or lets the runner die.
    pub fn arm(&self, point: Point, victim: Victim, runner: &Runner) {
        let pid = match victim {
            Victim::Worker => 0,
            Victim::Runner => runner.pid(),
        };
        let new = self.points().join("new");
        fs::write(&new, pid.to_string()).expect("an armed point");
        fs::rename(&new, self.armed(point)).expect("an armed point");
    }

    /// Only a death gives something to settle, or to give back: then a worker dies first.
    pub fn arm_with_cause(&self, point: Point, victim: Victim, runner: &Runner) {
        match point {
            Point::InSettle => self.arm(Point::InsideHook, Victim::Worker, runner),
            Point::InGiveBack => self.arm(Point::Claimed, Victim::Worker, runner),
            _ => {}
        }
        self.arm(point, victim, runner);
    }

    pub fn is_armed(&self, point: Point) -> bool {
        self.armed(point).exists()
    }

    pub fn disarm(&self) {
        for point in Point::ALL {
            let _ = fs::remove_file(self.armed(point));
        }
    }

    fn armed(&self, point: Point) -> PathBuf {
        self.points().join(point.name().replace(' ', "-").replace(',', ""))
    }

    fn points(&self) -> PathBuf {
        self.dir.join("points")
    }
}
