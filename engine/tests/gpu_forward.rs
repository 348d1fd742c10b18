//! Gemma 4 on a GPU: against the CPU engine, against transformers, against itself, and how it behaves over time.
//!
//! Without a GPU or NVRTC every test prints SKIP with the reason and passes. `OUT=DIR` writes the results as JSON.
//! `BENCH_MODELS=DIR` names a folder with models of real shapes (`bench model synth real e4b`), which the tests of
//! speed need.

#![cfg(feature = "cuda")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not take for tests"
)]

#[path = "gpu_forward/drawn.rs"]
mod drawn;
mod gpu;
#[path = "gpu_forward/models.rs"]
mod models;
#[path = "gpu_forward/quality.rs"]
mod quality;
#[path = "gpu_forward/sampled.rs"]
mod sampled;
#[path = "gpu_forward/speed.rs"]
mod speed;

use std::num::NonZeroU32;

use bench_engine::attention::KvFormat;
use bench_engine::backend::cuda::{KernelCache, KernelSource};
use bench_engine::gguf::GgmlType;
use bench_engine::kv_cache::turbo::TurboType;
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::spec::sampler::SamplingParams;
use bench_engine::spec::{LogitRows, Target};
use bench_engine::synth::tiny::TinyPair;
use gpu::{device, publish};
use models::{Pair, generate, largest_difference, prompts};
use sampled::{ForHost, OnHost, sample};
use serde_json::json;

const TURBO3: KvFormat = KvFormat::Turbo(TurboType::Turbo3);

/// Logits of the trained pair go up to about 25. With weights and cache in f32 only the order of sums differs from the
/// CPU; with 8-bit weights both quantise activations, where one that falls to the other side of a rounding moves logits.
#[test]
fn logits_of_the_trained_pair_are_the_cpus() {
    let Some(device) = device() else { return };
    let pair = Pair::nano(device);
    let f32_pair = pair.in_f32();
    let cases = [
        ("f32", &f32_pair, KvFormat::F32, 0.005),
        ("f32", &f32_pair, KvFormat::F16, 0.05),
        ("q8_0", &pair, KvFormat::F16, 1.0),
    ];
    for (name, pair, kv, bound) in cases {
        let (mut gpu, mut cpu) = (pair.gpu(kv, 8), pair.cpu(8));
        let mut worst = 0.0_f32;
        for tokens in prompts() {
            gpu.truncate(0);
            cpu.truncate(0);
            for chunk in tokens.chunks(8) {
                gpu.forward(chunk, LogitRows::All).unwrap();
                cpu.forward(chunk, LogitRows::All).unwrap();
                gpu.fetch_logits().unwrap();
                for row in 0..chunk.len() {
                    worst = worst.max(largest_difference(gpu.logits(row), cpu.logits(row)));
                }
            }
        }
        println!("{name} weights, {} KV: largest logit difference from the CPU {worst:.5}", kv.name());
        assert!(worst < bound, "{name} {}: {worst}", kv.name());
    }
}

#[test]
fn logits_are_those_of_transformers() {
    let Some(device) = device() else { return };
    let device = std::sync::Arc::new(device);
    for name in ["shared-kv", "k-eq-v", "experts"] {
        let golden = models::Golden::open(name);
        let pair = Pair::golden(device.clone(), name);
        let bounds = [(KvFormat::F32, 0.01), (KvFormat::F16, 0.05)];
        // With an f16 cache a router near a tie chooses another expert.
        let bounds = if name == "experts" { &bounds[..1] } else { &bounds };
        for ((kv, bound), chunk) in bounds.iter().copied().flat_map(|kv| [70, 8, 1].map(|chunk| (kv, chunk)))
        {
            let mut target = pair.gpu(kv, chunk);
            let mut worst = 0.0_f32;
            for (start, tokens) in (0..).step_by(chunk).zip(golden.prompt.chunks(chunk)) {
                target.forward(tokens, LogitRows::All).unwrap();
                target.fetch_logits().unwrap();
                for row in 0..tokens.len() {
                    worst = worst.max(largest_difference(target.logits(row), golden.logits(start + row)));
                }
            }
            println!(
                "{name}, {} KV, {chunk} rows: largest difference from transformers {worst:.5}",
                kv.name()
            );
            assert!(worst < bound, "{name} {}, {chunk} rows: {worst}", kv.name());
        }
    }
}

