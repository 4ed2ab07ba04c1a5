//! What is not signed by the runner gets in here no more than through any other door.

use std::io::Write;
use std::process::Stdio;

use crate::support::{Runner, Site, Trigger};

/// A signed envelope, `seconds` off, as the runner writes it to stdin.
fn envelope(site: &Site, call: &str, body: &str, seconds: i64) -> String {
    let head = site.php(&format!(
        "$path = '/?wp-cron-runner={call}'; $keys = \\WP_Cron_Runner\\keys(); $kid = key($keys); $ts = (string) (\\WP_Cron_Runner\\now_ms() + {seconds} * 1000);
         $once = bin2hex(random_bytes(16)); $name = \\WP_Cron_Runner\\site_name();
         $sig = hash_hmac('sha256', \\WP_Cron_Runner\\string_to_sign($path, '127.0.0.1', $name, (string) $kid, $ts, $once, '{body}'), reset($keys));
         echo \"v=1;site=$name;kid=$kid;ts=$ts;nonce=$once;sig=$sig\\n$path\\n127.0.0.1\\n\";"
    ));
    head + body
}

/// `wp cron-runner CALL`, or the plugin's own file.
fn say(site: &Site, call: &str, by_php: bool, envelope: &str) -> String {
    let mut command = site.php_command();
    if by_php {
        let file = site.path.join("wp-content/mu-plugins/wp-cron-runner/src/endpoint.php");
        command.arg(file).arg(call).arg(&site.path);
    } else {
        command.arg(site.phar()).args(["cron-runner", call]);
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
