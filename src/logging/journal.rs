//! The journal of systemd takes a datagram of `NAME=value` lines.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::Level;

use super::Said;

const SOCKET: &str = "/run/systemd/journal/socket";
/// It takes what comes, and if it does not, nothing waits for it: what it had no room for is counted.
#[derive(Debug)]
pub struct Journal {
    socket: Option<UnixDatagram>,
    lost: AtomicU64,
}

impl Default for Journal {
    fn default() -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        Self { socket: socket.ok(), lost: AtomicU64::new(0) }
    }
}

/// systemd has connected it, and says by this variable which one it was: it may have been led elsewhere since.
pub fn is_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let found = rustix::fs::fstat(rustix::stdio::stderr()).map(|about| format!("{}:{}", about.st_dev, about.st_ino));
    found.is_ok_and(|found| found == stream)
}

impl Journal {
    /// False where there is no journal, or the record is too long for it. Stderr is the journal as well, and would be waited for.
    pub fn takes(&self, said: &Said) -> bool {
        let Some(socket) = &self.socket else { return false };
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let words = format!("{lost} lines are lost: the journal did not take them");
            let note = Said { level: Level::WARN, message: words, fields: Vec::new() };
            if socket.send_to(&record(&note), SOCKET).is_err() {
                self.lost.fetch_add(lost, Ordering::Relaxed);
            }
        }
        match socket.send_to(&record(said), SOCKET) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(_) => false,
        }
    }
}

pub fn record(said: &Said) -> Vec<u8> {
    let priority = match said.level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    };
    let mut record = Vec::new();
    push(&mut record, "PRIORITY", priority);
    push(&mut record, "SYSLOG_IDENTIFIER", "wp-cron-runner");
    push(&mut record, "MESSAGE", &said.message);
    for (name, value) in &said.fields {
        push(&mut record, &name.to_ascii_uppercase(), value);
    }
    record
}

/// A value of several lines has its length before it.
fn push(record: &mut Vec<u8>, name: &str, value: &str) {
    record.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        record.push(b'\n');
        record.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        record.push(b'=');
    }
    record.extend_from_slice(value.as_bytes());
    record.push(b'\n');
}
