//! The door: what is not signed by the runner gets in nowhere.

use serde_json::json;

use crate::bench::cpu::Meter;
use crate::support::redis::Redis;
use crate::support::{Runner, Site, secs, wait_for};

#[test]
fn an_unsigned_call_gets_one_answer_for_every_cause_and_runs_nothing() {
    let site = Site::builder().mariadb().start();
    let _runner = Runner::builder(&site).prepare();
    site.schedule_in(-5, "fx_ok", &json!([]));
    let good_form = format!(
        "v=1;site={};kid=0123abcd;ts={}000;nonce={};sig={}",
        site.name,
        crate::support::wordpress::unix_now(),
        "ab".repeat(16),
        "cd".repeat(32)
    );
    let direct = "/wp-content/mu-plugins/wp-cron-runner/src/endpoint.php?wp-cron-runner=run";
    let mut answers = Vec::new();
    for path in ["/?wp-cron-runner=run", "/?wp-cron-runner=settle", "/?wp-cron-runner=due", direct] {
        for header in ["", "garbled", "v=1", good_form.as_str(), &format!("{good_form}, {good_form}")] {
            let answer = site.request("POST", path, &[("X-WP-Cron-Runner", header)], b"{}");
            assert_eq!(answer.status, 401, "{path} with `{header}`: {}", answer.body);
            answers.push(answer.body);
        }
    }
    answers.dedup();
    assert_eq!(answers, ["{\"error\":\"E_AUTH\"}"], "no cause can be told from another");
    let get = site.request("GET", "/?wp-cron-runner=run", &[("X-WP-Cron-Runner", &good_form)], b"");
    assert_eq!(get.status, 405, "{}", get.body);
    let large = vec![b'x'; 70_000];
    let answer = site.request("POST", "/?wp-cron-runner=run", &[("X-WP-Cron-Runner", &good_form)], &large);
    assert_eq!(answer.status, 413);
    // Without the header it is a page like any other.
    assert_eq!(site.get("/?wp-cron-runner=run").status, 200);
    assert_eq!(site.ledger().begins("fx_ok").len(), 0);
    let tables = site.php("global $wpdb; echo count($wpdb->get_col(\"SHOW TABLES LIKE '%cron_runner%'\"));");
    assert_eq!(tables, "0", "no row and no table for those who are not let in");
}

/// Two hundred of each sort, as somebody sends them who tries his luck. What they cost is printed.
#[test]
fn bad_calls_write_nothing() {
    let site = Site::builder().mariadb().start();
    let mut runner = Runner::builder(&site).start();
    runner.stop();
    let written = || -> Vec<Vec<Option<String>>> {
        let tables = ["wp_options", "wp_cron_runner_journal", "wp_cron_runner_state"];
        tables.iter().flat_map(|table| site.sql(&format!("CHECKSUM TABLE {table}"))).collect()
    };
    let bad = format!("v=1;site=shop;kid=0123abcd;ts=1;nonce={};sig={}", "ab".repeat(16), "cd".repeat(32));
    let doors =
        ["/?wp-cron-runner=settle", "/wp-content/mu-plugins/wp-cron-runner/src/endpoint.php?wp-cron-runner=due"];
    let meter = Meter::of(&site, None);
    for door in doors {
        let (rows, spent) = (written(), meter.at_rest().php);
        for _ in 0..200 {
            assert_eq!(site.request("POST", door, &[("X-WP-Cron-Runner", &bad)], b"{}").status, 401);
        }
        let each = (meter.at_rest().php - spent) / 200.0;
        assert_eq!(written(), rows, "{door}");
        println!("a bad call of {door}: {each:.2} ms of CPU in PHP, 0 rows written");
    }
}

