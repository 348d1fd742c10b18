//! Random weights in the exact shapes of the released Gemma 4 models: real speed, meaningless text.
//!
//! Tensor inventory, per-layer sizes and metadata are those of the released files, the dead keys and values of the
//! KV-shared layers of E2B and E4B included. Memory stays at a few rows; the disk must hold the files.

use std::path::{Path, PathBuf};

use super::shape::{Gains, LayerShape, ModelShape, MoeShape, PlannedTensor, Role};
use super::vocab::Vocab;
use super::write;
use crate::EngineError;
use crate::gguf::{GgmlType, GgufError, GgufWriter};

const VOCAB: u64 = 262_144;
/// Centroids of the edge models' assistants.
const CENTROIDS: u64 = 2048;
/// With the attention scale of 1, unit keys would make the softmax a hard maximum: 1/16 keeps scores near 1.
const GAINS: Gains = Gains { q_norm: 1.0, k_norm: 1.0 / 16.0, block: 0.5 };

/// A released size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RealSize {
    /// E2B: 35 layers of 1536, per-layer embeddings, 20 KV-shared layers.
    E2b,
    /// E4B: 42 layers of 2560, per-layer embeddings, 18 KV-shared layers.
    E4b,
    /// 12B: 48 layers of 3840.
    B12,
    /// 26B-A4B: 30 layers of 2816, 128 experts.
    B26A4b,
    /// 31B: 60 layers of 5376.
    B31,
}

/// Which pair to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RealPair {
    /// Whose shapes.
    pub size: RealSize,
    /// Type of the matrices: F32, F16, BF16 or `Q8_0`.
    pub weights: GgmlType,
    /// Seed of all weights.
    pub seed: u64,
}

/// What [`write_real_pair`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealPairFiles {
    /// The target.
    pub target: PathBuf,
    /// The assistant.
    pub assistant: PathBuf,
}

/// The numbers that tell the sizes apart.
struct Sizes {
    name: &'static str,
    layers: usize,
    /// Every so many layers one is full.
    period: usize,
    hidden: u64,
    heads: u64,
    kv_sliding: u64,
    kv_full: u64,
    window: u64,
    shared_kv: usize,
    ffn: u64,
    ffn_shared: u64,
    ple: u64,
    k_eq_v: bool,
    moe: Option<MoeShape>,
    context: u64,
    assistant_hidden: u64,
    assistant_heads: u64,
    assistant_ffn: u64,
}

