//! What a KV type costs in quality, on the trained pair: KL divergence of the next token from that with an f16 cache,
//! greedy agreement, and acceptance of the assistant's drafts.

use bench_engine::attention::KvFormat;
use bench_engine::kv_cache::turbo::TurboType;
use bench_engine::spec::{LogitRows, Target};
use serde_json::json;

use crate::gpu::{device, publish};
use crate::models::{Pair, argmax, generate, prompts};

const KV: [KvFormat; 7] = [
    KvFormat::F16,
    KvFormat::Bf16,
    KvFormat::Q8_0,
    KvFormat::Turbo(TurboType::Turbo4),
    KvFormat::Turbo(TurboType::Turbo4Atomic),
    KvFormat::Turbo(TurboType::Turbo3),
    KvFormat::Turbo(TurboType::Turbo2),
];

/// Tokens generated after each prompt; the text is the f16 cache's own.
const TOKENS: usize = 300;

/// Natural logarithms of probabilities.
fn log_probs(logits: &[f32]) -> Vec<f64> {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|x| (f64::from(*x) - most).exp()).sum();
    logits.iter().map(|x| f64::from(*x) - most - sum.ln()).collect()
}

#[test]
fn kv_types_cost_little_quality() {
    let Some(device) = device() else { return };
    let pair = Pair::nano(device);
    let mut target = pair.gpu(KvFormat::F16, 8);
    let texts: Vec<(usize, Vec<u32>)> = prompts()
        .into_iter()
        .map(|prompt| {
            let (output, _) = generate(&mut target, None, &prompt, TOKENS, 0);
            (prompt.len(), [prompt, output].concat())
        })
        .collect();
    let logits_of = |kv: KvFormat| {
        let mut target = pair.gpu(kv, 8);
        let mut rows = Vec::new();
        for (prompt, text) in &texts {
            target.truncate(0);
            target.forward(&text[..*prompt], LogitRows::Last).unwrap();
            for chunk in text[*prompt..].chunks(8) {
                target.forward(chunk, LogitRows::All).unwrap();
                target.fetch_logits().unwrap();
                rows.extend((0..chunk.len()).map(|row| target.logits(row).to_vec()));
            }
        }
        rows
    };
    let reference = logits_of(KvFormat::F16);
    let mut figures = Vec::new();
    for kv in KV {
        let rows = logits_of(kv);
        let (mut divergence, mut same) = (0.0, 0);
        for (p, q) in reference.iter().zip(&rows) {
            let (p_log, q_log) = (log_probs(p), log_probs(q));
            divergence += p_log.iter().zip(&q_log).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            same += usize::from(argmax(p) == argmax(q));
        }
        let mut target = pair.gpu(kv, 8);
        let mut mtp = pair.mtp(&target, 3);
        let (mut drafted, mut accepted, mut steps) = (0, 0, 0);
        for prompt in prompts() {
            let (_, totals) = generate(&mut target, Some(&mut mtp), &prompt, TOKENS, 3);
            drafted += totals.drafted;
            accepted += totals.accepted;
            steps += totals.verify_steps;
        }
        let kl = divergence / rows.len() as f64;
        println!(
            "{:14} KL {kl:.2e} nat, greedy {same} of {}, accepted {accepted} of {drafted} in {steps} steps",
            kv.name(),
            rows.len()
        );
        // The coarsest, 2 bits, was measured at a tenth of this.
        assert!(kl < 0.5 && same * 10 >= rows.len() * 7, "{}: KL {kl}, {same} equal", kv.name());
        figures.push(json!({
            "kv": kv.name(), "positions": rows.len(), "kl_nat": kl, "greedy_equal": same,
            "drafted": drafted, "accepted": accepted, "verify_steps": steps,
        }));
    }
    publish("gpu-kv-quality.json", &json!({ "model": "nano q8_0", "draft_max": 3, "kv_types": figures }));
}
