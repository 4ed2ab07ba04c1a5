//! What the plugin shows: signed as well, for it has more than every process of this machine may read, the output of a run
//! above all. Each site reads its own.

#![allow(clippy::result_large_err, reason = "axum's Response is what is sent either way")]

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::door::{Caller, EmptyBody, Reply, admit};
use super::server::{runner_now, view_of};
use super::shared::{Server, Shared};
use crate::clock;
use crate::history::sqlite::{self, Reader};
use crate::history::summary::{Point, Summary, summary};
use crate::history::{Deploy, Filter, RunRecord};
use crate::outcome::{Outcome, Stop, Then, exit};
use crate::scheduler::JobView;

const MOST_RUNS: usize = 500;
/// Of all hosts' runs a summary has the newest; each hundred cost Redis a question.
const MOST_SHARED: usize = 20_000;
const MOST_MARKS: usize = 50;
/// The whole of a day and of a week, and no more than is kept anyway.
const LONGEST_MS: i64 = 31 * 86_400_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SummaryBody {
    since_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryBody {
    hook: Option<String>,
    /// An outcome, or `bad`: neither ok nor skipped.
    outcome: Option<String>,
    /// `held`.
    then: Option<String>,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    run: Option<String>,
    #[serde(default = "default_n")]
    n: usize,
}

fn default_n() -> usize {
    50
}

/// The runner, the site as its runner sees it, and its jobs.
pub async fn view(shared: Shared, Path(name): Path<String>, uri: Uri, headers: HeaderMap, body: Bytes) -> Reply {
    let (caller, _) = admit::<EmptyBody>(&shared, Some(&name), &uri, &headers, &body)?;
    let Some(site) = view_of(&caller.server, &name).await else { return Err(no_such(&caller)) };
    let of_site = |job: &&JobView| job.site.as_ref() == Some(&name);
    let jobs: Vec<_> = caller.server.published.borrow().jobs.iter().filter(of_site).cloned().collect();
    let runner = runner_now(&caller.server);
    Ok(caller.answer(StatusCode::OK, &json!({"runner": runner, "site": site, "jobs": jobs})))
}

/// Newest first, with the places of their errors; what it printed is with the run that is asked for by its id alone.
pub async fn history(shared: Shared, Path(name): Path<String>, uri: Uri, headers: HeaderMap, body: Bytes) -> Reply {
    let (caller, ask) = admit::<HistoryBody>(&shared, Some(&name), &uri, &headers, &body)?;
    let wrong = |what: &str, expected: &str| {
        let stop = Stop::new(exit::USAGE, format!("`{what}` does not hold what it must")).expected(expected);
        Err(caller.refuse(StatusCode::BAD_REQUEST, &stop))
    };
    let outcome = match ask.outcome.as_deref() {
        None | Some("bad") => None,
        Some(word) => match Outcome::from_word(word) {
            Some(outcome) => Some(outcome),
            None => return wrong("outcome", "ok, failed, timed_out, interrupted, skipped or bad"),
        },
    };
    if ask.then.as_ref().is_some_and(|then| then != "held") {
        return wrong("then", "held");
    }
    if let Some(run) = &ask.run {
        let found = find(&caller.server, &name, run).await;
        return Ok(answer(&caller, found.map(Vec::from_iter)));
    }
    let filter = Filter {
        site: Some(name),
        failed: ask.outcome.as_deref() == Some("bad"),
        held: ask.then.is_some(),
        since_ms: ask.since_ms,
        until_ms: ask.until_ms,
        hook: ask.hook,
        outcome,
        limit: ask.n.min(MOST_RUNS),
    };
    let runs = runs(&caller.server, &filter).await;
    let without_output = |runs: Vec<RunRecord>| -> Vec<RunRecord> {
        runs.into_iter().map(|run| RunRecord { output: None, ..run }).collect()
    };
    Ok(answer(&caller, runs.map(without_output)))
}

/// Numbers for charts and tables.
pub async fn numbers(shared: Shared, Path(name): Path<String>, uri: Uri, headers: HeaderMap, body: Bytes) -> Reply {
    let (caller, ask) = admit::<SummaryBody>(&shared, Some(&name), &uri, &headers, &body)?;
    let now = clock::now_ms();
    if !(now - LONGEST_MS..now).contains(&ask.since_ms) {
        let stop = Stop::new(exit::USAGE, "`since_ms` is out of range");
        return Err(caller.refuse(StatusCode::BAD_REQUEST, &stop.expected("unix milliseconds of the last 31 days")));
    }
    let numbers = async {
        let points = points(&caller.server, &name, ask.since_ms).await?;
        let mut marks = deploys(&caller.server).await?;
        marks.retain(|mark| mark.at_ms >= ask.since_ms);
        Ok::<_, String>((summary(&points, ask.since_ms, now), marks))
    };
    Ok(match numbers.await {
        Ok((summary, marks)) => caller.answer(StatusCode::OK, &Numbers { summary, marks }),
        Err(error) => unreadable(&caller, &error),
    })
}

#[derive(Serialize)]
struct Numbers {
    #[serde(flatten)]
    summary: Summary,
    marks: Vec<Deploy>,
}

/// Of all hosts, or of this one where Redis does not answer.
pub async fn runs(server: &Server, filter: &Filter) -> Result<Vec<RunRecord>, String> {
    if let Some(shared) = &server.shared
        && let Ok(runs) = shared.runs(filter, &[]).await
    {
        return Ok(runs);
    }
    let filter = filter.clone();
    read(server, move |reader| reader.runs(&filter)).await
}

async fn find(server: &Server, site: &str, run: &str) -> Result<Option<RunRecord>, String> {
    // What became of it the others may have decided; its output this host has in full.
    let shared = match &server.shared {
        Some(shared) => shared.find(run, &[site.to_string()]).await.unwrap_or_default(),
        None => None,
    };
    let wanted = run.to_string();
    let found = match (read(server, move |reader| reader.find(&wanted)).await?, shared) {
        (Some(own), Some(shared)) if shared.then != Then::None => Some(RunRecord { then: shared.then, ..own }),
        (own, shared) => own.or(shared),
    };
    Ok(found.filter(|record| record.site == site))
}

async fn points(server: &Server, site: &str, since_ms: i64) -> Result<Vec<Point>, String> {
    if let Some(shared) = &server.shared {
        let filter =
            Filter { site: Some(site.to_string()), since_ms: Some(since_ms), limit: MOST_SHARED, ..Filter::default() };
        if let Ok(runs) = shared.runs(&filter, &[]).await {
            return Ok(runs.iter().filter_map(Point::of).collect());
        }
    }
    let site = site.to_string();
    read(server, move |reader| reader.points(Some(&site), since_ms)).await
}

async fn deploys(server: &Server) -> Result<Vec<Deploy>, String> {
    // This host may have been told while Redis was away.
    let mut all = read(server, |reader| reader.deploys(MOST_MARKS)).await?;
    if let Some(shared) = &server.shared {
        all.extend(shared.deploys(MOST_MARKS).await.unwrap_or_default());
    }
    all.sort_by_key(|deploy| std::cmp::Reverse(deploy.at_ms));
    all.dedup();
    Ok(all)
}

async fn read<T: Send + 'static>(
    server: &Server,
    ask: impl FnOnce(&Reader) -> Result<T, sqlite::Error> + Send + 'static,
) -> Result<T, String> {
    let path = server.history_file.clone();
    let read = tokio::task::spawn_blocking(move || ask(&Reader::open(&path)?)).await;
    read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

fn answer<T: Serialize>(caller: &Caller, answered: Result<T, String>) -> Response {
    match answered {
        Ok(value) => caller.answer(StatusCode::OK, &value),
        Err(error) => unreadable(caller, &error),
    }
}

fn unreadable(caller: &Caller, error: &str) -> Response {
    let stop = Stop::new(exit::UNREACHABLE, "the history cannot be read").found(error);
    caller.refuse(StatusCode::INTERNAL_SERVER_ERROR, &stop)
}

fn no_such(caller: &Caller) -> Response {
    let stop = Stop::new(exit::USAGE, "no [[site]] has this name").found(caller.name.clone());
    caller.refuse(StatusCode::NOT_FOUND, &stop)
}
