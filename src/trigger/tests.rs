//! Against peers that misbehave. Each fake answers one connection with bytes of its choice.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::config::Address;
use crate::protocol::signature::Key;

mod wp_cli;
mod wp_cron_php;

const KEY: &str = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";

fn site(url: &str, trigger: config::Trigger) -> Arc<Site> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url: reqwest::Url = url.parse().unwrap();
    let host =
        url.port().map_or(url.host_str().unwrap().to_string(), |port| format!("{}:{port}", url.host_str().unwrap()));
    Arc::new(Site {
        name: "shop".into(),
        path: Some(PathBuf::from("/var/www/shop")),
        url,
        trigger,
        secret_file: PathBuf::new(),
        keys: vec![Key::from_hex(KEY).unwrap()],
        timeout: Duration::from_secs(600),
        lanes: 2,
        rescan: Duration::from_secs(60),
        grace: Duration::from_secs(600),
        host,
        hooks: Vec::new(),
        schedule: None,
    })
}

/// Frames and output in short, then the end.
async fn read(trigger: &Trigger) -> (String, EndOfStream) {
    let mut answer = trigger.call(Call::Due, &serde_json::json!({})).await;
    let mut seen = String::new();
    loop {
        match answer.next().await {
            Item::Frame(frame) => match *frame {
                Frame::Next { next } => seen += &format!("<{}>", next.unwrap_or(0)),
                other => seen += &format!("<{other:?}>"),
            },
            Item::Output(bytes) => seen += &crate::text::lossy(&bytes),
            Item::End(end) => return (seen, end),
        }
    }
}

