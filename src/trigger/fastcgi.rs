//! php-fpm, spoken to directly. A client of our own: the one crate there is reports an answer that was cut off as a
//! complete one, and that difference is the whole point here.
//!
//! One connection per request, closed at once after END_REQUEST: php-fpm keeps a worker waiting until its client closes.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::head::{Head, LONGEST_HEAD};
use super::{Chunk, EndOfStream, Request};
use crate::config::{Address, Site};
use crate::outcome::Failure;
use crate::text;

const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Client {
    pub site: Arc<Site>,
    address: Address,
}

enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Connection {
    fn is_near(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(stream) => stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback()),
        }
    }
}

pub struct Stream {
    connection: Option<Connection>,
    /// Bytes that do not make a whole record yet; never more than two records.
    buffer: Vec<u8>,
    /// The head of the answer, until it is complete.
    head: Option<Vec<u8>>,
    pending: Option<Chunk>,
    seen_record: bool,
    /// No network between: the end of the connection is the end of the process.
    is_near: bool,
}

impl Client {
    pub fn new(site: &Arc<Site>, address: Address) -> Self {
        Self { site: site.clone(), address }
    }

    pub async fn send(&self, request: &Request) -> Result<Stream, EndOfStream> {
        let message = encode(&self.params(request), &request.body).map_err(EndOfStream::Nothing)?;
        let mut connection = match tokio::time::timeout(CONNECT_LIMIT, self.connect()).await {
            Ok(connected) => connected.map_err(EndOfStream::Nothing)?,
            Err(_) => {
                return Err(EndOfStream::Nothing(Failure::NotReached(format!("{} does not accept", self.address))));
            }
        };
        // A peer that hangs up early may have said why: its words are read below.
        let _ = match &mut connection {
            Connection::Unix(stream) => write(stream, &message).await,
            Connection::Tcp(stream) => write(stream, &message).await,
        };
        let is_near = connection.is_near();
        Ok(Stream {
            connection: Some(connection),
            buffer: Vec::with_capacity(16 * 1024),
            head: Some(Vec::new()),
            pending: None,
            seen_record: false,
            is_near,
        })
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let connected = match &self.address {
            Address::Unix(path) => UnixStream::connect(path).await.map(Connection::Unix),
            Address::Tcp(address) => TcpStream::connect(address).await.map(Connection::Tcp),
        };
        connected.map_err(|error| {
            let is_other = |path: &Path| path.metadata().is_ok_and(|there| !there.file_type().is_socket());
            let why = match error.kind() {
                ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied
                    if matches!(&self.address, Address::Unix(path) if is_other(path)) =>
                {
                    "this is not a socket: see `listen` of the php-fpm pool"
                }
                // The queue of the socket is full: php-fpm is busy, not down.
                ErrorKind::WouldBlock => return Failure::QueueFull,
                ErrorKind::NotFound => "there is no such socket: php-fpm is not running, or listens elsewhere",
                ErrorKind::PermissionDenied => {
                    "this user may not connect: see listen.owner, listen.group and listen.mode of the php-fpm pool"
                }
                ErrorKind::ConnectionRefused => "nobody listens: php-fpm is not running",
                _ => return Failure::NotReached(format!("{}: {error}", self.address)),
            };
            Failure::NotReached(format!("{}: {why}", self.address))
        })
    }

    fn params(&self, request: &Request) -> Vec<(&'static str, String)> {
        let site = &self.site;
        let path = site.path.clone().unwrap_or_default();
        let (name, port) = match site.host.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => (name, port.to_string()),
            _ => (site.host.as_str(), site.url.port_or_known_default().unwrap_or(80).to_string()),
        };
        let mut params = vec![
            ("SCRIPT_FILENAME", endpoint(&path)),
            ("SCRIPT_NAME", "/index.php".to_string()),
            ("REQUEST_URI", request.path_and_query.clone()),
            ("QUERY_STRING", request.query.clone()),
            ("REQUEST_METHOD", "POST".to_string()),
            ("CONTENT_TYPE", "application/json".to_string()),
            ("CONTENT_LENGTH", request.body.len().to_string()),
            ("DOCUMENT_ROOT", path.display().to_string()),
            ("WP_CRON_RUNNER_ROOT", path.display().to_string()),
            ("HTTP_HOST", site.host.clone()),
            ("HTTP_X_WP_CRON_RUNNER", request.signature.clone()),
            ("SERVER_NAME", name.to_string()),
            ("SERVER_PORT", port),
            ("SERVER_PROTOCOL", "HTTP/1.1".to_string()),
            ("SERVER_SOFTWARE", concat!("wp-cron-runner/", env!("CARGO_PKG_VERSION")).to_string()),
            ("GATEWAY_INTERFACE", "CGI/1.1".to_string()),
            ("REMOTE_ADDR", "127.0.0.1".to_string()),
        ];
        if site.url.scheme() == "https" {
            params.push(("HTTPS", "on".to_string()));
        }
        params
    }
}

