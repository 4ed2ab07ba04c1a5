//! The server behind `listen`: for this machine only, and only under a name of this machine, so that no web page can
//! reach it through a name that it controls.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::{Runner, Status};
use crate::clock;
use crate::config::Site;
use crate::history::Filter;
use crate::history::sqlite::Reader;
use crate::protocol::signature::{Door, HEADER, Message};
use crate::protocol::{LONGEST_BODY, Notice};
use crate::site::View;

pub struct Server {
    pub runner: Runner,
    pub listen: SocketAddr,
    pub sites: HashMap<String, Arc<Site>>,
    pub views: watch::Receiver<Vec<View>>,
    pub notices: mpsc::Sender<(String, Notice)>,
    pub history_file: PathBuf,
    pub doors: Mutex<HashMap<String, Door>>,
}

type Shared = State<Arc<Server>>;

pub fn router(server: Server) -> Router {
    let server = Arc::new(server);
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/v1/status", get(status))
        .route("/v1/sites/{name}", get(site))
        .route("/v1/sites/{name}/history", get(history))
        .route("/v1/sites/{name}/notice", post(notice))
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

async fn status(State(server): Shared) -> Response {
    let sites = server.views.borrow().clone();
    Json(json!(Status { runner: &server.runner, sites: &sites })).into_response()
}

async fn site(State(server): Shared, Path(name): Path<String>) -> Response {
    let view = server.views.borrow().iter().find(|view| view.site == name).cloned();
    match view {
        Some(view) => Json(view).into_response(),
        None => unknown(),
    }
}

fn unknown() -> Response {
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
    if !server.sites.contains_key(&name) {
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

async fn notice(State(server): Shared, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    // One answer for every cause: whoever guesses learns nothing, not even which sites there are.
    let refused = (StatusCode::UNAUTHORIZED, Json(json!({"error": "E_AUTH"}))).into_response();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(site) = server.sites.get(&name) else { return refused };
    let path_and_query = format!("/v1/sites/{name}/notice");
    let message = Message {
        site: &name,
        path_and_query: &path_and_query,
        host: header("host"),
        ts_ms: 0,
        nonce: "",
        body: &body,
    };
    let is_admitted = {
        let mut doors = server.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let door = doors.entry(name.clone()).or_default();
        door.admits(&site.keys, header(HEADER), message, clock::now_ms())
    };
    if !is_admitted {
        return refused;
    }
    let Ok(notice) = serde_json::from_slice::<Notice>(&body) else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "E_BAD"}))).into_response();
    };
    // A full queue loses a notice, not an event: the rescan finds it.
    let _ = server.notices.try_send((name, notice));
    StatusCode::NO_CONTENT.into_response()
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
