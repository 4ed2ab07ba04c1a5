//! What is missing, in the order in which it is written: told by a dry run, done by the real one.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use super::super::plugin_files::Place;
use super::super::{Stop, exists, exit, is_root, owner, refused, wp_config};
use super::table::Present;
use super::{Found, command, word};
use crate::config::{self, Config, Secrets, User};

pub struct Plan {
    pub config: PathBuf,
    pub site: String,
    pub root: PathBuf,
    runner: User,
    place: Place,
    /// The file as it is and as it shall be; None where it has the site already.
    text: Option<(Option<String>, String)>,
    state_dir: PathBuf,
    secret_file: PathBuf,
}

impl Plan {
    pub fn of(path: &Path, present: &Present, found: &Found, place: Place, json: bool) -> Result<Self, Stop> {
        let known = present.site(&found.root);
        let text = known.is_none().then(|| (present.text.clone(), present.with(found)));
        if let Some((_, text)) = &text {
            config::parse(path, text, Secrets::MayBeMissing).map_err(|problems| refused(&problems, json))?;
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        let key = known.map_or_else(|| folder.join(format!("{}.key", found.site)), |site| site.secret_file.clone());
        let plan = Self {
            config: path.to_path_buf(),
            site: found.site.clone(),
            root: found.root.clone(),
            runner: found.php.runner.clone(),
            place,
            text,
            state_dir: present.state_dir(),
            secret_file: key,
        };
        plan.check_places()?;
        Ok(plan)
    }

    /// Refuses before anything was written what could not be written to its end.
    fn check_places(&self) -> Result<(), Stop> {
        let file = self.config.parent().filter(|_| self.text.is_some());
        let state = self.state_dir.parent().filter(|_| !self.state_dir.is_dir());
        // In the folder of a configuration that is there its owner's rights are used.
        let is_new = self.text.as_ref().is_some_and(|(old, _)| old.is_none());
        for (folder, is_roots) in [(file, is_new), (state, true)] {
            let Some(folder) = folder else { continue };
            let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
            let metadata = fs::metadata(there).map_err(|error| io_stop("look at", there, &error))?;
            if is_root() && is_roots && metadata.uid() != 0 {
                return Err(self.not_root_s(there, &owner::name(metadata.uid())));
            }
            if rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_err() {
                return Err(self.not_ours(there));
            }
        }
        Ok(())
    }

    fn not_root_s(&self, folder: &Path, user: &str) -> Stop {
        Stop::new(exit::CONFIGURATION, format!("root does not write into {}", folder.display()))
            .found(format!("a folder of user {user}, who could swap what is written"))
            .expected("a folder of root's")
            .next(format!("`sudo -u {user} {} init {}`", command(&self.config), word(&self.root)))
    }

    fn not_ours(&self, folder: &Path) -> Stop {
        let next = format!(
            "`sudo wp-cron-runner init {0}`, or `wp-cron-runner --config ~/.config/wp-cron-runner/config.toml init {0}`",
            word(&self.root)
        );
        Stop::new(exit::CONFIGURATION, format!("this user may not write into {}", folder.display()))
            .found(format!("user {}", owner::own_user().name))
            .expected("root, or a configuration in a folder of this user's")
            .next(next)
    }

    /// A new folder or file is the runner's to read, and root's to write where it is root who makes it.
    fn whose(&self) -> String {
        match is_root() {
            true => format!("root:{}", group_name(self.runner.gid)),
            false => self.runners(),
        }
    }

    fn runners(&self) -> String {
        format!("{}:{}", self.runner.name, group_name(self.runner.gid))
    }

    /// Each file with mode, owner and content. The key is not shown.
    pub fn sentences(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let folder = self.config.parent().unwrap_or(Path::new("/"));
        if self.text.is_some() && !folder.is_dir() {
            lines.push(format!("folder {} (mode 0750, {})", folder.display(), self.whose()));
        }
        lines.extend(self.closed().map(|path| self.opened(path)));
        if !self.state_dir.is_dir() {
            lines.push(format!("folder {} (mode 0700, {})", self.state_dir.display(), self.runners()));
        }
        if let Some((old, new)) = &self.text {
            let shown = indented(new);
            lines.push(match old {
                None => format!("file {} (mode 0640, {}):{shown}", self.config.display(), self.whose()),
                Some(_) => format!("file {} (mode and owner stay):{shown}", self.config.display()),
            });
        }
        if !exists(&self.secret_file) {
            let file = self.secret_file.display();
            lines.push(format!("file {file} (mode 0600, {}): a new key of 256 bits, not shown", self.runners()));
        }
        if !self.place.is_current() {
            lines.extend(self.place.sentences());
        }
        lines.extend(self.block());
        lines
    }

    fn block(&self) -> Option<String> {
        let file = wp_config::find(&self.root).ok().flatten()?;
        let text = fs::read(&file).ok()?;
        if wp_config::keys_in(&text).is_some() && exists(&self.secret_file) {
            return None;
        }
        let block = wp_config::block(&self.site, "(the key)");
        let shown = indented(&block);
        let how = match wp_config::with_block(&text, &block) {
            Some(_) => "(mode and owner stay), a block in it",
            None => "has no line that loads wp-settings.php: a block to put into it by hand",
        };
        Some(format!("file {} {how}:{shown}", file.display()))
    }

    /// Folders and the configuration; the plugin and its key come after it, by the configuration's own words.
    pub fn write(&self, done: &mut Vec<String>) -> Result<(), Stop> {
        let folder = self.config.parent().unwrap_or(Path::new("/"));
        let group = is_root().then_some((0, self.runner.gid));
        let made = |folder: &Path, mode: u32, whose: Option<(u32, u32)>, shown: &str, done: &mut Vec<String>| {
            make_folder(folder, mode, whose).map_err(|error| io_stop("make", folder, &error))?;
            done.push(format!("folder made: {} (mode {mode:04o}, {shown})", folder.display()));
            Ok::<(), Stop>(())
        };
        if self.text.is_some() && !folder.is_dir() {
            made(folder, 0o750, group, &self.whose(), done)?;
        }
        if !self.state_dir.is_dir() {
            let runner = is_root().then_some((self.runner.uid, self.runner.gid));
            made(&self.state_dir, 0o700, runner, &self.runners(), done)?;
        }
        self.write_configuration(done)?;
        for path in self.closed().collect::<Vec<_>>() {
            open_for(path, self.runner.gid).map_err(|error| io_stop("open", path, &error))?;
            done.push(self.opened(path));
        }
        Ok(())
    }

    fn write_configuration(&self, done: &mut Vec<String>) -> Result<(), Stop> {
        let group = is_root().then_some((0, self.runner.gid));
        let shown = self.config.display();
        match &self.text {
            None => {}
            Some((None, new)) => {
                write_new(&self.config, new, group).map_err(|error| io_stop("write", &self.config, &error))?;
                done.push(format!("configuration written: {shown} (mode 0640, {})", self.whose()));
            }
            Some((Some(old), new)) => {
                let changed =
                    wp_config::change(&self.config, |text| (text == old.as_bytes()).then(|| new.clone().into_bytes()));
                if !changed.map_err(|error| io_stop("write", &self.config, &error))? {
                    return Err(Stop::new(exit::LATER, format!("{shown} was changed meanwhile by somebody else")));
                }
                done.push(format!("site {} written to {shown}", self.site));
            }
        }
        Ok(())
    }

    /// What root made for himself, the configuration that `import` wrote perhaps, and the runner has to read.
    fn closed(&self) -> impl Iterator<Item = &Path> {
        // A folder that is for more than this configuration is nobody's to open.
        let folder = self.config.parent().filter(|folder| is_ours(folder));
        let paths = [folder, Some(self.config.as_path())].into_iter().flatten();
        paths.filter(|path| {
            let is_roots = fs::symlink_metadata(path).is_ok_and(|found| (found.uid(), found.gid()) == (0, 0));
            let runner = (self.runner.uid, self.runner.gid);
            is_root() && is_roots && owner::as_user(runner.0, runner.1, || File::open(path).map(drop)).is_err()
        })
    }

    fn opened(&self, path: &Path) -> String {
        format!("{} is the group {}'s to read", path.display(), group_name(self.runner.gid))
    }

    /// Root sees everything, and so would not notice.
    pub fn readable_for_the_runner(&self, config: &Config) -> Result<(), Stop> {
        let (user, group) = (&self.runner.name, group_name(self.runner.gid));
        let folder = self.config.parent().unwrap_or(Path::new("/")).display();
        let shared =
            format!("`chgrp {group} {folder} {0}`, `chmod 750 {folder}` and `chmod 640 {0}`", self.config.display());
        let own = |file: &Path| format!("`chown -R {user}:{group} {}`", file.display());
        for (file, fix) in [
            (&self.config, shared),
            (&self.secret_file, own(&self.secret_file)),
            (&config.runner.state_dir, own(&config.runner.state_dir)),
        ] {
            let opened = owner::as_user(self.runner.uid, self.runner.gid, || File::open(file).map(drop));
            opened.map_err(|error| {
                Stop::new(exit::CONFIGURATION, format!("the runner (user {user}) cannot read {}", file.display()))
                    .found(error.to_string())
                    .next(fix)
            })?;
        }
        Ok(())
    }
}

/// What `init` or `import` made: nothing else lies in it, but copies of crontabs and keys.
fn is_ours(folder: &Path) -> bool {
    let is_known = |name: &str| name == "config.toml" || name.starts_with("crontab.") || name.ends_with(".key");
    let names = fs::read_dir(folder).map(|all| all.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>());
    names.is_ok_and(|names| names.iter().all(|name| name.to_str().is_some_and(is_known)))
}

fn io_stop(what: &str, path: &Path, error: &io::Error) -> Stop {
    Stop::new(exit::UNREACHABLE, format!("cannot {what} {}: {error}", path.display()))
        .at(path.display().to_string())
        .next("try as root or as the owner of the folder")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_string() } else { format!("\n    {line}") }).collect()
}

