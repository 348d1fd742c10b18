//! Documents survive JSON: whatever can be in one comes back equal.

use std::num::NonZeroU32;
use std::path::Path;

use bench_core::client::{ClientPass, ClientRecord, Lateness};
use bench_core::environment::parse_environment;
use bench_core::jsonl::parse_rows;
use bench_core::load::Load;
use bench_core::preset::{
    AcceptanceRule, Device, DraftHead, HfModels, KvType, KvTypes, ModelSource, PRESET_SCHEMA, PleTable,
    Preset, PromptSpec, Route, RunOrder, RunParams, SamplingParams, ServingParams, SpecDecode, SpecVariant,
    StackChoice, StackKind, SynthTiny, SyntheticRates, WeightType, Workload,
};
use bench_core::record::{
    ArmManifest, ArmStatus, Chunk, CountSource, HostInfo, Outcome, OutputCount, Phase, RECORD_SCHEMA,
    RequestRecord, RunEnd, RunManifest, Timing, Turn,
};
use bench_core::run_dir::{parse_manifest, preset_sha256};
use bench_core::stack::{
    Death, FailureKind, FinishReason, Readback, SpecCounts, SpecSource, StackInfo, Usage,
};
use bench_core::synthetic::SyntheticPrompts;
use bench_core::thinking::{Split, SplitSource, SplitUnknown, TokenSplit};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

fn nonzero() -> impl Strategy<Value = NonZeroU32> {
    (0..u32::MAX).prop_map(|n| NonZeroU32::MIN.saturating_add(n))
}

fn failure_kind() -> impl Strategy<Value = FailureKind> {
    prop_oneof![
        Just(FailureKind::Unreachable),
        Just(FailureKind::HttpStatus),
        Just(FailureKind::Protocol),
        Just(FailureKind::Aborted),
        Just(FailureKind::Exited),
        Just(FailureKind::NotInstalled),
        Just(FailureKind::Unsupported),
        Just(FailureKind::Engine),
        Just(FailureKind::GivenUp),
        Just(FailureKind::TimedOut),
    ]
}

fn death() -> impl Strategy<Value = Death> {
    (any::<String>(), any::<String>(), any::<Option<String>>(), vec(any::<String>(), 0..3))
        .prop_map(|(program, status, abort_site, log_tail)| Death { program, status, abort_site, log_tail })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        prop_oneof![Just(FinishReason::Length), Just(FinishReason::Stop)]
            .prop_map(|reason| Outcome::Completed { reason }),
        (failure_kind(), any::<String>(), any::<Option<String>>(), option::of(death()))
            .prop_map(|(kind, detail, hint, death)| Outcome::Failed { kind, detail, hint, death }),
        any::<u64>().prop_map(|limit_ms| Outcome::TimedOut { limit_ms }),
        Just(Outcome::Cancelled),
    ]
}

fn spec_counts() -> impl Strategy<Value = SpecCounts> {
    let source = prop_oneof![
        Just(SpecSource::Engine),
        Just(SpecSource::ResponseBody),
        Just(SpecSource::MetricsDelta),
        Just(SpecSource::Log)
    ];
    let positions = || option::of(vec(any::<u64>(), 0..4));
    let lists = (positions(), positions(), positions());
    (any::<u64>(), any::<u64>(), any::<Option<u64>>(), lists, source).prop_map(
        |(drafted, accepted, verify_steps, lists, source)| SpecCounts {
            drafted,
            accepted,
            verify_steps,
            accepted_per_position: lists.0,
            drafted_per_position: lists.1,
            accepted_histogram: lists.2,
            source,
        },
    )
}

fn timing() -> impl Strategy<Value = Timing> {
    let chunk = (any::<u64>(), any::<Option<u32>>()).prop_map(|(at_ns, tokens)| Chunk { at_ns, tokens });
    (any::<Option<u64>>(), any::<Option<u64>>(), any::<Option<u64>>(), any::<u64>(), vec(chunk, 0..5))
        .prop_map(|(opened_ns, first_token_ns, last_token_ns, ended_ns, chunks)| Timing {
            opened_ns,
            first_token_ns,
            last_token_ns,
            ended_ns,
            chunks,
        })
}

