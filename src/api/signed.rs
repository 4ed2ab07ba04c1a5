//! What changes something: signed, by the site's own key (its plugin, for that site alone) or by the key in the state
//! directory (the command line).

#![allow(clippy::result_large_err, reason = "axum's Response is what is sent either way")]

use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::oneshot;

use super::shared::{Server, Shared};
use crate::clock;
use crate::outcome::{Again, Failure, Stop, exit};
use crate::protocol::Notice;
use crate::protocol::signature::{HEADER, Message, site_of};
use crate::run_site::decide::Decision;
use crate::scheduler::orders::{Answer, Order};
use crate::text;

/// The answer, or the refusal in its place.
type Reply = Result<Response, Response>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunBody {
    hook: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseBody {
    until_ms: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmptyBody {}

pub async fn notice(shared: Shared, Path(name): Path<String>, uri: Uri, headers: HeaderMap, body: Bytes) -> Reply {
    let admitted = admit::<Notice>(&shared, Some(&name), &uri, &headers, &body);
    let (server, _, notice) = admitted.inspect_err(|_| shared.sources.metrics.notice_refused())?;
    // A full queue loses a notice, not an event: the rescan finds it.
    let _ = server.orders.try_send(Order::Notice { site: name, notice });
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub async fn run(shared: Shared, Path(name): Path<String>, uri: Uri, headers: HeaderMap, body: Bytes) -> Reply {
    let (server, site, body) = admit::<RunBody>(&shared, Some(&name), &uri, &headers, &body)?;
    let order = |answer| Order::Run { site: site.clone(), hook: body.hook, answer };
    Ok(answer(&site, order_and_wait(&server, order).await))
}

pub async fn pause(shared: Shared, Path(name): Path<String>, uri: Uri, headers: HeaderMap, body: Bytes) -> Reply {
    let (server, site, body) = admit::<PauseBody>(&shared, Some(&name), &uri, &headers, &body)?;
    if body.until_ms.is_some_and(|until| until <= clock::now_ms()) {
        let stop = Stop::new(exit::USAGE, "`until_ms` is not ahead").expected("unix milliseconds of a time to come");
        return Err(refuse(StatusCode::BAD_REQUEST, &stop));
    }
    let order = |answer| Order::Pause { site: site.clone(), until: body.until_ms, answer };
    Ok(answer(&site, order_and_wait(&server, order).await))
}

pub async fn resume(shared: Shared, Path(name): Path<String>, uri: Uri, headers: HeaderMap, body: Bytes) -> Reply {
    let (server, site, _) = admit::<EmptyBody>(&shared, Some(&name), &uri, &headers, &body)?;
    Ok(answer(&site, order_and_wait(&server, |answer| Order::Resume { site: site.clone(), answer }).await))
}

pub async fn decide(
    shared: Shared,
    Path((run, word)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let (server, site, _) = admit::<EmptyBody>(&shared, None, &uri, &headers, &body)?;
    let Some(decision) = Decision::from_word(&word) else {
        let found = format!("\"{}\"", text::safe_cut(&word, 80));
        let stop = Stop::new(exit::USAGE, "nothing of that name can be done with a run").found(found);
        return Err(refuse(StatusCode::NOT_FOUND, &stop.expected("requeue or drop")));
    };
    // A ULID, as the plugin makes them.
    if run.len() != 26 || !run.chars().all(|c| c.is_ascii_alphanumeric()) {
        let found = format!("\"{}\"", text::safe_cut(&run, 80));
        let stop = Stop::new(exit::USAGE, "this is no run id").found(found).expected("26 letters and digits");
        return Err(refuse(StatusCode::BAD_REQUEST, &stop.next("`wp-cron-runner history` shows run ids")));
    }
    Ok(answer(
        &site,
        order_and_wait(&server, |answer| Order::Decide { site: site.clone(), run, decision, answer }).await,
    ))
}

/// Checks the signature, then the body. `name`: the site or job that the path speaks of; else the header says it.
fn admit<T: DeserializeOwned>(
    State(server): &Shared,
    name: Option<&str>,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Arc<Server>, String, T), Response> {
    // One answer for every cause: whoever guesses learns nothing, not even which sites there are.
    let refused = || (StatusCode::UNAUTHORIZED, Json(json!({"error": "E_AUTH"}))).into_response();
    let mut values = headers.get_all(HEADER).iter();
    let header = values.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    if values.next().is_some() {
        return Err(refused());
    }
    let name = name.or_else(|| site_of(header)).unwrap_or_default().to_string();
    let Some(keys) = server.loaded.borrow().keys.get(&name).cloned() else { return Err(refused()) };
    let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let path_and_query = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let message = Message { site: &name, path_and_query: &path_and_query, host, ts_ms: 0, nonce: "", body };
    let keys: Vec<_> = keys.into_iter().chain([server.control.clone()]).collect();
    let is_admitted = {
        let mut doors = server.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.entry(name.clone()).or_default().admits(&keys, header, message, clock::now_ms())
    };
    if !is_admitted {
        return Err(refused());
    }
    match serde_json::from_slice(body) {
        Ok(body) => Ok((server.clone(), name, body)),
        Err(error) => {
            let stop = Stop::new(exit::USAGE, "the body cannot be read").found(error.to_string()).expected("JSON");
            Err(refuse(StatusCode::BAD_REQUEST, &stop))
        }
    }
}

/// None where the runner ends before it answers.
async fn order_and_wait<T>(server: &Server, order: impl FnOnce(Answer<T>) -> Order) -> Option<Result<T, Failure>> {
    let (sender, receiver) = oneshot::channel();
    server.orders.send(order(sender)).await.ok()?;
    receiver.await.ok()
}

fn answer<T: serde::Serialize>(site: &str, answered: Option<Result<T, Failure>>) -> Response {
    match answered {
        Some(Ok(value)) => Json(value).into_response(),
        Some(Err(failure)) => refuse(status_of(&failure), &Stop::site(site, &failure)),
        None => {
            let stop = Stop::new(exit::LATER, "the runner is stopping").again(Again::Unsafe);
            let stop = stop.next("`wp-cron-runner history` tells what was done");
            refuse(StatusCode::SERVICE_UNAVAILABLE, &stop)
        }
    }
}

fn status_of(failure: &Failure) -> StatusCode {
    match failure {
        Failure::NoSuchRun | Failure::NoSuchHook(_) => StatusCode::NOT_FOUND,
        Failure::State(_) | Failure::NotStarted(_) | Failure::Stale { .. } => StatusCode::CONFLICT,
        Failure::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    }
}

fn refuse(status: StatusCode, stop: &Stop) -> Response {
    (status, Json(json!({"error": stop}))).into_response()
}
