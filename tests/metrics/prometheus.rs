//! Debian's Prometheus, unpacked, on a port of the test's own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::account::succeed;
use crate::support::http;
use crate::support::process::{Port, Process};
use crate::support::site::cache;
use crate::support::test_dir::TestDir;
use crate::support::{secs, wait_for};

pub struct Prometheus {
    _process: Process,
    port: Port,
    dir: TestDir,
}

fn program(name: &str) -> PathBuf {
    cache().join("prometheus").join(name)
}

/// It must be content.
pub fn promtool(words: &[&str]) {
    succeed(Command::new(program("promtool")).args(words));
}

impl Prometheus {
    /// Asks the runner each second, as the rules' own comment says.
    pub fn start(runner: &str, rules: &str) -> Prometheus {
        let (dir, port) = (TestDir::new(), Port::take());
        let text = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{rules}]\n\
             scrape_configs:\n  - job_name: wp-cron-runner\n    static_configs: [{{ targets: [\"{runner}\"] }}]\n"
        );
        fs::write(dir.join("prometheus.yml"), text).expect("prometheus.yml");
        let log = fs::File::create(dir.join("prometheus.log")).expect("prometheus.log");
        let mut command = Command::new(program("prometheus"));
        command.current_dir(dir.path()).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={}", port.address()));
        command.stdout(Stdio::null()).stderr(log);
        let prometheus = Prometheus { _process: Process::start("prometheus", &mut command), port, dir };
        wait_for("Prometheus", secs(20), || {
            let page = http::request("GET", &prometheus.port.address(), "/-/ready", &[], b"").ok()?;
            (page.status == 200).then_some(())
        });
        prometheus
    }

    /// The answer to a query, which must be none of an error.
    pub fn ask(&self, expression: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", escaped(expression));
        let page = http::request("GET", &self.port.address(), &path, &[], b"").expect("an answer");
        let answer: Value = serde_json::from_str(&page.body).unwrap_or_else(|_| panic!("{expression}: {page:?}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().expect("a list").clone()
    }

    /// The value of the only series.
    pub fn number(&self, expression: &str) -> Option<f64> {
        self.ask(expression).first()?["value"][1].as_str()?.parse().ok()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("prometheus.log")).unwrap_or_default()
    }
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
