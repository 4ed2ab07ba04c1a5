use super::*;

mod damaged;

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("shop.key");
        fs::write(&key, "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f\n").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        Self { folder }
    }

    fn read(&self, text: &str) -> Result<Config, Refused> {
        let path = self.folder.path().join("config.toml");
        fs::write(&path, text).unwrap();
        read(&path, Secrets::Needed)
    }
}

fn refused(text: &str) -> String {
    let refused = Fixture::new().read(text).expect_err(text);
    let lines = refused.problems.iter().map(|problem| {
        let place = refused.place(problem);
        format!("{} {} | {}", place.rsplit('/').next().unwrap(), problem.message, problem.expected)
    });
    lines.collect::<Vec<String>>().join("\n")
}

const SITE: &str = "[[site]]\nname = \"shop\"\npath = \"/var/www/shop\"\nurl = \"https://shop.example\"\nfastcgi = \"/run/fpm.sock\"\n";

const WP_CLI: &str =
    "[[site]]\nname = \"shop\"\npath = \"/srv/wp\"\nurl = \"https://shop.example\"\ntrigger = \"wp-cli\"\nX\n";

#[test]
fn a_short_file_is_enough() {
    let config = Fixture::new().read(SITE).unwrap();
    let site = &config.sites[0];
    assert_eq!(config.runner.listen.to_string(), "127.0.0.1:9747");
    assert_eq!((site.lanes, site.timeout.as_secs(), site.rescan.as_secs(), site.grace.as_secs()), (2, 600, 60, 600));
    assert_eq!((site.trigger_word(), site.host.as_str()), ("fastcgi", "shop.example"));
    assert_eq!(site.path_and_query("due"), "/?wp-cron-runner=due");
    assert_eq!(site.keys.len(), 1);
}

#[test]
fn hooks_have_their_own_limits() {
    let text = format!(
        "{SITE}timeout = \"1m\"\n[[site.hook]]\nname = \"wc_*\"\ntimeout = \"1h 30m\"\n[[site.hook]]\nname = \"wc_import\"\ninterrupted = \"drop\"\n"
    );
    let config = Fixture::new().read(&text).unwrap();
    let site = &config.sites[0];
    assert_eq!(site.timeout_of("wc_import").as_secs(), 5400);
    assert_eq!(site.timeout_of("other").as_secs(), 60);
    assert_eq!(site.policies(), [("wc_import".to_string(), "drop".to_string())]);
}

