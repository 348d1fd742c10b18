//! Random weights in the exact shapes of the released Gemma 4 models and their assistants.
//!
//! Speed is real with these, text is not. Shapes are those of the released configurations, as shipped: the KV
//! projections of layers that share KV are in the files although nobody uses them.

use std::path::{Path, PathBuf};

use super::block::{BlockShape, block, float_type};
use super::experts::Experts;
use super::fill::{self, Fill, Tensor, keeping};
use super::metadata::{Shape, int};
use super::vocabulary::Vocabulary;
use crate::EngineError;
use crate::gguf::{GgmlType, GgufWriter, Value};

/// The released sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RealSize {
    /// Edge, 35 layers.
    E2b,
    /// Edge, 42 layers.
    E4b,
    /// Dense, 48 layers.
    B12,
    /// Mixture of experts, 30 layers.
    B26A4b,
    /// Dense, 60 layers.
    B31,
}

impl RealSize {
    /// All of them, small to large.
    pub const ALL: [Self; 5] = [Self::E2b, Self::E4b, Self::B12, Self::B26A4b, Self::B31];

    /// The name in file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.config().name
    }

    fn config(self) -> &'static Config {
        match self {
            Self::E2b => &E2B,
            Self::E4b => &E4B,
            Self::B12 => &B12,
            Self::B26A4b => &B26_A4B,
            Self::B31 => &B31,
        }
    }
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealPair {
    /// Which model.
    pub size: RealSize,
    /// Type of the matrices. Norms, router and other vectors stay F32; the projection of the per-layer embeddings is
    /// never quantised.
    pub weights: GgmlType,
    /// Seed of everything random.
    pub seed: u64,
}

/// Where a pair was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealPairFiles {
    /// The target's GGUF.
    pub target: PathBuf,
    /// The assistant's GGUF.
    pub assistant: PathBuf,
}

/// Tensors and parameters of a model, counted without writing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inventory {
    /// Tensors in the file.
    pub tensors: usize,
    /// Weights in all of them, the RoPE table and token orderings included.
    pub parameters: u64,
    /// Size of the file.
    pub file_bytes: u64,
}

/// What a pair would hold: target, assistant.
///
/// # Errors
/// A weight type the engine does not compute with.
pub fn inventory(pair: &RealPair) -> Result<(Inventory, Inventory), EngineError> {
    let count = |(mut header, tensors): Model| -> Result<Inventory, EngineError> {
        for tensor in &tensors {
            header.declare(&tensor.name, &tensor.dims, tensor.ty)?;
        }
        let parameters = tensors.iter().map(Tensor::elements).sum();
        Ok(Inventory { tensors: tensors.len(), parameters, file_bytes: header.file_bytes() })
    };
    Ok((count(target(pair))?, count(assistant(pair))?))
}