/// What lossless speculation rests on: a row's bits do not depend on the rows verified beside it.
#[test]
fn verify_rows_have_the_bits_of_decode_rows() {
    let Some(device) = device() else { return };
    let device = std::sync::Arc::new(device);
    let tiny = |weights| Pair::tiny(device.clone(), &TinyPair { weights, ..TinyPair::default() });
    let pairs = [Pair::nano_on(device.clone()), tiny(GgmlType::F16), tiny(GgmlType::Q8_0)];
    for pair in &pairs {
        for kv in [KvFormat::F16, KvFormat::Bf16, KvFormat::Q8_0, TURBO3] {
            let sequence = pair.tokens(700);
            let mut alone = pair.gpu(kv, 1);
            let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let mut expected = Vec::new();
            for token in &sequence {
                alone.forward(&[*token], LogitRows::All).unwrap();
                alone.fetch_logits().unwrap();
                expected.push((bits(alone.logits(0)), bits(&alone.download_hidden().unwrap())));
            }
            let mut target = pair.gpu(kv, 12);
            let (mut first, mut rows) = (0, 1);
            while first < sequence.len() {
                let chunk = &sequence[first..(first + rows).min(sequence.len())];
                target.forward(chunk, LogitRows::All).unwrap();
                target.fetch_logits().unwrap();
                let hidden = target.download_hidden().unwrap();
                let width = hidden.len() / chunk.len();
                for row in 0..chunk.len() {
                    let got = (bits(target.logits(row)), bits(&hidden[row * width..(row + 1) * width]));
                    assert!(got == expected[first + row], "{} {} {rows} rows", pair.name, kv.name());
                }
                first += chunk.len();
                rows = rows % 12 + 1;
            }
            println!("{} {}: 700 tokens in passes of 1 to 12 rows, equal bits", pair.name, kv.name());
        }
    }
}

/// The same with a mixture of experts, whose products have the rows that chose them, and its drafts.
#[test]
fn experts_keep_the_bits_of_a_row() {
    let Some(device) = device() else { return };
    let pair = Pair::golden(std::sync::Arc::new(device), "experts");
    let sequence = pair.tokens(200);
    let mut alone = pair.gpu(KvFormat::F16, 1);
    let mut target = pair.gpu(KvFormat::F16, 12);
    let mut expected = Vec::new();
    for token in &sequence {
        alone.forward(&[*token], LogitRows::All).unwrap();
        alone.fetch_logits().unwrap();
        expected.push(alone.logits(0).to_vec());
    }
    let (mut first, mut rows) = (0, 1);
    while first < sequence.len() {
        let chunk = &sequence[first..(first + rows).min(sequence.len())];
        target.forward(chunk, LogitRows::All).unwrap();
        target.fetch_logits().unwrap();
        for row in 0..chunk.len() {
            assert!(target.logits(row) == expected[first + row], "row {row} of {rows} from {first} on");
        }
        first += chunk.len();
        rows = rows % 12 + 1;
    }
    let mut mtp = pair.mtp(&target, 4);
    let (plain, _) = generate(&mut target, None, &sequence[..60], 200, 0);
    let (tokens, totals) = generate(&mut target, Some(&mut mtp), &sequence[..60], 200, 4);
    println!("200 tokens in passes of 1 to 12 rows, equal bits; {} drafts, equal tokens", totals.drafted);
    assert_eq!(tokens, plain);
}

