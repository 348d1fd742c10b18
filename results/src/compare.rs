//! Who is compared with whom, and what the pairs say.
//!
//! Within a stack, every variant with the first one: what does speculation bring? Across stacks, every variant with
//! the same variant of the first stack: which stack is faster? In a sweep both at equal concurrency. Where variants differ in
//! their KV types, also with the first one of the same types, and with the same drafting on the first one's types. Nothing
//! else is a fair pair. How a verdict comes about is told in docs/statistics.md.

use std::collections::{BTreeMap, BTreeSet};

use bench_core::audit::Lossless;
use bench_core::noise::{NoiseEntry, NoiseFloor};
use bench_core::record::ArmManifest;
use bench_core::report::{ArmReport, BlockTest, Comparison, Estimate, MetricComparison, Peak};
use bench_core::stats::{
    BootstrapConfig, Evidence, LogPair, Metric, PairSample, PairedRatio, Power, block_test, holm,
    paired_log_ratio, paired_ratio, signed_rank, verdict,
};

use crate::differences::arms_differ;
use crate::error::ResultsError;
use crate::load::Loaded;
use crate::reasons::{Reason, Refusal};
use crate::refused::refused_between;
use crate::row::Row;
use crate::samples::{PromptIndex, completed_rows, decode_parts, metric_value};

/// All comparisons, in report order: first within stacks, then across them.
pub(crate) fn compare(
    loaded: &Loaded,
    arms: &[ArmReport],
    config: &BootstrapConfig,
) -> Result<Vec<Comparison>, ResultsError> {
    let report_of = |label: &str| arms.iter().find(|arm| arm.label == label);
    pairs(loaded)
        .into_iter()
        .filter_map(|(baseline, candidate)| Some((report_of(baseline)?, report_of(candidate)?)))
        .map(|(baseline, candidate)| comparison(loaded, baseline, candidate, config))
        .collect()
}

/// What an A/A run shows of the machine: every arm `.../b` against its `.../a`. Empty where an arm is invalid or has too
/// few blocks.
pub(crate) fn noise_entries(loaded: &Loaded, arms: &[ArmReport]) -> Vec<NoiseEntry> {
    let valid = |arm: &&ArmManifest| arms.iter().any(|report| report.label == arm.label && report.valid);
    let mut entries = Vec::new();
    for (baseline, candidate) in pairs(loaded) {
        let both = [baseline, candidate].map(|label| loaded.arms.iter().find(|arm| arm.label == label));
        let [Some(a), Some(b)] = both.map(|arm| arm.filter(valid)) else { continue };
        if a.stack != b.stack {
            continue;
        }
        let matched = matched(loaded, &a.label, &b.label);
        entries.extend(Metric::ALL.into_iter().filter_map(|metric| {
            let paired = paired(loaded, &matched, metric, &BootstrapConfig::default())?;
            NoiseEntry::new(a.stack, metric, &paired)
        }));
    }
    entries
}

/// Labels (baseline, candidate).
fn pairs(loaded: &Loaded) -> Vec<(&str, &str)> {
    let arms = &loaded.arms;
    let mut pairs = Vec::new();
    for arm in arms {
        let of_stack =
            || arms.iter().filter(|other| other.stack == arm.stack && other.concurrency == arm.concurrency);
        let baseline = of_stack().next();
        // Where variants differ in their KV types: what speculation adds with this one, what this one adds to such drafts.
        let other_types = baseline.filter(|first| !loaded.same_kv_types(first, arm));
        let same_types = other_types.and_then(|_| of_stack().find(|other| loaded.same_kv_types(other, arm)));
        let same_spec = other_types.and_then(|first| {
            of_stack().find(|other| other.spec == arm.spec && loaded.same_kv_types(other, first))
        });
        let mut found: Vec<&str> = Vec::new();
        for other in [baseline, same_types, same_spec].into_iter().flatten() {
            if other.label != arm.label && !found.contains(&&*other.label) {
                found.push(&other.label);
            }
        }
        pairs.extend(found.into_iter().map(|other| (other, &*arm.label)));
    }
    let Some(first) = arms.first() else { return pairs };
    for arm in arms.iter().filter(|arm| arm.stack != first.stack) {
        let same = arms.iter().find(|other| {
            other.stack == first.stack && other.variant == arm.variant && other.concurrency == arm.concurrency
        });
        pairs.extend(same.map(|other| (&*other.label, &*arm.label)));
    }
    pairs
}

