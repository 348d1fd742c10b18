//! Shipped presets, docs/presets.md, and the way back to TOML.

use std::num::NonZeroU32;
use std::path::PathBuf;

use bench_core::preset::{
    AcceptanceRule, Device, DraftHead, HfModels, KvType, ModelSource, PRESET_SCHEMA, Preset, PromptSpec,
    Route, RunParams, SamplingParams, ServingParams, SpecDecode, SpecVariant, StackChoice, StackKind,
    SynthTiny, SyntheticRates, WeightType, Workload,
};
use bench_presets::{load, parse, reference_markdown, shipped, to_toml};
use proptest::option;
use proptest::prelude::*;

#[test]
fn every_shipped_preset_loads_under_its_name() {
    for preset in shipped() {
        let loaded = load(preset.name, &[]).unwrap_or_else(|error| panic!("{}: {error}", preset.name));
        assert_eq!(loaded.name, preset.name);
        assert_eq!(loaded.description, preset.description);
        assert_eq!(loaded.variants[0].spec, SpecDecode::None, "the first variant is the baseline");
        // Runs on any machine: only what comes with the program is required.
        let required: Vec<_> = loaded.stacks.iter().filter(|s| s.required).map(|s| s.kind).collect();
        assert_eq!(required, [StackKind::Native]);
    }
}

#[test]
fn the_quickstart_has_blocks_enough_for_intervals() {
    let preset = load("quickstart", &[]).unwrap();
    assert!(preset.run.blocks.get() as usize >= bench_core::stats::MIN_BLOCKS);
}

#[test]
fn the_documentation_is_what_the_code_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/presets.md");
    let expected = reference_markdown();
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/presets.md is out of date: run `BLESS=1 cargo test --release -p bench-presets`"
    );
}

fn label() -> impl Strategy<Value = String> {
    "[a-z0-9-]{1,8}"
}

fn nonzero(most: u32) -> impl Strategy<Value = NonZeroU32> {
    (0..most).prop_map(|n| NonZeroU32::MIN.saturating_add(n))
}

fn seed() -> impl Strategy<Value = u64> {
    0..=i64::MAX.unsigned_abs()
}

fn models() -> impl Strategy<Value = ModelSource> {
    let weights = prop_oneof![
        Just(WeightType::F32),
        Just(WeightType::F16),
        Just(WeightType::Bf16),
        Just(WeightType::Q8_0)
    ];
    prop_oneof![
        Just(ModelSource::Bundled("nano".to_owned())),
        (".{1,12}", ".{1,12}", option::of(hf_models())).prop_map(|(target, assistant, hf)| {
            ModelSource::Files { target: target.into(), assistant: Some(assistant.into()), hf }
        }),
        (0.0_f32..=1.0, weights, seed()).prop_map(|(acceptance, weights, seed)| ModelSource::SynthTiny(
            SynthTiny {
                acceptance,
                cycle: u32::try_from(seed % 50).ok().and_then(NonZeroU32::new),
                weights,
                seed
            }
        )),
    ]
}

fn hf_models() -> impl Strategy<Value = HfModels> {
    ("[a-z][a-z/]{0,8}", option::of("[a-z][a-z/]{0,8}"))
        .prop_map(|(target, assistant)| HfModels { target, assistant })
}

/// A rule that fits so many drafts.
fn acceptance(draft_max: NonZeroU32) -> impl Strategy<Value = AcceptanceRule> {
    let drafts = draft_max.get() as usize;
    let rates = proptest::collection::vec(0.0_f64..=1.0, drafts).prop_map(|mut rates| {
        rates.sort_by(|a, b| b.total_cmp(a));
        AcceptanceRule::Synthetic(SyntheticRates::new(rates).unwrap())
    });
    prop_oneof![Just(AcceptanceRule::SampleAndCompare), Just(AcceptanceRule::Rejection), rates]
}

fn drafts() -> impl Strategy<Value = (NonZeroU32, AcceptanceRule)> {
    nonzero(64).prop_flat_map(|draft_max| (Just(draft_max), acceptance(draft_max)))
}

fn spec() -> impl Strategy<Value = SpecDecode> {
    let head = prop_oneof![Just(DraftHead::Auto), Just(DraftHead::Dense)];
    prop_oneof![
        Just(SpecDecode::None),
        (drafts(), head).prop_map(|((draft_max, acceptance), draft_head)| SpecDecode::Mtp {
            draft_max,
            acceptance,
            draft_head
        }),
        (drafts(), 0_u32..99).prop_map(|((draft_max, acceptance), least)| SpecDecode::Nextn {
            draft_max,
            draft_min: least.min(draft_max.get()),
            acceptance
        }),
        drafts().prop_map(|(draft_max, acceptance)| SpecDecode::DraftModel { draft_max, acceptance }),
        (nonzero(64), nonzero(9), 0_u32..9).prop_map(|(draft_max, ngram_min, more)| SpecDecode::Ngram {
            draft_max,
            ngram_min,
            ngram_max: ngram_min.saturating_add(more)
        }),
    ]
}

