//! The figures, as a table to read and as JSON to compare.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cpu;
use crate::support::Site;

/// What the figures were measured on.
pub fn machine(site: &Site) -> Value {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let versions = site.php_json("echo json_encode( array( PHP_VERSION, $GLOBALS['wp_version'] ) );");
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "cores": cores,
        "cpu": model.unwrap_or("unknown"),
        "php": versions[0],
        "wordpress": versions[1],
        "mariadb": site.sql_text("SELECT VERSION()"),
        "load_before": load.split(' ').next().unwrap_or_default(),
        "quick": super::is_quick(),
        "how_cpu_is_counted": cpu::HOW,
    })
}

/// Prints the table and adds the figures to `target/bench.json`.
pub fn tell(
    name: &str,
    machine: &Value,
    title: &str,
    notes: &[&str],
    header: &[&str],
    rows: &[Vec<String>],
    figures: &Value,
) {
    let word = |key: &str| machine[key].as_str().unwrap_or("?").to_owned();
    println!("\n{title}");
    println!(
        "{} cores ({}), PHP {}, MariaDB {}, WordPress {}; load before: {}",
        machine["cores"],
        word("cpu"),
        word("php"),
        word("mariadb"),
        word("wordpress"),
        word("load_before")
    );
    for note in notes {
        println!("{note}");
    }
    print!("\n{}", table(header, rows));
    let file = file();
    let old = fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let mut all = old.unwrap_or_else(|| json!({}));
    all[name] = json!({ "machine": machine, "figures": figures });
    fs::write(&file, format!("{all:#}\n")).expect("bench.json");
    println!("\nwritten to {}", file.display());
}

/// `target/bench.json`, wherever `target` is.
fn file() -> PathBuf {
    let profile = Path::new(env!("CARGO_BIN_EXE_wp-cron-runner")).parent().expect("target/debug");
    profile.parent().expect("target").join("bench.json")
}

fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<0$}", width(0)),
            _ => format!("{cell:>0$}", width(column)),
        });
        padded.collect::<Vec<_>>().join("  ") + "\n"
    };
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    line(header.to_vec()) + &body.collect::<String>()
}