/// Rejected drafts leave no trace, also where the ring has wrapped and where the rollback goes beyond it.
#[test]
fn truncate_and_redo_has_the_same_bits() {
    let Some(device) = device() else { return };
    let pair = Pair::nano(device);
    let sequence = pair.tokens(640);
    let mut alone = pair.gpu(KvFormat::F16, 1);
    let mut expected = Vec::new();
    for token in &sequence {
        alone.forward(&[*token], LogitRows::All).unwrap();
        alone.fetch_logits().unwrap();
        expected.push(alone.logits(0).to_vec());
    }
    let mut target = pair.gpu(KvFormat::F16, 8);
    let mut round = 0;
    while target.len() + 8 <= sequence.len() {
        let (len, kept) = (target.len(), 1 + round * 5 % 8);
        let mut rows = sequence[len..len + 8].to_vec();
        rows[kept..].iter_mut().for_each(|token| *token = (*token + 1) % 256);
        target.forward(&rows, LogitRows::All).unwrap();
        target.fetch_logits().unwrap();
        assert!(target.logits(kept - 1) == expected[len + kept - 1], "at {len}");
        target.truncate(len + kept);
        round += 1;
    }
    // Far back, the ring has to be filled again by prefill, whose sums may be in another order.
    for len in [500, 100, 3, 0] {
        target.truncate(len);
        target.forward(&sequence[len..=len], LogitRows::All).unwrap();
        target.fetch_logits().unwrap();
        let difference = largest_difference(target.logits(0), &expected[len]);
        assert!(difference < 0.5, "back to {len}: {difference}");
    }
}

#[test]
fn greedy_tokens_are_the_cpus_for_1000_tokens() {
    let Some(device) = device() else { return };
    let pair = Pair::nano(device).in_f32();
    let (mut gpu, mut cpu) = (pair.gpu(KvFormat::F32, 1), pair.cpu(1));
    let (mut same, mut total) = (0, 0);
    for prompt in prompts() {
        let count = 340;
        let (a, _) = generate(&mut gpu, None, &prompt, count, 0);
        let (b, _) = generate(&mut cpu, None, &prompt, count, 0);
        let equal = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        println!("prompt of {}: {equal} of {count} tokens equal", prompt.len());
        (same, total) = (same + equal, total + count);
    }
    assert_eq!(same, total, "greedy tokens on GPU and CPU");
}

#[test]
fn speculation_changes_no_token() {
    let Some(device) = device() else { return };
    let pair = Pair::nano(device);
    let mut figures = Vec::new();
    for kv in [KvFormat::F16, KvFormat::Q8_0, TURBO3] {
        let mut target = pair.gpu(kv, 12);
        let mut mtp = pair.mtp(&target, 11);
        for prompt in prompts() {
            let (plain, _) = generate(&mut target, None, &prompt, 300, 0);
            for draft_max in [1, 2, 3, 4, 5, 7, 11] {
                let (tokens, totals) = generate(&mut target, Some(&mut mtp), &prompt, 300, draft_max);
                assert_eq!(tokens, plain, "{} with up to {draft_max} drafts", kv.name());
                figures.push(json!({
                    "kv": kv.name(), "prompt_tokens": prompt.len(), "draft_max": draft_max,
                    "drafted": totals.drafted, "accepted": totals.accepted, "verify_steps": totals.verify_steps,
                }));
            }
        }
    }
    let sum = |key: &str| figures.iter().map(|f| f[key].as_u64().unwrap()).sum::<u64>();
    println!(
        "{} generations equal; {} of {} drafts accepted",
        figures.len(),
        sum("accepted"),
        sum("drafted")
    );
    publish("gpu-speculation.json", &json!(figures));
}

