//! Rows to explanations: gathers the times of rounds, and lets `bench_core::explanation` do the arithmetic.

use std::collections::BTreeMap;

use bench_core::explanation::{
    ArmCosts, Ceiling, DepthFit, Explanation, Round, RoundSums, RoundTimes, VerifyFit, VerifySamples,
    ceiling, speedup,
};
use bench_core::preset::StackKind;
use bench_core::record::ArmManifest;
use bench_core::report::{Comparison, Estimate};
use bench_core::stack::STEP_BYTES_DETAIL;

use crate::error::ResultsError;
use crate::load::Loaded;
use crate::row::Row;
use crate::samples::completed_rows;

/// Explanations by arm, and what could not be read.
#[derive(Debug, Default)]
pub(crate) struct Explained {
    pub(crate) arms: BTreeMap<String, Explanation>,
    pub(crate) notes: Vec<String>,
}

/// Explains every arm whose stack told the times of its rounds.
pub(crate) fn explain(loaded: &Loaded, comparisons: &[Comparison]) -> Result<Explained, ResultsError> {
    let mut explained = Explained::default();
    for stack in StackKind::ALL {
        let mut rest: Vec<_> = loaded.arms.iter().filter(|arm| arm.stack == stack).collect();
        // A pass over another cache costs another time: each KV type has its own law and its own baseline.
        while let Some(first) = rest.first().copied() {
            let (arms, others) = rest.into_iter().partition(|arm| loaded.same_kv_types(arm, first));
            rest = others;
            let times = StackTimes::read(loaded, &arms, &mut explained.notes)?;
            let explanations = times.explain(loaded, &arms, comparisons);
            explained.arms.extend(explanations.map(|(arm, why)| (arm.label.clone(), why)));
        }
    }
    Ok(explained)
}

/// Rounds of one stack and KV type: what its arms have in common is the target, so the law of its pass is fitted over all of them.
#[derive(Default)]
struct StackTimes {
    sums: BTreeMap<String, RoundSums>,
    verify: VerifySamples,
    /// By the power of two below the tokens in the cache.
    by_depth: BTreeMap<u32, VerifySamples>,
}

impl StackTimes {
    fn read(loaded: &Loaded, arms: &[&ArmManifest], notes: &mut Vec<String>) -> Result<Self, ResultsError> {
        let mut times = Self::default();
        let mut answers = loaded.answers();
        for arm in arms {
            for row in completed_rows(loaded, &arm.label) {
                if !row.has_rounds {
                    continue;
                }
                let answer = answers.of(row)?;
                let Some(timings) = &answer.stack_timings else { continue };
                match RoundTimes::read(timings) {
                    Ok(Some(rounds)) => times.add(row, &rounds),
                    Ok(None) => {}
                    Err(error) => notes.push(format!(
                        "request {} of {} is left out of the explanation: {error}",
                        row.request_index, row.arm
                    )),
                }
            }
        }
        Ok(times)
    }

    fn add(&mut self, row: &Row, rounds: &RoundTimes) {
        let sums = self.sums.entry(row.arm.to_string()).or_default();
        // The last token emitted is not cached when a round begins: after the prefill the cache holds the prompt.
        let mut cached = row.usage.prompt_tokens.map(u64::from);
        for round in rounds.iter() {
            let Round { drafted, accepted, verify_ns, .. } = round;
            sums.add(round);
            self.verify.add(drafted, verify_ns);
            if let Some(power) = cached.and_then(u64::checked_ilog2) {
                self.by_depth.entry(power).or_default().add(drafted, verify_ns);
            }
            cached = cached.map(|tokens| tokens.saturating_add(u64::from(accepted) + 1));
        }
    }

    fn explain<'a>(
        &'a self,
        loaded: &'a Loaded,
        arms: &'a [&ArmManifest],
        comparisons: &'a [Comparison],
    ) -> impl Iterator<Item = (&'a ArmManifest, Explanation)> {
        let fit = self.verify.fit();
        let baseline = arms.first().and_then(|arm| Some((&*arm.label, self.costs(arm)?)));
        let measured = |baseline: &str, candidate: &str| {
            let same = |c: &&Comparison| c.baseline == baseline && c.candidate == candidate;
            comparisons.iter().find(same)?.ratio_of_sums.map(|Estimate { point, .. }| point)
        };
        let predicted = move |arm: &ArmManifest, fit: &VerifyFit| {
            let (label, costs) = baseline.filter(|(label, _)| *label != arm.label)?;
            Some(speedup(fit, (label, &costs), &self.costs(arm)?, measured(label, &arm.label)))
        };
        arms.iter().filter_map(move |arm| {
            let sums = self.sums.get(&arm.label)?;
            let round_ms = sums.parts()?;
            Some((
                *arm,
                Explanation {
                    rounds: sums.rounds(),
                    drafted_per_round: sums.drafted_per_round()?,
                    accepted_per_round: sums.accepted_per_round()?,
                    round_ms,
                    draft_ms_per_token: sums.draft_ms_per_token(),
                    speedup: fit.as_ref().ok().and_then(|fit| predicted(arm, fit)),
                    no_fit: fit.as_ref().err().map(ToString::to_string),
                    fit: fit.clone().ok(),
                    by_kv_depth: self.depths(),
                    ceiling: arm_ceiling(loaded, arm, round_ms.verify),
                },
            ))
        })
    }

    fn costs(&self, arm: &ArmManifest) -> Option<ArmCosts> {
        self.sums.get(&arm.label).and_then(ArmCosts::of)
    }

    fn depths(&self) -> Vec<DepthFit> {
        let fit = |(&power, samples): (&u32, &VerifySamples)| {
            let from = 1_u64 << power;
            Some(DepthFit { from, to: from.saturating_mul(2), fit: samples.fit().ok()? })
        };
        self.by_depth.iter().filter_map(fit).collect()
    }
}

/// Needs what a pass reads, which our engine tells, and a bandwidth of the device it ran on.
fn arm_ceiling(loaded: &Loaded, arm: &ArmManifest, verify_ms: f64) -> Option<Ceiling> {
    let info = arm.info.as_ref()?;
    let step_bytes = info.details.get(STEP_BYTES_DETAIL)?.parse().ok()?;
    let bandwidth = loaded.manifests.iter().find_map(|run| run.memory_bandwidth.as_ref())?;
    let is_on_cpu = info.device.as_deref() == Some("cpu");
    ceiling(step_bytes, bandwidth.of(step_bytes, is_on_cpu)?, verify_ms)
}
