//! Processes that end as they like. A script stands for PHP: it gets the same words and the same request.

use super::*;
use crate::config::WpCli;

struct Fake {
    folder: tempfile::TempDir,
    trigger: Trigger,
}

/// A folder for a site. Root's site belongs to somebody else, whose rights its processes have.
pub(super) fn site_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534)).unwrap();
    }
    folder
}

/// Waits for a fact.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = std::time::Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(10), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Gone, or dead and not reaped yet by whoever adopted it.
pub(super) fn is_gone(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).map_or(true, |stat| stat.contains(") Z "))
}

/// Written by a process of its own: a thread that forks while this one holds the file open would make it "busy".
pub(super) fn write_script(file: &Path, text: &str) {
    let written = std::process::Command::new("sh")
        .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod 755 \"$1\"", "sh"])
        .args([file.as_os_str(), text.as_ref()])
        .status();
    assert!(written.unwrap().success());
}

fn fake(script: &str, change: impl FnOnce(&mut WpCli)) -> Fake {
    let folder = site_folder();
    let php = folder.path().join("php");
    write_script(&php, &format!("cd {}\n{script}", folder.path().display()));
    let mut wp_cli = WpCli {
        php: php.display().to_string(),
        wp_cli: folder.path().join("wp").display().to_string(),
        ini: vec!["memory_limit=512M".into()],
        user: None,
        wrapper: Vec::new(),
    };
    change(&mut wp_cli);
    let mut site = Arc::unwrap_or_clone(site("https://shop.example/blog", config::Trigger::WpCli(wp_cli)));
    site.path = Some(folder.path().to_path_buf());
    Fake { trigger: Trigger::new(&Arc::new(site)).unwrap(), folder }
}

async fn end_of(script: &str) -> EndOfStream {
    read(&fake(script, |_| {}).trigger).await.1
}

#[tokio::test]
async fn the_request_comes_on_stdin_and_nothing_of_it_in_the_words() {
    let fake = fake("echo \"$@\" > words; env > env; cat > stdin", |_| {});
    let (_, end) = read(&fake.trigger).await;
    assert!(end.is_over(), "{end:?}");
    let written = |name: &str| std::fs::read_to_string(fake.folder.path().join(name)).unwrap();
    assert_eq!(
        written("words").trim_end(),
        format!(
            "-d memory_limit=512M {0}/wp cron-runner call due --path={0} --url=https://shop.example/blog --no-color",
            fake.folder.path().display()
        )
    );
    let stdin = written("stdin");
    let lines: Vec<&str> = stdin.splitn(4, '\n').collect();
    assert!(lines[0].starts_with("v=1;site=shop;kid="), "{stdin}");
    assert_eq!(lines[1..], ["/blog/?wp-cron-runner=due", "shop.example", "{}"]);
    assert!(!stdin.contains(KEY));
    let allowed = ["HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PATH", "PWD", "SHLVL", "_", "OLDPWD"];
    let env = written("env");
    let stray: Vec<&str> = env.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(stray.iter().all(|name| allowed.contains(name)), "{stray:?}");
}

#[tokio::test]
async fn frames_come_between_other_output() {
    // The frame is made by this test: the script sends its nonce's answer back.
    let script = "read -r signature; echo \"$signature\" > nonce.new; mv nonce.new nonce; while [ ! -e frame ]; do sleep 0.01; done; printf noise; cat frame; printf more";
    let fake = fake(script, |_| {});
    let folder = fake.folder.path().to_path_buf();
    let answer = tokio::spawn(async move {
        until("the nonce", || folder.join("nonce").exists()).await;
        let nonce = nonce_in(&std::fs::read(folder.join("nonce")).unwrap());
        std::fs::write(folder.join("frame.new"), frame(&nonce, 0)).unwrap();
        std::fs::rename(folder.join("frame.new"), folder.join("frame")).unwrap();
    });
    let (seen, end) = read(&fake.trigger).await;
    answer.await.unwrap();
    assert_eq!(seen, "noise<7>more");
    assert!(matches!(&end, EndOfStream::Ended(ended) if ended.is_php) && end.is_over(), "{end:?}");
}

