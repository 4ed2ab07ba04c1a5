//! A process of our own: started without a shell and with an environment of our choice, read to its end, and ended with all
//! that it started.
//!
//! One task owns it. It goes on when nobody asks for the answer any more, so that a full pipe never stops an event, and when
//! this runner dies the process lives on: its events are found again in the journal.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{SemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;

/// From TERM to KILL.
pub const GRACE: Duration = Duration::from_secs(10);
/// A process that ended may leave another behind that keeps its pipes open: so long its silence is waited for ...
const SILENCE: Duration = Duration::from_secs(1);
/// ... and so long its words are read.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Processes of one site that were to be ended and live on: this user may not signal them, or the kernel does not let them go.
#[derive(Debug, Clone, Default)]
pub struct Hanging(Arc<Mutex<Vec<(u32, &'static str)>>>);

/// Is in the list for as long as this lives.
struct Hangs {
    list: Hanging,
    pid: u32,
}

impl Hanging {
    /// One of them, in words.
    pub fn any(&self) -> Option<String> {
        let hanging = self.0.lock().ok()?;
        hanging.first().map(|(pid, why)| format!("an earlier call hangs (process {pid}), and {why}"))
    }

    fn add(self, pid: u32, why: &'static str) -> Hangs {
        if let Ok(mut hanging) = self.0.lock() {
            hanging.push((pid, why));
        }
        Hangs { list: self, pid }
    }
}

impl Drop for Hangs {
    fn drop(&mut self) {
        if let Ok(mut hanging) = self.list.0.lock() {
            hanging.retain(|(pid, _)| *pid != self.pid);
        }
    }
}

/// What a short call holds: one of the places that all sites share. A process that cannot be ended does not keep it, or a few
/// of one site would take them all; it is remembered for its own site instead.
#[derive(Debug)]
pub struct Place {
    _permit: SemaphorePermit<'static>,
    hanging: Hanging,
}

impl Place {
    pub fn new(permit: SemaphorePermit<'static>, hanging: Hanging) -> Self {
        Self { _permit: permit, hanging }
    }
}

/// What is to be started.
#[derive(Debug)]
pub struct Program {
    /// The program and its arguments; no shell ever sees them.
    pub words: Vec<String>,
    pub env: Vec<(String, String)>,
    pub folder: Option<PathBuf>,
    pub input: Input,
    /// End it where nobody waits for its answer any more. An event is never ended for that.
    pub ends_unheard: bool,
    /// Both outputs are one, in the order in which they were written.
    pub is_one_output: bool,
}

/// What it has on stdin.
#[derive(Debug)]
pub enum Input {
    Bytes(Vec<u8>),
    /// It is the process's own from then on, and so is a lock on it.
    File(File),
}

/// What it says, then how it ended.
#[derive(Debug)]
pub enum Said {
    Out(Vec<u8>),
    Err(Vec<u8>),
    Ended(ExitStatus),
}

/// Was the process ended?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Ended,
    /// It belongs to somebody else, and this process has no right to signal it.
    NotPermitted,
}

/// The hand on a process that runs: ends it with its whole group.
#[derive(Debug, Clone)]
pub struct Handle(mpsc::Sender<oneshot::Sender<Ending>>);

impl Handle {
    /// TERM, ten seconds, KILL. Returns when it is over.
    pub async fn end(&self) -> Ending {
        let (tell, told) = oneshot::channel();
        match self.0.send(tell).await {
            Ok(()) => told.await.unwrap_or(Ending::Ended),
            // Nobody is there to take the order: it has ended.
            Err(_) => Ending::Ended,
        }
    }
}

pub struct Running {
    pub said: mpsc::Receiver<Said>,
    pub handle: Handle,
    pub pid: Option<u32>,
}

impl Program {
    /// Starts it. `place`, where there is one, is taken until it has ended, or cannot be ended.
    pub fn start(self, place: Option<Place>) -> io::Result<Running> {
        let (first, rest) = self.words.split_first().ok_or_else(|| io::Error::other("no program is named"))?;
        let mut command = match rustix::process::geteuid().is_root() {
            // Root types at a terminal, and whoever shares its session could type there as well. setsid(1) is no leader of a group
            // here, so it becomes the program, with a group of its own.
            true => {
                let mut command = Command::new("setsid");
                command.arg(first);
                command
            }
            false => {
                let mut command = Command::new(first);
                command.process_group(0);
                command
            }
        };
        command.args(rest).env_clear().envs(self.env);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let both = match self.is_one_output {
            true => {
                let (reader, writer) = io::pipe()?;
                command.stdout(writer.try_clone()?).stderr(writer);
                Some(pipe::Receiver::from_owned_fd(reader.into())?)
            }
            false => None,
        };
        let input = match self.input {
            Input::Bytes(bytes) => {
                command.stdin(Stdio::piped());
                bytes
            }
            Input::File(file) => {
                command.stdin(file);
                Vec::new()
            }
        };
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = command.spawn()?;
        // It holds the other end of the pipe as well.
        drop(command);
        let pid = child.id();
        let (tell, said) = mpsc::channel(16);
        let (order, orders) = mpsc::channel(4);
        let heard = Arc::new(Mutex::new(Instant::now()));
        if let Some(stdin) = child.stdin.take() {
            tokio::spawn(write(stdin, input));
        }
        let out = child.stdout.take().map(|pipe| tokio::spawn(drain(pipe, tell.clone(), Said::Out, heard.clone())));
        let out = out.or(both.map(|pipe| tokio::spawn(drain(pipe, tell.clone(), Said::Out, heard.clone()))));
        let err = child.stderr.take().map(|pipe| tokio::spawn(drain(pipe, tell.clone(), Said::Err, heard.clone())));
        let owner = Owner { child, tell, heard, ends_unheard: self.ends_unheard };
        tokio::spawn(owner.look_after(orders, [out, err], place));
        Ok(Running { said, handle: Handle(order), pid })
    }
}

async fn write(mut stdin: ChildStdin, input: Vec<u8>) {
    // A program that ends without reading says why by itself.
    let _ = stdin.write_all(&input).await;
}

/// Reads to the end, whether or not anybody wants to know.
async fn drain(
    mut pipe: impl AsyncRead + Unpin,
    tell: mpsc::Sender<Said>,
    kind: fn(Vec<u8>) -> Said,
    heard: Arc<Mutex<Instant>>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = pipe.read(&mut buffer).await {
        if length == 0 {
            return;
        }
        note(&heard);
        let _ = tell.send(kind(buffer.get(..length).unwrap_or_default().to_vec())).await;
    }
}

struct Owner {
    child: Child,
    tell: mpsc::Sender<Said>,
    /// When its pipes said something last.
    heard: Arc<Mutex<Instant>>,
    ends_unheard: bool,
}

type Orders = mpsc::Receiver<oneshot::Sender<Ending>>;

impl Owner {
    async fn look_after(mut self, mut orders: Orders, pipes: [Option<JoinHandle<()>>; 2], mut place: Option<Place>) {
        let mut hangs = None;
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status,
                Some(told) = orders.recv() => {
                    let _ = told.send(self.end().await);
                }
                () = self.tell.closed(), if self.ends_unheard => {
                    self.ends_unheard = false;
                    if let Some(why) = self.end_unheard().await {
                        let pid = self.child.id();
                        hangs = place.take().zip(pid).map(|(place, pid)| place.hanging.add(pid, why));
                    }
                }
            }
        };
        drop(hangs);
        self.read_last_words(pipes).await;
        let status = status.unwrap_or_else(|_| ExitStatus::from_raw(0));
        let _ = self.tell.send(Said::Ended(status)).await;
    }

    /// Why it lives on.
    async fn end_unheard(&mut self) -> Option<&'static str> {
        match self.end().await {
            Ending::NotPermitted => Some("this user may not end it"),
            Ending::Ended => {
                let is_over = tokio::time::timeout(SILENCE, self.child.wait()).await.is_ok();
                (!is_over).then_some("does not end")
            }
        }
    }

    /// Ends the group. Its number is the child's, so it is its own for as long as the child was not reaped.
    async fn end(&self) -> Ending {
        let group = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let Some(group) = group else { return Ending::Ended };
        if kill_process_group(group, Signal::TERM) == Err(Errno::PERM) {
            return Ending::NotPermitted;
        }
        let until = Instant::now() + GRACE;
        while !has_exited(group) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What it started had the same signal; whatever did not hear it goes now.
        let _ = kill_process_group(group, Signal::KILL);
        Ending::Ended
    }

    /// Until both pipes are at their end, or only others are left to write to them. Those may go on, unheard.
    async fn read_last_words(&self, pipes: [Option<JoinHandle<()>>; 2]) {
        note(&self.heard);
        let until = Instant::now() + LAST_WORDS;
        let is_open = |pipe: &Option<JoinHandle<()>>| pipe.as_ref().is_some_and(|pipe| !pipe.is_finished());
        while pipes.iter().any(is_open) {
            let silent = self.heard.lock().map_or(SILENCE, |heard| heard.elapsed());
            let is_behind = self.tell.capacity() == 0 && !self.tell.is_closed();
            if !is_behind && (silent >= SILENCE || Instant::now() >= until) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn note(heard: &Mutex<Instant>) {
    if let Ok(mut heard) = heard.lock() {
        *heard = Instant::now();
    }
}

/// Without reaping it.
fn has_exited(process: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    !matches!(waitid(WaitId::Pid(process), options), Ok(None))
}
