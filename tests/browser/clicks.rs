//! Every action, while the runner is there.

use std::fs;

use serde_json::json;

use super::{Panel, line_of};
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

pub fn hostile_names_are_only_names(panel: &mut Panel, site: &Site) {
    let script = "<script>alert(1)</script>";
    let turned = "fx_\u{202e}turned";
    site.schedule(&[
        (unix_now() + 7200, script, json!([script])),
        (unix_now() + 7200, "\" onmouseover=\"alert(1)", json!(["\" onfocus=\"alert(1)\" autofocus=\""])),
        (unix_now() + 7200, turned, json!([])),
    ]);
    panel.open("&screen=events");
    panel.look("coming-up");
    let text = panel.text();
    assert!(text.contains(script) && text.contains("fx_\\u{202e}turned"), "{text}");
    assert!(!text.contains('\u{202e}'), "{text}");
    panel.browser.follow("button", &format!("Pause {script}"));
    panel.browser.see(&format!("The hook {script} is paused."));
    panel.browser.follow("button", &format!("Resume {script}"));
    panel.browser.must_have_nothing_to_complain_of();
}

pub fn runs_now(panel: &mut Panel, site: &Site, runner: &Runner) {
    let later = unix_now() + 3600;
    site.schedule(&[
        (later, "fx_output", json!(["<b>printed</b> by it"])),
        (later, "fx_output", json!(["not asked for"])),
        (later, "fx_exception", json!([])),
    ]);
    let due = site.schedule_recurring(1800, "hourly", "fx_recurring", &json!([]));
    panel.open("");
    panel.browser.see("alive since");
    panel.look("overview-empty");

    // One event of two with the same hook: the runner's history has it, and the option only the other.
    panel.open("&screen=events&search=fx_output");
    panel.browser.follow("button", "Run now fx_output");
    panel.browser.see("A run of fx_output");
    let run = runner.history_of("fx_output");
    assert_eq!((run.len(), &run[0]["outcome"], site.scheduled("fx_output").len()), (1, &json!("ok"), 1), "{run:?}");
    let said = run[0]["output"].as_str().expect("its output");
    assert_eq!(panel.browser.text("pre"), said);
    assert!(panel.browser.url().contains(run[0]["run"].as_str().expect("its id")));
    panel.look("run-ok");

    // Recurring: it has run, and its next occurrence is there; with the keyboard this time.
    panel.open("&screen=events&search=fx_recurring");
    panel.browser.press_enter_on("button", "Run now fx_recurring");
    panel.browser.see("A run of fx_recurring");
    assert_eq!((site.ledger().ends("fx_recurring").len(), site.scheduled("fx_recurring").len()), (1, 1));
    assert_ne!(site.scheduled("fx_recurring"), [due]);
    panel.browser.see("Once Hourly");

    // One that fails: where, and why.
    panel.open("&screen=events&search=fx_exception");
    panel.browser.follow("button", "Run now fx_exception");
    let text = panel.text();
    let place = format!("00-fixture/hooks.php:{}", line_of("FX_EXCEPTION_LINE"));
    for part in ["✕ failed", "RuntimeException: the exception of fx_exception", &place, "Fixture hooks for the tests"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    panel.look("run-failed");
    assert_eq!(runner.history_of("fx_exception")[0]["outcome"], "failed");

    // One that prints more than is kept.
    site.schedule_in(3600, "fx_flood", &json!([1]));
    panel.open("&screen=events&search=fx_flood");
    panel.browser.follow("button", "Run now fx_flood");
    panel.browser.see("Cut: the first 64 KB are here, and 960 KB more were not kept.");
    panel.open("&screen=history&hook=fx_exception");
    panel.browser.follow("link", "fx_exception");
}

pub fn decides(panel: &mut Panel, site: &Site, runner: &Runner) {
    // A failed run, from its own page.
    panel.browser.follow("button", "Requeue fx_exception");
    panel.browser.see("The event was put back and is due now.");
    panel.browser.see("put back");
    wait_for("its second run", secs(10), || (runner.history_of("fx_exception").len() == 2).then_some(()));

    // Two that were cut off, from the overview. Each would end well the second time.
    let at = unix_now() + 1;
    site.schedule(&[(at, "fx_dies", json!([1, "requeued"])), (at, "fx_dies", json!([1, "dropped"]))]);
    let held = || runner.history_of("fx_dies").iter().filter(|run| run["then"] == "held").count();
    wait_for("two held runs", secs(15), || (held() == 2).then_some(()));
    panel.open("");
    panel.look("overview-held");
    panel.browser.follow("button", "Requeue fx_dies");
    panel.browser.see("The event was put back and is due now.");
    let ended = wait_for("its second run", secs(10), || {
        runner.history_of("fx_dies").into_iter().find(|run| run["outcome"] == "ok")
    });
    assert_eq!(ended["then"], "none", "{ended}");
    panel.open("");
    panel.browser.follow("button", "Drop fx_dies");
    panel.browser.see("The event was dropped.");
    panel.browser.see("No run waits for a decision.");
    let then = site.sql("SELECT `then` FROM wp_cron_runner_journal WHERE state = 'interrupted' ORDER BY `then`");
    assert_eq!(then, [[Some("dropped".to_owned())], [Some("requeued".to_owned())]]);
    assert!(site.scheduled("fx_dies").is_empty());
    assert_eq!(held(), 0, "the runner's history knows");
}

pub fn pauses(panel: &mut Panel, site: &Site, runner: &Runner) {
    let paused = || runner.json(&["status"])["sites"][0]["paused_hooks"].clone();
    // A hook; what of it becomes due waits.
    site.schedule_in(3600, "fx_ok", &json!(["far"]));
    panel.open("&screen=events&search=fx_ok");
    panel.browser.follow("button", "Pause fx_ok");
    panel.browser.see("The hook fx_ok is paused.");
    let stored = site.sql_text("SELECT value FROM wp_cron_runner_state WHERE name = 'paused'").expect("the pauses");
    assert!(stored.contains("fx_ok"), "{stored}");
    wait_for("the runner to know", secs(10), || (paused() == json!(["fx_ok"])).then_some(()));
    let at = unix_now() + 1;
    let args = (0..55).map(|i| (at, "fx_ok", json!(["paused", i])));
    site.schedule(&args.chain([(at, "fx_output", json!(["in time"]))]).collect::<Vec<_>>());
    wait_for("another event that was due with them", secs(10), || {
        runner.history_of("fx_output").iter().find(|run| run["output"] == "in time").cloned()
    });
    assert_eq!(site.ledger().begins("fx_ok").len(), 0, "they were started in spite of the pause");
    panel.open("&screen=events&search=fx_ok");
    panel.browser.see("page 1 of 2");
    panel.browser.follow("link", "Later");
    panel.browser.see("page 2 of 2");
    panel.browser.follow("button", "Resume fx_ok");
    panel.browser.see("The hook fx_ok runs again.");
    wait_for("them all", secs(20), || (site.ledger().ends("fx_ok").len() == 55).then_some(()));
    wait_for("the runner to know", secs(10), || (paused() == json!([])).then_some(()));

    // One that was typed, until a time; then one that is over.
    let until = |seconds: i64| site.php(&format!("echo wp_date( 'Y-m-d\\TH:i', time() + ({seconds}) );"));
    panel.open("&screen=events");
    panel.browser.fill("Hook", "fx_recurring");
    panel.browser.fill("Until (optional)", &until(3600));
    panel.browser.follow("button", "Pause a hook");
    panel.browser.see("The hook fx_recurring is paused.");
    let stored = site.sql_text("SELECT value FROM wp_cron_runner_state WHERE name = 'paused'").expect("the pauses");
    let stored: serde_json::Value = serde_json::from_str(&stored).expect("JSON");
    let end = stored["fx_recurring"]["until_ms"].as_i64().expect("its end") / 1000;
    assert!((unix_now() + 3500..=unix_now() + 3600).contains(&end), "{stored}");
    panel.look("paused-hook");
    panel.browser.fill("Hook", "fx_ok");
    panel.browser.fill("Until (optional)", &until(-60));
    panel.browser.follow("button", "Pause a hook");
    panel.browser.see("The end of a pause has to be a time that is ahead; nothing was changed.");
    panel.browser.follow("button", "Resume fx_recurring");

    // The whole site.
    let site_now = || runner.json(&["status"])["sites"][0].clone();
    panel.open("");
    panel.browser.fill("Until (optional)", &until(1800));
    panel.browser.follow("button", "Pause the site");
    panel.browser.see("The site is paused.");
    assert_eq!(site_now()["paused"], true);
    assert!(site_now()["paused_until"].is_string(), "{}", site_now());
    panel.look("paused-site");
    panel.browser.follow("button", "Resume the site");
    panel.browser.see("The site runs again.");
    assert_eq!(site_now()["paused"], false);
}

pub fn deletes(panel: &mut Panel, site: &Site) {
    let at = unix_now() + 5000;
    site.schedule(&[(at, "fx_warning", json!(["goes"])), (at + 60, "fx_warning", json!(["stays"]))]);
    panel.open("&screen=events&search=fx_warning");
    panel.browser.follow("link", "Delete fx_warning");
    panel.browser.see("This cannot be undone.");
    panel.look("delete");
    assert_eq!(site.scheduled("fx_warning").len(), 2, "asking changes nothing");
    panel.browser.follow("button", "Delete the event");
    panel.browser.see("The event was deleted.");
    assert_eq!(site.scheduled("fx_warning"), [at + 60]);
}

pub fn filters(panel: &mut Panel, site: &Site, runner: &Runner) {
    let rows = "#wpbody-content tbody tr";
    // Fifty a page, and the way to the older ones.
    panel.open("&screen=history");
    panel.look("history");
    assert_eq!(panel.browser.count(rows), 50);
    let ended = || u64::try_from(runner.history().len()).expect("a number");
    let before = ended();
    panel.browser.follow("link", "Older");
    let older = panel.browser.count(rows);
    // An event of core's may end meanwhile; what ended in the same millisecond as the last one shown is there again.
    assert!(older > 0 && (before..=ended() + 50).contains(&(50 + older)), "{older} of {before}");
    panel.browser.follow("link", "Newest");

    panel.browser.fill("Hook", "fx_exception");
    panel.browser.select("Outcome", "failed");
    panel.browser.follow("button", "Filter");
    assert_eq!(panel.browser.count(rows), 2);
    panel.browser.select("Outcome", "ok");
    panel.browser.follow("button", "Filter");
    panel.browser.see("No run of that kind has ended.");
    panel.browser.fill("Hook", "");
    panel.browser.select("Outcome", "bad");
    panel.browser.select("Ended", "1h");
    panel.browser.follow("button", "Filter");
    let bad = runner.history().iter().filter(|run| run["outcome"] != "ok").count();
    assert_eq!(panel.browser.count(rows), u64::try_from(bad).expect("a number"));
    panel.browser.fill("to", "2020-01-01T00:00");
    panel.browser.follow("button", "Filter");
    panel.browser.see("No run of that kind has ended.");
    // The charts say their numbers, and when something was deployed.
    assert!(runner.cli(&["deploy", "shop 2.4 <b>new checkout</b>"]).status.success());
    panel.open("");
    panel.look("overview");
    for of in ["lateness_ms", "ms"] {
        let said = panel.browser.evaluate(&format!("document.getElementById('wpcr-chart-{of}-desc').textContent"));
        let said = said.as_str().expect("a description").to_owned();
        assert!(said.contains(&format!(" runs, {bad} not ok. Median ")), "{said}");
        assert!(said.contains("deployed ") && said.contains("shop 2.4 <b>new checkout</b>"), "{said}");
    }
    assert!(panel.text().contains("Hooks that failed most often in the last 24 hours"));
    assert_eq!(panel.browser.open("/wp-admin/site-health.php"), 200);
    panel.browser.see("Some scheduled events have failed");
    panel.browser.evaluate("document.querySelector('.site-health-view-passed').click()");
    for good in ["The cron runner is alive", "Scheduled events start on time", "Page-load cron is off"] {
        panel.browser.see(good);
    }
    panel.browser.shot(&format!("{}-site-health", panel.version));
    assert_eq!(panel.browser.open("/wp-admin/site-health.php?tab=debug"), 200);
    panel
        .browser
        .evaluate("document.querySelector('[aria-controls=health-check-accordion-block-wp-cron-runner]').click()");
    panel.browser.see("Version of the runner");
    panel.browser.shot(&format!("{}-site-health-info", panel.version));
    assert_eq!(site.scheduled("fx_exception").len(), 0);
}

/// Longer than the panel waits for: it says so, and goes to the run when that has ended.
pub fn waits_for_a_long_run(panel: &mut Panel, site: &Site) {
    site.add_plugin(
        "add_action( 'zz_gate', function () {
            while ( ! file_exists( WP_CONTENT_DIR . '/uploads/gate' ) ) { usleep( 20000 ); clearstatcache(); }
            echo 'through the gate';
        } );",
    );
    site.schedule_in(3600, "zz_gate", &json!([]));
    panel.open("&screen=events&search=zz_gate");
    panel.browser.follow("button", "Run now zz_gate");
    panel.browser.see("zz_gate is running …");
    panel.look("waiting");
    panel.open("");
    panel.look("overview-running");
    let rows = panel.browser.text("table:has(caption:text('Running now')) tbody");
    assert!(rows.contains("zz_gate"), "{rows}");
    // Back to where it waits: the page goes on by itself.
    panel.browser.evaluate("history.back()");
    panel.browser.see("zz_gate is running …");
    fs::write(site.path.join("wp-content/uploads/gate"), "").expect("the gate");
    panel.browser.see("A run of zz_gate");
    assert_eq!(panel.browser.text("pre"), "through the gate");
}

