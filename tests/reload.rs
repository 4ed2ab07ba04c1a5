//! The daemon under its signals: another configuration while events run, storms, and what systemd hears.

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

fn names(runner: &Runner) -> Vec<String> {
    let status = runner.json(&["status"]);
    let sites = status["sites"].as_array().expect("sites");
    sites.iter().map(|site| site["site"].as_str().expect("a name").to_owned()).collect()
}

fn view(runner: &Runner, site: &str) -> Value {
    let status = runner.json(&["status"]);
    status["sites"].as_array().expect("sites").iter().find(|view| view["site"] == site).cloned().unwrap_or(Value::Null)
}

/// The text of one `[[site]]`, by its name.
fn without_site(config: &str, name: &str) -> String {
    let mut parts: Vec<&str> = config.split("\n[[site]]").collect();
    parts.retain(|part| !part.contains(&format!("name = \"{name}\"\n")));
    parts.join("\n[[site]]")
}

#[test]
fn sites_come_change_and_go_while_events_run() {
    let (shop, blog) = (Site::builder().sqlite().start(), Site::builder().name("blog").sqlite().start());
    let mut runner = Runner::builder(&shop).and(&blog).prepare();
    let both = std::fs::read_to_string(&runner.config).expect("config.toml");
    runner.rewrite_config(|config| without_site(&config, "blog"));
    runner.start();
    assert_eq!(names(&runner), ["shop"]);
    shop.schedule_in(1, "fx_sleep", &json!([4, "over the reloads"]));
    let running = wait_for("the event's begin", secs(10), || shop.ledger().begins("fx_sleep").first().map(|b| b.pid));

    // Added: taken over at once; the other is not touched.
    let epoch = view(&runner, "shop")["epoch"].clone();
    runner.rewrite_config(|_| both.clone());
    let log = runner.reload();
    assert!(log.contains("loaded anew: added blog; 1 unchanged"), "{log}");
    wait_for("blog's first word", secs(10), || (view(&runner, "blog")["state"] == "ok").then_some(()));
    blog.schedule_in(1, "fx_ok", &json!(["added"]));
    wait_for("a run of the new site", secs(10), || runner.history_of("fx_ok").first().cloned());

    // Changed: in force for what comes, and what runs goes on by its old definition.
    runner.rewrite_config(|config| {
        config.replace("name = \"shop\"\npath", "name = \"shop\"\ntimeout = \"1s\"\ngrace = \"9m\"\npath")
    });
    let log = runner.reload();
    assert!(log.contains("loaded anew: changed shop; 1 unchanged"), "{log}");
    assert_eq!(view(&runner, "shop")["epoch"], epoch, "nobody takes a site over from himself while it runs");

    // Removed while an event of it runs: that one ends, and page-load cron is back.
    runner.rewrite_config(|config| without_site(&config, "shop"));
    let log = runner.reload();
    assert!(log.contains("loaded anew: removed shop; 1 unchanged"), "{log}");
    wait_for("the end of what ran", secs(15), || shop.ledger().end_of("fx_sleep"));
    wait_for("its record", secs(10), || runner.history_of("fx_sleep").first().cloned());
    let run = runner.history_of("fx_sleep")[0].clone();
    assert_eq!((run["outcome"].as_str(), run["pid"].as_i64()), (Some("ok"), Some(i64::from(running))), "{run}");
    wait_for("shop's disappearance", secs(10), || (names(&runner) == ["blog"]).then_some(()));
    let seen = shop.php("echo (int) (get_option('wp_cron_runner')['seen'] ?? -1);");
    assert_eq!(seen, "0", "page-load cron is back");

    // And back again: taken over anew, with the new limit.
    runner.rewrite_config(|_| both.replace("name = \"shop\"\npath", "name = \"shop\"\ntimeout = \"1s\"\npath"));
    runner.reload();
    wait_for("shop's first word", secs(15), || (view(&runner, "shop")["state"] == "ok").then_some(()));
    shop.schedule_in(1, "fx_hang", &json!([]));
    let run = wait_for("the end by the new limit", secs(20), || runner.history_of("fx_hang").first().cloned());
    assert_eq!(run["outcome"], "timed_out", "{run}");
}

#[test]
fn a_site_that_comes_back_under_its_last_run_is_looked_after_at_once() {
    let (shop, blog) = (Site::builder().mariadb().start(), Site::builder().name("blog").sqlite().start());
    let mut runner = Runner::builder(&shop).and(&blog).start();
    let both = std::fs::read_to_string(&runner.config).expect("config.toml");
    shop.schedule_in(1, "fx_sleep", &json!([8]));
    wait_for("the event's begin", secs(10), || (!shop.ledger().begins("fx_sleep").is_empty()).then_some(()));
    runner.rewrite_config(|config| without_site(&config, "shop"));
    assert!(runner.reload().contains("removed shop"));
    wait_for("the goodbye", secs(10), || {
        (shop.php("echo (int) (get_option('wp_cron_runner')['seen'] ?? -1);") == "0").then_some(())
    });
    runner.rewrite_config(|_| both.clone());
    assert!(runner.reload().contains("added shop"));
    shop.schedule_in(1, "fx_ok", &json!(["back again"]));
    wait_for("a run of the site that is back", secs(10), || runner.history_of("fx_ok").first().cloned());
    assert!(shop.ledger().end_of("fx_sleep").is_none(), "while the old one still ran");
    let run = wait_for("the old one's record", secs(20), || runner.history_of("fx_sleep").first().cloned());
    assert_eq!(run["outcome"], "ok", "{run}");
    assert_eq!(names(&runner), ["shop", "blog"]);
    assert!(shop.ledger().overlaps().is_empty());
}

