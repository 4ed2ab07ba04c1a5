//! A fresh WordPress: copied from a template, behind a php-fpm and an nginx of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::account::{self, succeed};
use super::clock::Clock;
use super::mariadb::MariaDb;
use super::nginx::{self, Nginx};
use super::php_fpm::{self, PhpFpm};
use super::process::Port;
use super::test_dir::TestDir;
use super::tls::Certificate;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordPress {
    /// 7.1.1
    Current,
    /// 6.1, the oldest that the plugin claims
    Oldest,
}

pub enum Database {
    Sqlite { file: PathBuf },
    MariaDb { server: Arc<MariaDb>, name: String },
}

// The fields are dropped in this order: servers before the directory that they live in.
pub struct Site {
    pub nginx: Nginx,
    pub php_fpm: PhpFpm,
    pub database: Database,
    /// As in the runner's configuration.
    pub name: String,
    /// WordPress's root.
    pub path: PathBuf,
    pub url: String,
    pub certificate: Option<Certificate>,
    pub basic_auth: Option<(String, String)>,
    pub(super) ini: Vec<(String, String)>,
    /// PHP's, where it was asked for.
    pub clock: Option<Clock>,
    /// Where wp-config.php has it already, and nothing is to be installed.
    pub(super) key: Option<String>,
    pub(super) port: Port,
    pub dir: TestDir,
    /// Where its servers live, if it shares them.
    pub(super) _shared: Option<Arc<TestDir>>,
}

impl Site {
    pub fn builder() -> Builder {
        Builder {
            name: "shop".to_owned(),
            mariadb: false,
            own_server: false,
            wordpress: WordPress::Current,
            workers: 4,
            tcp: false,
            tls: false,
            basic_auth: None,
            read_timeout: "60s".to_owned(),
            fixture: true,
            ini: Vec::new(),
            wp_config: Vec::new(),
            php_fpm_lines: Vec::new(),
            nginx_lines: Vec::new(),
            clock: false,
        }
    }

    /// `127.0.0.1:PORT`, where nginx listens.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// A must-use plugin of the test's own, loaded after all others.
    pub fn add_plugin(&self, code: &str) {
        let file = self.path.join("wp-content/mu-plugins/zz-test.php");
        fs::write(&file, format!("<?php\n{code}\n")).expect("zz-test.php");
        account::give_to(account::SITE, &file);
    }
}

#[must_use]
pub struct Builder {
    name: String,
    mariadb: bool,
    own_server: bool,
    wordpress: WordPress,
    workers: u32,
    tcp: bool,
    tls: bool,
    basic_auth: Option<(String, String)>,
    read_timeout: String,
    fixture: bool,
    ini: Vec<(String, String)>,
    wp_config: Vec<String>,
    php_fpm_lines: Vec<String>,
    nginx_lines: Vec<String>,
    clock: bool,
}

