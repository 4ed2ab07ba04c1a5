//! A proxy before Redis, or between a master and its replica, that lets through, cuts, holds up or delays, as it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::process::Port;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Every connection ends, and new ones are refused.
    Cut,
    /// What is sent is taken and arrives nowhere, until the mode is another: then it does.
    BlackHole,
    /// Each way takes so long.
    Delay(Duration),
    /// Every command is answered so.
    Answer(&'static str),
}

pub struct Proxy {
    port: Port,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    mode: Mutex<Mode>,
    upstream: Mutex<String>,
    open: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    is_closed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    pub fn before(upstream: &str) -> Proxy {
        let port = Port::take();
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Pass),
            upstream: Mutex::new(upstream.to_owned()),
            open: Mutex::new(Vec::new()),
            connections: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
        });
        let (number, of_thread) = (port.number, shared.clone());
        // Before anybody is told the address.
        let listener = listen(number);
        let thread = std::thread::spawn(move || of_thread.accept(number, listener));
        Proxy { port, shared, thread: Some(thread) }
    }

    pub fn address(&self) -> String {
        self.port.address()
    }

    pub fn set(&self, mode: Mode) {
        *lock(&self.shared.mode) = mode;
        if mode == Mode::Cut {
            self.shared.end_all();
        }
    }

    /// New connections lead there; the old ones end.
    pub fn lead_to(&self, upstream: &str) {
        upstream.clone_into(&mut lock(&self.shared.upstream));
        self.shared.end_all();
    }

    /// How many there have been.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
        self.shared.end_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(number: u16) -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", number)).expect("the proxy's port");
    listener.set_nonblocking(true).expect("a listener");
    listener
}

impl Shared {
    fn mode(&self) -> Mode {
        *lock(&self.mode)
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn end_all(&self) {
        for stream in lock(&self.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn accept(self: Arc<Self>, number: u16, listener: TcpListener) {
        let mut listener = Some(listener);
        while !self.is_closed() {
            if self.mode() == Mode::Cut {
                // Only a port that nobody listens on refuses.
                listener = None;
            } else if listener.is_none() {
                listener = Some(listen(number));
            }
            match listener.as_ref().map(TcpListener::accept) {
                Some(Ok((client, _))) => {
                    self.connections.fetch_add(1, Ordering::Relaxed);
                    let shared = self.clone();
                    std::thread::spawn(move || shared.serve(&client));
                }
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn serve(&self, client: &TcpStream) {
        let _ = client.set_nonblocking(false);
        // A black hole accepts and leads nowhere.
        self.wait_while_held();
        let upstream = lock(&self.upstream).clone();
        let Ok(server) = TcpStream::connect(upstream) else { return };
        for stream in [client, &server] {
            let _ = stream.set_nodelay(true);
            let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
            lock(&self.open).extend(stream.try_clone());
        }
        // Also where it was cut before it was known.
        if self.mode() == Mode::Cut || self.is_closed() {
            self.end_all();
        }
        std::thread::scope(|scope| {
            scope.spawn(|| self.forward(client, &server, true));
            self.forward(&server, client, false);
        });
    }

    fn wait_while_held(&self) {
        while self.mode() == Mode::BlackHole && !self.is_closed() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn forward(&self, mut from: &TcpStream, mut to: &TcpStream, is_of_client: bool) {
        let mut buffer = vec![0; 65_536];
        while !self.is_closed() {
            let length = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    continue;
                }
                Err(_) => break,
            };
            self.wait_while_held();
            let written = match self.mode() {
                Mode::Delay(time) => {
                    std::thread::sleep(time);
                    to.write_all(&buffer[..length])
                }
                Mode::Answer(answer) if is_of_client => {
                    from.write_all(format!("-{answer}\r\n").repeat(commands(&buffer[..length])).as_bytes())
                }
                _ => to.write_all(&buffer[..length]),
            };
            if written.is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// How many a client has sent: each is an array, whose line begins with `*`. No argument of ours begins a line so.
fn commands(bytes: &[u8]) -> usize {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter(|line| line.first() == Some(&b'*') && line[1..].iter().any(u8::is_ascii_digit)).count()
}
