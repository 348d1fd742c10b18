//! The kernels against f64 oracles, and the invariant that bits depend on nothing but the rows themselves.

use proptest::prelude::*;

use super::*;

const FLOATS: [Element; 3] = [Element::F32, Element::F16, Element::Bf16];

/// A repeatable stream of numbers in -1..1.
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn encode(element: Element, values: &[f32], k: usize) -> Vec<u8> {
    match element {
        Element::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Element::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        Element::Bf16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
        Element::Q8_0 => {
            let mut bytes = vec![0; element.row_bytes(k) * (values.len() / k)];
            for (row, out) in values.chunks_exact(k).zip(bytes.chunks_exact_mut(element.row_bytes(k))) {
                Isa::scalar().narrow(element, row, out);
            }
            bytes
        }
    }
}

fn value(element: Element, row: &[u8], i: usize) -> f64 {
    f64::from(match element {
        Element::F32 => super::element::<F32>(row, i),
        Element::F16 => super::element::<F16>(row, i),
        Element::Bf16 => super::element::<BF16>(row, i),
        Element::Q8_0 => super::element::<Q8_0>(row, i),
    })
}

/// `[m][rows]`, on `threads` threads.
fn product(
    isa: Isa,
    threads: usize,
    element: Element,
    w: &[u8],
    rows: usize,
    x: &[f32],
    m: usize,
) -> Vec<f32> {
    let k = x.len() / m;
    let mut out = vec![f32::NAN; m * rows];
    let mut buffer = Q8Buffer::default();
    let input = Input::new(isa, x, m, element == Element::Q8_0, &mut buffer);
    let mut pool = Pool::new(threads).expect("threads");
    let weights = Weights::new(w, element, rows, k);
    matmul(isa, &mut pool, input, &mut [Job { weights, out: &mut out }]);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// |error| <= eps * sum |w x| times a small constant: what f32 accumulation may cost, for every length and tail.
    #[test]
    fn float_products_match_f64(k in 1_usize..300, rows in 1_usize..20, m in 1_usize..10, seed: u64, scale in -18_i32..18) {
        let mut next = noise(seed);
        let big = 2.0_f32.powi(scale);
        let x: Vec<f32> = (0..m * k).map(|_| next() * big).collect();
        for element in FLOATS {
            let values: Vec<f32> = (0..rows * k).map(|_| next() * 4.0).collect();
            let w = encode(element, &values, k);
            for isa in [Isa::detect(), Isa::scalar()] {
                let out = product(isa, 1, element, &w, rows, &x, m);
                for (i, got) in out.iter().enumerate() {
                    let (c, r) = (i / rows, i % rows);
                    let row = &w[r * element.row_bytes(k)..];
                    let terms = (0..k).map(|j| value(element, row, j) * f64::from(x[c * k + j]));
                    let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                    let bound = size * f64::from(f32::EPSILON) * (k as f64 / 8.0 + 8.0);
                    prop_assert!((f64::from(*got) - sum).abs() <= bound, "{element:?} {isa:?} {got} {sum}");
                }
            }
        }
    }

    /// The integer path: exact block sums, so only the scaling rounds; vector and plain agree to that.
    #[test]
    fn q8_products_match_the_quantised_values(blocks in 1_usize..12, rows in 1_usize..12, m in 1_usize..10, seed: u64) {
        let k = blocks * Q8_BLOCK;
        let mut next = noise(seed);
        let x: Vec<f32> = (0..m * k).map(|_| next() * 3.0).collect();
        let values: Vec<f32> = (0..rows * k).map(|_| next()).collect();
        let w = encode(Element::Q8_0, &values, k);
        let quantised_x = encode(Element::Q8_0, &x, k);
        for isa in [Isa::detect(), Isa::scalar()] {
            let out = product(isa, 1, Element::Q8_0, &w, rows, &x, m);
            for (i, got) in out.iter().enumerate() {
                let (c, r) = (i / rows, i % rows);
                let bytes = Element::Q8_0.row_bytes(k);
                let (row, xs) = (&w[r * bytes..], &quantised_x[c * bytes..]);
                let terms = (0..k).map(|j| value(Element::Q8_0, row, j) * value(Element::Q8_0, xs, j));
                let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                prop_assert!((f64::from(*got) - sum).abs() <= size * 1e-5, "{isa:?} {got} {sum}");
            }
        }
    }

    /// Losslessness rests on this: one row or many, one thread or three, the same bits.
    #[test]
    fn bits_do_not_depend_on_rows_or_threads(blocks in 1_usize..9, rows in 1_usize..400, seed: u64) {
        let k = blocks * Q8_BLOCK;
        let mut next = noise(seed);
        let m = 9;
        let x: Vec<f32> = (0..m * k).map(|_| next()).collect();
        let values: Vec<f32> = (0..rows * k).map(|_| next()).collect();
        for element in [Element::F32, Element::F16, Element::Bf16, Element::Q8_0] {
            let w = encode(element, &values, k);
            let alone: Vec<u32> = x
                .chunks_exact(k)
                .flat_map(|x| product(Isa::detect(), 1, element, &w, rows, x, 1))
                .map(f32::to_bits)
                .collect();
            for m in 2..=m {
                for threads in [1, 3] {
                    let out = product(Isa::detect(), threads, element, &w, rows, &x[..m * k], m);
                    let bits: Vec<u32> = out.into_iter().map(f32::to_bits).collect();
                    prop_assert_eq!(&bits[..], &alone[..m * rows], "{:?} m {} threads {}", element, m, threads);
                }
            }
        }
    }

    #[test]
    fn quantisation_agrees_between_paths(seed: u64, scale in -20_i32..20) {
        let mut next = noise(seed);
        let x: Vec<f32> = (0..96).map(|_| next() * 2.0_f32.powi(scale)).collect();
        let run = |isa: Isa| {
            let (mut qs, mut scales) = (vec![0; 96], vec![0.0; 3]);
            isa.quantize_q8(&x, &mut qs, &mut scales);
            (qs, scales)
        };
        prop_assert_eq!(run(Isa::detect()), run(Isa::scalar()));
    }

    #[test]
    fn elementwise_functions_match_f64(values in prop::collection::vec(-90.0_f32..90.0, 1..40)) {
        for isa in [Isa::detect(), Isa::scalar()] {
            let run = |f: &dyn Fn(&mut [f32])| { let mut x = values.clone(); f(&mut x); x };
            for (x, got) in values.iter().zip(run(&|x| isa.exp_shifted(x, 3.0))) {
                let expected = f64::from(x - 3.0).exp();
                prop_assert!((f64::from(got) - expected).abs() <= expected * 4e-7 + 1.3e-38, "exp {x} {got}");
            }
            for (x, got) in values.iter().zip(run(&|x| isa.gelu(x))) {
                let x = f64::from(*x);
                let expected = 0.5 * x * (1.0 + (0.797_884_560_8 * (x + 0.044_715 * x * x * x)).tanh());
                prop_assert!((f64::from(got) - expected).abs() <= 2e-6 * x.abs().min(3.0) + 3e-7 * x.abs(), "gelu {x} {got} {expected}");
            }
            for (x, got) in values.iter().zip(run(&|x| isa.softcap(x, 30.0))) {
                let expected = 30.0 * (f64::from(*x) / 30.0).tanh();
                prop_assert!((f64::from(got) - expected).abs() <= 1e-5, "softcap {x} {got}");
            }
        }
    }

    #[test]
    fn rms_norm_matches_f64(seed: u64, width in 1_usize..200) {
        let mut next = noise(seed);
        let x: Vec<f32> = (0..2 * width).map(|_| next() * 50.0).collect();
        let weight: Vec<f32> = (0..width).map(|_| next()).collect();
        let mut out = vec![0.0; x.len()];
        rms_norm(&x, &weight, 1e-6, &mut out);
        for (i, got) in out.iter().enumerate() {
            let row = &x[i / width * width..][..width];
            let mean = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / width as f64;
            let expected = f64::from(x[i]) / (mean + 1e-6).sqrt() * f64::from(weight[i % width]);
            prop_assert!((f64::from(*got) - expected).abs() <= 2e-6 * expected.abs() + 1e-9);
        }
    }
}

