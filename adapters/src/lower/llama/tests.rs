use std::num::NonZeroU32;

use bench_core::preset::{DraftHead, PleTable, Route, SyntheticRates};

use super::*;

fn n(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).unwrap()
}

fn mtp(acceptance: AcceptanceRule) -> SpecDecode {
    SpecDecode::Mtp { draft_max: n(3), acceptance, draft_head: DraftHead::Auto }
}

fn real_mtp() -> SpecDecode {
    mtp(AcceptanceRule::SampleAndCompare)
}

fn nextn() -> SpecDecode {
    SpecDecode::Nextn { draft_max: n(2), draft_min: 1, acceptance: AcceptanceRule::default() }
}

fn serving(kv_type: impl Into<KvTypes>, device: Device) -> ServingParams {
    ServingParams {
        context_tokens: n(1024),
        kv_type: kv_type.into(),
        threads: n(2),
        route: Route::Completion,
        device,
        ple_table: PleTable::Auto,
        slots: NonZeroU32::MIN,
    }
}

fn line(dialect: Dialect, spec: &SpecDecode, serving: &ServingParams) -> Result<String, String> {
    let args = args(dialect, Path::new("t.gguf"), Some(Path::new("a.gguf")), spec, serving, 8080);
    args.map(|args| args.join(" ")).map_err(|error| error.to_string())
}

/// What the dialect says of this way of speculating: the words between the target and the context.
fn speculation(dialect: Dialect, spec: &SpecDecode) -> String {
    let line = line(dialect, spec, &serving(KvType::F16, Device::Auto)).unwrap();
    let end = line.find(" -c 1024").unwrap();
    line["-m t.gguf".len()..end].trim().to_owned()
}

#[test]
fn plain_decoding() {
    insta::assert_snapshot!(line(Dialect::Upstream, &SpecDecode::None, &serving(KvType::F16, Device::Auto)).unwrap(), @"-m t.gguf -c 1024 -np 1 -ctk f16 -ctv f16 -fa auto -t 2 -tb 2 --host 127.0.0.1 --port 8080 --metrics --slots");
}

#[test]
fn mtp_with_a_quantised_cache() {
    insta::assert_snapshot!(line(Dialect::Upstream, &real_mtp(), &serving(KvType::Q8_0, Device::Auto)).unwrap(), @"-m t.gguf -md a.gguf --spec-type draft-mtp --spec-draft-n-max 3 --spec-draft-threads 2 --spec-draft-threads-batch 2 -c 1024 -np 1 -ctk q8_0 -ctv q8_0 -ctkd q8_0 -ctvd q8_0 -fa on -t 2 -tb 2 --host 127.0.0.1 --port 8080 --metrics --slots");
}

#[test]
fn every_method_in_every_dialect() {
    let draft_model = SpecDecode::DraftModel { draft_max: n(5), acceptance: AcceptanceRule::default() };
    let ngram = SpecDecode::Ngram { draft_max: n(8), ngram_min: n(2), ngram_max: n(4) };
    insta::assert_snapshot!(speculation(Dialect::Upstream, &real_mtp()), @"-md a.gguf --spec-type draft-mtp --spec-draft-n-max 3 --spec-draft-threads 2 --spec-draft-threads-batch 2");
    insta::assert_snapshot!(speculation(Dialect::AtomicOld, &real_mtp()), @"-md a.gguf --spec-type mtp --draft-block-size 4 --draft-max 3 --draft-min 0 -td 2 -tbd 2");
    insta::assert_snapshot!(speculation(Dialect::Upstream, &nextn()), @"--spec-type draft-mtp --spec-draft-n-max 2 --spec-draft-n-min 1 --spec-draft-threads 2 --spec-draft-threads-batch 2");
    insta::assert_snapshot!(speculation(Dialect::AtomicOld, &nextn()), @"-md t.gguf --spec-type nextn --draft-max 2 --draft-min 1 -td 2 -tbd 2");
    insta::assert_snapshot!(speculation(Dialect::Upstream, &draft_model), @"-md a.gguf --spec-type draft-simple --spec-draft-n-max 5 --spec-draft-threads 2 --spec-draft-threads-batch 2");
    insta::assert_snapshot!(speculation(Dialect::AtomicOld, &draft_model), @"-md a.gguf --spec-type draft --draft-max 5 --draft-min 0 -td 2 -tbd 2");
    insta::assert_snapshot!(speculation(Dialect::Upstream, &ngram), @"--spec-type ngram-simple --spec-ngram-simple-size-n 4 --spec-ngram-simple-size-m 8");
    insta::assert_snapshot!(speculation(Dialect::AtomicOld, &ngram), @"--spec-type ngram-simple --spec-ngram-size-n 4 --spec-ngram-size-m 8");
    for spec in [real_mtp(), nextn(), draft_model, ngram] {
        assert_eq!(speculation(Dialect::AtomicNew, &spec), speculation(Dialect::Upstream, &spec));
    }
}

