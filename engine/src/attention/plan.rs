//! Choosing a kernel: a pure, total function from shape and device to a row of the table.
//!
//! Called once a layer when a model is loaded, so what cannot run fails before the first token, with every path and
//! the rule that excluded it. Invariant: an [`AttnPlan`] is only made here, so what is launched was admitted.

use std::cmp::Reverse;
use std::fmt;

use super::shape::ShapeError;
use super::{AttnShape, DeviceCaps, INSTANCES, Instance, KvFormat, Mask, Path};

/// Most splits of one call: what combine goes through for every column.
const MAX_SPLITS: u32 = 1024;

/// Rows of a verify step, at most: up to these, a row's attention has the same bits however many rows there are.
pub const VERIFY_ROWS: u32 = 8;

/// An admitted kernel with its grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttnPlan {
    instance: &'static Instance,
    shape: AttnShape,
    splits: u32,
}

/// What a row asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Compute capability times ten.
    Compute {
        /// The row's.
        needed: u32,
        /// The device's.
        got: u32,
    },
    /// No row of the path has this head dimension.
    HeadDim {
        /// The shape's.
        got: u32,
    },
    /// No row of the path and head dimension has this pair of formats.
    Formats {
        /// Of keys.
        k: &'static str,
        /// Of values.
        v: &'static str,
    },
    /// A mask of a draft tree, where the path serves causal masks alone.
    Tree,
    /// Query rows of a call.
    Rows {
        /// Fewest that the path serves.
        needed: u32,
        /// The shape's.
        got: u32,
    },
    /// Cells of a sliding layer: a tile that passes the end of its ring does so once.
    Ring {
        /// The row's keys of a tile.
        needed: u32,
        /// The shape's cells.
        got: u32,
    },
    /// Shared memory of a block.
    SharedMemory {
        /// The row's, in bytes.
        needed: u32,
        /// The device's, in bytes.
        got: u32,
    },
}

/// Why a path cannot serve a shape: the first rule that its nearest row fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exclusion {
    /// The path.
    pub path: Path,
    /// The rule.
    pub rule: Rule,
}

/// No kernel serves a shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The shape itself makes no sense.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Every path, and why not.
    #[error("no attention kernel for head_dim {head_dim}: {}", list(excluded))]
    NoKernel {
        /// Of the shape.
        head_dim: u32,
        /// One entry a path.
        excluded: Vec<Exclusion>,
    },
}

/// Chooses the kernel of a shape on a device.
///
/// # Errors
/// [`Unsupported`], with the reason of every path.
pub fn plan(shape: &AttnShape, caps: &DeviceCaps) -> Result<AttnPlan, Unsupported> {
    plan_among(shape, caps, |_| true)
}

/// The plan of decode and verify steps: one kernel and one division of the keys for 1 to [`VERIFY_ROWS`] rows, so that
/// a token's attention is the same alone and in a verify step. `shape.q_rows` is not looked at.
///
/// # Errors
/// As [`plan`].
pub fn plan_verify(
    shape: &AttnShape,
    caps: &DeviceCaps,
    allowed: impl Fn(&Instance) -> bool,
) -> Result<AttnPlan, Unsupported> {
    let shape = AttnShape { q_rows: VERIFY_ROWS, ..*shape };
    // A wider tile would be chosen or not by the number of rows, and sums scores in another order.
    plan_among(&shape, caps, |row| row.columns <= 16 && allowed(row))
}

