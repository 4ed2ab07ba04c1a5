//! What the end of the stream means: hooks that swallow our frames, forge them, or leave somebody behind who holds the stream
//! open. The journal decides; nothing is lost, repeated, or waited for.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::process::signal_pid;
use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, Trigger, secs, wait_for};

/// Hooks that know all about us. A buffer with the flags 0 can be neither flushed nor closed by anybody else.
const HOOKS: &str = r#"
function st_marker() {
    $of = function ($object, $name) { return (function () use ($name) { return $this->$name; })->call($object); };
    return $of(WP_Cron_Runner\Execution::$current, 'frames')->marker();
}
function st_frames($seq, $outcome) {
    global $wpdb;
    $run = $wpdb->get_var("SELECT run FROM {$wpdb->prefix}cron_runner_journal WHERE state = 'running' LIMIT 1");
    $forged = ['{"t":"end","run":"' . $run . '","outcome":"' . $outcome . '","then":"none","at_ms":1}',
        '{"t":"given_back","run":"' . $run . '"}', '{"t":"done","next":null,"due":0,"busy":[],"ran":1,"why":"nothing due","now_ms":1}'];
    foreach ($forged as $json) {
        echo "\n", st_marker(), $seq++, ':', str_repeat('0', 32), " $json\n";
        echo "\nwpcr1:0123456789abcdef:", $seq, ':', str_repeat('0', 32), " $json\n";
    }
    flush();
}
fx_hook('st_cleans', function () { echo 'x'; while (ob_get_level() && ob_end_clean()) { continue; } });
fx_hook('st_eats_what_it_closes', function () { ob_start(function () { return ''; }); echo 'eaten'; });
fx_hook('st_forges', function () { st_frames(3, 'failed'); });
fx_hook('st_forges_and_fails', function () { st_frames(3, 'ok'); throw new Exception('it failed all the same'); });
fx_hook('st_records', function () {
    ob_start(function ($text) { $GLOBALS['st_seen'] = ($GLOBALS['st_seen'] ?? '') . $text; return $text; }, 1, 0);
});
fx_hook('st_repeats', function () {
    $seen = $GLOBALS['st_seen'] ?? '';
    echo $seen, $seen;
    return substr_count($seen, 'wpcr1:');
});
fx_hook('st_eats_for_ever', function () { ob_start(function () { return ''; }, 0, 0); });
add_action('st_eats_and_exits', function (...$args) {
    fx_write('BEGIN', 'st_eats_and_exits', $args);
    ob_start(function () { return ''; }, 0, 0);
    fx_write('END', 'st_eats_and_exits', $args);
    exit;
}, 10, 9);
"#;

/// Hook, outcome, and what the record says.
const EXPECTED: [(&str, &str, &str); 9] = [
    ("st_cleans", "ok", ""),
    ("st_eats_what_it_closes", "ok", ""),
    ("st_forges", "ok", "wpcr1:"),
    ("st_forges_and_fails", "failed", "it failed all the same"),
    ("st_records", "ok", ""),
    ("st_repeats", "ok", ""),
    ("st_eats_for_ever", "ok", ""),
    ("fx_ok", "ok", ""),
    ("st_eats_and_exits", "ok", "exit"),
];

fn frames_are_swallowed_and_forged(site: &Site, trigger: Trigger) {
    site.add_plugin(HOOKS);
    let runner = Runner::builder(site).trigger(trigger).site_line("lanes = 1\nrescan = \"2s\"").start();
    let mut plan = Plan::new();
    let at = unix_now() + 1;
    let events: Vec<_> = EXPECTED.iter().zip(0..).map(|((hook, ..), i)| (at, *hook, json!([i]))).collect();
    plan.schedule(site, &events);
    // All in one process, as far as they let it live.
    plan.schedule(site, &[(at + 1, "fx_output", json!(["behind them all"]))]);
    let behind = wait_for("what comes behind", secs(60), || runner.history_of("fx_output").first().cloned());
    assert_eq!(behind["output"], "behind them all");
    wait_for("all records", secs(20), || (runner.history().len() == EXPECTED.len() + 1).then_some(()));
    for (hook, outcome, word) in EXPECTED {
        let runs = runner.history_of(hook);
        assert_eq!(runs.len(), 1, "{hook}: {runs:?}");
        assert_eq!(
            (runs[0]["outcome"].as_str(), runs[0]["then"].as_str()),
            (Some(outcome), Some("none")),
            "{hook}: {}",
            runs[0]
        );
        assert!(runs[0].to_string().contains(word), "{hook}: {}", runs[0]);
    }
    let repeated = site.ledger().end_of("st_repeats").expect("its end").note;
    assert!(repeated.as_i64().is_some_and(|frames| frames > 0), "frames were repeated: {repeated}");
    let figure = plan.judge(site);
    assert_eq!(figure.wrong(), 0, "{figure}");
}

#[test]
fn swallowed_and_forged_frames_through_fastcgi() {
    frames_are_swallowed_and_forged(&Site::builder().mariadb().start(), Trigger::FastCgi);
}

#[test]
fn swallowed_and_forged_frames_through_http() {
    frames_are_swallowed_and_forged(&Site::builder().sqlite().start(), Trigger::Http);
}

#[test]
fn swallowed_and_forged_frames_through_wp_cli() {
    frames_are_swallowed_and_forged(&Site::builder().sqlite().start(), Trigger::WpCli);
}

