//! A server that is short of patience or of connections.

use std::time::Instant;

use serde_json::json;

use super::reconfigure;
use crate::support::site::Database;
use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, secs, wait_for};

#[test]
fn an_event_longer_than_the_servers_wait_timeout_keeps_its_lock() {
    let site = Site::builder().own_mariadb().start();
    site.sql("SET GLOBAL wait_timeout = 2");
    let runner = Runner::builder(&site).site_line("rescan = \"2s\"\nlanes = 2").start();
    let mut plan = Plan::new();
    // Due again while it runs, and longer than the server has patience with a silent connection.
    plan.recurring(&site, 1, "every_2s", "fx_sleep", &json!([5]));
    wait_for("two runs", secs(30), || (site.ledger().ends("fx_sleep").len() >= 2).then_some(()));
    let figure = plan.judge(&site);
    assert_eq!(figure.doubled, 0, "{figure}\n{}", runner.log());
    let runs = runner.history_of("fx_sleep");
    assert!(runs.iter().all(|run| run["outcome"] == "ok"), "{runs:?}");
}

#[test]
fn no_connection_left_is_waited_for_and_nothing_is_claimed() {
    let site = Site::builder().own_mariadb().start();
    let Database::MariaDb { server, name } = &site.database else { unreachable!() };
    server.query("", &format!("CREATE USER 'few'@'localhost'; GRANT ALL ON {name}.* TO 'few'@'localhost'"));
    reconfigure(&site, "DB_USER", "few");
    let runner = Runner::builder(&site).site_line("rescan = \"1s\"").start();
    // One connection for a page, and none for us beside it.
    server.query("", "ALTER USER 'few'@'localhost' WITH MAX_USER_CONNECTIONS 1");
    let mut plan = Plan::new();
    let at = unix_now() + 1;
    plan.schedule(&site, &(0..10).map(|i| (at, "fx_ok", json!([i]))).collect::<Vec<_>>());
    let view = wait_for("its name", secs(15), || {
        let view = runner.json(&["status"])["sites"][0].clone();
        view.to_string().contains("max_user_connections").then_some(view)
    });
    assert_eq!(view["state"], "busy", "{view}");
    assert_eq!(site.ledger().begins("fx_ok").len(), 0);
    server.query("", "ALTER USER 'few'@'localhost' WITH MAX_USER_CONNECTIONS 0");
    let back = Instant::now();
    assert!(plan.wait(&site, secs(30)), "{}", runner.log());
    eprintln!("caught up {} ms after there were connections again", back.elapsed().as_millis());
    assert_eq!(plan.judge(&site).wrong(), 0);
    assert!(runner.history_of("fx_ok").iter().all(|run| run["outcome"] == "ok"));
}