/// [`plan`] among the rows that `allowed` lets pass: without those whose self-check failed, say.
///
/// # Errors
/// As [`plan`]; a path whose rows are all barred is missing from the list.
pub fn plan_among(
    shape: &AttnShape,
    caps: &DeviceCaps,
    allowed: impl Fn(&Instance) -> bool,
) -> Result<AttnPlan, Unsupported> {
    shape.check()?;
    let rows = || INSTANCES.iter().filter(|row| allowed(row));
    // A short cache stays in L2, where narrow tiles of columns side by side beat wide ones (measured); a long one is
    // gone through as few times as can be. Then least padding, then the deepest ring that fits.
    let narrow = 16;
    let blocks = u64::from(shape.columns().div_ceil(narrow))
        * u64::from(shape.kv_heads)
        * u64::from(shape.keys().div_ceil(32));
    let short = blocks <= 8 * u64::from(caps.multiprocessors);
    let chosen = rows().filter(|row| exclusion(row, shape, caps).is_none()).min_by_key(|row| {
        let passes = if short { 1 } else { shape.columns().div_ceil(row.columns) };
        let rank = match row.path {
            Path::MmaPrefill if prefill_pays(row, shape, caps) => 0,
            Path::MmaDecode | Path::MmaDecodeTurbo => 1,
            Path::MmaPrefill => 2,
            Path::Tile => 3,
        };
        (rank, passes, row.columns, Reverse(row.shared_bytes(shape.k, shape.v).0))
    });
    if let Some(instance) = chosen {
        return Ok(AttnPlan { instance, shape: *shape, splits: splits(instance, shape, caps) });
    }
    // Rules are checked in a fixed order, so the row that fails the latest one is the nearest.
    let nearest = |path| {
        rows()
            .filter(|row| row.path == path)
            .filter_map(|row| exclusion(row, shape, caps))
            .max_by_key(|rule| rule.order())
            .map(|rule| Exclusion { path, rule })
    };
    let excluded = Path::ALL.into_iter().filter_map(nearest).collect();
    Err(Unsupported::NoKernel { head_dim: shape.head_dim, excluded })
}

/// Whether a prefill row is faster than the rows that serve every number of columns, as far as was measured
/// (`results/published/2026-11-23-h200-prefill`).
fn prefill_pays(row: &Instance, shape: &AttnShape, caps: &DeviceCaps) -> bool {
    // A tile costs the same however many columns it has, and decoding as much for every tile.
    let tiles = shape.columns().div_ceil(row.columns) * shape.kv_heads;
    let decoded = ![shape.k, shape.v].iter().all(|format| [KvFormat::F16, KvFormat::Bf16].contains(format));
    2 * shape.columns() >= row.columns && (!decoded || 2 * tiles >= caps.multiprocessors)
}

/// The first rule of a row that a shape breaks.
fn exclusion(row: &Instance, shape: &AttnShape, caps: &DeviceCaps) -> Option<Rule> {
    if caps.compute < row.min_compute {
        return Some(Rule::Compute { needed: row.min_compute, got: caps.compute });
    }
    if !row.serves(shape.head_dim) {
        return Some(Rule::HeadDim { got: shape.head_dim });
    }
    if !row.formats.contains(&(shape.k, shape.v)) {
        return Some(Rule::Formats { k: shape.k.name(), v: shape.v.name() });
    }
    if shape.q_rows < row.path.least_rows() {
        return Some(Rule::Rows { needed: row.path.least_rows(), got: shape.q_rows });
    }
    if row.path == Path::MmaPrefill && shape.mask == Mask::Tree {
        return Some(Rule::Tree);
    }
    if row.slots > 0 && shape.window.is_some() && shape.cells < row.keys {
        return Some(Rule::Ring { needed: row.keys, got: shape.cells });
    }
    let (dynamic, fixed) = row.shared_bytes(shape.k, shape.v);
    let (needed, got) = (dynamic + fixed, caps.shared_per_block);
    (needed > got).then_some(Rule::SharedMemory { needed, got })
}

/// Splits of the keys: as many as fill the device once, but no split of less than a tile or 32 keys.
fn splits(row: &Instance, shape: &AttnShape, caps: &DeviceCaps) -> u32 {
    let (dynamic, fixed) = row.shared_bytes(shape.k, shape.v);
    // The system takes 1 KiB of every block's.
    let by_memory = caps.shared_per_multiprocessor / (dynamic + fixed + 1024);
    let blocks = caps.multiprocessors * by_memory.clamp(1, row.blocks);
    let others = shape.kv_heads * shape.columns().div_ceil(row.columns);
    // A window begins and ends inside a chunk.
    let longest = shape.keys().div_ceil(row.keys.max(32)) + u32::from(shape.window.is_some());
    (blocks / others).clamp(1, longest.clamp(1, MAX_SPLITS))
}

