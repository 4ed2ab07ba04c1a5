//! Calls to the plugin, through every door: nginx to the site's front door, nginx to the plugin's own file, and php-fpm directly.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use ring::{digest, hmac};
use serde_json::{Value, json};

use crate::support::account::{self, command_as};
use crate::support::http::Page;
use crate::support::site::Database;
use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Door {
    /// nginx, `/?wp-cron-runner=CALL`
    Front,
    /// nginx, the plugin's own file
    File,
    /// php-fpm, as the runner speaks to it
    Fpm,
}

const DOORS: [Door; 3] = [Door::Front, Door::File, Door::Fpm];
const FILE: &str = "/wp-content/mu-plugins/wp-cron-runner/src/endpoint.php";
const TAKE: &str = r#"{"take":true,"owner":"0123456789abcdef0123456789abcdef","runner":"first","expect_ms":600000,"url":"127.0.0.1:1","grace_s":600}"#;

impl Door {
    fn path(self, call: &str) -> String {
        format!("{}?wp-cron-runner={call}", if self == Self::File { FILE } else { "/" })
    }
}

/// A site with the plugin, and what a call to it is signed with.
struct Target {
    site: Site,
    runner: Runner,
    key: Vec<u8>,
}

/// One request; its parts are signed as they are, unless a test changes one afterwards.
#[derive(Clone, Debug)]
struct Signed {
    v: String,
    site: String,
    kid: String,
    ts: String,
    nonce: String,
    sig: String,
    path: String,
    host: String,
    body: String,
}

impl Signed {
    fn header(&self) -> String {
        let Self { v, site, kid, ts, nonce, sig, .. } = self;
        format!("v={v};site={site};kid={kid};ts={ts};nonce={nonce};sig={sig}")
    }

    /// Signs what the parts say now.
    fn sign(mut self, key: &[u8]) -> Self {
        let body = hex(digest::digest(&digest::SHA256, self.body.as_bytes()).as_ref());
        let host = self.host.split(':').next().unwrap_or_default();
        let text = ["wp-cron-runner/1", "POST", &self.path, host, &self.site, &self.kid, &self.ts, &self.nonce, &body];
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        self.sig = hex(hmac::sign(&key, text.join("\n").as_bytes()).as_ref());
        self
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn kid(key: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, key).as_ref())[..8].to_owned()
}

fn nonce() -> String {
    let mut bytes = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).expect("random bytes");
    hex(&bytes)
}