/// Each text of ours comes through the translations, and core turns the page around where a language asks for it.
pub fn everything_is_translated_and_turns_around(panel: &mut Panel, site: &Site) {
    site.add_plugin(
        "$GLOBALS['text_direction'] = 'rtl';
        add_filter( 'gettext', function ( $text, $from, $domain ) { return 'wp-cron-runner' === $domain ? \"⟦{$text}⟧\" : $text; }, 10, 3 );
        add_filter( 'ngettext', function ( $text, $one, $many, $n, $domain ) { return 'wp-cron-runner' === $domain ? \"⟦{$text}⟧\" : $text; }, 10, 5 );",
    );
    let run = site.sql_text("SELECT run FROM wp_cron_runner_journal WHERE state = 'failed'").expect("a failed run");
    for (screen, name) in [
        (String::new(), "overview"),
        ("&screen=events".to_owned(), "events"),
        ("&screen=history".to_owned(), "history"),
        (format!("&screen=run&run={run}"), "run"),
        ("&screen=delete&hook=x".to_owned(), "delete"),
    ] {
        panel.open(&screen);
        panel.look(&format!("rtl-{name}"));
        let bare = panel.browser.evaluate(
            "[...document.querySelectorAll('.wpcr :is(h1,h2,h3,th,button,label,summary,caption,option,figcaption span,p,title,.nav-tab)')]
                .map((part) => { const copy = part.cloneNode(true); copy.querySelectorAll('code,time,svg').forEach((code) => code.remove()); return copy.textContent.trim(); })
                .filter((text) => /[a-z]/i.test(text) && !text.includes('⟦'))",
        );
        let bare: Vec<String> = serde_json::from_value(bare).expect("texts");
        // Row headings of the table behind the charts are times.
        let bare: Vec<String> = bare.into_iter().filter(|text| !text.contains("202")).collect();
        assert!(bare.is_empty(), "{name}: not translated: {bare:?}");
        assert_eq!(panel.browser.evaluate("getComputedStyle(document.querySelector('.wpcr')).direction"), "rtl");
    }
    fs::remove_file(site.path.join("wp-content/mu-plugins/zz-test.php")).expect("zz-test.php");
}

pub fn works_without_scripts(panel: &mut Panel, site: &Site, runner: &Runner) {
    site.schedule_in(3600, "fx_output", &json!(["without scripts"]));
    panel.browser.visitor(false);
    panel.browser.log_in("admin", "admin");
    panel.open("&screen=events&search=fx_output");
    let asked = site.scheduled("fx_output").len();
    for _ in 0..asked {
        panel.open("&screen=events&search=fx_output");
        panel.browser.follow("button", "Run now fx_output");
        // At once, or after a while on the page that waits for it.
        panel.browser.see("A run of fx_output");
    }
    let run = runner.history_of("fx_output").into_iter().find(|run| run["output"] == "without scripts");
    assert_eq!(run.expect("its run")["outcome"], "ok");
    panel.browser.visitor(true);
    panel.browser.log_in("admin", "admin");
}
