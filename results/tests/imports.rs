//! Files that the real tools wrote against `bench mock` (how: `tests/imports/README.md`), read back; and what is refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::float_cmp, reason = "equal to the last digit is what is promised")]

use std::path::{Path, PathBuf};

use bench_core::report::Report;
use bench_results::{ImportFormat, ResultsError, import, imported_report, load, parse_import};
use proptest::prelude::*;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports").join(name)
}

fn read(name: &str) -> Report {
    parse_import(&std::fs::read(file(name)).unwrap(), (name, "abc"), None).unwrap()
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(file(name)).unwrap()).unwrap()
}

/// The mock sends 24 tokens 4 ms apart after 20 ms: what each tool should have seen, give or take its own lateness.
fn sees_the_mock(report: &Report, requests: u64) {
    let arm = &report.arms[0];
    assert_eq!((arm.n_requests, arm.output_tokens), (requests, Some(24 * requests)), "{}", arm.label);
    assert!((20.0..40.0).contains(&arm.ttft_ms.unwrap().point), "{:?}", arm.ttft_ms);
    assert!((3.8..5.0).contains(&arm.tpot_ms.unwrap().point), "{:?}", arm.tpot_ms);
    let rate = arm.tokens_per_s.unwrap();
    assert!((220.0..265.0).contains(&rate.point) && rate.low.is_none(), "{rate:?}");
    assert!(!arm.valid && arm.invalid_reasons[0].contains("imported"), "never taken for measured by us");
}

#[test]
fn vllm_s_details_give_what_its_summary_lacks() {
    let report = read("vllm-detailed.json");
    sees_the_mock(&report, 6);
    let (arm, file) = (&report.arms[0], json("vllm-detailed.json"));
    assert_eq!(arm.label, "vllm-bench/mock-c2");
    assert_eq!(arm.ttft_ms.unwrap().point, file["median_ttft_ms"].as_f64().unwrap());
    let gaps = arm.inter_chunk.unwrap();
    assert_eq!(gaps.count, 144);
    assert!((gaps.mean_ms - file["mean_itl_ms"].as_f64().unwrap()).abs() < 1e-9);
    assert_eq!(report.started_unix_ms, 1_795_427_408_000, "2026-11-23 09:50:08");
}

#[test]
fn vllm_s_acceptance_is_counted_in_shares() {
    let report = read("vllm-summary.json");
    let arm = &report.arms[0];
    assert_eq!((arm.drafted, arm.accepted), (Some(162), Some(90)));
    // Theirs is in per cent.
    assert_eq!(arm.acceptance_rate.unwrap().point, 90.0 / 162.0);
    assert!((arm.acceptance_length.unwrap().point - (1.0 + 90.0 / 54.0)).abs() < 1e-12);
    assert_eq!(arm.accepted_per_position, Some(vec![42, 30, 18]));
    assert_eq!((arm.tokens_per_s, arm.inter_chunk, arm.verify_steps), (None, None, None), "not in the file");
    assert!(report.notes.iter().any(|note| note.contains("saved without details")), "{:?}", report.notes);
}

#[test]
fn sglang_s_lines_are_arms() {
    let report = read("sglang.jsonl");
    assert_eq!(report.arms.len(), 2);
    let [summary, detailed] = &report.arms[..] else { panic!() };
    assert_eq!((&*summary.label, summary.tokens_per_s), ("sglang-bench/sglang-oai-chat-c2", None));
    assert_eq!(detailed.label, "sglang-bench/sglang-oai-chat-c2#2");
    assert!((240.0..255.0).contains(&detailed.tokens_per_s.unwrap().point));
    assert_eq!(detailed.inter_chunk.unwrap().count, 4 * 23);
    assert_eq!(summary.acceptance_length, None, "null in the file");
}

