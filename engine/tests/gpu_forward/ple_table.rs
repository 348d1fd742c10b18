//! The table of per-layer embeddings in the host's memory: the same bits as on the device, and what it costs. And the
//! margins that come with the choice of tokens: those of the logits.

use std::time::Instant;

use bench_engine::attention::KvFormat;
use bench_engine::gguf::GgmlType;
use bench_engine::model::{CudaTarget, PleTable};
use bench_engine::spec::sampler::margin;
use bench_engine::spec::{LogitRows, Target};
use bench_engine::synth::tiny::TinyPair;
use serde_json::{Value, json};

use crate::gpu::{device, publish};
use crate::models::Pair;
use crate::speed::pairs;

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|x| x.to_bits()).collect()
}

/// Bits of every row's logits along a text: prefill, then passes of 1 to 8 rows.
fn along(target: &mut CudaTarget, tokens: &[u32]) -> Vec<Vec<u32>> {
    let (prompt, mut rest) = tokens.split_at(tokens.len() / 2);
    let mut found = Vec::new();
    target.forward(prompt, LogitRows::Last).unwrap();
    target.fetch_logits().unwrap();
    found.push(bits(target.logits(0)));
    for rows in (1..=8).cycle() {
        let (now, later) = rest.split_at(rest.len().min(rows));
        target.forward(now, LogitRows::All).unwrap();
        target.fetch_logits().unwrap();
        found.extend((0..now.len()).map(|row| bits(target.logits(row))));
        rest = later;
        if rest.is_empty() {
            return found;
        }
    }
    found
}

#[test]
fn a_table_on_the_host_gives_the_bits_of_one_on_the_device() {
    let Some(device) = device().map(std::sync::Arc::new) else { return };
    let tiny = |weights| Pair::tiny(device.clone(), &TinyPair { weights, ..TinyPair::default() });
    let nano = Pair::nano_on(device.clone());
    let f32_pair = nano.in_f32();
    let golden = Pair::golden(device.clone(), "shared-kv");
    for pair in [&nano, &f32_pair, &golden, &tiny(GgmlType::F16), &tiny(GgmlType::Q8_0)] {
        let tokens = pair.tokens(60);
        let at = |place| {
            let mut target = pair.gpu_with_table((KvFormat::F16, 8), 64, place);
            (target.ple_table(), along(&mut target, &tokens))
        };
        let (on_device, on_host) = (at(PleTable::Device), at(PleTable::Host));
        println!("{}: {:?} against {:?}", pair.name, on_device.0, on_host.0);
        assert!(on_device.1 == on_host.1, "{}: other logits", pair.name);
        match (&on_device.0, &on_host.0) {
            (None, None) => {}
            (Some(there), Some(here)) => assert!(there == "device" && here.starts_with("host")),
            (there, here) => panic!("{}: {there:?} and {here:?}", pair.name),
        }
    }
}

/// The nano pair without per-layer embeddings would make the test above prove nothing.
#[test]
fn some_pair_here_has_a_table() {
    let Some(device) = device().map(std::sync::Arc::new) else { return };
    let pair = Pair::golden(device, "shared-kv");
    assert!(pair.gpu(KvFormat::F16, 1).ple_table().is_some());
}

/// Memory of the host and of the device is given back with the target.
#[test]
fn a_table_on_the_host_leaves_nothing_behind() {
    let Some(device) = device().map(std::sync::Arc::new) else { return };
    let pair = Pair::golden(device.clone(), "shared-kv");
    let tokens = pair.tokens(8);
    let mut free = Vec::new();
    for _ in 0..40 {
        let mut target = pair.gpu_with_table((KvFormat::F16, 1), 64, PleTable::Host);
        target.forward(&tokens, LogitRows::Last).unwrap();
        drop(target);
        free.push(device.memory().unwrap().0);
    }
    println!("free after each load: {:?} to {:?}", free[1], free[39]);
    assert_eq!(free[1], free[39]);
}

