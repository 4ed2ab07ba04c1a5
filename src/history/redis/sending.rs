//! The way of this host's runs to the other runners: from SQLite, in the order in which they were written, batch by batch. What
//! Redis did not take stays in SQLite's list, over a restart as well; nothing is kept in memory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::SharedHistory;
use crate::history::RunRecord;
use crate::history::sqlite::{History, Reader};

const BATCH: usize = 200;
/// Another process of this host (`once`) may have recorded something.
const IDLE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(5);
/// The rest, when the runner stops.
const GOODBYE: Duration = Duration::from_secs(2);

/// Sends as long as it lives.
#[derive(Debug)]
pub struct Sending {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Sending {
    /// `file`: that of `history`.
    pub fn begin(shared: &Arc<SharedHistory>, history: &Arc<History>, file: &Path) -> Self {
        let stop = CancellationToken::new();
        let sender = Sender {
            shared: shared.clone(),
            history: history.clone(),
            file: file.to_path_buf(),
            sent: 0,
            stop: stop.clone(),
        };
        let task = tokio::spawn(sender.run(history.share()));
        Self { task, stop }
    }

    /// Sends what is left, for two seconds at most; the rest is sent by whoever records here next.
    pub async fn finish(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

struct Sender {
    shared: Arc<SharedHistory>,
    history: Arc<History>,
    file: PathBuf,
    /// All up to this number, also where SQLite has yet to be told.
    sent: i64,
    stop: CancellationToken,
}

impl Sender {
    async fn run(mut self, news: Arc<Notify>) {
        while !self.stop.is_cancelled() {
            let stop = self.stop.clone();
            let sent = tokio::select! {
                sent = self.send_all() => sent,
                () = stop.cancelled() => break,
            };
            let (is_well, wait) = if sent.is_ok() { (true, IDLE) } else { (false, PATIENCE) };
            self.tell(sent.err());
            tokio::select! {
                () = self.stop.cancelled() => {}
                // While Redis is away, nobody asks it for each run anew.
                () = news.notified(), if is_well => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        let rest = async {
            self.history.written().await;
            self.send_all().await
        };
        if let Ok(sent) = tokio::time::timeout(GOODBYE, rest).await {
            self.tell(sent.err());
        }
    }

    async fn send_all(&mut self) -> Result<(), String> {
        loop {
            let batch = self.next().await?;
            let (numbers, records): (Vec<i64>, Vec<RunRecord>) = batch.into_iter().unzip();
            if records.is_empty() {
                return Ok(());
            }
            let (count, result) = self.shared.add(&records).await;
            if let Some(last) = count.checked_sub(1).and_then(|last| numbers.get(last)) {
                self.sent = *last;
                self.history.sent(*last);
            }
            result.map_err(|trouble| trouble.to_string())?;
        }
    }

    async fn next(&self) -> Result<Vec<(i64, RunRecord)>, String> {
        let (file, sent) = (self.file.clone(), self.sent);
        let read = move || Reader::open(&file).and_then(|reader| reader.unsent(sent, BATCH));
        let read = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
        read.map_err(|error| error.to_string())
    }

    fn tell(&self, now: Option<String>) {
        let before =
            std::mem::replace(&mut *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner), now.clone());
        match (before, now) {
            (None, Some(why)) => {
                tracing::warn!("runs are recorded on this host only, and sent to the others later: {why}");
            }
            (Some(_), None) => tracing::info!("runs that were recorded on this host only have been sent to the others"),
            _ => {}
        }
    }
}
