//! Target and assistant against a plain f64 reference, and the invariants that speculative decoding rests on.

#![expect(clippy::cast_possible_truncation, reason = "small numbers of small models")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod reference;
#[path = "forward/tree.rs"]
mod tree;

use std::sync::Arc;

use bench_engine::EngineError;
use bench_engine::gguf::{GgmlType, Gguf, Value};
use bench_engine::kv_cache::{KvType, KvTypes};
use bench_engine::model::{Assistant, CpuTarget, DraftHead, DraftPosition, LoadOptions, MtpProposer};
use bench_engine::spec::{Draft, DraftRequest, LogitRows, Proposer, Target};
use reference::pair::{CENTROIDS, EVERYTHING, Experts, File, Pair, VOCAB, successor};
use reference::{Reference, Run};

const OPTIONS: LoadOptions =
    LoadOptions { context_tokens: 400, kv_type: KvTypes::same(KvType::F32), threads: 1, max_verify_rows: 48 };

/// One of each thing that a shape can have.
const PAIRS: [Pair; 7] = [
    EVERYTHING,
    Pair { ple: 0, k_eq_v: true, shared: 0, kv_heads: [4, 1], ..EVERYTHING },
    Pair { kv_heads: [2, 2], periods: 3, shared: 6, window: 5, ..EVERYTHING },
    Pair { kv_heads: [1, 2], centroids: true, periods: 1, shared: 0, ..EVERYTHING },
    Pair { k_eq_v: true, window: 100, ..EVERYTHING },
    Pair { experts: Some(Experts::Fused), ple: 0, k_eq_v: true, shared: 0, ..EVERYTHING },
    Pair { experts: Some(Experts::Apart), kv_heads: [2, 2], ..EVERYTHING },
];

fn write(file: &File) -> Arc<Gguf> {
    let dir = tempfile::tempdir().unwrap();
    file.write(&dir.path().join("model.gguf"))
}

fn load(pair: Pair, options: LoadOptions) -> CpuTarget {
    CpuTarget::load(write(&pair.target()), &options).unwrap()
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * i * 7 + i * 3 + 2) % VOCAB) as u32).collect()
}

fn distance(expected: &[f64], got: &[f32]) -> f64 {
    assert_eq!(expected.len(), got.len());
    expected.iter().zip(got).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max)
}

/// Largest error of any logit and of any hidden value over a prompt longer than the window.
fn errors(pair: Pair, kv_type: KvType, threads: usize) -> (f64, f64) {
    let file = write(&pair.target());
    let prompt = tokens(40);
    let run = Reference::new(&file, "gemma4").run(&prompt);
    let mut target =
        CpuTarget::load(file, &LoadOptions { kv_type: kv_type.into(), threads, ..OPTIONS }).unwrap();
    target.forward(&prompt, LogitRows::All).unwrap();
    let logits = run.logits.iter().enumerate().map(|(i, row)| distance(row, target.logits(i)));
    let hidden = run.hidden.iter().enumerate().map(|(i, row)| distance(row, target.hidden(i)));
    (logits.fold(0.0, f64::max), hidden.fold(0.0, f64::max))
}

/// Logits and hidden values go up to about 4. Bounds are two to three times what was measured, at the worst shape; the
/// quantised ones are large because every sum here has only 64 terms. They leave out the mixtures: a row whose router is near
/// a tie then goes to another expert, which is no error and has no bound.
#[test]
fn logits_and_hidden_rows_match_the_reference() {
    let mut worst = Vec::new();
    for (ty, kv_type, bound) in [
        (GgmlType::F32, KvType::F32, 2e-5),
        (GgmlType::F16, KvType::F32, 2e-5),
        (GgmlType::Bf16, KvType::F32, 2e-5),
        (GgmlType::F16, KvType::F16, 1e-2),
        (GgmlType::F16, KvType::Q8_0, 0.5),
        (GgmlType::Q8_0, KvType::F32, 0.8),
    ] {
        let mut max = 0.0_f64;
        for pair in PAIRS.into_iter().filter(|pair| bound < 1e-3 || pair.experts.is_none()) {
            let (logits, hidden) = errors(Pair { ty, ..pair }, kv_type, 1);
            max = max.max(logits).max(hidden);
        }
        println!("{ty:?} weights, {kv_type:?} cache: {max:.2e}");
        worst.push((ty, kv_type, max, bound));
    }
    for (ty, kv_type, max, bound) in worst {
        assert!(max <= bound, "{ty:?} weights, {kv_type:?} cache: {max} > {bound}");
    }
}

