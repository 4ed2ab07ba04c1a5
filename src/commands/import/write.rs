//! `import --write`: the configuration gets the tables, the crontabs lose the lines. Each crontab is copied first, and what
//! cannot be done to its end is undone, so that a line is never in both places for long, nor in none.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{Plan, Present};
use crate::clock;
use crate::commands::crontab::{self, Crontab};
use crate::commands::{Stop, exit, is_root, owner, refused, wp_config};
use crate::config::{self, Secrets, problem::Level};
use crate::text;

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    pub copies: Vec<String>,
    config: String,
    is_new: bool,
    /// Changed files that cron does not read.
    strangers: Vec<String>,
}

impl Done {
    pub fn told(&self) -> Vec<String> {
        if self.copies.is_empty() {
            return vec!["Nothing to change.".to_string()];
        }
        let mut told: Vec<String> = self.copies.iter().map(|copy| format!("A copy as it was: {copy}")).collect();
        for file in &self.strangers {
            told.push(format!(
                "cron does not read {file}: where its lines are in a crontab as well, take them out there."
            ));
        }
        if self.is_new && is_root() {
            told.push(format!(
                "{} is new: the user of the runner must be able to read it (`chgrp www-data`).",
                self.config
            ));
        }
        told.push(
            "Now `wp-cron-runner check`, then `systemctl reload wp-cron-runner`: until then nobody runs these lines."
                .to_string(),
        );
        told
    }
}

/// Would the configuration take these tables?
pub fn accepts(toml: &str) -> Result<(), String> {
    let io = |error: io::Error| format!("it cannot be checked: {error}");
    let mut file = File::from(memfd_create("import", MemfdFlags::CLOEXEC).map_err(|error| io(error.into()))?);
    file.write_all(toml.as_bytes()).map_err(io)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    match config::read(&path, Secrets::MayBeMissing) {
        Ok(_) => Ok(()),
        Err(refused) => {
            let first = refused.problems.iter().find(|problem| problem.level == Level::Error);
            let why = first.map(|first| format!("{}; expected {}", first.message, first.expected));
            Err(format!("the configuration would refuse it: {}", text::safe(&why.unwrap_or_default())))
        }
    }
}

/// A crontab that loses lines.
struct Change<'a> {
    crontab: &'a Crontab,
    new: String,
}

pub fn write(path: &Path, crontabs: &[Crontab], present: &Present, plan: &Plan, json: bool) -> Result<Done, Stop> {
    let changes = changes(crontabs, plan);
    if changes.is_empty() {
        return Ok(Done::default());
    }
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let toml = plan.toml();
    let sum = match (&present.text, toml.is_empty()) {
        (_, true) => None,
        (None, false) => Some(toml),
        (Some(old), false) => Some(format!("{}\n\n{toml}", old.trim_end())),
    };
    changes.iter().try_for_each(|change| unchanged(change.crontab))?;
    if let Some(sum) = &sum {
        try_out(&path, sum, json)?;
    }
    let mut undo = Undo { config: None, crontabs: Vec::new(), copies: Vec::new() };
    let outcome = carry_out(&path, present, sum.as_deref(), &changes, &mut undo);
    match outcome {
        Ok(()) => Ok(Done {
            copies: undo.copies.iter().map(|copy| copy.display().to_string()).collect(),
            config: path.display().to_string(),
            is_new: present.text.is_none() && sum.is_some(),
            strangers: changes
                .iter()
                .filter(|change| !is_crons(&change.crontab.path))
                .map(|change| change.crontab.path.display().to_string())
                .collect(),
        }),
        Err(stop) => Err(undo.undo(stop)),
    }
}

fn changes<'a>(crontabs: &'a [Crontab], plan: &Plan) -> Vec<Change<'a>> {
    let change = |crontab: &'a Crontab| {
        let is_out = |number: usize| plan.remove.iter().any(|place| place.file == crontab.path && place.line == number);
        let lines = crontab.text.split_inclusive('\n').zip(1..);
        let new: String = lines.filter(|(_, number)| !is_out(*number)).map(|(line, _)| line).collect();
        (new != crontab.text).then_some(Change { crontab, new })
    };
    crontabs.iter().filter_map(change).collect()
}

