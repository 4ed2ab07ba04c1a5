//! Configurations, and what they name: no WordPress is needed to refuse them.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;

use super::{refused, said};
use crate::support::account::{self, command_as};
use crate::support::process::{Port, Process};
use crate::support::runner::Said;
use crate::support::test_dir::TestDir;
use crate::support::{secs, wait_for};

const KEY: &str = "c0ffee0123456789c0ffee0123456789c0ffee0123456789c0ffee0123456789";
pub(super) const PASSWORD: &str = "open-sesame";

/// The binary with a folder for its configuration.
pub(super) struct Place {
    binary: PathBuf,
    config: PathBuf,
    pub(super) dir: TestDir,
}

impl Place {
    pub(super) fn new() -> Self {
        let dir = TestDir::new();
        let binary = dir.join("wp-cron-runner");
        let built = env!("CARGO_BIN_EXE_wp-cron-runner");
        fs::hard_link(built, &binary).or_else(|_| fs::copy(built, &binary).map(drop)).expect("the binary");
        fs::create_dir(dir.join("home")).expect("a folder");
        let place = Self { binary, config: dir.join("home/config.toml"), dir };
        place.write("shop.key", format!("{KEY}\n"), 0o600);
        place.write("shop.auth", format!("me:{PASSWORD}\n"), 0o600);
        place
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) {
        let path = self.dir.join("home").join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        account::give_to(account::SITE, &self.dir.join("home"));
    }

    pub(super) fn cli(&self, arguments: &[&str]) -> Said {
        let mut command = command_as(account::SITE, &self.binary);
        command.arg("--config").arg(&self.config).args(arguments).env("NO_COLOR", "1").env("LC_ALL", "C");
        let said = said(command.current_dir(self.dir.path()).env_remove("WP_CRON_RUNNER_CONFIG"));
        for secret in [KEY, PASSWORD, "c0ffee01"] {
            assert!(
                !format!("{}{}", said.stdout, said.stderr).contains(secret),
                "{arguments:?} tells a secret: {said:?}"
            );
        }
        said
    }

    /// `check` in words, `check --json`, and another command with `--json` say the same.
    pub(super) fn refuses(&self, row: &str, at: &str, found: &str, expected: &str) {
        let at = match at {
            "" => self.config.display().to_string(),
            at => format!("{}:{at}", self.config.display()),
        };
        let words = self.cli(&["check"]);
        assert_eq!((words.code(), words.stdout.as_str()), (78, ""), "{row}: {words:?}");
        for part in [at.as_str(), found, expected, "trying again as it is changes nothing; `wp-cron-runner check`"] {
            assert!(words.stderr.contains(part), "{row}: `{part}` is missing in\n{}", words.stderr);
        }
        let told = words.stderr.matches(expected).count();
        assert!(told == 1 || at.contains("toml:"), "{row}: what is expected is told {told} times\n{}", words.stderr);

        let list = self.cli(&["check", "--json"]);
        assert_eq!(list.code(), 78, "{row}: {list:?}");
        let findings = list.json();
        let is_it = |finding: &&serde_json::Value| {
            let text = finding["found"].as_str().unwrap_or_default();
            text.starts_with(&format!("{at}: ")) && text.contains(found)
        };
        let finding = findings.as_array().expect("a list").iter().find(is_it);
        let finding = finding.unwrap_or_else(|| panic!("{row}: nothing at {at} with {found}: {list:?}"));
        assert_eq!((&finding["check"], &finding["level"]), (&"config".into(), &"fail".into()), "{row}");
        assert!(finding["expected"].as_str().is_some_and(|text| text.contains(expected)), "{row}: {finding}");
        assert!(finding["fix"].as_str().is_some_and(|text| text.contains("wp-cron-runner check")), "{row}: {finding}");

        let other = self.cli(&["status", "--json"]);
        let error = refused(&other);
        assert_eq!((&error["code"], &error["again"]), (&78.into(), &"useless".into()), "{row}");
        assert!(error["place"].as_str().is_some_and(|place| place.starts_with(&at)), "{row}: {error}");
        assert!(error["found"].as_str().is_some_and(|text| text.contains(found)), "{row}: {error}");
        assert!(error["expected"].as_str().is_some_and(|text| text.contains(expected)), "{row}: {error}");
    }
}