/// The reference's next draft state and its logits; centroid candidates by a full sort.
fn reference_step(
    pair: Pair,
    [assistant, target]: [&Reference<'_>; 2],
    run: &Run,
    token: u32,
    hidden: &[f64],
    position: usize,
) -> (Vec<f64>, Vec<f64>) {
    let (next, y, mut logits) = assistant.draft(target, run, token, hidden, position);
    if pair.centroids {
        let centroids = assistant.rows("masked_embd_centroids.weight");
        let score = |c: &usize| centroids[*c].iter().zip(&y).map(|(a, b)| a * b).sum::<f64>();
        let mut ranking: Vec<usize> = (0..CENTROIDS).collect();
        ranking.sort_by(|a, b| score(b).total_cmp(&score(a)));
        let width = VOCAB / CENTROIDS;
        for c in &ranking[32..] {
            for i in c * width..(c + 1) * width {
                logits[(i * 35 + 7) % VOCAB] = f64::NEG_INFINITY;
            }
        }
    }
    (next, logits)
}

#[test]
fn draft_steps_match_the_reference() {
    for pair in PAIRS {
        for position in [DraftPosition::AtN, DraftPosition::NMinus1, DraftPosition::Increasing] {
            let (file, assistant_file) = (write(&pair.target()), write(&pair.assistant()));
            let prompt = tokens(30);
            let references =
                [Reference::new(&assistant_file, "gemma4-assistant"), Reference::new(&file, "gemma4")];
            let run = references[1].run(&prompt);
            let mut target = CpuTarget::load(Arc::clone(&file), &OPTIONS).unwrap();
            target.forward(&prompt, LogitRows::Last).unwrap();
            let mut assistant = Assistant::load(&assistant_file, &target, DraftHead::Auto).unwrap();
            assert_eq!(assistant.has_centroids(), pair.centroids);
            let mut hidden = target.hidden(0).to_vec();
            let mut expected_hidden = run.hidden[29].clone();
            let (mut next, mut logits) = (vec![0.0; hidden.len()], vec![0.0; VOCAB]);
            for (step, token) in [5, 17, 90].into_iter().enumerate() {
                let p = position.of(30, step);
                assistant.step(&mut target, token, &hidden, p, &mut next, &mut logits).unwrap();
                let pairs = [&references[0], &references[1]];
                let (h, l) = reference_step(pair, pairs, &run, token, &expected_hidden, p);
                for (id, (expected, got)) in l.iter().zip(&logits).enumerate() {
                    let close = (expected - f64::from(*got)).abs() < 1e-4;
                    let both_impossible = *expected == f64::NEG_INFINITY && *got == f32::NEG_INFINITY;
                    assert!(close || both_impossible, "{pair:?} {position:?} {step} {id}: {expected} {got}");
                }
                assert!(distance(&h, &next) < 1e-4);
                (hidden, expected_hidden) = (next.clone(), h);
            }
            assert_eq!(target.len(), 30, "a step writes nothing into the target");
        }
    }
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|v| v.to_bits()).collect()
}

/// Logits and hidden state of every token, decoded one at a time.
fn decoded(pair: Pair, options: LoadOptions, sequence: &[u32]) -> Vec<(Vec<u32>, Vec<u32>)> {
    let mut target = load(pair, options);
    let one = |token: &u32| {
        target.forward(&[*token], LogitRows::All).unwrap();
        (bits(target.logits(0)), bits(target.hidden(0)))
    };
    sequence.iter().map(one).collect()
}

#[test]
fn verify_rows_have_the_bits_of_decode_rows() {
    for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Q8_0] {
        for kv_type in [KvType::F32, KvType::F16, KvType::Q8_0] {
            for pair in [EVERYTHING, PAIRS[1], PAIRS[5], PAIRS[6]] {
                let (pair, options) =
                    (Pair { ty, ..pair }, LoadOptions { kv_type: kv_type.into(), ..OPTIONS });
                let sequence = tokens(60);
                let alone = decoded(pair, options, &sequence);
                for threads in [1, 2] {
                    let mut target = load(pair, LoadOptions { threads, ..options });
                    let (mut first, mut rows) = (0, 1);
                    while first < sequence.len() {
                        let chunk = &sequence[first..(first + rows).min(sequence.len())];
                        target.forward(chunk, LogitRows::All).unwrap();
                        for row in 0..chunk.len() {
                            let got = (bits(target.logits(row)), bits(target.hidden(row)));
                            assert!(
                                got == alone[first + row],
                                "{pair:?} {kv_type:?} {threads} threads, {rows} rows"
                            );
                        }
                        first += chunk.len();
                        rows = rows % 9 + 1;
                    }
                }
            }
        }
    }
}

