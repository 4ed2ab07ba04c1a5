//! Did anything change since then?

use serde::Serialize;

use super::super::peers::Peers;
use super::super::table::{row, show, table};
use super::super::{Stop, exit, history_file};
use crate::clock;
use crate::config::{Config, duration};
use crate::history::compare::{Change, Compared, begin_of_before, compare};
use crate::history::sqlite::Reader;
use crate::history::summary::{Figures, Point};
use crate::history::{Deploy, Filter};
use crate::text;

/// Of all hosts' runs the newest are compared.
const MOST_SHARED: usize = 100_000;

#[derive(Debug, Serialize)]
pub struct Since {
    /// Null where a duration was given.
    deploy: Option<Deploy>,
    since: String,
    /// Runs from here on are the time before.
    before: String,
    /// As it was asked for.
    #[serde(skip)]
    written: String,
    #[serde(skip)]
    begin_ms: i64,
    #[serde(skip)]
    since_ms: i64,
    compared: Vec<Compared>,
}

/// `written`: `deploy`, or a duration.
pub async fn compared(config: &Config, written: &str) -> Result<Since, Stop> {
    let now = clock::now_ms();
    let (deploy, since_ms) = since(config, written, now).await?;
    let begin_ms = begin_of_before(since_ms, now);
    let points = points(config, begin_ms).await?;
    // What was pruned, or is too much to be read, was not compared.
    let begin_ms = points.iter().map(|point| point.ended_ms).min().unwrap_or(begin_ms).clamp(begin_ms, since_ms);
    Ok(Since {
        written: written.to_string(),
        deploy,
        since: clock::rfc3339(since_ms),
        before: clock::rfc3339(begin_ms),
        begin_ms,
        since_ms,
        compared: compare(&points, since_ms, now),
    })
}

/// When that was, and the deployment where it was one.
pub async fn since(config: &Config, written: &str, now: i64) -> Result<(Option<Deploy>, i64), Stop> {
    if written == "deploy" {
        let deploy = last_deploy(config).await?.ok_or_else(|| {
            Stop::new(exit::USAGE, "no deployment was marked yet")
                .expected("one, by `wp-cron-runner deploy \"NOTE\"` after each")
                .at("--since")
                .next("such as `wp-cron-runner status --since 2h`")
        })?;
        let at_ms = deploy.at_ms;
        return Ok((Some(deploy), at_ms));
    }
    let duration = duration(written).ok_or_else(|| {
        Stop::new(exit::USAGE, "--since cannot be read")
            .found(format!("\"{}\"", text::safe_cut(written, 80)))
            .expected("a duration such as 30m, 2h or 1d, or `deploy`")
            .at("--since")
            .next("such as `wp-cron-runner history --since 2h`")
    })?;
    Ok((None, now - clock::millis(duration)))
}

async fn last_deploy(config: &Config) -> Result<Option<Deploy>, Stop> {
    // This host may have been told while Redis was away.
    let mut all = Reader::open(&history_file(config))?.deploys(1)?;
    if let Some(peers) = Peers::of(config) {
        match peers.history.deploys(1).await {
            Ok(deploys) => all.extend(deploys),
            Err(trouble) => tracing::warn!("{trouble}; these are the deployments that this host was told of"),
        }
    }
    Ok(all.into_iter().max_by_key(|deploy| deploy.at_ms))
}

async fn points(config: &Config, since_ms: i64) -> Result<Vec<Point>, Stop> {
    if let Some(peers) = Peers::of(config) {
        let filter = Filter { since_ms: Some(since_ms), limit: MOST_SHARED, ..Filter::default() };
        match peers.history.runs(&filter, peers.sites()).await {
            Ok(runs) => return Ok(runs.iter().filter_map(Point::of).collect()),
            Err(trouble) => tracing::warn!("{trouble}; these are the runs of this host alone"),
        }
    }
    Ok(Reader::open(&history_file(config))?.points(None, since_ms)?)
}

pub fn text(since: &Since) -> String {
    let now = clock::now_ms();
    let what = match &since.deploy {
        Some(deploy) => format!("the deployment \"{}\"", text::safe(&deploy.note)),
        None => "then".to_string(),
    };
    let mut out = format!(
        "\nsince {what}, {}, {} ago, beside the {} before:\n\n",
        clock::local(since.since_ms),
        clock::span(now - since.since_ms),
        clock::span(since.since_ms - since.begin_ms)
    );
    if since.compared.is_empty() {
        return out + "nothing ran in all that time\n";
    }
    let mut rows = table(&["SITE", "HOOK / JOB", "RUNS", "FAILED", "LATE", "TOOK"]);
    for one in &since.compared {
        let of_what = one.job.as_ref().or(one.hook.as_ref()).map_or("all", String::as_str);
        let late = |figures: &Figures| figures.lateness_ms.map(|late| late.p50);
        let took = |figures: &Figures| figures.ms.map(|took| took.p50);
        row(
            &mut rows,
            &[
                one.site.clone(),
                of_what.to_string(),
                format!("{} (before {})", one.after.runs, one.before.runs),
                with_change(&percent(&one.after), &percent(&one.before), one.failures),
                with_change(&span(late(&one.after)), &span(late(&one.before)), one.lateness),
                with_change(&span(took(&one.after)), &span(took(&one.before)), one.durations),
            ],
        );
    }
    out += &show(&rows);
    out + &verdict(&since.compared, &since.written)
}

fn with_change(after: &str, before: &str, change: Change) -> String {
    match change {
        Change::Same => format!("{after} (before {before})"),
        change => format!("{after} (before {before}): {}", change.word()),
    }
}

#[allow(clippy::cast_precision_loss, reason = "nobody counts 2^52 runs")]
fn percent(figures: &Figures) -> String {
    match figures.runs {
        0 => "-".into(),
        runs => format!("{:.1} %", 100.0 * figures.bad as f64 / runs as f64),
    }
}

fn span(ms: Option<i64>) -> String {
    ms.map_or_else(|| "-".into(), clock::span)
}

fn verdict(compared: &[Compared], written: &str) -> String {
    let has = |is: fn(&Compared) -> bool| compared.iter().any(is);
    let sentence = if has(|one| one.failures == Change::Worse) {
        format!("something is worse: `wp-cron-runner history --failed --since {written}` shows what failed")
    } else if has(|one| one.is(Change::Worse)) {
        format!("something is worse: `wp-cron-runner history --since {written}` shows the runs")
    } else if has(|one| one.is(Change::Better)) {
        "nothing is worse, and something is better".to_string()
    } else if has(|one| one.is(Change::Same)) {
        "nothing has changed that chance does not explain".to_string()
    } else {
        "too few runs to tell: look again later".to_string()
    };
    format!("\n{sentence}\n")
}