/// Seven lines; what a row adds comes on line 8.
pub(super) const SITE: &str = "[[site]]\nname = \"shop\"\npath = \"/srv/wp\"\nurl = \"https://shop.example\"\nfastcgi = \"/run/fpm.sock\"\n\
    secret_file = \"shop.key\"\nbasic_auth_file = \"shop.auth\"\n";

/// What is there instead of a line, or on line 8; then place, what was found, and what was expected.
const LINES: [(&str, &str, &str, &str, &str); 46] = [
    ("", "timout = \"5m\"", "8:1", "unknown key `timout` in [site]", "did you mean `timeout`?"),
    ("", "zzz = 1", "8:1", "unknown key `zzz` in [site]", "one of "),
    ("", "secret = \"open-sesame\"", "8:1", "unknown key `secret` in [site]", "did you mean `secret_file`?"),
    ("", "basic_auth = \"me:open-sesame\"", "8:1", "unknown key `basic_auth`", "did you mean `basic_auth_file`?"),
    ("", "lanes = 2\nlanes = 3", "9:1", "duplicate key, first defined on line 8", "it once"),
    ("", "password = \"open-sesame\n", "8:24", "invalid basic string", "TOML"),
    ("", "[runner]\n[runner]", "9:2", "duplicate key, first defined on line 8", "it once"),
    ("", "[runner]\nmax_parallel = \"4\"", "9:16", "`max_parallel` is the text \"4\"", "a whole number, 1 to 1024"),
    ("", "[runner]\nmax_parallel = 0", "9:16", "`max_parallel` is the number 0", "a whole number, 1 to 1024"),
    ("", "[runner]\nmax_wp_cli = 4.5", "9:14", "`max_wp_cli` is of type float", "a whole number, 1 to 1024"),
    ("", "[runner]\nlisten = \"0.0.0.0:9747\"", "9:10", "`listen` is \"0.0.0.0:9747\"", "an address on this machine"),
    ("", "lanes = true", "8:9", "`lanes` is true", "a whole number, 1 to 128"),
    ("", "timeout = \"5\"", "8:11", "`timeout` is the text \"5\"", "a duration such as \"30s\""),
    ("", "grace = 600", "8:9", "`grace` is the number 600", "a duration such as \"30s\""),
    ("", "[history]\nsize = \"200\"", "9:8", "`size` is the text \"200\"", "a size such as \"200MB\""),
    ("https://shop.example", "shop.example", "4:7", "`url` is \"shop.example\"", "such as \"https://shop.example\""),
    ("https://shop", "ftp://shop", "4:7", "`url` is \"ftp://shop.example\"", "https:// or http://"),
    ("https://shop.example", "https://me:open-sesame@x.example", "4:7", "`url` is", "no user and password in it"),
    ("example\"", "example/#top\"", "4:7", "`url` is \"https://shop.example/#top\"", "no query and no fragment"),
    ("shop.example", "sh op.example", "4:7", "`url` is \"https://sh op.example\"", "without a space"),
    ("shop.example", "shop.example:70000", "4:7", "`url` is \"https://shop.example:70000\"", "the site's address"),
    ("shop.example", "169.254.169.254", "4:7", "`url` is", "no link-local address"),
    (
        "https://shop.example\"\nfastcgi = \"/run/fpm.sock\"",
        "http://shop.example\"\n",
        "4:7",
        "leaves this machine in the clear",
        "https://, or `insecure = true`",
    ),
    (
        "fastcgi = \"/run/fpm.sock\"",
        "fastcgi = \"10.0.0.5:9000\"",
        "5:11",
        "`fastcgi` is \"10.0.0.5:9000\"",
        "php-fpm's socket",
    ),
    ("", "connect_to = \"169.254.169.254:80\"", "8:14", "`connect_to` is", "an address and a port"),
    ("", "ca_file = \"none.pem\"", "8:11", "which cannot be read: No such file", "a file with certificates (PEM)"),
    ("", "trigger = \"carrier\"", "8:11", "`trigger` is \"carrier\"", "\"wp-cli\" or \"wp-cron.php\""),
    (
        "\"shop.key\"",
        "\"none.key\"",
        "6:15",
        "a file that does not exist",
        "`wp-cron-runner plugin install SITE` makes one",
    ),
    (
        "\"shop.key\"",
        "\"c0ffee0123456789c0ffee0123456789c0ffee0123456789c0ffee0123456789\"",
        "6:15",
        "does not exist",
        "mode 0600",
    ),
    (
        "",
        "trigger = \"wp-cli\"\nuser = \"nobody-of-this-name\"",
        "9:8",
        "`user` is \"nobody-of-this-name\"",
        "and not root's",
    ),
    ("", "trigger = \"wp-cli\"\nuser = \"root\"", "9:8", "`user` is \"root\"", "and not root's"),
    (
        "",
        "trigger = \"wp-cli\"\nwp_command = \"docker exec\"",
        "9:14",
        "`wp_command` is the text",
        "words that are put in front of PHP",
    ),
    ("", "trigger = \"wp-cli\"\nini = [\"-r x\"]", "9:7", "`ini` is \"-r x\"", "name=value"),
    ("", "schedule = \"61 * * * *\"", "8:12", "the field minute is \"61\"", "0 to 59"),
    ("", "schedule = \"*/0 * * * *\"", "8:12", "the field minute is \"*/0\"", "a step of 1 or more"),
    ("", "schedule = \"5-1 * * * *\"", "8:12", "the field minute is \"5-1\"", "a range from low to high"),
    ("", "schedule = \"* * *\"", "8:12", "`schedule` is \"* * *\"", "five fields"),
    ("", "schedule = \"@never\"", "8:12", "`schedule` is \"@never\"", "@daily"),
    ("", "schedule = \"@reboot\"", "8:12", "`schedule` is \"@reboot\"", "each event at its own time"),
    ("", "schedule = \"0 0 30 2 *\"", "8:12", "the field day of month is \"30\"", "so this never comes"),
    ("", "trigger = \"wp-cron.php\"", "1:1", "`schedule` is \"due\"", "without the plugin nobody knows"),
    (
        "",
        "timezone = \"Europe/Berlin\"",
        "8:12",
        "`timezone` is there and `schedule` is \"due\"",
        "a crontab expression",
    ),
    (
        "",
        "schedule = \"@daily\"\ntimezone = \"Mars/X\"",
        "9:12",
        "`timezone` is \"Mars/X\"",
        "an IANA name such as Europe/Berlin; the nearest are ",
    ),
    (
        "",
        "schedule = \"@daily\"\ntimezone = \"Europe/Berln\"",
        "9:12",
        "`timezone` is \"Europe/Berln\"",
        "Europe/Berlin, ",
    ),
    (
        "",
        "[[site.hook]]\nname = \"x\"\ninterrupted = \"perhaps\"",
        "10:15",
        "`interrupted` is \"perhaps\"",
        "\"hold\", \"drop\" or \"retry\"",
    ),
    (
        "name = \"shop\"",
        "name = \"My \\u001b[31m Shop\"",
        "2:8",
        "`name` is \"My \\x1B[31m Shop\"",
        "1 to 64 of the characters",
    ),
];

