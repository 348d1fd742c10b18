//! From our request to llama-server's JSON.
//!
//! Everything that has a server-side default is said, so that a server's build or flags cannot change the sampling
//! of an arm. Filters the preset leaves out are switched off, which is what "unset" means in a preset.

use bench_core::preset::{Route, SamplingParams, StackKind};
use bench_core::stack::{GenerateRequest, Prompt, StackError, chat_messages};
use serde_json::{Map, Value, json};

/// The path of a route.
#[must_use]
pub(crate) fn path(route: Route) -> &'static str {
    match route {
        Route::Completion => "/completion",
        Route::OpenAiCompletion => "/v1/completions",
        Route::Chat => "/v1/chat/completions",
    }
}

/// The body of a streaming request.
pub(crate) fn body(kind: StackKind, route: Route, request: &GenerateRequest) -> Result<Value, StackError> {
    let mut body = sampling(&request.sampling);
    match (route, &request.prompt) {
        (Route::Completion, Prompt::Text(text)) => {
            set(&mut body, "prompt", json!(text));
            set(&mut body, "n_predict", json!(request.max_tokens));
            set(&mut body, "return_tokens", json!(true));
        }
        (Route::OpenAiCompletion, Prompt::Text(text)) => {
            set(&mut body, "prompt", json!(text));
            set(&mut body, "max_tokens", json!(request.max_tokens));
            set(&mut body, "stream_options", json!({ "include_usage": true }));
        }
        (Route::Chat, Prompt::Chat { system, history, user }) => {
            let message = |(role, content)| json!({ "role": role, "content": content });
            let messages = chat_messages(system.as_deref(), history, user).map(message).collect();
            set(&mut body, "messages", messages);
            set(&mut body, "max_tokens", json!(request.max_tokens));
            set(&mut body, "stream_options", json!({ "include_usage": true }));
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
    set(&mut body, "ignore_eos", json!(request.ignore_eos));
    set(&mut body, "stream", json!(true));
    // A cached prefix would make the second request's prefill a different measurement.
    set(&mut body, "cache_prompt", json!(false));
    set(&mut body, "timings_per_token", json!(true));
    Ok(Value::Object(body))
}

fn sampling(sampling: &SamplingParams) -> Map<String, Value> {
    let mut body = Map::new();
    set(&mut body, "temperature", json!(sampling.temperature));
    set(&mut body, "top_k", json!(sampling.top_k.map_or(0, std::num::NonZeroU32::get)));
    set(&mut body, "top_p", json!(sampling.top_p.unwrap_or(1.0)));
    set(&mut body, "min_p", json!(sampling.min_p.unwrap_or(0.0)));
    set(&mut body, "repeat_penalty", json!(1.0));
    // The server's seed has 32 bits and its last value means "random": both ends stay below it.
    set(&mut body, "seed", json!(sampling.seed % u64::from(u32::MAX)));
    body
}

fn set(body: &mut Map<String, Value>, key: &str, value: Value) {
    body.insert(key.to_owned(), value);
}

fn unsupported(stack: StackKind, what: &str) -> StackError {
    StackError::Unsupported { stack, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KIND: StackKind = StackKind::LlamaServer;

    fn request(prompt: Prompt) -> GenerateRequest {
        GenerateRequest {
            prompt,
            max_tokens: 8,
            ignore_eos: true,
            sampling: SamplingParams {
                temperature: 0.0,
                top_k: None,
                top_p: Some(0.5),
                min_p: None,
                seed: 42,
            },
            timeout: Duration::from_secs(1),
        }
    }

    fn chat() -> Prompt {
        Prompt::Chat { system: Some("s".to_owned()), history: Vec::new(), user: "u".to_owned() }
    }

    #[test]
    fn a_completion_says_every_parameter() {
        let body = body(KIND, Route::Completion, &request(Prompt::Text("once".to_owned()))).unwrap();
        insta::assert_snapshot!(body, @r#"{"cache_prompt":false,"ignore_eos":true,"min_p":0.0,"n_predict":8,"prompt":"once","repeat_penalty":1.0,"return_tokens":true,"seed":42,"stream":true,"temperature":0.0,"timings_per_token":true,"top_k":0,"top_p":0.5}"#);
    }

    #[test]
    fn a_chat_has_messages_and_asks_for_usage() {
        insta::assert_snapshot!(body(KIND, Route::Chat, &request(chat())).unwrap(), @r#"{"cache_prompt":false,"ignore_eos":true,"max_tokens":8,"messages":[{"content":"s","role":"system"},{"content":"u","role":"user"}],"min_p":0.0,"repeat_penalty":1.0,"seed":42,"stream":true,"stream_options":{"include_usage":true},"temperature":0.0,"timings_per_token":true,"top_k":0,"top_p":0.5}"#);
    }

    #[test]
    fn a_prompt_of_the_other_kind_is_refused() {
        let error = body(KIND, Route::Completion, &request(chat())).unwrap_err();
        assert!(matches!(error, StackError::Unsupported { .. }), "{error:?}");
        assert!(body(KIND, Route::Chat, &request(Prompt::Text(String::new()))).is_err());
    }

    #[test]
    fn a_seed_never_means_random() {
        let mut request = request(chat());
        request.sampling.seed = u64::from(u32::MAX);
        assert_eq!(body(KIND, Route::Chat, &request).unwrap()["seed"], 0);
    }
}
