//! Whose crontab it is, and what stands where his lines point. A line may name any path: it is looked at with the rights
//! of the line's user, not with root's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::web_server::address_of;
use crate::commands::{crontab, owner};

pub use crate::config::{User as Account, account};

/// What is known of a WordPress without asking PHP.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Where wp-config.php says it in plain words, or else the web server's configuration.
    pub url: Option<String>,
    pub is_by_web_server: bool,
    /// Whose files they are.
    pub owner: String,
}

/// The WordPress in this folder. None: there is none, or this user may not look.
pub fn wordpress(path: &Path, as_whom: &Account) -> Option<Found> {
    let look = || {
        let owner = fs::metadata(path.join("wp-load.php"))?.uid();
        let config = [path.join("wp-config.php"), path.join("../wp-config.php")];
        let text = config.iter().find_map(|file| crontab::read(file, None).ok());
        Ok((owner, text))
    };
    let (owner, text) = owner::as_user(as_whom.uid, as_whom.gid, look).ok()?;
    let written = text.and_then(|config| home_in(&config.text));
    let is_by_web_server = written.is_none();
    let url = written.or_else(|| address_of(path, Path::new("/etc")));
    Some(Found { url, is_by_web_server, owner: owner::name(owner) })
}

/// `define( 'WP_HOME', 'https://shop.example' );`, which WordPress believes before its database.
fn home_in(config: &str) -> Option<String> {
    let value = |constant: &str| {
        config.lines().find_map(|line| {
            let inside: String = line
                .trim_start_matches("<?php")
                .trim_start()
                .strip_prefix("define")?
                .trim_start()
                .strip_prefix('(')?
                .to_string();
            let mut quoted = inside.split(['\'', '"']);
            let (name, between, value, after) =
                (quoted.nth(1)?, quoted.next()?, quoted.next()?, quoted.next().unwrap_or_default());
            let is_plain = between.trim() == "," && after.trim_start().starts_with(')') && !value.contains('$');
            (name == constant && is_plain && value.contains("://")).then(|| value.trim_end_matches('/').to_string())
        })
    };
    value("WP_HOME").or_else(|| value("WP_SITEURL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_where_it_is_written_in_plain_words() {
        for (line, expected) in [
            ("define( 'WP_HOME', 'https://shop.example' );", Some("https://shop.example")),
            ("<?php define( 'WP_HOME', 'https://shop.example' );", Some("https://shop.example")),
            ("define('WP_HOME','https://shop.example/');", Some("https://shop.example")),
            ("  define(\"WP_SITEURL\", \"http://a.example/wp\"); // x", Some("http://a.example/wp")),
            (
                "define( 'WP_SITEURL', 'https://a.example/wp' );\ndefine( 'WP_HOME', 'https://a.example' );",
                Some("https://a.example"),
            ),
            ("// define( 'WP_HOME', 'https://shop.example' );", None),
            ("define( 'WP_HOME', 'https://' . $_SERVER['HTTP_HOST'] );", None),
            ("define( 'WP_HOME', \"https://$host\" );", None),
            ("define( 'WP_HOME', getenv('WP_HOME') );", None),
            ("define( 'DB_NAME', 'https://shop.example' );", None),
        ] {
            assert_eq!(home_in(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn an_account_is_one_of_this_machine() {
        let root = account("root").expect("root");
        assert_eq!((root.uid, root.name.as_str()), (0, "root"));
        for name in ["", "0", "-x", "no such", "nobody-at-all-here"] {
            assert_eq!(account(name), None, "{name}");
        }
    }
}
