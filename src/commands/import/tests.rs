//! Lines in, tables out. What the machine has is made up here: homes, and a WordPress in each folder under /var/www. The
//! names of users are real ones, since the configuration looks for them.

use super::*;
use crate::fuzz::{self, Random};

fn account(name: &str) -> Option<Account> {
    let known = [("root", 0, "/root"), ("daemon", 1000, "/home/daemon"), ("www-data", 33, "/var/www")];
    let (name, uid, home) = known.into_iter().find(|(known, ..)| *known == name)?;
    Some(Account { name: name.into(), uid, gid: uid, home: home.into() })
}

fn wordpress(path: &Path, _: &Account) -> Option<Found> {
    let name = path.strip_prefix("/var/www").ok()?.to_str()?;
    let url = (!name.contains("unknown")).then(|| format!("https://{name}.example"));
    let owner = if name == "roots" { "root" } else { "www-data" };
    Some(Found { url, is_by_web_server: false, owner: owner.into() })
}

fn planned_beside(owner: Option<&str>, text: &str, present: &Present) -> Plan {
    planned_with(owner, text, present, &write::accepts)
}

fn planned_with(
    owner: Option<&str>,
    text: &str,
    present: &Present,
    accepts: &dyn Fn(&str) -> Result<(), String>,
) -> Plan {
    let path = if owner.is_some() { "/var/spool/cron/crontabs/daemon" } else { "/etc/cron.d/x" };
    let crontab = Crontab { path: path.into(), owner: owner.map(str::to_string), text: text.into() };
    let wp_cli = || Some("/usr/local/bin/wp".to_string());
    plan(
        &[crontab],
        present,
        &Machine { account: &account, wordpress: &wordpress, wp_cli: &wp_cli, accepts, known: &present.sites },
    )
}

fn planned(owner: Option<&str>, text: &str) -> Plan {
    planned_beside(owner, text, &Present::default())
}

/// A site's or a job's keys, without those that every one has.
fn keys(toml: &str) -> String {
    let usual =
        ["name", "timeout", "trigger", "directory = \"/home/daemon\"", "user = \"daemon\"", "schedule = \"@daily\""];
    let lines = toml.lines().filter(|line| !line.starts_with('#') && !line.starts_with('['));
    lines.filter(|line| !usual.iter().any(|usual| line.starts_with(usual))).collect::<Vec<_>>().join(" ")
}

#[test]
fn wp_cron_lines_become_sites() {
    for (line, expected) in [
        ("curl -s https://shop.example/wp-cron.php?doing_wp_cron >/dev/null 2>&1", "url = \"https://shop.example\""),
        ("wget -qO- https://shop.example/blog/wp-cron.php", "url = \"https://shop.example/blog\""),
        (
            "wget -qO- http://shop.example/wp-cron.php",
            "url = \"http://shop.example\" insecure = true   # the line used http as well",
        ),
        (
            "cd /var/www/shop && wp cron event run --due-now",
            "path = \"/var/www/shop\" url = \"https://shop.example\" wp_cli = \"/usr/local/bin/wp\"",
        ),
        (
            "php8.2 /usr/bin/wp --path=/var/www/shop/ cron event run --due-now --url=https://a.example",
            "path = \"/var/www/shop\" url = \"https://a.example\" wp_cli = \"/usr/bin/wp\" php = \"php8.2\"",
        ),
        (
            "php /var/www/shop/wp-cron.php",
            "path = \"/var/www/shop\" url = \"https://shop.example\" wp_cli = \"/usr/local/bin/wp\"",
        ),
    ] {
        let plan = planned(Some("daemon"), &format!("@daily {line}\n"));
        let toml = plan.sites.first().map(NewSite::toml).unwrap_or_default().replace("user = \"daemon\"\n", "");
        assert_eq!(keys(&toml), expected, "{line}: {plan:?}");
        assert!(plan.remove.len() == 1 && plan.left.is_empty() && plan.jobs.is_empty(), "{line}: {plan:?}");
    }
}

