//! One round: say that this runner lives, learn who else does, renew, take, and give back.

use redis::Value;

use super::keeper::{Keeper, Maybe, Part};
use super::share::shares;
use super::words::{
    Answer, Beaten, Message, Want, acknowledged, answer_in, beat, facts_in, hold_in, holder, key, read, release_in,
    say, second, set_pause,
};
use super::{LEFT_LYING_MS, MARGIN_MS, Member, RENEW_MS, TTL_MS};
use crate::clock;
use crate::protocol::signature::random_hex;
use crate::redis_link::{Server, Trouble, Wire};
use crate::text;

/// What somebody left lying is not handed to him again at once.
const KEPT_MS: i64 = 60_000;
/// So many rounds a runner that was seen under this one's name is remembered.
const SEEN_DOUBLE: u32 = 4;
/// Containers are born with a new name each.
const MOST_NAMES: usize = 10_000;
/// What the runners know of sites changes seldom; that one has moved, an operator says.
const FACTS_MS: i64 = 60_000;
/// How long replicas are waited for.
const REPLICAS_MS: i64 = 500;

impl Keeper {
    pub(super) async fn round(&mut self) {
        match self.look_and_hold().await {
            Ok(()) => self.went_well(),
            Err(trouble) => {
                // Sentinels may name another server by now.
                self.link.close().await;
                self.met(&trouble);
            }
        }
    }

    /// A beat or a look that was refused is no reason to lose leases: those are renewed all the same.
    async fn look_and_hold(&mut self) -> Result<(), Trouble> {
        let wire = self.link.wire().await?;
        let server = wire.server().await?;
        if let Some(unfit) = server.unfit(&self.link.config) {
            return Err(Trouble::Unfit(unfit.sentence(&self.link.config)));
        }
        self.contact.tcp_port = server.tcp_port;
        let beaten = self.beat(&wire, &server.identity()).await;
        if matches!(beaten, Err(Trouble::NoAnswer(_))) || self.is_double() {
            return beaten;
        }
        let looked = if beaten.is_ok() { self.look(&wire).await } else { Ok(()) };
        if matches!(looked, Err(Trouble::NoAnswer(_))) {
            return looked;
        }
        let held = self.hold(&wire, &server, beaten.is_ok()).await;
        let from = self.me.process.clone();
        if std::mem::take(&mut self.is_news) {
            say(&self.link, &[Message::Changed { from }]).await?;
        } else if self.part == Part::Member {
            say(&self.link, &[Message::Here { from }]).await?;
        }
        beaten.and(looked).and(held)
    }

    /// Who lives, and which sites are paused.
    async fn beat(&mut self, wire: &Wire, identity: &str) -> Result<(), Trouble> {
        let is_member = self.part == Part::Member;
        let able = self.sites.iter().filter(|(_, held)| held.is_able && !self.is_double());
        self.me.sites = able.map(|(site, _)| site.clone()).collect();
        let json = serde_json::to_string(&self.me).map_err(|error| Trouble::Refused(error.to_string()))?;
        let realm = if self.realm.is_empty() { &self.own_realm } else { &self.realm };
        let word = is_member.then_some([self.me.id.as_str(), json.as_str(), realm.as_str(), identity]);
        let pipeline = beat(&self.link.config, word);
        let answer = second(wire.each(&pipeline).await?)?;
        let (before, realm, alive, paused, server, quarantine, first_end): Beaten = read(answer)?;
        self.sooner(first_end.saturating_add(20));
        self.learn_double(&before)?;
        self.realm = realm;
        self.members = alive.iter().filter_map(|json| serde_json::from_str(json).ok()).collect();
        self.members.sort_by(|a, b| a.id.cmp(&b.id));
        if self.names.len() > MOST_NAMES {
            self.names.clear();
        }
        self.names.extend(self.members.iter().map(|member| (member.id.clone(), member.name.clone())));
        self.paused = paused.into_iter().collect();
        // What is given back now nobody could have.
        self.may_hand_over = server == identity && quarantine <= 0;
        Ok(())
    }

