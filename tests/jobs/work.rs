//! What a job can do, and how it can end.

use serde_json::json;

use super::{NEVER, job, runs_of, start};
use crate::support::{Runner, Site, Trigger, account, secs, wait_for};

fn table(name: &str, lines: &str) -> String {
    format!("[[job]]\nname = \"{name}\"\n{NEVER}\n{lines}\n")
}

#[test]
fn programs_end_well_or_badly_and_the_record_says_how() {
    let site = Site::builder().sqlite().start();
    let runner = Runner::builder(&site)
        .table(&table("words", "command = [\"printf\", \"%s|\", \"$HOME\", \"`id`\", \"a;b\", \"*\"]"))
        .table(&table(
            "surroundings",
            "command = [\"/bin/sh\", \"-c\", \"pwd; echo $COLOUR; wc -c; env | sort\"]\nenvironment = { COLOUR = \"deep blue\" }\ndirectory = \"/usr\"",
        ))
        .table(&table("fails", "command = [\"/bin/sh\", \"-c\", \"echo before; echo after >&2; exit 3\"]"))
        .table(&table("nothing", "command = [\"/usr/bin/there-is-no-such-program\"]"))
        .table(&table("nowhere", "command = [\"true\"]\ndirectory = \"/no/such/folder\""))
        .table(&table("killed", "command = [\"/bin/sh\", \"-c\", \"kill -9 $$\"]"))
        .table(&table(
            "endless",
            "command = [\"/bin/sh\", \"-c\", \"echo begun; sleep 300 & sleep 300\"]\ntimeout = \"1s\"",
        ))
        .table(&table(
            "floods",
            "command = [\"/bin/sh\", \"-c\", \"echo first; yes x | head -c 5000000; echo last\"]",
        ))
        .start();
    let run = |name: &str, code: i32| {
        let said = runner.cli(&["trigger", name, "--json"]);
        assert_eq!(said.code(), code, "{name}: {said:?}");
        said.json()[0].clone()
    };

    let words = run("words", 0);
    assert_eq!(words["output"], "$HOME|`id`|a;b|*|", "no shell saw them");
    for field in
        ["run", "site", "job", "due", "started", "ended", "lateness_ms", "ms", "outcome", "then", "host", "trigger"]
    {
        assert!(!words[field].is_null(), "`{field}` in {words}");
    }
    assert!(words.get("hook").is_none() && words["job"] == "words" && words["site"] == "", "{words}");
    assert_eq!(
        (&words["trigger"], &words["host"], &words["outcome"]),
        (&json!("command"), &json!("test"), &json!("ok"))
    );

    let surroundings = run("surroundings", 0);
    let output = surroundings["output"].as_str().expect("output");
    assert!(output.starts_with("/usr\ndeep blue\n0\n"), "folder, environment, an empty stdin: {output}");
    assert!(!output.contains("WP_CRON_RUNNER") && output.contains("PATH="), "{output}");

    let fails = run("fails", 1);
    assert_eq!((&fails["outcome"], &fails["output"]), (&json!("failed"), &json!("before\nafter\n")));
    assert_eq!(fails["error"]["message"], "exit status: 3; its last words: after");
    let nothing = run("nothing", 1);
    let why = nothing["error"]["message"].as_str().expect("an error");
    assert!(nothing["outcome"] == "failed" && why.contains("there is no such program"), "{nothing}");
    assert!(run("nowhere", 1)["error"]["message"].as_str().is_some_and(|why| why.contains("/no/such/folder")));
    let killed = run("killed", 1);
    assert_eq!((&killed["outcome"], &killed["then"]), (&json!("interrupted"), &json!("dropped")));
    assert!(killed["error"]["message"].as_str().is_some_and(|why| why.contains("signal: 9")), "{killed}");

    let endless = run("endless", 1);
    assert_eq!((&endless["outcome"], &endless["output"]), (&json!("timed_out"), &json!("begun\n")));
    let left = std::process::Command::new("pgrep")
        .args(["-g", &endless["pid"].to_string(), "--runstates", "R,S,D"])
        .output()
        .expect("pgrep");
    assert!(left.stdout.is_empty(), "all that it started has ended as well");

    let floods = run("floods", 0);
    let output = floods["output"].as_str().expect("output");
    assert!(output.starts_with("first\nx\nx") && output.ends_with("x\nx\nlast\n"), "both ends are kept");
    assert_eq!(floods["output_dropped"], 5_000_000 + 11 - 2 * 32 * 1024);

    let status = runner.cli(&["status"]);
    assert!(
        status.stdout.contains("killed: its last run did not end well: `wp-cron-runner history killed`"),
        "{status:?}"
    );
    assert_eq!(job(&runner, "words")["last"]["outcome"], "ok");
    assert_eq!(runs_of(&runner, "killed").len(), 1);
    let shown = runner.cli(&["history", "fails"]);
    assert!(shown.stdout.contains("fails") && shown.stdout.contains("exit status: 3"), "{shown:?}");
    let requeue = runner.cli(&["requeue", fails["run"].as_str().expect("an id")]);
    assert!(requeue.code() == 2 && requeue.stderr.contains("`wp-cron-runner trigger fails`"), "{requeue:?}");
}

