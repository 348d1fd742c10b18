//! A streaming answer's events, whichever server's: what one event may mean, and how a request is folded from them.
//!
//! A [`Dialect`] says what a server's JSON means, as one [`Chunk`] an event; the [`Decoder`] makes of the chunks what a
//! stack promises. Both are pure but for the stamps they are given. Invariant: the end is a success only if the server
//! said so (`stop: true`, a `finish_reason`).

use std::borrow::Cow;
use std::collections::VecDeque;

use bench_core::stack::{FinishReason, Readback, SpecCounts, StackError, StreamEvent, Usage};
use bench_core::thinking::Splitter;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

/// A word that comes with every event and mostly stays the same: borrowed, unless it has escapes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Word<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// One event's meaning, some of it still in the event's own bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Chunk<'a> {
    /// Output text; empty in role deltas, progress reports and the last event.
    pub(crate) text: String,
    /// Bytes at the beginning of the text that came in a field for thoughts.
    pub(crate) thought_bytes: usize,
    /// Ids of the tokens in this event.
    pub(crate) ids: Option<Vec<u32>>,
    /// Ids of the prompt, where the server tells them.
    pub(crate) prompt_ids: Option<Vec<u32>>,
    /// Thinking tokens so far, as the server counts them.
    pub(crate) thinking: Option<u32>,
    /// Tokens emitted so far, this event included.
    pub(crate) emitted: Option<u32>,
    /// The server says that it finished.
    pub(crate) finish: Option<FinishReason>,
    /// Token counts of the request.
    pub(crate) usage: Option<Usage>,
    /// The server's timings or metrics, as they came: JSON.
    pub(crate) timings: Option<&'a str>,
    /// The model that answers.
    pub(crate) model: Option<Word<'a>>,
    /// The server's fingerprint of its build.
    pub(crate) fingerprint: Option<Word<'a>>,
    /// Sampling parameters in force that are not what was asked.
    pub(crate) sampling_changed: Option<Vec<String>>,
    /// Nothing more will come that matters.
    pub(crate) last: bool,
}

/// What a server's events mean.
pub(crate) trait Dialect: Send + Sync {
    /// Reads one event's data, `[DONE]` and error events excepted.
    fn parse<'a>(&self, data: &'a str) -> Result<Chunk<'a>, StackError>;

    /// This request's speculation out of the last timings that came. `None` where they do not tell.
    fn spec_counts(&self, timings: &Value) -> Result<Option<SpecCounts>, StackError>;

    /// Token counts from timings alone, for streams whose usage did not come.
    fn usage_of_timings(&self, timings: &Value) -> Result<Usage, StackError>;
}

pub(crate) type Ready = VecDeque<Result<StreamEvent, StackError>>;

/// Folds a request's chunks into events.
pub(crate) struct Decoder {
    dialect: Box<dyn Dialect>,
    events: u64,
    /// The server's running sum; `None` once output came without it, since the next difference would be of several
    /// events.
    emitted: Option<u32>,
    /// Reason and moment, once the server said that it finished.
    finish: Option<(FinishReason, Instant)>,
    usage: Option<Usage>,
    /// The last count that came.
    thinking: Option<u32>,
    /// The last that came; one room for all.
    timings: Option<String>,
    readback: Readback,
    split: Splitter,
    finished: bool,
}