    /// A machine that was cloned together with its state directory makes two runners of one name.
    fn learn_double(&mut self, before: &str) -> Result<(), Trouble> {
        let before = before.split_once(' ').map_or("", |(_, json)| json);
        let is_other = serde_json::from_str::<Member>(before).is_ok_and(|before| before.process != self.me.process);
        // Once it is this runner's own past. Two that live do not write by turns exactly.
        self.doubles =
            if is_other { (self.doubles + SEEN_DOUBLE).min(3 * SEEN_DOUBLE) } else { self.doubles.saturating_sub(1) };
        if self.is_double() {
            return Err(Trouble::Unfit(
                "another runner has the same identity as this one: was a machine cloned? remove runner.id from the \
                 state_dir of one of them, and start it again"
                    .into(),
            ));
        }
        Ok(())
    }

    fn is_double(&self) -> bool {
        self.doubles > SEEN_DOUBLE
    }

    /// Whose the other sites are; and, from time to time, what the runners know of each.
    async fn look(&mut self, wire: &Wire) -> Result<(), Trouble> {
        let sites: Vec<String> = self.sites.keys().cloned().collect();
        if sites.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("MGET").arg(sites.iter().map(|site| self.key(&format!("lease:{site}"))).collect::<Vec<_>>());
        let answer = wire.each(&pipeline).await?.pop().unwrap_or(Ok(Value::Nil))?;
        let values: Vec<Option<String>> = read(answer)?;
        let (now, own) = (clock::boot_ms(), format!("{}:", self.me.id));
        for (site, value) in sites.iter().zip(values) {
            let theirs = value.as_deref().filter(|value| !value.starts_with(&own)).map(|value| self.name_of(value));
            let Some(held) = self.sites.get_mut(site) else { continue };
            held.theirs = theirs;
            if self.may_hand_over && !held.why.is_empty() {
                // The quarantine is over; only now could somebody have taken it.
                held.why.clear();
                held.free_since = None;
            }
            held.free_since = if value.is_none() { held.free_since.or(Some(now)) } else { None };
        }
        if self.facts_at.is_none_or(|at| now >= at + FACTS_MS) {
            self.learn_facts(wire, sites).await?;
            self.facts_at = Some(now);
        }
        Ok(())
    }

    /// Which leases to renew or to ask for. Without a beat nobody knows whose part is whose.
    fn wants(&mut self, has_beaten: bool) -> Vec<Want> {
        let now = clock::boot_ms();
        let parts = if has_beaten { Some(shares(&self.members)) } else { None };
        let mut wants = Vec::new();
        for (site, held) in &mut self.sites {
            let is_trusted = held.value.is_some() && now < held.until;
            let is_nobodys = parts.as_ref().is_some_and(|parts| !parts.contains_key(site));
            let part = parts.as_ref().and_then(|parts| parts.get(site));
            let is_mine = self.part == Part::Guest || is_nobodys || part.is_some_and(|id| *id == self.me.id);
            let is_lying = held.is_able && held.free_since.is_some_and(|since| now > since + LEFT_LYING_MS);
            if parts.is_some() {
                let is_kept = now < held.kept_until;
                let other = part.filter(|id| !is_mine && !is_kept && self.may_hand_over && **id != self.me.id);
                held.wanted_by = other.and_then(|id| self.names.get(id)).cloned();
            }
            let value = match &held.value {
                Some(value) if self.troubles > 0 || now >= held.renewed + RENEW_MS - 500 => value.clone(),
                None if parts.is_some() && (is_mine || is_lying) => {
                    let Ok(token) = random_hex::<16>() else { continue };
                    format!("{}:{token}", self.me.id)
                }
                _ => continue,
            };
            let is_left_lying = !is_mine && held.value.is_none();
            wants.push(Want { site: site.clone(), is_ours: held.value.is_some(), value, is_trusted, is_left_lying });
        }
        wants
    }

