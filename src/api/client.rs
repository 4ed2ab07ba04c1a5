//! Asking a runner that is up.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::StatusReply;
use crate::clock;
use crate::config::Config;
use crate::lease::file::control_key;
use crate::outcome::{Stop, exit};
use crate::protocol::signature::{ANSWER_HEADER, HEADER, Message, random_hex};
use crate::text;

const PATIENCE: Duration = Duration::from_secs(3);

/// None where nobody answers there, or somebody else does.
pub async fn status(listen: SocketAddr) -> Option<StatusReply> {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().ok()?;
    let response = client.get(format!("http://{listen}/v1/status")).send().await.ok()?;
    response.error_for_status().ok()?.json().await.ok()
}

/// Whether the runner there looks after a site with this name.
pub async fn looks_after(listen: SocketAddr, site: &str) -> bool {
    let status = status(listen).await;
    status.is_some_and(|status| status.sites.iter().any(|view| view.get("site").is_some_and(|name| name == site)))
}

/// Tells the runner to do something with the site or job of this name, signed with the key in its state directory, and gives its answer. It is waited for as
/// long as it takes: a run may last an hour. None where no runner is up.
pub async fn post(config: &Config, name: &str, path: &str, body: &Value) -> Result<Option<Value>, Stop> {
    let listen = config.runner.listen;
    if status(listen).await.is_none() {
        return Ok(None);
    }
    let key = control_key(&config.runner.state_dir)?;
    let (body, host) = (body.to_string(), listen.to_string());
    let nonce = random_hex::<16>().map_err(|error| Stop::new(exit::UNREACHABLE, error.to_string()))?;
    let message = Message {
        site: name,
        path_and_query: path,
        host: &host,
        ts_ms: clock::now_ms(),
        nonce: &nonce,
        body: body.as_bytes(),
    };
    let lost = |error: reqwest::Error| {
        Stop::new(exit::UNREACHABLE, format!("the runner on {listen} did not answer to the end: {}", causes(&error)))
            .again(crate::outcome::Again::Unsafe)
            .next("`wp-cron-runner history` tells what was done")
    };
    let client = reqwest::Client::builder().no_proxy().connect_timeout(PATIENCE).build().map_err(lost)?;
    let request = client.post(format!("http://{listen}{path}")).header(HEADER, message.sign(&key)).body(body);
    let response = request.send().await.map_err(lost)?;
    let status = response.status();
    let mac = response.headers().get(ANSWER_HEADER).and_then(|mac| mac.to_str().ok()).unwrap_or_default().to_string();
    let bytes = response.bytes().await.map_err(lost)?;
    if !key.is_answer_mac(&nonce, status.as_u16(), &bytes, &mac) {
        return Err(refused(listen, status.as_u16(), &bytes));
    }
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(Some(answer));
    }
    let stop = answer.get("error").and_then(|error| serde_json::from_value::<Stop>(error.clone()).ok());
    Err(stop.filter(|stop| !stop.failed.is_empty()).unwrap_or_else(|| refused(listen, status.as_u16(), &bytes)))
}

fn refused(listen: SocketAddr, status: u16, body: &[u8]) -> Stop {
    let failed = match status {
        401 => format!("the runner on {listen} does not know the key of this state directory"),
        200..=299 => format!("what answers on {listen} is not the runner of this state directory"),
        _ => format!("the runner on {listen} answers HTTP {status}"),
    };
    let found = text::safe_cut(&text::lossy(body), 80);
    Stop::new(exit::CONFIGURATION, failed).found(found).next("does it use the same configuration?")
}

fn causes(error: &reqwest::Error) -> String {
    let source = std::error::Error::source(error);
    text::safe(&source.map_or_else(|| error.to_string(), ToString::to_string))
}
