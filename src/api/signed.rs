//! What changes something: signed, by the site's own key (its plugin, for that site alone) or by the key in the state
//! directory (the command line).

#![allow(clippy::result_large_err, reason = "axum's Response is what is sent either way")]

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot;

use super::door::{Caller, EmptyBody, Reply, admit};
use super::shared::{Server, Shared};
use crate::clock;
use crate::history::Deploy;
use crate::outcome::{Again, Failure, Stop, exit};
use crate::protocol::{Notice, Only};
use crate::run_site::decide::Decision;
use crate::scheduler::orders::{Answer, Order};
use crate::text;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunBody {
    hook: Option<String>,
    key: Option<String>,
    due_at: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseBody {
    until_ms: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeployBody {
    note: String,
}

pub async fn notice(shared: Shared, Path(name): Path<String>, uri: Uri, headers: HeaderMap, body: Bytes) -> Reply {
    let admitted = admit::<Notice>(&shared, Some(&name), &uri, &headers, &body);
    let (caller, notice) = admitted.inspect_err(|_| shared.sources.metrics.notice_refused())?;
    // A full queue loses a notice, not an event: the rescan finds it.
    let _ = caller.server.orders.try_send(Order::Notice { site: name, notice });
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub async fn run(shared: Shared, Path(name): Path<String>, uri: Uri, headers: HeaderMap, body: Bytes) -> Reply {
    let (caller, body) = admit::<RunBody>(&shared, Some(&name), &uri, &headers, &body)?;
    if body.hook.is_none() && (body.key.is_some() || body.due_at.is_some()) {
        let stop = Stop::new(exit::USAGE, "`key` and `due_at` say which events of a hook, and no hook was named");
        return Err(caller.refuse(StatusCode::BAD_REQUEST, &stop.expected("`hook` as well")));
    }
    let only = body.hook.map(|hook| Only { hook, key: body.key, due_at: body.due_at });
    Ok(order(&caller, |answer| Order::Run { site: caller.name.clone(), only, answer }).await)
}

pub async fn pause(shared: Shared, Path(name): Path<String>, uri: Uri, headers: HeaderMap, body: Bytes) -> Reply {
    let (caller, body) = admit::<PauseBody>(&shared, Some(&name), &uri, &headers, &body)?;
    if body.until_ms.is_some_and(|until| until <= clock::now_ms()) {
        let stop = Stop::new(exit::USAGE, "`until_ms` is not ahead").expected("unix milliseconds of a time to come");
        return Err(caller.refuse(StatusCode::BAD_REQUEST, &stop));
    }
    Ok(order(&caller, |answer| Order::Pause { site: caller.name.clone(), until: body.until_ms, answer }).await)
}

pub async fn resume(shared: Shared, Path(name): Path<String>, uri: Uri, headers: HeaderMap, body: Bytes) -> Reply {
    let (caller, _) = admit::<EmptyBody>(&shared, Some(&name), &uri, &headers, &body)?;
    Ok(order(&caller, |answer| Order::Resume { site: caller.name.clone(), answer }).await)
}

pub async fn decide(
    shared: Shared,
    Path((run, word)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let (caller, _) = admit::<EmptyBody>(&shared, None, &uri, &headers, &body)?;
    let Some(decision) = Decision::from_word(&word) else {
        let found = format!("\"{}\"", text::safe_cut(&word, 80));
        let stop = Stop::new(exit::USAGE, "nothing of that name can be done with a run").found(found);
        return Err(caller.refuse(StatusCode::NOT_FOUND, &stop.expected("requeue or drop")));
    };
    // A ULID, as the plugin makes them.
    if run.len() != 26 || !run.chars().all(|c| c.is_ascii_alphanumeric()) {
        let found = format!("\"{}\"", text::safe_cut(&run, 80));
        let stop = Stop::new(exit::USAGE, "this is no run id").found(found).expected("26 letters and digits");
        return Err(caller.refuse(StatusCode::BAD_REQUEST, &stop.next("`wp-cron-runner history` shows run ids")));
    }
    Ok(order(&caller, |answer| Order::Decide { site: caller.name.clone(), run, decision, answer }).await)
}

/// A deployment concerns all sites: only the command line marks one.
pub async fn deploy(shared: Shared, uri: Uri, headers: HeaderMap, body: Bytes) -> Reply {
    let (caller, body) = admit::<DeployBody>(&shared, Some(""), &uri, &headers, &body)?;
    let server = &caller.server;
    let note = text::safe_cut(&body.note, Deploy::LONGEST_NOTE);
    let deploy = Deploy { at_ms: clock::now_ms(), note, host: server.runner.name.clone() };
    let Some(history) = server.history.upgrade() else { return Err(caller.stopping()) };
    history.mark(deploy.clone());
    if let Err(trouble) = history.written_soon().await {
        let stop = Stop::new(exit::LATER, "the deployment is not marked yet").found(trouble).again(Again::Useless);
        return Err(caller.refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            &stop.next("it is written by itself once there is room in the state directory"),
        ));
    }
    tracing::info!("deployment: {}", deploy.note);
    let trouble = match &server.shared {
        Some(shared) => shared.mark_deploy(&deploy).await.err().map(|trouble| trouble.to_string()),
        None => None,
    };
    Ok(caller.answer(StatusCode::OK, &json!({"deploy": deploy, "trouble": trouble})))
}

/// Hands an order to the scheduler and answers when it is done.
async fn order<T: Serialize>(caller: &Caller, order: impl FnOnce(Answer<T>) -> Order) -> Response {
    match order_and_wait(&caller.server, order).await {
        Some(Ok(value)) => caller.answer(StatusCode::OK, &value),
        Some(Err(failure)) => caller.refuse(status_of(&failure), &Stop::site(&caller.name, &failure)),
        None => caller.stopping(),
    }
}

/// None where the runner ends before it answers.
async fn order_and_wait<T>(server: &Arc<Server>, order: impl FnOnce(Answer<T>) -> Order) -> Option<Result<T, Failure>> {
    let (sender, receiver) = oneshot::channel();
    server.orders.send(order(sender)).await.ok()?;
    receiver.await.ok()
}

fn status_of(failure: &Failure) -> StatusCode {
    match failure {
        Failure::NoSuchRun | Failure::NoSuchHook(_) => StatusCode::NOT_FOUND,
        Failure::State(_) | Failure::NotStarted(_) | Failure::Stale { .. } => StatusCode::CONFLICT,
        Failure::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    }
}
