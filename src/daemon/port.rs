//! The port of the API: ours, or whose.

use std::fs;
use std::net::{IpAddr, SocketAddr};

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
