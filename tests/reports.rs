//! What the plugin shows and does: from the runner where it answers, from its own journal where it does not.

use serde_json::{Value, json};

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

/// The plugin's functions for wp-admin and WP-CLI.
fn plugin(site: &Site, expression: &str) -> Value {
    let file = site.path.join("wp-content/mu-plugins/wp-cron-runner/src/reports.php");
    let code = format!(
        "namespace WP_Cron_Runner; require_once '{}'; $said = {expression}; echo json_encode( is_wp_error( $said ) ? array( 'error' => $said->get_error_code(), 'message' => $said->get_error_message() ) : $said );",
        file.display()
    );
    site.php_json(&code)
}

fn hooks_of(report: &Value) -> Vec<&str> {
    report["runs"].as_array().expect("runs").iter().filter_map(|run| run["hook"].as_str()).collect()
}

#[test]
fn the_runner_and_the_journal_say_the_same_of_a_run() {
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).start();
    site.schedule_in(0, "fx_output", &json!(["printed"]));
    site.schedule_in(0, "fx_exception", &json!([]));
    wait_for("both runs", secs(15), || (runner.history().len() >= 2).then_some(()));

    let status = plugin(&site, "report_status()");
    assert_eq!((&status["from"], &status["why"]), (&json!("runner"), &Value::Null), "{status}");
    assert_eq!((&status["runner"]["name"], &status["site"]["state"]), (&json!("test"), &json!("ok")), "{status}");
    let told = plugin(&site, "report_history( array( 'outcome' => 'bad' ) )");
    assert_eq!((&told["from"], hooks_of(&told)), (&json!("runner"), vec!["fx_exception"]), "{told}");
    let failed = told["runs"][0].clone();
    assert!(failed["error"]["file"].is_string() && failed["error"]["line"].is_number(), "{failed}");
    let told = plugin(&site, "report_history( array( 'hook' => 'fx_output' ) )");
    assert_eq!(told["runs"][0]["output"], Value::Null, "a list is short: {told}");
    let run = told["runs"][0]["run"].as_str().expect("an id");
    let told = plugin(&site, &format!("report_history( array( 'run' => '{run}' ) )"));
    assert_eq!(told["runs"][0]["output"], "printed", "{told}");
    let summary = plugin(&site, "report_summary()");
    assert_eq!((&summary["total"]["runs"], &summary["total"]["bad"]), (&json!(2), &json!(1)), "{summary}");

    runner.stop();
    let status = plugin(&site, "report_status()");
    assert_eq!((&status["from"], &status["site"]["state"]), (&json!("journal"), &json!("no runner")), "{status}");
    assert!(status["why"].as_str().is_some_and(|why| why.contains("No runner answers")), "{status}");
    let journal = plugin(&site, "report_history( array( 'outcome' => 'bad' ) )");
    for field in
        ["run", "hook", "due", "started", "ended", "lateness_ms", "ms", "outcome", "then", "error", "queries", "host"]
    {
        assert_eq!(journal["runs"][0][field], failed[field], "{field}: {journal}\n{failed}");
    }
    let of_journal = plugin(&site, "report_summary()");
    assert_eq!(of_journal["total"], summary["total"]);
}

#[test]
fn only_an_answer_that_is_signed_is_believed() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).start();
    let listen = runner.listen();
    // The wrong key, and no key at all: no word more than that.
    let page = runner.post_with(&"1f".repeat(32), "shop", "/v1/sites/shop/view", "{}");
    assert_eq!((page.status, page.body.contains("E_AUTH")), (401, true), "{page:?}");
    let page = runner.post_as_site("shop", "/v1/sites/shop/history", "{\"n\": \"many\"}");
    assert_eq!(page.status, 400, "{page:?}");
    runner.stop();

    // Another program takes the port, and says what it likes.
    let listener = std::net::TcpListener::bind(&listen).expect("the runner's port");
    let liar = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut connection, _) = listener.accept().expect("a request");
        let mut request = [0; 4096];
        let _ = connection.read(&mut request);
        let body = "{\"runner\": {\"name\": \"<script>\"}, \"site\": {\"state\": \"ok\"}}";
        let _ =
            write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    });
    let status = plugin(&site, "report_status()");
    liar.join().expect("the other program");
    assert_eq!((&status["from"], &status["runner"]), (&json!("journal"), &Value::Null), "{status}");
    assert!(status["why"].as_str().is_some_and(|why| why.contains("does not know the key")), "{status}");
}

