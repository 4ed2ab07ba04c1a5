//! Crontabs, read as Debian's cron(8) reads them: crontab(5), with what its sources do where the page is silent.
//!
//! Whoever can write a crontab may be hostile to whoever reads it here. Nothing in it is run or expanded; a line that cron
//! would refuse, or that would not do what it seems to say, comes back with the reason.

mod call;
mod fetch;
mod read;
mod shell;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use jiff::tz::TimeZone;

use crate::schedule::Schedule;
use crate::text;

#[allow(unused_imports, reason = "for whoever needs no more than that")]
pub use call::wp_cron;
pub use call::{Call, WpCron, call};
pub use fetch::fetch;
pub use read::{again, is_spooled, of_this_machine, read};
pub use shell::{Part, Redirect, Word, parts};

/// A crontab as it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Crontab {
    pub path: PathBuf,
    /// None: a system table, whose lines have a column with the user.
    pub owner: Option<String>,
    pub text: String,
}

impl Crontab {
    pub fn lines(&self) -> Vec<Line> {
        parse(&self.text, self.owner.is_none())
    }
}

/// One line that starts something.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// From 1.
    pub line: usize,
    /// Five fields with one blank between them, or a nickname.
    pub schedule: String,
    /// Of the column that system tables have.
    pub user: Option<String>,
    /// What the shell is given.
    pub command: String,
    /// What it reads, where the line has a `%`.
    pub input: Option<String>,
    /// The variables above it. Of each name the last one counts.
    pub environment: Vec<(String, String)>,
}

impl Entry {
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    Blank,
    /// Without its `#`.
    Comment(String),
    Variable {
        name: String,
        value: String,
    },
    Entry(Entry),
    /// cron refuses it, or reads it as something that nobody meant.
    Wrong {
        line: usize,
        text: String,
        reason: String,
    },
}

/// One [`Line`] for each line of the text, in order.
pub fn parse(text: &str, is_system: bool) -> Vec<Line> {
    let mut environment: Vec<(String, String)> = Vec::new();
    let ended = text.strip_suffix('\n');
    let all: Vec<&str> = ended.unwrap_or(text).split('\n').collect();
    let mut lines = Vec::with_capacity(all.len());
    for (number, line) in (1..).zip(&all) {
        let is_unended = ended.is_none() && number == all.len();
        let read = match one(line, is_system) {
            Ok(Line::Entry(_) | Line::Variable { .. }) if is_unended => {
                Err("no newline ends it: cron ignores such a line, or the whole file".to_string())
            }
            read => read,
        };
        lines.push(match read {
            Ok(Line::Variable { name, value }) => {
                environment.retain(|(known, _)| *known != name);
                environment.push((name.clone(), value.clone()));
                Line::Variable { name, value }
            }
            Ok(Line::Entry(entry)) => Line::Entry(Entry { line: number, environment: environment.clone(), ..entry }),
            Ok(other) => other,
            Err(reason) => Line::Wrong { line: number, text: (*line).to_string(), reason },
        });
    }
    lines
}

fn one(line: &str, is_system: bool) -> Result<Line, String> {
    let bare = line.trim_start_matches([' ', '\t']);
    if bare.trim_end_matches('\r').is_empty() {
        return Ok(Line::Blank);
    }
    if let Some(comment) = bare.strip_prefix('#') {
        return Ok(Line::Comment(comment.trim().to_string()));
    }
    if bare.ends_with('\r') {
        return Err("it ends with a carriage return, which cron takes as part of the command: \
                    the file was written on Windows, `sed -i 's/\\r$//'` mends it"
            .to_string());
    }
    if let Some(foreign) = bare.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(format!("it holds the control character `{}`", text::safe(&foreign.to_string())));
    }
    match variable(bare) {
        Some((name, _)) if name.is_empty() => Err("a variable without a name".to_string()),
        Some((name, value)) => Ok(Line::Variable { name, value }),
        None => entry(bare, is_system).map(Line::Entry),
    }
}

