//! What goes on here, as numbers for whoever asks for them.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::api::shared::Loaded;
use crate::clock;
use crate::history::RunRecord;
use crate::history::sqlite::{LastEnds, Reader};
use crate::metrics::{Ago, Ended, Metrics};

pub struct Metering {
    /// Each run that the history did not know.
    pub runs: UnboundedReceiver<RunRecord>,
    pub loaded: watch::Receiver<Loaded>,
    pub metrics: Arc<Metrics>,
    pub history_file: PathBuf,
}

impl Metering {
    /// Until the history is closed.
    pub async fn work(mut self) {
        self.load().await;
        loop {
            tokio::select! {
                run = self.runs.recv() => match run {
                    Some(run) => self.metrics.ended(&ended(&run)),
                    None => break,
                },
                Ok(()) = self.loaded.changed() => self.load().await,
            }
        }
    }

    /// What is in the configuration, and what the history knows of that.
    async fn load(&mut self) {
        let is_new = {
            let loaded = self.loaded.borrow_and_update();
            self.metrics.keep(&loaded.sites, &loaded.jobs)
        };
        if !is_new {
            return;
        }
        let file = self.history_file.clone();
        // Months of runs are gone through.
        let read = tokio::task::spawn_blocking(move || Reader::open(&file)?.last_ends()).await;
        match read {
            Ok(Ok(ends)) => ends.iter().for_each(|ends| self.metrics.seed(&ago(ends))),
            Ok(Err(error)) => tracing::warn!("the metrics know nothing of runs before this start: {error}"),
            Err(error) => tracing::error!("a task failed: {error}"),
        }
    }
}

fn ago(ends: &LastEnds) -> Ago<'_> {
    Ago { site: &ends.site, hook: &ends.hook, job: ends.job.as_deref(), ok_ms: ends.ok_ms, not_ok_ms: ends.not_ok_ms }
}

fn ended(run: &RunRecord) -> Ended<'_> {
    Ended {
        site: &run.site,
        hook: &run.hook,
        job: run.job.as_deref(),
        outcome: run.outcome,
        ended_ms: run.ended_ms.unwrap_or_else(clock::now_ms),
        lateness_ms: run.lateness_ms,
        ms: run.ms,
    }
}
