//! The binary, configured for the sites of a test, as the site's user where we are root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::account::{self, command_as};
use super::http::{self, Page};
use super::network::{Door, Namespace};
use super::process::{Port, Process};
use super::site::Site;
use super::test_dir::{TestDir, tails_of_logs};
use super::wait::{secs, wait_for};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    FastCgi,
    FastCgiTcp,
    Http,
    WpCli,
}

#[must_use]
#[derive(Clone)]
pub struct Builder<'a> {
    sites: Vec<&'a Site>,
    name: String,
    trigger: Trigger,
    runner_lines: Vec<String>,
    site_lines: Vec<String>,
    tables: Vec<String>,
    with_plugin: bool,
    capabilities: Option<String>,
    network: Option<Arc<Namespace>>,
}

pub struct Runner {
    process: Option<Process>,
    /// In a network of its own its port is reached through this one.
    door: Option<Door>,
    network: Option<Arc<Namespace>>,
    capabilities: Option<String>,
    pub binary: PathBuf,
    pub config: PathBuf,
    sites_to_install: Vec<String>,
    port: Port,
    /// For the daemon's environment.
    pub environment: Vec<(String, String)>,
    pub dir: TestDir,
}

/// What a command of the binary printed, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

impl Runner {
    pub fn builder(site: &Site) -> Builder<'_> {
        Builder {
            sites: vec![site],
            name: "test".to_owned(),
            trigger: Trigger::FastCgi,
            runner_lines: Vec::new(),
            site_lines: Vec::new(),
            tables: Vec::new(),
            with_plugin: true,
            capabilities: None,
            network: None,
        }
    }

    /// The daemon; returns when it answers, and has been at its sites.
    pub fn start(&mut self) {
        self.start_within(secs(15));
    }

    /// Where it has many sites to be at.
    pub fn start_within(&mut self, patience: Duration) {
        let log = fs::File::options().create(true).append(true).open(self.dir.join("runner.log")).expect("runner.log");
        let mut command = match &self.capabilities {
            Some(capabilities) => self.configured(account::command_with(capabilities, &self.binary)),
            None => self.command(account::SITE),
        };
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.arg("run").stdout(log.try_clone().expect("runner.log")).stderr(log);
        let mut process = Process::start("wp-cron-runner", &mut command);
        wait_for("the runner's /healthz", secs(15), || {
            if let Some(status) = process.ended() {
                panic!("the runner ended with {status}\n{}", tails_of_logs());
            }
            http::request("GET", &self.listen(), "/healthz", &[], b"").ok().filter(|page| page.status == 200)
        });
        self.process = Some(process);
        // What a page schedules before the first take-over is found by the next look only; a test means what comes after.
        // A busy machine may lose the first call; a site that is meant to be out of reach stays so.
        let passing = ["unreachable", "error", "busy"];
        let passed = Instant::now() + secs(5);
        wait_for("the first word of every site", patience, || {
            let status: Value = serde_json::from_str(&self.get("/v1/status").body).expect("JSON");
            let states: Vec<&Value> =
                status["sites"].as_array().expect("sites").iter().map(|site| &site["state"]).collect();
            let may_pass =
                Instant::now() < passed && states.iter().any(|state| passing.iter().any(|word| *state == word));
            // The list is empty at first.
            let has_all = !states.is_empty() && states.iter().all(|state| **state != "starting");
            (has_all && !may_pass).then_some(())
        });
    }

    /// SIGTERM, and the end of its drain.
    pub fn stop(&mut self) -> ExitStatus {
        self.stop_within(secs(30))
    }

    pub fn stop_within(&mut self, patience: Duration) -> ExitStatus {
        self.running().stop(patience)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running().kill();
        self.process = None;
    }

    /// It was killed by somebody else; `start` starts it again.
    pub fn has_died(&mut self) -> bool {
        self.running().ended().is_some()
    }

    pub fn signal(&mut self, signal: Signal) {
        self.running().signal(signal);
    }

    /// From the next start on it believes that the machine was started meanwhile.
    pub fn forget_boot(&self) {
        let history = rusqlite::Connection::open(self.home().join("state/history.sqlite")).expect("the history");
        let changed = history.execute("UPDATE facts SET value = '1700000000000 5000' WHERE name = 'boot'", []);
        assert_eq!(changed.expect("the fact"), 1);
    }

    /// Another configuration, made from the one that is there.
    pub fn rewrite_config(&self, change: impl Fn(String) -> String) {
        let text = fs::read_to_string(&self.config).expect("config.toml");
        fs::write(&self.config, change(text)).expect("config.toml");
    }

    /// SIGHUP, and the word of the log that tells its end.
    pub fn reload(&mut self) -> String {
        let words = |log: &str| log.matches("loaded anew").count() + log.matches("was not loaded").count();
        let before = words(&self.log());
        self.signal(Signal::HUP);
        wait_for("the end of a reload", secs(15), || (words(&self.log()) > before).then(|| self.log()))
    }

    /// Signed with a site's own key, as its plugin does.
    pub fn post_as_site(&self, site: &str, path: &str, body: &str) -> Page {
        let file = self.home().join(format!("{site}.key"));
        let key = fs::read_to_string(file).expect("the site's key");
        self.post_with(key.trim(), site, path, body)
    }

    pub fn post_with(&self, key: &str, site: &str, path: &str, body: &str) -> Page {
        let header = super::http::signature(key, site, path, &self.listen(), body.as_bytes());
        http::request("POST", &self.listen(), path, &[("X-WP-Cron-Runner", &header)], body.as_bytes())
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a runner that was started").pid()
    }

    fn running(&mut self) -> &mut Process {
        self.process.as_mut().expect("a runner that was started")
    }

    /// A command, as the runner's own user.
    pub fn cli(&self, arguments: &[&str]) -> Said {
        said(self.command(account::SITE).args(arguments))
    }

    /// A command that is not waited for: somebody waits for its answer, beside the test.
    pub fn command_for_later(&self, arguments: &[&str]) -> std::thread::JoinHandle<Said> {
        let mut command = self.command(account::SITE);
        command.args(arguments);
        std::thread::spawn(move || said(&mut command))
    }

    /// A command as the caller, who may be root: `plugin`, `init`.
    pub fn cli_as_caller(&self, arguments: &[&str]) -> Said {
        said(self.configured(Command::new(&self.binary)).args(arguments))
    }

    /// `status --watch --json`, a line each second.
    pub fn watch_status(&self) -> std::process::Child {
        let mut command = self.command(account::SITE);
        command.args(["status", "--watch", "--json"]).stdout(Stdio::piped()).spawn().expect("the binary")
    }

    /// A command with `--json` that must succeed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let said = self.cli(&[arguments, &["--json"]].concat());
        assert!(said.status.success(), "{arguments:?}: {said:?}\n{}", tails_of_logs());
        said.json()
    }

    /// The history, newest first.
    pub fn history(&self) -> Vec<Value> {
        self.json(&["history", "-n", "10000"]).as_array().expect("a list").clone()
    }

    /// The history of one hook, newest first.
    pub fn history_of(&self, hook: &str) -> Vec<Value> {
        self.history().into_iter().filter(|run| run["hook"] == hook).collect()
    }

    /// What this host has recorded itself, run and outcome; all hosts together may tell more.
    pub fn own_history(&self) -> Vec<(String, String)> {
        self.own_records("SELECT run, outcome FROM runs")
    }

    /// How often a hook has run on this host.
    pub fn own_runs(&self, hook: &str) -> usize {
        self.own_records("SELECT run, hook FROM runs").iter().filter(|(_, of)| of == hook).count()
    }

    fn own_records(&self, sql: &str) -> Vec<(String, String)> {
        let file = self.home().join("state/history.sqlite");
        let read = || {
            let history = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            history.busy_timeout(secs(5))?;
            let mut statement = history.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(String, String)>>>()
        };
        read().expect("the history of this host")
    }

    /// `plugin install` of every site, and the key into the hands of the runner's user.
    pub fn install_plugin(&self) {
        for site in &self.sites_to_install {
            let said = self.cli_as_caller(&["plugin", "install", site]);
            assert!(said.status.success(), "plugin install {site}: {said:?}");
        }
        account::give_to(account::SITE, &self.home());
    }

    /// As where a server was cloned: the same key, and a state of its own.
    pub fn take_key_of(&self, other: &Runner, site: &Site) {
        let key = |runner: &Runner| runner.home().join(format!("{}.key", site.name));
        fs::copy(key(other), key(self)).expect("the key");
        account::give_to(account::SITE, &self.home());
    }

    /// Configuration, keys and state. The binary beside it is a hard link, which must stay its maker's.
    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("runner.log")).unwrap_or_default()).into_owned()
    }

    /// A page of the runner's own API.
    pub fn get(&self, path: &str) -> Page {
        http::request("GET", &self.listen(), path, &[], b"").unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// `127.0.0.1:PORT`
    pub fn listen(&self) -> String {
        self.port.address()
    }

    fn command(&self, user: &str) -> Command {
        self.configured(match &self.network {
            Some(network) => network.command_as(user, &self.binary),
            None => command_as(user, &self.binary),
        })
    }

    fn configured(&self, mut command: Command) -> Command {
        command.arg("--config").arg(&self.config).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("NO_COLOR", "1").env_remove("WP_CRON_RUNNER_CONFIG");
        command
    }
}

