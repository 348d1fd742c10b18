//! What a lossy KV cache costs in quality, measured after the last request, when every stack has been stopped: neither its
//! time nor its memory touches what is timed.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use bench_adapters::{ConnectRequest, ModelPaths, measure_kv_quality};
use bench_core::kv_quality::{KvDivergence, KvQualityOutcome, KvSample};
use bench_core::preset::{KvTypes, Preset, StackKind};
use bench_core::record::{ArmManifest, ArmStatus, RunManifest};

/// Writes to every arm that was ready what its KV type costs, or why that is not known. Arms of caches that lose nothing
/// are left as they are. `stopped` ends it between two answers.
pub(crate) fn measure(
    manifest: &mut RunManifest,
    models: &ModelPaths,
    log_dir: &Path,
    stopped: &dyn Fn() -> bool,
) {
    let RunManifest { preset, arms, shard, .. } = manifest;
    let sample = if shard.is_some() {
        Err("this is a part of a run".to_owned())
    } else {
        KvSample::of(preset).ok_or_else(|| "`run.kv_quality_tokens` is 0".to_owned())
    };
    let mut bench = Bench { preset, models, log_dir, stopped, known: Vec::new() };
    for index in 0..arms.len() {
        let (before, rest) = arms.split_at_mut(index);
        let Some(arm) = rest.first_mut().filter(|arm| is_measured(preset, arm)) else { continue };
        // The arms of a sweep over concurrency are one stack.
        let twin = before.iter().find(|other| other.stack == arm.stack && other.variant == arm.variant);
        arm.kv_quality = twin.and_then(|twin| twin.kv_quality.clone()).or_else(|| {
            Some(match &sample {
                Ok(sample) => bench.outcome(arm, sample),
                Err(reason) => KvQualityOutcome::NotMeasured { reason: reason.clone() },
            })
        });
    }
}

/// Arms of caches that lose something, if they ran.
fn is_measured(preset: &Preset, arm: &ArmManifest) -> bool {
    arm.status == ArmStatus::Ready && preset.kv_types_of(&arm.variant).is_quantised()
}

/// What all arms share.
struct Bench<'a> {
    preset: &'a Preset,
    models: &'a ModelPaths,
    log_dir: &'a Path,
    stopped: &'a dyn Fn() -> bool,
    /// What the native engine's distributions were, by KV type: the models are the same in all of its arms.
    known: Vec<(KvTypes, KvDivergence)>,
}

impl Bench<'_> {
    fn outcome(&mut self, arm: &ArmManifest, sample: &KvSample) -> KvQualityOutcome {
        let serving = self.preset.serving_of(&arm.variant);
        let request = ConnectRequest {
            kind: arm.stack,
            label: &arm.label,
            ..ConnectRequest::native(self.models, &arm.spec, &serving, self.log_dir)
        };
        if arm.stack == StackKind::Native && !(self.stopped)() {
            // So that nobody takes it for a run that hangs.
            let kv_type = serving.kv_type;
            say(&format!(
                "{}: comparing its {kv_type} KV cache with f16 on up to {} positions of {} prompts",
                arm.label,
                sample.positions,
                sample.prompts.len()
            ));
        }
        let known = self.known.iter().find(|(types, _)| *types == serving.kv_type).map(|(_, known)| *known);
        let outcome = measure_kv_quality(&request, sample, known, &mut || {
            if (self.stopped)() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match &outcome {
            KvQualityOutcome::Measured(quality) => {
                if known.is_none() {
                    self.known.push((serving.kv_type, quality.divergence));
                }
                say(&format!("{}: {quality}", arm.label));
            }
            KvQualityOutcome::NotMeasured { reason } => {
                say(&format!("{}: quality of the KV cache not measured: {reason}", arm.label));
            }
        }
        outcome
    }
}

fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
