//! `[redis]`: what is refused in the file, and what is said of a Redis that cannot be used.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use super::configuration::{PASSWORD, Place, SITE};
use crate::support::account;
use crate::support::redis::Redis;

/// What is below `[redis]`, which is on line 8; then place, what was found, and what was expected.
const LINES: [(&str, &str, &str, &str); 17] = [
    ("", "8:1", "`url` is missing from [redis]", "redis://HOST:6379/3"),
    ("url = 5", "9:7", "`url` is the number 5", "redis://HOST:6379/3"),
    ("url = \"http://r\"", "9:7", "`url` is \"http://r\"", "redis+sentinel://"),
    ("url = \"redis://r/three\"", "9:7", "`url` is \"redis://r/three\"", "the number of a database"),
    ("url = \"redis://a,b/3\"", "9:7", "`url` is \"redis://a,b/3\"", "several are sentinels"),
    ("url = \"redis+sentinel://a,b/3\"", "9:7", "`url` is \"redis+sentinel://a,b/3\"", "the master's name"),
    ("url = \"redis://r/3?db=4\"", "9:7", "`url` is", "no query and no fragment"),
    (
        "url = \"redis://me:open-sesame@r:x/3\"",
        "9:7",
        "`url` is \"redis://me:***********@r:x/3\"",
        "redis://HOST:6379/3",
    ),
    ("url = \"redis+unix://run/r.sock\"", "9:7", "`url` is", "redis+unix:///run/redis/redis.sock?db=3"),
    ("url = \"redis://r\"\npassword = \"open-sesame\"", "10:1", "unknown key `password` in [redis]", "`password_file`"),
    ("url = \"redis://r\"\npassword_file = \"none\"", "10:17", "a file that does not exist", "the password of Redis"),
    ("url = \"redis://r\"\npassword_file = \"open\"", "10:17", "has mode 0644", "chmod 600"),
    ("url = \"redis://me@r\"\nuser = \"you\"", "10:8", "`user` is there, and `url` has one as well", "one of the two"),
    ("url = \"redis://r\"\nca_file = \"open\"", "10:11", "holds no certificate", "certificates (PEM)"),
    ("url = \"redis://r\"\nprefix = \"a:b\"", "10:10", "`prefix` is \"a:b\"", "1 to 32 letters, digits, _ or -"),
    ("url = \"redis://r\"\nwait_replicas = 17", "10:17", "`wait_replicas` is the number 17", "a whole number, 0 to 16"),
    ("url = \"redis://r\"\naccept = [\"all\"]", "10:10", "`accept` is \"all\"", "a list of \"eviction\", \"replica\""),
];

#[test]
fn a_redis_is_refused_at_its_place() {
    let place = Place::new();
    place.write("open", PASSWORD, 0o644);
    for (lines, at, found, expected) in LINES {
        place.write("config.toml", format!("{SITE}[redis]\n{lines}\n"), 0o640);
        place.refuses(lines, at, found, expected);
    }
}

/// Each with the exit code, and what is in the finding.
#[test]
fn a_redis_that_cannot_be_used_is_named_with_the_reason() {
    let place = Place::new();
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = closed.local_addr().expect("its number");
    drop(closed);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = UnixListener::bind(place.dir.join("home/http.sock")).expect("a socket");
    account::give_to(account::SITE, &place.dir.join("home"));
    std::thread::spawn(move || {
        for connection in other.incoming().flatten() {
            let mut connection = connection;
            let _ = connection.read(&mut [0; 1000]);
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    let redis = Redis::start();
    redis.ask(&[
        "ACL",
        "SETUSER",
        "small",
        "on",
        ">open-sesame",
        "~wpcr:*",
        "&wpcr:*",
        "+info",
        "+script|load",
        "+evalsha",
        "+hget",
    ]);
    redis.ask(&["ACL", "SETUSER", "default", "off"]);
    place.write("right", PASSWORD, 0o600);
    place.write("wrong", "let-me-in", 0o600);
    let own = format!("redis+unix://{}", redis.socket.display());
    let http = format!("redis+unix://{}", place.dir.join("home/http.sock").display());
    for (row, lines, code, found) in [
        ("nobody listens", format!("url = \"redis://{nobody}\""), 69, "refuses the connection"),
        ("no socket", "url = \"redis+unix:///none/redis.sock\"".into(), 69, "refuses the connection"),
        (
            "silent",
            format!("url = \"redis://{}\"", silent.local_addr().expect("its number")),
            69,
            "does not answer within",
        ),
        ("no Redis", format!("url = \"{http}\""), 69, "speaks something else than Redis"),
        ("no name", "url = \"redis://redis.invalid\"".into(), 69, "redis://redis.invalid:6379/0"),
        ("no sentinel", format!("url = \"redis+sentinel://{nobody}/main\""), 69, "refuses the connection"),
        ("no password", format!("url = \"{own}\""), 78, "NOAUTH"),
        (
            "a wrong password",
            format!("url = \"{own}\"\nuser = \"small\"\npassword_file = \"wrong\""),
            78,
            "does not take the user or the password",
        ),
        ("too few rights", format!("url = \"{own}\"\nuser = \"small\"\npassword_file = \"right\""), 78, "time"),
    ] {
        place.write("config.toml", format!("{SITE}[redis]\n{lines}\n"), 0o640);
        let findings = place.cli(&["check", "--connect", "--json"]).json();
        let is_it = |finding: &&serde_json::Value| finding["check"] == "redis";
        let finding = findings.as_array().expect("a list").iter().find(is_it).expect(row).clone();
        assert_eq!(finding["level"], "fail", "{row}: {finding}");
        assert!(finding["found"].as_str().is_some_and(|text| text.contains(found)), "{row}: `{found}`: {finding}");
        assert!(finding["expected"] != "" && finding["fix"] != "", "{row}: {finding}");
        let words = place.cli(&["check", "--connect"]);
        // The site itself cannot be reached either, which is 69.
        assert_eq!(words.code(), code.max(69), "{row}: {words:?}");
        assert!(words.stdout.contains(found), "{row}: {words:?}");
    }
}
