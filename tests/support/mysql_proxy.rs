//! A proxy before MariaDB that spoils GET_LOCK, as some clusters and some pools of connections do.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Clone, Copy, Debug)]
pub enum Spoil {
    /// The server knows no such function: error 1305.
    Refused,
    /// Each connection has locks of its own, so that a second one is not refused.
    NotShared,
}

/// Listens for as long as the test lives.
pub fn start(socket: &Path, server: PathBuf, spoil: Spoil) {
    let listener = UnixListener::bind(socket).expect("the proxy's socket");
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o777)).expect("its mode");
    std::thread::spawn(move || {
        let connections = AtomicU32::new(0);
        for client in listener.incoming().flatten() {
            let Ok(upstream) = UnixStream::connect(&server) else { continue };
            let number = connections.fetch_add(1, Ordering::Relaxed);
            let (mut from_server, mut to_client) =
                (upstream.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_server, &mut to_client);
                let _ = to_client.shutdown(std::net::Shutdown::Both);
            });
            std::thread::spawn(move || forward(client, &upstream, spoil, number));
        }
    });
}

/// Packet by packet (three bytes of length, one of sequence), so that a statement is seen whole.
fn forward(mut client: UnixStream, mut server: &UnixStream, spoil: Spoil, number: u32) {
    let mut head = [0; 4];
    while client.read_exact(&mut head).is_ok() {
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        let mut packet = vec![0; length];
        if client.read_exact(&mut packet).is_err() {
            break;
        }
        match spoil {
            Spoil::Refused => replace(&mut packet, b"GET_LOCK", b"NOT_LOCK"),
            Spoil::NotShared => replace(&mut packet, b"'wpcr-", format!("'{:05}", number % 100_000).as_bytes()),
        }
        if server.write_all(&head).and_then(|()| server.write_all(&packet)).is_err() {
            break;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
}

/// As long as what it replaces, so that the packet keeps its length.
fn replace(packet: &mut [u8], from: &[u8], to: &[u8]) {
    let is_lock = packet.windows(8).any(|text| text == b"GET_LOCK" || text == b"USED_LOC" || text == b"ASE_LOCK");
    let mut at = 0;
    while is_lock && at + from.len() <= packet.len() {
        if &packet[at..at + from.len()] == from {
            packet[at..at + from.len()].copy_from_slice(to);
        }
        at += 1;
    }
}
