//! Lines in, tables out. What the machine has is made up here: homes, and a WordPress in each folder under /var/www. The
//! names of users are real ones, since the configuration looks for them.

mod fuzzed;
mod jobs;

use super::*;

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
fn a_site_says_what_its_line_did_and_what_comes_next() {
    let notes = |line: &str| {
        let toml = planned(Some("daemon"), &format!("@daily {line}\n")).toml();
        toml.lines().filter_map(|line| line.strip_prefix("# ").map(str::to_string)).skip(1).collect::<Vec<_>>()
    };
    let did = "As its line did: without the plugin, at these times.";
    assert_eq!(
        notes("cd /var/www/shop && wp cron event run --due-now"),
        [did, "`wp-cron-runner init /var/www/shop` gives it the plugin, and each event its own time."]
    );
    assert_eq!(
        notes("curl -k -A x https://shop.example/wp-cron.php"),
        [
            did,
            "`wp-cron-runner init PATH` gives it the plugin, and each event its own time.",
            "The line did not look at the certificate. This does: see `ca_file`.",
            "The line said that it is another program, by its User-Agent. This does not."
        ]
    );
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
        writer: None,
        user: None,
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
    let report = report(Path::new("/c.toml"), &plan, "www-data", &[("/etc/cron.d/y".into(), "no\u{1b}".into())], None);
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

#[test]
fn what_the_unit_has_to_allow_is_said_once() {
    let (wp_cli, user, home) = ("wp-cron-runner-wp-cli.conf", "wp-cron-runner-user.conf", "ProtectHome=no");
    for (lines, expected) in [
        ("* * * * * www-data curl https://shop.example/wp-cron.php\n@daily daemon curl https://a.example/\n", vec![]),
        ("@daily www-data a\n@daily www-data cd /srv && b\n", vec![wp_cli]),
        ("* * * * * www-data wp --path=/var/www/shop cron event run --due-now\n", vec![wp_cli]),
        ("* * * * * daemon wp --path=/var/www/shop cron event run --due-now\n", vec![wp_cli, user]),
        ("@daily daemon a\n@daily www-data b\n", vec![wp_cli, user, home]),
        ("@daily daemon cd /srv && a\n", vec![wp_cli, user]),
        ("@daily www-data cp /home/x/y /srv\n", vec![wp_cli, home]),
        ("@daily www-data a >>/home/x/log\n", vec![wp_cli, home]),
        ("@daily www-data cp /srv/home/y /srv\n", vec![wp_cli]),
        ("@daily root a\n", vec![]),
    ] {
        let plan = planned(None, lines);
        let report = report(Path::new("/c.toml"), &plan, "www-data", &[], None);
        for word in [wp_cli, user, home] {
            let count = usize::from(expected.contains(&word));
            assert_eq!(report.matches(word).count(), count, "{lines}: {word} in\n{report}");
        }
    }
}
