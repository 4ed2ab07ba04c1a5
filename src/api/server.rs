//! The server behind `listen`: for this machine only, and only under a name of this machine, so that no web page can
//! reach it through a name that it controls.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::shared::{Server, Shared};
use super::{Runner, Status, metrics, reads, signed};
use crate::history::{Filter, RunRecord};
use crate::protocol::{Error, LONGEST_BODY};
use crate::scheduler::Published;
use crate::site::View;

const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Serves until it is dropped. Not by axum's own loop, which cannot be told two things: a client that has closed its half (a page
/// that sends a notice and does not wait) is answered all the same, and one that never ends its head is not waited for.
pub async fn serve(listener: TcpListener, server: Server) {
    let router = router(server);
    let mut trouble = None;
    loop {
        let connection = match listener.accept().await {
            Ok((connection, _)) => {
                trouble = None;
                connection
            }
            Err(error) => {
                // Out of files, most likely: whoever holds them lets go sooner or later.
                if trouble.replace(error.kind()) != Some(error.kind()) {
                    tracing::warn!("cannot accept a connection: {error}; it is tried again each second");
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.half_close(true).timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
            if let Err(error) = http.serve_connection(TokioIo::new(connection), service).await {
                tracing::debug!("a connection ended early: {error}");
            }
        });
    }
}

pub fn router(server: Server) -> Router {
    let server = Arc::new(server);
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/status", get(status))
        .route("/v1/sites/{name}", get(site))
        .route("/v1/sites/{name}/history", get(history).post(reads::history))
        .route("/v1/sites/{name}/view", post(reads::view))
        .route("/v1/sites/{name}/summary", post(reads::numbers))
        .route("/v1/sites/{name}/notice", post(signed::notice))
        .route("/v1/sites/{name}/run", post(signed::run))
        .route("/v1/sites/{name}/pause", post(signed::pause))
        .route("/v1/sites/{name}/resume", post(signed::resume))
        .route("/v1/jobs/{name}", get(job))
        .route("/v1/jobs/{name}/history", get(history))
        .route("/v1/jobs/{name}/run", post(signed::run))
        .route("/v1/jobs/{name}/pause", post(signed::pause))
        .route("/v1/jobs/{name}/resume", post(signed::resume))
        .route("/v1/runs/{id}/{decision}", post(signed::decide))
        .route("/v1/deploy", post(signed::deploy))
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

/// The runner as it is at this moment.
pub fn runner_now(server: &Server) -> Runner {
    let configuration = server.loaded.borrow().configuration.clone();
    let Published { not_ready, redis, .. } = server.published.borrow().clone();
    let mut redis = redis.map(|redis| json!(redis));
    if let (Some(Value::Object(redis)), Some(shared)) = (&mut redis, &server.shared) {
        redis.insert("history_trouble".into(), json!(shared.trouble()));
        redis.insert("unreadable_runs".into(), json!(shared.unreadable()));
    }
    Runner { configuration, not_ready, redis, ..server.runner.clone() }
}

async fn status(State(server): Shared) -> Response {
    let Published { sites, jobs, .. } = server.published.borrow().clone();
    let runner = runner_now(&server);
    let sites = as_their_runners_see_them(&server, sites).await;
    Json(json!(Status { runner: &runner, sites: &sites, jobs: &jobs })).into_response()
}

async fn site(State(server): Shared, Path(name): Path<String>) -> Response {
    view_of(&server, &name).await.map_or_else(unknown, |view| Json(view).into_response())
}

pub async fn view_of(server: &Server, name: &str) -> Option<Value> {
    let view = server.published.borrow().sites.iter().find(|view| view.site == name).cloned()?;
    as_their_runners_see_them(server, vec![view]).await.pop()
}

async fn job(State(server): Shared, Path(name): Path<String>) -> Response {
    let view = server.published.borrow().jobs.iter().find(|view| view.job == name).cloned();
    view.map_or_else(unknown, |view| Json(view).into_response())
}

/// Of a site that another runner looks after, its word is better than ours.
async fn as_their_runners_see_them(server: &Server, sites: Vec<View>) -> Vec<Value> {
    let theirs: Vec<&str> = sites.iter().filter(|view| is_theirs(view)).map(|view| view.site.as_str()).collect();
    let is_there = server.published.borrow().redis.as_ref().is_some_and(|redis| redis.state == "ok");
    let told = match server.shared.as_ref().filter(|_| is_there) {
        Some(shared) => shared.facts(&theirs, "view").await.unwrap_or_default(),
        None => Vec::new(),
    };
    let mut told = told.into_iter();
    let view = |view: &View| {
        let told = if is_theirs(view) { told.next().flatten() } else { None };
        let told = told.and_then(|json| serde_json::from_str::<Value>(&json).ok());
        told.filter(|told| told.get("runner").and_then(Value::as_str) == view.runner.as_deref())
            .unwrap_or_else(|| json!(view))
    };
    sites.iter().map(view).collect()
}

fn is_theirs(view: &View) -> bool {
    !view.is_ours && view.runner.is_some()
}

pub(super) fn unknown() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"error": "E_SITE", "message": "no [[site]] and no [[job]] has this name"})))
        .into_response()
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

