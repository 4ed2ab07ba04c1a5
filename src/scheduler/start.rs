//! What may start now: calls, goodbyes and runs, up to the limits of the host and of each place.

use super::entry::{May, Removal};
use super::stop::leave;
use super::{CALLS_AT_ONCE, Ran, SLICE_MS, Scheduler, TaskEnd};
use crate::clock;
use crate::history::sqlite::Reader;
use crate::outcome::Failure;
use crate::run_site::without_plugin::run_without_plugin;
use crate::run_site::{Ask, Context, run_site, take};
use crate::site::Want;

impl Scheduler {
    /// Starts what may start now; gives the time when somebody wants something next.
    pub(super) fn start_what_is_wanted(&mut self, now: i64) -> i64 {
        self.forget_removed();
        for entry in self.entries.values_mut() {
            entry.state.tick(now);
        }
        self.tell_keeper(now);
        self.start_what_may(now);
        // Asked anew: a site that is being called, or whose lease was refused, has another time now than before. Who wants
        // something this moment and did not get it waits for a place, and whoever gives one back wakes the loop.
        let waiting = self.entries.values().filter(|entry| !entry.is_finished && entry.removal.is_none());
        let waiting = waiting.filter(|entry| entry.may() != May::Nothing);
        let times = waiting.filter_map(|entry| match entry.state.wants(now) {
            Want::Nothing { until } => Some(until),
            _ => None,
        });
        let slice = if self.history_trouble.is_some() { 1000 } else { SLICE_MS };
        times.min().unwrap_or(i64::MAX).min(now + slice)
    }

    fn start_what_may(&mut self, now: i64) {
        self.notice_history_trouble();
        let mut runs: Vec<usize> = Vec::new();
        let numbers: Vec<usize> = self.entries.keys().copied().collect();
        for number in numbers {
            let Some(entry) = self.entries.get_mut(&number).filter(|entry| !entry.is_finished) else { continue };
            let may_call = self.calling < CALLS_AT_ONCE;
            if entry.wants_to_leave() && may_call {
                self.say_goodbye(number);
                continue;
            }
            if entry.removal.is_some() {
                continue;
            }
            entry.refuse_asked(self.history_trouble.as_deref());
            match entry.may() {
                May::All | May::Degraded => {}
                May::Look => {
                    if may_call && !entry.state.is_calling() && !matches!(entry.state.wants(now), Want::Nothing { .. })
                    {
                        self.call(number, Want::Look, now);
                    }
                    continue;
                }
                May::Nothing => continue,
            }
            if entry.has_asked_and_may_run() {
                runs.push(number);
            }
            match entry.state.wants(now) {
                Want::Nothing { .. } => {}
                Want::Run => {
                    // The lanes may be taken: the look that tells the site that the runner lives goes on.
                    let is_look_due = entry.state.is_look_due(now) && may_call;
                    runs.push(number);
                    if is_look_due {
                        self.call(number, Want::Look, now);
                    }
                }
                want if may_call => self.call(number, want, now),
                _ => {}
            }
        }
        if self.history_trouble.is_some() {
            return;
        }
        runs.dedup();
        runs.sort_by_key(|number| self.entries.get(number).map(|entry| entry.turn));
        for number in runs {
            // Once more where the first was for one hook alone: what is due waits for nothing.
            while self.has_place(number) && self.start_run(number, now) && self.wants_another(number, now) {}
        }
    }

    fn has_place(&self, number: usize) -> bool {
        let place = self.entries.get(&number).and_then(|entry| entry.place.as_ref());
        self.running < self.max_parallel && self.places.is_free(place)
    }

    fn wants_another(&self, number: usize, now: i64) -> bool {
        let entry = self.entries.get(&number);
        entry.is_some_and(|entry| entry.has_asked_and_may_run() || entry.state.wants(now) == Want::Run)
    }

    fn notice_history_trouble(&mut self) {
        let trouble = self.history.trouble();
        if trouble.is_some() != self.history_trouble.is_some() {
            match &trouble {
                Some(trouble) => tracing::error!("nothing new is started: {trouble}"),
                None => tracing::info!("the history can be written again"),
            }
        }
        self.history_trouble_since =
            trouble.as_ref().and(self.history_trouble_since.or_else(|| Some(clock::steady_ms())));
        self.history_trouble = trouble;
    }