#[test]
fn a_site_reads_its_own_runs_and_no_others() {
    let site = Site::builder().sqlite().start();
    let other = Site::builder().name("blog").sqlite().start();
    let runner = Runner::builder(&site).and(&other).start();
    other.schedule_in(0, "fx_output", &json!(["a secret"]));
    let run = wait_for("the run", secs(15), || runner.history_of("fx_output").first().cloned());
    let run = run["run"].as_str().expect("an id");
    let page = runner.post_as_site("blog", "/v1/sites/blog/history", &json!({"run": run}).to_string());
    assert!(page.status == 200 && page.body.contains("a secret"), "{page:?}");
    let page = runner.post_as_site("shop", "/v1/sites/blog/history", &json!({"run": run}).to_string());
    assert_eq!(page.status, 401, "{page:?}");
    let page = runner.post_as_site("shop", "/v1/sites/shop/history", &json!({"run": run}).to_string());
    assert_eq!((page.status, page.body.as_str()), (200, "[]"));
}

fn a_hook_pauses(site: &Site) {
    let runner = Runner::builder(site).site_line("rescan = \"1s\"").start();
    assert_eq!(plugin(site, "pause_hook( 'fx_ok' )"), json!(true));
    site.schedule(&[(unix_now(), "fx_ok", json!(["waits"])), (unix_now(), "fx_output", json!(["does not"]))]);
    wait_for("the other hook's run", secs(15), || runner.history_of("fx_output").first().cloned());
    let said = wait_for("the remark", secs(10), || {
        let said = runner.cli(&["status"]);
        said.stdout.contains("paused hooks").then_some(said)
    });
    assert!(said.stdout.contains("fx_ok"), "{said:?}");
    let view = runner.json(&["status"])["sites"][0].clone();
    assert_eq!((&view["due"], &view["paused_hooks"]), (&json!(0), &json!(["fx_ok"])), "{view}");
    let events = plugin(site, "report_events( array( 'search' => 'FX_OK' ) )");
    assert_eq!((&events["total"], &events["events"][0]["paused"]), (&json!(1), &json!(true)), "{events}");
    // Who names it gets it run; the pause stays.
    let key = events["events"][0]["key"].as_str().expect("a key").to_string();
    let path = "'/v1/sites/shop/run'";
    let ask = |key: &str| format!("ask_runner( {path}, array( 'hook' => 'fx_ok', 'key' => '{key}' ), 10.0 )");
    assert_eq!(plugin(site, &ask(&"0".repeat(32)))["error"], "refused", "no event has these arguments");
    assert_eq!(site.ledger().begins("fx_ok").len(), 0);
    let later = site.schedule_in(3600, "fx_ok", &json!(["another"]));
    let runs = plugin(site, &ask(&key));
    assert_eq!((runs.as_array().map(Vec::len), &runs[0]["outcome"]), (Some(1), &json!("ok")), "{runs}");
    assert_eq!(site.scheduled("fx_ok"), [later], "the one with other arguments is where it was");

    assert_eq!(plugin(site, "resume_hook( 'fx_nobody' )")["error"], "hook");
    let only = format!("ask_runner( {path}, array( 'key' => '{key}' ), 10.0 )");
    assert_eq!(plugin(site, &only)["error"], "refused", "a key of no hook is no wish to run all that is due");
    site.schedule_in(0, "fx_ok", &json!(["waits again"]));
    assert_eq!(plugin(site, "resume_hook( 'fx_ok' )"), json!(true));
    wait_for("what has waited", secs(10), || (site.ledger().ends("fx_ok").len() == 2).then_some(()));
}

#[test]
fn a_paused_hook_waits_and_the_others_do_not_on_mariadb() {
    a_hook_pauses(&Site::builder().mariadb().start());
}

#[test]
fn a_paused_hook_waits_and_the_others_do_not_on_sqlite() {
    a_hook_pauses(&Site::builder().sqlite().start());
}