    async fn hold(&mut self, wire: &Wire, server: &Server, has_beaten: bool) -> Result<(), Trouble> {
        let wants = self.wants(has_beaten);
        self.maybe.retain(|maybe| clock::boot_ms() < maybe.until);
        let (config, identity) = (self.link.config.clone(), server.identity());
        let mut pipeline = redis::pipe();
        pipeline.cmd("SCRIPT").arg("LOAD").arg(include_str!("release.lua"));
        for maybe in &self.maybe {
            release_in(&mut pipeline, &config, &maybe.site, &maybe.value);
        }
        pipeline.cmd("SCRIPT").arg("LOAD").arg(include_str!("hold.lua"));
        let skipped = 2 + self.maybe.len();
        for want in &wants {
            hold_in(&mut pipeline, &config, want, &identity, &self.me.id);
        }
        if wants.is_empty() && self.maybe.is_empty() {
            return Ok(());
        }
        if config.wait_replicas > 0 {
            pipeline.cmd("WAIT").arg(config.wait_replicas).arg(REPLICAS_MS);
        }
        let began = clock::boot_ms();
        let answered = wire.each(&pipeline).await;
        // Nobody knows what was granted then: what was asked for anew is given back as soon as Redis answers again.
        let Ok(mut answers) = answered else {
            let until = began + 2 * TTL_MS;
            let maybe = wants.into_iter().filter(|want| !want.is_ours);
            self.maybe.extend(maybe.map(|Want { site, value, .. }| Maybe { site, value, until }));
            return answered.map(drop);
        };
        let has_replicas = match config.wait_replicas {
            0 => Ok(()),
            least => acknowledged(answers.pop(), least),
        };
        let mut trouble = has_replicas.clone();
        let mut granted = Vec::new();
        for (want, answer) in wants.into_iter().zip(answers.into_iter().skip(skipped)) {
            match answer.and_then(answer_in) {
                Ok(answer) => {
                    if self.apply(&want, &answer, began, has_replicas.is_ok()) {
                        granted.push(want.site);
                    }
                }
                Err(refused) => trouble = trouble.and(Err(refused)),
            }
        }
        self.learn_facts(wire, granted).await?;
        trouble
    }

    /// What an answer changes. True where the lease is new.
    fn apply(&mut self, want: &Want, answer: &Answer, began: i64, has_replicas: bool) -> bool {
        let names = self.name_of_answer(answer);
        let is_new_grant = *answer == Answer::Granted && !want.is_trusted;
        let grant = if is_new_grant && has_replicas { self.granted() } else { 0 };
        let Some(held) = self.sites.get_mut(&want.site) else { return false };
        match answer {
            // It is there, and too few know of it: not trusted any longer, and not given up before its time.
            Answer::Renewed | Answer::Granted if !has_replicas => {
                if !want.is_ours {
                    let (site, value) = (want.site.clone(), want.value.clone());
                    self.maybe.push(Maybe { site, value, until: began + 2 * TTL_MS });
                }
                return false;
            }
            Answer::Renewed | Answer::Granted => {
                held.value = Some(want.value.clone());
                held.until = began + TTL_MS - MARGIN_MS;
                held.renewed = began;
                (held.theirs, held.free_since) = (None, None);
                if is_new_grant {
                    held.grant = grant;
                    // Whose part it is did not take it: he may be dead, or hindered.
                    held.kept_until = if want.is_left_lying { began + KEPT_MS } else { 0 };
                    self.is_news = true;
                }
                return is_new_grant;
            }
            Answer::Other(_, left) => {
                if held.value.take().is_some() {
                    tracing::warn!(site = want.site, "the lease has passed on to runner `{}`", text::safe(&names));
                }
                held.until = 0;
                held.theirs = Some(names);
                held.free_since = None;
                self.sooner(left.saturating_add(50));
            }
            Answer::Quarantine(left) => {
                held.value = None;
                held.until = 0;
                held.why = format!(
                    "this Redis was started, emptied or promoted a moment ago: leases that were granted before may be gone \
                     from it, and it grants new ones after {}",
                    clock::local(clock::now_ms().saturating_add(*left))
                );
                held.free_since = held.free_since.or(Some(began));
                self.sooner(left.saturating_add(50));
            }
        }
        false
    }

