use std::sync::Arc;

use super::super::Facts as Remembered;
use super::*;
use crate::lease::redis::{Contact, Facts};
use crate::run_site::calls::Me;
use crate::site::{RunEnd, Seen};

const OWN: &str = "00000000000000000000000000000000";
const MINUTE: i64 = 60_000;

fn entry(lines: &str) -> Entry {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (key, path) = (folder.path().join("shop.key"), folder.path().join("config.toml"));
    std::fs::write(&key, "1f2e3d4c".repeat(8)).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, format!("[[site]]\nname = \"shop\"\nurl = \"https://shop.example\"\n{lines}")).unwrap();
    let config = crate::config::read(&path, crate::config::Secrets::Needed).unwrap();
    let me = Arc::new(Me { id: OWN.into(), name: "web-1".into(), listen: String::new() });
    Entry::new(&config.sites[0], &me, Remembered::default(), Some(Shared::default()))
}

fn with_plugin() -> Entry {
    entry("path = \"/srv\"\nfastcgi = \"/run/fpm.sock\"\n")
}

fn board(standing: Standing) -> Board {
    let mut board = Board { contact: Contact { is_there: true, ..Contact::default() }, ..Board::default() };
    board.sites.insert("shop".into(), standing);
    board.realm = "realm".into();
    board
}

fn lost(standing: Standing) -> Board {
    let contact = Contact { is_there: false, why: Some("no answer".into()), ..Contact::default() };
    Board { contact, ..board(standing) }
}

fn ours(grant: u64) -> Standing {
    Standing::Ours { until: clock::boot_ms() + 25_000, grant, wanted_by: None }
}

fn wanted(grant: u64) -> Standing {
    Standing::Ours { until: clock::boot_ms() + 25_000, grant, wanted_by: Some("web-2".into()) }
}

fn over(grant: u64) -> Standing {
    Standing::Ours { until: clock::boot_ms() - 1, grant, wanted_by: None }
}

fn theirs() -> Standing {
    Standing::Theirs { runner: "web-2".into() }
}

/// Looked at, and taken over with this epoch.
fn owner(epoch: i64) -> Entry {
    let mut entry = with_plugin();
    entry.heed(&board(ours(1)), OWN);
    entry.was_looked_at(true);
    entry.state.taken(clock::now_ms(), epoch, Seen::default(), Vec::new());
    entry
}

#[test]
fn a_site_is_looked_at_once_and_called_under_a_trusted_lease_only() {
    let mut entry = with_plugin();
    assert_eq!(entry.may(), May::Nothing, "nobody was asked yet");
    entry.heed(&board(theirs()), OWN);
    assert_eq!(entry.may(), May::Look);
    entry.was_looked_at(true);
    assert_eq!((entry.may(), entry.ability(0, 0, false)), (May::Nothing, Some(true)));
    entry.heed(&board(ours(1)), OWN);
    assert_eq!(entry.may(), May::All);
    entry.heed(&board(over(1)), OWN);
    assert_eq!(entry.may(), May::Nothing, "it was stopped for a while, and has not asked yet");
}

#[test]
fn without_redis_only_the_owner_goes_on_and_in_a_quarantine_as_well() {
    let mut entry = owner(7);
    entry.heed(&lost(ours(1)), OWN);
    assert_eq!(entry.may(), May::All, "it is trusted to its end");
    entry.heed(&lost(over(1)), OWN);
    assert_eq!((entry.may(), entry.why_not_shared().unwrap().0), (May::Degraded, "degraded"));
    entry.heed(&board(Standing::Free { why: "quarantine".into() }), OWN);
    assert_eq!((entry.may(), entry.state.epoch()), (May::Degraded, Some(7)));
    assert_eq!(entry.heed(&board(theirs()), OWN), Some(7), "the site is told that somebody follows");
    assert_eq!((entry.may(), entry.state.epoch()), (May::Nothing, None));
    entry.heed(&lost(theirs()), OWN);
    assert_eq!((entry.may(), entry.why_not_shared().unwrap().0), (May::Nothing, "paused"));
}

#[test]
fn a_new_lease_is_a_new_take_over_with_what_the_others_know() {
    let mut entry = owner(7);
    let mut board = board(ours(2));
    let facts = Facts { install: None, epoch: Some(9), ended_ms: Some(1_700_000_000_000) };
    board.facts.insert("shop".into(), facts);
    entry.heed(&board, OWN);
    assert_eq!((entry.state.epoch(), entry.known_epoch), (None, Some(9)));
    assert_eq!(entry.since_ms, Some(1_700_000_000_000 - MINUTE));
    let (realm, until) = entry.realm(clock::now_ms());
    assert!(realm == "realm" && until.is_some());
    // Somebody took it although the lease is ours.
    entry.dispute();
    assert_eq!(entry.realm(clock::now_ms()), ("realm".to_string(), None));
}

