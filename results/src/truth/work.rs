//! Did the arms do the same work, warm and at a steady speed?

use std::collections::{BTreeMap, BTreeSet};

use bench_core::record::{Outcome, Phase};
use bench_core::stack::FinishReason;
use bench_core::stats::{Steadiness, median, steadiness};
use bench_core::synthetic::{REFUSAL, refuses_acceptance};
use bench_core::truth::{RuleId, STEADY_FALSE_ALARM, STEADY_LEAST_CHANGE};

use super::{Facts, Finding};
use crate::row::Row;
use crate::samples::completed_rows;

fn finish(row: &Row) -> Option<FinishReason> {
    match *row.outcome {
        Outcome::Completed { reason } => Some(reason),
        Outcome::Failed { .. } | Outcome::TimedOut { .. } | Outcome::Cancelled => None,
    }
}

/// `lengths 4 to 96, median 80; ended by length 12, by stop 3`.
fn distribution(rows: &[&Row]) -> String {
    let mut lengths: Vec<f64> = rows.iter().filter_map(|row| row.output.tokens).map(f64::from).collect();
    lengths.sort_by(f64::total_cmp);
    let of = |reason| rows.iter().filter(|row| finish(row) == Some(reason)).count();
    let ends = format!("ended by length {}, by stop {}", of(FinishReason::Length), of(FinishReason::Stop));
    match (lengths.first(), median(&lengths), lengths.last()) {
        (Some(least), Some(median), Some(most)) => {
            format!("lengths {least} to {most}, median {median}; {ends}")
        }
        _ => ends,
    }
}

/// With `ignore_eos` every request has to reach `max_tokens`; one that does not did other work than its pair.
pub(super) fn output_length(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::OutputLength;
    let (rows, all) = (&facts.completed, facts.completed.len());
    let workload = &facts.loaded.first().preset.workload;
    if all == 0 {
        return Finding::unknown(rule, "no request completed");
    }
    if !workload.ignore_eos {
        return Finding::does_not_apply(rule, format!("lengths are free: {}", distribution(rows)));
    }
    let asked = workload.max_tokens.get();
    let other = rows.iter().filter(|row| row.output.tokens.is_some_and(|tokens| tokens != asked)).count();
    let stopped = rows.iter().filter(|row| finish(row) == Some(FinishReason::Stop)).count();
    let mut words = Vec::new();
    if other > 0 {
        words.push(format!(
            "ignore_eos is set, and {other} of {all} requests emitted other than {asked} tokens"
        ));
    }
    if stopped > 0 {
        words.push(format!("ignore_eos is set, and {stopped} of {all} requests ended by stop"));
    }
    let untold = rows.iter().filter(|row| row.output.tokens.is_none()).count();
    Finding::broken_or(rule, words, || match untold {
        0 => Finding::held(rule, distribution(rows)),
        _ => Finding::unknown(rule, format!("output not counted in {untold} of {all} requests")),
    })
}

/// Lengths and ends against the arm's baseline, request by request.
pub(super) fn equal_work(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::EqualWork;
    // Another KV type may choose other tokens.
    let arms = || facts.loaded.arms.iter().filter(|arm| facts.loaded.same_kv_types(arm, facts.arm));
    let of_stack =
        arms().find(|arm| arm.stack == facts.arm.stack && arm.concurrency == facts.arm.concurrency);
    let of_stack = of_stack.filter(|arm| arm.label != facts.arm.label);
    let Some(baseline) = of_stack.or_else(|| arms().next().filter(|arm| arm.label != facts.arm.label)) else {
        return Finding::does_not_apply(rule, "the other arms are held against it");
    };
    if facts.arm.spec.plants_acceptance() {
        return Finding::does_not_apply(rule, "synthetic acceptance writes another text");
    }
    if facts.loaded.first().preset.sampling.temperature > 0.0 {
        return Finding::does_not_apply(rule, format!("sampled: {}", distribution(&facts.completed)));
    }
    let work = |row: &Row| Some((row.output.tokens?, finish(row)?));
    let theirs: BTreeMap<_, _> =
        completed_rows(facts.loaded, &baseline.label).into_iter().map(|row| (row.place(), row)).collect();
    let pairs: Vec<_> = facts
        .completed
        .iter()
        .filter_map(|row| Some((row, *theirs.get(&row.place())?)))
        // Another history is another question.
        .filter(|(mine, theirs)| mine.follows_the_same(theirs))
        .filter_map(|(mine, theirs)| Some((work(mine)?, work(theirs)?)))
        .collect();
    let lengths = pairs.iter().filter(|((mine, _), (theirs, _))| mine != theirs).count();
    let ends = pairs.iter().filter(|((_, mine), (_, theirs))| mine != theirs).count();
    let (all, label) = (pairs.len(), &baseline.label);
    let mut words = Vec::new();
    if lengths > 0 {
        words.push(format!("another length than {label} in {lengths} of {all} pairs"));
    }
    if ends > 0 {
        words.push(format!("another end than {label} in {ends} of {all} pairs"));
    }
    Finding::broken_or(rule, words, || match all {
        0 => Finding::unknown(rule, format!("no pair with {label} that tells both")),
        _ => Finding::held(
            rule,
            format!("as long as {label} in {all} pairs; {}", distribution(&facts.completed)),
        ),
    })
}