#[test]
fn both_draft_heads_are_one_command_line() {
    let dense = SpecDecode::Mtp {
        draft_max: n(3),
        acceptance: AcceptanceRule::default(),
        draft_head: DraftHead::Dense,
    };
    assert_eq!(speculation(Dialect::Upstream, &dense), speculation(Dialect::Upstream, &real_mtp()));
}

#[test]
fn an_ngram_is_never_longer_than_its_draft() {
    let spec = SpecDecode::Ngram { draft_max: n(3), ngram_min: n(2), ngram_max: n(4) };
    let line = speculation(Dialect::Upstream, &spec);
    assert!(line.contains("--spec-ngram-simple-size-n 3 --spec-ngram-simple-size-m 3"), "{line}");
}

#[test]
fn synthetic_acceptance_is_upstreams() {
    let spec = mtp(AcceptanceRule::Synthetic(SyntheticRates::new(vec![0.8, 0.6, 0.0]).unwrap()));
    assert!(
        speculation(Dialect::Upstream, &spec).contains("--spec-draft-n-max 3 --spec-synth-rates 0.8,0.6,0 ")
    );
    for dialect in [Dialect::AtomicOld, Dialect::AtomicNew] {
        let error = line(dialect, &spec, &serving(KvType::F16, Device::Auto)).unwrap_err();
        assert_eq!(
            error,
            "atomic-llama-server cannot accept drafts by coin flips: the fork has no synthetic acceptance, llama-server has"
        );
    }
}

#[test]
fn turbo_caches_are_the_forks() {
    let turbo = serving(KvType::Turbo3, Device::Gpu);
    insta::assert_snapshot!(line(Dialect::AtomicNew, &real_mtp(), &turbo).unwrap(), @"-m t.gguf -md a.gguf --spec-type draft-mtp --spec-draft-n-max 3 --spec-draft-threads 2 --spec-draft-threads-batch 2 -c 1024 -np 1 -ctk turbo3 -ctv turbo3 -ctkd turbo3 -ctvd turbo3 -fa on -ngl 99 -ngld 99 -t 2 -tb 2 --host 127.0.0.1 --port 8080 --metrics --slots");
    assert_eq!(
        line(Dialect::Upstream, &real_mtp(), &turbo).unwrap_err(),
        "llama-server cannot keep a turbo3 KV cache: only the fork has it, the stack `atomic-llama-server`"
    );
}

#[test]
fn keys_and_values_have_types_of_their_own() {
    let mixed = |k, v| serving(KvTypes { k, v }, Device::Auto);
    let types = |dialect, serving: &ServingParams| {
        let line = line(dialect, &real_mtp(), serving).unwrap();
        let (_, types) = line.split_once("-np 1 ").unwrap();
        types.split_once(" -t ").unwrap().0.to_owned()
    };
    assert_eq!(
        types(Dialect::Upstream, &mixed(KvType::F16, KvType::Q8_0)),
        "-ctk f16 -ctv q8_0 -ctkd f16 -ctvd q8_0 -fa on"
    );
    assert_eq!(
        types(Dialect::AtomicNew, &mixed(KvType::Q8_0, KvType::Turbo3)),
        "-ctk q8_0 -ctv turbo3 -ctkd q8_0 -ctvd turbo3 -fa on"
    );
    let error = line(Dialect::Upstream, &SpecDecode::None, &mixed(KvType::Q8_0, KvType::Turbo3)).unwrap_err();
    assert!(error.starts_with("llama-server cannot keep a turbo3 KV cache"), "{error}");
}

