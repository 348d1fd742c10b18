//! Speed of models of real shapes with random weights: prefill, decode at depth, and speculation at a chosen
//! acceptance length. Needs `BENCH_MODELS`.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bench_engine::attention::KvFormat;
use bench_engine::gguf::GgmlType;
use bench_engine::kv_cache::turbo::TurboType;
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::spec::{LogitRows, Target};
use bench_engine::synth::real::{RealPair, RealSize, write_real_pair};
use serde_json::{Value, json};

use crate::gpu::{device, publish};
use crate::models::{Pair, argmax, generate_by, largest_difference};

/// Measured read bandwidth of the device that these figures are compared with, bytes a second; `BENCH_READ_TB_S`.
fn read_ceiling() -> f64 {
    std::env::var("BENCH_READ_TB_S").ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(4.48) * 1e12
}

/// The pairs in `BENCH_MODELS`; `BENCH_SYNTH=e4b` (or another size) writes that one there first.
pub(crate) fn pairs() -> Vec<Pair> {
    let Some(folder) = std::env::var_os("BENCH_MODELS") else {
        println!("SKIP: BENCH_MODELS names no folder with models of real shapes");
        return Vec::new();
    };
    let Some(device) = device().map(Arc::new) else { return Vec::new() };
    let folder = Path::new(&folder);
    synthesise(folder);
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
        .iter()
        .filter_map(|name| name.to_str()?.strip_suffix("-target.gguf").map(str::to_owned))
        .map(|name| {
            let file = |part: &str| folder.join(format!("{name}-{part}.gguf"));
            Pair::files(Arc::clone(&device), &name, &file("target"), &file("assistant"))
        })
        .collect()
}

fn synthesise(folder: &Path) {
    let Ok(name) = std::env::var("BENCH_SYNTH") else { return };
    let names = RealSize::ALL.map(RealSize::name);
    let size = RealSize::ALL.into_iter().find(|size| size.name() == name);
    let size = size.unwrap_or_else(|| panic!("BENCH_SYNTH={name}: got none of {}", names.join(", ")));
    let weights = match std::env::var("BENCH_SYNTH_WEIGHTS").as_deref() {
        Ok("f16") => GgmlType::F16,
        Ok("q8_0") | Err(_) => GgmlType::Q8_0,
        Ok(other) => panic!("BENCH_SYNTH_WEIGHTS={other}: expected f16 or q8_0"),
    };
    let file = |part: &str| folder.join(format!("{}-{weights}-{part}.gguf", size.name()));
    if file("target").exists() {
        return;
    }
    let started = Instant::now();
    let pair = RealPair { size, weights, seed: 1 };
    let files = write_real_pair(folder, &pair, &mut |_, _| ()).unwrap();
    std::fs::rename(&files.assistant, file("assistant")).unwrap();
    std::fs::rename(&files.target, file("target")).unwrap();
    println!("{} written in {:.0?}", size.name(), started.elapsed());
}

/// Random weights have no best token by much, so logits are compared, not tokens. Where activations are quantised, what
/// rounds the other way on one side makes a router near a tie choose another expert: mixtures are compared with f16
/// weights.
#[test]
fn logits_of_real_shapes_are_the_cpus() {
    for pair in pairs() {
        if pair.name.contains("a4b") && !pair.name.ends_with("f16") {
            println!("SKIP: {}: experts are compared with BENCH_SYNTH_WEIGHTS=f16", pair.name);
            continue;
        }
        let kv = if pair.name.ends_with("f16") { KvFormat::F32 } else { KvFormat::F16 };
        let (mut gpu, mut cpu) = (pair.gpu(kv, 4), pair.cpu(4));
        let tokens = pair.tokens(8);
        let (mut worst, mut scale, mut same) = (0.0_f32, 0.0_f32, 0);
        for chunk in tokens.chunks(4) {
            gpu.forward(chunk, LogitRows::All).unwrap();
            cpu.forward(chunk, LogitRows::All).unwrap();
            gpu.fetch_logits().unwrap();
            for row in 0..chunk.len() {
                worst = worst.max(largest_difference(gpu.logits(row), cpu.logits(row)));
                scale = cpu.logits(row).iter().fold(scale, |m, x| m.max(x.abs()));
                same += usize::from(argmax(gpu.logits(row)) == argmax(cpu.logits(row)));
            }
        }
        println!(
            "{}: largest logit difference {worst:.4} of {scale:.2}, {same} of 8 argmax equal",
            pair.name
        );
        assert!(worst < 0.05 * scale, "{}: {worst} of {scale}", pair.name);
    }
}

/// Two passes for a profiler, launch by launch: `BENCH_PROFILE=ROWS ncu ... profile_a_pass`.
#[test]
fn profile_a_pass() {
    let Ok(rows) = std::env::var("BENCH_PROFILE") else { return };
    let rows = rows.parse().unwrap();
    for pair in pairs() {
        let mut target = pair.try_gpu(KvFormat::F16, 8, 8192).unwrap();
        target.forward(&pair.tokens(2), LogitRows::Last).unwrap();
        target.forward(&pair.tokens(rows), LogitRows::Last).unwrap();
    }
}