#[test]
fn every_problem_is_told_at_once_with_its_place() {
    let text = "[runner]\nmax_parallel = \"4\"\nlisten = \"0.0.0.0:9747\"\ndrian = \"5s\"\n\n[[site]]\nname = \"My Shop\"\nurl = \"ftp://shop.example\"\ntimout = \"5m\"\ntimeout = \"5\"\n";
    let found = refused(text);
    let expected = [
        "config.toml:2:16 `max_parallel` is the text \"4\" | a whole number, 1 to 1024",
        "config.toml:3:10 `listen` is \"0.0.0.0:9747\" | an address on this machine",
        "config.toml:4:1 unknown key `drian` in [runner] | did you mean `drain`?",
        "config.toml:7:8 `name` is \"My Shop\" | 1 to 64",
        "config.toml:8:7 `url` is \"ftp://shop.example\" | https:// or http://",
        "config.toml:9:1 unknown key `timout` in [site] | did you mean `timeout`?",
        "config.toml:10:11 `timeout` is the text \"5\" | a duration such as",
    ];
    for line in expected {
        assert!(found.lines().any(|found| found.starts_with(line)), "{line}\n\n{found}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let table = [
        (String::new(), "names no site"),
        (SITE.replace("shop.example", "user:pw@shop.example"), "no user and password"),
        (SITE.replace("shop.example", "shop.example/#x"), "no query and no fragment"),
        (SITE.replace("shop.example", "shop.example:70000"), "`url` is"),
        (SITE.replace("https://shop", "shop"), "`url` is"),
        (SITE.replace("/run/fpm.sock", "10.0.0.5:9000"), "`fastcgi` is \"10.0.0.5:9000\""),
        (SITE.replace("fastcgi = \"/run/fpm.sock\"", "trigger = \"fastcgi\""), "`fastcgi` is missing"),
        (SITE.replace("path = \"/var/www/shop\"\n", ""), "`path` is missing"),
        (SITE.replace("shop\"\npath", "other\"\npath"), "a file that does not exist"),
        (format!("{SITE}{SITE}"), "two sites have the name `shop`"),
        (format!("{SITE}trigger = \"carrier pigeon\"\n"), "\"wp-cli\" or \"wp-cron.php\""),
        (format!("{SITE}schedule = \"61 * * * *\"\n"), "the field minute is \"61\""),
        (format!("{SITE}schedule = \"@reboot\"\n"), "each event at its own time"),
        (format!("{SITE}schedule = \"0 3 * * *\"\ntimezone = \"Mars/X\"\n"), "`timezone` is \"Mars/X\""),
        (format!("{SITE}timezone = \"Europe/Berlin\"\n"), "`timezone` is there and `schedule` is"),
        (format!("{SITE}trigger = \"wp-cron.php\"\n"), "without the plugin nobody knows"),
        (format!("{SITE}lanes = 2\nlanes = 3\n"), "config.toml:7:1 duplicate key, first defined on line 6"),
        ("[runner]\nname = \"a\"\n[runner]\n".into(), "config.toml:3:2 duplicate key, first defined on line 1"),
        (format!("{SITE}timeout = \"5\"\n"), "a duration such as"),
        (SITE.replace("https:", "http:").replace("fastcgi = \"/run/fpm.sock\"\n", ""), "`insecure = true`"),
        (SITE.replace("shop.example", "sh op.example"), "without a space"),
        (SITE.replace("shop.example", "169.254.169.254"), "no site lives there"),
        ("[runner]\nname = \"a\u{0}b\"\n".into(), "config.toml:2:"),
        (WP_CLI.replace("X", "user = \"nobody-of-this-name\""), "the name of a user of this machine"),
        (WP_CLI.replace("X", "user = \"root\""), "and not root's"),
        (WP_CLI.replace("X", "user = \"0\""), "and not root's"),
        (WP_CLI.replace("X", "user = \"$(id)\""), "`user` is \"$(id)\""),
        (WP_CLI.replace("X", "user = \"nobody\"\nwp_command = [\"sudo\"]"), "`user` and `wp_command` are both there"),
        (WP_CLI.replace("X", "wp_command = \"docker exec\""), "words that are put in front of PHP"),
        (WP_CLI.replace("X", "wp_command = []"), "words that are put in front of PHP"),
        (WP_CLI.replace("X", "ini = [\"-r echo\"]"), "name=value"),
        (
            WP_CLI.replace("/srv/wp", "/srv/$(id)").replace("X", "wp_command = [\"ssh\", \"web-2\"]"),
            "a shell on the other side",
        ),
        (WP_CLI.replace("path = \"/srv/wp\"\n", "").replace("X", ""), "`path` is missing"),
        (format!("{SITE}lanes = 0\n"), "the number 0"),
        ("[[site]]\nname = \"shop\"\nurl = \"http://shop.example\"\n".into(), "in the clear"),
        (
            "[[site]]\nname = \"shop\"\nurl = \"https://shop.example\"\nconnect_to = \"169.254.169.254:80\"\n".into(),
            "`connect_to`",
        ),
        ("site = 5\n".into(), "tables, each headed by [[site]]"),
        ("[[site]\n".into(), "config.toml:1:"),
    ];
    for (text, expected) in table {
        let found = refused(&text);
        assert!(found.contains(expected), "{expected}\nin\n{found}\nfor\n{text}");
    }
}

#[test]
fn http_in_the_clear_is_for_this_machine_or_on_request() {
    for url in ["http://127.0.0.1:8080/blog", "http://localhost", "http://[::1]:81"] {
        let config = Fixture::new().read(&format!("[[site]]\nname = \"shop\"\nurl = \"{url}\"\n")).unwrap();
        assert_eq!(config.sites[0].trigger_word(), "http", "{url}");
    }
    let site = "[[site]]\nname = \"shop\"\nurl = \"http://shop.example\"\n";
    assert!(Fixture::new().read(&format!("{site}insecure = true\n")).is_ok());
    assert!(Fixture::new().read(&format!("{site}connect_to = \"127.0.0.1:80\"\n")).is_ok());
}

#[test]
fn what_is_legal_and_probably_not_meant_is_a_warning() {
    let config = Fixture::new().read(&format!("{SITE}rescan = \"10m\"\ngrace = \"1m\"\n")).unwrap();
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert!(warning.contains("config.toml:1:1") && warning.contains("page loads would run events"), "{warning}");
}

#[test]
fn a_key_of_another_trigger_is_named() {
    let refusal = refused(&format!("{SITE}user = \"nobody\"\n"));
    assert!(refusal.contains("`user` means nothing to the trigger fastcgi"), "{refusal}");
    for (text, key) in [
        (format!("{SITE}insecure = true\n"), "insecure"),
        (format!("{SITE}trigger = \"http\"\n"), "fastcgi"),
        (WP_CLI.replace("X", "connect_to = \"127.0.0.1:443\""), "connect_to"),
        (
            WP_CLI.replace("wp-cli", "wp-cron.php").replace("X", "schedule = \"@daily\"\nsecret_file = \"x\""),
            "secret_file",
        ),
    ] {
        let config = Fixture::new().read(&text).unwrap();
        let [warning] = config.warnings.as_slice() else { panic!("{text}: {:?}", config.warnings) };
        assert!(warning.contains(&format!("`{key}` means nothing to the trigger")), "{warning}");
    }
}

#[test]
fn a_ca_file_without_a_certificate_is_refused_before_it_is_used() {
    let fixture = Fixture::new();
    fs::write(fixture.folder.path().join("ca.pem"), "no certificate\n").unwrap();
    let text = "[[site]]\nname = \"shop\"\nurl = \"https://shop.example\"\nca_file = \"ca.pem\"\n";
    let refusal = fixture.read(text).unwrap_err().to_string();
    assert!(refusal.contains("holds no certificate"), "{refusal}");
}

#[test]
fn two_equal_hooks_are_named_at_both_lines() {
    let hook = "[[site.hook]]\nname = \"wc_import\"\n";
    let config = Fixture::new().read(&format!("{SITE}{hook}timeout = \"1h\"\n{hook}")).unwrap();
    let [first, second] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert!(first.contains("config.toml:6:1") && first.contains("`wc_import`"), "{first}");
    assert!(second.contains("config.toml:9:1"), "{second}");
}

#[test]
fn a_file_without_an_end_is_not_read() {
    let fixture = Fixture::new();
    let path = fixture.folder.path().join("long.toml");
    fs::File::create(&path).unwrap().set_len(100_000_000).unwrap();
    assert!(read(&path, Secrets::Needed).unwrap_err().to_string().contains("larger than 16 MiB"));
}

#[test]
fn files_that_are_no_text_are_refused() {
    let fixture = Fixture::new();
    let path = fixture.folder.path();
    assert!(read(path, Secrets::Needed).unwrap_err().to_string().contains("is a directory"));
    assert!(read(&path.join("none.toml"), Secrets::Needed).unwrap_err().to_string().contains("No such file"));
    fs::write(path.join("x.toml"), b"name = \"\xff\"").unwrap();
    assert!(read(&path.join("x.toml"), Secrets::Needed).unwrap_err().to_string().contains("byte 8"));
}

#[test]
fn the_shipped_files_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let config = read(&path, Secrets::MayBeMissing).unwrap_or_else(|refused| panic!("{refused}"));
            assert!(!config.sites.is_empty());
            count += 1;
        }
    }
    assert_eq!(count, 2);
}

