//! To one destination, once.

use std::process::Stdio;
use std::time::Duration;

use reqwest::Url;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::message::{Message, News, Told};
use crate::config::{Ping, To};
use crate::outward;
use crate::text;

/// For one answer, and for one program.
const PATIENCE: Duration = Duration::from_secs(15);

/// Of pings, what was taken is in `message` no more.
///
/// # Errors
/// Why it was not taken, without the address; what was tried in vain has one trial more.
pub async fn send(to: &To, message: &mut Message) -> Result<(), String> {
    let sent = match to {
        To::Webhook(url) => post(url, message).await,
        To::Command(words) => run(words, message).await,
        To::Ping(ping) => return tell_all(ping, message).await,
    };
    if sent.is_err() {
        message.news.iter_mut().for_each(|news| news.trials += 1);
    }
    sent
}

async fn post(url: &Url, message: &Message) -> Result<(), String> {
    let client = outward::client(PATIENCE).map_err(|error| outward::causes(&error))?;
    taken(client.post(url.clone()).json(&message.json())).await
}

/// In the order in which things happened: where one was not taken, what came later of the same hook or job waits for it.
async fn tell_all(ping: &Ping, message: &mut Message) -> Result<(), String> {
    let mut first = Ok(());
    let mut not_taken: Vec<News> = Vec::new();
    let mut index = 0;
    while let Some(news) = message.news.get_mut(index) {
        let url = match news.ping {
            Some(Told::Start) => &ping.start,
            Some(Told::Success) => &ping.success,
            Some(Told::Fail) => &ping.fail,
            None => &None,
        };
        let told = match url {
            _ if not_taken.iter().any(|other| other.is_of_same(news)) => {
                index += 1;
                continue;
            }
            Some(url) => get(url).await,
            None => Ok(()),
        };
        if told.is_ok() {
            message.news.remove(index);
        } else {
            news.trials += 1;
            not_taken.push(news.clone());
            index += 1;
        }
        first = first.and(told);
    }
    first
}

async fn get(url: &Url) -> Result<(), String> {
    let client = outward::client(PATIENCE).map_err(|error| outward::causes(&error))?;
    taken(client.get(url.clone())).await
}

async fn taken(request: reqwest::RequestBuilder) -> Result<(), String> {
    let response = request.send().await.map_err(|error| outward::causes(&error.without_url()))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let body = response.bytes().await.unwrap_or_default();
    let said = text::safe_cut(&text::lossy(body.get(..200).unwrap_or(&body)), 200);
    Err(format!("HTTP {status}{}{said}", if said.is_empty() { "" } else { ": " }))
}

/// The message is its stdin, as JSON; no word of it is an argument.
async fn run(words: &[String], message: &Message) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("no program is named")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    let input = message.json().to_string();
    let work = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read is none the worse for that.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("it ended with {status}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not end within {} s, and was ended", PATIENCE.as_secs())),
    }
}
