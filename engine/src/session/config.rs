//! What an engine is made of: files, sizes and a way of speculating. Plain data, checked when it is loaded.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::kv_cache::KvTypes;
use crate::model::{DraftHead, PleTable};
use crate::spec::accept::AcceptanceRule;

/// What to load and how to run it.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// GGUF file of the model whose output counts.
    pub target: PathBuf,
    /// GGUF file of its MTP assistant; needed by [`Speculation::Mtp`], otherwise not opened.
    pub assistant: Option<PathBuf>,
    /// Most tokens of a sequence, prompt and output.
    pub context_tokens: usize,
    /// How keys and values are stored.
    pub kv_type: KvTypes,
    /// Threads that compute, the caller's included.
    pub threads: NonZeroUsize,
    /// How drafts are made.
    pub speculation: Speculation,
    /// Where the models run.
    pub device: DeviceChoice,
    /// Where a GPU's models keep their table of per-layer embeddings; on the CPU it is in the file's pages anyway.
    pub ple_table: PleTable,
}

/// Where the models run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// On the first GPU if there is one that can be used, else on the CPU.
    #[default]
    Auto,
    /// On the CPU.
    Cpu,
    /// On this GPU, counted from 0; an error if that cannot be.
    Gpu(usize),
}

/// How drafts are made.
#[derive(Debug, Clone, PartialEq)]
pub enum Speculation {
    /// Plain decoding.
    None,
    /// The MTP assistant drafts.
    Mtp {
        /// Most drafted tokens in a round.
        draft_max: NonZeroUsize,
        /// How drafts of sampled requests are accepted.
        acceptance: AcceptanceRule,
        /// Which tokens drafts are chosen from.
        draft_head: DraftHead,
    },
    /// Prompt lookup.
    Ngram {
        /// Most drafted tokens in a round.
        draft_max: NonZeroUsize,
        /// Shortest n-gram that may match.
        ngram_min: NonZeroUsize,
        /// Longest n-gram, tried first.
        ngram_max: NonZeroUsize,
    },
}

impl Speculation {
    /// Most drafted tokens in a round; 0 for plain decoding.
    #[must_use]
    pub fn draft_max(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Mtp { draft_max, .. } | Self::Ngram { draft_max, .. } => draft_max.get(),
        }
    }

    /// How drafts of sampled requests are accepted.
    #[must_use]
    pub fn acceptance(&self) -> AcceptanceRule {
        match self {
            Self::Mtp { acceptance, .. } => acceptance.clone(),
            Self::None | Self::Ngram { .. } => AcceptanceRule::SampleAndCompare,
        }
    }
}

/// In words, as reports print it.
impl std::fmt::Display for Speculation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Mtp { draft_max, acceptance, draft_head: _ } => {
                let rule = match acceptance {
                    AcceptanceRule::SampleAndCompare => "sample and compare",
                    AcceptanceRule::Rejection => "rejection sampling",
                    AcceptanceRule::Synthetic(_) => "synthetic acceptance, the text is worth nothing",
                };
                write!(f, "mtp, up to {draft_max} drafts, {rule}")
            }
            Self::Ngram { draft_max, ngram_min, ngram_max } => {
                write!(f, "prompt lookup, up to {draft_max} drafts, n-grams of {ngram_min} to {ngram_max}")
            }
        }
    }
}
