//! The ways to reach a site's PHP. Every way gives the same answer: frames and output as they come, then how the stream
//! ended, as data. What that end means for the events is decided above.

mod answer;
mod ended;
mod fastcgi;
mod head;
mod http;
pub mod job;
mod output;
pub mod process;
pub mod rights;
pub mod worker;
mod wp_cli;
pub mod wp_cron_php;

pub use answer::Answer;
pub use output::Output;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::clock;
use crate::config::wp_content::wp_content;
use crate::config::{self, Site};
use crate::outcome::Failure;
use crate::protocol::frames::FrameReader;
use crate::protocol::signature::{Message, random_hex};
use crate::protocol::{Call, Frame, LONGEST_BODY};
use ended::Ended;
use head::Head;

/// Whoever has a place keeps it for his own limit, and some seconds more where his process does not want to end.
const PLACE_PATIENCE: Duration = Duration::from_secs(30);

const ENDPOINT: &str = "wp-cron-runner/src/endpoint.php";

/// The plugin's own file, where this user can see it. wp-config.php is read only where it is not in the usual place.
fn endpoint(root: &Path) -> Option<PathBuf> {
    let below = |content: PathBuf| {
        let files = ["mu-plugins", "plugins"].map(|folder| content.join(folder).join(ENDPOINT));
        files.into_iter().find(|file| file.is_file())
    };
    below(root.join("wp-content")).or_else(|| below(wp_content(root)))
}

#[derive(Debug)]
pub enum Trigger {
    FastCgi(fastcgi::Client),
    Http(http::Client),
    WpCli(wp_cli::Client),
}

#[derive(Debug)]
pub enum Item {
    Frame(Box<Frame>),
    Output(Vec<u8>),
    End(EndOfStream),
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub enum EndOfStream {
    /// FastCGI's own end; an `exit` ends like this, too.
    EndRequest,
    /// The connection ended without END_REQUEST. On a unix socket and on loopback that proves the process dead.
    Eof {
        death_proven: bool,
    },
    /// The process that was started for it ended.
    Ended(Ended),
    /// Nobody knows: PHP may go on.
    Reset(String),
    /// A gateway gave up waiting (502, 504): PHP may go on.
    Gateway {
        status: u16,
    },
    HttpEnd {
        status: u16,
    },
    /// Nothing was started.
    Nothing(Failure),
}

impl EndOfStream {
    /// Nobody works on the request any more. A web server in between ends its answers for reasons of its own, a network ends
    /// connections, and `ssh` ends with one of these: none of it proves anything.
    pub fn is_over(&self) -> bool {
        match self {
            Self::EndRequest | Self::Eof { death_proven: true } => true,
            Self::Ended(ended) => ended.is_php,
            _ => false,
        }
    }

    /// For a call that did not give the frame that completes it.
    pub fn failure(self) -> Failure {
        match self {
            Self::Nothing(failure) => failure,
            Self::Ended(ended) => ended.failure(),
            Self::EndRequest | Self::HttpEnd { .. } => Failure::Unclear("it ended early".into()),
            Self::Eof { death_proven: true } => Failure::Unclear("the PHP process died".into()),
            Self::Eof { death_proven: false } => Failure::Unclear("the connection ended early".into()),
            Self::Reset(why) => Failure::Unclear(why),
            Self::Gateway { status } => Failure::Unclear(format!("the web server gave up waiting (HTTP {status})")),
        }
    }
}

/// One signed request, ready to go.
pub struct Request {
    path_and_query: String,
    query: String,
    signature: String,
    body: Vec<u8>,
}

/// What a door delivers: first the head, then bytes, then an end.
pub enum Chunk {
    Head(Head),
    Body(Vec<u8>),
    Stderr(Vec<u8>),
    End(EndOfStream),
}

enum Source {
    FastCgi(fastcgi::Stream),
    Http(http::Stream),
    WpCli(wp_cli::Stream),
}

impl Source {
    async fn next(&mut self) -> Chunk {
        match self {
            Self::FastCgi(stream) => stream.next().await,
            Self::Http(stream) => stream.next().await,
            Self::WpCli(stream) => stream.next().await,
        }
    }
}

impl Trigger {
    pub fn new(site: &Arc<Site>) -> Result<Self, Failure> {
        match &site.trigger {
            config::Trigger::FastCgi(address) => Ok(Self::FastCgi(fastcgi::Client::new(site, address.clone()))),
            config::Trigger::Http(door) => http::Client::new(site, door).map(Self::Http),
            config::Trigger::WpCli(wp_cli) => Ok(Self::WpCli(wp_cli::Client::new(site, wp_cli.clone()))),
            config::Trigger::WpCronPhp(_) => {
                Err(Failure::Misconfigured("its trigger is `wp-cron.php`, which speaks to no plugin".into()))
            }
        }
    }

