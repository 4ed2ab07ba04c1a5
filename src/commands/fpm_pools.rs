//! The pools of php-fpm, as the files say that its masters read.
//!
//! A file may be anybody's work: a running master's own title names it, and every process may call itself a master. So it is
//! read as data, regular files only, and of a bounded size and number.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Address;
use crate::config::wp_content::read;
use crate::text;

const MOST_FILES: usize = 1000;
const DEEPEST_INCLUDE: usize = 5;
const TITLE: &str = "php-fpm: master process (";

#[derive(Debug, Clone)]
pub struct Pool {
    /// The file that the pool's section stands in.
    pub file: PathBuf,
    pub name: String,
    /// As written: a path, `host:port`, or a port alone.
    pub listen: String,
    pub user: Option<String>,
    pub group: Option<String>,
    pub settings: HashMap<String, String>,
    /// The file that its master was given.
    pub main: PathBuf,
    /// What that file's `[global]` says.
    pub global: Arc<HashMap<String, String>>,
    /// A master that was given this file is to be seen.
    pub is_running: bool,
}

impl Pool {
    pub fn listens_at(&self, address: &Address) -> bool {
        match address {
            Address::Unix(socket) => {
                let same = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
                self.listen.starts_with('/') && same(Path::new(&self.listen)) == same(socket)
            }
            Address::Tcp(wanted) => {
                let (host, port) = self.listen.rsplit_once(':').unwrap_or(("", &self.listen));
                let is_any = ["", "*", "0.0.0.0", "[::]"].contains(&host);
                let is_it = |host: &str| host.trim_matches(['[', ']']).parse() == Ok(wanted.ip());
                port.parse() == Ok(wanted.port())
                    && (is_any || is_it(host) || (host == "localhost" && wanted.ip().is_loopback()))
            }
        }
    }
}

/// Every pool of this machine that this user may read of: those of running masters first.
pub fn pools() -> Vec<Pool> {
    let mut mains: Vec<(PathBuf, bool)> = running().into_iter().map(|main| (main, true)).collect();
    for main in usual(Path::new("/")) {
        if !mains.iter().any(|(known, _)| *known == main) {
            mains.push((main, false));
        }
    }
    mains.iter().flat_map(|(main, is_running)| pools_of(main, *is_running)).collect()
}

/// Debian's, Fedora's, Remi's and Docker's places.
fn usual(root: &Path) -> Vec<PathBuf> {
    let mut mains = Vec::new();
    for (folder, below) in [("etc/php", "fpm/php-fpm.conf"), ("etc/opt/remi", "php-fpm.conf")] {
        let mut versions = names_in(&root.join(folder));
        versions.sort();
        mains.extend(versions.iter().map(|version| root.join(folder).join(version).join(below)));
    }
    mains.extend(["etc/php-fpm.conf", "usr/local/etc/php-fpm.conf"].map(|main| root.join(main)));
    mains.retain(|main| main.is_file());
    mains
}

fn running() -> Vec<PathBuf> {
    let is_number = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    let mut mains = Vec::new();
    for process in names_in(Path::new("/proc")).into_iter().filter(is_number) {
        let title = fs::read(Path::new("/proc").join(process).join("cmdline")).unwrap_or_default();
        if let Some(main) = main_of(&text::lossy(&title))
            && !mains.contains(&main)
        {
            mains.push(main);
        }
    }
    mains.sort();
    mains
}

fn main_of(title: &str) -> Option<PathBuf> {
    let (path, _) = title.strip_prefix(TITLE)?.rsplit_once(')')?;
    Some(PathBuf::from(path)).filter(|path| path.is_absolute())
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// One value of one section, in the order of the files.
struct Setting {
    file: PathBuf,
    section: String,
    name: String,
    value: String,
}

/// The pools that the master of this file has.
pub fn pools_of(main: &Path, is_running: bool) -> Vec<Pool> {
    let mut reading = Reading { settings: Vec::new(), files: 0, prefix: prefix_of(main) };
    reading.file(main, &mut "global".to_string(), 0);
    let mut global = HashMap::new();
    let mut pools: Vec<Pool> = Vec::new();
    for Setting { file, section, name, value } in reading.settings {
        if section == "global" {
            global.insert(name, value);
            continue;
        }
        if !pools.iter().any(|pool| pool.name == section) {
            let (main, global) = (main.to_path_buf(), Arc::default());
            let (listen, settings) = (String::new(), HashMap::new());
            pools.push(Pool {
                file,
                name: section.clone(),
                listen,
                user: None,
                group: None,
                settings,
                main,
                global,
                is_running,
            });
        }
        if let Some(pool) = pools.iter_mut().find(|pool| pool.name == section) {
            pool.settings.insert(name, value.replace("$pool", &section));
        }
    }
    let global = Arc::new(global);
    for pool in &mut pools {
        let named = |name: &str| pool.settings.get(name).cloned();
        (pool.listen, pool.user, pool.group) = (named("listen").unwrap_or_default(), named("user"), named("group"));
        pool.global = global.clone();
    }
    pools.retain(|pool| !pool.listen.is_empty());
    pools
}

/// What a relative `include` is relative to: /usr/local for /usr/local/etc/php-fpm.conf.
fn prefix_of(main: &Path) -> PathBuf {
    let etc = main.ancestors().find(|folder| folder.ends_with("etc"));
    etc.or(main.parent()).and_then(Path::parent).unwrap_or(Path::new("/")).to_path_buf()
}

struct Reading {
    settings: Vec<Setting>,
    files: usize,
    prefix: PathBuf,
}

impl Reading {
    /// A section goes on in the file that is included, and behind it.
    fn file(&mut self, file: &Path, section: &mut String, depth: usize) {
        self.files += 1;
        let Some(source) = read(file).filter(|_| depth <= DEEPEST_INCLUDE && self.files <= MOST_FILES) else { return };
        for line in source.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                *section = name.0.trim().to_string();
            } else if let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with([';', '#'])) {
                let (name, value) = (name.trim(), plain(value));
                if name == "include" {
                    self.included(&value, section, depth + 1);
                } else {
                    let (file, section, name) = (file.to_path_buf(), section.clone(), name.to_string());
                    self.settings.push(Setting { file, section, name, value });
                }
            }
        }
    }

    fn included(&mut self, pattern: &str, section: &mut String, depth: usize) {
        let pattern = self.prefix.join(pattern);
        let (Some(folder), Some(name)) = (pattern.parent(), pattern.file_name()) else { return };
        let mut names = names_in(folder);
        names.retain(|found| text::matches_glob(&name.to_string_lossy(), found));
        names.sort();
        for name in names {
            self.file(&folder.join(name), section, depth);
        }
    }
}

