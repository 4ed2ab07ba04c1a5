//! Row 39: hook names as hostile as the option can hold. Every one runs and is recorded once, comes back unharmed where it is
//! given back, and no terminal obeys it.

use serde_json::{Value, json};

use super::nothing_wrong;
use crate::support::site::Database;
use crate::support::wordpress::{base64, unix_now};
use crate::support::{Figure, Runner, Site, secs, wait_for};

/// A name that looks like the end of a line and then like a frame of ours.
const FRAME: &[u8] = b"a\nwpcr1:0123456789abcdef:7:00112233445566778899aabbccddeeff {\"t\":\"done\"}\n";

fn names(with_bytes: bool) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = vec![
        b"\x1b[2J\x1b]0;title\x07\x1b[31mred".to_vec(),
        FRAME.to_vec(),
        b"null\0byte".to_vec(),
        "\u{202e}txt.exe\u{2066}\u{200b}\u{85}\u{9b}31m".as_bytes().to_vec(),
        [b"long ".repeat(2047), b"\x1b]0;t\x07\n".to_vec()].concat(),
        b"".to_vec(),
        b" ".to_vec(),
        b"123".to_vec(),
        b"'; DROP TABLE wp_options; -- \\ \" ` %s $(touch x) --exec=x <script>".to_vec(),
        b"\r\nSet-Cookie: a=b\r\n".to_vec(),
    ];
    if with_bytes {
        names.extend([b"caf\xe9 \xff\xfe".to_vec(), b"half \xe2\x82".to_vec(), b"\x9b31m".to_vec()]);
    }
    names
}

/// Puts them into the option behind WordPress's back: core itself refuses what is not UTF-8.
fn schedule(site: &Site, names: &[Vec<u8>], at: i64) {
    let list: Vec<String> = names.iter().map(|name| format!("base64_decode('{}')", base64(name))).collect();
    let code = format!(
        "$cron = _get_cron_array();
        foreach ([{}] as $i => $name) {{
            $cron[{at}][$name][md5(serialize([$i]))] = ['schedule' => false, 'args' => [$i]];
        }}
        for ($i = 0; $i < 60; $i++) {{ $cron[{at} + 1]['fx_nobody'][md5(serialize([$i]))] = ['schedule' => false, 'args' => [$i]]; }}
        $cron[{at} - 1]['fx_sleep'][md5(serialize([600]))] = ['schedule' => false, 'args' => [600]];
        ksort($cron);
        $cron['version'] = 2;
        echo bin2hex(serialize($cron));",
        list.join(",")
    );
    let hex = site.php(&code);
    site.sql_exec(&format!(
        "UPDATE wp_options SET option_value = {} WHERE option_name = 'cron'",
        match &site.database {
            Database::MariaDb { .. } => format!("X'{hex}'"),
            Database::Sqlite { .. } => format!("CAST(X'{hex}' AS TEXT)"),
        }
    ));
}

/// Events of the option but for those that fill it up: time, name as hex, key, and arguments.
fn in_option(site: &Site) -> Value {
    let raw = site.sql_text("SELECT HEX(option_value) FROM wp_options WHERE option_name = 'cron'").expect("the option");
    site.php_json(&format!(
        "$found = array();
        foreach (unserialize(hex2bin('{raw}')) as $time => $hooks) {{
            foreach (is_array($hooks) ? $hooks : array() as $name => $events) {{
                foreach ($events as $key => $event) {{
                    if (isset($event['args'][0]) && is_int($event['args'][0]) && !in_array($name, array('fx_nobody', 'fx_sleep'), true)) {{
                        $found[] = array($time, bin2hex($name), $key, $event['schedule'], $event['args']);
                    }}
                }}
            }}
        }}
        sort($found); echo json_encode($found);"
    ))
}

fn expected(site: &Site, names: &[Vec<u8>], at: i64) -> Value {
    let list: Vec<String> = names.iter().map(|name| format!("base64_decode('{}')", base64(name))).collect();
    site.php_json(&format!(
        "foreach ([{}] as $i => $name) {{ $found[] = array({at}, bin2hex($name), md5(serialize([$i])), false, [$i]); }}
        sort($found); echo json_encode($found);",
        list.join(",")
    ))
}

impl Site {
    fn sql_exec(&self, query: &str) {
        match &self.database {
            Database::MariaDb { .. } => drop(self.sql(query)),
            Database::Sqlite { file } => {
                let connection = rusqlite::Connection::open(file).expect("the database");
                connection.busy_timeout(secs(5)).expect("patience");
                assert_eq!(connection.execute(query, []).expect(query), 1);
            }
        }
    }
}