#[test]
fn the_examples_of_the_readme_are_right() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let examples: Vec<&str> =
        readme.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block).collect();
    assert!(!examples.is_empty());
    let folder = tempfile::tempdir().unwrap();
    for example in examples {
        let path = folder.path().join("config.toml");
        fs::write(&path, example).unwrap();
        read(&path, Secrets::MayBeMissing).unwrap_or_else(|refused| panic!("{example}\n{refused}"));
    }
}

#[test]
fn full_toml_shows_the_defaults() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let full = read(&folder.join("full.toml"), Secrets::MayBeMissing).unwrap();
    let short = Fixture::new().read(SITE).unwrap();
    assert_eq!(full.runner.state_dir, short.runner.state_dir);
    assert_eq!(
        (full.runner.listen, full.runner.max_parallel, full.runner.max_wp_cli, full.runner.drain),
        (short.runner.listen, short.runner.max_parallel, short.runner.max_wp_cli, short.runner.drain)
    );
    assert_eq!((full.history.age, full.history.size), (short.history.age, short.history.size));
    let Trigger::WpCli(wp_cli) = &full.sites[2].trigger else { panic!("{:?}", full.sites[2]) };
    let text = "[[site]]\nname = \"shop\"\npath = \"/srv\"\nurl = \"https://shop.example\"\ntrigger = \"wp-cli\"\n";
    let Trigger::WpCli(bare) = Fixture::new().read(text).unwrap().sites[0].trigger.clone() else { panic!() };
    assert_eq!(*wp_cli, bare);
    let (full, short) = (&full.sites[0], &short.sites[0]);
    assert_eq!(
        (full.timeout, full.lanes, full.rescan, full.grace),
        (short.timeout, short.lanes, short.rescan, short.grace)
    );
}