#[test]
fn turbo4_atomic_is_the_forks_turbo4() {
    let types = |kv: KvType| line(Dialect::AtomicNew, &SpecDecode::None, &serving(kv, Device::Auto)).unwrap();
    assert!(types(KvType::Turbo4Atomic).contains("-ctk turbo4 -ctv turbo4 -fa on"));
    assert_eq!(types(KvType::Turbo4Atomic), types(KvType::Turbo4));
}

#[test]
fn devices_are_told_for_the_target_and_its_drafter() {
    let on =
        |device, spec: &SpecDecode| line(Dialect::Upstream, spec, &serving(KvType::F16, device)).unwrap();
    assert!(!on(Device::Auto, &real_mtp()).contains("-ngl"));
    assert!(on(Device::Gpu, &SpecDecode::None).contains(" -ngl 99 -t "));
    assert!(on(Device::Gpu, &nextn()).contains(" -ngl 99 -ngld 99 -t "));
    assert!(on(Device::Cpu, &SpecDecode::None).contains(" -ngl 0 -dev none -t "));
    assert!(on(Device::Cpu, &real_mtp()).contains(" -ngl 0 -dev none -ngld 0 -devd none -t "));
}

#[test]
fn a_proxy_may_choose_the_port() {
    let serving = serving(KvType::F16, Device::Auto);
    let args = args(Dialect::Upstream, Path::new("t"), None, &SpecDecode::None, &serving, "${PORT}").unwrap();
    assert!(args.join(" ").contains("--port ${PORT}"));
}

#[test]
fn what_it_cannot_do_is_an_error() {
    let serving = serving(KvType::F16, Device::Auto);
    let rejection = line(Dialect::Upstream, &mtp(AcceptanceRule::Rejection), &serving).unwrap_err();
    assert!(rejection.starts_with("llama-server cannot accept drafts by rejection"), "{rejection}");
    let alone = args(Dialect::AtomicNew, Path::new("t"), None, &real_mtp(), &serving, 1).unwrap_err();
    assert_eq!(alone.to_string(), "atomic-llama-server cannot draft with mtp: no assistant model was given");
}

#[test]
fn a_dialect_is_known_by_its_help() {
    let detect = |help: &str| Dialect::detect(help);
    // Lines of the three: llama.cpp b10434, the fork's b10018-1.2.0, and the fork in May 2026.
    let upstream =
        "-ctk, --cache-type-k TYPE\n  allowed values: f32, f16, bf16, q8_0, q4_0\n--spec-draft-n-max N";
    let new = "allowed values: f32, f16, bf16, q8_0, q5_1, turbo2, turbo3, turbo4\n--spec-draft-n-max N";
    let old = "allowed values: f32, f16, turbo3\n--draft-block-size N  MTP draft block size B (drafts B-1 tokens per round; default: 3)";
    assert_eq!([upstream, new, old].map(detect), [Dialect::Upstream, Dialect::AtomicNew, Dialect::AtomicOld]);
}

#[test]
fn a_place_of_the_table_of_per_layer_embeddings_is_refused() {
    for place in [PleTable::Device, PleTable::Host] {
        let serving = ServingParams { ple_table: place, ..serving(KvType::F16, Device::Gpu) };
        let error = line(Dialect::Upstream, &SpecDecode::None, &serving).unwrap_err();
        let words = format!("per-layer embeddings on the {}; leave `serving.ple_table` out", place.as_str());
        assert!(error.contains(&words), "{error}");
    }
}
