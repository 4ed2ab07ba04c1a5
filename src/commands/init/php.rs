//! The way to the site's PHP: the php-fpm pool that is its own, else WP-CLI, else the front door.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::{Stop, exit, is_root, owner};
use super::pools::{Candidate, candidates, version};
use crate::config::{Address, Site, Trigger, User, look_up};
use crate::text;
use crate::trigger::rights::files_of;

#[derive(Debug)]
pub enum Way {
    FastCgi(Address),
    /// `user` where that is another than the runner's.
    WpCli {
        php: PathBuf,
        wp_cli: PathBuf,
        user: Option<String>,
    },
    Http,
}

/// What was chosen for a site, and what has to be said about it.
#[derive(Debug)]
pub struct Php {
    pub way: Way,
    /// Whom the runner runs as.
    pub runner: User,
    /// Whom the site's PHP runs as.
    pub user: User,
    /// An interpreter for the command line, of the same version where there is one.
    pub program: Option<PathBuf>,
    pub wp_cli: Option<PathBuf>,
    pub notes: Vec<String>,
}

/// `runner` is known where one has its state directory already. `which` asks a person where several are equal.
pub fn choose(
    root: &Path,
    runner: Option<&User>,
    which: impl Fn(&str, &[String]) -> Result<usize, Stop>,
) -> Result<Php, Stop> {
    let wp_cli = wp_cli(root);
    let (reached, silent): (Vec<_>, Vec<_>) =
        candidates(root, runner).into_iter().partition(|candidate| candidate.reached.is_ok());
    let mut notes: Vec<String> = silent.iter().filter(|pool| pool.pool.is_running).map(Candidate::silence).collect();
    if reached.is_empty() && !is_root() {
        refuse_closed_door(root, &silent)?;
    }
    let Some(chosen) = best(reached, &mut notes, which)? else {
        return without_pool(root, runner, wp_cli, notes);
    };
    if let (false, Some(files)) = (chosen.owns_the_files, files_of(root)) {
        let (pool, owner) = (text::safe(&chosen.pool.name), owner::name(files.uid()));
        notes.push(format!("the pool {pool} runs as {}, and the site's files belong to {owner}", chosen.user.name));
    }
    let program = version(&chosen.pool).and_then(|(major, minor)| program(&format!("php{major}.{minor}")));
    let runner = chosen.reached.unwrap_or_else(|_| chosen.user.clone());
    let (way, program) = (Way::FastCgi(chosen.address), program.or_else(|| self::program("php")));
    Ok(Php { way, runner, user: chosen.user, program, wp_cli, notes })
}

/// What a site of the configuration has already: it is not chosen anew.
pub fn of(site: &Site, root: &Path, runner: &User) -> Php {
    let php = program("php");
    let user = files_of(root).and_then(|files| look_up(&owner::name(files.uid())));
    let way = match &site.trigger {
        Trigger::FastCgi(address) => Way::FastCgi(address.clone()),
        Trigger::WpCli(cli) => {
            let user = cli.user.as_ref().map(|user| user.name.clone());
            Way::WpCli { php: PathBuf::from(&cli.php), wp_cli: PathBuf::from(&cli.wp_cli), user }
        }
        _ => Way::Http,
    };
    let (user, runner) = (user.unwrap_or_else(|| runner.clone()), runner.clone());
    Php { way, runner, user, program: php, wp_cli: wp_cli(root), notes: Vec::new() }
}

/// The first of the best; where others are as good, a person is asked.
fn best(
    mut reached: Vec<Candidate>,
    notes: &mut Vec<String>,
    which: impl Fn(&str, &[String]) -> Result<usize, Stop>,
) -> Result<Option<Candidate>, Stop> {
    let fit = |candidate: &Candidate| (candidate.owns_the_files, candidate.nearness);
    reached.sort_by_key(|candidate| Reverse((fit(candidate), version(&candidate.pool))));
    let Some(first) = reached.first() else { return Ok(None) };
    let equal = reached.iter().filter(|candidate| fit(candidate) == fit(first)).count();
    if equal == 1 {
        return Ok(reached.into_iter().next());
    }
    let mut names: Vec<String> = reached.iter().take(equal).map(Candidate::line).collect();
    let chosen = which("Several pools of php-fpm could be the site's", &names)?.min(equal - 1);
    names.remove(chosen);
    notes.push(format!("other pools of php-fpm could be the site's: {}", names.join(", ")));
    Ok(reached.into_iter().nth(chosen))
}

