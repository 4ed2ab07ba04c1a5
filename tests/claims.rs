//! The claim and the journal, rule by rule: who changes a row, what giving back undoes, and who may claim at all.

use serde_json::{Value, json};

use crate::support::site::Database;
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

/// A site that a runner has looked after and left: tables and lock kind are there, and nobody interferes.
fn prepared(site: &Site) -> Runner {
    let mut runner = Runner::builder(site).start();
    runner.stop();
    runner
}

fn both(test: fn(&Site)) {
    std::thread::scope(|scope| {
        scope.spawn(|| test(&Site::builder().mariadb().start()));
        scope.spawn(|| test(&Site::builder().sqlite().start()));
    });
}

/// PHP with the plugin's own functions; `$batch` claims as page-load cron does, `$db` and `$locks` are its connection's.
fn in_plugin(site: &Site, code: &str) -> Value {
    site.php_json(&format!(
        "namespace WP_Cron_Runner; require_once WPMU_PLUGIN_DIR . '/wp-cron-runner/src/execute.php';
         $make = function () {{ $db = own_connection(); return new Batch(bin2hex(random_bytes(16)), $db, owner($db)['epoch'], 'test', PAGE_LOAD); }};
         $batch = $make(); $db = $batch->db; $locks = $batch->locks; $batch->lanes = 1;
         $option = function () use ($db) {{ return read_cron($db); }};
         $states = function () use ($db) {{ return array_map('intval', array_column($db->rows('SELECT state, COUNT(*) AS n FROM ' . journal_table() . ' GROUP BY state ORDER BY state'), 'n', 'state')); }};
         {code}"
    ))
}

const SCHEDULED: &str = "$past = time() - 7300;
    for ($i = 0; $i < 4; $i++) { wp_schedule_single_event($past + $i, 'fx_nobody', [$i]); }
    wp_schedule_event($past, 'hourly', 'fx_hourly', ['a']); wp_schedule_event($past + 600, 'daily', 'fx_daily');
    \\fx_schedule_object($past + 1);
    // Two occurrences of one recurring event are due: both share the next one.
    $cron = _get_cron_array(); $cron[$past + 3600]['fx_hourly'] = $cron[$past]['fx_hourly']; ksort($cron); _set_cron_array($cron);";

