//! `deploy`: a mark in the history, so that what comes after it can be told from what was before.

use serde_json::{Value, json};

use super::control::write_as_runner;
use super::peers::Peers;
use super::{Stop, exit, print, print_json};
use crate::api::client;
use crate::clock;
use crate::config::Config;
use crate::history::Deploy;
use crate::text;

/// Through the runner where one is up; else into its state directory, and to Redis where the hosts share one.
pub async fn deploy(config: &Config, note: &str, json: bool) -> Result<u8, Stop> {
    if note.trim().is_empty() || note.len() > Deploy::LONGEST_NOTE {
        return Err(Stop::new(exit::USAGE, "this is no note")
            .found(format!("\"{}\"", text::safe_cut(note, 80)))
            .expected(format!("what was deployed, in 1 to {} bytes", Deploy::LONGEST_NOTE))
            .next("such as `wp-cron-runner deploy \"shop 4.2\"`"));
    }
    let answer = match client::post(config, "", "/v1/deploy", &json!({"note": note})).await? {
        Some(answer) => answer,
        None => without_runner(config, note).await?,
    };
    if let Some(trouble) = answer.get("trouble").and_then(Value::as_str) {
        tracing::warn!("{}; only this host knows of the deployment", text::safe(trouble));
    }
    if json {
        print_json(&answer)?;
    } else {
        let next = "`wp-cron-runner status --since deploy` says what changed";
        print(&format!("deployment \"{}\" is marked; {next}\n", text::safe(note)))?;
    }
    Ok(exit::FINE)
}

async fn without_runner(config: &Config, note: &str) -> Result<Value, Stop> {
    let deploy = Deploy { at_ms: clock::now_ms(), note: text::safe(note), host: config.runner.name.clone() };
    write_as_runner(config, |history| history.mark(deploy.clone())).await?;
    let trouble = match Peers::of(config) {
        Some(peers) => peers.history.mark_deploy(&deploy).await.err().map(|trouble| trouble.to_string()),
        None => None,
    };
    Ok(json!({"deploy": deploy, "trouble": trouble}))
}
