//! What is wrong with a configuration, shown at its place.

use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level as Shown, Renderer, Snippet};
use serde::Serialize;

use crate::text;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    /// Legal, and probably not what was wanted.
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub level: Level,
    pub span: Range<usize>,
    /// What failed and what was found.
    pub message: String,
    pub expected: String,
}

/// A configuration that cannot be used: everything that is wrong with it.
#[derive(Debug)]
pub struct Refused {
    pub path: PathBuf,
    pub source: String,
    pub problems: Vec<Problem>,
}

impl Refused {
    /// The file itself could not be read as text.
    pub fn unreadable(path: &Path, message: String, expected: &str) -> Self {
        let problem = Problem { level: Level::Error, span: 0..0, message, expected: expected.to_string() };
        Self { path: path.to_path_buf(), source: String::new(), problems: vec![problem] }
    }

    pub fn place(&self, problem: &Problem) -> String {
        place(&self.path, &self.source, problem)
    }

    pub fn render(&self, styled: bool) -> String {
        render(&self.path, &self.source, &self.problems, styled)
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Refused {}

/// The text with every secret in it covered, byte for byte, so that places stay where they are: the value of a key that is
/// named like a secret, the password of an address, and whatever looks like a site's key.
pub fn conceal(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some((key, value)) = line.split_once('=').filter(|(key, _)| is_named_like_a_secret(key)) {
            let from = start + key.len() + 1;
            cover(&mut bytes, from..from + value.trim_end().len(), |byte| !b" \"'[],".contains(&byte));
        }
        for (at, _) in line.match_indices("://") {
            let rest = line.get(at + 3..).unwrap_or_default();
            // A password of Redis is often in base 64, and a / in it ends the address early where nobody encoded it.
            let scheme = line.get(..at).unwrap_or_default();
            let is_redis = ["redis", "rediss", "sentinel"].iter().any(|end| scheme.ends_with(end));
            let ends: &[char] = if is_redis { &['"', '\'', ' ', '\n'] } else { &['/', '"', '\'', ' ', '\n'] };
            let length = rest.find(ends).unwrap_or(rest.len());
            let user = rest.get(..length).and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
            if let Some((name, password)) = user.and_then(|user| user.split_once(':')) {
                let from = start + at + 3 + name.len() + 1;
                cover(&mut bytes, from..from + password.len(), |_| true);
            }
        }
        start += line.len();
    }
    let mut run = 0;
    for end in 0..=bytes.len() {
        if bytes.get(end).is_some_and(u8::is_ascii_hexdigit) {
            run += 1;
            continue;
        }
        if run >= 32 {
            cover(&mut bytes, end - run..end, |_| true);
        }
        run = 0;
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// The beginning of a value, for a message. Its secrets are covered before it is cut: half an address shows no password as one.
pub fn excerpt(text: &str) -> String {
    text::safe_cut(&conceal(text), 80)
}

fn is_named_like_a_secret(key: &str) -> bool {
    let key = key.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    let is_file = ["_file", "_dir", "path"].iter().any(|end| key.ends_with(end));
    !is_file && ["secret", "passw", "token", "auth", "key", "webhook", "ping"].iter().any(|word| key.contains(word))
}

fn cover(bytes: &mut [u8], range: Range<usize>, is_covered: impl Fn(u8) -> bool) {
    for byte in bytes.get_mut(range).unwrap_or_default() {
        if is_covered(*byte) {
            *byte = b'*';
        }
    }
}

/// `config.toml:12:9`
pub fn place(path: &Path, source: &str, problem: &Problem) -> String {
    if source.is_empty() {
        return path.display().to_string();
    }
    let before = source.get(..problem.span.start).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("{}:{line}:{column}", path.display())
}

/// All problems the way rustc and toml show theirs.
pub fn render(path: &Path, source: &str, problems: &[Problem], styled: bool) -> String {
    let shown_path = path.display().to_string();
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for problem in problems {
        let level = match problem.level {
            Level::Error => Shown::ERROR,
            Level::Warning => Shown::WARNING,
        };
        let title = level.primary_title(&problem.message);
        if source.is_empty() {
            let message = format!("{}: {}; expected {}\n", shown_path, problem.message, problem.expected);
            out.push_str(&message);
            continue;
        }
        let end = problem.span.end.min(source.len());
        let span = problem.span.start.min(end)..end;
        let label = if problem.expected.ends_with('?') {
            problem.expected.clone()
        } else {
            format!("expected {}", problem.expected)
        };
        let snippet = Snippet::source(source)
            .path(&shown_path)
            .annotation(AnnotationKind::Primary.span(first_line(source, span)).label(&label));
        let groups: [Group<'_>; 1] = [title.element(snippet)];
        out.push_str(&renderer.render(&groups));
        out.push('\n');
    }
    out
}

/// A whole table is marked by its heading alone.
fn first_line(source: &str, span: Range<usize>) -> Range<usize> {
    let text = source.get(span.clone()).unwrap_or_default();
    let length = text.find('\n').unwrap_or(text.len());
    span.start..span.start + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_covered_and_nothing_moves() {
        let key = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";
        for (text, expected) in [
            ("secret = \"söcret word\"\n".to_string(), "secret = \"******* ****\"\n".to_string()),
            ("secret_file = \"shop.key\"\n".into(), "secret_file = \"shop.key\"\n".into()),
            ("basic_auth = \"me:pw".into(), "basic_auth = \"*****".into()),
            ("url = \"https://me:p@w@shop.example/@x\"".into(), "url = \"https://me:***@shop.example/@x\"".into()),
            ("url = \"https://shop.example:8080/a@b\"".into(), "url = \"https://shop.example:8080/a@b\"".into()),
            ("url = \"redis://me:pa/ss+w=@r:1/3\"".into(), "url = \"redis://me:********@r:1/3\"".into()),
            (
                "url = \"rediss+sentinel://:p@s/w@a,b/main\"".into(),
                "url = \"rediss+sentinel://:*****@a,b/main\"".into(),
            ),
            (format!("secret_file = \"{key}\""), format!("secret_file = \"{}\"", "*".repeat(64))),
            (format!("name = {key}"), format!("name = {}", "*".repeat(64))),
        ] {
            let covered = conceal(&text);
            assert_eq!(covered, expected);
            assert_eq!(covered.len(), text.len());
        }
    }

    #[test]
    fn a_secret_is_covered_also_where_only_its_beginning_is_shown() {
        let url = format!("https://{}:correct-horse@shop.example", "me".repeat(30));
        let shown = excerpt(&url);
        assert!(shown.ends_with("... (95 bytes)") && !shown.contains("cor"), "{shown}");
    }
}
