//! What a request asks for: one reading of the parameters that three routes share.
//!
//! Fields we do not know are ignored, as OpenAI servers do; fields that we know to change the output and cannot honour
//! are refused, unless they are at their neutral value. Unset sampling is OpenAI's: temperature 1, no filter, a fresh
//! seed.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;

use bench_engine::chat::ChatMessage;
use bench_engine::spec::sampler::SamplingParams;
use serde_json::Value;

use super::error::ApiError;
use super::fields::Fields;

/// Stop strings of a request.
const STOPS_MAX: usize = 16;

/// A request's parameters, checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    pub(super) prompt: Prompt,
    /// `None`: until the context is full.
    pub(super) max_tokens: Option<usize>,
    pub(super) ignore_eos: bool,
    pub(super) sampling: SamplingParams,
    pub(super) stops: Vec<String>,
    pub(super) stream: bool,
    pub(super) shape: Shape,
}

/// What is to be continued.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Prompt {
    Text(String),
    Ids(Vec<u32>),
    Chat { messages: Vec<ChatMessage>, thinking: bool },
}

/// What the answer is to carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// One more chunk with usage.
    pub(super) include_usage: bool,
    /// Usage so far in every chunk.
    pub(super) continuous_usage: bool,
    pub(super) token_ids: bool,
    pub(super) timings_per_token: bool,
}

impl Ask {
    /// Reads `messages` or `prompt`, and everything else.
    pub(super) fn parse(fields: &Fields, chat: bool) -> Result<Self, ApiError> {
        refuse_unsupported(fields)?;
        let ignore_eos = fields.flag("ignore_eos")?;
        if let Some(n) = fields.opt::<u64>("min_tokens", "a count of tokens")?
            && n > 0
            && !ignore_eos
        {
            return Err(ApiError::unsupported("min_tokens", &n.into()));
        }
        Ok(Self {
            prompt: if chat { messages(fields)? } else { prompt(fields)? },
            max_tokens: max_tokens(fields)?,
            ignore_eos,
            sampling: sampling(fields)?,
            stops: stops(fields)?,
            stream: fields.flag("stream")?,
            shape: shape(fields)?,
        })
    }
}

/// Known fields that change the output, and the values at which they do not.
fn refuse_unsupported(fields: &Fields) -> Result<(), ApiError> {
    let number =
        |n: f64| move |value: &Value| value.as_f64().is_some_and(|got| (got - n).abs() < f64::EPSILON);
    let off = |value: &Value| *value == Value::Bool(false);
    let empty = |value: &Value| match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    };
    let text_format = |value: &Value| value["type"] == "text";
    type Neutral<'a> = &'a dyn Fn(&Value) -> bool;
    let known: [(&str, Neutral<'_>); 19] = [
        ("n", &number(1.0)),
        ("best_of", &number(1.0)),
        ("logprobs", &off),
        ("top_logprobs", &number(0.0)),
        ("prompt_logprobs", &off),
        ("n_probs", &number(0.0)),
        ("echo", &off),
        ("suffix", &empty),
        ("logit_bias", &empty),
        ("presence_penalty", &number(0.0)),
        ("frequency_penalty", &number(0.0)),
        ("repeat_penalty", &number(1.0)),
        ("repetition_penalty", &number(1.0)),
        ("grammar", &empty),
        ("json_schema", &empty),
        ("tools", &empty),
        ("functions", &empty),
        ("response_format", &text_format),
        ("stop_token_ids", &empty),
    ];
    for (name, neutral) in known {
        if let Some(value) = fields.get(name).filter(|value| !neutral(value)) {
            return Err(ApiError::unsupported(name, value));
        }
    }
    Ok(())
}

fn max_tokens(fields: &Fields) -> Result<Option<usize>, ApiError> {
    for name in ["max_completion_tokens", "max_tokens", "n_predict"] {
        const EXPECTED: &str = "1 or more, or -1 for as many as fit";
        if let Some(n) = fields.opt::<i64>(name, EXPECTED)? {
            return match usize::try_from(n) {
                Ok(n) if n > 0 => Ok(Some(n)),
                Err(_) if n == -1 => Ok(None),
                Ok(_) | Err(_) => Err(ApiError::bad_field(name, &n.into(), EXPECTED)),
            };
        }
    }
    Ok(None)
}

