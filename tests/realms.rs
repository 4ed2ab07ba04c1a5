//! Runners that share their leases: who follows whom without waiting for silence, and what becomes of the one before.

use serde_json::{Value, json};

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

fn both(test: fn(&Site)) {
    std::thread::scope(|scope| {
        scope.spawn(|| test(&Site::builder().mariadb().start()));
        scope.spawn(|| test(&Site::builder().sqlite().start()));
    });
}

/// A site that a runner has looked after and left: tables and lock kind are there, and nobody interferes.
fn prepared(site: &Site) -> Runner {
    let mut runner = Runner::builder(site).start();
    runner.stop();
    runner
}

/// PHP with the plugin's own functions: `$settle('first', [...])` is a call of the runner of that name, `$take` takes the site
/// over for an hour, `$run` claims as that runner with this epoch; each gives the answer, a refusal with `error`.
fn calls(site: &Site, code: &str) -> Value {
    site.php_json(&format!(
        "namespace WP_Cron_Runner; foreach (['endpoint', 'calls', 'execute'] as $f) {{ require_once WPMU_PLUGIN_DIR . \"/wp-cron-runner/src/$f.php\"; }}
         $told = function (callable $answer) {{
            ob_start();
            try {{ $answer(); $text = ob_get_clean(); return json_decode(substr($text, strpos($text, ' ') + 1), true); }}
            catch (Refused $e) {{ ob_end_clean(); return ['error' => $e->error] + $e->more; }} }};
         $settle = function ($who, array $ask) use ($told) {{
            return $told(function () use ($who, $ask) {{
                $nonce = bin2hex(random_bytes(16));
                answer_settle(new Frames('key', $nonce), $ask + ['owner' => \"id of $who\", 'runner' => $who], $nonce); }}); }};
         $take = function ($who, array $more = []) use ($settle) {{ return $settle($who, $more + ['take' => true, 'expect_ms' => 3600000, 'until_ms' => now_ms() + 60000]); }};
         $run = function ($who, $epoch) use ($told) {{
            return $told(function () use ($who, $epoch) {{
                $batch = new Batch(bin2hex(random_bytes(16)), own_connection(), $epoch, $who, 'test'); $batch->lanes = 1; $GLOBALS['kept'][] = $batch;
                echo ' ', json_encode(['rows' => array_column(claim($batch)['rows'], 'run')]); }}); }};
         $db = page_connection();
         {code}"
    ))
}

#[test]
fn one_of_the_same_realm_follows_at_once_and_no_other_does() {
    both(|site| {
        let _runner = prepared(site);
        let told = calls(
            site,
            "wp_schedule_single_event(time() - 10, 'fx_nobody');
             $first = $take('first', ['realm' => 'ours'])['epoch'];
             $others = [];
             $held_up = ['realm' => 'ours', 'until_ms' => now_ms() - 1];
             foreach ([[], ['realm' => ''], ['realm' => 'theirs'], ['realm' => null], $held_up] as $realm) {
                $said = $take('second', $realm); $others[] = [$said['error'], $said['owner']['name'], $said['epoch'] - $first]; }
             $second = $take('second', ['realm' => 'ours'])['epoch'];
             $late = [$run('first', $first), $settle('first', ['epoch' => $first]), $take('first')];
             $ours = count($run('second', $second)['rows']);
             // Who takes it over without a realm is followed by nobody.
             $third = $take('second')['epoch'];
             $last = $take('first', ['realm' => 'ours']);
             echo json_encode(['others' => $others, 'second' => $second - $first, 'ours' => $ours, 'third' => $third - $second, 'last' => $last['error'],
                'late' => array_map(function ($said) { return [$said['error'], $said['owner']['name'], $said['message']]; }, $late)]);",
        );
        let (stale, late) =
            (json!(["stale", "first", 0]), json!(["stale", "second", "runner second looks after this site"]));
        let expected = json!({
            "others": [stale, stale, stale, stale, stale], "second": 1, "ours": 1, "third": 1, "last": "stale",
            "late": [late, late, late],
        });
        assert_eq!(told, expected);
    });
}

/// Claimed and not started: in the option again, for the one who follows. Started: it runs to its end.
#[test]
fn what_the_one_before_has_claimed_and_not_started_is_the_follower_s() {
    both(|site| {
        let runner = Runner::builder(site).site_line("lanes = 1").start();
        let at = unix_now() + 2;
        let mut events = vec![(at, "fx_sleep", json!([3]))];
        events.extend((0..7).map(|i| (at, "fx_ok", json!([i]))));
        site.schedule(&events);
        wait_for("the first event's beginning", secs(15), || site.ledger().begin_of("fx_sleep"));
        let told = calls(
            site,
            "set_state($db, 'owner', array_merge(owner($db), ['realm' => 'ours']));
             $take('second', ['realm' => 'ours']);
             echo json_encode(array_column($db->rows('SELECT state FROM ' . journal_table() . ' ORDER BY state'), 'state'));",
        );
        assert_eq!(told, json!(["given_back", "running"]));
        let run = wait_for("the end of the first", secs(15), || runner.history_of("fx_sleep").first().cloned());
        assert_eq!(run["outcome"], "ok", "{run}");
        wait_for("the one before to stand by", secs(15), || {
            let view = runner.json(&["status"])["sites"][0].clone();
            (view["state"] == "standby" && view["message"].to_string().contains("`second`")).then_some(())
        });
        assert_eq!(site.ledger().begins("fx_ok").len(), 0, "nobody claims them yet");
        assert_eq!(site.scheduled("fx_ok").len(), 7);
    });
}

#[test]
fn page_loads_start_nothing_while_another_runner_follows() {
    both(|site| {
        let _runner = prepared(site);
        let told = calls(
            site,
            "$alive = function () use ($db) { return [seen_lately($db), (bool) get_transient('doing_cron'), owner($db)['left']]; };
             $said = [];
             $first = $take('first')['epoch']; $said['taken'] = $alive();
             $settle('first', ['leave' => true, 'follows' => true]); $said['left to the next'] = $alive();
             $said['the one before'] = $run('first', $first)['error'];
             $second = $take('second')['epoch']; $said['followed'] = [$second - $first, $alive()];
             $settle('second', ['leave' => true]); $said['left'] = $alive();
             // Nobody followed after all.
             $take('first'); $settle('first', ['leave' => true, 'follows' => true]); $settle('first', ['leave' => true]);
             $said['left in the end'] = $alive();
             echo json_encode($said);",
        );
        let expected = json!({
            "taken": [true, true, false], "left to the next": [true, true, true], "the one before": "left",
            "followed": [1, [true, true, false]], "left": [false, false, true], "left in the end": [false, false, true],
        });
        assert_eq!(told, expected);
    });
}

/// Two that change over pass each other: the goodbye of the first comes when the second is at work.
#[test]
fn a_late_goodbye_takes_nothing_from_the_follower() {
    both(|site| {
        let _runner = prepared(site);
        let told = calls(
            site,
            "wp_schedule_single_event(time() - 10, 'fx_nobody');
             $take('first', ['realm' => 'ours']); $second = $take('second', ['realm' => 'ours'])['epoch'];
             $claimed = count($run('second', $second)['rows']);
             $said = $settle('first', ['leave' => true]);
             echo json_encode([$claimed, count($said['open']), owner($db)['left'], seen_lately($db), (bool) get_transient('doing_cron')]);",
        );
        assert_eq!(told, json!([1, 1, false, true, true]));
    });
}
