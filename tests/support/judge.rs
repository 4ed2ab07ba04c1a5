//! The checker of the fault tests: what was planned, held against what the hooks wrote down themselves (the ledger), what
//! the journal says, and what is left in the `cron` option.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ledger::Ledger;
use super::runner::Runner;
use super::site::Site;
use super::wait::wait_for;
use super::wordpress::{base64, unix_now};

/// An event: hook and WordPress's key of its arguments.
type Event = (String, String);

/// What a row of faults ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figure {
    /// Planned, and neither ended (as the journal says) nor waiting in the `cron` option for a time to come; or `ok` without
    /// having run to its end.
    pub lost: usize,
    /// Ran beside itself, or once more than anybody asked for, or has more outcomes than runs.
    pub doubled: usize,
    /// Kept for a person to decide.
    pub held: usize,
    /// Run once more by policy or by `requeue`.
    pub repeated: usize,
    /// Of the doubled: ran beside itself.
    pub overlaps: usize,
    /// How many were planned.
    pub of: usize,
}

impl Figure {
    /// The one number that has to be 0, and above 0 where a guard was taken away.
    pub fn wrong(&self) -> usize {
        self.lost + self.doubled
    }

    pub fn plus(self, other: Figure) -> Figure {
        Figure {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            held: self.held + other.held,
            repeated: self.repeated + other.repeated,
            overlaps: self.overlaps + other.overlaps,
            of: self.of + other.of,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Figure { lost, doubled, held, repeated, overlaps: _, of } = self;
        write!(f, "lost {lost}, doubled {doubled}, held {held}, repeated {repeated}, of {of}")
    }
}

/// What a test has scheduled. Single events are told apart by their arguments, so every one has its own.
#[derive(Default)]
pub struct Plan {
    single: BTreeMap<String, (String, Value)>,
    recurring: BTreeMap<String, (String, Value)>,
    /// Recurring events that had no next occurrence when they were ended.
    vanished: usize,
    is_ended: bool,
    pages: usize,
}

impl Plan {
    pub fn new() -> Plan {
        Plan::default()
    }

    /// Schedules single events in one request: `(timestamp, hook, arguments)`.
    pub fn schedule(&mut self, site: &Site, events: &[(i64, &str, Value)]) {
        site.schedule(events);
        for (_, hook, arguments) in events {
            self.expect_one(hook, arguments);
        }
    }

    /// Counts single events that something else schedules: `(hook, arguments)`.
    pub fn expect(&mut self, events: &[(&str, Value)]) {
        for (hook, arguments) in events {
            self.expect_one(hook, arguments);
        }
    }

    fn expect_one(&mut self, hook: &str, arguments: &Value) {
        let known = self.single.insert(format!("{hook} {arguments}"), (hook.to_owned(), arguments.clone()));
        assert!(known.is_none(), "two single events of one hook with the same arguments: {hook} {arguments}");
    }

    /// A page view schedules `count` single events that are due at once, with `label` and a number of their own as arguments.
    /// Planned is what core called done in a whole answer: how many.
    pub fn schedule_by_page(&mut self, site: &Site, hook: &str, label: &str, count: usize) -> usize {
        self.schedule_by_page_in(site, 0, hook, label, count)
    }

    /// The same, due in so many seconds.
    pub fn schedule_by_page_in(&mut self, site: &Site, seconds: i64, hook: &str, label: &str, count: usize) -> usize {
        let first = self.pages;
        self.pages += count;
        let results = page_that_schedules(site, seconds, hook, label, first, count);
        let done = results.iter().enumerate().filter(|(_, done)| **done);
        done.map(|(i, _)| self.expect_one(hook, &json!([label, first + i]))).count()
    }

    /// So many page views at once, each of which schedules `count`.
    pub fn schedule_by_pages(&mut self, site: &Site, pages: usize, hook: &str, label: &str, count: usize) {
        let first = self.pages;
        self.pages += pages * count;
        let results: Vec<Vec<bool>> = std::thread::scope(|scope| {
            let view =
                |page| scope.spawn(move || page_that_schedules(site, 0, hook, label, first + page * count, count));
            let views: Vec<_> = (0..pages).map(view).collect();
            views.into_iter().map(|view| view.join().expect("a page view")).collect()
        });
        for (page, results) in results.iter().enumerate() {
            for (i, _) in results.iter().enumerate().filter(|(_, done)| **done) {
                self.expect_one(hook, &json!([label, first + page * count + i]));
            }
        }
    }

