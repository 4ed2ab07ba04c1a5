//! What a lease in Redis costs: the runner's own scripts, over one connection, beside what `redis-benchmark` does to the same
//! server in the same run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::{is_quick, report};
use crate::support::account::succeed;
use crate::support::redis::DATABASE;
use crate::support::{Redis, Site};

const HOLD: &str = include_str!("../../src/lease/redis/hold.lua");
const RELEASE: &str = include_str!("../../src/lease/redis/release.lua");

/// A client of thirty lines: its own cost is small beside the server's.
struct Client {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Client {
    fn connect(redis: &Redis) -> Client {
        let stream = TcpStream::connect(redis.address()).expect("Redis");
        stream.set_nodelay(true).expect("a socket");
        let answers = BufReader::new(stream.try_clone().expect("a socket"));
        let mut client = Client { stream, answers };
        client.ask(&["SELECT", DATABASE]);
        client
    }

    fn ask(&mut self, words: &[&str]) -> String {
        self.stream.write_all(&encoded(words)).expect("Redis");
        self.answer()
    }

    /// Its first line; what is in an array or a string is read and left out.
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        let line = line.trim_end().to_owned();
        let length = || line[1..].parse::<i64>().expect("a length");
        match line.as_bytes()[0] {
            b'-' => panic!("{line}"),
            b'$' if length() >= 0 => {
                let mut text = vec![0; usize::try_from(length()).expect("a length") + 2];
                self.answers.read_exact(&mut text).expect("an answer");
                String::from_utf8_lossy(&text).trim_end().to_owned()
            }
            b'*' => (0..length()).map(|_| self.answer()).collect::<Vec<_>>().join(" "),
            _ => line[1..].to_owned(),
        }
    }

    /// So many at a time, each batch answered before the next is sent: the seconds that each batch took.
    fn measure(&mut self, commands: &[Vec<u8>], at_once: usize, check: impl Fn(&str) -> bool) -> Vec<f64> {
        let batches: Vec<(Vec<u8>, usize)> =
            commands.chunks(at_once).map(|batch| (batch.concat(), batch.len())).collect();
        let run = |(bytes, count): &(Vec<u8>, usize)| {
            let began = Instant::now();
            self.stream.write_all(bytes).expect("Redis");
            for _ in 0..*count {
                let answer = self.answer();
                assert!(check(&answer), "{answer}");
            }
            began.elapsed().as_secs_f64()
        };
        batches.iter().map(run).collect()
    }
}

fn encoded(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    bytes
}

struct Figure {
    what: &'static str,
    at_once: usize,
    per_s: f64,
    p99_us: f64,
    /// What `redis-benchmark` does in a second, as many at a time.
    beside: f64,
}

/// The runner's scripts, each as often as there are leases.
fn scripts(redis: &Redis, count: usize, at_once: usize, beside: f64) -> Vec<Figure> {
    let mut client = Client::connect(redis);
    let (hold, release) = (client.ask(&["SCRIPT", "LOAD", HOLD]), client.ask(&["SCRIPT", "LOAD", RELEASE]));
    let (identity, id) = (redis.identity(), "0123456789abcdef0123456789abcdef");
    let value = format!("{id}:fedcba9876543210fedcba9876543210");
    let lease = |number: usize| format!("wpcr:lease:site-{number}");
    let holds: Vec<Vec<u8>> = (0..count)
        .map(|number| {
            let (lease, own) = (lease(number), format!("{id}:"));
            let keys = [lease.as_str(), "wpcr:server", "wpcr:quarantine"];
            encoded(&[&["EVALSHA", &hold, "3"], &keys[..], &[&value, "30000", &identity, "0", &own]].concat())
        })
        .collect();
    let releases: Vec<Vec<u8>> =
        (0..count).map(|number| encoded(&["EVALSHA", &release, "1", &lease(number), &value])).collect();
    let mut figure = |what, commands: &[Vec<u8>], expected: &'static str| {
        let took = client.measure(commands, at_once, |answer| answer.starts_with(expected));
        figure(what, at_once, count, took, beside)
    };
    vec![
        figure("acquire (hold.lua)", &holds, "3"),
        figure("renew (hold.lua)", &holds, "1"),
        figure("release (release.lua)", &releases, "1"),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "thousands, not quadrillions")]
