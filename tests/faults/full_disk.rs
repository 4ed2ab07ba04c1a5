//! Row 18: no room in the state directory. What runs ends, nothing is started that could not be recorded, and it is said where
//! and how much room there is.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::{nothing_wrong, times};
use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, account, secs, wait_for};

/// A small file system of the test's own, taken away when the test ends, however it ends: the shell that mounted it hears
/// that nobody holds its input any more.
struct Small {
    shell: Child,
}

const SHELL: &str = r#"
trap '' INT TERM HUP
mount -t tmpfs -o "size=$2,mode=0700,uid=$(id -u "$3"),gid=$(id -g "$3")" tmpfs "$1" || exit 1
echo mounted
read -r _
umount -l "$1"
"#;

impl Small {
    /// None where this user may not mount.
    fn mount(at: &Path, size: &str) -> Option<Small> {
        let mut command = Command::new("sh");
        command.args(["-c", SHELL, "mount"]).arg(at).args([size, account::SITE]);
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
        let mut said = String::new();
        BufReader::new(shell.stdout.take().expect("a pipe")).read_line(&mut said).expect("a word");
        (said == "mounted\n").then_some(Small { shell })
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// To the last byte.
fn fill(folder: &Path) -> PathBuf {
    let ballast = folder.join("ballast");
    let mut file = std::fs::File::create(&ballast).expect("ballast");
    for size in [64 * 1024, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    ballast
}

fn state_directory_full(site: &Site, row: &str, is_restarted: bool) {
    let mut runner = Runner::builder(site).site_line("rescan = \"1s\"\nlanes = 2").prepare();
    let state = runner.dir.join("home/state");
    let Some(_small) = Small::mount(&state, "4m") else {
        eprintln!("{row}: not run: only root may mount a file system that can be full");
        return;
    };
    runner.start();
    let mut plan = Plan::new();
    let before = site.ledger().ends("fx_sleep").len();
    plan.schedule(site, &[(unix_now(), "fx_sleep", json!([3]))]);
    wait_for("one that runs", secs(15), || (site.ledger().begins("fx_sleep").len() > before).then_some(()));
    let ballast = fill(&state);
    // Each of them has 64 KiB to be recorded: more than any page that is left over can take. A request that has begun may
    // go on for five seconds; what is due after that has to wait.
    let due = unix_now() + 1;
    let floods: Vec<_> =
        (0..30).map(|i| (if i < 5 { due } else { due + 9 + i % 3 }, "fx_flood", json!([1, 0, i]))).collect();
    plan.schedule(site, &floods);
    let page = wait_for("a runner that is not ready", secs(20), || {
        let page = runner.get("/readyz");
        (page.status == 503).then_some(page)
    });
    wait_for("the end of what runs", secs(20), || {
        (site.ledger().ends("fx_sleep").len() > before && running(site) == 0).then_some(())
    });
    assert!(unix_now() < due + 8, "this machine is too slow");
    let begun = site.ledger().0.len();
    let words = [state.join("history.sqlite").display().to_string(), "(0 of 4194304 bytes are free there)".to_owned()];
    let status = runner.cli(&["status"]).stdout;
    for (place, text) in [("/readyz", &page.body), ("the log", &runner.log()), ("status", &status)] {
        assert!(words.iter().all(|word| text.contains(word)), "{place}: {text}");
    }
    wait_for("a look that sees what is due", secs(20), || {
        (runner.json(&["status"])["sites"][0]["due"] == 25).then_some(())
    });
    wait_for("two rescans", secs(20), || (unix_now() > due + 14).then_some(()));
    assert_eq!(site.ledger().0.len(), begun, "what cannot be recorded was started");
    // Nor does one start that could not record anything. It says where, and that it is worth another try.
    if is_restarted {
        runner.kill();
        let said = runner.cli(&["run"]);
        assert_eq!(said.code(), 75, "systemd starts it again: {said:?}");
        assert!(said.stderr.contains(&state.display().to_string()), "{said:?}");
        assert!(said.stderr.contains(" of 4194304 bytes are free there"), "{said:?}");
        assert_eq!(site.ledger().0.len(), begun, "{said:?}");
    }
    let waited = 30 - site.ledger().ends("fx_flood").len();
    std::fs::remove_file(ballast).expect("room");
    if is_restarted {
        runner.start();
    }
    assert!(plan.wait(site, secs(60)), "{}", runner.log());
    wait_for("readiness, by itself", secs(10), || (runner.get("/readyz").status == 200).then_some(()));
    let all = 31;
    wait_for("every record", secs(20), || (runner.history().len() == all).then_some(()));
    assert!(waited > 0, "nothing had to wait");
    assert!(runner.history().iter().all(|run| run["outcome"] == "ok"), "{:?}", runner.history());
    assert!(!runner.cli(&["status"]).stdout.contains("not ready"));
    nothing_wrong(row, &plan.judge(site), &format!("{waited} waited for room"));
}

fn running(site: &Site) -> usize {
    site.sql("SELECT 1 FROM wp_cron_runner_journal WHERE state IN ('claimed', 'running')").len()
}

#[test]
fn row_18_a_state_directory_without_room() {
    // Each time on a small file system of its own: what was written once leaves room in the history's own files.
    for round in 0..times(2, 10) {
        state_directory_full(&Site::builder().mariadb().start(), "row 18", round % 2 == 0);
    }
}
