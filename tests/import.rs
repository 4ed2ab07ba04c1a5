//! `import` on a machine with crontabs: the real crontab(1), and a private copy of /etc and of its spool.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::account::{give_to, is_root, succeed};
use crate::support::test_dir::TestDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_wp-cron-runner");

/// A machine of its own, as far as cron is concerned.
struct Machine {
    dir: TestDir,
}

impl Machine {
    /// None where the kernel lets nobody make one.
    fn new() -> Option<Self> {
        if !is_root() {
            eprintln!("not root: no private /etc can be made");
            return None;
        }
        let dir = TestDir::new();
        succeed(Command::new("cp").args(["-a", "/etc"]).arg(dir.path()));
        for path in ["etc/cron.d", "etc/crontab", "etc/wp-cron-runner"] {
            succeed(Command::new("rm").arg("-rf").arg(dir.join(path)));
        }
        fs::create_dir(dir.join("etc/cron.d")).expect("made");
        fs::create_dir(dir.join("spool")).expect("made");
        succeed(Command::new("chgrp").arg("crontab").arg(dir.join("spool")));
        fs::set_permissions(dir.join("spool"), fs::Permissions::from_mode(0o1730)).expect("set");
        Some(Self { dir })
    }

    /// A command in it. `before` is done first, to its mounts.
    fn command(&self, before: &str, words: &[&str]) -> Output {
        let script = format!(
            "mount --bind {dir}/etc /etc; mount --bind {dir}/spool /var/spool/cron/crontabs; {before}; exec \"$@\"",
            dir = self.dir.path().display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", &script, "sh"]).args(words).env_remove("WP_CRON_RUNNER_CONFIG");
        command.stdin(Stdio::null()).output().expect("unshare")
    }

    fn import(&self, words: &[&str]) -> Output {
        self.command(":", &[&[PROGRAM, "import"], words].concat())
    }

    fn report(&self, words: &[&str]) -> String {
        let output = self.import(words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.report(&[words, &["--json"]].concat())).expect("JSON")
    }

    fn crontab(&self, user: &str, text: &str) {
        fs::write(self.dir.join("typed"), text).expect("written");
        let typed = self.dir.join("typed").display().to_string();
        let output = self.command(":", &["crontab", "-u", user, &typed]);
        assert!(output.status.success(), "{output:?}");
    }

    fn crontab_of(&self, user: &str) -> String {
        let output = self.command(":", &["crontab", "-u", user, "-l"]);
        String::from_utf8(output.stdout).expect("text")
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.dir.join(path), text).expect("written");
        fs::set_permissions(self.dir.join(path), fs::Permissions::from_mode(0o644)).expect("set");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir.join(path)).expect(path)
    }

    /// Everything that an import could change.
    fn state(&self) -> Vec<(String, Vec<u8>)> {
        let mut state = Vec::new();
        for folder in ["etc/cron.d", "etc/wp-cron-runner", "spool"] {
            let entries = fs::read_dir(self.dir.join(folder)).into_iter().flatten();
            state.extend(entries.map(|entry| entry.expect("one").path()));
        }
        let mut state: Vec<_> =
            state.into_iter().map(|path| (path.display().to_string(), fs::read(&path).expect("read"))).collect();
        state.sort();
        state
    }
}

const SITE: &str = "*/5 * * * * curl -s https://shop.example/wp-cron.php?doing_wp_cron >/dev/null 2>&1\n";
const TABLE: &str = "SHELL=/bin/sh\n\n# The shop.\n*/10 * * * * www-data wget -qO- https://b.example/wp-cron.php\n\
    17 * * * * root cd / && run-parts --report /etc/cron.hourly\n";

