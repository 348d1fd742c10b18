//! Ids of the tokens that begin and end a thought, learnt from a server's own tokenizer.
//!
//! What for: where a stack tells the ids of its output (vLLM's `return_token_ids`, llama.cpp's `/completion`), thinking is
//! split at the token. A marker is known where the tokenizer makes exactly one token of its text. Without an answer nothing
//! is known, and splits go by field or text, which every row says. Invariant: nothing is asked while a request is timed.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bench_core::stack::StackInfo;
use bench_core::thinking::{MARKERS, MarkerIds, Splitter};
use serde::Deserialize;
use serde_json::Value;

use crate::server::Server;

/// What a server of ours told of its markers; empty until it was asked.
#[derive(Debug, Default)]
pub(crate) struct Markers(OnceLock<MarkerIds>);

#[derive(Deserialize)]
struct TokensJson {
    tokens: Vec<u32>,
}

impl Markers {
    /// Asks once; `question` is what a tokenizer at `path` is sent for a text. What was learnt becomes a detail of the arm.
    pub(crate) async fn learn(
        &self,
        server: &Server,
        path: &str,
        question: impl Fn(&str) -> Value,
        info: &mut StackInfo,
    ) {
        if self.0.get().is_none() {
            let Some(ids) = single_tokens(server, path, question).await else { return };
            // Another asker was faster, with the same answer.
            drop(self.0.set(MarkerIds::of_vocabulary(|text| ids.get(text).copied())));
        }
        if let Some(markers) = self.0.get().filter(|markers| !markers.is_empty()) {
            info.details.insert("thought markers".to_owned(), markers.to_string());
        }
    }

    /// For the answer to a request of this body.
    pub(crate) fn splitter(&self, body: &Value) -> Splitter {
        let markers = self.0.get().cloned().unwrap_or_default();
        match body.get("prompt").and_then(Value::as_str) {
            Some(prompt) => Splitter::after_text(markers, prompt),
            // Messages become a prompt in the server; some tell its ids with the answer.
            None => Splitter::new(markers),
        }
    }
}

/// The markers that are one token; `None` where the server does not answer.
async fn single_tokens(
    server: &Server,
    path: &str,
    question: impl Fn(&str) -> Value,
) -> Option<BTreeMap<&'static str, u32>> {
    let mut ids = BTreeMap::new();
    for text in MARKERS.iter().flat_map(|(open, close)| [*open, *close]) {
        let answer: TokensJson = server.post_json(path, &question(text)).await.ok()?;
        if let [id] = answer.tokens[..] {
            ids.insert(text, id);
        }
    }
    Some(ids)
}
