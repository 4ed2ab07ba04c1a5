//! The plugin's files in a site's `mu-plugins`: written in one go, taken out in one go.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::owner;
use crate::config::wp_content::wp_content;

const FILES: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/plugin_files.rs"));

/// None of ours is nearly as long.
const LONGEST_FILE: u64 = 1 << 20;

/// Must-use plugins are single files; this one loads ours from its folder.
const LOADER: &str = "<?php
/*
Plugin Name: WP Cron Runner (loader)
Description: Loads WP Cron Runner from its folder. `wp-cron-runner plugin remove` takes both out.
*/

if ( is_file( __DIR__ . '/wp-cron-runner/wp-cron-runner.php' ) ) {
\trequire __DIR__ . '/wp-cron-runner/wp-cron-runner.php';
}
";

/// At the end of the loader, where `mu-plugins` was not there before: then it goes with the plugin.
const FOLDER_IS_OURS: &str = "\n// This folder was made for it.\n";

#[derive(Debug)]
pub struct Place {
    content: PathBuf,
}

impl Place {
    /// None where this is no WordPress.
    pub fn of(path: &Path) -> Option<Self> {
        let content = wp_content(path);
        (path.join("wp-load.php").is_file() && content.is_dir()).then_some(Self { content })
    }

    pub fn folder(&self) -> PathBuf {
        self.content.join("mu-plugins/wp-cron-runner")
    }

    fn loader(&self) -> PathBuf {
        self.content.join("mu-plugins/wp-cron-runner.php")
    }

    /// Installed as a normal plugin, from a zip.
    pub fn normal_folder(&self) -> PathBuf {
        self.content.join("plugins/wp-cron-runner")
    }

    pub fn is_installed(&self) -> bool {
        self.folder().join("wp-cron-runner.php").is_file() && self.loader().is_file()
    }

    /// The loader as it is there says whether the folder was made for it.
    fn made_the_folder(&self) -> bool {
        read(&self.loader()).is_ok_and(|loader| loader.ends_with(FOLDER_IS_OURS.as_bytes()))
    }

    fn loader_text(made_the_folder: bool) -> String {
        let mark = if made_the_folder { FOLDER_IS_OURS } else { "" };
        format!("{LOADER}{mark}")
    }

    pub fn is_current(&self) -> bool {
        let folder = self.folder();
        let mut wanted: Vec<PathBuf> = FILES.iter().map(|(name, _)| folder.join(name)).collect();
        wanted.sort();
        let same = |(name, bytes): &(&str, &[u8])| read(&folder.join(name)).is_ok_and(|found| found == *bytes);
        let loader = Self::loader_text(self.made_the_folder());
        read(&self.loader()).is_ok_and(|found| found == loader.as_bytes())
            && FILES.iter().all(same)
            && files_below(&folder).is_ok_and(|mut found| {
                found.sort();
                found == wanted
            })
    }

    /// The version that is there, as its main file says.
    pub fn version(&self) -> Option<String> {
        let main = [self.folder(), self.normal_folder()].into_iter().map(|folder| folder.join("wp-cron-runner.php"));
        let text = main.into_iter().find_map(|file| String::from_utf8(read(&file).ok()?).ok())?;
        let line = text.lines().find_map(|line| line.trim_start_matches([' ', '*']).strip_prefix("Version:"));
        line.map(|version| version.trim().to_string())
    }

    /// What `install` writes, each file with its mode and its size.
    pub fn sentences(&self) -> Vec<String> {
        let home = self.home();
        let whose = owner::metadata(&home).map_or_else(|_| "its owner".to_string(), |found| owner::name(found.uid()));
        let file = |path: PathBuf, size: usize| format!("file {} (mode 0644, {whose}): {size} bytes", path.display());
        let mut lines = vec![format!("plugin {}, which this program brings:", env!("CARGO_PKG_VERSION"))];
        lines.extend(FILES.iter().map(|(name, bytes)| file(self.folder().join(name), bytes.len())));
        let is_new = !self.content.join("mu-plugins").is_dir();
        lines.push(file(self.loader(), Self::loader_text(is_new || self.made_the_folder()).len()));
        lines
    }

    /// The folder that is written in: what is below it belongs to its owner, root or not.
    fn home(&self) -> PathBuf {
        let must_use = self.content.join("mu-plugins");
        if must_use.is_dir() { must_use } else { self.content.clone() }
    }

