//! A server without GET_LOCK, and one whose GET_LOCK means nothing: rows with a lease instead.

use serde_json::json;

use super::reconfigure;
use crate::support::mysql_proxy::{self, Spoil};
use crate::support::site::Database;
use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, secs, wait_for};

fn behind_a_proxy(spoil: Spoil) -> Site {
    let site = Site::builder().mariadb().start();
    let Database::MariaDb { server, .. } = &site.database else { unreachable!() };
    let socket = site.dir.join("proxy.sock");
    mysql_proxy::start(&socket, server.socket.clone(), spoil);
    reconfigure(&site, "DB_HOST", &format!("localhost:{}", socket.display()));
    site
}

fn the_same_promises(spoil: Spoil) {
    let site = behind_a_proxy(spoil);
    let mut runner = Runner::builder(&site).site_line("rescan = \"2s\"\nlanes = 2").start();
    assert_eq!(runner.json(&["status"])["sites"][0]["lock_kind"], "lease-row");
    let check = runner.json(&["check", "--connect"]).to_string();
    assert!(check.contains("lease"), "names the weakness: {check}");

    let mut plan = Plan::new();
    let at = unix_now() + 2;
    // Due again before it has ended: only its lock keeps it from overlapping itself.
    plan.recurring(&site, 2, "every_2s", "fx_sleep", &json!([3]));
    let mut events = vec![(at, "fx_sleep", json!([2.5, "the worker dies"]))];
    events.extend((0..20).map(|i| (at + i / 5, "fx_ok", json!(["small", i]))));
    plan.schedule(&site, &events);
    let died = |line: &&crate::support::ledger::Line| line.args[1] == "the worker dies";
    let pid = wait_for("its beginning", secs(15), || {
        site.ledger().begins("fx_sleep").into_iter().find(died).map(|line| line.pid)
    });
    site.php_fpm.kill_worker(pid);
    let held = wait_for("its death, seen on its own host at once", secs(15), || {
        runner.history_of("fx_sleep").into_iter().find(|run| run["outcome"] == "interrupted")
    });
    assert_eq!(held["then"], "held", "{held}");
    wait_for("two runs of the recurring one", secs(30), || (site.ledger().ends("fx_sleep").len() >= 2).then_some(()));

    // The runner dies, PHP goes on: adopted, not started again.
    let mut late = Plan::new();
    late.schedule(&site, &[(unix_now() + 1, "fx_sleep", json!([4, "adopted"]))]);
    let adopted = |line: &&crate::support::ledger::Line| line.args[1] == "adopted";
    wait_for("its beginning", secs(15), || site.ledger().begins("fx_sleep").into_iter().find(adopted).map(drop));
    runner.kill();
    runner.start();
    assert!(late.wait(&site, secs(60)), "it has an outcome: {}", runner.log());
    site.php("wp_clear_scheduled_hook('fx_sleep', [3]);");
    plan.wait(&site, secs(20));
    let figure = late.judge(&site).plus(plan_without_recurring(&plan, &site));
    assert_eq!((figure.wrong(), figure.held), (0, 1), "{figure}");
    assert!(site.ledger().overlaps().is_empty());
    let left = "SELECT COUNT(*) FROM wp_cron_runner_state WHERE name LIKE 'wpcr-e:%'";
    assert_eq!(
        site.sql_text(left).as_deref(),
        Some("1"),
        "each event gives its lock back; that of the dead one waits for its lease"
    );
}

/// It was unscheduled at the end of the test, which counts as lost where nobody asked for it.
fn plan_without_recurring(plan: &Plan, site: &Site) -> crate::support::Figure {
    let mut figure = plan.judge(site);
    figure.lost -= 1;
    figure
}

#[test]
fn a_server_without_get_lock() {
    the_same_promises(Spoil::Refused);
}

#[test]
fn a_proxy_before_which_a_second_connection_is_not_refused() {
    the_same_promises(Spoil::NotShared);
}
