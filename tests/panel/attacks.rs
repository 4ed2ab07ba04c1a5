//! Attacks, each of which must change nothing.

use serde_json::json;

use super::{Form, GIVE_NONCES, Visitor, encoded, forms, links};
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

/// What the attacks are after: the events, the journal and the pauses. Core schedules and runs what is its own meanwhile.
fn everything(site: &Site) -> (Vec<Vec<i64>>, Vec<Vec<Option<String>>>) {
    let mut rows = site.sql("SELECT run, state, `then` FROM wp_cron_runner_journal WHERE hook LIKE 'fx%' ORDER BY run");
    rows.extend(site.sql("SELECT name, value FROM wp_cron_runner_state WHERE name = 'paused'"));
    (["fx_ok", "fx_output", "fx_exception", "fx_nobody"].map(|hook| site.scheduled(hook)).to_vec(), rows)
}

/// A site with an event, a failed run and a paused hook; nothing of it becomes due while the test looks.
fn prepared(site: &Site) -> Runner {
    site.add_plugin(GIVE_NONCES);
    let runner = Runner::builder(site).start();
    site.schedule(&[(unix_now() + 1, "fx_exception", json!([])), (unix_now() + 86400, "fx_ok", json!(["kept"]))]);
    site.schedule(&[(unix_now() + 86400, "fx_output", json!(["kept"]))]);
    wait_for("the failed run", secs(10), || runner.history_of("fx_exception").first().cloned());
    runner
}

/// Every action with an object that is there.
fn every_action(site: &Site, visitor: &Visitor) -> Vec<Form> {
    let run = site.sql_text("SELECT run FROM wp_cron_runner_journal WHERE state = 'failed'").expect("the failed run");
    let due = site.scheduled("fx_ok")[0];
    let key = site.php("echo md5( serialize( array( 'kept' ) ) );");
    let event = format!("hook=fx_ok&key={key}");
    let actions = [
        ("run", event.clone()),
        ("requeue", format!("run={run}")),
        ("drop", format!("run={run}")),
        ("pause-hook", "hook=fx_ok".to_owned()),
        ("resume-hook", "hook=fx_ok".to_owned()),
        ("pause-site", String::new()),
        ("resume-site", String::new()),
        ("delete", format!("{event}&due={due}")),
    ];
    actions.iter().map(|(action, of)| visitor.form(action, of)).collect()
}

#[test]
fn without_the_nonce_of_this_very_action_on_this_very_object_nothing_happens() {
    let site = Site::builder().sqlite().start();
    let runner = prepared(&site);
    let admin = Visitor::admin(&site);
    let before = everything(&site);
    let real = every_action(&site, &admin);
    for form in &real {
        let other_action = if form.action == "drop" { "requeue" } else { "drop" };
        let other_object = format!("{}&hook=fx_output", form.of);
        let wrong = [
            "".to_owned(),
            "0123456789".to_owned(),
            admin.nonce(other_action, &form.of),
            admin.nonce(&form.action, &other_object),
        ];
        for nonce in wrong {
            let sent = admin.send(&Form { nonce, ..form.clone() });
            assert_eq!(sent.status, 403, "{form:?}: {}", sent.body);
        }
        // A link is no form, whatever it carries.
        let got = admin.get(&format!("/wp-admin/admin-post.php?{}", form.body()));
        assert_eq!(got.status, 400, "{form:?}: {}", got.body);
        let got = admin.panel(&format!("&{}", form.body()));
        assert_eq!(got.status, 200, "{form:?}");
    }
    let unknown = admin.form("uninstall", "");
    assert_eq!(admin.send(&unknown).status, 400);
    assert_eq!(everything(&site), before);
    assert_eq!(runner.json(&["status"])["sites"][0]["paused"], false);
    assert_eq!(site.ledger().begins("fx_ok").len(), 0);
    // That these forms are good for something is seen with the right nonce.
    let pause = real.iter().find(|form| form.action == "pause-hook").expect("the form");
    assert_eq!(admin.answer_to(pause), "The hook fx_ok is paused.");
}

#[test]
fn who_is_no_administrator_neither_sees_nor_changes_anything() {
    let site = Site::builder().sqlite().start();
    let runner = prepared(&site);
    let before = everything(&site);
    for role in ["subscriber", "editor"] {
        let visitor = Visitor::with_role(&site, role);
        for screen in ["", "&screen=events", "&screen=history", "&screen=run&run=01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            let page = visitor.panel(screen);
            assert_eq!(page.status, 403, "{role} {screen}: {}", page.body);
            assert!(!page.body.contains("fx_"), "{}", page.body);
        }
        for form in every_action(&site, &visitor) {
            assert_eq!(visitor.send(&form).status, 403, "{role} {form:?}");
        }
    }
    // Logged out: to the login.
    let nobody = Visitor { site: &site, cookies: String::new() };
    let form = Form { action: "run".to_owned(), of: "hook=fx_ok".to_owned(), nonce: nobody.nonce("run", "hook=fx_ok") };
    for page in [nobody.panel(""), nobody.send(&form)] {
        let to = page.header("Location").unwrap_or_default();
        assert!(page.status == 302 && to.contains("wp-login.php"), "{} {to}", page.status);
    }
    assert_eq!(everything(&site), before);
    assert_eq!(site.ledger().begins("fx_ok").len(), 0);
    assert_eq!(runner.json(&["status"])["sites"][0]["paused"], false);
}