/// Finite numbers: JSON has no others, and no stack sends them.
fn stack_timings() -> impl Strategy<Value = serde_json::Value> {
    btree_map(any::<String>(), prop::num::f64::NORMAL | prop::num::f64::ZERO, 0..4)
        .prop_map(|map| map.into_iter().map(|(key, value)| (key, serde_json::Value::from(value))).collect())
}

fn output() -> impl Strategy<Value = OutputCount> {
    let source = prop_oneof![
        Just(CountSource::TokenIds),
        Just(CountSource::Usage),
        Just(CountSource::Chunks),
        Just(CountSource::Unknown)
    ];
    (any::<Option<u32>>(), source, any::<bool>(), any::<Option<u32>>()).prop_map(
        |(tokens, source, disputed, retokenised)| OutputCount { tokens, source, disputed, retokenised },
    )
}

fn readback() -> impl Strategy<Value = Readback> {
    (any::<Option<String>>(), any::<Option<String>>(), option::of(vec(any::<String>(), 0..2)))
        .prop_map(|(model, fingerprint, sampling_changed)| Readback { model, fingerprint, sampling_changed })
}

fn split() -> impl Strategy<Value = TokenSplit> {
    let source = prop_oneof![
        Just(SplitSource::TokenIds),
        Just(SplitSource::ServerField),
        Just(SplitSource::TextMarkers),
        Just(SplitSource::ServerCount)
    ];
    let unknown = prop_oneof![
        Just(SplitUnknown::NothingMarks),
        Just(SplitUnknown::MixedChunk),
        Just(SplitUnknown::Uncounted)
    ];
    let counts = (any::<Option<u32>>(), any::<Option<u32>>(), any::<Option<u64>>());
    (counts, option::of(source), option::of(unknown), 0..3_usize).prop_map(
        |(counts, source, unknown, thought_bytes)| Split {
            thinking_tokens: counts.0,
            answer_tokens: counts.1,
            first_answer: counts.2,
            source,
            unknown,
            thought_bytes,
            server_thinking_tokens: counts.0.filter(|_| thought_bytes > 1),
        },
    )
}

fn record() -> impl Strategy<Value = RequestRecord> {
    let phase = prop_oneof![Just(Phase::Setup), Just(Phase::Warmup), Just(Phase::Measured)];
    let names = (any::<String>(), any::<String>(), any::<String>(), any::<String>(), any::<String>());
    let usage = (any::<Option<u32>>(), any::<Option<u32>>(), any::<Option<u32>>());
    let numbers = (phase, any::<u32>(), any::<u64>(), any::<u64>(), usage);
    let told = (option::of(spec_counts()), option::of(vec(any::<u32>(), 0..5)), any::<String>());
    let told = (told, option::of(spec_counts()), option::of(readback()), option::of(split()), any::<bool>());
    (names, numbers, outcome(), timing(), output(), told, option::of(stack_timings())).prop_map(
        |(names, numbers, outcome, timing, output, told, stack_timings)| {
            let (run_id, arm, prompt_id, category, prompt_sha256) = names;
            let (phase, block, request_index, sent_unix_ms, usage) = numbers;
            let ((spec, token_ids, text), spec_disputed, readback, split, restarted_in_silence) = told;
            let usage = Usage { prompt_tokens: usage.0, cached_tokens: usage.1, output_tokens: usage.2 };
            RequestRecord {
                schema: RECORD_SCHEMA,
                run_id,
                arm,
                phase,
                block,
                request_index,
                prompt_id,
                category,
                prompt_sha256,
                request_sha256: Some("2".repeat(64)).filter(|_| block % 2 == 0),
                turn: (block % 3 == 0).then(|| Turn {
                    conversation: "c".to_owned(),
                    turn: block,
                    of: 2,
                    since_answer_ns: Some(sent_unix_ms).filter(|_| block % 2 == 0),
                }),
                sent_unix_ms,
                outcome,
                timing,
                usage,
                output,
                spec,
                spec_disputed,
                readback,
                split,
                restarted_in_silence,
                token_ids,
                text,
                stack_timings,
                arrival: None,
            }
        },
    )
}

