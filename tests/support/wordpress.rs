//! What a test does with a site: WP-CLI, PHP inside it, SQL, pages.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::account::{self, command_as};
use super::http::{self, Page};
use super::ledger::Line;
use super::site::{Database, Site, cache, support_file};
use super::wait::{secs, wait_for};

impl Site {
    /// WP-CLI as the site's user; its output. It must succeed.
    pub fn wp(&self, arguments: &[&str]) -> String {
        let mut command = self.php_command();
        command.arg(self.phar()).arg(format!("--path={}", self.path.display())).arg(format!("--url={}", self.url));
        text(&account::succeed(command.args(arguments)))
    }

    /// WP-CLI, where the site's user can read it: the cache may be in a home directory that he cannot enter.
    pub fn phar(&self) -> PathBuf {
        let phar = self.dir.join("wp-cli.phar");
        if !phar.exists() {
            let cached = cache().join("wp-cli/wp-cli.phar");
            fs::hard_link(&cached, &phar).or_else(|_| fs::copy(&cached, &phar).map(drop)).expect("wp-cli.phar");
        }
        phar
    }

    /// Runs PHP code inside the loaded WordPress and gives what it prints.
    pub fn php(&self, code: &str) -> String {
        let script = self.dir.join("in-wordpress.php");
        if !script.exists() {
            fs::copy(support_file("in-wordpress.php"), &script).expect("in-wordpress.php");
        }
        let mut command = self.php_command();
        command.arg(script).arg(&self.path).arg(&self.url);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("php");
        child.stdin.take().expect("a pipe").write_all(code.as_bytes()).expect("php reads its code");
        let output = child.wait_with_output().expect("php");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && errors.is_empty(),
            "{code}\nended with {}\n{errors}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout)
        );
        text(&output.stdout)
    }

    /// The same, for code that prints JSON.
    pub fn php_json(&self, code: &str) -> Value {
        let output = self.php(code);
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{code}\nprinted no JSON ({error}): {output}"))
    }

    /// PHP with the site's settings and compiled files of its own, which halves WordPress's start.
    pub fn php_command(&self) -> Command {
        let compiled = self.dir.join("opcache");
        let mut command = match &self.clock {
            Some(clock) => clock.command("php"),
            None => command_as(account::SITE, "php"),
        };
        command.env("HOME", self.dir.path()).current_dir(self.dir.path());
        command.args(["-d", "opcache.enable_cli=1", "-d"]).arg(format!("opcache.file_cache={}", compiled.display()));
        for (name, value) in &self.ini {
            command.arg("-d").arg(format!("{name}={value}"));
        }
        command
    }

    /// Rows as text; NULL is `None`. Tables are named as WordPress does: `wp_options`.
    pub fn sql(&self, query: &str) -> Vec<Vec<Option<String>>> {
        match &self.database {
            Database::MariaDb { server, name } => server.query(name, query),
            Database::Sqlite { file } => sqlite(file, query).unwrap_or_else(|error| panic!("{query}: {error}")),
        }
    }

    /// The first cell of the first row.
    pub fn sql_text(&self, query: &str) -> Option<String> {
        self.sql(query).into_iter().next()?.into_iter().next()?
    }

    pub fn get(&self, path: &str) -> Page {
        self.request("GET", path, &[], "")
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Page {
        assert!(self.certificate.is_none(), "this browser knows no TLS");
        self.try_request(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", super::test_dir::tails_of_logs()))
    }

    /// Where no answer is one, too.
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> std::io::Result<Page> {
        // Of many sites at one address, the name tells which is meant.
        let (_, host) = self.url.split_once("://").expect("an address");
        let has_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let named = [headers, &[("Host", host)][usize::from(has_host)..]].concat();
        http::request(method, &self.address(), path, &named, body.as_ref())
    }

    /// A page of wp-admin, seen by `admin`.
    pub fn get_as_admin(&self, path: &str) -> Page {
        let cookie = self.log_in("admin", "admin");
        self.request("GET", path, &[("Cookie", &cookie)], "")
    }

    /// The cookies of somebody who has logged in.
    pub fn log_in(&self, user: &str, password: &str) -> String {
        let form = [("Content-Type", "application/x-www-form-urlencoded"), ("Cookie", "wordpress_test_cookie=1")];
        let said = format!("log={user}&pwd={password}&testcookie=1");
        let login = self.request("POST", "/wp-login.php", &form, said);
        assert_eq!(login.status, 302, "the login of {user}: {}", login.body);
        login.cookies()
    }

    /// What a page view cost, up to its very end: database queries, and the addresses that it asked.
    pub fn page_cost(&self, path: &str) -> (u64, Vec<String>) {
        self.page_cost_with("", path)
    }

    /// The same for somebody with these cookies.
    pub fn page_cost_with(&self, cookies: &str, path: &str) -> (u64, Vec<String>) {
        let seen = self.counted_pages().len();
        let separator = if path.contains('?') { '&' } else { '?' };
        self.request("GET", &format!("{path}{separator}fx_count=1"), &[("Cookie", cookies)], "");
        let note = wait_for("the count of a page view", secs(10), || self.counted_pages().get(seen).cloned()).note;
        let requests = note["requests"].as_array().expect("requests").iter();
        (
            note["queries"].as_u64().expect("queries"),
            requests.map(|url| url.as_str().expect("a URL").to_owned()).collect(),
        )
    }

    fn counted_pages(&self) -> Vec<Line> {
        self.ledger().0.into_iter().filter(|line| line.at == "PAGE").collect()
    }

    /// The `cron` option as core reads it: timestamp, hook, key, event.
    pub fn cron_array_json(&self) -> Value {
        self.php_json(
            "echo json_encode( (object) _get_cron_array(), JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR );",
        )
    }

    /// The due times of a hook's events, earliest first, as the `cron` option has them now.
    pub fn scheduled(&self, hook: &str) -> Vec<i64> {
        let cron = self.cron_array_json();
        let mut times = Vec::new();
        for (time, hooks) in cron.as_object().expect("a cron array") {
            if let Some(events) = hooks.get(hook).and_then(Value::as_object) {
                times.extend(events.iter().map(|_| time.parse::<i64>().expect("a timestamp")));
            }
        }
        times.sort_unstable();
        times
    }

    /// `wp_schedule_single_event`, `seconds` from now; the timestamp. `arguments` is a JSON list.
    pub fn schedule_in(&self, seconds: i64, hook: &str, arguments: &Value) -> i64 {
        let timestamp = unix_now() + seconds;
        self.schedule(&[(timestamp, hook, arguments.clone())]);
        timestamp
    }

    /// Many single events in one request.
    pub fn schedule(&self, events: &[(i64, &str, Value)]) {
        let list: Vec<Value> = events.iter().map(|(time, hook, args)| json!([time, hook, args])).collect();
        let code = "foreach ( json_decode( base64_decode( '%' ), true ) as $event ) {
            $result = wp_schedule_single_event( $event[0], $event[1], $event[2], true );
            if ( true !== $result ) { throw new Exception( $event[1] . ': ' . $result->get_error_message() ); }
        }";
        self.php(&code.replace('%', &base64(json!(list).to_string().as_bytes())));
    }

    /// `wp_schedule_event` with a schedule's name, first due `seconds` from now.
    pub fn schedule_recurring(&self, seconds: i64, schedule: &str, hook: &str, arguments: &Value) -> i64 {
        let timestamp = unix_now() + seconds;
        self.php(&format!(
            "$result = wp_schedule_event( {timestamp}, '{schedule}', '{hook}', json_decode( base64_decode( '{}' ), true ), true );
            if ( true !== $result ) {{ throw new Exception( $result->get_error_message() ); }}",
            base64(arguments.to_string().as_bytes())
        ));
        timestamp
    }
}

pub fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(now.as_secs()).expect("a clock before the end of time")
}

fn sqlite(file: &std::path::Path, query: &str) -> rusqlite::Result<Vec<Vec<Option<String>>>> {
    let connection = rusqlite::Connection::open(file)?;
    connection.busy_timeout(secs(5))?;
    let mut statement = connection.prepare(query)?;
    let columns = statement.column_count();
    let mut found = Vec::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let cells = (0..columns).map(|column| row.get_ref(column).map(shown));
        found.push(cells.collect::<Result<_, _>>()?);
    }
    Ok(found)
}

fn shown(cell: rusqlite::types::ValueRef) -> Option<String> {
    use rusqlite::types::ValueRef;
    match cell {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// Any text, safely within single quotes of PHP.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            text.push(match place <= chunk.len() {
                true => char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]),
                false => '=',
            });
        }
    }
    text
}