fn frame(nonce: &str, seq: u64) -> String {
    Key::from_hex(KEY).unwrap().frame(nonce, seq, r#"{"t":"next","next":7}"#)
}

fn nonce_in(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    text.split("nonce=").nth(1).map(|rest| rest[..32].to_string()).unwrap_or_default()
}

mod fastcgi {
    use super::*;

    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        super::super::fastcgi::record(&mut bytes, kind, content);
        bytes
    }

    fn stdout(text: &str) -> Vec<u8> {
        text.as_bytes().chunks(60_000).flat_map(|part| record(6, part)).collect()
    }

    fn end_request(app_status: u32, protocol_status: u8) -> Vec<u8> {
        let mut content = app_status.to_be_bytes().to_vec();
        content.extend([protocol_status, 0, 0, 0]);
        record(3, &content)
    }

    /// php-fpm as far as a client sees it: reads the whole request, then answers.
    async fn answered(reply: impl Fn(String) -> Vec<u8> + Send + 'static) -> (String, EndOfStream) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fpm.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(&record(5, &[])) {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            let _ = stream.write_all(&reply(nonce_in(&request))).await;
        });
        let trigger = over(&path);
        let read = tokio::time::timeout(Duration::from_secs(10), read(&trigger)).await.unwrap();
        server.await.unwrap();
        read
    }

    fn over(path: &Path) -> Trigger {
        Trigger::new(&site("https://shop.example", config::Trigger::FastCgi(Address::Unix(path.into())))).unwrap()
    }

    const HEAD: &str = "Status: 200 OK\r\nContent-Type: application/x-wp-cron-runner\r\n\r\n";

    #[test]
    fn only_php_s_own_end_or_its_death_next_door_ends_a_request() {
        let table = [
            (EndOfStream::EndRequest, true),
            (EndOfStream::Eof { death_proven: true }, true),
            (EndOfStream::Eof { death_proven: false }, false),
            (EndOfStream::HttpEnd { status: 200 }, false),
            (EndOfStream::Gateway { status: 504 }, false),
            (EndOfStream::Reset("broken".into()), false),
        ];
        for (end, expected) in table {
            assert_eq!(end.is_over(), expected, "{end:?}");
        }
    }

    #[tokio::test]
    async fn a_whole_answer_has_its_end() {
        let (seen, end) = answered(|nonce| {
            let text = format!("{HEAD}noise{}more", frame(&nonce, 0));
            // Every byte in a record of its own: nothing may depend on where records begin.
            let bytes: Vec<u8> = text.as_bytes().chunks(1).flat_map(|byte| record(6, byte)).collect();
            [bytes, end_request(0, 0)].concat()
        })
        .await;
        assert_eq!((seen.as_str(), end), ("noise<7>more", EndOfStream::EndRequest));
    }

    #[tokio::test]
    async fn a_worker_that_died_is_told_from_one_that_ended() {
        let (seen, end) = answered(|nonce| stdout(&format!("{HEAD}{}", frame(&nonce, 0)))).await;
        assert_eq!((seen.as_str(), end), ("<7>", EndOfStream::Eof { death_proven: true }));
        let (_, end) = answered(|_| Vec::new()).await;
        assert_eq!(end, EndOfStream::Eof { death_proven: true });
        let (_, end) = answered(|_| record(6, HEAD.as_bytes())[..20].to_vec()).await;
        assert_eq!(end, EndOfStream::Eof { death_proven: true });
    }

    #[tokio::test]
    async fn what_answers_without_a_frame_is_named() {
        let table = [
            (
                "Status: 404 Not Found\r\n\r\nFile not found.\n",
                "Primary script unknown",
                "Misconfigured",
                "does not find the plugin's file",
            ),
            ("Status: 401 Unauthorized\r\n\r\n{\"error\":\"E_AUTH\"}", "", "Misconfigured", "differ"),
            ("Status: 503 Service Unavailable\r\nRetry-After: 30\r\n\r\n<h1>Maintenance</h1>", "", "Maintenance", "30"),
            ("Status: 500 Internal Server Error\r\n\r\n", "PHP Fatal error:  boom", "ServerError", "boom"),
            (
                "Content-Type: text/html\r\n\r\n<html>\u{1b}hello",
                "",
                "Misconfigured",
                "type text/html): \\\"<html>\\\\x1Bhello",
            ),
            ("Content-Type: text/html\r\n\r\n", "", "Misconfigured", "empty"),
            (
                "Content-Type: application/x-wp-cron-runner\r\n\r\n\nwpcr1:0123456789abcdef:0:aa {}\n",
                "",
                "Misconfigured",
                "not signed with this site's key",
            ),
        ];
        for (text, stderr, kind, word) in table {
            let (_, end) =
                answered(move |_| [record(7, stderr.as_bytes()), stdout(text), end_request(0, 0)].concat()).await;
            let shown = format!("{end:?}");
            assert!(shown.contains(kind) && shown.contains(word), "{text}: {shown}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_speaks_something_else_is_named() {
        let (_, end) = answered(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
        assert!(format!("{end:?}").contains("does not speak FastCGI, it says"), "{end:?}");
        let (_, end) = answered(|_| b"HTTP".to_vec()).await;
        assert!(format!("{end:?}").contains("does not speak FastCGI"), "{end:?}");
    }

    #[tokio::test]
    async fn an_overloaded_server_and_an_endless_head_start_nothing() {
        let (_, end) = answered(|_| end_request(0, 2)).await;
        assert_eq!(end, EndOfStream::Nothing(Failure::QueueFull));
        let (_, end) = answered(|_| stdout(&"X-A: b\r\n".repeat(20_000))).await;
        assert!(format!("{end:?}").contains("64 KiB of headers"), "{end:?}");
    }

    #[tokio::test]
    async fn a_flood_of_output_is_passed_on_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fpm.sock");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let block = record(6, &[b'x'; 60_000]);
            let _ = stream.write_all(&stdout(HEAD)).await;
            for _ in 0..1_700 {
                stream.write_all(&block).await.unwrap();
            }
            let _ = stream.write_all(&end_request(0, 0)).await;
        });
        let mut answer = over(&path).call(Call::Run, &serde_json::json!({})).await;
        let (mut total, mut largest) = (0, 0);
        while let Item::Output(bytes) = answer.next().await {
            total += bytes.len();
            largest = largest.max(bytes.len());
        }
        assert_eq!(total, 102_000_000);
        assert!(largest < 256 * 1024, "{largest}");
    }

    #[tokio::test]
    async fn nobody_there() {
        let folder = tempfile::tempdir().unwrap();
        let (_, end) = read(&over(&folder.path().join("none.sock"))).await;
        assert!(format!("{end:?}").contains("there is no such socket"), "{end:?}");
        let path = folder.path().join("old.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (_, end) = read(&over(&path)).await;
        assert!(format!("{end:?}").contains("nobody listens"), "{end:?}");
    }

    #[tokio::test]
    async fn a_full_queue_is_not_a_dead_php_fpm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fpm.sock");
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let _first = tokio::net::UnixStream::connect(&path).await.unwrap();
        let (_, end) = read(&over(&path)).await;
        assert_eq!(end, EndOfStream::Nothing(Failure::QueueFull));
    }
}

mod http {
    use super::*;