fn comparison(
    loaded: &Loaded,
    baseline: &ArmReport,
    candidate: &ArmReport,
    config: &BootstrapConfig,
) -> Result<Comparison, ResultsError> {
    let matched = matched(loaded, &baseline.label, &candidate.label);
    let prompts = PromptIndex::new(loaded);
    let samples: Vec<_> = matched.iter().filter_map(|(a, b)| pair_sample(a, b, prompts.of(a))).collect();
    let refused = refused_between(baseline, candidate);
    // The ratio of an invalid arm would be quoted without its reasons.
    let comparable = is_comparable(loaded, baseline, candidate) && refused.is_none();
    let mut metrics = compared_metrics(loaded, (baseline, candidate), &matched, config);
    let main = metrics.remove(0);
    let same_kv_types = {
        let arm = |report: &ArmReport| loaded.arms.iter().find(|arm| arm.label == report.label);
        arm(baseline).zip(arm(candidate)).is_none_or(|(a, b)| loaded.same_kv_types(a, b))
    };
    let greedy = loaded.first().preset.sampling.temperature <= 0.0;
    let planted = |arm: &ArmReport| loaded.plants_acceptance(&arm.label);
    let audited = greedy && refused.is_none() && !planted(baseline) && !planted(candidate);
    let audit = if audited { Some(audit(loaded, &matched)?) } else { None };
    Ok(Comparison {
        baseline: baseline.label.clone(),
        candidate: candidate.label.clone(),
        metric: main.metric.as_str().to_owned(),
        ratio: main.ratio,
        pairs: main.pairs,
        verdict: main.verdict,
        why: main.why,
        other_prompts: main.other_prompts,
        ratio_of_sums: paired_ratio(&samples, config).filter(|_| comparable).map(|(ratio, _)| ratio),
        peak: comparable.then(|| peak(loaded, &matched, config)).flatten(),
        test: main.test,
        other_metrics: metrics,
        same_output: audit.as_ref().and_then(|audit| same_output(audit, matched.len())),
        // Another cache may choose another token, and no draft is to blame.
        lossless: audit.filter(|audit| audit.requests > 0 && same_kv_types),
    })
}

fn is_comparable(loaded: &Loaded, baseline: &ArmReport, candidate: &ArmReport) -> bool {
    baseline.valid && candidate.valid && differing(loaded, baseline, candidate).is_none()
}

