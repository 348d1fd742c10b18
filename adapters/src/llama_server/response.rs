//! The JSON that llama-server streams, and what of it becomes an event.
//!
//! Pure: no clock, no I/O. All routes end up as one [`Chunk`]. Fields we do not use may come and go with builds;
//! fields we use are checked. What is absent stays `None`: a build that does not count must not look like one that
//! counted 0.

use bench_core::preset::Route;
use bench_core::stack::{FinishReason, SpecCounts, SpecSource, StackError, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::decoder::{Chunk, Dialect, Word, protocol};
use crate::openai;

#[derive(Deserialize)]
struct CompletionJson<'a> {
    #[serde(default)]
    content: String,
    tokens: Option<Vec<u32>>,
    stop: bool,
    stop_type: Option<String>,
    tokens_predicted: Option<u32>,
    tokens_evaluated: Option<u32>,
    #[serde(borrow)]
    timings: Option<&'a RawValue>,
    prompt_progress: Option<serde::de::IgnoredAny>,
    #[serde(borrow)]
    model: Option<Word<'a>>,
    /// In the last event only.
    generation_settings: Option<Value>,
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

/// llama.cpp's JSON on one route.
pub(crate) struct LlamaDialect {
    pub(crate) route: Route,
    /// The body that was sent, to compare with what the server says it used.
    pub(crate) sent: Value,
}

impl Dialect for LlamaDialect {
    fn parse<'a>(&self, data: &'a str) -> Result<Chunk<'a>, StackError> {
        match self.route {
            Route::Completion => self.completion(data),
            Route::Chat | Route::OpenAiCompletion => from_openai(data),
        }
    }

    fn spec_counts(&self, timings: &Value) -> Result<Option<SpecCounts>, StackError> {
        spec_counts(timings)
    }

    fn usage_of_timings(&self, timings: &Value) -> Result<Usage, StackError> {
        usage_of_timings(timings)
    }
}

impl LlamaDialect {
    fn completion<'a>(&self, data: &'a str) -> Result<Chunk<'a>, StackError> {
        let json: CompletionJson<'_> = serde_json::from_str(data)
            .map_err(|error| protocol(&format!("expected an event as JSON ({error})"), data))?;
        let timings = json.timings.map(RawValue::get);
        let counts = timings.map_or(Ok(TimingsJson::default()), counts)?;
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
        let settings = json.generation_settings;
        Ok(Chunk {
            text: json.content,
            thought_bytes: 0,
            ids: json.tokens,
            prompt_ids: None,
            thinking: None,
            emitted: json.tokens_predicted.or(counts.predicted_n),
            last: finish.is_some(),
            finish,
            usage,
            timings,
            model: json.model,
            fingerprint: None,
            sampling_changed: settings.map(|settings| sampling_changed(&self.sent, &settings)),
        })
    }
}

/// An event of the routes that llama.cpp shares with OpenAI: its timings count better than its usage does.
fn from_openai(data: &str) -> Result<Chunk<'_>, StackError> {
    let mut chunk = openai::parse(data)?;
    let counts = chunk.timings.map_or(Ok(TimingsJson::default()), counts)?;
    if let Some(usage) = &mut chunk.usage {
        usage.cached_tokens = usage.cached_tokens.or(counts.cache_n);
    }
    chunk.emitted = counts.predicted_n.or(chunk.emitted);
    Ok(chunk)
}

/// Sampling parameters that the server used and that are not what was sent.
fn sampling_changed(sent: &Value, settings: &Value) -> Vec<String> {
    let number = |json: &Value, key: &str| json.get(key).and_then(Value::as_f64);
    let keys = ["temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed"];
    let changed = keys.into_iter().filter_map(|key| {
        let (sent, used) = (number(sent, key)?, number(settings, key)?);
        // The server keeps 32-bit floats.
        ((sent - used).abs() > 1e-6 * sent.abs().max(1.0)).then(|| format!("{key} {used} instead of {sent}"))
    });
    changed.collect()
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
pub(crate) fn spec_counts(timings: &Value) -> Result<Option<SpecCounts>, StackError> {
    let text = timings.to_string();
    let counts = counts(&text)?;
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
        accepted_histogram: None,
        source: SpecSource::ResponseBody,
    }))
}

/// Token counts from timings alone, for streams whose usage did not come.
fn usage_of_timings(timings: &Value) -> Result<Usage, StackError> {
    let counts = counts(&timings.to_string())?;
    Ok(Usage {
        prompt_tokens: counts.prompt_tokens(),
        cached_tokens: counts.cache_n,
        output_tokens: counts.predicted_n,
    })
}

fn counts(timings: &str) -> Result<TimingsJson, StackError> {
    serde_json::from_str(timings)
        .map_err(|error| protocol(&format!("timings that can be read ({error})"), timings))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(route: Route, data: &str) -> Result<Chunk<'_>, StackError> {
        let sent = json!({"temperature": 0.0, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "seed": 7});
        LlamaDialect { route, sent }.parse(data)
    }

    fn completion(json: &Value) -> Result<Chunk<'static>, StackError> {
        parse(Route::Completion, json.to_string().leak())
    }

    #[test]
    fn sampling_that_is_not_what_was_asked_is_told() {
        let settings = json!({"temperature": 0.0, "top_k": 40, "top_p": 0.949_999_988_079_071,
            "min_p": 0.050_000_000_745_058_06, "seed": 7, "repeat_penalty": 1.0});
        let end = |settings| {
            let event =
                json!({"content": "", "stop": true, "stop_type": "limit", "generation_settings": settings});
            completion(&event).unwrap().sampling_changed.unwrap()
        };
        assert_eq!(end(settings.clone()), Vec::<String>::new(), "32-bit floats are no change");
        let mut other = settings;
        other["temperature"] = json!(0.7);
        assert_eq!(end(other), ["temperature 0.7 instead of 0"]);
        let silent = json!({"content": "", "stop": true, "stop_type": "limit"});
        assert_eq!(completion(&silent).unwrap().sampling_changed, None);
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
}
