//! What a lossy KV cache costs in quality, measured after the last request, when every stack has been stopped: neither its
//! time nor its memory touches what is timed.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use bench_adapters::{ConnectRequest, ModelPaths, measure_kv_quality};
use bench_core::kv_quality::{KvDivergence, KvQualityOutcome, KvSample};
use bench_core::preset::{Preset, StackKind};
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
    if !preset.serving.kv_type.is_quantised() {
        return;
    }
    let sample = if shard.is_some() {
        Err("this is a part of a run".to_owned())
    } else {
        KvSample::of(preset).ok_or_else(|| "`run.kv_quality_tokens` is 0".to_owned())
    };
    let mut bench = Bench { preset, models, log_dir, stopped, known: None };
    for index in 0..arms.len() {
        let (before, rest) = arms.split_at_mut(index);
        let Some(arm) = rest.first_mut().filter(|arm| arm.status == ArmStatus::Ready) else { continue };
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

/// What all arms share.
struct Bench<'a> {
    preset: &'a Preset,
    models: &'a ModelPaths,
    log_dir: &'a Path,
    stopped: &'a dyn Fn() -> bool,
    /// What the native engine's distributions were: models and KV type are the same in all of its arms.
    known: Option<KvDivergence>,
}

impl Bench<'_> {
    fn outcome(&mut self, arm: &ArmManifest, sample: &KvSample) -> KvQualityOutcome {
        let request = ConnectRequest {
            kind: arm.stack,
            label: &arm.label,
            ..ConnectRequest::native(self.models, &arm.spec, &self.preset.serving, self.log_dir)
        };
        if arm.stack == StackKind::Native && !(self.stopped)() {
            // So that nobody takes it for a run that hangs.
            let kv_type = self.preset.serving.kv_type.as_str();
            say(&format!(
                "{}: comparing its {kv_type} KV cache with f16 on up to {} positions of {} prompts",
                arm.label,
                sample.positions,
                sample.prompts.len()
            ));
        }
        let outcome = measure_kv_quality(&request, sample, self.known, &mut || {
            if (self.stopped)() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match &outcome {
            KvQualityOutcome::Measured(quality) => {
                self.known = Some(quality.divergence);
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
