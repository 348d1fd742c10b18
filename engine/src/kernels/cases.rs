//! What is listed and measured: layers of three models, at depths, KV formats and numbers of rows.
//!
//! Invariant: a case's name is unique and states all of it, since filters and machines go by it.

use std::num::NonZeroU32;

use serde::Serialize;

use crate::EngineError;
use crate::attention::{AttnShape, KvFormat, Mask, VERIFY_ROWS};
use crate::gguf::GgmlType;
use crate::kv_cache::turbo::TurboType;

/// Depths that are measured where nobody names others.
pub const STANDARD_DEPTHS: [u32; 5] = [512, 2048, 8192, 32_768, 131_072];
/// Rows (tokens) of a step where nobody names others: a decode step, a step that verifies three drafts, the most.
pub const STANDARD_ROWS: [u32; 3] = [1, 4, VERIFY_ROWS];

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Case {
    /// Attention of a layer.
    Attention(AttentionCase),
    /// A matrix of weights with the rows of a step.
    Product(ProductCase),
}

/// Attention of one layer of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttentionCase {
    /// The model.
    pub model: &'static str,
    /// `full` or `sliding`.
    pub layer: &'static str,
    /// Tokens in the cache, the step's own included.
    pub kv_len: u32,
    /// Rows (tokens) of the step.
    pub rows: u32,
    /// Types of keys and values: one name, or `keys/values`.
    pub kv: String,
    /// Sizes; the plan is made for the most rows of a step, as in a model.
    #[serde(skip)]
    pub shape: AttnShape,
}

/// One product of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProductCase {
    /// The model.
    pub model: &'static str,
    /// Which of its matrices.
    pub matrix: &'static str,
    /// Type of the weights.
    #[serde(serialize_with = "type_name")]
    pub ty: GgmlType,
    /// Output features.
    pub out_features: usize,
    /// Input features.
    pub in_features: usize,
    /// Rows (tokens) of the step.
    pub rows: u32,
}

/// Which depths and numbers of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseGrid {
    /// Tokens in the cache.
    pub depths: Vec<u32>,
    /// Rows of a step, 1 to [`VERIFY_ROWS`].
    pub rows: Vec<u32>,
    /// Words that a case's name has to contain, all of them; none: every case.
    pub filter: Vec<String>,
}

impl Default for CaseGrid {
    fn default() -> Self {
        Self { depths: STANDARD_DEPTHS.to_vec(), rows: STANDARD_ROWS.to_vec(), filter: Vec::new() }
    }
}

/// A kind of layer: model, kind, head dimension, heads, KV heads, window.
type Layer = (&'static str, &'static str, u32, u32, u32, Option<u32>);

/// Released sizes, as `synth::real` writes them, and the bundled model.
const LAYERS: [Layer; 6] = [
    ("e4b", "full", 512, 8, 2, None),
    ("e4b", "sliding", 256, 8, 2, Some(512)),
    ("26b-a4b", "full", 512, 16, 2, None),
    ("26b-a4b", "sliding", 256, 16, 8, Some(1024)),
    ("nano", "full", 512, 4, 2, None),
    ("nano", "sliding", 256, 4, 2, Some(128)),
];

/// Pairs of key and value formats. turbo4-atomic differs from turbo4 in a table of constants: the same kernel.
const FORMATS: [(KvFormat, KvFormat); 7] = [
    (KvFormat::F16, KvFormat::F16),
    (KvFormat::Bf16, KvFormat::Bf16),
    (KvFormat::Q8_0, KvFormat::Q8_0),
    (TURBO4, TURBO4),
    (TURBO3, TURBO3),
    (TURBO2, TURBO2),
    (KvFormat::Q8_0, TURBO3),
];
const TURBO2: KvFormat = KvFormat::Turbo(TurboType::Turbo2);
const TURBO3: KvFormat = KvFormat::Turbo(TurboType::Turbo3);
const TURBO4: KvFormat = KvFormat::Turbo(TurboType::Turbo4);

/// A matrix: model, name, output and input features.
type Matrix = (&'static str, &'static str, usize, usize);

