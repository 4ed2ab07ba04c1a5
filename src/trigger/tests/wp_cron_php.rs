//! Passes without the plugin, against servers and programs that do as they like.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::wp_cron_php::{PassEnd, run};
use super::wp_cli::{is_gone, kill, may_end_others, site_folder, until, write_script};
use super::*;
use crate::config::{Http, WpCli, WpCronPhp};
use crate::outcome::Outcome;

async fn answered(reply: &'static [u8]) -> (PassEnd, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/blog", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        let _ = stream.write_all(reply).await;
        String::from_utf8_lossy(&request).into_owned()
    });
    let end = run(&site(&url, config::Trigger::WpCronPhp(WpCronPhp::Http(Http::default()))), None).await;
    (end, server.await.unwrap())
}

#[tokio::test]
async fn an_answer_means_started_and_no_more() {
    let (end, request) = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nnoise").await;
    assert_eq!((end.outcome, end.output.as_str(), end.failure), (Outcome::Ok, "noise", None));
    assert!(end.note.unwrap().contains("does not say whether its events ended"));
    assert!(request.starts_with("GET /blog/wp-cron.php?doing_wp_cron HTTP/1.1\r\n"), "{request}");
}

#[tokio::test]
async fn what_answers_instead_is_named() {
    let table: [(&'static [u8], Outcome, &str); 8] = [
        (b"HTTP/1.1 302 Found\r\nLocation: /wp-login.php\r\n\r\n", Outcome::Failed, "redirects to /wp-login.php"),
        (b"HTTP/1.1 401 No\r\nConnection: close\r\n\r\n", Outcome::Failed, "`basic_auth_file`"),
        (b"HTTP/1.1 403 No\r\nConnection: close\r\n\r\n", Outcome::Failed, "firewall"),
        (b"HTTP/1.1 404 No\r\nConnection: close\r\n\r\n", Outcome::Failed, "no wp-cron.php"),
        (b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n<p>boom</p>", Outcome::Failed, "HTTP 500: boom"),
        (b"HTTP/1.1 504 Late\r\nConnection: close\r\n\r\n", Outcome::Failed, "gave up waiting"),
        (b"HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nConnection: close\r\n\r\n", Outcome::Skipped, "maintenance"),
        (b"garbage\r\n\r\n", Outcome::Failed, "no complete answer"),
    ];
    for (reply, outcome, word) in table {
        let (end, _) = answered(reply).await;
        let why = end.failure.map(|failure| failure.to_string()).unwrap_or_default();
        assert!(end.outcome == outcome && why.contains(word), "{}: {why}", String::from_utf8_lossy(reply));
    }
}

#[tokio::test]
async fn a_server_that_never_answers_costs_only_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let trigger = config::Trigger::WpCronPhp(WpCronPhp::Http(Http::default()));
    let mut site = Arc::unwrap_or_clone(site(&url, trigger));
    site.timeout = Duration::from_millis(200);
    let end = run(&Arc::new(site), None).await;
    assert_eq!((end.outcome, end.failure), (Outcome::TimedOut, Some(Failure::TimedOut(200))));
}

/// A pass through a program that stands for PHP.
async fn with_php(script: &str, timeout: Duration) -> PassEnd {
    let folder = site_folder();
    let php = folder.path().join("php");
    write_script(&php, script);
    let wp_cli = WpCli {
        php: php.display().to_string(),
        wp_cli: "/wp".into(),
        ini: vec!["memory_limit=512M".into()],
        user: None,
        wrapper: Vec::new(),
    };
    let trigger = config::Trigger::WpCronPhp(WpCronPhp::WpCli(wp_cli));
    let mut site = Arc::unwrap_or_clone(site("https://shop.example", trigger));
    site.timeout = timeout;
    site.path = Some(folder.path().to_path_buf());
    run(&Arc::new(site), None).await
}

#[tokio::test]
async fn wp_cli_says_by_its_exit_what_a_pass_was_worth() {
    let patience = Duration::from_secs(20);
    let end = with_php("echo \"$@\"", patience).await;
    let words = "-d ignore_user_abort=1 -d memory_limit=512M /wp cron event run --due-now --path=";
    assert!(end.outcome == Outcome::Ok && end.output.starts_with(words), "{end:?}");
    assert!(end.output.ends_with("--url=https://shop.example/ --no-color\n") && end.pid.is_some(), "{end:?}");
    let end = with_php("echo 'Error: boom' >&2; exit 3", patience).await;
    let why = end.failure.unwrap().to_string();
    assert!(end.outcome == Outcome::Failed && why.contains("exit status: 3: Error: boom"), "{why}");
    let end = with_php("head -c 200000 /dev/zero", patience).await;
    assert_eq!(end.output_dropped, 200_000 - 65_536);
}

#[tokio::test]
async fn a_pass_that_takes_too_long_is_ended_with_what_it_started() {
    let end = with_php("sleep 60 & echo $!; wait", Duration::from_millis(300)).await;
    assert_eq!((end.outcome, end.failure), (Outcome::TimedOut, Some(Failure::TimedOut(300))));
    assert!(end.ms < 10_000, "{}", end.ms);
    until("the end of what it started", || is_gone(&end.output)).await;
}

#[tokio::test]
async fn a_pass_that_cannot_be_ended_is_given_up() {
    if !may_end_others(false) {
        return;
    }
    let pass = with_php("exec sleep 60", Duration::from_millis(300));
    let end = tokio::time::timeout(Duration::from_secs(20), pass).await.expect("it goes on for ever");
    may_end_others(true);
    let pid = end.pid.unwrap().to_string();
    assert_eq!((end.outcome, end.failure), (Outcome::TimedOut, Some(Failure::TimedOut(300))));
    assert_eq!(end.note, Some(format!("process {pid} could not be ended, and goes on")));
    assert!(!is_gone(&pid));
    kill(&pid);
}