    /// `wp_schedule_event`, first due `seconds` from now.
    pub fn recurring(&mut self, site: &Site, seconds: i64, schedule: &str, hook: &str, arguments: &Value) {
        site.schedule_recurring(seconds, schedule, hook, arguments);
        self.recurring.insert(format!("{hook} {arguments}"), (hook.to_owned(), arguments.clone()));
    }

    /// Unschedules the recurring events, so that calm can come. Each must have had a next occurrence.
    pub fn end_recurring(&mut self, site: &Site) {
        let scheduled = in_option(site);
        self.vanished = keys(site, &self.recurring).filter(|event| !scheduled.contains(event)).count();
        self.is_ended = true;
        let recurring: BTreeSet<Event> = keys(site, &self.recurring).collect();
        // As in core, who unschedules an occurrence that is claimed at this moment leaves the one that comes next.
        wait_for("the end of the recurring events", Duration::from_secs(30), || {
            for (hook, arguments) in self.recurring.values() {
                let arguments = base64(arguments.to_string().as_bytes());
                site.php(&format!(
                    "wp_clear_scheduled_hook( '{hook}', json_decode( base64_decode( '{arguments}' ), true ) );"
                ));
            }
            recurring.is_disjoint(&in_option(site)).then_some(())
        });
    }

