//! Row 40: a `cron` option that was cut short, is no array, or too large: nothing is written over it, and its last snapshot
//! comes back with one command.

use serde_json::{Value, json};

use super::{nothing_wrong, times};
use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, secs, wait_for};

const CRON: &str = "SELECT option_value FROM wp_options WHERE option_name = 'cron'";

fn set_cron(site: &Site, php: &str) {
    site.php(&format!(
        "global $wpdb; $text = $wpdb->get_var(\"{CRON}\");
         $wpdb->query($wpdb->prepare(\"UPDATE $wpdb->options SET option_value = %s WHERE option_name = 'cron'\", {php}));
         wp_cache_flush();"
    ));
}

/// Twenty events to come, a look that keeps a snapshot of them, and one event that runs after it.
fn a_site_with_a_timetable(site: &Site) -> (Runner, Plan) {
    let mut runner = Runner::builder(site).site_line("rescan = \"1s\"\ngrace = \"4s\"").prepare();
    let mut plan = Plan::new();
    plan.schedule(site, &(0..20).map(|i| (unix_now() + 9000 + i, "fx_ok", json!(["to come", i]))).collect::<Vec<_>>());
    plan.schedule(site, &[(unix_now() + 4, "fx_output", json!(["runs after the snapshot"]))]);
    plan.recurring(site, 3, "hourly", "fx_recurring", &json!([]));
    runner.start();
    wait_for("a run", secs(20), || runner.history_of("fx_output").first().cloned());
    wait_for("another", secs(20), || runner.history_of("fx_recurring").first().cloned());
    (runner, plan)
}

/// It is in no snapshot.
#[test]
fn row_40_what_the_journal_gave_back_since_the_snapshot_is_there_again() {
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).start();
    runner.stop();
    let told = site.php_json(
        "namespace WP_Cron_Runner; require_once WPMU_PLUGIN_DIR . '/wp-cron-runner/src/execute.php'; require_once WPMU_PLUGIN_DIR . '/wp-cron-runner/src/snapshot.php';
         $db = own_connection(); $make = function () use ($db) { return new Batch(bin2hex(random_bytes(16)), own_connection(), owner($db)['epoch'], 'test', PAGE_LOAD); };
         $past = time() - 100; foreach (['back', 'again', 'ran', 'open'] as $i => $name) { wp_schedule_single_event($past + $i, 'fx_' . $name); }
         wp_schedule_event($past + 5, 'hourly', 'fx_hourly'); wp_schedule_event($past + 6, 'hourly', 'fx_gone');
         $row = function ($hook) use ($db) { return $db->rows('SELECT ' . FULL_COLUMNS . ' FROM ' . journal_table() . ' WHERE hook = ? ORDER BY id DESC LIMIT 1', [$hook]); };
         $batch = $make(); claim($batch); $batch->let_go();
         usleep(2100000); keep_snapshot($db, read_cron($db), now_ms()); usleep(2100000);
         $before = array_column(array_map(function ($e) { return [$e[1]]; }, iterator_to_array(each_event(events_in(read_cron($db))), false)), 0);
         give_back($db, $batch->locks, $row('fx_back'));
         while (claim($batch)['rows']) { $batch->let_go(); }
         foreach (['fx_again', 'fx_ran', 'fx_hourly'] as $hook) { move_row($db, $row($hook)[0]['run'], 'claimed', 'running'); }
         end_run($db, $batch->locks, $row('fx_ran')[0], 'ok', ['then' => 'none', 'ended_ms' => now_ms()]);
         end_run($db, $batch->locks, $row('fx_hourly')[0], 'ok', ['then' => 'none', 'ended_ms' => now_ms()]);
         end_run($db, $batch->locks, $row('fx_again')[0], 'interrupted', ['then' => 'requeued', 'ended_ms' => now_ms()]);
         give_back($db, $batch->locks, $row('fx_back'));
         wp_clear_scheduled_hook('fx_gone');
         $names = function () use ($db) { $all = []; foreach (each_event(events_in(read_cron($db))) as $e) { if (0 === strpos($e[1], 'fx_')) { $all[] = $e[1]; } } sort($all); return $all; };
         $expected = $names();
         $db->write(\"UPDATE {$GLOBALS['wpdb']->options} SET option_value = LEFT(option_value, 200) WHERE option_name = 'cron'\");
         $told = restore_cron($db, $batch->locks);
         echo json_encode([$expected, $names(), $told['claimed'] > 0]);",
    );
    assert_eq!(told[0], told[1], "{told}");
    assert_eq!(told[1], json!(["fx_again", "fx_back", "fx_hourly"]), "{told}");
}

fn broken_and_restored(site: &Site, damage: &str) {
    let (runner, plan) = a_site_with_a_timetable(site);
    set_cron(site, damage);
    let broken = site.sql_text(CRON);
    let view = wait_for("its name", secs(20), || {
        let view = runner.json(&["status"])["sites"][0].to_string();
        view.contains("timetable").then_some(view)
    });
    assert!(view.contains("restore"), "says what to do: {view}");

    // A page schedules meanwhile: core takes the option for empty, and would write its one event over all.
    let told = site.php_json(
        "$told = wp_schedule_single_event(time() + 9000, 'fx_nobody', [], true);
         echo json_encode(is_wp_error($told) ? $told->get_error_code() : $told);",
    );
    assert_eq!(told, json!("could_not_set"), "{damage}");
    assert_eq!(site.sql_text(CRON), broken, "and nothing was written: {damage}");

    let said = runner.cli(&["restore", &site.name]);
    assert_eq!(said.code(), 0, "{said:?}");
    let figure = plan.judge(site);
    nothing_wrong(
        "row 40",
        &figure,
        &format!("the option becomes {damage}; {}", said.stdout.lines().next().unwrap_or_default()),
    );
    assert_eq!(
        (site.scheduled("fx_ok").len(), site.scheduled("fx_output").len()),
        (20, 0),
        "what has run does not come back"
    );
    assert_eq!(site.scheduled("fx_recurring").len(), 1, "its next occurrence");
    let again = runner.cli(&["restore", &site.name]);
    assert!(again.code() != 0 && again.stderr.contains("nothing to lose"), "{again:?}");
    // Told by the site itself: no waiting for the runner's patience with it.
    site.schedule_in(1, "fx_ok", &json!(["after the restoration"]));
    wait_for("a run", secs(10), || runner.history_of("fx_ok").first().cloned());
    assert!(runner.history().iter().all(|run| run["outcome"] == "ok"));
}

#[test]
fn row_40_cut_short_on_mariadb() {
    broken_and_restored(&Site::builder().mariadb().start(), "substr($text, 0, -8)");
}

#[test]
fn row_40_cut_short_on_sqlite() {
    broken_and_restored(&Site::builder().sqlite().start(), "substr($text, 0, -8)");
}

#[test]
fn row_40_a_serialization_that_core_reads_as_nothing() {
    // Ends like an array: `get_option` gives false, and core would add the option anew.
    broken_and_restored(&Site::builder().mariadb().start(), "substr($text, 0, -30) . '}'");
}

#[test]
fn row_40_a_string() {
    broken_and_restored(&Site::builder().sqlite().start(), "'not an array at all'");
}

#[test]
fn row_40_without_a_snapshot_it_says_so() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).start();
    site.sql("DELETE FROM wp_cron_runner_state WHERE name LIKE 'snapshot:%'");
    set_cron(&site, "substr($text, 0, -8)");
    let broken = site.sql_text(CRON);
    let said = runner.cli(&["restore", &site.name]);
    assert!(said.code() != 0 && said.stderr.contains("no snapshot") && said.stderr.contains("backup"), "{said:?}");
    assert_eq!(site.sql_text(CRON), broken);
}