impl RealSize {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::E2b, Self::E4b, Self::B12, Self::B26A4b, Self::B31];

    /// `e2b`, `e4b`, `12b`, `26b-a4b`, `31b`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.sizes().name
    }

    #[rustfmt::skip]
    const fn sizes(self) -> Sizes {
        let edge = Sizes {
            name: "e2b", layers: 35, period: 5, hidden: 1536, heads: 8, kv_sliding: 1, kv_full: 1, window: 512,
            shared_kv: 20, ffn: 6144, ffn_shared: 12288, ple: 256, k_eq_v: false, moe: None, context: 131_072,
            assistant_hidden: 256, assistant_heads: 4, assistant_ffn: 2048,
        };
        let large = Sizes {
            name: "12b", layers: 48, period: 6, hidden: 3840, heads: 16, kv_sliding: 8, kv_full: 1, window: 1024,
            shared_kv: 0, ffn: 15360, ffn_shared: 15360, ple: 0, k_eq_v: true, moe: None, context: 262_144,
            assistant_hidden: 1024, assistant_heads: 16, assistant_ffn: 8192,
        };
        match self {
            Self::E2b => edge,
            Self::E4b => Sizes {
                name: "e4b", layers: 42, period: 6, hidden: 2560, kv_sliding: 2, kv_full: 2, shared_kv: 18,
                ffn: 10240, ffn_shared: 10240, ..edge
            },
            Self::B12 => large,
            Self::B26A4b => Sizes {
                name: "26b-a4b", layers: 30, hidden: 2816, kv_full: 2, ffn: 2112, ffn_shared: 2112,
                moe: Some(MoeShape { experts: 128, used: 8, width: 704 }), ..large
            },
            Self::B31 => Sizes {
                name: "31b", layers: 60, hidden: 5376, heads: 32, kv_sliding: 16, kv_full: 4, ffn: 21504,
                ffn_shared: 21504, assistant_heads: 32, ..large
            },
        }
    }

    /// Shape of the target.
    #[must_use]
    pub fn target(self) -> ModelShape {
        let sizes = self.sizes();
        let layer = |i: usize| {
            let sliding = !(i + 1).is_multiple_of(sizes.period);
            LayerShape {
                sliding,
                kv_heads: if sliding { sizes.kv_sliding } else { sizes.kv_full },
                ffn: if i < sizes.layers - sizes.shared_kv { sizes.ffn } else { sizes.ffn_shared },
                has_k: true,
                has_v: sliding || !sizes.k_eq_v,
            }
        };
        ModelShape {
            role: Role::Target,
            vocab: VOCAB,
            hidden: sizes.hidden,
            heads: sizes.heads,
            head_dim_sliding: 256,
            head_dim_full: 512,
            window: sizes.window,
            context: sizes.context,
            shared_kv: sizes.shared_kv as u64,
            ple: sizes.ple,
            untied_head: false,
            moe: sizes.moe,
            layers: (0..sizes.layers).map(layer).collect(),
        }
    }

    /// Shape of the assistant: three sliding layers and a full one.
    #[must_use]
    pub fn assistant(self) -> ModelShape {
        let sizes = self.sizes();
        let layer = |sliding: bool| LayerShape {
            sliding,
            kv_heads: if sliding { sizes.kv_sliding } else { sizes.kv_full },
            ffn: sizes.assistant_ffn,
            has_k: false,
            has_v: false,
        };
        let centroids = if sizes.ple > 0 { CENTROIDS } else { 0 };
        ModelShape {
            role: Role::Assistant { backbone: sizes.hidden, centroids },
            hidden: sizes.assistant_hidden,
            heads: sizes.assistant_heads,
            shared_kv: 4,
            ple: 0,
            moe: None,
            layers: [true, true, true, false].map(layer).to_vec(),
            ..self.target()
        }
    }
}

/// The tensors of target and assistant, without writing them.
#[must_use]
pub fn inventory(size: RealSize, weights: GgmlType) -> (Vec<PlannedTensor>, Vec<PlannedTensor>) {
    (size.target().plan(weights, GAINS), size.assistant().plan(weights, GAINS))
}

