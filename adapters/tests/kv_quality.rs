//! What a KV type costs in quality, asked of arms as a run asks it, on the bundled trained pair.

#![expect(clippy::unwrap_used, reason = "a test's set-up")]

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bench_adapters::{ConnectRequest, ModelPaths, measure_kv_quality};
use bench_core::kv_quality::{KvDivergence, KvQuality, KvQualityOutcome, KvSample, NO_LOGITS};
use bench_core::preset::{
    AcceptanceRule, Device, DraftHead, KvType, KvTypes, Route, ServingParams, SpecDecode, StackKind,
};
use bench_core::stack::Prompt;
use bench_engine::Engine;

fn models() -> ModelPaths {
    let file = |part: &str| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join(format!("../presets/models/nano/nano-{part}-q8_0.gguf"))
    };
    ModelPaths { target: file("target"), assistant: Some(file("assistant")) }
}

fn serving(kv_type: impl Into<KvTypes>) -> ServingParams {
    ServingParams {
        context_tokens: NonZeroU32::new(512).unwrap(),
        kv_type: kv_type.into(),
        threads: NonZeroU32::MIN,
        route: Route::Chat,
        device: Device::Cpu,
        ple_table: bench_core::preset::PleTable::Auto,
        slots: NonZeroU32::MIN,
    }
}

fn mtp() -> SpecDecode {
    let draft_max = NonZeroU32::new(3).unwrap();
    SpecDecode::Mtp { draft_max, acceptance: AcceptanceRule::default(), draft_head: DraftHead::Auto }
}

fn sample() -> KvSample {
    let chat = |system: Option<&str>, user: &str| Prompt::Chat {
        system: system.map(str::to_owned),
        history: Vec::new(),
        user: user.to_owned(),
    };
    let prompts = vec![
        chat(None, "Make a packing list for a weekend by the sea."),
        chat(Some("Answer with JSON only."), "Marta Klein from Lisbon wants 3 blue lamps."),
    ];
    KvSample { prompts, answer_tokens: 24, positions: 40, ignore_eos: true }
}

fn asked(
    kind: StackKind,
    kv_type: impl Into<KvTypes>,
    spec: &SpecDecode,
    known: Option<KvDivergence>,
) -> KvQualityOutcome {
    let (models, serving) = (models(), serving(kv_type));
    let request = ConnectRequest { kind, ..ConnectRequest::native(&models, spec, &serving, Path::new(".")) };
    measure_kv_quality(&request, &sample(), known, &mut || ControlFlow::Continue(()))
}

fn native(kv_type: impl Into<KvTypes>, spec: &SpecDecode, known: Option<KvDivergence>) -> KvQuality {
    match asked(StackKind::Native, kv_type, spec, known) {
        KvQualityOutcome::Measured(quality) => quality,
        KvQualityOutcome::NotMeasured { reason } => panic!("{reason}"),
    }
}

#[test]
fn coarser_caches_cost_more_and_f16_costs_nothing() {
    let of = |kv_type| native(kv_type, &SpecDecode::None, None);
    let (f16, q8_0, turbo3) = (of(KvType::F16), of(KvType::Q8_0), of(KvType::Turbo3));
    for quality in [&f16, &q8_0, &turbo3] {
        println!("{quality}");
        assert_eq!((quality.divergence.positions, quality.acceptance), (40, None));
    }
    assert!(f16.divergence.kl_mean_nats.abs() <= 0.0 && f16.divergence.same_top1 == 40);
    let (q8_0, turbo3) = (q8_0.divergence, turbo3.divergence);
    assert!(q8_0.kl_mean_nats > 0.0 && turbo3.kl_mean_nats > q8_0.kl_mean_nats);
    assert!(turbo3.kl_p99_nats > turbo3.kl_mean_nats);
}