#[test]
fn a_pause_of_a_hook_ends_by_itself_and_page_loads_heed_it() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).start();
    let until = (unix_now() + 3) * 1000;
    assert_eq!(plugin(&site, &format!("pause_hook( 'fx_ok', {until} )")), json!(true));
    assert_eq!(plugin(&site, "pause_hook( 'fx_output' )"), json!(true));
    assert_eq!(plugin(&site, "pause_hook( 'fx_ok', 5 )")["error"], "until");
    site.schedule_in(0, "fx_ok", &json!([]));
    site.schedule_in(0, "fx_output", &json!([]));
    let run = wait_for("the run after the pause", secs(15), || runner.history_of("fx_ok").first().cloned());
    let begun = site.ledger().begin_of("fx_ok").expect("its begin");
    assert!(begun.wall_ms >= u64::try_from(until).expect("a time"), "{run}");
    assert_eq!(runner.history_of("fx_output").len(), 0);
    runner.stop();
    site.schedule_in(0, "fx_recurring", &json!([]));
    wait_for("a page load's run", secs(15), || {
        site.get("/");
        site.ledger().end_of("fx_recurring")
    });
    assert_eq!(site.ledger().begins("fx_output").len(), 0, "nor by a page load");
    wait_for("a page view that starts nothing", secs(10), || site.page_cost("/").1.is_empty().then_some(()));
}

#[test]
fn a_pause_gives_back_what_was_claimed_and_not_started() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).site_line("lanes = 1").start();
    let at = unix_now() + 2;
    let events: Vec<(i64, &str, Value)> = (0..30).map(|number| (at, "fx_sleep", json!([0.5, number]))).collect();
    site.schedule(&events);
    wait_for("the first begin", secs(15), || site.ledger().begin_of("fx_sleep"));
    assert_eq!(plugin(&site, "pause_hook( 'fx_sleep' )"), json!(true));
    let begun = site.ledger().begins("fx_sleep").len();
    let view = wait_for("an end of what runs", secs(15), || {
        let view = runner.json(&["status"])["sites"][0].clone();
        (view["running"] == json!([])).then_some(view)
    });
    let (now, left) = (site.ledger().begins("fx_sleep").len(), site.scheduled("fx_sleep").len());
    assert!(now <= begun + 1 && now + left == 30, "{begun}, then {now} begun, {left} left: {view}");
}

#[test]
fn a_copy_of_the_site_steers_nothing() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    let due = site.schedule_in(3600, "fx_ok", &json!([]));
    site.wp(&["option", "update", "home", "http://127.0.0.1:1"]);
    for path in ["pause", "run", "view"] {
        let said = plugin(&site, &format!("ask_runner( '/v1/sites/shop/{path}' )"));
        assert_eq!(said["error"], "away", "{said}");
    }
    assert_eq!(plugin(&site, "report_status()")["from"], "journal");
    assert_eq!(runner.json(&["status"])["sites"][0]["paused"], false);
    assert_eq!(site.scheduled("fx_ok"), [due]);
}

#[test]
fn where_the_tables_are_gone_and_no_runner_is_up_page_loads_go_on() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).start();
    runner.stop();
    site.sql("DROP TABLE wp_cron_runner_state");
    site.schedule_in(0, "fx_ok", &json!([]));
    wait_for("core's own loop", secs(20), || {
        site.get("/");
        site.ledger().end_of("fx_ok")
    });
}

#[test]
fn a_held_run_is_decided_with_and_without_a_runner() {
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).start();
    for number in 0..2 {
        site.schedule_in(0, "fx_dies", &json!([99, number]));
    }
    let held = || -> Vec<String> {
        let report = plugin(&site, "report_history( array( 'then' => 'held' ) )");
        let runs = report["runs"].as_array().expect("runs").iter();
        runs.map(|run| run["run"].as_str().expect("an id").to_string()).collect()
    };
    let ids = wait_for("two held runs", secs(20), || Some(held()).filter(|ids| ids.len() == 2));
    assert_eq!(plugin(&site, &format!("decide_run( '{}', 'drop' )", ids[0])), json!(true));
    assert_eq!(held(), [ids[1].clone()]);
    let known = runner.history_of("fx_dies");
    assert!(known.iter().any(|run| run["run"] == ids[0].as_str() && run["then"] == "dropped"), "{known:?}");
    assert_eq!(plugin(&site, &format!("decide_run( '{}', 'requeue' )", ids[0]))["error"], "refused", "decided already");
    assert_eq!(plugin(&site, "decide_run( '../../x', 'drop' )")["error"], "run");
    runner.stop();
    // It has been held for long: the next runner asks what became of it all the same.
    site.sql(&format!("UPDATE wp_cron_runner_journal SET ended_ms = ended_ms - 7200000 WHERE run = '{}'", ids[1]));
    assert_eq!(plugin(&site, &format!("decide_run( '{}', 'drop' )", ids[1])), json!(true));
    assert_eq!(held(), Vec::<String>::new());
    site.schedule_in(0, "fx_ok", &json!([]));
    runner.start();
    wait_for("a run of the next runner", secs(15), || runner.history_of("fx_ok").first().cloned());
    assert_eq!(runner.json(&["history", "--held"]), json!([]));
}

