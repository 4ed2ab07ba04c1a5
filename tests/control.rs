//! What an operator tells the runner: run now, pause, go on; and the signed API behind it.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, Trigger, http, secs, wait_for};

#[test]
fn an_event_runs_before_its_time_when_somebody_asks_for_it() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).start();
    site.schedule_in(3600, "fx_output", &json!(["asked for"]));
    site.schedule_recurring(3600, "hourly", "fx_recurring", &json!([]));
    site.schedule_in(3600, "fx_ok", &json!(["not asked for"]));

    let runs = runner.json(&["trigger", "shop", "fx_output"]);
    let [run] = runs.as_array().expect("a list").as_slice() else { panic!("{runs}") };
    assert_eq!((run["outcome"].as_str(), run["output"].as_str()), (Some("ok"), Some("asked for")), "{run}");
    assert!(site.scheduled("fx_output").is_empty(), "it has run instead of then, not in addition");

    let said = runner.cli(&["trigger", "shop", "fx_recurring"]);
    assert!(said.status.success() && said.stdout.contains("fx_recurring"), "{said:?}");
    let next = site.scheduled("fx_recurring");
    assert_eq!(next.len(), 1, "{next:?}");
    assert_eq!(site.ledger().ends("fx_recurring").len(), 1);

    // Nothing is due; what is not due and was not asked for stays.
    assert_eq!(runner.json(&["trigger", "shop"]), json!([]));
    assert_eq!(site.scheduled("fx_ok").len(), 1);

    let said = runner.cli(&["trigger", "shop", "fx_nobody_knows"]);
    assert_eq!(said.code(), 1, "{said:?}");
    assert!(said.stderr.contains("no event of the hook that was asked for: \"fx_nobody_knows\""), "{said:?}");
    assert_eq!(runner.json(&["status"])["sites"][0]["state"], "ok", "his mistake says nothing about the site");
}

#[test]
fn what_failed_is_shown_and_the_exit_code_says_so() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    site.schedule_in(3600, "fx_exception", &json!([]));
    let said = runner.cli(&["trigger", "shop", "fx_exception"]);
    assert_eq!(said.code(), 1, "{said:?}");
    assert!(said.stdout.contains("the exception of fx_exception"), "{said:?}");
}

#[test]
fn an_event_that_runs_already_is_not_started_beside_itself() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).start();
    site.schedule(&[(unix_now() + 1, "fx_sleep", json!([3])), (unix_now() + 3600, "fx_sleep", json!([3]))]);
    wait_for("its begin", secs(10), || (!site.ledger().begins("fx_sleep").is_empty()).then_some(()));
    let said = runner.cli(&["trigger", "shop", "fx_sleep"]);
    assert_eq!(said.code(), 1, "{said:?}");
    assert!(said.stderr.contains("running already"), "{said:?}");
    assert!(site.ledger().overlaps().is_empty());
    assert_eq!(site.scheduled("fx_sleep").len(), 1, "the other one is where it was");
}

#[test]
fn a_slow_event_does_not_give_back_the_rest_of_what_was_asked_for() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    let at = unix_now() + 3600;
    site.schedule(&[
        (at, "fx_sleep", json!([2, "a"])),
        (at, "fx_sleep", json!([0, "b"])),
        (at, "fx_sleep", json!([0, "c"])),
    ]);
    let runs = runner.json(&["trigger", "shop", "fx_sleep"]);
    assert_eq!(runs.as_array().map(Vec::len), Some(3), "{runs}");
}

#[test]
fn a_paused_site_starts_nothing_and_page_loads_do_not_either() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).site_line("rescan = \"1s\"").start();
    let said = runner.cli(&["pause", "shop"]);
    assert!(said.status.success() && said.stdout.contains("resume shop"), "{said:?}");
    site.schedule_in(0, "fx_ok", &json!(["paused"]));
    let view = |runner: &Runner| runner.json(&["status"])["sites"][0].clone();
    wait_for("a look that sees it", secs(10), || (view(&runner)["due"] == 1).then_some(()));
    assert_eq!((view(&runner)["state"].clone(), view(&runner)["paused"].clone()), (json!("paused"), json!(true)));
    http::request("GET", &site.address(), "/", &[], b"").expect("a page");
    http::request("GET", &site.address(), "/wp-cron.php", &[], b"").expect("wp-cron.php");

    // It outlives a restart.
    assert!(runner.stop().success());
    runner.start();
    wait_for("the first look", secs(10), || (view(&runner)["due"] == 1).then_some(()));
    assert_eq!(view(&runner)["state"], "paused");
    assert!(site.ledger().begins("fx_ok").is_empty());

    let said = runner.cli(&["resume", "shop"]);
    assert!(said.status.success(), "{said:?}");
    wait_for("the run", secs(10), || runner.history_of("fx_ok").first().cloned());
    assert_eq!(view(&runner)["paused"], false);
}

