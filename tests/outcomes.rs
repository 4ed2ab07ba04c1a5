//! The same site gives the same outcomes whichever way PHP is reached, and on either database.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Runner, Site, Trigger, secs, wait_for};

/// What the record must say of one event: outcome, then, and a part of what explains it ("" where nothing does).
type Expected = (&'static str, Value, &'static str, &'static str, &'static str);

fn expected() -> Vec<Expected> {
    vec![
        ("fx_ok", json!([]), "ok", "none", ""),
        ("fx_output", json!([]), "ok", "none", "printed by fx_output"),
        ("fx_warning", json!([]), "ok", "none", "Undefined array key"),
        ("fx_exception", json!([]), "failed", "none", "RuntimeException: the exception of fx_exception"),
        ("fx_fatal", json!([]), "failed", "none", "Call to undefined function fx_there_is_no_such_function()"),
        ("fx_fatal", json!(["class"]), "failed", "none", "Class Fx_Broken_Class contains"),
        ("fx_exit", json!([]), "ok", "none", "exit"),
        ("fx_die_message", json!([]), "failed", "none", "the message of fx_die_message"),
        ("fx_wp_die_empty", json!([]), "ok", "none", "exit at "),
        ("fx_memory", json!([]), "failed", "none", "Allowed memory size"),
        ("fx_sleep", json!([3]), "ok", "none", ""),
        ("fx_again", json!([1]), "ok", "none", ""),
        ("fx_again", json!([0]), "ok", "none", ""),
        ("fx_nobody", json!([]), "ok", "none", "no callback"),
        ("fx_tx", json!([]), "ok", "none", "left a transaction open"),
        ("fx_ob", json!([]), "ok", "none", "printed after all buffers were ended"),
    ]
}

/// All that a record says in words.
fn words(run: &Value) -> String {
    ["note", "reason", "output"]
        .iter()
        .filter_map(|key| run[key].as_str())
        .chain(run["error"]["message"].as_str())
        .collect::<Vec<_>>()
        .join(" | ")
}

fn key_of(args: &Value, site: &Site) -> String {
    site.php(&format!("echo md5(serialize(json_decode('{args}', true)));"))
}

fn same_outcomes(site: &Site, trigger: Trigger) {
    let runner = Runner::builder(site).trigger(trigger).site_line("lanes = 1").start();
    let expected = expected();
    // fx_again schedules its second run itself.
    let now = crate::support::wordpress::unix_now();
    let events: Vec<_> = expected
        .iter()
        .filter(|(hook, args, ..)| !(*hook == "fx_again" && *args == json!([0])))
        .map(|(hook, args, ..)| (now + 1, *hook, args.clone()))
        .collect();
    site.schedule(&events);
    site.schedule_recurring(1, "every_2s", "fx_recurring", &json!([]));
    site.php("fx_schedule_object(time() + 1);");
    let bytes = site.php("$r = fx_schedule_bytes(time() + 1); echo is_wp_error($r) ? $r->get_error_code() : 'taken';");

    let history = wait_for("every event in the history", secs(40), || {
        let history = runner.history();
        let of = |hook: &str| history.iter().filter(|run| run["hook"] == hook).count();
        (history.len() >= expected.len() + 3 && of("fx_recurring") >= 2 && of("fx_object") == 1 && of("fx_again") == 2)
            .then_some(history)
    });
    let mut by_event: BTreeMap<(String, String), Vec<&Value>> = BTreeMap::new();
    for run in &history {
        let event = (run["hook"].as_str().expect("a hook").to_owned(), run["key"].as_str().expect("a key").to_owned());
        by_event.entry(event).or_default().push(run);
    }
    for (hook, args, outcome, then, because) in &expected {
        let runs = by_event
            .get(&((*hook).to_owned(), key_of(args, site)))
            .unwrap_or_else(|| panic!("no run of {hook} {args}"));
        assert_eq!(runs.len(), 1, "{hook} {args} ran {} times", runs.len());
        let run = runs[0];
        assert_eq!(
            (run["outcome"].as_str(), run["then"].as_str()),
            (Some(*outcome), Some(*then)),
            "{hook} {args}: {run}"
        );
        assert!(words(run).contains(because), "{hook}: expected `{because}` in {run}");
        assert!(run["lateness_ms"].as_i64().expect("a lateness") >= 0, "{run}");
    }
    let sleep = runner.history_of("fx_sleep");
    assert!(sleep[0]["ms"].as_i64().expect("ms") >= 3000, "{sleep:?}");
    assert!(runner.history_of("fx_recurring").iter().all(|run| run["outcome"] == "ok"));
    assert_eq!(site.scheduled("fx_recurring").len(), 1, "a recurring event has one next occurrence");
    // Objects arrive as they were, and nobody woke them before.
    let ledger = site.ledger();
    assert_eq!(ledger.end_of("fx_object").expect("its end").note, json!("right"));
    // Core refuses these bytes by itself on both databases (could_not_set), or they arrive unharmed.
    if bytes == "taken" {
        assert_eq!(ledger.end_of("fx_bytes").expect("its end").note, json!("right"));
    } else {
        assert_eq!(bytes, "could_not_set");
    }
    assert!(ledger.overlaps().is_empty());
    a_claimed_event_can_be_cancelled(site, &runner);
}