#[test]
fn an_event_is_deleted_once() {
    let site = Site::builder().sqlite().start();
    let _runner = Runner::builder(&site).start();
    let due = site.schedule_recurring(3600, "hourly", "fx_recurring", &json!(["a"]));
    site.schedule_recurring(3600, "hourly", "fx_recurring", &json!(["b"]));
    let events = plugin(&site, "report_events( array( 'search' => 'fx_recurring' ) )");
    let key = events["events"][0]["key"].as_str().expect("a key");
    let delete = format!("delete_event( {due}, 'fx_recurring', '{key}' )");
    assert_eq!(plugin(&site, &delete), json!(true));
    assert_eq!(plugin(&site, &delete)["error"], "refused");
    assert_eq!(site.scheduled("fx_recurring").len(), 1);
}

#[test]
fn what_a_deployment_changed_is_named() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).start();
    let refused = runner.cli(&["status", "--since", "deploy"]);
    assert!(refused.code() == 2 && refused.stderr.contains("no deployment was marked"), "{refused:?}");
    assert_eq!(runner.cli(&["deploy", " "]).code(), 2);
    let events = |hook: &str, count: usize| -> Vec<(i64, String, Value)> {
        (0..count).map(|number| (unix_now(), hook.to_string(), json!([number]))).collect()
    };
    let run = |hook: &str, count: usize, total: usize| {
        let events = events(hook, count);
        let events: Vec<(i64, &str, Value)> =
            events.iter().map(|(at, hook, args)| (*at, hook.as_str(), args.clone())).collect();
        site.schedule(&events);
        wait_for("the runs", secs(20), || (runner.history().len() == total).then_some(()));
    };
    run("fx_ok", 20, 20);
    run("fx_output", 20, 40);
    let said = runner.cli(&["deploy", "shop 4.2 \u{1b}[31m"]);
    assert!(said.status.success() && said.stdout.contains("shop 4.2") && !said.stdout.contains('\u{1b}'), "{said:?}");
    run("fx_ok", 10, 50);
    site.add_plugin("add_action( 'fx_output', function () { throw new Exception( 'since the deployment' ); }, 1 );");
    run("fx_output", 10, 60);
    let since = runner.json(&["status", "--since", "deploy"])["since"].clone();
    assert_eq!(since["deploy"]["note"].as_str(), Some("shop 4.2 \\x1B[31m"), "{since}");
    let of = |hook: Value| -> Option<Value> {
        let all = since["compared"].as_array().expect("a list");
        all.iter().find(|one| one["hook"] == hook).cloned()
    };
    assert_eq!(of(Value::Null).map(|all| all["failures"].clone()), Some(json!("worse")), "{since}");
    assert_eq!(of(json!("fx_output")).map(|one| one["failures"].clone()), Some(json!("worse")), "{since}");
    assert_ne!(of(json!("fx_ok")).map(|one| one["failures"].clone()), Some(json!("worse")), "{since}");
    let said = runner.cli(&["status", "--since", "deploy"]);
    assert!(said.stdout.contains("something is worse") && said.stdout.contains("100.0 %"), "{said:?}");
    let failed = runner.json(&["history", "--failed", "--since", "deploy"]);
    assert_eq!(failed.as_array().map(Vec::len), Some(10), "{failed}");
    let summary = plugin(&site, "report_summary()");
    assert_eq!(summary["marks"][0]["note"], since["deploy"]["note"], "{summary}");
    // And where no runner is up.
    runner.stop();
    assert!(runner.cli(&["deploy", "the next"]).status.success());
    let said = runner.cli(&["status", "--since", "deploy", "--json"]);
    assert_eq!(said.json()["since"]["deploy"]["note"], "the next", "{said:?}");
}
