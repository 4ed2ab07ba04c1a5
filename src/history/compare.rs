//! Did anything change since then? Two stretches of the history beside each other, hook by hook.
//!
//! A difference counts where it is too large to be chance and large enough to matter. Failures: Fisher's exact test, which is right for
//! few runs too. Lateness and durations: the rank-sum test of Mann and Whitney, which asks nothing of how they are distributed. A
//! site as a whole has changed where one of its hooks or jobs has: which of them run differs from hour to hour.

use std::collections::BTreeMap;

use serde::Serialize;

use super::summary::{Figures, Point, Quantiles};
use crate::outcome::Outcome;

/// Standard deviations, and how often chance alone goes as far on one side.
const FAR: f64 = 3.0;
const RARE: f64 = 0.00135;
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Too few runs to tell.
    Unknown,
    Same,
    Better,
    Worse,
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
    /// One of its three.
    pub fn is(&self, change: Change) -> bool {
        [self.failures, self.lateness, self.durations].contains(&change)
    }
}

/// Where the time before begins.
pub fn begin_of_before(mark_ms: i64, now_ms: i64) -> i64 {
    mark_ms - (now_ms - mark_ms).clamp(DAY_MS, WEEK_MS)
}

/// Each site as a whole, and below it each hook and job that has changed. Runs that were never started say nothing.
pub fn compare(points: &[Point], mark_ms: i64, now_ms: i64) -> Vec<Compared> {
    let begin = begin_of_before(mark_ms, now_ms);
    let mut sites: BTreeMap<&str, BTreeMap<Subject, Sides>> = BTreeMap::new();
    for point in points.iter().filter(|point| point.ended_ms >= begin && point.outcome != Outcome::Skipped) {
        let sides = sites.entry(&point.site).or_default().entry((&point.hook, point.job.as_deref())).or_default();
        let side = if point.ended_ms < mark_ms { &mut sides.before } else { &mut sides.after };
        side.push(point);
    }
    let mut all = Vec::new();
    for (site, subjects) in sites {
        let parts: Vec<Compared> = subjects.iter().map(|(subject, sides)| compared(site, *subject, sides)).collect();
        // Jobs that belong to no site have nothing in common.
        all.extend((!site.is_empty()).then(|| whole(site, &parts, subjects.values())));
        all.extend(parts.into_iter().filter(|one| one.is(Change::Worse) || one.is(Change::Better)));
    }
    all
}

/// Hook and job.
type Subject<'a> = (&'a str, Option<&'a str>);

#[derive(Default)]
struct Sides<'a> {
    before: Vec<&'a Point>,
    after: Vec<&'a Point>,
}

fn whole<'a>(site: &str, parts: &[Compared], sides: impl Iterator<Item = &'a Sides<'a>>) -> Compared {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for one in sides {
        before.extend_from_slice(&one.before);
        after.extend_from_slice(&one.after);
    }
    let most = |of: fn(&Compared) -> Change| parts.iter().map(of).max().unwrap_or(Change::Unknown);
    Compared {
        site: site.to_string(),
        hook: None,
        job: None,
        before: Figures::of(&before),
        after: Figures::of(&after),
        failures: most(|one| one.failures),
        lateness: most(|one| one.lateness),
        durations: most(|one| one.durations),
    }
}

fn compared(site: &str, (hook, job): Subject, sides: &Sides) -> Compared {
    let (before, after) = (Figures::of(&sides.before), Figures::of(&sides.after));
    let far = |of: fn(&Point) -> Option<i64>| {
        let values = |points: &[&Point]| -> Vec<i64> { points.iter().filter_map(|one| of(one)).collect() };
        let (before, after) = (values(&sides.before), values(&sides.after));
        (before.len() >= FEW && after.len() >= FEW).then(|| deviations(&before, &after))
    };
    Compared {
        site: site.to_string(),
        hook: job.is_none().then(|| hook.to_string()),
        job: job.map(str::to_string),
        failures: failures(&before, &after),
        lateness: moved(far(Point::late), before.lateness_ms, after.lateness_ms, LATER_MS),
        durations: moved(far(|one| one.ms), before.ms, after.ms, LONGER_MS),
        before,
        after,
    }
}

