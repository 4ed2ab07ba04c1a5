//! The runner is not there: the panel says so, reads the journal, and what can be done is done.

use serde_json::json;

use super::Panel;
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

pub fn the_runner_is_away(panel: &mut Panel, site: &Site, runner: &mut Runner) {
    let at = unix_now() + 1;
    site.schedule(&[(at, "fx_dies", json!([1, "a"])), (at, "fx_dies", json!([1, "b"]))]);
    wait_for("two held runs", secs(15), || {
        (runner.history_of("fx_dies").iter().filter(|run| run["then"] == "held").count() == 2).then_some(())
    });
    // Killed, so that page loads do not start what is put back at once.
    runner.kill();
    panel.open("");
    panel.browser.see("The runner does not answer.");
    panel.browser.see("read from the site’s own journal");
    panel.look("runner-away");
    assert!(panel.browser.is_disabled("button", "Pause the site"));

    panel.browser.follow("button", "Requeue fx_dies");
    panel.browser.see("The event was put back and is due now.");
    assert_eq!(site.scheduled("fx_dies").len(), 1);
    panel.browser.follow("button", "Drop fx_dies");
    panel.browser.see("The event was dropped.");
    let undecided = "SELECT COUNT(*) FROM wp_cron_runner_journal WHERE `then` = 'held'";
    assert_eq!(site.sql_text(undecided).as_deref(), Some("0"));

    panel.open("&screen=events&search=fx_recurring");
    assert!(panel.browser.is_disabled("button", "Run now fx_recurring"));
    panel.browser.follow("button", "Pause fx_recurring");
    panel.browser.see("The hook fx_recurring is paused.");
    panel.browser.follow("button", "Resume fx_recurring");
    panel.open("&screen=history&outcome=failed");
    panel.browser.see("the exception of fx_exception");
    panel.browser.follow("link", "fx_exception");
    panel.browser.see("Only the runner has it.");
    panel.look("run-away");

    // The option is damaged.
    site.php("global $wpdb; $wpdb->update( $wpdb->options, array( 'option_value' => 'a:1:{broken' ), array( 'option_name' => 'cron' ) ); wp_cache_flush();");
    panel.open("&screen=events");
    panel.browser.see("The schedule cannot be read");
    panel.browser.see("wp-cron-runner restore shop");
}
