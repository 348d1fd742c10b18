//! Command lines of vLLM's OpenAI-compatible server; words as in 0.32 (`--per-request-spec-decode-metrics` is younger
//! than 0.26).
//!
//! What has no word there: CPU threads (the environment says, see [`env()`]) and the device, which is the installed build's
//! own; the read-back tells which it is.

use std::fmt::Display;

use bench_core::preset::{
    AcceptanceRule, DraftHead, HfModels, KvType, KvTypes, ServingParams, SpecDecode, StackKind,
};
use bench_core::stack::StackError;
use serde_json::{Value, json};

use super::{Args, unsupported};

/// Arguments of `vllm`: a server on loopback `port`, without prefix caching, that reports what each request's
/// speculation did.
///
/// # Errors
///
/// [`StackError::Unsupported`], for what vLLM has no words for; without `hf` always, as it reads no GGUF.
pub fn args(
    hf: Option<&HfModels>,
    spec: &SpecDecode,
    serving: &ServingParams,
    port: impl Display,
) -> Result<Vec<String>, StackError> {
    let hf = hf.ok_or_else(|| {
        cannot("read GGUF files: name the same model as transformers keeps it, with `models.hf_target`")
    })?;
    if let Some(what) = super::refused_ple_table(serving) {
        return Err(cannot(what));
    }
    let mut args = Args::default();
    args.pair("serve", &hf.target);
    if let Some(config) = speculative_config(Some(hf), spec)? {
        args.pair("--speculative-config", config);
        // It refuses to start with this flag where nothing speculates.
        args.pair("--per-request-spec-decode-metrics", "detailed");
    }
    args.flag("--enable-per-request-metrics");
    args.pair("--max-model-len", serving.context_tokens);
    args.pair("--kv-cache-dtype", kv_cache_dtype(serving.kv_type)?);
    args.flag("--no-enable-prefix-caching");
    // Sampling is the preset's: by default the model's generation_config.json fills in what a request leaves out.
    args.pair("--generation-config", "vllm");
    args.pair("--host", "127.0.0.1");
    args.pair("--port", port);
    Ok(args.0)
}

/// Its environment: threads, where the build computes on the CPU.
#[must_use]
pub fn env(serving: &ServingParams) -> Vec<(&'static str, String)> {
    vec![("OMP_NUM_THREADS", serving.threads.to_string())]
}

/// The JSON of `--speculative-config`; `None` for plain decoding.
///
/// # Errors
///
/// [`StackError::Unsupported`], for what vLLM has no words for.
pub fn speculative_config(hf: Option<&HfModels>, spec: &SpecDecode) -> Result<Option<Value>, StackError> {
    let mut config = match spec {
        SpecDecode::None => return Ok(None),
        SpecDecode::Mtp { draft_head: DraftHead::Dense, .. } => {
            return Err(cannot(
                "draft from the whole vocabulary: where an assistant has centroids, it drafts from the nearest ones",
            ));
        }
        SpecDecode::Mtp { draft_head: DraftHead::Auto, .. } => {
            json!({ "method": "mtp", "model": assistant(hf, spec)? })
        }
        SpecDecode::Nextn { draft_min: 0 | 1, .. } => json!({ "method": "mtp" }),
        SpecDecode::Nextn { draft_min, .. } => {
            return Err(cannot(format!(
                "throw away drafts shorter than {draft_min}: it verifies all of them"
            )));
        }
        SpecDecode::DraftModel { .. } => json!({ "method": "draft_model", "model": assistant(hf, spec)? }),
        SpecDecode::Ngram { ngram_min, ngram_max, .. } => {
            json!({ "method": "ngram", "prompt_lookup_min": ngram_min, "prompt_lookup_max": ngram_max })
        }
    };
    config["num_speculative_tokens"] = json!(spec.draft_max());
    match spec.acceptance() {
        // Its default: the draft is the drafter's best token, kept with the target's probability of it. That is how
        // often a sample of the target equals it.
        None | Some(AcceptanceRule::SampleAndCompare) => {}
        Some(AcceptanceRule::Rejection) => {
            config["rejection_sample_method"] = json!("standard");
            config["draft_sample_method"] = json!("probabilistic");
        }
        Some(AcceptanceRule::Synthetic(rates)) => {
            config["rejection_sample_method"] = json!("synthetic");
            config["synthetic_acceptance_rates"] = json!(rates.marginal());
        }
    }
    Ok(Some(config))
}

fn assistant<'a>(hf: Option<&'a HfModels>, spec: &SpecDecode) -> Result<&'a str, StackError> {
    hf.and_then(|hf| hf.assistant.as_deref()).ok_or_else(|| {
        cannot(format!(
            "draft with {}: name the assistant as transformers keeps it, with `models.hf_assistant`",
            spec.method()
        ))
    })
}

/// Its eight-bit types are floats (fp8) or quantised by token and head, its turboquant types have other bits, scales and
/// exempt layers: none is a type of ours.
fn kv_cache_dtype(kv: KvTypes) -> Result<&'static str, StackError> {
    match (kv.k, kv.v) {
        (KvType::F16, KvType::F16) => Ok("float16"),
        (KvType::Bf16, KvType::Bf16) => Ok("bfloat16"),
        (k, v) if k != v => {
            Err(cannot(format!("keep a {kv} KV cache: it has one type for keys and values, f16 or bf16")))
        }
        _ => Err(cannot(format!("keep a {kv} KV cache: of the types of a preset it has f16 and bf16"))),
    }
}

