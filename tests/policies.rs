//! What becomes of an event whose process died or ran out of time: hold, drop, retry; and of one that keeps failing.

use serde_json::{Value, json};

use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, secs, wait_for};

const RETRY: &str = "[[site.hook]]\nname = \"fx_dies\"\ninterrupted = \"retry\"\n[[site.hook]]\nname = \"fx_hang\"\ntimeout = \"1s\"\ninterrupted = \"retry\"\n";

/// Tries follow after one, two and three seconds: no test waits for minutes.
fn quick_tries(site: &Site) {
    site.change_plugin("ends.php", "array( 10, 60, 300 )", "array( 1, 2, 3 )");
}

fn outcomes(runner: &Runner, hook: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    runner.history_of(hook).iter().rev().map(|run| (text(&run["outcome"]), text(&run["then"]))).collect()
}

fn words(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn tried_again(site: &Site) {
    let mut runner = Runner::builder(site).site_line("rescan = \"2s\"").table(RETRY).prepare();
    quick_tries(site);
    runner.start();
    let mut plan = Plan::new();
    plan.schedule(site, &[(unix_now() + 1, "fx_dies", json!([1, "once"]))]);
    wait_for("two tries", secs(30), || (runner.history_of("fx_dies").len() == 2).then_some(()));
    assert_eq!(outcomes(&runner, "fx_dies"), words(&[("interrupted", "requeued"), ("ok", "none")]));
    let first = &runner.history_of("fx_dies")[1];
    assert!(first["note"].as_str().is_some_and(|note| note.contains("try 2 of 4")), "{first}");

    // Two deaths in a row: it is the event's own doing, and a person's matter now.
    plan.schedule(site, &[(unix_now() + 1, "fx_dies", json!([9, "always"]))]);
    wait_for("two more", secs(30), || (runner.history_of("fx_dies").len() == 4).then_some(()));
    assert_eq!(outcomes(&runner, "fx_dies")[2..], words(&[("interrupted", "requeued"), ("interrupted", "held")]));

    // A time limit is tried four times in all.
    plan.schedule(site, &[(unix_now() + 1, "fx_hang", json!(["sleep"]))]);
    wait_for("four tries", secs(90), || (runner.history_of("fx_hang").len() == 4).then_some(()));
    let expected =
        [("timed_out", "requeued"), ("timed_out", "requeued"), ("timed_out", "requeued"), ("timed_out", "held")];
    assert_eq!(outcomes(&runner, "fx_hang"), words(&expected));
    assert!(plan.wait(site, secs(10)), "nothing follows");
    let figure = plan.judge(site);
    assert_eq!((figure.wrong(), figure.held, figure.repeated), (0, 2, 5), "{figure}");
    assert_eq!(site.ledger().begins("fx_dies").len(), 4);
}

#[test]
fn retried_and_held_on_mariadb() {
    tried_again(&Site::builder().mariadb().start());
}

#[test]
fn retried_and_held_on_sqlite() {
    tried_again(&Site::builder().sqlite().start());
}

#[test]
fn dropped_where_the_operator_says_so_and_for_recurring_events() {
    let site = Site::builder().mariadb().start();
    let drop = "[[site.hook]]\nname = \"fx_di*\"\ninterrupted = \"drop\"\n";
    let runner = Runner::builder(&site).site_line("rescan = \"2s\"").table(drop).start();
    site.schedule_in(1, "fx_dies", &json!([9, "dropped"]));
    wait_for("its record", secs(20), || (runner.history_of("fx_dies").len() == 1).then_some(()));
    assert_eq!(outcomes(&runner, "fx_dies"), words(&[("interrupted", "dropped")]));
    assert!(site.scheduled("fx_dies").is_empty());
}

/// A recurring event that always fails goes on, but less often from its third bad end in a row on; a good one ends that.
#[test]
fn a_recurring_event_that_keeps_failing_waits_longer() {
    let site = Site::builder().mariadb().start();
    site.add_plugin(
        "add_filter('cron_schedules', function ($all) { $all['every_4s'] = ['interval' => 4, 'display' => '4 s']; return $all; });
         add_action('fx_flaky', function () {
            fx_write('BEGIN', 'fx_flaky', []);
            if (!get_option('fx_flaky_is_well')) { throw new Exception('again'); }
            fx_write('END', 'fx_flaky', []); });",
    );
    let runner = Runner::builder(&site).start();
    site.schedule_recurring(1, "every_4s", "fx_flaky", &json!([]));
    wait_for("five occurrences", secs(60), || (runner.history_of("fx_flaky").len() >= 5).then_some(()));
    let due = |runner: &Runner| -> Vec<i64> {
        let runs = runner.history_of("fx_flaky");
        runs.iter()
            .rev()
            .map(|run| {
                run["due"].as_str().and_then(|due| due.parse::<jiff::Timestamp>().ok()).expect("a time").as_second()
            })
            .collect()
    };
    let gaps: Vec<i64> = due(&runner).windows(2).map(|pair| pair[1] - pair[0]).take(4).collect();
    assert_eq!(gaps, [4, 4, 8, 8], "4 s, and from the third bad one on 4 s more");
    let third = runner.history_of("fx_flaky").into_iter().rev().nth(2).expect("a third");
    let of_the_site =
        format!("SELECT note FROM wp_cron_runner_journal WHERE run = '{}'", third["run"].as_str().unwrap_or_default());
    assert!(site.sql_text(&of_the_site).is_some_and(|note| note.contains("4 s longer")), "and the journal says why");
    site.php("update_option('fx_flaky_is_well', 1);");
    let before = runner.history_of("fx_flaky").len();
    wait_for("three good ones", secs(40), || (runner.history_of("fx_flaky").len() >= before + 4).then_some(()));
    let due = due(&runner);
    assert_eq!(due[due.len() - 1] - due[due.len() - 2], 4, "its own interval again: {due:?}");
}

/// The runner and the process die, and page loads stand in: by the operator's word, not by the plugin's own.
#[test]
fn page_loads_keep_to_the_operators_policies() {
    let site = Site::builder().mariadb().start();
    let hold = "[[site.hook]]\nname = \"publish_future_post\"\ninterrupted = \"hold\"\n";
    let mut runner = Runner::builder(&site).site_line("grace = \"2s\"").table(hold).prepare();
    site.add_plugin(
        "remove_all_actions('publish_future_post'); fx_hook('publish_future_post', function () { sleep(30); });",
    );
    runner.start();
    site.schedule_in(1, "publish_future_post", &json!([1]));
    let pid = wait_for("its beginning", secs(15), || site.ledger().begin_of("publish_future_post")).pid;
    runner.kill();
    site.php_fpm.kill_worker(pid);
    let ended =
        "SELECT `then` FROM wp_cron_runner_journal WHERE hook = 'publish_future_post' AND state = 'interrupted'";
    let then = wait_for("a page view that settles it", secs(40), || {
        site.get("/wp-cron.php");
        site.sql_text(ended)
    });
    assert_eq!(then, "held");
    assert_eq!(site.ledger().begins("publish_future_post").len(), 1);
}
