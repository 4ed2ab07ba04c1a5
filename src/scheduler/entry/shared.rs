//! A site's lease where several hosts share their sites: what it allows, and what its coming and going changes.

use super::Entry;
use crate::clock;
use crate::lease::redis::{Board, Standing};
use crate::outcome::Failure;
use crate::scheduler::board::UNABLE_AFTER_MS;
use crate::text;

/// So long a site may run events before it is handed over in the middle of them.
const PATIENCE_MS: i64 = 10_000;
/// Whose looks succeed and whose runs do not is believed to serve the site so much later, and longer each time.
const HOLD_OFF_MS: i64 = 300_000;
const LONGEST_HOLD_OFF_MS: i64 = 3_600_000;

/// What is known of the lease, by the keeper's board.
#[derive(Debug, Default)]
pub struct Shared {
    standing: Standing,
    /// Why Redis does not answer.
    lost: Option<String>,
    /// The site was reached from here.
    is_proven: bool,
    /// What the keeper believes; None: nobody has told it.
    told_able: Option<bool>,
    /// Runs failed here although looks succeed: not able before this time (steady milliseconds), and how long the last time.
    held_off: Option<(i64, i64)>,
    /// The site has another owner although the lease is ours: whoever has it holds one from another Redis, or from before a
    /// failover. Only his silence makes way then.
    is_disputed: bool,
    realm: String,
    /// The grant that was handed over last: the keeper may not have heard of it yet.
    given: u64,
    /// Another living runner could take over.
    has_follower: bool,
    wanted_since: Option<i64>,
}

/// What may be done with a site now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    All,
    /// Redis is gone, and the site's database knows this runner: it goes on under that alone.
    Degraded,
    /// One look, which tells whether the site can be served from here.
    Look,
    Nothing,
}

impl Entry {
    /// Always all where sites are not shared.
    pub fn may(&self) -> May {
        let Some(shared) = &self.shared else { return May::All };
        match (&shared.standing, &shared.lost) {
            (Standing::Ours { .. } | Standing::Theirs { .. } | Standing::Free { .. }, None)
                if !shared.is_proven && self.site.has_plugin() && self.state.epoch().is_none() =>
            {
                May::Look
            }
            (Standing::Ours { until, .. }, _) if clock::boot_ms() < *until => May::All,
            // It was ours when it was last known, or nobody can have it at the moment.
            (Standing::Ours { .. }, Some(_)) | (Standing::Free { .. }, _) if self.state.epoch().is_some() => {
                May::Degraded
            }
            _ => May::Nothing,
        }
    }

    /// The board has changed. Gives the epoch of a site that has passed on to another: whose owner this runner may be still, where
    /// both had a lease of their own.
    pub fn heed(&mut self, board: &Board, own: &str) -> Option<i64> {
        let shared = self.shared.as_mut()?;
        let name = &self.site.name;
        let now = board.sites.get(name).cloned().unwrap_or_default();
        let is_given = matches!(now, Standing::Ours { grant, .. } if grant <= shared.given);
        let now = if is_given { Standing::Unknown } else { now };
        let before = std::mem::replace(&mut shared.standing, now);
        shared.lost = (!board.contact.is_there).then(|| board.contact.why.clone()).flatten();
        shared.realm.clone_from(&board.realm);
        shared.has_follower = board.has_follower(name, own);
        // It moved, and an operator said so on some host.
        if let (Some(Failure::WrongInstall(_)), Some(facts)) = (self.state.failure(), board.facts.get(name))
            && facts.install.is_some()
            && facts.install != self.state.install
        {
            self.state.install.clone_from(&facts.install);
            self.state.start_anew();
        }
        let grant = |standing: &Standing| match standing {
            Standing::Ours { grant, .. } => Some(*grant),
            _ => None,
        };
        match (grant(&before), grant(&shared.standing)) {
            (old, Some(new)) if old != Some(new) => {
                shared.is_disputed = false;
                shared.wanted_since = None;
                let facts = board.facts.get(name).cloned().unwrap_or_default();
                if self.state.install.is_none() {
                    self.state.install = facts.install;
                }
                // Those who had it have told Redis what they ran.
                self.since_ms = self.since_ms.max(facts.ended_ms.map(|ended| ended - super::super::SINCE_BEFORE_MS));
                self.known_epoch = self.known_epoch.max(facts.epoch);
                self.state.start_anew();
            }
            // In a quarantine nobody else gets it either.
            (_, None) if self.state.epoch().is_some() && !matches!(shared.standing, Standing::Free { .. }) => {
                shared.wanted_since = None;
                let passed_on = matches!(shared.standing, Standing::Theirs { .. });
                let epoch = self.state.epoch().filter(|_| passed_on);
                self.state.start_anew();
                return epoch;
            }
            _ => {}
        }
        None
    }