fn models() -> impl Strategy<Value = ModelSource> {
    let weights = prop_oneof![
        Just(WeightType::F32),
        Just(WeightType::F16),
        Just(WeightType::Bf16),
        Just(WeightType::Q8_0)
    ];
    let hf = ("[a-z/]{1,8}", option::of("[a-z/]{1,8}"))
        .prop_map(|(target, assistant)| HfModels { target, assistant });
    prop_oneof![
        "[a-z]{1,8}".prop_map(ModelSource::Bundled),
        ("[a-z/ .]{1,12}", option::of("[a-z/ .]{1,12}"), option::of(hf)).prop_map(
            |(target, assistant, hf)| ModelSource::Files {
                target: target.into(),
                assistant: assistant.map(Into::into),
                hf
            }
        ),
        (0.0_f32..=1.0, weights, any::<u64>()).prop_map(
            |(acceptance, weights, seed)| ModelSource::SynthTiny(SynthTiny {
                acceptance,
                cycle: None,
                weights,
                seed
            })
        ),
    ]
}

fn spec() -> impl Strategy<Value = SpecDecode> {
    let rule = || {
        prop_oneof![
            Just(AcceptanceRule::SampleAndCompare),
            Just(AcceptanceRule::Rejection),
            (1.0..4.0, Just(NonZeroU32::MIN.saturating_add(2))).prop_filter_map(
                "in range",
                |(length, draft_max)| {
                    SyntheticRates::from_length(length, draft_max).ok().map(AcceptanceRule::Synthetic)
                }
            )
        ]
    };
    let head = prop_oneof![Just(DraftHead::Auto), Just(DraftHead::Dense)];
    prop_oneof![
        Just(SpecDecode::None),
        (nonzero(), any::<u32>(), rule()).prop_map(|(draft_max, draft_min, acceptance)| SpecDecode::Nextn {
            draft_max,
            draft_min,
            acceptance
        }),
        (nonzero(), rule())
            .prop_map(|(draft_max, acceptance)| SpecDecode::DraftModel { draft_max, acceptance }),
        (nonzero(), rule(), head).prop_map(|(draft_max, acceptance, draft_head)| SpecDecode::Mtp {
            draft_max,
            acceptance,
            draft_head
        }),
        (nonzero(), nonzero(), nonzero()).prop_map(|(draft_max, ngram_min, ngram_max)| SpecDecode::Ngram {
            draft_max,
            ngram_min,
            ngram_max
        }),
    ]
}

fn workload() -> impl Strategy<Value = Workload> {
    let turns = vec(any::<String>(), 0..3);
    let prompt = (any::<String>(), any::<String>(), any::<Option<String>>(), any::<String>(), turns)
        .prop_map(|(id, category, system, text, later_turns)| PromptSpec {
            id,
            category,
            system,
            text,
            later_turns,
        });
    let synthetic = (vec(nonzero(), 1..3), nonzero(), 0.0_f64..1.0, any::<u64>()).prop_map(
        |(input_tokens, count, spread, seed)| SyntheticPrompts { input_tokens, count, spread, seed },
    );
    (vec(prompt, 1..4), nonzero(), any::<bool>(), any::<bool>(), option::of(synthetic)).prop_map(
        |(prompts, max_tokens, ignore_eos, salted, synthetic)| Workload {
            prompts,
            max_tokens,
            ignore_eos,
            salted,
            synthetic,
        },
    )
}

fn sampling() -> impl Strategy<Value = SamplingParams> {
    (0.0_f32..3.0, option::of(nonzero()), option::of(0.0_f32..=1.0), option::of(0.0_f32..=1.0), any::<u64>())
        .prop_map(|(temperature, top_k, top_p, min_p, seed)| SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
        })
}

