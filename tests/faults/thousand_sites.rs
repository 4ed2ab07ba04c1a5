//! Row 30: a thousand sites on one runner, and one event due on each in the same second.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ticks::wait_until;
use super::{nothing_wrong, times};
use crate::support::site::Database;
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Runner, Site, secs, wait_for};

const WORKERS: u32 = 8;

#[test]
fn row_30_a_thousand_sites() {
    let count = times(60, 1000);
    let sites = Site::many(count, WORKERS);
    let (first, others) = sites.split_first().expect("sites");
    let builder = others.iter().fold(Runner::builder(first), crate::support::runner::Builder::and);
    // As many places as there are workers, and not one more.
    let mut runner = builder
        .runner_line(&format!("max_parallel = {WORKERS}"))
        .site_line(&format!("lanes = {WORKERS}\nrescan = \"10m\"\ngrace = \"1h\""))
        .prepare();
    // Beside the configuration, where the runner's user may come.
    let (counted, pool) = (runner.home().join("counted.sock"), &first.php_fpm.socket);
    count_requests(&counted, pool.clone());
    let shown = |path: &Path| path.display().to_string();
    runner.rewrite_config(|text| text.replace(&shown(pool), &shown(&counted)));
    // Due in the same second, once every site has been looked at: its first look takes each a start of WordPress.
    let patience = 10 + i64::try_from(count).expect("a thousand") / 5;
    let due = unix_now() + patience;
    for site in &sites {
        schedule_in_row(site, due);
    }
    runner.start_within(secs(u64::try_from(patience).expect("minutes")));
    assert!(unix_now() < due, "this machine is too slow");
    MOST.store(0, Ordering::Relaxed);
    wait_until(due);
    let all_ended = || sites.iter().filter(|site| !site.ledger().ends("fx_ok").is_empty()).count();
    wait_for("an event of each site", secs(60 + count as u64), || (all_ended() == count).then_some(()));
    wait_for("all records", secs(60), || (runner.history_of("fx_ok").len() >= count).then_some(()));

    let figure = sites.iter().map(judge).fold(Figure::default(), Figure::plus);
    let begun = sites.iter().flat_map(|site| site.ledger().begin_of("fx_ok"));
    let mut late: Vec<i64> = begun.map(|line| i64::try_from(line.wall_ms).expect("a time") - due * 1000).collect();
    late.sort_unstable();
    let at = |percent: usize| late[(late.len() * percent).div_ceil(100) - 1];
    let most = MOST.load(Ordering::Relaxed);
    let told = format!(
        "{count} sites in one second: p50 {} ms, p99 {} ms, latest {} ms; at most {most} requests at once, {WORKERS} workers",
        at(50),
        at(99),
        at(100)
    );
    nothing_wrong("row 30", &figure, &told);
    assert!(most <= usize::try_from(WORKERS).expect("a few"), "{told}");
    assert!(late[0] >= 0, "an event began before its time: {} ms", late[0]);
}

static OPEN: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// A proxy before php-fpm that knows how many requests there are at once: also those that wait for a worker.
fn count_requests(socket: &Path, pool: PathBuf) {
    let listener = UnixListener::bind(socket).expect("a socket");
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o777)).expect("its mode");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = UnixStream::connect(&pool) else { continue };
            MOST.fetch_max(OPEN.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            std::thread::spawn(move || {
                std::thread::scope(|scope| {
                    scope.spawn(|| copy(&client, &server, |_| {}));
                    let mut is_open = true;
                    let mut last = Vec::new();
                    // Its end is counted before the runner hears of it: by END_REQUEST, the last record of 16 bytes, in one piece
                    // or in two.
                    copy(&server, &client, |bytes| {
                        last.extend_from_slice(bytes);
                        last.drain(..last.len().saturating_sub(16));
                        let is_end = last.len() == 16 && last.starts_with(&[1, 3]);
                        if is_open && (is_end || bytes.is_empty()) {
                            is_open = false;
                            OPEN.fetch_sub(1, Ordering::Relaxed);
                        }
                    });
                });
            });
        }
    });
}

/// What is read is seen before it is written; nothing at the end.
fn copy(mut from: &UnixStream, mut to: &UnixStream, mut see: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        see(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    see(&[]);
    let _ = to.shutdown(Shutdown::Both);
}

/// Straight into the row: a process of PHP for each would take minutes.
fn schedule_in_row(site: &Site, due: i64) {
    let Database::Sqlite { file } = &site.database else { panic!("a site on SQLite") };
    let connection = rusqlite::Connection::open(file).expect("the site's database");
    connection.pragma_update(None, "synchronous", "OFF").expect("a setting");
    let read = "SELECT option_value FROM wp_options WHERE option_name = 'cron'";
    let option: String = connection.query_row(read, [], |row| row.get(0)).expect("the option");
    // `a:N:{...}`: one entry more. The key is md5( serialize( array() ) ).
    let (count, rest) = option.strip_prefix("a:").and_then(|rest| rest.split_once(':')).expect("a serialized array");
    let count = count.parse::<usize>().expect("a count") + 1;
    let event = r#"a:1:{s:32:"40cd750bba9870f18aada2478b24840a";a:2:{s:8:"schedule";b:0;s:4:"args";a:0:{}}}"#;
    let entry = format!("i:{due};a:1:{{s:5:\"fx_ok\";{event}}}");
    let new = format!("a:{count}:{{{entry}{}", rest.strip_prefix('{').expect("a serialized array"));
    let write = "UPDATE wp_options SET option_value = ?1 WHERE option_name = 'cron'";
    connection.execute(write, [&new]).expect("the option");
}

/// As the checker does, for one event that is all there is, and without PHP.
fn judge(site: &Site) -> Figure {
    let ledger = site.ledger();
    let (begins, ends) = (ledger.begins("fx_ok").len(), ledger.ends("fx_ok").len());
    let rows = site.sql("SELECT state FROM wp_cron_runner_journal WHERE hook = 'fx_ok' AND state <> 'given_back'");
    let is_left = site
        .sql_text("SELECT option_value FROM wp_options WHERE option_name = 'cron'")
        .is_none_or(|option| option.contains("fx_ok"));
    let is_ok = rows.len() == 1 && rows[0][0].as_deref() == Some("ok");
    let lost = usize::from(ends == 0 || is_left || !is_ok);
    Figure { lost, doubled: begins.max(rows.len()).saturating_sub(1), of: 1, ..Figure::default() }
}