fn without_pool(
    root: &Path,
    runner: Option<&User>,
    wp_cli: Option<PathBuf>,
    mut notes: Vec<String>,
) -> Result<Php, Stop> {
    let user = match is_root() {
        false => Some(owner::own_user()),
        true => files_of(root).and_then(|files| look_up(&owner::name(files.uid()))),
    };
    let Some(user) = user else {
        let failed = format!("nobody knows whom the PHP of {} runs as", root.display());
        return Err(Stop::new(exit::CONFIGURATION, failed)
            .found("no php-fpm that answers, and files that belong to root")
            .expected("a pool of php-fpm, or files of a user of this machine")
            .next("start php-fpm, or give wp-content to the site's user, then try again"));
    };
    let program = program("php");
    let way = match (&program, &wp_cli) {
        (Some(php), Some(wp_cli)) => {
            let user = runner.filter(|runner| runner.uid != user.uid).map(|_| user.name.clone());
            Way::WpCli { php: php.clone(), wp_cli: wp_cli.clone(), user }
        }
        _ => Way::Http,
    };
    notes.push(match way {
        Way::Http => {
            "no php-fpm answers and no WP-CLI is there: the site is reached through its front door".to_string()
        }
        _ => "no php-fpm answers: each call starts a process of WP-CLI, some 0.2 s and 80 MB for a run".to_string(),
    });
    let runner = runner.unwrap_or(&user).clone();
    Ok(Php { way, runner, user, program, wp_cli, notes })
}

/// An ordinary user may not be let in where the site's own PHP is.
fn refuse_closed_door(root: &Path, silent: &[Candidate]) -> Result<(), Stop> {
    let is_closed = |candidate: &&Candidate| {
        candidate.reached.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let Some(closed) = silent.iter().find(is_closed) else { return Ok(()) };
    Err(Stop::new(exit::CONFIGURATION, format!("this user may not connect to php-fpm at {}", closed.address))
        .found(format!("user {}", owner::own_user().name))
        .expected(format!("root, or user {}", closed.user.name))
        .at(closed.pool.file.display().to_string())
        .next(format!("`sudo wp-cron-runner init {}`", super::word(root))))
}

/// In PATH, or where programs are.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/local/bin", "/usr/bin", "/bin"]);
    folders.filter(|folder| folder.starts_with('/')).map(|folder| Path::new(folder).join(name)).find(|file| {
        let metadata = fs::metadata(file);
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
    })
}

/// A file that PHP can read: the phar, or Composer's PHP script, not a wrapper in shell.
fn wp_cli(root: &Path) -> Option<PathBuf> {
    let beside = ["wp-cli.phar", "../wp-cli.phar"].map(|file| root.join(file));
    let is_php = |file: &PathBuf| {
        let mut head = Vec::new();
        let read = File::open(file).and_then(|file| file.take(4096).read_to_end(&mut head));
        read.is_ok() && head.windows(5).any(|window| window == b"<?php")
    };
    program("wp").into_iter().chain(beside).filter(|file| file.is_file()).find(is_php)
}

#[cfg(test)]
mod tests {
    use super::super::pools::tests::{candidate, pool};
    use super::*;

    #[test]
    fn the_pool_of_the_files_owner_comes_first_then_the_near_one_then_the_newest() {
        let at = |version: &str| format!("/etc/php/{version}/fpm/pool.d/www.conf");
        let chosen = |candidates: Vec<Candidate>| {
            let mut notes = Vec::new();
            let found = best(candidates, &mut notes, |_, _| Ok(0)).unwrap().unwrap();
            (found.address.to_string(), notes.len())
        };
        let of = |version: &str, port: &str, owns, near| candidate(pool(&at(version), "www", port, &[]), owns, near);
        assert_eq!(chosen(vec![of("8.4", "1", false, 0), of("8.2", "2", true, 0)]), ("127.0.0.1:2".into(), 0));
        assert_eq!(chosen(vec![of("8.4", "1", true, 0), of("8.2", "2", true, 3)]), ("127.0.0.1:2".into(), 0));
        assert_eq!(chosen(vec![of("8.9", "1", true, 0), of("8.10", "2", true, 0)]), ("127.0.0.1:2".into(), 1));
        let mut notes = Vec::new();
        let two = vec![of("8.2", "1", true, 0), of("8.2", "2", true, 0)];
        let found = best(two, &mut notes, |_, names| Ok(names.len() - 1)).unwrap().unwrap();
        assert_eq!(found.address.to_string(), "127.0.0.1:2", "as a person said");
        assert!(best(Vec::new(), &mut notes, |_, _| Ok(0)).unwrap().is_none());
    }
}
