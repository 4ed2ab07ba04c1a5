//! The log: one line for each change, in the form that whoever reads it wants.

use std::process::Command;

use serde_json::Value;

use crate::support::{Runner, Site, account, secs, wait_for};

/// Schedules it behind WordPress's back, as hostile as a name can be.
const HOSTILE: &str = "$cron = _get_cron_array(); $cron[time() - 5][\"evil\\x1b[31m\\n2026-01-01T00:00:00Z  INFO all is well\"]['40cd750bba9870f18aada2478b24840a'] = ['schedule' => false, 'args' => []]; ksort($cron); _set_cron_array($cron);";

#[test]
fn each_change_of_a_site_is_one_line() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).site_line("rescan = \"2s\"").start();
    let count = |words: &str| runner.log().lines().filter(|line| line.contains(words)).count();
    assert_eq!(runner.cli(&["pause", "shop"]).code(), 0);
    assert_eq!(runner.cli(&["resume", "shop"]).code(), 0);
    wait_for("both words", secs(5), || (count("goes on") == 1).then_some(()));
    assert_eq!(count("paused: nothing is started"), 1);
    site.php(HOSTILE);
    wait_for("its run", secs(20), || (count("evil") == 1).then_some(()));
    assert!(!runner.log().contains('\u{1b}') && !runner.log().contains("\n2026-01-01"), "{}", runner.log());

    let socket = site.php_fpm.socket.clone();
    let away = socket.with_extension("away");
    std::fs::rename(&socket, &away).expect("the socket");
    let status = || -> Value { serde_json::from_str(&runner.get("/v1/status").body).expect("JSON") };
    wait_for("the trouble", secs(20), || (status()["sites"][0]["state"] == "unreachable").then_some(()));
    // It is met again and again.
    wait_for("more of it", secs(20), || {
        let metrics = runner.get("/metrics").body;
        let line = metrics.lines().find(|line| line.contains("site_failures_total") && line.contains("not_reached"))?;
        (line.rsplit(' ').next()?.parse::<u64>().ok()? >= 3).then_some(())
    });
    std::fs::rename(&away, &socket).expect("the socket");
    wait_for("its end", secs(60), || (count("goes well again; it was unreachable") == 1).then_some(()));
    assert_eq!(count("cannot be reached"), 1, "{}", runner.log());
    runner.stop();
    let lines = runner.log();
    assert!(lines.lines().all(|line| line.starts_with("20")), "{lines}");
}

#[test]
fn a_form_is_chosen_by_a_word() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).prepare();
    runner.environment.push(("WP_CRON_RUNNER_LOG_FORMAT".to_owned(), "json".to_owned()));
    runner.start();
    site.php(HOSTILE);
    let run = wait_for("its run", secs(20), || {
        let log = runner.log();
        let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object a line"));
        lines.find(|line| line["hook"].as_str().is_some_and(|hook| hook.starts_with("evil\\x1B[31m\\n2026")))
    });
    assert_eq!((run["level"].as_str(), run["site"].as_str()), (Some("info"), Some("shop")));
    assert!(run["run"].as_str().is_some_and(|run| run.len() == 26) && run["time"].is_string(), "{run}");

    let mut command = Command::new(&runner.binary);
    let said =
        command.args(["next", "* * * * *", "--json"]).env("WP_CRON_RUNNER_LOG_FORMAT", "xml").output().expect("it");
    let error: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    assert!(error["error"]["found"] == "\"xml\"" && error["error"]["expected"] == "text, json, journald", "{error}");
}

/// A socket of the test's in the journal's place, in a view of the file system that nobody else has.
#[test]
fn under_systemd_the_journal_gets_records() {
    if !account::is_root() {
        return;
    }
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).prepare();
    let dir = runner.dir.join("journal");
    std::fs::create_dir(&dir).expect("a folder");
    let socket = std::os::unix::net::UnixDatagram::bind(dir.join("socket")).expect("a socket");
    socket.set_read_timeout(Some(secs(20))).expect("patience");
    std::fs::set_permissions(dir.join("socket"), std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .expect("its mode");
    // Its stderr is what JOURNAL_STREAM says.
    let script = "mount -t tmpfs none /run; mkdir -p /run/systemd/journal
        mount --bind \"$0\" /run/systemd/journal
        export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)
        exec setpriv --reuid www-data --regid www-data --init-groups -- \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-ec", script])
        .arg(&dir)
        .arg(&runner.binary)
        .arg("--config")
        .arg(&runner.config)
        .arg("run");
    let stderr = std::fs::File::create(runner.dir.join("stderr")).expect("a file");
    let mut daemon = crate::support::process::Process::start("wp-cron-runner", command.stderr(stderr));
    site.php(HOSTILE);
    let mut buffer = vec![0; 100_000];
    let record = loop {
        let length = socket.recv(&mut buffer).expect("a record");
        let record = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(record.starts_with("PRIORITY=") && record.contains("\nSYSLOG_IDENTIFIER=wp-cron-runner\n"), "{record}");
        if record.contains("\nHOOK=evil") {
            break record;
        }
    };
    assert!(
        record.contains("\nSITE=shop\n") && record.contains("\nRUN=") && record.starts_with("PRIORITY=6\n"),
        "{record}"
    );
    assert!(record.contains("HOOK=evil\\x1B[31m\\n2026-01-01T00:00:00Z  INFO all is well\n"), "{record}");
    daemon.stop(secs(20));
    assert_eq!(std::fs::read_to_string(runner.dir.join("stderr")).expect("stderr"), "", "nothing twice");
}
