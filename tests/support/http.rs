//! A browser of thirty lines: HTTP/1.0, so that nothing comes in chunks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Page {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// What a browser would send back, of all `Set-Cookie` headers.
    pub fn cookies(&self) -> String {
        let set = self.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        let pairs: Vec<&str> = set.filter_map(|(_, value)| value.split(';').next()).collect();
        pairs.join("; ")
    }
}

/// `address` is `127.0.0.1:8080`; a `Host` header among `headers` takes its place in the request.
pub fn request(
    method: &str,
    address: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Page> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = format!("{method} {path} HTTP/1.0\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if method != "GET" {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| std::io::Error::other(format!("not HTTP: {}", String::from_utf8_lossy(&answer))))
}

fn parse(answer: &[u8]) -> Option<Page> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    Some(Page { status, headers, body: String::from_utf8_lossy(&answer[end + 4..]).into_owned() })
}

/// The header of a signed request, put together by PHP from the description of the protocol alone.
pub fn signature(key: &str, site: &str, path: &str, host: &str, body: &[u8]) -> String {
    const SIGN: &str = r#"
        [, $key, $site, $path, $host] = $argv;
        $body = stream_get_contents(STDIN);
        $raw = hex2bin($key);
        $kid = substr(hash('sha256', $raw), 0, 8);
        $ts = (string) (int) (microtime(true) * 1000);
        $nonce = bin2hex(random_bytes(16));
        $host = strtolower(preg_replace('/:\d+$/', '', $host));
        $text = implode("\n", ['wp-cron-runner/1', 'POST', $path, $host, $site, $kid, $ts, $nonce, hash('sha256', $body)]);
        echo "v=1;site=$site;kid=$kid;ts=$ts;nonce=$nonce;sig=" . hash_hmac('sha256', $text, $raw);"#;
    let mut php = Command::new("php")
        .args(["-r", SIGN, "--", key, site, path, host])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("php");
    php.stdin.take().expect("stdin").write_all(body).expect("the body");
    let output = php.wait_with_output().expect("php");
    String::from_utf8(output.stdout).expect("a header")
}