/// `NAME = value`, each of them in quotes or not. None: cron then takes the line for an entry. An empty value without
/// quotes is cronie's; Debian's cron refuses it.
fn variable(line: &str) -> Option<(String, String)> {
    let (name, rest) = match line.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let (name, rest) = line.get(1..)?.split_once(quote)?;
            (name, rest)
        }
        _ => line.split_at(line.find(|c: char| c.is_ascii_whitespace() || c == '=')?),
    };
    if name.contains('=') {
        return None;
    }
    let value = rest.trim_start_matches(is_blank).strip_prefix('=')?.trim_matches(is_blank);
    let value = match value.chars().next() {
        // Quotes stand around the whole value; what follows them makes it none.
        Some(quote @ ('"' | '\'')) => {
            let (value, after) = value.get(1..)?.split_once(quote)?;
            after.is_empty().then_some(value)?
        }
        _ => value,
    };
    Some((name.to_string(), value.to_string()))
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace()
}

fn entry(line: &str, is_system: bool) -> Result<Entry, String> {
    if line.starts_with('-') {
        return Err("`-` before the minute is SUSE's, for lines that are not logged; expected five fields".to_string());
    }
    let fields = if line.starts_with('@') { 1 } else { 5 };
    let (schedule, mut rest) = words(line, fields);
    let schedule = schedule.join(" ");
    if schedule.starts_with('@') && schedule.contains(|c: char| c.is_ascii_uppercase()) {
        return Err(format!("cron knows `{}` in small letters alone", text::safe_cut(&schedule, 80)));
    }
    Schedule::parse(&schedule, TimeZone::UTC).map_err(|wrong| wrong.to_string())?;
    let mut user = None;
    if is_system {
        let (column, after) = words(rest, 1);
        user = column.first().map(ToString::to_string);
        rest = after;
    }
    if rest.starts_with('*') || user.as_ref().is_some_and(|user| user.starts_with('*')) {
        return Err("it has six fields of time; expected five".to_string());
    }
    if rest.is_empty() {
        let expected = if is_system { "a user and a command" } else { "a command" };
        return Err(format!("nothing follows the times; expected {expected}"));
    }
    let (command, input) = split_at_percent(rest);
    if command.trim().is_empty() {
        return Err("no command stands before the first `%`".to_string());
    }
    Ok(Entry { line: 0, schedule, user, command, input, environment: Vec::new() })
}

/// The first `count` words, and what follows them and their blanks.
fn words(line: &str, count: usize) -> (Vec<&str>, &str) {
    let (mut words, mut rest) = (Vec::new(), line);
    while words.len() < count && !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find([' ', '\t']).unwrap_or(rest.len()));
        words.push(word);
        rest = after.trim_start_matches([' ', '\t']);
    }
    (words, rest)
}

/// The first `%` ends the command, and each further one is a newline of its input. A backslash before it takes that
/// meaning away, and goes; cron takes one of two backslashes as well, in the command alone.
fn split_at_percent(text: &str) -> (String, Option<String>) {
    let mut command = String::with_capacity(text.len());
    let mut characters = text.chars();
    let mut is_escaped = false;
    while let Some(c) = characters.next() {
        match c {
            '%' if !is_escaped => return (command, input(characters.as_str())),
            '%' | '\\' if is_escaped => {
                command.pop();
                command.push(c);
                is_escaped = false;
            }
            _ => {
                command.push(c);
                is_escaped = !is_escaped && c == '\\';
            }
        }
    }
    (command, None)
}

/// Always whole lines: cron adds the last newline.
fn input(text: &str) -> Option<String> {
    let mut input = String::with_capacity(text.len() + 1);
    let mut is_escaped = false;
    for c in text.chars() {
        let meant = match c {
            '%' if !is_escaped => '\n',
            _ => c,
        };
        if is_escaped && c != '%' {
            input.push('\\');
        }
        is_escaped = c == '\\';
        if !is_escaped {
            input.push(meant);
        }
    }
    if is_escaped {
        input.push('\\');
    }
    if !input.is_empty() && !input.ends_with('\n') {
        input.push('\n');
    }
    (!input.is_empty()).then_some(input)
}
