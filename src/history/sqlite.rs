//! History in one SQLite file. WAL and synchronous=NORMAL: a power cut may lose the last runs, and never corrupts. One
//! thread writes; whoever reads opens the file for itself, also while the daemon runs.

mod deploys;
mod reader;
mod unsent;

use std::collections::VecDeque;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot};

use super::{Deploy, RunRecord};
use crate::clock;
use crate::config;
pub use reader::{LastEnds, Reader};

/// Each step brings a file from its place in the list to the next version. Released steps are never edited.
const MIGRATIONS: [&str; NEWEST as usize] = [
    "
    CREATE TABLE runs (
        run TEXT PRIMARY KEY, site TEXT NOT NULL, blog INTEGER NOT NULL, hook TEXT NOT NULL, key TEXT NOT NULL,
        schedule TEXT, due INTEGER NOT NULL, started_ms INTEGER, ended_ms INTEGER, lateness_ms INTEGER, ms INTEGER,
        outcome TEXT NOT NULL, then_ TEXT NOT NULL, reason TEXT, note TEXT, error TEXT, output TEXT,
        output_dropped INTEGER NOT NULL DEFAULT 0, peak_memory INTEGER, queries INTEGER, host TEXT, pid INTEGER,
        trigger_ TEXT, batch TEXT
    );
    CREATE INDEX runs_by_site ON runs (site, ended_ms);
    CREATE INDEX runs_by_end ON runs (ended_ms);
    CREATE TABLE facts (site TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (site, name)) WITHOUT ROWID;
",
    unsent::TABLE,
    "ALTER TABLE runs ADD COLUMN job TEXT; CREATE INDEX runs_by_job ON runs (job, ended_ms) WHERE job IS NOT NULL;",
    deploys::TABLE,
    "CREATE INDEX runs_held ON runs (site, run) WHERE then_ = 'held';",
];
const NEWEST: u32 = 5;
const COLUMNS: &str = "run, site, blog, hook, key, schedule, due, started_ms, ended_ms, lateness_ms, ms, outcome, then_, \
    reason, note, error, output, output_dropped, peak_memory, queries, host, pid, trigger_, batch, job";
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("history {}: {error}", .path.display())]
    Sqlite { path: PathBuf, error: rusqlite::Error },
    #[error("history {} has schema version {found}, made by a newer wp-cron-runner; expected at most {NEWEST}; nothing was changed", .path.display())]
    TooNew { path: PathBuf, found: u32 },
    #[error("history {}: {error}", .path.display())]
    Io { path: PathBuf, error: std::io::Error },
}

impl Error {
    /// No room: that passes, and is no mistake in the configuration.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Sqlite { error, .. } => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            Self::Io { error, .. } => error.kind() == std::io::ErrorKind::StorageFull,
            Self::TooNew { .. } => false,
        }
    }
}

enum Write {
    Run(Box<RunRecord>),
    Fact { site: String, name: &'static str, value: String },
    Forget { site: String },
    Deploy(Deploy),
    Limits(config::History),
    Share(Arc<Notify>),
    Hear(UnboundedSender<RunRecord>),
    Sent { through: i64 },
    Tell(oneshot::Sender<()>),
}

/// The writing half; dropping it writes what is left.
#[derive(Debug)]
pub struct History {
    sender: Option<Sender<Write>>,
    writer: Option<JoinHandle<()>>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl History {
    pub fn open(path: &Path, limits: &config::History) -> Result<Self, Error> {
        let connection = open(path)?;
        let (sender, receiver) = channel();
        let trouble = Arc::new(Mutex::new(None));
        let writer = Writer {
            connection,
            path: path.to_path_buf(),
            limits: limits.clone(),
            trouble: trouble.clone(),
            pending: VecDeque::new(),
            shared: None,
            heard_by: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("history".into()).spawn(move || writer.run(&receiver));
        let thread = thread.map_err(|error| Error::Io { path: path.to_path_buf(), error })?;
        Ok(Self { sender: Some(sender), writer: Some(thread), trouble })
    }

    /// A run is recorded once; for a known one only what became of it can change.
    pub fn record(&self, record: RunRecord) {
        self.send(Write::Run(Box::new(record)));
    }

    pub fn learn(&self, site: &str, name: &'static str, value: String) {
        self.send(Write::Fact { site: site.to_string(), name, value });
    }

    /// Forgets the facts about a site, not its runs.
    pub fn forget(&self, site: &str) {
        self.send(Write::Forget { site: site.to_string() });
    }

    /// Every run that is recorded from now on and was not known before, whoever learned of it.
    pub fn hear(&self) -> UnboundedReceiver<RunRecord> {
        let (sender, receiver) = unbounded_channel();
        self.send(Write::Hear(sender));
        receiver
    }

    /// By the next pruning, within the hour.
    pub fn set_limits(&self, limits: &config::History) {
        self.send(Write::Limits(limits.clone()));
    }

    fn send(&self, write: Write) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(write);
        }
    }

