//! Where speculation stops paying as more is asked at once, and which draft length is best.

use std::collections::{BTreeMap, BTreeSet};

use bench_core::preset::StackKind;
use bench_core::record::ArmManifest;
use bench_core::report::{ArmReport, Comparison, Estimate};
use bench_core::sweep::{Sweep, SweepPoint};

use crate::load::Loaded;

/// All sweeps of a run, over concurrency first; a single point is none.
pub(crate) fn sweeps(loaded: &Loaded, arms: &[ArmReport], comparisons: &[Comparison]) -> Vec<Sweep> {
    let mut over: BTreeMap<(&str, StackKind, String), Vec<SweepPoint>> = BTreeMap::new();
    for arm in &loaded.arms {
        for (what, variant, x) in axes(arm) {
            let Some(report) = arms.iter().find(|report| report.label == arm.label) else { continue };
            // A best draft length is a claim about acceptance.
            if report.acceptance_refused().is_some() {
                continue;
            }
            let ratio = within_stack(loaded, arm, comparisons).and_then(|comparison| comparison.ratio);
            let tokens_per_s = report.tokens_per_s.filter(|_| report.valid);
            over.entry((what, arm.stack, variant)).or_default().push(SweepPoint {
                x,
                label: arm.label.clone(),
                ratio,
                tokens_per_s,
            });
        }
    }
    // Several arms at one place differ by something else (their planted acceptance, their drafter): no sweep.
    let places = |points: &[SweepPoint]| points.iter().map(|point| point.x).collect::<BTreeSet<_>>().len();
    let several = over.into_iter().filter(|(_, points)| points.len() > 1 && places(points) == points.len());
    several.map(|((over, stack, variant), points)| sweep(over, stack, variant, points)).collect()
}

/// What an arm is a point of: other concurrencies of its variant, other draft lengths of its method at its concurrency.
fn axes(arm: &ArmManifest) -> Vec<(&'static str, String, u32)> {
    let Some(draft_max) = arm.spec.draft_max() else { return Vec::new() };
    let concurrency = arm.concurrency.map(|n| ("concurrency", arm.variant.clone(), n.get()));
    let at = arm.concurrency.map_or_else(String::new, |n| format!(" at {n}"));
    let drafts = ("draft_max", format!("{}{at}", arm.spec.method()), draft_max.get());
    concurrency.into_iter().chain([drafts]).collect()
}

/// The arm against the baseline of its own stack.
fn within_stack<'a>(
    loaded: &Loaded,
    arm: &ArmManifest,
    comparisons: &'a [Comparison],
) -> Option<&'a Comparison> {
    let stack_of = |label: &str| loaded.arms.iter().find(|other| other.label == label).map(|arm| arm.stack);
    comparisons
        .iter()
        .find(|other| other.candidate == arm.label && stack_of(&other.baseline) == Some(arm.stack))
}

fn sweep(over: &str, stack: StackKind, variant: String, mut points: Vec<SweepPoint>) -> Sweep {
    points.sort_by_key(|point| point.x);
    let ratio = |point: &SweepPoint| point.ratio.map_or(f64::NEG_INFINITY, |ratio| ratio.point);
    let best = points.iter().filter(|point| point.ratio.is_some());
    let best = best.max_by(|a, b| ratio(a).total_cmp(&ratio(b))).cloned();
    let overlaps = |a: Option<Estimate>, b: Option<Estimate>| {
        let (Some(a), Some(b)) = (a, b) else { return false };
        matches!((a.low, a.high, b.low, b.high), (Some(al), Some(ah), Some(bl), Some(bh)) if al <= bh && bl <= ah)
    };
    let as_good = points.iter().filter(|point| {
        best.as_ref().is_some_and(|best| best.x != point.x && overlaps(best.ratio, point.ratio))
    });
    let above = |point: &&SweepPoint| point.ratio.and_then(|ratio| ratio.low).is_some_and(|low| low > 1.0);
    Sweep {
        over: over.to_owned(),
        stack,
        variant,
        pays_up_to: points.iter().take_while(above).last().map(|point| point.x),
        // Draft lengths have a best, not a point at which something tips.
        crossover: crossover(&points).filter(|_| over == "concurrency"),
        best: best.as_ref().map(|best| best.x),
        as_good: as_good.map(|point| point.x).collect(),
        points,
    }
}

