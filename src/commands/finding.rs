//! What `check` and `doctor` print: one line a check.

use serde::Serialize;

use super::{Stop, exit, print, print_json};
use crate::text;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
pub struct Finding {
    pub check: String,
    pub level: Judgement,
    pub found: String,
    pub expected: String,
    pub fix: String,
    #[serde(skip)]
    pub code: u8,
}

impl Finding {
    pub fn new(check: impl Into<String>, level: Judgement, found: impl Into<String>) -> Self {
        let code = if level == Judgement::Fail { exit::CONFIGURATION } else { exit::FINE };
        Self { check: check.into(), level, found: found.into(), expected: String::new(), fix: String::new(), code }
    }

    pub fn expecting(mut self, expected: impl Into<String>, fix: impl Into<String>) -> Self {
        self.expected = expected.into();
        self.fix = fix.into();
        self
    }
}

pub fn show(findings: &[Finding], json: bool) -> Result<(), Stop> {
    if json {
        return print_json(&findings);
    }
    print(&findings.iter().map(line).collect::<String>()).map(drop)
}

fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Judgement::Ok => "ok  ",
        Judgement::Warn => "warn",
        Judgement::Fail => "FAIL",
    };
    let mut line = format!("{level}  {}: {}", finding.check, text::safe_cut(&finding.found, 5000));
    for (word, text) in [("expected", &finding.expected), ("do", &finding.fix)] {
        if !text.is_empty() {
            line += &format!("; {word}: {}", text::safe_cut(text, 5000));
        }
    }
    line + "\n"
}
