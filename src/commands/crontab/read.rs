//! Which crontabs a machine has, and what is in them.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::OFlags;

use super::Crontab;
use crate::commands::owner;

/// Debian's and most others', Red Hat's, SUSE's. The first that is there counts; Red Hat's holds the others' as folders.
const SPOOLS: [&str; 3] = ["var/spool/cron/crontabs", "var/spool/cron/tabs", "var/spool/cron"];
/// Nobody writes more by hand; cron itself has no limit.
const LARGEST: u64 = 1 << 20;

/// Every crontab of this machine that this user may read, and those that he may not, with the reason. `root`: `/`, or a
/// folder that stands for it.
pub fn of_this_machine(root: &Path) -> (Vec<Crontab>, Vec<(PathBuf, String)>) {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    let mut keep = |path: PathBuf, read: Result<Crontab, String>| match read {
        Ok(crontab) => found.push(crontab),
        Err(why) => refused.push((path, why)),
    };
    let table = root.join("etc/crontab");
    if fs::symlink_metadata(&table).is_ok() {
        keep(table.clone(), system(&table));
    }
    for path in files_of(&root.join("etc/cron.d"), is_a_name_for_cron).unwrap_or_default() {
        keep(path.clone(), system(&path));
    }
    let Some(spool) = SPOOLS.iter().map(|spool| root.join(spool)).find(|spool| spool.is_dir()) else {
        return (found, refused);
    };
    match files_of(&spool, |name| !name.starts_with('.')) {
        Ok(files) => files.into_iter().for_each(|path| {
            let owner = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let text = open(&path, OFlags::NOFOLLOW).and_then(text);
            let text = text.map(|text| without_header(&text).to_string());
            keep(path.clone(), text.map(|text| Crontab { path: path.clone(), owner, text }));
        }),
        // Each user may see his own, through crontab(1).
        Err(_) if root == Path::new("/") => {
            let name = owner::name(rustix::process::geteuid().as_raw());
            let path = spool.join(&name);
            match own() {
                Ok(Some(text)) => keep(path.clone(), Ok(Crontab { path, owner: Some(name), text })),
                Ok(None) => {}
                Err(why) => keep(path, Err(why)),
            }
        }
        Err(why) => keep(spool, Err(why)),
    }
    (found, refused)
}

/// A file that somebody names.
pub fn read(path: &Path, owner: Option<String>) -> Result<Crontab, String> {
    let text = text(open(path, OFlags::empty())?)?;
    let text = if is_spooled(path) { without_header(&text).to_string() } else { text };
    Ok(Crontab { path: path.to_path_buf(), owner, text })
}

/// The text as it is now.
pub fn again(crontab: &Crontab) -> Result<String, String> {
    match read(&crontab.path, None) {
        Err(_) if is_spooled(&crontab.path) && !super::super::is_root() => own().map(Option::unwrap_or_default),
        read => read.map(|crontab| crontab.text),
    }
}

/// A user's, which crontab(1) changes.
pub fn is_spooled(path: &Path) -> bool {
    path.starts_with("/var/spool/cron")
}

/// cron(8) reads no other names in /etc/cron.d: no dots, so that what a package manager leaves there stays unread.
fn is_a_name_for_cron(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

fn files_of(folder: &Path, is_one: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(&is_one))
        .map(|entry| entry.path())
        .filter(|path| !path.is_dir())
        .collect();
    files.sort();
    Ok(files)
}

/// One that cron would not obey is not a crontab: else a file that anybody may write would say what we do.
fn system(path: &Path) -> Result<Crontab, String> {
    let file = open(path, OFlags::empty())?;
    let found = file.metadata().map_err(|error| error.to_string())?;
    if super::super::is_root() && found.uid() != 0 {
        return Err(format!("it belongs to {}, not to root: cron ignores it", owner::name(found.uid())));
    }
    if found.mode() & 0o022 != 0 {
        return Err(format!("others may write it (mode {:04o}): cron ignores it", found.mode() & 0o7777));
    }
    Ok(Crontab { path: path.to_path_buf(), owner: None, text: text(file)? })
}

/// A pipe or a device could keep us for ever.
fn open(path: &Path, flags: OFlags) -> Result<File, String> {
    let flags = i32::try_from((flags | OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| error.to_string())?;
    match file.metadata() {
        Ok(found) if found.is_file() => Ok(file),
        Ok(_) => Err("it is not a regular file".to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn text(file: File) -> Result<String, String> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })
}

/// What crontab(1) writes above each crontab, and takes away again when it shows it.
fn without_header(text: &str) -> &str {
    let mut rest = text;
    for mark in ["# DO NOT EDIT THIS FILE", "# (", "# (Cron version"] {
        match rest.split_once('\n') {
            Some((line, after)) if line.starts_with(mark) => rest = after,
            _ => return rest,
        }
    }
    rest
}

/// None: this user has none.
fn own() -> Result<Option<String>, String> {
    let output = Command::new("crontab").arg("-l").env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("`crontab -l` cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => String::from_utf8(output.stdout).map(Some).map_err(|_| "it is not UTF-8".to_string()),
        false if said.contains("no crontab for") => Ok(None),
        false => Err(format!("`crontab -l` said: {}", crate::text::safe(said.trim()))),
    }
}
