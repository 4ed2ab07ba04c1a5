//! TOML as text: names, strings, comments. What comes from a crontab is never obeyed by a terminal, nor by the parser.

use std::collections::HashSet;

use crate::text;

/// The longest original line that a comment shows.
const LONGEST: usize = 2000;
/// Of a name.
const LONGEST_NAME: usize = 64;

/// A basic string: what JSON escapes, TOML reads the same way.
pub fn quoted(value: &str) -> String {
    text::safe_json(&serde_json::Value::from(value).to_string())
}

pub fn list(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    format!("[{}]", values.join(", "))
}

/// One line, whatever is in it.
pub fn line(comment: &str) -> String {
    format!("{}\n", text::safe_cut(comment, LONGEST))
}

/// The names that are taken, of sites and jobs alike.
#[derive(Debug, Clone, Default)]
pub struct Names(pub HashSet<String>);

impl Names {
    /// A name made of what the thing is called: `a-z 0-9 _ -`, with a number where it is taken.
    pub fn unique(&mut self, wanted: &str) -> String {
        let mut name = String::new();
        for c in wanted.to_ascii_lowercase().chars() {
            match c {
                'a'..='z' | '0'..='9' | '_' => name.push(c),
                _ if name.ends_with('-') || name.is_empty() => {}
                _ => name.push('-'),
            }
        }
        name.truncate(LONGEST_NAME - 5);
        let name = match name.trim_end_matches('-') {
            "" => "job",
            name => name,
        };
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.to_string()).chain(numbered).find(|name| !self.0.contains(name));
        let free = free.unwrap_or_default();
        self.0.insert(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_survives_and_a_terminal_obeys_nothing() {
        for value in ["", "a\"b\\c'd", "\u{7f}\u{1b}[31m\u{9b}", "\u{202e}evil", "ö ☃ 🦀", "\n\t\r\u{8}\u{c}"] {
            let text = format!("x = {}", quoted(value));
            assert!(!text.contains(char::is_control) && !text.contains('\u{202e}'), "{text}");
            let read: toml::Table = text.parse().expect(&text);
            assert_eq!(read["x"].as_str(), Some(value), "{text}");
        }
    }

    #[test]
    fn names_are_valid_and_their_own() {
        let mut names = Names::default();
        let made: Vec<String> =
            ["backup.sh", "backup.sh", "Ünï cödé", "", "-", "a//b/"].iter().map(|name| names.unique(name)).collect();
        assert_eq!(made, ["backup-sh", "backup-sh-2", "n-c-d", "job", "job-2", "a-b"]);
        assert!(names.unique(&"x".repeat(500)).len() <= 64);
        assert!(names.unique(&"x".repeat(500)).len() <= 64);
    }
}
