//! What is wrong with a configuration, shown at its place.

use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level as Shown, Renderer, Snippet};
use serde::Serialize;

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
