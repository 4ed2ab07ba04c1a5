//! Files that hold a secret: a site's keys, a basic auth password. A refusal names the mode, never the value.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use crate::protocol::signature::Key;

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{} does not exist; expected the site's key, mode 0600; `wp-cron-runner plugin install SITE` makes one", .0.display())]
    Missing(std::path::PathBuf),
    #[error("{path}: {found}; expected {expected}")]
    Wrong { path: String, found: String, expected: &'static str },
}

const EXPECTED_KEY: &str = "32 random bytes as 64 hex characters on one line (or two lines while a key is rotated); `wp-cron-runner plugin install SITE` makes such a file";

/// The keys of a site: one, or two while a key is rotated; the first signs.
pub fn keys(path: &Path) -> Result<Vec<Key>, Refusal> {
    let text = read(path)?;
    let wrong =
        |found: &str| Refusal::Wrong { path: path.display().to_string(), found: found.into(), expected: EXPECTED_KEY };
    if text.contains('\r') {
        return Err(wrong("has Windows line ends (CRLF)"));
    }
    let lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
    if lines.len() > 2 {
        return Err(wrong(&format!("has {} lines", lines.len())));
    }
    lines.into_iter().map(|line| key(line).map_err(wrong)).collect()
}

fn key(line: &str) -> Result<Key, &'static str> {
    let pairs: Vec<&[u8]> = line.as_bytes().chunks(2).collect();
    match line {
        "" => Err("is empty"),
        "changeme" => Err("holds a placeholder"),
        _ if line.len() < 64 => Err("holds a key of less than 32 bytes"),
        _ if pairs.iter().all(|pair| pairs.first() == Some(pair)) => Err("holds a key whose bytes are all the same"),
        _ => Key::from_hex(line).ok_or("holds something else than 64 hex characters"),
    }
}

/// One line that nobody else may read: `user:password`, or a password alone.
#[derive(Debug, Clone)]
pub struct Password(SecretString);

impl Password {
    pub fn new(line: &str) -> Self {
        Self(SecretString::from(line))
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

/// `user:password`, one line.
pub fn user_and_password(path: &Path) -> Result<Password, Refusal> {
    let text = read(path)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    if line.contains(['\n', '\r']) || !line.contains(':') {
        let found = "is not one line user:password".to_string();
        return Err(Refusal::Wrong {
            path: path.display().to_string(),
            found,
            expected: "user:password and a line end",
        });
    }
    Ok(Password::new(line))
}

/// A password alone, one line.
pub fn password(path: &Path) -> Result<Password, Refusal> {
    let text = read(path)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    if line.is_empty() || line.contains(['\n', '\r']) {
        let found = "is not one line".to_string();
        return Err(Refusal::Wrong {
            path: path.display().to_string(),
            found,
            expected: "the password and a line end",
        });
    }
    Ok(Password::new(line))
}

fn read(path: &Path) -> Result<String, Refusal> {
    let wrong =
        |found: String, expected: &'static str| Refusal::Wrong { path: path.display().to_string(), found, expected };
    // A symbolic link would let whoever owns its place choose the file; O_NONBLOCK, so that a pipe cannot hold us up.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file: File = file.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Refusal::Missing(path.to_path_buf()),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            wrong("is a symbolic link".into(), "a regular file, mode 0600")
        }
        _ => wrong(error.to_string(), "a file that this user may read, mode 0600"),
    })?;
    let metadata = file.metadata().map_err(|error| wrong(error.to_string(), "a regular file, mode 0600"))?;
    if !metadata.is_file() {
        return Err(wrong("is not a regular file".into(), "a regular file, mode 0600"));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(wrong(format!("has mode {mode:04o}"), "mode 0600: nobody else may read a secret (chmod 600)"));
    }
    let mut text = String::new();
    let read = file.take(4096).read_to_string(&mut text);
    read.map_err(|error| wrong(error.to_string(), "text"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const GOOD: &str = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";

    fn refusal(content: &str, mode: u32) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        match keys(&path) {
            Ok(keys) => format!("{} keys", keys.len()),
            Err(refusal) => {
                let message = refusal.to_string();
                assert!(content.len() < 8 || !message.contains(content.trim()), "the value is shown: {message}");
                message
            }
        }
    }

    #[test]
    fn a_key_file_is_private_and_holds_real_keys() {
        for (content, mode, expected) in [
            (format!("{GOOD}\n"), 0o600, "1 keys"),
            (GOOD.to_string(), 0o400, "1 keys"),
            (format!("{GOOD}\n{}\n", GOOD.replace('0', "5")), 0o600, "2 keys"),
            (format!("{GOOD}\n"), 0o644, "has mode 0644"),
            (format!("{GOOD}\n"), 0o640, "has mode 0640"),
            (format!("{GOOD}\r\n"), 0o600, "CRLF"),
            (String::new(), 0o600, "is empty"),
            ("changeme\n".to_string(), 0o600, "placeholder"),
            (GOOD[..62].to_string(), 0o600, "less than 32 bytes"),
            ("ab".repeat(32), 0o600, "all the same"),
            (format!("{}zz", &GOOD[..62]), 0o600, "something else"),
            (format!("{GOOD}\n{GOOD}\n{GOOD}\n"), 0o600, "3 lines"),
        ] {
            let found = refusal(&content, mode);
            assert!(found.contains(expected), "{expected}: {found}");
        }
    }

    #[test]
    fn a_link_or_a_folder_is_no_key_file() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        fs::write(folder.path().join("real"), GOOD).unwrap();
        std::os::unix::fs::symlink(folder.path().join("real"), &link).unwrap();
        assert!(keys(&link).unwrap_err().to_string().contains("symbolic link"));
        assert!(keys(folder.path()).unwrap_err().to_string().contains("not a regular file"));
        assert!(matches!(keys(&folder.path().join("none")), Err(Refusal::Missing(_))));
    }
}
