//! The whole way of an operator: a server with a bare site and a busy crontab, `doctor`, `import`, `init`, `run`, `uninstall`, and the
//! server as it was before, but for what `uninstall` lists.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::plugin_lifecycle::database;
use crate::support::account::{self, is_root, succeed};
use crate::support::process::{Port, Process};
use crate::support::test_dir::TestDir;
use crate::support::{Site, http, secs, wait_for};

/// A server of its own, as far as its files are concerned: what is private to it is mounted over the real folders.
struct Server {
    holder: Process,
    dir: TestDir,
    port: Port,
    daemon: Option<Process>,
}

const PRIVATE: [(&str, &str); 4] =
    [("etc", "/etc"), ("spool", "/var/spool/cron/crontabs"), ("lib", "/var/lib"), ("bin", "/usr/local/bin")];

impl Server {
    fn start(site: &Site) -> Self {
        let dir = TestDir::new();
        succeed(Command::new("cp").args(["-a", "/etc"]).arg(dir.path()));
        // The pools of this machine are none of that server's.
        let gone = "rm -rf etc/cron.d etc/crontab etc/wp-cron-runner etc/php/*/fpm";
        succeed(Command::new("sh").args(["-c", gone]).current_dir(dir.path()));
        for folder in ["etc/cron.d", "spool", "lib", "bin"] {
            fs::create_dir(dir.join(folder)).expect("a folder");
        }
        succeed(Command::new("chgrp").arg("crontab").arg(dir.join("spool")));
        fs::set_permissions(dir.join("spool"), fs::Permissions::from_mode(0o1730)).expect("its mode");
        fs::copy(env!("CARGO_BIN_EXE_wp-cron-runner"), dir.join("bin/wp-cron-runner")).expect("the binary");
        fs::copy(site.phar(), dir.join("bin/wp")).expect("WP-CLI");
        fs::set_permissions(dir.join("bin/wp"), fs::Permissions::from_mode(0o755)).expect("its mode");
        let mounts: Vec<String> = PRIVATE
            .iter()
            .map(|(ours, theirs)| format!("mount --bind {} {theirs}", dir.join(ours).display()))
            .collect();
        let ready = dir.join("ready");
        let script = format!("{}; : > {}; exec sleep infinity", mounts.join("; "), ready.display());
        let mut command = Command::new("unshare");
        let holder = Process::start("unshare", command.args(["--mount", "sh", "-ec", &script]));
        wait_for("its mounts", secs(10), || ready.exists().then_some(()));
        Self { holder, dir, port: Port::take(), daemon: None }
    }

    fn inside(&self, user: Option<&str>, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--wd=/", "--target", &self.holder.pid().to_string(), "--"]);
        if let Some(user) = user {
            command.args(["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"]);
        }
        command.args(words).env("NO_COLOR", "1").env_remove("WP_CRON_RUNNER_CONFIG").stdin(Stdio::null());
        command
    }

    /// Shown as an operator would see it: these are the README's examples.
    fn said(&self, user: Option<&str>, words: &[&str]) -> Output {
        let output = self.inside(user, words).output().expect("nsenter");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        println!("# {}\n{}{}", words.join(" "), text(&output.stdout), text(&output.stderr));
        output
    }

    fn runner(&self, code: i32, words: &[&str]) -> String {
        let output = self.said(None, &[&["wp-cron-runner"], words].concat());
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn as_the_runner(&self, words: &[&str]) -> Value {
        let output = self.inside(Some(account::SITE), &[&["wp-cron-runner"], words, &["--json"]].concat()).output();
        serde_json::from_slice(&output.expect("nsenter").stdout).unwrap_or_default()
    }

    fn history(&self, of: &str) -> Vec<Value> {
        let runs = self.as_the_runner(&["history", "-n", "1000"]).as_array().cloned().unwrap_or_default();
        runs.into_iter().filter(|run| run["hook"] == of || run["job"] == of).collect()
    }

    fn start_daemon(&mut self) {
        let log = fs::File::create(self.dir.join("daemon.log")).expect("a log");
        let mut command = self.inside(Some(account::SITE), &["wp-cron-runner", "run"]);
        command.stdout(log.try_clone().expect("the log")).stderr(log);
        self.daemon = Some(Process::start("wp-cron-runner", &mut command));
        wait_for("its /readyz", secs(15), || {
            http::request("GET", &self.port.address(), "/readyz", &[], b"").ok().filter(|page| page.status == 200)
        });
    }

    fn file(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }
}

/// Mode, owner and content of everything below the folders; not of what a database or PHP writes while it runs.
fn trees(folders: &[&Path]) -> BTreeMap<String, (u32, u32, u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| folder.to_path_buf()).collect();
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).expect("a file");
        let name = path.display().to_string();
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        }
        let is_text = metadata.is_file() && !name.contains(".ht.sqlite");
        if !name.contains(".ht.sqlite-") {
            let content = if is_text { fs::read(&path).expect("a file") } else { Vec::new() };
            found.insert(name, (metadata.mode(), metadata.uid(), metadata.gid(), content));
        }
    }
    found
}

