//! Pure: pauses, and their ends, that this host knows of before the others do.

use std::collections::BTreeMap;

use crate::site::Pause;

/// So long the board may show what was before. Then somebody else has said something else meanwhile.
const PATIENCE_MS: i64 = 15_000;

#[derive(Debug, Default)]
pub struct Pauses {
    pending: BTreeMap<String, Pending>,
    has_begun: bool,
}

#[derive(Debug)]
struct Pending {
    pause: Option<Pause>,
    /// When the others were told (steady milliseconds); None: Redis does not answer.
    told: Option<i64>,
}

/// What follows from a look at the board.
#[derive(Debug, Default, PartialEq)]
pub struct Turn {
    pub to_tell: Vec<(String, Option<Pause>)>,
    /// Known to all: nothing that this host has to remember.
    pub settled: Vec<String>,
}

impl Pauses {
    /// Said here. `is_told`: the others hear of it at this moment.
    pub fn say(&mut self, site: &str, pause: Option<Pause>, now: i64, is_told: bool) {
        self.pending.insert(site.to_string(), Pending { pause, told: is_told.then_some(now) });
    }

    /// Redis does not answer: whatever is on its way is told once more.
    pub fn lost(&mut self) {
        self.pending.values_mut().for_each(|pending| pending.told = None);
    }

    /// The first time, what this host remembers of a time without the others.
    pub fn begin(&mut self, remembered: impl Iterator<Item = (String, Pause)>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            for (site, pause) in remembered {
                self.pending.entry(site).or_insert(Pending { pause: Some(pause), told: None });
            }
        }
    }

    /// The board, which shows what Redis has.
    pub fn turn(&mut self, shown: impl Fn(&str) -> Option<Pause>, now: i64) -> Turn {
        let mut turn = Turn::default();
        self.pending.retain(|site, pending| {
            let is_old = pending.told.is_some_and(|told| now > told + PATIENCE_MS);
            let is_settled = shown(site) == pending.pause || is_old;
            if is_settled {
                turn.settled.push(site.clone());
            } else if pending.told.is_none() {
                pending.told = Some(now);
                turn.to_tell.push((site.clone(), pending.pause));
            }
            !is_settled
        });
        turn
    }

    /// What the board shows of this site is old.
    pub fn knows_better(&self, site: &str) -> bool {
        self.pending.contains_key(site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES: Option<Pause> = Some(Pause { until: None });

    #[test]
    fn what_was_said_without_redis_is_told_once_and_settled_when_all_know() {
        let mut pauses = Pauses::default();
        pauses.say("shop", YES, 0, false);
        assert!(pauses.knows_better("shop") && !pauses.knows_better("blog"));
        let turn = pauses.turn(|_| None, 10);
        assert_eq!(turn, Turn { to_tell: vec![("shop".into(), YES)], settled: vec![] });
        assert_eq!(pauses.turn(|_| None, 20), Turn::default(), "it is on its way");
        pauses.lost();
        assert_eq!(pauses.turn(|_| None, 30).to_tell.len(), 1, "told once more");
        assert_eq!(pauses.turn(|_| YES, 40).settled, ["shop"]);
        assert!(!pauses.knows_better("shop"));
    }

    #[test]
    fn what_somebody_else_says_meanwhile_stands_after_a_while() {
        let mut pauses = Pauses::default();
        pauses.say("shop", None, 0, true);
        assert_eq!(pauses.turn(|_| YES, 15_000), Turn::default());
        assert_eq!(pauses.turn(|_| YES, 15_001).settled, ["shop"]);
    }

    #[test]
    fn what_is_remembered_is_told_at_the_first_contact_alone() {
        let mut pauses = Pauses::default();
        pauses.say("blog", None, 0, false);
        let remembered =
            || [("shop", YES), ("blog", YES)].into_iter().filter_map(|(site, pause)| Some((site.to_string(), pause?)));
        pauses.begin(remembered());
        let told = pauses.turn(|_| None, 1);
        assert_eq!((told.to_tell, told.settled), (vec![("shop".into(), YES)], vec!["blog".to_string()]));
        pauses.turn(|site| (site == "shop").then_some(Pause { until: None }), 2);
        pauses.begin(remembered());
        assert!(!pauses.knows_better("shop"));
    }
}
