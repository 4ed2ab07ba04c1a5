//! Hosts of their own for processes: network namespaces, joined by cables that can be cut. As root only.
//!
//! Nothing of this machine's own network is touched: both ends of a cable are inside. A namespace lives as long as its one
//! process, and takes its cables with it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::account::{self, command_as, is_root, succeed};
use super::process::Process;
use super::wait::{secs, wait_for};

pub struct Namespace {
    holder: Process,
    cables: AtomicU8,
}

impl Namespace {
    /// None where this is not allowed.
    pub fn new() -> Option<Arc<Namespace>> {
        let try_it = || {
            Command::new("unshare").args(["--net", "ip", "link"]).stdout(Stdio::null()).stderr(Stdio::null()).status()
        };
        if !is_root() || !try_it().is_ok_and(|status| status.success()) {
            return None;
        }
        let mut holder = Process::start("unshare", Command::new("unshare").args(["--net", "sleep", "infinity"]));
        let ours = fs::read_link("/proc/self/ns/net").expect("a network namespace");
        wait_for("a network namespace", secs(10), || {
            assert!(holder.ended().is_none(), "`unshare --net` ended");
            let there = fs::read_link(format!("/proc/{}/ns/net", holder.pid())).ok()?;
            (there != ours).then_some(())
        });
        let namespace = Namespace { holder, cables: AtomicU8::new(0) };
        namespace.ip(&["link", "set", "lo", "up"]);
        Some(Arc::new(namespace))
    }

    fn file(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.pid())
    }

    /// `program`, to be run inside as `account`.
    pub fn command_as(&self, account: &str, program: impl AsRef<OsStr>) -> Command {
        let outside = command_as(account, program);
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.file())).arg("--").arg(outside.get_program()).args(outside.get_args());
        command
    }

    fn ip(&self, arguments: &[&str]) {
        succeed(Command::new("nsenter").arg(format!("--net={}", self.file())).args(["--", "ip"]).args(arguments));
    }

    /// Sockets that this thread opens from now on are inside.
    fn enter(&self) -> io::Result<()> {
        let file = File::open(self.file())?;
        Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }
}

/// Joins two namespaces.
pub struct Cable {
    here: Arc<Namespace>,
    name: String,
    /// The end of `here`, as the other end sees it.
    pub address: String,
}

impl Cable {
    pub fn between(here: &Arc<Namespace>, there: &Namespace) -> Cable {
        let number = here.cables.fetch_add(1, Ordering::Relaxed) + 1;
        let name = format!("cable{number}");
        let (near, far) = (format!("10.213.{number}.1"), format!("10.213.{number}.2"));
        let pid = there.holder.pid().to_string();
        here.ip(&["link", "add", "name", &name, "type", "veth", "peer", "name", &name, "netns", &pid]);
        for (namespace, address) in [(&**here, &near), (there, &far)] {
            namespace.ip(&["address", "add", &format!("{address}/30"), "dev", &name]);
            namespace.ip(&["link", "set", &name, "up"]);
        }
        Cable { here: here.clone(), name, address: near }
    }

    /// Nothing arrives any more, and nobody is told.
    pub fn cut(&self) {
        self.here.ip(&["link", "set", &self.name, "down"]);
    }

    pub fn mend(&self) {
        self.here.ip(&["link", "set", &self.name, "up"]);
    }
}

/// A port of this machine that leads to the same port of the loopback inside: how the test, and PHP, reach a runner there.
pub struct Door {
    is_closed: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Door {
    pub fn open(port: u16, inside: &Arc<Namespace>) -> Door {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a door's port");
        listener.set_nonblocking(true).expect("a listener");
        let is_closed = Arc::new(AtomicBool::new(false));
        let (closed, inside) = (is_closed.clone(), inside.clone());
        let thread = std::thread::spawn(move || {
            while !closed.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) => {
                        let inside = inside.clone();
                        std::thread::spawn(move || lead_in(&client, port, &inside));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Door { is_closed, thread: Some(thread) }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where nobody listens inside, the client's connection ends.
fn lead_in(client: &TcpStream, port: u16, inside: &Namespace) {
    let Ok(()) = client.set_nonblocking(false) else { return };
    let connected = inside.enter().and_then(|()| TcpStream::connect(("127.0.0.1", port)));
    let Ok(server) = connected else { return };
    let copy = |from: &TcpStream, to: &TcpStream| {
        let (mut from, mut to) = (from, to);
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| copy(client, &server));
        copy(&server, client);
    });
}