#[test]
fn wp_cli_works_on_the_job_s_site() {
    let site = Site::builder().sqlite().start();
    let lines = "site = \"shop\"\nwp = [\"eval\", \"echo get_option( 'home' ), ' ', getmypid() === posix_getpgrp() ? 'own group' : '';\"]";
    let runner = Runner::builder(&site).trigger(Trigger::WpCli).table(&table("home", lines)).start();
    let said = runner.cli(&["trigger", "home", "--json"]);
    assert_eq!(said.code(), 0, "{said:?}");
    let run = &said.json()[0];
    assert_eq!(run["output"], format!("{} own group", site.url), "{run}");
    assert_eq!((&run["site"], &run["trigger"]), (&json!("shop"), &json!("wp")));
    // A job's run is none of the site's events.
    assert_eq!(runner.json(&["history", "shop"]), json!([]));
}

#[test]
fn an_address_is_fetched_once_and_a_redirect_is_said() {
    let site = Site::builder().sqlite().start();
    std::fs::write(site.path.join("feed.txt"), "news").expect("feed.txt");
    let url = |path: &str| format!("url = \"{}{path}\"", site.url);
    let runner = Runner::builder(&site)
        .table(&table("feed", &url("/feed.txt")))
        .table(&table("gone", &url("/there-is-no.php")))
        .table(&table("moved", &url("/wp-admin")))
        .table(&table("closed", "url = \"http://127.0.0.1:1/\""))
        .start();
    let run = |name: &str| runner.cli(&["trigger", name, "--json"]).json()[0].clone();
    let feed = run("feed");
    assert_eq!((&feed["outcome"], &feed["output"], &feed["trigger"]), (&json!("ok"), &json!("news"), &json!("url")));
    for (name, words) in [("gone", "HTTP 404"), ("moved", "a redirect to "), ("closed", "refused")] {
        let run = run(name);
        let why = run["error"]["message"].as_str().expect("an error");
        assert!(run["outcome"] == "failed" && why.contains(words), "{name}: {run}");
    }
}