/// Choice by choice: device and host get the same logits and numbers, so every token has to be the same; and with
/// sample-and-compare speculation changes no token of a seed.
#[test]
fn sampled_tokens_are_those_that_the_host_chooses() {
    let Some(device) = device() else { return };
    let pair = Pair::nano(device);
    let mut target = pair.gpu(KvFormat::F16, 5);
    let mut mtp = pair.mtp(&target, 4);
    let greedy = SamplingParams::greedy();
    let settings = [
        SamplingParams { temperature: 1.0, ..greedy.clone() },
        SamplingParams { temperature: 0.8, top_k: NonZeroU32::new(20), ..greedy.clone() },
        SamplingParams { temperature: 1.2, top_p: Some(0.9), min_p: Some(0.02), ..greedy },
    ];
    let rules = [
        AcceptanceRule::SampleAndCompare,
        AcceptanceRule::Rejection,
        AcceptanceRule::Synthetic(vec![0.8, 0.5, 0.5, 0.2]),
    ];
    for (seed, (params, prompt)) in
        (1_u64..).zip(settings.iter().flat_map(|s| prompts().into_iter().map(move |p| (s, p))))
    {
        let params = SamplingParams { seed, ..params.clone() };
        let plain = sample(&mut target, None, &prompt, &params, AcceptanceRule::SampleAndCompare);
        let by_host =
            sample(&mut OnHost(&mut target), None, &prompt, &params, AcceptanceRule::SampleAndCompare);
        assert_eq!(plain.0, by_host.0, "plain decoding by {params:?}");
        for rule in &rules {
            let here = sample(&mut target, Some(&mut mtp), &prompt, &params, rule.clone());
            let mut for_host = ForHost(&mut mtp);
            let there = sample(&mut OnHost(&mut target), Some(&mut for_host), &prompt, &params, rule.clone());
            assert_eq!(here, there, "{rule:?} by {params:?}");
            if *rule == AcceptanceRule::SampleAndCompare {
                assert_eq!(here.0, plain.0, "with and without speculation by {params:?}");
            }
            println!("{rule:?}, seed {seed}: {} of {} drafts accepted", here.1.accepted, here.1.drafted);
        }
    }
}

/// The seed of the project: 512 wide heads, GQA ratio 2 (the assistant's), turbo3, in a whole model.
#[test]
fn issue_dkq512_the_first_users_shapes_draft_on_a_gpu() {
    let Some(device) = device() else { return };
    let pair = Pair::tiny(std::sync::Arc::new(device), &TinyPair::default());
    let mut target = pair.gpu(TURBO3, 2);
    let mut mtp = pair.mtp(&target, 1);
    let prompt = pair.tokens(3);
    let (plain, _) = generate(&mut target, None, &prompt, 128, 0);
    let (tokens, totals) = generate(&mut target, Some(&mut mtp), &prompt, 128, 1);
    println!("routes: {:?}; {} of {} drafts accepted", target.routes(), totals.accepted, totals.drafted);
    assert_eq!(tokens, plain);
    assert!(totals.accepted > 0);
}

/// Requests of all lengths in one process: no memory is lost, nothing fails.
#[test]
fn a_thousand_requests_leak_nothing() {
    let Some(device) = device() else { return };
    let pair = Pair::nano(device);
    let mut target = pair.gpu(KvFormat::F16, 4);
    let mut mtp = pair.mtp(&target, 3);
    let (mut free, mut rng) = (Vec::new(), 1_u64);
    for request in 0..1000 {
        let mut below = |n: u64| {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((rng >> 33) % n).unwrap()
        };
        let prompt = pair.tokens(1 + below(600));
        let (tokens, _) = generate(&mut target, Some(&mut mtp), &prompt, 1 + below(24), 3);
        assert!(tokens.iter().all(|token| (*token as usize) < target.vocab_size()));
        if request % 100 == 99 {
            free.push(pair.device.memory().unwrap().0);
        }
    }
    println!("free device memory every 100 requests: {free:?}");
    assert!(free.windows(2).all(|pair| pair[1] >= pair[0]), "device memory shrinks: {free:?}");
    publish("gpu-leak.json", &json!({ "requests": 1000, "free_bytes_every_100": free }));
}

