//! The evidence of each metric, from the rows of two arms.

use std::collections::BTreeMap;

use bench_core::gate::{Evidence, Found, GateMetric, MetricRule, Sitting, Subject};
use bench_core::report::{ArmReport, Estimate};
use bench_core::stats::{LogPair, LogValue, Metric, PairSample, paired_log_ratio};

use super::Gate;
use super::arm::{Side, subject};
use crate::compare::matched;
use crate::load::Loaded;
use crate::refused::refused_between;
use crate::row::Row;
use crate::samples::{PromptIndex, completed_rows, metric_value};

/// One entry a metric of the rules that applies: acceptance does where both arms verify real drafts.
pub(super) fn metrics(gate: &Gate<'_>, a: &Side<'_>, b: &Side<'_>) -> Vec<Evidence> {
    let applies = |rule: &&MetricRule| !rule.metric.is_acceptance() || (a.drafts() && b.drafts());
    gate.rules.metrics.iter().filter(applies).map(|rule| evidence(gate, *rule, a, b)).collect()
}

fn evidence(
    gate: &Gate<'_>,
    MetricRule { metric, margin }: MetricRule,
    a: &Side<'_>,
    b: &Side<'_>,
) -> Evidence {
    let depends_on_acceptance = metric.noise_of().is_none_or(Metric::depends_on_acceptance);
    let refused = refused_between(a.report, b.report).filter(|_| depends_on_acceptance).map(str::to_owned);
    let found = if refused.is_some() {
        None
    } else if metric.is_acceptance() {
        acceptance(gate, (metric, margin), a, b)
    } else {
        match gate.sitting {
            Sitting::Interleaved => paired(gate, (metric, margin), a, b),
            Sitting::TwoSittings => unpaired(gate, (metric, margin), a, b),
        }
    };
    Evidence {
        metric,
        subject: if metric.is_acceptance() { Subject::Drafter } else { subject(a, b) },
        margin,
        values: [a, b].map(|side| point(side.report, metric).map(|estimate| estimate.point)),
        found,
        noise_floor: noise_floor(gate, metric, a, b),
        refused,
    }
}

fn point(report: &ArmReport, metric: GateMetric) -> Option<Estimate> {
    match metric {
        GateMetric::TokensPerS => report.tokens_per_s,
        GateMetric::E2eTokensPerS => report.e2e_tokens_per_s,
        GateMetric::TtftMs => report.ttft_ms,
        GateMetric::TpotMs => report.tpot_ms,
        GateMetric::AcceptanceLength => report.acceptance_length,
        GateMetric::AcceptanceRate => report.acceptance_rate,
    }
}

/// One request's speed.
fn value(row: &Row, metric: GateMetric) -> Option<f64> {
    match metric {
        GateMetric::TokensPerS => metric_value(row, Metric::TokensPerS),
        GateMetric::E2eTokensPerS => metric_value(row, Metric::E2eTokensPerS),
        GateMetric::TtftMs => metric_value(row, Metric::TtftMs),
        GateMetric::TpotMs => metric_value(row, Metric::TokensPerS).map(|tokens| 1e3 / tokens),
        GateMetric::AcceptanceLength | GateMetric::AcceptanceRate => None,
    }
}

fn paired(gate: &Gate<'_>, (metric, margin): (GateMetric, f64), a: &Side<'_>, b: &Side<'_>) -> Option<Found> {
    let matched = matched(a.run, &a.arm.label, &b.arm.label);
    let prompts = PromptIndex::new(a.run);
    let pair =
        |(a, b): &(&Row, &Row)| LogPair::new(a.block, prompts.of(a), value(a, metric)?, value(b, metric)?);
    let pairs: Vec<_> = matched.iter().filter_map(pair).collect();
    paired_log_ratio(&pairs, &gate.config()).map(|paired| Found::paired(metric, margin, &paired))
}

fn unpaired(gate: &Gate<'_>, question: (GateMetric, f64), a: &Side<'_>, b: &Side<'_>) -> Option<Found> {
    let common = common_prompts(a.run, b.run);
    let values = |side: &Side<'_>| -> Vec<LogValue> {
        let value = |row: &Row| {
            LogValue::new(row.block, *common.get(row.prompt_id.as_str())?, value(row, question.0)?)
        };
        completed_rows(side.run, &side.arm.label).into_iter().filter_map(value).collect()
    };
    Found::unpaired(question, (&values(a), &values(b)), gate.config().confidence)
}

/// Prompts of both runs, numbered as in the baseline.
fn common_prompts<'a>(baseline: &'a Loaded, candidate: &Loaded) -> BTreeMap<&'a str, u32> {
    let of = |run: &'a Loaded| run.first().preset.workload.prompts.iter().map(|prompt| prompt.id.as_str());
    let has = |id: &str| candidate.first().preset.workload.prompts.iter().any(|prompt| prompt.id == id);
    of(baseline).zip(0..).filter(|(id, _)| has(id)).collect()
}

/// Sums of all blocks, prompt by prompt: greedy decoding repeats them, so prompts are what there are several of. `None`
/// if some request of either arm does not tell, since a sum without it would be of something else.
fn acceptance(
    gate: &Gate<'_>,
    (metric, margin): (GateMetric, f64),
    a: &Side<'_>,
    b: &Side<'_>,
) -> Option<Found> {
    let common = common_prompts(a.run, b.run);
    let sums = |side: &Side<'_>| -> Option<BTreeMap<u32, (f64, f64)>> {
        let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
        for row in completed_rows(side.run, &side.arm.label) {
            let Some(&prompt) = common.get(row.prompt_id.as_str()) else { continue };
            let (above, below) = counts(row, metric)?;
            let sum = sums.entry(prompt).or_default();
            *sum = (sum.0 + above, sum.1 + below);
        }
        Some(sums)
    };
    let (of_a, of_b) = (sums(a)?, sums(b)?);
    let prompts: Vec<_> = of_a
        .into_iter()
        .filter_map(|(prompt, (a_num, a_den))| {
            let (b_num, b_den) = *of_b.get(&prompt)?;
            Some(PairSample { block: prompt, prompt: 0, a_num, a_den, b_num, b_den })
        })
        .collect();
    Found::of_prompts(metric, margin, &prompts, &gate.config())
}

/// Above and below the line: tokens of all verify steps by steps, or accepted by drafted tokens.
fn counts(row: &Row, metric: GateMetric) -> Option<(f64, f64)> {
    let spec = row.spec()?;
    let accepted = spec.accepted as f64;
    match metric {
        GateMetric::AcceptanceLength => {
            let steps = spec.verify_steps? as f64;
            Some((accepted + steps, steps))
        }
        GateMetric::AcceptanceRate => Some((accepted, spec.drafted as f64)),
        GateMetric::TokensPerS | GateMetric::E2eTokensPerS | GateMetric::TtftMs | GateMetric::TpotMs => None,
    }
}

/// The larger floor of the two arms. Within a run both have to be known; of two runs a floor is the least there is either
/// way, so one is better than none.
fn noise_floor(gate: &Gate<'_>, metric: GateMetric, a: &Side<'_>, b: &Side<'_>) -> Option<f64> {
    let metric = metric.noise_of()?;
    let [of_a, of_b] = [a, b].map(|side| side.run.noise_floor()?.of(side.arm.stack, metric));
    match gate.sitting {
        Sitting::Interleaved => Some(of_a?.max(of_b?)),
        Sitting::TwoSittings => of_a.into_iter().chain(of_b).max_by(f64::total_cmp),
    }
}