#[test]
fn a_job_s_process_is_its_user_s_with_none_of_the_runner_s_rights() {
    if !account::is_root() {
        eprintln!("only root can give a daemon the right to become others; nothing was tested");
        return;
    }
    let site = Site::builder().sqlite().start();
    let who = "command = [\"/bin/sh\", \"-c\", \"id -un; pwd; grep -h Cap /proc/self/status\"]\nuser = \"backup\"";
    let mut runner = Runner::builder(&site).capabilities("+setuid,+setgid,+kill").table(&table("who", who)).start();
    let said = runner.cli(&["trigger", "who", "--json"]).json();
    let output = said[0]["output"].as_str().expect("output");
    assert!(output.starts_with("backup\n/var/backups\n"), "{output}");
    // What a job says of its surroundings is nothing to the words in front of it, which may become anybody.
    let evil = runner.dir.join("evil");
    std::fs::create_dir(&evil).expect("a folder");
    std::fs::write(evil.join("setpriv"), "#!/bin/sh\necho taken\n").expect("a program");
    std::fs::set_permissions(evil.join("setpriv"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("its mode");
    let path = evil.display();
    let surroundings = format!("{who}\nenvironment = {{ PATH = \"{path}:/usr/bin:/bin\", COLOUR = \"deep = blue\" }}");
    let wanted = surroundings.replace("id -un;", "id -un; echo $COLOUR;");
    runner.rewrite_config(|text| text.replace(who, &wanted));
    runner.reload();
    let said = runner.cli(&["trigger", "who", "--json"]).json();
    let again = said[0]["output"].as_str().expect("output");
    assert!(again.starts_with("backup\ndeep = blue\n/var/backups\n"), "{said}");
    let rights = output.lines().filter(|line| !line.starts_with("CapBnd") && line.starts_with("Cap"));
    assert!(
        rights.clone().count() == 4 && rights.into_iter().all(|line| line.ends_with("\t0000000000000000")),
        "{output}"
    );
}

#[test]
fn a_job_runs_once_at_a_time_and_can_be_paused() {
    let site = Site::builder().sqlite().start();
    let lines = "command = [\"sleep\", \"300\"]";
    let mut runner = Runner::builder(&site).table(&table("long", lines)).start();
    let pid = start(&runner, "long");
    let again = runner.cli(&["trigger", "long"]);
    assert!(again.code() != 0 && again.stderr.contains("it is running already, run "), "{again:?}");
    let hook = runner.cli(&["trigger", "long", "some_hook"]);
    assert!(hook.code() != 0 && hook.stderr.contains("a job has no hooks"), "{hook:?}");
    let status = runner.cli(&["status"]).stdout;
    assert!(status.contains(&format!("process {pid}")) && status.contains("long: is running"), "{status}");

    // Out of the configuration, and back: what runs goes on.
    let text = std::fs::read_to_string(&runner.config).expect("config.toml");
    runner.rewrite_config(|text| text[..text.find("[[job]]").expect("the job")].to_owned());
    assert!(runner.reload().contains("removed long"), "{}", runner.log());
    runner.rewrite_config(|_| text.replace(NEVER, "schedule = \"0 0 1 1 *\""));
    assert!(runner.reload().contains("added long"), "{}", runner.log());
    assert_eq!(job(&runner, "long")["running"]["pid"], pid);
    account::succeed(std::process::Command::new("kill").arg(pid.to_string()));
    let ended = wait_for("its record", secs(10), || runs_of(&runner, "long").first().cloned());
    assert!(ended["outcome"] == "interrupted" && ended["schedule"] == "0 0 29 2 *", "by its old definition: {ended}");

    assert!(runner.cli(&["pause", "long"]).stdout.contains("job long is paused"));
    wait_for("its word", secs(5), || (job(&runner, "long")["state"] == "paused").then_some(()));
    assert_eq!(job(&runner, "long")["paused"], true);
    assert_eq!(runner.stop().code(), Some(0));
    runner.start();
    assert_eq!(job(&runner, "long")["paused"], true, "a pause outlives a restart");
    assert!(runner.cli(&["resume", "long"]).stdout.contains("job long goes on"));
    wait_for("its word", secs(5), || (job(&runner, "long")["paused"] == false).then_some(()));
    let unknown = runner.cli(&["trigger", "lnog"]);
    assert!(unknown.code() == 2 && unknown.stderr.contains("did you mean `long`?"), "{unknown:?}");
}