/// Rows are numbered as they are sent, over all arms of a run.
pub(super) fn warm_up(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::WarmUp;
    let of_arm =
        |phase| facts.loaded.rows.iter().filter(move |row| row.arm == facts.arm.label && row.phase == phase);
    let mut firsts: BTreeMap<&str, u64> = BTreeMap::new();
    for row in of_arm(Phase::Measured) {
        let first = firsts.entry(&row.run_id).or_insert(row.request_index);
        *first = row.request_index.min(*first);
    }
    if firsts.is_empty() {
        return Finding::unknown(rule, "nothing was asked");
    }
    let before = |run: &str, first: u64| {
        let is = |row: &&Row| row.run_id == run && row.request_index < first && row.outcome.is_completed();
        of_arm(Phase::Warmup).filter(is).count()
    };
    let counts: Vec<_> = firsts.iter().map(|(run, first)| before(run, *first)).collect();
    let least = counts.iter().min().copied().unwrap_or_default();
    let cold =
        (least == 0).then(|| "no warm-up request was completed before the first measured one".to_owned());
    Finding::broken_or(rule, cold.into_iter().collect(), || {
        Finding::held(rule, format!("{least} warm-up requests before the first measured one, not counted"))
    })
}

/// What synthetic tokens say of acceptance is nothing.
pub(super) fn acceptance_of_text(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::AcceptanceOfText;
    let (workload, spec) = (&facts.loaded.first().preset.workload, &facts.arm.spec);
    if workload.synthetic.is_none() {
        return Finding::held(rule, "prompts are text");
    }
    let refused = refuses_acceptance(workload, spec).then(|| REFUSAL.to_owned());
    Finding::broken_or(rule, refused.into_iter().collect(), || match spec.acceptance() {
        None => Finding::does_not_apply(rule, "prompts are synthetic tokens, and nothing is drafted"),
        Some(_) => {
            Finding::does_not_apply(rule, "prompts are synthetic tokens, and acceptance is stated in advance")
        }
    })
}

/// Trends of decode speed, each prompt against itself.
pub(super) fn steady_state(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::SteadyState;
    let speeds = log_speeds(&facts.completed);
    let Some(found) = steadiness(&speeds, STEADY_FALSE_ALARM) else {
        let blocks = speeds.len();
        return Finding::unknown(rule, format!("{blocks} blocks with the same prompts; 4 are needed"));
    };
    Finding::broken_or(rule, found.unsteady(STEADY_LEAST_CHANGE), || {
        Finding::held(rule, steady_words(&found))
    })
}

fn steady_words(found: &Steadiness) -> String {
    let word = |change: Option<f64>| {
        change.map_or_else(|| "not tested".to_owned(), |change| format!("{:+.1} %", change * 100.0))
    };
    format!(
        "over {} blocks {}, first block {}, within it {}: no more than noise gives, or under {:.0} %",
        found.blocks,
        word(found.over_blocks.change),
        word(found.first_block.change),
        word(found.within_first_block.change),
        STEADY_LEAST_CHANGE * 100.0
    )
}

/// Log decode speeds, a row a block, of the prompts that every block measured, in the order in which they were asked.
fn log_speeds(rows: &[&Row]) -> Vec<Vec<f64>> {
    let mut blocks: BTreeMap<u32, BTreeMap<&str, (f64, f64)>> = BTreeMap::new();
    let mut order: Vec<(u64, &str)> = Vec::new();
    for row in rows {
        let Some(span) = row.decode_span() else { continue };
        let (tokens, span_ns) =
            blocks.entry(row.block).or_default().entry(&row.prompt_id).or_insert((0.0, 0.0));
        *tokens += f64::from(span.tokens);
        *span_ns += span.span_ns as f64;
        order.push((row.request_index, &row.prompt_id));
    }
    order.sort_unstable();
    let mut seen = BTreeSet::new();
    let common: Vec<&str> = order
        .into_iter()
        .map(|(_, prompt)| prompt)
        .filter(|prompt| seen.insert(*prompt) && blocks.values().all(|block| block.contains_key(prompt)))
        .collect();
    let of_block = |block: &BTreeMap<&str, (f64, f64)>| {
        common.iter().filter_map(|prompt| block.get(prompt)).map(|(tokens, ns)| (tokens / ns).ln()).collect()
    };
    if common.is_empty() { Vec::new() } else { blocks.values().map(of_block).collect() }
}
