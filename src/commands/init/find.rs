//! Where WordPress is, seen from a folder in it, above it, or beside it.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// /var/www/vhosts/example.org/httpdocs/wp is five below /var/www.
const DEEPEST: usize = 5;
const MOST_FOLDERS: usize = 20_000;
/// Nobody keeps a WordPress in these, and they are large.
const SKIPPED: [&str; 7] = ["node_modules", "vendor", "uploads", "cache", "wp-admin", "wp-includes", "wp-content"];
/// A search that begins at / would meet them.
const NO_FILES: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// The one that this folder is in; else all that are below it.
pub fn wordpress(start: &Path) -> io::Result<Vec<PathBuf>> {
    let start = absolute(start)?;
    match start.ancestors().find_map(above) {
        Some(root) => Ok(vec![root]),
        None => Ok(below(&start)),
    }
}

/// Links stay as they are written: behind `current` is another release tomorrow.
fn absolute(start: &Path) -> io::Result<PathBuf> {
    let metadata = fs::metadata(start)?;
    let goes_up = start.components().any(|part| part == Component::ParentDir);
    let path = if goes_up { start.canonicalize()? } else { std::path::absolute(start)? };
    match path.parent() {
        Some(folder) if !metadata.is_dir() => Ok(folder.to_path_buf()),
        // Without a slash at the end.
        _ => Ok(path.components().collect()),
    }
}

pub fn is_wordpress(folder: &Path) -> bool {
    folder.join("wp-load.php").is_file() && folder.join("wp-includes/version.php").is_file()
}

/// This folder, or WordPress in a folder of its own beside what it uses, as Bedrock has it.
fn above(folder: &Path) -> Option<PathBuf> {
    let own = |below: &str| Some(folder.join(below)).filter(|folder| is_wordpress(folder));
    if is_wordpress(folder) {
        return Some(folder.to_path_buf());
    }
    if folder.join("wp-config.php").is_file() {
        return own("wp");
    }
    if folder.join("config/application.php").is_file() {
        return own("web/wp");
    }
    None
}

/// Near ones first. Links are followed, each folder is entered once.
fn below(start: &Path) -> Vec<PathBuf> {
    let (mut found, mut entered) = (Vec::new(), HashSet::new());
    let mut queue = VecDeque::from([(start.to_path_buf(), 0)]);
    while let Some((folder, depth)) = queue.pop_front() {
        let Ok(metadata) = fs::metadata(&folder) else { continue };
        if entered.len() >= MOST_FOLDERS || !entered.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        if is_wordpress(&folder) {
            found.push(folder.clone());
        }
        if depth < DEEPEST {
            queue.extend(folders_in(&folder).into_iter().map(|folder| (folder, depth + 1)));
        }
    }
    found
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let is_skipped = |name: &str| name.starts_with('.') || SKIPPED.contains(&name);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .filter(|entry| !is_skipped(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !NO_FILES.iter().any(|not| path == Path::new(not)))
        .collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn touch(file: &Path) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "<?php\n").unwrap();
    }

    fn install(root: &Path) {
        for file in ["wp-load.php", "wp-includes/version.php", "wp-content/plugins/akismet/akismet.php"] {
            touch(&root.join(file));
        }
    }

    #[test]
    fn it_is_found_from_within_from_above_and_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("www/shop");
        install(&root);
        touch(&root.join("wp-config.php"));
        for start in [
            "www/shop",
            "www/shop/",
            "www/shop/wp-content/plugins",
            "www/shop/wp-config.php",
            "www",
            "",
            "www/shop/wp-includes/../../shop",
        ] {
            let found = wordpress(&folder.path().join(start)).unwrap();
            let found: Vec<PathBuf> = found.iter().map(|found| found.canonicalize().unwrap()).collect();
            assert_eq!(found, [root.canonicalize().unwrap()], "from {start}");
        }
        assert!(wordpress(&folder.path().join("no/such")).is_err());
        fs::create_dir(folder.path().join("empty")).unwrap();
        assert!(wordpress(&folder.path().join("empty")).unwrap().is_empty());
    }

    #[test]
    fn several_are_all_told_and_a_nested_one_is_found_from_within() {
        let folder = tempfile::tempdir().unwrap();
        let (one, nested, two) =
            (folder.path().join("a"), folder.path().join("a/blog"), folder.path().join("deep/er/httpdocs"));
        for root in [&one, &nested, &two] {
            install(root);
        }
        assert_eq!(wordpress(folder.path()).unwrap(), [one.clone(), nested.clone(), two]);
        assert_eq!(wordpress(&nested.join("wp-content")).unwrap(), [nested]);
        assert_eq!(wordpress(&one).unwrap(), [one]);
    }

    #[test]
    fn copies_in_other_tools_folders_and_too_deep_ones_are_not_meant() {
        let folder = tempfile::tempdir().unwrap();
        for root in ["vendor/wp", "node_modules/wp", ".cache/wp", "1/2/3/4/5/6"] {
            install(&folder.path().join(root));
        }
        // A plugin that brings a file of that name is no WordPress.
        touch(&folder.path().join("plugin/wp-load.php"));
        assert!(wordpress(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn links_are_followed_once_and_loops_come_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        install(&folder.path().join("releases/7"));
        symlink("releases/7", folder.path().join("current")).unwrap();
        symlink("..", folder.path().join("releases/up")).unwrap();
        symlink("loop", folder.path().join("loop")).unwrap();
        symlink("/no/such", folder.path().join("dead")).unwrap();
        let current = folder.path().join("current");
        assert_eq!(
            wordpress(folder.path()).unwrap(),
            std::slice::from_ref(&current),
            "the link, not what it points at today"
        );
        assert_eq!(wordpress(&current.join("wp-content/plugins")).unwrap(), [current]);
    }

    #[test]
    fn bedrock_is_found_from_each_of_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("web/wp");
        install(&root);
        touch(&folder.path().join("web/wp-config.php"));
        touch(&folder.path().join("config/application.php"));
        fs::create_dir_all(folder.path().join("web/app/themes")).unwrap();
        for start in ["", "web", "web/app/themes", "web/wp", "config"] {
            assert_eq!(wordpress(&folder.path().join(start)).unwrap(), std::slice::from_ref(&root), "from {start}");
        }
    }
}
