//! Cost of choosing tokens at Gemma 4's vocabulary: it is paid for every row of every verify step, on one core.

#![expect(clippy::expect_used, reason = "a benchmark of fixed, valid input")]

use std::hint::black_box;
use std::num::NonZeroU32;

use bench_engine::spec::Draft;
use bench_engine::spec::accept;
use bench_engine::spec::sampler::{Sampler, SamplingParams, argmax};
use criterion::{Criterion, criterion_group, criterion_main};

const VOCAB: usize = 262_144;
/// Rows of a verify step with three drafts.
const ROWS: usize = 4;

/// Logits of about a normal distribution with standard deviation 3 (twelve uniforms), the same in every run.
fn logits(seed: u64) -> Vec<f32> {
    let params = SamplingParams { seed, ..SamplingParams::greedy() };
    let mut uniform = Sampler::new(&params).expect("greedy parameters are valid");
    #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
    let mut normal = || (0..12).map(|_| uniform.uniform() - 0.5).sum::<f64>() as f32 * 3.0;
    (0..VOCAB).map(|_| normal()).collect()
}

/// The three settings that take different paths: partial select, growing nucleus, the whole vocabulary.
fn settings() -> [(&'static str, SamplingParams); 3] {
    let base = SamplingParams { temperature: 1.0, ..SamplingParams::greedy() };
    [
        ("top_k_64_top_p", SamplingParams { top_k: NonZeroU32::new(64), top_p: Some(0.95), ..base.clone() }),
        ("top_p", SamplingParams { top_p: Some(0.95), ..base.clone() }),
        ("whole_vocabulary", base),
    ]
}

fn choosing(c: &mut Criterion) {
    let logits = logits(1);
    c.bench_function("argmax/262144", |b| b.iter(|| argmax(black_box(&logits))));
    for (name, params) in settings() {
        let mut sampler = Sampler::new(&params).expect("valid parameters");
        let mut probs = Vec::new();
        c.bench_function(&format!("distribution/{name}"), |b| {
            b.iter(|| sampler.distribution(black_box(&logits), &mut probs));
        });
        c.bench_function(&format!("draw/{name}"), |b| b.iter(|| sampler.draw(black_box(&probs))));
    }
}

fn accepting(c: &mut Criterion) {
    let rows: Vec<Vec<f32>> = (0..ROWS as u64).map(logits).collect();
    let row = |i: usize| rows[i].as_slice();
    // Drafts that all stand: every row is looked at.
    let drafts: Vec<u32> = rows[..ROWS - 1].iter().map(|row| argmax(row).expect("finite logits")).collect();
    c.bench_function("accept/greedy_3_of_3", |b| {
        b.iter(|| accept::greedy(black_box(&drafts), |i| argmax(row(i))))
    });

    let (_, params) = settings().into_iter().next().expect("three settings");
    let mut sampler = Sampler::new(&params).expect("valid parameters");
    let mut probs = Vec::new();
    c.bench_function("accept/sample_and_compare_1_row", |b| {
        b.iter(|| accept::sample_and_compare(&[], row, &mut sampler, &mut probs));
    });
    let mut q = Vec::new();
    sampler.distribution(&rows[0], &mut q).expect("finite logits");
    let draft = Draft { tokens: vec![drafts[0]], probs: vec![q], held: false };
    c.bench_function("accept/rejection_1_of_1", |b| {
        b.iter(|| accept::rejection(black_box(&draft), |_| row(0), &mut sampler, &mut probs));
    });
}

criterion_group! {
    name = benches;
    // Charts want a font of the system, which servers do not have.
    config = Criterion::default().without_plots();
    targets = choosing, accepting
}
criterion_main!(benches);
