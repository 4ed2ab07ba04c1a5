//! A php-fpm of the test's own: one pool on a unix socket, a second one on loopback TCP where asked for.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;

use super::account::{self, is_root};
use super::process::{Port, Process, children_of, signal_pid};
use super::wait::{secs, wait_for};

const TEMPLATE: &str = include_str!("conf/php-fpm.conf");

/// Sites that share it have a copy each.
#[derive(Clone)]
pub struct PhpFpm {
    process: Arc<Mutex<Process>>,
    configuration: PathBuf,
    environment: Vec<(&'static str, String)>,
    pub socket: PathBuf,
    tcp: Option<Port>,
}

pub struct Settings<'a> {
    pub workers: u32,
    pub tcp: bool,
    /// `php_admin_value` of the pool.
    pub ini: &'a [(String, String)],
    /// Lines of the pool as php-fpm reads them, such as `request_terminate_timeout = 3s`.
    pub lines: &'a [String],
    /// Of the process itself; its workers see it with `clear_env = no`.
    pub environment: Vec<(&'static str, String)>,
}

impl PhpFpm {
    pub fn start(dir: &Path, settings: &Settings) -> PhpFpm {
        let socket = dir.join("php-fpm.sock");
        let tcp = settings.tcp.then(Port::take);
        let configuration = dir.join("php-fpm.conf");
        fs::write(&configuration, configuration_text(dir, &socket, tcp.as_ref(), settings)).expect("php-fpm.conf");
        let environment = settings.environment.clone();
        let process = Arc::new(Mutex::new(spawn(&configuration, &environment)));
        let php_fpm = PhpFpm { process, configuration, environment, socket, tcp };
        php_fpm.wait_until_it_listens();
        php_fpm
    }

    /// `127.0.0.1:PORT`, where the pool on TCP was asked for.
    pub fn tcp_address(&self) -> String {
        self.tcp.as_ref().expect("a site built with .fastcgi_tcp()").address()
    }

    /// The master's.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    pub fn workers(&self) -> Vec<u32> {
        children_of(self.pid())
    }

    /// `kill -9` of one worker, by a number that the ledger or the journal told.
    pub fn kill_worker(&self, pid: u32) {
        assert!(self.workers().contains(&pid), "{pid} is no worker of this php-fpm: {:?}", self.workers());
        signal_pid(pid, Signal::KILL);
    }

    /// What `systemctl reload php-fpm` does.
    pub fn reload(&mut self) {
        let before = self.workers();
        self.process().signal(Signal::USR2);
        wait_for("new workers after a reload", secs(10), || {
            let now = self.workers();
            (!now.is_empty() && now.iter().all(|pid| !before.contains(pid))).then_some(())
        });
        self.wait_until_it_listens();
    }

    pub fn stop(&mut self) {
        self.process().stop(secs(5));
    }

    /// After `stop`, at the same addresses.
    pub fn start_again(&mut self) {
        let _ = fs::remove_file(&self.socket);
        *self.process() = spawn(&self.configuration, &self.environment);
        self.wait_until_it_listens();
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_it_listens(&self) {
        wait_for("php-fpm's socket", secs(10), || {
            assert!(self.process().ended().is_none(), "php-fpm ended\n{}", super::test_dir::tails_of_logs());
            UnixStream::connect(&self.socket).ok()
        });
    }
}

fn spawn(configuration: &Path, environment: &[(&'static str, String)]) -> Process {
    let mut command = Command::new(binary());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.args(["--nodaemonize", "--fpm-config"]).arg(configuration);
    if is_root() {
        command.arg("--allow-to-run-as-root");
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Process::start("php-fpm", &mut command)
}

fn configuration_text(dir: &Path, socket: &Path, tcp: Option<&Port>, settings: &Settings) -> String {
    let user = if is_root() {
        format!("user = {0}\ngroup = {0}\nlisten.owner = {0}\nlisten.group = {0}", account::SITE)
    } else {
        String::new()
    };
    let mut ini: Vec<String> =
        settings.ini.iter().map(|(name, value)| format!("php_admin_value[{name}] = {value}")).collect();
    ini.extend_from_slice(settings.lines);
    let text = TEMPLATE
        .replace("@DIR@", &dir.display().to_string())
        .replace("@USER@", &user)
        .replace("@WORKERS@", &settings.workers.to_string())
        .replace("@INI@", &ini.join("\n"));
    let on_unix = text.replace("@LISTEN@", &socket.display().to_string());
    match tcp {
        None => on_unix,
        Some(port) => {
            let (_, pool) = text.split_once("[site]").expect("a pool");
            format!("{on_unix}\n[tcp]{}", pool.replace("@LISTEN@", &port.address()))
        }
    }
}

/// Debian's name holds the version.
fn binary() -> PathBuf {
    let version = account::succeed(Command::new("php").args(["-r", "echo PHP_MAJOR_VERSION, '.', PHP_MINOR_VERSION;"]));
    let versioned = format!("/usr/sbin/php-fpm{}", String::from_utf8_lossy(&version));
    [versioned.as_str(), "/usr/sbin/php-fpm", "/usr/local/sbin/php-fpm"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("php-fpm; `tests/support/install.sh test` installs it")
}