#[test]
fn a_changed_grace_reaches_the_site_once_nothing_runs() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).start();
    runner.rewrite_config(|config| config.replace("name = \"shop\"\npath", "name = \"shop\"\ngrace = \"7m\"\npath"));
    runner.reload();
    wait_for("the new grace", secs(10), || {
        (site.php("echo (int) get_option('wp_cron_runner')['grace'];") == "420").then_some(())
    });
}

#[test]
fn a_broken_file_keeps_the_old_configuration_and_says_so() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).start();
    let hash = runner.json(&["status"])["runner"]["configuration"]["hash"].clone();
    for (broken, place) in [
        ("[[site]]\nname = ", "config.toml:2:"),
        ("[runner]\nmax_parallel = \"4\"\n", "config.toml:2:16"),
        ("", "names no site"),
    ] {
        runner.rewrite_config(|_| broken.to_owned());
        let log = runner.reload();
        assert!(
            log.contains("was not loaded") && log.contains("stays in force") && log.contains(place),
            "{place}: {log}"
        );
        // The command line cannot read that file either; the runner tells over its API.
        let status: Value = serde_json::from_str(&runner.get("/v1/status").body).expect("JSON");
        assert_eq!(status["runner"]["configuration"]["hash"], hash, "{status}");
        assert!(status["runner"]["configuration"]["error"].to_string().contains(place), "{status}");
    }
}

/// Five hundred of them, as fast as a person with a loop would, while events run.
#[test]
fn a_storm_of_reloads_and_signals_loses_and_doubles_nothing() {
    const EVENTS: i64 = 60;
    let site = Site::builder().sqlite().workers(6).start();
    let mut runner = Runner::builder(&site).site_line("lanes = 3").start();
    let pid = runner.pid();
    let start = unix_now() + 2;
    let mut events: Vec<_> = (0..EVENTS).map(|i| (start + i % 20, "fx_ok", json!(["storm", i]))).collect();
    events.extend((0..4).map(|i| (start + 4 * i, "fx_sleep", json!([3, i]))));
    site.schedule(&events);
    let lines = ["timeout = \"9m\"", "timeout = \"8m\"", "schedule = \"broken\"", "lanes = 2"];
    let text = std::fs::read_to_string(&runner.config).expect("config.toml");
    let began = Instant::now();
    for i in 0..500_u32 {
        let line = lines[(i / 5) as usize % lines.len()];
        std::fs::write(&runner.config, text.replace("lanes = 3", line)).expect("config.toml");
        runner.signal([Signal::HUP, Signal::HUP, Signal::USR1, Signal::HUP, Signal::USR2][i as usize % 5]);
        // Spread over the events; what is waited for is the clock itself.
        let at = began + std::time::Duration::from_millis(u64::from(i) * 48);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
    }
    wait_for("the end of all", secs(40), || {
        (site.ledger().ends("fx_ok").len() >= 60 && site.ledger().ends("fx_sleep").len() >= 4).then_some(())
    });
    wait_for("all records", secs(10), || (runner.history().len() >= 64).then_some(()));
    let history = runner.history();
    assert_eq!(history.len(), 64, "one record each");
    assert!(history.iter().all(|run| run["outcome"] == "ok"), "{history:?}");
    let ledger = site.ledger();
    assert_eq!((ledger.begins("fx_ok").len(), ledger.begins("fx_sleep").len()), (60, 4), "nothing ran twice");
    assert!(ledger.overlaps().is_empty());
    assert_eq!(runner.pid(), pid);
    let log = runner.log();
    let (loaded, kept) = (log.matches("loaded anew").count(), log.matches("was not loaded").count());
    println!("500 signals in {:?}: {loaded} loaded, {kept} kept the old one; lost 0, doubled 0 of 64", began.elapsed());
    assert!(loaded >= 20 && kept >= 5, "loaded {loaded}, kept {kept}");
    assert!(!log.contains("panicked"), "{log}");
    assert!(runner.stop().success());
}

#[test]
fn systemd_hears_that_the_daemon_is_ready_alive_and_stopping() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).prepare();
    let path = runner.dir.join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_nonblocking(true).expect("a socket that does not wait");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("its mode");
    runner.environment =
        vec![("NOTIFY_SOCKET".into(), path.display().to_string()), ("WATCHDOG_USEC".into(), "900000".into())];
    runner.start();
    let mut heard = String::new();
    // What comes after a word stays for the next one.
    let mut hear = |word: &str| {
        wait_for(word, secs(10), || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                heard += &String::from_utf8_lossy(&buffer[..length]);
                heard.push('\n');
            }
            let (_, rest) = heard.split_once(word)?;
            heard = rest.to_owned();
            Some(())
        });
    };
    hear("READY=1");
    hear("STATUS=1 sites, 0 events running");
    // Four rounds of an idle loop, each well within the 0.9 s that the watchdog allows.
    for _ in 0..4 {
        hear("WATCHDOG=1");
    }
    runner.signal(Signal::HUP);
    hear("RELOADING=1\nMONOTONIC_USEC=");
    hear("READY=1");
    runner.signal(Signal::TERM);
    hear("STOPPING=1");
}