    /// Why nothing can be written at the moment. Nothing new may start then.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct Writer {
    connection: Connection,
    path: PathBuf,
    limits: config::History,
    trouble: Arc<Mutex<Option<String>>>,
    pending: VecDeque<Write>,
    /// Who waits for something to send to the other runners.
    shared: Option<Arc<Notify>>,
    /// Who wants to know of each new run.
    heard_by: Vec<UnboundedSender<RunRecord>>,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Write>) {
        let mut pruned: Option<Instant> = None;
        loop {
            let wait = if self.pending.is_empty() { Duration::from_secs(60) } else { Duration::from_secs(1) };
            match receiver.recv_timeout(wait) {
                Ok(write) => self.accept(write),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            receiver.try_iter().for_each(|write| self.accept(write));
            if !self.pending.is_empty() {
                self.flush();
            }
            if self.pending.is_empty() && pruned.is_none_or(|at| at.elapsed() > PRUNE_EVERY) {
                pruned = Some(Instant::now());
                let _ = prune(&self.connection, &self.limits, clock::now_ms());
            }
        }
        receiver.try_iter().for_each(|write| self.accept(write));
        self.flush();
    }

    fn accept(&mut self, write: Write) {
        match write {
            Write::Limits(limits) => self.limits = limits,
            write => self.pending.push_back(write),
        }
    }

    /// All that waits, in one commit. What cannot be written stays, and the trouble is told until it can.
    fn flush(&mut self) {
        let written = self.connection.transaction().and_then(|transaction| {
            let (mut is_shared, mut is_news, mut new) = (self.shared.is_some(), false, Vec::new());
            for write in &self.pending {
                let Effect { changed, is_new } = apply(&transaction, write)?;
                if let Write::Run(record) = write
                    && is_new
                {
                    new.push(RunRecord::clone(record));
                }
                is_shared |= matches!(write, Write::Share(_));
                is_news |= unsent::note(&transaction, write, changed, is_shared)?;
            }
            transaction.commit().map(|()| (is_news, new))
        });
        let trouble = match written {
            Ok((is_news, new)) => {
                for write in self.pending.drain(..) {
                    match write {
                        Write::Share(notify) => self.shared = Some(notify),
                        Write::Tell(answer) => _ = answer.send(()),
                        Write::Hear(sender) => self.heard_by.push(sender),
                        _ => {}
                    }
                }
                self.heard_by.retain(|sender| new.iter().all(|record| sender.send(record.clone()).is_ok()));
                if let Some(notify) = self.shared.as_ref().filter(|_| is_news) {
                    notify.notify_one();
                }
                None
            }
            Err(error) => Some(format!(
                "{} cannot be written: {error} ({}); {} records wait; free space there, then it goes on by itself",
                self.path.display(),
                room_beside(&self.path),
                self.pending.len()
            )),
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// How full the file system of a file is.
pub fn room_beside(path: &Path) -> String {
    match rustix::fs::statvfs(path.parent().unwrap_or(path)) {
        Ok(room) => {
            format!("{} of {} bytes are free there", room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize)
        }
        Err(error) => format!("how full it is there: {error}"),
    }
}

/// What a write did: rows that it changed, and whether one of them is a run that was not known.
struct Effect {
    changed: usize,
    is_new: bool,
}

fn apply(connection: &Connection, write: &Write) -> rusqlite::Result<Effect> {
    let changed = match write {
        Write::Run(record) => return insert(connection, record),
        Write::Fact { site, name, value } => connection
            .prepare_cached("INSERT OR REPLACE INTO facts (site, name, value) VALUES (?1, ?2, ?3)")?
            .execute(params![site, name, value]),
        Write::Deploy(deploy) => deploys::insert(connection, deploy),
        Write::Limits(_) | Write::Share(_) | Write::Hear(_) | Write::Sent { .. } | Write::Tell(_) => Ok(0),
        Write::Forget { site } => connection.execute("DELETE FROM facts WHERE site = ?1", [site]),
    };
    Ok(Effect { changed: changed?, is_new: false })
}

fn insert(connection: &Connection, record: &RunRecord) -> rusqlite::Result<Effect> {
    let sql = format!(
        "INSERT OR IGNORE INTO runs ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
         ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)"
    );
    let error = record.error.as_ref().and_then(|error| serde_json::to_string(error).ok());
    let inserted = connection.prepare_cached(&sql)?.execute(params![
        record.run,
        record.site,
        record.blog,
        record.hook,
        record.key,
        record.schedule,
        record.due,
        record.started_ms,
        record.ended_ms,
        record.lateness_ms,
        record.ms,
        record.outcome.word(),
        record.then.word(),
        record.reason,
        record.note,
        error,
        record.output,
        i64::try_from(record.output_dropped).unwrap_or(i64::MAX),
        record.peak_memory,
        record.queries,
        record.host,
        record.pid,
        record.trigger,
        record.batch,
        record.job,
    ])?;
    if inserted > 0 {
        return Ok(Effect { changed: inserted, is_new: true });
    }
    let changed = connection
        .prepare_cached("UPDATE runs SET then_ = ?2 WHERE run = ?1 AND then_ <> ?2 AND ?2 <> 'none'")?
        .execute(params![record.run, record.then.word()])?;
    Ok(Effect { changed, is_new: false })
}

fn prune(connection: &Connection, limits: &config::History, now_ms: i64) -> rusqlite::Result<()> {
    let oldest = now_ms - clock::millis(limits.age);
    connection.execute("DELETE FROM runs WHERE ended_ms < ?1", [oldest])?;
    for _ in 0..50 {
        let pages = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0).map(i64::unsigned_abs));
        let used = (pages("page_count")? - pages("freelist_count")?) * pages("page_size")?;
        if used <= limits.size {
            break;
        }
        let tenth = "DELETE FROM runs WHERE run IN
            (SELECT run FROM runs ORDER BY ended_ms LIMIT (SELECT count(*) / 10 + 1 FROM runs))";
        if connection.execute(tenth, [])? == 0 {
            break;
        }
    }
    unsent::prune(connection)?;
    deploys::prune(connection, oldest)?;
    // Each step of this statement gives one page back.
    let mut statement = connection.prepare("PRAGMA incremental_vacuum")?;
    let mut pages = statement.query([])?;
    while pages.next()?.is_some() {}
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
}

fn open(path: &Path) -> Result<Connection, Error> {
    let io = |error| Error::Io { path: path.to_path_buf(), error };
    let sqlite = |error| Error::Sqlite { path: path.to_path_buf(), error };
    std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(io)?;
    let mut connection = Connection::open(path).map_err(sqlite)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(sqlite)?;
    let pragmas = "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL";
    connection.execute_batch(pragmas).map_err(sqlite)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    let sqlite = |error| Error::Sqlite { path: path.to_path_buf(), error };
    // Immediate: `once` and the daemon may open a new file at the same moment.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(sqlite)?;
    let found = version(&transaction).map_err(sqlite)?;
    if found > NEWEST {
        return Err(Error::TooNew { path: path.to_path_buf(), found });
    }
    for step in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(step).map_err(sqlite)?;
    }
    transaction.pragma_update(None, "user_version", NEWEST).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests;