/// Unique by the index in front.
fn numbered<T>(items: Vec<(String, T)>) -> Vec<(String, T)> {
    items.into_iter().enumerate().map(|(index, (name, item))| (format!("{index}-{name}"), item)).collect()
}

fn workload() -> impl Strategy<Value = (Workload, Route)> {
    let texts = ("[a-z ]{1,6}x", "\\PC*[a-z]\\PC*|(?s).{0,20}y", option::of(any::<String>()));
    let prompts = proptest::collection::vec((label(), texts), 1..4);
    let route = prop_oneof![Just(Route::Completion), Just(Route::OpenAiCompletion), Just(Route::Chat)];
    (prompts, nonzero(1000), any::<bool>(), route).prop_map(|(prompts, max_tokens, ignore_eos, route)| {
        let prompts = numbered(prompts).into_iter().map(|(id, (category, text, system))| PromptSpec {
            id,
            category,
            system: system.filter(|_| route == Route::Chat),
            text,
        });
        (Workload { prompts: prompts.collect(), max_tokens, ignore_eos }, route)
    })
}

fn sampling() -> impl Strategy<Value = SamplingParams> {
    let share = || option::of(0.001_f32..=1.0);
    (0.0_f32..3.0, option::of(nonzero(u32::MAX)), share(), share(), seed()).prop_map(
        |(temperature, top_k, top_p, min_p, seed)| SamplingParams { temperature, top_k, top_p, min_p, seed },
    )
}

fn run() -> impl Strategy<Value = RunParams> {
    let counts = (nonzero(u32::MAX), any::<u32>(), nonzero(u32::MAX));
    (counts, 1_u64..1_000_000_000, any::<u32>(), 0.0_f64..=1.0).prop_map(
        |((blocks, warmup_requests, concurrency), request_timeout_ms, max_restarts, min_acceptance)| {
            RunParams {
                blocks,
                warmup_requests,
                concurrency,
                request_timeout_ms,
                max_restarts,
                min_acceptance,
            }
        },
    )
}

fn stack(kind: StackKind, required: bool, command: &[String]) -> StackChoice {
    let command = if kind == StackKind::OpenAi { command.to_vec() } else { Vec::new() };
    StackChoice { kind, required, command }
}

fn preset() -> impl Strategy<Value = Preset> {
    let kinds = prop::sample::subsequence(StackKind::ALL.to_vec(), 1..=6);
    let variants = proptest::collection::vec((label(), spec()), 1..4);
    let kv_type = prop::sample::select(vec![
        KvType::F32,
        KvType::F16,
        KvType::Bf16,
        KvType::Q8_0,
        KvType::Q4_0,
        KvType::Turbo2,
        KvType::Turbo3,
        KvType::Turbo4,
    ]);
    let device = prop_oneof![Just(Device::Auto), Just(Device::Cpu), Just(Device::Gpu)];
    let command = proptest::collection::vec("[a-z{/ ]{0,4}x|\\{port\\}", 0..4);
    let names = (label(), any::<String>());
    let stacks = (kinds, any::<bool>(), command);
    let serving = (0_u32..10_000, kv_type, nonzero(u32::MAX), device);
    (names, models(), stacks, variants, serving, workload(), sampling(), run()).prop_map(
        |(
            (name, description),
            models,
            (kinds, required, command),
            variants,
            serving,
            (workload, route),
            sampling,
            run,
        )| Preset {
            schema: PRESET_SCHEMA,
            name,
            description,
            models,
            stacks: kinds.into_iter().map(|kind| stack(kind, required, &command)).collect(),
            variants: numbered(variants)
                .into_iter()
                .map(|(label, spec)| SpecVariant { label, spec })
                .collect(),
            serving: ServingParams {
                context_tokens: workload.max_tokens.saturating_add(1 + serving.0),
                kv_type: serving.1,
                threads: serving.2,
                route,
                device: serving.3,
            },
            workload,
            sampling,
            run,
        },
    )
}

proptest! {
    #[test]
    fn a_preset_survives_toml(preset in preset()) {
        let text = to_toml(&preset).unwrap();
        let back = parse(&text, "written", &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
        prop_assert_eq!(back, preset);
    }

    #[test]
    fn no_text_panics_the_reader(text in "\\PC{0,60}", key in "[a-z.\\[\\]0-9=-]{0,20}") {
        // Arbitrary text is hardly a preset; what has to hold is one error and no panic, for the text and overrides.
        prop_assert!(parse(&text, "fuzz", &[]).is_err());
        drop(load("smoke", &[key]));
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_an_overflow() {
    for text in [format!("name = {}", "[".repeat(200_000)), format!("name = {}", "{a=".repeat(200_000))] {
        assert!(parse(&text, "deep", &[]).is_err());
        drop(parse("name = \"x\"", "deep", &[text]));
    }
    assert!(parse(&format!("name{} = 1", ".a".repeat(100_000)), "deep", &[]).is_err());
}