#[test]
fn a_configuration_is_refused_at_its_place() {
    let place = Place::new();
    for (from, to, at, found, expected) in LINES {
        let text = if from.is_empty() { format!("{SITE}{to}\n") } else { SITE.replacen(from, to, 1) };
        assert_ne!(text, SITE, "{to}: nothing was replaced");
        place.write("config.toml", text, 0o640);
        place.refuses(to, at, found, expected);
    }
}

#[test]
fn a_file_that_is_no_configuration_is_refused() {
    let place = Place::new();
    let _ = fs::remove_file(&place.config);
    let toml = "a TOML file with mode 0600 to 0640";
    place.refuses("missing", "", "No such file", toml);
    fs::create_dir(&place.config).expect("a folder");
    place.refuses("a directory", "", "is a directory", toml);
    fs::remove_dir(&place.config).expect("its end");
    place.write("config.toml", SITE, 0o000);
    let uid = String::from_utf8(account::succeed(command_as(account::SITE, "id").arg("-u"))).expect("a number");
    place.refuses("unreadable", "", &format!("cannot be read by uid {}: Permission denied", uid.trim()), toml);
    place.write("config.toml", format!("{SITE}# {}", "x".repeat(17 << 20)), 0o640);
    place.refuses("17 MiB", "", "is larger than 16 MiB", toml);
    place.write("config.toml", [SITE.as_bytes(), b"# caf\xe9\n"].concat(), 0o640);
    place.refuses("latin-1", "", &format!("is not UTF-8 text (byte {})", SITE.len() + 5), toml);
    place.write("config.toml", format!("{SITE}lanes = 2\u{0}\n"), 0o640);
    place.refuses("NUL", "8:9", "must be quoted", "TOML");
    place.write("config.toml", "", 0o640);
    place.refuses("empty", "", "names no site", "at least one [[site]] or [[job]]");
    place.write("config.toml", "[runner]\nname = \"web\"\n", 0o640);
    place.refuses("no site", "1:1", "names no site", "at least one [[site]] or [[job]]");
    place.write("config.toml", SITE, 0o640);
    let fine = place.cli(&["check"]);
    assert_eq!(fine.code(), 0, "the file without a fault is taken: {fine:?}");
}

