//! One site as the scheduler keeps it: what is known of it, its lease, and how results change both.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::Facts;
use super::orders::Asked;
use super::places::Place;
use crate::clock;
use crate::config::Site;
use crate::history::RunRecord;
use crate::history::sqlite::History;
use crate::lease::file::{Lease, StateDir};
use crate::outcome::Failure;
use crate::protocol::{Busy, Due, Open, Settled};
use crate::run_site::calls::{Calls, Looked, Me, Timing, seen_in_settled};
use crate::site::{About, Limits, RunEnd, Running, Seen, State, View};
use crate::text;
use crate::trigger::wp_cron_php;

pub struct Entry {
    pub site: Arc<Site>,
    pub state: State,
    /// None for a site without the plugin, and where they cannot be made.
    pub calls: Option<Arc<Calls>>,
    pub place: Option<Place>,
    pub turn: u64,
    pub running: HashMap<String, Running>,
    /// Ends before this time are known; on PHP's clock.
    pub since_ms: Option<i64>,
    /// The epoch that was had last, here or before a restart.
    pub known_epoch: Option<i64>,
    /// `once` is done with it.
    pub is_finished: bool,
    /// Say goodbye at the end.
    pub may_leave: bool,
    /// It is not in the configuration any more.
    pub removal: Option<Removal>,
    /// Runs that somebody waits for: not started yet, and on their way by the number of their request.
    asked: VecDeque<Asked>,
    answers: HashMap<u64, (Asked, Vec<RunRecord>)>,
    /// When the time of each run that an earlier runner or request left is over; on the steady clock.
    ends_at: HashMap<String, i64>,
    /// Hook and key of the events that were named once as left alone.
    warned: HashSet<(String, String)>,
    lease: Option<Lease>,
    lease_trouble: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    Wanted,
    /// The site was told, or there was nothing to tell.
    Left,
}

pub fn limits_of(site: &Site) -> Limits {
    Limits {
        lanes: site.lanes,
        rescan_ms: clock::millis(site.rescan),
        schedule: site.schedule.clone(),
        has_plugin: site.has_plugin(),
    }
}

impl Entry {
    pub fn new(site: &Arc<Site>, me: &Arc<Me>, facts: Facts) -> Self {
        let mut state = State::new(clock::now_ms(), limits_of(site), facts.install);
        state.set_pause(facts.pause);
        let mut entry = Self {
            site: site.clone(),
            state,
            calls: None,
            place: Place::of(site),
            turn: 0,
            running: HashMap::new(),
            since_ms: facts.since_ms,
            known_epoch: facts.epoch,
            is_finished: false,
            may_leave: true,
            removal: None,
            asked: VecDeque::new(),
            answers: HashMap::new(),
            ends_at: HashMap::new(),
            warned: HashSet::new(),
            lease: None,
            lease_trouble: None,
        };
        entry.make_calls(me);
        entry
    }

    fn make_calls(&mut self, me: &Arc<Me>) {
        self.calls = None;
        if !self.site.has_plugin() {
            return;
        }
        match Calls::new(&self.site, me) {
            Ok(calls) => self.calls = Some(Arc::new(calls)),
            Err(failure) => {
                tracing::error!("{}", failure.sentence(&self.site.name));
                self.state.failed(clock::now_ms(), failure);
            }
        }
    }

    /// Another definition of the same site. What runs keeps the old one until it has ended.
    pub fn reconfigure(&mut self, site: &Arc<Site>, me: &Arc<Me>, now: i64) {
        let is_to_be_told = self.site.grace != site.grace;
        self.site = site.clone();
        self.place = Place::of(site);
        self.state.reconfigured(now, limits_of(site), is_to_be_told);
        self.make_calls(me);
    }

    pub fn wants_to_leave(&self) -> bool {
        self.removal == Some(Removal::Wanted) && !self.state.is_calling()
    }

    /// Removed, and nothing of it is on its way.
    pub fn is_gone(&self) -> bool {
        self.removal == Some(Removal::Left) && !self.state.is_calling() && self.state.running() == 0
    }

    pub fn ask(&mut self, asked: Asked) {
        if asked.hook.is_some() && !self.site.has_plugin() {
            let why = "the trigger wp-cron.php runs whatever is due, never one hook alone";
            let _ = asked.answer.send(Err(Failure::State(why.into())));
        } else {
            self.asked.push_back(asked);
        }
    }

