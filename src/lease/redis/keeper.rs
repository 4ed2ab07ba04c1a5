//! The task that keeps the leases: when it makes a round, and what it does between two.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::{mpsc, oneshot, watch};

use super::words::{Message, key, say};
use super::{Board, Contact, Facts, GUEST, Leases, Member, ROUND_MS, Standing, Tell};
use crate::clock;
use crate::protocol::Notice;
use crate::protocol::signature::random_hex;
use crate::redis_link::{Link, Trouble};

/// Runners hear themselves in every round: a connection that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(20);
/// Between two rounds.
const MOST_NOTICES: usize = 1000;
/// A goodbye that Redis does not take is not waited for.
const GOODBYE: Duration = Duration::from_secs(2);

/// Who keeps leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A daemon, which shares the sites with others.
    Member,
    /// `once`: takes what is free, whoever's part it is, and is nobody to share with.
    Guest,
}

/// What is known of one site's lease.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub is_able: bool,
    /// The value in Redis, while the lease is thought to be ours.
    pub value: Option<String>,
    /// Trusted until (boot_ms).
    pub until: i64,
    pub renewed: i64,
    pub grant: u64,
    pub wanted_by: Option<String>,
    /// Not handed over before this time (boot_ms).
    pub kept_until: i64,
    pub theirs: Option<String>,
    /// Nobody has had it since (boot_ms), and what stands in the way.
    pub free_since: Option<i64>,
    pub why: String,
    pub facts: Option<Facts>,
}

/// A lease that Redis may have granted without our hearing of it.
#[derive(Debug)]
pub(super) struct Maybe {
    pub site: String,
    pub value: String,
    /// No longer there after this time (boot_ms).
    pub until: i64,
}

pub struct Keeper {
    pub(super) link: Arc<Link>,
    pub(super) part: Part,
    pub(super) me: Member,
    pub(super) sites: BTreeMap<String, Held>,
    pub(super) members: Vec<Member>,
    /// Names of runners that lived once, by their ids.
    pub(super) names: HashMap<String, String>,
    pub(super) paused: HashMap<String, String>,
    /// Empty until Redis told it.
    pub(super) realm: String,
    /// What it will be where there is none.
    pub(super) own_realm: String,
    pub(super) maybe: Vec<Maybe>,
    pub(super) contact: Contact,
    pub(super) troubles: u32,
    /// Another process says that it is this runner.
    pub(super) doubles: u32,
    /// When the facts of all sites were read (boot_ms).
    pub(super) facts_at: Option<i64>,
    /// Others are granted leases at the moment.
    pub(super) may_hand_over: bool,
    /// What others have to hear of.
    pub(super) is_news: bool,
    /// When to look again, where sooner than usual (milliseconds).
    pub(super) sooner_ms: Option<i64>,
    grants: u64,
    board: watch::Sender<Arc<Board>>,
}

/// Begins to keep leases. `sites` begin as ones that this runner has not proven able to serve.
pub fn keep(link: &Arc<Link>, part: Part, me: Member, sites: &[String]) -> Leases {
    let (board, reader) = watch::channel(Arc::new(Board::default()));
    let (tell, told) = mpsc::unbounded_channel();
    let (notices, heard) = mpsc::unbounded_channel();
    let (message, messages) = mpsc::unbounded_channel();
    let id = if part == Part::Guest { format!("{}{GUEST}", me.id) } else { me.id };
    let me = Member { id, ..me };
    let mut keeper = Keeper {
        link: link.clone(),
        part,
        me,
        sites: BTreeMap::new(),
        members: Vec::new(),
        names: HashMap::new(),
        paused: HashMap::new(),
        realm: String::new(),
        own_realm: random_hex::<16>().unwrap_or_default(),
        maybe: Vec::new(),
        contact: Contact { since_ms: clock::now_ms(), ..Contact::default() },
        troubles: 0,
        doubles: 0,
        facts_at: None,
        may_hand_over: false,
        is_news: true,
        sooner_ms: None,
        grants: 0,
        board,
    };
    keeper.configure(sites);
    if part == Part::Member {
        tokio::spawn(listen(link.clone(), message));
    }
    tokio::spawn(keeper.keep(told, messages, notices));
    Leases { board: reader, keeper: tell, notices: heard }
}

