//! The stacks under test: each with a real answer, what the answer holds, and what is left of it when it breaks.
//!
//! Every count here was read off the captures by hand.

use bench_adapters::llama_server::LlamaServer;
use bench_adapters::llama_swap::LlamaSwap;
use bench_adapters::openai_server::OpenAiServer;
use bench_adapters::vllm::Vllm;
use bench_core::preset::Route;
use bench_core::stack::{GenerateRequest, Prompt, Stack, StackError};
use serde_json::Value;

/// The model's name, where one is asked for.
pub(crate) const MODEL: &str = "tiny";

/// A stack that was told its server's address.
pub(crate) type Attached = Result<Box<dyn Stack>, StackError>;

/// One stack on one of its routes.
pub(crate) struct Case {
    /// Unique; a column of the table.
    pub(crate) label: &'static str,
    pub(crate) route: Route,
    /// Path of a generation.
    pub(crate) path: &'static str,
    /// Path of the counters.
    pub(crate) metrics: &'static str,
    attach: fn(&str, Route) -> Attached,
    /// A recorded stream.
    capture: &'static str,
    /// Who sent it, and how it counts.
    pub(crate) recorded: &'static str,
    /// The row of that stream.
    pub(crate) ordinary: &'static str,
    /// What a row keeps of the first [`KEPT_EVENTS`] events of that stream.
    pub(crate) kept: &'static str,
    /// What a row keeps of that stream when only its finish cannot be read.
    pub(crate) all: &'static str,
    /// Chunks with output in that stream.
    pub(crate) chunks: u32,
    /// Tokens in each of them; empty where they do not tell.
    pub(crate) per_chunk: &'static [u32],
    /// Prompt tokens, how many of them were cached, and the model that answered, as the stream tells them.
    pub(crate) prompt: (u32, Option<u32>, &'static str),
    /// A recorded refusal: status, answer, words of its message.
    pub(crate) refusal: (&'static str, &'static str, &'static str),
}

/// Events before a stream breaks. All captures are longer, and by then have brought output.
pub(crate) const KEPT_EVENTS: usize = 5;

impl Case {
    /// The stack's name, without its route.
    pub(crate) fn stack(&self) -> &'static str {
        self.label.split(' ').next().unwrap_or(self.label)
    }

    pub(crate) fn attach(&self, url: &str) -> Attached {
        (self.attach)(url, self.route)
    }

    /// A request of its route's kind.
    pub(crate) fn request(&self) -> GenerateRequest {
        let mut request = bench_core::testing::generate_request("Once");
        if self.route == Route::Chat {
            request.prompt = Prompt::Chat { system: None, history: Vec::new(), user: "Hi".to_owned() };
        }
        request
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

const SWAP_UNKNOWN: (&str, &str, &str) = (
    "404 Not Found",
    include_str!("../fixtures/llama-swap/err_unknown_model.txt"),
    "llama-swap: no router for requested model",
);
const VLLM_TOO_LONG: (&str, &str, &str) = (
    "400 Bad Request",
    include_str!("../fixtures/vllm/err-too-long.txt"),
    "max_tokens=100000 cannot be greater than max_model_len=512",
);

/// vLLM sends one chunk a step, with all its tokens.
const VLLM_STEPS: [u32; 14] = [1, 1, 1, 2, 2, 4, 5, 5, 5, 5, 5, 5, 5, 2];

fn llama_server(url: &str, route: Route) -> Attached {
    Ok(Box::new(LlamaServer::attach(url, route)?))
}

fn llama_swap(url: &str, route: Route) -> Attached {
    Ok(Box::new(LlamaSwap::attach(url, MODEL, route)?))
}

fn vllm(url: &str, route: Route) -> Attached {
    Ok(Box::new(Vllm::attach(url, MODEL, route)?))
}

fn openai(url: &str, route: Route) -> Attached {
    Ok(Box::new(OpenAiServer::attach(url, MODEL, route)?))
}

pub(crate) const CASES: &[Case] = &[
    Case {
        label: "llama-server /completion",
        route: Route::Completion,
        path: "/completion",
        metrics: "/metrics",
        attach: llama_server,
        capture: include_str!("../fixtures/llama-server/completion_stream_timings.txt"),
        recorded: "llama.cpp; ids, and a count in every event",
        ordinary: "completed (length); 12 tokens by token_ids; 5 of 31 drafts accepted in 6 steps",
        kept: "2 tokens by token_ids",
        all: "12 tokens by token_ids",
        chunks: 12,
        per_chunk: &[1; 12],
        prompt: (12, Some(0), "tiny-gemma4-f16.gguf"),
        refusal: LLAMA_TOO_LONG,
    },
    Case {
        label: "llama-server /v1/completions",
        route: Route::OpenAiCompletion,
        path: "/v1/completions",
        metrics: "/metrics",
        attach: llama_server,
        capture: include_str!("../fixtures/llama-server/v1_completions_stream_usage.txt"),
        recorded: "llama.cpp; usage in the last event only",
        ordinary: "completed (length); 8 tokens by usage; 2 of 19 drafts accepted in 5 steps",
        kept: "5 chunks that nobody counted",
        all: "8 chunks that nobody counted",
        chunks: 8,
        per_chunk: &[],
        prompt: (12, Some(7), "tiny-gemma4-f16.gguf"),
        refusal: LLAMA_TOO_LONG,
    },
    Case {
        label: "llama-server /v1/chat/completions",
        route: Route::Chat,
        path: "/v1/chat/completions",
        metrics: "/metrics",
        attach: llama_server,
        capture: include_str!("../fixtures/llama-server/v1_chat_stream_timings.txt"),
        recorded: "llama.cpp; a count in every event",
        ordinary: "completed (length); 12 tokens by usage; 8 of 17 drafts accepted in 3 steps",
        kept: "4 tokens by chunks",
        all: "12 tokens by chunks",
        chunks: 12,
        per_chunk: &[1; 12],
        prompt: (32, Some(27), "tiny-gemma4-f16.gguf"),
        refusal: LLAMA_TOO_LONG,
    },
    Case {
        label: "llama-swap /completion",
        route: Route::Completion,
        path: "/completion",
        metrics: "/upstream/tiny/metrics",
        attach: llama_swap,
        // It hands the route on untouched.
        capture: include_str!("../fixtures/llama-server/completion_stream_timings.txt"),
        recorded: "llama.cpp; ids, and a count in every event",
        ordinary: "completed (length); 12 tokens by token_ids; 5 of 31 drafts accepted in 6 steps",
        kept: "2 tokens by token_ids",
        all: "12 tokens by token_ids",
        chunks: 12,
        per_chunk: &[1; 12],
        prompt: (12, Some(0), "tiny-gemma4-f16.gguf"),
        refusal: SWAP_UNKNOWN,
    },
    Case {
        label: "llama-swap /v1/chat/completions",
        route: Route::Chat,
        path: "/v1/chat/completions",
        metrics: "/upstream/tiny/metrics",
        attach: llama_swap,
        capture: include_str!("../fixtures/llama-swap/chat_stream_usage.txt"),
        recorded: "llama.cpp behind llama-swap; usage in the last event only",
        ordinary: "completed (length); 8 tokens by usage; 4 of 7 drafts accepted in 3 steps",
        kept: "4 chunks that nobody counted",
        all: "8 chunks that nobody counted",
        chunks: 8,
        per_chunk: &[],
        prompt: (32, Some(27), "tiny-mtp"),
        refusal: SWAP_UNKNOWN,
    },
    Case {
        label: "vllm /v1/completions",
        route: Route::Completion,
        path: "/v1/completions",
        metrics: "/metrics",
        attach: vllm,
        capture: include_str!("../fixtures/vllm/completions-stream-contusage.txt"),
        recorded: "vLLM; usage in every event",
        ordinary: "completed (length); 48 tokens by usage; 37 of 37 drafts accepted in unknown steps",
        kept: "7 tokens by chunks",
        all: "46 tokens by chunks",
        chunks: 14,
        per_chunk: &VLLM_STEPS,
        prompt: (34, None, "tiny"),
        refusal: VLLM_TOO_LONG,
    },
    Case {
        label: "vllm /v1/chat/completions",
        route: Route::Chat,
        path: "/v1/chat/completions",
        metrics: "/metrics",
        attach: vllm,
        capture: include_str!("../fixtures/vllm/chat-stream-contusage.txt"),
        recorded: "vLLM; usage in every event",
        ordinary: "completed (length); 48 tokens by usage; 37 of 37 drafts accepted in unknown steps",
        kept: "5 tokens by chunks",
        all: "46 tokens by chunks",
        chunks: 14,
        per_chunk: &VLLM_STEPS,
        prompt: (38, None, "tiny"),
        refusal: VLLM_TOO_LONG,
    },
    // A server that has usage in its last chunk only, whatever else it was asked for.
    Case {
        label: "openai /v1/completions",
        route: Route::OpenAiCompletion,
        path: "/v1/completions",
        metrics: "/metrics",
        attach: openai,
        capture: include_str!("../fixtures/vllm/completions-stream-usage.txt"),
        recorded: "vLLM; usage in the last event only",
        ordinary: "completed (length); 48 tokens by usage; 37 of 37 drafts accepted in unknown steps",
        kept: "5 chunks that nobody counted",
        all: "13 chunks that nobody counted",
        chunks: 14,
        per_chunk: &[],
        prompt: (34, None, "tiny"),
        refusal: VLLM_TOO_LONG,
    },
    Case {
        label: "openai /v1/chat/completions",
        route: Route::Chat,
        path: "/v1/chat/completions",
        metrics: "/metrics",
        attach: openai,
        capture: include_str!("../fixtures/vllm/chat-stream-usage.txt"),
        recorded: "vLLM; usage in the last event only",
        ordinary: "completed (length); 48 tokens by usage; 37 of 37 drafts accepted in unknown steps",
        kept: "4 chunks that nobody counted",
        all: "13 chunks that nobody counted",
        chunks: 14,
        per_chunk: &[],
        prompt: (38, None, "tiny"),
        refusal: VLLM_TOO_LONG,
    },
];
