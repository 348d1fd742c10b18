//! The JSON that llama-server streams, and what of it becomes an event.
//!
//! Pure: no clock, no I/O. Both routes end up as one [`Chunk`]. Fields we do not use may come and go with builds;
//! fields we use are checked. What is absent stays `None`: a build that does not count must not look like one that
//! counted 0.

use bench_core::preset::Route;
use bench_core::stack::{FinishReason, SpecCounts, SpecSource, StackError, Usage};
use serde::Deserialize;
use serde_json::Value;

/// One event's meaning, whichever route it came by.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Chunk {
    /// Output text; empty in role deltas, progress reports and the last event.
    pub(super) text: String,
    /// Ids of the tokens in this event.
    pub(super) ids: Option<Vec<u32>>,
    /// Tokens emitted so far, this event included.
    pub(super) predicted: Option<u32>,
    /// The server says that it finished.
    pub(super) finish: Option<FinishReason>,
    /// Token counts of the request.
    pub(super) usage: Option<Usage>,
    /// The server's timings, as they came.
    pub(super) timings: Option<Value>,
    /// Nothing more will come that matters.
    pub(super) last: bool,
}

#[derive(Deserialize)]
struct CompletionJson {
    #[serde(default)]
    content: String,
    tokens: Option<Vec<u32>>,
    stop: bool,
    stop_type: Option<String>,
    tokens_predicted: Option<u32>,
    tokens_evaluated: Option<u32>,
    timings: Option<Value>,
    prompt_progress: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct ChatJson {
    choices: Vec<ChoiceJson>,
    usage: Option<UsageJson>,
    timings: Option<Value>,
}

#[derive(Deserialize)]
struct ChoiceJson {
    #[serde(default)]
    delta: DeltaJson,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct DeltaJson {
    content: Option<String>,
    reasoning_content: Option<String>,
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

/// The counts among a response's timings.
#[derive(Default, Deserialize)]
struct TimingsJson {
    cache_n: Option<u32>,
    prompt_n: Option<u32>,
    predicted_n: Option<u32>,
    draft_n: Option<u64>,
    draft_n_accepted: Option<u64>,
}

#[derive(Deserialize)]
struct ErrorEnvelope {
    error: ErrorJson,
}

#[derive(Deserialize)]
struct ErrorJson {
    message: String,
}

/// The message of an error body, or of an error event.
pub(super) fn error_message(body: &str) -> Option<String> {
    serde_json::from_str::<ErrorEnvelope>(body).ok().map(|envelope| envelope.error.message)
}

/// Reads one event's data, `[DONE]` excepted.
pub(super) fn parse(route: Route, data: &str) -> Result<Chunk, StackError> {
    match route {
        Route::Completion => from_completion(read(data)?, data),
        Route::Chat => from_chat(read(data)?, data),
    }
}

fn from_completion(json: CompletionJson, data: &str) -> Result<Chunk, StackError> {
    let counts = counts(json.timings.as_ref(), data)?;
    if json.prompt_progress.is_some() {
        // Carries a placeholder token id, and no output.
        return Ok(Chunk::default());
    }
    let finish = match (json.stop, json.stop_type.as_deref()) {
        (false, _) => None,
        (true, Some("limit")) => Some(FinishReason::Length),
        (true, Some("eos" | "word")) => Some(FinishReason::Stop),
        (true, _) => return Err(protocol("expected a stop_type of limit, eos or word", data)),
    };
    let usage = finish.map(|_| Usage {
        prompt_tokens: counts.prompt_tokens().or(json.tokens_evaluated),
        cached_tokens: counts.cache_n,
        output_tokens: json.tokens_predicted.or(counts.predicted_n),
    });
    Ok(Chunk {
        text: json.content,
        ids: json.tokens,
        predicted: json.tokens_predicted.or(counts.predicted_n),
        last: finish.is_some(),
        finish,
        usage,
        timings: json.timings,
    })
}

fn from_chat(json: ChatJson, data: &str) -> Result<Chunk, StackError> {
    let counts = counts(json.timings.as_ref(), data)?;
    let last = json.choices.is_empty() && json.usage.is_some();
    let mut chunk = Chunk { predicted: counts.predicted_n, last, timings: json.timings, ..Chunk::default() };
    chunk.usage = json.usage.map(|usage| Usage {
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage
            .prompt_tokens_details
            .and_then(|details| details.cached_tokens)
            .or(counts.cache_n),
        output_tokens: usage.completion_tokens,
    });
    let Some(choice) = json.choices.into_iter().next() else { return Ok(chunk) };
    chunk.text = choice.delta.reasoning_content.unwrap_or_default();
    chunk.text.push_str(&choice.delta.content.unwrap_or_default());
    chunk.finish = match choice.finish_reason.as_deref() {
        None => None,
        Some("length") => Some(FinishReason::Length),
        Some("stop" | "tool_calls") => Some(FinishReason::Stop),
        Some(_) => return Err(protocol("expected a finish_reason of length, stop or tool_calls", data)),
    };
    Ok(chunk)
}

impl TimingsJson {
    /// `prompt_n` counts processed tokens only.
    fn prompt_tokens(&self) -> Option<u32> {
        self.prompt_n?.checked_add(self.cache_n?)
    }
}

/// This request's speculation out of the server's timings. `None` where nothing was drafted: the server then says
/// nothing at all, be it a baseline or a drafter that never found anything.
///
/// Every verify step emits its accepted drafts and one token of the target's, and prefill emits the first token, so
/// `verify_steps = predicted_n - 1 - draft_n_accepted`. Where an end-of-generation token ends the output the server
/// counts what was accepted behind it too, and the identity gives too few steps by at most one round's drafts.
pub(super) fn spec_counts(timings: &Value) -> Result<Option<SpecCounts>, StackError> {
    let text = timings.to_string();
    let counts = counts(Some(timings), &text)?;
    let (Some(drafted), Some(accepted)) = (counts.draft_n, counts.draft_n_accepted) else { return Ok(None) };
    if accepted > drafted {
        return Err(protocol("draft_n_accepted is more than draft_n", &text));
    }
    let emitted = counts.predicted_n.map(u64::from);
    Ok(Some(SpecCounts {
        drafted,
        accepted,
        verify_steps: emitted.and_then(|n| n.checked_sub(1)?.checked_sub(accepted)),
        accepted_per_position: None,
        drafted_per_position: None,
        source: SpecSource::ResponseBody,
    }))
}

/// Token counts from timings alone, for streams whose usage did not come.
pub(super) fn usage_of_timings(timings: &Value) -> Result<Usage, StackError> {
    let counts = counts(Some(timings), "timings")?;
    Ok(Usage {
        prompt_tokens: counts.prompt_tokens(),
        cached_tokens: counts.cache_n,
        output_tokens: counts.predicted_n,
    })
}

fn counts(timings: Option<&Value>, data: &str) -> Result<TimingsJson, StackError> {
    let Some(timings) = timings else { return Ok(TimingsJson::default()) };
    TimingsJson::deserialize(timings).map_err(|e| protocol(&format!("timings that can be read ({e})"), data))
}

fn read<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, StackError> {
    serde_json::from_str(data).map_err(|e| protocol(&format!("expected an event as JSON ({e})"), data))
}

fn protocol(what: &str, data: &str) -> StackError {
    StackError::Protocol { what: what.to_owned(), excerpt: data.chars().take(200).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn completion(json: &Value) -> Result<Chunk, StackError> {
        parse(Route::Completion, &json.to_string())
    }

    #[test]
    fn progress_is_no_output_though_it_names_a_token() {
        let progress = json!({"content": "", "tokens": [0], "stop": false, "tokens_predicted": 0,
            "prompt_progress": {"total": 12}});
        assert_eq!(completion(&progress).unwrap(), Chunk::default());
    }

    #[test]
    fn a_role_delta_is_no_output() {
        let role =
            json!({"choices": [{"delta": {"role": "assistant", "content": null}, "finish_reason": null}]});
        assert_eq!(parse(Route::Chat, &role.to_string()).unwrap(), Chunk::default());
    }

    #[test]
    fn no_draft_is_none_and_not_zero() {
        assert_eq!(spec_counts(&json!({"predicted_n": 8})).unwrap(), None);
        let drafted =
            spec_counts(&json!({"predicted_n": 12, "draft_n": 31, "draft_n_accepted": 5})).unwrap().unwrap();
        assert_eq!((drafted.drafted, drafted.accepted, drafted.verify_steps), (31, 5, Some(6)));
        assert!(spec_counts(&json!({"draft_n": 1, "draft_n_accepted": 2})).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_a_protocol_error() {
        let unknown_end = json!({"content": "", "stop": true, "stop_type": "mood"});
        let negative = json!({"content": "", "stop": false, "tokens_predicted": -1});
        let bad_timings = json!({"content": "", "stop": false, "timings": {"predicted_n": "many"}});
        for json in [unknown_end, negative, bad_timings, json!([]), json!({})] {
            assert!(matches!(completion(&json), Err(StackError::Protocol { .. })));
        }
    }

    #[test]
    fn error_bodies_give_their_message() {
        let body = r#"{"error":{"code":400,"message":"too long","type":"exceed_context_size_error"}}"#;
        assert_eq!(error_message(body).as_deref(), Some("too long"));
        assert_eq!(error_message("<html>"), None);
    }
}