    /// Another is to have the lease, of this grant: now, where nothing runs here, else in a while. `now`: steady milliseconds.
    pub fn hands_over(&mut self, now: i64) -> Option<u64> {
        let is_idle = self.state.running() == 0 && !self.state.is_calling();
        // A take-over on its way could take the site from whoever has it by then.
        let must_keep = self.needs_its_lease() || self.state.is_taking();
        let shared = self.shared.as_mut()?;
        if must_keep || shared.lost.is_some() {
            return None;
        }
        let Standing::Ours { wanted_by: Some(_), grant, .. } = shared.standing else {
            shared.wanted_since = None;
            return None;
        };
        let since = *shared.wanted_since.get_or_insert(now);
        if !is_idle && now < since + PATIENCE_MS {
            return None;
        }
        shared.given = grant;
        shared.standing = Standing::Unknown;
        shared.wanted_since = None;
        self.state.start_anew();
        Some(grant)
    }

    /// News for the keeper: this runner can serve the site, or cannot, which matters where others could. `is_hindered`: nothing
    /// can be started on this host.
    pub fn ability(&mut self, now: i64, steady: i64, is_hindered: bool) -> Option<bool> {
        let is_hindered = is_hindered || self.lease_trouble.is_some();
        let trouble = self.state.trouble_of_this_host(now).filter(|(ms, _)| *ms >= UNABLE_AFTER_MS);
        let is_owner = self.state.epoch().is_some();
        let goes_well = is_owner && self.state.failure().is_none();
        let has_plugin = self.site.has_plugin();
        let shared = self.shared.as_mut()?;
        match trouble {
            Some((_, is_of_runs)) if shared.is_proven => {
                shared.is_proven = false;
                if is_of_runs && is_owner {
                    let last = shared.held_off.map_or(HOLD_OFF_MS, |(_, last)| (last * 2).min(LONGEST_HOLD_OFF_MS));
                    shared.held_off = Some((steady + last, last));
                }
            }
            // With the lease in hand whatever succeeds is a proof.
            None if goes_well || !has_plugin => {
                shared.is_proven = true;
                // What has gone well for so long is another story.
                shared.held_off = shared.held_off.filter(|(until, _)| steady < until + LONGEST_HOLD_OFF_MS);
            }
            _ => {}
        }
        let is_held_off = shared.held_off.is_some_and(|(until, _)| steady < until);
        let is_able = shared.is_proven && !is_hindered && !is_held_off;
        (shared.told_able.replace(is_able) != Some(is_able)).then_some(is_able)
    }

    /// A look that was made to learn whether the site can be served has ended.
    pub fn was_looked_at(&mut self, went_well: bool) {
        if let Some(shared) = &mut self.shared
            && self.state.epoch().is_none()
        {
            shared.is_proven = went_well;
        }
    }

