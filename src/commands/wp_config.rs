//! The marked block in wp-config.php: the site's half of the key. Nothing outside the marks is ever changed.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, open, openat, renameat, unlinkat};

use super::owner;
use crate::config::wp_content;

const BEGIN: &str = "// BEGIN WP Cron Runner.";
const END: &str = "// END WP Cron Runner";

/// The site's wp-config.php, with links resolved.
pub fn find(root: &Path) -> io::Result<Option<PathBuf>> {
    let Some(file) = wp_content::wp_config(root) else { return Ok(None) };
    owner::metadata(&file)?;
    file.canonicalize().map(Some)
}

pub fn block(site: &str, keys: &str) -> String {
    format!(
        "{BEGIN} `wp-cron-runner plugin remove {site}` takes this block out.\n\
         define( 'WP_CRON_RUNNER_SITE', '{site}' );\n\
         define( 'WP_CRON_RUNNER_KEYS', '{keys}' );\n\
         {END}\n"
    )
}

/// The keys that the block holds, if there is one.
pub fn keys_in(text: &[u8]) -> Option<Vec<String>> {
    let (start, end) = span(text)?;
    let block = String::from_utf8_lossy(text.get(start..end)?);
    let line = block.lines().find(|line| line.contains("'WP_CRON_RUNNER_KEYS'"))?;
    let value = line.split('\'').nth(3)?;
    Some(value.split_whitespace().map(str::to_string).collect())
}

/// Where the word begins. The file is bytes: old ones have comments in Latin-1.
fn position(text: &[u8], word: &str) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word.as_bytes())
}

/// Where the block is, with its line ends.
fn span(text: &[u8]) -> Option<(usize, usize)> {
    let start = position(text, BEGIN)?;
    let end = start + position(text.get(start..)?, END)?;
    let rest = text.get(end..)?;
    let line_end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
    Some((start, end + line_end))
}

/// The text with this block, or None where no place for it can be found.
pub fn with_block(text: &[u8], block: &str) -> Option<Vec<u8>> {
    let (start, end) = match span(text) {
        Some(span) => span,
        None => place(text).map(|at| (at, at))?,
    };
    Some([text.get(..start)?, block.as_bytes(), text.get(end..)?].concat())
}

/// Before "That's all, stop editing", else before the line that loads WordPress.
fn place(text: &[u8]) -> Option<usize> {
    let marks = ["/* That's all, stop editing", "/* That’s all, stop editing", "/* That&#8217;s all"];
    let mark = marks.iter().find_map(|mark| position(text, mark)).or_else(|| position(text, "wp-settings.php"))?;
    let before = text.get(..mark)?;
    before.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1)
}

pub fn without_block(text: &[u8]) -> Option<Vec<u8>> {
    let (start, end) = span(text)?;
    Some([text.get(..start)?, text.get(end..)?].concat())
}

