//! One shape for everything that is refused, whether a command, a call or the configuration: what failed, what was found and
//! expected, whether it is safe to try again, and what to do next.

use serde::{Deserialize, Serialize};

use super::Failure;
use crate::text;

/// Exit codes, as sysexits.h has them where it has them.
pub mod exit {
    pub const FINE: u8 = 0;
    /// A run failed, or a check did.
    pub const FAILED: u8 = 1;
    pub const USAGE: u8 = 2;
    /// Something cannot be reached.
    pub const UNREACHABLE: u8 = 69;
    /// Safe to try again later.
    pub const LATER: u8 = 75;
    pub const CONFIGURATION: u8 = 78;
}

/// What the same request would do once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Again {
    Safe,
    /// It would be refused for the same reason.
    Useless,
    /// It could run something twice.
    Unsafe,
}

impl Again {
    fn sentence(self) -> &'static str {
        match self {
            Self::Safe => "trying again is safe",
            Self::Useless => "trying again as it is changes nothing",
            Self::Unsafe => "trying again is not safe: it could run twice",
        }
    }
}

/// A command that could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(default)]
pub struct Stop {
    /// The exit code.
    pub code: u8,
    pub failed: String,
    /// The value that was found, escaped and cut.
    pub found: Option<Box<str>>,
    pub expected: Option<Box<str>>,
    /// File, line and column; or a site; or a run.
    pub place: Option<Box<str>>,
    pub again: Again,
    pub next: Option<Box<str>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self::new(exit::FAILED, "")
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.failed)?;
        if self.failed.contains('\n') {
            // Shown at its places, with what was found and expected there.
            out.write_str("\n")?;
        } else {
            if let Some(found) = &self.found {
                write!(out, ": {found}")?;
            }
            if let Some(expected) = &self.expected {
                write!(out, "; expected {expected}")?;
            }
            out.write_str("; ")?;
        }
        out.write_str(self.again.sentence())?;
        match &self.next {
            Some(next) => write!(out, "; {next}"),
            None => Ok(()),
        }
    }
}

impl Stop {
    /// What a code stands for says whether to try again, until somebody says otherwise.
    pub fn new(code: u8, failed: impl Into<String>) -> Self {
        let again = match code {
            exit::UNREACHABLE | exit::LATER => Again::Safe,
            _ => Again::Useless,
        };
        Self { code, failed: failed.into(), found: None, expected: None, place: None, again, next: None }
    }

    pub fn site(site: &str, failure: &Failure) -> Self {
        let sentence = format!("site `{site}` {failure}");
        let found = failure.found().filter(|found| sentence.ends_with(&format!(": {found}")));
        let what = found.as_ref().and_then(|found| sentence.strip_suffix(&format!(": {found}")));
        let mut stop = Self::new(failure.code(), what.unwrap_or(&sentence));
        stop.found = found.map(String::into_boxed_str);
        stop.at(format!("site {site}")).expected(failure.expected()).again(failure.again()).next(failure.advice())
    }

    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into().into_boxed_str());
        self
    }

    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into().into_boxed_str());
        self
    }

    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into().into_boxed_str());
        self
    }

    pub fn again(mut self, again: Again) -> Self {
        self.again = again;
        self
    }

    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into().into_boxed_str());
        self
    }
}

impl Failure {
    pub fn code(&self) -> u8 {
        match self {
            Self::NotReached(_) | Self::TimedOut(_) | Self::Unclear(_) | Self::ServerError(_) | Self::Database(_) => {
                exit::UNREACHABLE
            }
            Self::QueueFull
            | Self::Busy(_)
            | Self::Maintenance { .. }
            | Self::Stale { .. }
            | Self::UnknownEpoch(_)
            | Self::Left
            | Self::Stopping => exit::LATER,
            Self::Misconfigured(_) | Self::WrongInstall(_) | Self::Clock(_) | Self::Refused { .. } => {
                exit::CONFIGURATION
            }
            Self::Corrupt(_) | Self::NoSuchRun | Self::NoSuchHook(_) | Self::NotStarted(_) | Self::State(_) => {
                exit::FAILED
            }
        }
    }

