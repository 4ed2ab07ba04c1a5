//! The way to the site's PHP: the php-fpm pool that is its own, else WP-CLI, else the front door.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::fpm_pools::{Pool, pools};
use super::super::{Stop, exit, is_root, owner};
use crate::config::wp_content::wp_content;
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

struct Candidate {
    pool: Pool,
    address: Address,
    user: User,
    reached: Result<User, io::Error>,
    owns_the_files: bool,
    nearness: usize,
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
        false => Some(own_user()),
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
        .found(format!("user {}", own_user().name))
        .expected(format!("root, or user {}", closed.user.name))
        .at(closed.pool.file.display().to_string())
        .next(format!("`sudo wp-cron-runner init {}`", super::word(root))))
}

/// Every pool that could be the site's, with its user and whether somebody gets in.
fn candidates(root: &Path, runner: Option<&User>) -> Vec<Candidate> {
    let uploads = fs::metadata(wp_content(root).join("uploads")).ok();
    let owners: Vec<u32> = files_of(root).into_iter().chain(uploads).map(|found| found.uid()).collect();
    let mut candidates: Vec<Candidate> = Vec::new();
    for pool in pools() {
        let Some(address) = address(&pool.listen) else { continue };
        let Some(user) = user_of(&pool, &address) else { continue };
        if !is_trusted(&pool, &user) || candidates.iter().any(|known| known.address == address) {
            continue;
        }
        let reached = reach(&pool, &address, &user, runner);
        let owns_the_files = owners.contains(&user.uid);
        let nearness = nearness(&pool, root);
        candidates.push(Candidate { pool, address, user, reached, owns_the_files, nearness });
    }
    candidates
}

impl Candidate {
    fn line(&self) -> String {
        let version = version(&self.pool).map_or(String::new(), |(major, minor)| format!(", PHP {major}.{minor}"));
        text::safe(&format!("{} at {} (user {}{version})", self.pool.name, self.address, self.user.name))
    }

    fn silence(&self) -> String {
        let why = self.reached.as_ref().err().map_or(String::new(), ToString::to_string);
        text::safe(&format!("php-fpm's pool {} at {} was left out: {why}", self.pool.name, self.address))
    }
}

/// What the configuration can name: php-fpm on this machine.
fn address(listen: &str) -> Option<Address> {
    if listen.starts_with('/') {
        return Some(Address::Unix(PathBuf::from(listen)));
    }
    let (host, port) = listen.rsplit_once(':').unwrap_or(("", listen));
    let ip = match host.trim_matches(['[', ']']) {
        "" | "*" | "0.0.0.0" | "::" | "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().ok().filter(IpAddr::is_loopback)?,
    };
    Some(Address::Tcp(SocketAddr::new(ip, port.parse().ok()?)))
}

/// As the pool's section says; a master of an ordinary user runs all as that one.
fn user_of(pool: &Pool, address: &Address) -> Option<User> {
    match (&pool.user, address) {
        (Some(name), _) if is_root() => look_up(name),
        (None, Address::Unix(socket)) if is_root() => look_up(&owner::name(fs::metadata(socket).ok()?.uid())),
        (None, Address::Tcp(_)) if is_root() => None,
        (Some(name), _) => Some(look_up(name).unwrap_or_else(own_user)),
        (None, _) => Some(own_user()),
    }
}

/// A process may call itself a master of php-fpm and name a file of its own. Root believes root's files, and a user's about
/// himself.
fn is_trusted(pool: &Pool, user: &User) -> bool {
    let is_theirs = |file: &Path| fs::metadata(file).is_ok_and(|found| [0, user.uid].contains(&found.uid()));
    !is_root() || (is_theirs(&pool.file) && is_theirs(&pool.main))
}

/// Who gets in: the runner that is there already; else the pool's user, or the one that its socket was given to.
fn reach(pool: &Pool, address: &Address, user: &User, runner: Option<&User>) -> Result<User, io::Error> {
    if !is_root() {
        return connect(address).map(|()| own_user());
    }
    let given_to = pool.settings.get("listen.owner").and_then(|name| look_up(name));
    let users = match runner {
        Some(runner) => vec![runner.clone()],
        None => [Some(user.clone()), given_to].into_iter().flatten().collect(),
    };
    let mut last = io::Error::other("nobody to connect as");
    for user in users {
        match owner::as_user(user.uid, user.gid, || connect(address)) {
            Ok(()) => return Ok(user),
            Err(error) => last = io::Error::new(error.kind(), format!("user {}: {error}", user.name)),
        }
    }
    Err(last)
}

