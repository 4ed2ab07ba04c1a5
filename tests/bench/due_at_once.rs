//! N events that do nothing are due at once: what each costs, and how many are run in a second.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cpu::{self, Meter, Spent};
use super::{is_quick, make_durable, report, wp_cron_event_run};
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, account, http, secs};

#[derive(Clone, Copy)]
enum Way {
    Runner { lanes: u32 },
    WpCronPhp,
    WpCli,
}

impl Way {
    const ALL: [Way; 4] = [Way::Runner { lanes: 2 }, Way::Runner { lanes: 1 }, Way::WpCronPhp, Way::WpCli];

    fn name(self) -> String {
        match self {
            Way::Runner { lanes } => format!("runner, fastcgi, lanes = {lanes}"),
            Way::WpCronPhp => "core: wp-cron.php through nginx".to_owned(),
            Way::WpCli => "wp cron event run --due-now".to_owned(),
        }
    }
}

/// A fresh site, and whoever runs its events.
struct Place {
    way: Way,
    runner: Option<Runner>,
    ran: PathBuf,
    site: Site,
}

/// Each line that the hook writes is so long.
const LINE: u64 = 9;

impl Place {
    fn new(way: Way) -> Place {
        // PHP's 30 seconds would end core in the middle of a long queue; with 0, those of `max_input_time` would.
        let builder = Site::builder().mariadb().without_fixture().php_ini("max_execution_time", "86400");
        let site = match way {
            Way::Runner { .. } => builder.start(),
            _ => builder.wp_config("define( 'DISABLE_WP_CRON', true );").start(),
        };
        make_durable(&site);
        let ran = site.dir.join("ran.txt");
        fs::write(&ran, "").expect("ran.txt");
        account::give_to(account::SITE, &ran);
        // One short write(2): as cheap as an event can be that leaves a trace.
        site.add_plugin(&format!(
            "add_action( 'bench_event', function ( $id ) {{
                static $file = null;
                $file = $file ?? fopen( '{}', 'ab' );
                fwrite( $file, sprintf( \"%08d\\n\", $id ) );
            }} );",
            ran.display()
        ));
        let runner = match way {
            Way::Runner { lanes } => Some(Runner::builder(&site).site_line(&format!("lanes = {lanes}")).start()),
            _ => None,
        };
        Place { way, runner, ran, site }
    }

    /// All in one write of the option; due since a second.
    fn make_due(&self, count: u64) {
        fs::write(&self.ran, "").expect("ran.txt");
        self.site.php(&format!(
            "global $wpdb;
            $cron = _get_cron_array();
            for ( $id = 0; $id < {count}; $id++ ) {{
                $cron[{}]['bench_event'][ md5( serialize( array( $id ) ) ) ] = array( 'schedule' => false, 'args' => array( $id ) );
            }}
            ksort( $cron );
            $cron['version'] = 2;
            $wpdb->update( $wpdb->options, array( 'option_value' => serialize( $cron ) ), array( 'option_name' => 'cron' ) );",
            unix_now() - 1
        ));
    }

    /// What was spent, and the seconds until the last event had run.
    fn drain(&self, count: u64) -> (Spent, f64) {
        self.make_due(count);
        let meter = Meter::of(&self.site, self.runner.as_ref());
        let notice = self.runner.as_ref().map(|runner| Notice::sign(runner, &self.site));
        let before = meter.at_rest();
        let started = Instant::now();
        let mut child = None;
        match self.way {
            Way::Runner { .. } => notice.expect("a runner").send(),
            Way::WpCronPhp => assert_eq!(self.site.get("/wp-cron.php").status, 200),
            Way::WpCli => {
                let mut command = wp_cron_event_run(&self.site);
                child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("php"));
            }
        }
        let mut seen = (0, started);
        while seen.0 < count * LINE {
            let length = fs::metadata(&self.ran).expect("ran.txt").len();
            if length > seen.0 {
                seen = (length, Instant::now());
            }
            let ran = length / LINE;
            assert!(seen.1.elapsed() < secs(60), "{}: none ran for a minute, after {ran} of {count}", self.way.name());
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = started.elapsed().as_secs_f64();
        let own = child.map_or(0.0, |child| meter.of_whole(child));
        let spent = Spent { php: own, ..Spent::default() } + meter.at_rest() + before / -1.0;
        self.check(count);
        (spent, took)
    }

    /// Each exactly once, and nothing is left.
    fn check(&self, count: u64) {
        let mut times: BTreeMap<u64, u32> = BTreeMap::new();
        for id in lines(&self.ran) {
            *times.entry(id).or_default() += 1;
        }
        let way = self.way.name();
        assert!(times.keys().copied().eq(0..count), "{way}: {} of {count} events ran", times.len());
        assert!(times.values().all(|times| *times == 1), "{way}: an event ran twice");
        assert!(self.site.scheduled("bench_event").is_empty(), "{way}: events are left");
        if self.runner.is_some() {
            let states = self.site.sql(
                "SELECT state, COUNT(*) FROM wp_cron_runner_journal WHERE hook = 'bench_event' GROUP BY state ORDER BY state",
            );
            let wrong = states.iter().any(|row| !["ok", "given_back"].contains(&row[0].as_deref().unwrap_or_default()));
            assert!(!wrong, "{way}: {states:?}");
        }
    }
}