/// Reads, changes and replaces the file in one go, with mode and owner kept: PHP never sees half a file. Gives whether it
/// changed.
///
/// Root does so as the owner of file and folder, where that is one user. Where it is not, only root can keep both as they
/// are: then everything goes through the descriptor of the folder, and the new file gets its owner through its own.
pub fn change(path: &Path, change: impl FnOnce(&[u8]) -> Option<Vec<u8>> + Send) -> io::Result<bool> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let (above, file) = (fs::symlink_metadata(folder)?, fs::symlink_metadata(path)?);
    let uid = if above.uid() == file.uid() { file.uid() } else { 0 };
    owner::as_user(uid, file.gid(), || {
        let name = Path::new(path.file_name().unwrap_or_default());
        let folder = File::from(open(folder, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
        let mut old = File::from(openat(&folder, name, OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
        let metadata = old.metadata()?;
        if !metadata.is_file() || (metadata.dev(), metadata.ino()) != (file.dev(), file.ino()) {
            return Err(io::Error::other("it was replaced meanwhile by another file"));
        }
        let mut text = Vec::new();
        old.read_to_end(&mut text)?;
        match change(&text) {
            Some(new) if new != text => replace(&folder, name, &new, &metadata).map(|()| true),
            _ => Ok(false),
        }
    })
}

fn replace(folder: &File, name: &Path, text: &[u8], like: &fs::Metadata) -> io::Result<()> {
    let new = format!(".{}.wp-cron-runner", name.display());
    let new = Path::new(&new);
    let _ = unlinkat(folder, new, AtFlags::empty());
    // EXCL: neither a file that somebody else holds open nor the end of a link.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(folder, new, flags, Mode::RUSR | Mode::WUSR)?);
    let mut write = || {
        file.write_all(text)?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (like.uid(), like.gid()) {
            fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(like.mode() & 0o7777))?;
        file.sync_all()?;
        Ok(renameat(folder, new, folder, name)?)
    };
    let written = write();
    if written.is_err() {
        let _ = unlinkat(folder, new, AtFlags::empty());
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "<?php\ndefine( 'DB_NAME', 'x' );\n\n/* That's all, stop editing! Happy publishing. */\nrequire_once ABSPATH . 'wp-settings.php';\n";

    #[test]
    fn in_and_out_leaves_every_byte_as_it_was() {
        let endings = [
            CONFIG.to_string(),
            CONFIG.replace("/* That's all, stop editing! Happy publishing. */\n", ""),
            CONFIG.trim_end().to_string(),
            CONFIG.replace('\n', "\r\n"),
        ];
        let latin1 = [b"<?php // caf\xe9 \x80\n", CONFIG.as_bytes()].concat();
        for config in endings.into_iter().map(String::into_bytes).chain([latin1]) {
            let with = with_block(&config, &block("shop", "aa")).unwrap();
            assert!(position(&with, "WP_CRON_RUNNER_KEYS").unwrap() < position(&with, "wp-settings.php").unwrap());
            assert_eq!(keys_in(&with).unwrap(), ["aa"]);
            assert_eq!(with_block(&with, &block("shop", "aa")).unwrap(), with, "twice changes nothing");
            let other = with_block(&with, &block("shop", "bb cc")).unwrap();
            assert_eq!(keys_in(&other).unwrap(), ["bb", "cc"]);
            assert_eq!(without_block(&other).unwrap(), config);
        }
        assert_eq!(without_block(CONFIG.as_bytes()), None);
        assert_eq!(with_block(b"<?php\n", "x"), None);
    }

    #[test]
    fn the_file_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wp-config.php");
        fs::write(&path, CONFIG).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(change(&path, |text| (text == CONFIG.as_bytes()).then(|| b"new".to_vec())).unwrap());
        assert!(!change(&path, |text| Some(text.to_vec())).unwrap() && !change(&path, |_| None).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn it_may_lie_above_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("wp");
        fs::create_dir(&root).unwrap();
        assert_eq!(find(&root).unwrap(), None);
        fs::write(folder.path().join("wp-config.php"), "").unwrap();
        assert!(find(&root).unwrap().is_some());
        fs::write(folder.path().join("wp-settings.php"), "").unwrap();
        assert_eq!(find(&root).unwrap(), None, "that is another WordPress");
    }

    #[test]
    fn root_keeps_the_owner_and_changes_nobody_s_file_but_this_one() {
        use std::os::unix::fs::{chown, symlink};
        if !super::super::is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        for (above, owner) in [(33, 33), (0, 33), (33, 0)] {
            let site = folder.path().join(format!("{above}-{owner}"));
            fs::create_dir(&site).unwrap();
            let path = site.join("wp-config.php");
            fs::write(&path, CONFIG).unwrap();
            chown(&path, Some(owner), Some(33)).unwrap();
            chown(&site, Some(above), Some(33)).unwrap();
            symlink("/etc/hostname", site.join(".wp-config.php.wp-cron-runner")).unwrap();
            assert!(change(&path, |text| with_block(text, &block("shop", "aa"))).unwrap());
            let after = fs::symlink_metadata(&path).unwrap();
            assert_eq!((after.uid(), after.gid(), after.is_file()), (owner, 33, true), "{above}-{owner}");
        }
    }
}
