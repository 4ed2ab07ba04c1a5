//! The runner's own files: whose they are, who else may read or write them, and whether there is room.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Finding, fail, ok, warn};
use crate::commands::owner;
use crate::config::{Config, Site};

/// Below this nothing can be recorded before long, and then nothing is started.
const LEAST_ROOM: u64 = 16_000_000;

/// Its mode, and that of its folder: who can write either can have commands run as the runner.
pub fn configuration(path: &Path, runner: Option<u32>) -> Vec<Finding> {
    let check = "config mode";
    let Ok(found) = fs::metadata(path) else { return Vec::new() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut findings = vec![match found.mode() & 0o7777 {
        mode if mode & 0o022 != 0 => {
            fail(check, said(path, &found), "nobody else may write it", format!("`chmod 640 {}`", path.display()))
        }
        mode if mode & 0o004 != 0 => {
            warn(check, said(path, &found), "mode 0600 to 0640", format!("`chmod 640 {}`", path.display()))
        }
        _ => match runner {
            Some(uid) if found.uid() != 0 && found.uid() != uid => {
                let fix = format!("`chown root {}`", path.display());
                warn(check, said(path, &found), format!("root or {} as its owner", owner::name(uid)), fix)
            }
            _ => ok(check, said(path, &found)),
        },
    }];
    if let Some(above) = fs::metadata(folder).ok().filter(|above| above.mode() & 0o022 != 0) {
        let fix = format!("`chmod go-w {}`", folder.display());
        findings.push(fail(check, said(folder, &above), "a folder that nobody else may write", fix));
    }
    findings
}

/// A site's key. Modes that others can read by are refused with the configuration.
pub fn key(site: &Site, runner: Option<u32>) -> Finding {
    let check = format!("site {}: key", site.name);
    let file = &site.secret_file;
    let Ok(found) = fs::symlink_metadata(file) else {
        let fix = format!("`wp-cron-runner plugin install {}`", site.name);
        return fail(&check, format!("{} does not exist", file.display()), "the site's key, mode 0600", fix);
    };
    match runner {
        Some(uid) if found.uid() != uid => {
            let user = owner::name(uid);
            let fix = format!("`chown {user} {}`", file.display());
            fail(&check, said(file, &found), format!("{user} as its owner: the runner has to read it"), fix)
        }
        _ => ok(&check, said(file, &found)),
    }
}

/// Where leases and history are kept.
pub fn state(config: &Config, runner: Option<u32>) -> Vec<Finding> {
    let (check, folder) = ("state", &config.runner.state_dir);
    let Ok(found) = fs::metadata(folder) else {
        let user = runner.map_or("www-data".to_string(), owner::name);
        let fix = format!("`install -d -m 700 -o {user} {}`, with the user of the runner", folder.display());
        return vec![warn(check, format!("{} does not exist", folder.display()), "the runner's own folder", fix)];
    };
    let user = runner.map(owner::name).unwrap_or_default();
    let folders = match () {
        () if !found.is_dir() => {
            fail(check, format!("{} is no folder", folder.display()), "a folder", "see `state_dir` in [runner]")
        }
        () if found.uid() == 0 => fail(
            check,
            said(folder, &found),
            "the runner's user as its owner, who is not root",
            format!("`chown -R www-data {}`, with the user of the runner", folder.display()),
        ),
        () if runner.is_some_and(|uid| found.uid() != uid) => fail(
            check,
            said(folder, &found),
            format!("{user} as its owner"),
            format!("`chown -R {user} {}`", folder.display()),
        ),
        () if found.mode() & 0o077 != 0 => warn(
            check,
            said(folder, &found),
            "mode 0700: outputs of events and the runner's key are in it",
            format!("`chmod 700 {}`", folder.display()),
        ),
        () => ok(check, said(folder, &found)),
    };
    vec![folders, room(config)]
}

fn room(config: &Config) -> Finding {
    let (check, folder) = ("disk space", &config.runner.state_dir);
    let place = folder.display();
    let Ok(room) = rustix::fs::statvfs(folder) else {
        return warn(check, format!("not known for {place}"), "a file system that tells", format!("`df {place}`"));
    };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let found = format!("{} MB are free in {place}", free / 1_000_000);
    let wanted = format!("{} MB, which the history may take", config.history.size / 1_000_000);
    match free {
        _ if room.f_files > 0 && room.f_favail == 0 => fail(
            check,
            format!("no file can be made in {place}: no inode is free"),
            "free inodes",
            format!("`df -i {place}`; remove files there"),
        ),
        free if free < LEAST_ROOM => fail(check, found, wanted, format!("`df -h {place}`; free space there")),
        free if free < config.history.size => warn(
            check,
            found,
            wanted,
            format!("free space there, or make `size` in [history] smaller ({})", config.path.display()),
        ),
        _ => ok(check, found),
    }
}

fn said(path: &Path, found: &Metadata) -> String {
    format!("{} has mode {:04o} and belongs to {}", path.display(), found.mode() & 0o7777, owner::name(found.uid()))
}
