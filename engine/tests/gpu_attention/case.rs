//! One case: random values in a cache of which nothing else is valid, one launch, the oracle.

use bench_engine::attention::{
    AttnPlan, AttnShape, DeviceCaps, Instance, KvFormat, Mask, OracleInput, TreeMask, attention_f64,
    plan_among,
};
use bench_engine::backend::cuda::{Attention, AttentionBuffers, AttentionOutput, Device, KvRows, KvWriter};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A plan and a length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) plan: AttnPlan,
    pub(crate) kv_len: u32,
    /// The query sits behind the last key, as a draft's does, instead of having its own key cached.
    pub(crate) draft: bool,
    /// The rows, where the plan is for a tree.
    pub(crate) tree: Option<&'a TreeMask>,
}

impl<'a> Case<'a> {
    pub(crate) const fn new(plan: AttnPlan, kv_len: u32) -> Self {
        Self { plan, kv_len, draft: false, tree: None }
    }

    pub(crate) const fn of_tree(plan: AttnPlan, kv_len: u32, tree: &'a TreeMask) -> Self {
        Self { tree: Some(tree), ..Self::new(plan, kv_len) }
    }

    fn first_pos(&self) -> u32 {
        if self.draft { self.kv_len } else { self.kv_len.saturating_sub(self.plan.shape().q_rows) }
    }

    /// What kernels read of lengths and rows.
    pub(crate) fn state(&self) -> Vec<i32> {
        let (kv_len, first_pos) = (self.kv_len.cast_signed(), self.first_pos().cast_signed());
        self.tree.map_or_else(|| vec![kv_len, first_pos], |tree| tree.state(kv_len, first_pos))
    }
}

/// Queries, and keys and values as stored and as they are read.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    pub(crate) q: Vec<f32>,
    pub(crate) k_cache: Vec<u8>,
    pub(crate) k: Vec<f32>,
    pub(crate) v_cache: Vec<u8>,
    pub(crate) v: Vec<f32>,
}

/// The plan of a shape on exactly this row, if the device can run it.
pub(crate) fn plan_on(row: &'static Instance, shape: &AttnShape, caps: &DeviceCaps) -> Option<AttnPlan> {
    plan_among(shape, caps, |other| std::ptr::eq(other, row)).ok()
}

/// Relative squared error of one launch against the oracle.
pub(crate) fn run(device: &Device, case: &Case<'_>) -> f64 {
    let (got, expected) = output(device, case);
    nmse(&got, &expected)
}

pub(crate) fn nmse(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let error: f64 = got.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    let size: f64 = expected.iter().map(|b| b * b).sum();
    error / size
}

/// What the GPU says and what is right.
pub(crate) fn output(device: &Device, case: &Case<'_>) -> (Vec<f32>, Vec<f64>) {
    let inputs = inputs(case);
    (launch(device, case, &inputs), oracle(case, &inputs))
}

/// The same for cases of equal lengths and columns.
pub(crate) fn inputs(case: &Case<'_>) -> Inputs {
    let shape = case.plan.shape();
    let (dim, kv_len) = (shape.head_dim as usize, case.kv_len as usize);
    let mut rng = StdRng::seed_from_u64(u64::from(case.kv_len) * 31 + u64::from(shape.columns()));
    let q = normal(&mut rng, shape.q_rows as usize * shape.heads as usize * dim, 1.0);
    // Scores get a standard deviation of about 2, enough for a softmax that is neither flat nor one key.
    let (k_cache, k) = cache(&mut rng, shape, shape.k, kv_len, 2.0 / (dim as f32).sqrt());
    let (v_cache, v) = cache(&mut rng, shape, shape.v, kv_len, 1.0);
    Inputs { q, k_cache, k, v_cache, v }
}

/// One launch.
pub(crate) fn launch(device: &Device, case: &Case<'_>, inputs: &Inputs) -> Vec<f32> {
    let q = device.upload("queries", &inputs.q).unwrap();
    let k = device.upload("keys", &inputs.k_cache).unwrap();
    let v = device.upload("values", &inputs.v_cache).unwrap();
    let state = device.upload("state", &case.state()).unwrap();
    // What is not written stays NaN and shows.
    let mut out = device.upload("output", &vec![f32::NAN; inputs.q.len()]).unwrap();
    let attention = Attention::new(device, case.plan, 1.0).unwrap();
    let buffers =
        AttentionBuffers { q: &q, k: &k, v: &v, state: &state, out: AttentionOutput::Values(&mut out) };
    attention.launch(device, case.plan.shape().q_rows, buffers).unwrap();
    device.download(&out).unwrap()
}

