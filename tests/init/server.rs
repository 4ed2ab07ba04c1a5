//! A whole server: /etc, /var/lib and cron's spool are folders of the test's own. We are root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{bare, differences, owner, tree};
use crate::support::account::{is_root, succeed};
use crate::support::runner::Said;
use crate::support::{Runner, Site};

const AS_WWW: &str = "setpriv --reuid www-data --regid www-data --init-groups";

struct Server {
    runner: Runner,
    dir: PathBuf,
}

impl Server {
    /// None where nobody can make one.
    fn of(site: &Site) -> Option<Server> {
        if !is_root() {
            eprintln!("not root: /etc cannot be another");
            return None;
        }
        let runner = bare(site);
        let dir = runner.dir.join("server");
        fs::create_dir_all(dir.join("lib")).expect("a folder");
        fs::create_dir(dir.join("spool")).expect("a folder");
        succeed(Command::new("cp").arg("-a").arg("/etc").arg(dir.join("etc")));
        succeed(Command::new("rm").arg("-rf").arg(dir.join("etc/cron.d")).arg(dir.join("etc/crontab")));
        fs::create_dir(dir.join("etc/cron.d")).expect("a folder");
        succeed(Command::new("chgrp").arg("crontab").arg(dir.join("spool")));
        fs::set_permissions(dir.join("spool"), fs::Permissions::from_mode(0o1730)).expect("its mode");
        Some(Server { runner, dir })
    }

    /// As it is typed there: without `--config`. `first` are words in front of it.
    fn types(&self, first: &str, words: &[&str]) -> Said {
        let binds: String = [("etc", "/etc"), ("lib", "/var/lib"), ("spool", "/var/spool/cron/crontabs")]
            .iter()
            .map(|(from, to)| format!("mount --bind {} {to} && ", self.dir.join(from).display()))
            .collect();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "sh", "-c", &format!("{binds} exec {first} \"$@\""), "sh"]).args(words);
        command.stdin(Stdio::null()).env_remove("WP_CRON_RUNNER_CONFIG").env("NO_COLOR", "1");
        let output = command.output().expect("unshare");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Said { status: output.status, stdout: stdout.into_owned(), stderr: stderr.into_owned() }
    }

    fn wpcr(&self, words: &[&str]) -> Said {
        let binary = self.runner.binary.display().to_string();
        self.types("", &[&[binary.as_str()], words].concat())
    }

    fn once(&self) -> Said {
        let binary = self.runner.binary.display().to_string();
        self.types(AS_WWW, &[&binary, "once", "--json"])
    }
}

#[test]
fn on_a_server_everything_is_in_its_usual_place() {
    let site = Site::builder().sqlite().start();
    let Some(server) = Server::of(&site) else { return };
    let before = (tree(&site.path), tree(&server.dir));
    let path = site.path.display().to_string();
    let said = server.wpcr(&["init", &path]);
    assert_eq!(said.code(), 0, "{said:?}");
    let www = owner(&site.path.join("wp-content"));
    let config = server.dir.join("etc/wp-cron-runner");
    assert_eq!(owner(&config), (0o750, 0, www.2));
    assert_eq!(owner(&config.join("config.toml")), (0o640, 0, www.2));
    assert_eq!(owner(&config.join("shop.key")), (0o600, www.1, www.2));
    assert_eq!(owner(&server.dir.join("lib/wp-cron-runner")), (0o700, www.1, www.2));
    let text = fs::read_to_string(config.join("config.toml")).expect("the configuration");
    assert!(text.starts_with("[[site]]"), "what is usual is not written: {text}");
    assert!(server.wpcr(&["init", &path]).stdout.contains("nothing to change"));
    // As `import` leaves it where it was there first.
    for path in [&config, &config.join("config.toml")] {
        chown(path, Some(0), Some(0)).expect("root's");
    }
    let opened = server.wpcr(&["init", &path]);
    assert!(opened.stdout.contains("config.toml is the group www-data's to read"), "{opened:?}");

    site.schedule_in(-1, "fx_ok", &json!(["on a server"]));
    let runs = server.once();
    assert_eq!(runs.json()[0]["outcome"], "ok", "{runs:?}");
    let gone = server.wpcr(&["uninstall", "--yes"]);
    assert_eq!(gone.code(), 0, "{gone:?}");
    assert_eq!(
        [differences(&before.0, &tree(&site.path)), differences(&before.1, &tree(&server.dir))].concat(),
        [""; 0]
    );
}