fn connect(address: &Address) -> io::Result<()> {
    match address {
        Address::Unix(path) => UnixStream::connect(path).map(drop),
        Address::Tcp(address) => TcpStream::connect_timeout(address, Duration::from_secs(1)).map(drop),
    }
}

/// How much of the site's path a pool of this site alone shares: its file, or its working directory.
fn nearness(pool: &Pool, root: &Path) -> usize {
    let shared = |path: &Path| path.components().zip(root.components()).take_while(|(one, other)| one == other).count();
    let places = [Some(pool.file.as_path()), pool.settings.get("chdir").map(Path::new)];
    // All share the first component, and most sites the one below it.
    places.into_iter().flatten().map(shared).max().unwrap_or(0).saturating_sub(2)
}

/// 8.2 in /etc/php/8.2/fpm/php-fpm.conf.
fn version(pool: &Pool) -> Option<(u32, u32)> {
    pool.main.components().find_map(|part| {
        let (major, minor) = part.as_os_str().to_str()?.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
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
    program("wp").into_iter().chain(beside).find(is_php)
}

/// Who this is.
pub fn own_user() -> User {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let name = owner::name(uid);
    look_up(&name).unwrap_or(User { name, uid, gid, home: PathBuf::from("/") })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;

    fn pool(main: &str, name: &str, listen: &str, settings: &[(&str, &str)]) -> Pool {
        let settings: HashMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect();
        Pool {
            file: PathBuf::from(main),
            name: name.into(),
            listen: listen.into(),
            user: None,
            group: None,
            settings,
            main: PathBuf::from(main),
            global: Arc::default(),
            is_running: true,
        }
    }

    fn candidate(pool: Pool, owns_the_files: bool, nearness: usize) -> Candidate {
        let address = address(&pool.listen).unwrap();
        let user = own_user();
        Candidate { pool, address, reached: Ok(user.clone()), user, owns_the_files, nearness }
    }

    #[test]
    fn only_addresses_of_this_machine_are_taken() {
        for (listen, expected) in [
            ("/run/php/php8.2-fpm.sock", Some("/run/php/php8.2-fpm.sock")),
            ("9000", Some("127.0.0.1:9000")),
            ("127.0.0.1:9000", Some("127.0.0.1:9000")),
            ("localhost:9000", Some("127.0.0.1:9000")),
            ("[::1]:9000", Some("[::1]:9000")),
            ("[::]:9000", Some("127.0.0.1:9000")),
            ("*:9000", Some("127.0.0.1:9000")),
            ("10.0.0.5:9000", None),
            ("fpm.internal:9000", None),
            ("php.sock", None),
            ("127.0.0.1:99999", None),
            ("", None),
        ] {
            assert_eq!(address(listen).map(|address| address.to_string()).as_deref(), expected, "{listen}");
        }
    }

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

    #[test]
    fn a_pool_is_near_that_works_in_the_site_s_folder() {
        let root = Path::new("/var/www/shop/public");
        assert_eq!(nearness(&pool("/etc/php/8.2/fpm/pool.d/www.conf", "www", "1", &[]), root), 0);
        assert_eq!(nearness(&pool("/var/lib/x.conf", "www", "1", &[]), root), 0);
        let with_folder = pool("/etc/php-fpm.d/shop.conf", "shop", "1", &[("chdir", "/var/www/shop")]);
        assert_eq!(nearness(&with_folder, root), 2);
    }

    #[test]
    fn root_does_not_believe_a_stranger_s_pool_file() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fpm.conf");
        fs::write(&file, "").unwrap();
        let pool = pool(file.to_str().unwrap(), "www", "9000", &[]);
        let www = look_up("www-data").unwrap();
        assert!(is_trusted(&pool, &www));
        std::os::unix::fs::chown(&file, Some(65_534), None).unwrap();
        assert!(!is_trusted(&pool, &www));
        std::os::unix::fs::chown(&file, Some(www.uid), None).unwrap();
        assert!(is_trusted(&pool, &www));
    }
}