#[test]
fn a_wrong_key_is_told_from_an_absent_plugin() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).prepare();
    let key = runner.dir.join("home").join(format!("{}.key", site.name));
    let good = std::fs::read_to_string(&key).expect("the key");
    std::fs::write(&key, "0123456789abcdef".repeat(4)).expect("another key");
    let said = runner.cli(&["check", "--connect"]);
    assert_ne!(said.code(), 0, "{said:?}");
    let wrong = said.stdout + &said.stderr;
    assert!(!wrong.contains(good.trim()) && !wrong.contains("0123456789abcdef0123"), "no key is ever shown");
    std::fs::write(&key, &good).expect("the key again");
    let said = runner.cli(&["check", "--connect"]);
    assert_eq!(said.code(), 0, "{said:?}");
    std::fs::remove_dir_all(site.path.join("wp-content/mu-plugins/wp-cron-runner")).expect("the plugin goes");
    std::fs::remove_file(site.path.join("wp-content/mu-plugins/wp-cron-runner.php")).expect("its loader goes");
    let said = runner.cli(&["check", "--connect"]);
    assert_ne!(said.code(), 0);
    assert_ne!(wrong, said.stdout + &said.stderr, "two causes, two messages");
}

#[test]
fn a_copy_of_the_site_is_known_as_one() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).site_line("rescan = \"1s\"").start();
    site.schedule_in(1, "fx_ok", &json!(["original"]));
    wait_for("the original's run", secs(10), || site.ledger().end_of("fx_ok"));
    // What a staging site is: the same files and rows, another address.
    // The mark that the take-over left for a wp-cron.php at work is a minute old by the time that a site is copied.
    site.php("update_option('home', 'http://staging.example'); delete_transient('doing_cron');");
    let view = wait_for("the refusal", secs(15), || {
        let view = runner.json(&["status"])["sites"][0].clone();
        (view["state"] == "misconfigured").then_some(view)
    });
    assert!(view.to_string().contains("another WordPress"), "{view}");
    site.schedule_in(-1, "fx_ok", &json!(["staging"]));
    // It steers nothing; its own page-load cron is what it has.
    assert_eq!(site.get("/wp-cron.php").status, 200);
    wait_for("core's own cron", secs(10), || (site.ledger().ends("fx_ok").len() == 2).then_some(()));
    assert_eq!(runner.history_of("fx_ok").len(), 1);
    runner.stop();
}

/// The header of a call as the runner signs it, `seconds` off, made by the plugin's own functions.
pub fn signed(site: &Site, call: &str, body: &str, seconds: i64) -> String {
    signed_path(site, &format!("/?wp-cron-runner={call}"), body, seconds)
}

fn signed_path(site: &Site, path: &str, body: &str, seconds: i64) -> String {
    site.php(&format!(
        "$path = '{path}'; $keys = \\WP_Cron_Runner\\keys(); $kid = key($keys); $ts = (string) (\\WP_Cron_Runner\\now_ms() + {seconds} * 1000);
         $once = bin2hex(random_bytes(16)); $name = \\WP_Cron_Runner\\site_name();
         $sig = hash_hmac('sha256', \\WP_Cron_Runner\\string_to_sign($path, '127.0.0.1', $name, (string) $kid, $ts, $once, '{body}'), reset($keys));
         echo \"v=1;site=$name;kid=$kid;ts=$ts;nonce=$once;sig=$sig\";"
    ))
}

pub fn call(site: &Site, call: &str, header: &str, body: &str) -> (u16, String) {
    let path = format!("/?wp-cron-runner={call}");
    let page = site.request("POST", &path, &[("X-WP-Cron-Runner", header)], body.as_bytes());
    (page.status, page.body)
}

const TAKE: &str =
    r#"{"take":true,"owner":"0123456789abcdef0123456789abcdef","runner":"test","expect_ms":60000,"url":""}"#;