#[test]
fn speed_of_real_shapes() {
    let mut tables = Vec::new();
    for pair in pairs() {
        for kv in [KvFormat::F16, KvFormat::Q8_0, KvFormat::Turbo(TurboType::Turbo3)] {
            tables.push(measure(&pair, kv));
        }
    }
    if !tables.is_empty() {
        publish("gpu-speed.json", &json!(tables));
    }
}

fn measure(pair: &Pair, kv: KvFormat) -> Value {
    let depths = [128, 4096, 16384];
    let started = Instant::now();
    let mut target = pair.try_gpu(kv, 8, 16384 + 512).unwrap();
    let load_s = started.elapsed().as_secs_f64();
    let floor_s = target.step_bytes() as f64 / read_ceiling();
    let mut rows = Vec::new();
    for depth in depths {
        let prompt = pair.tokens(depth);
        target.truncate(0);
        let started = Instant::now();
        target.forward(&prompt, LogitRows::Last).unwrap();
        let prefill_s = started.elapsed().as_secs_f64();
        for draft in [0_u32, 1, 3, 7] {
            // A verify step of draft + 1 rows whose drafts are all rolled back: what a step costs.
            let rows_of_step: Vec<u32> = pair.tokens(draft as usize + 1);
            let mut times: Vec<f64> = (0..60)
                .map(|_| {
                    let started = Instant::now();
                    target.forward(&rows_of_step, LogitRows::All).unwrap();
                    let time = started.elapsed().as_secs_f64();
                    target.truncate(depth);
                    time
                })
                .collect();
            times.sort_by(f64::total_cmp);
            let step_s = times[times.len() / 2];
            println!(
                "{} {} depth {depth}: step of {} rows {:.3} ms, {:.1} % of the read ceiling; prefill {:.0} tok/s",
                pair.name,
                kv.name(),
                draft + 1,
                step_s * 1e3,
                100.0 * floor_s / step_s,
                depth as f64 / prefill_s
            );
            rows.push(json!({
                "depth": depth, "rows": draft + 1, "step_ms_p50": step_s * 1e3, "step_ms_p95": times[times.len() * 95 / 100] * 1e3,
                "prefill_tokens_per_s": depth as f64 / prefill_s,
            }));
        }
    }
    json!({
        "model": pair.name, "kv": kv.name(), "load_s": load_s, "step_bytes": target.step_bytes(),
        "routes": target.routes(), "steps": rows, "speculation": speculation(pair, &mut target),
    })
}

/// Tokens a second with drafts of the assistant and synthetic acceptance, after a prompt of 128 tokens.
fn speculation(pair: &Pair, target: &mut bench_engine::model::CudaTarget) -> Vec<Value> {
    let mut mtp = pair.mtp(target, 7);
    let prompt = pair.tokens(128);
    let mut rows = Vec::new();
    for (draft_max, length) in [(0_u32, 1.0), (1, 1.8), (3, 2.8), (4, 3.2), (7, 5.0)] {
        let rates = conditional(length, draft_max);
        let mut runs = Vec::new();
        for _ in 0..4 {
            let proposer: Option<&mut dyn bench_engine::spec::Proposer<_>> =
                if draft_max > 0 { Some(&mut mtp) } else { None };
            let started = Instant::now();
            let rule = AcceptanceRule::Synthetic(rates.clone());
            let (tokens, _) = generate_by(target, proposer, &prompt, 1, (draft_max as usize, rule));
            assert_eq!(tokens.len(), 1);
            let first = started.elapsed();
            let rule = AcceptanceRule::Synthetic(rates.clone());
            let proposer: Option<&mut dyn bench_engine::spec::Proposer<_>> =
                if draft_max > 0 { Some(&mut mtp) } else { None };
            let started = Instant::now();
            let (tokens, totals) = generate_by(target, proposer, &prompt, 257, (draft_max as usize, rule));
            let decode_s = (started.elapsed() - first).as_secs_f64();
            runs.push((
                (tokens.len() - 1) as f64 / decode_s,
                1.0 + totals.accepted as f64 / totals.verify_steps as f64,
            ));
        }
        println!("{}: draft {draft_max}, tokens/s and acceptance length {runs:.2?}", pair.name);
        rows.push(json!({
            "draft_max": draft_max, "length_asked": length,
            "tokens_per_s": runs.iter().map(|run| run.0).collect::<Vec<_>>(),
            "acceptance_length": runs.iter().map(|run| run.1).collect::<Vec<_>>(),
        }));
    }
    rows
}

/// Conditional acceptance by position of a mean acceptance length, bonus token included: whole positions first.
fn conditional(length: f64, draft_max: u32) -> Vec<f64> {
    let Some(drafts) = NonZeroU32::new(draft_max) else { return Vec::new() };
    let marginal: Vec<f64> =
        (0..drafts.get()).map(|i| (length - 1.0 - f64::from(i)).clamp(0.0, 1.0)).collect();
    let before = std::iter::once(1.0).chain(marginal.iter().copied());
    marginal.iter().zip(before).map(|(rate, before)| if before > 0.0 { rate / before } else { 0.0 }).collect()
}