/// Writes `NAME-TYPE-target.gguf` and `NAME-TYPE-assistant.gguf` into `dir`, which is made if need be. `progress`
/// hears (bytes done, bytes in total) about every quarter of a megabyte.
///
/// # Errors
/// A disk with too little room (before anything is written), a weight type the engine does not compute with, and
/// what the system refuses.
pub fn write_real_pair(
    dir: &Path,
    pair: &RealPair,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<RealPairFiles, EngineError> {
    let RealPair { size, weights, seed } = *pair;
    if !matches!(weights, GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16 | GgmlType::Q8_0) {
        let expected = "f32, f16, bf16 or q8_0".to_owned();
        return Err(EngineError::InvalidArgument { what: "weights", got: weights.to_string(), expected });
    }
    write::make_dir(dir)?;
    let path = |role: &str| dir.join(format!("{}-{weights}-{role}.gguf", size.name()));
    let files = RealPairFiles { target: path("target"), assistant: path("assistant") };
    let (target, assistant) = inventory(size, weights);
    let declared = |shape: &ModelShape, role: &str, tensors: &[PlannedTensor]| {
        let name = format!("random Gemma 4 {} {role}", size.name());
        write::declare(shape, &name, weights, Vocab::new(262_144), tensors)
    };
    let target_file = declared(&size.target(), "target", &target)?;
    let assistant_file = declared(&size.assistant(), "assistant", &assistant)?;
    let total_bytes = check_room(dir, &[&target_file, &assistant_file])?;

    let mut done = 0;
    let mut add = |bytes: u64| {
        done += bytes;
        progress(done, total_bytes);
    };
    write::write(target_file, &files.target, seed, &target, &|_| None, &mut add)?;
    write::write(assistant_file, &files.assistant, !seed, &assistant, &|_| None, &mut add)?;
    progress(total_bytes, total_bytes);
    Ok(files)
}

/// Bytes of the files, if the disk has them free.
fn check_room(dir: &Path, files: &[&GgufWriter]) -> Result<u64, EngineError> {
    let needed: u64 = files.iter().map(|file| file.file_bytes()).sum();
    let stat = rustix::fs::statvfs(dir).map_err(|errno| GgufError::Io {
        verb: "measure",
        path: dir.to_owned(),
        source: errno.into(),
    })?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    require_room(dir, needed, free)
}

fn require_room(dir: &Path, needed_bytes: u64, free_bytes: u64) -> Result<u64, EngineError> {
    if needed_bytes <= free_bytes {
        return Ok(needed_bytes);
    }
    Err(EngineError::DiskFull { dir: dir.to_owned(), needed_bytes, free_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(tensors: &[PlannedTensor]) -> u64 {
        tensors.iter().filter(|t| t.ty != GgmlType::I32).map(PlannedTensor::n_elements).sum()
    }

    #[test]
    fn tensor_counts_are_those_of_the_released_files() {
        let counts = RealSize::ALL.map(|size| {
            let (target, assistant) = inventory(size, GgmlType::Q8_0);
            (target.len(), assistant.len())
        });
        assert_eq!(counts, [(601, 51), (720, 51), (667, 49), (658, 49), (833, 49)]);
    }

    #[test]
    fn parameter_counts_are_those_of_the_released_models() {
        // Billions, then millions: as shipped, so with the dead keys and values of E2B and E4B.
        let expected = [(4.65, 77.7), (7.52, 78.5), (11.91, 422.9), (25.23, 419.7), (30.70, 469.5)];
        for (size, (billions, millions)) in RealSize::ALL.into_iter().zip(expected) {
            let (target, assistant) = inventory(size, GgmlType::Bf16);
            let (b, m) = (elements(&target) as f64 / 1e9, elements(&assistant) as f64 / 1e6);
            assert!((b - billions).abs() < 0.006, "{}: {b} B", size.name());
            assert!((m - millions).abs() < 0.06, "{}: {m} M", size.name());
        }
    }

    #[test]
    fn every_type_suits_every_row_and_routers_are_not_quantised() {
        for size in RealSize::ALL {
            for weights in [GgmlType::F32, GgmlType::F16, GgmlType::Bf16, GgmlType::Q8_0] {
                let (target, assistant) = inventory(size, weights);
                for tensor in target.iter().chain(&assistant) {
                    assert!(tensor.ty.row_bytes(tensor.dims[0]).is_some(), "{}", tensor.name);
                    let whole = tensor.name.contains("ffn_gate_inp") || tensor.dims.len() == 1;
                    assert!(!whole || matches!(tensor.ty, GgmlType::F32 | GgmlType::I32), "{}", tensor.name);
                }
            }
        }
    }

    #[test]
    fn a_disk_too_small_is_named_with_figures() {
        assert_eq!(require_room(Path::new("d"), 5, 5).unwrap(), 5);
        let error = require_room(Path::new("d"), 8 << 30, 3 << 30).unwrap_err();
        assert_eq!(error.to_string(), "`d` needs 8.0 GiB, but its disk has 3.0 GiB free");
    }
}
