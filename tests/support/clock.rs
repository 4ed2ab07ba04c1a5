//! A time of day for a test alone: libfaketime is preloaded, and reads from a file how far this host's clock is off. The
//! steady clock stays what it is, as on a real host whose time is set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::account;
use super::runner::Runner;

#[derive(Clone, Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    pub fn new(dir: &Path) -> Clock {
        let clock = Clock { file: dir.join("clock") };
        clock.set(0);
        clock
    }

    /// So many seconds from the real time, from now on.
    pub fn set(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("the clock's file");
        fs::rename(&new, &self.file).expect("the clock's file");
    }

    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            // A file is as old as it is.
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    /// The daemon, and every command of the binary, go by it from now on. Not before: who becomes another user with the
    /// library in him cannot use what he has shared.
    pub fn of_runner(&self, runner: &Runner) {
        let real = runner.binary.with_extension("real");
        fs::rename(&runner.binary, &real).expect("the binary");
        let lines: String =
            self.environment().iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
        fs::write(&runner.binary, format!("#!/bin/sh\n{lines}exec '{}' \"$@\"\n", real.display())).expect("a script");
        fs::set_permissions(&runner.binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode");
    }

    /// `program` as the site's user, by this clock.
    pub fn command(&self, program: &str) -> Command {
        let mut command = account::command_as(account::SITE, "env");
        command.args(self.environment().map(|(name, value)| format!("{name}={value}"))).arg(program);
        command
    }
}

/// The one for programs with threads.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib").flatten().map(|entry| entry.path());
    let mut places = folders.map(|folder| folder.join("faketime")).chain([PathBuf::from("/usr/lib/faketime")]);
    places
        .find_map(|folder| Some(folder.join("libfaketimeMT.so.1")).filter(|library| library.exists()))
        .expect("libfaketime; `tests/support/install.sh test` installs it")
}