/// Prefill works in chunks and skips layers for rows that nobody wants; the last row must not notice.
#[test]
fn prefill_has_the_bits_of_decoding() {
    for pair in PAIRS {
        let sequence = tokens(300);
        let alone = decoded(pair, OPTIONS, &sequence);
        let mut target = load(pair, OPTIONS);
        target.forward(&sequence[..299], LogitRows::Last).unwrap();
        assert_eq!((bits(target.logits(0)), bits(target.hidden(0))), alone[298], "{pair:?}");
        target.forward(&sequence[299..], LogitRows::Last).unwrap();
        assert_eq!((bits(target.logits(0)), bits(target.hidden(0))), alone[299], "{pair:?}");
    }
}

/// Rejected drafts leave no trace, also where the ring has wrapped and where the rollback goes beyond it.
#[test]
fn truncate_and_redo_has_the_same_bits() {
    let sequence = tokens(320);
    for (pair, kv_type) in [
        (EVERYTHING, KvType::F16),
        (PAIRS[2], KvType::Q8_0),
        (PAIRS[1], KvType::F32),
        (Pair { ty: GgmlType::Q8_0, ..PAIRS[5] }, KvType::F16),
        (PAIRS[6], KvType::F32),
    ] {
        let options = LoadOptions { kv_type: kv_type.into(), max_verify_rows: 8, ..OPTIONS };
        let alone = decoded(pair, options, &sequence);
        let mut target = load(pair, options);
        target.forward(&sequence[..10], LogitRows::Last).unwrap();
        let mut round = 0;
        while target.len() + 8 <= sequence.len() {
            let (len, kept) = (target.len(), 1 + round * 5 % 8);
            let mut rows = sequence[len..len + 8].to_vec();
            rows[kept..].iter_mut().for_each(|token| *token = (*token + 1) % VOCAB as u32);
            target.forward(&rows, LogitRows::All).unwrap();
            assert_eq!(bits(target.logits(kept - 1)), alone[len + kept - 1].0, "{pair:?} at {len}");
            target.truncate(len + kept);
            round += 1;
        }
        for len in [250, 100, 3, 0] {
            target.truncate(len);
            assert_eq!(target.len(), len);
            target.forward(&sequence[len..=len], LogitRows::All).unwrap();
            assert_eq!(bits(target.logits(0)), alone[len].0, "{pair:?} back to {len}");
        }
    }
}

fn argmax(row: &[f32]) -> u32 {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u32
}

/// A rule planted in the embeddings comes out at the end, and the assistant drafts by it.
#[test]
fn a_planted_rule_is_followed_for_200_tokens() {
    for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Bf16, GgmlType::Q8_0] {
        let pair = Pair { ty, planted: true, ..EVERYTHING };
        let mut target = load(pair, OPTIONS);
        let assistant = Assistant::load(&write(&pair.assistant()), &target, DraftHead::Auto).unwrap();
        let mut proposer = MtpProposer::new(assistant, DraftPosition::AtN);
        let mut sequence = vec![2];
        let mut draft = Draft::default();
        while sequence.len() <= 200 {
            let last = sequence[sequence.len() - 1];
            target.forward(&[last], LogitRows::Last).unwrap();
            let next = argmax(target.logits(0));
            assert_eq!(next, successor(last), "{ty:?} at {}", sequence.len());
            sequence.push(next);
            let request = DraftRequest { tokens: &sequence, hidden_row: 0, max: 3, sampler: None };
            proposer.propose(&mut target, request, &mut draft).unwrap();
            let rule: Vec<u32> =
                std::iter::successors(Some(successor(next)), |t| Some(successor(*t))).take(3).collect();
            assert_eq!(draft.tokens, rule, "{ty:?} at {}", sequence.len());
            assert!(draft.probs.is_empty());
        }
    }
}

fn refusal(target: &File) -> String {
    message(&CpuTarget::load(write(target), &OPTIONS).unwrap_err())
}

fn message(error: &EngineError) -> String {
    error.hint().map_or_else(|| error.to_string(), |hint| format!("{error}\nhint: {hint}"))
}

fn set(file: &mut File, key: &str, value: Value) {
    file.keys.iter_mut().find(|(k, _)| k == key).unwrap().1 = value;
}

