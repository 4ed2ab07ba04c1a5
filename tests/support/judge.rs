//! The checker of the fault tests: what was planned, held against what the hooks wrote down themselves (the ledger), what
//! the journal says, and what is left in the `cron` option.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::site::Site;
use super::wordpress::base64;

/// An event: hook and WordPress's key of its arguments.
type Event = (String, String);

/// What a row of faults ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figure {
    /// Planned, and neither ended (as the journal says) nor in the `cron` option; or `ok` without having run to its end.
    pub lost: usize,
    /// Ran beside itself, or once more than anybody asked for, or has more outcomes than runs.
    pub doubled: usize,
    /// Kept for a person to decide.
    pub held: usize,
    /// Run once more by policy or by `requeue`.
    pub repeated: usize,
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
            of: self.of + other.of,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Figure { lost, doubled, held, repeated, of } = self;
        write!(f, "lost {lost}, doubled {doubled}, held {held}, repeated {repeated}, of {of}")
    }
}

/// What a test has scheduled. Single events are told apart by their arguments, so every one has its own.
#[derive(Default)]
pub struct Plan {
    single: BTreeSet<Event>,
    recurring: BTreeSet<Event>,
}

impl Plan {
    pub fn new() -> Plan {
        Plan::default()
    }

    /// Schedules single events in one request: `(timestamp, hook, arguments)`.
    pub fn schedule(&mut self, site: &Site, events: &[(i64, &str, Value)]) {
        site.schedule(events);
        let before = self.single.len();
        let arguments: Vec<(&str, &Value)> = events.iter().map(|(_, hook, arguments)| (*hook, arguments)).collect();
        self.single.extend(keys(site, &arguments));
        assert_eq!(self.single.len(), before + events.len(), "two single events of one hook with the same arguments");
    }

    /// Counts single events that something else schedules: `(hook, arguments)`.
    pub fn expect(&mut self, site: &Site, events: &[(&str, Value)]) {
        let arguments: Vec<(&str, &Value)> = events.iter().map(|(hook, arguments)| (*hook, arguments)).collect();
        self.single.extend(keys(site, &arguments));
    }

    /// `wp_schedule_event`, first due `seconds` from now.
    pub fn recurring(&mut self, site: &Site, seconds: i64, schedule: &str, hook: &str, arguments: &Value) {
        site.schedule_recurring(seconds, schedule, hook, arguments);
        self.recurring.extend(keys(site, &[(hook, arguments)]));
    }

    /// Waits until every single event has left the option and the journal shows nothing open. In vain is an answer too:
    /// what is open or left then is counted by `judge`.
    pub fn wait(&self, site: &Site, patience: Duration) -> bool {
        let started = std::time::Instant::now();
        loop {
            if open_runs(site) == 0 && self.single.is_disjoint(&in_option(site)) {
                return true;
            }
            if started.elapsed() > patience {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// To be asked when nothing is due and nothing runs any more: a run without an outcome counts as lost.
    pub fn judge(&self, site: &Site) -> Figure {
        let rows = journal(site);
        let scheduled = in_option(site);
        let ledger = site.ledger();
        let count = |at: &str, event: &Event| {
            ledger.0.iter().filter(|line| line.at == at && line.hook == event.0 && line.key == event.1).count()
        };
        let mut figure = Figure { of: self.single.len() + self.recurring.len(), ..Figure::default() };
        for event in self.single.iter().chain(&self.recurring) {
            let none = Vec::new();
            let rows = rows.get(event).unwrap_or(&none);
            let of_state = |state: &str| rows.iter().filter(|row| row.state == state).count();
            let repeated = rows.iter().filter(|row| row.then == "requeued").count();
            figure.held += rows.iter().filter(|row| row.then == "held").count();
            figure.repeated += repeated;
            let open = of_state("claimed") + of_state("running");
            let ended = rows.len() - open;
            let started = ended - of_state("skipped");
            // Gone without an outcome; left behind in a state that is none; or called ok although the hook did not come to
            // its end.
            let is_gone = ended == 0 && open == 0 && !scheduled.contains(event);
            let is_unscheduled = self.recurring.contains(event) && !scheduled.contains(event);
            let is_hollow = of_state("ok") > count("END", event);
            figure.lost += open + usize::from(is_gone || is_unscheduled || is_hollow);
            // A second outcome of one occurrence; more beginnings than outcomes that started; more ends than beginnings.
            let outcomes_too_many = match self.single.contains(event) {
                true => ended.saturating_sub(1 + repeated),
                false => {
                    ended
                        - rows.iter().filter(|row| row.is_final()).map(|row| row.due_at).collect::<BTreeSet<_>>().len()
                }
            };
            let begins_too_many = count("BEGIN", event).saturating_sub(started + open);
            figure.doubled += outcomes_too_many.max(begins_too_many);
        }
        let ours = |hook: &str, key: &str| {
            let event = (hook.to_owned(), key.to_owned());
            self.single.contains(&event) || self.recurring.contains(&event)
        };
        figure.doubled += ledger.overlaps().iter().filter(|(line, _)| ours(&line.hook, &line.key)).count();
        figure
    }
}

struct Row {
    state: String,
    then: String,
    due_at: i64,
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
        .sql("SELECT hook, event_key, state, `then`, due_at FROM wp_cron_runner_journal WHERE state <> 'given_back' ORDER BY id")
    {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let mut cell = || cells.next().expect("five columns");
        let event = (cell(), cell());
        let row = Row { state: cell(), then: cell(), due_at: cell().parse().expect("a timestamp") };
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
    let cron = site.cron_array_json();
    let hooks = cron.as_object().expect("a cron array").values().filter_map(Value::as_object);
    let events = hooks.flat_map(|hooks| {
        hooks.iter().flat_map(|(hook, keys)| {
            keys.as_object().into_iter().flat_map(|keys| keys.keys()).map(|key| (hook.clone(), key.clone()))
        })
    });
    events.collect()
}

fn keys(site: &Site, events: &[(&str, &Value)]) -> Vec<Event> {
    let arguments: Vec<&Value> = events.iter().map(|(_, arguments)| *arguments).collect();
    let code = "foreach ( json_decode( base64_decode( '%' ), true ) as $args ) { $keys[] = md5( serialize( $args ) ); }
        echo json_encode( $keys );";
    let keys = site.php_json(&code.replace('%', &base64(json!(arguments).to_string().as_bytes())));
    let keys = keys.as_array().expect("a list").iter().map(|key| key.as_str().expect("a key").to_owned());
    events.iter().map(|(hook, _)| (*hook).to_owned()).zip(keys).collect()
}