#[test]
fn giving_back_undoes_the_claim_byte_by_byte() {
    both(|site| {
        let _runner = prepared(site);
        let told = in_plugin(
            site,
            &format!("{SCHEDULED} $before = $option(); $rows = [];
             while ($claimed = claim($batch)['rows']) {{ $rows = array_merge($rows, $claimed); $batch->let_go(); }}
             $during = $option();
             $full = $db->rows('SELECT ' . FULL_COLUMNS . ' FROM ' . journal_table());
             $decided = give_back($db, $locks, $full);
             echo json_encode([count($rows), $before === $during, $before === $option(), array_unique(array_values($decided)), $states()]);"),
        );
        assert_eq!(told, json!([8, false, true, ["given_back"], {"given_back": 8}]), "{told}");
    });
}

#[test]
fn a_row_changes_only_from_the_state_that_it_is_in_and_one_of_many_wins() {
    both(|site| {
        let _runner = prepared(site);
        let told = in_plugin(
            site,
            &(SCHEDULED.to_owned() + "$row = claim($batch)['rows'][0]; $run = $row['run']; $told = [];
             $told['end before its start'] = move_row($db, $run, 'running', 'ok');
             $told['start'] = move_row($db, $run, 'claimed', 'running', ['started_ms' => now_ms()]);
             $told['start again'] = move_row($db, $run, 'claimed', 'running');
             $told['given back while it runs'] = give_back($db, $locks, $db->rows('SELECT ' . FULL_COLUMNS . ' FROM ' . journal_table() . ' WHERE run = ?', [$run]));
             $told['end'] = end_run($db, $locks, $row, 'failed', ['then' => 'none', 'ended_ms' => now_ms()]);
             $told['end again'] = end_run($db, $locks, $row, 'ok', ['then' => 'none', 'ended_ms' => now_ms()]);
             $told['tried again after its end'] = end_run($db, $locks, $row, 'interrupted', ['then' => 'requeued', 'note' => null]);
             $told['in the option'] = isset(events_in($option())[$row['due_at']][$row['hook']][$row['event_key']]);
             $decide = function ($what) use ($db, $locks, $run) {
                try { $what($db, $locks, $run); return 'done'; } catch (Refused $e) { return $e->error; } };
             $requeue = function ($db, $locks, $run) { requeue($db, $locks, $run); };
             $drop = function ($db, $locks, $run) { drop_run($db, $run); };
             $told['requeue'] = $decide($requeue); $told['requeue again'] = $decide($requeue); $told['drop after it'] = $decide($drop);
             echo json_encode($told);"),
        );
        let expected = json!({
            "end before its start": false, "start": true, "start again": false, "given back while it runs": [],
            "end": true, "end again": false, "tried again after its end": false, "in the option": false,
            "requeue": "done", "requeue again": "E_STATE", "drop after it": "E_STATE",
        });
        assert_eq!(told, expected);
    });
}

#[test]
fn what_is_unscheduled_while_it_is_claimed_is_skipped_and_does_not_come_back() {
    both(|site| {
        let _runner = prepared(site);
        let scheduled =
            "$past = time() - 100; foreach (['one', 'two', 'three', 'kept'] as $name) { wp_schedule_single_event($past, 'fx_nobody', [$name]); }
             wp_schedule_event($past, 'hourly', 'fx_hourly', ['cleared']); wp_schedule_event($past, 'hourly', 'fx_daily', ['behind our back']);
             wp_schedule_single_event($past, 'fx_whole', [1]); wp_schedule_single_event($past, 'fx_whole', [2]);";
        let told = in_plugin(
            site,
            &(scheduled.to_owned() + "
             while (claim($batch)['rows']) { $batch->let_go(); }
             $said = [wp_unschedule_event($past, 'fx_nobody', ['one']), wp_clear_scheduled_hook('fx_nobody', ['two']),
                wp_clear_scheduled_hook('fx_hourly', ['cleared']), wp_unschedule_hook('fx_whole')];
             // Not through core: its next occurrence just goes.
             change_cron($db, $locks, function (array &$cron) { foreach (events_of($cron, 'fx_daily') as $e) { remove_event($cron, $e[0], $e[1], $e[2]); } });
             settle_runs($db, $locks, ['leave' => true]);
             $rows = $db->rows('SELECT hook, state, reason FROM ' . journal_table() . ' ORDER BY id');
             $left = []; foreach (each_event(events_in($option())) as $e) { if (0 === strpos($e[1], 'fx_')) { $left[] = $e[1] . ' ' . implode($e[3]['args']); } }
             sort($left); echo json_encode([$said[0], $states(), array_unique(array_column(array_filter($rows, function ($r) { return 'skipped' === $r['state']; }), 'reason')), $left]);"),
        );
        assert_eq!(told[0], json!(true), "core is told that it was unscheduled");
        assert_eq!(told[1], json!({"given_back": 2, "skipped": 6}), "{told}");
        assert_eq!(told[2], json!(["unscheduled"]));
        assert_eq!(told[3], json!(["fx_nobody kept", "fx_nobody three"]));
    });
}

#[test]
fn a_runner_that_knows_an_older_epoch_or_a_left_one_claims_nothing() {
    both(|site| {
        let _runner = prepared(site);
        let told = in_plugin(
            site,
            "wp_schedule_single_event(time() - 10, 'fx_nobody'); $owner = owner($db); $tried = [];
             foreach (['older' => $owner['epoch'] - 1, 'never issued' => $owner['epoch'] + 1] as $which => $epoch) {
                $other = $make(); $other->epoch = $epoch;
                try { claim($other); $tried[$which] = 'claimed'; } catch (Refused $e) { $tried[$which] = $e->error; }
                $tried['locks of ' . $which] = array_filter([event_lock(1, 'fx_nobody', md5(serialize([])))], [$locks, 'is_held']); $other->close(); }
             $other = $make(); $other->trigger = 'fastcgi';
             try { claim($other); $tried['left'] = 'claimed'; } catch (Refused $e) { $tried['left'] = $e->error; }
             $tried['rows'] = (int) $db->value('SELECT COUNT(*) FROM ' . journal_table());
             echo json_encode($tried);",
        );
        let expected = json!({
            "older": "stale", "locks of older": [], "never issued": "unknown_epoch", "locks of never issued": [],
            "left": "left", "rows": 0,
        });
        assert_eq!(told, expected);
    });
}

/// Anybody can write anything into the option: what no journal can hold must not keep the others from running.
#[test]
fn an_odd_event_keeps_no_other_from_running() {
    both(|site| {
        let runner = Runner::builder(site).start();
        site.php(
            "$cron = _get_cron_array(); $at = time() - 1; $key = md5(serialize([]));
             $cron[$at]['fx_ok'][$key] = ['schedule' => str_repeat('s', 300), 'args' => [], 'interval' => 3600];
             $cron[$at]['fx_output'][str_repeat('k', 300)] = ['schedule' => false, 'args' => []];
             $cron[$at]['fx_writes'][md5(serialize(['marked']))] = ['schedule' => false, 'args' => ['marked'], 'wp_cron_runner' => ['attempt' => 100000, 'deaths' => -5]];
             $cron[$at]['fx_recurring'][$key] = ['schedule' => false, 'args' => []];
             ksort($cron); _set_cron_array($cron);",
        );
        for hook in ["fx_ok", "fx_writes", "fx_recurring"] {
            let run = wait_for(hook, secs(20), || runner.history_of(hook).first().cloned());
            assert_eq!(run["outcome"], "ok", "{run}");
        }
        let view = wait_for("the reason for the fourth", secs(20), || {
            let view = runner.json(&["status"])["sites"][0].to_string();
            view.contains("none that WordPress makes").then_some(view)
        });
        assert_eq!(site.scheduled("fx_output").len(), 1, "left alone: {view}");
        assert_eq!(site.scheduled("fx_ok").len(), 1, "its own interval goes on");
    });
}

/// Due again while it runs: asked for when that run has ended, not in a loop.
#[test]
fn a_busy_event_is_not_asked_for_in_a_loop() {
    let site = Site::builder().mariadb().start();
    let runner =
        Runner::builder(&site).trigger(crate::support::Trigger::Http).site_line("rescan = \"1h\"\nlanes = 3").start();
    site.schedule_recurring(1, "every_2s", "fx_sleep", &json!([7]));
    wait_for("two ends", secs(40), || (site.ledger().ends("fx_sleep").len() >= 2).then_some(()));
    let log = std::fs::read_to_string(site.dir.join("access.log")).expect("access.log");
    let runs = log.lines().filter(|line| line.contains("wp-cron-runner=run")).count();
    assert!(runs <= 10, "{runs} requests for two runs of seven seconds\n{log}\n{}", runner.log());
    assert!(site.ledger().overlaps().is_empty());
}

/// The database is put back to a state from before the runner's last take-over, in which an event was running.
fn a_restored_backup(site: &Site) {
    let retry = "[[site.hook]]\nname = \"fx_sleep\"\ninterrupted = \"retry\"\n";
    let mut runner = Runner::builder(site).site_line("rescan = \"2s\"").table(retry).start();
    // A free lock proves a process dead only where the server has been up for longer than the run is old, and it tells whole seconds.
    if matches!(site.database, Database::MariaDb { .. }) {
        let uptime = || site.sql("SHOW GLOBAL STATUS LIKE 'Uptime'")[0][1].as_deref()?.parse::<u32>().ok();
        wait_for("a server that is up for some seconds", secs(10), || uptime().filter(|seconds| *seconds >= 3));
    }
    site.schedule_in(1, "fx_sleep", &json!([3, "in the backup"]));
    wait_for("its beginning", secs(15), || site.ledger().begin_of("fx_sleep"));
    let tables = ["wp_cron_runner_journal", "wp_cron_runner_state"];
    for table in tables {
        site.sql(&format!("CREATE TABLE backup_{table} AS SELECT * FROM {table}"));
    }
    wait_for("its end", secs(15), || runner.history_of("fx_sleep").first().cloned());
    runner.stop();
    runner.start();
    runner.stop();
    for table in tables {
        site.sql(&format!("DELETE FROM {table}"));
        site.sql(&format!("INSERT INTO {table} SELECT * FROM backup_{table}"));
    }
    runner.start();
    site.schedule(&[(unix_now() + 1, "fx_ok", json!(["afterwards"]))]);
    wait_for("a run", secs(40), || runner.history_of("fx_ok").first().cloned());
    let row = site.sql("SELECT state, `then` FROM wp_cron_runner_journal WHERE hook = 'fx_sleep'");
    let words: Vec<Option<&str>> = row[0].iter().map(Option::as_deref).collect();
    assert_eq!(words, [Some("interrupted"), Some("held")], "held for a person, whatever the policy: it ran to its end");
    assert_eq!((row.len(), site.ledger().begins("fx_sleep").len()), (1, 1));
    assert!(runner.log().contains("backup"), "{}", runner.log());
}

#[test]
fn a_restored_backup_is_known_by_its_epoch_on_mariadb() {
    a_restored_backup(&Site::builder().mariadb().start());
}

#[test]
fn a_restored_backup_is_known_by_its_epoch_on_sqlite() {
    a_restored_backup(&Site::builder().sqlite().start());
}
