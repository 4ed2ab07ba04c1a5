//! The lock of one pass of a site without the plugin, whose events have no journal and no lock of their own.
//!
//! It is a `flock` on `pass-SITE.lock`, and the process of the pass has that very file as its stdin. The lock belongs to the
//! open file, so it lasts as long as the process, also where the runner that started it is dead: the next runner sees that
//! the pass goes on, and starts none beside it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Refusal;

/// Held by this value, and by every process that has its file.
#[derive(Debug)]
pub struct Pass {
    file: File,
    path: PathBuf,
}

impl Pass {
    pub(super) fn begin(path: PathBuf) -> Result<Self, Refusal> {
        loop {
            let (is_free, file) = match lock(&path) {
                Ok(locked) => locked,
                Err(error) => return Err(Refusal::Io { path, error }),
            };
            match () {
                // Whoever had it took the file away since it was opened: it says nothing any more.
                () if !is_at(&file, &path) => {}
                () if is_free => return Ok(Self { file, path }),
                () => return Err(Refusal::Held { what: "the pass".into(), holder: "an earlier one".into(), path }),
            }
        }
    }

    /// For the process that makes the pass, and all that it starts.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The process has ended. What an event left behind may have the file, and keep the old one locked: the next pass gets
    /// another.
    pub fn over(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("{}: {error}", self.path.display());
        }
    }
}

/// For reading alone: site code gets it.
fn lock(path: &Path) -> io::Result<(bool, File)> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    match file.try_lock() {
        Ok(()) => Ok((true, file)),
        Err(TryLockError::WouldBlock) => Ok((false, file)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|metadata| (metadata.dev(), metadata.ino()));
    id(file.metadata()).is_some_and(|own| id(fs::symlink_metadata(path)) == Some(own))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_pass_keeps_the_next_one_out_until_all_who_have_its_file_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass-shop.lock");
        let pass = Pass::begin(path.clone()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let heir = pass.file().try_clone().unwrap();
        drop(pass);
        assert!(matches!(Pass::begin(path.clone()), Err(Refusal::Held { .. })));
        drop(heir);
        assert!(Pass::begin(path).is_ok());
    }

    #[test]
    fn what_a_pass_left_behind_keeps_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass-shop.lock");
        let pass = Pass::begin(path.clone()).unwrap();
        let _left = pass.file().try_clone().unwrap();
        pass.over();
        let next = Pass::begin(path.clone()).unwrap();
        assert!(matches!(Pass::begin(path), Err(Refusal::Held { .. })));
        next.over();
    }

    #[test]
    fn a_link_in_its_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass-shop.lock");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(Pass::begin(path), Err(Refusal::Io { .. })));
        assert!(!folder.path().join("elsewhere").exists());
    }
}
