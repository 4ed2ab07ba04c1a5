//! A Redis of the test's own, on a socket only, without persistence.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::account::{self, command_as};
use super::process::Process;
use super::site::{Site, support_file};
use super::test_dir::{TestDir, tails_of_logs};
use super::wait::{secs, wait_for};

pub struct Redis {
    process: Process,
    pub socket: PathBuf,
    dir: TestDir,
}

impl Redis {
    pub fn start() -> Redis {
        let dir = TestDir::new();
        account::give_to(account::SITE, dir.path());
        let socket = dir.join("redis.sock");
        let mut command = command_as(account::SITE, "redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocketperm", "777", "--unixsocket"]);
        command.arg(&socket).arg("--dir").arg(dir.path()).arg("--logfile").arg(dir.join("redis.log"));
        let mut process = Process::start("redis-server", command.stdout(Stdio::null()).stderr(Stdio::null()));
        wait_for("Redis", secs(10), || {
            assert!(process.ended().is_none(), "Redis ended\n{}", tails_of_logs());
            UnixStream::connect(&socket).ok()
        });
        Redis { process, socket, dir }
    }

    /// What `redis-cli` prints.
    pub fn ask(&self, words: &[&str]) -> String {
        let output = account::succeed(Command::new("redis-cli").arg("-s").arg(&self.socket).args(words));
        String::from_utf8_lossy(&output).trim_end().to_owned()
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