/// The plugin's own entry, which looks without loading all of WordPress. This user may be one who cannot see it.
fn endpoint(path: &Path) -> String {
    let usual = || path.join("wp-content/mu-plugins").join(super::ENDPOINT);
    super::endpoint(path).unwrap_or_else(usual).display().to_string()
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> std::io::Result<()> {
    stream.write_all(message).await?;
    stream.flush().await
}

/// The whole request in one piece: php-fpm reads it with a few calls.
fn encode(params: &[(&'static str, String)], body: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut pairs = Vec::new();
    for (name, value) in params {
        push_length(&mut pairs, name.len());
        push_length(&mut pairs, value.len());
        pairs.extend_from_slice(name.as_bytes());
        pairs.extend_from_slice(value.as_bytes());
    }
    // php-fpm does not read a pair across two records.
    if pairs.len() > usize::from(u16::MAX) {
        return Err(Failure::Misconfigured("its path and address are longer than FastCGI allows".into()));
    }
    let mut message = Vec::with_capacity(pairs.len() + body.len() + 64);
    record(&mut message, BEGIN_REQUEST, &[0, 1, 0, 0, 0, 0, 0, 0]);
    record(&mut message, PARAMS, &pairs);
    record(&mut message, PARAMS, &[]);
    for part in body.chunks(usize::from(u16::MAX)) {
        record(&mut message, STDIN, part);
    }
    record(&mut message, STDIN, &[]);
    Ok(message)
}

pub(super) fn record(message: &mut Vec<u8>, kind: u8, content: &[u8]) {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    message.extend_from_slice(&[1, kind, 0, 1, high, low, 0, 0]);
    message.extend_from_slice(content);
}

fn push_length(pairs: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => pairs.push(short),
        _ => pairs.extend_from_slice(&(u32::try_from(length).unwrap_or(0) | 0x8000_0000).to_be_bytes()),
    }
}

impl Stream {
    pub async fn next(&mut self) -> Chunk {
        loop {
            if let Some(chunk) = self.pending.take() {
                return chunk;
            }
            if let Some(chunk) = self.next_record() {
                return chunk;
            }
            let Some(connection) = &mut self.connection else {
                return Chunk::End(EndOfStream::Reset("the answer is over".into()));
            };
            let read = match connection {
                Connection::Unix(stream) => read(stream, &mut self.buffer).await,
                Connection::Tcp(stream) => read(stream, &mut self.buffer).await,
            };
            match read {
                Ok(0) => return self.end(EndOfStream::Eof { death_proven: self.is_near }),
                Ok(_) => {}
                Err(error) => return self.end(EndOfStream::Reset(format!("the connection broke: {error}"))),
            }
        }
    }

    fn end(&mut self, end: EndOfStream) -> Chunk {
        self.connection = None;
        if !self.seen_record && self.buffer.first().is_some_and(|version| *version != 1) {
            return Chunk::End(not_fastcgi(&self.buffer));
        }
        Chunk::End(end)
    }

    /// The next whole record of the buffer, if there is one that means something.
    fn next_record(&mut self) -> Option<Chunk> {
        loop {
            let (&[version, kind, _, _, high, low, padding, _], _) = self.buffer.split_first_chunk::<8>()?;
            if version != 1 || !(1..=11).contains(&kind) {
                self.connection = None;
                let bytes = std::mem::take(&mut self.buffer);
                // It did speak FastCGI before: whatever it has begun may go on.
                let broken = EndOfStream::Reset("its answer is no FastCGI any more".into());
                return Some(Chunk::End(if self.seen_record { broken } else { not_fastcgi(&bytes) }));
            }
            let length = usize::from(u16::from_be_bytes([high, low]));
            let whole = 8 + length + usize::from(padding);
            if self.buffer.len() < whole {
                return None;
            }
            let content: Vec<u8> = self.buffer.get(8..8 + length).unwrap_or_default().to_vec();
            self.buffer.drain(..whole);
            self.seen_record = true;
            match kind {
                STDOUT if !content.is_empty() => {
                    if let Some(chunk) = self.stdout(content) {
                        return Some(chunk);
                    }
                }
                STDERR if !content.is_empty() => return Some(Chunk::Stderr(content)),
                END_REQUEST => {
                    self.connection = None;
                    return Some(self.end_request(&content));
                }
                _ => {}
            }
        }
    }

    fn stdout(&mut self, content: Vec<u8>) -> Option<Chunk> {
        let Some(head) = &mut self.head else { return Some(Chunk::Body(content)) };
        head.extend_from_slice(&content);
        if let Some((parsed, length)) = Head::from_cgi(head) {
            let body = head.split_off(length);
            self.head = None;
            self.pending = (!body.is_empty()).then_some(Chunk::Body(body));
            return Some(Chunk::Head(parsed));
        }
        if head.len() > LONGEST_HEAD {
            self.connection = None;
            let failure = Failure::Misconfigured("its answer has more than 64 KiB of headers".into());
            return Some(Chunk::End(EndOfStream::Nothing(failure)));
        }
        None
    }

    fn end_request(&mut self, content: &[u8]) -> Chunk {
        let end = match content.get(4) {
            Some(2) => EndOfStream::Nothing(Failure::QueueFull),
            _ => EndOfStream::EndRequest,
        };
        match self.head.take() {
            // It ended before its head did: let what there is be explained.
            Some(mut head) => {
                head.extend_from_slice(b"\n\n");
                self.pending = Some(Chunk::End(end));
                Chunk::Head(Head::from_cgi(&head).map(|(head, _)| head).unwrap_or_default())
            }
            None => Chunk::End(end),
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    stream.read_buf(buffer).await
}

fn not_fastcgi(bytes: &[u8]) -> EndOfStream {
    let beginning = bytes.get(..bytes.len().min(40)).unwrap_or_default();
    EndOfStream::Nothing(Failure::Misconfigured(format!(
        "what listens there does not speak FastCGI, it says \"{}\"; is it a web server? then `trigger = \"http\"`",
        text::safe_cut(&text::lossy(beginning), 80)
    )))
}

#[cfg(test)]
mod tests;
