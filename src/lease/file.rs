//! Leases as locked files, and the state directory that they live in.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub use super::Refusal;
use super::pass::Pass;
use crate::clock;
use crate::protocol::signature::{Key, random_hex};

/// Held for as long as it lives.
#[derive(Debug)]
pub struct Lease {
    _file: File,
}

/// The folder that holds all that a runner must remember.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
    /// Who this runner is, for as long as the folder lives.
    pub id: String,
}

impl StateDir {
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let refuse = |error| Refusal::Io { path: path.to_path_buf(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refuse)?;
        check_owner(path).map_err(refuse)?;
        let id = runner_id(&path.join("runner.id"))?;
        Ok(Self { path: path.to_path_buf(), id })
    }

    pub fn history_file(&self) -> PathBuf {
        self.path.join("history.sqlite")
    }

    /// One daemon per state directory.
    pub fn daemon(&self) -> Result<Lease, Refusal> {
        acquire(&self.path.join("daemon.lock"), "this state directory")
    }

    pub fn control_key(&self) -> Result<Key, Refusal> {
        make_control_key(&self.path)
    }

    pub fn site(&self, site: &str) -> Result<Lease, Refusal> {
        acquire(&self.path.join(format!("lease-{site}.lock")), &format!("site `{site}`"))
    }

    /// One pass of a site without the plugin, or one run of a job.
    pub fn pass(&self, name: &str) -> Result<Pass, Refusal> {
        Pass::begin(self.pass_file(name))
    }

    /// What its process has as its stdin.
    pub fn pass_file(&self, name: &str) -> PathBuf {
        self.path.join(format!("pass-{name}.lock"))
    }
}

/// Who can read this signs commands to the runner: its own user, and root. Made by the runner.
pub fn control_key(state_dir: &Path) -> Result<Key, Refusal> {
    let path = state_dir.join("control.key");
    let refuse = |error| Refusal::Io { path: path.clone(), error };
    let mut file = OpenOptions::new().read(true).custom_flags(no_follow()).open(&path).map_err(refuse)?;
    read_key(&mut file).map_err(refuse)?.ok_or_else(|| refuse(io::Error::other("holds no key")))
}

/// Anew at each start: whatever lay there before, nobody but this runner's user has read this one.
fn make_control_key(state_dir: &Path) -> Result<Key, Refusal> {
    let path = state_dir.join("control.key");
    let refuse = |error| Refusal::Io { path: path.clone(), error };
    let hex = random_hex::<32>().map_err(refuse)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refuse(error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).custom_flags(no_follow()).open(&path);
    file.and_then(|mut file| writeln!(file, "{hex}")).map_err(refuse)?;
    Key::from_hex(&hex).ok_or_else(|| refuse(io::Error::other("holds no key")))
}

/// Whoever may write the folder decides what the runner believes.
fn check_owner(folder: &Path) -> io::Result<()> {
    let metadata = fs::metadata(folder)?;
    let (mode, own) = (metadata.mode() & 0o7777, rustix::process::geteuid());
    if mode & 0o022 != 0 {
        return Err(io::Error::other(format!("has mode {mode:04o}: others may write it")));
    }
    if metadata.uid() != own.as_raw() && !own.is_root() {
        return Err(io::Error::other(format!("belongs to user {}, and this is user {}", metadata.uid(), own.as_raw())));
    }
    Ok(())
}

fn read_key(file: &mut File) -> io::Result<Option<Key>> {
    let mut hex = String::new();
    file.take(128).read_to_string(&mut hex)?;
    Ok(Key::from_hex(hex.trim()))
}

/// Whoever may write the folder could put a link in a file's place and have us write elsewhere.
fn no_follow() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    i32::try_from(flags.bits()).unwrap_or(0)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(no_follow()).open(path)
}

fn acquire(path: &Path, what: &str) -> Result<Lease, Refusal> {
    let refuse = |error| Refusal::Io { path: path.to_path_buf(), error };
    let mut file = open(path).map_err(refuse)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let (what, holder) = (what.to_string(), holder(&mut file));
            return Err(Refusal::Held { what, holder, path: path.to_path_buf() });
        }
        Err(TryLockError::Error(error)) => return Err(refuse(error)),
    }
    // A full disk must not cost the lease: these words are for people.
    let _ = file.set_len(0);
    let _ = writeln!(file, "process {} since {}", std::process::id(), clock::rfc3339(clock::now_ms()));
    Ok(Lease { _file: file })
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.rewind();
    let read = file.take(200).read_to_string(&mut text);
    match text.trim() {
        holder if read.is_ok() && !holder.is_empty() => crate::text::safe(holder),
        _ => "another process".to_string(),
    }
}

fn runner_id(path: &Path) -> Result<String, Refusal> {
    let refuse = |error| Refusal::Io { path: path.to_path_buf(), error };
    let mut file = open(path).map_err(refuse)?;
    file.lock().map_err(refuse)?;
    let mut id = String::new();
    (&file).take(64).read_to_string(&mut id).map_err(refuse)?;
    let id = id.trim();
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(id.to_string());
    }
    let id = random_hex::<16>().map_err(refuse)?;
    file.set_len(0).and_then(|()| file.rewind()).map_err(refuse)?;
    writeln!(file, "{id}").and_then(|()| file.sync_all()).map_err(refuse)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_runner_does_not_get_the_lease_and_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        let lease = state.site("shop").unwrap();
        let refusal = state.site("shop").unwrap_err().to_string();
        assert!(
            refusal.contains(&format!("site `shop` is held by process {} since 20", std::process::id())),
            "{refusal}"
        );
        assert!(state.site("other").is_ok() && state.daemon().is_ok());
        drop(lease);
        assert!(state.site("shop").is_ok());
    }

    #[test]
    fn the_key_of_commands_is_new_at_each_start_whatever_lay_there() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("control.key"), "ab".repeat(32)).unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let first = state.control_key().unwrap();
        assert_eq!(control_key(folder.path()).unwrap(), first);
        assert_ne!(first, Key::from_hex(&"ab".repeat(32)).unwrap());
        assert_eq!(fs::metadata(folder.path().join("control.key")).unwrap().mode() & 0o777, 0o600);
        assert_ne!(state.control_key().unwrap(), first);
    }

    #[test]
    fn a_state_directory_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o770)).unwrap();
        let refusal = StateDir::open(folder.path()).unwrap_err().to_string();
        assert!(refusal.contains("has mode 0770"), "{refusal}");
    }

    #[test]
    fn the_runner_keeps_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let id = StateDir::open(folder.path()).unwrap().id;
        assert_eq!((id.len(), StateDir::open(folder.path()).unwrap().id), (32, id));
    }

    #[test]
    fn a_link_in_place_of_a_lock_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("lease-shop.lock")).unwrap();
        assert!(matches!(state.site("shop"), Err(Refusal::Io { .. })));
    }
}