    /// Whoever asks for a run is not kept waiting for what does not come by itself.
    pub fn refuse_asked(&mut self, history_trouble: Option<&str>) {
        let reason = match (history_trouble, self.state.failure(), &self.lease_trouble) {
            (Some(trouble), ..) => Failure::State(format!("nothing is started: {trouble}")),
            (None, Some(failure), _) if self.state.epoch().is_none() => failure.clone(),
            (None, _, Some(trouble)) => Failure::State(trouble.clone()),
            _ => return,
        };
        for asked in self.asked.drain(..) {
            let _ = asked.answer.send(Err(reason.clone()));
        }
    }

    pub fn has_asked_and_may_run(&self) -> bool {
        let is_ours = self.state.epoch().is_some() || !self.site.has_plugin();
        !self.asked.is_empty() && is_ours && self.state.has_free_lane()
    }

    /// The run of this number is the one that was asked for first, if any was; gives the hook that it is for.
    pub fn answer_with(&mut self, sent: u64) -> Option<String> {
        let asked = self.asked.pop_front()?;
        let hook = asked.hook.clone();
        self.answers.insert(sent, (asked, Vec::new()));
        hook
    }

    pub fn note_answer(&mut self, sent: u64, record: &RunRecord) {
        if let Some((_, records)) = self.answers.get_mut(&sent) {
            records.push(record.clone());
        }
    }

    /// With the lease in hand, the site may be called.
    pub fn ready(&mut self, state: &StateDir, now: i64) -> Option<()> {
        if self.lease.is_none() {
            match state.site(&self.site.name) {
                Ok(lease) => {
                    self.lease = Some(lease);
                    self.lease_trouble = None;
                }
                Err(refusal) => {
                    if self.lease_trouble.is_none() {
                        tracing::warn!("{refusal}; nothing is started there; it is tried again by itself");
                    }
                    self.lease_trouble = Some(refusal.to_string());
                    self.state.lease_refused(now);
                    return None;
                }
            }
        }
        Some(())
    }

    pub fn why_not_ready(&self) -> Option<String> {
        self.lease_trouble.clone()
    }

    /// Runs whose time is over. When they began only the wall clock says, and it is asked once, when they are first seen: a
    /// clock that is set later ends nobody.
    pub fn overdue(&mut self, open: &[Open], now: i64, steady: i64) -> Vec<String> {
        let php_now = self.state.clock.to_php(now);
        self.ends_at.retain(|run, _| open.iter().any(|row| row.run == *run));
        for row in open {
            if let Some(started) = row.started_ms {
                let left = started + clock::millis(self.site.timeout_of(&row.hook)) - php_now;
                self.ends_at.entry(row.run.clone()).or_insert(steady.saturating_add(left));
            }
        }
        let is_over = |row: &&Open| self.ends_at.get(&row.run).is_some_and(|at| steady > *at);
        open.iter().filter(is_over).map(|row| row.run.clone()).collect()
    }

    pub fn took(&mut self, now: i64, result: Result<(Settled, Timing), Failure>, history: &History) {
        let (settled, timing) = match result {
            Ok(taken) => taken,
            Err(failure) => return self.failed(now, failure),
        };
        self.learn_clock(timing, settled.now_ms);
        let name = &self.site.name;
        if let Some(install) = &settled.install {
            if self.state.install.is_none() {
                history.learn(name, "install", install.clone());
            }
            self.state.install = Some(install.clone());
        }
        history.learn(name, "epoch", settled.epoch.to_string());
        self.known_epoch = Some(settled.epoch);
        self.state.about.lock_kind.clone_from(&settled.lock_kind);
        let backlog = backlog(&settled);
        tracing::info!(
            site = name,
            "took over {name}: {}",
            backlog.clone().unwrap_or_else(|| "nothing is overdue".into())
        );
        for open in &settled.open {
            tracing::info!(
                site = name,
                run = open.run,
                "{} is {} there (process {}); it is looked after, not started again",
                text::safe(&open.hook),
                text::safe(&open.state),
                open.pid.unwrap_or(0)
            );
        }
        self.state.about.backlog = backlog;
        self.since_ms = Some(settled.now_ms);
        let seen = seen_in_settled(&settled);
        self.state.taken(now, settled.epoch, seen, settled.open);
    }

