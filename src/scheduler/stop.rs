//! The end: no new starts, a goodbye to every site, and patience for what runs.

use std::time::Duration;

use tokio::task::JoinSet;

use super::entry::Removal;
use super::{Scheduler, next_event};
use crate::outcome::Failure;
use crate::run_site::calls::{Calls, Settle};

/// So long for calls that are on their way, and so long for goodbyes.
const GOODBYE: Duration = Duration::from_secs(5);

impl Scheduler {
    /// Says goodbye, then waits for what runs. In this order: PHP claims nothing more for a runner that has left, and gives what
    /// it has claimed and not started back at once.
    pub(super) async fn drain(&mut self) {
        let limit = self.drain;
        self.is_stopping = true;
        for entry in self.entries.values_mut() {
            entry.refuse_all(&Failure::Stopping);
        }
        let deadline = tokio::time::Instant::now() + limit;
        self.end_calls().await;
        self.leave().await;
        self.refuse_late_orders();
        if self.running > 0 {
            tracing::info!("stopping: {} requests still run events; waiting up to {limit:?} for them", self.running);
        }
        while self.running > 0 {
            self.publish();
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => break,
                // Whoever watches over this process wants to hear that it lives.
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                happened = next_event(&mut self.tasks, &mut self.progress, &mut self.orders) => self.take(happened),
            }
        }
        self.refuse_late_orders();
        if self.running > 0 {
            tracing::warn!(
                "{} requests still run events; PHP goes on with them (a process of WP-CLI only where the unit says \
                 KillMode=process), and the next start looks after them",
                self.running
            );
        }
    }

    /// Nobody read them for a while.
    fn refuse_late_orders(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
        }
    }

    /// A site that is being taken over has noted this runner already, and can be left only with the epoch that it answers.
    async fn end_calls(&mut self) {
        let deadline = tokio::time::Instant::now() + GOODBYE;
        while self.calling > 0 {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                happened = next_event(&mut self.tasks, &mut self.progress, &mut self.orders) => self.take(happened),
            }
        }
    }

    /// Page-load cron is back at once on a site that nobody looks after any more.
    pub async fn leave(&mut self) {
        let mut leaving = JoinSet::new();
        for entry in self.entries.values().filter(|entry| entry.may_leave && entry.removal != Some(Removal::Left)) {
            let (Some(calls), Some(epoch)) = (entry.calls.clone(), entry.state.epoch()) else { continue };
            let install = entry.state.install.clone();
            leaving.spawn(async move { leave(&calls, install.as_deref(), epoch).await });
        }
        let all = async { while leaving.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GOODBYE, all).await;
    }
}

pub(super) async fn leave(calls: &Calls, install: Option<&str>, epoch: i64) {
    let what = Settle { epoch: Some(epoch), leave: true, ..Settle::default() };
    if let Err(failure) = calls.settle(install, what).await {
        tracing::warn!("could not say goodbye: {}", failure.sentence(&calls.site.name));
    }
}
