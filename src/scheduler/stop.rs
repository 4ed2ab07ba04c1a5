//! The end: no new starts, a goodbye to every site, and patience for what runs.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::entry::{Entry, Removal};
use super::{Scheduler, next_event};
use crate::lease::redis::Tell;
use crate::outcome::Failure;
use crate::run_site::calls::{Calls, Settle};

/// So long for calls that are on their way, and so long for goodbyes.
const GOODBYE: Duration = Duration::from_secs(5);
/// Where others wait for the leases.
const SHORT_GOODBYE: Duration = Duration::from_millis(1000);

impl Scheduler {
    /// Says goodbye, then waits for what runs. In this order: PHP claims nothing more for a runner that has left, and gives what
    /// it has claimed and not started back at once.
    pub(super) async fn drain(&mut self) {
        let limit = self.drain;
        self.is_stopping = true;
        for entry in self.entries.values_mut() {
            entry.refuse_all(&Failure::Stopping);
        }
        self.refuse_asked_jobs(&Failure::Stopping);
        let deadline = tokio::time::Instant::now() + limit;
        self.end_calls().await;
        self.leave().await;
        self.give_leases_back(Entry::needs_its_lease).await;
        self.refuse_late_orders();
        if self.running > 0 {
            tracing::info!("stopping: {} requests or jobs still run; waiting up to {limit:?} for them", self.running);
        }
        while self.running > 0 {
            self.publish();
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => break,
                // Whoever watches over this process wants to hear that it lives.
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                task = self.jobs.next() => self.take_job(task),
                happened = next_event(&mut self.tasks, &mut self.progress, &mut self.orders) => self.take(happened),
            }
        }
        self.refuse_late_orders();
        self.give_leases_back(Entry::needs_its_lease).await;
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

    /// The others have them within a second or two; what runs here is kept from running twice by its process lock, and where there
    /// is none the lease is kept. A take-over that is still on its way could take the site from the next one: that lease ends
    /// by itself.
    pub async fn give_leases_back(&mut self, is_kept: impl Fn(&Entry) -> bool) {
        let Some(others) = &self.others else { return };
        let kept = self.entries.values().filter(|entry| is_kept(entry) || entry.state.is_taking());
        let jobs = self.jobs.entries.iter().filter(|(_, entry)| entry.is_running_here()).map(|(name, _)| name.clone());
        let keep = kept.map(|entry| entry.site.name.clone()).chain(jobs).collect();
        let (answer, answered) = oneshot::channel();
        others.tell(Tell::Leave { keep, answer });
        let _ = tokio::time::timeout(GOODBYE, answered).await;
    }

    /// Page-load cron is back at once on a site that nobody looks after any more.
    pub async fn leave(&mut self) {
        let mut leaving = JoinSet::new();
        let is_followed = self.entries.values().all(Entry::has_follower);
        for entry in self.entries.values().filter(|entry| entry.may_leave && entry.removal != Some(Removal::Left)) {
            let (Some(calls), Some(epoch)) = (entry.calls.clone(), entry.state.epoch()) else { continue };
            let (install, follows) = (entry.state.install.clone(), entry.has_follower());
            leaving.spawn(async move { leave(&calls, install.as_deref(), epoch, follows).await });
        }
        let all = async { while leaving.join_next().await.is_some() {} };
        // A site that does not answer must not keep the others from their next runner.
        let limit = if is_followed { SHORT_GOODBYE } else { GOODBYE };
        let _ = tokio::time::timeout(limit, all).await;
    }
}

/// `follows`: another runner takes over within seconds, and page loads need not.
pub(super) async fn leave(calls: &Calls, install: Option<&str>, epoch: i64, follows: bool) {
    let what = Settle { epoch: Some(epoch), leave: true, follows, ..Settle::default() };
    if let Err(failure) = calls.settle(install, what).await {
        tracing::warn!("could not say goodbye: {}", failure.sentence(&calls.site.name));
    }
}
