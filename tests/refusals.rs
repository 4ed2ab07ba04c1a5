//! What is refused, and how: what failed, what was found and expected, where, whether to try again, and what to do next; the
//! same in words and with `--json`. Nothing is changed by it, and no secret is told.

mod calls;
mod commands;
mod configuration;
mod jobs;
mod redis;

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::runner::Said;

/// The JSON of a refusal, once it is sure that it has all its parts.
pub fn refused(said: &Said) -> Value {
    let error = said.json()["error"].clone();
    for part in ["failed", "found", "expected", "place", "next"] {
        assert!(error[part].as_str().is_some_and(|text| !text.is_empty()), "`{part}` is missing: {said:?}");
    }
    assert!(["safe", "useless", "unsafe"].contains(&error["again"].as_str().unwrap_or_default()), "{said:?}");
    assert_eq!(error["code"], said.code(), "{said:?}");
    assert_eq!(said.stderr, "", "who reads JSON reads it in one place");
    error
}

/// What a terminal would act on, apart from line ends.
pub fn is_steering(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

pub fn said(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Said {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
