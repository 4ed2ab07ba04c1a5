//! A real browser, without a window: Chromium, driven by Playwright in a process of node that does what a test tells it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::account::{self, command_as, succeed};
use super::site::{Site, cache, support_file};

pub struct Browser {
    home: PathBuf,
    node: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Browser {
    /// As the site's user where we are root: Chromium does not like to be root.
    pub fn start(site: &Site) -> Browser {
        let home = site.dir.join("browser");
        if !home.exists() {
            bring_packages(&home);
        }
        let mut command = command_as(account::SITE, "node");
        command.arg(home.join("driver.mjs")).arg(&home).arg(chromium()).arg(&site.url);
        command.env("HOME", &home).env("TMPDIR", &home).current_dir(&home);
        let log = std::fs::File::create(site.dir.join("browser.log")).expect("browser.log");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut node = command.spawn().expect("node");
        let to = node.stdin.take();
        let from = BufReader::new(node.stdout.take().expect("a pipe"));
        let mut browser = Browser { home, node, to, from };
        browser.visitor(true);
        browser
    }

    /// Somebody else, who is not logged in.
    pub fn visitor(&mut self, javascript: bool) {
        self.tell("visitor", json!({ "javascript": javascript }));
    }

    pub fn log_in(&mut self, user: &str, password: &str) {
        self.tell("log_in", json!({ "user": user, "password": password }));
    }

    /// The answer's status.
    pub fn open(&mut self, path: &str) -> u64 {
        self.tell("open", json!({ "path": path })).as_u64().expect("a status")
    }

    /// Clicks a button or a link, by what it is and says; the page that comes then is there.
    pub fn follow(&mut self, role: &str, name: &str) {
        self.tell("follow", json!({ "role": role, "name": name }));
    }

    /// With the keyboard alone.
    pub fn press_enter_on(&mut self, role: &str, name: &str) {
        self.tell("focus", json!({ "role": role, "name": name }));
        self.tell("press", json!({ "key": "Enter" }));
    }

    pub fn is_disabled(&mut self, role: &str, name: &str) -> bool {
        self.tell("is_disabled", json!({ "role": role, "name": name })) == true
    }

    pub fn fill(&mut self, label: &str, value: &str) {
        self.tell("fill", json!({ "label": label, "value": value }));
    }

    pub fn select(&mut self, label: &str, value: &str) {
        self.tell("select", json!({ "label": label, "value": value }));
    }

    /// Waits for it.
    pub fn see(&mut self, text: &str) {
        self.tell("see", json!({ "text": text }));
    }

    pub fn text(&mut self, selector: &str) -> String {
        self.tell("text", json!({ "selector": selector })).as_str().expect("text").to_owned()
    }

    pub fn count(&mut self, selector: &str) -> u64 {
        self.tell("count", json!({ "selector": selector })).as_u64().expect("a number")
    }

    pub fn url(&mut self) -> String {
        self.tell("url", json!({})).as_str().expect("an address").to_owned()
    }

    /// What the page itself says.
    pub fn evaluate(&mut self, code: &str) -> Value {
        self.tell("evaluate", json!({ "code": code }))
    }

    /// No request to another host, no dialog, no error of a script.
    pub fn must_have_nothing_to_complain_of(&mut self) {
        assert_eq!(self.tell("complaints", json!({})), json!([]));
    }

    fn tell(&mut self, command: &str, mut with: Value) -> Value {
        with["command"] = json!(command);
        writeln!(self.to.as_mut().expect("node's input"), "{with}").expect("node reads");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("node answers");
        let answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{with}: {error}: {line}\n{}", super::test_dir::tails_of_logs()));
        if let Some(error) = answer["error"].as_str() {
            let seen = answer["seen"].as_str().unwrap_or_default();
            panic!("{with}: {error}\nat {}\n{seen}\n{}", answer["url"], super::test_dir::tails_of_logs());
        }
        answer["value"].clone()
    }

    /// A picture of the whole page, in cargo's target folder.
    pub fn shot(&mut self, name: &str) {
        let file = self.home.join("shot.png");
        self.tell("shot", json!({ "file": file }));
        let folder = pictures();
        std::fs::create_dir_all(&folder).expect("the folder of the pictures");
        std::fs::copy(&file, folder.join(format!("{name}.png"))).expect("a picture");
    }

    /// What an accessibility checker has against the panel's part of the page: nothing serious.
    pub fn must_be_accessible(&mut self, what: &str) {
        let found = self.tell("axe", json!({ "within": "#wpbody-content .wrap" }));
        let serious = |finding: &&Value| finding["impact"] == "serious" || finding["impact"] == "critical";
        let serious: Vec<&Value> = found.as_array().expect("findings").iter().filter(serious).collect();
        assert!(serious.is_empty(), "{what}: {serious:#?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of its input ends it, and with it the browser; also where the test was killed.
        drop(self.to.take());
        let _ = self.node.wait();
    }
}

/// Where a person finds the pictures afterwards.
pub fn pictures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("cargo's target folder").join("browser")
}

fn chromium() -> String {
    let script = format!(". {} && chromium_binary", support_file("cache.sh").display());
    String::from_utf8(succeed(Command::new("bash").args(["-c", &script]))).expect("a path").trim_end().to_owned()
}

/// Where the site's user can read them: the cache may be in a home directory that he cannot enter.
fn bring_packages(home: &Path) {
    std::fs::create_dir(home).expect("the browser's folder");
    let packages = cache().join("browser/node_modules");
    let linked = Command::new("cp").arg("-al").arg(&packages).arg(home).output().expect("cp");
    if !linked.status.success() {
        succeed(Command::new("cp").arg("-r").arg(&packages).arg(home));
    }
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/driver.mjs");
    std::fs::copy(driver, home.join("driver.mjs")).expect("driver.mjs");
    std::fs::File::create(home.join("shot.png")).expect("a picture");
    for own in [home, &home.join("shot.png")] {
        if account::is_root() {
            succeed(Command::new("chown").arg(format!("{0}:{0}", account::SITE)).arg(own));
        }
    }
}