#[test]
fn a_pause_ends_by_itself_and_can_be_noted_without_a_runner() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).start();
    runner.stop();
    let said = runner.cli(&["pause", "shop", "--until", "8s"]);
    assert!(said.status.success() && said.stdout.contains("no runner is up"), "{said:?}");
    let until = unix_now() + 8;
    runner.start();
    site.schedule_in(0, "fx_ok", &json!([]));
    assert_eq!(runner.json(&["status"])["sites"][0]["state"], "paused");
    wait_for("the run", secs(20), || runner.history_of("fx_ok").first().cloned());
    let began = i64::try_from(site.ledger().begins("fx_ok")[0].wall_ms).expect("a time");
    assert!(began >= (until - 1) * 1000, "it ran during the pause: {began} before {until}");
    for wrong in ["yesterday", "25:00", "2001-01-01T00:00:00Z"] {
        let said = runner.cli(&["pause", "shop", "--until", wrong]);
        assert!(said.code() == 2 && said.stderr.contains(wrong) && said.stderr.contains("18:30"), "{said:?}");
    }
}

#[test]
fn once_respects_a_pause_and_says_so() {
    let (shop, blog) = (Site::builder().sqlite().start(), Site::builder().name("blog").sqlite().start());
    let mut runner = Runner::builder(&shop).and(&blog).start();
    runner.cli(&["pause", "shop"]);
    runner.stop();
    let said = runner.cli(&["once", "shop"]);
    assert!(said.code() == 75 && said.stderr.contains("site `shop` is paused"), "{said:?}");
    shop.schedule_in(-5, "fx_ok", &json!([]));
    // Far enough ahead that no page view takes it from the runner.
    let at = unix_now() + 2;
    blog.schedule(&[(at, "fx_ok", json!([]))]);
    wait_for("its time", secs(5), || (unix_now() > at).then_some(()));
    let said = runner.cli(&["once"]);
    assert!(said.status.success() && said.stderr.contains("site `shop` is paused"), "{said:?}");
    // Page loads run what they find while no runner is there; the runner's own record is what counts.
    let sites: Vec<_> = runner.history_of("fx_ok").iter().map(|run| run["site"].clone()).collect();
    assert_eq!(sites, ["blog"]);
}

#[test]
fn a_wrong_hook_costs_what_is_due_nothing() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    let due = unix_now() + 6;
    site.schedule(&[(due, "fx_ok", json!([]))]);
    for _ in 0..10 {
        assert_eq!(runner.cli(&["trigger", "shop", "fx_nobody_knows"]).code(), 1);
    }
    let run = wait_for("the run", secs(20), || runner.history_of("fx_ok").first().cloned());
    let late = run["lateness_ms"].as_i64().expect("a lateness");
    assert!((0..3000).contains(&late), "{run}");
}

#[test]
fn who_asks_a_runner_that_stops_is_told_at_once() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).start();
    site.schedule(&[(unix_now() + 1, "fx_sleep", json!([6]))]);
    wait_for("its begin", secs(10), || (!site.ledger().begins("fx_sleep").is_empty()).then_some(()));
    runner.signal(rustix::process::Signal::TERM);
    let said = wait_for("the drain", secs(5), || {
        let said = runner.cli(&["trigger", "shop"]);
        said.stderr.contains("the runner is stopping").then_some(said)
    });
    assert!(said.code() == 75 && said.stderr.contains("trying again is safe"), "{said:?}");
    assert!(site.ledger().end_of("fx_sleep").is_none(), "told while the other one still ran");
}

