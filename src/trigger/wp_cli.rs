//! A process for every call: `wp cron-runner CALL`, or, where a look is enough, plain `php` and the plugin's own file. The
//! signed request goes in on stdin, frames and output come out on stdout.
//!
//! Where PHP is our own child, its end is the end of the request. Behind other words (`ssh`, `docker exec`, `sudo`) it is the
//! end of these words only: PHP may go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::ended::Ended;
use super::process::{Handle, Program, Running, Said};
use super::{Chunk, EndOfStream, Request};
use crate::config::{Site, User, WpCli};
use crate::outcome::Failure;
use crate::protocol::Call;

/// Short calls of all sites share these places: each is a process, and none is so urgent that a small host must choke on it.
static SHORT_CALLS: Semaphore = Semaphore::const_new(4);

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// All that a child gets to see of our environment; nothing that holds a secret, and no WP_CLI_ALLOW_ROOT.
const KEPT: [&str; 6] = ["HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ"];
const KEPT_FOR_WRAPPERS: [&str; 4] = ["DOCKER_HOST", "KUBECONFIG", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"];

#[derive(Debug)]
pub struct Client {
    pub site: Arc<Site>,
    wp_cli: WpCli,
}

pub struct Stream {
    running: Running,
    /// How it is called in messages.
    program: String,
    wp_cli: WpCli,
}

/// Waits for a place for a short call.
pub async fn place() -> Option<SemaphorePermit<'static>> {
    SHORT_CALLS.acquire().await.ok()
}

impl Client {
    pub fn new(site: &Arc<Site>, wp_cli: WpCli) -> Self {
        Self { site: site.clone(), wp_cli }
    }

    pub fn send(
        &self,
        call: Call,
        request: &Request,
        place: Option<SemaphorePermit<'static>>,
    ) -> Result<Stream, EndOfStream> {
        let words = self.words(call);
        let program = Program {
            words: [in_front(&self.wp_cli), words].concat(),
            env: environment(&self.wp_cli),
            folder: folder(&self.site),
            input: self.envelope(request),
            ends_unheard: call != Call::Run,
        };
        let name = program.words.first().cloned().unwrap_or_default();
        let running = program.start(place).map_err(|error| EndOfStream::Nothing(not_started(&name, &error)))?;
        Ok(Stream { running, program: name, wp_cli: self.wp_cli.clone() })
    }

    /// Neither a hook's name nor a key is ever among them.
    fn words(&self, call: Call) -> Vec<String> {
        let path = self.site.path.clone().unwrap_or_default();
        let root = path.display().to_string();
        let mut words = php(&self.wp_cli);
        let looks = matches!(call, Call::Due | Call::Inspect | Call::End);
        match endpoint(&path).filter(|_| looks && !is_elsewhere(&self.wp_cli)) {
            Some(file) => words.extend([file.display().to_string(), call.word().to_string(), root]),
            None => {
                words.extend([self.wp_cli.wp_cli.clone(), "cron-runner".to_string(), call.word().to_string()]);
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

/// PHP with its settings.
pub fn php(wp_cli: &WpCli) -> Vec<String> {
    let mut words = vec![wp_cli.php.clone()];
    for setting in &wp_cli.ini {
        words.extend(["-d".to_string(), setting.clone()]);
    }
    words
}

/// What stands before PHP: another user's rights, fewer of ours, or the operator's own words. setpriv(1) becomes the program
/// that it starts, so the process stays our child.
pub fn in_front(wp_cli: &WpCli) -> Vec<String> {
    let own = rustix::process::geteuid().as_raw();
    let mut words: Vec<String> = Vec::new();
    let user = wp_cli.user.as_ref().filter(|user| user.uid != own);
    if user.is_some() || has_ambient_capabilities() {
        words.push("setpriv".into());
        if let Some(User { name, gid, .. }) = user {
            words.extend(["--reuid".into(), name.clone(), "--regid".into(), gid.to_string(), "--init-groups".into()]);
        }
        // The right to become anybody is ours, not the site's.
        words.extend(["--inh-caps=-all".into(), "--ambient-caps=-all".into(), "--".into()]);
    }
    words.extend(wp_cli.wrapper.iter().cloned());
    words
}

fn has_ambient_capabilities() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapAmb:"));
    set.is_some_and(|set| set.trim().chars().any(|digit| digit != '0'))
}

pub fn environment(wp_cli: &WpCli) -> Vec<(&'static str, String)> {
    let own = |name: &'static str| Some((name, std::env::var(name).ok().filter(|value| !value.is_empty())?));
    let mut kept: Vec<_> = KEPT.into_iter().filter_map(own).collect();
    match &wp_cli.user {
        Some(user) => {
            kept.retain(|(name, _)| !["HOME", "USER", "LOGNAME"].contains(name));
            kept.push(("HOME", user.home.display().to_string()));
            kept.extend(["USER", "LOGNAME"].map(|name| (name, user.name.clone())));
        }
        // Another user could not write there.
        None => kept.extend(own("TMPDIR")),
    }
    if !wp_cli.wrapper.is_empty() {
        kept.extend(KEPT_FOR_WRAPPERS.into_iter().filter_map(own));
    }
    kept.push(own("PATH").unwrap_or_else(|| ("PATH", PATH.to_string())));
    kept
}

/// The site's folder, where it is on this machine and open to us.
pub fn folder(site: &Site) -> Option<PathBuf> {
    let path = site.path.clone()?;
    let may_enter = rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).is_ok();
    (path.is_dir() && may_enter).then_some(path)
}

/// The plugin's own file, where it is on this machine.
fn endpoint(path: &Path) -> Option<PathBuf> {
    ["mu-plugins", "plugins"]
        .map(|folder| path.join("wp-content").join(folder).join("wp-cron-runner/src/endpoint.php"))
        .into_iter()
        .find(|file| file.is_file())
}

/// A path of this machine says nothing about another.
fn is_elsewhere(wp_cli: &WpCli) -> bool {
    wp_cli.wrapper.iter().any(|word| word.rsplit('/').next() == Some("ssh"))
}

pub fn not_started(program: &str, error: &std::io::Error) -> Failure {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such program",
        std::io::ErrorKind::PermissionDenied => "it is not executable by this user",
        _ => return Failure::NotReached(format!("`{program}` cannot be started: {error}")),
    };
    Failure::Misconfigured(format!("`{program}` cannot be started: {why}"))
}