fn replays_and_clocks(site: &Site) {
    let _runner = Runner::builder(site).prepare();
    let header = signed(site, "settle", TAKE, 0);
    assert_eq!(call(site, "settle", &header, TAKE).0, 200);
    let (status, body) = call(site, "settle", &header, TAKE);
    assert!(status == 409 && body.contains("E_REPLAY"), "{status} {body}");

    // One header, twenty at the same moment: one wins.
    let header = signed(site, "settle", TAKE, 0);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..20).map(|_| scope.spawn(|| call(site, "settle", &header, TAKE).0)).collect();
        calls.into_iter().map(|call| call.join().expect("a call")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");

    for (seconds, expected) in [(-63, 401), (63, 401), (-57, 200), (57, 200)] {
        let (status, body) = call(site, "due", &signed(site, "due", "{}", seconds), "{}");
        assert_eq!(status, expected, "{seconds} s: {body}");
        assert_eq!(status == 401, body.contains("E_CLOCK") && body.contains("server_ms"), "{body}");
    }
    let other = r#"{"install":"00000000000000000000000000000000"}"#;
    let (status, body) = call(site, "due", &signed(site, "due", other, 0), other);
    assert!(status == 409 && body.contains("wrong_install"), "{status} {body}");
    // What an owner writes about himself never lands on another's take-over.
    let told = site.php_json(
        "namespace WP_Cron_Runner; $db = page_connection(); $read = owner($db);
         $same = replace_state($db, 'owner', $read, array_merge($read, ['expected_ms' => 1 + $read['expected_ms']]));
         $late = replace_state($db, 'owner', $read, array_merge($read, ['left' => true]));
         echo json_encode([$same, $late, owner($db)['left']]);",
    );
    assert_eq!(told, serde_json::json!([true, false, false]));
    // An epoch of the past, and one that was never issued.
    for (epoch, error) in [(0, "stale"), (999, "unknown_epoch")] {
        let body = format!(r#"{{"epoch":{epoch},"owner":"x","runner":"old","lanes":1}}"#);
        let (status, answer) = call(site, "run", &signed(site, "run", &body, 0), &body);
        assert!(status == 409 && answer.contains(error), "{status} {answer}");
    }
}

#[test]
fn a_call_is_good_once_and_for_a_minute_on_mariadb() {
    replays_and_clocks(&Site::builder().mariadb().workers(6).start());
}

#[test]
fn a_call_is_good_once_and_for_a_minute_on_sqlite() {
    replays_and_clocks(&Site::builder().sqlite().workers(6).start());
}

/// Told with and without all of WordPress, in the words of the usual drop-ins.
fn the_cache_s_database(site: &Site, redis: &Redis) {
    let _runner = Runner::builder(site).prepare();
    let told = |path: &str| {
        let path = format!("{path}?wp-cron-runner=due");
        let header = signed_path(site, &path, "{}", 0);
        let page = site.request("POST", &path, &[("X-WP-Cron-Runner", &header)], b"{}");
        assert!(page.status == 200 && !page.body.contains("very secret"), "{path}: {page:?}");
        let (_, json) = page.body.trim().split_once(' ').expect("a frame");
        serde_json::from_str::<serde_json::Value>(json).expect("JSON")["object_cache"].clone()
    };
    let doors = ["/", "/wp-content/mu-plugins/wp-cron-runner/src/endpoint.php"];
    for door in doors {
        assert_eq!(told(door), json!(null), "{door}: settings, and nobody who reads them");
    }
    site.cache_in(redis);
    for door in doors {
        assert_eq!(told(door), json!(format!("unix:{}/5", redis.socket.display())), "{door}");
    }
}

#[test]
fn the_redis_database_of_the_object_cache_is_told() {
    let redis = Redis::start();
    let lines = format!(
        "define( 'WP_REDIS_SCHEME', 'unix' ); define( 'WP_REDIS_PATH', '{}' ); define( 'WP_REDIS_DATABASE', 5 ); define( 'WP_REDIS_PASSWORD', 'very secret' );",
        redis.socket.display()
    );
    the_cache_s_database(&Site::builder().mariadb().wp_config(&lines).start(), &redis);
    redis.ask(&["FLUSHALL"]);
    the_cache_s_database(&Site::builder().sqlite().wp_config(&lines).start(), &redis);
}
