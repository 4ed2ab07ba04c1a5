//! A site of another user than the daemon's.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::{ended_at_its_limit, view_of};
use crate::support::{Runner, Site, Trigger, account, secs, wait_for};

/// A user of every Debian who is nobody's in the tests.
const OTHER: &str = "backup";

/// A site that belongs to somebody else than the daemon.
fn site_of_another() -> Site {
    let site = Site::builder().mariadb().start();
    site.add_plugin(
        "add_action( 'who', function () {
             $status = file_get_contents( '/proc/self/status' );
             preg_match_all( '/^(?:Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapAmb):\\s+(\\S+)/m', $status, $found );
             fx_write( 'END', 'who', array(), array( posix_getpwuid( posix_geteuid() )['name'], getenv( 'HOME' ), $found[1] ) );
         } );
         add_action( 'parent', function () {
             $child = proc_open( array( 'sleep', '300' ), array(), $pipes );
             fx_write( 'BEGIN', 'parent', array(), proc_get_status( $child )['pid'] );
             while ( true ) { usleep( 50000 ); }
         } );",
    );
    site
}

fn give_away(site: &Site) {
    let config = site.path.join("wp-config.php");
    for path in [site.path.join("wp-content"), config.clone(), site.dir.join(&format!("{}.ledger", site.name))] {
        account::give_to(OTHER, &path);
    }
    // The tests look at it as the site's former owner.
    fs::set_permissions(config, fs::Permissions::from_mode(0o644)).expect("its mode");
}

fn runs_as_another(capabilities: &str) {
    if !account::is_root() {
        eprintln!("only root can give a daemon the right to become others; nothing was tested");
        return;
    }
    let site = site_of_another();
    let mut runner = Runner::builder(&site)
        .trigger(Trigger::WpCli)
        .site_line(&format!("user = \"{OTHER}\"\ntimeout = \"2s\""))
        .capabilities(capabilities)
        .prepare();
    give_away(&site);
    runner.start();
    site.schedule_in(1, "who", &json!([]));
    let note = wait_for("the event", secs(15), || site.ledger().end_of("who")).note;
    let id = |of: &str| {
        let said = std::process::Command::new("id").args([of, OTHER]).output().expect("id");
        String::from_utf8(said.stdout).expect("a number").trim().to_owned()
    };
    assert_eq!(note[0], OTHER);
    assert_eq!(note[1], "/var/backups", "a home of his own");
    let none = "0".repeat(16);
    let (uid, gid) = (id("-u"), id("-g"));
    assert_eq!(note[2], json!([uid, gid, gid, none, none, none, none]), "no right of the daemon's is left");
    ended_at_its_limit(&site, &runner);
}

#[test]
fn events_run_as_the_site_s_own_user_and_are_ended_by_the_daemon() {
    runs_as_another("+setuid,+setgid,+kill");
}

#[test]
fn events_of_another_user_are_ended_by_one_of_his_where_the_daemon_may_not() {
    runs_as_another("+setuid,+setgid");
}

#[test]
fn a_daemon_that_may_not_become_others_says_what_it_needs() {
    if !account::is_root() {
        return;
    }
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).trigger(Trigger::WpCli).site_line(&format!("user = \"{OTHER}\"")).prepare();
    runner.start();
    let view = view_of(&runner).to_string();
    for word in ["misconfigured", "CAP_SETUID", "wp-cron-runner-user.conf", "sudo"] {
        assert!(view.contains(word), "{word}: {view}");
    }
    // A daemon that may, and a site that does not ask for it: nothing is handed on.
    let runner = Runner::builder(&site).trigger(Trigger::WpCli).capabilities("+setuid,+setgid").start();
    site.add_plugin(
        "add_action( 'who', function () {
             preg_match( '/^CapAmb:\\s+(\\S+)/m', file_get_contents( '/proc/self/status' ), $found );
             fx_write( 'END', 'who', array(), $found[1] );
         } );",
    );
    site.schedule_in(1, "who", &json!([]));
    let note = wait_for("the event", secs(15), || site.ledger().end_of("who")).note;
    assert_eq!(note, "0".repeat(16), "{}", runner.log());
}