#[test]
fn a_secret_file_is_refused_without_its_secret() {
    let place = Place::new();
    place.write("config.toml", SITE, 0o640);
    let key = "32 random bytes as 64 hex characters";
    for (row, content, mode, found, expected) in [
        ("short", KEY[..62].to_string(), 0o600, "less than 32 bytes", key),
        ("a placeholder", "changeme\n".into(), 0o600, "holds a placeholder", key),
        ("one byte", "c0".repeat(32), 0o600, "all the same", key),
        ("no hex", format!("{}zz", &KEY[..62]), 0o600, "something else than 64 hex characters", key),
        ("empty", String::new(), 0o600, "is empty", key),
        ("CRLF", format!("{KEY}\r\n"), 0o600, "Windows line ends (CRLF)", key),
        ("three", format!("{KEY}\n{KEY}\n{KEY}\n"), 0o600, "has 3 lines", key),
        ("for all to read", format!("{KEY}\n"), 0o644, "has mode 0644", "chmod 600"),
        ("for a group", format!("{KEY}\n"), 0o640, "has mode 0640", "chmod 600"),
        ("closed", format!("{KEY}\n"), 0o000, "Permission denied", "that this user may read"),
    ] {
        place.write("shop.key", content, mode);
        place.refuses(row, "6:15", found, expected);
    }
    let link = place.dir.join("home/shop.key");
    place.write("real.key", KEY, 0o600);
    fs::remove_file(&link).expect("the key's end");
    std::os::unix::fs::symlink("real.key", &link).expect("a link");
    place.refuses("a link", "6:15", "is a symbolic link", "a regular file, mode 0600");
    fs::remove_file(&link).expect("the link's end");
    fs::create_dir(&link).expect("a folder");
    place.refuses("a folder", "6:15", "is not a regular file", "a regular file, mode 0600");
    fs::remove_dir(&link).expect("the folder's end");
    place.write("shop.key", format!("{KEY}\n"), 0o600);
    place.write("shop.auth", PASSWORD, 0o600);
    place.refuses("no colon", "7:19", "is not one line user:password", "user:password, mode 0600");
}

