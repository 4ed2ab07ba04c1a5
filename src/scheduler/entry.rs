//! One site as the scheduler keeps it: what is known of it, and its lease.

mod asked;
mod shared;
mod told;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::Facts;
use super::places::Place;
use crate::clock;
use crate::config::Site;
use crate::history::RunRecord;
use crate::lease::file::{Lease, StateDir};
use crate::protocol::Open;
use crate::run_site::calls::{Calls, Me};
use crate::site::{Limits, Running, State, View};
use crate::text;
use crate::trigger::wp_cron_php;

pub use asked::{Answer, Asked};
pub use shared::{May, Shared};

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
    /// None where no other host shares its sites.
    shared: Option<Shared>,
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
    pub fn new(site: &Arc<Site>, me: &Arc<Me>, facts: Facts, shared: Option<Shared>) -> Self {
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
            shared,
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
        // Page views go by them while no runner is heard.
        let is_to_be_told = self.site.grace != site.grace || self.site.policies() != site.policies();
        self.site = site.clone();
        self.place = Place::of(site);
        self.state.reconfigured(now, limits_of(site), is_to_be_told);
        self.make_calls(me);
    }

    /// The site is wanted again before its last run has ended.
    pub fn return_to(&mut self, site: &Arc<Site>, me: &Arc<Me>, now: i64) {
        let has_left = self.removal.take() == Some(Removal::Left);
        self.reconfigure(site, me, now);
        self.is_shared_anew();
        if has_left {
            self.state.return_to();
        }
    }

    pub fn wants_to_leave(&self) -> bool {
        self.removal == Some(Removal::Wanted) && !self.state.is_calling()
    }

    /// Removed, and nothing of it is on its way.
    pub fn is_gone(&self) -> bool {
        self.removal == Some(Removal::Left) && !self.state.is_calling() && self.state.running() == 0
    }

    /// With the lease in hand, the site may be called.
    pub fn ready(&mut self, state: &StateDir, now: i64) -> bool {
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
                    return false;
                }
            }
        }
        true
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

    pub fn event_started(&mut self, run: String, hook: String, at_ms: i64, pid: Option<i64>, host: Option<String>) {
        let running = Running { run: run.clone(), hook, started: clock::rfc3339(at_ms), pid, host, overdue: None };
        self.running.insert(run, running);
    }

    pub fn run_is_overdue(&mut self, run: &str, reason: String) {
        if let Some(running) = self.running.get_mut(run) {
            running.overdue = Some(reason);
        }
    }

    /// `runner`: the name of this one.
    pub fn view(&self, runner: &str) -> View {
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
        if let Some((state, message)) = self.why_not_shared() {
            view.state = state;
            view.message = Some(message);
        }
        view.is_ours = self.is_held_here();
        view.runner = match self.looked_after_by() {
            Some(runner) => Some(runner.to_string()),
            None => view.is_ours.then(|| runner.to_string()),
        };
        view
    }
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
    use crate::outcome::Failure;
    use crate::run_site::calls::{Looked, Timing};
    use crate::site::{Seen, Want};

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

    fn looked(epoch: i64, owner: &str) -> Result<(Seen, Looked), Failure> {
        let due = serde_json::json!({"v": 1, "install": "i", "now_ms": 1_700_000_000_000_i64, "epoch": epoch,
            "owner": {"id": owner, "name": "r", "expected_ms": 1_700_000_060_000_i64, "left": false}});
        let timing = Timing { sent_ms: 1_700_000_000_000, received_ms: 1_700_000_000_000 };
        Ok((Seen::default(), Looked { due: serde_json::from_value(due).unwrap(), events: Vec::new(), timing }))
    }

    /// Its answer was lost: the site has the new epoch, and this runner the old one.
    #[test]
    fn nobody_stands_by_for_himself() {
        let folder = tempfile::tempdir().unwrap();
        let mut entry = entry(folder.path());
        let now = 1_700_000_000_000;
        let (me, other) = ("0".repeat(32), "1".repeat(32));
        entry.state.taken(now, 7, Seen::default(), Vec::new());
        entry.looked(now, looked(8, &me));
        assert!(!entry.state.is_standing_by());
        assert_eq!(entry.state.wants(now + 1000), Want::Take);

        let stale = Failure::Stale { name: "r".into(), expected_ms: Some(now + 60_000), epoch: Some(8) };
        entry.state.failed(now, stale.clone());
        entry.looked(now, looked(8, &other));
        assert_ne!(entry.state.wants(now + 1000), Want::Take, "somebody else is there");
        entry.looked(now, looked(8, &me));
        assert_eq!(entry.state.wants(now + 1000), Want::Take);
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
        Entry::new(&config.sites[0], &me, Facts::default(), None)
    }
}
