//! Drawing tokens from rows of logits, and deciding over drafts, where the logits are.
//!
//! What for: a verify step's choice on the host needs rows x vocabulary x 4 bytes there: 8.4 MB for 8 rows of 262144, 0.13 ms
//! at the 63 GB/s of 16 lanes of PCI Express 5.0, and more from pageable memory. Then one core goes through each row: 0.2 ms
//! with a top-k of 64, 2 ms over the whole vocabulary, 12 ms for a wide nucleus (`benches/sampling.rs`). Here 64 bytes a row
//! go to the device and 8 bytes a step come back, whatever the vocabulary. The floor that is left is reading the rows, which
//! stay in the second-level cache, once a launch: 2 launches, 5 more for each of top-k and top-p. On an H200 that is 37 us for a
//! row and 50 for 8 from the whole vocabulary, 98 and 161 with both cuts. Fewer launches do not help: with
//! digits of eleven bits, and ties counted in the last launch, 3 a cut, both cuts took 128 and 303 us.
//!
//! The distribution is [`Sampler`](crate::spec::sampler::Sampler)'s, and the choice, given equal logits and uniform numbers,
//! is the host's to the token: [`crate::spec::mass`] says why that can be. Greedy rows are not drawn here: ids and verdict
//! come with the pass ([`super::Ops::argmax`]).
//!
//! Does not: draw where no logit is the greatest ([`Outcome::next`] is `None`, and the host says which logit is bad), apply
//! grammars or give probabilities: who needs whole rows fetches them. A draft's own distribution is here already where the
//! draft was drawn here (`super::drafts`), or comes from the host, vocabulary x 4 bytes a draft; point masses cost nothing.

use std::sync::Arc;

use cudarc::driver::{DeviceRepr, ValidAsZeroBits};

use super::kernel::{Kernel, KernelArgs};
use super::ops::{NO_TOKEN, at_least, size};
use super::{Buffer, CudaError, Device, KernelSource};
use crate::spec::mass::quantile_bits;
use crate::spec::rows::{DrawnRow, Origin};
use crate::spec::sampler::SamplingParams;

/// Most blocks that go through one row, and the tokens each has at least.
const MOST_PARTS: usize = 128;
const TOKENS_OF_PART: usize = 1024;
/// Bins of a digit of a key.
const BINS: usize = 256;

/// What is drawn from, and how.
#[derive(Debug)]
pub struct Drawing<'a> {
    /// Rows `[vocab]` of logits, capped.
    pub logits: &'a Buffer<f32>,
    /// Ids of their greatest logits, as [`super::Ops::argmax`] leaves them.
    pub best: &'a Buffer<u32>,
    /// First row of both that takes part.
    pub first_row: usize,
    /// Not greedy.
    pub params: &'a SamplingParams,
    /// Whether drafts are accepted by rejection sampling; otherwise they are compared with what is drawn.
    pub rejection: bool,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Leading drafts that stand.
    pub accepted: usize,
    /// The token drawn after them; none where the row gives none.
    pub next: Option<u32>,
}

/// The kernels and their room.
#[derive(Debug)]
pub struct RowSampler {
    cut: Arc<Kernel>,
    find: Arc<Kernel>,
    pub(super) vocab: usize,
    pub(super) rows: Buffer<SampledRow>,
    /// `[rows][vocab]`, made when a draft first has a distribution.
    pub(super) q: Option<Buffer<f32>>,
    /// Drafts that the first rows of `q` are the distributions of, drawn here.
    pub(super) held: Vec<u32>,
    /// `[rows][256]`, zero between launches.
    sums: Buffer<u64>,
    parts: Buffer<u64>,
    /// `[rows]`, and of all rows together; zero between launches.
    arrived: Buffer<u32>,
    rows_done: Buffer<u32>,
    verdict: Buffer<u32>,
}

/// Rows that launches work on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// First of them in the room; in the logits it is the drawing's.
    pub(super) first: usize,
    pub(super) rows: u32,
    pub(super) told: Told,
}