const MATRICES: [Matrix; 15] = [
    ("e4b", "ffn_up", 10_240, 2560),
    ("e4b", "ffn_down", 2560, 10_240),
    ("e4b", "q_full", 4096, 2560),
    ("e4b", "q_sliding", 2048, 2560),
    ("e4b", "o_full", 2560, 4096),
    ("e4b", "per_layer_gate", 256, 2560),
    ("e4b", "head", 262_144, 2560),
    ("26b-a4b", "ffn_up", 2112, 2816),
    ("26b-a4b", "ffn_down", 2816, 2112),
    ("26b-a4b", "q_full", 8192, 2816),
    ("26b-a4b", "q_sliding", 4096, 2816),
    ("26b-a4b", "o_full", 2816, 8192),
    ("26b-a4b", "head", 262_144, 2816),
    ("nano", "ffn_up", 1024, 256),
    ("nano", "ffn_down", 256, 1024),
];

const TYPES: [GgmlType; 6] =
    [GgmlType::Bf16, GgmlType::Q8_0, GgmlType::Q6K, GgmlType::Q5K, GgmlType::Q4K, GgmlType::Q4_0];

/// Every case of a grid, those of one cache or of one matrix side by side.
///
/// # Errors
/// A depth or a number of rows that no step has, or a filter that leaves nothing.
pub fn cases(grid: &CaseGrid) -> Result<Vec<Case>, EngineError> {
    check(grid)?;
    let wanted = |case: &Case| {
        let name = case.name();
        grid.filter.iter().all(|word| name.contains(&word.to_lowercase()))
    };
    let found: Vec<Case> = attention(grid).chain(products(grid)).filter(wanted).collect();
    if found.is_empty() {
        return Err(EngineError::InvalidArgument {
            what: "filter",
            got: grid.filter.join(" "),
            expected: "words of names like attention/e4b/full/turbo3/kv32768/rows4 or \
                       product/e4b/ffn_up/q8_0/rows1"
                .to_owned(),
        });
    }
    Ok(found)
}

fn check(grid: &CaseGrid) -> Result<(), EngineError> {
    let error = |what, got: u32, expected: &str| {
        Err(EngineError::InvalidArgument { what, got: got.to_string(), expected: expected.to_owned() })
    };
    if let Some(rows) = grid.rows.iter().find(|rows| !(1..=VERIFY_ROWS).contains(*rows)) {
        return error("rows", *rows, "1 to 8, the most that a verify step has");
    }
    match grid.depths.iter().find(|depth| !(VERIFY_ROWS..=1 << 20).contains(*depth)) {
        Some(depth) => error("depth", *depth, "8 to 1048576 tokens"),
        None => Ok(()),
    }
}

fn attention(grid: &CaseGrid) -> impl Iterator<Item = Case> {
    LAYERS.into_iter().flat_map(move |layer| {
        let pairs = move |kv_len| FORMATS.into_iter().map(move |pair| (kv_len, pair));
        depths(grid, layer).into_iter().flat_map(pairs).flat_map(move |(kv_len, pair)| {
            grid.rows.iter().map(move |rows| Case::Attention(AttentionCase::new(layer, kv_len, pair, *rows)))
        })
    })
}

/// A sliding layer reads its window whatever the depth: the greatest stands for all.
fn depths(grid: &CaseGrid, (_, _, _, _, _, window): Layer) -> Vec<u32> {
    match window {
        None => grid.depths.clone(),
        Some(_) => grid.depths.iter().copied().max().into_iter().collect(),
    }
}

fn products(grid: &CaseGrid) -> impl Iterator<Item = Case> {
    MATRICES.into_iter().flat_map(move |(model, matrix, out_features, in_features)| {
        // Blocks of K-quants are 256 long.
        let fits = move |ty: &GgmlType| ty.row_bytes(in_features as u64).is_some();
        TYPES.into_iter().filter(fits).flat_map(move |ty| {
            grid.rows.iter().map(move |rows| {
                Case::Product(ProductCase { model, matrix, ty, out_features, in_features, rows: *rows })
            })
        })
    })
}

impl Case {
    /// What filters look at: `attention/e4b/full/turbo3/kv32768/rows4`, `product/e4b/ffn_up/q8_0/rows1`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Attention(AttentionCase { model, layer, kv_len, rows, kv, .. }) => {
                format!("attention/{model}/{layer}/{kv}/kv{kv_len}/rows{rows}")
            }
            Self::Product(ProductCase { model, matrix, ty, rows, .. }) => {
                format!("product/{model}/{matrix}/{}/rows{rows}", ty.name().to_lowercase())
            }
        }
    }
}