#[test]
fn a_server_with_a_busy_crontab_is_over_in_ten_minutes_and_back() {
    if !is_root() {
        eprintln!("not root: no server of its own can be made");
        return;
    }
    let site = Site::builder().sqlite().start();
    let mut server = Server::start(&site);
    let path = site.path.display().to_string();
    let busy = site.dir.join("busy");
    fs::create_dir(&busy).expect("a folder");
    account::give_to(account::SITE, &busy);
    let crontab = format!(
        "MAILTO=ops@shop.example\n# The shop.\n* * * * * curl -s {url}/wp-cron.php?doing_wp_cron >/dev/null 2>&1\n\
         */5 * * * * cd {path} && wp cron event run --due-now >/dev/null 2>&1\n\
         15 3 * * * wp --path={path} option get home\n\
         * * * * * date +\\%s >> {busy}/beats && wc -l < {busy}/beats\n",
        url = site.url,
        busy = busy.display()
    );
    fs::write(server.file("typed"), &crontab).expect("a crontab");
    let typed = server.file("typed").display().to_string();
    assert!(server.said(None, &["crontab", "-u", account::SITE, &typed]).status.success());
    fs::write(server.file("etc/cron.d/backup"), "0 4 * * * root /usr/local/sbin/backup --full\n").expect("a table");
    // crontab(1) notes in its spool when a file was typed: what counts there is what it shows.
    let shown = |server: &Server| {
        String::from_utf8_lossy(&server.said(None, &["crontab", "-u", account::SITE, "-l"]).stdout).into_owned()
    };
    let folders = [site.path.clone(), server.file("etc"), server.file("lib")];
    let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
    let before = (trees(&folders), database(&site), shown(&server));

    // Nothing is there yet: what there is to know of the server, and what comes next.
    let doctor = server.runner(1, &["doctor"]);
    assert!(doctor.contains("wp-cron-runner init") && doctor.contains("wp cron event run --due-now"), "{doctor}");
    let import = server.runner(0, &["import"]);
    assert!(import.contains("[[site]]") && import.matches("[[job]]").count() == 2, "{import}");
    assert!(import.contains("it runs as root, which a job never does"), "{import}");
    assert_eq!(trees(&folders), before.0, "both only look");

    let init = server.runner(0, &["init", &path]);
    assert!(init.contains("fastcgi") && init.contains("wp-cron-runner doctor"), "{init}");
    // Now it knows the site, so its lines only go.
    server.runner(0, &["import", "--write"]);
    let left = shown(&server);
    assert_eq!(left, "MAILTO=ops@shop.example\n# The shop.\n");
    let config = server.file("etc/wp-cron-runner/config.toml");
    let text = fs::read_to_string(&config).expect("the configuration");
    assert!(!text.contains("[runner]"), "what is usual is not written: {text}");
    let listen = format!("[runner]\nlisten = \"{}\"\n\n{text}", server.port.address());
    fs::write(&config, listen).expect("the configuration");

    server.start_daemon();
    site.schedule_in(1, "fx_ok", &json!(["on its second"]));
    let run = wait_for("the event", secs(15), || server.history("fx_ok").first().cloned());
    assert_eq!((&run["outcome"], &run["trigger"]), (&json!("ok"), &json!("fastcgi")), "{run}");
    let jobs = server.as_the_runner(&["status"])["jobs"].as_array().cloned().unwrap_or_default();
    assert_eq!(jobs.len(), 2, "{jobs:?}");
    for job in &jobs {
        let name = job["job"].as_str().expect("a name");
        assert_eq!(server.as_the_runner(&["trigger", name])[0]["outcome"], "ok", "{name}");
    }
    let beats = || fs::read_to_string(busy.join("beats")).unwrap_or_default().lines().count();
    let triggered = beats();
    assert!(triggered >= 1, "the job has run");
    wait_for("the minute of its line", secs(90), || (beats() > triggered).then_some(()));
    server.runner(0, &["status"]);
    let doctor = server.runner(0, &["doctor"]);
    assert!(!doctor.contains("FAIL"), "{doctor}");

    let refused = server.said(None, &["wp-cron-runner", "uninstall", "--yes"]);
    assert_eq!(refused.status.code(), Some(75), "while it runs: {refused:?}");
    let mut daemon = server.daemon.take().expect("the daemon");
    assert_eq!(daemon.stop(secs(30)).code(), Some(0));
    let uninstall = server.runner(0, &["uninstall", "--yes"]);
    assert!(uninstall.contains("crontab."), "the copies are named: {uninstall}");

    // What it lists: copies of the crontabs, and how they are put back.
    let copies: Vec<PathBuf> = fs::read_dir(server.file("etc/wp-cron-runner"))
        .expect("the copies")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(copies.iter().all(|copy| copy.to_string_lossy().contains("crontab.")), "{copies:?}");
    let copy = copies.iter().find(|copy| copy.to_string_lossy().contains(account::SITE)).expect("the user's crontab");
    let inside = format!("/etc/wp-cron-runner/{}", copy.file_name().expect("a name").to_string_lossy());
    assert!(server.said(None, &["crontab", "-u", account::SITE, &inside]).status.success());
    fs::remove_dir_all(server.file("etc/wp-cron-runner")).expect("the copies");
    let after = trees(&folders);
    let differ: Vec<_> =
        before.0.iter().filter(|(name, was)| after.get(*name) != Some(was)).map(|(name, _)| name).collect();
    let new: Vec<_> = after.keys().filter(|name| !before.0.contains_key(*name)).collect();
    assert_eq!((differ, new), (Vec::<&String>::new(), Vec::<&String>::new()));
    assert_eq!((database(&site), shown(&server)), (before.1, before.2));
}
