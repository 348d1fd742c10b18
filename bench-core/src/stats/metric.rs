//! The metrics that arms are compared on.

use serde::{Deserialize, Serialize};

/// A metric with one value a request. Time per output token is not among them: of equal token counts it is the same
/// comparison as [`Self::TokensPerS`], turned around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Decode throughput of one stream: tokens after the first chunk by their time.
    TokensPerS,
    /// Output tokens by send-to-last-token time, prefill included.
    E2eTokensPerS,
    /// Time to first token.
    TtftMs,
}

impl Metric {
    /// All, the one that decides first: the family that Holm's adjustment is over.
    pub const ALL: [Self; 3] = [Self::TokensPerS, Self::E2eTokensPerS, Self::TtftMs];

    /// The name in reports and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokensPerS => "tokens_per_s",
            Self::E2eTokensPerS => "e2e_tokens_per_s",
            Self::TtftMs => "ttft_ms",
        }
    }

    /// Whether it changes with how many drafts are accepted. The first token comes before any draft.
    #[must_use]
    pub fn depends_on_acceptance(self) -> bool {
        match self {
            Self::TokensPerS | Self::E2eTokensPerS => true,
            Self::TtftMs => false,
        }
    }

    /// Whether more is faster.
    #[must_use]
    pub fn more_is_faster(self) -> bool {
        match self {
            Self::TokensPerS | Self::E2eTokensPerS => true,
            Self::TtftMs => false,
        }
    }
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
