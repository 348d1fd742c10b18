//! A sweep: one way of speculating at several concurrencies or draft lengths, and what it says.

use serde::{Deserialize, Serialize};

use crate::preset::StackKind;
use crate::report::Estimate;

/// One way of speculating at several concurrencies or draft lengths: where does it pay, and where best?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// What is varied: `concurrency` or `draft_max`.
    pub over: String,
    /// The stack.
    pub stack: StackKind,
    /// The variant, or in a sweep over draft lengths its method.
    pub variant: String,
    /// In ascending order.
    pub points: Vec<SweepPoint>,
    /// Greatest x up to which speculation is faster at every point, its interval above 1.
    pub pays_up_to: Option<u32>,
    /// Where the ratio falls through 1, between points along the logarithm of x; its interval is where the ends of the
    /// ratio's interval do. `None` where it does not.
    pub crossover: Option<Estimate>,
    /// The x of the greatest ratio.
    pub best: Option<u32>,
    /// Other x whose intervals overlap the best one's: not told apart.
    pub as_good: Vec<u32>,
}

/// One point of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// Concurrency or draft length.
    pub x: u32,
    /// The arm.
    pub label: String,
    /// Its throughput over its baseline's; `None` where they could not be compared.
    pub ratio: Option<Estimate>,
    /// Decode throughput of a stream.
    pub tokens_per_s: Option<Estimate>,
}

impl Sweep {
    /// What a sweep found, in words.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { over, stack, variant, pays_up_to, crossover, best, as_good, .. } = self;
        if over == "draft_max" {
            let Some(best) = best else {
                return format!("{stack}, {variant}: no draft length could be compared");
            };
            let rest = match &as_good[..] {
                [] => ", and the others are slower than it beyond their intervals".to_owned(),
                others => {
                    let others: Vec<_> = others.iter().map(u32::to_string).collect();
                    format!("; not told apart from it: {}", others.join(", "))
                }
            };
            // No length has an interval that reaches 1: the question which is best is not the one to answer.
            let below =
                |point: &SweepPoint| point.ratio.and_then(|ratio| ratio.high).is_some_and(|high| high < 1.0);
            if self.points.iter().all(below) {
                return format!(
                    "{stack}, {variant}: speculation pays at no draft length; the least is lost with {best}{rest}"
                );
            }
            return format!("{stack}, {variant}: {best} drafts a round are best{rest}");
        }
        let pays = match pays_up_to {
            Some(x) => format!("faster up to {x} requests at once"),
            None => "not faster at the least number of requests at once".to_owned(),
        };
        let falls = crossover.as_ref().map_or_else(
            || "; no crossover was measured".to_owned(),
            |at| format!("; the ratio falls through 1 at {} requests", interval(at, 1)),
        );
        format!("{stack}, {variant}: {pays}{falls}")
    }
}

fn interval(estimate: &Estimate, digits: usize) -> String {
    let Estimate { point, low, high } = estimate;
    let end = |value: &Option<f64>| value.map_or_else(|| "?".to_owned(), |value| format!("{value:.digits$}"));
    match (low, high) {
        (None, None) => format!("{point:.digits$}"),
        (low, high) => format!("{point:.digits$} [{}, {}]", end(low), end(high)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(points: &[(u32, f64)]) -> Sweep {
        let point = |&(x, point): &(u32, f64)| SweepPoint {
            x,
            label: format!("native/mtp-{x}"),
            ratio: Some(Estimate { point, low: Some(point - 0.05), high: Some(point + 0.05) }),
            tokens_per_s: None,
        };
        Sweep {
            over: "draft_max".to_owned(),
            stack: StackKind::Native,
            variant: "mtp".to_owned(),
            points: points.iter().map(point).collect(),
            pays_up_to: None,
            crossover: None,
            best: Some(1),
            as_good: Vec::new(),
        }
    }

    #[test]
    fn a_best_length_that_loses_is_no_recommendation() {
        let loses = lengths(&[(1, 0.8), (3, 0.6)]).sentence();
        assert!(loses.contains("pays at no draft length; the least is lost with 1"), "{loses}");
        let unclear = lengths(&[(1, 0.97), (3, 0.6)]).sentence();
        assert!(unclear.contains("1 drafts a round are best"), "an interval that reaches 1: {unclear}");
    }
}
