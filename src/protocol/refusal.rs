//! Why the plugin does not do what it is asked.

use serde::Deserialize;

use super::answers::{Owner, maybe_whole};
use crate::outcome::Failure;

/// A correctly signed request that the plugin does not carry out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    pub error: String,
    pub message: Option<String>,
    #[serde(deserialize_with = "maybe_whole")]
    pub server_ms: Option<i64>,
    pub install: Option<String>,
    pub owner: Option<Owner>,
    pub epoch: Option<i64>,
    #[serde(deserialize_with = "maybe_whole")]
    pub expected_ms: Option<i64>,
    pub supported: Option<Vec<i64>>,
    pub state: Option<String>,
    pub outcome: Option<String>,
    pub then: Option<String>,
}

impl Refusal {
    /// `sent_ms`: when the refused request was signed, on this machine's clock.
    pub fn failure(self, sent_ms: i64) -> Failure {
        let message = self.message.unwrap_or_default();
        match self.error.as_str() {
            "E_CLOCK" => Failure::Clock(self.server_ms.map_or(0, |server| server - sent_ms)),
            "stale" => {
                let owner =
                    self.owner.unwrap_or(Owner { id: String::new(), name: "?".into(), expected_ms: None, left: false });
                Failure::Stale {
                    name: owner.name,
                    expected_ms: self.expected_ms.or(owner.expected_ms),
                    epoch: self.epoch,
                }
            }
            "left" => Failure::Left,
            "unknown_epoch" => Failure::UnknownEpoch(self.epoch),
            "wrong_install" => Failure::WrongInstall(self.install.unwrap_or_default()),
            "busy" if message.is_empty() => Failure::Busy("a lock of its database was not free within a second".into()),
            "busy" => Failure::Busy(crate::text::safe_cut(&message, 400)),
            "E_MAINTENANCE" => Failure::Maintenance { retry_after_s: None },
            // It may end with the SQL to run by hand.
            "E_DATABASE" | "E_TABLES" => Failure::Database(crate::text::safe_cut(&message, 4000)),
            "E_CORRUPT" => Failure::Corrupt(crate::text::safe(&message)),
            "E_RUN" => Failure::NoSuchRun,
            "E_HOOK" => Failure::NoSuchHook(message),
            "E_SNAPSHOT" => Failure::State(message),
            "E_STATE" if self.state.is_none() && self.outcome.is_none() => Failure::State(message),
            "E_STATE" => {
                Failure::State(state_sentence(self.state.as_deref(), self.outcome.as_deref(), self.then.as_deref()))
            }
            "E_VERSION" => Failure::Misconfigured(format!(
                "the plugin speaks protocol {:?}, this runner 1; run `wp-cron-runner plugin install SITE` again",
                self.supported.unwrap_or_default()
            )),
            _ => Failure::Refused { code: crate::text::safe_cut(&self.error, 40), message },
        }
    }
}

fn state_sentence(state: Option<&str>, outcome: Option<&str>, then: Option<&str>) -> String {
    match (state.or(outcome), then) {
        (Some("claimed" | "running"), _) => "the run has not ended; it would run twice".to_string(),
        (Some(state), Some(then)) if then != "none" => format!("the run ended `{state}` and was {then} already"),
        (Some(state), _) => format!("the run ended `{state}`"),
        (None, _) => "the run is in another state".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_become_failures() {
        let refusal: Refusal =
            serde_json::from_str(r#"{"error":"stale","owner":{"id":"x","name":"web-2"},"epoch":4,"expected_ms":12}"#)
                .unwrap();
        assert_eq!(refusal.failure(0), Failure::Stale { name: "web-2".into(), expected_ms: Some(12), epoch: Some(4) });
        let refusal: Refusal = serde_json::from_str(r#"{"error":"E_CLOCK","server_ms":100000}"#).unwrap();
        assert_eq!(refusal.failure(30_000), Failure::Clock(70_000));
        let refusal: Refusal = serde_json::from_str(r#"{"error":"E_STATE","state":"running"}"#).unwrap();
        assert!(refusal.failure(0).to_string().contains("twice"));
    }
}
