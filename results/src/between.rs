//! Two runs against each other: yesterday's build and today's, one KV type and another.
//!
//! They were not interleaved, so their blocks are two groups and not pairs: `bench_core::stats::unpaired_log_ratio`.
//! What differs besides the thing that is asked about makes the answer one about something else, and is refused with its
//! name ([`crate::reasons`]), unless the caller allows it.

use std::collections::BTreeMap;

use bench_core::audit::{Lossless, compare};
use bench_core::prompt_set::PromptSet;
use bench_core::record::RunManifest;
use bench_core::report::{
    ArmComparison, ArmReport, BlockTest, COMPARISON_SCHEMA, MetricComparison, RunComparison,
};
use bench_core::stats::{Evidence, LogValue, Metric, UnpairedRatio, unpaired_log_ratio, verdict};

use crate::aggregate::aggregate;
use crate::compare::holm_of_known;
use crate::differences::differences;
use crate::error::ResultsError;
use crate::load::Loaded;
use crate::reasons::{Allowed, Reason, Refusal};
use crate::row::Row;
use crate::samples::{completed_rows, metric_value};

/// Coverage of every interval.
const CONFIDENCE: f64 = 0.95;

/// Compares the candidate with the baseline: every arm that both have, or the arms named in `arms` as (baseline's label,
/// candidate's label).
///
/// # Errors
///
/// [`ResultsError::Incomparable`] with everything that stands in the way; what [`aggregate`] fails with.
pub fn compare_runs(
    (baseline, candidate): (&Loaded, &Loaded),
    arms: &[(String, String)],
    allowed: &[Allowed],
) -> Result<RunComparison, ResultsError> {
    let (a, b) = (baseline.first(), candidate.first());
    let pairs = arm_pairs(a, b, arms);
    let (reasons, mut notes) = refused_and_allowed(differences((baseline, candidate), &pairs), allowed);
    let mut reasons = [reasons, unknown_arms(a, b, &pairs)].concat();
    if pairs.is_empty() {
        reasons.push(Reason::NoCommonArm.with(format_args!("({} and {})", labels(a), labels(b))));
    }
    if !reasons.is_empty() {
        return Err(ResultsError::Incomparable { reasons });
    }
    notes.insert(
        0,
        "the runs were not interleaved: what changed on the machine between them is part of every ratio"
            .to_owned(),
    );
    notes.extend(other_set(a, b));
    let reports = (aggregate(baseline)?, aggregate(candidate)?);
    let compared: Result<Vec<_>, _> = pairs
        .iter()
        .map(|(of_a, of_b)| {
            let report_of =
                |arms: &[ArmReport], label: &str| arms.iter().find(|arm| arm.label == label).cloned();
            let arms = (report_of(&reports.0.arms, of_a), report_of(&reports.1.arms, of_b));
            compare_arms((baseline, candidate), (of_a, of_b), arms)
        })
        .collect();
    Ok(RunComparison {
        schema: COMPARISON_SCHEMA,
        baseline_run: a.run_id.clone(),
        candidate_run: b.run_id.clone(),
        confidence: CONFIDENCE,
        arms: compared?,
        notes,
    })
}

/// What forbids a comparison, and what was allowed and has to be said.
fn refused_and_allowed(found: Vec<Refusal>, allowed: &[Allowed]) -> (Vec<Refusal>, Vec<String>) {
    let (mut reasons, mut notes) = (Vec::new(), Vec::new());
    for Refusal { reason, words } in found {
        match reason.may() {
            None => reasons.push(Refusal { reason, words }),
            Some(may) if allowed.contains(&may) => notes.push(format!("allowed: {words}")),
            Some(may) => {
                let words = format!("{words} (`--allow {}` if that is the question)", may.word());
                reasons.push(Refusal { reason, words });
            }
        }
    }
    (reasons, notes)
}

/// What has to be said of sets of which one has prompts that the other lacks.
fn other_set(a: &RunManifest, b: &RunManifest) -> Option<String> {
    let (of_a, of_b) = (PromptSet::of(&a.preset.workload), PromptSet::of(&b.preset.workload));
    (of_a.sha256 != of_b.sha256)
        .then(|| format!("the prompt sets differ ({of_a}; {of_b}): compared are the prompts that both have"))
}

/// (baseline's label, candidate's label).
fn arm_pairs(a: &RunManifest, b: &RunManifest, asked: &[(String, String)]) -> Vec<(String, String)> {
    if !asked.is_empty() {
        return asked.to_vec();
    }
    let has = |run: &RunManifest, label: &str| run.arms.iter().any(|arm| arm.label == label);
    let common = a.arms.iter().filter(|arm| has(b, &arm.label));
    common.map(|arm| (arm.label.clone(), arm.label.clone())).collect()
}

fn unknown_arms(a: &RunManifest, b: &RunManifest, pairs: &[(String, String)]) -> Vec<Refusal> {
    let missing = |run: &RunManifest, label: &str| {
        let is_missing = !run.arms.iter().any(|arm| arm.label == label);
        let what = || format!("{} has no arm `{label}`; it has {}", run.run_id, labels(run));
        is_missing.then(|| Reason::UnknownArm.with(what()))
    };
    pairs.iter().flat_map(|(of_a, of_b)| [missing(a, of_a), missing(b, of_b)]).flatten().collect()
}

pub(crate) fn labels(run: &RunManifest) -> String {
    run.arms.iter().map(|arm| arm.label.as_str()).collect::<Vec<_>>().join(", ")
}

