//! Every arm by category of prompt: what was accepted, at which draft position, and how fast it was.
//!
//! Two kinds of interval stand side by side. Speed varies from block to block, so blocks are its clusters. Acceptance
//! does not: greedy decoding repeats its counts exactly in every block, so prompts are its clusters.

use std::collections::BTreeSet;

use bench_core::record::ArmManifest;
use bench_core::report::{ArmReport, CategoryReport, PositionReport};
use bench_core::stack::SpecCounts;
use bench_core::stats::{BootstrapConfig, Metric};

use crate::compare::category_ratio;
use crate::load::Loaded;
use crate::row::Row;
use crate::samples::{
    PromptIndex, accepted_of_drafted, completed_rows, decode_parts, extra_tokens_a_step, metric_value,
    plus_one, position_sums, prompt_parts,
};

/// The categories of one of `arms`, in preset order; those without a completed request are left out.
pub(crate) fn categories(
    loaded: &Loaded,
    arms: &[ArmReport],
    arm: &ArmReport,
    config: &BootstrapConfig,
) -> Vec<CategoryReport> {
    let mut names: Vec<&str> = Vec::new();
    for prompt in &loaded.first().preset.workload.prompts {
        if !names.contains(&prompt.category.as_str()) {
            names.push(&prompt.category);
        }
    }
    let completed = completed_rows(loaded, &arm.label);
    let baseline = baseline(loaded, arm).and_then(|label| arms.iter().find(|other| other.label == label));
    let of_category = |name: &str| {
        let rows: Vec<_> = completed.iter().copied().filter(|row| row.category == name).collect();
        let mut category = category(loaded, arm, name, &rows, config)?;
        category.ratio = baseline.and_then(|other| category_ratio(loaded, other, arm, name, config));
        Some(category)
    };
    names.into_iter().filter_map(of_category).collect()
}

/// The first arm of the same stack and, in a sweep, of the same concurrency; `None` for that arm itself.
fn baseline<'a>(loaded: &'a Loaded, arm: &ArmReport) -> Option<&'a str> {
    let of = loaded.arms.iter().find(|other| other.label == arm.label)?;
    let same = |other: &&ArmManifest| other.stack == of.stack && other.concurrency == of.concurrency;
    let first = loaded.arms.iter().find(same)?;
    (first.label != arm.label).then_some(first.label.as_str())
}

fn category(
    loaded: &Loaded,
    arm: &ArmReport,
    name: &str,
    rows: &[&Row],
    config: &BootstrapConfig,
) -> Option<CategoryReport> {
    let prompts = PromptIndex::new(loaded);
    let asked: BTreeSet<&str> = rows.iter().map(|row| row.prompt_id.as_str()).collect();
    if asked.is_empty() {
        return None;
    }
    // A server that counts reports zeros without speculation, too: nothing to show.
    let speculates = arm.speculation.draft_max().is_some();
    let sum = |of: fn(&SpecCounts) -> Option<u64>| if speculates { sum(rows, of) } else { None };
    let (drafted, accepted, verify_steps) =
        (sum(|spec| Some(spec.drafted)), sum(|spec| Some(spec.accepted)), sum(|spec| spec.verify_steps));
    let over_prompts =
        |parts: &dyn Fn(&Row) -> Option<(f64, f64)>| prompts.ratio_over_prompts(rows, parts, config);
    Some(CategoryReport {
        category: name.to_owned(),
        prompts: asked.len() as u64,
        drafted,
        accepted,
        verify_steps,
        acceptance_rate: drafted.and_then(|_| over_prompts(&accepted_of_drafted)),
        acceptance_length: verify_steps.and_then(|_| over_prompts(&extra_tokens_a_step).map(plus_one)),
        positions: if speculates { positions(&prompts, rows, config) } else { None },
        tokens_per_s: prompts.ratio(rows, &decode_parts, config),
        prompt_tokens_range: prompt_tokens_range(rows),
        ttft_ms: prompts.median(rows, &|row| metric_value(row, Metric::TtftMs), config),
        prompt_tokens_per_s: prompts.ratio(rows, &prompt_parts, config),
        ratio: None,
    })
}

/// Least and most, read back; `None` if some request does not tell.
fn prompt_tokens_range(rows: &[&Row]) -> Option<[u32; 2]> {
    let told: Vec<u32> = rows.iter().map(|row| row.usage.prompt_tokens).collect::<Option<_>>()?;
    Some([*told.iter().min()?, *told.iter().max()?])
}

/// `None` if some request does not tell, since a sum without it would be of something else.
fn sum(rows: &[&Row], of: fn(&SpecCounts) -> Option<u64>) -> Option<u64> {
    rows.iter().map(|row| row.spec().and_then(of)).sum()
}

/// Counts and shares by draft position; `None` where the stack does not count accepted drafts by position.
fn positions(
    prompts: &PromptIndex<'_>,
    rows: &[&Row],
    config: &BootstrapConfig,
) -> Option<Vec<PositionReport>> {
    let accepted = position_sums(rows, |spec| spec.accepted_per_position.as_deref())?;
    let drafted = position_sums(rows, |spec| spec.drafted_per_position.as_deref());
    let share = |nth: usize, of: usize| {
        let parts = |row: &Row| {
            let spec = row.spec()?;
            let accepted = at(spec.accepted_per_position.as_deref()?, nth);
            Some((accepted as f64, at(spec.drafted_per_position.as_deref()?, of) as f64))
        };
        drafted.as_ref().and_then(|_| prompts.ratio_over_prompts(rows, &parts, config))
    };
    let count = accepted.len().max(drafted.as_ref().map_or(0, Vec::len));
    let position = |nth| PositionReport {
        drafted: drafted.as_ref().map(|drafted| at(drafted, nth)),
        accepted: at(&accepted, nth),
        conditional: share(nth, nth),
        // A verify step drafted if and only if it drafted at the first position.
        marginal: share(nth, 0),
    };
    Some((0..count).map(position).collect())
}

/// A position that a list does not reach was never drafted, or never accepted.
fn at(counts: &[u64], nth: usize) -> u64 {
    counts.get(nth).copied().unwrap_or_default()
}