#[test]
fn aiperf_and_guidellm_name_their_versions() {
    let aiperf = read("aiperf.json");
    sees_the_mock(&aiperf, 6);
    assert_eq!(aiperf.imported.as_ref().unwrap().tool_version.as_deref(), Some("0.13.0"));
    assert_eq!(aiperf.arms[0].label, "aiperf/mock-c2");
    assert_eq!(aiperf.arms[0].inter_chunk.unwrap().count, 138);
    let guidellm = read("guidellm.json");
    sees_the_mock(&guidellm, 4);
    assert_eq!(guidellm.imported.as_ref().unwrap().tool_version.as_deref(), Some("0.8.1"));
    assert_eq!(guidellm.arms[0].label, "guidellm/mock-concurrent-c2");
    assert_eq!(guidellm.arms[0].prompt_tokens, None, "GuideLLM's 0 is of a server that told none");
}

#[test]
fn llama_bench_says_the_same_in_json_lines_and_sql() {
    let [of_json, lines, sql] = ["llama-bench.json", "llama-bench.jsonl", "llama-bench.sql"].map(read);
    let file = json("llama-bench.json");
    let generated: Vec<_> =
        file.as_array().unwrap().iter().filter(|test| test["n_gen"].as_u64() > Some(0)).collect();
    assert_eq!(of_json.arms.len(), generated.len());
    for report in [&of_json, &lines, &sql] {
        assert!(report.imported.as_ref().unwrap().tool_version.is_some());
        assert!(report.host.cpu.is_some());
        assert!(report.notes.iter().any(|note| note.contains("only read a prompt")));
        for (arm, test) in report.arms.iter().zip(&generated) {
            assert!(arm.tokens_per_s.unwrap().point > 0.0);
            assert_eq!(
                arm.output_tokens.map(|tokens| tokens % test["n_gen"].as_u64().unwrap()).unwrap_or(0),
                0
            );
            assert_eq!((arm.ttft_ms, arm.inter_chunk), (None, None));
        }
    }
    assert_eq!(of_json.arms[0].tokens_per_s.unwrap().point, generated[0]["avg_ts"].as_f64().unwrap());
    let labels = |report: &Report| report.arms.iter().map(|arm| arm.label.clone()).collect::<Vec<_>>();
    assert_eq!((labels(&of_json), labels(&lines)), (labels(&lines), labels(&sql)));
}

#[test]
fn speed_bench_s_categories_are_kept() {
    let text = r#"{"config": {"bench": "qualitative", "concurrency": 1}, "selected_samples": 3, "completed_samples": 3,
        "failed_samples": 0, "results": [], "summary": [
        {"category": "coding", "requests": 2, "avg_prompt_t_s": 900.5, "avg_pred_t_s": 81.5, "avg_latency": 2.5,
         "draft_n": 300, "accepted": 210, "accept_rate": 0.7},
        {"category": "overall", "requests": 3, "avg_prompt_t_s": 880.0, "avg_pred_t_s": 77.0, "avg_latency": 2.75,
         "draft_n": 500, "accepted": 300, "accept_rate": 0.6}]}"#;
    let report = parse_import(text.as_bytes(), ("spec.json", "abc"), None).unwrap();
    let arm = &report.arms[0];
    assert_eq!(arm.label, "speed-bench/qualitative-c1");
    assert_eq!((arm.tokens_per_s.unwrap().point, arm.acceptance_rate.unwrap().point), (77.0, 0.6));
    assert_eq!((arm.categories.len(), arm.categories[0].acceptance_rate.unwrap().point), (1, 0.7));
}