/// What was said since the last round, and waits to be done. It is done at once for all of it: while Redis hangs, each word
/// costs a second.
#[derive(Debug, Default)]
struct Said {
    wants_round: bool,
    releases: Vec<(String, String)>,
    notices: Vec<Message>,
    leave: Option<(Vec<String>, oneshot::Sender<()>)>,
}

impl Keeper {
    async fn keep(
        mut self,
        mut told: mpsc::UnboundedReceiver<Tell>,
        mut messages: mpsc::UnboundedReceiver<Message>,
        notices: mpsc::UnboundedSender<(String, Notice)>,
    ) {
        loop {
            self.round().await;
            self.publish();
            let next = tokio::time::Instant::now() + self.pause();
            let mut said = Said::default();
            while !said.wants_round {
                tokio::select! {
                    tell = told.recv() => match tell {
                        None => return,
                        Some(tell) => self.heed(tell, &mut said).await,
                    },
                    Some(message) = messages.recv() => self.hear(message, &notices, &mut said),
                    () = tokio::time::sleep_until(next) => said.wants_round = true,
                }
                while let Ok(tell) = told.try_recv() {
                    self.heed(tell, &mut said).await;
                }
                while let Ok(message) = messages.try_recv() {
                    self.hear(message, &notices, &mut said);
                }
                self.do_what_was_said(&mut said).await;
            }
            if let Some((keep, answer)) = said.leave {
                let is_last = keep.is_empty();
                let _ = tokio::time::timeout(GOODBYE, self.leave(&keep)).await;
                self.publish();
                let _ = answer.send(());
                if is_last {
                    return;
                }
            }
        }
    }

    async fn do_what_was_said(&mut self, said: &mut Said) {
        if !said.releases.is_empty() {
            said.wants_round |= !self.release(std::mem::take(&mut said.releases)).await;
            self.publish();
        }
        // A lost notice is harmless: the next rescan finds what it spoke of.
        let notices = std::mem::take(&mut said.notices);
        if !notices.is_empty() && self.contact.is_there {
            said.wants_round |= say(&self.link, &notices).await.is_err();
        }
        said.wants_round |= said.leave.is_some();
    }

    /// How long nothing needs to be done: the usual time; less and less after a failure.
    fn pause(&mut self) -> Duration {
        let ms = match self.troubles {
            0 => self.sooner_ms.take().unwrap_or(ROUND_MS).clamp(20, ROUND_MS),
            troubles => (ROUND_MS >> troubles.min(8)).max(1000),
        };
        Duration::from_millis(ms.unsigned_abs())
    }

    async fn heed(&mut self, tell: Tell, said: &mut Said) {
        match tell {
            Tell::Sites(sites) => {
                said.releases.extend(self.configure(&sites));
                self.is_news = true;
                said.wants_round = true;
            }
            Tell::Able { site, is_able } => {
                if let Some(held) = self.sites.get_mut(&site).filter(|held| held.is_able != is_able) {
                    held.is_able = is_able;
                    self.is_news = true;
                    said.wants_round = true;
                }
            }
            Tell::Release { site, grant } => {
                let held = self.sites.get_mut(&site).filter(|held| held.grant == grant);
                let value = held.and_then(|held| held.value.take());
                said.releases.extend(value.map(|value| (site, value)));
            }
            Tell::Notice { site, notice } if said.notices.len() < MOST_NOTICES => {
                said.notices.push(Message::Notice { site, notice });
            }
            Tell::Notice { .. } => {}
            Tell::Pause { site, value, answer } => {
                let done = self.set_pause(&site, value.as_deref()).await;
                if let Err(trouble) = &done {
                    // Whoever asked for it tells it again when there is contact again.
                    self.met(trouble);
                    self.publish();
                }
                let _ = answer.send(done.map_err(|trouble| trouble.to_string()));
                said.wants_round = true;
            }
            Tell::Leave { keep, answer } => said.leave = Some((keep, answer)),
        }
    }

    fn hear(&self, message: Message, notices: &mpsc::UnboundedSender<(String, Notice)>, said: &mut Said) {
        match message {
            Message::Changed { from } => said.wants_round |= from != self.me.process,
            Message::Here { .. } => {}
            Message::Notice { site, notice } => _ = notices.send((site, notice)),
        }
    }