#[test]
fn of_a_network_only_a_super_admin_may() {
    let site = Site::builder().mariadb().start();
    let runner = prepared(&site);
    site.wp(&["core", "multisite-convert", "--title=Network", "--base=/"]);
    let before = everything(&site);
    let administrator = Visitor::with_role(&site, "administrator");
    assert_eq!(administrator.get("/wp-admin/tools.php").status, 200, "he is administrator of this blog");
    assert_eq!(administrator.panel("").status, 403);
    for form in every_action(&site, &administrator) {
        assert_eq!(administrator.send(&form).status, 403, "{form:?}");
    }
    assert_eq!(everything(&site), before);
    let super_admin = Visitor::admin(&site);
    assert_eq!(super_admin.panel("").status, 200);
    let pause = super_admin.form("pause-hook", "hook=fx_ok");
    assert_eq!(super_admin.answer_to(&pause), "The hook fx_ok is paused.");
    drop(runner);
}

#[test]
fn what_is_not_there_is_refused_in_a_sentence() {
    let site = Site::builder().sqlite().start();
    let mut runner = prepared(&site);
    let admin = Visitor::admin(&site);
    let before = everything(&site);
    let no_run = "run=01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let ok_run = site.php("echo md5( 'no such' );");
    for (action, of, said) in [
        ("run", "hook=fx_nobody", "There is no such event any more; nothing was run."),
        ("run", "hook=fx_ok&key=0123", "There is no such event any more; nothing was run."),
        ("run", "hook=fx_warning", "There is no such event any more; nothing was run."),
        ("run", "", "There is no such event any more; nothing was run."),
        ("run", "hook[]=fx_ok", "There is no such event any more; nothing was run."),
        ("delete", "hook=fx_ok&key=0123&due=1", "There is no such event any more; nothing was changed."),
        (
            "pause-hook",
            "hook=fx_nobody",
            "No event of this hook is scheduled and nothing listens to it; nothing was changed.",
        ),
        ("pause-hook", "hook=", "No hook was named; nothing was changed."),
        ("requeue", "run=../../x", "This is no run id."),
        ("drop", "", "This is no run id."),
        ("requeue", &format!("run={ok_run}"), "This is no run id."),
    ] {
        assert_eq!(admin.answer_to(&admin.form(action, of)), said, "{action} {of}");
    }
    let said = admin.answer_to(&admin.form("requeue", no_run));
    assert!(said.contains("does not know that run"), "{said}");
    assert_eq!(everything(&site), before);
    runner.kill();
    let said = admin.answer_to(&admin.form("drop", no_run));
    assert_eq!(said, "the journal has no run 01ARZ3NDEKTSV4RRFFQ69G5FAV");
    let said = admin.answer_to(&admin.form("pause-site", ""));
    assert!(said.contains("No runner answers on"), "{said}");
    assert_eq!(everything(&site), before);
    assert_eq!(site.ledger().begins("fx_ok").len() + site.ledger().begins("fx_warning").len(), 0);
}