/// What a person types on a server whose crontab did it all until now; and the way back.
#[test]
fn from_a_busy_crontab_to_a_runner_and_back() {
    let site = Site::builder().sqlite().start();
    let Some(server) = Server::of(&site) else { return };
    let path = site.path.display().to_string();
    let typed = server.dir.join("lib/typed");
    let lines = format!(
        "MAILTO=\"\"\n*/5 * * * * cd {path} && wp cron event run --due-now >/dev/null 2>&1\n15 3 * * * /bin/echo nightly\n"
    );
    fs::write(&typed, lines).expect("a crontab");
    assert_eq!(server.types("", &["crontab", "-u", "www-data", "/var/lib/typed"]).code(), 0);
    fs::remove_file(&typed).expect("it goes");
    let cron_d = format!(
        "*/10 * * * * www-data curl -s {}/wp-cron.php?doing_wp_cron > /dev/null\n0 4 * * * root /usr/bin/true\n",
        site.url
    );
    fs::write(server.dir.join("etc/cron.d/shop"), cron_d).expect("a crontab");
    let list = || server.types("", &["crontab", "-u", "www-data", "-l"]).stdout;
    let before = (tree(&site.path), tree(&server.dir), list());

    let imported = server.wpcr(&["import", "--write"]);
    assert_eq!(imported.code(), 0, "{imported:?}");
    let said = server.wpcr(&["init", &path]);
    assert_eq!(said.code(), 0, "{said:?}");
    let checked = server.wpcr(&["check", "--connect"]);
    assert_eq!(checked.code(), 0, "{checked:?}");
    assert!(checked.stdout.contains("answers over fastcgi"), "{checked:?}");
    let twice = server.wpcr(&["init", &path]);
    assert!(twice.stdout.contains("nothing to change"), "{twice:?}");
    site.schedule_in(-1, "fx_ok", &json!(["of a server"]));
    let runs = server.once();
    assert_eq!((&runs.json()[0]["hook"], &runs.json()[0]["outcome"]), (&json!("fx_ok"), &json!("ok")), "{runs:?}");

    let gone = server.wpcr(&["uninstall", "--yes"]);
    assert_eq!(gone.code(), 0, "{gone:?}");
    assert!(gone.stdout.contains("15 3 * * *") && gone.stdout.contains("/bin/echo nightly"), "the job: {gone:?}");
    assert_eq!(differences(&before.0, &tree(&site.path)), [""; 0], "the site is as before");
    // What it lists, and how each gets back to where it was: typed as it is written there.
    let ways = gone.stdout.lines().filter_map(|line| line.split('`').nth(3).filter(|_| line.contains("puts it back")));
    let ways: Vec<&str> = ways.collect();
    assert_eq!(ways.len(), 2, "{gone:?}");
    for way in ways {
        let words: Vec<&str> = way.split(' ').collect();
        assert_eq!(server.types("", &words).code(), 0, "{way}");
    }
    fs::remove_dir_all(server.dir.join("etc/wp-cron-runner")).expect("the copies, which were put back");
    let mut after = tree(&server.dir);
    // crontab(1) writes the time into its own file; what counts is what it shows.
    let spooled = server.dir.join("spool/www-data");
    after.insert(spooled.clone(), before.1[&spooled].clone());
    assert_eq!(differences(&before.1, &after), [""; 0], "the server is as before: {gone:?}");
    assert_eq!(list(), before.2);
}