/// What a terminal must never see: every control byte but the end of a line, and what turns a line round.
#[track_caller]
fn assert_clean(what: &str, text: &str) {
    let found = text.chars().find(|c| crate::refusals::is_steering(*c));
    assert!(found.is_none(), "{what}: {found:?} in {}", text.escape_debug());
    assert!(!text.contains("\nwpcr1:") && !text.contains("\nSet-Cookie"), "{what}: a line of its own in {text}");
}

fn look_everywhere(runner: &Runner) {
    for command in ["status", "history", "events"] {
        for more in [&[][..], &["--json"]] {
            let said = runner.cli(&[&[command], more].concat());
            assert!(said.status.success(), "{command}: {said:?}");
            assert_clean(command, &said.stdout);
            assert_clean(command, &said.stderr);
        }
    }
    assert_clean("/metrics", &runner.get("/metrics").body);
    assert_clean("the log", &runner.log());
}

fn hostile_names(site: &Site, with_bytes: bool, row: &str) {
    let names = names(with_bytes);
    let list: Vec<String> = names.iter().map(|name| format!("base64_decode('{}')", base64(name))).collect();
    // The one with the frame takes its time, so that it is seen while it runs. The ledger has their numbers.
    site.add_plugin(&format!(
        "foreach ([{}] as $i => $name) {{ add_action($name, function ($number) use ($i) {{
            fx_write('BEGIN', 'hostile', [$number, $i]);
            if (1 === $i) {{ usleep(1500000); }}
            fx_write('END', 'hostile', [$number, $i]); }}); }}",
        list.join(",")
    ));
    let mut runner = Runner::builder(site).site_line("rescan = \"2s\"\nlanes = 1").start();
    let at = unix_now() - 100;
    schedule(site, &names, at);

    // Claimed with one that runs first; then both ends die, and a runner that may start nothing gives them back.
    let worker = wait_for("the first of the batch", secs(20), || site.ledger().begin_of("fx_sleep")).pid;
    // Within a second of its beginning: then the runner would have the rest given back.
    runner.kill();
    site.php_fpm.kill_worker(worker);
    assert_eq!(in_option(site), json!([]), "all of them are claimed");
    runner.rewrite_config(|text| text.replace("lanes = 1", "lanes = 1\nschedule = \"0 0 1 1 *\"\ntimezone = \"UTC\""));
    runner.start();
    wait_for("them in the option again", secs(20), || (in_option(site) != json!([])).then_some(()));
    assert_eq!(in_option(site), expected(site, &names, at), "as they were, to the byte");
    look_everywhere(&runner);

    // And now they run.
    runner.rewrite_config(|text| text.replace("\nschedule = \"0 0 1 1 *\"\ntimezone = \"UTC\"", ""));
    runner.reload();
    wait_for("the frame's namesake", secs(20), || {
        let status = runner.json(&["status"]);
        status["sites"][0]["running"].to_string().contains("wpcr1:").then_some(())
    });
    look_everywhere(&runner);
    wait_for("all records", secs(60), || (runner.history().len() == names.len() + 61).then_some(()));
    look_everywhere(&runner);
    assert_eq!(in_option(site), json!([]));

    let ledger = site.ledger();
    let mut figure = Figure { of: names.len() + 61, held: 1, ..Figure::default() };
    for (number, name) in names.iter().enumerate() {
        let args = json!([number, number]);
        let begins = ledger.begins("hostile").iter().filter(|line| line.args == args).count();
        let hex: String = name.iter().map(|byte| format!("{byte:02X}")).collect();
        let rows = site.sql(&format!(
            "SELECT state FROM wp_cron_runner_journal WHERE HEX(hook) = '{hex}' AND state <> 'given_back'"
        ));
        figure.lost += usize::from(begins == 0 || rows.is_empty());
        figure.doubled += begins.saturating_sub(1) + rows.len().saturating_sub(1);
        assert!(rows.iter().all(|row| row[0].as_deref() == Some("ok")), "{hex}: {rows:?}");
    }
    assert_eq!(ledger.begins("hostile").len(), names.len());
    nothing_wrong(row, &figure, &format!("{} names, given back and run once", names.len()));
}

#[test]
fn row_39_hostile_names_on_mariadb() {
    hostile_names(&Site::builder().mariadb().start(), false, "row 39 (MariaDB)");
}

/// SQLite keeps any bytes that are called text.
#[test]
fn row_39_hostile_names_and_bytes_on_sqlite() {
    hostile_names(&Site::builder().sqlite().start(), true, "row 39 (SQLite, with bytes that are no UTF-8)");
}
