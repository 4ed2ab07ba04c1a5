//! What is not signed by the runner gets in here no more than through any other door.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, Trigger};

/// A signed envelope, `seconds` off, as the runner writes it to stdin.
fn envelope(site: &Site, call: &str, body: &str, seconds: i64) -> String {
    envelope_for(site, &format!("/?wp-cron-runner={call}"), body, seconds)
}

fn envelope_for(site: &Site, path: &str, body: &str, seconds: i64) -> String {
    let head = site.php(&format!(
        "$path = '{path}'; $keys = \\WP_Cron_Runner\\keys(); $kid = key($keys); $ts = (string) (\\WP_Cron_Runner\\now_ms() + {seconds} * 1000);
         $once = bin2hex(random_bytes(16)); $name = \\WP_Cron_Runner\\site_name();
         $sig = hash_hmac('sha256', \\WP_Cron_Runner\\string_to_sign($path, '127.0.0.1', $name, (string) $kid, $ts, $once, '{body}'), reset($keys));
         echo \"v=1;site=$name;kid=$kid;ts=$ts;nonce=$once;sig=$sig\\n$path\\n127.0.0.1\\n\";"
    ));
    head + body
}

/// `wp cron-runner call CALL`, or the plugin's own file.
fn say(site: &Site, call: &str, by_php: bool, envelope: &str) -> String {
    let mut command = site.php_command();
    if by_php {
        let file = site.path.join("wp-content/mu-plugins/wp-cron-runner/src/endpoint.php");
        command.arg(file).arg(call).arg(&site.path);
    } else {
        command.arg(site.phar()).args(["cron-runner", "call", call]);
        command.arg(format!("--path={}", site.path.display())).arg(format!("--url={}", site.url));
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("php");
    child.stdin.take().expect("a pipe").write_all(envelope.as_bytes()).expect("it reads");
    String::from_utf8_lossy(&child.wait_with_output().expect("php").stdout).into_owned()
}

const TAKE: &str =
    r#"{"take":true,"owner":"0123456789abcdef0123456789abcdef","runner":"test","expect_ms":60000,"url":""}"#;

#[test]
fn this_door_opens_like_the_others() {
    let site = Site::builder().mariadb().start();
    let _runner = Runner::builder(&site).prepare();
    let refused = r#"{"error":"E_AUTH"}"#;
    let good = envelope(&site, "due", "{}", 0);
    for by_php in [true, false] {
        assert!(say(&site, "due", by_php, &good).contains("\"t\":\"due\""));
        let forms = ["", "\n\n\n", "garbled", &good.replace("127.0.0.1", "localhost")];
        for wrong in forms.into_iter().chain([good.replace("{}", "{ }").as_str(), &good.replace("sig=", "sig=0")]) {
            assert_eq!(say(&site, "due", by_php, wrong).trim(), refused, "{wrong}");
        }
        assert_eq!(say(&site, "inspect", by_php, &good).trim(), refused, "signed for another call");
        for (seconds, word) in [(-63, "E_CLOCK"), (63, "E_CLOCK"), (57, "\"t\":\"due\"")] {
            let said = say(&site, "due", by_php, &envelope(&site, "due", "{}", seconds));
            assert!(said.contains(word), "{seconds}: {said}");
        }
        let copy = envelope(&site, "due", r#"{"install":"00000000000000000000000000000000"}"#, 0);
        assert!(say(&site, "due", by_php, &copy).contains("wrong_install"));
        let large = envelope(&site, "due", &format!("{{\"x\":\"{}\"}}", "x".repeat(70_000)), 0);
        assert!(!say(&site, "due", by_php, &large).contains("\"t\":\"due\""));
    }
    let take = envelope(&site, "settle", TAKE, 0);
    assert_eq!(say(&site, "settle", true, &take).trim(), refused, "not without all of WordPress");
    assert!(say(&site, "settle", false, &take).contains("\"t\":\"settled\""));
    assert!(say(&site, "settle", false, &take).contains("E_REPLAY"));
}

#[test]
fn whether_a_process_lives_is_answered_while_the_site_is_updated() {
    let site = Site::builder().mariadb().start();
    let _runner = Runner::builder(&site).prepare();
    assert!(say(&site, "settle", false, &envelope(&site, "settle", TAKE, 0)).contains("\"t\":\"settled\""));
    let body = r#"{"epoch":1,"run":"0123456789abcdef0123456789abcdef"}"#;
    let calls = ["inspect", "end", "due"];
    let commands = calls.map(|call| (call, [0, 0].map(|_| envelope(&site, call, body, 0))));
    // As php-fpm gets it: this very file, named to the web server.
    let direct = |call: &str| format!("/wp-content/mu-plugins/wp-cron-runner/src/endpoint.php?wp-cron-runner={call}");
    let requests = calls.map(|call| (call, envelope_for(&site, &direct(call), body, 0)));
    fs::write(site.path.join(".maintenance"), format!("<?php $upgrading = {};", unix_now())).expect(".maintenance");
    let is_answered = |call: &str, said: &str| {
        assert_eq!(said.contains("wpcr1:") && !said.contains("E_MAINTENANCE"), call != "due", "{call}: {said}");
    };
    for (call, envelopes) in &commands {
        for (by_php, envelope) in [true, false].into_iter().zip(envelopes) {
            is_answered(call, &say(&site, call, by_php, envelope));
        }
    }
    for (call, envelope) in &requests {
        let header = envelope.lines().next().expect("a signature");
        let page = site.request("POST", &direct(call), &[("X-WP-Cron-Runner", header)], body.as_bytes());
        is_answered(call, &page.body);
    }
}

#[test]
fn a_site_that_says_wp_cli_and_is_not_still_shows_its_pages() {
    let site = Site::builder().sqlite().start();
    let _runner = Runner::builder(&site).prepare();
    let file = site.path.join("wp-content/mu-plugins/00-says-wp-cli.php");
    fs::write(file, "<?php define( 'WP_CLI', true );").expect("a plugin");
    assert_eq!(site.get("/").status, 200);
}