/// What cargo built beside the tests; or another build, such as the release that is measured.
fn built() -> PathBuf {
    let other = std::env::var_os("WP_CRON_RUNNER_BINARY").filter(|path| !path.is_empty());
    other.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_wp-cron-runner")), PathBuf::from)
}

fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Said {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl<'a> Builder<'a> {
    pub fn and(mut self, site: &'a Site) -> Self {
        self.sites.push(site);
        self
    }

    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.trigger = trigger;
        self
    }

    /// `test` unless said otherwise.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The daemon, and every command of the site's user, run there.
    pub fn inside(mut self, network: &Arc<Namespace>) -> Self {
        self.network = Some(network.clone());
        self
    }

    /// A line of TOML in `[runner]`.
    pub fn runner_line(mut self, line: &str) -> Self {
        self.runner_lines.push(line.to_owned());
        self
    }

    /// A line of TOML in every `[[site]]`.
    pub fn site_line(mut self, line: &str) -> Self {
        self.site_lines.push(line.to_owned());
        self
    }

    /// A whole table, such as a `[[site.hook]]` of the last site, or `[history]`.
    pub fn table(mut self, text: &str) -> Self {
        self.tables.push(text.to_owned());
        self
    }

    /// Capabilities of the daemon, as `AmbientCapabilities=` of its unit gives them: `+setuid,+setgid`. As root only.
    pub fn capabilities(mut self, capabilities: &str) -> Self {
        self.capabilities = Some(capabilities.to_owned());
        self
    }

    pub fn without_plugin(mut self) -> Self {
        self.with_plugin = false;
        self
    }

    /// Configured, with the plugin installed, not started.
    pub fn prepare(self) -> Runner {
        let dir = TestDir::new();
        let port = Port::take();
        let binary = dir.join("wp-cron-runner");
        let built = built();
        // The build may be in a home directory that the runner's user cannot enter.
        fs::hard_link(&built, &binary).or_else(|_| fs::copy(&built, &binary).map(drop)).expect("the binary");
        let home = dir.join("home");
        fs::create_dir_all(home.join("state")).expect("the state directory");
        fs::set_permissions(home.join("state"), fs::Permissions::from_mode(0o700)).expect("its mode");
        let config = home.join("config.toml");
        fs::write(&config, self.config_text(&home, &port)).expect("config.toml");
        fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).expect("config.toml's mode");
        for (site, key) in self.sites.iter().filter_map(|site| Some((site, site.key.as_ref()?))) {
            let file = home.join(format!("{}.key", site.name));
            fs::write(&file, format!("{key}\n")).expect("a key");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode");
        }
        account::give_to(account::SITE, &home);
        let to_install = self.sites.iter().filter(|site| site.key.is_none());
        let sites_to_install = to_install.map(|site| site.name.clone()).collect();
        let environment = Vec::new();
        let door = self.network.as_ref().map(|network| Door::open(port.number, network));
        let (capabilities, network) = (self.capabilities, self.network);
        let runner = Runner {
            process: None,
            door,
            network,
            capabilities,
            binary,
            config,
            sites_to_install,
            port,
            environment,
            dir,
        };
        if self.with_plugin {
            runner.install_plugin();
        }
        runner
    }

    pub fn start(self) -> Runner {
        let mut runner = self.prepare();
        runner.start();
        runner
    }

    fn config_text(&self, home: &Path, port: &Port) -> String {
        let mut text = format!(
            "[runner]\nname = \"{}\"\nstate_dir = \"{}\"\nlisten = \"{}\"\n{}\n",
            self.name,
            home.join("state").display(),
            port.address(),
            self.runner_lines.join("\n")
        );
        for site in &self.sites {
            text += &self.site_text(site, home);
        }
        text + &self.tables.join("\n")
    }

    fn site_text(&self, site: &Site, home: &Path) -> String {
        let mut lines = vec![
            "\n[[site]]".to_owned(),
            format!("name = \"{}\"", site.name),
            format!("path = \"{}\"", site.path.display()),
            format!("url = \"{}\"", site.url),
            format!("secret_file = \"{}\"", home.join(format!("{}.key", site.name)).display()),
        ];
        match self.trigger {
            Trigger::FastCgi => {
                lines.push(format!("trigger = \"fastcgi\"\nfastcgi = \"{}\"", site.php_fpm.socket.display()));
            }
            Trigger::FastCgiTcp => {
                lines.push(format!("trigger = \"fastcgi\"\nfastcgi = \"{}\"", site.php_fpm.tcp_address()));
            }
            Trigger::WpCli => {
                lines.push(format!("trigger = \"wp-cli\"\nwp_cli = \"{}\"", site.phar().display()));
                let ini: Vec<String> = site.ini.iter().map(|(name, value)| format!("\"{name}={value}\"")).collect();
                if !ini.is_empty() {
                    lines.push(format!("ini = [{}]", ini.join(", ")));
                }
            }
            Trigger::Http => {
                lines.push("trigger = \"http\"".to_owned());
                if let Some(certificate) = &site.certificate {
                    lines.push(format!("ca_file = \"{}\"", certificate.authority.display()));
                }
                if let Some((user, password)) = &site.basic_auth {
                    let file = home.join(format!("{}.auth", site.name));
                    fs::write(&file, format!("{user}:{password}\n")).expect("the basic auth file");
                    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode");
                    lines.push(format!("basic_auth_file = \"{}\"", file.display()));
                }
            }
        }
        lines.extend(self.site_lines.iter().cloned());
        lines.join("\n") + "\n"
    }
}