    pub fn looked(&mut self, now: i64, result: Result<(Seen, Looked), Failure>) {
        let (seen, looked) = match result {
            Ok(looked) => looked,
            Err(failure) => return self.failed(now, failure),
        };
        self.learn_clock(looked.timing, looked.due.now_ms);
        self.learn_about(&looked.due);
        let Due { epoch, owner, open, .. } = looked.due;
        if self.state.is_standing_by() {
            let owner = owner.filter(|owner| !owner.left);
            return self.state.stood_by(now, owner.and_then(|owner| owner.expected_ms));
        }
        if let Some(ours) = self.state.epoch()
            && epoch != ours
        {
            let name = owner.as_ref().map_or_else(|| "?".to_string(), |owner| owner.name.clone());
            let expected_ms = owner.and_then(|owner| owner.expected_ms);
            let failure = match epoch > ours {
                true => Failure::Stale { name, expected_ms, epoch: Some(epoch) },
                false => Failure::UnknownEpoch(Some(epoch)),
            };
            return self.failed(now, failure);
        }
        self.state.looked(now, seen, open);
    }

    pub fn settled(&mut self, now: i64, result: Result<(Seen, Settled, Timing), Failure>) {
        match result {
            Ok((seen, settled, timing)) => {
                self.learn_clock(timing, settled.now_ms);
                self.since_ms = Some(settled.now_ms - 1000);
                self.state.settled(now, seen, settled.open);
            }
            Err(failure) => self.failed(now, failure),
        }
    }

    /// `site`: what the run was begun with.
    pub fn ran(&mut self, now: i64, mut end: RunEnd, site: &Arc<Site>) {
        if let Some(left_alone) = end.left_alone.take() {
            self.learn_left_alone(left_alone);
        }
        let is_last = self.state.running() <= 1;
        self.answer(&mut end);
        if !Arc::ptr_eq(site, &self.site) && end.failure.is_some() {
            // The configuration that failed is not in force any more; the next look tells how it is now.
            end.failure = None;
            self.state.look_again();
        }
        if let Some(failure) = &end.failure {
            self.log_failure(failure);
        }
        self.state.run_ended(now, end);
        if is_last {
            self.running.clear();
        }
    }

    /// Tells whoever asked for this run. That there is no such hook says nothing about the site.
    fn answer(&mut self, end: &mut RunEnd) {
        let Some((asked, records)) = self.answers.remove(&end.sent) else { return };
        let is_his_mistake = matches!(end.failure, Some(Failure::NoSuchHook(_)));
        let failure = if is_his_mistake { end.failure.take() } else { end.failure.clone() };
        let busy =
            end.seen.as_ref().and_then(|seen| seen.busy.iter().find(|busy| Some(&busy.hook) == asked.hook.as_ref()));
        let _ = asked.answer.send(match (failure, busy) {
            (Some(failure), _) if records.is_empty() => Err(failure),
            (_, Some(busy)) if records.is_empty() => Err(Failure::State(busy_sentence(busy))),
            _ => Ok(records),
        });
    }

    fn learn_left_alone(&mut self, left_alone: Vec<Busy>) {
        let name = &self.site.name;
        for event in &left_alone {
            if self.warned.insert((event.hook.clone(), event.key.clone())) {
                tracing::warn!(
                    site = name,
                    "{}",
                    left_alone_sentence(name, &event.hook, event.reason.as_deref().unwrap_or_default())
                );
            }
        }
        self.state.about.left_alone = left_alone;
    }

    fn failed(&mut self, now: i64, failure: Failure) {
        self.log_failure(&failure);
        self.state.failed(now, failure);
    }

    /// The first of a row of equal failures is news.
    fn log_failure(&self, failure: &Failure) {
        if self.state.is_news(failure) {
            tracing::warn!(site = self.site.name, "{}", failure.sentence(&self.site.name));
        } else {
            tracing::debug!(site = self.site.name, "{}", failure.sentence(&self.site.name));
        }
    }

    fn learn_clock(&mut self, timing: Timing, php_ms: i64) {
        if php_ms > 0 {
            self.state.clock.learn(timing.sent_ms, timing.received_ms, php_ms);
        }
    }

    fn learn_about(&mut self, due: &Due) {
        let name = &self.site.name;
        if due.disable_wp_cron && !self.state.about.disable_wp_cron {
            tracing::warn!(site = name, "{}", disable_wp_cron_sentence(name));
        }
        if let Some(stray) = &due.stray
            && self.state.about.stray.as_ref().map(|known| &known.who) != Some(&stray.who)
        {
            tracing::warn!(site = name, "{}", stray_sentence(name, &stray.who));
        }
        let known = std::mem::take(&mut self.state.about);
        self.state.about = About { backlog: known.backlog, left_alone: known.left_alone, ..About::from_due(due) };
        if self.state.about.lock_kind.is_none() {
            self.state.about.lock_kind = known.lock_kind;
        }
    }