fn is_crons(path: &Path) -> bool {
    crontab::is_spooled(path) || path == Path::new("/etc/crontab") || path.starts_with("/etc/cron.d")
}

fn unchanged(crontab: &Crontab) -> Result<(), Stop> {
    match crontab::again(crontab) {
        Ok(text) if text == crontab.text => Ok(()),
        found => Err(raced(crontab, found.err().unwrap_or_else(|| "another text than before".to_string()))),
    }
}

fn raced(crontab: &Crontab, found: String) -> Stop {
    Stop::new(exit::LATER, format!("{} changed while it was read", crontab.path.display()))
        .found(found)
        .expected("the same text twice")
        .at(crontab.path.display().to_string())
        .next("`wp-cron-runner import` shows it as it is now")
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Stop {
    Stop::new(exit::UNREACHABLE, format!("cannot {what} {}", path.display()))
        .found(error.to_string())
        .expected("a folder and a file that this user may write")
        .at(path.display().to_string())
        .next("try as root")
}

/// The sum is read as the runner will read it, from beside the configuration, before anything changes.
fn try_out(path: &Path, sum: &str, json: bool) -> Result<(), Stop> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if !folder.exists() {
        fs::create_dir_all(folder).map_err(|error| cannot("make", folder, &error))?;
    }
    let trial = folder.join(format!(".import-{}.toml", std::process::id()));
    owner::as_owner_of(folder, || owner::create(&trial, 0o600)?.write_all(sum.as_bytes()))
        .map_err(|error| cannot("write in", folder, &error))?;
    let read = config::read(&trial, Secrets::MayBeMissing);
    let _ = owner::as_owner_of(folder, || fs::remove_file(&trial));
    let Err(mut why) = read else { return Ok(()) };
    why.path = path.to_path_buf();
    Err(refused(&why, json).next("nothing was changed; put right what is named, then again"))
}

fn carry_out(
    path: &Path,
    present: &Present,
    sum: Option<&str>,
    changes: &[Change<'_>],
    undo: &mut Undo,
) -> Result<(), Stop> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    for change in changes {
        let copy = folder.join(name_of_copy(change.crontab));
        let write = || owner::create(&copy, 0o600)?.write_all(change.crontab.text.as_bytes());
        owner::as_owner_of(folder, write).map_err(|error| cannot("copy a crontab to", &copy, &error))?;
        undo.copies.push(copy);
    }
    if let Some(sum) = sum {
        put(path, present, sum)?;
        undo.config = Some((path.to_path_buf(), present.text.clone()));
    }
    for change in changes {
        install(change.crontab, &change.crontab.text, &change.new)?;
        undo.crontabs.push((change.crontab.clone(), change.new.clone()));
    }
    Ok(())
}

/// `crontab.alice.20261123T115500.123Z`, `crontab.etc-cron.d-shop.20261123T115500.123Z`
fn name_of_copy(crontab: &Crontab) -> String {
    let time = jiff::Timestamp::from_millisecond(clock::now_ms()).unwrap_or_default().strftime("%Y%m%dT%H%M%S.%3fZ");
    let of = crontab.owner.clone().filter(|_| crontab::is_spooled(&crontab.path));
    let of = of.unwrap_or_else(|| crontab.path.display().to_string().trim_matches('/').replace('/', "-"));
    format!("crontab.{of}.{time}")
}