#[test]
fn an_import_shows_all_crontabs_and_changes_nothing() {
    let Some(machine) = Machine::new() else { return };
    machine.crontab("daemon", &format!("MAILTO=ops@shop.example\n{SITE}15 3 * * * /usr/local/bin/backup --full\n"));
    machine.write("etc/cron.d/shop", TABLE);
    // WordPress, and nginx that serves it.
    let news = machine.dir.join("news");
    fs::create_dir(&news).expect("made");
    fs::write(news.join("wp-load.php"), "").expect("written");
    let path = news.display().to_string();
    machine.write("etc/cron.d/news", &format!("*/5 * * * * daemon cd {path} && wp cron event run --due-now\n"));
    fs::create_dir_all(machine.dir.join("etc/nginx/sites-enabled")).expect("made");
    let nginx = format!("server {{ listen 443 ssl; server_name news.example; root {path}; }}\n");
    machine.write("etc/nginx/sites-enabled/news", &nginx);
    machine.write("etc/cron.d/shop.dpkg-dist", "* * * * * www-data curl https://no.example/wp-cron.php\n");
    let before = machine.state();

    let report = machine.report(&[]);
    for part in [
        "[[site]]\nname = \"b-example\"\nurl = \"https://b.example\"\ntrigger = \"wp-cron.php\"\nschedule = \"*/10 * * * *\"\n",
        "[[site]]\nname = \"shop-example\"",
        "[[job]]\nname = \"backup\"\nschedule = \"15 3 * * *\"\ncommand = [\"/usr/local/bin/backup\", \"--full\"]",
        &format!("[[site]]\nname = \"news-example\"\npath = \"{path}\"\nurl = \"https://news.example\"\n"),
        "# MAILTO was ops@shop.example",
        "\n# Under systemd these need config/wp-cron-runner-wp-cli.conf and, for `user`, config/wp-cron-runner-user.conf in ",
        "#   /etc/cron.d/shop:4: */10 * * * * www-data wget",
        "#   /var/spool/cron/crontabs/daemon:2: */5 * * * * curl",
        "# not converted (it runs as root, which a job never does): /etc/cron.d/shop:5: 17 * * * *",
    ] {
        assert!(report.contains(part), "{part} in\n{report}");
    }
    assert!(!report.contains("no.example") && report.parse::<toml::Table>().is_ok(), "{report}");
    let json = machine.json(&[]);
    let count = |key: &str| json[key].as_array().expect(key).len();
    assert_eq!((count("sites"), count("jobs"), count("left"), count("remove")), (3, 1, 1, 4), "{json}");
    assert_eq!((&json["remove"][1]["file"], &json["remove"][1]["line"]), (&"/etc/cron.d/shop".into(), &4.into()));
    assert!(json["toml"].as_str().expect("text").parse::<toml::Table>().is_ok(), "{json}");
    assert_eq!(machine.state(), before);
}

#[test]
fn what_is_written_is_taken_out_of_the_crontabs_and_copied_first() {
    let Some(machine) = Machine::new() else { return };
    let job =
        "PATH=/opt/bin:/usr/bin:/bin\n15 3 * * 1-5 cd /srv && /usr/local/bin/backup --full | logger%100\\% of it\n";
    machine.crontab("daemon", &format!("# mine\n{SITE}{job}@reboot docker exec shop wp cron event run --due-now\n"));
    machine.write("etc/cron.d/shop", TABLE);
    chown(machine.dir.join("etc/cron.d/shop"), Some(0), Some(2)).expect("given");
    fs::create_dir(machine.dir.join("etc/wp-cron-runner")).expect("made");
    let own = "# Ours.\n[[site]]\nname = \"b-example\"\nurl = \"https://c.example\"\ntrigger = \"wp-cron.php\"\nschedule = \"@daily\"\n";
    machine.write("etc/wp-cron-runner/config.toml", own);
    fs::set_permissions(machine.dir.join("etc/wp-cron-runner/config.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    chown(machine.dir.join("etc/wp-cron-runner/config.toml"), Some(0), Some(1)).expect("given");

    let json = machine.json(&["--write"]);
    let copies: Vec<&str> = json["copies"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(copies.len(), 2, "{json}");
    let copy = |of: &str| {
        let path = copies.iter().find(|copy| copy.contains(of)).expect(of);
        let path = path.strip_prefix('/').expect("absolute");
        let mode = fs::metadata(machine.dir.join(path)).expect("a copy").mode() & 0o7777;
        (machine.read(path), mode)
    };
    assert_eq!(copy("/crontab.etc-cron.d-shop."), (TABLE.to_string(), 0o600));
    assert!(copy("/crontab.daemon.").0.contains(SITE));

    let config = machine.read("etc/wp-cron-runner/config.toml");
    assert!(config.starts_with(own) && config.matches("[[site]]").count() == 3, "{config}");
    assert!(config.contains("name = \"b-example-2\"") && config.contains("name = \"shop-example\""), "{config}");
    let found = fs::metadata(machine.dir.join("etc/wp-cron-runner/config.toml")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.gid()), (0o640, 1));
    let check = machine.command(":", &[PROGRAM, "check"]);
    assert!(check.status.success(), "{check:?}");

    assert_eq!(
        machine.crontab_of("daemon"),
        "# mine\nPATH=/opt/bin:/usr/bin:/bin\n@reboot docker exec shop wp cron event run --due-now\n"
    );
    assert!(config.contains("[[job]]\nname = \"backup\"\nschedule = \"15 3 * * 1-5\"\n"), "{config}");
    assert_eq!(
        machine.read("etc/cron.d/shop"),
        TABLE.replace("*/10 * * * * www-data wget -qO- https://b.example/wp-cron.php\n", "")
    );
    let found = fs::metadata(machine.dir.join("etc/cron.d/shop")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.gid()), (0o644, 2));

    // Twice changes nothing. Where the lines are back, the sites are known and only the lines go.
    let before = machine.state();
    let again = machine.report(&["--write"]);
    assert!(again.contains("Nothing to change") && machine.state() == before, "{again}");
    machine.crontab("daemon", SITE);
    machine.report(&["--write"]);
    assert_eq!((machine.crontab_of("daemon").as_str(), machine.read("etc/wp-cron-runner/config.toml")), ("", config));
}

#[test]
fn what_cannot_be_done_to_its_end_is_undone() {
    let Some(machine) = Machine::new() else { return };
    machine.crontab("daemon", SITE);
    machine.write("etc/cron.d/shop", TABLE);
    fs::create_dir(machine.dir.join("etc/wp-cron-runner")).expect("made");
    let before = machine.state();
    // /etc is done when crontab(1) finds that it may not write.
    let command = [PROGRAM, "import", "--write"];
    let failed = machine.command("mount -o remount,bind,ro /var/spool/cron/crontabs", &command);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(69), "{failed:?}");
    assert!(
        said.contains("cannot change /var/spool/cron/crontabs/daemon") && said.contains("everything is as it was"),
        "{said}"
    );
    assert_eq!(machine.state(), before);

    // A configuration that is wrong already, and one that cannot be written.
    machine.write("etc/wp-cron-runner/config.toml", "[[site]]\nname = \"shop\"\n");
    let before = machine.state();
    let failed = machine.command(":", &command);
    assert_eq!(failed.status.code(), Some(78), "{failed:?}");
    assert_eq!(machine.state(), before);
    fs::remove_file(machine.dir.join("etc/wp-cron-runner/config.toml")).unwrap();
    let before = machine.state();
    let failed = machine.command(
        "mount --bind /etc/wp-cron-runner /etc/wp-cron-runner; mount -o remount,bind,ro /etc/wp-cron-runner",
        &command,
    );
    assert_eq!(failed.status.code(), Some(69), "{failed:?}");
    assert_eq!(machine.state(), before);
}

