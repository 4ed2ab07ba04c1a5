//! Lines that become [[job]].

use super::*;

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
        ("cd ~ && backup", "command = [\"backup\"]"),
        ("cd ~/app&&backup", "command = [\"backup\"] directory = \"/home/daemon/app\""),
        ("backup ~ ~/x>/dev/null", "command = [\"backup\", \"/home/daemon\", \"/home/daemon/x\"]"),
        ("backup ~>/dev/null", "command = [\"backup\", \"/home/daemon\"]"),
        ("backup '~' a~ /~b", "command = [\"backup\", \"~\", \"a~\", \"/~b\"]"),
        ("cd ~deploy && backup", "command = [\"/bin/sh\", \"-c\", \"cd ~deploy && backup\"]"),
        ("backup ~deploy/x", "command = [\"/bin/sh\", \"-c\", \"backup ~deploy/x\"]"),
        ("backup to=~/x", "command = [\"/bin/sh\", \"-c\", \"backup to=~/x\"]"),
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
        // The file that they write, and what else a job does not do.
        ("wget https://hc.example/feed", "command = [\"wget\", \"https://hc.example/feed\"]"),
        ("wget -qP /srv https://hc.example/x", "command = [\"wget\", \"-qP\", \"/srv\", \"https://hc.example/x\"]"),
        ("wget -N https://hc.example/x", "command = [\"wget\", \"-N\", \"https://hc.example/x\"]"),
        ("wget --delete-after -P /tmp https://hc.example/x", "url = \"https://hc.example/x\""),
        ("wget -O- -o /dev/null https://hc.example/x", "url = \"https://hc.example/x\""),
        (
            "wget -O- -a log https://hc.example/x",
            "command = [\"wget\", \"-O-\", \"-a\", \"log\", \"https://hc.example/x\"]",
        ),
        ("fetch https://hc.example/x", "command = [\"fetch\", \"https://hc.example/x\"]"),
        ("curl -A x https://hc.example/", "command = [\"curl\", \"-A\", \"x\", \"https://hc.example/\"]"),
        (
            "wget -O- --user-agent=x https://hc.example/",
            "command = [\"wget\", \"-O-\", \"--user-agent=x\", \"https://hc.example/\"]",
        ),
        ("curl -sI https://hc.example/", "command = [\"curl\", \"-sI\", \"https://hc.example/\"]"),
        (
            "wget -qO- 'https://shop.example/wp-cron.php?import_key=K&import_id=5&action=trigger'",
            "url = \"https://shop.example/wp-cron.php?import_key=K&import_id=5&action=trigger\"",
        ),
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
    assert!(reboot.contains("timeout = \"30d\"   # ") && reboot.contains("better a systemd unit"), "{reboot}");
    assert_eq!(plan.remove.len(), 2);
}

#[test]
fn a_wp_command_starts_where_cron_started_it() {
    let shop = KnownSite {
        name: "shop".into(),
        path: Some("/var/www/shop".into()),
        url: "https://shop.example".parse().unwrap(),
        writer: None,
        user: None,
    };
    let present = Present { sites: vec![shop], ..Present::default() };
    for (line, expected) in [
        ("wp --path=/var/www/shop db export backup.sql", Some("/home/daemon")),
        ("cd /srv/backups && wp --path=/var/www/shop db export", Some("/srv/backups")),
        ("cd .. && wp --path=/var/www/shop db export", Some("/home/daemon/..")),
        ("cd /var/www && wp --path=shop db export", Some("/var/www")),
        ("cd /var/www/shop/ && wp db export /srv/backup.sql", None),
        ("cd /var/www/shop && wp --path=/var/www/shop db export /srv/backup.sql", None),
    ] {
        let plan = planned_beside(Some("daemon"), &format!("@daily {line}\n"), &present);
        let toml: toml::Table = plan.toml().parse().unwrap();
        let job = &toml["job"][0];
        assert_eq!(job["site"].as_str(), Some("shop"), "{line}: {toml}");
        assert_eq!(job.get("directory").and_then(toml::Value::as_str), expected, "{line}: {toml}");
    }
}

#[test]
fn no_user_chooses_what_another_s_job_runs() {
    let (shop, export) = ("--path=/var/www/shop cron event run --due-now", "wp --path=/var/www/shop shop export");
    let crontab =
        |owner: Option<&str>, text: String| Crontab { path: "/x".into(), owner: owner.map(str::to_string), text };
    let his = |line: &str| crontab(Some("daemon"), format!("* * * * * {line} {shop}\n"));
    let table = |text: &str| crontab(None, format!("{text} {shop}\n"));
    let (accepts, wp_cli) = (|_: &str| Ok(()), || None);
    let jobs = |site: Crontab, present: &Present| {
        let lines = format!("0 3 * * * www-data {export}\n0 3 * * * daemon {export}\n");
        let crontabs = [site, crontab(None, lines)];
        let known = &present.sites;
        let machine = Machine { account: &account, wordpress: &wordpress, wp_cli: &wp_cli, accepts: &accepts, known };
        let plan = super::plan(&crontabs, present, &machine);
        assert_eq!(plan.jobs.len(), 2, "{plan:?}");
        let is_of_site = |job: &NewJob| matches!(job.what, job::What::Wp { .. });
        plan.jobs.iter().filter(|job| is_of_site(job)).map(|job| job.user.clone()).collect::<Vec<_>>().join(" ")
    };
    let none = Present::default();
    let present = |user: Option<&str>| KnownSite {
        name: "shop".into(),
        path: Some("/var/www/shop".into()),
        url: "https://shop.example".parse().unwrap(),
        writer: None,
        user: user.map(str::to_string),
    };
    let present = |user| Present { sites: vec![present(user)], ..Present::default() };
    for (site, known, expected) in [
        // His own PHP and WP-CLI, and an address of his: no other's job takes them.
        (his("/home/daemon/php /home/daemon/wp"), &none, "daemon"),
        (his("wp --url=https://evil.example"), &none, "daemon"),
        (his("php /var/www/shop/wp-cron.php; :"), &none, "daemon"),
        // Root says it, of programs that only one user trusts.
        (table("* * * * * daemon /home/daemon/php /home/daemon/wp"), &none, "daemon"),
        (table("* * * * * www-data wp"), &none, "www-data"),
        (table("* * * * * root wp"), &none, "www-data"),
        // The configuration says it.
        (table("# "), &present(None), "www-data daemon"),
        (table("# "), &present(Some("daemon")), "daemon"),
    ] {
        let shown = format!("{site:?} {:?}", known.sites);
        assert_eq!(jobs(site, known), expected, "{shown}");
    }
}
