//! A Redis of the test's own: on a socket, and on a port of this machine or of a network of its own. Nothing is kept on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;

use super::account::{self, command_as};
use super::network::Namespace;
use super::process::{Port, Process};
use super::site::{Site, support_file};
use super::test_dir::{TestDir, tails_of_logs};
use super::tls::Certificate;
use super::wait::{secs, wait_for};

/// The database that runners are given; 0 is left to an object cache.
pub const DATABASE: &str = "3";

/// The account that the project ships.
const ACCOUNT: &str = include_str!("../../config/redis.acl");

#[must_use]
#[derive(Default)]
pub struct Builder {
    lines: Vec<String>,
    tls: bool,
    network: Option<Arc<Namespace>>,
}

pub struct Redis {
    process: Mutex<Process>,
    pub socket: PathBuf,
    port: Port,
    /// Where it is in a network of its own, hosts need a cable to it.
    pub network: Option<Arc<Namespace>>,
    pub certificate: Option<Certificate>,
    dir: TestDir,
}

/// Whom a runner logs in as.
pub struct Account {
    pub user: String,
    pub password: &'static str,
    pub password_file: PathBuf,
}

impl Builder {
    /// A line of redis.conf.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// The port speaks TLS and nothing else.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Where that is not allowed it stays on this machine's.
    pub fn in_a_network_of_its_own(mut self) -> Self {
        self.network = Namespace::new();
        self
    }

    pub fn start(self) -> Redis {
        let dir = TestDir::new();
        let (socket, port) = (dir.join("redis.sock"), Port::take());
        let certificate = self.tls.then(|| Certificate::issue(dir.path(), "redis.test"));
        let configuration = self.configuration(&dir, &port, certificate.as_ref());
        fs::write(dir.join("redis.conf"), configuration).expect("redis.conf");
        account::give_to(account::SITE, dir.path());
        let process = Mutex::new(spawn(&dir, self.network.as_deref()));
        let redis = Redis { process, socket, port, network: self.network, certificate, dir };
        redis.wait_until_it_listens();
        redis
    }

    fn configuration(&self, dir: &TestDir, port: &Port, certificate: Option<&Certificate>) -> String {
        let (path, number) = (dir.path().display(), port.number);
        let mut text = format!(
            "save \"\"\nappendonly no\ndir {path}\nlogfile {path}/redis.log\nunixsocket {path}/redis.sock\n\
             unixsocketperm 777\nrepl-diskless-sync-delay 0\nenable-debug-command local\nenable-protected-configs local\n"
        );
        text += match self.network {
            Some(_) => "bind *\nprotected-mode no\n",
            None => "bind 127.0.0.1\n",
        };
        text += &match certificate {
            None => format!("port {number}\n"),
            Some(Certificate { authority, chain, key }) => format!(
                "port 0\ntls-port {number}\ntls-auth-clients no\ntls-ca-cert-file {}\ntls-cert-file {}\ntls-key-file {}\n",
                authority.display(),
                chain.display(),
                key.display()
            ),
        };
        text + &self.lines.join("\n") + "\n"
    }
}

impl Redis {
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub fn start() -> Redis {
        Redis::builder().start()
    }

    /// What `redis-cli` prints, in database 0.
    pub fn ask(&self, words: &[&str]) -> String {
        self.ask_in("0", words)
    }

    /// The same in the runners' database.
    pub fn ask_runners(&self, words: &[&str]) -> String {
        self.ask_in(DATABASE, words)
    }

    fn ask_in(&self, database: &str, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let output = account::succeed(command.arg("-s").arg(&self.socket).args(["-n", database]).args(words));
        String::from_utf8_lossy(&output).trim_end().to_owned()
    }

    /// `127.0.0.1:PORT`, where it listens for this machine.
    pub fn address(&self) -> String {
        self.port.address()
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// After `kill`, at the same port and with nothing in it.
    pub fn start_again(&self) {
        let _ = fs::remove_file(&self.socket);
        *self.process() = spawn(&self.dir, self.network.as_deref());
        self.wait_until_it_listens();
    }

    /// It accepts connections and does nothing.
    pub fn freeze(&self) {
        self.process().signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }

    /// Of a master at this address; returns when it has all that the master has.
    pub fn replica_of(&self, address: &str) {
        let (host, port) = address.rsplit_once(':').expect("an address");
        self.ask(&["REPLICAOF", host, port]);
        wait_for("a replica that is up to date", secs(20), || {
            self.ask(&["INFO", "replication"]).contains("master_link_status:up").then_some(())
        });
    }

    /// From now on it is a master, with what it has.
    pub fn promote(&self) {
        self.ask(&["REPLICAOF", "NO", "ONE"]);
    }

    /// Who this server is, as runners write it down.
    pub fn identity(&self) -> String {
        let (server, replication) = (self.ask(&["INFO", "server"]), self.ask(&["INFO", "replication"]));
        let value = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of INFO");
            line.trim_start_matches(':').trim().to_owned()
        };
        format!("{}:{}", value(&server, "run_id"), value(&replication, "master_replid"))
    }

