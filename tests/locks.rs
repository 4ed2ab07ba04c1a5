//! Process locks of every kind, and what servers and hooks do to them.

mod connections;
mod lease_row;
mod left_behind;

use std::fs;

use crate::support::{Site, account};

/// Another line of wp-config.php, before the site's first call.
pub fn reconfigure(site: &Site, constant: &str, value: &str) {
    let file = site.path.join("wp-config.php");
    let text = fs::read_to_string(&file).expect("wp-config.php");
    let changed: Vec<String> = text
        .lines()
        .map(|line| match line.starts_with(&format!("define( '{constant}',")) {
            true => format!("define( '{constant}', '{value}' );"),
            false => line.to_owned(),
        })
        .collect();
    assert!(changed.iter().any(|line| line.contains(value)), "wp-config.php has no {constant}");
    fs::write(&file, changed.join("\n")).expect("wp-config.php");
    account::give_to(account::SITE, &file);
}
