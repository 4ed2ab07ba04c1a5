//! Root among files that somebody else may move.
//!
//! A site's folders belong to the user that its PHP runs as, and whoever has a hole in a plugin is that user. While root
//! writes there, that user can swap a file for a link to /etc/shadow between two steps of ours, and whatever goes by path
//! (chown, chmod, open, rename) then hits the link's end. Two things keep that out:
//!
//! - Where the folder belongs to somebody, the work is done as somebody: the kernel then allows nothing that the owner
//!   could not do by himself, whatever is swapped.
//! - Where a file's owner has to be set, only root can, and it is set on the open descriptor of a file that was made with
//!   O_EXCL (which follows no link), never on its path.
//!
//! A link that one user made to another's files is refused: the work would be done as the other.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::config::{User, look_up};

/// What stands at the end of the path, where the links on its last step may be followed.
pub fn metadata(path: &Path) -> io::Result<Metadata> {
    let (link, end) = (fs::symlink_metadata(path)?, fs::metadata(path)?);
    if super::is_root() && link.is_symlink() && link.uid() != 0 && link.uid() != end.uid() {
        let why = format!("it is a link of user {} to what belongs to user {}", name(link.uid()), name(end.uid()));
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(end)
}

/// Does the work as the owner of the folder.
pub fn as_owner_of<T: Send>(folder: &Path, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let found = metadata(folder)?;
    as_user(found.uid(), found.gid(), work)
}

/// In a thread of its own: on Linux each thread has its own user, and this one ends with the work.
pub fn as_user<T: Send>(uid: u32, gid: u32, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    if !super::is_root() {
        return work();
    }
    let become_user = move || -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        Ok(set_thread_res_uid(uid, uid, uid)?)
    };
    thread::scope(|scope| {
        let thread = scope.spawn(move || become_user().and_then(|()| work()));
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that wrote it failed")))
    })
}

/// A new file, for its owner alone; root gives it to `owner`.
pub fn write_private(path: &Path, bytes: &[u8], owner: Option<&Metadata>) -> io::Result<()> {
    let mut file = create(path, 0o600)?;
    if let Some(owner) = owner.filter(|_| super::is_root()) {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// `create_new` is O_CREAT and O_EXCL: never through a link that somebody put there.
pub fn create(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// The user's name where /etc/passwd knows one, else the number.
pub fn name(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let known = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_string())
    });
    known.unwrap_or_else(|| uid.to_string())
}

/// Who this is.
pub fn own_user() -> User {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let name = name(uid);
    look_up(&name).unwrap_or(User { name, uid, gid, home: PathBuf::from("/") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    const NOBODY: u32 = 65_534;

    #[test]
    fn root_is_the_owner_while_it_works_and_root_again_afterwards() {
        if !super::super::is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (site, secret) = (folder.path().join("site"), folder.path().join("secret"));
        fs::create_dir(&site).unwrap();
        chown(&site, Some(NOBODY), Some(NOBODY)).unwrap();
        write_private(&secret, b"root's", None).unwrap();
        let made = site.join("made");
        as_owner_of(&site, || create(&made, 0o644)).unwrap();
        let made = fs::metadata(&made).unwrap();
        assert_eq!((made.uid(), made.gid()), (NOBODY, NOBODY));
        // Swapped for a link at the worst moment: the kernel refuses what the owner may not.
        symlink(&secret, site.join("swapped")).unwrap();
        let written = as_owner_of(&site, || fs::write(site.join("swapped"), "gone"));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::read(&secret).unwrap(), b"root's");
        assert!(super::super::is_root());
    }

    #[test]
    fn a_link_to_somebody_else_s_files_is_refused() {
        if !super::super::is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (victim, link) = (folder.path().join("victim"), folder.path().join("link"));
        fs::create_dir(&victim).unwrap();
        symlink(&victim, &link).unwrap();
        assert!(metadata(&link).is_ok(), "root's own link");
        lchown(&link, Some(NOBODY), None).unwrap();
        assert!(metadata(&link).unwrap_err().to_string().contains("it is a link of user"));
        assert!(as_owner_of(&link, || Ok(())).is_err());
        chown(&victim, Some(NOBODY), None).unwrap();
        assert!(metadata(&link).is_ok(), "a link to files of one's own");
    }

    #[test]
    fn nothing_is_made_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (there, link) = (folder.path().join("there"), folder.path().join("link"));
        symlink(&there, &link).unwrap();
        assert!(create(&link, 0o600).is_err() && !there.exists());
    }
}
