//! Deployments, as operators have marked them.

use rusqlite::{Connection, params};

use super::{Error, History, Reader, Write};
use crate::history::Deploy;

pub(super) const TABLE: &str =
    "CREATE TABLE deploys (at_ms INTEGER PRIMARY KEY, note TEXT NOT NULL, host TEXT NOT NULL);";

impl History {
    pub fn mark(&self, deploy: Deploy) {
        self.send(Write::Deploy(deploy));
    }
}

impl Reader {
    /// The newest, newest first.
    pub fn deploys(&self, limit: usize) -> Result<Vec<Deploy>, Error> {
        let sql = "SELECT at_ms, note, host FROM deploys ORDER BY at_ms DESC LIMIT ?1";
        self.query(|connection| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok(Deploy { at_ms: row.get("at_ms")?, note: row.get("note")?, host: row.get("host")? })
            })?;
            rows.collect()
        })
    }
}

pub(super) fn insert(connection: &Connection, deploy: &Deploy) -> rusqlite::Result<usize> {
    let sql = "INSERT OR IGNORE INTO deploys (at_ms, note, host) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute(params![deploy.at_ms, deploy.note, deploy.host])
}

/// The last one stays: what changed since may be asked at any time.
pub(super) fn prune(connection: &Connection, oldest_ms: i64) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM deploys WHERE at_ms < ?1 AND at_ms < (SELECT max(at_ms) FROM deploys)";
    connection.execute(sql, [oldest_ms])
}