    /// Gives whether anything changed.
    pub fn install(&self) -> io::Result<bool> {
        owner::metadata(&self.content)?;
        owner::as_owner_of(&self.home(), || self.write())
    }

    /// Writes all files beside the old ones, then swaps.
    fn write(&self) -> io::Result<bool> {
        if self.is_current() {
            return Ok(false);
        }
        let must_use = self.content.join("mu-plugins");
        let is_new = !must_use.is_dir();
        if is_new {
            make_folder(&must_use)?;
        }
        let text = Self::loader_text(is_new || self.made_the_folder());
        let (new, old) = (must_use.join(".wp-cron-runner.new"), must_use.join(".wp-cron-runner.old"));
        remove_folder(&new)?;
        remove_folder(&old)?;
        make_folder(&new)?;
        for (name, bytes) in FILES {
            let path = new.join(name);
            if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
                make_folder(parent)?;
            }
            write_new(&path, bytes)?;
        }
        if self.folder().is_dir() {
            fs::rename(self.folder(), &old)?;
        }
        fs::rename(&new, self.folder())?;
        remove_folder(&old)?;
        let loader = must_use.join(".wp-cron-runner.php.new");
        let _ = fs::remove_file(&loader);
        write_new(&loader, text.as_bytes())?;
        fs::rename(&loader, self.loader())?;
        Ok(true)
    }

    /// Gives whether anything was there.
    pub fn remove(&self) -> io::Result<bool> {
        owner::metadata(&self.content)?;
        owner::as_owner_of(&self.home(), || self.take_out())
    }

    /// The loader first: without it nothing of the folder is loaded.
    fn take_out(&self) -> io::Result<bool> {
        let was_there = self.loader().exists() || self.folder().exists();
        let made_the_folder = self.made_the_folder();
        match fs::remove_file(self.loader()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        remove_folder(&self.folder())?;
        if made_the_folder {
            // Not where somebody else has put something there meanwhile.
            let _ = fs::remove_dir(self.content.join("mu-plugins"));
        }
        Ok(was_there)
    }
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // A link is no folder of ours: it may lead in a circle.
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// What the site's user put there may be a pipe, or have no end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(path)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = owner::create(path, 0o644)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wordpress() -> (tempfile::TempDir, Place) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("wp-content/plugins")).unwrap();
        fs::write(folder.path().join("wp-load.php"), "<?php").unwrap();
        let place = Place::of(folder.path()).unwrap();
        (folder, place)
    }

    #[test]
    fn the_plugin_is_in_the_binary() {
        assert!(FILES.iter().any(|(name, _)| *name == "wp-cron-runner.php"));
    }

    #[test]
    fn twice_changes_nothing_and_removal_leaves_nothing() {
        let (folder, place) = wordpress();
        let before = files_below(folder.path()).unwrap();
        assert!(place.install().unwrap() && place.is_installed() && place.is_current());
        assert!(!place.install().unwrap());
        fs::write(place.folder().join("old-file.php"), "").unwrap();
        assert!(place.install().unwrap(), "a file of another version goes");
        assert!(!place.folder().join("old-file.php").exists());
        assert!(place.remove().unwrap() && !place.remove().unwrap());
        assert_eq!(files_below(folder.path()).unwrap(), before);
        assert!(!folder.path().join("wp-content/mu-plugins").exists());
    }

    #[test]
    fn an_empty_folder_that_was_there_before_stays() {
        let (folder, place) = wordpress();
        let must_use = folder.path().join("wp-content/mu-plugins");
        fs::create_dir(&must_use).unwrap();
        place.install().unwrap();
        place.remove().unwrap();
        assert!(must_use.is_dir());
        fs::remove_dir(&must_use).unwrap();
        place.install().unwrap();
        fs::write(place.folder().join("old-file.php"), "").unwrap();
        assert!(place.install().unwrap() && place.is_current(), "another version is put in its place");
        place.remove().unwrap();
        assert!(!must_use.exists());
    }

    #[test]
    fn other_must_use_plugins_stay() {
        let (folder, place) = wordpress();
        let other = folder.path().join("wp-content/mu-plugins/other.php");
        fs::create_dir_all(other.parent().unwrap()).unwrap();
        fs::write(&other, "<?php").unwrap();
        place.install().unwrap();
        place.remove().unwrap();
        assert!(other.is_file());
    }
}
