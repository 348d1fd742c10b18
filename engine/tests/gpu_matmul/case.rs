//! A matrix of random blocks, rows of activations, and their product in f64.

use bench_engine::backend::cuda::{Activations, CudaError, Device, DeviceMatrix, Product};
use bench_engine::gguf::GgmlType;
use bench_engine::quant::dequantize_row;
use half::f16;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Types with a product.
pub(crate) const TYPES: [GgmlType; 11] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::Bf16,
    GgmlType::Q8_0,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q4K,
    GgmlType::Q5K,
    GgmlType::Q6K,
];

/// Elements of the output in front of the first row, and between rows.
const OFFSET: usize = 5;
const GAP: usize = 3;

pub(crate) struct Case {
    matrix: DeviceMatrix,
    x: Activations,
    values: Vec<f32>,
    /// Row by row: products in f64, and what each may err by.
    expected: Vec<Vec<(f64, f64)>>,
    rows: usize,
    cols: usize,
}

impl Case {
    pub(crate) fn new(device: &Device, ty: GgmlType, rows: usize, cols: usize, m: usize) -> Self {
        let data = weights(ty, rows, cols, 1);
        let matrix = DeviceMatrix::upload(device, ty, rows, cols, &data).unwrap();
        let mut rng = StdRng::seed_from_u64(2);
        // A few large values, as activations have.
        let mut values: Vec<f32> = (0..m * cols).map(|_| normal(&mut rng)).collect();
        values.iter_mut().step_by(97).for_each(|x| *x *= 20.0);
        let x = activations(device, &values, m, cols);
        let mut floats = vec![0.0; rows * cols];
        let row_bytes = data.len() / rows;
        for (bytes, row) in data.chunks_exact(row_bytes).zip(floats.chunks_exact_mut(cols)) {
            dequantize_row(ty, bytes, row).unwrap();
        }
        let expected =
            values.chunks_exact(cols).map(|x| products(&floats, x, matrix.reads_codes())).collect();
        Self { matrix, x, values, expected, rows, cols }
    }

    /// The greatest error over what it may be.
    pub(crate) fn error(&self, device: &Device, product: &Product, m: u32) -> f64 {
        let out = self.output(device, product, m);
        let expected = self.expected.iter().flatten();
        out.iter()
            .zip(expected)
            .map(|(x, (y, allowed))| (f64::from(*x) - y).abs() / allowed)
            .fold(0.0, |worst, error| if error.is_nan() { f64::NAN } else { worst.max(error) })
    }

    /// `[m][rows]`; checks that nothing else is written.
    pub(crate) fn output(&self, device: &Device, product: &Product, m: u32) -> Vec<f32> {
        let stride = self.rows + GAP;
        let out = self.try_output(device, product, m).unwrap();
        let mut rows = Vec::new();
        for (i, x) in out.into_iter().enumerate() {
            let inside =
                i >= OFFSET && (i - OFFSET) % stride < self.rows && (i - OFFSET) / stride < m as usize;
            assert_eq!(inside, x != f32::INFINITY, "element {i} of {m} rows");
            if inside {
                rows.push(x);
            }
        }
        rows
    }

    /// The whole buffer: rows from [`OFFSET`] on with [`GAP`] between them, infinity where nothing is written.
    pub(crate) fn try_output(
        &self,
        device: &Device,
        product: &Product,
        m: u32,
    ) -> Result<Vec<f32>, CudaError> {
        let (stride, room) = (self.rows + GAP, m as usize * (self.rows + GAP) + 9);
        let mut out = device.upload("output", &vec![f32::INFINITY; room])?;
        product.launch(device, &self.matrix, &self.x, m, &mut out, OFFSET, stride)?;
        device.download(&out)
    }

    /// Puts a row of activations first, and rubbish behind it.
    pub(crate) fn bring_to_front(&mut self, device: &Device, row: usize) {
        let mut values = vec![1e30; self.values.len()];
        values[..self.cols].copy_from_slice(&self.values[row * self.cols..][..self.cols]);
        self.x = activations(device, &values, self.values.len() / self.cols, self.cols);
    }
}

