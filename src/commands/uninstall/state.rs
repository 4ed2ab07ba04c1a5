//! The state directory and the configuration's folder: files of ours go by their names, a folder once it is empty.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::super::{Stop, exit, owner};
use super::Left;
use crate::config::{Config, look_up};
use crate::text;

const NAMES: [&str; 7] = [
    "runner.id",
    "daemon.lock",
    "control.key",
    "history.sqlite",
    "history.sqlite-wal",
    "history.sqlite-shm",
    "history.sqlite-journal",
];

/// The runner's own, by name.
fn is_ours(name: &str) -> bool {
    let is_lock = ["lease-", "pass-"].iter().any(|begin| name.starts_with(begin)) && name.ends_with(".lock");
    NAMES.contains(&name) || is_lock
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// In the configuration's folder or in the state directory, wherever `import` could write.
pub fn crontab_copies(config: &Config) -> Vec<PathBuf> {
    let folders = [config.path.parent().unwrap_or(Path::new("/")), &config.runner.state_dir];
    let copies = folders.into_iter().flat_map(|folder| {
        let names = names_in(folder).into_iter().filter(|name| name.starts_with("crontab."));
        names.map(|name| folder.join(name)).collect::<Vec<_>>()
    });
    copies.collect()
}

/// How a copy gets to where it was: `crontab.alice.20261123T115500.123Z`, `crontab.etc-cron.d-shop.20261123T115500.123Z`.
pub fn way_back(copy: &Path) -> String {
    let name = copy.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let of = name.strip_prefix("crontab.").and_then(|rest| rest.rsplitn(3, '.').nth(2)).unwrap_or_default();
    let shown = copy.display();
    match of.strip_prefix("etc-cron.d-") {
        Some(file) => format!("`cp {shown} /etc/cron.d/{file}` puts it back"),
        None if of == "etc-crontab" => format!("`cp {shown} /etc/crontab` puts it back"),
        None if look_up(of).is_some() || of == "root" => format!("`crontab -u {of} {shown}` puts it back"),
        None => "it was taken from a file that `import` was given".to_string(),
    }
}

/// A daemon holds its lock for as long as it lives.
pub fn is_in_use(config: &Config) -> bool {
    let lock = File::open(config.runner.state_dir.join("daemon.lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Whether this user may take both out, asked before anything else is touched.
pub fn may_remove(config: &Config) -> Result<(), Stop> {
    let state = Some(config.runner.state_dir.as_path()).filter(|folder| folder.is_dir());
    for folder in [config.path.parent(), state].into_iter().flatten() {
        if rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_err() {
            return Err(Stop::new(exit::CONFIGURATION, format!("this user may not write into {}", folder.display()))
                .found(format!("a folder of user {}", super::whose(folder)))
                .expected("root, or that user")
                .next("`sudo wp-cron-runner uninstall`; nothing was changed"));
        }
    }
    Ok(())
}

pub fn plan(config: &Config) -> Vec<String> {
    let folder = &config.runner.state_dir;
    let ours = names_in(folder).into_iter().filter(|name| is_ours(name));
    let mut lines: Vec<String> = ours.map(|name| format!("the file {}", folder.join(name).display())).collect();
    if folder.is_dir() {
        lines.push(format!("the folder {}, if it is empty then", folder.display()));
    }
    lines
}

/// The state, then the configuration, which is the last to go: until then another try finds everything.
pub fn remove(config: &Config, done: &mut Vec<String>) -> Result<Vec<Left>, Stop> {
    let (state, mut left) = (&config.runner.state_dir, Vec::new());
    if state.is_dir() {
        let ours = names_in(state).into_iter().filter(|name| is_ours(name));
        let count = ours.map(|name| remove_file(&state.join(name))).collect::<Result<Vec<()>, Stop>>()?.len();
        done.push(format!("state removed: {count} files in {}", state.display()));
        left.extend(remove_folder(state, done));
    }
    remove_file(&config.path)?;
    done.push(format!("configuration removed: {}", config.path.display()));
    left.extend(config.path.parent().and_then(|folder| remove_folder(folder, done)));
    Ok(left)
}

/// As the owner of its folder, who may have put a link in its place.
pub fn remove_file(file: &Path) -> Result<(), Stop> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let removed = owner::as_owner_of(folder, || match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    removed.map_err(|error| {
        Stop::new(exit::UNREACHABLE, format!("cannot remove {}: {error}", file.display()))
            .next("try as root or as the owner of the folder")
    })
}

fn remove_folder(folder: &Path, done: &mut Vec<String>) -> Option<Left> {
    let why = match fs::remove_dir(folder) {
        Ok(()) => {
            done.push(format!("folder removed: {}", folder.display()));
            return None;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            let names = names_in(folder).join(", ");
            format!("it holds what the runner did not make: {}", text::safe_cut(&names, 300))
        }
        Err(error) => error.to_string(),
    };
    Some(Left { what: format!("the folder {}", folder.display()), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_crontab_says_where_it_was() {
        for (name, expected) in [
            (
                "crontab.www-data.20261123T115500.123Z",
                "`crontab -u www-data /x/crontab.www-data.20261123T115500.123Z` puts",
            ),
            ("crontab.root.20261123T115500.123Z", "`crontab -u root "),
            ("crontab.etc-crontab.20261123T115500.123Z", " /etc/crontab` puts"),
            ("crontab.etc-cron.d-shop.20261123T115500.123Z", " /etc/cron.d/shop` puts"),
            ("crontab.srv-x-jobs.20261123T115500.123Z", "it was taken from a file"),
            ("crontab.", "it was taken from a file"),
        ] {
            let way = way_back(&Path::new("/x").join(name));
            assert!(way.contains(expected), "{name}: {way}");
        }
    }

    #[test]
    fn only_the_runner_s_own_files_are_its() {
        for name in
            ["history.sqlite-wal", "lease-shop.lock", "pass-shop.lock", "runner.id", "control.key", "daemon.lock"]
        {
            assert!(is_ours(name), "{name}");
        }
        for name in ["lease-shop.txt", "history.sqlite.bak", "crontab.root.x", ".hidden", "shop.key"] {
            assert!(!is_ours(name), "{name}");
        }
    }
}
