//! A redis-server of a test's own, on a socket only, without persistence.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Link;
use crate::config::redis::{Redis, Server};

pub struct OwnRedis {
    process: Option<Child>,
    folder: tempfile::TempDir,
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.stop();
    }
}

impl OwnRedis {
    /// A place for one that is not there yet.
    pub fn new() -> Self {
        Self { process: None, folder: tempfile::tempdir().unwrap() }
    }

    pub fn started() -> Self {
        let mut redis = Self::new();
        redis.start();
        redis
    }

    pub fn start(&mut self) {
        let socket = self.socket();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--dir"]).arg(self.folder.path()).arg("--unixsocket").arg(&socket);
        self.process = Some(command.stdout(Stdio::null()).spawn().unwrap());
        let began = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "redis-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All that it knew is gone.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
            let _ = std::fs::remove_file(self.socket());
        }
    }

    /// It takes connections, and answers nothing.
    pub fn hang(&self) {
        let process = self.process.as_ref().unwrap();
        kill_process(Pid::from_child(process), Signal::STOP).unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub fn config(&self) -> Redis {
        Redis {
            server: Server::Unix(self.socket()),
            database: 0,
            is_tls: false,
            ca_file: None,
            user: None,
            password: None,
            prefix: "wpcr".into(),
            wait_replicas: 0,
            accept: Vec::new(),
        }
    }

    pub fn link(&self) -> Arc<Link> {
        Arc::new(Link::new(&Arc::new(self.config())))
    }

    /// What `redis-cli` prints.
    pub fn ask(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli").arg("-s").arg(self.socket()).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim_end().to_string()
    }
}
