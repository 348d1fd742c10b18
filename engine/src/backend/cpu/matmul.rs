//! Weight matrices times a few activation rows, shared between threads by weight rows.

#![expect(unsafe_code, reason = "threads write disjoint parts of one output")]

use super::{Element, Isa, Pool, Q8_BLOCK, Q8Rows};

/// A matrix of `rows` contiguous rows of `cols` elements, wherever its bytes live.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    bytes: &'a [u8],
    element: Element,
    rows: usize,
    cols: usize,
}

impl<'a> Weights<'a> {
    /// Views `bytes` as `[rows][cols]`.
    ///
    /// # Panics
    /// When the size does not fit; loaders check shapes before.
    #[must_use]
    pub fn new(bytes: &'a [u8], element: Element, rows: usize, cols: usize) -> Self {
        assert_eq!(bytes.len(), rows * element.row_bytes(cols), "matrix size");
        Self { bytes, element, rows, cols }
    }

    /// Output features.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    #[must_use]
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// How the elements are stored.
    #[must_use]
    pub const fn element(&self) -> Element {
        self.element
    }

    /// Whether a product needs quantised activations.
    #[must_use]
    pub fn is_q8(&self) -> bool {
        self.element == Element::Q8_0
    }

    /// The bytes of one row.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [u8] {
        let bytes = self.element.row_bytes(self.cols);
        &self.bytes[row * bytes..(row + 1) * bytes]
    }

    /// Rows `first..first + rows`.
    fn slice(&self, first: usize, rows: usize) -> &'a [u8] {
        let bytes = self.element.row_bytes(self.cols);
        &self.bytes[first * bytes..(first + rows) * bytes]
    }
}

/// Room for quantised activation rows.
#[derive(Debug, Default)]
pub struct Q8Buffer {
    qs: Vec<i8>,
    scales: Vec<f32>,
}

impl Q8Buffer {
    /// Room for `len` values; nothing allocates later unless more come.
    #[must_use]
    pub fn with_capacity(len: usize) -> Self {
        Self { qs: vec![0; len], scales: vec![0.0; len.div_ceil(Q8_BLOCK)] }
    }

    /// Quantises `x`, rows of `k` values, `k` a multiple of 32.
    pub(super) fn quantize(&mut self, isa: Isa, x: &[f32], k: usize) -> Q8Rows<'_> {
        let blocks = x.len() / Q8_BLOCK;
        if self.qs.len() < x.len() {
            self.qs.resize(x.len(), 0);
            self.scales.resize(blocks, 0.0);
        }
        let (qs, scales) = (&mut self.qs[..x.len()], &mut self.scales[..blocks]);
        isa.quantize_q8(x, qs, scales);
        Q8Rows { qs, scales, blocks: k / Q8_BLOCK }
    }
}

/// Activation rows, quantised too if some weights ask for it.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    values: &'a [f32],
    quantized: Option<Q8Rows<'a>>,
    m: usize,
}

impl<'a> Input<'a> {
    /// `values` is `[m][k]`. Quantises into `buffer` when `with_q8`: when some matrix it will meet is `Q8_0`.
    #[must_use]
    pub fn new(isa: Isa, values: &'a [f32], m: usize, with_q8: bool, buffer: &'a mut Q8Buffer) -> Self {
        let k = values.len() / m;
        let quantized = with_q8.then(|| buffer.quantize(isa, values, k));
        Self { values, quantized, m }
    }
}

/// One matrix of a joint product and where its result goes: `out[c * rows + r]`, that is `[m][rows]`.
#[derive(Debug)]
pub struct Job<'a> {
    /// The matrix.
    pub weights: Weights<'a>,
    /// `[m][rows]`
    pub out: &'a mut [f32],
}

/// An output that threads fill in disjoint parts.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: every chunk writes its own weight rows' outputs and nothing reads before the pool has finished.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// Weight bytes below which a second thread costs more than it brings.
const CHUNK_BYTES: usize = 32 * 1024;

/// Weight bytes that stay in the second-level cache while more than four activation rows pass over them.
const PANEL_BYTES: usize = 128 * 1024;

