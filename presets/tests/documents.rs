//! Shipped presets, docs/presets.md and docs/preset.schema.json, and the way back to TOML.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

mod schema;

use std::num::NonZeroU32;
use std::path::PathBuf;

use bench_core::load::{Arrivals, Load, OpenLoad, RampCurve};
use bench_core::preset::{
    AcceptanceRule, Device, DraftHead, HfModels, KvType, KvTypes, ModelSource, PRESET_SCHEMA, PleTable,
    Preset, PromptSpec, Route, RunOrder, RunParams, SamplingParams, ServingParams, SpecDecode, SpecVariant,
    StackChoice, StackKind, SynthTiny, SyntheticRates, WeightType, Workload,
};
use bench_core::synthetic::SyntheticPrompts;
use bench_presets::{Theme, json_schema, load, parse, reference_markdown, shipped, to_toml};
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

#[test]
fn every_shipped_preset_loads_under_its_name() {
    for preset in shipped() {
        let loaded = load(preset.name, &[]).unwrap_or_else(|error| panic!("{}: {error}", preset.name));
        assert_eq!(loaded.name, preset.name);
        assert_eq!(loaded.description, preset.description);
        assert_eq!(loaded.variants[0].spec, SpecDecode::None, "the first variant is the baseline");
        let required: Vec<_> = loaded.stacks.iter().filter(|s| s.required).map(|s| s.kind).collect();
        assert_eq!(required.len(), 1, "{}", preset.name);
        if preset.theme == Theme::Anywhere {
            // Only what comes with the program is required.
            assert_eq!(required, [StackKind::Native]);
            assert!(!matches!(loaded.models, ModelSource::Files { .. }), "{} needs files", preset.name);
        }
    }
}

#[test]
fn the_quickstart_has_blocks_enough_for_intervals() {
    let preset = load("quickstart", &[]).unwrap();
    assert!(preset.run.blocks.get() as usize >= bench_core::stats::MIN_BLOCKS);
}

#[test]
fn the_documentation_is_what_the_code_says() {
    document("presets.md", &reference_markdown());
}

/// The file of docs/ that has to hold this text; with BLESS=1 it is written.
fn document(name: &str, expected: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/{name} is out of date: run `BLESS=1 cargo test --release -p bench-presets`"
    );
}

#[test]
fn the_shipped_schema_is_what_the_code_says() {
    document("preset.schema.json", &format!("{:#}\n", json_schema()));
}