    /// What was found, where the sentence ends with it.
    fn found(&self) -> Option<String> {
        match self {
            Self::NotReached(found)
            | Self::ServerError(found)
            | Self::Misconfigured(found)
            | Self::Database(found)
            | Self::State(found) => Some(found.clone()),
            Self::NoSuchHook(hook) => Some(format!("\"{}\"", text::safe_cut(hook, 80))),
            Self::Refused { message, .. } => Some(text::safe(message)).filter(|found| !found.is_empty()),
            _ => None,
        }
    }

    pub fn expected(&self) -> &'static str {
        match self {
            Self::NotReached(_) => "somebody who answers there",
            Self::QueueFull => "a free php-fpm worker",
            Self::Unclear(_) | Self::TimedOut(_) => "an answer to its end",
            Self::ServerError(_) | Self::Misconfigured(_) | Self::Refused { .. } => "a signed answer of the plugin",
            Self::Maintenance { .. } => "a site that is not being updated",
            Self::Clock(_) => "clocks that agree to a few seconds",
            Self::Stale { .. } => "no other runner at this site",
            Self::UnknownEpoch(_) => "the epoch that the site issued last",
            Self::Left | Self::Stopping => "a runner that looks after the site",
            Self::NotStarted(_) => "a site that may start something now",
            Self::WrongInstall(_) => "the install that was pinned",
            Self::Busy(_) => "a free lock, or a free connection",
            Self::Database(_) => "a database that works, with the plugin's tables",
            Self::Corrupt(_) => "a serialized array",
            Self::NoSuchRun => "the id of a run in its journal",
            Self::NoSuchHook(_) => "a hook that has a scheduled event",
            Self::State(_) => "a run that has ended, did not end well, and was not decided about before",
        }
    }

    pub fn again(&self) -> Again {
        match self {
            Self::NoSuchRun | Self::NoSuchHook(_) | Self::Misconfigured(_) | Self::WrongInstall(_) => Again::Useless,
            Self::Clock(_) | Self::Refused { .. } | Self::Corrupt(_) => Again::Useless,
            Self::State(_) => Again::Unsafe,
            _ => Again::Safe,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_told_once() {
        let stop = Stop::site("shop", &Failure::State("the run ended `ok`".into()));
        assert_eq!(
            (stop.failed.as_str(), stop.found.as_deref(), stop.again),
            ("site `shop` refused", Some("the run ended `ok`"), Again::Unsafe)
        );
        assert!(stop.to_string().starts_with("site `shop` refused: the run ended `ok`; expected a run that"), "{stop}");
        let stop = Stop::site("shop", &Failure::NoSuchHook("wc_x".into()));
        assert!(
            stop.to_string().contains("no event of the hook that was asked for: \"wc_x\"; expected a hook that"),
            "{stop}"
        );
        let stop = Stop::new(exit::CONFIGURATION, "one\ntwo").expected("three").next("`check`");
        assert_eq!(stop.to_string(), "one\ntwo\ntrying again as it is changes nothing; `check`");
    }

    #[test]
    fn a_stop_has_one_shape_in_words_and_in_json() {
        let stop = Stop::new(exit::USAGE, "no such zone")
            .found("\"Mars/X\"")
            .expected("an IANA name")
            .at("--timezone")
            .next("see `timedatectl list-timezones`");
        assert_eq!(
            stop.to_string(),
            "no such zone: \"Mars/X\"; expected an IANA name; trying again as it is changes nothing; see `timedatectl list-timezones`"
        );
        let json = serde_json::to_value(&stop).unwrap();
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["again", "code", "expected", "failed", "found", "next", "place"]);
        assert_eq!(serde_json::from_value::<Stop>(json).unwrap(), stop);
    }
}