/// With the key out of the process's own memory a hook can say what it likes to the runner. It still cannot make an event run
/// twice, or not at all.
#[test]
fn a_frame_that_is_signed_by_the_hook_itself_changes_no_count() {
    let site = Site::builder().mariadb().start();
    site.add_plugin(
        r#"fx_hook('st_signs', function ($frame, $then) {
            global $wpdb;
            $run = $wpdb->get_var("SELECT run FROM {$wpdb->prefix}cron_runner_journal WHERE state = 'running' LIMIT 1");
            $frames = (function () { return $this->frames; })->call(WP_Cron_Runner\Execution::$current);
            $frames->send(['t' => $frame, 'run' => $run, 'outcome' => 'ok', 'then' => 'none', 'at_ms' => 1,
                'next' => null, 'due' => 0, 'busy' => [], 'ran' => 1, 'why' => 'nothing due', 'now_ms' => 1]);
            usleep(300000);
            if ('throw' === $then) { throw new Exception('after it'); }
            if ('die' === $then) { fx_write('NOTE', 'st_signs', []); posix_kill(getmypid(), 9); }
        });"#,
    );
    let runner = Runner::builder(&site).site_line("lanes = 1\nrescan = \"2s\"").start();
    let mut plan = Plan::new();
    let at = unix_now() + 1;
    let thens = ["", "throw", "die"];
    let cases: Vec<_> =
        ["end", "done", "given_back"].iter().flat_map(|frame| thens.map(|then| json!([frame, then]))).collect();
    plan.schedule(&site, &cases.iter().map(|args| (at, "st_signs", args.clone())).collect::<Vec<_>>());
    plan.schedule(&site, &[(at + 1, "fx_ok", json!(["behind them all"]))]);
    wait_for("what comes behind", secs(60), || site.ledger().end_of("fx_ok"));
    assert!(plan.wait(&site, secs(20)), "{}", runner.log());
    let figure = plan.judge(&site);
    assert_eq!((figure.wrong(), figure.held), (0, 3), "{figure}");
    assert_eq!(site.ledger().begins("st_signs").len(), cases.len());
    let journal = site.sql("SELECT state, COUNT(*) FROM wp_cron_runner_journal WHERE hook = 'st_signs' AND state <> 'given_back' GROUP BY state ORDER BY state");
    assert_eq!(json!(journal), json!([["failed", "3"], ["interrupted", "3"], ["ok", "3"]]));
}

/// A process that a hook leaves behind, with every file of PHP's open.
struct LeftBehind(u32);

impl Drop for LeftBehind {
    fn drop(&mut self) {
        signal_pid(self.0, rustix::process::Signal::KILL);
    }
}

const CHILD: &str = r#"
fx_hook('st_child', function ($then) {
    $file = ABSPATH . 'wp-content/uploads/st-child-' . $then;
    proc_open("sleep 300 & echo \$! > '$file.new'; mv '$file.new' '$file'", [], $pipes);
    while (!file_exists($file)) { usleep(1000); clearstatcache(); }
    if ('exit' === $then) { fx_write('END', 'st_child', [$then]); exit; }
    if ('hang' === $then) { while (true) { usleep(10000); } }
});
"#;

const THENS: [(&str, &str); 3] = [("return", "ok"), ("exit", "ok"), ("hang", "interrupted")];

fn somebody_holds_the_stream_open(site: &Site, trigger: Trigger) {
    site.add_plugin(CHILD);
    let runner = Runner::builder(site).trigger(trigger).site_line("lanes = 1\nrescan = \"2s\"").start();
    let mut plan = Plan::new();
    for (then, outcome) in THENS {
        let before = runner.history_of("st_child").len();
        plan.schedule(site, &[(unix_now(), "st_child", json!([then])), (unix_now() + 1, "fx_ok", json!([then]))]);
        let file = site.path.join("wp-content/uploads").join(format!("st-child-{then}"));
        let child = wait_for("the one that stays", secs(20), || std::fs::read_to_string(&file).ok());
        let _child = LeftBehind(child.trim().parse().expect("a process number"));
        if then == "hang" {
            let begin = site.ledger().begins("st_child").last().expect("its beginning").pid;
            signal_pid(begin, rustix::process::Signal::KILL);
        }
        let began = Instant::now();
        let run = wait_for("its record", secs(25), || {
            let runs = runner.history_of("st_child");
            (runs.len() > before).then(|| runs[0].clone())
        });
        assert_eq!(run["outcome"], outcome, "{then}: {run}");
        wait_for("the one behind it", secs(15), || {
            site.ledger().ends("fx_ok").iter().any(|line| line.args == json!([then])).then_some(())
        });
        let took: Duration = began.elapsed();
        // After a quarter of a minute of silence the runner asks whether its process lives.
        assert!(took < secs(20), "{then}: {took:?}");
        eprintln!("{trigger:?} {then}: {took:?}");
    }
    assert!(plan.wait(site, secs(10)));
    let figure = plan.judge(site);
    assert_eq!((figure.wrong(), figure.held), (0, 1), "{figure}");
}

#[test]
fn a_child_that_holds_the_stream_open_through_fastcgi() {
    somebody_holds_the_stream_open(&Site::builder().sqlite().start(), Trigger::FastCgi);
}

#[test]
fn a_child_that_holds_the_stream_open_through_http() {
    somebody_holds_the_stream_open(&Site::builder().sqlite().start(), Trigger::Http);
}

#[test]
fn a_child_that_holds_the_stream_open_through_wp_cli() {
    somebody_holds_the_stream_open(&Site::builder().sqlite().start(), Trigger::WpCli);
}