/// Fifty megabytes where faults are injected at length; else two, and the plugin takes one for its most.
#[test]
fn row_40_a_timetable_that_is_too_large_is_refused_by_its_size() {
    let megabytes = times(2, 50);
    let site = Site::builder().own_mariadb().php_ini("memory_limit", "1G").start();
    let mut runner = Runner::builder(&site).site_line("rescan = \"1s\"\ngrace = \"4s\"").prepare();
    if megabytes < 32 {
        site.change_plugin("cron-option.php", "const LARGEST_CRON = 33554432;", "const LARGEST_CRON = 1048576;");
    }
    let mut plan = Plan::new();
    plan.schedule(&site, &[(unix_now() + 9000, "fx_ok", json!(["to come"]))]);
    runner.start();
    site.sql("SET GLOBAL max_allowed_packet = 268435456");
    let bytes = megabytes << 20;
    site.sql(&format!(
        "UPDATE wp_options SET option_value = CONCAT('a:1:{{i:2000000000;a:1:{{s:1:\"h\";a:1:{{s:1:\"k\";a:2:{{s:8:\"schedule\";b:0;s:4:\"args\";a:1:{{i:0;s:{bytes}:\"', REPEAT('x', {bytes}), '\";}}}}}}}}}}') WHERE option_name = 'cron'"
    ));
    let view = wait_for("its name", secs(40), || {
        let view = runner.json(&["status"])["sites"][0].to_string();
        view.contains("timetable").then_some(view)
    });
    assert!(view.contains("bytes"), "{view}");
    let length = site.sql_text("SELECT LENGTH(option_value) FROM wp_options WHERE option_name = 'cron'");
    assert!(length.and_then(|length| length.parse::<usize>().ok()) > Some(bytes), "nothing was written");
    let said = runner.cli(&["restore", &site.name]);
    assert_eq!(said.code(), 0, "{said:?}");
    nothing_wrong("row 40", &plan.judge(&site), &format!("{megabytes} MB, refused and restored"));
}

