//! What KV types cost in quality on the bundled trained pair, on the CPU: an f16 cache costs nothing against itself, coarser
//! types cost more, and the figures are those of the raw logits.

#![expect(clippy::unwrap_used, reason = "a test's set-up")]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;

use bench_engine::kv_cache::turbo::TurboType;
use bench_engine::kv_cache::{KvType, KvTypes};
use bench_engine::model::DraftHead;
use bench_engine::session::kv_quality::{KvQuality, KvQualityPlan, measure};
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::spec::divergence::Divergence;
use bench_engine::spec::generation::GenerateParams;
use bench_engine::spec::sampler::SamplingParams;
use bench_engine::{DeviceChoice, Engine, EngineConfig, Speculation};

const QUESTIONS: [&str; 2] = [
    "Write a Python function that limits a value to the range from low to high.",
    "Please write a little story about a fisherman called Jonas.",
];

fn config(kv_type: impl Into<KvTypes>, speculation: Speculation) -> EngineConfig {
    let file = |part: &str| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join(format!("../presets/models/nano/nano-{part}-q8_0.gguf"))
    };
    EngineConfig {
        target: file("target"),
        assistant: Some(file("assistant")),
        context_tokens: 512,
        kv_type: kv_type.into(),
        threads: NonZeroUsize::MIN,
        device: DeviceChoice::Cpu,
        ple_table: bench_engine::model::PleTable::Auto,
        speculation,
    }
}

fn mtp() -> Speculation {
    Speculation::Mtp {
        draft_max: NonZeroUsize::new(3).unwrap(),
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head: DraftHead::Auto,
    }
}

fn ngram() -> Speculation {
    let n = |n| NonZeroUsize::new(n).unwrap();
    Speculation::Ngram { draft_max: n(3), ngram_min: n(1), ngram_max: n(4) }
}

fn prompts() -> Vec<Vec<u32>> {
    let engine = Engine::load(&config(KvType::F16, Speculation::None)).unwrap();
    QUESTIONS.iter().map(|question| engine.encode_chat(None, question).unwrap()).collect()
}

fn plan(prompts: &[Vec<u32>], positions: usize) -> KvQualityPlan<'_> {
    KvQualityPlan { prompts, answer_tokens: 48, positions, ignore_eos: true, divergence: true }
}

fn measured(kv_type: KvType, speculation: Speculation, plan: &KvQualityPlan<'_>) -> KvQuality {
    let config = config(kv_type, speculation);
    measure(&config, plan, &mut || ControlFlow::Continue(())).unwrap().unwrap()
}

fn mean_kl(divergences: &[Divergence]) -> f64 {
    divergences.iter().map(|at| at.kl_nats).sum::<f64>() / divergences.len() as f64
}

#[test]
fn f16_against_itself_is_exactly_nothing() {
    let prompts = prompts();
    let found = measured(KvType::F16, mtp(), &plan(&prompts, 60));
    assert_eq!(found.divergences.len(), 60, "the second answer is cut at the limit");
    for at in &found.divergences {
        assert!(at.kl_nats.abs() <= 0.0 && at.same_top1, "{at:?}");
        assert_eq!(at.reference_nll_nats.to_bits(), at.candidate_nll_nats.to_bits());
    }
    let [candidate, reference] = found.acceptance.unwrap();
    assert_eq!(candidate, reference);
    assert!(candidate.accepted > 0 && candidate.verify_steps > 0);
}

#[test]
fn coarser_types_cost_more() {
    let prompts = prompts();
    let types = [
        KvType::F16,
        KvType::Q8_0,
        KvType::Turbo(TurboType::Turbo4),
        KvType::Turbo(TurboType::Turbo3),
        KvType::Turbo(TurboType::Turbo2),
    ];
    let mut kl = Vec::new();
    for kv_type in types {
        let found = measured(kv_type, Speculation::None, &plan(&prompts, 96)).divergences;
        let same = found.iter().filter(|at| at.same_top1).count();
        println!("{:7} KL {:.3e} nats, top-1 {same} of {}", kv_type.name(), mean_kl(&found), found.len());
        // The figures were some percent of these: the model still says much the same.
        assert!(same * 2 > found.len(), "{}: {same}", kv_type.name());
        kl.push(mean_kl(&found));
    }
    assert!(kl[1] < 0.01, "q8_0: {}", kl[1]);
    assert!(kl.is_sorted_by(|a, b| a < b), "{kl:?}");
}