impl Target {
    /// Taken over, with a run that ended well and one that did not.
    fn new(site: Site) -> Self {
        let runner = Runner::builder(&site).prepare();
        let text =
            std::fs::read_to_string(runner.dir.join("home").join(format!("{}.key", site.name))).expect("the key");
        let key = (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect();
        site.schedule(&[(unix_now() - 5, "fx_ok", json!([])), (unix_now() - 5, "fx_exception", json!([]))]);
        assert_eq!(runner.cli(&["once"]).code(), 1, "one of them fails");
        let target = Self { site, runner, key };
        let taken = target.post(Door::Front, "settle", TAKE);
        assert_eq!(taken.status, 200, "{taken:?}");
        // Not before: while nobody looks after the site, a page runs what is due.
        target.site.schedule(&[(unix_now() - 1, "fx_ok", json!(["due"])), (unix_now() + 3600, "fx_later", json!([]))]);
        target
    }

    fn epoch(&self) -> i64 {
        let owner =
            self.site.sql_text("SELECT value FROM wp_cron_runner_state WHERE name = 'owner'").expect("an owner");
        serde_json::from_str::<Value>(&owner).expect("JSON")["epoch"].as_i64().expect("an epoch")
    }

    fn run_of(&self, hook: &str) -> String {
        self.site.sql_text(&format!("SELECT run FROM wp_cron_runner_journal WHERE hook = '{hook}'")).expect("a run")
    }

    fn parts(&self, door: Door, call: &str, body: &str) -> Signed {
        Signed {
            v: "1".into(),
            site: self.site.name.clone(),
            kid: kid(&self.key),
            ts: format!("{}000", unix_now()),
            nonce: nonce(),
            sig: String::new(),
            path: door.path(call),
            host: self.site.address(),
            body: body.into(),
        }
    }

    fn signed(&self, door: Door, call: &str, body: &str) -> Signed {
        self.parts(door, call, body).sign(&self.key)
    }

    fn post(&self, door: Door, call: &str, body: &str) -> Page {
        self.send(door, "POST", call, &self.signed(door, call, body))
    }

    fn send(&self, door: Door, method: &str, call: &str, signed: &Signed) -> Page {
        let headers = [("X-WP-Cron-Runner", signed.header())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.send_raw(door, method, call, signed, &headers)
    }

    fn send_raw(&self, door: Door, method: &str, call: &str, signed: &Signed, headers: &[(&str, &str)]) -> Page {
        if door != Door::Fpm {
            let headers = [headers, &[("Host", &signed.host)]].concat();
            return self.site.request(method, &signed.path, &headers, &signed.body);
        }
        self.fpm(method, call, signed, headers)
    }

    /// FastCGI in one piece, and its answer as a page.
    fn fpm(&self, method: &str, call: &str, signed: &Signed, headers: &[(&str, &str)]) -> Page {
        let root = self.site.path.display().to_string();
        let mut params = vec![
            ("SCRIPT_FILENAME".to_string(), format!("{root}{FILE}")),
            ("SCRIPT_NAME".into(), "/index.php".into()),
            ("REQUEST_URI".into(), signed.path.clone()),
            ("QUERY_STRING".into(), format!("wp-cron-runner={call}")),
            ("REQUEST_METHOD".into(), method.into()),
            ("CONTENT_TYPE".into(), "application/json".into()),
            ("CONTENT_LENGTH".into(), signed.body.len().to_string()),
            ("WP_CRON_RUNNER_ROOT".into(), root),
            ("HTTP_HOST".into(), signed.host.clone()),
            ("SERVER_PROTOCOL".into(), "HTTP/1.1".into()),
            ("REMOTE_ADDR".into(), "127.0.0.1".into()),
        ];
        params.extend(
            headers
                .iter()
                .map(|(name, value)| (format!("HTTP_{}", name.to_uppercase().replace('-', "_")), (*value).to_owned())),
        );
        let mut pairs = Vec::new();
        for (name, value) in &params {
            for length in [name.len(), value.len()] {
                pairs.extend((u32::try_from(length).expect("a length") | 0x8000_0000).to_be_bytes());
            }
            pairs.extend([name.as_bytes(), value.as_bytes()].concat());
        }
        let mut message = record(1, &[0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend([record(4, &pairs), record(4, &[])].concat());
        message.extend(signed.body.as_bytes().chunks(60_000).flat_map(|part| record(5, part)));
        message.extend(record(5, &[]));
        let mut stream = UnixStream::connect(&self.site.php_fpm.socket).expect("php-fpm");
        stream.write_all(&message).expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let mut out = Vec::new();
        while answer.len() >= 8 {
            let length = usize::from(u16::from_be_bytes([answer[4], answer[5]]));
            if answer[1] == 6 {
                out.extend_from_slice(&answer[8..8 + length]);
            }
            answer.drain(..8 + length + usize::from(answer[6]));
        }
        let text = String::from_utf8_lossy(&out).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let headers: Vec<(String, String)> =
            head.lines().filter_map(|line| line.split_once(": ")).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        let status = headers.iter().find(|(name, _)| name == "Status");
        let status = status.map_or(200, |(_, value)| value[..3].parse().expect("a status"));
        Page { status, headers, body: body.to_owned() }
    }

    /// What no refused call may change. A nonce that was used up is not among it.
    fn state(&self) -> Value {
        json!([
            self.site.sql("SELECT option_name, HEX(option_value) FROM wp_options WHERE option_name IN ('cron', 'wp_cron_runner', '_transient_doing_cron')"),
            self.site.sql("SELECT run, state, `then` FROM wp_cron_runner_journal ORDER BY id"),
            self.site.sql("SELECT name, value FROM wp_cron_runner_state WHERE name NOT LIKE 'nonce:%' AND name <> 'pruned' ORDER BY name"),
        ])
    }
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).expect("a short record").to_be_bytes();
    [&[1, kind, 0, 1, high, low, 0, 0], content].concat()
}

/// The one frame of a refusal that was signed. Nothing else is in the answer: no warning, no page.
fn frame(page: &Page) -> Value {
    let text = page.body.trim();
    let is_frame = text.starts_with("wpcr1:") && text.lines().count() == 1;
    assert!(is_frame, "more than a frame: {page:?}");
    let (_, json) = text.split_once(' ').expect("a frame");
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn assert_closed(row: &str, page: &Page) {
    assert_eq!((page.status, page.body.as_str()), (401, "{\"error\":\"E_AUTH\"}"), "{row}: {page:?}");
    assert_eq!(page.header("Cache-Control"), Some("no-store"), "{row}");
    let is_of_cors = |(name, _): &(String, String)| name.to_lowercase().starts_with("access-control");
    assert!(!page.headers.iter().any(is_of_cors), "{row}: {page:?}");
}

/// PHP shows every mistake it makes.
fn site() -> crate::support::site::Builder {
    Site::builder().php_ini("display_errors", "1").workers(6)
}

#[test]
fn what_is_not_signed_right_gets_one_answer_for_every_cause() {
    let target = Target::new(site().mariadb().start());
    let before = target.state();
    let long = "0".repeat(1024);
    let other = [7_u8; 32];
    type Change = fn(&mut Signed);
    let changes: [(&str, Change); 12] = [
        ("method and path", |signed| signed.path = signed.path.replace("/?", "//?").replace("endpoint", "./endpoint")),
        ("query", |signed| signed.path += "&x=1"),
        ("host", |signed| signed.host = "shop.example".into()),
        ("body", |signed| signed.body += " "),
        ("ts", |signed| signed.ts = format!("{}001", unix_now())),
        ("nonce", |signed| signed.nonce = nonce()),
        ("site", |signed| signed.site = "other".into()),
        ("kid", |signed| signed.kid = "00000000".into()),
        ("sig", |signed| signed.sig = hex(&[0; 32])),
        ("no sig", |signed| signed.sig = String::new()),
        ("upper case", |signed| signed.sig = signed.sig.to_uppercase() + "A"),
        ("line break", |signed| signed.nonce = format!("{}%0a", &signed.nonce[3..])),
    ];
    for door in DOORS {
        for call in ["due", "run", "inspect", "settle", "end"] {
            let good = target.signed(door, call, "{}");
            for (row, change) in changes {
                let mut signed = good.clone();
                change(&mut signed);
                assert_closed(&format!("{door:?} {call} {row}"), &target.send(door, "POST", call, &signed));
            }
            let header = good.header();
            for wrong in ["", "garbled", "v=1", &format!("{header};x=1"), &format!("{header}, {header}"), &long] {
                let page = target.send_raw(door, "POST", call, &good, &[("X-WP-Cron-Runner", wrong)]);
                assert_closed(&format!("{door:?} {call} {wrong:.80}"), &page);
            }
            if door != Door::Fpm {
                let twice = [("X-WP-Cron-Runner", "garbled"), ("X-WP-Cron-Runner", "v=1")];
                assert_closed(&format!("{door:?} twice"), &target.send_raw(door, "POST", call, &good, &twice));
            }
            if door != Door::Front {
                assert_closed(&format!("{door:?} no header"), &target.send_raw(door, "POST", call, &good, &[]));
            }
        }
        // Well signed, and still not ours: another key, or a form that was never agreed on.
        let parts = target.parts(door, "due", "{}");
        let rows = [
            ("an unknown key", Signed { kid: kid(&other), ..parts.clone() }.sign(&other)),
            ("our name, another key", parts.clone().sign(&other)),
            ("nonce 0", Signed { nonce: "0".into(), ..parts.clone() }.sign(&target.key)),
            ("nonce of 1 KB", Signed { nonce: long.clone(), ..parts.clone() }.sign(&target.key)),
            ("ts of 17 digits", Signed { ts: "1".repeat(17), ..parts.clone() }.sign(&target.key)),
            ("ts below 0", Signed { ts: "-1".into(), ..parts.clone() }.sign(&target.key)),
            ("another site", Signed { site: "other".into(), ..parts.clone() }.sign(&target.key)),
            ("version of 4 digits", Signed { v: "1000".into(), ..parts.clone() }.sign(&target.key)),
        ];
        for (row, signed) in rows {
            assert_closed(&format!("{door:?} {row}"), &target.send(door, "POST", "due", &signed));
        }
        let header = parts.sign(&target.key).header();
        let path = door.path("due").replace("=due", "[]=due");
        if door != Door::Fpm {
            let page = target.site.request("POST", &path, &[("X-WP-Cron-Runner", &header)], "{}");
            assert_closed(&format!("{door:?} {path}"), &page);
        }
        assert_eq!(target.state(), before, "{door:?}");
    }
    // Each byte of what is signed.
    let good = target.signed(Door::Fpm, "due", "{\"list\":false}");
    for at in 0..good.header().len() {
        let mut header = good.header().into_bytes();
        header[at] ^= 1;
        let header = String::from_utf8(header).expect("text");
        let page = target.send_raw(Door::Fpm, "POST", "due", &good, &[("X-WP-Cron-Runner", &header)]);
        // The version is not signed: who speaks another one is told so.
        if at == 2 { assert_eq!(page.status, 426) } else { assert_closed(&format!("byte {at}: {header}"), &page) }
    }
    let flipped = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] ^= 1;
        String::from_utf8(bytes).expect("text")
    };
    let name = good.host.find(':').expect("a port");
    for at in 0..good.path.len().max(good.body.len()) {
        let rows = [
            (at < good.path.len()).then(|| Signed { path: flipped(&good.path, at), ..good.clone() }),
            (at < name).then(|| Signed { host: flipped(&good.host, at), ..good.clone() }),
            (at < good.body.len()).then(|| Signed { body: flipped(&good.body, at), ..good.clone() }),
        ];
        for signed in rows.into_iter().flatten() {
            assert_closed(&format!("{signed:?}"), &target.send(Door::Fpm, "POST", "due", &signed));
        }
    }
    assert_eq!(target.send(Door::Fpm, "POST", "due", &good).status, 200, "it was good all the time");
    for (door, call) in DOORS.into_iter().flat_map(|door| ["due", "settle"].map(|call| (door, call))) {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            let page = target.send(door, method, call, &target.signed(door, call, TAKE));
            assert_eq!(page.status, 405, "{door:?} {method}: {page:?}");
            // nginx itself refuses some.
            let allowed = page.header("Allow");
            assert!(allowed == Some("POST") || (door != Door::Fpm && allowed.is_none()), "{door:?} {method}: {page:?}");
            assert!(
                !page.headers.iter().any(|(name, _)| name.to_lowercase().starts_with("access-control")),
                "{page:?}"
            );
        }
        let large = target.post(door, call, &format!("{{\"x\":\"{}\"}}", "x".repeat(65_536)));
        assert_eq!((large.status, large.body.as_str()), (413, "{\"error\":\"E_TOO_LARGE\"}"), "{door:?} {call}");
    }
    assert_eq!(target.state(), before);
    assert_eq!(target.site.ledger().begins("fx_ok").len(), 1, "what is due was run by nobody");
}

const NO_RUN: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

#[test]
fn a_signed_call_is_refused_by_name_and_changes_nothing() {
    let target = Target::new(site().mariadb().start());
    let epoch = target.epoch();
    let (ok, long) = (target.run_of("fx_ok"), "x".repeat(10_000));
    let run = |epoch: i64| json!({"epoch": epoch, "owner": "x", "runner": "old", "lanes": 1, "trigger": "test"});
    let hook = |hook: &str| json!({"epoch": epoch, "runner": "test", "lanes": 1, "trigger": "test", "hook": hook});
    let other = json!({"take": true, "owner": "f".repeat(32), "runner": "second", "expect_ms": 1, "url": "127.0.0.1:2", "grace_s": 5});
    let rows = [
        ("due", json!({"install": "0".repeat(32)}), 409, "wrong_install"),
        ("run", json!({"install": "0".repeat(32), "epoch": epoch}), 409, "wrong_install"),
        ("settle", json!({"install": "0".repeat(32), "take": true, "owner": "f".repeat(32)}), 409, "wrong_install"),
        ("due", json!({"blog": 2}), 400, "E_BAD"),
        ("settle", json!({"blog": 2, "epoch": epoch}), 400, "E_BAD"),
        ("frobnicate", json!({}), 400, "E_BAD"),
        ("run", run(epoch - 1), 409, "stale"),
        ("run", run(0), 409, "stale"),
        ("run", run(epoch + 1), 409, "unknown_epoch"),
        ("settle", json!({"epoch": epoch - 1}), 409, "stale"),
        ("settle", json!({"epoch": epoch + 1}), 409, "unknown_epoch"),
        ("settle", other, 409, "stale"),
        ("run", hook("fx_nobody"), 404, "E_HOOK"),
        ("run", hook(""), 404, "E_HOOK"),
        ("run", hook(&long), 404, "E_HOOK"),
        ("run", hook("a\u{0}\u{1b}b"), 404, "E_HOOK"),
        ("settle", json!({"requeue": NO_RUN}), 404, "E_RUN"),
        ("settle", json!({"drop": NO_RUN}), 404, "E_RUN"),
        ("settle", json!({"requeue": ok}), 409, "E_STATE"),
        ("settle", json!({"drop": ok}), 409, "E_STATE"),
        ("settle", json!({"requeue": "short"}), 400, "E_BAD"),
        ("settle", json!({"drop": format!("{NO_RUN}'")}), 400, "E_BAD"),
        ("inspect", json!({"run": "../../../etc/passwd"}), 400, "E_BAD"),
        ("end", json!({"run": "1"}), 400, "E_BAD"),
        ("end", json!({"run": NO_RUN, "epoch": epoch}), 409, "E_STATE"),
        ("end", json!({"run": ok, "epoch": epoch}), 409, "E_STATE"),
    ];
    let before = target.state();
    for door in DOORS {
        for (call, body, status, error) in &rows {
            let page = target.post(door, call, &body.to_string());
            let row = format!("{door:?} {call} {:.120}", body.to_string());
            assert_eq!(page.status, *status, "{row}: {page:?}");
            let told = frame(&page);
            assert_eq!((&told["error"], told["message"].is_string()), (&json!(error), true), "{row}: {told}");
            assert_eq!(target.state(), before, "{row}");
        }
        for body in ["", "null", "5", "\"x\"", "[1]", "[]", "{", "{}{}", &"[".repeat(2000)] {
            for call in ["due", "settle"] {
                let page = target.post(door, call, body);
                assert_eq!((page.status, &frame(&page)["error"]), (400, &json!("E_BAD")), "{door:?} {call} {body:.40}");
            }
        }
        for call in ["due", "run", "settle"] {
            let body = if call == "settle" { TAKE.to_string() } else { run(epoch).to_string() };
            let parts = target.parts(door, call, &body);
            let now = unix_now();
            for ts in [format!("{}000", now - 62), format!("{}000", now + 63), "0".into(), "9007199254740993".into()] {
                let page =
                    target.send(door, "POST", call, &Signed { ts: ts.clone(), ..parts.clone() }.sign(&target.key));
                let told = frame(&page);
                assert_eq!((page.status, &told["error"]), (401, &json!("E_CLOCK")), "{door:?} {call} {ts}: {told}");
                assert!((told["server_ms"].as_i64().expect("a time") / 1000 - now).abs() < 10, "{told}");
            }
            for v in ["0", "2", "99"] {
                let page = target.send(door, "POST", call, &Signed { v: v.into(), ..parts.clone() }.sign(&target.key));
                let told = frame(&page);
                assert_eq!((page.status, &told["supported"]), (426, &json!([1, 1])), "{door:?} {call} v={v}: {told}");
            }
        }
        assert_eq!(target.state(), before, "{door:?}");
    }
    assert_eq!(target.site.ledger().begins("fx_ok").len(), 1);
}

/// Every field of every call, with what it cannot hold.
#[test]
fn a_field_of_the_wrong_type_is_refused_by_its_name() {
    let target = Target::new(site().mariadb().start());
    let text = [json!(5), json!(true), json!([]), json!({"a": 1}), json!(1.5)];
    let whole =
        [json!("5"), json!(true), json!([]), json!({}), json!(1.5), json!(1e300), json!(9_007_199_254_740_993_i64)];
    let flag = [json!("x"), json!(1), json!([]), json!({})];
    let run = [json!("short"), json!(5), json!([]), json!("x".repeat(27)), json!(format!("{NO_RUN}\n"))];
    let texts = [json!("x"), json!(5), json!([5]), json!([[]]), json!({"a": {}})];
    let pairs =
        [json!("x"), json!([5]), json!([["a"]]), json!([[5, "hold"]]), json!([["a", {}]]), json!({"a": "hold"})];
    let fields: [(&str, &[&str], &[Value]); 6] = [
        ("due run inspect settle end", &["install", "owner", "runner"], &text),
        ("due run settle end", &["blog", "expect_ms", "epoch"], &whole),
        ("run", &["trigger", "hook"], &text),
        ("run", &["lanes", "budget_ms", "longest_s"], &whole),
        ("settle", &["url", "batch", "realm"], &text),
        ("settle", &["grace_s", "since_ms", "until_ms"], &whole),
    ];
    let mut rows: Vec<(&str, &str, &Value)> = Vec::new();
    let more: [(&str, &[&str], &[Value]); 5] = [
        ("due", &["list"], &flag),
        ("settle", &["take", "rest", "over", "leave", "follows", "uninstall"], &flag),
        ("inspect end settle", &["run", "requeue", "drop"], &run),
        ("settle", &["timed_out", "runs"], &texts),
        ("run settle", &["policies"], &pairs),
    ];
    for (calls, names, values) in fields.iter().chain(&more) {
        for call in calls.split(' ') {
            rows.extend(names.iter().flat_map(|name| values.iter().map(move |value| (call, *name, value))));
        }
    }
    assert!(rows.len() > 150, "{}", rows.len());
    let before = target.state();
    for (call, name, value) in rows {
        let mut body = json!({"epoch": 1, "owner": "x", "runner": "test"});
        body[name] = value.clone();
        let page = target.post(Door::Fpm, call, &body.to_string());
        let told = frame(&page);
        assert_eq!((page.status, &told["error"]), (400, &json!("E_BAD")), "{call} {body}: {told}");
        assert!(
            told["message"].as_str().is_some_and(|message| message.contains(&format!("`{name}`"))),
            "{body}: {told}"
        );
    }
    assert_eq!(target.state(), before);
    // What nobody says is null, and what nobody knows is for a later version.
    let page = target.post(Door::Fpm, "due", r#"{"install":null,"list":null,"from_the_future":[1]}"#);
    assert_eq!(page.status, 200, "{page:?}");
}

fn one_of_fifty_wins(site: Site) {
    let target = Target::new(site);
    let failed = target.run_of("fx_exception");
    let before = target.site.scheduled("fx_exception").len();
    let signed = target.signed(Door::Fpm, "settle", &json!({"requeue": failed}).to_string());
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let call = || target.send(Door::Fpm, "POST", "settle", &signed).status;
        let calls: Vec<_> = (0..50).map(|_| scope.spawn(call)).collect();
        calls.into_iter().map(|call| call.join().expect("a call")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
    assert_eq!(target.site.scheduled("fx_exception").len(), before + 1);
    let again = target.send(Door::Fpm, "POST", "settle", &signed);
    assert_eq!((again.status, &frame(&again)["error"]), (409, &json!("E_REPLAY")));
    // Nor does an old take-over, sent again, take anything over.
    let take = target.signed(Door::Fpm, "settle", TAKE);
    assert_eq!(target.send(Door::Fpm, "POST", "settle", &take).status, 200);
    let state = target.state_of_the_owner();
    assert_eq!(target.send(Door::Fpm, "POST", "settle", &take).status, 409);
    assert_eq!(target.state_of_the_owner(), state);
}

impl Target {
    fn state_of_the_owner(&self) -> Vec<Vec<Option<String>>> {
        self.site.sql("SELECT name, value FROM wp_cron_runner_state WHERE name = 'owner'")
    }
}

#[test]
fn one_of_fifty_copies_of_a_call_wins_on_mariadb() {
    one_of_fifty_wins(site().mariadb().start());
}

#[test]
fn one_of_fifty_copies_of_a_call_wins_on_sqlite() {
    one_of_fifty_wins(site().sqlite().start());
}

/// The doors of a command line are the same room.
#[test]
fn a_command_line_that_is_not_signed_right_gets_the_same_answer() {
    let target = Target::new(site().mariadb().start());
    let (before, root) = (target.state(), target.site.path.display().to_string());
    let php = |words: &[&str], envelope: &str| {
        let mut command = command_as(account::SITE, "php");
        command.args(["-d", "display_errors=1"]).args(words).current_dir(target.site.dir.path());
        command.env("HOME", target.site.dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("php");
        child.stdin.take().expect("stdin").write_all(envelope.as_bytes()).expect("an envelope");
        String::from_utf8_lossy(&child.wait_with_output().expect("php").stdout).trim().to_owned()
    };
    let (endpoint, phar) = (format!("{root}{FILE}"), target.site.phar().display().to_string());
    let (in_root, url) = (format!("--path={root}"), format!("--url={}", target.site.url));
    let envelope = |signed: &Signed| format!("{}\n{}\n{}\n{}", signed.header(), signed.path, signed.host, signed.body);
    for call in ["due", "settle"] {
        let ask = |envelope: &str| match call {
            "due" => php(&[&endpoint, call, &root], envelope),
            _ => php(&[&phar, "cron-runner", "call", call, &in_root, &url], envelope),
        };
        let good = target.signed(Door::Front, call, TAKE);
        for wrong in [
            String::new(),
            "garbled".into(),
            envelope(&Signed { body: "{}".into(), ..good.clone() }),
            envelope(&Signed { nonce: nonce(), ..good.clone() }),
            envelope(&target.signed(Door::Front, "run", TAKE)),
        ] {
            assert_eq!(ask(&wrong), "{\"error\":\"E_AUTH\"}", "{call} {wrong:.60}");
        }
        for (body, field) in [("[1]", "JSON object"), (r#"{"owner":[]}"#, "`owner`")] {
            let told = ask(&envelope(&target.signed(Door::Front, call, body)));
            assert!(
                told.starts_with("wpcr1:") && told.contains("E_BAD") && told.contains(field),
                "{call} {body}: {told}"
            );
        }
    }
    assert_eq!(target.state(), before);
}

#[test]
fn tables_that_are_gone_are_made_anew() {
    for site in [Site::builder().mariadb().start(), Site::builder().sqlite().start()] {
        let runner = Runner::builder(&site).site_line("rescan = \"1s\"").start();
        for table in ["journal", "state"] {
            // Through WordPress: the SQLite drop-in keeps a list of its own.
            site.php(&format!("global $wpdb; $wpdb->query('DROP TABLE wp_cron_runner_{table}');"));
            site.schedule_in(0, "fx_ok", &json!([table]));
            wait_for("the run of an event", secs(60), || {
                site.ledger().ends("fx_ok").iter().any(|line| line.args == json!([table])).then_some(())
            });
        }
        wait_for("a good word", secs(20), || (runner.json(&["status"])["sites"][0]["state"] == "ok").then_some(()));
    }
}

#[test]
fn who_may_not_create_tables_is_told_what_to_create() {
    let site = Site::builder().mariadb().start();
    let runner = Runner::builder(&site).prepare();
    let Database::MariaDb { server, name } = &site.database else { panic!("MariaDB was asked for") };
    server.query("", &format!("CREATE USER 'poor_{name}'@'localhost'; GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO 'poor_{name}'@'localhost'"));
    let file = site.path.join("wp-config.php");
    let text = std::fs::read_to_string(&file).expect("wp-config.php");
    let user = text.lines().find(|line| line.contains("'DB_USER'")).expect("DB_USER").to_owned();
    std::fs::write(&file, text.replace(&user, &format!("define( 'DB_USER', 'poor_{name}' );"))).expect("wp-config.php");
    site.schedule_in(-1, "fx_ok", &json!([]));

    let cron = site.sql_text("SELECT HEX(option_value) FROM wp_options WHERE option_name = 'cron'");
    let said = runner.cli(&["once"]);
    assert_eq!(said.code(), 69, "{said:?}");
    let told = said.stderr.lines().find(|line| line.starts_with("site `shop`")).expect("a refusal");
    let (why, rest) = told.split_once("; run by hand: ").expect("SQL to run by hand");
    assert!(why.contains("cannot use its database: CREATE command denied"), "{told}");
    let (by_hand, rest) = rest.split_once("; expected ").expect("what was expected");
    assert!(rest.contains("trying again is safe"), "{rest}");
    for table in ["journal", "state"] {
        assert!(by_hand.contains(&format!("CREATE TABLE IF NOT EXISTS wp_cron_runner_{table}")), "{by_hand}");
    }
    assert_eq!(site.sql_text("SELECT HEX(option_value) FROM wp_options WHERE option_name = 'cron'"), cron);
    assert!(site.ledger().0.is_empty(), "nothing was run without a journal");

    site.sql(by_hand);
    let runs = runner.json(&["once"]);
    assert_eq!(runs[0]["outcome"], "ok", "{runs}");
}
