//! A small HTTP server of the test's own: in the place of a site, or between the runner and one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::support::account;
use crate::support::process::Port;
use crate::support::{Runner, Site};

/// A whole request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    /// `due`, `run`, `settle` ...; empty where it is none of the runner's calls.
    pub call: String,
    pub bytes: Vec<u8>,
}

pub struct Door {
    port: Port,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_closing: Arc<AtomicBool>,
}

impl Door {
    /// Every connection brings one request, and gets what `answer` writes.
    pub fn open(answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Door {
        let port = Port::take();
        let listener = TcpListener::bind(port.address()).expect("a port of our own");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let is_closing: Arc<AtomicBool> = Arc::default();
        let (list, closing, answer) = (asked.clone(), is_closing.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if closing.load(Ordering::SeqCst) {
                    return;
                }
                let (list, answer) = (list.clone(), answer.clone());
                let Ok(mut stream) = stream else { continue };
                std::thread::spawn(move || {
                    let Some(asked) = read_request(&mut stream) else { return };
                    list.lock().expect("the list").push(asked.clone());
                    answer(&asked, &mut stream);
                });
            }
        });
        Door { port, asked, is_closing }
    }

    /// It says the same to everybody.
    pub fn saying(answer: &str) -> Door {
        let answer = answer.to_owned();
        Door::open(move |_, stream| {
            let _ = stream.write_all(answer.as_bytes());
        })
    }

    pub fn address(&self) -> String {
        self.port.address()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("the list").clone()
    }

    /// How often each call came.
    pub fn count(&self, call: &str) -> usize {
        self.asked().iter().filter(|asked| asked.call == call).count()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.is_closing.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address());
    }
}

impl Asked {
    /// Hands the request on, and the answer back as it comes.
    pub fn pass_on(&self, to: &str, stream: &mut TcpStream) {
        let _ = self.ask(to).and_then(|mut site| std::io::copy(&mut site, stream));
    }

    /// Hands the request on, and gives the whole answer: nobody else hears it.
    pub fn answer_of(&self, to: &str) -> String {
        let mut answer = Vec::new();
        self.ask(to).and_then(|mut site| site.read_to_end(&mut answer)).expect("the site's answer");
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn ask(&self, to: &str) -> std::io::Result<TcpStream> {
        let mut site = TcpStream::connect(to)?;
        let line = self.bytes.iter().position(|byte| *byte == b'\n').expect("a request line") + 1;
        site.write_all(&self.bytes[..line])?;
        site.write_all(b"Connection: close\r\n")?;
        site.write_all(&self.bytes[line..])?;
        Ok(site)
    }
}

fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&buffer[..length]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let body = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        if bytes.len() >= end + 4 + body.unwrap_or(0) {
            let call = head.split(' ').nth(1).and_then(|path| path.split_once("wp-cron-runner="));
            let call = call.map_or("", |(_, call)| call).to_owned();
            return Some(Asked { at: Instant::now(), call, bytes });
        }
    }
}

/// A site of the configuration that has nothing but a door.
pub fn add_site(runner: &Runner, name: &str, door: &Door, lines: &str) {
    let key = runner.dir.join("home").join(format!("{name}.key"));
    std::fs::write(&key, format!("{}{}\n", "5a".repeat(16), "c3".repeat(16))).expect("a key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode");
    account::give_to(account::SITE, &key);
    runner.rewrite_config(|text| {
        format!(
            "{text}\n[[site]]\nname = \"{name}\"\nurl = \"http://{}\"\ntrigger = \"http\"\nsecret_file = \"{}\"\n{lines}\n",
            door.address(),
            key.display()
        )
    });
}

/// The runner reaches the site through this door; both believe that there is none.
pub fn between(site: &Site, door: &Door) -> String {
    assert!(site.certificate.is_none(), "this door knows no TLS");
    format!("connect_to = \"{}\"", door.address())
}

/// How the runner sees one of its sites.
pub fn view(runner: &Runner, site: &str) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&runner.get("/v1/status").body).expect("JSON");
    let sites = status["sites"].as_array().expect("sites");
    sites.iter().find(|view| view["site"] == site).cloned().unwrap_or(serde_json::Value::Null)
}