    /// Gives the leases of sites that are not wanted any more.
    fn configure(&mut self, sites: &[String]) -> Vec<(String, String)> {
        let gone: Vec<String> = self.sites.keys().filter(|site| !sites.contains(site)).cloned().collect();
        let gone = gone.into_iter().filter_map(|site| Some((site.clone(), self.sites.remove(&site)?.value?))).collect();
        for site in sites {
            // Whoever comes for one run needs no proof.
            let is_able = self.part == Part::Guest;
            self.sites.entry(site.clone()).or_insert_with(|| Held { is_able, ..Held::default() });
        }
        self.facts_at = None;
        gone
    }

    pub(super) fn granted(&mut self) -> u64 {
        self.grants += 1;
        self.grants
    }

    fn publish(&self) {
        let standing = |held: &Held| match (&held.value, &held.theirs) {
            (Some(_), _) if held.until > 0 => {
                Standing::Ours { until: held.until, grant: held.grant, wanted_by: held.wanted_by.clone() }
            }
            (_, Some(runner)) => Standing::Theirs { runner: runner.clone() },
            (_, None) if held.free_since.is_some() => Standing::Free { why: held.why.clone() },
            _ => Standing::Unknown,
        };
        let facts = self.sites.iter().filter_map(|(site, held)| Some((site.clone(), held.facts.clone()?)));
        let board = Board {
            contact: self.contact.clone(),
            realm: self.realm.clone(),
            runners: self.members.clone(),
            sites: self.sites.iter().map(|(site, held)| (site.clone(), standing(held))).collect(),
            facts: facts.collect(),
            paused: self.paused.clone(),
        };
        self.board.send_if_modified(|known| {
            let is_changed = **known != board;
            if is_changed {
                *known = Arc::new(board);
            }
            is_changed
        });
    }

    pub(super) fn met(&mut self, trouble: &Trouble) {
        self.troubles = self.troubles.saturating_add(1);
        let why = trouble.to_string();
        if self.contact.is_there || self.contact.why.is_none() {
            tracing::warn!("{why}; a lease that this runner has is good for {} s more at most", super::TTL_MS / 1000);
            let lost = self.contact.lost + 1;
            self.contact = Contact { is_there: false, why: Some(why), since_ms: clock::now_ms(), lost, ..self.contact };
        } else {
            self.contact.why = Some(why);
        }
    }

    pub(super) fn went_well(&mut self) {
        self.troubles = 0;
        if !self.contact.is_there {
            if self.contact.why.is_some() {
                tracing::info!("{} answers again", self.link.config);
            }
            self.contact = Contact { is_there: true, why: None, since_ms: clock::now_ms(), ..self.contact };
        }
    }
}

/// For ever: what other runners say, over a connection of its own.
async fn listen(link: Arc<Link>, messages: mpsc::UnboundedSender<Message>) {
    let mut is_told = false;
    loop {
        let channel = key(&link.config, "events");
        let listening = link.listen(&channel).await;
        if let Err(trouble) = &listening
            && !matches!(trouble, Trouble::NoAnswer(_))
            && !std::mem::replace(&mut is_told, true)
        {
            tracing::warn!("what other runners say is not heard, and leases move more slowly: {trouble}");
        }
        if let Ok((_wire, mut pushed)) = listening {
            is_told = false;
            // What was said before is not heard any more.
            let missed = Message::Changed { from: String::new() };
            if messages.send(missed).is_err() {
                return;
            }
            while let Ok(Some(push)) = tokio::time::timeout(SILENCE, pushed.recv()).await {
                match push {
                    PushInfo { kind: PushKind::Disconnection, .. } => break,
                    PushInfo { kind: PushKind::Message, data } => {
                        if let Some(message) = message_in(&data)
                            && messages.send(message).is_err()
                        {
                            return;
                        }
                    }
                    _ => {}
                }
            }
        }
        if messages.is_closed() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Channel and payload; what cannot be read is another version's.
fn message_in(data: &[Value]) -> Option<Message> {
    match data.get(1)? {
        Value::BulkString(bytes) => serde_json::from_slice(bytes).ok(),
        Value::SimpleString(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}
