//! The server behind `listen`: for this machine only, and only under a name of this machine, so that no web page can
//! reach it through a name that it controls.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::shared::{Server, Shared};
use super::{Runner, Status, signed};
use crate::history::Filter;
use crate::history::sqlite::Reader;
use crate::protocol::LONGEST_BODY;

pub fn router(server: Server) -> Router {
    let server = Arc::new(server);
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/v1/status", get(status))
        .route("/v1/sites/{name}", get(site))
        .route("/v1/sites/{name}/history", get(history))
        .route("/v1/sites/{name}/notice", post(signed::notice))
        .route("/v1/sites/{name}/run", post(signed::run))
        .route("/v1/sites/{name}/pause", post(signed::pause))
        .route("/v1/sites/{name}/resume", post(signed::resume))
        .route("/v1/runs/{id}/{decision}", post(signed::decide))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .layer(middleware::from_fn_with_state(server.clone(), check_host))
        .with_state(server)
}

async fn check_host(State(server): Shared, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_name_of_this_machine(host, server.listen) {
        next.run(request).await
    } else {
        let message = format!("ask for {}; this name is not one of this machine's", server.listen);
        (StatusCode::MISDIRECTED_REQUEST, Json(json!({"error": "E_HOST", "message": message}))).into_response()
    }
}

fn is_name_of_this_machine(host: &str, listen: SocketAddr) -> bool {
    let name = host.strip_suffix(&format!(":{}", listen.port())).unwrap_or(host);
    let ip = name.trim_matches(['[', ']']).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Leases and history usable? Else the reasons, a line each.
async fn ready(State(server): Shared) -> Response {
    let not_ready = server.published.borrow().not_ready.clone();
    match not_ready.is_empty() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", not_ready.join("\n"))).into_response(),
    }
}

async fn status(State(server): Shared) -> Response {
    let configuration = server.loaded.borrow().configuration.clone();
    let runner = Runner { configuration, ..server.runner.clone() };
    let sites = server.published.borrow().sites.clone();
    Json(json!(Status { runner: &runner, sites: &sites })).into_response()
}

async fn site(State(server): Shared, Path(name): Path<String>) -> Response {
    let view = server.published.borrow().sites.iter().find(|view| view.site == name).cloned();
    match view {
        Some(view) => Json(view).into_response(),
        None => unknown(),
    }
}

pub(super) fn unknown() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"error": "E_SITE", "message": "no [[site]] has this name"}))).into_response()
}

#[derive(serde::Deserialize)]
struct HistoryQuery {
    #[serde(default)]
    failed: bool,
    #[serde(default)]
    held: bool,
    #[serde(default = "default_limit")]
    n: usize,
}

fn default_limit() -> usize {
    50
}

async fn history(State(server): Shared, Path(name): Path<String>, Query(query): Query<HistoryQuery>) -> Response {
    if !server.loaded.borrow().sites.contains_key(&name) {
        return unknown();
    }
    let path = server.history_file.clone();
    let filter =
        Filter { site: Some(name), failed: query.failed, held: query.held, since_ms: None, limit: query.n.min(1000) };
    let read = tokio::task::spawn_blocking(move || Reader::open(&path)?.runs(&filter)).await;
    match read {
        Ok(Ok(runs)) => Json(runs).into_response(),
        Ok(Err(error)) => error_response(&error.to_string()),
        Err(error) => error_response(&error.to_string()),
    }
}

fn error_response(message: &str) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": "E_HISTORY", "message": message}))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 9747));
        for (host, expected) in [
            ("127.0.0.1:9747", true),
            ("localhost:9747", true),
            ("LOCALHOST", true),
            ("[::1]:9747", true),
            ("evil.example:9747", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_name_of_this_machine(host, listen), expected, "{host}");
        }
    }
}