    /// Wanted again: the keeper has forgotten it meanwhile.
    pub fn is_shared_anew(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.told_able = None;
            (shared.standing, shared.wanted_since, shared.is_disputed) = (Standing::Unknown, None, false);
        }
    }

    /// What runs has no fence and no lock but the lease.
    pub fn needs_its_lease(&self) -> bool {
        !self.site.has_plugin() && self.state.running() > 0
    }

    /// The site names another owner while the lease is ours.
    pub fn dispute(&mut self) {
        if let Some(shared) = &mut self.shared
            && matches!(shared.standing, Standing::Ours { .. })
        {
            shared.is_disputed = true;
        }
    }

    /// What a take-over says: the realm, in which nobody has to wait for the silence of the one before, and until when the lease
    /// is trusted, on PHP's clock.
    pub fn realm(&self, now: i64) -> (String, Option<i64>) {
        let Some(shared) = &self.shared else { return Default::default() };
        let until = match &shared.standing {
            // His silence has to make way; whoever follows this one need not wait.
            _ if shared.is_disputed => None,
            Standing::Ours { until, .. } => Some(self.state.clock.to_php(now + until - clock::boot_ms())),
            _ => None,
        };
        (shared.realm.clone(), until)
    }

    /// At a goodbye: another runner takes over within seconds.
    pub fn has_follower(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.has_follower && shared.lost.is_none())
    }

    pub fn is_held_here(&self) -> bool {
        matches!(self.may(), May::All | May::Degraded)
    }

    /// The runner that looks after it, where it is known to be another.
    pub fn looked_after_by(&self) -> Option<&str> {
        match &self.shared.as_ref()?.standing {
            Standing::Theirs { runner } => Some(runner),
            _ => None,
        }
    }

    /// Why nothing can be started on a shared site: state and sentence.
    pub fn why_not_shared(&self) -> Option<(&'static str, String)> {
        let (shared, name) = (self.shared.as_ref()?, &self.site.name);
        match (self.may(), &shared.standing, &shared.lost) {
            (May::All, ..) => None,
            (May::Degraded, standing, lost) => {
                let why = match standing {
                    Standing::Free { why } => why,
                    _ => lost.as_deref().unwrap_or_default(),
                };
                let words =
                    format!("site `{name}` goes on without a lease: {why}; its own database keeps other runners out");
                Some(("degraded", words))
            }
            (_, Standing::Theirs { runner }, None) => {
                let mut words = format!("runner {} looks after site `{name}`", text::safe(runner));
                if let Some(failure) = self.state.failure() {
                    words += &format!("; from here it {failure}");
                }
                Some(("standby", words))
            }
            // What is wrong with the site says more than that it is not ours yet.
            (May::Look, _, None) if self.state.failure().is_some() => None,
            (_, _, Some(lost)) => Some((
                "paused",
                format!(
                    "site `{name}` gets nothing started here: {lost}; without a lease only the runner that its database knows \
                     may go on; by itself as soon as Redis answers"
                ),
            )),
            (_, Standing::Free { why }, None) if !why.is_empty() => Some(("starting", format!("site `{name}`: {why}"))),
            _ => Some(("starting", format!("site `{name}` waits for its lease"))),
        }
    }

    /// For `once`: another has it, or nobody can say who.
    pub fn cannot_be_had(&self) -> Option<Failure> {
        let shared = self.shared.as_ref()?;
        match (&shared.standing, &shared.lost) {
            (Standing::Ours { .. }, _) => None,
            (Standing::Theirs { runner }, None) => {
                Some(Failure::Stale { name: runner.clone(), expected_ms: None, epoch: None })
            }
            (_, Some(lost)) => Some(Failure::NotReached(format!("its lease is not to be had: {lost}"))),
            _ => None,
        }
    }

    /// As a failure, for whoever asks for a run.
    pub fn refusal_of_shared(&self) -> Option<Failure> {
        let (state, why) = self.why_not_shared()?;
        match self.looked_after_by() {
            _ if state == "degraded" || state == "starting" => None,
            Some(runner) => {
                let why = format!("runner `{}` looks after it; ask there", text::safe(runner));
                Some(Failure::NotStarted(why))
            }
            None => Some(Failure::NotStarted(why)),
        }
    }
}

#[cfg(test)]
mod tests;