/// Keys and values apart, and the fork's turbo4: each has a figure, and a mixed cache costs no more than its coarser side.
#[test]
fn mixed_types_and_the_forks_turbo4_are_measured_too() {
    let of = |kv: &str| {
        let quality = native(kv.parse::<KvTypes>().unwrap(), &SpecDecode::None, None);
        println!("{quality}");
        assert_eq!((&*quality.kv_type, quality.divergence.positions), (kv, 40));
        quality.divergence.kl_mean_nats
    };
    let [both, keys, values] = ["turbo2", "turbo2/f16", "f16/turbo2"].map(of);
    assert!(keys > 0.0 && values > 0.0 && both > keys && both > values, "{both} {keys} {values}");
    let [ours, forks] = ["turbo4", "turbo4-atomic"].map(of);
    assert!(ours > 0.0 && forks > 0.0 && forks.to_bits() != ours.to_bits(), "{ours} {forks}");
}

#[test]
fn what_another_arm_showed_of_distributions_is_not_measured_again() {
    let first = native(KvType::Turbo3, &SpecDecode::None, None);
    let second = native(KvType::Turbo3, &mtp(), Some(first.divergence));
    assert_eq!(second.divergence, first.divergence);
    let both = second.acceptance.expect("it drafts");
    // Of 24 and 16 tokens the prefill gave one each, every step one and its accepted drafts.
    assert_eq!(both.reference.verify_steps + both.reference.accepted, 23 + 15);
    assert!(both.with.accepted <= both.with.drafted && both.with.verify_steps > 0);
    // Measured by itself it is the same: how drafts are made does not touch distributions.
    assert_eq!(native(KvType::Turbo3, &mtp(), None), second);
}

#[test]
fn servers_and_failures_have_reasons() {
    let reason = |outcome: KvQualityOutcome| match outcome {
        KvQualityOutcome::NotMeasured { reason } => reason,
        KvQualityOutcome::Measured(quality) => panic!("{quality}"),
    };
    for kind in StackKind::ALL.into_iter().filter(|kind| *kind != StackKind::Native) {
        assert_eq!(reason(asked(kind, KvType::Turbo3, &SpecDecode::None, None)), NO_LOGITS);
    }
    let refused = reason(asked(StackKind::Native, KvType::Q4_0, &SpecDecode::None, None));
    assert!(refused.starts_with("native cannot keep its KV cache as q4_0"), "{refused}");
    let (models, serving) = (models(), serving(KvType::Q8_0));
    let gone = ModelPaths { target: PathBuf::from("gone.gguf"), ..models.clone() };
    let request = ConnectRequest::native(&gone, &SpecDecode::None, &serving, Path::new("."));
    let lost = measure_kv_quality(&request, &sample(), None, &mut || ControlFlow::Continue(()));
    assert!(reason(lost).contains("gone.gguf"));
    let request = ConnectRequest::native(&models, &SpecDecode::None, &serving, Path::new("."));
    let stopped = measure_kv_quality(&request, &sample(), None, &mut || ControlFlow::Break(()));
    assert_eq!(reason(stopped), "the run was stopped before it");
}

/// The prompts' ids are made without weights, and have to be those that a request's are.
#[test]
fn a_prompt_too_long_for_the_context_is_a_reason_with_its_length() {
    let text = "sea ".repeat(700);
    let (models, serving) = (models(), serving(KvType::Q8_0));
    let sample = KvSample { prompts: vec![Prompt::Text(text.clone())], ..sample() };
    let request = ConnectRequest::native(&models, &SpecDecode::None, &serving, Path::new("."));
    let outcome = measure_kv_quality(&request, &sample, None, &mut || ControlFlow::Continue(()));
    let KvQualityOutcome::NotMeasured { reason } = outcome else { panic!("{outcome:?}") };
    let config = bench_engine::EngineConfig {
        target: models.target,
        assistant: None,
        context_tokens: 512,
        kv_type: bench_engine::kv_cache::KvType::F16.into(),
        threads: std::num::NonZeroUsize::MIN,
        speculation: bench_engine::Speculation::None,
        device: bench_engine::DeviceChoice::Cpu,
        ple_table: bench_engine::model::PleTable::Auto,
    };
    let tokens = Engine::load(&config).unwrap().encode_prompt(&text).len();
    assert_eq!(reason, format!("{tokens} tokens do not fit into a context of 512"));
}