fn cannot(what: impl Into<String>) -> StackError {
    unsupported(StackKind::Vllm, what)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use bench_core::preset::{Device, Route, SyntheticRates};

    use super::*;

    fn n(value: u32) -> NonZeroU32 {
        NonZeroU32::new(value).unwrap()
    }

    fn hf() -> HfModels {
        HfModels { target: "google/t".to_owned(), assistant: Some("google/a".to_owned()) }
    }

    fn serving(kv_type: impl Into<KvTypes>) -> ServingParams {
        ServingParams {
            context_tokens: n(4096),
            kv_type: kv_type.into(),
            threads: n(4),
            route: Route::Chat,
            device: Device::Auto,
            ple_table: bench_core::preset::PleTable::Auto,
            slots: NonZeroU32::MIN,
        }
    }

    fn mtp(acceptance: AcceptanceRule) -> SpecDecode {
        SpecDecode::Mtp { draft_max: n(2), acceptance, draft_head: DraftHead::Auto }
    }

    fn config(spec: &SpecDecode) -> String {
        speculative_config(Some(&hf()), spec).unwrap().unwrap().to_string()
    }

    #[test]
    fn plain_decoding_asks_for_no_record_of_speculation() {
        let args = args(Some(&hf()), &SpecDecode::None, &serving(KvType::Bf16), 8000).unwrap().join(" ");
        insta::assert_snapshot!(args, @"serve google/t --enable-per-request-metrics --max-model-len 4096 --kv-cache-dtype bfloat16 --no-enable-prefix-caching --generation-config vllm --host 127.0.0.1 --port 8000");
    }

    #[test]
    fn an_assistant_drafts() {
        let args = args(Some(&hf()), &mtp(AcceptanceRule::SampleAndCompare), &serving(KvType::F16), 8000);
        insta::assert_snapshot!(args.unwrap().join(" "), @r#"serve google/t --speculative-config {"method":"mtp","model":"google/a","num_speculative_tokens":2} --per-request-spec-decode-metrics detailed --enable-per-request-metrics --max-model-len 4096 --kv-cache-dtype float16 --no-enable-prefix-caching --generation-config vllm --host 127.0.0.1 --port 8000"#);
    }

    #[test]
    fn every_method_has_its_json() {
        let acceptance = AcceptanceRule::SampleAndCompare;
        insta::assert_snapshot!(config(&SpecDecode::Nextn { draft_max: n(2), draft_min: 1, acceptance: acceptance.clone() }), @r#"{"method":"mtp","num_speculative_tokens":2}"#);
        insta::assert_snapshot!(config(&SpecDecode::DraftModel { draft_max: n(5), acceptance }), @r#"{"method":"draft_model","model":"google/a","num_speculative_tokens":5}"#);
        insta::assert_snapshot!(config(&SpecDecode::Ngram { draft_max: n(8), ngram_min: n(2), ngram_max: n(4) }), @r#"{"method":"ngram","num_speculative_tokens":8,"prompt_lookup_max":4,"prompt_lookup_min":2}"#);
        insta::assert_snapshot!(config(&mtp(AcceptanceRule::Rejection)), @r#"{"draft_sample_method":"probabilistic","method":"mtp","model":"google/a","num_speculative_tokens":2,"rejection_sample_method":"standard"}"#);
        let rates = SyntheticRates::from_length(1.75, n(2)).unwrap();
        insta::assert_snapshot!(config(&mtp(AcceptanceRule::Synthetic(rates))), @r#"{"method":"mtp","model":"google/a","num_speculative_tokens":2,"rejection_sample_method":"synthetic","synthetic_acceptance_rates":[0.75,0.0]}"#);
        assert_eq!(speculative_config(None, &SpecDecode::None).unwrap(), None);
    }

    #[test]
    fn what_it_cannot_do_is_an_error_that_says_what_to_do() {
        let said = |result: Result<Vec<String>, StackError>| result.unwrap_err().to_string();
        let plain = serving(KvType::F16);
        assert_eq!(
            said(args(None, &SpecDecode::None, &plain, 1)),
            "vllm cannot read GGUF files: name the same model as transformers keeps it, with `models.hf_target`"
        );
        let alone = HfModels { assistant: None, ..hf() };
        assert_eq!(
            said(args(Some(&alone), &mtp(AcceptanceRule::SampleAndCompare), &plain, 1)),
            "vllm cannot draft with mtp: name the assistant as transformers keeps it, with `models.hf_assistant`"
        );
        assert_eq!(
            said(args(Some(&hf()), &SpecDecode::None, &serving(KvType::Turbo3), 1)),
            "vllm cannot keep a turbo3 KV cache: of the types of a preset it has f16 and bf16"
        );
        assert_eq!(
            said(args(
                Some(&hf()),
                &SpecDecode::None,
                &serving(KvTypes { k: KvType::F16, v: KvType::Bf16 }),
                1
            )),
            "vllm cannot keep a f16/bf16 KV cache: it has one type for keys and values, f16 or bf16"
        );
        let long = SpecDecode::Nextn { draft_max: n(4), draft_min: 2, acceptance: AcceptanceRule::default() };
        assert!(said(args(Some(&hf()), &long, &plain, 1)).contains("drafts shorter than 2"));
        let dense = SpecDecode::Mtp {
            draft_max: n(2),
            acceptance: AcceptanceRule::default(),
            draft_head: DraftHead::Dense,
        };
        assert!(said(args(Some(&hf()), &dense, &plain, 1)).contains("whole vocabulary"));
    }
}
