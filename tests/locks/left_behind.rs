//! Hooks that return, or end their process, with a transaction open, autocommit off or tables locked.

use serde_json::{Value, json};

use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, secs};

const NOTHING_LEFT: &str = "";

/// The events behind it, in the same process or the next, write as ever, and so does everybody else.
fn nothing_is_left_behind(site: &Site, kinds: &[(&str, &str)]) {
    let runner = Runner::builder(site).site_line("lanes = 1").start();
    let mut plan = Plan::new();
    let at = unix_now() + 2;
    let mut events = Vec::new();
    for (number, (what, _)) in kinds.iter().enumerate() {
        let number = i64::try_from(number).unwrap();
        for (step, then) in ["", "exit"].into_iter().enumerate() {
            let second = at + 2 * number + i64::try_from(step).unwrap();
            events.push((second, "fx_leaves", json!([what, then])));
            events.extend((0..4).map(|i| (second, "fx_writes", json!([format!("{number}{step}{i}")]))));
        }
    }
    plan.schedule(site, &events);
    assert!(plan.wait(site, secs(40)), "all have an outcome\n{}", runner.log());
    let figure = plan.judge(site);
    assert_eq!((figure.wrong(), figure.held), (0, 0), "{figure}");
    let history = runner.history_of("fx_leaves");
    for (what, note) in kinds {
        let of_kind = |then: &str| {
            let key = site.php_json(&format!("echo json_encode(md5(serialize(['{what}', '{then}'])));"));
            history.iter().find(|run| run["key"] == key).unwrap_or_else(|| panic!("{what} {then}: {history:?}")).clone()
        };
        for then in ["", "exit"] {
            let run = of_kind(then);
            assert_eq!(run["outcome"], "ok", "{run}");
            let said = run["note"].as_str().unwrap_or_default();
            assert!(said.contains(note), "{what}, {then}: {run}");
        }
    }
    let written = "SELECT COUNT(*) FROM wp_options WHERE option_name LIKE 'fx_written_%' AND option_value = 'yes'";
    assert_eq!(site.sql_text(written), Some((kinds.len() * 8).to_string()), "what came behind it was written for good");
    let of_others = site.php_json("echo json_encode(update_option('fx_after', 'yes'));");
    assert_eq!(of_others, Value::Bool(true));
    assert!(runner.history_of("fx_writes").iter().all(|run| run["outcome"] == "ok"));
}

#[test]
fn on_mariadb() {
    let site = Site::builder().mariadb().start();
    let kinds = [
        ("transaction", "left a transaction open"),
        ("autocommit", "left autocommit off"),
        ("close", "closed the database connection"),
        ("lock", NOTHING_LEFT),
    ];
    nothing_is_left_behind(&site, &kinds);
    let described = site.sql_text("SELECT option_value FROM wp_options WHERE option_name = 'blogdescription'");
    assert_eq!(described.as_deref(), Some("left open"), "only what was locked, not rolled back, was written");
}

#[test]
fn on_sqlite() {
    nothing_is_left_behind(&Site::builder().sqlite().start(), &[("transaction", "left a transaction open")]);
}