    /// As if runners had been here before: nobody waits until leases that he cannot know of have ended.
    pub fn make_known(&self) {
        self.ask_runners(&["SET", "wpcr:server", &self.identity()]);
    }

    /// Names of all keys in the runners' database.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.ask_runners(&["--scan"]).lines().map(str::to_owned).collect();
        keys.sort();
        keys
    }

    /// An account that may do what a runner does, and nothing else.
    pub fn account(&self) -> Account {
        let (password, password_file) = ("a password of the tests", self.dir.join("redis.password"));
        let line = ACCOUNT.lines().find_map(|line| line.strip_prefix("user ")).expect("a line of an ACL file");
        let secret = format!(">{password}");
        let words: Vec<&str> =
            line.split(' ').map(|word| if word == ">PASSWORD" { secret.as_str() } else { word }).collect();
        assert_eq!(self.ask(&[&["ACL", "SETUSER"], &words[..]].concat()), "OK");
        fs::write(&password_file, format!("{password}\n")).expect("a password file");
        fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600)).expect("its mode");
        account::give_to(account::SITE, &password_file);
        Account { user: words[0].to_owned(), password, password_file }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("redis.log")).unwrap_or_default()
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_it_listens(&self) {
        wait_for("Redis", secs(10), || {
            assert!(self.process().ended().is_none(), "Redis ended\n{}", tails_of_logs());
            UnixStream::connect(&self.socket).ok()
        });
    }
}

fn spawn(dir: &TestDir, network: Option<&Namespace>) -> Process {
    let mut command = match network {
        Some(network) => network.command_as(account::SITE, "redis-server"),
        None => command_as(account::SITE, "redis-server"),
    };
    Process::start("redis-server", command.arg(dir.join("redis.conf")).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Watches one master, and lets a replica take its place.
pub struct Sentinel {
    process: Process,
    port: Port,
    name: &'static str,
    _dir: TestDir,
}

impl Sentinel {
    /// Of a master that has its replicas already.
    pub fn of(master: &Redis) -> Sentinel {
        let (dir, port, name) = (TestDir::new(), Port::take(), "mymaster");
        let (path, number, watched) = (dir.path().display(), port.number, master.port());
        let text = format!(
            "port {number}\nbind 127.0.0.1\ndir {path}\nlogfile {path}/sentinel.log\n\
             sentinel monitor {name} 127.0.0.1 {watched} 1\n\
             sentinel down-after-milliseconds {name} 1500\nsentinel failover-timeout {name} 6000\n"
        );
        // It writes down there what it learns.
        fs::write(dir.join("sentinel.conf"), text).expect("sentinel.conf");
        account::give_to(account::SITE, dir.path());
        let mut command = command_as(account::SITE, "redis-server");
        command.arg(dir.join("sentinel.conf")).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start("redis-server", &mut command);
        let mut sentinel = Sentinel { process, port, name, _dir: dir };
        wait_for("a Sentinel that knows the replicas", secs(30), || {
            assert!(sentinel.process.ended().is_none(), "the Sentinel ended\n{}", tails_of_logs());
            let replicas = sentinel.cli(&["SENTINEL", "replicas", sentinel.name]);
            replicas.contains("slave").then_some(())
        });
        sentinel
    }

    /// For runners.
    pub fn url(&self) -> String {
        format!("redis+sentinel://{}/{}/{DATABASE}", self.port.address(), self.name)
    }

    /// The port of the master that it names.
    pub fn master(&self) -> u16 {
        let said = self.cli(&["SENTINEL", "get-master-addr-by-name", self.name]);
        said.lines().last().and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no master: {said}"))
    }

    /// A replica takes the master's place, who is well.
    pub fn fail_over(&self) {
        let before = self.master();
        // At first it does not know whether the replica is good enough.
        wait_for("a Sentinel that agrees", secs(30), || {
            (self.cli(&["SENTINEL", "FAILOVER", self.name]).trim() == "OK").then_some(())
        });
        wait_for("another master", secs(30), || (self.master() != before).then_some(()));
    }

    fn cli(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let output = command.args(["-p", &self.port.number.to_string()]).args(words).output().expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Site {
    /// WordPress's object cache, in this Redis from now on.
    pub fn cache_in(&self, redis: &Redis) {
        let text = fs::read_to_string(support_file("object-cache.php")).expect("object-cache.php");
        let file = self.path.join("wp-content/object-cache.php");
        fs::write(&file, text.replace("@SOCKET@", &redis.socket.display().to_string())).expect("object-cache.php");
        account::give_to(account::SITE, &file);
    }
}