#[test]
fn extreme_weights_stay_exact() {
    let isa = Isa::detect();
    // -128 never comes from a quantiser, but a file may hold it; 128 * 127 * 2 must not saturate.
    let mut w = vec![0_u8; Q8_BLOCK_BYTES];
    w[..2].copy_from_slice(&f16::from_f32(1.0).to_le_bytes());
    w[2..].fill((-128_i8).to_le_bytes()[0]);
    let out = product(isa, 1, Element::Q8_0, &w, 1, &[127.0; 32], 1);
    assert_eq!(out, [-128.0 * 127.0 * 32.0]);
    let half = encode(Element::F16, &[65504.0, 6e-8, -0.0, f32::INFINITY], 4);
    assert_eq!(product(isa, 1, Element::F16, &half, 1, &[1.0, 0.0, 5.0, 1.0], 1), [f32::INFINITY]);
    assert!(
        product(isa, 1, Element::F32, &encode(Element::F32, &[f32::NAN; 9], 9), 1, &[0.0; 9], 1)[0].is_nan()
    );
    let mut nan = [f32::NAN, 0.0, -1000.0, 1000.0];
    isa.gelu(&mut nan);
    assert!(
        nan[0].is_nan() && nan[1..3].iter().all(|v| v.abs() < 1e-30) && (nan[3] - 1000.0).abs() < 1e-30,
        "{nan:?}"
    );
}

#[test]
fn a_zero_block_quantises_to_zero() {
    for isa in [Isa::detect(), Isa::scalar()] {
        let (mut qs, mut scales) = ([1; 32], [1.0]);
        isa.quantize_q8(&[0.0; 32], &mut qs, &mut scales);
        assert_eq!((qs, scales), ([0; 32], [0.0]));
    }
}

#[test]
fn a_pool_runs_every_chunk_once_and_survives_a_panic() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    for threads in [1, 2, 4] {
        let mut pool = Pool::new(threads).expect("threads");
        for chunks in [0, 1, 2, 100] {
            let hits: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(chunks, &|worker, chunk| {
                assert!(worker < threads);
                hits[chunk].fetch_add(1, Ordering::Relaxed);
            });
            assert!(
                hits.iter().all(|h| h.load(Ordering::Relaxed) == 1),
                "{threads} threads, {chunks} chunks"
            );
        }
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(50, &|_, chunk| assert!(chunk != 25, "on purpose"));
        }));
        assert!(panics.is_err());
        let count = AtomicUsize::new(0);
        pool.run(10, &|_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 10);
    }
}
