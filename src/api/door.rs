//! The door for signed requests: who may come in, and the mark on what he is answered.

#![allow(clippy::result_large_err, reason = "axum's Response is what is sent either way")]

use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::shared::{Server, Shared};
use crate::clock;
use crate::outcome::{Again, Stop, exit};
use crate::protocol::signature::{ANSWER_HEADER, Admitted, HEADER, Message, site_of};

/// The answer, or the refusal in its place.
pub type Reply = Result<Response, Response>;

/// Of a request that says all by its path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmptyBody {}

/// Who asks, and for which site or job.
pub struct Caller {
    pub server: Arc<Server>,
    pub name: String,
    admitted: Admitted,
}

impl Caller {
    /// Marked with the key that the request was signed with.
    pub fn answer(&self, status: StatusCode, value: &impl Serialize) -> Response {
        let body = serde_json::to_vec(value).unwrap_or_default();
        let mac = self.admitted.key.answer_mac(&self.admitted.nonce, status.as_u16(), &body);
        let mac = HeaderValue::from_str(&mac).unwrap_or(HeaderValue::from_static(""));
        let kind = HeaderValue::from_static("application/json");
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        response.headers_mut().insert(ANSWER_HEADER, mac);
        response
    }

    pub fn refuse(&self, status: StatusCode, stop: &Stop) -> Response {
        self.answer(status, &json!({"error": stop}))
    }

    /// The runner ends before it answers.
    pub fn stopping(&self) -> Response {
        let stop = Stop::new(exit::LATER, "the runner is stopping").again(Again::Unsafe);
        let stop = stop.next("`wp-cron-runner history` tells what was done");
        self.refuse(StatusCode::SERVICE_UNAVAILABLE, &stop)
    }
}

/// Checks the signature, then the body. `name`: the site or job that the path speaks of, empty for what concerns all of them; else the
/// header says it.
pub fn admit<T: DeserializeOwned>(
    State(server): &Shared,
    name: Option<&str>,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Caller, T), Response> {
    // One answer for every cause: whoever guesses learns nothing, not even which sites there are.
    let refused = || (StatusCode::UNAUTHORIZED, Json(json!({"error": "E_AUTH"}))).into_response();
    let mut values = headers.get_all(HEADER).iter();
    let header = values.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    if values.next().is_some() {
        return Err(refused());
    }
    let name = name.or_else(|| site_of(header)).unwrap_or_default().to_string();
    let keys = match name.as_str() {
        "" => Vec::new(),
        name => server.loaded.borrow().keys.get(name).cloned().ok_or_else(refused)?,
    };
    let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let path_and_query = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let message = Message { site: &name, path_and_query: &path_and_query, host, ts_ms: 0, nonce: "", body };
    let keys: Vec<_> = keys.into_iter().chain([server.control.clone()]).collect();
    let admitted = {
        let mut doors = server.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.entry(name.clone()).or_default().admits(&keys, header, message, clock::now_ms())
    };
    let caller = Caller { server: server.clone(), name, admitted: admitted.ok_or_else(refused)? };
    match serde_json::from_slice(body) {
        Ok(body) => Ok((caller, body)),
        Err(error) => {
            let stop = Stop::new(exit::USAGE, "the body cannot be read").found(error.to_string()).expected("JSON");
            Err(caller.refuse(StatusCode::BAD_REQUEST, &stop))
        }
    }
}
