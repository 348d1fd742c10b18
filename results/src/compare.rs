//! Who is compared with whom, and what the pairs say.
//!
//! Within a stack, every variant with the first one: what does speculation bring? Across stacks, every variant with
//! the same variant of the first stack: which stack is faster? Nothing else is a fair pair.

use std::collections::BTreeMap;

use bench_core::record::RequestRecord;
use bench_core::report::{ArmReport, Comparison, Estimate, Verdict};
use bench_core::stats::{BootstrapConfig, PairSample, paired_ratio, verdict};

use crate::load::Loaded;
use crate::samples::{PromptIndex, completed_rows, decode_parts};

/// All comparisons, in report order: first within stacks, then across them.
pub(crate) fn compare(loaded: &Loaded, arms: &[ArmReport], config: &BootstrapConfig) -> Vec<Comparison> {
    let report_of = |label: &str| arms.iter().find(|arm| arm.label == label);
    pairs(loaded)
        .into_iter()
        .filter_map(|(baseline, candidate)| {
            Some(comparison(loaded, report_of(baseline)?, report_of(candidate)?, config))
        })
        .collect()
}

/// Labels (baseline, candidate).
fn pairs(loaded: &Loaded) -> Vec<(&str, &str)> {
    let arms = &loaded.arms;
    let mut pairs = Vec::new();
    for arm in arms {
        let baseline = arms.iter().find(|other| other.stack == arm.stack);
        pairs.extend(
            baseline.filter(|other| other.label != arm.label).map(|other| (&*other.label, &*arm.label)),
        );
    }
    let Some(first) = arms.first() else { return pairs };
    for arm in arms.iter().filter(|arm| arm.stack != first.stack) {
        let same = arms.iter().find(|other| other.stack == first.stack && other.variant == arm.variant);
        pairs.extend(same.map(|other| (&*other.label, &*arm.label)));
    }
    pairs
}

fn comparison(
    loaded: &Loaded,
    baseline: &ArmReport,
    candidate: &ArmReport,
    config: &BootstrapConfig,
) -> Comparison {
    let matched = matched(loaded, &baseline.label, &candidate.label);
    let prompts = PromptIndex::new(loaded);
    let samples: Vec<_> = matched.iter().filter_map(|(a, b)| pair_sample(a, b, prompts.of(a))).collect();
    // The ratio of an invalid arm would be quoted without its reasons.
    let comparable = baseline.valid && candidate.valid;
    let estimated = paired_ratio(&samples, config).filter(|_| comparable);
    let ratio = estimated.map(|(ratio, _)| ratio);
    let greedy = loaded.first().preset.sampling.temperature <= 0.0;
    Comparison {
        baseline: baseline.label.clone(),
        candidate: candidate.label.clone(),
        metric: "tokens_per_s".to_owned(),
        ratio,
        pairs: samples.len() as u64,
        verdict: if comparable { verdict(ratio.as_ref()) } else { Verdict::NotComparable },
        same_output: if greedy { same_output(&matched) } else { None },
    }
}

/// The paired ratio on the prompts of one category; `None` if an arm is invalid, as in [`compare`].
pub(crate) fn category_ratio(
    loaded: &Loaded,
    baseline: &ArmReport,
    candidate: &ArmReport,
    category: &str,
    config: &BootstrapConfig,
) -> Option<Estimate> {
    if !(baseline.valid && candidate.valid) {
        return None;
    }
    let prompts = PromptIndex::new(loaded);
    let matched = matched(loaded, &baseline.label, &candidate.label);
    let of_category = matched.iter().filter(|(a, _)| a.category == category);
    let samples: Vec<_> = of_category.filter_map(|(a, b)| pair_sample(a, b, prompts.of(a))).collect();
    paired_ratio(&samples, config).map(|(ratio, _)| ratio)
}

/// Completed requests of both arms for the same prompt in the same block.
fn matched<'a>(
    loaded: &'a Loaded,
    baseline: &str,
    candidate: &str,
) -> Vec<(&'a RequestRecord, &'a RequestRecord)> {
    let key = |row: &RequestRecord| (row.block, row.prompt_id.clone());
    let of_baseline: BTreeMap<_, _> =
        completed_rows(loaded, baseline).into_iter().map(|row| (key(row), row)).collect();
    completed_rows(loaded, candidate)
        .into_iter()
        .filter_map(|row| Some((*of_baseline.get(&key(row))?, row)))
        .collect()
}

fn pair_sample(a: &RequestRecord, b: &RequestRecord, prompt: u32) -> Option<PairSample> {
    let (a_num, a_den) = decode_parts(a)?;
    let (b_num, b_den) = decode_parts(b)?;
    Some(PairSample { block: a.block, prompt, a_num, a_den, b_num, b_den })
}

/// Token ids decide where both arms tell them, else the text. `None` without a pair, or if some pair has neither.
fn same_output(matched: &[(&RequestRecord, &RequestRecord)]) -> Option<bool> {
    let same = |(a, b): &(&RequestRecord, &RequestRecord)| match (&a.token_ids, &b.token_ids) {
        (Some(a), Some(b)) => Some(a == b),
        (Some(_), None) | (None, Some(_)) | (None, None) => {
            (!a.text.is_empty() && !b.text.is_empty()).then(|| a.text == b.text)
        }
    };
    let each: Option<Vec<bool>> = matched.iter().map(same).collect();
    each.filter(|each| !each.is_empty()).map(|each| each.into_iter().all(|same| same))
}