/// `out = weights * input` for every job in one go, all of the same input.
///
/// # Panics
/// When shapes do not fit together.
pub fn matmul(isa: Isa, pool: &mut Pool, input: Input<'_>, jobs: &mut [Job<'_>]) {
    let m = input.m;
    for job in &*jobs {
        assert_eq!(input.values.len(), m * job.weights.cols, "input width");
        assert_eq!(job.out.len(), m * job.weights.rows, "output size");
    }
    if pool.threads() == 1 {
        for job in jobs {
            let rows = job.weights.rows;
            // SAFETY: `out` is `[m][rows]`, checked above, and borrowed mutably.
            unsafe { rows_of(isa, &job.weights, input, 0, rows, job.out.as_mut_ptr()) };
        }
        return;
    }
    let outs: [Shared; MAX_JOBS] =
        std::array::from_fn(|i| Shared(jobs.get_mut(i).map_or(std::ptr::null_mut(), |j| j.out.as_mut_ptr())));
    assert!(jobs.len() <= MAX_JOBS, "at most {MAX_JOBS} matrices share an input");
    let jobs = &*jobs;
    let chunk_rows = |job: &Job<'_>| {
        let row_bytes = job.weights.element.row_bytes(job.weights.cols);
        (CHUNK_BYTES / row_bytes).max(1).next_multiple_of(8)
    };
    let chunks = jobs.iter().map(|job| job.weights.rows.div_ceil(chunk_rows(job))).sum();
    pool.run(chunks, &|_, chunk| {
        let mut chunk = chunk;
        for (job, out) in jobs.iter().zip(&outs) {
            let size = chunk_rows(job);
            let count = job.weights.rows.div_ceil(size);
            if chunk < count {
                let first = chunk * size;
                let rows = size.min(job.weights.rows - first);
                // SAFETY: `out` is `[m][rows]`, checked above; no other chunk has these rows.
                unsafe { rows_of(isa, &job.weights, input, first, rows, out.0) };
                return;
            }
            chunk -= count;
        }
    });
}

/// `out[id] = <weight row id, input>` for the chosen rows only; `input` is one row and `out` has one place a weight row.
///
/// # Panics
/// When shapes do not fit together or an id has no row.
pub fn matmul_rows(isa: Isa, weights: &Weights<'_>, input: Input<'_>, ids: &[u32], out: &mut [f32]) {
    assert!(
        input.m == 1 && input.values.len() == weights.cols && out.len() == weights.rows,
        "one row, one output"
    );
    for id in ids {
        let id = *id as usize;
        assert!(id < weights.rows, "row {id} of {}", weights.rows);
        // SAFETY: `out` is `[1][weights.rows]` and row `id` exists, both checked above.
        unsafe { rows_of(isa, weights, input, id, 1, out.as_mut_ptr()) };
    }
}

/// Matrices that [`matmul`] takes at once: q, k, v.
const MAX_JOBS: usize = 3;

/// Weight rows `first..first + rows` times every activation row.
///
/// # Safety
/// `out` is valid for writes of `[m][weights.rows]` at the columns `first..first + rows`, by this call alone.
unsafe fn rows_of(
    isa: Isa,
    weights: &Weights<'_>,
    input: Input<'_>,
    first: usize,
    rows: usize,
    out: *mut f32,
) {
    let row_bytes = weights.element.row_bytes(weights.cols);
    let panel_rows = if input.m <= 4 { rows } else { (PANEL_BYTES / row_bytes).max(1).next_multiple_of(8) };
    let mut done = 0;
    while done < rows {
        let count = (rows - done).min(panel_rows);
        let bytes = weights.slice(first + done, count);
        let out = out.wrapping_add(first + done);
        match (weights.element, input.quantized) {
            (Element::Q8_0, Some(x)) => {
                // SAFETY: the caller's promise.
                unsafe { isa.matmul_q8(bytes, count, x, input.m, out, weights.rows) };
            }
            (Element::Q8_0, None) => unreachable!("the input of a Q8_0 matrix is quantised"),
            (element, _) => {
                // SAFETY: the caller's promise.
                unsafe { isa.matmul(element, bytes, count, input.values, input.m, out, weights.rows) };
            }
        }
        done += count;
    }
}