/// 100,000 events to come and ten that are due: looked at, claimed and run like any others.
fn a_hundred_thousand_events(site: &Site) {
    let runner = Runner::builder(site).site_line("rescan = \"5s\"\nlanes = 2").start();
    let mut plan = Plan::new();
    plan.expect(&(0..10).map(|i| ("fx_ok", json!(["due", i]))).collect::<Vec<_>>());
    site.php(
        "ini_set('memory_limit', '1G'); global $wpdb; $cron = _get_cron_array();
         for ($i = 0; $i < 100000; $i++) { $cron[time() + 90000 + $i]['fx_nobody'][md5(serialize([$i]))] = ['schedule' => false, 'args' => [$i]]; }
         for ($i = 0; $i < 10; $i++) { $cron[time() - 5]['fx_ok'][md5(serialize(['due', $i]))] = ['schedule' => false, 'args' => ['due', $i]]; }
         ksort($cron); $cron['version'] = 2;
         $wpdb->query(\"UPDATE $wpdb->options SET option_value = '\" . esc_sql(serialize($cron)) . \"' WHERE option_name = 'cron'\");",
    );
    wait_for("all ten", secs(90), || (site.ledger().ends("fx_ok").len() == 10).then_some(()));
    wait_for("their records", secs(20), || (runner.history_of("fx_ok").len() == 10).then_some(()));
    assert!(runner.history_of("fx_ok").iter().all(|run| run["outcome"] == "ok"), "{}", runner.log());
    let begins: std::collections::BTreeSet<_> =
        site.ledger().begins("fx_ok").into_iter().map(|line| line.key.clone()).collect();
    assert_eq!((begins.len(), site.ledger().begins("fx_ok").len()), (10, 10), "each once");
    let left = site.php_json("ini_set('memory_limit', '1G'); echo json_encode(count(_get_cron_array()));");
    assert!(left.as_i64().is_some_and(|left| left >= 100_000), "{left}");
    assert_eq!(runner.json(&["history", "--failed"]), Value::Array(Vec::new()));
}

#[test]
fn row_40_a_hundred_thousand_events_on_mariadb() {
    a_hundred_thousand_events(&Site::builder().mariadb().php_ini("memory_limit", "256M").start());
}

#[test]
#[ignore = "as on MariaDB; in `make faults`"]
fn row_40_a_hundred_thousand_events_on_sqlite() {
    a_hundred_thousand_events(&Site::builder().sqlite().php_ini("memory_limit", "256M").start());
}