fn sampling(fields: &Fields) -> Result<SamplingParams, ApiError> {
    const SEED: &str = "a whole number; a negative one asks for a fresh seed";
    let seed = match fields.get("seed") {
        None => fresh_seed(),
        Some(value) => match (value.as_u64(), value.as_i64()) {
            (Some(seed), _) => seed,
            (None, Some(_)) => fresh_seed(),
            (None, None) => return Err(ApiError::bad_field("seed", value, SEED)),
        },
    };
    // -1 (vLLM) and 0 (llama.cpp) both mean all tokens.
    let top_k = fields.opt::<i64>("top_k", "a count of tokens, or -1 or 0 for all")?.unwrap_or(0).max(0);
    let params = SamplingParams {
        temperature: fields.opt("temperature", "a number, 0 (greedy) or above")?.unwrap_or(1.0),
        top_k: NonZeroU32::new(u32::try_from(top_k).unwrap_or(u32::MAX)),
        top_p: fields.opt("top_p", "a number from 0 to 1")?,
        min_p: fields.opt("min_p", "a number from 0 to 1")?,
        seed,
    };
    params.validate().map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(params)
}

fn fresh_seed() -> u64 {
    RandomState::new().hash_one(0)
}

fn stops(fields: &Fields) -> Result<Vec<String>, ApiError> {
    const EXPECTED: &str = "a string or up to 16 of them";
    let Some(value) = fields.get("stop") else { return Ok(Vec::new()) };
    if let Value::String(stop) = value {
        return Ok(vec![stop.clone()]);
    }
    let stops: Vec<String> = fields.opt("stop", EXPECTED)?.unwrap_or_default();
    if stops.len() > STOPS_MAX {
        return Err(ApiError::bad_field("stop", value, EXPECTED));
    }
    Ok(stops)
}

fn shape(fields: &Fields) -> Result<Shape, ApiError> {
    let options = fields.get("stream_options");
    let option = |name: &str| match options {
        None => Ok(false),
        Some(Value::Object(map)) => match map.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(other) => Err(ApiError::bad_field(name, other, "true or false")),
        },
        Some(other) => Err(ApiError::bad_field("stream_options", other, "an object")),
    };
    Ok(Shape {
        include_usage: option("include_usage")?,
        continuous_usage: option("continuous_usage_stats")?,
        token_ids: fields.flag("return_token_ids")? || fields.flag("return_tokens")?,
        timings_per_token: fields.flag("timings_per_token")?,
    })
}

const PROMPT: &str = "a string, a list of token ids, or a list with one of these";

fn prompt(fields: &Fields) -> Result<Prompt, ApiError> {
    let missing = || ApiError::bad_field("prompt", &Value::Null, PROMPT);
    let value = fields.get("prompt").ok_or_else(missing)?;
    let only = value.as_array().filter(|list| list.len() == 1 && !list[0].is_number());
    one_prompt(only.map_or(value, |list| &list[0]))
}

fn one_prompt(value: &Value) -> Result<Prompt, ApiError> {
    let bad = || ApiError::bad_field("prompt", value, PROMPT);
    if let Some(text) = value.as_str() {
        return Ok(Prompt::Text(text.to_owned()));
    }
    let list = value.as_array().filter(|list| !list.is_empty()).ok_or_else(bad)?;
    let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
    list.iter().map(id).collect::<Option<_>>().map(Prompt::Ids).ok_or_else(bad)
}

fn messages(fields: &Fields) -> Result<Prompt, ApiError> {
    const EXPECTED: &str = "a list of messages, at least one";
    let value = fields.get("messages").unwrap_or(&Value::Null);
    let list = value.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| ApiError::bad_field("messages", value, EXPECTED))?;
    let thinking = fields.get("chat_template_kwargs").map(|kwargs| &kwargs["enable_thinking"]);
    Ok(Prompt::Chat {
        messages: list.iter().map(message).collect::<Result<_, _>>()?,
        thinking: thinking == Some(&Value::Bool(true)),
    })
}

