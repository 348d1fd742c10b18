//! OpenAI's streaming routes, as llama.cpp, vLLM and others have them: the request, and the JSON that comes back.
//!
//! Fields we do not use may come and go; fields we use are checked. What is absent stays `None`. Extensions are
//! read where they are: llama.cpp's `timings`, vLLM's `token_ids` and `metrics`, and usage in every chunk, which counts
//! the tokens emitted so far.

use bench_core::preset::{Route, StackKind};
use bench_core::stack::{FinishReason, GenerateRequest, Prompt, StackError, Usage, chat_messages};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::decoder::{Chunk, Word, protocol};
use crate::server::Server;

/// The path of a route. A raw completion has one route here.
pub(crate) fn path(route: Route) -> &'static str {
    match route {
        Route::Completion | Route::OpenAiCompletion => "/v1/completions",
        Route::Chat => "/v1/chat/completions",
    }
}

/// The body of a streaming request, in the words that all servers share.
pub(crate) fn body(
    kind: StackKind,
    route: Route,
    model: &str,
    request: &GenerateRequest,
) -> Result<Value, StackError> {
    let sampling = &request.sampling;
    let mut body = json!({
        "model": model,
        "max_tokens": request.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p.unwrap_or(1.0),
        // A signed number of 64 bits in some servers, of 32 in others.
        "seed": sampling.seed % u64::from(u32::MAX >> 1),
        "stream": true,
        "stream_options": { "include_usage": true, "continuous_usage_stats": true },
    });
    match (route, &request.prompt) {
        (Route::Completion | Route::OpenAiCompletion, Prompt::Text(text)) => body["prompt"] = json!(text),
        (Route::Chat, Prompt::Chat { system, history, user }) => {
            let message = |(role, content)| json!({ "role": role, "content": content });
            body["messages"] = chat_messages(system.as_deref(), history, user).map(message).collect();
        }
        (Route::Completion | Route::OpenAiCompletion, Prompt::Chat { .. }) => {
            return Err(unsupported(
                kind,
                "take messages on a completion route: set `serving.route = \"chat\"`",
            ));
        }
        (Route::Chat, Prompt::Text(_)) => {
            return Err(unsupported(
                kind,
                "continue raw text on the chat route: set `serving.route = \"completion\"`",
            ));
        }
    }
    Ok(body)
}

fn unsupported(stack: StackKind, what: &str) -> StackError {
    StackError::Unsupported { stack, what: what.to_owned() }
}

#[derive(Deserialize)]
struct ModelsJson {
    data: Vec<ModelJson>,
}

#[derive(Deserialize)]
struct ModelJson {
    id: String,
}

/// The model to ask: the variable's, or the only one that is listed.
pub(crate) async fn only_model(
    server: &Server,
    kind: StackKind,
    variable: &str,
) -> Result<String, StackError> {
    if let Some(model) = std::env::var(variable).ok().filter(|model| !model.is_empty()) {
        return Ok(model);
    }
    let mut models = server.get_json::<ModelsJson>("/v1/models").await?.data;
    match (models.pop(), models.is_empty()) {
        (Some(model), true) => Ok(model.id),
        (None, _) => Err(unsupported(kind, "be asked: it lists no model")),
        (Some(last), false) => {
            let mut names: Vec<_> = models.into_iter().map(|model| model.id).collect();
            names.push(last.id);
            let what = format!("be asked: it lists {}; set {variable} to one of them", names.join(", "));
            Err(unsupported(kind, &what))
        }
    }
}

#[derive(Deserialize)]
struct EventJson<'a> {
    #[serde(borrow)]
    model: Option<Word<'a>>,
    #[serde(borrow)]
    system_fingerprint: Option<Word<'a>>,
    choices: Vec<ChoiceJson>,
    usage: Option<UsageJson>,
    /// vLLM's, of a chat, in the first event.
    prompt_token_ids: Option<Vec<u32>>,
    #[serde(borrow)]
    timings: Option<&'a RawValue>,
    #[serde(borrow)]
    metrics: Option<&'a RawValue>,
}

/// One choice of either route: `delta` of a chat, `text` of a completion.
#[derive(Deserialize)]
struct ChoiceJson {
    #[serde(default)]
    delta: DeltaJson,
    text: Option<String>,
    token_ids: Option<Vec<u32>>,
    /// vLLM's, of a completion, in the first event.
    prompt_token_ids: Option<Vec<u32>>,
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
    completion_tokens_details: Option<CompletionDetailsJson>,
    /// SGLang's place for it, where 0 may mean that nobody counted.
    reasoning_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct PromptDetailsJson {
    cached_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct CompletionDetailsJson {
    reasoning_tokens: Option<u32>,
}

/// Reads one event of either route. An event without choices but with usage is the last.
pub(crate) fn parse(data: &str) -> Result<Chunk<'_>, StackError> {
    let json: EventJson<'_> = serde_json::from_str(data)
        .map_err(|error| protocol(&format!("expected an event as JSON ({error})"), data))?;
    let details = json.usage.as_ref().and_then(|usage| usage.completion_tokens_details.as_ref());
    let thinking = details.and_then(|details| details.reasoning_tokens);
    let thinking = thinking.or_else(|| json.usage.as_ref()?.reasoning_tokens.filter(|&tokens| tokens > 0));
    let usage = json.usage.map(|usage| Usage {
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.prompt_tokens_details.and_then(|details| details.cached_tokens),
        output_tokens: usage.completion_tokens,
    });
    let mut chunk = Chunk {
        prompt_ids: json.prompt_token_ids,
        thinking,
        usage,
        model: json.model,
        fingerprint: json.system_fingerprint,
        timings: json.timings.or(json.metrics).map(RawValue::get),
        last: json.choices.is_empty() && usage.is_some(),
        ..Chunk::default()
    };
    let Some(choice) = json.choices.into_iter().next() else { return Ok(chunk) };
    // Usage beside a choice is a running sum; alone it is a statement about the whole, and no output.
    chunk.emitted = usage.and_then(|usage| usage.output_tokens);
    chunk.ids = choice.token_ids;
    chunk.prompt_ids = chunk.prompt_ids.or(choice.prompt_token_ids);
    chunk.text = choice.delta.reasoning_content.or(choice.delta.reasoning).unwrap_or_default();
    chunk.thought_bytes = chunk.text.len();
    chunk.text.push_str(&choice.delta.content.or(choice.text).unwrap_or_default());
    chunk.finish = match choice.finish_reason.as_deref() {
        None => None,
        Some("length") => Some(FinishReason::Length),
        Some("stop" | "tool_calls") => Some(FinishReason::Stop),
        Some(_) => return Err(protocol("expected a finish_reason of length, stop or tool_calls", data)),
    };
    Ok(chunk)
}
