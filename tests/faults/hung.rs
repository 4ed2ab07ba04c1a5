//! Row 32: sites that take a call and never answer it, or a byte a second. They lose their place; nobody else waits for them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::door::{Door, add_site, view};
use super::{nothing_wrong, times};
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Plan, Runner, Site, secs, wait_for};

/// How the scheduler waits for its short calls: a take-over is a `settle`.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// An answer has so long to begin.
const FIRST_FRAME: Duration = Duration::from_secs(65);

/// Until the other side hangs up.
fn say_nothing(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0; 64]);
}

/// A head first, so that an answer has begun, then its body byte by byte.
fn say_little(stream: &mut TcpStream) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-wp-cron-runner\r\nContent-Length: 1000000\r\n\r\n";
    let mut goes_on = stream.write_all(head.as_bytes()).is_ok();
    while goes_on {
        std::thread::sleep(Duration::from_secs(1)); // The fault itself.
        goes_on = stream.write_all(b"w").is_ok();
    }
}

/// A real site whose first `run` is carried out, and its answer kept back.
struct Hung {
    site: Site,
    door: Door,
}

fn hung_at_a_run(name: &str, hang: fn(&mut TcpStream)) -> Hung {
    let site = Site::builder().name(name).sqlite().start();
    let address = site.address();
    let is_first = AtomicBool::new(true);
    let door = Door::open(move |asked, stream| {
        if asked.call == "run" && is_first.swap(false, Ordering::SeqCst) {
            let copy = asked.clone();
            let address = address.clone();
            std::thread::spawn(move || copy.answer_of(&address));
            return hang(stream);
        }
        asked.pass_on(&address, stream);
    });
    Hung { site, door }
}

impl Hung {
    /// The test's runner reaches it through the door.
    fn behind_its_door(&self, config: &str) -> String {
        let socket = format!("trigger = \"fastcgi\"\nfastcgi = \"{}\"", self.site.php_fpm.socket.display());
        assert_eq!(config.matches(&socket).count(), 1);
        config.replace(&socket, &format!("trigger = \"http\"\nconnect_to = \"{}\"", self.door.address()))
    }
}

#[test]
fn row_32_hung_sites_lose_their_place_and_keep_nobody_waiting() {
    let good = Site::builder().sqlite().start();
    let [silent, slow, endless] =
        [("silent", say_nothing as fn(&mut TcpStream)), ("slow", say_little), ("endless", say_nothing)]
            .map(|(name, hang)| hung_at_a_run(name, hang));
    // As many places as there are sites whose runs hang, and one.
    let mut runner = Runner::builder(&good)
        .and(&silent.site)
        .and(&slow.site)
        .and(&endless.site)
        .runner_line("max_parallel = 4")
        .site_line("rescan = \"2s\"\nlanes = 1\ntimeout = \"20s\"")
        .prepare();
    for hung in [&silent, &slow, &endless] {
        runner.rewrite_config(|config| hung.behind_its_door(&config));
    }
    runner.start();
    // And two that have never said a word.
    let never = [Door::open(|_, stream| say_nothing(stream)), Door::open(|_, stream| say_little(stream))];
    add_site(&runner, "never-a-word", &never[0], "rescan = \"2s\"");
    add_site(&runner, "a-byte-a-second", &never[1], "rescan = \"2s\"");
    runner.reload();

    let mut plans: [Plan; 4] = Default::default();
    let [plan, of_silent, of_slow, of_endless] = &mut plans;
    of_silent.schedule(&silent.site, &[(unix_now(), "fx_ok", json!(["nobody hears of it"]))]);
    of_slow.schedule(&slow.site, &[(unix_now(), "fx_ok", json!(["nobody hears of it"]))]);
    of_endless.schedule(&endless.site, &[(unix_now(), "fx_hang", json!(["sleep", "nobody hears of it"]))]);
    for hung in [&silent, &slow, &endless] {
        wait_for("the run that hangs", secs(15), || (hung.door.count("run") == 1).then_some(()));
    }
    let hung_at = Instant::now();
    let seconds = i64::try_from(times(55, 240)).expect("a few");
    let start = unix_now() + 2;
    plan.schedule(&good, &(0..seconds).map(|i| (start + i, "fx_ok", json!(["beside", i]))).collect::<Vec<_>>());
    of_silent.schedule(&silent.site, &[(unix_now(), "fx_ok", json!(["behind it"]))]);
    of_slow.schedule(&slow.site, &[(unix_now(), "fx_ok", json!(["behind it"]))]);

    for (name, door) in ["never-a-word", "a-byte-a-second"].iter().zip(&never) {
        let told = wait_for("the end of its patience", SETTLE_LIMIT + secs(15), || {
            Some(view(&runner, name)).filter(|view| view["state"] == "unreachable")
        });
        let message = told["message"].as_str().unwrap_or_default();
        assert!(message.contains("did not answer within 30"), "{name}: {message}");
        let second = wait_for("its second try", secs(10), || door.asked().get(1).map(|asked| asked.at));
        let gap = second - door.asked()[0].at;
        assert!(gap > SETTLE_LIMIT && gap < SETTLE_LIMIT + secs(5), "{name}: tried again after {gap:?}");
        assert_eq!(door.count("run"), 0, "{name}");
    }
    let mut freed = Vec::new();
    for hung in [&silent, &slow] {
        wait_for("the place of a run that hangs", FIRST_FRAME + secs(20), || {
            (hung.site.ledger().ends("fx_ok").len() == 2).then_some(())
        });
        freed.push(hung_at.elapsed());
    }
    let ended =
        wait_for("the end of what hangs with its answer", secs(60), || runner.history_of("fx_hang").first().cloned());
    assert_eq!((ended["outcome"].as_str(), ended["then"].as_str()), (Some("timed_out"), Some("held")), "{ended}");
    freed.push(hung_at.elapsed());
    assert!(plan.wait(&good, secs(times(20, 300) as u64)), "{}", runner.log());
    let all = usize::try_from(seconds).expect("a few") + 5;
    wait_for("all records", secs(30), || (runner.history().len() == all).then_some(()));
    let of_good = || runner.history().into_iter().filter(|run| run["site"] == "shop");
    let worst = of_good().map(|run| run["lateness_ms"].as_i64().expect("a lateness")).max().expect("runs");

    let sites = [&good, &silent.site, &slow.site, &endless.site];
    let figure = plans.iter().zip(sites).fold(Figure::default(), |sum, (plan, site)| sum.plus(plan.judge(site)));
    nothing_wrong(
        "row 32",
        &figure,
        &format!(
            "places free after {:?} s; worst lateness elsewhere {worst} ms",
            freed.iter().map(Duration::as_secs).collect::<Vec<_>>()
        ),
    );
    assert!(worst < 2000, "an event of the good site came {worst} ms late");
    assert!(freed[..2].iter().all(|freed| *freed < FIRST_FRAME + secs(10)), "{freed:?}");
    let stopping = Instant::now();
    runner.stop();
    assert!(stopping.elapsed() < secs(20), "the stop waited for hung sites: {:?}", stopping.elapsed());
}