impl AttnPlan {
    /// The row of the table.
    #[must_use]
    pub const fn instance(&self) -> &'static Instance {
        self.instance
    }

    /// The shape it was made for.
    #[must_use]
    pub const fn shape(&self) -> &AttnShape {
        &self.shape
    }

    /// Parts in which the keys are gone through side by side.
    #[must_use]
    pub const fn splits(&self) -> u32 {
        self.splits
    }

    /// The same plan with another number of splits (1 to 1024); the result is the same but for rounding.
    #[must_use]
    pub fn with_splits(self, splits: u32) -> Self {
        Self { splits: splits.clamp(1, MAX_SPLITS), ..self }
    }

    /// Blocks for `rows` rows: splits, tiles of columns, KV heads.
    #[must_use]
    pub const fn grid(&self, rows: u32) -> [u32; 3] {
        let columns = rows * self.shape.gqa_ratio();
        [self.splits, columns.div_ceil(self.instance.columns), self.shape.kv_heads]
    }

    /// Fewest keys of a split.
    #[must_use]
    pub fn least_chunk(&self) -> u32 {
        self.instance.keys.max(32)
    }

    /// Keys of a split where the first row stands at `first_pos`, as the kernels compute it (`chunk_of` in
    /// `attention_common.cuh`). Rows of one call that would have different chunks alone have different bits alone.
    #[must_use]
    pub fn chunk(&self, first_pos: u32) -> u32 {
        let (rows, splits, keys) = (self.shape.q_rows.max(VERIFY_ROWS), self.splits, self.instance.keys);
        let reach = match (splits, self.shape.window) {
            (1, _) => return 1 << 30,
            (_, Some(window)) => (window.get() + rows - 1).div_ceil(splits - 1),
            (_, None) => {
                let reach = first_pos + 1;
                let grain = (1 << reach.ilog2() >> 3).max(256);
                (reach.next_multiple_of(grain) + rows).div_ceil(splits)
            }
        };
        reach.next_multiple_of(keys).max(self.least_chunk())
    }

    /// Width of a partial result: whole groups where the output has to be rotated back.
    #[must_use]
    pub const fn partial_width(&self) -> u32 {
        if self.shape.v.is_turbo() { self.shape.head_dim.next_multiple_of(128) } else { self.shape.head_dim }
    }

    /// Floats of room for partial results: (outputs, statistics).
    #[must_use]
    pub const fn scratch(&self) -> (usize, usize) {
        let columns = self.splits as usize * self.shape.q_rows as usize * self.shape.heads as usize;
        (columns * self.partial_width() as usize, 2 * columns)
    }

    /// The route in one line, for logs and result records.
    #[must_use]
    pub fn route(&self) -> String {
        let AttnShape { k, v, mask, .. } = self.shape;
        let mask = match mask {
            Mask::Causal => "",
            Mask::Tree => " tree",
        };
        format!("{} {}/{} x{}{mask}", self.instance.name(), k.name(), v.name(), self.splits)
    }
}

impl Rule {
    const fn order(&self) -> u32 {
        match self {
            Self::Compute { .. } => 0,
            Self::HeadDim { .. } => 1,
            Self::Formats { .. } => 2,
            Self::Tree | Self::Rows { .. } => 3,
            Self::Ring { .. } => 3,
            Self::SharedMemory { .. } => 4,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compute { needed, got } => {
                write!(
                    f,
                    "needs compute capability {}.{}, the device has {}.{}",
                    needed / 10,
                    needed % 10,
                    got / 10,
                    got % 10
                )
            }
            Self::HeadDim { got } => write!(f, "no row for head_dim {got}"),
            Self::Formats { k, v } => write!(f, "no row for {k} keys with {v} values"),
            Self::Tree => f.write_str("serves causal masks, not draft trees"),
            Self::Rows { needed, got } => write!(f, "serves {needed} query rows or more, not {got}"),
            Self::Ring { needed, got } => {
                write!(f, "goes through rings of {needed} cells or more, not {got}")
            }
            Self::SharedMemory { needed, got } => {
                write!(f, "row needs {needed} bytes of shared memory, the device allows {got}")
            }
        }
    }
}