    /// Waits until every single event has left the option and the journal shows nothing open. In vain is an answer too:
    /// what is open or left then is counted by `judge`.
    pub fn wait(&self, site: &Site, patience: Duration) -> bool {
        let started = Instant::now();
        let single: BTreeSet<Event> = keys(site, &self.single).collect();
        loop {
            if open_runs(site) == 0 && single.is_disjoint(&in_option(site)) {
                return true;
            }
            if started.elapsed() > patience {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// To be asked when nothing is due and nothing runs any more: a run without an outcome counts as lost. Shows the first
    /// events with which something is wrong.
    pub fn judge(&self, site: &Site) -> Figure {
        let single: BTreeSet<Event> = keys(site, &self.single).collect();
        let recurring: BTreeSet<Event> = keys(site, &self.recurring).collect();
        // What is still going on must not look like something else: an end is in the ledger before it is in the journal, and a
        // beginning after.
        let begun = by_event(&site.ledger());
        let journal = journal(site);
        let (scheduled, overdue) = (in_option(site), overdue(site));
        let facts = Facts { begun, journal, scheduled, overdue, ledger: by_event(&site.ledger()) };
        let mut figure = Figure { of: single.len() + recurring.len(), lost: self.vanished, ..Figure::default() };
        let mut shown = 0;
        for event in single.iter().chain(&recurring) {
            let of_event = facts.of_event(event, recurring.contains(event), self.is_ended);
            if of_event.wrong() > 0 && shown < 5 {
                shown += 1;
                facts.show(event, &of_event);
            }
            figure = figure.plus(of_event);
        }
        figure
    }

    /// The runner's own record says the same as the journal, run by run.
    #[track_caller]
    pub fn wait_until_told(&self, site: &Site, runner: &Runner, patience: Duration) {
        let told = || {
            let history = runner.json(&["history", "-n", "1000000"]);
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let runs = history.as_array().expect("a list").iter();
            runs.filter_map(|run| Some((text(&run["run"])?, text(&run["outcome"])?))).collect()
        };
        wait_until_it_says_so(site, told, &[runner], patience);
    }

    /// Of several hosts one has recorded each run, whatever Redis knows.
    #[track_caller]
    pub fn wait_until_recorded(&self, site: &Site, runners: &[&Runner], patience: Duration) {
        let told = || runners.iter().flat_map(|runner| runner.own_history()).collect();
        wait_until_it_says_so(site, told, runners, patience);
    }
}

#[track_caller]
fn wait_until_it_says_so(
    site: &Site,
    told: impl Fn() -> BTreeMap<String, String>,
    runners: &[&Runner],
    patience: Duration,
) {
    let started = Instant::now();
    loop {
        let said = told();
        let rows = journal(site);
        let Some(row) = rows.values().flatten().find(|row| said.get(&row.run) != Some(&row.state)) else { return };
        if started.elapsed() >= patience {
            let log: String = runners.iter().map(|runner| runner.log()).collect();
            let of_run: Vec<&str> = log.lines().filter(|line| line.contains(&row.run)).collect();
            let last: Vec<&str> = log.lines().rev().take(60).collect();
            panic!("the history does not say so: {row:?}\n{of_run:#?}\n{:#?}", last.iter().rev().collect::<Vec<_>>());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What is known when all is over.
struct Facts {
    begun: BTreeMap<Event, Ledger>,
    journal: BTreeMap<Event, Vec<Row>>,
    scheduled: BTreeSet<Event>,
    overdue: BTreeSet<Event>,
    ledger: BTreeMap<Event, Ledger>,
}

impl Facts {
    fn of_event(&self, event: &Event, is_recurring: bool, is_ended: bool) -> Figure {
        let rows = self.journal.get(event).map_or(&[][..], Vec::as_slice);
        let lines = self.ledger.get(event).map_or(&[][..], |ledger| ledger.0.as_slice());
        let ends = lines.iter().filter(|line| line.at == "END").count();
        let begins =
            self.begun.get(event).map_or(0, |ledger| ledger.0.iter().filter(|line| line.at == "BEGIN").count());
        let of_state = |state: &str| rows.iter().filter(|row| row.state == state).count();
        let repeated = rows.iter().filter(|row| row.then == "requeued").count();
        let held = rows.iter().filter(|row| row.then == "held").count();
        let open = of_state("claimed") + of_state("running");
        let outcomes = rows.len() - open - of_state("skipped");
        // Gone without an outcome, also where it was put back after one; left behind in a state that is none, or in the option
        // although it is due; or called ok although the hook did not come to its end.
        let is_gone = match is_recurring {
            true => !is_ended && !self.scheduled.contains(event),
            false => outcomes + open < 1 + repeated && !self.scheduled.contains(event),
        };
        let is_hollow = of_state("ok") > ends;
        let is_left = !is_recurring && self.overdue.contains(event);
        // A second outcome of one occurrence; more beginnings than outcomes of runs that started; a run beside itself.
        let occurrences = match is_recurring {
            true => rows.iter().filter(|row| row.is_final()).map(|row| row.due_at).collect::<BTreeSet<_>>().len(),
            false => 1,
        };
        let outcomes_too_many = outcomes.saturating_sub(occurrences + repeated);
        let begins_too_many = begins.saturating_sub(outcomes + open);
        let overlaps = self.ledger.get(event).map_or(0, |ledger| ledger.overlaps().len());
        Figure {
            lost: open + usize::from(is_gone || is_hollow || is_left),
            doubled: outcomes_too_many.max(begins_too_many) + overlaps,
            held,
            repeated,
            overlaps,
            of: 0,
        }
    }

    fn show(&self, event: &Event, figure: &Figure) {
        let Figure { lost, doubled, .. } = figure;
        eprintln!("{} {}: lost {lost}, doubled {doubled}", event.0, event.1);
        let rows = self.journal.get(event).map_or(&[][..], Vec::as_slice);
        for row in &rows[..rows.len().min(10)] {
            eprintln!("  journal {row:?}");
        }
        let lines = self.ledger.get(event).map_or(&[][..], |ledger| ledger.0.as_slice());
        for line in &lines[..lines.len().min(10)] {
            eprintln!("  ledger {} {} by {} at {} ms", line.at, line.args, line.pid, line.wall_ms);
        }
        let is_scheduled = if self.scheduled.contains(event) { "is" } else { "is not" };
        eprintln!("  it {is_scheduled} in the option");
    }
}

#[derive(Debug)]
struct Row {
    run: String,
    state: String,
    then: String,
    due_at: i64,
    epoch: i64,
    pid: u32,
}

impl Row {
    fn is_final(&self) -> bool {
        !matches!(self.state.as_str(), "claimed" | "running")
    }
}

/// The journal's rows by event; what was given back never ran.
fn journal(site: &Site) -> BTreeMap<Event, Vec<Row>> {
    let mut rows: BTreeMap<Event, Vec<Row>> = BTreeMap::new();
    for row in site
        .sql("SELECT hook, event_key, run, state, `then`, due_at, epoch, pid FROM wp_cron_runner_journal WHERE state <> 'given_back' ORDER BY id")
    {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let mut cell = || cells.next().expect("eight columns");
        let event = (cell(), cell());
        let number = |text: String| text.parse::<i64>().expect("a number");
        let (run, state, then) = (cell(), cell(), cell());
        let (due_at, epoch, pid) = (number(cell()), number(cell()), number(cell()));
        let row = Row { run, state, then, due_at, epoch, pid: u32::try_from(pid).expect("a process number") };
        rows.entry(event).or_default().push(row);
    }
    rows
}

/// How many runs have no outcome yet.
pub fn open_runs(site: &Site) -> usize {
    let open = site.sql_text("SELECT COUNT(*) FROM wp_cron_runner_journal WHERE state IN ('claimed', 'running')");
    open.expect("a count").parse().expect("a number")
}

fn in_option(site: &Site) -> BTreeSet<Event> {
    events_before(site, i64::MAX)
}

/// Due for ten seconds and more.
fn overdue(site: &Site) -> BTreeSet<Event> {
    events_before(site, unix_now() - 10)
}

fn events_before(site: &Site, time: i64) -> BTreeSet<Event> {
    let cron = site.cron_array_json();
    let times = cron.as_object().expect("a cron array").iter();
    let times = times.filter(|(at, _)| at.parse::<i64>().is_ok_and(|at| at < time));
    let events = times.filter_map(|(_, hooks)| hooks.as_object()).flat_map(|hooks| {
        hooks.iter().flat_map(|(hook, keys)| {
            keys.as_object().into_iter().flat_map(|keys| keys.keys()).map(|key| (hook.clone(), key.clone()))
        })
    });
    events.collect()
}

fn by_event(ledger: &Ledger) -> BTreeMap<Event, Ledger> {
    let mut lines: BTreeMap<Event, Ledger> = BTreeMap::new();
    for line in &ledger.0 {
        lines.entry((line.hook.clone(), line.key.clone())).or_insert(Ledger(Vec::new())).0.push(line.clone());
    }
    lines
}

/// WordPress's keys of what was planned.
fn keys<'a>(site: &Site, events: &'a BTreeMap<String, (String, Value)>) -> impl Iterator<Item = Event> + use<'a> {
    let arguments: Vec<&Value> = events.values().map(|(_, arguments)| arguments).collect();
    let code = "$keys = array();
        foreach ( json_decode( base64_decode( '%' ), true ) as $args ) { $keys[] = md5( serialize( $args ) ); }
        echo json_encode( $keys );";
    let keys = site.php_json(&code.replace('%', &base64(json!(arguments).to_string().as_bytes())));
    let keys: Vec<Value> = keys.as_array().expect("a list").clone();
    let keys = keys.into_iter().map(|key| key.as_str().expect("a key").to_owned());
    events.values().map(|(hook, _)| hook.clone()).zip(keys)
}

/// Which of the events core called scheduled; none where the page did not answer.
fn page_that_schedules(site: &Site, seconds: i64, hook: &str, label: &str, first: usize, count: usize) -> Vec<bool> {
    let path = format!("/?fx_schedule={hook}&in={seconds}&label={label}&first={first}&n={count}");
    let Ok(page) = site.try_request("GET", &path, &[], "") else { return Vec::new() };
    let answer: Value = serde_json::from_str(&page.body).unwrap_or_default();
    answer["results"].as_array().map_or(Vec::new(), |results| results.iter().map(|done| *done == true).collect())
}
