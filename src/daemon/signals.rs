//! Signals: TERM and INT end, HUP loads the configuration anew. What is sent by mistake (USR1, USR2) ends nothing.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: [Signal; 2],
}

impl Signals {
    /// From here on none of them ends the process by itself.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
        })
    }

    /// The first signal stops; a second one after the first second ends the process at once: `systemctl stop` and Ctrl-C may
    /// well send two in one go. Gives what to wait for: the stop, and the hang-ups.
    pub fn attend(self) -> (CancellationToken, Signal) {
        let Self { mut terminate, mut interrupt, hang_up, user: [mut user1, mut user2] } = self;
        let stop = CancellationToken::new();
        let token = stop.clone();
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            token.cancel();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            either(&mut terminate, &mut interrupt).await;
            tracing::warn!("a second signal: ending at once; PHP goes on with what it runs");
            std::process::exit(0);
        });
        tokio::spawn(async move {
            loop {
                either(&mut user1, &mut user2).await;
                tracing::debug!("SIGUSR1 and SIGUSR2 mean nothing here; SIGHUP loads the configuration anew");
            }
        });
        (stop, hang_up)
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Who listens on a port, where this user can see it: through /proc/net/tcp (proc(5)) and the open files of processes.
pub fn holder_of(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(_) = address.ip() else { return None };
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let port = format!(":{:04X}", address.port());
    let inode = table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // 0A: LISTEN
        let is_it = fields.get(1)?.ends_with(&port) && *fields.get(3)? == "0A";
        is_it.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
    })?;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let files = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let has_it =
            |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == inode.as_str());
        if files.into_iter().any(has_it) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {} {}", process.file_name().display(), crate::text::safe(name.trim())));
        }
    }
    None
}