    fn site(&self) -> &Site {
        match self {
            Self::FastCgi(client) => &client.site,
            Self::Http(client) => &client.site,
            Self::WpCli(client) => &client.site,
        }
    }

    /// Signs and sends. An answer that never came is an answer that ends at once.
    pub async fn call(&self, call: Call, body: &impl Serialize) -> Answer {
        self.call_from(call, body, None).await
    }

    async fn call_from(&self, call: Call, body: &impl Serialize, place: Option<process::Place>) -> Answer {
        let (site, sent_ms) = (self.site(), clock::now_ms());
        let prepared = prepare(site, call, body, sent_ms);
        let (request, nonce) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return Answer::ended(failure, sent_ms),
        };
        let Some(key) = site.keys.first() else {
            return Answer::ended(Failure::Misconfigured("it has no key".into()), sent_ms);
        };
        let reader = FrameReader::new(key.clone(), nonce.clone());
        let source = match self {
            Self::FastCgi(client) => client.send(&request).await.map(Source::FastCgi),
            Self::Http(client) => Ok(Source::Http(client.send(request))),
            Self::WpCli(client) => client.send(call, &request, place).map(Source::WpCli),
        };
        Answer::new(nonce, sent_ms, reader, source)
    }

    /// A short call: all its frames, within `limit`.
    pub async fn ask(&self, call: Call, body: &impl Serialize, limit: Duration) -> Result<Reply, Failure> {
        // Waited for before anything is signed: the limit of the call itself begins with its process.
        let place = match self {
            Self::WpCli(client) => Some(client.place(limit + PLACE_PATIENCE).await?),
            _ => None,
        };
        let answer = tokio::time::timeout(limit, async {
            let mut answer = self.call_from(call, body, place).await;
            let sent_ms = answer.sent_ms;
            let mut frames = Vec::new();
            loop {
                match answer.next().await {
                    Item::Frame(frame) => match *frame {
                        Frame::Error(refusal) => return Err(answer.refused(refusal)),
                        frame => frames.push(frame),
                    },
                    Item::Output(_) => {}
                    Item::End(EndOfStream::Nothing(failure)) => return Err(failure),
                    Item::End(end) => return Ok(Reply { frames, end, sent_ms, received_ms: clock::now_ms() }),
                }
            }
        });
        answer.await.unwrap_or(Err(Failure::TimedOut(clock::millis(limit))))
    }
}

fn prepare(site: &Site, call: Call, body: &impl Serialize, ts_ms: i64) -> Result<(Request, String), Failure> {
    let body = serde_json::to_vec(body)
        .map_err(|error| Failure::Refused { code: "body".into(), message: error.to_string() })?;
    if body.len() > LONGEST_BODY {
        return Err(Failure::Misconfigured(format!(
            "a request of {} bytes is longer than 64 KiB; name fewer hooks",
            body.len()
        )));
    }
    let nonce = random_hex::<16>().map_err(|error| Failure::NotReached(error.to_string()))?;
    let path_and_query = site.path_and_query(call.word());
    let key = site.keys.first().ok_or_else(|| Failure::Misconfigured("it has no key".into()))?;
    let message = Message {
        site: &site.name,
        path_and_query: &path_and_query,
        host: &site.host,
        ts_ms,
        nonce: &nonce,
        body: &body,
    };
    let signature = message.sign(key);
    let query = format!("wp-cron-runner={}", call.word());
    Ok((Request { path_and_query, query, signature, body }, nonce))
}

/// Everything a short call gave.
#[derive(Debug)]
pub struct Reply {
    pub frames: Vec<Frame>,
    pub end: EndOfStream,
    pub sent_ms: i64,
    pub received_ms: i64,
}

impl Reply {
    /// The frame that `pick` wants, else how the answer fell short.
    pub fn take<T>(self, pick: impl Fn(Frame) -> Option<T>) -> Result<T, Failure> {
        self.frames.into_iter().find_map(pick).ok_or_else(|| self.end.failure())
    }
}

#[cfg(test)]
mod tests;
