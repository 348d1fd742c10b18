//! What the server says of itself: `/v1/models`, `/props`, `/slots`. llama.cpp's fields where we know their values,
//! left out where we do not.

use bench_engine::spec::sampler::SamplingParams;
use serde_json::{Value, json};

use super::Shared;
use super::model::Model;

/// `build_info`, and the fingerprint of OpenAI's objects.
pub(super) fn build_info(model: &Model) -> String {
    format!("bench-{} ({})", env!("CARGO_PKG_VERSION"), model.info.kernels)
}

pub(super) fn models(shared: &Shared, model: &Model) -> Value {
    json!({
        "object": "list",
        "data": [{
            "id": model.alias,
            "object": "model",
            "created": shared.started_unix_s,
            "owned_by": "bench",
            "max_model_len": model.info.context_tokens,
            "meta": {
                "architecture": model.info.architecture,
                "ftype": model.info.weight_types,
                "n_ctx": model.info.context_tokens,
                "n_params": model.info.parameters,
                "n_vocab": model.tokenizer.vocab_size(),
                "size": model.info.weight_bytes,
            },
        }],
    })
}

pub(super) fn props(shared: &Shared, model: &Model) -> Value {
    let unset = SamplingParams { temperature: 1.0, ..SamplingParams::greedy() };
    let mut params = settings(shared, &unset, None, false, &[]);
    // Unset, a request gets a seed of its own.
    params["seed"] = json!(-1);
    let token = |id: Option<u32>| id.and_then(|id| model.tokenizer.token_text(id));
    json!({
        "default_generation_settings": { "params": params, "n_ctx": model.info.context_tokens },
        "total_slots": 1,
        "model_alias": model.alias,
        "model_path": shared.model_path,
        "model_ftype": model.info.weight_types,
        "modalities": { "vision": false, "audio": false },
        "bos_token": token(model.tokenizer.bos()),
        "eos_token": token(model.tokenizer.eog().first().copied()),
        "build_info": build_info(model),
        "speculation": model.info.speculation,
    })
}

pub(super) fn slots(shared: &Shared, model: &Model) -> Value {
    let (_, running) = shared.queue.load();
    json!([{
        "id": 0,
        "n_ctx": model.info.context_tokens,
        "speculative": shared.spec_type != "none",
        "is_processing": running,
        "params": { "speculative.types": shared.spec_type },
    }])
}

/// Parameters of a request, as llama.cpp repeats them.
pub(super) fn settings(
    shared: &Shared,
    sampling: &SamplingParams,
    max_tokens: Option<usize>,
    ignore_eos: bool,
    stops: &[String],
) -> Value {
    let max_tokens = max_tokens.map_or(json!(-1), |n| json!(n));
    json!({
        "seed": sampling.seed,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k.map_or(0, std::num::NonZeroU32::get),
        "top_p": sampling.top_p.unwrap_or(1.0),
        "min_p": sampling.min_p.unwrap_or(0.0),
        "max_tokens": max_tokens,
        "n_predict": max_tokens,
        "ignore_eos": ignore_eos,
        "stop": stops,
        "speculative.types": shared.spec_type,
    })
}