fn figure(what: &'static str, at_once: usize, count: usize, mut took: Vec<f64>, beside: f64) -> Figure {
    let per_s = count as f64 / took.iter().sum::<f64>();
    took.sort_by(f64::total_cmp);
    let p99_us = took[(took.len() * 99).div_ceil(100) - 1] * 1e6;
    Figure { what, at_once, per_s, p99_us, beside }
}

/// `SET` of a short value over one connection: how many in a second, and the 99th percentile in microseconds.
fn redis_benchmark(redis: &Redis, count: usize, at_once: usize) -> (f64, f64) {
    let (port, count, at_once) = (redis.port().to_string(), count.to_string(), at_once.to_string());
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &port, "-n", &count, "-c", "1", "-P", &at_once, "-r", "100000", "-d", "64", "--csv"]);
    let output = succeed(command.args(["-t", "set"]));
    let text = String::from_utf8_lossy(&output).into_owned();
    let line = text.lines().last().unwrap_or_default();
    let cells: Vec<f64> = line.split(',').skip(1).filter_map(|cell| cell.trim_matches('"').parse().ok()).collect();
    // rps, avg, min, p50, p95, p99, max; milliseconds.
    assert_eq!(cells.len(), 7, "{text}");
    (cells[0], cells[5] * 1000.0)
}

#[test]
#[ignore = "measures; `make bench`"]
fn leases_in_redis() {
    let machine = report::machine(&Site::builder().mariadb().without_fixture().start());
    let redis = Redis::start();
    redis.make_known();
    let count = if is_quick() { 10_000 } else { 100_000 };
    let mut figures = Vec::new();
    for at_once in [1, 16, 1000] {
        // Before and after, so that a machine that slows down slows down both.
        let before = redis_benchmark(&redis, count, at_once);
        let ours = scripts(&redis, count, at_once, before.0);
        let after = redis_benchmark(&redis, count, at_once);
        let beside = f64::midpoint(before.0, after.0);
        figures.push(Figure {
            what: "redis-benchmark: SET",
            at_once,
            per_s: beside,
            p99_us: f64::midpoint(before.1, after.1),
            beside,
        });
        figures.extend(ours.into_iter().map(|figure| Figure { beside, ..figure }));
        assert!(redis.keys().iter().all(|key| key == "wpcr:server"), "all are released");
    }
    let rows: Vec<Vec<String>> = figures.iter().map(row).collect();
    let values: Vec<Value> = figures.iter().map(value).collect();
    let counted = format!("{count} of each over one connection; a lease is 30 s, and renewed every 10 s.");
    let notes = [
        counted.as_str(),
        "The scripts are the runner's own. redis-benchmark sets values of 64 bytes before and after, as many at a time; mean of both.",
        "At a time: sent at once and then answered; the 99th percentile is that of such a batch.",
    ];
    let header = ["what", "at a time", "in a second", "p99 us", "x redis-benchmark"];
    report::tell("leases", &machine, "Leases in Redis", &notes, &header, &rows, &json!(values));
}

fn row(figure: &Figure) -> Vec<String> {
    vec![
        figure.what.to_owned(),
        figure.at_once.to_string(),
        format!("{:.0}", figure.per_s),
        format!("{:.0}", figure.p99_us),
        format!("{:.2}", figure.per_s / figure.beside),
    ]
}

fn value(figure: &Figure) -> Value {
    json!({
        "what": figure.what,
        "at_once": figure.at_once,
        "per_second": figure.per_s,
        "p99_us": figure.p99_us,
        "times_redis_benchmark": figure.per_s / figure.beside,
    })
}