#[test]
fn the_schema_takes_every_shipped_preset_and_every_preset_written_out() {
    for preset in shipped() {
        let written = to_toml(&load(preset.name, &[]).unwrap()).unwrap();
        for text in [preset.toml, &written] {
            let document: Value = toml::from_str(text).unwrap();
            assert_eq!(schema::breaches(&json_schema(), &document), [""; 0], "{}", preset.name);
        }
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let good = shipped()[0].toml;
    for (from, to, breach) in [
        ("draft_max = 3", "draft_max = 65", "variants[2].draft_max: 65 is above 64"),
        ("draft_max = 3", "draft_max = \"3\"", "variants[2].draft_max: \"3\" is no integer"),
        ("draft_max = 3", "draftmax = 3", "variants[2]: unknown key draftmax"),
        ("kind = \"native\"", "kind = \"natve\"", "stacks[0].kind: \"natve\" is none of the words"),
        ("temperature = 0.0", "temperature = -1", "sampling.temperature: -1 is below 0.0"),
        ("label = \"none\"", "label = \"No ne\"", "variants[0].label: \"No ne\" is not `^[a-z0-9-]+$`"),
        ("\"60s\"", "\"60 h\"", "run.request_timeout: \"60 h\" is not `^[0-9]+ ?(ms|s|m)$`"),
        ("name = \"quickstart\"", "", "name is missing"),
    ] {
        assert!(good.contains(from), "{from}");
        let text = good.replacen(from, to, 1);
        assert!(parse(&text, "broken", &[]).is_err(), "{to}");
        let document: Value = toml::from_str(&text).unwrap();
        assert_eq!(schema::breaches(&json_schema(), &document), [breach], "{to}");
    }
}

#[test]
fn kv_types_are_one_word_or_a_pair_and_a_variant_may_have_its_own() {
    let good = shipped()[0].toml;
    let read = |text: &str, set: &[&str]| {
        let set: Vec<_> = set.iter().map(|one| (*one).to_owned()).collect();
        parse(text, "kv", &set)
    };
    let pair = good.replacen("kv_type = \"f16\"", "kv_type = \"q8_0/turbo3\"", 1);
    let preset = read(&pair, &["variants.mtp-3.kv_type=turbo4-atomic"]).unwrap();
    let of = |variant: &str| preset.kv_types_of(variant).to_string();
    assert_eq!([of("none"), of("mtp-3")], ["q8_0/turbo3", "turbo4-atomic"]);
    assert_eq!(preset.serving_of("none"), preset.serving);
    assert!(preset.compares_kv_types() && !read(good, &[]).unwrap().compares_kv_types());
    for wrong in ["q9", "q8_0/", "q8_0/turbo3/f16"] {
        let said = read(&good.replacen("kv_type = \"f16\"", &format!("kv_type = \"{wrong}\""), 1), &[])
            .unwrap_err()
            .to_string();
        assert!(said.contains(&format!("`{wrong}`")) && said.contains("`turbo4-atomic`"), "{said}");
    }
}

/// Runs of old presets are told by their hashes.
#[test]
fn presets_without_pairs_are_written_as_before_there_were_any() {
    let preset = parse(shipped()[0].toml, "quickstart", &[]).unwrap();
    let json = serde_json::to_value(&preset).unwrap();
    assert_eq!(json["serving"]["kv_type"], "f16");
    let variant = json["variants"][1].as_object().unwrap();
    assert_eq!(variant.keys().map(String::as_str).collect::<Vec<_>>(), ["label", "spec"]);
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
    let later = proptest::collection::vec("[a-z]\\PC*", 0..3);
    let texts = ("[a-z ]{1,6}x", "\\PC*[a-z]\\PC*|(?s).{0,20}y", option::of(any::<String>()), later);
    let prompts = proptest::collection::vec((label(), texts), 1..4);
    let route = prop_oneof![Just(Route::Completion), Just(Route::OpenAiCompletion), Just(Route::Chat)];
    let flags = (any::<bool>(), any::<bool>());
    (prompts, nonzero(1000), flags, route).prop_map(|(prompts, max_tokens, (ignore_eos, salted), route)| {
        let prompts = numbered(prompts).into_iter().map(|(id, (category, text, system, later))| PromptSpec {
            id,
            category,
            system: system.filter(|_| route == Route::Chat),
            text,
            later_turns: if route == Route::Chat { later } else { Vec::new() },
        });
        (Workload { prompts: prompts.collect(), max_tokens, ignore_eos, salted, synthetic: None }, route)
    })
}

fn synthetic() -> impl Strategy<Value = SyntheticPrompts> {
    let lengths = proptest::collection::hash_set(nonzero(300), 1..4);
    (lengths, nonzero(9), prop_oneof![Just(0.0), 0.0_f64..=1.0], seed()).prop_map(
        |(input_tokens, count, spread, seed)| SyntheticPrompts {
            input_tokens: input_tokens.into_iter().collect(),
            count,
            spread,
            seed,
        },
    )
}

/// Prompts of text, or of synthetic tokens.
fn any_workload() -> impl Strategy<Value = (Workload, Route)> {
    (workload(), option::of(synthetic())).prop_map(|((workload, route), synthetic)| match synthetic {
        None => (workload, route),
        Some(made_of) => {
            (Workload { prompts: made_of.prompts(), synthetic: Some(made_of), ..workload }, route)
        }
    })
}

fn sampling() -> impl Strategy<Value = SamplingParams> {
    let share = || option::of(0.001_f32..=1.0);
    (0.0_f32..3.0, option::of(nonzero(u32::MAX)), share(), share(), seed()).prop_map(
        |(temperature, top_k, top_p, min_p, seed)| SamplingParams { temperature, top_k, top_p, min_p, seed },
    )
}

fn any_load() -> impl Strategy<Value = Load> {
    let rate = || 0.001_f64..10_000.0;
    let curve = prop_oneof![Just(RampCurve::Linear), Just(RampCurve::Exponential)];
    let arrivals = prop_oneof![
        rate().prop_map(|rate| Arrivals::Constant { rate }),
        rate().prop_map(|rate| Arrivals::Poisson { rate }),
        (rate(), 0.01_f64..1000.0).prop_map(|(rate, burstiness)| Arrivals::Gamma { rate, burstiness }),
        (rate(), rate(), curve).prop_map(|(from, to, curve)| Arrivals::Ramp { from, to, curve }),
        proptest::collection::vec(0_u64..1_000_000_000, 5..9).prop_map(|mut at_us| {
            at_us.sort_unstable();
            Arrivals::Trace { at_us }
        }),
    ];
    let open = (arrivals, nonzero(5), option::of(nonzero(u32::MAX))).prop_map(
        |(arrivals, requests, max_in_flight)| Load::Open(OpenLoad { arrivals, requests, max_in_flight }),
    );
    prop_oneof![Just(Load::Closed), open]
}

fn run() -> impl Strategy<Value = RunParams> {
    let counts = (nonzero(u32::MAX), any::<u32>(), nonzero(u32::MAX));
    let order = prop_oneof![Just(RunOrder::Abba), Just(RunOrder::Random)];
    let sweep = proptest::collection::btree_set(nonzero(512), 0..4)
        .prop_map(|set| set.into_iter().collect::<Vec<_>>());
    let ends = (order, 1_u32..=5, 0.0_f64..=1.0, 0.0_f64..=1.0, (any_load(), sweep));
    (counts, 1_u64..1_000_000_000, any::<u32>(), 0.0_f64..=1.0, ends).prop_map(
        |((blocks, warmup_requests, concurrency), request_timeout_ms, max_restarts, min_acceptance, ends)| {
            let (order, max_looks, throughput_margin, ttft_margin, (load, sweep)) = ends;
            let kv_quality_tokens = max_restarts / 2;
            let open = !load.is_closed();
            let concurrency = match sweep.last() {
                _ if open => NonZeroU32::MIN,
                Some(greatest) => *greatest,
                None => concurrency,
            };
            RunParams {
                duration_s: NonZeroU32::new(max_restarts % 5),
                think_time_ms: u64::from(max_restarts % 900),
                blocks,
                warmup_requests,
                concurrency,
                request_timeout_ms,
                max_restarts,
                min_acceptance,
                order,
                max_looks,
                throughput_margin,
                ttft_margin,
                kv_quality_tokens,
                sweep_concurrency: if open { Vec::new() } else { sweep },
                load,
            }
        },
    )
}

fn stack(kind: StackKind, required: bool, command: &[String]) -> StackChoice {
    let command = if kind == StackKind::OpenAi { command.to_vec() } else { Vec::new() };
    StackChoice { kind, required, command }
}

fn kv_types() -> impl Strategy<Value = KvTypes> {
    let one = || prop::sample::select(KvType::ALL.to_vec());
    (one(), one()).prop_map(|(k, v)| KvTypes { k, v })
}

fn preset() -> impl Strategy<Value = Preset> {
    let kinds = prop::sample::subsequence(StackKind::ALL.to_vec(), 1..=6);
    let variants = proptest::collection::vec((label(), (spec(), option::of(kv_types()))), 1..4);
    let kv_type = kv_types();
    let device = prop_oneof![Just(Device::Auto), Just(Device::Cpu), Just(Device::Gpu)];
    let command = proptest::collection::vec("[a-z{/ ]{0,4}x|\\{port\\}", 0..4);
    let names = (label(), any::<String>());
    let stacks = (kinds, any::<bool>(), command);
    let ple_table = prop_oneof![Just(PleTable::Auto), Just(PleTable::Device), Just(PleTable::Host)];
    let serving = (0_u32..10_000, kv_type, nonzero(u32::MAX), device, ple_table);
    (names, models(), stacks, variants, serving, any_workload(), sampling(), run()).prop_map(
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
                .map(|(label, (spec, kv_type))| SpecVariant { label, spec, kv_type })
                .collect(),
            serving: ServingParams {
                context_tokens: workload
                    .max_tokens
                    .saturating_add(1 + serving.0)
                    .saturating_add(workload.synthetic.as_ref().map_or(0, SyntheticPrompts::longest_tokens)),
                kv_type: serving.1,
                threads: serving.2,
                route,
                device: serving.3,
                ple_table: serving.4,
                slots: NonZeroU32::MIN,
            },
            run: RunParams {
                // Conversations and an end by time do not go together.
                duration_s: run
                    .duration_s
                    .filter(|_| workload.prompts.iter().all(|prompt| prompt.turns() == 1)),
                ..run
            },
            workload,
            sampling,
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