#[test]
fn lines_of_one_site_become_one() {
    let text = "*/15 * * * * curl -s https://www.shop.example/wp-cron.php\n\
        * * * * * www-data-is-no-user\n\
        */5 * * * * cd /var/www/shop && wp cron event run --due-now --url=https://www.shop.example\n\
        */5 * * * * sleep 30; curl -s http://www.shop.example/wp-cron.php\n\
        */5 * * * * curl -s https://other.example/wp-cron.php\n";
    let plan = planned(Some("daemon"), text);
    let names: Vec<_> =
        plan.sites.iter().map(|site| (site.name.as_str(), site.schedule.as_str(), site.lines.len())).collect();
    assert_eq!(names, [("shop-example", "*/5 * * * *", 3), ("other-example", "*/5 * * * *", 1)]);
    assert_eq!(plan.sites[0].path.as_deref(), Some(Path::new("/var/www/shop")));
    assert_eq!(plan.remove.iter().map(|place| place.line).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[test]
fn sites_that_are_there_already_only_lose_their_lines() {
    let known = |path: Option<&str>, url: &str| KnownSite {
        name: "shop".into(),
        path: path.map(PathBuf::from),
        url: url.parse().unwrap(),
    };
    let present = |site| Present { sites: vec![site], ..Present::default() };
    let lines =
        "* * * * * curl https://shop.example/wp-cron.php\n* * * * * wp cron event run --due-now --path=/var/www/shop\n";
    let plan = planned_beside(Some("daemon"), lines, &present(known(Some("/var/www/shop"), "https://shop.example")));
    assert!(plan.sites.is_empty() && plan.remove.len() == 2, "{plan:?}");
    // Its address is not in wp-config.php; the configuration knows the folder.
    let lines = "* * * * * wp cron event run --due-now --path=/var/www/unknown\n";
    let plan = planned_beside(Some("daemon"), lines, &present(known(Some("/var/www/unknown"), "https://shop.example")));
    assert!(plan.sites.is_empty() && plan.remove.len() == 1 && plan.left.is_empty(), "{plan:?}");
    // Another blog of the same network is another site.
    let lines = "* * * * * wp cron event run --due-now --path=/var/www/shop --url=https://b.example\n";
    let plan = planned_beside(Some("daemon"), lines, &present(known(Some("/var/www/shop"), "https://shop.example")));
    assert_eq!(plan.sites.len(), 1, "{plan:?}");
}

#[test]
fn other_lines_become_jobs() {
    for (line, expected) in [
        ("/usr/local/bin/backup --full", "command = [\"/usr/local/bin/backup\", \"--full\"]"),
        ("backup 'a b' \"c d\" e\\ f > /dev/null 2>&1", "command = [\"backup\", \"a b\", \"c d\", \"e f\"]"),
        (
            "cd /srv/app && php artisan schedule:run >> /dev/null 2>&1",
            "command = [\"php\", \"artisan\", \"schedule:run\"] directory = \"/srv/app\"",
        ),
        ("cd app && ./run", "command = [\"/bin/sh\", \"-c\", \"cd app && ./run\"]"),
        ("~/bin/backup", "command = [\"/home/daemon/bin/backup\"]"),
        ("$HOME/bin/backup \"$HOME\"", "command = [\"/home/daemon/bin/backup\", \"/home/daemon\"]"),
        ("echo $(date +\\%F) >> log", "command = [\"/bin/sh\", \"-c\", \"echo $(date +%F) >> log\"]"),
        ("a | b", "command = [\"/bin/sh\", \"-c\", \"a | b\"]"),
        ("rm /tmp/x*", "command = [\"/bin/sh\", \"-c\", \"rm /tmp/x*\"]"),
        ("X=1 backup", "command = [\"/bin/sh\", \"-c\", \"X=1 backup\"]"),
        ("umask 077; backup", "command = [\"/bin/sh\", \"-c\", \"umask 077; backup\"]"),
        ("backup # nightly", "command = [\"backup\"]"),
        ("backup\t--full", "command = [\"backup\", \"--full\"]"),
        (
            "cat%it's 100\\%%two",
            "command = [\"/bin/sh\", \"-c\", \"printf -- 'it'\\\\''s 100%%\\\\ntwo\\\\n' | '/bin/sh' -c 'cat'\"]",
        ),
        ("curl -fsS -m 10 https://hc.example/ping", "url = \"https://hc.example/ping\""),
        ("wget -q -O /dev/null https://hc.example/ping?a=1", "url = \"https://hc.example/ping?a=1\""),
        (
            "wget -q https://hc.example/x.zip -O x.zip",
            "command = [\"wget\", \"-q\", \"https://hc.example/x.zip\", \"-O\", \"x.zip\"]",
        ),
        ("wget --spider -q https://hc.example/", "command = [\"wget\", \"--spider\", \"-q\", \"https://hc.example/\"]"),
        ("curl http://hc.example/ping", "command = [\"curl\", \"http://hc.example/ping\"]"),
        ("curl -d a=b https://hc.example/ping", "command = [\"curl\", \"-d\", \"a=b\", \"https://hc.example/ping\"]"),
        (
            "wp plugin list --path=/var/www/nosite",
            "command = [\"wp\", \"plugin\", \"list\", \"--path=/var/www/nosite\"]",
        ),
    ] {
        let plan = planned(Some("daemon"), &format!("@daily {line}\n"));
        let toml = plan.jobs.first().map(NewJob::toml).unwrap_or_default();
        assert_eq!(keys(&toml), expected, "{line}: {plan:?}");
        assert!(plan.remove.len() == 1 && plan.left.is_empty(), "{line}: {plan:?}");
    }
}

#[test]
fn a_user_s_crontab_gives_him_nothing_that_is_another_s() {
    let plan = planned(Some("daemon"), "* * * * * sudo -u www-data wp cron event run --due-now --path=/var/www/shop\n");
    assert!(plan.sites.is_empty() && plan.left[0].1.contains("it becomes `www-data`"), "{plan:?}");
    // Both speak of one address; each keeps a site of his own, with his own folder and user.
    let crontab =
        |owner: &str, text: &str| Crontab { path: owner.into(), owner: Some(owner.into()), text: text.into() };
    let crontabs = [
        crontab("www-data", "* * * * * curl -s https://shop.example/wp-cron.php\n"),
        crontab("daemon", "* * * * * wp cron event run --due-now --path=/var/www/evil --url=https://shop.example\n"),
    ];
    let (accepts, wp_cli) = (|_: &str| Ok(()), || None);
    let machine = Machine { account: &account, wordpress: &wordpress, wp_cli: &wp_cli, accepts: &accepts, known: &[] };
    let plan = super::plan(&crontabs, &Present::default(), &machine);
    let paths: Vec<_> = plan.sites.iter().map(|site| site.path.is_some()).collect();
    assert_eq!(paths, [false, true], "{plan:?}");
}

#[test]
fn a_shell_gets_the_input_that_cron_would_give_it() {
    for (line, expected) in [
        ("cat%it's 100\\%%%two", "it's 100%\n\ntwo\n"),
        ("cat%-n %s \\\\n \\t $HOME `x` \"", "-n \ns \\\\n \\t $HOME `x` \"\n"),
        ("tr a-z A-Z; cat%one%two", "ONE\nTWO\n"),
        ("echo 'a # b' # c%one", "a # b\n"),
        ("cat%", ""),
    ] {
        let plan = planned(Some("daemon"), &format!("@daily {line}\n"));
        let job::What::Command(words) = &plan.jobs[0].what else { panic!("{plan:?}") };
        let output =
            std::process::Command::new(&words[0]).args(&words[1..]).stdin(std::process::Stdio::null()).output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(said, expected, "{words:?}");
    }
}

#[test]
fn a_job_is_called_what_people_would_call_it() {
    for (line, name) in [
        ("/usr/local/bin/backup.sh --full", "backup"),
        ("cd /srv && php8.2 artisan schedule:run", "artisan"),
        ("/usr/bin/python3 -u /opt/Sync_Feeds.py", "sync_feeds"),
        ("umask 077; mysqldump x | gzip > y", "mysqldump"),
        ("X=1 Y=2", "shell"),
        ("mail -s x ops%hello", "mail"),
        ("curl -s https://hc.example/ping", "hc-example"),
        ("'", "shell"),
    ] {
        let plan = planned(Some("daemon"), &format!("@daily {line}\n"));
        assert_eq!(plan.jobs[0].name, name, "{line}");
    }
}

#[test]
fn wp_commands_of_a_known_site_become_its_jobs() {
    let text = "* * * * * www-data cd /var/www/shop && wp cron event run --due-now\n\
        0 3 * * * www-data cd /var/www/shop && wp shop export --all --quiet > /dev/null\n\
        0 4 * * * www-data /usr/local/bin/wp --path=/var/www/shop --allow-root cron event run wc_import\n\
        0 5 * * * www-data wp --path=/var/www/shop --url=https://b.example shop export\n";
    let plan = planned(None, text);
    let what: Vec<_> = plan.jobs.iter().map(|job| (job.name.as_str(), keys(&job.toml()))).collect();
    assert_eq!(what[0].0, "wp-shop-export");
    assert!(
        what[0].1.contains("site = \"shop-example\" wp = [\"shop\", \"export\", \"--all\", \"--quiet\"]"),
        "{what:?}"
    );
    assert!(what[1].1.contains("wp = [\"cron\", \"event\", \"run\", \"wc_import\"]"), "{what:?}");
    assert!(what[2].1.contains("command = [\"wp\""), "{what:?}");
}

#[test]
fn variables_above_a_line_go_with_it() {
    let text = "MAILTO=ops@shop.example\nPATH=/opt/bin:/usr/bin:/bin\nSHELL=/bin/bash\nCRON_TZ=Europe/Berlin\nHOME=/srv\n\
        TZ=UTC\n# Nightly.\n15 3 * * * a && b\n@reboot ~/start\n";
    let plan = planned(Some("daemon"), text);
    assert_eq!(
        plan.jobs[0].toml(),
        "# /var/spool/cron/crontabs/daemon:8: 15 3 * * * a && b\n# Nightly.\n\
         # MAILTO was ops@shop.example: an [[alert]] tells when it fails.\n\
         [[job]]\nname = \"a\"\nschedule = \"15 3 * * *\"\ntimezone = \"Europe/Berlin\"\n\
         command = [\"/bin/bash\", \"-c\", \"a && b\"]\ntimeout = \"1d\"   # cron has no limit\nuser = \"daemon\"\n\
         environment = { PATH = \"/opt/bin:/usr/bin:/bin\", HOME = \"/srv\", TZ = \"UTC\" }\ndirectory = \"/srv\"\n"
    );
    let reboot = plan.jobs[1].toml();
    assert!(reboot.contains("schedule = \"@reboot\"") && reboot.contains("command = [\"/srv/start\"]"), "{reboot}");
    assert_eq!(plan.remove.len(), 2);
}

#[test]
fn what_cannot_be_converted_stays_with_its_reason() {
    for (line, reason) in [
        ("* * * * * root /usr/local/bin/backup", "runs as root"),
        ("* * * * * nobody-here x", "no user `nobody-here`"),
        ("* * * * * root php /var/www/roots/wp-cron.php", "belongs to root"),
        ("@reboot www-data wp cron event run --due-now --path=/var/www/shop", "@reboot has none"),
        ("* * * * * www-data wp cron event run --due-now --path=/srv/x", "`wp-cron-runner init /srv/x` looks further"),
        (
            "* * * * * www-data wp cron event run --due-now --path=/var/www/unknown",
            "`wp-cron-runner init /var/www/unknown` finds it",
        ),
        ("* * * * * www-data wp cron event run --due-now --path=/var/www/../../x", "`..`"),
        ("* * * * * www-data docker exec shop wp cron event run --due-now", "`wp_command`"),
        ("* * * * * www-data curl -u a:b https://shop.example/wp-cron.php", "`basic_auth_file`"),
        ("* * * * * www-data curl https://a:b@shop.example/wp-cron.php", "`basic_auth_file`"),
        ("* * * * * www-data curl https://169.254.169.254/wp-cron.php", "the configuration would refuse it"),
        ("61 * * * * www-data x", "the field minute"),
        ("* * * * * www-data echo 'a\tb'", "a tab"),
        ("* * * * * www-data a | b\u{7f}", "control character"),
    ] {
        let plan = planned(None, &format!("{line}\n"));
        assert!(plan.remove.is_empty() && plan.left.len() == 1, "{line}: {plan:?}");
        assert!(plan.left[0].1.contains(reason), "{line}: {}", plan.left[0].1);
    }
    let plan = planned(
        Some("daemon"),
        "CRON_TZ=Mars/X\n@daily x\nCRON_TZ=\nSHELL=zsh\n@daily a;b\nSHELL=/bin/sh\nA.B=c\n@daily y\n",
    );
    let reasons: Vec<_> = plan.left.iter().map(|(_, reason)| reason.as_str()).collect();
    assert!(
        reasons[0].contains("CRON_TZ") && reasons[1].contains("SHELL is `zsh`") && reasons[2].contains("`A.B`"),
        "{reasons:?}"
    );
    let report = report(Path::new("/c.toml"), &plan, &[("/etc/cron.d/y".into(), "no\u{1b}".into())], None);
    assert!(report.contains("# not converted (CRON_TZ above it is wrong") && !report.contains('\u{1b}'), "{report}");
    assert!(report.parse::<toml::Table>().is_ok(), "{report}");
}

#[test]
fn as_root_whose_files_they_are_runs_wordpress() {
    let plan = planned(None, "* * * * * root wp --allow-root cron event run --due-now --path=/var/www/shop\n");
    assert!(plan.sites[0].toml().contains("user = \"www-data\""), "{plan:?}");
    let plan = planned(
        Some("root"),
        "* * * * * su www-data -s /bin/sh -c 'wp cron event run --due-now --path=/var/www/shop'\n",
    );
    assert!(plan.sites[0].toml().contains("user = \"www-data\""), "{plan:?}");
}

/// What a [[job]] may hold.
fn assert_job(job: &toml::Table, text: &str) {
    let known =
        ["name", "schedule", "timezone", "site", "wp", "command", "url", "timeout", "user", "environment", "directory"];
    assert!(job.keys().all(|key| known.contains(&key.as_str())), "{text}");
    let count = ["wp", "command", "url"].iter().filter(|key| job.contains_key(**key)).count();
    assert_eq!(count, 1, "{text}");
    assert_ne!(job.get("user").and_then(toml::Value::as_str), Some("root"), "{text}");
    crate::schedule::Schedule::parse(job["schedule"].as_str().unwrap(), jiff::tz::TimeZone::UTC).unwrap();
    let words = ["wp", "command"].iter().filter_map(|key| job.get(*key)?.as_array()).flatten();
    let is_word = |word: &str| !word.is_empty() && !word.contains(char::is_control);
    assert!(words.clone().all(|word| is_word(word.as_str().unwrap())), "{text}");
}

/// Names are valid and nobody has another's; sites are what the configuration takes; nothing obeys a terminal.
fn assert_sound(plan: &Plan, is_asked: bool) {
    let toml = plan.toml();
    let report = report(Path::new("/c.toml"), plan, &[], None);
    assert!(!report.contains(|c: char| c.is_control() && c != '\n') && !report.contains('\u{202e}'), "{report:?}");
    assert!(report.parse::<toml::Table>().is_ok(), "{report}");
    let table: toml::Table = toml.parse().unwrap_or_else(|error| panic!("{error}\n{toml}"));
    let tables = |key: &str| table.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let (sites, jobs) = (tables("site"), tables("job"));
    assert_eq!((sites.len(), jobs.len()), (plan.sites.len(), plan.jobs.len()), "{toml}");
    let mut names: Vec<&str> = sites.iter().chain(&jobs).map(|table| table["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    assert!(names.len() == count && names.iter().all(|name| name.len() <= 64 && name.chars().all(is_plain)), "{toml}");
    jobs.iter().for_each(|job| assert_job(job.as_table().unwrap(), &toml));
    // Each has been asked about alone.
    if names.len() > 1 && is_asked {
        write::accepts(&toml).unwrap_or_else(|why| panic!("{why}\n{toml}"));
    }
}

const SEEDS: &[&str] = &[
    "*/5 * * * * www-data cd /var/www/shop && wp cron event run --due-now >/dev/null 2>&1\n",
    "* * * * * daemon curl -sS -o /dev/null \"https://shop.example/wp-cron.php?doing_wp_cron\"\n",
    "PATH=/usr/bin:/bin\nMAILTO=\"a b\"\nCRON_TZ=Europe/Berlin\n15 3 * * 1-5 daemon /bin/backup --to 'x y' | mail -s \"$(date +\\%F)\" ops\n",
    "@daily daemon cat%it's%100\\% of \\\\ them\n@reboot daemon ~/start ${X} $((1+1)) `date`\n",
    "0 4 * * * www-data flock -n /tmp/l sudo -u daemon nice -n 5 wp --path=/var/www/shop shop export --all; echo ok\n",
    "1,2-9/3 * 1 jan sun daemon su - www-data -s /bin/sh -c \"cd /var/www/a; php -q wp-cron.php\"\n",
    "* * * * * daemon wget -qO- https://a.example/x.php?a=1&b=2 # ping\n",
];

#[test]
fn no_crontab_makes_it_fall_over() {
    let words = [
        "'", "\"", "$(", "${", "`", "\\", "%", "\\%", "|", "&&", ";", "~", "=", "\t", "\u{202e}", "\u{85}", "ö", "-c",
        "--path=", "{}", "#", "<<", "2>&1",
    ];
    fuzz::each(10_000, |random: &mut Random| {
        let mut text = String::new();
        for _ in 0..random.within(1, 3) {
            text += *random.pick::<&str>(SEEDS);
        }
        for _ in 0..random.within(0, 4) {
            let at =
                (0..=text.len()).rev().find(|at| text.is_char_boundary(*at) && *at <= random.below(text.len() + 1));
            text.insert_str(at.unwrap_or(0), random.pick::<&str>(&words));
        }
        let mut bytes = text.into_bytes();
        random.damage(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // The configuration asks the machine for each user, which takes a while.
        let is_asked = random.one_in(64);
        let accepts: &dyn Fn(&str) -> Result<(), String> = if is_asked { &write::accepts } else { &|_| Ok(()) };
        let plan = planned_with(random.one_in(2).then_some("daemon"), &text, &Present::default(), accepts);
        assert_sound(&plan, is_asked);
        assert!(plan.remove.len() + plan.left.len() <= text.split('\n').count());
    });
}