#[test]
fn margins_are_those_of_the_logits() {
    let Some(device) = device().map(std::sync::Arc::new) else { return };
    let nano = Pair::nano_on(device.clone());
    let golden = Pair::golden(device, "shared-kv");
    for pair in [&nano, &golden] {
        let mut target = pair.gpu(KvFormat::F16, 12);
        let (mut least, mut rows_seen) = (f32::INFINITY, 0);
        // Twelve rows are several passes, of which the first rows' margins have to be kept.
        for (turn, chunk) in pair.tokens(60).chunks(12).enumerate() {
            let chunk = if turn == 0 { chunk } else { &chunk[..turn] };
            target.forward(chunk, LogitRows::All).unwrap();
            let chosen: Vec<u32> = (0..chunk.len()).map(|row| target.argmax(row).unwrap()).collect();
            let told: Vec<_> = (0..chunk.len()).map(|row| target.margin(row, chosen[row])).collect();
            assert_eq!(target.margin(0, chosen[0] ^ 1), None, "of another token");
            assert_eq!(target.margin(chunk.len(), 0), None, "of no row");
            target.fetch_logits().unwrap();
            for (row, told) in told.iter().enumerate() {
                let right = margin(target.logits(row), chosen[row]).unwrap();
                assert_eq!(told.map(f32::to_bits), Some(right.to_bits()), "{} row {row}", pair.name);
                least = least.min(right);
                rows_seen += 1;
            }
        }
        println!("{}: {rows_seen} margins have the logits' bits, the least {least}", pair.name);
    }
}

/// A step's median, and what a prompt takes, with the table in either place. Needs `BENCH_MODELS`.
#[test]
fn speed_with_the_table_on_the_host() {
    let mut tables = Vec::new();
    for pair in pairs() {
        tables.extend([PleTable::Device, PleTable::Host].map(|place| measure(&pair, place)));
        same_bits(&pair);
    }
    if !tables.is_empty() {
        publish("gpu-ple-table.json", &json!(tables));
    }
}

fn same_bits(pair: &Pair) {
    let tokens = pair.tokens(40);
    let [there, here] = [PleTable::Device, PleTable::Host]
        .map(|place| along(&mut pair.gpu_with_table((KvFormat::F16, 8), 64, place), &tokens));
    println!("{}: {} rows of logits, equal bits: {}", pair.name, there.len(), there == here);
    assert!(there == here, "{}: other logits", pair.name);
}

fn measure(pair: &Pair, place: PleTable) -> Value {
    const DEPTH: usize = 2048;
    let before = pair.device.memory().unwrap().0;
    let started = Instant::now();
    let mut target = pair.gpu_with_table((KvFormat::F16, 8), DEPTH + 512, place);
    let load_s = started.elapsed().as_secs_f64();
    let device_bytes = before.saturating_sub(pair.device.memory().unwrap().0);
    let prompt = spread(pair, DEPTH, 0);
    let mut median = |times: usize, tokens: &dyn Fn(usize) -> Vec<u32>, keep: usize, rows| {
        let mut taken: Vec<f64> = (0..times)
            .map(|turn| {
                let tokens = tokens(turn);
                target.truncate(keep);
                let started = Instant::now();
                target.forward(&tokens, rows).unwrap();
                started.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        taken.sort_by(f64::total_cmp);
        taken[times / 2]
    };
    let prefill_ms = median(7, &|_| prompt.clone(), 0, LogitRows::Last);
    // Other tokens each time: rows that were just read might be in some cache.
    let steps = [1, 2, 4, 8].map(|rows| {
        let ms = median(400, &|turn| spread(pair, rows, 31 + turn * rows), DEPTH, LogitRows::All);
        (rows, ms)
    });
    let place = target.ple_table().unwrap_or_default();
    println!(
        "{} table on {place}: loaded in {load_s:.1} s, {device_bytes} bytes of the device, prefill of {DEPTH} {prefill_ms:.2} ms, steps {steps:.4?} ms",
        pair.name
    );
    json!({
        "model": pair.name, "ple_table": place, "load_s": load_s, "device_bytes": device_bytes,
        "prefill_tokens": DEPTH, "prefill_ms_p50": prefill_ms,
        "steps": steps.map(|(rows, ms)| json!({ "rows": rows, "step_ms_p50": ms })),
    })
}

/// Tokens from all over the vocabulary.
fn spread(pair: &Pair, count: usize, seed: usize) -> Vec<u32> {
    let vocab = pair.vocab_size();
    (seed..seed + count).map(|i| u32::try_from(((i + 1) * 2_654_435_761) % vocab).unwrap()).collect()
}