#[test]
fn a_lease_is_handed_over_between_two_events_and_not_believed_in_afterwards() {
    let mut entry = owner(7);
    assert_eq!(entry.hands_over(0), None, "nobody wants it");
    entry.heed(&board(wanted(1)), OWN);
    let sent = entry.state.run_started(0);
    assert_eq!(entry.hands_over(0), None, "an event runs");
    entry.state.run_ended(0, RunEnd { sent, epoch: 7, claimed: 1, ..RunEnd::default() });
    assert_eq!(entry.hands_over(1), Some(1));
    assert_eq!((entry.may(), entry.state.epoch()), (May::Nothing, None));
    entry.heed(&board(wanted(1)), OWN);
    assert_eq!(entry.may(), May::Nothing, "the keeper had not heard of it");
    entry.heed(&board(ours(2)), OWN);
    assert_eq!(entry.may(), May::All, "it came back");
}

#[test]
fn a_lease_is_not_handed_over_without_redis_nor_during_a_take_over() {
    let mut entry = owner(7);
    entry.heed(&lost(wanted(1)), OWN);
    assert_eq!(entry.hands_over(0), None);
    entry.heed(&board(wanted(1)), OWN);
    entry.state.call_started(crate::site::Want::Take);
    assert_eq!((entry.hands_over(0), entry.hands_over(10 * MINUTE)), (None, None));
    entry.state.call_ended();
    entry.state.run_started(0);
    assert_eq!((entry.hands_over(0), entry.hands_over(10 * MINUTE)), (None, Some(1)), "a site that is never idle");
}

#[test]
fn a_pass_without_the_plugin_keeps_its_lease_to_its_end() {
    let mut entry = entry("trigger = \"wp-cron.php\"\nschedule = \"*/5 * * * *\"\n");
    assert_eq!(entry.ability(0, 0, false), Some(true), "there is nothing to look at");
    entry.heed(&board(wanted(1)), OWN);
    let (sent, _) = entry.run_starts(0);
    assert_eq!((entry.hands_over(0), entry.hands_over(10 * MINUTE)), (None, None));
    entry.heed(&lost(over(1)), OWN);
    assert_eq!(entry.may(), May::Nothing, "it has no fence");
    entry.heed(&board(wanted(1)), OWN);
    entry.state.run_ended(0, RunEnd { sent, claimed: 1, ..RunEnd::default() });
    assert_eq!(entry.hands_over(20 * MINUTE), Some(1));
}

#[test]
fn who_cannot_run_a_site_lets_others_have_it_and_does_not_take_it_back_at_the_first_look() {
    let mut entry = owner(7);
    assert_eq!(entry.ability(0, 0, false), Some(true));
    assert_eq!(entry.ability(0, 0, true), Some(false), "nothing can be recorded on this host");
    assert_eq!(entry.ability(0, 0, false), Some(true));
    let now = clock::now_ms();
    let site = entry.site.clone();
    for at in [now, now + UNABLE_AFTER_MS] {
        let (sent, _) = entry.run_starts(at);
        let failure = Some(Failure::ServerError("500".into()));
        entry.ran(at, RunEnd { sent, epoch: 7, failure, ..RunEnd::default() }, &site);
        entry.state.looked(at, Seen { due: 1, oldest: Some(1), ..Seen::default() }, Vec::new());
    }
    let later = now + UNABLE_AFTER_MS;
    assert_eq!(entry.ability(later, 0, false), Some(false));
    entry.heed(&board(theirs()), OWN);
    assert_eq!(entry.may(), May::Look);
    entry.was_looked_at(true);
    assert_eq!(entry.ability(later, 0, false), None, "a look proves little here");
    assert_eq!(entry.ability(later, HOLD_OFF_MS, false), Some(true));
}

/// The site was handed over while a run of ours went on, which failed in the end; looks succeed.
#[test]
fn what_a_run_of_before_met_begins_no_row_of_looks() {
    let mut entry = owner(7);
    let (now, site) = (clock::now_ms(), entry.site.clone());
    let (sent, _) = entry.run_starts(now);
    entry.heed(&board(theirs()), OWN);
    let failure = Some(Failure::TimedOut(600_000));
    entry.ran(now, RunEnd { sent, epoch: 7, failure, ..RunEnd::default() }, &site);
    assert_eq!(entry.state.failure(), None);
    let later = now + 10 * UNABLE_AFTER_MS;
    assert_eq!((entry.ability(later, 0, false), entry.may()), (Some(true), May::Nothing));
}

#[test]
fn a_site_that_comes_back_waits_for_its_lease() {
    let mut entry = owner(7);
    assert_eq!(entry.may(), May::All);
    entry.is_shared_anew();
    assert_eq!((entry.may(), entry.ability(0, 0, false)), (May::Nothing, Some(true)));
}