fn message(value: &Value) -> Result<ChatMessage, ApiError> {
    let role = match value["role"].as_str() {
        Some("system" | "developer") => "system",
        Some("user") => "user",
        Some("assistant") => "assistant",
        _ => return Err(ApiError::bad_field("role", &value["role"], "system, user or assistant")),
    };
    let bad = |got: &Value| ApiError::bad_field("content", got, "a string, or a list of parts of type text");
    let given = &value["content"];
    let content = match (given.as_str(), given.as_array()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(parts)) => parts
            .iter()
            .map(|part| part["text"].as_str().filter(|_| part["type"] == "text").ok_or_else(|| bad(part)))
            .collect::<Result<_, _>>()?,
        (None, None) => return Err(bad(given)),
    };
    Ok(ChatMessage::new(role, &content))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(body: &Value, chat: bool) -> Result<Ask, ApiError> {
        Ask::parse(&Fields::parse(body.to_string().as_bytes())?, chat)
    }

    fn refused(body: &Value, chat: bool) -> String {
        let error = ask(body, chat).unwrap_err().json();
        assert_eq!(error["error"]["code"], 400);
        error["error"]["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn unset_is_openai_s_default_and_null_is_unset() {
        let ask =
            ask(&json!({ "prompt": "a", "top_k": null, "max_tokens": null, "who": "knows" }), false).unwrap();
        assert_eq!(ask.prompt, Prompt::Text("a".to_owned()));
        assert_eq!(
            (ask.max_tokens, ask.stream, ask.ignore_eos, ask.shape),
            (None, false, false, Shape::default())
        );
        assert_eq!((ask.sampling.temperature, ask.sampling.top_k, ask.sampling.top_p), (1.0, None, None));
    }

    #[test]
    fn neutral_values_of_what_is_not_supported_pass() {
        let body = json!({ "prompt": [1, 2], "n": 1, "logprobs": false, "repeat_penalty": 1.0, "logit_bias": {},
            "min_tokens": 5, "ignore_eos": true, "top_k": -1, "n_predict": -1, "stop": "x" });
        let ask = ask(&body, false).unwrap();
        assert_eq!((ask.prompt, ask.max_tokens), (Prompt::Ids(vec![1, 2]), None));
        assert_eq!(ask.stops, ["x"]);
    }

    #[test]
    fn what_would_change_the_output_is_refused_by_name() {
        for (name, value) in [
            ("n", json!(2)),
            ("logprobs", json!(1)),
            ("logprobs", json!(true)),
            ("presence_penalty", json!(0.5)),
            ("tools", json!([{}])),
            ("response_format", json!({ "type": "json_object" })),
            ("min_tokens", json!(4)),
        ] {
            let message = refused(&json!({ "prompt": "a", name: value }), false);
            assert!(message.starts_with(&format!("`{name}`: got ")), "{message}");
        }
    }

    #[test]
    fn wrong_types_name_the_field_and_the_value() {
        for (name, value) in [
            ("max_tokens", json!("many")),
            ("max_tokens", json!(0)),
            ("n_predict", json!(-2)),
            ("seed", json!(1.5)),
            ("stream", json!("yes")),
            ("stop", json!([1])),
            ("stream_options", json!([])),
        ] {
            let message = refused(&json!({ "prompt": "a", name: value }), false);
            assert!(message.starts_with(&format!("`{name}`: got {value}")), "{message}");
        }
        assert!(refused(&json!({ "prompt": "a", "temperature": -1 }), false).contains("temperature"));
        for prompt in [json!([]), json!([1, "a"]), json!(["a", "b"]), json!(7), json!([-1]), json!({})] {
            assert!(refused(&json!({ "prompt": prompt }), false).starts_with("`prompt`"));
        }
    }

    #[test]
    fn messages_have_roles_and_text() {
        let parts = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
        let body = json!({ "messages": [
            { "role": "developer", "content": "s" }, { "role": "user", "content": parts }] });
        let Prompt::Chat { messages, thinking } = ask(&body, true).unwrap().prompt else { panic!() };
        assert_eq!(messages, [ChatMessage::new("system", "s"), ChatMessage::new("user", "ab")]);
        assert!(!thinking);
        for body in [
            json!({}),
            json!({ "messages": [] }),
            json!({ "messages": "hi" }),
            json!({ "messages": ["hi"] }),
            json!({ "messages": [{ "role": "tool", "content": "x" }] }),
            json!({ "messages": [{ "role": "user" }] }),
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
        ] {
            refused(&body, true);
        }
    }
}
