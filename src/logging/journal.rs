//! The journal of systemd takes a datagram of `NAME=value` lines.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tracing::Level;

use super::Said;

const SOCKET: &str = "/run/systemd/journal/socket";
/// It takes what comes, and if it does not, nothing waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Journal(Option<UnixDatagram>);

impl Default for Journal {
    fn default() -> Self {
        let socket =
            UnixDatagram::unbound().and_then(|socket| socket.set_write_timeout(Some(PATIENCE)).map(|()| socket));
        Self(socket.ok())
    }
}

/// systemd has connected it, and says by this variable which one it was: it may have been led elsewhere since.
pub fn is_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let found = rustix::fs::fstat(rustix::stdio::stderr()).map(|about| format!("{}:{}", about.st_dev, about.st_ino));
    found.is_ok_and(|found| found == stream)
}

impl Journal {
    /// False where nobody took it.
    pub fn takes(&self, said: &Said) -> bool {
        let record = record(said);
        self.0.as_ref().is_some_and(|socket| socket.send_to(&record, SOCKET).is_ok_and(|sent| sent == record.len()))
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
