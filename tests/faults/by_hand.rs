//! Row 29: people who run events by hand, with WP-CLI and with WP Crontrol, beside the runner. What they run has no row in the
//! journal, and may run beside a run of ours; ours lose and double nothing for that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use super::{nothing_wrong, times};
use crate::support::ledger::Ledger;
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Runner, Site, secs, wait_for};

/// WP-CLI takes an event out of the option and calls its hook; whatever it says about events that are gone by then.
fn run_by_wp_cli(site: &Site, words: &[&str]) {
    let mut command = site.php_command();
    command.arg(site.phar()).arg(format!("--path={}", site.path.display())).arg(format!("--url={}", site.url));
    command.args(["cron", "event", "run"]).args(words).output().expect("WP-CLI");
}

/// "Run now": the event stays where it is, and a copy of it is due since 1970.
fn run_now(site: &Site, number: usize) {
    site.php(&format!(
        "delete_transient('doing_cron');
        $crons = _get_cron_array();
        $crons[1]['fx_output'][md5(serialize(['far', {number}]))] = ['schedule' => false, 'args' => ['far', {number}]];
        uksort($crons, 'strnatcasecmp');
        if (true !== _set_cron_array($crons, true)) {{ throw new Exception('not stored'); }}
        spawn_cron();"
    ));
}

#[derive(Default)]
struct Counts {
    by_hand: usize,
    /// Ran by hand and by the runner as well.
    by_both: usize,
    overlaps: usize,
}

/// Every event ended at least once, and at most once by the runner, as its own journal says.
fn judge(site: &Site, workers: &[u32], planned: &[(String, String)]) -> (Figure, Counts) {
    let ledger = site.ledger();
    let mut rows: BTreeMap<(String, String), usize> = BTreeMap::new();
    for row in site.sql("SELECT hook, event_key, state, `then` FROM wp_cron_runner_journal WHERE state NOT IN ('given_back', 'skipped')") {
        let cell = |at: usize| row[at].clone().unwrap_or_default();
        assert_eq!((cell(2).as_str(), cell(3).as_str()), ("ok", "none"), "{row:?}");
        *rows.entry((cell(0), cell(1))).or_default() += 1;
    }
    let (mut figure, mut counts) = (Figure { of: planned.len(), ..Figure::default() }, Counts::default());
    for event in planned {
        let lines: Vec<_> = ledger.0.iter().filter(|line| (&line.hook, &line.key) == (&event.0, &event.1)).collect();
        let of = |at: &str| lines.iter().filter(|line| line.at == at).count();
        let begun = lines.iter().filter(|line| line.at == "BEGIN" && workers.contains(&line.pid)).count();
        let recorded = rows.get(event).copied().unwrap_or(0);
        let by_hand = of("BEGIN") - begun;
        figure.lost += usize::from(of("END") == 0) + recorded.abs_diff(begun);
        figure.doubled += begun.saturating_sub(1);
        counts.by_hand += by_hand;
        counts.by_both += usize::from(by_hand > 0 && begun > 0);
    }
    let ours = Ledger(ledger.0.iter().filter(|line| workers.contains(&line.pid)).cloned().collect());
    figure.doubled += ours.overlaps().len();
    counts.overlaps = ledger.overlaps().len() - ours.overlaps().len();
    (figure, counts)
}

fn by_hand(site: &Site, row: &str) {
    let runner = Runner::builder(site).site_line("rescan = \"2s\"").start();
    let workers = site.php_fpm.workers();
    let seconds = i64::try_from(times(12, 180)).expect("a few");
    let start = unix_now() + 3;
    let lengths = [("fx_ok", json!(0)), ("fx_sleep", json!(0.2)), ("fx_sleep", json!(1.5)), ("fx_ok", json!(1))];
    let due: Vec<_> = (0..3 * seconds)
        .map(|i| {
            let (hook, length) = &lengths[usize::try_from(i % 4).expect("a few")];
            (start + i / 3, *hook, json!([length, i]))
        })
        .collect();
    // Nobody would run these for a day.
    let far = times(5, 60);
    let later: Vec<_> = (0..far).map(|i| (start + 86_400, "fx_output", json!(["far", i]))).collect();
    site.schedule(&due);
    site.schedule(&later);
    site.schedule_recurring(2, "every_2s", "fx_recurring", &json!([]));

    let (is_over, loops) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let by_wp_cli = |words: &'static [&'static str]| {
            while !is_over.load(Ordering::SeqCst) {
                run_by_wp_cli(site, words);
                loops.fetch_add(1, Ordering::SeqCst);
            }
        };
        scope.spawn(move || by_wp_cli(&["--due-now"]));
        let crontrol = scope.spawn(move || (0..far).for_each(|number| run_now(site, number)));
        crontrol.join().expect("WP Crontrol");
        wait_for("the last of them", secs(60 + seconds.unsigned_abs()), || {
            (unix_now() > start + seconds
                && site.scheduled("fx_sleep").is_empty()
                && site.scheduled("fx_ok").is_empty())
            .then_some(())
        });
        is_over.store(true, Ordering::SeqCst);
    });
    let copies = || site.cron_array_json().get("1").is_some();
    wait_for("the copies", secs(20), || (!copies()).then_some(()));
    let open = || {
        site.sql(
            "SELECT 1 FROM wp_cron_runner_journal WHERE state IN ('claimed', 'running') AND hook <> 'fx_recurring'",
        )
    };
    wait_for("the end of all", secs(20), || open().is_empty().then_some(()));

    let key =
        |args: &serde_json::Value| site.ledger().0.iter().find(|line| line.args == *args).map(|line| line.key.clone());
    let planned: Vec<(String, String)> = due
        .iter()
        .chain(&later)
        .map(|(_, hook, args)| ((*hook).to_owned(), key(args).unwrap_or_else(|| format!("{args} never began"))))
        .collect();
    let (figure, counts) = judge(site, &workers, &planned);
    assert_eq!(site.scheduled("fx_output").len(), far, "what was run early stays scheduled, as with core's cron");
    assert_eq!(site.scheduled("fx_recurring").len(), 1, "a recurring event has one next occurrence");
    // Some of the copies are WP-CLI's, which is as fast; that none is lost the figure says.
    assert!(!runner.history_of("fx_output").is_empty(), "the runner runs what is due since 1970");
    let hits = format!(
        "{} runs by hand, {} of events that the runner ran as well, {} beside a run of it; {} calls of WP-CLI, {far} of \"run now\"",
        counts.by_hand,
        counts.by_both,
        counts.overlaps,
        loops.load(Ordering::SeqCst)
    );
    nothing_wrong(row, &figure, &hits);
    assert!(counts.by_hand > 0, "nobody ran anything by hand: {hits}");
}

#[test]
fn row_29_runs_by_hand_on_mariadb() {
    by_hand(&Site::builder().mariadb().start(), "row 29 (MariaDB)");
}

#[test]
#[ignore = "as on MariaDB; in `make faults`"]
fn row_29_runs_by_hand_on_sqlite() {
    by_hand(&Site::builder().sqlite().start(), "row 29 (SQLite)");
}
