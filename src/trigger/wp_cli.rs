//! A process for every call: `wp cron-runner call CALL`, or, where a look is enough, plain `php` and the plugin's own file. The
//! signed request goes in on stdin, frames and output come out on stdout.
//!
//! Where PHP is our own child, its end is the end of the request. Behind other words (`ssh`, `docker exec`, `sudo`) it is the
//! end of these words only: PHP may go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::ended::Ended;
use super::process::{Handle, Hanging, Input, Place, Program, Running, Said};
use super::rights::Rights;
use super::{Chunk, EndOfStream, Request};
use crate::clock;
use crate::config::{Site, WpCli};
use crate::outcome::Failure;
use crate::protocol::Call;

/// Short calls of all sites share these places: each is a process, and none is so urgent that a small host must choke on it.
static SHORT_CALLS: Semaphore = Semaphore::const_new(4);

#[derive(Debug)]
pub struct Client {
    pub site: Arc<Site>,
    wp_cli: WpCli,
    pub hanging: Hanging,
}

pub struct Stream {
    running: Running,
    program: String,
    wp_cli: WpCli,
}

impl Client {
    pub fn new(site: &Arc<Site>, wp_cli: WpCli) -> Self {
        Self { site: site.clone(), wp_cli, hanging: Hanging::default() }
    }

    /// Waits for a place for a short call. A site where one hangs that cannot be ended gets no other beside it.
    pub async fn place(&self, limit: Duration) -> Result<Place, Failure> {
        self.nothing_hangs()?;
        let waited = tokio::time::timeout(limit, SHORT_CALLS.acquire()).await;
        let Ok(Ok(permit)) = waited else {
            return Err(Failure::NotReached(format!(
                "no place for its process was free within {}",
                clock::span(clock::millis(limit))
            )));
        };
        self.nothing_hangs()?;
        Ok(Place::new(permit, self.hanging.clone()))
    }

    fn nothing_hangs(&self) -> Result<(), Failure> {
        self.hanging.any().map_or(Ok(()), |hangs| Err(Failure::NotReached(hangs)))
    }

    pub fn send(&self, call: Call, request: &Request, place: Option<Place>) -> Result<Stream, EndOfStream> {
        let rights = Rights::of(&self.site, &self.wp_cli).map_err(EndOfStream::Nothing)?;
        let program = Program {
            words: [rights.words(), self.words(call)].concat(),
            env: rights.environment(),
            folder: folder(&self.site),
            input: Input::Bytes(self.envelope(request)),
            ends_unheard: call != Call::Run,
            is_one_output: false,
        };
        let first = program.words.first().cloned().unwrap_or_default();
        let running = program.start(place).map_err(|error| EndOfStream::Nothing(not_started(&first, &error)))?;
        let name = name(&self.wp_cli).to_string();
        Ok(Stream { running, program: name, wp_cli: self.wp_cli.clone() })
    }

    /// Neither a hook's name nor a key is ever among them.
    fn words(&self, call: Call) -> Vec<String> {
        let path = self.site.path.clone().unwrap_or_default();
        let root = path.display().to_string();
        let mut words = php(&self.wp_cli, &[]);
        let looks = matches!(call, Call::Due | Call::Inspect | Call::End);
        match super::endpoint(&path).filter(|_| looks && !is_elsewhere(&self.wp_cli)) {
            Some(file) => words.extend([file.display().to_string(), call.word().to_string(), root]),
            None => {
                words.extend([&self.wp_cli.wp_cli, "cron-runner", "call", call.word()].map(str::to_string));
                words.extend([format!("--path={root}"), format!("--url={}", self.site.url), "--no-color".to_string()]);
            }
        }
        words
    }

    fn envelope(&self, request: &Request) -> Vec<u8> {
        let head = format!("{}\n{}\n{}\n", request.signature, request.path_and_query, self.site.host);
        [head.as_bytes(), &request.body].concat()
    }
}

impl Stream {
    pub async fn next(&mut self) -> Chunk {
        match self.running.said.recv().await {
            Some(Said::Out(bytes)) => Chunk::Body(bytes),
            Some(Said::Err(bytes)) => Chunk::Stderr(bytes),
            Some(Said::Ended(status)) => Chunk::End(EndOfStream::Ended(Ended::of(&self.program, status, &self.wp_cli))),
            None => Chunk::End(EndOfStream::Reset("the answer is over".into())),
        }
    }

    /// To end the process itself; None where it is not PHP.
    pub fn handle(&self) -> Option<Handle> {
        self.wp_cli.wrapper.is_empty().then(|| self.running.handle.clone())
    }
}

/// What it is called in messages. setpriv(1) becomes PHP.
pub fn name(wp_cli: &WpCli) -> &str {
    wp_cli.wrapper.first().unwrap_or(&wp_cli.php)
}

/// PHP with settings of ours, then those of the operator, who has the last word.
pub fn php(wp_cli: &WpCli, ours: &[&str]) -> Vec<String> {
    let settings = ours.iter().copied().chain(wp_cli.ini.iter().map(String::as_str));
    let settings = settings.flat_map(|setting| ["-d".to_string(), setting.to_string()]);
    std::iter::once(wp_cli.php.clone()).chain(settings).collect()
}

/// The site's folder, where it is on this machine and open to us.
pub fn folder(site: &Site) -> Option<PathBuf> {
    let path = site.path.clone()?;
    let may_enter = rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).is_ok();
    (path.is_dir() && may_enter).then_some(path)
}

/// A path of this machine says nothing about another. And root's looks go through WP-CLI, which asks who it is: nobody knows
/// whether the words in front make it somebody else.
fn is_elsewhere(wp_cli: &WpCli) -> bool {
    let is_root = rustix::process::geteuid().is_root() && !wp_cli.wrapper.is_empty();
    is_root || wp_cli.wrapper.iter().any(|word| word.rsplit('/').next() == Some("ssh"))
}

pub fn not_started(program: &str, error: &std::io::Error) -> Failure {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such program",
        std::io::ErrorKind::PermissionDenied => "it is not executable by this user",
        _ => return Failure::NotReached(format!("`{program}` cannot be started: {error}")),
    };
    Failure::Misconfigured(format!("`{program}` cannot be started: {why}"))
}