    /// One raw answer; gives what was asked, too.
    async fn exchange(
        reply: impl Fn(String) -> Vec<u8> + Send + 'static,
        change: impl FnOnce(SocketAddr) -> Arc<Site>,
    ) -> (String, EndOfStream, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"{}") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            let _ = stream.write_all(&reply(nonce_in(&request))).await;
            String::from_utf8_lossy(&request).into_owned()
        });
        let trigger = Trigger::new(&change(address)).unwrap();
        let (seen, end) = tokio::time::timeout(Duration::from_secs(10), read(&trigger)).await.unwrap();
        (seen, end, server.await.unwrap())
    }

    fn plain(address: SocketAddr) -> Arc<Site> {
        let trigger = config::Trigger::Http(config::Http::default());
        site(&format!("http://{address}/blog"), trigger)
    }

    async fn answered(reply: &'static str) -> EndOfStream {
        let reply = move |_| reply.as_bytes().to_vec();
        exchange(reply, plain).await.1
    }

    #[tokio::test]
    async fn frames_come_through_the_front_door() {
        let reply = |nonce: String| {
            let body = format!("noise{}more", frame(&nonce, 0));
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-wp-cron-runner\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        };
        let (seen, end, request) = exchange(reply, plain).await;
        assert_eq!((seen.as_str(), end), ("noise<7>more", EndOfStream::HttpEnd { status: 200 }));
        assert!(request.starts_with("POST /blog/?wp-cron-runner=due HTTP/1.1\r\n"), "{request}");
        assert!(request.to_ascii_lowercase().contains("\r\nx-wp-cron-runner: v=1;site=shop;kid="), "{request}");
    }

    #[tokio::test]
    async fn a_status_decides_only_where_no_frame_came() {
        let reply =
            |nonce: String| format!("HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n{}", frame(&nonce, 0)).into_bytes();
        let (seen, end, _) = exchange(reply, plain).await;
        assert_eq!((seen.as_str(), end), ("<7>", EndOfStream::HttpEnd { status: 500 }));
    }

    #[tokio::test]
    async fn what_answers_without_a_frame_is_named() {
        let table = [
            ("301 Moved\r\nLocation: http://169.254.169.254/x", "", "redirects to http://169.254.169.254/x"),
            ("302 Found\r\nLocation: /wp-login.php", "", "redirects to /wp-login.php"),
            ("401 No\r\nWWW-Authenticate: Basic", "", "`basic_auth_file`"),
            ("401 No", "{\"error\":\"E_AUTH\"}", "refused the signature"),
            ("403 Forbidden", "", "firewall"),
            ("404 Not Found\r\nContent-Type: text/html", "<h1>Not here</h1>", "something else than the plugin"),
            ("200 OK\r\nContent-Type: text/html", "<!doctype html>", "type text/html"),
            ("200 OK", "", "the answer is empty"),
            (
                "500 Oops",
                "<b>Error</b> establishing a database connection",
                "Database(\"HTTP 500: Error establishing a database",
            ),
            ("503 Busy\r\nRetry-After: 120", "", "Maintenance { retry_after_s: Some(120) }"),
            ("502 Bad Gateway", "", "Gateway { status: 502 }"),
            ("504 Timeout", "", "Gateway { status: 504 }"),
            ("524 Timeout", "", "Gateway { status: 524 }"),
        ];
        for (head, body, word) in table {
            let reply: &'static str = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n{body}").leak();
            let end = format!("{:?}", answered(reply).await);
            assert!(end.contains(word), "{head}: {end}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_unclear() {
        let cut = "HTTP/1.1 200 OK\r\nContent-Type: application/x-wp-cron-runner\r\nContent-Length: 500\r\n\r\nabc";
        assert!(matches!(answered(cut).await, EndOfStream::Reset(_)));
        assert!(matches!(answered("").await, EndOfStream::Reset(_)));
        assert!(matches!(answered("garbage\r\n\r\n").await, EndOfStream::Reset(_)));
    }

    #[tokio::test]
    async fn an_endless_head_is_cut() {
        let reply =
            |_| format!("HTTP/1.1 200 OK\r\n{}\r\n", format!("X-A: {}\r\n", "b".repeat(1000)).repeat(90)).into_bytes();
        let (_, end, _) = exchange(reply, plain).await;
        assert!(format!("{end:?}").contains("64 KiB of headers"), "{end:?}");
    }

    #[tokio::test]
    async fn host_and_password_and_place_can_be_set_apart() {
        let reply =
            |nonce: String| format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", frame(&nonce, 0)).into_bytes();
        let change = |address| {
            let basic_auth = Some(config::secret::Password::new("user:pass:word"));
            let trigger = config::Trigger::Http(config::Http { ca_file: None, connect_to: Some(address), basic_auth });
            let mut site = Arc::unwrap_or_clone(site("http://shop.invalid", trigger));
            site.host = "www.shop.invalid".into();
            Arc::new(site)
        };
        let (seen, _, request) = exchange(reply, change).await;
        assert_eq!(seen, "<7>");
        let request = request.to_ascii_lowercase();
        assert!(request.contains("\r\nhost: www.shop.invalid\r\n"), "{request}");
        assert!(request.contains("\r\nauthorization: basic dxnlcjpwyxnzondvcmq=\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_site_that_accepts_and_never_answers_costs_only_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let trigger = Trigger::new(&plain(listener.local_addr().unwrap())).unwrap();
        let failure = trigger.ask(Call::Due, &serde_json::json!({}), Duration::from_millis(200)).await.unwrap_err();
        assert_eq!(failure, Failure::TimedOut(200));
    }

    #[tokio::test]
    async fn nobody_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let trigger = Trigger::new(&plain(listener.local_addr().unwrap())).unwrap();
        drop(listener);
        let (_, end) = read(&trigger).await;
        assert!(matches!(end, EndOfStream::Nothing(Failure::NotReached(_))), "{end:?}");
    }
}