fn list(excluded: &[Exclusion]) -> String {
    let one = |e: &Exclusion| format!("{}: {}", e.path.name(), e.rule);
    excluded.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: AttnShape = AttnShape {
        head_dim: 256,
        heads: 8,
        kv_heads: 2,
        q_rows: 1,
        k: KvFormat::F16,
        v: KvFormat::F16,
        window: None,
        mask: Mask::Causal,
        cells: 4096,
    };

    #[test]
    fn a_barred_row_is_replaced() {
        let caps = DeviceCaps::typical(90);
        let first = plan(&SHAPE, &caps).unwrap();
        let second = plan_among(&SHAPE, &caps, |row| row != first.instance()).unwrap();
        assert_ne!(second.instance(), first.instance());
        let last = plan_among(&SHAPE, &caps, |row| row.path == Path::Tile).unwrap();
        assert_eq!(last.instance().path, Path::Tile);
    }

    #[test]
    fn an_error_names_every_path_and_its_reason() {
        let caps = DeviceCaps { compute: 70, ..DeviceCaps::typical(75) };
        let error = plan(&SHAPE, &caps).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no attention kernel for head_dim 256: mma-prefill: needs compute capability 8.0, the device has 7.0; \
             mma: needs compute capability 8.0, the device has 7.0; \
             mma-turbo: needs compute capability 8.0, the device has 7.0; \
             tile: needs compute capability 7.5, the device has 7.0"
        );
        let caps = DeviceCaps { shared_per_block: 32 * 1024, ..DeviceCaps::typical(80) };
        let error = plan(&SHAPE, &caps).unwrap_err().to_string();
        assert!(error.contains("mma-turbo: no row for f16 keys with f16 values"), "{error}");
        assert!(
            error.contains("tile: row needs 41216 bytes of shared memory, the device allows 32768"),
            "{error}"
        );
    }

    /// The tensor-core kernels fetch whole tiles, which wrap once; the last path wraps every key.
    #[test]
    fn a_ring_of_less_than_a_tile_is_left_to_the_path_that_takes_everything() {
        let path = |cells, window| {
            let shape = AttnShape { cells, window: std::num::NonZeroU32::new(window), ..SHAPE };
            plan(&shape, &DeviceCaps::typical(90)).unwrap().instance().path
        };
        assert_eq!((path(31, 3), path(32, 3), path(31, 0)), (Path::Tile, Path::MmaDecode, Path::MmaDecode));
    }

    #[test]
    fn a_short_cache_gets_few_splits_and_a_long_one_fills_the_device() {
        let caps = DeviceCaps::typical(90);
        let splits = |cells, window| {
            let shape = AttnShape { cells, window, ..SHAPE };
            plan(&shape, &caps).unwrap().splits()
        };
        assert_eq!(splits(1, None), 1);
        assert_eq!(splits(64, None), 2);
        assert_eq!(splits(1 << 20, None), 132);
        assert_eq!(splits(1 << 20, std::num::NonZeroU32::new(512)), 17);
    }

    /// Every key a step needs lies in one of its chunks, and no two chunks of it are the same part.
    #[test]
    fn chunks_hold_all_keys_of_a_step() {
        let caps = DeviceCaps::typical(90);
        for window in [None, std::num::NonZeroU32::new(512), std::num::NonZeroU32::new(1000)] {
            let plan = plan_verify(&AttnShape { window, cells: 1 << 17, ..SHAPE }, &caps, |_| true).unwrap();
            for first_pos in (0..131_000).step_by(997) {
                for rows in 1..=VERIFY_ROWS {
                    let chunk = plan.chunk(first_pos);
                    let from = window.map_or(0, |w| (first_pos + 1).saturating_sub(w.get()));
                    let last = (first_pos + rows - 1) / chunk;
                    assert!(last - from / chunk < plan.splits(), "{first_pos} {rows} {window:?}");
                }
            }
        }
    }

    #[test]
    fn chunks_change_seldom() {
        let shape = AttnShape { cells: 1 << 17, ..SHAPE };
        let plan = plan_verify(&shape, &DeviceCaps::typical(90), |_| true).unwrap();
        let changes = (1..131_072).filter(|p| plan.chunk(*p) != plan.chunk(p - 1)).count();
        assert!(changes < 60, "{changes} changes");
    }
}
