//! The hot paths: what runs for each chunk, row, token, weight or resample. All input is fixed.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use bench_adapters::{fuzzing, sse::Splitter};
use bench_core::jsonl::parse_rows;
use bench_core::runner::Collector;
use bench_core::stack::{FinishReason, Readback, StreamEvent, Usage};
use bench_core::stats::{
    BootstrapConfig, LogPair, PairSample, Sample, estimate_ratio, paired_log_ratio, paired_ratio,
};
use bench_engine::backend::cpu::{
    AttentionScratch, Element, Input, Isa, Job, Pool, Q8Buffer, Queries, Weights, attend, matmul,
};
use bench_engine::gguf::GgmlType;
use bench_engine::kv_cache::{AttentionKind, KvCache, KvLimits, KvShape, KvType};
use bench_engine::quant::dequantize_row;
use bench_engine::spec::sampler::{Sampler, SamplingParams, argmax};
use bench_engine::spec::{Draft, accept};
use tokio::time::Instant;

/// One hot path.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Everything that is not counted, and then what is.
    pub(crate) prepare: fn() -> Box<dyn FnMut()>,
    pub(crate) runs_here: fn() -> bool,
}

pub(crate) const CASES: &[Case] = &[
    anywhere("sse/split_1460", || split(1460)),
    anywhere("sse/split_64", || split(64)),
    anywhere("sse/decode_llama_server", || decode(0, body().to_vec())),
    anywhere("sse/decode_vllm", || decode(3, events(VLLM))),
    anywhere("record/fold_256_tokens", fold),
    anywhere("record/parse_8_rows", parse),
    anywhere("sampler/argmax", argmax_case),
    anywhere("sampler/top_k_top_p", || distribution(&top_k_top_p())),
    anywhere("sampler/top_p", || distribution(&SamplingParams { top_k: None, ..top_k_top_p() })),
    anywhere("accept/greedy", accept_greedy),
    anywhere("accept/rejection", accept_rejection),
    anywhere("dequant/q8_0", || dequant(GgmlType::Q8_0)),
    anywhere("dequant/q4_0", || dequant(GgmlType::Q4_0)),
    anywhere("dequant/q4_k", || dequant(GgmlType::Q4K)),
    anywhere("dequant/q6_k", || dequant(GgmlType::Q6K)),
    anywhere("dot/scalar_f16_m1", || dot(Isa::scalar(), Element::F16, 1)),
    anywhere("dot/scalar_q8_0_m4", || dot(Isa::scalar(), Element::Q8_0, 4)),
    avx2("dot/avx2_f32_m1", || dot(Isa::detect(), Element::F32, 1)),
    avx2("dot/avx2_f16_m1", || dot(Isa::detect(), Element::F16, 1)),
    avx2("dot/avx2_f16_m4", || dot(Isa::detect(), Element::F16, 4)),
    avx2("dot/avx2_bf16_m4", || dot(Isa::detect(), Element::Bf16, 4)),
    avx2("dot/avx2_q8_0_m1", || dot(Isa::detect(), Element::Q8_0, 1)),
    avx2("dot/avx2_q8_0_m4", || dot(Isa::detect(), Element::Q8_0, 4)),
    anywhere("attention/scalar_f16", || attention(Isa::scalar(), KvType::F16)),
    avx2("attention/avx2_f16", || attention(Isa::detect(), KvType::F16)),
    avx2("attention/avx2_q8_0", || attention(Isa::detect(), KvType::Q8_0)),
    anywhere("aggregate/ratio_of_sums_1k", aggregate_ratio),
    anywhere("aggregate/paired_1k", aggregate_paired),
    anywhere("aggregate/log_ratio_1k", aggregate_logs),
];

const fn anywhere(name: &'static str, prepare: fn() -> Box<dyn FnMut()>) -> Case {
    Case { name, prepare, runs_here: || true }
}

const fn avx2(name: &'static str, prepare: fn() -> Box<dyn FnMut()>) -> Case {
    Case { name, prepare, runs_here: || Isa::detect().name() != Isa::scalar().name() }
}

/// A result that the compiler may not drop.
fn keep<T>(result: T) {
    black_box(result);
}

const CAPTURE: &str = include_str!("../../tests/fixtures/llama-server/completion_stream_timings.txt");

