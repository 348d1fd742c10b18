//! From a preset's words to llama-server's command line. The only place that knows the flags.
//!
//! Names are those of builds since b10434; older builds refuse them with a message that names the flag, which then
//! stands in the row. What llama-server cannot do as the preset says is an error, never an approximation in silence.
//!
//! N-grams differ, and a reader of results should know: `ngram-simple` looks up one length, where our engine falls back
//! to shorter ones down to `ngram_min`; it drafts exactly `draft_max` tokens or fewer at the end of its match. It throws
//! away drafts that are shorter than the n-gram, so the length it gets is `ngram_max` or `draft_max`, whichever is less
//! (seen with build b11549: 4-grams never drafted 3 tokens, but did draft 8).

use std::path::Path;

use bench_core::preset::{AcceptanceRule, KvType, ServingParams, SpecDecode, StackKind};
use bench_core::stack::StackError;

use crate::arm::ModelPaths;

/// llama-server's name of a way of speculating, as its `/slots` and `--spec-type` word it.
#[must_use]
pub fn spec_type(spec: &SpecDecode) -> &'static str {
    match spec {
        SpecDecode::None => "none",
        SpecDecode::Mtp { .. } | SpecDecode::Nextn { .. } => "draft-mtp",
        SpecDecode::DraftModel { .. } => "draft-simple",
        SpecDecode::Ngram { .. } => "ngram-simple",
    }
}

/// Arguments of a server on loopback `port` with one slot, metrics and slots on, no warm-up run.
pub fn lower(
    models: &ModelPaths,
    spec: &SpecDecode,
    serving: &ServingParams,
    port: u16,
) -> Result<Vec<String>, StackError> {
    let mut args = Args::default();
    args.pair("-m", path(&models.target)?);
    speculation(&mut args, models, spec, serving)?;
    args.pair("-c", serving.context_tokens);
    args.pair("-np", 1);
    args.pair("-ctk", serving.kv_type.as_str());
    args.pair("-ctv", serving.kv_type.as_str());
    // A quantised V cache needs flash attention; elsewhere the build's own choice is what users get.
    args.pair("-fa", if serving.kv_type == KvType::Q8_0 { "on" } else { "auto" });
    args.pair("-t", serving.threads);
    args.pair("-tb", serving.threads);
    args.pair("--host", "127.0.0.1");
    args.pair("--port", port);
    args.flag("--metrics");
    args.flag("--slots");
    Ok(args.0)
}

fn speculation(
    args: &mut Args,
    models: &ModelPaths,
    spec: &SpecDecode,
    serving: &ServingParams,
) -> Result<(), StackError> {
    match spec {
        SpecDecode::None => {}
        SpecDecode::Nextn { .. } | SpecDecode::DraftModel { .. } => {
            return Err(unsupported(&format!("draft with {}", spec.method())));
        }
        SpecDecode::Mtp { acceptance: AcceptanceRule::Synthetic(_), .. } => {
            return Err(unsupported("accept by coin flips"));
        }
        SpecDecode::Mtp { acceptance: AcceptanceRule::Rejection, .. } => {
            return Err(unsupported(
                "accept drafts by rejection sampling: it samples from the target and compares",
            ));
        }
        // It reads no centroids: both draft heads are its dense one, and the read-back says so.
        SpecDecode::Mtp { draft_max, acceptance: AcceptanceRule::SampleAndCompare, draft_head: _ } => {
            let assistant = models.assistant.as_deref();
            let assistant =
                assistant.ok_or_else(|| unsupported("draft with mtp: no assistant model was given"))?;
            args.pair("-md", path(assistant)?);
            args.pair("--spec-type", spec_type(spec));
            args.pair("--spec-draft-n-max", draft_max);
            args.pair("--spec-draft-threads", serving.threads);
            args.pair("--spec-draft-threads-batch", serving.threads);
        }
        SpecDecode::Ngram { draft_max, ngram_min: _, ngram_max } => {
            args.pair("--spec-type", spec_type(spec));
            args.pair("--spec-ngram-simple-size-n", ngram_max.min(draft_max));
            args.pair("--spec-ngram-simple-size-m", draft_max);
        }
    }
    Ok(())
}