fn put(path: &Path, present: &Present, sum: &str) -> Result<(), Stop> {
    let Some(old) = &present.text else {
        let mode = if is_root() { 0o640 } else { 0o600 };
        let folder = path.parent().unwrap_or(Path::new("/"));
        let made = owner::as_owner_of(folder, || {
            let mut file = owner::create(path, mode)?;
            file.write_all(sum.as_bytes())?;
            file.sync_all()
        });
        return made.map_err(|error| cannot("make", path, &error));
    };
    // Its mode and its owner stay.
    match wp_config::change(path, |found| (found == old.as_bytes()).then(|| sum.as_bytes().to_vec())) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Stop::new(exit::LATER, format!("{} changed meanwhile", path.display()))),
        Err(error) => Err(cannot("write", path, &error)),
    }
}

/// Users' crontabs through crontab(1), which tells cron; the others in one go, so that cron never sees half of one.
fn install(crontab: &Crontab, old: &str, new: &str) -> Result<(), Stop> {
    if let Some(user) = crontab.owner.as_ref().filter(|_| crontab::is_spooled(&crontab.path)) {
        let found = crontab::again(crontab).map_err(|error| raced(crontab, error))?;
        if found != old {
            return Err(raced(crontab, "another text than before".to_string()));
        }
        return through_crontab(user, new).map_err(|error| cannot("change", &crontab.path, &error));
    }
    match wp_config::change(&crontab.path, |found| (found == old.as_bytes()).then(|| new.as_bytes().to_vec())) {
        Ok(true) => Ok(()),
        Ok(false) => Err(raced(crontab, "another text than before".to_string())),
        Err(error) => Err(cannot("change", &crontab.path, &error)),
    }
}

fn through_crontab(user: &str, text: &str) -> io::Result<()> {
    let mut command = Command::new("crontab");
    if is_root() {
        command.args(["-u", user]);
    }
    let mut child = command.arg("-").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => written,
        false => Err(io::Error::other(format!("`crontab` said: {}", text::safe(text::lossy(&output.stderr).trim())))),
    }
}

/// What has been done so far.
struct Undo {
    /// Its text before; None where it was not there.
    config: Option<(PathBuf, Option<String>)>,
    /// With the text that they have now.
    crontabs: Vec<(Crontab, String)>,
    copies: Vec<PathBuf>,
}

impl Undo {
    /// Says what could not be undone.
    fn undo(self, stop: Stop) -> Stop {
        let mut kept = Vec::new();
        for (crontab, now) in &self.crontabs {
            if install(crontab, now, &crontab.text).is_err() {
                kept.push(format!("{} has lost its lines", crontab.path.display()));
            }
        }
        if let Some((path, before)) = &self.config {
            let folder = path.parent().unwrap_or(Path::new("/"));
            let undone = match before {
                Some(text) => wp_config::change(path, |_| Some(text.as_bytes().to_vec())).map(|_| ()),
                None => owner::as_owner_of(folder, || fs::remove_file(path)),
            };
            if undone.is_err() {
                kept.push(format!("{} has the new tables", path.display()));
            }
        }
        let copies: Vec<String> = self.copies.iter().map(|copy| copy.display().to_string()).collect();
        if kept.is_empty() {
            let folder = self.copies.first().and_then(|copy| copy.parent()).unwrap_or(Path::new("/"));
            let _ = owner::as_owner_of(folder, || self.copies.iter().try_for_each(fs::remove_file));
            let next = stop.next.clone().unwrap_or_default();
            return stop.next(format!("everything is as it was; {next}"));
        }
        stop.next(format!("this could not be undone: {}; the copies: {}", kept.join(", "), copies.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crontab_that_changed_meanwhile_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        fs::write(&path, "a\nb\n").unwrap();
        let crontab = Crontab { path: path.clone(), owner: None, text: "a\n".into() };
        assert_eq!(unchanged(&crontab).unwrap_err().code, exit::LATER);
        assert_eq!(install(&crontab, &crontab.text, "").unwrap_err().code, exit::LATER);
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
        install(&crontab, "a\nb\n", "b\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
        fs::remove_file(&path).unwrap();
        assert_eq!(unchanged(&crontab).unwrap_err().code, exit::LATER);
    }
}
