//! The noise floor: what a machine shows between an arm and itself.
//!
//! An A/A run measures the baseline twice, interleaved as two arms. Whatever ratio it finds is noise, and so is the like
//! of it in any later run of the same prompts on the same machine. The document below is kept beside the run and in the
//! user's cache, goes into the manifest of later runs, and claims under it are refused (see [`crate::stats::verdict`]).
//!
//! Pure. Does not know where files lie.

use serde::{Deserialize, Serialize};

use crate::preset::{Preset, StackKind};
use crate::record::HostInfo;
use crate::report::Estimate;
use crate::run_dir::json_sha256;
use crate::stats::{Metric, PairedRatio, Power};

/// Effects whose blocks are told in advance, as shares.
const EFFECTS: [f64; 4] = [0.01, 0.02, 0.03, 0.05];

/// Endings of the labels of the two arms of an A/A run.
pub const AA_SUFFIXES: [&str; 2] = ["/a", "/b"];

/// What an A/A run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloor {
    /// What it holds for: see [`noise_key`].
    pub key: String,
    /// The A/A run.
    pub run_id: String,
    /// Its start, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Version of the suite that measured.
    pub suite_version: String,
    /// One entry a stack and metric.
    pub entries: Vec<NoiseEntry>,
}

impl NoiseFloor {
    /// The floor of a metric on a stack, as a share; `None` where it was not measured.
    #[must_use]
    pub fn of(&self, stack: StackKind, metric: Metric) -> Option<f64> {
        self.entries
            .iter()
            .find(|entry| entry.stack == stack && entry.metric == metric)
            .map(|entry| entry.floor)
    }
}

/// The noise of one metric on one stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoiseEntry {
    /// The stack.
    pub stack: StackKind,
    /// The metric.
    pub metric: Metric,
    /// Blocks measured.
    pub blocks: u64,
    /// The second arm by the first; the truth is 1.
    pub ratio: Estimate,
    /// The larger distance from 1 of the interval's two ends, as a share: 0.02 is 2 %.
    pub floor: f64,
    /// Scatter of the blocks' log ratios.
    pub block_sd: f64,
    /// Blocks that find an effect, for 1, 2, 3 and 5 %.
    pub needed: Vec<NeededBlocks>,
}

/// How many blocks find an effect in 80 % of runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NeededBlocks {
    /// The effect as a share.
    pub effect: f64,
    /// `None`: more than anybody would wait for.
    pub blocks: Option<u32>,
}

impl NoiseEntry {
    /// From the ratio of the two arms; `None` without an interval, as with fewer blocks than one needs.
    #[must_use]
    pub fn new(stack: StackKind, metric: Metric, paired: &PairedRatio) -> Option<Self> {
        let (low, high) = (paired.ratio.low?, paired.ratio.high?);
        let block_sd = paired.block_sd()?;
        let power = Power::default();
        let needed =
            EFFECTS.map(|effect| NeededBlocks { effect, blocks: power.needed_blocks(block_sd, effect) });
        Some(Self {
            stack,
            metric,
            blocks: paired.block_logs.len() as u64,
            ratio: paired.ratio,
            floor: low.ln().abs().max(high.ln().abs()).exp_m1(),
            block_sd,
            needed: needed.to_vec(),
        })
    }
}

/// What a noise floor holds for, hex: the machine (system, CPU, its number, the names of its GPUs) and everything of the preset but its name,
/// stacks and variants, and how often it is repeated. The stack is told in each entry, and an A/A run measures a baseline
/// alone.
///
/// # Errors
///
/// Only where serialisation fails, which it does not for any preset that was read.
pub fn noise_key(host: &HostInfo, preset: &Preset) -> Result<String, serde_json::Error> {
    let mut experiment = preset.clone();
    experiment.name.clear();
    experiment.description.clear();
    experiment.stacks.clear();
    experiment.variants.clear();
    experiment.run.blocks = std::num::NonZeroU32::MIN;
    experiment.run.max_looks = crate::preset::DEFAULT_MAX_LOOKS;
    experiment.run.throughput_margin = crate::preset::DEFAULT_THROUGHPUT_MARGIN;
    experiment.run.ttft_margin = crate::preset::DEFAULT_TTFT_MARGIN;
    experiment.run.kv_quality_tokens = crate::kv_quality::DEFAULT_KV_QUALITY_TOKENS;
    let machine = (&host.os, &host.cpu, host.cpu_count);
    match &host.gpus[..] {
        // As it was before GPUs were told: floors of machines without one stay theirs.
        [] => json_sha256(&(machine.0, machine.1, machine.2, experiment)),
        gpus => json_sha256(&(machine, gpus, experiment)),
    }
}