const VLLM: &str = include_str!("../../tests/fixtures/vllm/chat-stream-contusage.txt");

fn body() -> &'static [u8] {
    CAPTURE.split_once("\n\n").map_or(CAPTURE, |(_, body)| body).as_bytes()
}

/// The events of a capture whose lines begin with when they came.
fn events(capture: &str) -> Vec<u8> {
    let data = capture.lines().filter_map(|line| line.split_once('\t'));
    data.flat_map(|(_, event)| [event, "\n\n"].concat().into_bytes()).collect()
}

fn split(piece: usize) -> Box<dyn FnMut()> {
    Box::new(move || {
        let (mut splitter, mut events) = (Splitter::default(), 0);
        for bytes in body().chunks(piece) {
            splitter.push(bytes, |_| events += 1).expect("a real capture");
        }
        black_box(events);
    })
}

/// `dialect` picks whose events they are.
fn decode(dialect: u8, body: Vec<u8>) -> Box<dyn FnMut()> {
    let (read, error) = fuzzing::read(dialect, body.chunks(1460));
    assert!(error.is_none() && read.len() > 8, "a real capture ends well: {error:?}, {} events", read.len());
    Box::new(move || keep(fuzzing::read(dialect, body.chunks(1460))))
}

fn fold() -> Box<dyn FnMut()> {
    const TOKENS: u32 = 256;
    let sent = Instant::now();
    let at = move |index: u32| sent + Duration::from_micros(u64::from(index) * 100);
    let chunk = move |index| StreamEvent::Tokens {
        at: at(index),
        count: Some(1),
        text: "word".to_owned(),
        token_ids: Some(vec![index]),
    };
    let finish = StreamEvent::Finished {
        readback: Readback::default(),
        split: Box::new(bench_core::thinking::Split::untold()),
        at: at(TOKENS),
        reason: FinishReason::Length,
        usage: Usage { prompt_tokens: Some(32), cached_tokens: Some(0), output_tokens: Some(TOKENS) },
        spec: None,
        stack_timings: None,
    };
    let mut events: Vec<_> = (0..TOKENS).map(chunk).chain([finish]).collect();
    Box::new(move || {
        let mut collector = Collector::new(sent, TOKENS);
        for event in events.drain(..) {
            assert!(collector.push(event).is_ok(), "stamps rise");
        }
        keep(collector.finish(sent));
    })
}

fn parse() -> Box<dyn FnMut()> {
    let row = bench_core::testing::record("native/none", 0, 0);
    let line = serde_json::to_string(&row).expect("a row is JSON") + "\n";
    let bytes = line.repeat(8).into_bytes();
    Box::new(move || keep(parse_rows(&bytes).expect("rows")))
}

/// Fixed numbers in -1..1 (a xorshift).
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Of a small vocabulary: the paths are those of a large one.
fn logits(seed: u64) -> Vec<f32> {
    noise(32_768, seed).into_iter().map(|value| value * 8.0).collect()
}

fn top_k_top_p() -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        top_k: NonZeroU32::new(64),
        top_p: Some(0.95),
        ..SamplingParams::greedy()
    }
}

fn argmax_case() -> Box<dyn FnMut()> {
    let logits = logits(1);
    Box::new(move || keep(argmax(black_box(&logits))))
}

fn distribution(params: &SamplingParams) -> Box<dyn FnMut()> {
    let mut sampler = Sampler::new(params).expect("valid parameters");
    let (logits, mut probs) = (logits(2), Vec::new());
    Box::new(move || {
        sampler.distribution(&logits, &mut probs).expect("finite logits");
        keep(sampler.draw(&probs));
    })
}

fn accept_greedy() -> Box<dyn FnMut()> {
    let rows: Vec<_> = (0..4).map(logits).collect();
    let drafts: Vec<u32> = rows[..3].iter().map(|row| argmax(row).expect("finite")).collect();
    Box::new(move || keep(accept::greedy(&drafts, |row| argmax(&rows[row]))))
}

fn accept_rejection() -> Box<dyn FnMut()> {
    let mut sampler = Sampler::new(&top_k_top_p()).expect("valid parameters");
    let (row, mut q, mut probs) = (logits(3), Vec::new(), Vec::new());
    sampler.distribution(&row, &mut q).expect("finite logits");
    let draft = Draft { tokens: vec![argmax(&row).expect("finite")], probs: vec![q], held: false };
    Box::new(move || keep(accept::rejection(&draft, |_| &row, &mut sampler, &mut probs)))
}