impl Builder {
    /// `shop` unless said otherwise.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    pub fn sqlite(mut self) -> Self {
        self.mariadb = false;
        self
    }

    pub fn mariadb(mut self) -> Self {
        self.mariadb = true;
        self
    }

    /// A MariaDB that no other test uses, to stop or to kill.
    pub fn own_mariadb(mut self) -> Self {
        self.mariadb = true;
        self.own_server = true;
        self
    }

    pub fn wordpress(mut self, wordpress: WordPress) -> Self {
        self.wordpress = wordpress;
        self
    }

    /// php-fpm's `pm.max_children`; 4 unless said otherwise.
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// A second pool on loopback TCP; nginx uses it too.
    pub fn fastcgi_tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    pub fn basic_auth(mut self, user: &str, password: &str) -> Self {
        self.basic_auth = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// nginx's `fastcgi_read_timeout`.
    pub fn read_timeout(mut self, timeout: &str) -> Self {
        timeout.clone_into(&mut self.read_timeout);
        self
    }

    /// For php-fpm's workers and for WP-CLI.
    pub fn php_ini(mut self, name: &str, value: &str) -> Self {
        self.ini.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A line of the pool, such as `request_terminate_timeout = 3s`.
    pub fn php_fpm_line(mut self, line: &str) -> Self {
        self.php_fpm_lines.push(line.to_owned());
        self
    }

    /// A line of nginx's `server` block.
    pub fn nginx_line(mut self, line: &str) -> Self {
        self.nginx_lines.push(line.to_owned());
        self
    }

    /// A line of PHP in wp-config.php.
    pub fn wp_config(mut self, line: &str) -> Self {
        self.wp_config.push(line.to_owned());
        self
    }

    /// PHP goes by a clock of the test's own.
    pub fn clock(mut self) -> Self {
        self.clock = true;
        self.php_fpm_line("clear_env = no")
    }

    /// No fixture hooks, no ledger.
    pub fn without_fixture(mut self) -> Self {
        self.fixture = false;
        self
    }

    pub fn start(self) -> Site {
        let dir = TestDir::new();
        let port = Port::take();
        let path = dir.join(&self.name);
        let certificate = self.tls.then(|| Certificate::issue(dir.path(), "shop.test"));
        let url = format!("{}://{}", if self.tls { "https" } else { "http" }, port.address());

        let kind = if self.mariadb { "mariadb" } else { "sqlite" };
        let version = match self.wordpress {
            WordPress::Current => "7.1.1",
            WordPress::Oldest => "6.1",
        };
        let template = template(&["site", version, kind]);
        copy_site(&template.join("site"), &path);
        self.add_wp_config(&path);
        let database = self.prepare_database(&template, &path, &url);
        if self.fixture {
            install_fixture(&dir, &path, &self.name);
        }
        fs::create_dir(dir.join("opcache")).expect("a directory for compiled files");
        account::give_to(account::SITE, &dir.join("opcache"));
        account::give_to(account::SITE, &path.join("wp-content"));
        account::give_to(account::SITE, &path.join("wp-config.php"));

        let clock = self.clock.then(|| Clock::new(dir.path()));
        let php_fpm = PhpFpm::start(
            dir.path(),
            &php_fpm::Settings {
                workers: self.workers,
                tcp: self.tcp,
                ini: &self.ini,
                lines: &self.php_fpm_lines,
                environment: clock.as_ref().map(|clock| clock.environment().to_vec()).unwrap_or_default(),
            },
        );
        let fastcgi = if self.tcp { PathBuf::from(php_fpm.tcp_address()) } else { php_fpm.socket.clone() };
        let nginx = Nginx::start(
            dir.path(),
            &nginx::Settings {
                port: &port,
                root: &path,
                fastcgi: &fastcgi,
                read_timeout: &self.read_timeout,
                basic_auth: self.basic_auth.as_ref(),
                certificate: certificate.as_ref(),
                lines: &self.nginx_lines,
            },
        );
        Site {
            nginx,
            php_fpm,
            database,
            name: self.name,
            path,
            url,
            certificate,
            basic_auth: self.basic_auth,
            ini: self.ini,
            clock,
            key: None,
            port,
            dir,
            _shared: None,
        }
    }

    fn add_wp_config(&self, site: &Path) {
        let lines: String = self.wp_config.iter().map(|line| format!("{line}\n")).collect();
        add_to_wp_config(site, &lines);
    }

    fn prepare_database(&self, template: &Path, site: &Path, url: &str) -> Database {
        let mut move_in = Command::new("php");
        move_in.arg(support_file("move-in.php")).arg(site).arg(url);
        if !self.mariadb {
            succeed(&mut move_in);
            return Database::Sqlite { file: site.join("wp-content/database/.ht.sqlite") };
        }
        let server = if self.own_server { Arc::new(MariaDb::start()) } else { MariaDb::shared() };
        let name = server.create_database(&template.join("dump.sql"));
        succeed(move_in.arg(&server.socket).arg(&name));
        Database::MariaDb { server, name }
    }
}

pub(super) fn add_to_wp_config(site: &Path, lines: &str) {
    const END: &str = "/* That's all, stop editing!";
    let file = site.join("wp-config.php");
    let text = fs::read_to_string(&file).expect("wp-config.php");
    assert!(text.contains(END), "wp-config.php without its last comment");
    fs::write(&file, text.replace(END, &format!("{lines}{END}"))).expect("wp-config.php");
}

/// Core's files are hard links to the cache, which nobody writes; what a site writes is copied.
pub(super) fn copy_site(from: &Path, to: &Path) {
    fs::create_dir(to).expect("the site's directory");
    let own = ["wp-content", "wp-config.php"];
    let core: Vec<PathBuf> = fs::read_dir(from)
        .expect("a template")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| !own.iter().any(|name| path.ends_with(name)))
        .collect();
    let linked = Command::new("cp").arg("-al").args(&core).arg(to).output().expect("cp");
    if !linked.status.success() {
        // The cache is on another file system.
        succeed(Command::new("cp").args(["-r", "--reflink=auto"]).args(&core).arg(to));
    }
    succeed(Command::new("cp").arg("-r").args(own.map(|name| from.join(name))).arg(to));
}

fn install_fixture(dir: &TestDir, site: &Path, name: &str) {
    copy_fixture(site);
    let ledger = dir.join(&format!("{name}.ledger"));
    fs::write(&ledger, "").expect("a ledger");
    account::give_to(account::SITE, &ledger);
}

pub(super) fn copy_fixture(site: &Path) {
    let files = ["00-fixture.php", "00-fixture"].map(|file| support_file("fixture").join(file));
    succeed(Command::new("cp").arg("-r").args(files).arg(site.join("wp-content/mu-plugins")));
}

pub fn support_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name)
}

pub fn template(arguments: &[&str]) -> PathBuf {
    let output = succeed(Command::new(support_file("template.sh")).args(arguments));
    PathBuf::from(String::from_utf8(output).expect("a path").trim_end())
}

/// Where `install.sh` puts what it downloads.
pub fn cache() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("WP_CRON_RUNNER_CACHE").unwrap_or_else(|| {
        let caches = variable("XDG_CACHE_HOME")
            .unwrap_or_else(|| variable("HOME").expect("HOME, to find the cache of install.sh").join(".cache"));
        caches.join("wp-cron-runner")
    })
}