/// The experiment that measures the noise of `preset`: its baseline twice, under labels that end in [`AA_SUFFIXES`].
#[must_use]
pub fn aa_preset(mut preset: Preset) -> Preset {
    preset.variants.truncate(1);
    let Some(baseline) = preset.variants.pop() else { return preset };
    preset.variants = AA_SUFFIXES
        .map(|suffix| {
            let mut twin = baseline.clone();
            twin.label.push_str(suffix);
            twin
        })
        .to_vec();
    preset
}

/// Whether a preset is one that [`aa_preset`] made: the labels of its own presets have no slash.
#[must_use]
pub fn is_aa(preset: &Preset) -> bool {
    let [a, b] = &preset.variants[..] else { return false };
    let names = [a, b].map(|variant| variant.label.rsplit_once('/').map(|(base, _)| base));
    a.label.ends_with(AA_SUFFIXES[0]) && b.label.ends_with(AA_SUFFIXES[1]) && names[0] == names[1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{BootstrapConfig, paired_log_ratio};
    use crate::testing::{Experiment, host, preset};

    #[test]
    fn the_floor_is_the_farther_end_and_tells_blocks_in_advance() {
        let experiment = Experiment {
            blocks: 8,
            prompts: 5,
            ratio: 1.0,
            block_noise: 0.05,
            arm_noise: 0.02,
            request_noise: 0.02,
            prompt_spread: 0.0,
            prompts_are_drawn: false,
        };
        let paired = paired_log_ratio(&experiment.pairs(4), &BootstrapConfig::default()).unwrap();
        let entry = NoiseEntry::new(StackKind::Native, Metric::TokensPerS, &paired).unwrap();
        let (low, high) = (entry.ratio.low.unwrap(), entry.ratio.high.unwrap());
        assert!(1.0 + entry.floor >= high - 1e-12 && 1.0 / (1.0 + entry.floor) <= low + 1e-12, "{entry:?}");
        assert!((0.005..0.06).contains(&entry.floor), "{entry:?}");
        let blocks: Vec<_> = entry.needed.iter().filter_map(|needed| needed.blocks).collect();
        assert!(blocks.len() == 4 && blocks.is_sorted_by(|a, b| a >= b), "{blocks:?}");

        let few =
            paired_log_ratio(&Experiment { blocks: 4, ..experiment }.pairs(4), &BootstrapConfig::default());
        assert_eq!(NoiseEntry::new(StackKind::Native, Metric::TokensPerS, &few.unwrap()), None);
    }

    #[test]
    fn a_floor_holds_for_the_experiment_however_often_it_is_repeated_and_whatever_speculates() {
        let of = |change: &dyn Fn(&mut Preset)| {
            let mut preset = preset();
            change(&mut preset);
            noise_key(&host(), &preset).unwrap()
        };
        let key = of(&|_| ());
        assert_eq!(key, of(&|preset| preset.run.blocks = 20.try_into().unwrap()));
        assert_eq!(key, of(&|preset| *preset = aa_preset(preset.clone())));
        assert_ne!(key, of(&|preset| preset.workload.max_tokens = 999.try_into().unwrap()));
        assert_ne!(key, of(&|preset| preset.run.concurrency = 4.try_into().unwrap()));
        let elsewhere = HostInfo { cpu: Some("another".to_owned()), ..host() };
        assert_ne!(key, noise_key(&elsewhere, &preset()).unwrap());
        let with_gpu =
            |name: &str| noise_key(&HostInfo { gpus: vec![name.to_owned()], ..host() }, &preset()).unwrap();
        assert_ne!(key, with_gpu("one"));
        assert_ne!(with_gpu("one"), with_gpu("another"), "a card with another memory is another machine");
    }

    #[test]
    fn the_baseline_is_measured_twice() {
        let twice = aa_preset(preset());
        let labels: Vec<_> = twice.variants.iter().map(|variant| variant.label.as_str()).collect();
        assert_eq!(labels, ["none/a", "none/b"]);
        assert_eq!(twice.variants[0].spec, twice.variants[1].spec);
        assert!(is_aa(&twice) && !is_aa(&preset()));
    }
}