#[test]
fn names_and_words_from_elsewhere_are_only_text() {
    let site = Site::builder().sqlite().start();
    let mut runner = prepared(&site);
    let admin = Visitor::admin(&site);
    let long = "L".repeat(10_000);
    let later = unix_now() + 7200;
    let hostile = [
        "<script>alert(1)</script>",
        "\"onmouseover=\"alert(1)",
        "javascript:alert(1)",
        "fx\u{1b}[31m",
        "fx\u{202e}\u{200f}",
        &long,
    ];
    let events: Vec<_> = hostile.iter().map(|hook| (later, *hook, json!([hook]))).collect();
    site.schedule(&events);
    // What a hook printed, and how it failed.
    let words = "<script>alert(2)</script>\" onload=\"alert(3)\u{202e}\u{7}";
    site.schedule(&[(unix_now() + 1, "fx_output", json!([words])), (unix_now() + 1, "fx_exception", json!([words]))]);
    wait_for("both runs", secs(10), || {
        (runner.history_of("fx_output").len() == 1 && runner.history_of("fx_exception").len() == 2).then_some(())
    });
    // Bytes that are no text, which the panel has to give back as they were. Core stores none, and nothing beside them.
    site.php(&format!(
        "$cron = _get_cron_array(); $args = array( \"\\xe2\\x82\" );
        $cron[{later}][\"fx_\\xff\\xfe\"][ md5( serialize( $args ) ) ] = array( 'schedule' => false, 'args' => $args );
        $cron['version'] = 2;
        $put = ( new PDO( 'sqlite:' . FQDB ) )->prepare( \"UPDATE wp_options SET option_value = ? WHERE option_name = 'cron'\" );
        $put->execute( array( serialize( $cron ) ) );"
    ));
    let runs: Vec<String> = runner.history().iter().map(|run| run["run"].as_str().expect("an id").to_owned()).collect();
    let query = encoded("\"><script>alert(4)</script>");
    let mut screens: Vec<String> = vec![
        String::new(),
        "&screen=events".to_owned(),
        "&screen=history".to_owned(),
        format!("&screen=history&hook={query}&outcome={query}&last={query}&from={query}&to={query}&before={query}"),
        format!("&screen=events&search={query}&paged={query}"),
        format!("&screen=waiting&hook={query}&since={query}"),
        format!("&screen=delete&hook={query}&key={query}&due={query}"),
        format!("&screen=run&run={query}"),
        format!("&screen={query}&said={query}"),
    ];
    screens.extend(runs.iter().map(|run| format!("&screen=run&run={run}")));
    let deletes = links(&admin.panel("&screen=events"), "&screen=delete");
    assert!(deletes.len() > hostile.len(), "{deletes:?}");
    screens.extend(deletes);
    for with_runner in [true, false] {
        for screen in &screens {
            let page = admin.panel(screen);
            assert_eq!(page.status, 200, "{screen}");
            let (_, own) = page.body.split_once("<div class=\"wrap wpcr\">").expect("the panel");
            let own = own.split("wpbody-content").next().expect("its end");
            for bad in [
                "<script>alert",
                "\"onmouseover",
                "\" onload",
                "\"onfocus",
                "\u{202e}",
                "\u{200f}",
                "\u{7}",
                "\u{1b}",
                "href=\"javascript",
            ] {
                assert!(!own.contains(bad), "{bad:?} in {screen}: {own}");
            }
            assert!(
                !own.contains(&"L".repeat(300)) || screen.contains("delete") || own.contains("<details>"),
                "{screen}"
            );
        }
        let events = admin.panel("&screen=events").body;
        for shown in [
            "&lt;script&gt;alert(1)&lt;/script&gt;",
            "&quot;onmouseover=",
            "fx\\x1B[31m",
            "fx\\u{202e}\\u{200f}",
            "(10000 bytes)",
            "fx_\\xFF\\xFE",
        ] {
            assert!(events.contains(shown), "{shown}");
        }
        if with_runner {
            runner.kill();
        }
    }
    // The name that is no text comes back byte by byte.
    let page = admin.panel("&screen=events");
    let pause = forms(&page).into_iter().find(|form| form.action == "pause-hook" && form.of.contains("%FF%FE"));
    assert_eq!(admin.answer_to(&pause.expect("its form")), "The hook fx_\\xFF\\xFE is paused.");
    let (_, row) = page.body.split_once("fx_\\xFF\\xFE</code>").expect("its row");
    let to = row.split("screen=delete").nth(1).and_then(|rest| rest.split('"').next()).expect("the link");
    let delete = admin.panel(&format!("&screen=delete{}", to.replace("&#038;", "&")));
    let form = forms(&delete).into_iter().find(|form| form.action == "delete").expect("the form");
    assert_eq!(admin.answer_to(&form), "The event was deleted.");
    assert!(!admin.panel("&screen=events").body.contains("fx_\\xFF\\xFE</code></a>"), "it is still there");
}

#[test]
fn filters_are_no_sql() {
    for site in [Site::builder().mariadb().start(), Site::builder().sqlite().start()] {
        let mut runner = prepared(&site);
        let admin = Visitor::admin(&site);
        let before = everything(&site);
        for of_the_runner in [true, false] {
            let all = admin.panel("&screen=history").body;
            assert!(all.contains("fx_exception</code>"), "{all}");
            for attack in ["' OR 1=1 -- ", "\\' OR 1=1 -- ", "1; DROP TABLE wp_cron_runner_journal", "?"] {
                let attack = encoded(attack);
                for nothing in ["hook", "run"] {
                    let screen = if nothing == "run" { "run" } else { "history" };
                    let page = admin.panel(&format!("&screen={screen}&{nothing}={attack}"));
                    assert_eq!(page.status, 200);
                    assert!(!page.body.contains("fx_exception</code>"), "{nothing}={attack}: {}", page.body);
                }
                let ignored =
                    ["outcome", "last", "from", "to", "paged", "since"].map(|name| format!("&{name}={attack}"));
                let page = admin.panel(&format!("&screen=history{}", ignored.concat()));
                assert!(page.status == 200 && page.body.contains("fx_exception</code>"), "{attack}: {}", page.body);
            }
            if of_the_runner {
                runner.kill();
            }
        }
        assert_eq!(everything(&site), before);
    }
}