#[test]
fn too_little_memory_is_one_clear_error() {
    let Some(device) = device() else { return };
    let pair = Pair::nano(device);
    // Another process's memory, as it were: all but 8 MiB, and the weights alone are 15 MB.
    let (free, _) = pair.device.memory().unwrap();
    let _taken = pair.device.zeros::<u8>("everything", free - (8 << 20)).unwrap();
    let error = pair.try_gpu(KvFormat::F16, 1, 2048).err().unwrap();
    println!("{error}; hint: {:?}", error.hint());
    assert!(error.to_string().contains("no memory on the GPU"), "{error}");
    assert!(error.hint().is_some());
}

/// A device with kernels of which one was changed, with a cache of its own.
fn altered(
    file: &str,
    from: &str,
    to: &str,
) -> Option<(bench_engine::backend::cuda::Device, tempfile::TempDir)> {
    device()?;
    let dir = tempfile::tempdir().unwrap();
    let source = KernelSource::ALL.iter().find(|source| source.file() == file).unwrap();
    assert!(source.text().contains(from), "{file} has no `{from}`");
    std::fs::write(dir.path().join(file), source.text().replace(from, to)).unwrap();
    let cache = KernelCache::in_folder(dir.path().join("cache")).with_sources_from(dir.path().to_owned());
    Some((bench_engine::backend::cuda::Device::with_cache(0, cache).unwrap(), dir))
}

/// A tensor-core kernel that computes something else is found out, named, and replaced; the model is right.
#[test]
fn a_kernel_that_is_wrong_is_disabled_and_replaced() {
    let changed = altered("attention_mma.cu", "sum[m][half] += p0 + p1;", "sum[m][half] += 2 * p0 + p1;");
    let Some((device, _dir)) = changed else { return };
    let pair = Pair::nano(device);
    let (mut gpu, mut cpu) = (pair.gpu(KvFormat::F16, 1), pair.cpu(1));
    println!("{:#?}", gpu.routes());
    assert!(gpu.routes().iter().any(|route| route.contains("tile")), "{:?}", gpu.routes());
    assert!(gpu.routes().iter().any(|route| route.contains("disabled: relative squared error")));
    let prompt = &prompts()[0];
    gpu.forward(prompt, LogitRows::Last).unwrap();
    cpu.forward(prompt, LogitRows::Last).unwrap();
    gpu.fetch_logits().unwrap();
    assert!(largest_difference(gpu.logits(0), cpu.logits(0)) < 1.0);
}

#[test]
fn a_kernel_that_does_not_compile_is_one_clear_error() {
    let Some((device, _dir)) = altered("residual_norm.cu", "constexpr int MOST = 2;", "this is no C;") else {
        return;
    };
    let error = Pair::nano(device).try_gpu(KvFormat::F16, 1, 512).err().unwrap();
    println!("{error}; hint: {:?}", error.hint());
    assert!(error.to_string().contains("`residual_norm.cu` does not compile"), "{error}");
}

/// A kernel that dies takes the context with it: every call says so from then on, and nothing aborts. The context is the
/// process's own, so the test plays in another one.
#[test]
fn a_context_that_dies_is_one_clear_error() {
    if device().is_none() {
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_kernel_that_traps", "--nocapture"]).env("BENCH_TRAP", "1");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success() && said.contains("context is lost"), "{:?}", output.status);
}

/// The child of the test above.
#[test]
fn a_kernel_that_traps() {
    if std::env::var_os("BENCH_TRAP").is_none() {
        return;
    }
    let changed = altered("argmax.cu", "a.ids[row] = finite", "asm volatile(\"trap;\"); a.ids[row] = finite");
    let Some((device, _dir)) = changed else { return };
    let pair = Pair::tiny(std::sync::Arc::new(device), &TinyPair::default());
    let mut target = pair.gpu(KvFormat::F16, 1);
    let first = target.forward(&[2, 3], LogitRows::Last).err().unwrap();
    let second = target.forward(&[2, 3], LogitRows::Last).err().unwrap();
    println!("{first}: {:?}; hint: {:?}; then {second}", std::error::Error::source(&first), first.hint());
    assert!(first.hint().is_some_and(|hint| hint.contains("context is lost")), "{first}");
}
