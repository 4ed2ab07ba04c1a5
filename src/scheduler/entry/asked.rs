//! Runs that somebody asked for, and waits for.

use tokio::sync::oneshot;

use super::Entry;
use crate::history::RunRecord;
use crate::outcome::Failure;
use crate::protocol::{Busy, Only};
use crate::site::RunEnd;
use crate::text;

pub type Answer<T> = oneshot::Sender<Result<T, Failure>>;

/// A run that somebody waits for.
#[derive(Debug)]
pub struct Asked {
    pub only: Option<Only>,
    pub answer: Answer<Vec<RunRecord>>,
}

impl Entry {
    pub fn ask(&mut self, asked: Asked) {
        if asked.only.is_some() && !self.site.has_plugin() {
            let why = "the trigger wp-cron.php runs whatever is due, never one hook alone";
            let _ = asked.answer.send(Err(Failure::NotStarted(why.into())));
        } else {
            self.asked.push_back(asked);
        }
    }

    /// Whoever asks for a run is not kept waiting for what does not come by itself.
    pub fn refuse_asked(&mut self, history_trouble: Option<&str>) {
        let cannot_call = self.site.has_plugin() && self.calls.is_none();
        let reason = match (history_trouble, self.refusal_of_shared(), self.state.failure(), &self.lease_trouble) {
            (Some(trouble), ..) => Failure::NotStarted(trouble.to_string()),
            (None, Some(refusal), ..) => refusal,
            (None, _, Some(failure), _) if self.state.epoch().is_none() || cannot_call => failure.clone(),
            (None, _, _, Some(trouble)) => Failure::NotStarted(trouble.clone()),
            _ => return,
        };
        self.refuse_all(&reason);
    }

    /// Whatever was asked for and is not on its way yet.
    pub fn refuse_all(&mut self, reason: &Failure) {
        for asked in self.asked.drain(..) {
            let _ = asked.answer.send(Err(reason.clone()));
        }
    }

    pub fn has_asked_and_may_run(&self) -> bool {
        let is_ours = (self.state.epoch().is_some() || !self.site.has_plugin()) && self.is_held_here();
        !self.asked.is_empty() && is_ours && self.state.has_free_lane()
    }

    /// A run starts: the one that was asked for first, if any was. Gives its number, and the hook that it is for.
    pub fn run_starts(&mut self, now: i64) -> (u64, Option<Only>) {
        let asked = self.asked.pop_front();
        let only = asked.as_ref().and_then(|asked| asked.only.clone());
        let sent = if only.is_some() { self.state.hook_run_started() } else { self.state.run_started(now) };
        if let Some(asked) = asked {
            self.answers.insert(sent, (asked, Vec::new()));
        }
        (sent, only)
    }

    /// What a run for one hook found busy need not be due; what is due is counted without it.
    pub fn is_for_hook(&self, sent: u64) -> bool {
        self.answers.get(&sent).is_some_and(|(asked, _)| asked.only.is_some())
    }

    pub fn note_answer(&mut self, sent: u64, record: &RunRecord) {
        if let Some((_, records)) = self.answers.get_mut(&sent) {
            records.push(record.clone());
        }
    }

    /// Tells whoever asked for this run. That there is no such hook says nothing about the site.
    pub(super) fn answer(&mut self, end: &mut RunEnd) {
        let Some((asked, records)) = self.answers.remove(&end.sent) else { return };
        let is_his_mistake = matches!(end.failure, Some(Failure::NoSuchHook(_)));
        let failure = if is_his_mistake { end.failure.take() } else { end.failure.clone() };
        let is_his = |busy: &&Busy| asked.only.as_ref().is_some_and(|only| only.covers(busy));
        let busy = end.seen.as_ref().and_then(|seen| seen.busy.iter().find(is_his));
        let _ = asked.answer.send(match (failure, busy) {
            (Some(failure), _) if records.is_empty() => Err(failure),
            (_, Some(busy)) if records.is_empty() => Err(Failure::NotStarted(busy_sentence(busy))),
            _ => Ok(records),
        });
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