fn kv_types() -> impl Strategy<Value = KvTypes> {
    let one = || prop::sample::select(KvType::ALL.to_vec());
    (one(), one()).prop_map(|(k, v)| KvTypes { k, v })
}

fn preset() -> impl Strategy<Value = Preset> {
    let stack = (prop::sample::select(StackKind::ALL.to_vec()), any::<bool>())
        .prop_map(|(kind, required)| StackChoice { kind, required, command: Vec::new() });
    let variant = ("[a-z0-9-]{1,8}", spec(), option::of(kv_types()))
        .prop_map(|(label, spec, kv_type)| SpecVariant { label, spec, kv_type });
    let kv_type = kv_types();
    let route = prop_oneof![Just(Route::Completion), Just(Route::Chat), Just(Route::OpenAiCompletion)];
    let device = prop_oneof![Just(Device::Auto), Just(Device::Cpu), Just(Device::Gpu)];
    let ple_table = prop_oneof![Just(PleTable::Auto), Just(PleTable::Device), Just(PleTable::Host)];
    let serving = (nonzero(), kv_type, nonzero(), route, device, ple_table).prop_map(
        |(context_tokens, kv_type, threads, route, device, ple_table)| ServingParams {
            context_tokens,
            kv_type,
            threads,
            route,
            device,
            ple_table,
            slots: NonZeroU32::MIN,
        },
    );
    let order = prop_oneof![Just(RunOrder::Abba), Just(RunOrder::Random)];
    let ends = (order, 1_u32..6, 0.0_f64..1.0);
    let run = (nonzero(), any::<u32>(), nonzero(), any::<u64>(), any::<u32>(), 0.0_f64..1.0, ends).prop_map(
        |(blocks, warmup_requests, concurrency, request_timeout_ms, max_restarts, min_acceptance, ends)| {
            let (order, max_looks, margin) = ends;
            RunParams {
                blocks,
                warmup_requests,
                concurrency,
                request_timeout_ms,
                max_restarts,
                min_acceptance,
                order,
                max_looks,
                throughput_margin: margin,
                ttft_margin: margin,
                duration_s: NonZeroU32::new(max_restarts % 5),
                think_time_ms: u64::from(max_restarts % 3),
                kv_quality_tokens: max_restarts,
                load: Load::Closed,
                sweep_concurrency: Vec::new(),
            }
        },
    );
    let lists = (vec(stack, 1..3), vec(variant, 1..4));
    (any::<String>(), any::<String>(), models(), lists, serving, workload(), sampling(), run).prop_map(
        |(name, description, models, (stacks, variants), serving, workload, sampling, run)| Preset {
            schema: PRESET_SCHEMA,
            name,
            description,
            models,
            stacks,
            variants,
            serving,
            workload,
            sampling,
            run,
        },
    )
}

fn arm() -> impl Strategy<Value = ArmManifest> {
    let status = prop_oneof![
        Just(ArmStatus::Ready),
        any::<String>().prop_map(|reason| ArmStatus::Skipped { reason }),
        (failure_kind(), any::<String>()).prop_map(|(kind, detail)| ArmStatus::Failed { kind, detail }),
    ];
    let words =
        (any::<Option<String>>(), any::<Option<u32>>(), btree_map(any::<String>(), any::<String>(), 0..3));
    (any::<String>(), spec(), status, words).prop_map(|(label, spec, status, (word, number, details))| {
        let info = StackInfo {
            kind: StackKind::LlamaServer,
            build: word.clone(),
            model: word.clone(),
            speculation: word.clone(),
            kv_type: word,
            context_tokens: number,
            threads: number,
            draft_max: number,
            device: None,
            target_sha256: Some("3".repeat(64)),
            assistant_sha256: None,
            recipe: label.clone(),
            details,
        };
        ArmManifest {
            label,
            stack: StackKind::LlamaServer,
            variant: "v".to_owned(),
            spec,
            status,
            info: Some(info),
            config_sha256: None,
            kv_quality: None,
            concurrency: None,
        }
    })
}

