//! The bytes of an answer.

use std::io::Write;

use serde_json::{Value, json};

use super::script::Script;

/// One streaming answer's state, as far as its words depend on it. `model` is JSON throughout.
#[derive(Debug, Clone)]
pub(super) struct Words {
    pub(super) id: u64,
    pub(super) is_chat: bool,
    pub(super) created: u64,
    pub(super) prompt_tokens: u32,
    /// Usage in every chunk, as a running sum.
    pub(super) continuous_usage: bool,
}

pub(super) const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";

/// What ends a body of chunks.
pub(super) const LAST_PIECE: &[u8] = b"0\r\n\r\n";

/// Appends a piece of a chunked body, whose length is known once `write` has written it.
pub(super) fn piece<T>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    const HEAD: &[u8] = b"00000000\r\n";
    let start = out.len();
    out.extend_from_slice(HEAD);
    let written = write(out);
    let length = out.len() - start - HEAD.len();
    let digits = HEAD.len() - b"\r\n".len();
    out[start..start + digits].copy_from_slice(format!("{length:08x}").as_bytes());
    out.extend_from_slice(b"\r\n");
    written
}

/// A whole answer that is no stream.
pub(super) fn whole(status: &str, content_type: &str, body: &str, keep_alive: bool) -> Vec<u8> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
         connection: {connection}\r\n\r\n{body}"
    )
    .into_bytes()
}

impl Words {
    fn open(&self, out: &mut Vec<u8>, model: &str) {
        let (prefix, object) =
            if self.is_chat { ("chatcmpl", "chat.completion.chunk") } else { ("cmpl", "text_completion") };
        let Self { id, created, .. } = self;
        put(
            out,
            format_args!(
                "data: {{\"id\":\"{prefix}-mock-{id}\",\"object\":\"{object}\",\"created\":{created},\
                 \"model\":{model},\"choices\":["
            ),
        );
    }

    /// The chunk without content that comes first.
    pub(super) fn role(&self, out: &mut Vec<u8>, model: &str) {
        self.open(out, model);
        let delta = if self.is_chat {
            "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}"
        } else {
            "\"text\":\"\""
        };
        put(out, format_args!("{{\"index\":0,{delta},\"logprobs\":null,\"finish_reason\":null}}]"));
        self.close(out, 0);
    }

    /// A chunk of `tokens` words; `emitted` counts them, too.
    pub(super) fn content(
        &self,
        out: &mut Vec<u8>,
        model: &str,
        tokens: u32,
        emitted: u32,
        finish: Option<&str>,
    ) {
        self.open(out, model);
        let (before, after) =
            if self.is_chat { ("\"delta\":{\"content\":\"", "\"}") } else { ("\"text\":\"", "\"") };
        put(out, format_args!("{{\"index\":0,{before}"));
        for _ in 0..tokens {
            out.extend_from_slice(b" mock");
        }
        let finish = finish.map_or_else(|| "null".to_owned(), |reason| format!("\"{reason}\""));
        put(out, format_args!("{after},\"logprobs\":null,\"finish_reason\":{finish},\"token_ids\":null}}]"));
        self.close(out, emitted);
    }

    /// The end of an event: usage where it runs along.
    fn close(&self, out: &mut Vec<u8>, emitted: u32) {
        if self.continuous_usage {
            let usage = usage(self.prompt_tokens, emitted);
            put(out, format_args!(",\"usage\":{usage}"));
        }
        out.extend_from_slice(b"}\n\n");
    }

    /// The chunk without choices that tells usage, and what speculation came to.
    pub(super) fn usage(&self, out: &mut Vec<u8>, model: &str, emitted: u32, spec: &SpecWords) {
        self.open(out, model);
        let usage = usage(self.prompt_tokens, emitted);
        put(out, format_args!("],\"usage\":{usage}"));
        for (key, value) in [("metrics", &spec.metrics), ("timings", &spec.timings)] {
            if let Some(value) = value {
                put(out, format_args!(",\"{key}\":{value}"));
            }
        }
        out.extend_from_slice(b"}\n\n");
    }
}

/// A request's speculation in the words of two servers.
#[derive(Debug, Default)]
pub(super) struct SpecWords {
    metrics: Option<Value>,
    timings: Option<Value>,
}

impl SpecWords {
    /// `histogram[j]`: steps that accepted exactly j drafts.
    pub(super) fn new(script: &Script, histogram: &[u64], tokens: u32) -> Self {
        let steps: u64 = histogram.iter().sum();
        let accepted: u64 = histogram.iter().zip(0_u64..).map(|(count, j)| count * j).sum();
        let draft_max = script.speculation.as_ref().map(|speculation| u64::from(speculation.draft_max()));
        let drafted = draft_max.map(|most| most * steps);
        let metrics = draft_max.zip(drafted).map(|(most, drafted)| {
            json!({ "speculative_decoding": {
                "num_spec_tokens": most,
                "num_spec_steps": steps,
                "num_draft_tokens": drafted,
                "num_accepted_draft_tokens": accepted,
                "mean_acceptance_length": ratio(steps + accepted, steps),
                "draft_acceptance_rate": ratio(accepted, drafted),
                "acceptance_histogram": histogram,
            }})
        });
        let timings = script.timings.then(|| {
            let mut timings = json!({ "predicted_n": tokens });
            if let Some(drafted) = drafted {
                timings["draft_n"] = json!(drafted);
                timings["draft_n_accepted"] = json!(accepted);
            }
            timings
        });
        Self { metrics, timings }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn usage(prompt: u32, completion: u32) -> String {
    let total = u64::from(prompt) + u64::from(completion);
    format!("{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{total}}}")
}

/// Writing to memory cannot fail.
fn put(out: &mut Vec<u8>, words: std::fmt::Arguments<'_>) {
    drop(out.write_fmt(words));
}
