//! The one directory of a test. What it holds besides the parts' files: `*.log` and `*.ledger`, shown when a wait fails.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub struct TestDir {
    dir: Option<TempDir>,
    path: PathBuf,
}

thread_local! {
    static OPEN: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
}

impl TestDir {
    pub fn new() -> TestDir {
        // The name is short because sockets live here, whose paths may have 107 bytes; others may enter it because
        // they are www-data's and mysql's.
        let dir = tempfile::Builder::new()
            .prefix("wpcr-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary directory");
        let path = dir.path().to_owned();
        OPEN.with_borrow_mut(|open| open.push(path.clone()));
        TestDir { dir: Some(dir), path }
    }

    /// A folder in it, for one of many that share it. Its logs are left out where a wait fails.
    pub fn below(&self, name: &str) -> TestDir {
        let path = self.join(name);
        fs::create_dir(&path).expect("a folder");
        TestDir { dir: None, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(|open| open.retain(|path| *path != self.path));
        if std::env::var_os("KEEP_TEST_DIRS").is_some()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("kept: {}", dir.keep().display());
        }
    }
}

/// The end of every log and ledger of this thread's test, for the message of a wait that failed.
pub fn tails_of_logs() -> String {
    let mut text = String::new();
    for dir in OPEN.with_borrow(Clone::clone) {
        let mut logs: Vec<PathBuf> = fs::read_dir(&dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "log" || end == "ledger"))
            .collect();
        logs.sort();
        for log in logs {
            let content = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
            let lines: Vec<&str> = content.lines().collect();
            if lines.is_empty() {
                continue;
            }
            text += &format!("--- {} ({} lines)\n", log.display(), lines.len());
            for line in &lines[lines.len().saturating_sub(40)..] {
                text += &format!("{}\n", line.chars().take(500).collect::<String>());
            }
        }
    }
    text
}
