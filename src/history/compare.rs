//! Did anything change since then? Two stretches of the history beside each other, hook by hook.
//!
//! A difference counts where it is too large to be chance and large enough to matter. Failures: the two-proportion z-test.
//! Lateness and durations: the rank-sum test of Mann and Whitney, which asks nothing of how they are distributed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::summary::{Figures, Point};

/// Standard deviations; chance does as much once in three hundred comparisons.
const FAR: f64 = 3.0;
/// With fewer runs on a side nobody knows what is usual.
const FEW: usize = 5;
/// A middle that moved by less matters to nobody: a fifth of what it was, and so many milliseconds.
const RATIO: f64 = 1.2;
const LATER_MS: f64 = 100.0;
const LONGER_MS: f64 = 10.0;
/// So much time before is looked at, where the time since then is shorter.
const DAY_MS: i64 = 86_400_000;
/// A longer time before says less about now.
const WEEK_MS: i64 = 7 * DAY_MS;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Worse,
    Better,
    Same,
    /// Too few runs to tell.
    Unknown,
}

impl Change {
    pub fn word(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Same => "as before",
            Self::Unknown => "too few runs to tell",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    pub site: String,
    /// None for all of the site together.
    pub hook: Option<String>,
    pub job: Option<String>,
    pub before: Figures,
    pub after: Figures,
    pub failures: Change,
    pub lateness: Change,
    pub durations: Change,
}

impl Compared {
    pub fn has_changed(&self) -> bool {
        [self.failures, self.lateness, self.durations].iter().any(|one| matches!(one, Change::Worse | Change::Better))
    }
}

/// Where the time before begins.
pub fn begin_of_before(mark_ms: i64, now_ms: i64) -> i64 {
    mark_ms - (now_ms - mark_ms).clamp(DAY_MS, WEEK_MS)
}

/// Each site as a whole, and below it each hook and job that has changed.
pub fn compare(points: &[Point], mark_ms: i64, now_ms: i64) -> Vec<Compared> {
    let begin = begin_of_before(mark_ms, now_ms);
    let mut sites: BTreeMap<&str, BTreeMap<Subject, Sides>> = BTreeMap::new();
    for point in points.iter().filter(|point| point.ended_ms >= begin) {
        let site = sites.entry(&point.site).or_default();
        for subject in [None, Some((point.hook.as_str(), point.job.as_deref()))] {
            let sides = site.entry(subject).or_default();
            let side = if point.ended_ms < mark_ms { &mut sides.before } else { &mut sides.after };
            side.push(point);
        }
    }
    let mut all = Vec::new();
    for (site, subjects) in sites {
        let compared = subjects.into_iter().map(|(subject, sides)| compared(site, subject, &sides));
        all.extend(compared.filter(|one| (one.hook.is_none() && one.job.is_none()) || one.has_changed()));
    }
    all
}

/// Hook and job; None for the site, which comes first.
type Subject<'a> = Option<(&'a str, Option<&'a str>)>;

#[derive(Default)]
struct Sides<'a> {
    before: Vec<&'a Point>,
    after: Vec<&'a Point>,
}

fn compared(site: &str, subject: Subject, sides: &Sides) -> Compared {
    let (before, after) = (Figures::of(&sides.before), Figures::of(&sides.after));
    let values = |of: fn(&Point) -> Option<i64>| -> (Vec<i64>, Vec<i64>) {
        (
            sides.before.iter().filter_map(|one| of(one)).collect(),
            sides.after.iter().filter_map(|one| of(one)).collect(),
        )
    };
    Compared {
        site: site.to_string(),
        hook: subject.filter(|(_, job)| job.is_none()).map(|(hook, _)| hook.to_string()),
        job: subject.and_then(|(_, job)| job).map(str::to_string),
        failures: failures(&before, &after),
        lateness: moved(values(Point::late), LATER_MS),
        durations: moved(values(|one| one.ms), LONGER_MS),
        before,
        after,
    }
}

#[allow(clippy::cast_precision_loss, reason = "nobody counts 2^52 runs")]
fn failures(before: &Figures, after: &Figures) -> Change {
    if before.runs < FEW || after.runs == 0 {
        return Change::Unknown;
    }
    let (n, m) = (before.runs as f64, after.runs as f64);
    let (p, q) = (before.bad as f64 / n, after.bad as f64 / m);
    let pooled = (before.bad + after.bad) as f64 / (n + m);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    match q - p {
        _ if deviation == 0.0 => Change::Same,
        more if more / deviation >= FAR => Change::Worse,
        less if less / deviation <= -FAR => Change::Better,
        // A single run says little good, and enough bad.
        _ if after.runs < FEW => Change::Unknown,
        _ => Change::Same,
    }
}

