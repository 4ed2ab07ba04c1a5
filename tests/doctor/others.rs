//! Who else starts events: on a machine with crontabs and units of its own, for as long as the command runs.

use std::fs;

use super::mounted;
use crate::support::account::is_root;
use crate::support::{Runner, Site};

#[test]
fn lines_of_any_crontab_and_timers_are_named_with_their_fix() {
    if !is_root() {
        eprintln!("not root: cannot mount");
        return;
    }
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site).prepare();
    let machine = runner.dir.join("machine");
    let at = |path: &str, text: &str| {
        let file = machine.join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    };
    let (path, url) = (site.path.display().to_string(), &site.url);
    at("cron.d/wordpress", &format!("SHELL=/bin/sh\n*/5 * * * * www-data cd {path} && wp cron event run --due-now\n"));
    at("cron.d/not.read", &format!("* * * * * root curl {url}/wp-cron.php\n"));
    at(
        "cron/crontabs/alice",
        &format!("# hers\n* * * * * curl -s '{url}/wp-cron.php?doing_wp_cron' >/dev/null 2>&1\n"),
    );
    at("cron/crontabs/bob", "0 * * * * wget -q -O- https://blog.example/wp-cron.php\n");
    at("system/wp.timer", "[Timer]\nOnCalendar=minutely\n[Install]\nWantedBy=timers.target\n");
    at("system/wp.service", &format!("[Service]\nExecStart=/usr/bin/php {path}/wp-cron.php\n"));
    fs::create_dir_all(machine.join("system/timers.target.wants")).expect("a folder");
    std::os::unix::fs::symlink("../wp.timer", machine.join("system/timers.target.wants/wp.timer")).expect("a link");

    let script = format!(
        "set -e; for pair in cron.d:/etc/cron.d cron:/var/spool/cron system:/etc/systemd/system; do \
         mkdir -p ${{pair#*:}}; mount --bind {}/${{pair%%:*}} ${{pair#*:}}; done; exec \"$0\" \"$@\"",
        machine.display()
    );
    let doctor = |before: &[&str]| mounted(&runner, &script, before);
    let findings = doctor(&[]);
    let check = "other crons";
    findings.has("fail", check, "/etc/cron.d/wordpress:2 calls cd ", "take line 2 out of /etc/cron.d/wordpress");
    findings.has("warn", check, "crontabs/alice:2 calls curl ", "take line 2 out with `crontab -u alice -e`");
    findings.has("warn", check, "nothing to do at site shop", "`wp-cron-runner import --write` as root");
    findings.has("warn", check, "https://blog.example/wp-cron.php: of a site that no [[site]] is for", "init PATH");
    findings.has("warn", check, "/etc/systemd/system/wp.timer", "`systemctl disable --now wp.timer`");
    assert_eq!(findings.of(check).len(), 4, "{:#?}", findings.of(check));
    // Another user sees the system's, and is told what he does not see.
    let findings = doctor(&["setpriv", "--reuid", "www-data", "--regid", "www-data", "--clear-groups", "--"]);
    findings.has("fail", check, "/etc/cron.d/wordpress:2", "take line 2 out");
    findings.has("ok", check, "not visible to user www-data; run as root", "");

    fs::remove_file(&runner.config).expect("removed");
    let findings = doctor(&[]);
    findings.has("fail", "config", "there is no ", "`wp-cron-runner init`");
    findings.has("warn", check, "crontabs/alice:2 calls curl ", "`wp-cron-runner import`");
    findings.has("ok", "php-fpm", "listens at /run/php/php8.2-fpm.sock", "");
}