    pub fn event_started(&mut self, run: String, hook: String, at_ms: i64, pid: Option<i64>, host: Option<String>) {
        let running = Running { run: run.clone(), hook, started: clock::rfc3339(at_ms), pid, host };
        self.running.insert(run, running);
    }

    pub fn view(&self) -> View {
        let mut running: Vec<Running> = self.running.values().cloned().collect();
        running.sort_by(|a, b| a.started.cmp(&b.started));
        let mut view = self.state.view(&self.site.name, self.site.trigger_word(), running);
        if !self.site.has_plugin() {
            view.unknown = Some(wp_cron_php::unknown(&self.site));
        }
        if self.removal.is_some() {
            view.state = "removed";
        }
        if let Some(trouble) = &self.lease_trouble {
            view.state = "standby";
            view.message = Some(trouble.clone());
        }
        view
    }
}

fn busy_sentence(busy: &Busy) -> String {
    let why = match (&busy.reason, &busy.run) {
        (Some(reason), _) => text::safe(reason),
        (None, Some(run)) => format!("it is running already, run {}", text::safe(run)),
        (None, None) => "it is running already".to_string(),
    };
    format!("{}: {why}", text::safe(&busy.hook))
}

fn backlog(settled: &Settled) -> Option<String> {
    let oldest = settled.oldest?;
    let late = settled.now_ms - oldest * 1000;
    (settled.due > 0).then(|| match settled.due {
        1 => format!("1 event is due, since {}", clock::span(late)),
        many => format!("{many} events are due, the oldest since {}", clock::span(late)),
    })
}

pub fn disable_wp_cron_sentence(site: &str) -> String {
    format!(
        "site `{site}` defines DISABLE_WP_CRON, which is not needed any more and raises warnings elsewhere; remove this line from wp-config.php: define( 'DISABLE_WP_CRON', true );"
    )
}

pub fn left_alone_sentence(site: &str, hook: &str, reason: &str) -> String {
    format!(
        "site `{site}`: {} is due and left alone: {}; look whether the plugin that scheduled it is active, or unschedule it (`wp cron event delete`)",
        text::safe(hook),
        text::safe(reason)
    )
}

pub fn stray_sentence(site: &str, who: &str) -> String {
    format!(
        "somebody still calls wp-cron.php of site `{site}` ({}); it finds nothing to do; remove the crontab line that calls it (`crontab -l`, /etc/cron.d, the hoster's panel)",
        text::safe(who)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_ends_no_run() {
        let folder = tempfile::tempdir().unwrap();
        let mut entry = entry(folder.path());
        let hour = 3_600_000;
        let now = 1_700_000_000_000;
        let row = |run: &str, started_ms| Open {
            run: run.into(),
            hook: "h".into(),
            state: "running".into(),
            batch: "b".into(),
            due_at: None,
            started_ms,
            pid: None,
            host: None,
        };
        let open = [row("young", Some(now - 1000)), row("old", Some(now - hour)), row("claimed", None)];
        assert_eq!(entry.overdue(&open, now, 5), ["old"]);
        assert_eq!(entry.overdue(&open, now + 24 * hour, 1005), ["old"], "the clock was set");
        assert_eq!(entry.overdue(&open, now + 24 * hour, 600_005), ["young", "old"], "its ten minutes are over");
        assert_eq!(entry.overdue(&open[2..], now, 600_005), Vec::<String>::new());
        assert!(entry.ends_at.is_empty(), "what ended is forgotten");
    }

    fn entry(folder: &std::path::Path) -> Entry {
        use std::os::unix::fs::PermissionsExt;
        let key = folder.join("key");
        std::fs::write(&key, "1f2e3d4c".repeat(8)).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let text = "[[site]]\nname = \"shop\"\npath = \"/srv\"\nurl = \"https://shop.example\"\nfastcgi = \"/run/fpm.sock\"\nsecret_file = \"key\"\n";
        let path = folder.join("wp-cron-runner.toml");
        std::fs::write(&path, text).unwrap();
        let config = crate::config::read(&path, crate::config::Secrets::Needed).unwrap();
        let me = Arc::new(Me { id: "0".repeat(32), name: "r".into(), listen: String::new() });
        Entry::new(&config.sites[0], &me, Facts::default())
    }
}