#[test]
fn targets_that_cannot_run_are_refused_by_name() {
    let says = |change: &dyn Fn(&mut File), parts: &[&str]| {
        let mut file = EVERYTHING.target();
        change(&mut file);
        let said = refusal(&file);
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    says(
        &|f| set(f, "general.architecture", Value::str("llama")),
        &["general.architecture", "llama", "gemma4"],
    );
    says(&|f| set(f, "general.architecture", Value::str("gemma4_assistant")), &["old layout"]);
    says(&|f| f.tensors.retain(|t| t.0 != "blk.1.attn_k.weight"), &["blk.1.attn_k.weight", "nothing"]);
    says(&|f| f.tensors.retain(|t| t.0 != "blk.0.attn_v.weight"), &["blk.0.attn_v.weight", "nothing"]);
    says(&|f| set(f, "gemma4.attention.head_count", Value::u32(3)), &["head_count_kv", "divisor of the 3"]);
    says(&|f| set(f, "gemma4.feed_forward_length", Value::u32(64)), &["ffn_gate", "[64, 96]", "[64, 64]"]);
    says(
        &|f| set(f, "gemma4.attention.shared_kv_layers", Value::u32(6)),
        &["shared_kv_layers", "less than 6"],
    );
    says(&|f| set(f, "gemma4.attention.value_length", Value::u32(8)), &["value_length", "64"]);
    says(&|f| f.keys.push(("gemma4.expert_count".to_owned(), Value::u32(8))), &["gemma4.expert_used_count"]);
    let experts = |used: u32| {
        move |f: &mut File| {
            for (key, value) in [("count", 8), ("used_count", used), ("feed_forward_length", 32)] {
                f.keys.push((format!("gemma4.expert_{key}"), Value::u32(value)));
            }
        }
    };
    says(&experts(9), &["expert_used_count", "9", "1 to 8"]);
    says(&experts(2), &["ffn_gate_exps.weight", "nothing", "[64, 32, 8]"]);
    let q4 = |f: &mut File| {
        let tensor = f.tensors.iter_mut().find(|t| t.0 == "blk.2.ffn_up.weight").unwrap();
        (tensor.2, tensor.3) = (GgmlType::Q4_0, vec![0; 96 * 2 * 18]);
    };
    says(&q4, &["blk.2.ffn_up.weight", "Q4_0", "F32, F16, BF16 or Q8_0"]);
}

#[test]
fn assistants_of_another_target_are_refused() {
    let target = load(EVERYTHING, OPTIONS);
    let says = |assistant: &File, parts: &[&str]| {
        let said = message(&Assistant::load(&write(assistant), &target, DraftHead::Auto).unwrap_err());
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    says(&EVERYTHING.target(), &["general.architecture", "gemma4-assistant"]);
    says(
        &Pair { kv_heads: [4, 1], ..EVERYTHING }.assistant(),
        &["head_count_kv", "4", "the target's 2", "another target"],
    );
    says(&Pair { window: 7, ..EVERYTHING }.assistant(), &["sliding_window", "7", "12"]);
    let mut wider = EVERYTHING.assistant();
    set(&mut wider, "gemma4-assistant.embedding_length_out", Value::u32(128));
    says(&wider, &["embedding_length_out", "128", "64"]);
    let mut unscaled = EVERYTHING.assistant();
    unscaled.tensors.retain(|t| t.0 != "blk.3.layer_output_scale.weight");
    says(&unscaled, &["blk.3.layer_output_scale.weight", "nothing"]);
    let mut disordered = Pair { centroids: true, ..EVERYTHING }.assistant();
    disordered.tensors.iter_mut().find(|t| t.0 == "masked_embd_ordering").unwrap().3.fill(0);
    says(&disordered, &["masked_embd_ordering", "every token id once"]);
}

#[test]
fn requests_out_of_bounds_append_nothing() {
    let mut target = load(EVERYTHING, OPTIONS);
    target.forward(&[1, 2, 3], LogitRows::All).unwrap();
    let full = target.forward(&vec![1; 398], LogitRows::Last).unwrap_err();
    assert!(matches!(full, EngineError::ContextFull { needed: 401, capacity: 400 }));
    assert!(matches!(target.forward(&[96], LogitRows::Last), Err(EngineError::UnknownToken { id: 96, .. })));
    assert!(matches!(target.forward(&[], LogitRows::Last), Err(EngineError::InvalidArgument { .. })));
    assert!(matches!(target.forward(&[1; 49], LogitRows::All), Err(EngineError::InvalidArgument { .. })));
    assert_eq!(target.len(), 3);
    let mut assistant = Assistant::load(&write(&EVERYTHING.assistant()), &target, DraftHead::Auto).unwrap();
    target.truncate(0);
    let step = assistant.step(&mut target, 1, &[0.0; 64], 0, &mut [0.0; 64], &mut [0.0; VOCAB]);
    assert!(matches!(step, Err(EngineError::InvalidArgument { what: "target", .. })));
    let huge = LoadOptions { context_tokens: 1 << 40, ..OPTIONS };
    let refused = CpuTarget::load(write(&EVERYTHING.target()), &huge).unwrap_err();
    assert!(refused.to_string().contains("context_tokens"), "{refused}");
}