#[test]
fn what_is_not_understood_says_where_and_what_was_expected() {
    let refused = |text: &str, format| parse_import(text.as_bytes(), ("x", "y"), format).unwrap_err();
    let error =
        refused(r#"{"model_id": 1, "tokenizer_id": "t", "request_throughput": 2, "completed": "six"}"#, None);
    assert_eq!(error.to_string(), "`completed` is the text `six`, expected a count");
    let error = refused(r#"{"apples": 3}"#, None);
    assert_eq!(error.to_string(), "no tool that is known here writes these keys: apples");
    assert!(error.hint().unwrap().contains("llama-bench"));
    let error = refused(r#"{"benchmarks": [{"metrics": {}}]}"#, Some(ImportFormat::GuideLlm));
    assert_eq!(
        error.to_string(),
        "`benchmarks[0].metrics.request_totals` is missing, expected an object of counts"
    );
    let error = refused("[]", Some(ImportFormat::LlamaBench));
    assert_eq!(error.to_string(), "no result of llama-bench in the file");
    assert!(refused("{", None).to_string().contains("is not JSON"));
    let error = refused(r#"[{"n_gen": 1, "avg_ts": 1e999}]"#, Some(ImportFormat::LlamaBench));
    assert!(error.to_string().contains("not JSON"), "{error}");
}

#[test]
fn an_import_is_kept_redrawn_and_never_merged() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("import");
    let report = import(&file("aiperf.json"), None, &out).unwrap();
    assert_eq!(imported_report(&out).unwrap(), Some(report));
    assert_eq!(imported_report(dir.path()).unwrap(), None, "no import");
    let error = load(std::slice::from_ref(&out)).unwrap_err();
    assert!(matches!(error, ResultsError::NotMeasured { .. }), "{error}");
    assert!(error.to_string().contains("imported from another tool"));
    assert!(matches!(import(&file("aiperf.json"), None, &out).unwrap_err(), ResultsError::Occupied { .. }));

    std::fs::write(out.join("aiperf.json"), "{}").unwrap();
    assert!(matches!(imported_report(&out).unwrap_err(), ResultsError::Changed { .. }));
}

/// A file of each tool, cut off or with a byte changed anywhere.
fn damaged() -> impl Strategy<Value = (Vec<u8>, ImportFormat)> {
    let files = [
        ("vllm-detailed.json", ImportFormat::VllmBench),
        ("vllm-summary.json", ImportFormat::VllmBench),
        ("sglang.jsonl", ImportFormat::Sglang),
        ("aiperf.json", ImportFormat::AiPerf),
        ("guidellm.json", ImportFormat::GuideLlm),
        ("llama-bench.sql", ImportFormat::LlamaBench),
        ("llama-bench.json", ImportFormat::LlamaBench),
    ];
    (0..files.len(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(
        move |(nth, at, byte, cut)| {
            let mut bytes = std::fs::read(file(files[nth].0)).unwrap();
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at)
            } else {
                bytes[at] = byte
            }
            (bytes, files[nth].1)
        },
    )
}

/// Any JSON at all, of the keys that importers ask for.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let key = prop::sample::select(vec![
        "completed",
        "itls",
        "ttfts",
        "output_lens",
        "metrics",
        "benchmarks",
        "summary",
        "n_gen",
        "samples_ns",
        "request_totals",
        "successful",
        "completed_samples",
        "spec_decode_num_drafts",
        "date",
        "test_time",
        "spec_decode_per_position_acceptance_rates",
        "request_count",
        "avg",
        "start_time",
        "config",
        "category",
    ]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<f64>().prop_map(|number| serde_json::json!(number)),
        any::<u64>().prop_map(|number| serde_json::json!(number)),
        "[0-9TZ:\\-]{0,20}".prop_map(|text| serde_json::json!(text)),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| serde_json::json!(items)),
            prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|map| serde_json::json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn damage_is_an_error_and_no_panic((bytes, format) in damaged()) {
        drop(parse_import(&bytes, ("x", "y"), None));
        drop(parse_import(&bytes, ("x", "y"), Some(format)));
    }

    #[test]
    fn no_document_makes_an_importer_panic(document in any_json()) {
        let bytes = serde_json::to_vec(&document).unwrap();
        for format in ImportFormat::ALL {
            drop(parse_import(&bytes, ("x", "y"), Some(format)));
        }
    }
}
