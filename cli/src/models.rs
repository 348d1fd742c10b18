//! From a preset's model source to files on disk.

use std::path::PathBuf;

use bench_adapters::ModelPaths;
use bench_core::preset::{ModelSource, SynthTiny, WeightType};
use bench_engine::gguf::GgmlType;
use bench_engine::synth::tiny::{TinyPair, write_tiny_pair};

use crate::failure::Failure;

/// The files of a preset's models. A synthetic pair is written anew (a fraction of a second): equal
/// parameters give byte-equal files, and an old or damaged one cannot be taken for it.
pub(crate) fn resolve(source: &ModelSource) -> Result<ModelPaths, Failure> {
    match source {
        ModelSource::Files { target, assistant } => {
            for path in std::iter::once(target).chain(assistant) {
                if !path.is_file() {
                    return Err(Failure::with_hint(
                        format!("model file `{}` does not exist", path.display()),
                        "check `models.target` and `models.assistant` of the preset; paths are relative to the \
                         current directory",
                    ));
                }
            }
            Ok(ModelPaths { target: target.clone(), assistant: assistant.clone() })
        }
        ModelSource::SynthTiny(parameters) => synthesise(parameters),
    }
}

fn synthesise(parameters: &SynthTiny) -> Result<ModelPaths, Failure> {
    let pair = TinyPair {
        seed: parameters.seed,
        acceptance: parameters.acceptance,
        cycle: parameters.cycle.map(|tokens| tokens.get() as usize),
        weights: weight_type(parameters.weights),
        ..TinyPair::default()
    };
    let cycle = pair.cycle.map_or_else(String::new, |tokens| format!("-c{tokens}"));
    let name = format!("tiny-a{:03.0}{cycle}-{}-s{}", pair.acceptance * 100.0, pair.weights, pair.seed);
    let files = write_tiny_pair(&cache_dir().join(name), &pair)?;
    Ok(ModelPaths { target: files.target, assistant: Some(files.assistant) })
}

/// `BENCH_CACHE_DIR`, or `bench-runs/models` in the current directory.
fn cache_dir() -> PathBuf {
    std::env::var_os("BENCH_CACHE_DIR").map_or_else(|| PathBuf::from("bench-runs/models"), PathBuf::from)
}

/// The engine's word for a preset's weight type.
pub(crate) fn weight_type(weights: WeightType) -> GgmlType {
    match weights {
        WeightType::F32 => GgmlType::F32,
        WeightType::F16 => GgmlType::F16,
        WeightType::Bf16 => GgmlType::Bf16,
        WeightType::Q8_0 => GgmlType::Q8_0,
    }
}