/// Writes target and assistant into `dir`, which is created. `progress` hears bytes written and bytes in all.
///
/// # Errors
/// Too little space (checked before anything is written), and what the system refuses.
pub fn write_real_pair(
    dir: &Path,
    pair: &RealPair,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<RealPairFiles, EngineError> {
    let (target_size, assistant_size) = inventory(pair)?;
    let total = target_size.file_bytes + assistant_size.file_bytes;
    fill::make_dir(dir)?;
    fill::check_space(dir, total)?;
    let name = |part: &str| dir.join(format!("{}-{part}-{}.gguf", pair.size.name(), pair.weights));
    let files = RealPairFiles { target: name("target"), assistant: name("assistant") };
    let mut before = 0;
    for (path, size, (header, tensors)) in
        [(&files.target, target_size, target(pair)), (&files.assistant, assistant_size, assistant(pair))]
    {
        fill::write(path, header, tensors, pair.seed, &mut |done, _| progress(before + done, total))?;
        before += size.file_bytes;
    }
    Ok(files)
}

/// A released configuration.
struct Config {
    name: &'static str,
    layers: usize,
    hidden: usize,
    heads: usize,
    kv_heads_swa: usize,
    kv_heads_full: usize,
    /// Every n-th layer attends to everything.
    full_every: usize,
    window: usize,
    shared_kv_layers: usize,
    ffn: usize,
    /// FFN width of layers that share KV.
    ffn_shared: usize,
    ple: usize,
    k_eq_v: bool,
    experts: Option<Experts>,
    context: usize,
    assistant: AssistantConfig,
}

struct AssistantConfig {
    hidden: usize,
    heads: usize,
    ffn: usize,
    centroids: Option<usize>,
}

const HEAD_DIM_SWA: usize = 256;
const HEAD_DIM_FULL: usize = 512;
const VOCAB: usize = 262_144;
const ASSISTANT_LAYERS: usize = 4;
/// Weight of k norms. With an attention scale of 1 and norms of 1, scores would have a deviation of 16 to 22 and
/// attention would be a hard maximum that any rounding flips.
const K_NORM: f32 = 1.0 / 16.0;

const EDGE_ASSISTANT: AssistantConfig =
    AssistantConfig { hidden: 256, heads: 4, ffn: 2048, centroids: Some(2048) };
const LARGE_ASSISTANT: AssistantConfig =
    AssistantConfig { hidden: 1024, heads: 16, ffn: 8192, centroids: None };

const E2B: Config = Config {
    name: "e2b",
    layers: 35,
    hidden: 1536,
    heads: 8,
    kv_heads_swa: 1,
    kv_heads_full: 1,
    full_every: 5,
    window: 512,
    shared_kv_layers: 20,
    ffn: 6144,
    ffn_shared: 12_288,
    ple: 256,
    k_eq_v: false,
    experts: None,
    context: 131_072,
    assistant: EDGE_ASSISTANT,
};

const E4B: Config = Config {
    name: "e4b",
    layers: 42,
    hidden: 2560,
    kv_heads_swa: 2,
    kv_heads_full: 2,
    full_every: 6,
    shared_kv_layers: 18,
    ffn: 10_240,
    ffn_shared: 10_240,
    ..E2B
};

const B12: Config = Config {
    name: "12b",
    layers: 48,
    hidden: 3840,
    heads: 16,
    kv_heads_swa: 8,
    kv_heads_full: 1,
    full_every: 6,
    window: 1024,
    shared_kv_layers: 0,
    ffn: 15_360,
    ffn_shared: 15_360,
    ple: 0,
    k_eq_v: true,
    experts: None,
    context: 262_144,
    assistant: LARGE_ASSISTANT,
};

const B26_A4B: Config = Config {
    name: "26b-a4b",
    layers: 30,
    hidden: 2816,
    kv_heads_full: 2,
    ffn: 2112,
    ffn_shared: 2112,
    experts: Some(Experts { count: 128, used: 8, ffn: 704 }),
    ..B12
};

const B31: Config = Config {
    name: "31b",
    layers: 60,
    hidden: 5376,
    heads: 32,
    kv_heads_swa: 16,
    kv_heads_full: 4,
    ffn: 21_504,
    ffn_shared: 21_504,
    assistant: AssistantConfig { heads: 32, ..LARGE_ASSISTANT },
    ..B12
};

impl Config {
    fn shape(&self) -> Shape {
        let sliding: Vec<bool> = (1..=self.layers).map(|nth| !nth.is_multiple_of(self.full_every)).collect();
        let first_shared = self.layers - self.shared_kv_layers;
        let ffn = (0..self.layers).map(|l| if l < first_shared { self.ffn } else { self.ffn_shared });
        Shape {
            context: self.context,
            hidden: self.hidden,
            ffn: ffn.collect(),
            heads: self.heads,
            kv_heads: sliding.iter().map(|&s| self.kv_heads(s)).collect(),
            head_dim_swa: HEAD_DIM_SWA,
            head_dim_full: HEAD_DIM_FULL,
            window: self.window,
            sliding,
            shared_kv_layers: self.shared_kv_layers,
            ple: self.ple,
        }
    }

    fn kv_heads(&self, sliding: bool) -> usize {
        if sliding { self.kv_heads_swa } else { self.kv_heads_full }
    }
}

type Model = (GgufWriter, Vec<Tensor<'static>>);

fn target(pair: &RealPair) -> Model {
    let config = pair.size.config();
    let shape = config.shape();
    let name = format!("Gemma 4 {} shapes, random weights", config.name);
    let mut header = shape.header("gemma4", &name, pair.weights, VOCAB);
    header.set("gemma4.final_logit_softcapping", Value::F32(30.0));
    if let Some(experts) = &config.experts {
        experts.set_keys(&mut header);
    }
    Vocabulary::new(VOCAB).write(&mut header);

    let mut tensors = globals(config.hidden, pair.weights);
    if config.ple > 0 {
        let width = config.ple * config.layers;
        let table = Fill::Random(keeping(config.ple));
        tensors.push(Tensor::new("per_layer_token_embd.weight", &[width, VOCAB], pair.weights, table));
        let ty = float_type(pair.weights);
        tensors.push(Tensor::matrix("per_layer_model_proj.weight", config.hidden, width, ty));
        tensors.push(Tensor::constant("per_layer_proj_norm.weight", config.ple, 1.0));
    }
    for layer in 0..config.layers {
        tensors.extend(target_layer(config, &shape, layer, pair.weights));
    }
    (header, tensors)
}

/// Embedding, final norm and RoPE table.
fn globals(hidden: usize, weights: GgmlType) -> Vec<Tensor<'static>> {
    vec![
        Tensor::matrix("token_embd.weight", hidden, VOCAB, weights),
        Tensor::constant("output_norm.weight", hidden, 1.0),
        fill::rope_freqs(HEAD_DIM_FULL),
    ]
}

fn layer_block(shape: &Shape, layer: usize, weights: GgmlType) -> Vec<Tensor<'static>> {
    block(&BlockShape {
        layer,
        hidden: shape.hidden,
        heads: shape.heads,
        head_dim: shape.head_dim(layer),
        ffn: shape.ffn[layer],
        q_norm: 1.0,
        post_norm: 1.0,
        weights,
    })
}