fn manifest() -> impl Strategy<Value = RunManifest> {
    let end = (any::<u64>(), any::<bool>(), any::<u64>()).prop_map(|(unix_ms, interrupted, rows)| RunEnd {
        unix_ms,
        interrupted,
        rows,
    });
    let host = (
        any::<Option<String>>(),
        any::<Option<u32>>(),
        vec(any::<String>(), 0..3),
        option::of(0.0_f64..99.0),
    )
        .prop_map(|(os, cpu_count, cpu_features, load_before)| HostInfo {
            kernel: os.clone(),
            cpu: os.clone(),
            os,
            cpu_count,
            cpu_features,
            memory_bytes: cpu_count.map(u64::from),
            gpus: Vec::new(),
            load_before,
        });
    let command = vec(any::<String>(), 0..4);
    (any::<String>(), command, any::<u64>(), option::of(end), preset(), host, vec(arm(), 0..3)).prop_map(
        |(run_id, command, started_unix_ms, end, preset, host, arms)| RunManifest {
            schema: RECORD_SCHEMA,
            suite_version: "0.1.0".to_owned(),
            preset_sha256: run_id.clone(),
            target_sha256: command.first().cloned(),
            assistant_sha256: command.get(1).cloned(),
            run_id,
            command,
            started_unix_ms,
            end,
            preset,
            host,
            client: end.map(|end| ClientRecord {
                passes: arms.iter().map(|arm| client_pass(&arm.label, end.rows)).collect(),
                reader_threads: 1,
                peak_memory_bytes: Some(end.unix_ms),
            }),
            arms,
            noise_floor: None,
            shard: None,
            memory_bandwidth: None,
            notes: Vec::new(),
        },
    )
}

fn client_pass(arm: &str, number: u64) -> ClientPass {
    let late = Lateness { rings: number, p50_ns: number, p99_ns: number, max_ns: number };
    ClientPass { arm: arm.to_owned(), block: 0, wall_ns: number, cpu_ns: Some(number), late }
}

proptest! {
    #[test]
    fn rows(rows in vec(record(), 0..4)) {
        let mut bytes = Vec::new();
        for row in &rows {
            serde_json::to_writer(&mut bytes, row).unwrap();
            bytes.push(b'\n');
        }
        let read = parse_rows(&bytes).unwrap();
        prop_assert_eq!(read.torn_tail, None);
        prop_assert_eq!(read.rows, rows);
    }

    #[test]
    fn manifests(manifest in manifest()) {
        let bytes = serde_json::to_vec_pretty(&manifest).unwrap();
        prop_assert_eq!(parse_manifest(&bytes).unwrap(), manifest);
    }

    #[test]
    fn no_bytes_panic_a_reader(bytes in vec(any::<u8>(), 0..200)) {
        // Random bytes are no row; what has to hold is that they are told apart and nothing panics.
        if let Ok(read) = parse_rows(&bytes) {
            prop_assert!(read.rows.is_empty());
        }
        prop_assert!(parse_manifest(&bytes).is_err());
        let read = parse_environment(&bytes);
        prop_assert!(read.head.is_none() && read.samples.is_empty());
    }
}

/// A key that a preset does not use must not change its hash, or old runs could not be told to be of one experiment.
#[test]
fn published_runs_keep_the_hash_of_their_preset() {
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/published");
    let mut read = 0;
    let entries = std::fs::read_dir(&published).unwrap().map(|entry| entry.unwrap().path());
    // Kernel measurements are published beside runs and have no manifest.
    for run in entries.filter(|path| path.join("manifest.json").exists()) {
        let bytes = std::fs::read(run.join("manifest.json")).unwrap();
        let manifest = parse_manifest(&bytes).unwrap();
        assert_eq!(preset_sha256(&manifest.preset).unwrap(), manifest.preset_sha256, "{}", manifest.run_id);
        read += 1;
    }
    assert!(read > 0, "no run in {}", published.display());
}