    /// Only for a time ahead: what Redis calls endless is less than 0.
    fn sooner(&mut self, ms: i64) {
        if ms < 50 {
            return;
        }
        self.sooner_ms = Some(self.sooner_ms.map_or(ms, |known| known.min(ms)));
    }

    /// What the one before knew.
    async fn learn_facts(&mut self, wire: &Wire, sites: Vec<String>) -> Result<(), Trouble> {
        if sites.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for site in &sites {
            pipeline.cmd("HMGET").arg(self.key(&format!("site:{site}"))).arg(&["install", "epoch", "ended_ms"]);
        }
        for (site, answer) in sites.iter().zip(wire.each(&pipeline).await?) {
            if let Some(held) = self.sites.get_mut(site) {
                held.facts = Some(facts_in(answer));
            }
        }
        Ok(())
    }

    /// True where Redis heard it; else it is told again in every round, until the leases have ended by themselves.
    pub(super) async fn release(&mut self, leases: Vec<(String, String)>) -> bool {
        let until = clock::boot_ms() + TTL_MS;
        for (site, value) in leases {
            if let Some(held) = self.sites.get_mut(&site) {
                (held.value, held.until, held.wanted_by) = (None, 0, None);
            }
            self.maybe.push(Maybe { site, value, until });
        }
        self.tell_releases(redis::pipe()).await
    }

    /// Behind what is in `pipeline` already.
    async fn tell_releases(&mut self, mut pipeline: redis::Pipeline) -> bool {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(include_str!("release.lua"));
        for maybe in &self.maybe {
            release_in(&mut pipeline, &self.link.config, &maybe.site, &maybe.value);
        }
        let is_done = self.link.each(&pipeline).await.is_ok_and(|answers| answers.iter().all(Result::is_ok));
        if is_done {
            let now = clock::boot_ms();
            // A command that was sent before and is done later could set one of the others still.
            self.maybe.retain(|maybe| maybe.until > now + TTL_MS);
        }
        is_done && say(&self.link, &[Message::Changed { from: self.me.process.clone() }]).await.is_ok()
    }

    /// Not alive any more first, so that whoever hears of it counts without this runner. What is kept is renewed until the end. It
    /// may be cut short anywhere.
    pub(super) async fn leave(&mut self, keep: &[String]) {
        let mut pipeline = redis::pipe();
        if self.part == Part::Member {
            pipeline.cmd("HDEL").arg(self.key("runners")).arg(&self.me.id);
        }
        self.part = Part::Guest;
        let until = clock::boot_ms() + TTL_MS;
        for (site, held) in self.sites.iter_mut().filter(|(site, _)| !keep.contains(site)) {
            let site = site.clone();
            self.maybe.extend(held.value.take().map(|value| Maybe { site, value, until }));
        }
        self.sites.retain(|site, _| keep.contains(site));
        self.tell_releases(pipeline).await;
    }

    pub(super) async fn set_pause(&mut self, site: &str, value: Option<&str>) -> Result<(), Trouble> {
        set_pause(&self.link, site, value).await?;
        match value {
            Some(value) => _ = self.paused.insert(site.to_string(), value.to_string()),
            None => _ = self.paused.remove(site),
        }
        Ok(())
    }

    fn name_of(&self, value: &str) -> String {
        holder(value, |id| self.names.get(id).cloned())
    }

    fn name_of_answer(&self, answer: &Answer) -> String {
        match answer {
            Answer::Other(value, _) => self.name_of(value),
            _ => String::new(),
        }
    }

    fn key(&self, name: &str) -> String {
        key(&self.link.config, name)
    }
}
