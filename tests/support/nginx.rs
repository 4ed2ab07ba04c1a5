//! An nginx of the test's own in front of a site: plain or TLS, with or without basic auth.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::account::{self, is_root};
use super::process::{Port, Process};
use super::tls::Certificate;
use super::wait::{secs, wait_for};

const TEMPLATE: &str = include_str!("conf/nginx.conf");

/// Sites that share it have a copy each.
#[derive(Clone)]
pub struct Nginx {
    process: Arc<Mutex<Process>>,
}

pub struct Settings<'a> {
    pub port: &'a Port,
    pub root: &'a Path,
    /// A socket's path, or `127.0.0.1:PORT`.
    pub fastcgi: &'a Path,
    pub read_timeout: &'a str,
    pub basic_auth: Option<&'a (String, String)>,
    pub certificate: Option<&'a Certificate>,
    /// Lines of the `server` block.
    pub lines: &'a [String],
}

impl Nginx {
    pub fn start(dir: &Path, settings: &Settings) -> Nginx {
        fs::create_dir_all(dir.join("nginx-tmp")).expect("nginx-tmp");
        account::give_to(account::SITE, &dir.join("nginx-tmp"));
        let configuration = dir.join("nginx.conf");
        fs::write(&configuration, configuration_text(dir, settings)).expect("nginx.conf");
        let mut command = Command::new(binary());
        command.arg("-c").arg(&configuration).arg("-e").arg(dir.join("nginx.log"));
        let mut process = Process::start("nginx", command.stdout(Stdio::null()).stderr(Stdio::null()));
        wait_for("nginx's port", secs(10), || {
            assert!(process.ended().is_none(), "nginx ended\n{}", super::test_dir::tails_of_logs());
            TcpStream::connect(settings.port.address()).ok()
        });
        Nginx { process: Arc::new(Mutex::new(process)) }
    }

    /// The master's.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    pub fn stop(&mut self) {
        self.process().stop(secs(5));
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn configuration_text(dir: &Path, settings: &Settings) -> String {
    let mut server: Vec<String> = settings.lines.to_vec();
    if let Some((user, password)) = settings.basic_auth {
        let file = dir.join("htpasswd");
        // Not {PLAIN}: nginx ends that at a colon.
        let hash = account::succeed(Command::new("openssl").args(["passwd", "-apr1", password]));
        fs::write(&file, format!("{user}:{}", String::from_utf8_lossy(&hash))).expect("htpasswd");
        server.push(format!("auth_basic closed; auth_basic_user_file {};", file.display()));
    }
    let mut listen = settings.port.address();
    if let Some(certificate) = settings.certificate {
        listen += " ssl";
        server.push(format!("ssl_certificate {};", certificate.chain.display()));
        server.push(format!("ssl_certificate_key {};", certificate.key.display()));
    }
    let fastcgi = settings.fastcgi.display().to_string();
    TEMPLATE
        .replace("@DIR@", &dir.display().to_string())
        .replace("@USER@", &if is_root() { format!("user {};", account::SITE) } else { String::new() })
        .replace("@LISTEN@", &listen)
        .replace("@ROOT@", &settings.root.display().to_string())
        .replace("@SERVER@", &server.join("\n\t\t"))
        .replace("@READ_TIMEOUT@", settings.read_timeout)
        .replace("@FASTCGI@", &if fastcgi.starts_with('/') { format!("unix:{fastcgi}") } else { fastcgi })
}

fn binary() -> &'static str {
    ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("nginx; `tests/support/install.sh test` installs it")
}