fn lines(file: &Path) -> Vec<u64> {
    fs::read_to_string(file).expect("ran.txt").lines().map(|line| line.parse().expect("a number")).collect()
}

/// "Something is due", as the plugin tells it.
struct Notice {
    address: String,
    path: String,
    body: String,
    signature: String,
}

impl Notice {
    fn sign(runner: &Runner, site: &Site) -> Notice {
        let (address, path) = (runner.listen(), format!("/v1/sites/{}/notice", site.name));
        let body = json!({ "next": unix_now() }).to_string();
        let key = fs::read_to_string(runner.home().join(format!("{}.key", site.name))).expect("the site's key");
        let signature = http::signature(key.trim(), &site.name, &path, &address, body.as_bytes());
        Notice { address, path, body, signature }
    }

    fn send(self) {
        let headers = [("X-WP-Cron-Runner", self.signature.as_str())];
        let page = http::request("POST", &self.address, &self.path, &headers, self.body.as_bytes()).expect("an answer");
        assert_eq!(page.status, 204, "{}", page.body);
    }
}

struct Figure {
    way: Way,
    count: u64,
    rounds: u32,
    /// Per event, in milliseconds.
    spent: Spent,
    per_s: f64,
}

#[allow(clippy::cast_precision_loss, reason = "thousands, not quadrillions")]
fn measure(way: Way, count: u64) -> Figure {
    // The clock of /proc ticks every 10 ms, and the disk is not always as quick: what is short is drained several times.
    let rounds: u32 = if count < 1000 {
        5
    } else if count < 5000 {
        3
    } else {
        1
    };
    let place = Place::new(way);
    // What is loaded and compiled once is not the price of an event.
    place.drain(1);
    let drained: Vec<(Spent, f64)> = (0..rounds).map(|_| place.drain(count)).collect();
    let all = count as f64 * f64::from(rounds);
    let spent = drained.iter().fold(Spent::default(), |sum, (spent, _)| sum + *spent) / all;
    let mut took: Vec<f64> = drained.iter().map(|(_, took)| *took).collect();
    took.sort_by(f64::total_cmp);
    let per_s = count as f64 / took[took.len() / 2];
    eprintln!("  {count} events, {}: {:.2} ms, {per_s:.0}/s", way.name(), spent.all());
    Figure { way, count, rounds, spent, per_s }
}

#[test]
#[ignore = "measures for minutes; `make bench`"]
fn due_at_once() {
    let counts: &[u64] = if is_quick() { &[100, 1000] } else { &[100, 1000, 5000, 10_000] };
    let machine = report::machine(&Site::builder().mariadb().without_fixture().start());
    let figures: Vec<Figure> = counts.iter().flat_map(|count| Way::ALL.map(|way| measure(way, *count))).collect();
    let rows: Vec<Vec<String>> = figures.iter().map(|figure| row(figure, ours(&figures, figure.count))).collect();
    let values: Vec<Value> = figures.iter().map(|figure| value(figure, ours(&figures, figure.count))).collect();
    let mut notes = vec![
        cpu::HOW,
        "The hook writes one line. A fresh site each, MariaDB with its default durability, php-fpm with opcache; WP-CLI as crontab calls it.",
        "CPU is the mean of the rounds, events/s the median, up to the last event; each way drains one event before.",
        "Checked: every event ran exactly once, and the option is empty.",
    ];
    if is_quick() {
        notes.push("Not measured with QUICK=1: 5,000 and 10,000 events.");
    }
    report::tell(
        "due_at_once",
        &machine,
        "N single events due at once",
        &notes,
        &["way", "N", "rounds", "CPU ms/event", "x ours", "of it PHP", "database", "others", "events/s", "x ours"],
        &rows,
        &json!(values),
    );
}

/// The runner with its default settings.
fn ours(figures: &[Figure], count: u64) -> &Figure {
    let is_default = |figure: &&Figure| matches!(figure.way, Way::Runner { lanes: 2 }) && figure.count == count;
    figures.iter().find(is_default).expect("it was measured")
}

fn row(figure: &Figure, ours: &Figure) -> Vec<String> {
    vec![
        figure.way.name(),
        figure.count.to_string(),
        figure.rounds.to_string(),
        format!("{:.2}", figure.spent.all()),
        format!("{:.2}", figure.spent.all() / ours.spent.all()),
        format!("{:.2}", figure.spent.php),
        format!("{:.2}", figure.spent.database),
        format!("{:.2}", figure.spent.others),
        format!("{:.0}", figure.per_s),
        format!("{:.2}", figure.per_s / ours.per_s),
    ]
}

fn value(figure: &Figure, ours: &Figure) -> Value {
    json!({
        "way": figure.way.name(),
        "events": figure.count,
        "rounds": figure.rounds,
        "cpu_ms_per_event": figure.spent.all(),
        "cpu_times_ours": figure.spent.all() / ours.spent.all(),
        "cpu_ms_per_event_of": {
            "php": figure.spent.php,
            "database": figure.spent.database,
            "others": figure.spent.others,
        },
        "events_per_second": figure.per_s,
        "events_per_second_times_ours": figure.per_s / ours.per_s,
    })
}