/// Walks of our own over the same answer, and the definitions word by word.
#[test]
fn figures_are_those_of_the_raw_logits() {
    let prompts = prompts();
    let kv_type = KvType::Turbo(TurboType::Turbo3);
    let found = measured(kv_type, Speculation::None, &plan(&prompts[..1], 20)).divergences;
    let rows = |kv_type: KvType, given: Option<&[u32]>| {
        let mut engine = Engine::load(&config(kv_type, Speculation::None)).unwrap();
        let (mut rows, mut text) = (Vec::new(), Vec::new());
        engine
            .walk(&prompts[0], &mut |row| {
                let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
                text.push(given.map_or(u32::try_from(best).unwrap(), |given| given[rows.len()]));
                rows.push(row.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
                Ok((rows.len() < 20).then(|| *text.last().unwrap()))
            })
            .unwrap();
        (rows, text)
    };
    let (reference, text) = rows(KvType::F16, None);
    let (candidate, _) = rows(kv_type, Some(&text));
    let probabilities = |row: &[f64]| {
        let sum: f64 = row.iter().map(|x| x.exp()).sum();
        row.iter().map(|x| x.exp() / sum).collect::<Vec<_>>()
    };
    assert_eq!(found.len(), 20);
    for (((p, q), &token), at) in reference.iter().zip(&candidate).zip(&text).zip(&found) {
        let (p, q) = (probabilities(p), probabilities(q));
        let kl: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        assert!((kl - at.kl_nats).abs() < 1e-12, "{kl} and {at:?}");
        assert!((-p[token as usize].ln() - at.reference_nll_nats).abs() < 1e-9);
        assert!((-q[token as usize].ln() - at.candidate_nll_nats).abs() < 1e-9);
    }
}

/// Generation and following its own answer are the same rounds, whether the answer ends early or not.
#[test]
fn along_its_own_answer_an_engine_counts_what_generation_counts() {
    let prompts = prompts();
    for (speculation, kv_type) in
        [(mtp(), KvType::F16), (mtp(), KvType::Turbo(TurboType::Turbo3)), (ngram(), KvType::F16)]
    {
        let mut engine = Engine::load(&config(kv_type, speculation)).unwrap();
        for (prompt, ignore_eos) in prompts.iter().zip([true, false]) {
            let params = GenerateParams { max_tokens: 90, ignore_eos, sampling: SamplingParams::greedy() };
            let mut text = Vec::new();
            let summary = engine
                .generate(prompt, &params, &mut |step| {
                    text.extend_from_slice(step.tokens);
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(engine.follow(prompt, &text, 90).unwrap(), Some(summary.totals));
        }
    }
    let mut plain = Engine::load(&config(KvType::F16, Speculation::None)).unwrap();
    assert_eq!(plain.follow(&prompts[0], &[1], 1).unwrap(), None);
    let mut drafting = Engine::load(&config(KvType::F16, mtp())).unwrap();
    assert!(drafting.follow(&prompts[0], &[], 1).is_err());
}

#[test]
fn acceptance_is_counted_with_both_caches_and_can_be_all_that_is_asked() {
    let prompts = prompts();
    let plan = KvQualityPlan { divergence: false, ..plan(&prompts, 96) };
    let found = measured(KvType::Turbo(TurboType::Turbo2), mtp(), &plan);
    assert!(found.divergences.is_empty());
    let [candidate, reference] = found.acceptance.unwrap();
    println!("turbo2: {candidate:?}\nf16:    {reference:?}");
    assert!(candidate.accepted <= candidate.drafted);
    // 48 tokens each: the prefill gives one, every step one and its accepted drafts.
    assert_eq!(reference.verify_steps + reference.accepted, 2 * 47);
    // A coarse cache leaves the text sometimes: its rounds are cut short there, and are more.
    assert!(candidate.verify_steps > reference.verify_steps);
    let plain = measured(KvType::Turbo(TurboType::Turbo2), Speculation::None, &plan);
    assert_eq!(plain, KvQuality::default(), "nothing was asked for");
}

#[test]
fn drawn_acceptance_says_nothing_of_a_cache_and_a_stop_ends_it() {
    let prompts = prompts();
    let rates = vec![0.5, 0.5, 0.5];
    let synthetic = Speculation::Mtp {
        draft_max: NonZeroUsize::new(3).unwrap(),
        acceptance: AcceptanceRule::Synthetic(rates),
        draft_head: DraftHead::Auto,
    };
    assert_eq!(measured(KvType::Q8_0, synthetic, &plan(&prompts, 8)).acceptance, None);
    let mut answers = 0;
    let stopped = measure(&config(KvType::Q8_0, mtp()), &plan(&prompts, 96), &mut || {
        answers += 1;
        if answers < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!((stopped.unwrap(), answers), (None, 3));
}
