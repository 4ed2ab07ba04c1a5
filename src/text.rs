//! Hostile text made safe to read. Hook names, outputs and error messages come from a site's code; a terminal or a log
//! line must show them, never obey them.

use std::fmt::Write as _;

/// The longest name or message that one log line or one table cell carries.
pub const LONGEST: usize = 256;

/// `text` with everything escaped that a terminal would act on, cut at [`LONGEST`] bytes.
pub fn safe(text: &str) -> String {
    safe_cut(text, LONGEST)
}

/// Like [`safe`], cut at `longest` bytes; what is missing is counted.
pub fn safe_cut(text: &str, longest: usize) -> String {
    let mut out = String::with_capacity(text.len().min(longest));
    for (at, character) in text.char_indices() {
        let before = out.len();
        push_safe(&mut out, character);
        if out.len() > longest {
            out.truncate(before);
            let _ = write!(out, "... ({} bytes)", text.len());
            debug_assert!(at < text.len());
            break;
        }
    }
    out
}

fn push_safe(out: &mut String, character: char) {
    match character {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_steering(c) => {
            let code = u32::from(c);
            let _ = if code < 0x80 { write!(out, "\\x{code:02X}") } else { write!(out, "\\u{{{code:x}}}") };
        }
        c => out.push(c),
    }
}

/// C0 and C1 controls, and the characters that turn the direction of a line round or hide in it.
fn is_steering(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// JSON that a terminal may show: serde leaves C1 controls and what turns the direction of a line as they are.
pub fn safe_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if u32::from(character) > 0x7e && is_steering(character) {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// Bytes as text: what is valid UTF-8 stays, every other byte becomes `\xHH`.
pub fn lossy(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
    out
}

/// The nearest of `known`, if it is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| {
            let is_beginning = word.len() > 2 && candidate.starts_with(word);
            is_beginning || *distance <= candidate.len().max(word.len()) / 3 + 1
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let cost = (diagonal + usize::from(x != *y)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            *cell = cost;
            left = cost;
        }
    }
    row.last().copied().unwrap_or(0)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A shell-like pattern: `*` stands for anything, `?` for one character.
pub fn matches_glob(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || name.get(n) == Some(c) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((star_p, star_n)) => {
                    star = Some((star_p, star_n + 1));
                    p = star_p + 1;
                    n = star_n + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_never_obeys_a_hook_name() {
        assert_eq!(safe("a\u{1b}[31mred\n\0\u{202e}x\u{85}"), "a\\x1B[31mred\\n\\x00\\u{202e}x\\u{85}");
        assert_eq!(safe("wöchentlich ☃"), "wöchentlich ☃");
        let long = safe(&"x".repeat(10_000));
        assert!(long.ends_with("... (10000 bytes)") && long.len() < 300, "{long}");
    }

    #[test]
    fn json_says_the_same_with_nothing_to_obey() {
        let value = serde_json::json!("a\u{7f}\u{9b}31m \u{202e}ö\u{2028}");
        let safe = safe_json(&value.to_string());
        assert_eq!(safe, "\"a\\u007f\\u009b31m \\u202eö\\u2028\"");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_as_hex() {
        assert_eq!(lossy(b"ok \xff\xfe \xc3\xa9"), "ok \\xFF\\xFE é");
    }

    #[test]
    fn a_misspelt_key_finds_its_neighbour() {
        assert_eq!(nearest("timout", &["timeout", "trigger", "lanes"]), Some("timeout"));
        assert_eq!(nearest("secret", &["timeout", "secret_file"]), Some("secret_file"));
        assert_eq!(nearest("zzz", &["timeout", "trigger", "lanes"]), None);
    }

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("wc_*", "wc_import", true),
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("w?_x", "wc_x", true),
            ("wc_import", "wc_imports", false),
        ] {
            assert_eq!(matches_glob(pattern, name), expected, "{pattern} {name}");
        }
    }
}