/// Rows on the device in every form.
pub(crate) fn activations(device: &Device, values: &[f32], rows: usize, cols: usize) -> Activations {
    let mut x = Activations::new(device, rows, cols).unwrap();
    let stride = x.stride();
    let mut padded = vec![0.0; rows * stride];
    for (from, to) in values.chunks_exact(cols).zip(padded.chunks_exact_mut(stride)) {
        to[..cols].copy_from_slice(from);
    }
    device.write(x.values_mut(), &padded).unwrap();
    x.quantize(device, u32::try_from(rows).unwrap()).unwrap();
    x
}

/// Products of one row of activations, and their bounds.
///
/// Codes of activations: x is taken as code * d with |x - code * d| <= d / 2 and d = amax / 127; the rounding of f32
/// adds a little. The products are taken with the codes, so that what is left is the kernel's own: the f32 sum over
/// blocks. Values: products in f32 of 2^-20 each, and their sum.
fn products(floats: &[f32], x: &[f32], codes: bool) -> Vec<(f64, f64)> {
    let x: Vec<f64> = if codes { rounded(x) } else { x.iter().map(|x| f64::from(*x)).collect() };
    let row = |weights: &[f32]| {
        let (mut sum, mut size) = (0.0, 0.0);
        for (blocks, w) in x.chunks(32).zip(weights.chunks(32)) {
            let most = w.iter().fold(0.0_f64, |most, w| most.max(f64::from(w.abs())));
            for (x, w) in blocks.iter().zip(w) {
                sum += x * f64::from(*w);
                // A minimum is added apart from the codes, so a small weight may be a difference of large terms.
                size += x.abs() * if codes { most } else { f64::from(w.abs()) };
            }
        }
        // Terms and partial sums are rounded to f32, a few times each.
        (sum, 8.0 * f64::from(f32::EPSILON) * size + 1e-30)
    };
    floats.chunks_exact(x.len()).map(row).collect()
}

/// What codes of activations stand for.
fn rounded(x: &[f32]) -> Vec<f64> {
    let mut out = Vec::new();
    for block in x.chunks(32) {
        let scale = block.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        out.extend(block.iter().map(|x| f64::from(scale) * f64::from((x * inverse).round())));
    }
    out
}

/// Random rows of valid blocks: every byte, but scales that are finite and of one size.
pub(crate) fn weights(ty: GgmlType, rows: usize, cols: usize, seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let bytes = usize::try_from(ty.row_bytes(cols as u64).unwrap()).unwrap() * rows;
    if [GgmlType::F32, GgmlType::F16, GgmlType::Bf16].contains(&ty) {
        let size = bytes / (rows * cols);
        return (0..rows * cols)
            .flat_map(|_| {
                let x = 0.02 * normal(&mut rng);
                match (ty, size) {
                    (GgmlType::F16, _) => f16::from_f32(x).to_le_bytes().to_vec(),
                    (_, 2) => half::bf16::from_f32(x).to_le_bytes().to_vec(),
                    _ => x.to_le_bytes().to_vec(),
                }
            })
            .collect();
    }
    let mut data = vec![0_u8; bytes];
    data.fill_with(|| rng.random());
    // Offsets of f16 scales and minima in a block.
    let with_minimum = [GgmlType::Q4_1, GgmlType::Q5_1, GgmlType::Q4K, GgmlType::Q5K].contains(&ty);
    let (scale, minimum) = (if ty == GgmlType::Q6K { 208 } else { 0 }, with_minimum.then_some(2));
    for block in data.chunks_exact_mut(usize::try_from(ty.block_bytes()).unwrap()) {
        for (at, sign) in [(Some(scale), 1.0), (minimum, if ty.block_len() == 32 { -6.0 } else { 6.0 })] {
            if let Some(at) = at {
                let x = sign * rng.random_range(1e-3_f32..4e-3);
                block[at..at + 2].copy_from_slice(&f16::from_f32(x).to_le_bytes());
            }
        }
    }
    data
}

/// The greatest magnitude in the block of 32 around an element.
pub(crate) fn block_magnitude(row: &[f32], i: usize) -> f32 {
    let first = i / 32 * 32;
    row[first..(first + 32).min(row.len())].iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// Box and Muller.
pub(crate) fn normal(rng: &mut StdRng) -> f32 {
    let (u, v): (f32, f32) = (rng.random_range(1e-7..1.0), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}