/// One event cancels others that were claimed together with it.
fn a_claimed_event_can_be_cancelled(site: &Site, runner: &Runner) {
    let at = crate::support::wordpress::unix_now() + 2;
    let victim = |name: &str| json!(["victim", name]);
    let mut events = vec![(at, "fx_cancel", json!(["unschedule", at, "fx_ok", victim("single")]))];
    events.push((at, "fx_cancel", json!(["clear", at, "fx_ok", victim("cleared")])));
    events.push((at, "fx_cancel", json!(["hook", at, "fx_output", []])));
    events.push((at, "fx_ok", victim("single")));
    events.push((at, "fx_ok", victim("cleared")));
    events.push((at, "fx_output", victim("hook")));
    // A quarter of what is due is claimed at once: thirty-six in all make nine.
    events.extend((0..30).map(|i| (at, "fx_nobody", json!(["filler", i]))));
    site.schedule(&events);
    wait_for("the end of all", secs(30), || {
        let history = runner.history();
        (history.iter().filter(|run| run["hook"] == "fx_nobody").count() >= 31).then_some(())
    });
    let skipped: Vec<_> = runner.history().into_iter().filter(|run| run["outcome"] == "skipped").collect();
    assert_eq!(skipped.len(), 3, "{skipped:?}");
    assert!(skipped.iter().all(|run| run["reason"] == "unscheduled"), "{skipped:?}");
    assert!(site.ledger().begins("fx_ok").iter().all(|line| line.args[0] != json!("victim")), "a cancelled event ran");
    assert!(site.scheduled("fx_ok").is_empty() && site.scheduled("fx_output").is_empty());
}

#[test]
fn through_fastcgi_on_mariadb() {
    same_outcomes(&Site::builder().mariadb().start(), Trigger::FastCgi);
}

#[test]
fn through_fastcgi_on_sqlite() {
    same_outcomes(&Site::builder().sqlite().start(), Trigger::FastCgi);
}

#[test]
fn through_http_on_mariadb() {
    same_outcomes(&Site::builder().mariadb().start(), Trigger::Http);
}

#[test]
fn through_http_on_sqlite() {
    same_outcomes(&Site::builder().sqlite().start(), Trigger::Http);
}

#[test]
fn through_wp_cli_on_mariadb() {
    same_outcomes(&Site::builder().mariadb().start(), Trigger::WpCli);
}

#[test]
fn through_wp_cli_on_sqlite() {
    same_outcomes(&Site::builder().sqlite().start(), Trigger::WpCli);
}

#[test]
fn through_fastcgi_over_tcp_on_wordpress_6() {
    use crate::support::WordPress;
    same_outcomes(&Site::builder().mariadb().wordpress(WordPress::Oldest).fastcgi_tcp().start(), Trigger::FastCgiTcp);
}

#[test]
fn through_https_with_basic_auth_and_a_ca_of_its_own() {
    let site = Site::builder().sqlite().tls().basic_auth("door", "p:ss w\u{f6}rd").start();
    let runner = Runner::builder(&site).trigger(Trigger::Http).start();
    site.schedule_in(1, "fx_output", &json!(["through two doors"]));
    let run = wait_for("the run", secs(15), || runner.history_of("fx_output").first().cloned());
    assert_eq!((run["outcome"].as_str(), run["output"].as_str()), (Some("ok"), Some("through two doors")), "{run}");
}