/// Addresses that a drafter's own row leaves what it gives at; 0 for rows of a target.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Told {
    /// Its probabilities `[vocab]`.
    pub(super) q: u64,
    /// The draft, and the token to go on with.
    pub(super) drawn: u64,
    pub(super) onwards: u64,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct SampledRow {
    test: u64,
    draw: u64,
    left: u64,
    draft: u32,
    has_q: u32,
    cut_key: u32,
    cut_id: u32,
    prefix: u32,
    scale: f32,
    choice: u32,
    stands: u32,
}

// SAFETY: plain numbers, equal to the kernels' struct field for field.
unsafe impl DeviceRepr for SampledRow {}
// SAFETY: plain numbers.
unsafe impl ValidAsZeroBits for SampledRow {}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct SampleCutArgs {
    logits: u64,
    best: u64,
    rows: u64,
    sums: u64,
    arrived: u64,
    stride: i64,
    top_p: f64,
    top_k: u32,
    n: i32,
    shift: i32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for SampleCutArgs {}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct SampleFindArgs {
    logits: u64,
    best: u64,
    rows: u64,
    q: u64,
    parts: u64,
    arrived: u64,
    rows_done: u64,
    verdict: u64,
    told: Told,
    stride: i64,
    n: i32,
    mode: i32,
    rule: i32,
    temperature: f32,
    min_p_floor: f32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for SampleFindArgs {}

/// What a cut counts up to.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Rank(u32),
    Mass(f32),
}

/// What `sample_find` sums.
#[derive(Debug, Clone, Copy)]
enum Find {
    Ties = 0,
    Total = 1,
    Draw = 2,
}

impl RowSampler {
    /// For up to `rows` rows of `vocab` logits.
    ///
    /// # Errors
    /// No memory, or a kernel that does not compile.
    pub fn new(device: &Device, rows: usize, vocab: usize) -> Result<Self, CudaError> {
        let what = "room for sampling";
        Ok(Self {
            cut: device.kernel(KernelSource::SampleCut, Vec::new(), 0)?,
            find: device.kernel(KernelSource::SampleFind, Vec::new(), 0)?,
            vocab,
            rows: device.zeros(what, rows)?,
            q: None,
            held: Vec::new(),
            sums: device.zeros(what, rows * BINS)?,
            parts: device.zeros(what, rows * 2 * MOST_PARTS)?,
            arrived: device.zeros(what, rows)?,
            rows_done: device.zeros(what, 1)?,
            verdict: device.zeros(what, 2)?,
        })
    }