fn compare_arms(
    (baseline, candidate): (&Loaded, &Loaded),
    (of_a, of_b): (&str, &str),
    (report_a, report_b): (Option<ArmReport>, Option<ArmReport>),
) -> Result<ArmComparison, ResultsError> {
    let invalid: Vec<String> = [&report_a, &report_b]
        .into_iter()
        .zip([baseline, candidate])
        .flat_map(|(arm, run)| why_not(arm.as_ref(), &run.first().run_id))
        .collect();
    let refusal = [&report_a, &report_b].into_iter().flatten().find_map(ArmReport::acceptance_refused);
    let refused = |metric: Metric| refusal.filter(|_| metric.depends_on_acceptance());
    let rows = (completed_rows(baseline, of_a), completed_rows(candidate, of_b));
    let ratios = Metric::ALL.map(|metric| {
        let values = |run: &Loaded, rows: &[&Row]| log_values(baseline, run, rows, metric);
        unpaired_log_ratio(&values(baseline, &rows.0), &values(candidate, &rows.1), CONFIDENCE)
            .filter(|_| invalid.is_empty() && refused(metric).is_none())
    });
    let p_values = ratios.map(|ratio| ratio.and_then(|ratio| ratio.p_value));
    let adjusted = holm_of_known(&p_values);
    let metrics = Metric::ALL.into_iter().zip(ratios).zip(adjusted).map(|((metric, ratio), p_holm)| {
        let floor = [(baseline, of_a), (candidate, of_b)].map(|(run, label)| floor(run, label, metric));
        let judged = judge(metric, ratio, p_holm, (candidate.first().preset.run.margin(metric), floor));
        let why = refused(metric).map(|why| format!("refused: {why}")).or(judged.why);
        MetricComparison { why, ..judged }
    });
    Ok(ArmComparison {
        baseline: of_a.to_owned(),
        candidate: of_b.to_owned(),
        not_comparable: invalid.clone(),
        metrics: metrics.collect(),
        lossless: if refusal.is_some()
            || baseline.plants_acceptance(of_a)
            || candidate.plants_acceptance(of_b)
        {
            None
        } else {
            audit((baseline, candidate), &rows.0, &rows.1)?
        },
    })
}

fn why_not(arm: Option<&ArmReport>, run_id: &str) -> Vec<String> {
    let Some(arm) = arm else { return vec![format!("run {run_id}: the arm was not reported")] };
    let skipped = arm.skipped.iter().map(|why| format!("run {run_id}: skipped: {why}"));
    skipped.chain(arm.invalid_reasons.iter().map(|why| format!("run {run_id}: {why}"))).collect()
}

/// Prompts are numbered as in the baseline; one that it does not have has no pair.
fn log_values(baseline: &Loaded, run: &Loaded, rows: &[&Row], metric: Metric) -> Vec<LogValue> {
    let prompts = &baseline.first().preset.workload.prompts;
    let has = |id: &str| run.first().preset.workload.prompts.iter().any(|prompt| prompt.id == id);
    let numbers: BTreeMap<&str, u32> = prompts
        .iter()
        .zip(0..)
        .filter(|(prompt, _)| has(&prompt.id))
        .map(|(p, n)| (p.id.as_str(), n))
        .collect();
    let value = |row: &&Row| {
        LogValue::new(row.block, *numbers.get(row.prompt_id.as_str())?, metric_value(row, metric)?)
    };
    rows.iter().filter_map(value).collect()
}

fn floor(run: &Loaded, label: &str, metric: Metric) -> Option<f64> {
    let stack = run.first().arms.iter().find(|arm| arm.label == label)?.stack;
    run.noise_floor()?.of(stack, metric)
}

fn judge(
    metric: Metric,
    found: Option<UnpairedRatio>,
    p_holm: Option<f64>,
    (margin, floors): (f64, [Option<f64>; 2]),
) -> MetricComparison {
    // A floor is of interleaved arms, so that of runs apart is at least as high: the higher known one is better than none.
    let noise_floor = floors.into_iter().flatten().max_by(f64::total_cmp);
    let ratio = found.map(|found| found.ratio);
    let (verdict, why) = verdict(&Evidence {
        ratio,
        p_adjusted: p_holm,
        alpha: 1.0 - CONFIDENCE,
        margin,
        noise_floor,
        more_is_faster: metric.more_is_faster(),
    });
    let test = found.map(|found| BlockTest {
        blocks: found.blocks[0].min(found.blocks[1]) as u64,
        block_sd: None,
        p_value: found.p_value,
        p_holm,
        p_ranks: found.ranks.map(|ranks| ranks.p_value),
        smallest_p_ranks: found.ranks.map(|ranks| ranks.smallest_p),
        margin,
        noise_floor,
        detectable: None,
    });
    let pairs = found.map_or(0, |found| found.prompts as u64);
    MetricComparison { metric, ratio, pairs, verdict, why, other_prompts: None, test }
}

/// The first completed output of every prompt in either run: greedy ones repeat themselves, and where they do not the
/// audit within each run says so.
pub(crate) fn audit(
    (baseline, candidate): (&Loaded, &Loaded),
    a: &[&Row],
    b: &[&Row],
) -> Result<Option<Lossless>, ResultsError> {
    if baseline.first().preset.sampling.temperature > 0.0 {
        return Ok(None);
    }
    let mut audit = Lossless::default();
    let (mut of_a, mut of_b) = (baseline.answers(), candidate.answers());
    for prompt in &baseline.first().preset.workload.prompts {
        let asks = |row: &&&Row| row.prompt_id == prompt.id;
        if let (Some(a), Some(b)) = (a.iter().find(asks), b.iter().find(asks)) {
            let compared = compare(&of_a.of(a)?.output(), &of_b.of(b)?.output());
            audit.count(&a.prompt_id, a.block, compared);
        }
    }
    Ok((audit.requests > 0).then_some(audit))
}