/// `least_ms`: by so much the middle has to move to matter.
#[allow(clippy::cast_precision_loss, reason = "milliseconds of runs, and how many")]
fn moved((before, after): (Vec<i64>, Vec<i64>), least_ms: f64) -> Change {
    if before.len() < FEW || after.len() < FEW {
        return Change::Unknown;
    }
    let (old, new) = (middle(&before), middle(&after));
    let far = deviations(&before, &after);
    match new - old {
        more if far >= FAR && more >= least_ms && new >= old * RATIO => Change::Worse,
        less if far <= -FAR && -less >= least_ms && old >= new * RATIO => Change::Better,
        _ => Change::Same,
    }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a run")]
fn middle(values: &[i64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0) as f64
}

/// By how many standard deviations the later values rank above the earlier ones; ties share their rank.
#[allow(clippy::cast_precision_loss, reason = "nobody counts 2^52 runs")]
fn deviations(before: &[i64], after: &[i64]) -> f64 {
    let mut counts: BTreeMap<i64, (usize, usize)> = BTreeMap::new();
    before.iter().for_each(|value| counts.entry(*value).or_default().0 += 1);
    after.iter().for_each(|value| counts.entry(*value).or_default().1 += 1);
    let (n, m) = (before.len() as f64, after.len() as f64);
    let total = n + m;
    let (mut passed, mut ranks, mut ties) = (0.0, 0.0, 0.0);
    for (old, new) in counts.values() {
        let (old, new) = (*old as f64, *new as f64);
        let here = old + new;
        ranks += new * (passed + (here + 1.0) / 2.0);
        ties += here * here * here - here;
        passed += here;
    }
    let expected = m * (total + 1.0) / 2.0;
    let variance = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance > 0.0 { (ranks - expected) / variance.sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    const NOW: i64 = 100 * DAY_MS;
    const MARK: i64 = NOW - 3_600_000;

    fn runs(hook: &str, at: i64, count: i64, late: i64, ms: i64, bad: i64) -> Vec<Point> {
        let point = |i: i64| Point {
            site: "shop".into(),
            hook: hook.into(),
            job: None,
            ended_ms: at + i,
            // Not all alike.
            lateness_ms: Some(late + i % 7),
            ms: Some(ms + i % 5),
            outcome: if i < bad { Outcome::Failed } else { Outcome::Ok },
        };
        (0..count).map(point).collect()
    }

    fn changes(points: &[Vec<Point>]) -> Vec<(Option<String>, Change, Change, Change)> {
        let compared = compare(&points.concat(), MARK, NOW);
        compared.into_iter().map(|one| (one.hook, one.failures, one.lateness, one.durations)).collect()
    }

    #[test]
    fn what_stays_is_the_same() {
        let points = [runs("a", MARK - 9_000, 400, 20, 30, 4), runs("a", MARK, 40, 20, 30, 1)];
        assert_eq!(changes(&points), [(None, Change::Same, Change::Same, Change::Same)]);
    }

    #[test]
    fn the_hook_that_changed_is_named_and_the_others_are_not() {
        let points = [
            runs("a", MARK - 9_000, 100, 20, 30, 0),
            runs("a", MARK, 30, 20, 30, 0),
            runs("b", MARK - 9_000, 100, 20, 30, 0),
            runs("b", MARK, 30, 20, 300, 20),
        ];
        let [(None, Change::Worse, Change::Same, _), (Some(hook), Change::Worse, Change::Same, Change::Worse)] =
            &changes(&points)[..]
        else {
            panic!("{:?}", changes(&points))
        };
        assert_eq!(hook, "b");
    }

    #[test]
    fn better_is_said_as_well() {
        let points = [runs("a", MARK - 9_000, 100, 900, 500, 60), runs("a", MARK, 50, 20, 300, 0)];
        assert_eq!(changes(&points)[0], (None, Change::Better, Change::Better, Change::Better));
    }

    #[test]
    fn a_difference_that_matters_to_nobody_is_none() {
        // Always four milliseconds longer, and so surely no chance.
        let points = [runs("a", MARK - 9_000, 500, 20, 10, 0), runs("a", MARK, 500, 30, 14, 0)];
        assert_eq!(changes(&points), [(None, Change::Same, Change::Same, Change::Same)]);
    }

    #[test]
    fn few_runs_prove_little_and_a_first_failure_something() {
        let few = [runs("a", MARK - 9_000, 4, 20, 30, 0), runs("a", MARK, 4, 20, 30, 4)];
        assert_eq!(changes(&few), [(None, Change::Unknown, Change::Unknown, Change::Unknown)]);
        let one = [runs("a", MARK - 9_000, 24, 20, 30, 0), runs("a", MARK, 1, 20, 30, 1)];
        assert_eq!(changes(&one)[0].1, Change::Worse);
        let well = [runs("a", MARK - 9_000, 24, 20, 30, 0), runs("a", MARK, 1, 20, 30, 0)];
        assert_eq!(changes(&well)[0].1, Change::Same, "none before and none since");
    }

    #[test]
    fn the_time_before_is_a_day_at_least_and_a_week_at_most() {
        assert_eq!(begin_of_before(NOW - 5, NOW), NOW - 5 - DAY_MS);
        assert_eq!(begin_of_before(NOW - 2 * DAY_MS, NOW), NOW - 4 * DAY_MS);
        assert_eq!(begin_of_before(NOW - 30 * DAY_MS, NOW), NOW - 37 * DAY_MS);
        let old = [runs("a", MARK - 3 * DAY_MS, 100, 20, 30, 0), runs("a", MARK, 30, 20, 300, 0)];
        assert_eq!(changes(&old)[0].3, Change::Unknown, "what lies further back is not looked at");
    }
}