impl AttentionCase {
    fn new(
        (model, layer, head_dim, heads, kv_heads, window): Layer,
        kv_len: u32,
        (k, v): (KvFormat, KvFormat),
        rows: u32,
    ) -> Self {
        let window = window.and_then(NonZeroU32::new);
        // A ring has room for the rows of a step beyond its window.
        let cells = window.map_or(kv_len, |window| (window.get() + VERIFY_ROWS + 1).min(kv_len));
        let shape = AttnShape {
            head_dim,
            heads,
            kv_heads,
            q_rows: VERIFY_ROWS,
            k,
            v,
            window,
            mask: Mask::Causal,
            cells,
        };
        let kv = if k == v { k.name().to_owned() } else { format!("{}/{}", k.name(), v.name()) };
        Self { model, layer, kv_len, rows, kv, shape }
    }

    /// Bytes of the cache that the step cannot but read: each visible row once a KV head.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let shape = AttnShape { q_rows: self.rows, ..self.shape };
        let dim = shape.head_dim as usize;
        let row_bytes = (shape.k.row_bytes(dim) + shape.v.row_bytes(dim)) as u64;
        u64::from(shape.keys().min(self.kv_len)) * u64::from(shape.kv_heads) * row_bytes
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
fn type_name<S: serde::Serializer>(ty: &GgmlType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(ty.name())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn named(filter: &[&str]) -> CaseGrid {
        CaseGrid { filter: filter.iter().map(|word| (*word).to_owned()).collect(), ..CaseGrid::default() }
    }

    #[test]
    fn names_are_unique_and_state_the_case() {
        let all = cases(&CaseGrid::default()).unwrap();
        let names: BTreeSet<String> = all.iter().map(Case::name).collect();
        assert_eq!(names.len(), all.len());
        for name in ["attention/e4b/full/turbo3/kv32768/rows4", "product/e4b/ffn_up/q8_0/rows1"] {
            assert!(names.contains(name), "{name}");
        }
        let sliding = names.iter().filter(|name| name.starts_with("attention/e4b/sliding/f16/"));
        assert_eq!(sliding.count(), STANDARD_ROWS.len(), "a sliding layer at one depth");
    }

    #[test]
    fn every_word_of_a_filter_has_to_be_in_the_name() {
        let found = cases(&named(&["e4b/full", "Turbo3", "rows8"])).unwrap();
        assert_eq!(found.len(), 2 * STANDARD_DEPTHS.len(), "turbo3 and q8_0/turbo3: {found:?}");
        assert!(found.iter().all(|case| case.name().contains("e4b/full") && case.name().ends_with("rows8")));
        let said = cases(&named(&["e4b", "turbo9"])).unwrap_err().to_string();
        assert!(said.contains("e4b turbo9") && said.contains("attention/e4b/full/"), "{said}");
    }

    #[test]
    fn rows_and_depths_that_no_step_has_are_refused() {
        let grid = CaseGrid { rows: vec![1, 9], ..CaseGrid::default() };
        assert_eq!(
            cases(&grid).unwrap_err().to_string(),
            "rows: got 9, expected 1 to 8, the most that a verify step has"
        );
        let grid = CaseGrid { depths: vec![4], ..CaseGrid::default() };
        assert!(cases(&grid).unwrap_err().to_string().contains("got 4, expected 8 to"));
    }

    #[test]
    fn bytes_are_those_of_the_rows_that_a_step_sees() {
        let bytes = |name: &str| {
            let found = cases(&named(&[name])).unwrap();
            let Some(Case::Attention(case)) = found.first() else { panic!("{name} is attention") };
            case.bytes()
        };
        // Keys and values, two KV heads, 512 elements of two bytes.
        assert_eq!(bytes("attention/e4b/full/f16/kv2048/rows1"), 2 * 2 * 2048 * 512 * 2);
        // Groups of 128 in 52 bytes on a GPU.
        assert_eq!(bytes("attention/e4b/full/turbo3/kv2048/rows1"), 2 * 2 * 2048 * 4 * 52);
        // A window of 512, and three rows that see one more each.
        assert_eq!(bytes("attention/e4b/sliding/f16/kv131072/rows4"), 2 * 2 * 515 * 256 * 2);
    }
}