impl Decoder {
    /// `split` knows what of markers and prompt is known before the answer.
    pub(crate) fn new(dialect: Box<dyn Dialect>, split: Splitter) -> Self {
        Self {
            dialect,
            events: 0,
            emitted: Some(0),
            finish: None,
            usage: None,
            thinking: None,
            timings: None,
            readback: Readback::default(),
            split,
            finished: false,
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Takes one event that was read at `at`.
    pub(crate) fn event(&mut self, data: &str, at: Instant, ready: &mut Ready) -> Result<(), StackError> {
        if data == "[DONE]" {
            return self.end(ready);
        }
        self.events += 1;
        if let Some(message) = error_message(data) {
            return Err(self.aborted(format!("the server said: {message}")));
        }
        let mut chunk = self.dialect.parse(data)?;
        let (finish, last) = (chunk.finish, chunk.last);
        if let Some(prompt) = chunk.prompt_ids.take() {
            self.split.prompt(&prompt);
        }
        self.thinking = chunk.thinking.or(self.thinking);
        keep(&mut self.readback.model, chunk.model.take());
        keep(&mut self.readback.fingerprint, chunk.fingerprint.take());
        self.readback.sampling_changed =
            chunk.sampling_changed.take().or_else(|| self.readback.sampling_changed.take());
        if let Some(tokens) = self.tokens(chunk, at)? {
            ready.push_back(Ok(tokens));
            // Stamps never go back, should output follow the reason.
            self.finish = self.finish.map(|(reason, _)| (reason, at));
        }
        self.finish = finish.map(|reason| (reason, at)).or(self.finish);
        if last { self.end(ready) } else { Ok(()) }
    }

    /// The output in a chunk. Its count is how far the server's own sum moved: ids alone leave out tokens that the
    /// server held back because they ended inside a character.
    fn tokens(&mut self, chunk: Chunk<'_>, at: Instant) -> Result<Option<StreamEvent>, StackError> {
        let ids = chunk.ids.filter(|ids| !ids.is_empty());
        let by_ids = ids.as_ref().and_then(|ids| u32::try_from(ids.len()).ok());
        let count = match (self.emitted, chunk.emitted) {
            (Some(before), Some(emitted)) => {
                let count = emitted.checked_sub(before).ok_or_else(|| StackError::Protocol {
                    what: "the count of emitted tokens went back".to_owned(),
                    excerpt: format!("{before} then {emitted}"),
                })?;
                self.emitted = Some(emitted);
                Some(count)
            }
            (_, None) | (None, _) => by_ids,
        };
        if count.is_none() && !chunk.text.is_empty() {
            self.emitted = None;
        }
        self.usage = chunk.usage.or(self.usage);
        if let Some(timings) = chunk.timings {
            let kept = self.timings.get_or_insert_default();
            kept.clear();
            kept.push_str(timings);
        }
        if chunk.text.is_empty() && count.unwrap_or(0) == 0 {
            return Ok(None);
        }
        let token_ids = ids.filter(|_| by_ids == count);
        self.split.push(at, count, token_ids.as_deref(), &chunk.text, chunk.thought_bytes);
        Ok(Some(StreamEvent::Tokens { at, count, text: chunk.text, token_ids }))
    }

    /// The stream is over, or nothing that matters will come.
    pub(crate) fn end(&mut self, ready: &mut Ready) -> Result<(), StackError> {
        let Some((reason, at)) = self.finish else {
            return Err(self.aborted("neither stop nor finish_reason came".to_owned()));
        };
        let timings: Option<Value> = match self.timings.take() {
            Some(json) => Some(serde_json::from_str(&json).map_err(|error| {
                protocol(&format!("expected timings or metrics as JSON ({error})"), &json)
            })?),
            None => None,
        };
        let spec = timings.as_ref().map(|timings| self.dialect.spec_counts(timings)).transpose()?.flatten();
        let usage = match (self.usage, &timings) {
            (Some(usage), _) => usage,
            (None, Some(timings)) => self.dialect.usage_of_timings(timings)?,
            (None, None) => Usage::default(),
        };
        if let (Some(thinking), Some(output)) = (self.thinking, usage.output_tokens) {
            self.split.told(thinking, output);
        }
        self.finished = true;
        let readback = std::mem::take(&mut self.readback);
        ready.push_back(Ok(StreamEvent::Finished {
            at,
            reason,
            usage,
            spec,
            stack_timings: timings,
            readback,
            split: Box::new(self.split.finish()),
        }));
        Ok(())
    }

    pub(crate) fn aborted(&self, detail: String) -> StackError {
        StackError::Aborted { events: self.events, detail, death: None }
    }
}

/// Keeps a word that is another one than before.
fn keep(kept: &mut Option<String>, new: Option<Word<'_>>) {
    if let Some(Word(new)) = new.filter(|new| kept.as_deref() != Some(new.0.as_ref())) {
        *kept = Some(new.into_owned());
    }
}

/// The message of an error body, or of an error event: `{"error":{"message":...}}`, `{"error":"..."}` and
/// `{"detail":"..."}`.
pub(crate) fn error_message(body: &str) -> Option<String> {
    // Most events are no errors: the words are looked for before the JSON is read.
    if !body.contains("\"error\"") && !body.contains("\"detail\"") {
        return None;
    }
    let body: Value = serde_json::from_str(body).ok()?;
    let error = body.get("error").or_else(|| body.get("detail"))?;
    let message = error.as_str().or_else(|| error.get("message")?.as_str())?;
    // llama-swap names itself in its own errors and hands those of the server behind it on.
    let who = body.get("src").and_then(Value::as_str).map_or_else(String::new, |who| format!("{who}: "));
    Some(who + message)
}

/// An answer that cannot be understood, with its beginning.
pub(crate) fn protocol(what: &str, data: &str) -> StackError {
    StackError::Protocol { what: what.to_owned(), excerpt: data.chars().take(200).collect() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bench_core::preset::Route;
    use bench_core::thinking::{MarkerIds, Split, SplitSource, SplitUnknown};
    use serde_json::json;

    use super::*;
    use crate::llama_server::response::LlamaDialect;
    use crate::vllm::VllmDialect;

    /// Thinking, answer, place of the event with the first answer token, means, reason.
    type Told = (Option<u32>, Option<u32>, Option<usize>, Option<SplitSource>, Option<SplitUnknown>);

    /// The split of a stream of chat deltas, event k read k ms after the first.
    fn split_of(dialect: Box<dyn Dialect>, deltas: &[(Value, Value)]) -> Told {
        let (start, mut ready) = (Instant::now(), Ready::new());
        let at = |place: usize| start + Duration::from_millis(u64::try_from(place).unwrap());
        let mut decoder = Decoder::new(dialect, Splitter::default());
        for (place, (delta, extra)) in deltas.iter().enumerate() {
            let mut event = json!({ "id": "c", "model": "m", "choices": [{ "index": 0, "delta": delta }] });
            event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            decoder.event(&event.to_string(), at(place), &mut ready).unwrap();
        }
        let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
        decoder.event(&end.to_string(), at(deltas.len()), &mut ready).unwrap();
        decoder.event("[DONE]", at(deltas.len()), &mut ready).unwrap();
        let Some(Ok(StreamEvent::Finished { split, .. })) = ready.pop_back() else { panic!() };
        let Split { thinking_tokens, answer_tokens, first_answer, source, unknown, .. } = *split;
        let place = first_answer.map(|first| (0..deltas.len()).find(|&place| at(place) == first).unwrap());
        (thinking_tokens, answer_tokens, place, source, unknown)
    }

    #[test]
    fn llama_cpp_s_reasoning_content_is_the_thought() {
        let predicted = |n: u32| json!({ "timings": { "predicted_n": n } });
        let deltas = [
            (json!({ "role": "assistant", "content": null }), json!({})),
            (json!({ "reasoning_content": "Let me" }), predicted(2)),
            (json!({ "reasoning_content": " see." }), predicted(4)),
            (json!({ "content": "42" }), predicted(6)),
            (json!({ "content": "!" }), predicted(7)),
        ];
        let llama = Box::new(LlamaDialect { route: Route::Chat, sent: json!({}) });
        assert_eq!(
            split_of(llama, &deltas),
            (Some(4), Some(3), Some(3), Some(SplitSource::ServerField), None)
        );
    }

    /// The split of a recorded stream, one event a millisecond, and the answer in its text.
    fn split_of_capture(capture: &str) -> (Told, String) {
        let (start, mut ready) = (Instant::now(), Ready::new());
        let dialect = LlamaDialect { route: Route::Chat, sent: json!({}) };
        let mut decoder = Decoder::new(Box::new(dialect), Splitter::default());
        let events = capture.lines().filter_map(|line| line.strip_prefix("data: "));
        for (data, ms) in events.zip(0..) {
            if !decoder.is_finished() {
                decoder.event(data, start + Duration::from_millis(ms), &mut ready).unwrap();
            }
        }
        let Some(Ok(StreamEvent::Finished { split, .. })) = ready.pop_back() else { panic!() };
        let text: String = ready
            .into_iter()
            .map(|event| match event {
                Ok(StreamEvent::Tokens { text, .. }) => text,
                other => panic!("{other:?}"),
            })
            .collect();
        let place = split.first_answer.map(|first| usize::try_from((first - start).as_millis()).unwrap());
        let answer = text[split.thought_bytes..].to_owned();
        ((split.thinking_tokens, split.answer_tokens, place, split.source, split.unknown), answer)
    }

    #[test]
    fn a_real_llama_cpp_s_thought_is_told_by_field_and_by_text() {
        let by_field = Some(SplitSource::ServerField);
        let parsed = include_str!("../tests/fixtures/llama-server/v1_chat_stream_reasoning.txt");
        // The model wrote `</think>` in ten tokens: the server held them back and sent them with the answer's first.
        assert_eq!(
            split_of_capture(parsed),
            ((Some(17), Some(19), Some(10), by_field, None), "yes it is".to_owned())
        );
        let cut = include_str!("../tests/fixtures/llama-server/v1_chat_stream_reasoning_cut.txt");
        assert_eq!(split_of_capture(cut), ((Some(14), Some(0), None, by_field, None), String::new()));
        // The same output with the server's parser off.
        let raw = include_str!("../tests/fixtures/llama-server/v1_chat_stream_reasoning_raw.txt");
        let by_text = Some(SplitSource::TextMarkers);
        assert_eq!(
            split_of_capture(raw),
            ((Some(25), Some(11), Some(26), by_text, None), "yes it is".to_owned())
        );
    }

    #[test]
    fn where_a_server_tells_ids_and_counts_these_split_at_the_token() {
        let (open, close) = (100_u32, 101_u32);
        let known = || {
            Splitter::new(MarkerIds::of_vocabulary(|text| match text {
                "<think>" => Some(open),
                "</think>" => Some(close),
                _ => None,
            }))
        };
        let of = |first: Value, splitter| {
            let mut decoder = Decoder::new(Box::new(VllmDialect { drafts_every_step: true }), splitter);
            let choice =
                |delta: Value, ids: &[u32]| json!([{ "index": 0, "delta": delta, "token_ids": ids }]);
            // One step over the end of the thought.
            let step = choice(json!({ "reasoning": "so", "content": "Yes" }), &[8, close, 9]);
            let last = json!({ "choices": [], "usage": { "prompt_tokens": 3, "completion_tokens": 4,
                "completion_tokens_details": { "reasoning_tokens": 2 } } });
            let end = json!({ "choices": [{ "index": 0, "delta": { "content": "." }, "token_ids": [10],
                "finish_reason": "stop" }] });
            let mut ready = Ready::new();
            for event in [first, json!({ "choices": step }), end, last] {
                decoder.event(&event.to_string(), Instant::now(), &mut ready).unwrap();
            }
            let Some(Ok(StreamEvent::Finished { split, .. })) = ready.pop_back() else { panic!() };
            *split
        };
        let role =
            json!([{ "index": 0, "delta": { "role": "assistant", "content": "" }, "token_ids": null }]);
        let first = json!({ "choices": role, "prompt_token_ids": [1, open, 7] });
        let by_ids = of(first.clone(), known());
        assert_eq!((by_ids.thinking_tokens, by_ids.answer_tokens), (Some(2), Some(2)));
        assert_eq!((by_ids.source, by_ids.thought_bytes), (Some(SplitSource::TokenIds), 2));
        assert_eq!(by_ids.server_thinking_tokens, Some(2));
        // Without the markers' ids the server's own count is what there is.
        let by_count = of(first, Splitter::default());
        assert_eq!((by_count.thinking_tokens, by_count.answer_tokens), (Some(2), Some(2)));
        assert_eq!((by_count.source, by_count.thought_bytes), (Some(SplitSource::ServerCount), 2));
    }

    #[test]
    fn vllm_s_reasoning_is_the_thought_and_a_step_over_its_end_is_not_guessed() {
        let usage = |n: u32| json!({ "usage": { "prompt_tokens": 3, "completion_tokens": n } });
        let vllm = || Box::new(VllmDialect { drafts_every_step: true });
        let role = (json!({ "role": "assistant", "content": "" }), usage(0));
        let whole = [
            role.clone(),
            (json!({ "reasoning": "hm" }), usage(3)),
            (json!({ "content": "Yes." }), usage(5)),
        ];
        let by_field = Some(SplitSource::ServerField);
        assert_eq!(split_of(vllm(), &whole), (Some(3), Some(2), Some(2), by_field, None));
        // One verify step ended the thought and began the answer: when is known, how many is not.
        let over = [
            role,
            (json!({ "reasoning": "hm", "content": "Yes" }), usage(4)),
            (json!({ "content": "." }), usage(5)),
        ];
        let mixed = Some(SplitUnknown::MixedChunk);
        assert_eq!(split_of(vllm(), &over), (None, None, Some(1), by_field, mixed));
    }

    #[test]
    fn markers_in_the_content_are_the_last_means_and_without_any_nothing_is_known() {
        let usage = |n: u32| json!({ "usage": { "prompt_tokens": 3, "completion_tokens": n } });
        let vllm = || Box::new(VllmDialect { drafts_every_step: true });
        let texts = ["<|chan", "nel>thought\nhm<chan", "nel|>", "Yes"];
        let deltas: Vec<_> =
            texts.iter().zip(1..).map(|(text, n)| (json!({ "content": text }), usage(n))).collect();
        let by_text = Some(SplitSource::TextMarkers);
        assert_eq!(split_of(vllm(), &deltas), (Some(3), Some(1), Some(3), by_text, None));
        let unmarked = Some(SplitUnknown::NothingMarks);
        assert_eq!(split_of(vllm(), &deltas[3..]), (None, None, None, None, unmarked));
    }

    #[test]
    fn error_bodies_give_their_message() {
        let llama = r#"{"error":{"code":400,"message":"too long","type":"exceed_context_size_error"}}"#;
        assert_eq!(error_message(llama).as_deref(), Some("too long"));
        assert_eq!(error_message(r#"{"detail":"Not Found"}"#).as_deref(), Some("Not Found"));
        assert_eq!(error_message(r#"{"error":"gone"}"#).as_deref(), Some("gone"));
        let swap = r#"{"src":"llama-swap","error":{"message":"no model"}}"#;
        assert_eq!(error_message(swap).as_deref(), Some("llama-swap: no model"));
        for other in ["<html>", "{}", r#"{"choices":[],"text":"an \"error\""}"#, r#"{"error":null}"#] {
            assert_eq!(error_message(other), None, "{other}");
        }
    }
}
