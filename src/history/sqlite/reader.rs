//! Reading the file: for reports, and for what a runner has to know when it starts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params_from_iter};

use super::{COLUMNS, Error, NEWEST, version};
use crate::history::summary::Point;
use crate::history::{Filter, RunRecord};
use crate::outcome::{Outcome, Then};

/// The versions of the file that brought them.
const WITH_JOBS: u32 = 3;
const WITH_DEPLOYS: u32 = 4;
/// Of so many runs a summary is made at most: a few megabytes, and well under a second.
const MOST_POINTS: usize = 200_000;

/// When runs of a hook, or of a job, ended last.
#[derive(Debug, PartialEq)]
pub struct LastEnds {
    pub site: String,
    pub hook: String,
    pub job: Option<String>,
    pub ok_ms: Option<i64>,
    pub not_ok_ms: Option<i64>,
}

/// The reading half. A file that is not there yet is an empty history.
#[derive(Debug)]
pub struct Reader {
    connection: Option<Connection>,
    path: PathBuf,
}

impl Reader {
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            return Ok(Self { connection: None, path: path.to_path_buf() });
        }
        let sqlite = |error| Error::Sqlite { path: path.to_path_buf(), error };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(sqlite)?;
        let found = version(&connection).map_err(sqlite)?;
        if found > NEWEST {
            return Err(Error::TooNew { path: path.to_path_buf(), found });
        }
        // Where no runner of this version has opened it yet: who only reads changes nothing.
        if found < WITH_JOBS {
            let view = "CREATE TEMP VIEW runs AS SELECT *, NULL AS job FROM main.runs";
            connection.execute_batch(view).map_err(sqlite)?;
        }
        if found < WITH_DEPLOYS {
            connection.execute_batch(&super::deploys::TABLE.replace("TABLE", "TEMP TABLE")).map_err(sqlite)?;
        }
        Ok(Self { connection: Some(connection), path: path.to_path_buf() })
    }

    /// Newest first.
    pub fn runs(&self, filter: &Filter) -> Result<Vec<RunRecord>, Error> {
        let mut conditions = vec!["1".to_string()];
        let mut values: Vec<rusqlite::types::Value> = Vec::new();
        if let Some(site) = &filter.site {
            values.push(site.clone().into());
            conditions.push(format!("(job = ?{0} OR (site = ?{0} AND job IS NULL))", values.len()));
        }
        let mut with = |condition: &str, value: Option<rusqlite::types::Value>| {
            if let Some(value) = value {
                values.push(value);
                conditions.push(condition.replace('?', &format!("?{}", values.len())));
            }
        };
        with("coalesce(ended_ms, started_ms) >= ?", filter.since_ms.map(Into::into));
        with("coalesce(ended_ms, started_ms) < ?", filter.until_ms.map(Into::into));
        with("hook = ? AND job IS NULL", filter.hook.clone().map(Into::into));
        with("outcome = ?", filter.outcome.map(|outcome| outcome.word().to_string().into()));
        if filter.failed {
            conditions.push("outcome NOT IN ('ok', 'skipped')".into());
        }
        if filter.held {
            conditions.push("then_ = 'held'".into());
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM runs WHERE {} ORDER BY ended_ms DESC, started_ms DESC, run DESC LIMIT {}",
            conditions.join(" AND "),
            filter.limit.min(1_000_000)
        );
        self.query(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(values.iter()), read)?;
            rows.collect()
        })
    }

    /// What ended since then, of one site or of all, in a form for summaries; the newest where they are too many.
    pub fn points(&self, site: Option<&str>, since_ms: i64) -> Result<Vec<Point>, Error> {
        let of_site = if site.is_some() { "site = ?2 AND job IS NULL" } else { "?2 IS NULL" };
        let sql = format!(
            "SELECT site, hook, job, ended_ms, lateness_ms, ms, outcome FROM runs WHERE ended_ms >= ?1 AND {of_site} \
             ORDER BY ended_ms DESC LIMIT {MOST_POINTS}"
        );
        self.query(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map(rusqlite::params![since_ms, site], |row| {
                Ok(Point {
                    site: row.get("site")?,
                    hook: row.get("hook")?,
                    job: row.get("job")?,
                    ended_ms: row.get("ended_ms")?,
                    lateness_ms: row.get("lateness_ms")?,
                    ms: row.get("ms")?,
                    outcome: outcome_of(row)?,
                })
            })?;
            rows.collect()
        })
    }

    /// The newest runs of a site that wait for a person, by their ids.
    pub fn held(&self, site: &str) -> Result<Vec<String>, Error> {
        let sql = "SELECT run FROM runs WHERE site = ?1 AND then_ = 'held' ORDER BY run DESC LIMIT 200";
        self.query(|connection| connection.prepare(sql)?.query_map([site], |row| row.get(0))?.collect())
    }

    pub fn find(&self, run: &str) -> Result<Option<RunRecord>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE run = ?1");
        self.query(|connection| connection.query_row(&sql, [run], read).optional())
    }

    /// Of its events.
    pub fn last_ended(&self, site: &str) -> Result<Option<i64>, Error> {
        self.query(|connection| {
            connection
                .query_row("SELECT max(ended_ms) FROM runs WHERE site = ?1 AND job IS NULL", [site], |row| row.get(0))
        })
    }

    /// Of each hook of a site, and each job, the newest run that was started: those that did not end well.
    pub fn failing(&self) -> Result<Vec<RunRecord>, Error> {
        // Of a group with a maximum SQLite gives the row that has it.
        let sql = format!(
            "SELECT * FROM (SELECT {COLUMNS}, max(ended_ms) FROM runs WHERE outcome <> 'skipped' GROUP BY site, hook, job) \
             WHERE outcome <> 'ok'"
        );
        self.query(|connection| connection.prepare(&sql)?.query_map([], read)?.collect())
    }

    /// Of each hook of a site, and each job: when a run last ended ok, and when one last did not; the newest first.
    pub fn last_ends(&self) -> Result<Vec<LastEnds>, Error> {
        let sql = "SELECT site, hook, job, max(CASE WHEN outcome = 'ok' THEN ended_ms END) AS good, \
             max(CASE WHEN outcome <> 'ok' THEN ended_ms END) AS bad FROM runs WHERE outcome <> 'skipped' \
             GROUP BY site, hook, job ORDER BY max(ended_ms) DESC";
        self.query(|connection| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(LastEnds {
                    site: row.get("site")?,
                    hook: row.get("hook")?,
                    job: row.get("job")?,
                    ok_ms: row.get("good")?,
                    not_ok_ms: row.get("bad")?,
                })
            })?;
            rows.collect()
        })
    }

    pub fn fact(&self, site: &str, name: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT value FROM facts WHERE site = ?1 AND name = ?2";
        self.query(|connection| connection.query_row(sql, [site, name], |row| row.get(0)).optional())
    }

    pub(super) fn query<T: Default>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        match &self.connection {
            Some(connection) => ask(connection).map_err(|error| Error::Sqlite { path: self.path.clone(), error }),
            None => Ok(T::default()),
        }
    }
}