fn target_layer(config: &Config, shape: &Shape, layer: usize, weights: GgmlType) -> Vec<Tensor<'static>> {
    let mut tensors = layer_block(shape, layer, weights);
    let at = |name: &str| format!("blk.{layer}.{name}.weight");
    let (hidden, head_dim) = (config.hidden, shape.head_dim(layer));
    let kv_width = head_dim * shape.kv_heads[layer];
    tensors.push(Tensor::matrix(at("attn_k"), hidden, kv_width, weights));
    if shape.sliding[layer] || !config.k_eq_v {
        tensors.push(Tensor::matrix(at("attn_v"), hidden, kv_width, weights));
    }
    tensors.push(Tensor::constant(at("attn_k_norm"), head_dim, K_NORM));
    if config.ple > 0 {
        tensors.push(Tensor::matrix(at("inp_gate"), hidden, config.ple, weights));
        tensors.push(Tensor::matrix(at("proj"), config.ple, hidden, weights));
        tensors.push(Tensor::constant(at("post_norm"), hidden, 1.0));
    }
    if let Some(experts) = &config.experts {
        tensors.extend(experts.tensors(layer, hidden, weights));
    }
    tensors
}

fn assistant(pair: &RealPair) -> Model {
    let config = pair.size.config();
    let AssistantConfig { hidden, heads, ffn, centroids } = config.assistant;
    let sliding: Vec<bool> = (1..=ASSISTANT_LAYERS).map(|nth| nth != ASSISTANT_LAYERS).collect();
    let shape = Shape {
        hidden,
        heads,
        ffn: vec![ffn; ASSISTANT_LAYERS],
        kv_heads: sliding.iter().map(|&s| config.kv_heads(s)).collect(),
        sliding,
        shared_kv_layers: ASSISTANT_LAYERS,
        ple: 0,
        ..config.shape()
    };
    let name = format!("Gemma 4 {} assistant shapes, random weights", config.name);
    let mut header = shape.header("gemma4-assistant", &name, pair.weights, VOCAB);
    header.set("gemma4-assistant.embedding_length_out", int(config.hidden));
    header.set("gemma4-assistant.nextn_predict_layers", int(ASSISTANT_LAYERS));
    Vocabulary::new(VOCAB).write(&mut header);

    let mut tensors = globals(hidden, pair.weights);
    tensors.push(Tensor::matrix("nextn.pre_projection.weight", 2 * config.hidden, hidden, pair.weights));
    tensors.push(Tensor::matrix("nextn.post_projection.weight", hidden, config.hidden, pair.weights));
    if let Some(centroids) = centroids {
        let ordering = Fill::Ids(fill::token_ordering(pair.seed, VOCAB));
        tensors.push(Tensor::matrix("masked_embd_centroids.weight", hidden, centroids, pair.weights));
        tensors.push(Tensor::new("masked_embd_ordering", &[VOCAB], GgmlType::I32, ordering));
    }
    for layer in 0..ASSISTANT_LAYERS {
        tensors.extend(layer_block(&shape, layer, pair.weights));
    }
    (header, tensors)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{Seek, SeekFrom, Write};
    use std::sync::Arc;

    use super::*;
    use crate::gguf::Gguf;
    use crate::kv_cache::KvType;
    use crate::model::{Assistant, CpuTarget, DraftHead, LoadOptions};

    /// Tensors and parameters (billions, as shipped) of the released files.
    #[test]
    fn targets_have_the_released_tensors_and_parameters() {
        for (size, tensors, billions) in [
            (RealSize::E2b, 601, 4.65),
            (RealSize::E4b, 720, 7.52),
            (RealSize::B12, 667, 11.91),
            (RealSize::B26A4b, 658, 25.23),
            (RealSize::B31, 833, 30.70),
        ] {
            let pair = RealPair { size, weights: GgmlType::Q8_0, seed: 1 };
            let (target, _) = inventory(&pair).unwrap();
            assert_eq!(target.tensors, tensors, "{size:?}");
            let found = target.parameters as f64 / 1e9;
            assert!((found - billions).abs() < 0.006, "{size:?}: {found}");
        }
    }

    /// 49 tensors, and two for the centroid head; millions of parameters without the integer ordering.
    #[test]
    fn assistants_have_the_released_tensors_and_parameters() {
        for (size, tensors, millions) in [
            (RealSize::E2b, 51, 77.7),
            (RealSize::E4b, 51, 78.5),
            (RealSize::B12, 49, 422.9),
            (RealSize::B26A4b, 49, 419.7),
            (RealSize::B31, 49, 469.5),
        ] {
            let pair = RealPair { size, weights: GgmlType::F16, seed: 1 };
            let (_, assistant) = inventory(&pair).unwrap();
            assert_eq!(assistant.tensors, tensors, "{size:?}");
            let ordering = if tensors == 51 { VOCAB as u64 } else { 0 };
            let found = (assistant.parameters - ordering) as f64 / 1e6;
            assert!((found - millions).abs() < 0.06, "{size:?}: {found}");
        }
    }

    /// A file of the right size with a hole behind the header, but for integers.
    fn hollow(path: &Path, (mut header, tensors): Model) -> Arc<Gguf> {
        for tensor in &tensors {
            header.declare(&tensor.name, &tensor.dims, tensor.ty).unwrap();
        }
        std::fs::write(path, header.header()).unwrap();
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(header.file_bytes()).unwrap();
        let gguf = Gguf::open(path).unwrap();
        for tensor in &tensors {
            let Fill::Ids(ids) = &tensor.fill else { continue };
            let data = gguf.tensor(&tensor.name).unwrap().data;
            let offset = data.as_ptr().addr() - gguf.bytes().as_ptr().addr();
            file.seek(SeekFrom::Start(offset as u64)).unwrap();
            file.write_all(&ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>()).unwrap();
        }
        Arc::new(gguf)
    }

    /// Loading checks every name, shape and size and reads no matrix, so holes will do.
    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "needs a file system with holes")]
    fn the_engine_loads_every_size() {
        let options =
            LoadOptions { context_tokens: 16, kv_type: KvType::F16.into(), threads: 1, max_verify_rows: 4 };
        for size in RealSize::ALL {
            let dir = tempfile::tempdir().unwrap();
            let pair = RealPair { size, weights: GgmlType::Q8_0, seed: 1 };
            let file = hollow(&dir.path().join("target.gguf"), target(&pair));
            let loaded = CpuTarget::load(file, &options).unwrap();
            let experts = loaded.config().decoder.experts.map(|e| (e.count, e.used, e.width));
            assert_eq!(experts, (size == RealSize::B26A4b).then_some((128, 8, 704)), "{size:?}");
            let file = hollow(&dir.path().join("assistant.gguf"), assistant(&pair));
            let assistant = Assistant::load(&file, &loaded, DraftHead::Auto).unwrap();
            assert_eq!(assistant.has_centroids(), size.config().assistant.centroids.is_some(), "{size:?}");
            println!("{size:?}: a step reads {:.2} GB", loaded.step_bytes() as f64 / 1e9);
        }
    }

    #[test]
    fn too_little_space_is_refused_with_both_figures() {
        let dir = tempfile::tempdir().unwrap();
        let error = fill::check_space(dir.path(), u64::MAX).unwrap_err();
        assert!(error.to_string().contains("16777216.0 TiB") && error.hint().is_some(), "{error}");
    }
}
