//! The pools of php-fpm that could be a site's: whom each runs as, and who gets in.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::fpm_pools::{Pool, pools};
use super::super::{is_root, owner};
use crate::config::wp_content::wp_content;
use crate::config::{Address, User, look_up};
use crate::text;
use crate::trigger::rights::files_of;

pub struct Candidate {
    pub pool: Pool,
    pub address: Address,
    pub user: User,
    /// As whom.
    pub reached: Result<User, io::Error>,
    pub owns_the_files: bool,
    pub nearness: usize,
}

/// Every pool that could be the site's, with its user and whether somebody gets in.
pub fn candidates(root: &Path, runner: Option<&User>) -> Vec<Candidate> {
    let uploads = fs::metadata(wp_content(root).join("uploads")).ok();
    let owners: Vec<u32> = files_of(root).into_iter().chain(uploads).map(|found| found.uid()).collect();
    let mut candidates: Vec<Candidate> = Vec::new();
    for pool in pools() {
        let Some(address) = address(&pool.listen) else { continue };
        let Some(user) = user_of(&pool, &address) else { continue };
        let owns_the_files = owners.contains(&user.uid);
        if !is_trusted(&pool, &user, owns_the_files) || candidates.iter().any(|known| known.address == address) {
            continue;
        }
        let reached = match pool.settings.get("chroot").is_some_and(|folder| !folder.is_empty()) {
            true => Err(io::Error::other("it has a `chroot`, in which the site has another path")),
            false => reach(&pool, &address, &user, runner),
        };
        let nearness = nearness(&pool, root);
        candidates.push(Candidate { pool, address, user, reached, owns_the_files, nearness });
    }
    candidates
}

impl Candidate {
    pub fn line(&self) -> String {
        let version = version(&self.pool).map_or(String::new(), |(major, minor)| format!(", PHP {major}.{minor}"));
        text::safe(&format!("{} at {} (user {}{version})", self.pool.name, self.address, self.user.name))
    }

    pub fn silence(&self) -> String {
        let why = self.reached.as_ref().err().map_or(String::new(), ToString::to_string);
        text::safe(&format!("php-fpm's pool {} at {} was left out: {why}", self.pool.name, self.address))
    }
}

/// What the configuration can name: php-fpm on this machine.
fn address(listen: &str) -> Option<Address> {
    if listen.contains(char::is_control) {
        return None;
    }
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
        (Some(name), _) => Some(look_up(name).unwrap_or_else(owner::own_user)),
        (None, _) => Some(owner::own_user()),
    }
}

/// A process may call itself a master of php-fpm and name a file of its own. Root believes root's files, and those of the user whose
/// site it is about himself.
fn is_trusted(pool: &Pool, user: &User, owns_the_files: bool) -> bool {
    let is_theirs = |file: &Path| {
        let whose = fs::symlink_metadata(file).map(|found| found.uid());
        whose.is_ok_and(|uid| uid == 0 || (owns_the_files && uid == user.uid))
    };
    !is_root() || (is_theirs(&pool.file) && is_theirs(&pool.main))
}

/// Who gets in: the runner that is there already; else the pool's user, or the one that its socket was given to.
fn reach(pool: &Pool, address: &Address, user: &User, runner: Option<&User>) -> Result<User, io::Error> {
    if !is_root() {
        return connect(address).map(|()| owner::own_user());
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
pub fn version(pool: &Pool) -> Option<(u32, u32)> {
    pool.main.components().find_map(|part| {
        let (major, minor) = part.as_os_str().to_str()?.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

#[cfg(test)]
pub mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;

    pub fn pool(main: &str, name: &str, listen: &str, settings: &[(&str, &str)]) -> Pool {
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

    pub fn candidate(pool: Pool, owns_the_files: bool, nearness: usize) -> Candidate {
        let address = address(&pool.listen).unwrap();
        let user = owner::own_user();
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
            ("/run/\u{1b}[31mphp.sock", None),
            ("127.0.0.1:99999", None),
            ("", None),
        ] {
            assert_eq!(address(listen).map(|address| address.to_string()).as_deref(), expected, "{listen}");
        }
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
        assert!(is_trusted(&pool, &www, true));
        std::os::unix::fs::chown(&file, Some(65_534), None).unwrap();
        assert!(!is_trusted(&pool, &www, true));
        std::os::unix::fs::chown(&file, Some(www.uid), None).unwrap();
        assert!(is_trusted(&pool, &www, true));
        assert!(!is_trusted(&pool, &www, false), "a user says nothing of somebody else's site");
    }
}
