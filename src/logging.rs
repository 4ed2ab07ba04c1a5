//! What the runner says of itself: text on a terminal, in a pipe and in a file; under systemd records of the journal, with `SITE`,
//! `RUN`, `JOB` and `HOOK` to look for; or JSON, one object a line.
//!
//! Nothing that a site's code chose is obeyed by whoever reads: every part is escaped here, whatever was escaped before.

mod journal;

use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write as _};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock;
use crate::outcome::{Stop, exit};
use crate::text;
use journal::Journal;

const LEVEL: &str = "WP_CRON_RUNNER_LOG";
const FORM: &str = "WP_CRON_RUNNER_LOG_FORMAT";
const FORMS: [&str; 3] = ["text", "json", "journald"];
/// Of one line of a message, and of one field.
const LONGEST: usize = 8192;
const MOST_LINES: usize = 200;

/// `usual`: what is told where nobody has chosen a level.
///
/// # Errors
/// Another level or form than there are.
pub fn start(usual: LevelFilter) -> Result<(), Stop> {
    let level = match std::env::var(LEVEL).ok().filter(|word| !word.is_empty()) {
        None => usual,
        Some(word) => word.parse().map_err(|_| {
            Stop::new(exit::USAGE, format!("{LEVEL} names no level of the log"))
                .found(format!("\"{}\"", text::safe_cut(&word, 80)))
                .expected("off, error, warn, info, debug or trace")
                .next(format!("leave {LEVEL} out: info for the daemon, warn for commands"))
        })?,
    };
    let form = form()?;
    // Only tests have begun before.
    let _ = tracing_subscriber::registry().with(level).with(Log { form }).try_init();
    Ok(())
}

fn form() -> Result<Form, Stop> {
    let chosen = std::env::var_os(FORM).filter(|word| !word.is_empty());
    match chosen.as_ref().map(|word| word.to_string_lossy()).as_deref() {
        None if journal::is_stderr() => Ok(Form::Journal(Journal::default())),
        None | Some("text") => Ok(Form::Text { has_colour: has_colour() }),
        Some("json") => Ok(Form::Json),
        Some("journald") => Ok(Form::Journal(Journal::default())),
        Some(other) => Err(Stop::new(exit::USAGE, format!("{FORM} names no form of the log"))
            .found(format!("\"{}\"", text::safe_cut(other, 80)))
            .expected(FORMS.join(", "))
            .next(format!("leave {FORM} out: the journal's form under systemd, else text"))),
    }
}

fn has_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[derive(Debug)]
enum Form {
    Text { has_colour: bool },
    Json,
    Journal(Journal),
}

struct Log {
    form: Form,
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut said = Said { level: *event.metadata().level(), message: String::new(), fields: Vec::new() };
        event.record(&mut said);
        let line = match &self.form {
            Form::Text { has_colour } => said.as_text(&now(), *has_colour),
            Form::Json => said.as_json(&now()),
            Form::Journal(journal) if journal.takes(&said) => return,
            Form::Journal(_) => said.as_text(&now(), false),
        };
        // On a terminal a command may say there what it is at.
        let is_shared = !matches!(self.form, Form::Json) && std::io::stderr().is_terminal();
        let before = if is_shared { "\r\u{1b}[K" } else { "" };
        // Where nobody reads, there is nobody to tell.
        let _ = std::io::stderr().write_all(format!("{before}{line}").as_bytes());
    }
}

fn now() -> String {
    clock::rfc3339(clock::now_ms())
}

/// One event, with nothing in it that anybody would obey. The message may have several lines.
struct Said {
    level: Level,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Said {
    fn note(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => {
                let all: Vec<&str> = value.trim_end().split('\n').collect();
                let mut lines: Vec<String> =
                    all.iter().take(MOST_LINES).map(|line| text::safe_cut(line, LONGEST)).collect();
                if all.len() > MOST_LINES {
                    lines.push(format!("... ({} lines)", all.len()));
                }
                self.message = lines.join("\n");
            }
            name => self.fields.push((name, text::safe_cut(value, LONGEST))),
        }
    }

    /// A line of its own is set in, so that it looks like none of the log's.
    fn as_text(&self, time: &str, has_colour: bool) -> String {
        let (dim, plain) = if has_colour { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
        let colour = match self.level {
            _ if !has_colour => "",
            Level::ERROR => "\u{1b}[31m",
            Level::WARN => "\u{1b}[33m",
            _ => "\u{1b}[32m",
        };
        let message = self.message.replace('\n', "\n  ");
        let mut line = format!("{dim}{time}{plain} {colour}{:>5}{plain} {message}", self.level.as_str());
        // The message begins with it.
        for (name, value) in self.fields.iter().filter(|(name, _)| *name != "hook") {
            let _ = write!(line, " {dim}{name}={plain}\"{value}\"");
        }
        line + "\n"
    }

    fn as_json(&self, time: &str) -> String {
        let mut object = Map::new();
        object.insert("time".into(), json!(time));
        object.insert("level".into(), json!(self.level.as_str().to_ascii_lowercase()));
        object.insert("message".into(), json!(self.message));
        object.extend(self.fields.iter().map(|(name, value)| ((*name).to_string(), json!(value))));
        text::safe_json(&Value::Object(object).to_string()) + "\n"
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests;