#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn pair(&mut self, name: &str, value: impl std::fmt::Display) {
        self.flag(name);
        self.0.push(format!("{value}"));
    }
}

fn path(path: &Path) -> Result<&str, StackError> {
    path.to_str().ok_or_else(|| unsupported(&format!("open `{}`: the path is not UTF-8", path.display())))
}

fn unsupported(what: &str) -> StackError {
    StackError::Unsupported { stack: StackKind::LlamaServer, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use bench_core::preset::{Device, DraftHead, Route};

    use super::*;

    fn n(value: u32) -> NonZeroU32 {
        NonZeroU32::new(value).unwrap()
    }

    fn mtp(acceptance: AcceptanceRule, draft_head: DraftHead) -> SpecDecode {
        SpecDecode::Mtp { draft_max: n(3), acceptance, draft_head }
    }

    fn line(spec: &SpecDecode, kv_type: KvType) -> Result<String, StackError> {
        let models = ModelPaths { target: "t.gguf".into(), assistant: Some("a.gguf".into()) };
        let serving = ServingParams {
            context_tokens: n(1024),
            kv_type,
            threads: n(2),
            route: Route::Completion,
            device: Device::Auto,
        };
        lower(&models, spec, &serving, 8080).map(|args| args.join(" "))
    }

    #[test]
    fn plain_decoding() {
        insta::assert_snapshot!(line(&SpecDecode::None, KvType::F16).unwrap(), @"-m t.gguf -c 1024 -np 1 -ctk f16 -ctv f16 -fa auto -t 2 -tb 2 --host 127.0.0.1 --port 8080 --metrics --slots");
    }

    #[test]
    fn mtp_with_a_quantised_cache() {
        let spec = mtp(AcceptanceRule::SampleAndCompare, DraftHead::Auto);
        insta::assert_snapshot!(line(&spec, KvType::Q8_0).unwrap(), @"-m t.gguf -md a.gguf --spec-type draft-mtp --spec-draft-n-max 3 --spec-draft-threads 2 --spec-draft-threads-batch 2 -c 1024 -np 1 -ctk q8_0 -ctv q8_0 -fa on -t 2 -tb 2 --host 127.0.0.1 --port 8080 --metrics --slots");
    }

    #[test]
    fn both_draft_heads_are_one_command_line() {
        let [auto, dense] = [DraftHead::Auto, DraftHead::Dense]
            .map(|head| line(&mtp(AcceptanceRule::SampleAndCompare, head), KvType::F16).unwrap());
        assert_eq!(auto, dense);
    }

    #[test]
    fn an_ngram_is_never_longer_than_its_draft() {
        let spec = SpecDecode::Ngram { draft_max: n(3), ngram_min: n(2), ngram_max: n(4) };
        let line = line(&spec, KvType::F16).unwrap();
        assert!(line.contains("--spec-ngram-simple-size-n 3 --spec-ngram-simple-size-m 3"), "{line}");
    }

    #[test]
    fn ngram() {
        let spec = SpecDecode::Ngram { draft_max: n(8), ngram_min: n(2), ngram_max: n(4) };
        insta::assert_snapshot!(line(&spec, KvType::F32).unwrap(), @"-m t.gguf --spec-type ngram-simple --spec-ngram-simple-size-n 4 --spec-ngram-simple-size-m 8 -c 1024 -np 1 -ctk f32 -ctv f32 -fa auto -t 2 -tb 2 --host 127.0.0.1 --port 8080 --metrics --slots");
    }

    #[test]
    fn what_it_cannot_do_is_an_error() {
        let rejection = mtp(AcceptanceRule::Rejection, DraftHead::Auto);
        let error = line(&rejection, KvType::F16).unwrap_err();
        assert!(error.to_string().starts_with("llama-server cannot accept drafts by rejection"), "{error}");
        let mtp = mtp(AcceptanceRule::SampleAndCompare, DraftHead::Auto);
        let alone = ModelPaths { target: "t.gguf".into(), assistant: None };
        let serving = ServingParams {
            context_tokens: n(1),
            kv_type: KvType::F16,
            threads: n(1),
            route: Route::Completion,
            device: Device::Auto,
        };
        assert!(lower(&alone, &mtp, &serving, 1).is_err());
    }
}
