//! The stacks under test: each with a real answer, what the answer holds, and what is left of it when it breaks.
//!
//! Every count here was read off the captures by hand.

use bench_adapters::llama_server::LlamaServer;
use bench_core::preset::Route;
use bench_core::stack::{Stack, StackError};
use serde_json::Value;

/// The model's name, where one is asked for.
pub(crate) const MODEL: &str = "tiny";

/// One stack on one of its routes.
pub(crate) struct Case {
    /// Unique; a column of the table.
    pub(crate) label: &'static str,
    pub(crate) route: Route,
    /// Path of a generation.
    pub(crate) path: &'static str,
    /// Path of the counters.
    pub(crate) metrics: &'static str,
    attach: fn(&str, Route) -> Result<Box<dyn Stack>, StackError>,
    /// A recorded stream.
    capture: &'static str,
    /// The row of that stream.
    pub(crate) ordinary: &'static str,
    /// What a row keeps of the first [`KEPT_EVENTS`] events of that stream.
    pub(crate) kept: &'static str,
    /// A recorded refusal: status, answer, words of its message.
    pub(crate) refusal: (&'static str, &'static str, &'static str),
}

/// Events before a stream breaks. All captures are longer, and by then have brought output.
pub(crate) const KEPT_EVENTS: usize = 5;

impl Case {
    pub(crate) fn attach(&self, url: &str) -> Result<Box<dyn Stack>, StackError> {
        (self.attach)(url, self.route)
    }

    /// The data of the recorded stream's events.
    pub(crate) fn events(&self) -> Vec<String> {
        events(self.capture)
    }

    /// The body of the recorded refusal.
    pub(crate) fn refusal_body(&self) -> String {
        let lines = self.refusal.1.lines().filter(|line| !line.starts_with('#'));
        lines.collect::<Vec<_>>().join("\n").trim().to_owned()
    }
}

/// The data of a recorded stream's events. Every event has one line of data; some captures have the time in front.
pub(crate) fn events(capture: &str) -> Vec<String> {
    let lines = capture.lines().filter(|line| !line.starts_with('#'));
    let data = lines.filter_map(|line| line.split_once("data: ").map(|(_, data)| data.to_owned()));
    data.collect()
}

/// The events with their JSON edited; `[DONE]` stays.
pub(crate) fn edited(events: Vec<String>, edit: impl Fn(&mut Value)) -> Vec<String> {
    let edit_one = |data: String| match serde_json::from_str(&data) {
        Ok(mut json) => {
            edit(&mut json);
            json.to_string()
        }
        Err(_) => data,
    };
    events.into_iter().map(edit_one).collect()
}

const LLAMA_TOO_LONG: (&str, &str, &str) = (
    "400 Bad Request",
    include_str!("../fixtures/llama-server/err_too_long_chat_stream.txt"),
    "request (33012 tokens) exceeds the available context size",
);

fn llama_server(url: &str, route: Route) -> Result<Box<dyn Stack>, StackError> {
    Ok(Box::new(LlamaServer::attach(url, route)?))
}

pub(crate) const CASES: &[Case] = &[
    Case {
        label: "llama-server /completion",
        route: Route::Completion,
        path: "/completion",
        metrics: "/metrics",
        attach: llama_server,
        capture: include_str!("../fixtures/llama-server/completion_stream_timings.txt"),
        ordinary: "completed (length); 12 tokens by token_ids; 5 of 31 drafts accepted in 6 steps",
        kept: "2 tokens by token_ids",
        refusal: LLAMA_TOO_LONG,
    },
    Case {
        label: "llama-server /v1/completions",
        route: Route::OpenAiCompletion,
        path: "/v1/completions",
        metrics: "/metrics",
        attach: llama_server,
        capture: include_str!("../fixtures/llama-server/v1_completions_stream_usage.txt"),
        ordinary: "completed (length); 8 tokens by usage; 2 of 19 drafts accepted in 5 steps",
        kept: "5 chunks that nobody counted",
        refusal: LLAMA_TOO_LONG,
    },
    Case {
        label: "llama-server /v1/chat/completions",
        route: Route::Chat,
        path: "/v1/chat/completions",
        metrics: "/metrics",
        attach: llama_server,
        capture: include_str!("../fixtures/llama-server/v1_chat_stream_timings.txt"),
        ordinary: "completed (length); 12 tokens by usage; 8 of 17 drafts accepted in 3 steps",
        kept: "4 tokens by chunks",
        refusal: LLAMA_TOO_LONG,
    },
];