#[test]
fn what_is_legal_is_a_warning_and_no_refusal() {
    let place = Place::new();
    let hook = "[[site.hook]]\nname = \"wc_import\"\n";
    place.write("config.toml", format!("{SITE}{hook}{hook}"), 0o640);
    let said = place.cli(&["check"]);
    assert_eq!(said.code(), 0, "{said:?}");
    let hooks = "two [[site.hook]] have the name `wc_import`";
    for (spot, what) in
        [("7:19", "`basic_auth_file` means nothing to the trigger fastcgi"), ("8:1", hooks), ("10:1", hooks)]
    {
        let warning = format!("warn  config: {}:{spot}: {what}", place.config.display());
        assert!(said.stdout.contains(&warning), "{warning}: {said:?}");
    }
    let findings = place.cli(&["check", "--json"]).json();
    let levels: Vec<_> = findings.as_array().expect("a list").iter().map(|finding| finding["level"].clone()).collect();
    assert_eq!(levels, ["ok", "warn", "warn", "warn"]);
}

/// What a site names in front of it can be wrong with a right configuration as well.
#[test]
fn what_cannot_be_connected_is_named() {
    let place = Place::new();
    let socket = place.dir.join("home/fpm.sock");
    let site = SITE.replace("/run/fpm.sock", &socket.display().to_string());
    place.write("config.toml", &site, 0o640);
    let connects = |row: &str, codes: [i32; 1], parts: &[&str]| {
        let words = place.cli(&["check", "--connect"]);
        assert_eq!([words.code()], codes, "{row}: {words:?}");
        let findings = place.cli(&["check", "--connect", "--json"]);
        assert_eq!([findings.code()], codes, "{row}: {findings:?}");
        let list = findings.json();
        let fail =
            list.as_array().expect("a list").iter().find(|finding| finding["level"] == "fail").expect(row).clone();
        assert_eq!(fail["check"], "site shop", "{row}: {fail}");
        assert!(fail["expected"] != "" && fail["fix"] != "", "{row}: {fail}");
        for part in parts {
            assert!(words.stdout.contains(part), "{row}: `{part}` is missing in {words:?}");
            assert!(fail["found"].as_str().is_some_and(|found| found.contains(part)), "{row}: `{part}`: {fail}");
        }
    };
    let name = socket.display().to_string();
    connects("missing", [69], &[&name, "there is no such socket: php-fpm is not running"]);
    place.write("fpm.sock", "", 0o600);
    connects("a file", [69], &[&name, "this is not a socket", "php-fpm"]);
    fs::remove_file(&socket).expect("its end");
    fs::create_dir(&socket).expect("a folder");
    connects("a folder", [69], &[&name, "this is not a socket"]);
    fs::remove_dir(&socket).expect("its end");
    drop(UnixListener::bind(&socket).expect("a socket"));
    account::give_to(account::SITE, &socket);
    connects("nobody listens", [69], &[&name, "nobody listens: php-fpm is not running"]);
    fs::remove_file(&socket).expect("its end");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).expect("its mode");
    connects("closed", [69], &[&name, "this user may not connect", "listen.mode"]);

    let wp_cli = SITE.replace("fastcgi = \"/run/fpm.sock\"", "trigger = \"wp-cli\"");
    place.write("not-executable", "", 0o600);
    place.write("fails", "#!/bin/sh\necho 'the wrapper is broken' >&2\nexit 3\n", 0o700);
    let home = place.dir.join("home").display().to_string();
    for (row, line, code, parts) in [
        ("no php", "php = \"/none/php\"".to_string(), 78, ["`/none/php` cannot be started", "no such program"]),
        ("not executable", format!("php = \"{home}/not-executable\""), 78, ["cannot be started", "not executable"]),
        ("no WP-CLI", "wp_cli = \"/none/wp\"".into(), 78, ["/none/wp", "Could not open input file"]),
        (
            "a wrapper that fails",
            format!("wp_command = [\"{home}/fails\"]"),
            69,
            ["exit status: 3", "the wrapper is broken"],
        ),
    ] {
        place.write("config.toml", format!("{wp_cli}{line}\n"), 0o640);
        connects(row, [code], &parts);
    }
}

