//! `alert test`: does every destination take a message?

use serde_json::json;

use super::{Stop, exit, print, print_json};
use crate::alerts::{Message, send};
use crate::config::{Config, To};

/// To each in turn; what one does not take keeps none of the others from theirs.
pub async fn test(config: &Config, json: bool) -> Result<u8, Stop> {
    if config.alerts.is_empty() {
        return Err(Stop::new(exit::CONFIGURATION, "nobody is to be told of anything")
            .found("no [[alert]]")
            .expected("at least one")
            .at(config.path.display().to_string())
            .next("see [[alert]] in the README, or in config/full.toml"));
    }
    let (mut lines, mut list, mut code) = (String::new(), Vec::new(), exit::FINE);
    for alert in &config.alerts {
        let sent = send(&alert.to, &mut Message::test(&config.runner.name)).await;
        let shown = alert.to.shown();
        let what = if matches!(alert.to, To::Ping(_)) { "was told of a success" } else { "took the message" };
        lines += &match &sent {
            Ok(()) => format!("ok    {shown} {what}\n"),
            Err(why) => format!("FAIL  {shown} did not take it: {why}\n"),
        };
        list.push(json!({"alert": shown, "ok": sent.is_ok(), "error": sent.as_ref().err()}));
        if sent.is_err() {
            code = exit::UNREACHABLE;
        }
    }
    if json {
        print_json(&list)?;
    } else {
        print(&lines).map(drop)?;
    }
    Ok(code)
}
