//! The marked block in wp-config.php: the site's half of the key. Nothing outside the marks is ever changed.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

const BEGIN: &str = "// BEGIN WP Cron Runner.";
const END: &str = "// END WP Cron Runner";

/// Beside wp-load.php, or one level above where that is no WordPress of its own: as WordPress itself looks for it.
pub fn find(root: &Path) -> Option<PathBuf> {
    let here = root.join("wp-config.php");
    if here.is_file() {
        return here.canonicalize().ok();
    }
    let above = root.parent()?;
    let file = above.join("wp-config.php");
    (file.is_file() && !above.join("wp-settings.php").is_file()).then(|| file.canonicalize().ok())?
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
pub fn keys_in(text: &str) -> Option<Vec<String>> {
    let (start, end) = span(text)?;
    let line = text.get(start..end)?.lines().find(|line| line.contains("'WP_CRON_RUNNER_KEYS'"))?;
    let value = line.split('\'').nth(3)?;
    Some(value.split_whitespace().map(str::to_string).collect())
}

/// Where the block is, with its line ends.
fn span(text: &str) -> Option<(usize, usize)> {
    let start = text.find(BEGIN)?;
    let end = start + text.get(start..)?.find(END)?;
    let rest = text.get(end..)?;
    let line_end = rest.find('\n').map_or(rest.len(), |at| at + 1);
    Some((start, end + line_end))
}

/// The text with this block, or None where no place for it can be found.
pub fn with_block(text: &str, block: &str) -> Option<String> {
    let at = if let Some((start, end)) = span(text) {
        return Some(format!("{}{block}{}", text.get(..start)?, text.get(end..)?));
    } else {
        place(text)?
    };
    Some(format!("{}{block}{}", text.get(..at)?, text.get(at..)?))
}

/// Before "That's all, stop editing", else before the line that loads WordPress.
fn place(text: &str) -> Option<usize> {
    let marks = ["/* That's all, stop editing", "/* That’s all, stop editing", "/* That&#8217;s all"];
    let mark = marks.iter().find_map(|mark| text.find(mark)).or_else(|| text.find("wp-settings.php"))?;
    Some(text.get(..mark)?.rfind('\n').map_or(0, |at| at + 1)).filter(|at| *at > 0)
}

pub fn without_block(text: &str) -> Option<String> {
    let (start, end) = span(text)?;
    Some(format!("{}{}", text.get(..start)?, text.get(end..)?))
}

/// In one go, with mode and owner kept: PHP never sees half a file.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let new = folder.join(".wp-config.php.wp-cron-runner");
    let _ = fs::remove_file(&new);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        if super::is_root() {
            chown(&new, Some(metadata.uid()), Some(metadata.gid()))?;
        } else if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
        }
        file.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
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
        for config in endings {
            let with = with_block(&config, &block("shop", "aa")).unwrap();
            assert!(with.find("WP_CRON_RUNNER_KEYS").unwrap() < with.find("wp-settings.php").unwrap());
            assert_eq!(keys_in(&with).unwrap(), ["aa"]);
            assert_eq!(with_block(&with, &block("shop", "aa")).unwrap(), with, "twice changes nothing");
            let other = with_block(&with, &block("shop", "bb cc")).unwrap();
            assert_eq!(keys_in(&other).unwrap(), ["bb", "cc"]);
            assert_eq!(without_block(&other).unwrap(), config);
        }
        assert_eq!(without_block(CONFIG), None);
        assert_eq!(with_block("<?php\n", "x"), None);
    }

    #[test]
    fn the_file_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wp-config.php");
        fs::write(&path, CONFIG).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn it_may_lie_above_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("wp");
        fs::create_dir(&root).unwrap();
        assert_eq!(find(&root), None);
        fs::write(folder.path().join("wp-config.php"), "").unwrap();
        assert!(find(&root).is_some());
        fs::write(folder.path().join("wp-settings.php"), "").unwrap();
        assert_eq!(find(&root), None, "that is another WordPress");
    }
}