fn failures(before: &Figures, after: &Figures) -> Change {
    if before.runs < FEW || after.runs == 0 {
        return Change::Unknown;
    }
    let well = |figures: &Figures| figures.runs - figures.bad;
    if at_least(before.runs, before.bad, after.runs, after.bad) < RARE {
        Change::Worse
    } else if at_least(before.runs, well(before), after.runs, well(after)) < RARE {
        Change::Better
    } else if after.runs < FEW {
        // A few runs can say something bad, and never that all is well.
        Change::Unknown
    } else {
        Change::Same
    }
}

/// Of `n` runs before and `m` since, `a` and `b` were of a kind: how often would chance put so many of them, or more, among those
/// since? Fisher's exact test, one-sided: the tail of the hypergeometric distribution.
#[allow(clippy::cast_precision_loss, reason = "nobody counts 2^52 runs")]
fn at_least(n: usize, a: usize, m: usize, b: usize) -> f64 {
    let kind = a + b;
    let ln_choose = |of: usize, some: usize| ln_factorial(of) - ln_factorial(some) - ln_factorial(of - some);
    let mut term = (ln_choose(m, b) + ln_choose(n, a) - ln_choose(n + m, kind)).exp();
    let mut sum = term;
    for k in b..m.min(kind) {
        let (k, n, m, kind) = (k as f64, n as f64, m as f64, kind as f64);
        term *= (m - k) * (kind - k) / ((k + 1.0) * (n - kind + k + 1.0));
        sum += term;
    }
    sum
}

/// Exact for what is small, by Stirling's series for the rest: right to ten places.
#[allow(clippy::cast_precision_loss, reason = "nobody counts 2^52 runs")]
fn ln_factorial(n: usize) -> f64 {
    if n < 32 {
        return (2..=n).map(|i| (i as f64).ln()).sum();
    }
    let x = n as f64;
    x * x.ln() - x + 0.5 * (std::f64::consts::TAU * x).ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3))
}

/// `far`: by how many deviations the values since rank above those before; `least_ms`: by so much the middle has to move to matter.
#[allow(clippy::cast_precision_loss, reason = "milliseconds of a run")]
fn moved(far: Option<f64>, before: Option<Quantiles>, after: Option<Quantiles>, least_ms: f64) -> Change {
    let (Some(far), Some(before), Some(after)) = (far, before, after) else { return Change::Unknown };
    let (old, new) = (before.p50 as f64, after.p50 as f64);
    match new - old {
        more if far >= FAR && more >= least_ms && new >= old * RATIO => Change::Worse,
        less if far <= -FAR && -less >= least_ms && old >= new * RATIO => Change::Better,
        _ => Change::Same,
    }
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
        assert_eq!(changes(&one)[0].1, Change::Unknown, "once in twenty-five it is chance");
        let three = [runs("a", MARK - 9_000, 24, 20, 30, 0), runs("a", MARK, 3, 20, 30, 3)];
        assert_eq!(changes(&three)[0].1, Change::Worse);
        let well = [runs("a", MARK - 9_000, 24, 20, 30, 0), runs("a", MARK, 9, 20, 30, 0)];
        assert_eq!(changes(&well)[0].1, Change::Same, "none before and none since");
    }

    #[test]
    fn the_exact_test_is_exact() {
        // By hand: 1 of 25 of a kind, one since: 1/25. Three of three: 1 over 27 choose 3.
        assert!((at_least(24, 0, 1, 1) - 0.04).abs() < 1e-12);
        assert!((at_least(24, 0, 3, 3) - 1.0 / 2925.0).abs() < 1e-12);
        // R: phyper(0, 8, 1000, 11, lower.tail = FALSE) of 1 of 8 since, 10 of 1000 before.
        assert!((at_least(1000, 10, 8, 1) - 0.084_2).abs() < 1e-3, "{}", at_least(1000, 10, 8, 1));
        assert!((at_least(5, 2, 5, 0) - 1.0).abs() < 1e-9, "all of it");
        let direct: f64 = (2..=100).map(|i| f64::from(i).ln()).sum();
        assert!((ln_factorial(100) - direct).abs() < 1e-10);
    }

    #[test]
    fn which_hooks_run_at_which_hour_is_no_change() {
        let points = [
            runs("nightly", MARK - 9_000, 200, 20, 30, 40),
            runs("daily", MARK - 9_000, 1440, 20, 30, 0),
            runs("nightly", MARK, 200, 20, 30, 40),
            runs("daily", MARK, 10, 20, 30, 0),
        ];
        assert_eq!(changes(&points), [(None, Change::Same, Change::Same, Change::Same)]);
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