fn dequant(ty: GgmlType) -> Box<dyn FnMut()> {
    const VALUES: usize = 8192;
    let blocks = VALUES / usize::try_from(ty.block_len()).expect("a small number");
    let bytes = vec![1; blocks * usize::try_from(ty.block_bytes()).expect("a small number")];
    let mut out = vec![0.0; VALUES];
    Box::new(move || dequantize_row(ty, black_box(&bytes), &mut out).expect("a type that is read"))
}

/// 64 rows of 1024 weights times `m` rows of activations, on the calling thread.
fn dot(isa: Isa, element: Element, m: usize) -> Box<dyn FnMut()> {
    const ROWS: usize = 64;
    const COLS: usize = 1024;
    let bytes = vec![0_u8; ROWS * element.row_bytes(COLS)];
    let (x, mut out) = (noise(m * COLS, 4), vec![0.0; m * ROWS]);
    let mut pool = Pool::new(1).expect("one thread is the caller");
    let mut buffer = Q8Buffer::with_capacity(x.len());
    Box::new(move || {
        let input = Input::new(isa, &x, m, element == Element::Q8_0, &mut buffer);
        let weights = Weights::new(&bytes, element, ROWS, COLS);
        matmul(isa, &mut pool, input, &mut [Job { weights, out: black_box(&mut out) }]);
    })
}

/// Two rows of a verify step over 128 cached positions.
fn attention(isa: Isa, kv_type: KvType) -> Box<dyn FnMut()> {
    const CACHED: usize = 128;
    const HEADS: usize = 4;
    let shape = KvShape { kind: AttentionKind::Full, kv_heads: 1, head_dim: 128 };
    let limits = KvLimits { context_tokens: CACHED, window: CACHED, max_rows: 2 };
    let mut cache = KvCache::new(&[Some(shape)], kv_type, limits).expect("a small cache");
    let (k, v) = (noise(CACHED * shape.head_dim, 5), noise(CACHED * shape.head_dim, 6));
    cache.layer_mut(0).expect("one layer").write(isa, 0, &k, &v);
    cache.advance(CACHED);
    let values = noise(2 * HEADS * shape.head_dim, 7);
    let visible = [0..CACHED - 1, 0..CACHED];
    let mut out = vec![0.0; values.len()];
    let scratch = AttentionScratch::new(1, CACHED, shape.head_dim);
    let mut pool = Pool::new(1).expect("one thread is the caller");
    Box::new(move || {
        let queries = Queries { values: &values, heads: HEADS, tree: None, visible: &visible };
        let layer = cache.layer(0).expect("one layer");
        attend(isa, &mut pool, layer, queries, &scratch, black_box(&mut out));
    })
}

const CONFIG: BootstrapConfig = BootstrapConfig { resamples: 1000, confidence: 0.95, seed: 1 };

/// Ten blocks of ten prompts.
fn cells() -> impl Iterator<Item = (u32, u32, f64)> {
    let cell = |n: u32| (n / 10, n % 10, 1.0 + f64::from(n * 7 % 11) / 50.0);
    (0..100).map(cell)
}

fn aggregate_ratio() -> Box<dyn FnMut()> {
    let sample = |(block, prompt, value)| Sample { block, prompt, numerator: 95.0, denominator: value };
    let samples: Vec<_> = cells().map(sample).collect();
    Box::new(move || keep(estimate_ratio(&samples, &CONFIG)))
}

fn aggregate_paired() -> Box<dyn FnMut()> {
    let pair = |(block, prompt, value)| PairSample {
        block,
        prompt,
        a_num: 95.0,
        a_den: value,
        b_num: 95.0,
        b_den: 0.8 * value,
    };
    let pairs: Vec<_> = cells().map(pair).collect();
    Box::new(move || keep(paired_ratio(&pairs, &CONFIG)))
}

fn aggregate_logs() -> Box<dyn FnMut()> {
    let pair = |(block, prompt, value): (u32, u32, f64)| LogPair { block, prompt, log_ratio: value.ln() };
    let pairs: Vec<_> = cells().map(pair).collect();
    Box::new(move || keep(paired_log_ratio(&pairs, &CONFIG)))
}
