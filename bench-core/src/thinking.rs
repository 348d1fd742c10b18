//! Thinking tokens told from answer tokens, for models that think before they answer.
//!
//! Three means, the best that is there: the ids of marker tokens (`<|channel>`, `<think>`), which split at the token;
//! the field that a server puts a thought into (`reasoning_content`, `reasoning`), which splits at the chunk; markers in
//! the text, which split at the chunk, too, and only a thought that the output begins with. Where none of them counts, a
//! server's own count of thinking tokens does; where one does, that count is kept beside it. What nobody tells stays
//! unknown: an answer without a marker may be one whose markers a server took out.
//!
//! Invariant: however an output is cut into chunks, a split that is known is the same one, and its two counts make up the
//! output. Marker tokens count as thinking; in a server's field they leave no text, and count with the text after them.

mod splitter;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::splitter::Splitter;

/// How vocabularies write the beginning and the end of a thought: Qwen and others; Gemma 4; Mistral.
pub const MARKERS: [(&str, &str); 3] =
    [("<think>", "</think>"), ("<|channel>", "<channel|>"), ("[THINK]", "[/THINK]")];

/// By which means thinking was told from answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitSource {
    /// Ids of marker tokens.
    TokenIds,
    /// The server's own field for thoughts.
    ServerField,
    /// Markers in the text.
    TextMarkers,
    /// The server's own count, in its usage.
    ServerCount,
}

impl SplitSource {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::TokenIds => "the ids of marker tokens",
            Self::ServerField => "the server's field for thoughts",
            Self::TextMarkers => "markers in the text",
            Self::ServerCount => "the server's own count",
        }
    }
}

/// Why counts of thinking and answer are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitUnknown {
    /// No id, no field, no marker.
    NothingMarks,
    /// A chunk of several tokens held the end of the thought and the beginning of the answer.
    MixedChunk,
    /// Some chunk does not tell how many tokens it holds.
    Uncounted,
}

impl SplitUnknown {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::NothingMarks => "no marker token, no field and no marker in the text tells",
            Self::MixedChunk => "one chunk held the end of the thought and the beginning of the answer",
            Self::Uncounted => "some chunk does not tell its tokens",
        }
    }
}

/// The split of one output. The counts are known both or neither, and then `unknown` is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split<At> {
    /// Tokens of thoughts, their markers included.
    pub thinking_tokens: Option<u32>,
    /// All other tokens.
    pub answer_tokens: Option<u32>,
    /// When the first chunk with a token of the answer came; `None` without one, and where the split is not known.
    #[serde(rename = "first_answer_ns")]
    pub first_answer: Option<At>,
    /// By which means; `None` without any.
    pub source: Option<SplitSource>,
    /// Why the counts are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<SplitUnknown>,
    /// Bytes of the text up to the end of its last thought, and of the blanks after it: the answer is what follows. Where
    /// one chunk holds both and nothing in its text tells them apart, up to that chunk. 0 where no thought is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub thought_bytes: usize,
    /// Thinking tokens as the server counts them in its usage (`reasoning_tokens`), whatever told these here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_thinking_tokens: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(bytes: &usize) -> bool {
    *bytes == 0
}

/// As rows have it: nanoseconds after the send.
pub type TokenSplit = Split<u64>;

impl<At> Split<At> {
    /// Nobody tells.
    #[must_use]
    pub fn untold() -> Self {
        Self {
            thinking_tokens: None,
            answer_tokens: None,
            first_answer: None,
            source: None,
            unknown: Some(SplitUnknown::NothingMarks),
            thought_bytes: 0,
            server_thinking_tokens: None,
        }
    }

    /// Whether the server counted other thinking tokens than were split here. An opening and a closing marker may be in one
    /// count and not in the other.
    #[must_use]
    pub fn is_disputed(&self) -> bool {
        const MARKER_TOKENS: u32 = 2;
        let both = self.thinking_tokens.zip(self.server_thinking_tokens);
        both.is_some_and(|(ours, theirs)| ours.abs_diff(theirs) > MARKER_TOKENS)
    }

    /// With another kind of stamp.
    #[must_use]
    pub fn map<To>(self, stamp: impl FnOnce(At) -> Option<To>) -> Split<To> {
        let Self { thinking_tokens, answer_tokens, first_answer, source, unknown, .. } = self;
        let Self { thought_bytes, server_thinking_tokens, .. } = self;
        let first_answer = first_answer.and_then(stamp);
        Split {
            thinking_tokens,
            answer_tokens,
            first_answer,
            source,
            unknown,
            thought_bytes,
            server_thinking_tokens,
        }
    }
}

/// Ids of the tokens that begin and end thoughts; empty where they are not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MarkerIds {
    open: Vec<u32>,
    close: Vec<u32>,
}

impl MarkerIds {
    /// Those of [`MARKERS`] of which the vocabulary has both, as tokens of their own: one that knows neither may have one
    /// token for all it does not know.
    #[must_use]
    pub fn of_vocabulary(id_of: impl Fn(&str) -> Option<u32>) -> Self {
        let pairs = MARKERS.iter().filter_map(|(open, close)| Some((id_of(open)?, id_of(close)?)));
        let (open, close) = pairs.filter(|(open, close)| open != close).unzip();
        Self { open, close }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether what comes after these ids is a thought: `None` if they hold no marker.
    fn ends_inside(&self, ids: &[u32]) -> Option<bool> {
        let last = ids.iter().rev().find(|id| self.open.contains(id) || self.close.contains(id))?;
        Some(self.open.contains(last))
    }
}

impl fmt::Display for MarkerIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (open, close)) in self.open.iter().zip(&self.close).enumerate() {
            write!(f, "{}{open} .. {close}", if nth > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