/// What is right.
pub(crate) fn oracle(case: &Case<'_>, inputs: &Inputs) -> Vec<f64> {
    let shape = case.plan.shape();
    attention_f64(&OracleInput {
        q: &inputs.q,
        k: &inputs.k,
        v: &inputs.v,
        heads: shape.heads as usize,
        kv_heads: shape.kv_heads as usize,
        head_dim: shape.head_dim as usize,
        kv_len: case.kv_len as usize,
        first_pos: case.first_pos() as usize,
        window: shape.window,
        tree: case.tree,
        scale: 1.0,
    })
}

/// A cache whose unused and forgotten cells are NaN in every format, and what its positions hold.
fn cache(
    rng: &mut StdRng,
    shape: &AttnShape,
    format: KvFormat,
    kv_len: usize,
    size: f32,
) -> (Vec<u8>, Vec<f32>) {
    let (dim, cells) = (shape.head_dim as usize, shape.cells as usize);
    let bytes = format.row_bytes(dim);
    let mut cache = vec![0xff; shape.kv_heads as usize * cells * bytes];
    let mut values = vec![0.0; shape.kv_heads as usize * kv_len * dim];
    for head in 0..shape.kv_heads as usize {
        for position in kv_len.saturating_sub(cells)..kv_len {
            let row = format.encode(&normal(rng, dim, size));
            values[(head * kv_len + position) * dim..][..dim].copy_from_slice(&format.decode(&row, dim));
            cache[(head * cells + position % cells) * bytes..][..bytes].copy_from_slice(&row);
        }
    }
    (cache, values)
}

/// Near-normal values: the sum of four uniform ones, scaled.
pub(crate) fn normal(rng: &mut StdRng, len: usize, size: f32) -> Vec<f32> {
    let scale = size * 3.0_f32.sqrt();
    (0..len).map(|_| ((0..4).map(|_| rng.random::<f32>()).sum::<f32>() - 2.0) * scale).collect()
}

/// Rows that [`check_write`] writes, and the position of the first: the ring of 10 cells wraps.
const TOKENS: u32 = 7;
const FIRST: i32 = 8;

/// Writes rows on the GPU and compares with the codec; a value next to a border may take the other level.
pub(crate) fn check_write(device: &Device, head_dim: u32, format: KvFormat) {
    let shape = AttnShape {
        head_dim,
        heads: 3,
        kv_heads: 3,
        q_rows: 1,
        k: format,
        v: format,
        window: None,
        mask: Mask::Causal,
        cells: 10,
    };
    let (rows, first, dim) = (TOKENS as usize, FIRST.unsigned_abs() as usize, head_dim as usize);
    let mut rng = StdRng::seed_from_u64(u64::from(head_dim));
    let values = normal(&mut rng, rows * 3 * dim, 3.0);
    let bytes = format.row_bytes(dim);
    let x = device.upload("values", &values).unwrap();
    let state = device.upload("state", &[0, FIRST]).unwrap();
    let mut k_cache = device.zeros::<u8>("keys", 3 * 10 * bytes).unwrap();
    let mut v_cache = device.zeros::<u8>("values", 3 * 10 * bytes).unwrap();
    let writer = KvWriter::new(device, shape).unwrap();
    let writes =
        KvRows { k: &x, v: &x, rows: TOKENS, state: &state, k_cache: &mut k_cache, v_cache: &mut v_cache };
    writer.launch(device, writes).unwrap();
    let (k, v) = (device.download(&k_cache).unwrap(), device.download(&v_cache).unwrap());
    assert!(k == v, "keys and values are written alike");
    let mut different = 0;
    for row in 0..rows {
        for head in 0..3 {
            let expected = format.encode(&values[(row * 3 + head) * dim..][..dim]);
            let got = &k[(head * 10 + (first + row) % 10) * bytes..][..bytes];
            different += expected.iter().zip(got).filter(|(a, b)| a != b).count();
            let (a, b) = (format.decode(&expected, dim), format.decode(got, dim));
            let error: f32 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
            let size: f32 = a.iter().map(|a| a * a).sum();
            assert!(error <= 1e-3 * size, "{} at {head_dim}: row {row} differs", format.name());
        }
    }
    let share = different as f64 / (rows * 3 * bytes) as f64;
    println!("{} d{head_dim}: {different} bytes differ ({share:.4})", format.name());
    let allowed = if format.is_turbo() { 0.02 } else { 0.0 };
    assert!(share <= allowed, "{} at {head_dim}: {share} of the bytes differ", format.name());
}