#[test]
fn a_crontab_expression_lets_due_events_wait_for_its_times() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).site_line("schedule = \"* * * * *\"\ntimezone = \"Asia/Kathmandu\"").start();
    // Due ten seconds after a full minute or now, whichever is later: far from the next pass.
    let second = unix_now() % 60;
    let wait = if second < 10 { 10 - second } else { 0 };
    let due = unix_now() + wait;
    site.schedule(&[(due, "fx_ok", json!(["first"])), (due, "fx_ok", json!(["second"]))]);
    wait_for("both", secs(80), || (site.ledger().ends("fx_ok").len() == 2).then_some(()));
    for begin in site.ledger().begins("fx_ok") {
        let second = begin.wall_ms / 1000 % 60;
        assert!(second < 5, "it began at second {second} of its minute");
        assert!(begin.wall_ms / 1000 / 60 > u64::try_from(due / 60).expect("a time"), "not before the next minute");
    }
    let view = wait_for("the next pass", secs(10), || {
        let view = runner.json(&["status"])["sites"][0].clone();
        view["next"].as_str().is_some_and(|next| next.ends_with(":00Z")).then_some(view)
    });
    assert_eq!(view["schedule"], "* * * * *");
}

fn refusal(page: &http::Page) -> Value {
    serde_json::from_str(&page.body).unwrap_or_else(|_| panic!("no JSON: {page:?}"))
}

#[test]
fn the_api_does_what_is_signed_and_nothing_else() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    assert_eq!((runner.get("/healthz").body.trim(), runner.get("/readyz").body.trim()), ("alive", "ready"));
    assert_eq!(runner.get("/v1/sites/shop").status, 200);
    assert_eq!(runner.get("/v1/sites/other").status, 404);

    // One answer for every cause.
    let post = |path: &str, headers: &[(&str, &str)]| {
        http::request("POST", &runner.listen(), path, headers, b"{}").expect("an answer")
    };
    let garbage = "v=1;site=shop;kid=00000000;ts=1;nonce=00000000000000000000000000000000;sig=00";
    let wrong = http::signature(&"ab12".repeat(16), "shop", "/v1/sites/shop/pause", &runner.listen(), b"{}");
    for path in [
        "/v1/sites/shop/run",
        "/v1/sites/shop/pause",
        "/v1/sites/shop/resume",
        "/v1/sites/other/pause",
        "/v1/runs/0/drop",
    ] {
        for header in ["", garbage, &wrong, &"x".repeat(2000)] {
            let page = post(path, &[("X-WP-Cron-Runner", header)]);
            assert_eq!((page.status, page.body.as_str()), (401, "{\"error\":\"E_AUTH\"}"), "{path} {header}");
        }
        let twice = post(path, &[("X-WP-Cron-Runner", &wrong), ("X-WP-Cron-Runner", &wrong)]);
        assert_eq!(twice.status, 401);
        let get = http::request("GET", &runner.listen(), path, &[], b"").expect("an answer");
        assert_eq!(get.status, 405, "{path}");
    }
    assert_eq!(runner.json(&["status"])["sites"][0]["paused"], false);

    // The plugin's own key reaches its own site.
    assert_eq!(runner.post_as_site("shop", "/v1/sites/shop/pause", "{\"until_ms\":null}").status, 200);
    assert_eq!(runner.json(&["status"])["sites"][0]["paused"], true);
    assert_eq!(runner.post_as_site("shop", "/v1/sites/shop/resume", "{}").status, 200);
    for (path, body, status, part) in [
        ("/v1/sites/shop/pause", "{\"until_ms\":1}", 400, "not ahead"),
        ("/v1/sites/shop/pause", "{\"untill\":1}", 400, "unknown field"),
        ("/v1/sites/shop/run", "[]", 400, "cannot be read"),
        ("/v1/sites/shop/run", "{\"hook\":\"fx_unknown\"}", 404, "no event of the hook"),
        ("/v1/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV/requeue", "{}", 404, "does not know that run"),
        ("/v1/runs/short/requeue", "{}", 400, "26 letters and digits"),
        ("/v1/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV/frobnicate", "{}", 404, "requeue or drop"),
    ] {
        let page = runner.post_as_site("shop", path, body);
        assert_eq!(page.status, status, "{path} {body}: {page:?}");
        let error = refusal(&page)["error"].clone();
        assert!(error.to_string().contains(part) && error["again"].is_string(), "{path} {body}: {error}");
    }

    // Every process of this machine may read here; what events print is not for them.
    site.schedule_in(0, "fx_output", &json!(["a customer's address"]));
    wait_for("its record", secs(10), || runner.history_of("fx_output").first().cloned());
    let page = runner.get("/v1/sites/shop/history");
    assert!(page.body.contains("fx_output") && !page.body.contains("a customer's address"), "{page:?}");

    // A name that only somebody else's DNS gives to this address.
    let page =
        http::request("GET", &runner.listen(), "/v1/status", &[("Host", "evil.example")], b"").expect("an answer");
    assert_eq!(page.status, 421);
}

