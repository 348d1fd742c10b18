//! The JSON of OpenAI's streaming routes, as llama.cpp, vLLM and others write it.
//!
//! Pure. Fields we do not use may come and go; fields we use are checked. What is absent stays `None`. Extensions are
//! read where they are: llama.cpp's `timings`, vLLM's `token_ids` and `metrics`, and usage in every chunk, which counts
//! the tokens emitted so far.

use bench_core::stack::{FinishReason, Readback, StackError, Usage};
use serde::Deserialize;
use serde_json::Value;

use crate::decoder::{Chunk, protocol};

#[derive(Deserialize)]
struct EventJson {
    model: Option<String>,
    system_fingerprint: Option<String>,
    choices: Vec<ChoiceJson>,
    usage: Option<UsageJson>,
    timings: Option<Value>,
    metrics: Option<Value>,
}

/// One choice of either route: `delta` of a chat, `text` of a completion.
#[derive(Deserialize)]
struct ChoiceJson {
    #[serde(default)]
    delta: DeltaJson,
    text: Option<String>,
    token_ids: Option<Vec<u32>>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct DeltaJson {
    content: Option<String>,
    reasoning_content: Option<String>,
    /// vLLM's newer name of `reasoning_content`.
    reasoning: Option<String>,
}

#[derive(Deserialize)]
struct UsageJson {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    prompt_tokens_details: Option<PromptDetailsJson>,
}

#[derive(Deserialize)]
struct PromptDetailsJson {
    cached_tokens: Option<u32>,
}

/// Reads one event of either route. An event without choices but with usage is the last.
pub(crate) fn parse(data: &str) -> Result<Chunk, StackError> {
    let json: EventJson = serde_json::from_str(data)
        .map_err(|error| protocol(&format!("expected an event as JSON ({error})"), data))?;
    let usage = json.usage.map(|usage| Usage {
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.prompt_tokens_details.and_then(|details| details.cached_tokens),
        output_tokens: usage.completion_tokens,
    });
    let readback =
        Readback { model: json.model, fingerprint: json.system_fingerprint, sampling_changed: None };
    let last = json.choices.is_empty() && usage.is_some();
    let timings = json.timings.or(json.metrics);
    let mut chunk = Chunk { usage, readback, timings, last, ..Chunk::default() };
    let Some(choice) = json.choices.into_iter().next() else { return Ok(chunk) };
    // Usage beside a choice is a running sum; alone it is a statement about the whole, and no output.
    chunk.emitted = usage.and_then(|usage| usage.output_tokens);
    chunk.ids = choice.token_ids;
    chunk.text = choice.delta.reasoning_content.or(choice.delta.reasoning).unwrap_or_default();
    chunk.text.push_str(&choice.delta.content.or(choice.text).unwrap_or_default());
    chunk.finish = match choice.finish_reason.as_deref() {
        None => None,
        Some("length") => Some(FinishReason::Length),
        Some("stop" | "tool_calls") => Some(FinishReason::Stop),
        Some(_) => return Err(protocol("expected a finish_reason of length, stop or tool_calls", data)),
    };
    Ok(chunk)
}
