//! What a step's choice costs over 262144 tokens: rows brought to the host and decided on there, against the device.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Instant;

use bench_engine::spec::Draft;
use bench_engine::spec::accept;
use bench_engine::spec::sampler::{Sampler, SamplingParams, argmax};
use serde_json::{Value, json};

use crate::Bench;
use crate::cases::Rng;

/// Steps that are timed, and their median taken.
const STEPS: usize = 25;

fn median_us(mut step: impl FnMut()) -> f64 {
    step();
    let mut times: Vec<f64> = (0..STEPS)
        .map(|_| {
            let start = Instant::now();
            step();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[STEPS / 2]
}

/// Every setting with 1, 4 and 8 rows whose drafts are the rows' likeliest tokens.
pub(crate) fn measure(mut bench: Bench) -> Value {
    let base = SamplingParams { temperature: 1.0, ..SamplingParams::greedy() };
    let settings = [
        (
            "top-k 64, top-p 0.95",
            SamplingParams { top_k: NonZeroU32::new(64), top_p: Some(0.95), ..base.clone() },
        ),
        ("top-p 0.95", SamplingParams { top_p: Some(0.95), ..base.clone() }),
        ("whole vocabulary", base),
    ];
    let mut rng = Rng(5);
    let mut rows: Vec<Vec<f32>> = (0..8).map(|_| rng.logits(bench.vocab)).collect();
    // Each row has a token that is likely enough for most drafts to stand.
    rows.iter_mut().for_each(|row| row[17] = 40.0);
    let mut results = Vec::new();
    for count in [1, 4, 8] {
        bench.bring(&rows[..count]);
        let tokens: Vec<u32> = rows[..count - 1].iter().map(|row| argmax(row).unwrap()).collect();
        let draft = Draft { tokens, ..Draft::default() };
        for (name, params) in &settings {
            let sampler = Sampler::new(params).unwrap();
            let on_device = median_us(|| {
                black_box(bench.decide(&draft, false, &sampler));
            });
            let (mut host_sampler, mut probs) = (sampler.clone(), Vec::new());
            let on_host = median_us(|| {
                let logits = bench.device.download(&bench.logits).unwrap();
                let row = |i: usize| &logits[i * bench.vocab..(i + 1) * bench.vocab];
                black_box(
                    accept::sample_and_compare(&draft.tokens, row, &mut host_sampler, &mut probs).unwrap(),
                );
            });
            println!(
                "{count} rows, {name}: {on_device:.0} us on the device, {on_host:.0} us on the host (8 rows copied)"
            );
            results
                .push(json!({ "rows": count, "setting": name, "device_us": on_device, "host_us": on_host }));
        }
    }
    json!(results)
}