fn outcome_of(row: &Row<'_>) -> rusqlite::Result<Outcome> {
    let word: String = row.get("outcome")?;
    Ok(Outcome::from_word(&word).unwrap_or(Outcome::Failed))
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let then: String = row.get("then_")?;
    let error: Option<String> = row.get("error")?;
    let dropped: i64 = row.get("output_dropped")?;
    Ok(RunRecord {
        run: row.get("run")?,
        site: row.get("site")?,
        blog: row.get("blog")?,
        hook: row.get("hook")?,
        key: row.get("key")?,
        schedule: row.get("schedule")?,
        due: row.get("due")?,
        started_ms: row.get("started_ms")?,
        ended_ms: row.get("ended_ms")?,
        lateness_ms: row.get("lateness_ms")?,
        ms: row.get("ms")?,
        outcome: outcome_of(row)?,
        then: Then::from_word(&then),
        reason: row.get("reason")?,
        note: row.get("note")?,
        error: error.and_then(|error| serde_json::from_str(&error).ok()),
        output: row.get("output")?,
        output_dropped: u64::try_from(dropped).unwrap_or(0),
        peak_memory: row.get("peak_memory")?,
        queries: row.get("queries")?,
        host: row.get("host")?,
        pid: row.get("pid")?,
        trigger: row.get("trigger_")?,
        batch: row.get("batch")?,
        job: row.get("job")?,
    })
}
