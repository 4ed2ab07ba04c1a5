//! Runs that the other runners were not told of yet: noted in the same commit as the run, and forgotten once Redis has them.
//! Without [redis] the table stays empty.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use tokio::sync::{Notify, oneshot};

use super::reader::read;
use super::{COLUMNS, Error, History, Reader, RunRecord, Write};

/// AUTOINCREMENT: a number that was sent never comes again.
pub(super) const TABLE: &str = "
    CREATE TABLE unsent (number INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL);
";
/// The writer tries again each second.
const SOON: Duration = Duration::from_secs(3);
/// The fact that says that all runs of before were noted.
const SHARED: &str = "shared";

impl History {
    /// From now on what is recorded is noted as not sent yet; the first time, all that is there. Whoever sends is woken.
    pub fn share(&self) -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        self.send(Write::Share(notify.clone()));
        notify
    }

    /// All up to this number is in Redis.
    pub fn sent(&self, through: i64) {
        self.send(Write::Sent { through });
    }

    /// The same for whoever cannot wait for room on a disk: why it cannot be written.
    pub async fn written_soon(&self) -> Result<(), String> {
        let written = tokio::time::timeout(SOON, self.written()).await;
        written.map_err(|_| self.trouble().unwrap_or_else(|| "the disk takes its time".to_string()))
    }

    /// All that was recorded before is in the file. Where it cannot be written, this takes until it can.
    pub async fn written(&self) {
        let (answer, written) = oneshot::channel();
        self.send(Write::Tell(answer));
        let _ = written.await;
    }
}

impl Reader {
    /// The next runs to send, in the order in which they were recorded or changed, as they are now; each with its number.
    pub fn unsent(&self, after: i64, limit: usize) -> Result<Vec<(i64, RunRecord)>, Error> {
        let sql = format!(
            "SELECT unsent.number, {COLUMNS} FROM unsent JOIN runs USING (run) WHERE unsent.number > ?1 \
             ORDER BY unsent.number LIMIT ?2"
        );
        self.query(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![after, limit], |row| Ok((row.get("number")?, read(row)?)))?;
            rows.collect()
        })
    }

    /// How many are not sent yet.
    pub fn unsent_count(&self) -> Result<u64, Error> {
        self.query(|connection| {
            connection.query_row("SELECT count(*) FROM unsent", [], |row| row.get::<_, i64>(0).map(i64::unsigned_abs))
        })
    }
}

/// What a write means for those who wait for something to send; true where there is something. `changed`: rows of `runs`.
pub(super) fn note(connection: &Connection, write: &Write, changed: usize, is_shared: bool) -> rusqlite::Result<bool> {
    match write {
        Write::Run(record) if is_shared && changed > 0 => {
            connection.prepare_cached("INSERT INTO unsent (run) VALUES (?1)")?.execute([&record.run])?;
            Ok(true)
        }
        Write::Share(_) => {
            note_all_once(connection)?;
            Ok(true)
        }
        Write::Sent { through } => {
            connection.prepare_cached("DELETE FROM unsent WHERE number <= ?1")?.execute([through])?;
            Ok(false)
        }
        _ => Ok(false),
    }
}

fn note_all_once(connection: &Connection) -> rusqlite::Result<()> {
    let is_first = "INSERT OR IGNORE INTO facts (site, name, value) VALUES ('', ?1, 'yes')";
    if connection.execute(is_first, [SHARED])? > 0 {
        connection.execute("INSERT INTO unsent (run) SELECT run FROM runs ORDER BY ended_ms, run", [])?;
    }
    Ok(())
}

/// What is too old to be kept needs not be sent.
pub(super) fn prune(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "DELETE FROM unsent WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.run = unsent.run)";
    connection.execute(sql, []).map(drop)
}
