//! A MariaDB of the test's own, on a socket only. Tests in one process share one server; each site has its own database.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::account::{self, command_as, succeed};
use super::process::Process;
use super::site::template;
use super::test_dir::{TestDir, tails_of_logs};
use super::wait::{secs, wait_for};

pub struct MariaDb {
    process: Mutex<Process>,
    databases: AtomicU32,
    pub socket: PathBuf,
    dir: TestDir,
}

// Not a server for the whole of the process: nothing is dropped at a process's end, and the server would stay behind.
static SHARED: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());

impl MariaDb {
    pub fn shared() -> Arc<MariaDb> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(MariaDb::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// A server of its own for a test that stops or kills it.
    pub fn start() -> MariaDb {
        let dir = TestDir::new();
        succeed(Command::new("cp").arg("-r").arg(template(&["datadir"])).arg(dir.join("data")));
        account::give_to(account::DATABASE, &dir.join("data"));
        // The server makes its socket and its log here.
        account::give_to(account::DATABASE, dir.path());
        let server = MariaDb {
            process: Mutex::new(spawn(dir.path())),
            databases: AtomicU32::new(0),
            socket: dir.join("mariadb.sock"),
            dir,
        };
        server.wait_until_it_answers();
        server
    }

    /// A database with what `dump` holds; its name.
    pub fn create_database(&self, dump: &Path) -> String {
        let name = format!("site_{}", self.databases.fetch_add(1, Ordering::Relaxed) + 1);
        self.query("", &format!("CREATE DATABASE {name}"));
        let dump = fs::File::open(dump).expect("a template's dump.sql");
        succeed(self.client(&name).stdin(dump));
        name
    }

    /// Rows as text; NULL is `None`.
    pub fn query(&self, database: &str, sql: &str) -> Vec<Vec<Option<String>>> {
        let output = succeed(self.client(database).args(["--batch", "--skip-column-names", "-e", sql]));
        String::from_utf8_lossy(&output).lines().map(|line| line.split('\t').map(cell).collect()).collect()
    }

    fn client(&self, database: &str) -> Command {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--user=root", "--default-character-set=utf8mb4"]);
        command.arg(format!("--socket={}", self.socket.display())).arg(database);
        command
    }

    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    pub fn kill(&self) {
        self.process().kill();
    }

    pub fn stop(&self) {
        self.process().stop(secs(20));
    }

    /// After `kill` or `stop`, on the same data.
    pub fn start_again(&self) {
        *self.process() = spawn(self.dir.path());
        self.wait_until_it_answers();
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_it_answers(&self) {
        wait_for("MariaDB", secs(30), || {
            assert!(self.process().ended().is_none(), "MariaDB ended\n{}", tails_of_logs());
            let answer = self.client("").args(["-e", "SELECT 1"]).stderr(Stdio::null()).stdout(Stdio::null()).status();
            answer.expect("mariadb").success().then_some(())
        });
    }
}

fn spawn(dir: &Path) -> Process {
    let at = |option: &str, name: &str| format!("--{option}={}", dir.join(name).display());
    let mut command = command_as(account::DATABASE, "/usr/sbin/mariadbd");
    command
        .args(["--no-defaults", "--skip-networking", "--character-set-server=utf8mb4"])
        .args([at("datadir", "data"), at("socket", "mariadb.sock"), at("log-error", "mariadb.log")])
        .arg(at("pid-file", "mariadb.pid"))
        // Small, and safe against our own kills; a power cut is not tested.
        .args(["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=2"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Process::start("mariadbd", &mut command)
}

fn cell(text: &str) -> Option<String> {
    if text == "NULL" {
        return None;
    }
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('0') => '\0',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    Some(plain)
}