/// A value without its quotes, or without the comment behind it.
fn plain(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some((inside, _)) = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote)) {
            return inside.to_string();
        }
    }
    value.split(';').next().unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &Path, text: &str) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn a_pool_is_read_as_php_fpm_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("etc/php/8.4/fpm/php-fpm.conf");
        write(
            &main,
            "; a comment = none\n[global]\nprocess_control_timeout = 10s ; seconds\ninclude=etc/php/8.4/fpm/pool.d/*.conf\n",
        );
        let www = main.with_file_name("pool.d").join("www.conf");
        write(
            &www,
            "[www]\nuser = www-data\ngroup=\"www-data\"\nlisten = /run/php/$pool.sock\r\npm.max_children = 5\n\
             php_admin_value[disable_functions] = 'exec; system'\n[no-listen]\nuser = x\n",
        );
        write(&www.with_file_name("other.conf.bak"), "[other]\nlisten = 9000\n");
        assert_eq!(usual(folder.path()), std::slice::from_ref(&main));
        let pools = pools_of(&main, false);
        assert_eq!(pools.len(), 1, "{pools:?}");
        let pool = &pools[0];
        assert_eq!((pool.name.as_str(), pool.listen.as_str(), &pool.file), ("www", "/run/php/www.sock", &www));
        assert_eq!((pool.user.as_deref(), pool.group.as_deref()), (Some("www-data"), Some("www-data")));
        assert_eq!(pool.settings["pm.max_children"], "5");
        assert_eq!(pool.settings["php_admin_value[disable_functions]"], "exec; system");
        assert_eq!(pool.global["process_control_timeout"], "10s");
    }

    #[test]
    fn what_includes_itself_or_is_no_file_comes_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("php-fpm.conf");
        write(&main, &format!("[a]\nlisten = 9000\ninclude = {0}/*\ninclude={0}/*\n", folder.path().display()));
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe.conf")).status().unwrap();
        assert!(made.success());
        assert_eq!(pools_of(&main, false).len(), 1);
        assert!(pools_of(folder.path(), false).is_empty() && pools_of(Path::new("/no/such"), false).is_empty());
    }

    #[test]
    fn a_master_says_its_file_in_its_title() {
        let said = main_of("php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)      \0\0");
        assert_eq!(said.as_deref(), Some(Path::new("/etc/php/8.2/fpm/php-fpm.conf")));
        assert_eq!(main_of("php-fpm: master process (relative.conf)"), None);
        assert_eq!(main_of("php-fpm: pool www"), None);
    }

    #[test]
    fn an_address_is_found_in_each_of_its_forms() {
        let pool = |listen: &str| Pool {
            file: PathBuf::new(),
            name: "www".into(),
            listen: listen.into(),
            user: None,
            group: None,
            settings: HashMap::new(),
            main: PathBuf::new(),
            global: Arc::default(),
            is_running: false,
        };
        let tcp = |address: &str| Address::Tcp(address.parse().unwrap());
        for (listen, address, expected) in [
            ("/run/no/php.sock", Address::Unix("/run/no/php.sock".into()), true),
            ("/run/no/php.sock", Address::Unix("/run/no/other.sock".into()), false),
            ("127.0.0.1:9000", tcp("127.0.0.1:9000"), true),
            ("9000", tcp("127.0.0.1:9000"), true),
            ("[::]:9000", tcp("[::1]:9000"), true),
            ("127.0.0.1:9001", tcp("127.0.0.1:9000"), false),
            ("10.0.0.1:9000", tcp("127.0.0.1:9000"), false),
        ] {
            assert_eq!(pool(listen).listens_at(&address), expected, "{listen} {address}");
        }
    }
}
