//! Row 37: a key that is another, a clock that is off, a call that was recorded. Each has its own sentence, and runs nothing.

use serde_json::json;

use super::door::{Door, between, view};
use super::{nothing_wrong, times};
use crate::support::http::{self, Page};
use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, Trigger, secs, wait_for};

/// The site's state and sentence, once it is in trouble; the calls that this took.
fn trouble(runner: &Runner) -> String {
    let view =
        wait_for("trouble", secs(20), || Some(view(runner, "shop")).filter(|view| view["state"] == "misconfigured"));
    view["message"].as_str().expect("a message").to_owned()
}

/// A site whose configuration has changed is called at once.
fn look_again(runner: &mut Runner) {
    runner.rewrite_config(|text| match text.contains("\"1s\"") {
        true => text.replace("\"1s\"", "\"2s\""),
        false => text.replace("\"2s\"", "\"1s\""),
    });
    runner.reload();
}

/// Sends the bytes of a recorded call once more.
fn again(address: &str, bytes: &[u8]) -> Page {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let path = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a path");
    let pairs: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let kept: Vec<(&str, &str)> =
        pairs.into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length")).collect();
    http::request("POST", address, path, &kept, body.as_bytes()).expect("an answer")
}

#[test]
fn row_37_a_wrong_key_a_wrong_clock_and_a_replay_run_nothing() {
    let site = Site::builder().mariadb().clock().start();
    let clock = site.clock.clone().expect("a clock");
    let address = site.address();
    let door = Door::open(move |asked, stream| asked.pass_on(&address, stream));
    let mut runner = Runner::builder(&site)
        .trigger(Trigger::Http)
        .site_line(&between(&site, &door))
        // An hour is no silence here: page loads would run what is due, and rightly so.
        .site_line("rescan = \"1s\"\ngrace = \"3h\"")
        .start();
    let mut plan = Plan::new();
    plan.schedule(&site, &[(unix_now(), "fx_ok", json!(["in order"]))]);
    wait_for("its record", secs(15), || runner.history_of("fx_ok").first().cloned());
    let mut said = Vec::new();

    // PHP's clock is off: by an hour, by a minute and a little. Fifty seconds are borne.
    for (seconds, words) in [(-3650, "differs from this one by -1 h"), (75, "differs from this one by 1 min")] {
        clock.set(seconds);
        let message = trouble(&runner);
        assert!(message.contains(words) && message.contains("NTP"), "{seconds}: {message}");
        said.push(message);
        let due = unix_now() + seconds.min(0);
        plan.schedule(&site, &[(due, "fx_ok", json!(["while the clock is off", seconds]))]);
        nobody_runs_it(&site, &runner, &door);
        clock.set(50);
        // Somebody has put it right, and does not wait for the next probe.
        look_again(&mut runner);
        wait_for("its run", secs(15), || (site.scheduled("fx_ok").is_empty()).then_some(()));
        wait_for("good word", secs(15), || (view(&runner, "shop")["state"] == "ok").then_some(()));
        clock.set(0);
    }
    // A call that was refused for its clock was never used: sent again in time, it is good. And a clock that was ahead has let PHP
    // forget those of before. Neither is replayed.
    let refused_for_the_clock = door.asked().len();

    // The key here is not the key there.
    let key = runner.dir.join("home/shop.key");
    let right = std::fs::read_to_string(&key).expect("the key");
    std::fs::write(&key, format!("{}\n", "8f3b".repeat(16))).expect("the key");
    runner.reload();
    let message = trouble(&runner);
    assert!(message.contains("refused the signature") && message.contains("differ"), "{message}");
    said.push(message);
    plan.schedule(&site, &[(unix_now(), "fx_ok", json!(["while the keys differ"]))]);
    nobody_runs_it(&site, &runner, &door);
    std::fs::write(&key, right).expect("the key");
    runner.reload();
    wait_for("its run", secs(15), || site.scheduled("fx_ok").is_empty().then_some(()));

    // Every call that changes something, sent once more while something is due and nobody looks after the site.
    for number in 0..3 {
        plan.schedule(&site, &[(unix_now(), "fx_ok", json!(["to be replayed", number]))]);
        wait_for("its run", secs(15), || site.scheduled("fx_ok").is_empty().then_some(()));
    }
    assert!(plan.wait(&site, secs(10)));
    let used = door.asked().split_off(refused_for_the_clock);
    runner.kill();
    plan.schedule(&site, &[(unix_now(), "fx_ok", json!(["at the replay"]))]);
    let before = site.ledger().begins("fx_ok").len();
    let mut replayed = 0;
    for call in used.iter().filter(|asked| ["run", "settle"].contains(&asked.call.as_str())).rev().take(times(6, 60)) {
        let page = again(&site.address(), &call.bytes);
        // Those of the wrong key were refused before anything was noted; so they are now.
        let is_refused = (page.status == 409 && page.body.contains("E_REPLAY")) || page.status == 401;
        assert!(is_refused, "{}: {page:?}", call.call);
        replayed += usize::from(page.status == 409);
    }
    assert!(replayed >= 2, "{replayed} calls were good the first time");
    assert_eq!(site.ledger().begins("fx_ok").len(), before, "a replay ran something");
    // What the runner would be told, were it the one whose calls are repeated.
    let replays = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let address = site.address();
    let twice = Door::open(move |asked, stream| {
        if asked.call == "settle" && replays.load(std::sync::atomic::Ordering::SeqCst) {
            asked.answer_of(&address);
        }
        asked.pass_on(&address, stream);
    });
    runner.rewrite_config(|text| text.replace(&door.address(), &twice.address()));
    runner.start();
    let message = trouble(&runner);
    assert!(message.contains("E_REPLAY"), "{message}");
    said.push(message);
    assert_eq!(site.ledger().begins("fx_ok").len(), before, "something ran");
    runner.rewrite_config(|text| text.replace(&twice.address(), &door.address()));
    runner.reload();
    assert!(plan.wait(&site, secs(20)), "{}", runner.log());

    // Three causes, three sentences; an hour and a minute are one cause.
    let mut kinds: Vec<&str> = said.iter().map(|sentence| &sentence[..sentence.len().min(40)]).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), 3, "{said:#?}");
    nothing_wrong(
        "row 37",
        &plan.judge(&site),
        &format!("{} messages, {replayed} calls replayed, 0 events run by them", kinds.len()),
    );
}

/// Two rescans later nothing has run, and nobody was called in a storm.
fn nobody_runs_it(site: &Site, runner: &Runner, door: &Door) {
    let (begun, asked) = (site.ledger().begins("fx_ok").len(), door.asked().len());
    let since = std::time::Instant::now();
    wait_for("two rescans", secs(5), || (since.elapsed() > secs(2)).then_some(()));
    assert_eq!(site.ledger().begins("fx_ok").len(), begun, "{}", runner.log());
    let calls = door.asked().len() - asked;
    assert!(calls <= 1, "{calls} calls in two seconds");
}