/// What two valid arms differ in besides their stacks and variants: everything, in words.
fn differing(loaded: &Loaded, baseline: &ArmReport, candidate: &ArmReport) -> Option<String> {
    let arm = |report: &ArmReport| loaded.arms.iter().find(|arm| arm.label == report.label);
    let (a, b) = (arm(baseline)?, arm(candidate)?);
    // That is what such variants are compared for. A type in force that was not asked for breaks a truth rule.
    let asked = |refusal: &Refusal| refusal.reason == Reason::KvType && !loaded.same_kv_types(a, b);
    let found = arms_differ(a, b).into_iter().filter(|refusal| !asked(refusal));
    let words: Vec<_> = found.map(|refusal| refusal.words).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// The category and the pair with the greatest ratio of decode throughput.
fn peak(loaded: &Loaded, matched: &[(&Row, &Row)], config: &BootstrapConfig) -> Option<Peak> {
    let metric = Metric::TokensPerS;
    let ratio = |(a, b): &(&Row, &Row)| {
        Some(metric_value(b, metric)? / metric_value(a, metric)?).filter(|ratio| ratio.is_finite())
    };
    let best = matched.iter().filter_map(|pair| Some((ratio(pair)?, pair.1)));
    // Of equals the first, in whatever order the rows were read.
    let better =
        |a: &(f64, &Row), b: &(f64, &Row)| a.0.total_cmp(&b.0).then_with(|| b.1.place().cmp(&a.1.place()));
    let (request_ratio, row) = best.max_by(better)?;
    let names: BTreeSet<&str> = matched.iter().map(|(a, _)| a.category.as_str()).collect();
    let of_category = |name: &str| {
        let own: Vec<_> = matched.iter().copied().filter(|(a, _)| a.category == name).collect();
        Some((name.to_owned(), paired(loaded, &own, metric, config)?.ratio))
    };
    let categories = names.iter().filter_map(|name| of_category(name)).filter(|_| names.len() > 1);
    let best = categories.max_by(|a, b| a.1.point.total_cmp(&b.1.point));
    Some(Peak {
        category_ratio: best.as_ref().map(|(_, ratio)| *ratio),
        category: best.map(|(name, _)| name),
        prompt_id: row.prompt_id.to_string(),
        block: row.block,
        request_ratio,
    })
}

/// One entry a metric, in the order of [`Metric::ALL`].
fn compared_metrics(
    loaded: &Loaded,
    (baseline, candidate): (&ArmReport, &ArmReport),
    matched: &[(&Row, &Row)],
    config: &BootstrapConfig,
) -> Vec<MetricComparison> {
    let differing = differing(loaded, baseline, candidate);
    let valid = baseline.valid && candidate.valid && differing.is_none();
    let refused =
        |metric: Metric| refused_between(baseline, candidate).filter(|_| metric.depends_on_acceptance());
    let comparable = |metric| valid && refused(metric).is_none();
    let paired = Metric::ALL.map(|metric| paired(loaded, matched, metric, config));
    let p_values: Vec<Option<f64>> = paired
        .iter()
        .zip(Metric::ALL)
        .map(|(paired, metric)| block_test(&paired.as_ref()?.block_logs).filter(|_| comparable(metric)))
        .collect();
    let adjusted = holm_of_known(&p_values);
    let floor = noise_floor(loaded, baseline, candidate);
    let run = &loaded.first().preset.run;
    let describe = |((metric, paired), (p_value, p_holm)): ((Metric, Option<PairedRatio>), _)| {
        let pairs = paired.as_ref().map_or(0, |paired| paired.pairs);
        let paired = paired.filter(|_| comparable(metric));
        let (margin, noise_floor) = (run.margin(metric), floor(metric));
        let (verdict, why) = verdict(&Evidence {
            ratio: paired.as_ref().map(|paired| paired.ratio),
            p_adjusted: p_holm,
            alpha: 1.0 - config.confidence,
            margin,
            noise_floor,
            more_is_faster: metric.more_is_faster(),
        });
        let why = differing.clone().or(why);
        MetricComparison {
            metric,
            ratio: paired.as_ref().map(|paired| paired.ratio),
            pairs,
            verdict,
            why: refused(metric).map(|why| format!("refused: {why}")).or(why),
            other_prompts: paired.as_ref().map(|paired| paired.other_prompts),
            test: paired.map(|paired| tests(&paired, (p_value, p_holm), (margin, noise_floor), config)),
        }
    };
    Metric::ALL.into_iter().zip(paired).zip(p_values.into_iter().zip(adjusted)).map(describe).collect()
}

fn tests(
    paired: &PairedRatio,
    (p_value, p_holm): (Option<f64>, Option<f64>),
    (margin, noise_floor): (f64, Option<f64>),
    config: &BootstrapConfig,
) -> BlockTest {
    let ranks = signed_rank(&paired.block_logs);
    let power = Power { alpha: 1.0 - config.confidence, ..Power::default() };
    let blocks = u32::try_from(paired.block_logs.len()).unwrap_or(u32::MAX);
    let block_sd = paired.block_sd();
    BlockTest {
        blocks: blocks.into(),
        block_sd,
        p_value,
        p_holm,
        p_ranks: ranks.map(|test| test.p_value),
        smallest_p_ranks: ranks.map(|test| test.smallest_p),
        margin,
        noise_floor,
        detectable: block_sd.and_then(|sd| power.detectable(sd, blocks)),
    }
}

/// Holm's adjustment over the values that are there.
pub(crate) fn holm_of_known(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let known: Vec<f64> = p_values.iter().copied().flatten().collect();
    let mut adjusted = holm(&known).into_iter();
    p_values.iter().map(|p| p.and_then(|_| adjusted.next())).collect()
}

/// The larger of the two arms' floors; of two stacks both have to be known.
fn noise_floor(
    loaded: &Loaded,
    baseline: &ArmReport,
    candidate: &ArmReport,
) -> impl Fn(Metric) -> Option<f64> {
    let floor: Option<&NoiseFloor> = loaded.noise_floor();
    let stacks = [baseline.stack, candidate.stack];
    move |metric| {
        let [a, b] = stacks.map(|stack| floor.and_then(|floor| floor.of(stack, metric)));
        Some(a?.max(b?))
    }
}

fn paired(
    loaded: &Loaded,
    matched: &[(&Row, &Row)],
    metric: Metric,
    config: &BootstrapConfig,
) -> Option<PairedRatio> {
    let prompts = PromptIndex::new(loaded);
    let pair = |(a, b): &(&Row, &Row)| {
        LogPair::new(a.block, prompts.of(a), metric_value(a, metric)?, metric_value(b, metric)?)
    };
    paired_log_ratio(&matched.iter().filter_map(pair).collect::<Vec<_>>(), config)
}

/// Compares the outputs of every pair.
pub(crate) fn audit(loaded: &Loaded, matched: &[(&Row, &Row)]) -> Result<Lossless, ResultsError> {
    let mut audit = Lossless::default();
    let mut answers = loaded.answers();
    for (a, b) in matched {
        audit.count(&a.prompt_id, a.block, answers.compare(a, b)?);
    }
    Ok(audit)
}

/// The paired ratio on the prompts of one category; `None` if an arm is invalid or what it claims
/// is refused, as in [`compare`].
pub(crate) fn category_ratio(
    loaded: &Loaded,
    baseline: &ArmReport,
    candidate: &ArmReport,
    category: &str,
    config: &BootstrapConfig,
) -> Option<Estimate> {
    if !is_comparable(loaded, baseline, candidate) || refused_between(baseline, candidate).is_some() {
        return None;
    }
    let mut matched = matched(loaded, &baseline.label, &candidate.label);
    matched.retain(|(a, _)| a.category == category);
    paired(loaded, &matched, Metric::TokensPerS, config).map(|paired| paired.ratio)
}

/// Completed requests of both arms for the same prompt in the same block. Later turns of a conversation pair where both
/// arms had answered the same before.
pub(crate) fn matched<'a>(loaded: &'a Loaded, baseline: &str, candidate: &str) -> Vec<(&'a Row, &'a Row)> {
    let of_baseline: BTreeMap<_, _> =
        completed_rows(loaded, baseline).into_iter().map(|row| (row.place(), row)).collect();
    completed_rows(loaded, candidate)
        .into_iter()
        .filter_map(|row| Some((*of_baseline.get(&row.place())?, row)))
        .filter(|(baseline, row)| baseline.follows_the_same(row))
        .collect()
}

fn pair_sample(a: &Row, b: &Row, prompt: u32) -> Option<PairSample> {
    let (a_num, a_den) = decode_parts(a)?;
    let (b_num, b_den) = decode_parts(b)?;
    Some(PairSample { block: a.block, prompt, a_num, a_den, b_num, b_den })
}

/// Token ids decide where both arms tell them, else the text. `None` without a pair, or if some pair has neither.
fn same_output(audit: &Lossless, pairs: usize) -> Option<bool> {
    (audit.requests > 0 && audit.requests == pairs as u64).then_some(audit.identical == audit.requests)
}