#[tokio::test]
async fn what_ends_without_a_frame_is_named() {
    let table = [
        ("echo '{\"error\":\"E_AUTH\"}'", "Nothing(Misconfigured", "differ"),
        ("echo '{\"error\":\"E_MAINTENANCE\"}'", "Nothing(Maintenance", ""),
        ("echo '{\"error\":\"E_NO_WORDPRESS\"}'", "Nothing(Misconfigured", "no WordPress"),
        (
            "echo \"Error: 'cron-runner' is not a registered wp command.\" >&2; exit 1",
            "Nothing(Misconfigured",
            "not there, or not active",
        ),
        (
            "echo 'Error: This does not seem to be a WordPress installation.' >&2; exit 1",
            "Nothing(Misconfigured",
            "`path`",
        ),
        ("echo 'Error: Error establishing a database connection' >&2; exit 1", "Nothing(Database", "database"),
        (
            "echo \"Error: YIKES! It looks like you're running this as root.\" >&2; exit 1",
            "Nothing(Misconfigured",
            "`user`",
        ),
        ("echo 'Could not open input file: /opt/wp'; exit 1", "Nothing(Misconfigured", "/opt/wp"),
        (
            "echo 'PHP Warning:  x' >&2; echo 'PHP Fatal error:  boom in y' >&2; exit 255",
            "Ended",
            "exit status: 255: PHP Fatal error:  boom",
        ),
        ("kill -9 $$", "Ended", "signal: 9"),
        ("kill -SYS $$", "Ended", "wp-cron-runner-wp-cli.conf"),
        ("exit 0", "Ended", "exit status: 0"),
    ];
    for (script, kind, word) in table {
        let end = format!("{:?}", end_of(script).await);
        assert!(end.starts_with(kind) && end.contains(word), "{script}: {end}");
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_named() {
    let (_, end) = read(&fake("", |wp_cli| wp_cli.php = "/nowhere/php".into()).trigger).await;
    // As root it is setpriv(1) that does not find it.
    let shown = format!("{end:?}").to_lowercase();
    assert!(shown.contains("/nowhere/php") && shown.contains("cannot be started"), "{end:?}");
    assert!(shown.contains("no such program") || shown.contains("no such file"), "{end:?}");
    let (_, end) = read(&fake("", |wp_cli| wp_cli.php = "/etc/passwd".into()).trigger).await;
    let shown = format!("{end:?}");
    assert!(shown.contains("not executable") || shown.contains("Permission denied"), "{end:?}");
    let fake = fake("cat \"$3\"", |_| {});
    std::fs::write(fake.folder.path().join("wp"), "#!/bin/bash\nexec wp \"$@\"\n").unwrap();
    let (_, end) = read(&fake.trigger).await;
    assert!(format!("{end:?}").contains("is a shell script"), "{end:?}");
}

#[tokio::test]
async fn the_end_of_words_in_front_of_php_proves_nothing() {
    let fake = fake("exit 1", |wp_cli| wp_cli.wrapper = vec!["/usr/bin/env".into(), "X=1".into()]);
    let (_, end) = read(&fake.trigger).await;
    assert!(matches!(&end, EndOfStream::Ended(ended) if !ended.is_php), "{end:?}");
    assert!(!end.is_over() && fake.trigger.call(Call::Run, &serde_json::json!({})).await.process().is_none());
}

#[tokio::test]
async fn a_process_that_was_left_behind_does_not_hold_the_answer_up() {
    let began = std::time::Instant::now();
    let (seen, end) = read(&fake("echo said; sleep 30 &", |_| {}).trigger).await;
    assert!(end.is_over() && seen == "said\n", "{seen} {end:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_flood_comes_through_and_one_that_nobody_reads_stops_nobody() {
    let flood = fake("head -c 20000000 /dev/zero; echo x > done", |_| {});
    let mut answer = flood.trigger.call(Call::Run, &serde_json::json!({})).await;
    let mut total = 0;
    while let Item::Output(bytes) = answer.next().await {
        total += bytes.len();
    }
    assert_eq!(total, 20_000_000);
    std::fs::remove_file(flood.folder.path().join("done")).unwrap();
    drop(flood.trigger.call(Call::Run, &serde_json::json!({})).await);
    until("its end without a reader", || flood.folder.path().join("done").exists()).await;
}

#[tokio::test]
async fn a_short_call_that_takes_too_long_is_ended() {
    let slow = fake("echo $$ > pid.new; mv pid.new pid; exec sleep 60", |_| {});
    let failure = slow.trigger.ask(Call::Due, &serde_json::json!({}), Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(failure, Failure::TimedOut(500));
    let pid = std::fs::read_to_string(slow.folder.path().join("pid")).unwrap();
    until("its end", || is_gone(&pid)).await;
}

/// Root's right to end the processes of others, taken away from this thread; true where it is root's.
pub(super) fn may_end_others(may: bool) -> bool {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root's processes are somebody else's here; nothing was tested");
        return false;
    }
    let mut sets = capabilities(None).unwrap();
    sets.effective.set(CapabilitySet::KILL, may);
    set_capabilities(None, sets).unwrap();
    true
}

pub(super) fn kill(pid: &str) {
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_process_that_cannot_be_ended_keeps_no_place_and_gets_no_other_beside_it() {
    if !may_end_others(false) {
        return;
    }
    let limit = Duration::from_millis(500);
    let ask = async |site: &Fake| site.trigger.ask(Call::Due, &serde_json::json!({}), limit).await.err();
    let script = "[ -e well ] && exit 3; echo $$ >> pids; exec sleep 60";
    // More than there are places.
    let sites: Vec<Fake> = (0..5).map(|_| fake(script, |_| {})).collect();
    let pids = |site: &Fake| std::fs::read_to_string(site.folder.path().join("pids")).unwrap();
    let hangs = |site: &Fake| matches!(&site.trigger, Trigger::WpCli(client) if client.hanging.any().is_some());
    for site in &sites {
        let failure = tokio::time::timeout(Duration::from_secs(5), ask(site)).await.expect("no place was left");
        assert_eq!(failure, Some(Failure::TimedOut(500)));
    }
    for site in &sites {
        until("its name", || hangs(site)).await;
        let why = format!("an earlier call hangs (process {}), and this user may not end it", pids(site).trim());
        assert_eq!(ask(site).await, Some(Failure::NotReached(why)));
        assert!(!is_gone(&pids(site)), "and it is the only one");
    }
    may_end_others(true);
    for site in &sites {
        std::fs::write(site.folder.path().join("well"), "").unwrap();
        kill(&pids(site));
        until("its end", || !hangs(site)).await;
        assert_eq!(ask(site).await, None, "it is asked again");
    }
}

#[tokio::test]
async fn who_waits_for_a_place_waits_no_longer_than_the_limit() {
    let slow = fake("exec sleep 60", |_| {});
    let Trigger::WpCli(client) = &slow.trigger else { panic!("another trigger") };
    let body = serde_json::json!({});
    let ask = || slow.trigger.ask(Call::Due, &body, Duration::from_millis(400));
    let wait = client.place(Duration::from_millis(100));
    let (_, _, _, _, fifth) = tokio::join!(ask(), ask(), ask(), ask(), wait);
    let failure = fifth.map(drop).unwrap_err().to_string();
    assert!(failure.contains("no place for its process was free within 100 ms"), "{failure}");
}

#[tokio::test]
async fn the_process_of_a_run_is_ended_with_all_that_it_started() {
    let run = fake("sleep 60 & echo $! > child.new; mv child.new child; wait", |_| {});
    let mut answer = run.trigger.call(Call::Run, &serde_json::json!({})).await;
    let process = answer.process().unwrap();
    let child = run.folder.path().join("child");
    until("its child", || child.exists()).await;
    assert_eq!(process.end().await, process::Ending::Ended);
    let Item::End(EndOfStream::Ended(ended)) = answer.next().await else { panic!("no end") };
    assert!(ended.how.contains("signal: 15"), "{ended:?}");
    let child = std::fs::read_to_string(child).unwrap();
    until("the end of what it started", || is_gone(&child)).await;
    // Long over: nothing is signalled any more.
    assert_eq!(process.end().await, process::Ending::Ended);
}