    /// Draws from each row and decides over the drafts; waits for the device. Every row but the last has a draft.
    ///
    /// # Errors
    /// More rows than there is room for, a buffer too small, or the driver's.
    pub fn decide(
        &mut self,
        device: &Device,
        drawing: &Drawing<'_>,
        rows: &[DrawnRow<'_>],
    ) -> Result<Outcome, CudaError> {
        at_least("rows of a sampler", self.rows.len(), rows.len())?;
        at_least("logits", drawing.logits.len(), (drawing.first_row + rows.len()) * self.vocab)?;
        at_least("greatest logits", drawing.best.len(), drawing.first_row + rows.len())?;
        self.bring(device, rows)?;
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        self.queue(device, drawing, Span { first: 0, rows: count, told: Told::default() })?;
        let verdict = device.download(&self.verdict)?;
        let [accepted, next] = verdict[..] else { return Ok(Outcome { accepted: 0, next: None }) };
        Ok(Outcome { accepted: accepted as usize, next: (next != NO_TOKEN).then_some(next) })
    }

    /// Writes what the host knows of the rows.
    fn bring(&mut self, device: &Device, rows: &[DrawnRow<'_>]) -> Result<(), CudaError> {
        let fresh = |row: &DrawnRow<'_>| SampledRow {
            test: quantile_bits(row.test),
            draft: row.draft.unwrap_or(NO_TOKEN),
            has_q: u32::from(!matches!(row.q, Origin::Point)),
            ..SampledRow::undrafted(row.draw)
        };
        let fresh: Vec<SampledRow> = rows.iter().map(fresh).collect();
        device.write(&mut self.rows, &fresh)?;
        let vocab = self.vocab;
        for (i, row) in rows.iter().enumerate() {
            let Origin::Told(q) = row.q else { continue };
            at_least("distribution of a draft", q.len(), vocab)?;
            self.held.clear();
            device.write_at(self.q_room(device)?, i * vocab, &q[..vocab])?;
        }
        Ok(())
    }

    /// The distributions of drafts.
    pub(super) fn q_room(&mut self, device: &Device) -> Result<&mut Buffer<f32>, CudaError> {
        match &mut self.q {
            Some(room) => Ok(room),
            room @ None => {
                Ok(room.insert(device.zeros("distributions of drafts", self.rows.len() * self.vocab)?))
            }
        }
    }

    /// Queues all that draws from rows: cuts, sums, the draw.
    pub(super) fn queue(&self, device: &Device, drawing: &Drawing<'_>, span: Span) -> Result<(), CudaError> {
        let SamplingParams { top_k, top_p, .. } = drawing.params;
        if let Some(k) = top_k.filter(|k| (k.get() as usize) < self.vocab) {
            self.cut(device, drawing, span, Cut::Rank(k.get()))?;
        }
        if let Some(p) = top_p.filter(|&p| p < 1.0) {
            self.cut(device, drawing, span, Cut::Mass(p))?;
        }
        self.find(device, drawing, span, Find::Total)?;
        self.find(device, drawing, span, Find::Draw)
    }

    /// Queues a cut: digit by digit, then its ties.
    fn cut(&self, device: &Device, drawing: &Drawing<'_>, span: Span, cut: Cut) -> Result<(), CudaError> {
        let (top_k, top_p) = match cut {
            Cut::Rank(k) => (k, -1.0),
            Cut::Mass(p) => (0, f64::from(p)),
        };
        for shift in [24, 16, 8, 0] {
            let args = SampleCutArgs {
                logits: drawing.logits.address() + 4 * (drawing.first_row * self.vocab) as u64,
                best: drawing.best.address() + 4 * drawing.first_row as u64,
                rows: self.row_address(span.first),
                sums: self.sums.address(),
                arrived: self.arrived.address(),
                stride: self.vocab as i64,
                top_p,
                top_k,
                n: size(self.vocab),
                shift,
            };
            // SAFETY: `decide` or who gave the span checked the sizes, the rest is this type's own, made for as many rows.
            unsafe { self.cut.launch(device, [self.blocks(), span.rows, 1], 256, true, &args) }?;
        }
        self.find(device, drawing, span, Find::Ties)
    }

    fn find(&self, device: &Device, drawing: &Drawing<'_>, span: Span, mode: Find) -> Result<(), CudaError> {
        let params = drawing.params;
        let args = SampleFindArgs {
            logits: drawing.logits.address() + 4 * (drawing.first_row * self.vocab) as u64,
            best: drawing.best.address() + 4 * drawing.first_row as u64,
            rows: self.row_address(span.first),
            q: self.q.as_ref().map_or(0, Buffer::address),
            parts: self.parts.address(),
            arrived: self.arrived.address(),
            rows_done: self.rows_done.address(),
            verdict: self.verdict.address(),
            told: span.told,
            stride: self.vocab as i64,
            n: size(self.vocab),
            mode: mode as i32,
            rule: i32::from(drawing.rejection),
            temperature: params.temperature,
            min_p_floor: params.min_p.filter(|&p| p > 0.0).map_or(f32::NEG_INFINITY, f32::ln),
        };
        // SAFETY: as above; a row's `has_q` is set only where `q` was made for it, and whoever gives a span sees to its
        // addresses.
        unsafe { self.find.launch(device, [self.blocks(), span.rows, 1], 256, true, &args) }
    }

    fn row_address(&self, row: usize) -> u64 {
        self.rows.address() + (row * size_of::<SampledRow>()) as u64
    }

    fn blocks(&self) -> u32 {
        let parts = self.vocab.div_ceil(TOKENS_OF_PART).clamp(1, MOST_PARTS);
        u32::try_from(parts).unwrap_or(u32::MAX)
    }
}

impl SampledRow {
    /// A row without a draft, of which nothing is cut away.
    pub(super) fn undrafted(draw: f64) -> Self {
        Self {
            test: 0,
            draw: quantile_bits(draw),
            left: 0,
            draft: NO_TOKEN,
            has_q: 0,
            cut_key: 0,
            cut_id: NO_TOKEN,
            prefix: 0,
            scale: 0.0,
            choice: NO_TOKEN,
            stands: 0,
        }
    }
}
