//! The three forms of an answer, streamed or whole: llama.cpp's `/completion`, OpenAI's text and chat completions.
//!
//! Streamed, every round of the engine is one chunk with all its tokens, as vLLM has it, even where its text is still
//! held back; then comes a chunk that says why it ended. Counts ride on the last one: llama.cpp's `timings`, vLLM's
//! `metrics`. The native form has no `[DONE]`, as in llama.cpp.

use serde_json::{Value, json};

use super::ask::Shape;
use super::worker::{Done, Event, Reason, Round};

/// Which route's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `/completion`
    Native,
    /// `/v1/completions`
    Text,
    /// `/v1/chat/completions`
    Chat,
}

/// One answer under way.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) form: Form,
    pub(super) shape: Shape,
    pub(super) id: String,
    /// Unix seconds.
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) fingerprint: String,
    /// What was asked for, as llama.cpp repeats it.
    pub(super) settings: Value,
    /// A chunk was sent.
    pub(super) begun: bool,
}

impl Reply {
    /// An event as server-sent events.
    pub(super) fn frames(&mut self, event: &Event) -> String {
        match event {
            Event::Round(round) => self.round(round),
            Event::Done(done) => self.done(done),
            Event::Failed(error) => frame(&error.json()),
        }
    }

    fn round(&mut self, round: &Round) -> String {
        let role = json!({ "role": "assistant", "content": "" });
        let opening = (self.form == Form::Chat && !std::mem::replace(&mut self.begun, true))
            .then(|| frame(&self.chunk(&json!({ "index": 0, "delta": role, "finish_reason": null }))));
        let mut chunk = match self.form {
            Form::Native => json!({
                "index": 0,
                "content": round.text,
                "tokens": round.ids,
                "stop": false,
                "id_slot": 0,
                "tokens_predicted": round.tally.output_tokens,
                "tokens_evaluated": round.tally.prompt_tokens,
            }),
            Form::Text | Form::Chat => {
                let mut choice = self.choice(&round.text, None);
                if self.shape.token_ids {
                    choice["token_ids"] = json!(round.ids);
                }
                self.chunk(&choice)
            }
        };
        if self.shape.timings_per_token {
            chunk["timings"] = round.tally.timings();
        }
        if self.shape.continuous_usage && self.form != Form::Native {
            chunk["usage"] = round.tally.usage();
        }
        opening.unwrap_or_default() + &frame(&chunk)
    }

    fn done(&self, done: &Done) -> String {
        if self.form == Form::Native {
            return frame(&self.native_end(&done.rest, &[], done));
        }
        let mut last = self.chunk(&self.choice(&done.rest, Some(&done.reason)));
        if self.shape.continuous_usage {
            last["usage"] = done.tally.usage();
        }
        if !self.shape.include_usage {
            counts(&mut last, done);
            return frame(&last) + "data: [DONE]\n\n";
        }
        let mut usage = self.chunk(&Value::Null);
        usage["choices"] = json!([]);
        usage["usage"] = done.tally.usage();
        counts(&mut usage, done);
        frame(&last) + &frame(&usage) + "data: [DONE]\n\n"
    }

    /// The answer in one piece.
    pub(super) fn whole(&self, text: &str, ids: &[u32], done: &Done) -> Value {
        if self.form == Form::Native {
            let ids = if self.shape.token_ids { ids } else { &[] };
            return self.native_end(text, ids, done);
        }
        let mut choice = self.choice(text, Some(&done.reason));
        if self.form == Form::Chat
            && let Some(choice) = choice.as_object_mut()
        {
            choice.remove("delta");
            choice.insert("message".to_owned(), json!({ "role": "assistant", "content": text }));
        }
        if self.shape.token_ids {
            choice["token_ids"] = json!(ids);
        }
        let mut whole = self.chunk(&choice);
        if self.form == Form::Chat {
            whole["object"] = json!("chat.completion");
        }
        whole["usage"] = done.tally.usage();
        counts(&mut whole, done);
        whole
    }

    /// What every object of OpenAI's forms has around its choice.
    fn chunk(&self, choice: &Value) -> Value {
        let object = if self.form == Form::Chat { "chat.completion.chunk" } else { "text_completion" };
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": [choice],
        })
    }

    fn choice(&self, text: &str, end: Option<&Reason>) -> Value {
        let mut choice = json!({ "index": 0, "logprobs": null, "finish_reason": end.map(finish_reason) });
        match self.form {
            // An empty delta at the end, as OpenAI has it.
            Form::Chat if end.is_some() && text.is_empty() => choice["delta"] = json!({}),
            Form::Chat => choice["delta"] = json!({ "content": text }),
            Form::Native | Form::Text => choice["text"] = json!(text),
        }
        if let Some(Reason::Word(stop)) = end {
            choice["stop_reason"] = json!(stop);
        }
        choice
    }

    fn native_end(&self, text: &str, ids: &[u32], done: &Done) -> Value {
        let (kind, word) = match &done.reason {
            Reason::Length => ("limit", ""),
            Reason::Eos => ("eos", ""),
            Reason::Word(stop) => ("word", stop.as_str()),
        };
        let mut end = json!({
            "index": 0,
            "content": text,
            "tokens": ids,
            "id_slot": 0,
            "stop": true,
            "model": self.model,
            "tokens_predicted": done.tally.output_tokens,
            "tokens_evaluated": done.tally.prompt_tokens,
            "generation_settings": self.settings,
            "truncated": false,
            "stop_type": kind,
            "stopping_word": word,
        });
        counts(&mut end, done);
        end
    }
}

fn counts(object: &mut Value, done: &Done) {
    object["timings"] = done.tally.timings();
    if let Some(metrics) = done.tally.metrics() {
        object["metrics"] = metrics;
    }
}

fn finish_reason(reason: &Reason) -> &'static str {
    match reason {
        Reason::Length => "length",
        Reason::Eos | Reason::Word(_) => "stop",
    }
}

fn frame(chunk: &Value) -> String {
    format!("data: {chunk}\n\n")
}
