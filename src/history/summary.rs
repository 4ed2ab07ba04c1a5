//! Many runs in a few numbers, for charts and tables.

use std::collections::BTreeMap;

use serde::Serialize;

use super::RunRecord;
use crate::outcome::Outcome;

/// As many parts of the time as a small chart can show.
const PARTS: i64 = 48;

/// What a summary needs of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub site: String,
    /// Empty for a job.
    pub hook: String,
    pub job: Option<String>,
    pub ended_ms: i64,
    pub lateness_ms: Option<i64>,
    pub ms: Option<i64>,
    pub outcome: Outcome,
}

impl Point {
    pub fn of(run: &RunRecord) -> Option<Self> {
        Some(Self {
            site: run.site.clone(),
            hook: run.hook.clone(),
            job: run.job.clone(),
            ended_ms: run.ended_ms.or(run.started_ms)?,
            lateness_ms: run.lateness_ms,
            ms: run.ms,
            outcome: run.outcome,
        })
    }

    pub fn is_bad(&self) -> bool {
        !matches!(self.outcome, Outcome::Ok | Outcome::Skipped)
    }

    /// How late it was started; an early start is none.
    pub fn late(&self) -> Option<i64> {
        self.lateness_ms.map(|ms| ms.max(0))
    }
}

/// The middle, the 95th percentile and the most, by the nearest rank; milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    pub p50: i64,
    pub p95: i64,
    pub max: i64,
}

impl Quantiles {
    pub fn of(values: impl Iterator<Item = i64>) -> Option<Self> {
        let mut values: Vec<i64> = values.collect();
        values.sort_unstable();
        let rank = |percent: usize| values.get((values.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Self { p50: rank(50)?, p95: rank(95)?, max: rank(100)? })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    pub runs: usize,
    /// Neither ok nor skipped.
    pub bad: usize,
    pub lateness_ms: Option<Quantiles>,
    pub ms: Option<Quantiles>,
}

impl Figures {
    pub fn of(points: &[&Point]) -> Self {
        Self {
            runs: points.len(),
            bad: points.iter().filter(|point| point.is_bad()).count(),
            lateness_ms: Quantiles::of(points.iter().filter_map(|point| point.late())),
            ms: Quantiles::of(points.iter().filter_map(|point| point.ms)),
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Summary {
    pub since_ms: i64,
    pub until_ms: i64,
    pub width_ms: i64,
    /// Equal parts of that time, oldest first.
    pub buckets: Vec<Bucket>,
    pub total: Figures,
    pub hooks: Vec<OfHook>,
}

#[derive(Debug, Serialize)]
pub struct Bucket {
    pub at_ms: i64,
    #[serde(flatten)]
    pub figures: Figures,
}

#[derive(Debug, Serialize)]
pub struct OfHook {
    pub hook: String,
    #[serde(flatten)]
    pub figures: Figures,
}

/// Of the runs of one site's events that ended from `since_ms` until before `until_ms`.
pub fn summary(points: &[Point], since_ms: i64, until_ms: i64) -> Summary {
    let width_ms = ((until_ms - since_ms) / PARTS).max(1);
    let points: Vec<&Point> = points.iter().filter(|one| (since_ms..until_ms).contains(&one.ended_ms)).collect();
    let mut parts: BTreeMap<i64, Vec<&Point>> = (0..PARTS).map(|part| (part, Vec::new())).collect();
    let mut hooks: BTreeMap<&str, Vec<&Point>> = BTreeMap::new();
    for point in &points {
        let part = ((point.ended_ms - since_ms) / width_ms).min(PARTS - 1);
        parts.entry(part).or_default().push(point);
        hooks.entry(&point.hook).or_default().push(point);
    }
    let bucket = |(part, points): (i64, Vec<&Point>)| Bucket {
        at_ms: since_ms + part * width_ms,
        figures: Figures::of(&points),
    };
    let of_hook =
        |(hook, points): (&str, Vec<&Point>)| OfHook { hook: hook.to_string(), figures: Figures::of(&points) };
    Summary {
        since_ms,
        until_ms,
        width_ms,
        buckets: parts.into_iter().map(bucket).collect(),
        total: Figures::of(&points),
        hooks: hooks.into_iter().map(of_hook).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(hook: &str, ended_ms: i64, ms: i64, outcome: Outcome) -> Point {
        Point {
            site: "shop".into(),
            hook: hook.into(),
            job: None,
            ended_ms,
            lateness_ms: Some(ms / 10 - 1),
            ms: Some(ms),
            outcome,
        }
    }

    #[test]
    fn quantiles_are_values_that_were_there() {
        assert_eq!(Quantiles::of([].into_iter()), None);
        assert_eq!(Quantiles::of([7].into_iter()), Some(Quantiles { p50: 7, p95: 7, max: 7 }));
        assert_eq!(Quantiles::of((1..=100).rev()), Some(Quantiles { p50: 50, p95: 95, max: 100 }));
        assert_eq!(Quantiles::of([1, 2, 1000].into_iter()), Some(Quantiles { p50: 2, p95: 1000, max: 1000 }));
    }

    #[test]
    fn every_run_is_in_one_part_and_under_its_hook() {
        let points = [
            point("a", 0, 5, Outcome::Ok),
            point("a", 4_799, 15, Outcome::Failed),
            point("b", 100, 25, Outcome::Skipped),
            point("b", 4_800, 25, Outcome::Ok),
            point("b", -1, 25, Outcome::Ok),
        ];
        let summary = summary(&points, 0, 4_800);
        assert_eq!((summary.buckets.len(), summary.width_ms, summary.total.runs, summary.total.bad), (48, 100, 3, 1));
        let counts: Vec<usize> = summary.buckets.iter().map(|bucket| bucket.figures.runs).collect();
        assert_eq!((counts[0], counts[1], counts[47], counts.iter().sum::<usize>()), (1, 1, 1, 3));
        let hooks: Vec<(&str, usize, usize)> =
            summary.hooks.iter().map(|one| (one.hook.as_str(), one.figures.runs, one.figures.bad)).collect();
        assert_eq!(hooks, [("a", 2, 1), ("b", 1, 0)]);
        // Started before its second, it was not late.
        assert_eq!(summary.buckets[0].figures.lateness_ms.map(|late| late.max), Some(0));
    }
}
