//! A server that a test started, and the ports that it listens on.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub struct Process {
    name: &'static str,
    child: Child,
    guard: Child,
    ended: Option<ExitStatus>,
}

/// `Drop` does not run when a test is killed. The guard reads from a pipe that only the test holds; its end means that
/// the test is gone, and the server has to go too. A number alone could be somebody else's by then, so the guard
/// remembers when its process was started.
const GUARD: &str = r#"
trap '' INT TERM HUP
started() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }
then=$(started "$1")
read -r _
for signal in TERM KILL; do
    [ "$(started "$1")" = "$then" ] && kill -$signal "$1"
    sleep 2
done"#;

impl Process {
    pub fn start(name: &'static str, command: &mut Command) -> Process {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        Process { name, child, guard, ended: None }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("waiting for a child");
            if self.ended.is_some() {
                self.dismiss_guard();
            }
        }
        self.ended
    }

    /// The child is unreaped until `ended` says so, so its number is still its own.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            signal_pid(self.pid(), signal);
        }
    }

    /// SIGTERM, then SIGKILL where that is not heard in time.
    pub fn stop(&mut self, patience: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        match self.wait(patience) {
            Some(status) => status,
            None => self.kill(),
        }
    }

    pub fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.wait(Duration::from_secs(5))
            .unwrap_or_else(|| panic!("{} (pid {}) survived SIGKILL", self.name, self.pid()))
    }

    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        while started.elapsed() < patience {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.ended()
    }
}

impl Process {
    fn dismiss_guard(&mut self) {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.dismiss_guard();
        let status = self.stop(Duration::from_secs(5));
        if status.core_dumped() {
            eprintln!("{} dumped core", self.name);
        }
    }
}

pub fn signal_pid(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process number")).expect("not 0");
    let _ = kill_process(pid, signal);
}

pub fn children_of(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// A port that no other test takes as long as this one or a copy of it holds it, below the range of outgoing connections.
#[derive(Clone)]
pub struct Port {
    pub number: u16,
    _held: Arc<File>,
}

impl Port {
    pub fn take() -> Port {
        let locks = std::env::temp_dir().join("wp-cron-runner-test-ports");
        let _ = std::fs::create_dir(&locks);
        let start = std::process::id() * 7919;
        for step in 0..8000 {
            let number = u16::try_from(20_000 + (start + step) % 8000).expect("a port");
            let lock = File::create(locks.join(number.to_string())).expect("a lock file for a port");
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Port { number, _held: Arc::new(lock) };
            }
        }
        panic!("no free port between 20000 and 28000");
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}
