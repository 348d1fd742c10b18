//! Is an attention kernel right on this device? A tiny case on the very row of the table that a plan chose, with its
//! formats, against the f64 oracle.
//!
//! A row that fails, be it in its numbers, its compilation or its launch, is not used: the next one of the plan's choice
//! is checked, down to the path that takes everything. Which rows were passed over, and why, is told.

use super::{Attention, AttentionBuffers, AttentionOutput, CudaError, Device, KvRows, KvWriter};
use crate::attention::{
    AttnPlan, AttnShape, Instance, KvFormat, Mask, OracleInput, TreeMask, Unsupported, attention_f64,
    plan_among,
};

/// Largest relative squared error of a kernel that works; what was measured is 1e-5 at most.
const MOST_ERROR: f64 = 1e-3;
/// Rows of the check, unless the path needs more: more than one, so that they see different keys.
const ROWS: u32 = 3;
/// The tree of the check: two children of one token.
const PARENTS: [Option<usize>; ROWS as usize] = [None, Some(0), Some(0)];

/// A row of the table that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// Its name.
    pub row: String,
    /// Formats of keys and values.
    pub formats: String,
    /// What it did.
    pub reason: String,
}

impl std::fmt::Display for Disabled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} disabled: {}", self.row, self.formats, self.reason)
    }
}

/// The first plan of a shape whose kernel passes its check. `choose` plans among the rows that it is allowed.
///
/// # Errors
/// [`CudaError::SelfCheck`] where no row passes, [`CudaError::Unsupported`] where none serves the shape, and errors after
/// which the device does not answer.
pub fn checked_plan(
    device: &Device,
    choose: impl Fn(&dyn Fn(&Instance) -> bool) -> Result<AttnPlan, Unsupported>,
    disabled: &mut Vec<Disabled>,
) -> Result<AttnPlan, CudaError> {
    let mut barred: Vec<&'static Instance> = Vec::new();
    loop {
        let plan = match choose(&|row| !barred.iter().any(|bad| std::ptr::eq(*bad, row))) {
            Ok(plan) => plan,
            Err(_) if !barred.is_empty() => {
                let failures = disabled.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                return Err(CudaError::SelfCheck { failures });
            }
            Err(error) => return Err(error.into()),
        };
        let reason = match check(device, &plan) {
            Ok(error) if error <= MOST_ERROR => return Ok(plan),
            Ok(error) => format!("relative squared error {error:.1e} in its self-check"),
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => error.to_string(),
        };
        let formats = format!("{}/{}", plan.shape().k.name(), plan.shape().v.name());
        let found = Disabled { row: plan.instance().name(), formats, reason };
        // The row may have failed for another shape already.
        if !disabled.contains(&found) {
            disabled.push(found);
        }
        barred.push(plan.instance());
    }
}

/// Relative squared error of a plan's kernel on a small case.
fn check(device: &Device, plan: &AttnPlan) -> Result<f64, CudaError> {
    let of = plan.shape();
    let (ratio, dim) = (of.gqa_ratio(), of.head_dim as usize);
    let rows = ROWS.max(plan.instance().path.least_rows());
    let kv_len = 2 * plan.instance().keys + 5;
    let shape = AttnShape { heads: ratio, kv_heads: 1, q_rows: rows, cells: kv_len + 3, ..*of };
    let small = plan_among(&shape, device.caps(), |row| std::ptr::eq(row, plan.instance()))?.with_splits(2);
    let count = kv_len as usize * dim;
    let scale = 2.0 / (dim as f32).sqrt();
    let q = values(1, rows as usize * ratio as usize * dim, 1.0);
    let (k, v) = (values(2, count, scale), values(3, count, 1.0));
    let length = kv_len.cast_signed();
    let mut state = device.upload("state", &[length, 0])?;
    let cells = |format: KvFormat| device.zeros("cache", shape.cells as usize * format.row_bytes(dim));
    let (mut k_cache, mut v_cache) = (cells(shape.k)?, cells(shape.v)?);
    let (q_device, k_device, v_device) =
        (device.upload("queries", &q)?, device.upload("keys", &k)?, device.upload("values", &v)?);
    let written = KvRows {
        k: &k_device,
        v: &v_device,
        rows: kv_len,
        state: &state,
        k_cache: &mut k_cache,
        v_cache: &mut v_cache,
    };
    KvWriter::new(device, shape)?.launch(device, written)?;
    let first_pos = kv_len - rows;
    let tree = tree_of(shape.mask);
    match &tree {
        Some(tree) => state = device.upload("state", &tree.state(length, first_pos.cast_signed()))?,
        None => device.write(&mut state, &[length, first_pos.cast_signed()])?,
    }
    let mut out = device.zeros("output", q.len())?;
    let buffers = AttentionBuffers {
        q: &q_device,
        k: &k_cache,
        v: &v_cache,
        state: &state,
        out: AttentionOutput::Values(&mut out),
    };
    Attention::new(device, small, 1.0)?.launch(device, rows, buffers)?;
    let got = device.download(&out)?;
    let (k, v) = (stored(shape.k, &k, dim), stored(shape.v, &v, dim));
    let expected = attention_f64(&OracleInput {
        q: &q,
        k: &k,
        v: &v,
        heads: ratio as usize,
        kv_heads: 1,
        head_dim: dim,
        kv_len: kv_len as usize,
        first_pos: first_pos as usize,
        window: shape.window,
        tree: tree.as_ref(),
        scale: 1.0,
    });
    let error: f64 = got.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    let size: f64 = expected.iter().map(|b| b * b).sum();
    // NaN is no small error.
    Ok(if error.is_finite() { error / size } else { f64::INFINITY })
}

/// The tree of the check, for kernels that are made for trees.
#[expect(clippy::expect_used, reason = "PARENTS is a tree")]
fn tree_of(mask: Mask) -> Option<TreeMask> {
    match mask {
        Mask::Causal => None,
        Mask::Tree => Some(TreeMask::from_parents(&PARENTS).expect("parents come before children")),
    }
}

/// What a cache makes of rows.
fn stored(format: KvFormat, values: &[f32], dim: usize) -> Vec<f32> {
    values.chunks_exact(dim).flat_map(|row| format.decode(&format.encode(row), dim)).collect()
}

/// Values from -1 to 1, times `size`, the same every time.
fn values(seed: u32, count: usize, size: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * size
    };
    (0..count).map(|_| next()).collect()
}
