//! The presets in the binary.

use std::fmt;

use crate::error::PresetError;
use crate::fields::nearest;

/// A preset that comes with the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// What it is about.
    pub theme: Theme,
    /// What `bench run` calls it.
    pub name: &'static str,
    /// What it is for; equal to the description in its text.
    pub description: &'static str,
    /// Its text.
    pub toml: &'static str,
}

/// What shipped presets are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Models that come with the program.
    Anywhere,
    /// Gemma 4 and its MTP assistants.
    Gemma4,
    /// Next-token layers of Qwen.
    Qwen,
    /// What vLLM's authors advise.
    Vllm,
    /// Reported defects.
    Defects,
}

impl fmt::Display for Theme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anywhere => "Runs anywhere",
            Self::Gemma4 => "Gemma 4 with its MTP assistant",
            Self::Qwen => "Qwen with its own next-token layer",
            Self::Vllm => "vLLM as its recipes advise",
            Self::Defects => "Reported defects",
        })
    }
}

macro_rules! shipped {
    ($theme:expr, $name:literal, $description:literal) => {
        Shipped {
            theme: $theme,
            name: $name,
            description: $description,
            toml: include_str!(concat!("../presets/", $name, ".toml")),
        }
    };
}

/// All shipped presets by theme, in the order they are listed in.
#[must_use]
pub fn shipped() -> &'static [Shipped] {
    &[
        shipped!(
            Theme::Anywhere,
            "quickstart",
            "The bundled pair (a trained 14 M Gemma 4 and its MTP assistant) on five kinds of text: every way of \
             speculating against plain decoding, in a minute or two."
        ),
        shipped!(
            Theme::Anywhere,
            "smoke",
            "Two prompts, two blocks, a few seconds: shows that a set-up works. Too few blocks for intervals."
        ),
        shipped!(
            Theme::Anywhere,
            "nano-turbo3",
            "The bundled pair with a turbo3 KV cache: what it costs in quality against f16, beside its speed. For other \
             types set serving.kv_type."
        ),
        shipped!(
            Theme::Anywhere,
            "nano-kv-types",
            "The bundled pair with KV caches of f16, q8_0, turbo4 and turbo3 interleaved in one run, plain and with MTP \
             drafts: which type is faster here, and what does it cost in quality?"
        ),
        shipped!(
            Theme::Anywhere,
            "nano-draft-length",
            "The bundled pair at draft lengths 1 to 5 against plain decoding: where speculation pays on this \
             machine, and where it stops."
        ),
        shipped!(
            Theme::Anywhere,
            "nano-concurrency",
            "The bundled pair at 1, 2, 4 and 8 requests in flight: where does speculation stop paying? Our engine \
             answers one at a time; llama.cpp's server has a slot for each."
        ),
        shipped!(
            Theme::Anywhere,
            "nano-prefill",
            "The bundled pair on synthetic prompts of 128, 512 and 1024 tokens: time to first token by input length. Claims about real drafts are refused; `stated` drafts at 2 tokens a step."
        ),
        shipped!(
            Theme::Anywhere,
            "nano-poisson",
            "The bundled pair under arrivals that do not wait: 3 requests a second at random times, 24 a pass, \
             latencies from when each was meant to be sent."
        ),
        shipped!(
            Theme::Anywhere,
            "nano-chat",
            "The bundled pair in two conversations of two and three user turns, every turn with the arm's own answers \
             before it: plain decoding against MTP, in seconds."
        ),
        shipped!(
            Theme::Anywhere,
            "nano-held-out",
            "Acceptance of the bundled pair on 120 held-out prompts of six kinds, draft lengths 1 to 5, centroid \
             head and dense head."
        ),
        shipped!(
            Theme::Anywhere,
            "ngram",
            "Prompt lookup at draft lengths 2, 4 and 8 against plain decoding, with the bundled target: what it \
             gives depends on the kind of text."
        ),
        shipped!(
            Theme::Anywhere,
            "synthetic",
            "Tiny synthetic Gemma-4 pair with planted acceptance 0.7: every way of speculating against plain \
             decoding, with counts known beforehand."
        ),
        shipped!(
            Theme::Anywhere,
            "synthetic-acceptance",
            "The bundled pair with forced acceptance lengths from 1 (no draft accepted) to 4 (all): the speed of \
             a stack without the luck of the text."
        ),
        shipped!(
            Theme::Anywhere,
            "synthetic-draft-length",
            "The bundled pair at draft lengths 1 to 7, each draft accepted with 0.8: which length is best on this \
             machine, without the luck of the text."
        ),
        shipped!(
            Theme::Gemma4,
            "gemma-4-e2b",
            "Gemma 4 E2B and its MTP assistant at draft lengths 1 to 3 against plain decoding."
        ),
        shipped!(
            Theme::Gemma4,
            "gemma-4-e2b-throughput",
            "Gemma 4 E2B, the MTP preset `throughput`: block size 2, one drafted token a round."
        ),
        shipped!(
            Theme::Gemma4,
            "gemma-4-e2b-lift",
            "Gemma 4 E2B, the MTP preset `lift`: block size 3, two drafted tokens a round."
        ),
        shipped!(
            Theme::Gemma4,
            "gemma-4-e2b-balanced",
            "Gemma 4 E2B, the MTP preset `balanced`: block size 3, two drafted tokens a round."
        ),
        shipped!(
            Theme::Gemma4,
            "gemma-4-e2b-quality",
            "Gemma 4 E2B, the MTP preset `quality`: block size 4, three drafted tokens a round."
        ),
        shipped!(
            Theme::Gemma4,
            "gemma-4-e4b",
            "Gemma 4 E4B and its MTP assistant at draft lengths 1 to 3 against plain decoding."
        ),
        shipped!(
            Theme::Gemma4,
            "gemma-4-e4b-throughput",
            "Gemma 4 E4B, the MTP preset `throughput`: block size 2, one drafted token a round."
        ),
        shipped!(
            Theme::Gemma4,
            "gemma-4-e4b-lift",
            "Gemma 4 E4B, the MTP preset `lift`: block size 3, two drafted tokens a round."
        ),
        shipped!(
            Theme::Gemma4,
            "gemma-4-e4b-balanced",
            "Gemma 4 E4B, the MTP preset `balanced`: block size 3, two drafted tokens a round."
        ),
        shipped!(
            Theme::Gemma4,
            "gemma-4-e4b-quality",
            "Gemma 4 E4B, the MTP preset `quality`: block size 4, three drafted tokens a round."
        ),
        shipped!(
            Theme::Gemma4,
            "gemma-4-26b-a4b",
            "Gemma 4 26B-A4B (mixture of experts) with its MTP assistant: block size 3, two drafted tokens a \
             round."
        ),
        shipped!(
            Theme::Gemma4,
            "gemma-4-31b",
            "Gemma 4 31B (dense) with its MTP assistant: block size 3, two drafted tokens a round."
        ),
        shipped!(
            Theme::Qwen,
            "qwen-nextn-dense",
            "Qwen 3.6 27B (dense) with its own next-token layer: two drafted tokens a round, no second model."
        ),
        shipped!(
            Theme::Qwen,
            "qwen-nextn-moe",
            "Qwen 3.6 35B-A3B (mixture of experts) with its own next-token layer: two drafted tokens a round, no \
             second model."
        ),
        shipped!(
            Theme::Vllm,
            "vllm-recommended-e2b",
            "Gemma 4 E2B on vLLM at the draft length its recipes advise: 2."
        ),
        shipped!(
            Theme::Vllm,
            "vllm-recommended-e4b",
            "Gemma 4 E4B on vLLM at the draft length its recipes advise: 4."
        ),
        shipped!(
            Theme::Vllm,
            "vllm-recommended-26b",
            "Gemma 4 26B-A4B on vLLM at the draft length its recipes advise: 4 (there on two GPUs)."
        ),
        shipped!(
            Theme::Vllm,
            "vllm-recommended-31b",
            "Gemma 4 31B on vLLM at the draft lengths its recipes advise: 4 and 8 (there on two GPUs)."
        ),
        shipped!(
            Theme::Defects,
            "dkq512-repro",
            "The reported abort at head size 512, as an A/B of stacks: E4B UD-Q8_K_XL, Q4_K_M assistant, turbo3 \
             KV, block size 2, one JSON prompt, 128 tokens, greedy."
        ),
    ]
}

pub(crate) fn unknown(name: &str) -> PresetError {
    PresetError::UnknownPreset {
        name: name.to_owned(),
        nearest: nearest(name, shipped().iter().map(|preset| preset.name)),
    }
}