/// Every process of this machine may ask here. What an event printed, and where its code lies, is in the state directory, for
/// those who may read that.
fn without_words(run: RunRecord) -> RunRecord {
    let error = run.error.map(|error| Error { message: error.message, ..Error::default() });
    RunRecord { output: None, error, ..run }
}

async fn history(State(server): Shared, Path(name): Path<String>, Query(query): Query<HistoryQuery>) -> Response {
    if !server.loaded.borrow().keys.contains_key(&name) {
        return unknown();
    }
    let (failed, held, limit) = (query.failed, query.held, query.n.min(1000));
    match reads::runs(&server, &Filter { site: Some(name), failed, held, limit, ..Filter::default() }).await {
        Ok(runs) => Json(runs.into_iter().map(without_words).collect::<Vec<_>>()).into_response(),
        Err(message) => {
            let error = Json(json!({"error": "E_HISTORY", "message": message}));
            (StatusCode::INTERNAL_SERVER_ERROR, error).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::shared::Loaded;
    use crate::protocol::signature::Key;
    use crate::scheduler::orders::Order;
    use std::collections::HashMap;
    use std::sync::Weak;

    const KEY: &str = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";

    fn keys(folder: &std::path::Path) -> HashMap<String, Vec<Key>> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(folder.join("shop.key"), KEY).unwrap();
        std::fs::set_permissions(folder.join("shop.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let text = "[[site]]\nname = \"shop\"\nurl = \"https://shop.example\"\n";
        std::fs::write(folder.join("config.toml"), text).unwrap();
        let config = crate::config::read(&folder.join("config.toml"), crate::config::Secrets::Needed).unwrap();
        config.sites.iter().map(|site| (site.name.clone(), site.keys.clone())).collect()
    }

    fn signed_notice(listen: SocketAddr) -> String {
        let (body, path, host) = ("{\"next\":5}", "/v1/sites/shop/notice", listen.to_string());
        let nonce = crate::protocol::signature::random_hex::<16>().unwrap();
        let message = crate::protocol::signature::Message {
            site: "shop",
            path_and_query: path,
            host: &host,
            ts_ms: crate::clock::now_ms(),
            nonce: &nonce,
            body: body.as_bytes(),
        };
        let signature = message.sign(&Key::from_hex(KEY).unwrap());
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nX-WP-Cron-Runner: {signature}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_sends_a_notice_and_hangs_up_at_once_is_heard() {
        use tokio::io::AsyncWriteExt;
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let (orders, mut heard) = tokio::sync::mpsc::channel(1000);
        let (_loaded, loaded) = tokio::sync::watch::channel(Loaded { keys: keys(folder.path()), ..Loaded::default() });
        let (_published, published) = tokio::sync::watch::channel(crate::scheduler::Published::default());
        let runner = Runner {
            name: "r".into(),
            version: String::new(),
            state: "running".into(),
            pid: None,
            since: None,
            listen: listen.to_string(),
            configuration: super::super::Configuration::default(),
            not_ready: Vec::new(),
            redis: None,
        };
        let control = Key::from_hex(&KEY.replace('0', "7")).unwrap();
        let history_file = folder.path().join("history.sqlite");
        let doors = std::sync::Mutex::default();
        let metrics = Arc::new(crate::metrics::Metrics::new(0));
        let sources = metrics::Sources { metrics, alerts: Arc::default() };
        tokio::spawn(serve(
            listener,
            Server {
                runner,
                listen,
                control,
                loaded,
                published,
                orders,
                history: Weak::new(),
                history_file,
                shared: None,
                doors,
                sources,
            },
        ));
        for _ in 0..200 {
            let mut connection = tokio::net::TcpStream::connect(listen).await.unwrap();
            connection.write_all(signed_notice(listen).as_bytes()).await.unwrap();
            drop(connection);
        }
        for number in 0..200 {
            let order = tokio::time::timeout(Duration::from_secs(5), heard.recv()).await;
            assert!(matches!(order, Ok(Some(Order::Notice { .. }))), "notice {number}: {order:?}");
        }
    }

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