#[test]
fn a_user_imports_his_own_crontab_alone() {
    let Some(machine) = Machine::new() else { return };
    machine.crontab("daemon", SITE);
    machine.crontab("www-data", "* * * * * secret\n");
    machine.write("etc/cron.d/shop", TABLE);
    let folder = machine.dir.join("home");
    fs::create_dir(&folder).expect("made");
    give_to("daemon", &folder);
    let config = folder.join("config.toml").display().to_string();
    let as_daemon =
        ["setpriv", "--reuid", "daemon", "--regid", "daemon", "--clear-groups", "--", PROGRAM, "--config", &config];
    let shown = machine.command(":", &[&as_daemon[..], &["import"]].concat());
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains("\"shop-example\"") && !text.contains("secret"), "{shown:?}");
    assert!(!text.contains("b.example"), "the table is root's: {text}");
    // A folder that he may not write: nothing is done.
    let before = machine.state();
    let elsewhere = [&as_daemon[..8], &["--config", "/etc/new/config.toml", "import", "--write"]].concat();
    let failed = machine.command(":", &elsewhere);
    assert!(failed.status.code() == Some(69) && machine.state() == before, "{failed:?}");

    let done = machine.command(":", &[&as_daemon[..], &["import", "--write"]].concat());
    assert!(done.status.success(), "{done:?}");
    assert_eq!(machine.crontab_of("daemon"), "");
    let found = fs::metadata(&config).expect("made");
    assert_eq!((found.mode() & 0o7777, found.uid()), (0o600, 1));
    assert!(fs::read_to_string(&config).expect("read").contains("https://shop.example"));
}

#[test]
fn a_file_is_a_crontab_or_with_system_a_table() {
    let dir = TestDir::new();
    let file = dir.join("lines");
    let config = dir.join("config.toml").display().to_string();
    let import = |words: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["--config", &config, "import"]).arg(&file).args(words);
        command.output().expect("started")
    };
    fs::write(&file, TABLE).expect("written");
    let table = import(&["--system", "--json"]);
    let json: Value = serde_json::from_slice(&table.stdout).expect("JSON");
    assert_eq!(
        (json["sites"].as_array().map(Vec::len), json["left"].as_array().map(Vec::len)),
        (Some(1), Some(1)),
        "{json}"
    );
    fs::write(&file, format!("{SITE}hello\n")).expect("written");
    let done = import(&["--write"]);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && text.contains("cron does not read"), "{done:?}");
    assert_eq!(fs::read_to_string(&file).expect("read"), "hello\n");

    fs::write(&file, b"\xff\n").expect("written");
    let failed = import(&[]);
    assert!(
        failed.status.code() == Some(69) && String::from_utf8_lossy(&failed.stderr).contains("line 1 is not UTF-8"),
        "{failed:?}"
    );
    fs::remove_file(&file).expect("removed");
    assert_eq!(import(&[]).status.code(), Some(69));
}