/// Where the ratio, and each end of its interval, falls through 1 for good.
fn crossover(points: &[SweepPoint]) -> Option<Estimate> {
    let curve = |of: &dyn Fn(Estimate) -> Option<f64>| -> Vec<(u32, f64)> {
        points.iter().filter_map(|point| Some((point.x, of(point.ratio?)?))).collect()
    };
    let point = falls_through_one(&curve(&|ratio| Some(ratio.point)))?;
    Some(Estimate {
        point,
        low: falls_through_one(&curve(&|ratio| ratio.low)),
        high: falls_through_one(&curve(&|ratio| ratio.high)),
    })
}

/// Between the last point above 1 and the next: straight in the logarithms of both.
fn falls_through_one(curve: &[(u32, f64)]) -> Option<f64> {
    let last_above = curve.iter().rposition(|(_, ratio)| *ratio > 1.0)?;
    let ((x, above), (next_x, below)) = (curve[last_above], *curve.get(last_above + 1)?);
    let share = above.ln() / (above.ln() - below.ln());
    let (from, to) = (f64::from(x).ln(), f64::from(next_x).ln());
    Some((from + share * (to - from)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(ratios: &[(u32, f64, f64)]) -> Vec<SweepPoint> {
        let point = |&(x, point, half): &(u32, f64, f64)| SweepPoint {
            x,
            label: format!("native/mtp@{x}"),
            ratio: Some(Estimate { point, low: Some(point - half), high: Some(point + half) }),
            tokens_per_s: None,
        };
        ratios.iter().map(point).collect()
    }

    fn of(ratios: &[(u32, f64, f64)]) -> Sweep {
        sweep("concurrency", StackKind::Native, "mtp".to_owned(), points(ratios))
    }

    #[test]
    fn speculation_stops_paying_between_two_points() {
        let found = of(&[(8, 0.5, 0.1), (1, 2.0, 0.1), (2, 1.6, 0.1), (4, 1.05, 0.1)]);
        assert_eq!(found.points.iter().map(|point| point.x).collect::<Vec<_>>(), [1, 2, 4, 8]);
        assert_eq!((found.pays_up_to, found.best), (Some(2), Some(1)));
        let crossover = found.crossover.unwrap();
        assert!(crossover.point > 4.0 && crossover.point < 8.0, "{crossover:?}");
        assert!(crossover.low.unwrap() < 4.0 && crossover.high.unwrap() > crossover.point, "{crossover:?}");
        // By hand: the share of the way is ln 2 / (ln 2 - ln 0.5) = 1/2 of a doubling.
        let middle = of(&[(2, 2.0, 0.0), (4, 0.5, 0.0)]).crossover.unwrap().point;
        assert!((middle - 8.0_f64.sqrt()).abs() < 1e-9, "{middle}");
    }

    #[test]
    fn what_never_falls_has_no_crossover() {
        let found = of(&[(1, 2.0, 0.1), (4, 1.5, 0.1)]);
        assert_eq!((found.crossover, found.pays_up_to), (None, Some(4)));
        let found = of(&[(1, 0.9, 0.05), (4, 0.5, 0.1)]);
        assert_eq!((found.crossover, found.pays_up_to), (None, None));
    }

    #[test]
    fn the_best_is_named_with_those_not_told_apart_from_it() {
        let found = of(&[(1, 1.2, 0.02), (3, 1.5, 0.1), (5, 1.45, 0.02), (7, 1.3, 0.02)]);
        assert_eq!((found.best, found.as_good), (Some(3), vec![5]));
    }
}