#[test]
fn a_port_or_a_state_directory_that_another_has_is_named_with_its_holder() {
    let place = Place::new();
    let port = Port::take();
    let state = place.dir.join("home/state");
    let config = format!("{SITE}[runner]\nlisten = \"{}\"\nstate_dir = \"{}\"\n", port.address(), state.display());
    place.write("config.toml", config, 0o640);
    let address: SocketAddr = port.address().parse().expect("an address");

    let listen = format!("$s = stream_socket_server('tcp://{address}'); sleep(60);");
    let mut other = Process::start("php", command_as(account::SITE, "php").args(["-r", &listen]));
    wait_for("the other's port", secs(10), || TcpStream::connect(address).ok());
    let words = place.cli(&["run"]);
    assert_eq!(words.code(), 69, "{words:?}");
    let holder = format!("process {} php has it", other.pid());
    for part in [port.address().as_str(), holder.as_str(), "expected a port that is free", "trying again is safe"] {
        assert!(words.stderr.contains(part), "{part}: {words:?}");
    }
    let error = refused(&place.cli(&["run", "--json"]));
    assert_eq!((&error["code"], &error["again"]), (&69.into(), &"safe".into()), "{error}");
    assert!(error["found"].as_str().is_some_and(|found| found.contains(&holder)), "{error}");
    other.stop(secs(5));

    // A daemon, and another one. Whoever read the first one's log is gone: it goes on.
    let (log, closed) = std::io::pipe().expect("a pipe");
    drop(log);
    let mut daemon = command_as(account::SITE, &place.binary);
    daemon.arg("--config").arg(&place.config).arg("run").stderr(closed).env("WP_CRON_RUNNER_LOG", "debug");
    let mut daemon = Process::start("wp-cron-runner", &mut daemon);
    wait_for("the daemon", secs(10), || TcpStream::connect(address).ok());
    let second = place.cli(&["run"]);
    assert_eq!(second.code(), 75, "{second:?}");
    let holder = format!("process {} since 20", daemon.pid());
    for part in [holder.as_str(), "daemon.lock", "trying again is safe", "`wp-cron-runner status`"] {
        let told = format!("{} {}", second.stderr, place.cli(&["run", "--json"]).stdout);
        assert!(told.contains(part), "{part}: {told}");
    }
    let error = refused(&place.cli(&["run", "--json"]));
    assert_eq!((&error["code"], &error["again"]), (&75.into(), &"safe".into()), "{error}");
    assert!(error["found"].as_str().is_some_and(|found| found.contains(&holder)), "{error}");
    assert_eq!(
        place.cli(&["status", "--json"]).json()["runner"]["pid"],
        daemon.pid(),
        "the first one is not disturbed"
    );
    assert!(daemon.stop(secs(10)).success());
    // What it leaves behind holds nobody up.
    assert!(state.join("daemon.lock").exists());
    let mut next = command_as(account::SITE, &place.binary);
    let mut next = Process::start("wp-cron-runner", next.arg("--config").arg(&place.config).arg("run"));
    wait_for("the next daemon", secs(10), || TcpStream::connect(address).ok());
    assert!(next.stop(secs(10)).success());
}

/// Root is refused: 78, with all the parts.
#[test]
fn root_is_refused_with_all_the_parts() {
    if !account::is_root() {
        eprintln!("not root: nothing to refuse");
        return;
    }
    let place = Place::new();
    let text = format!("{SITE}[runner]\nstate_dir = \"{}\"\n", place.dir.join("home/state").display());
    place.write("config.toml", text, 0o640);
    for command in ["run", "once"] {
        let mut as_root = Command::new(&place.binary);
        let said = said(as_root.arg("--config").arg(&place.config).args([command, "--json"]));
        assert_eq!((said.code(), said.json()["error"]["found"].as_str()), (78, Some("uid 0")), "{said:?}");
    }
}
