//! The run's own look at its comparisons: may it end?
//!
//! Decides over decode throughput alone, every arm against the first of its stack. It claims nothing: what the report
//! says is decided there, at the level that [`crate::stats::Looks`] sets for any number of looks.

use std::collections::BTreeMap;

use crate::preset::RunParams;
use crate::record::RequestRecord;
use crate::stats::{BootstrapConfig, LogPair, Looks, Metric, paired_log_ratio};

/// Throughput of the measured requests so far.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    looks: Looks,
    margin: f64,
    /// Whether anything has to be remembered at all.
    is_on: bool,
    /// Arms in order of appearance, each with tokens a second by block and prompt.
    arms: Vec<(String, Rates)>,
}

/// By block and prompt; the place of a later turn holds the hash of all it follows, so that only equal ones pair.
type Rates = BTreeMap<(u32, Question), f64>;

/// Prompt, slot, and the hash of a later turn.
type Question = (String, u32, Option<String>);

impl Watch {
    pub(super) fn new(run: &RunParams) -> Self {
        Self {
            looks: Looks::new(run.blocks.get(), run.max_looks),
            margin: run.margin(Metric::TokensPerS),
            is_on: run.max_looks > 1,
            arms: Vec::new(),
        }
    }

    /// Takes a measured row.
    pub(super) fn note(&mut self, record: &RequestRecord) {
        if !self.is_on {
            return;
        }
        let nth = self.arms.iter().position(|(label, _)| *label == record.arm).unwrap_or_else(|| {
            self.arms.push((record.arm.clone(), Rates::new()));
            self.arms.len() - 1
        });
        if let Some(span) = record.decode_span() {
            let rate = f64::from(span.tokens) / span.span_ns as f64;
            let place = record.place();
            let later = (place.turn > 1).then(|| record.prompt_sha256.clone());
            self.arms[nth].1.insert((place.block, (place.prompt_id.to_owned(), place.slot, later)), rate);
        }
    }

    /// Whether a look is due after so many blocks, and all comparisons are settled. Without a comparison nothing is.
    pub(super) fn is_settled(&self, blocks: u32) -> bool {
        if !self.is_on || !self.looks.is_due(blocks) {
            return false;
        }
        let first = |label: &str| self.arms.iter().find(|(other, _)| group_of(other) == group_of(label));
        let mut compared = self
            .arms
            .iter()
            .filter_map(|(label, rates)| Some((first(label).filter(|(other, _)| other != label)?, rates)))
            .peekable();
        compared.peek().is_some() && compared.all(|((_, baseline), rates)| self.settles(baseline, rates))
    }

    fn settles(&self, baseline: &Rates, candidate: &Rates) -> bool {
        // Which number a prompt has does not matter, as long as it is the same in every block.
        let mut prompts: Vec<_> = candidate.keys().map(|(_, prompt)| prompt).collect();
        prompts.sort_unstable();
        let index = |prompt: &Question| prompts.partition_point(|other| *other < prompt);
        let pair = |((block, prompt), rate): (&(u32, Question), &f64)| {
            let of_baseline = *baseline.get(&(*block, prompt.clone()))?;
            LogPair::new(*block, u32::try_from(index(prompt)).ok()?, of_baseline, *rate)
        };
        let pairs: Vec<_> = candidate.iter().filter_map(pair).collect();
        let no_resamples = BootstrapConfig { resamples: 0, ..BootstrapConfig::default() };
        paired_log_ratio(&pairs, &no_resamples)
            .is_some_and(|paired| self.looks.settles(&paired.block_logs, self.margin))
    }
}

/// What arms are compared within: a stack, at one concurrency of a sweep.
fn group_of(label: &str) -> (&str, Option<&str>) {
    let stack = label.split_once('/').map_or(label, |(stack, _)| stack);
    (stack, label.split_once('@').map(|(_, concurrency)| concurrency))
}