#[test]
fn a_site_s_key_opens_no_other_site() {
    let (shop, blog) = (Site::builder().sqlite().start(), Site::builder().name("blog").sqlite().start());
    let runner = Runner::builder(&shop).and(&blog).start();
    let key = std::fs::read_to_string(runner.dir.join("home/shop.key")).expect("a key");
    let page = runner.post_with(key.trim(), "blog", "/v1/sites/blog/pause", "{}");
    assert_eq!(page.status, 401);
    let page = runner.post_with(key.trim(), "shop", "/v1/sites/blog/pause", "{}");
    assert_eq!(page.status, 401);
}

#[test]
fn status_can_be_watched_until_its_reader_is_gone() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).start();
    let mut child = runner.watch_status();
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    for _ in 0..2 {
        let line = lines.next().expect("a line").expect("text");
        let status: Value = serde_json::from_str(&line).expect("JSON in each line");
        assert_eq!(status["sites"][0]["state"], "ok");
    }
    drop(lines);
    let status = wait_for("its end", secs(10), || child.try_wait().expect("a child"));
    assert!(status.success(), "{status}");
}

/// Somebody holds the database, as a backup or a full disk does.
#[test]
fn while_the_history_cannot_be_written_nothing_starts_and_the_api_says_so() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).site_line("rescan = \"1s\"").start();
    let history = rusqlite::Connection::open(runner.dir.join("home/state/history.sqlite")).expect("the history");
    history.execute_batch("BEGIN IMMEDIATE").expect("its lock");
    site.schedule_in(0, "fx_ok", &json!(["before anybody knows"]));
    let page = wait_for("a runner that is not ready", secs(20), || {
        let page = runner.get("/readyz");
        (page.status == 503).then_some(page)
    });
    assert!(page.body.contains("history.sqlite cannot be written"), "{page:?}");
    assert_eq!(site.ledger().begins("fx_ok").len(), 1);
    site.schedule_in(0, "fx_ok", &json!(["meanwhile"]));
    wait_for("a look that sees it", secs(10), || (runner.json(&["status"])["sites"][0]["due"] == 1).then_some(()));
    let said = runner.cli(&["trigger", "shop"]);
    assert!(said.code() == 1 && said.stderr.contains("starts nothing"), "{said:?}");
    assert_eq!(site.ledger().begins("fx_ok").len(), 1, "what cannot be recorded is not started");
    history.execute_batch("ROLLBACK").expect("its end");
    wait_for("both records", secs(20), || (runner.history_of("fx_ok").len() == 2).then_some(()));
    assert_eq!(runner.get("/readyz").status, 200);
}

#[test]
fn processes_of_wp_cli_are_bounded_over_all_sites() {
    let (shop, blog) = (Site::builder().sqlite().start(), Site::builder().name("blog").sqlite().start());
    let runner = Runner::builder(&shop).and(&blog).trigger(Trigger::WpCli).runner_line("max_wp_cli = 1").start();
    let at = unix_now() + 2;
    for site in [&shop, &blog] {
        site.schedule(&[(at, "fx_sleep", json!([2, "a"])), (at, "fx_sleep", json!([2, "b"]))]);
    }
    wait_for("all four", secs(60), || (runner.history_of("fx_sleep").len() == 4).then_some(()));
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for site in [&shop, &blog] {
        let ledger = site.ledger();
        for begin in ledger.begins("fx_sleep") {
            let end = ledger.ends("fx_sleep").iter().find(|end| end.args == begin.args).expect("its end").wall_ms;
            spans.push((begin.wall_ms, end));
        }
    }
    spans.sort_unstable();
    let overlaps = spans.windows(2).filter(|pair| pair[1].0 < pair[0].1).count();
    assert_eq!((spans.len(), overlaps), (4, 0), "{spans:?}");
}