    fn call(&mut self, number: usize, want: Want, now: i64) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if !entry.ready(&self.state, now) {
            return;
        }
        let Some(calls) = entry.calls.clone() else { return };
        entry.state.call_started(want);
        self.calling += 1;
        let site = entry.site.clone();
        let (file, name) = (self.state.history_file(), site.name.clone());
        let history = self.history.clone();
        let install = entry.state.install.clone();
        let epoch = entry.state.epoch().unwrap_or(0);
        let (since_ms, known_epoch) = (entry.since_ms, entry.known_epoch);
        let (realm, until_ms) = entry.realm(now);
        let open: Vec<_> = entry.state.foreign_open().cloned().collect();
        let overdue = entry.overdue(&open, now, clock::steady_ms());
        self.tasks.spawn(async move {
            let install = install.as_deref();
            let end = match want {
                Want::Take => {
                    let held = tokio::task::spawn_blocking(move || Reader::open(&file)?.held(&name)).await;
                    let held = held.ok().and_then(Result::ok).unwrap_or_default();
                    let known = take::Known { since_ms, epoch: known_epoch, realm, until_ms, held };
                    TaskEnd::Took(take::take(&calls, install, known, &history).await)
                }
                Want::Settle => {
                    let left = take::Left { install, epoch, open: &open, overdue: &overdue, since_ms };
                    TaskEnd::Settled(take::settle_open(&calls, left, &history).await)
                }
                _ => TaskEnd::Looked(calls.look(install, false).await),
            };
            (number, site, end)
        });
    }

    /// To a site that was taken out of the configuration: page-load cron is back at once, what runs may end.
    fn say_goodbye(&mut self, number: usize) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        entry.removal = Some(Removal::Left);
        entry.refuse_all(&Failure::NotStarted("the site is not in the configuration any more".into()));
        let (Some(calls), Some(epoch)) = (entry.calls.clone(), entry.state.epoch()) else { return };
        entry.state.call_started(Want::Settle);
        self.calling += 1;
        let (site, install, follows) = (entry.site.clone(), entry.state.install.clone(), entry.has_follower());
        self.tasks.spawn(async move {
            leave(&calls, install.as_deref(), epoch, follows).await;
            (number, site, TaskEnd::Left)
        });
    }

    fn forget_removed(&mut self) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| !entry.is_gone());
        if self.entries.len() != before {
            self.configure_keeper();
        }
    }

    fn start_run(&mut self, number: usize, now: i64) -> bool {
        let Some(entry) = self.entries.get_mut(&number) else { return false };
        let can_ask = entry.state.epoch().is_some() && entry.calls.is_some();
        let may = entry.state.has_free_lane() && (can_ask || !entry.site.has_plugin());
        // Once more: the lease is good for seconds only.
        let may_now = entry.may();
        if !may || !matches!(may_now, May::All | May::Degraded) || !entry.ready(&self.state, now) {
            return false;
        }
        if let (May::Degraded, Some(others)) = (may_now, &mut self.others) {
            others.degraded_runs += 1;
        }
        let began = entry.state.pass_began().unwrap_or(now);
        let (sent, only) = entry.run_starts(now);
        self.turn += 1;
        entry.turn = self.turn;
        let (place, site) = (entry.place.clone(), entry.site.clone());
        let (calls, epoch) = (entry.calls.clone(), entry.state.epoch().unwrap_or(0));
        let ask = Ask { install: entry.state.install.clone(), epoch, sent, only };
        self.running += 1;
        self.places.take(place.as_ref());
        let (history, progress, state) = (self.history.clone(), self.progress_in.clone(), self.state.clone());
        self.tasks.spawn(async move {
            let (end, record) = match calls {
                Some(calls) => {
                    let context = Context { calls, history, site: number, progress };
                    (run_site(&context, &ask).await, None)
                }
                None => {
                    let (end, record) =
                        run_without_plugin(&site, &history, &progress, number, &state, sent, began).await;
                    (end, Some(record))
                }
            };
            (number, site, TaskEnd::Ran(Box::new(Ran { end, place, record })))
        });
        true
    }
}