/// Mode and owner are set on the folder itself, whatever its path leads to by then.
fn make_folder(path: &Path, mode: u32, whose: Option<(u32, u32)>) -> io::Result<()> {
    if let Some(above) = path.parent().filter(|above| !above.is_dir()) {
        DirBuilder::new().recursive(true).mode(0o755).create(above)?;
    }
    DirBuilder::new().mode(0o700).create(path)?;
    let folder = File::from(open(path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
    if let Some((uid, gid)) = whose {
        fchown(&folder, Some(uid), Some(gid))?;
    }
    folder.set_permissions(Permissions::from_mode(mode))
}

/// Through its descriptor: the group, and that group's right to read (and to enter).
fn open_for(path: &Path, gid: u32) -> io::Result<()> {
    let file = File::from(open(path, OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
    fchown(&file, None, Some(gid))?;
    let metadata = file.metadata()?;
    let needed = if metadata.is_dir() { 0o050 } else { 0o040 };
    file.set_permissions(Permissions::from_mode(metadata.mode() & 0o7777 | needed))
}

/// Complete from its first moment.
fn write_new(path: &Path, text: &str, whose: Option<(u32, u32)>) -> io::Result<()> {
    let new = path.with_extension("toml.new");
    let _ = fs::remove_file(&new);
    let mut file = owner::create(&new, 0o600)?;
    let mut write = || {
        if let Some((uid, gid)) = whose {
            fchown(&file, Some(uid), Some(gid))?;
        }
        file.set_permissions(Permissions::from_mode(0o640))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// As /etc/group knows it, else the number.
pub fn group_name(gid: u32) -> String {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let known = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_string())
    });
    known.unwrap_or_else(|| gid.to_string())
}
