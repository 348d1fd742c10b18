//! Thinking tokens told from answer tokens, for models that think before they answer.
//!
//! Three means, the best that is there: the ids of marker tokens (`<|channel>`, `<think>`), which split at the token;
//! the field that a server puts a thought into (`reasoning_content`, `reasoning`), which splits at the chunk; markers in
//! the text, which split at the chunk, too, and only a thought that the output begins with. What none of them tells stays
//! unknown: an answer without a marker may be one whose markers a server took out.
//!
//! Invariant: however an output is cut into chunks, a split that is known is the same one, and its two counts make up the
//! output. Marker tokens count as thinking; in a server's field they leave no text, and count with the text after them.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

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
}

impl SplitSource {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::TokenIds => "the ids of marker tokens",
            Self::ServerField => "the server's field for thoughts",
            Self::TextMarkers => "markers in the text",
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
        }
    }

    /// With another kind of stamp.
    #[must_use]
    pub fn map<To>(self, stamp: impl FnOnce(At) -> Option<To>) -> Split<To> {
        let Self { thinking_tokens, answer_tokens, first_answer, source, unknown, thought_bytes } = self;
        let first_answer = first_answer.and_then(stamp);
        Split { thinking_tokens, answer_tokens, first_answer, source, unknown, thought_bytes }
    }
}

/// Ids of the tokens that begin and end thoughts; empty where they are not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MarkerIds {
    open: Vec<u32>,
    close: Vec<u32>,
}

impl MarkerIds {
    /// Those of [`MARKERS`] of which the vocabulary has both.
    #[must_use]
    pub fn of_vocabulary(id_of: impl Fn(&str) -> Option<u32>) -> Self {
        let pairs = MARKERS.iter().filter_map(|(open, close)| Some((id_of(open)?, id_of(close)?)));
        let (open, close) = pairs.unzip();
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

/// Splits one output, chunk by chunk. A push only keeps what came.
#[derive(Debug)]
pub struct Splitter {
    markers: MarkerIds,
    /// Whether the prompt ends inside a thought; `None` where the prompt's ids are not known.
    begins_inside: Option<bool>,
    pieces: Vec<Piece>,
    /// `None` once tokens came without ids.
    ids: Option<Vec<u32>>,
    text: String,
    has_field: bool,
}

/// One chunk.
#[derive(Debug, Clone, Copy)]
struct Piece {
    at: Instant,
    tokens: Option<u32>,
    /// Its ids and its text end here.
    ids_end: usize,
    text_end: usize,
    /// Bytes at the beginning of its text that came in the field for thoughts.
    field_bytes: usize,
}

/// What a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Thinking,
    Answer,
    Both,
    /// No text: it belongs to the text that follows it.
    Silent,
}

impl Default for Splitter {
    /// Of an output whose marker ids and prompt are not known.
    fn default() -> Self {
        Self {
            markers: MarkerIds::default(),
            begins_inside: None,
            pieces: Vec::new(),
            ids: Some(Vec::new()),
            text: String::new(),
            has_field: false,
        }
    }
}

impl Splitter {
    /// Of an output after a prompt of these ids.
    #[must_use]
    pub fn after_prompt(markers: MarkerIds, prompt: &[u32]) -> Self {
        let begins_inside = Some(markers.ends_inside(prompt).unwrap_or(false));
        Self { markers, begins_inside, ..Self::default() }
    }

    /// Takes a chunk that was read at `at`. The first `field_bytes` of its text came in a field for thoughts.
    pub fn push(
        &mut self,
        at: Instant,
        tokens: Option<u32>,
        ids: Option<&[u32]>,
        text: &str,
        field_bytes: usize,
    ) {
        match (&mut self.ids, ids) {
            (Some(all), Some(ids)) => all.extend_from_slice(ids),
            (_, None) if tokens == Some(0) => {}
            (all, None) => *all = None,
            (None, Some(_)) => {}
        }
        self.text.push_str(text);
        self.has_field |= field_bytes > 0;
        let ids_end = self.ids.as_ref().map_or(0, Vec::len);
        self.pieces.push(Piece { at, tokens, ids_end, text_end: self.text.len(), field_bytes });
    }

    /// The split by the best means there is.
    #[must_use]
    pub fn finish(&self) -> Split<Instant> {
        if let Some(split) = self.by_ids() {
            return split;
        }
        if self.has_field {
            let thoughts = self.spans().filter(|(_, piece)| piece.field_bytes > 0);
            let end = thoughts.last().map_or(0, |(from, piece)| from + piece.field_bytes);
            return self.by_parts(SplitSource::ServerField, end, |from, piece| {
                part(from, piece.text_end, from + piece.field_bytes)
            });
        }
        match thought_end(&self.text) {
            Some(end) => {
                self.by_parts(SplitSource::TextMarkers, end, |from, piece| part(from, piece.text_end, end))
            }
            None => Split::untold(),
        }
    }

    /// Chunks, each with where its text begins.
    fn spans(&self) -> impl Iterator<Item = (usize, &Piece)> {
        let begins = std::iter::once(0).chain(self.pieces.iter().map(|piece| piece.text_end));
        begins.zip(&self.pieces)
    }

    /// An end of thoughts with the blanks after it, which no template carries on.
    fn with_blanks(&self, end: usize) -> usize {
        let rest = if end == 0 { "" } else { self.text.get(end..).unwrap_or_default() };
        end + (rest.len() - rest.trim_start().len())
    }

    /// Where the text of the thought ends whose last token is at `place`. Markers may leave no text: a chunk that goes on
    /// with the answer then counts as answer.
    fn text_end_of(&self, place: usize) -> usize {
        let Some((from, piece)) = self.spans().find(|(_, piece)| piece.ids_end > place) else { return 0 };
        if piece.ids_end == place + 1 {
            return piece.text_end;
        }
        let text = self.text.get(from..piece.text_end).unwrap_or_default();
        let ends = MARKERS.iter().filter_map(|(_, close)| Some(text.rfind(close)? + close.len()));
        from + ends.max().unwrap_or(0)
    }

    /// `None` where ids or markers are not known, and where none tells how the output began.
    fn by_ids(&self) -> Option<Split<Instant>> {
        let ids = self.ids.as_ref().filter(|ids| !ids.is_empty() && !self.markers.is_empty())?;
        let is_marker = |id: &&u32| self.markers.open.contains(id) || self.markers.close.contains(id);
        let first_closes = || ids.iter().find(is_marker).map(|id| self.markers.close.contains(id));
        let mut inside = self.begins_inside.or_else(first_closes)?;
        let (mut thinking, mut answer, mut first_answer, mut last_thinking) = (0_u32, 0_u32, None, None);
        for (place, id) in ids.iter().enumerate() {
            let closes = self.markers.close.contains(id);
            inside = (inside && !closes) || self.markers.open.contains(id);
            if inside || closes {
                thinking += 1;
                last_thinking = Some(place);
            } else {
                answer += 1;
                first_answer = first_answer.or(Some(place));
            }
        }
        let stamp = |place| self.pieces.iter().find(|piece| piece.ids_end > place).map(|piece| piece.at);
        Some(Split {
            thinking_tokens: Some(thinking),
            answer_tokens: Some(answer),
            first_answer: first_answer.and_then(stamp),
            source: Some(SplitSource::TokenIds),
            unknown: None,
            thought_bytes: last_thinking.map_or(0, |place| self.with_blanks(self.text_end_of(place))),
        })
    }

    fn by_parts(
        &self,
        source: SplitSource,
        end: usize,
        part_of: impl Fn(usize, &Piece) -> Part,
    ) -> Split<Instant> {
        let mut parts: Vec<Part> = self.spans().map(|(from, piece)| part_of(from, piece)).collect();
        settle_silent(&mut parts);
        let with_tokens = || self.pieces.iter().zip(&parts).filter(|(piece, _)| piece.tokens != Some(0));
        let sum = |wanted: Part| {
            let of_part = with_tokens().filter(|(_, part)| **part == wanted);
            of_part.map(|(piece, _)| piece.tokens).try_fold(0_u32, |sum, tokens| sum.checked_add(tokens?))
        };
        let counts = match with_tokens().any(|(_, part)| *part == Part::Both) {
            true => Err(SplitUnknown::MixedChunk),
            false => sum(Part::Thinking).zip(sum(Part::Answer)).ok_or(SplitUnknown::Uncounted),
        };
        let answers = |part: Part| matches!(part, Part::Answer | Part::Both);
        Split {
            thinking_tokens: counts.ok().map(|(thinking, _)| thinking),
            answer_tokens: counts.ok().map(|(_, answer)| answer),
            first_answer: with_tokens().find(|(_, part)| answers(**part)).map(|(piece, _)| piece.at),
            source: Some(source),
            unknown: counts.err(),
            thought_bytes: self.with_blanks(end),
        }
    }
}

/// A chunk whose text runs from `from` to `to`, where the thought ends at `end`.
fn part(from: usize, to: usize, end: usize) -> Part {
    match (from == to, to <= end, from >= end) {
        (true, _, _) => Part::Silent,
        (false, true, _) => Part::Thinking,
        (false, false, true) => Part::Answer,
        (false, false, false) => Part::Both,
    }
}

/// A token without text was held back: it is of the next chunk that has text, and of the last one where none follows.
fn settle_silent(parts: &mut [Part]) {
    let begins = |part: Part| if part == Part::Both { Part::Thinking } else { part };
    let mut next = Part::Silent;
    for part in parts.iter_mut().rev() {
        match part {
            Part::Silent => *part = next,
            Part::Thinking | Part::Answer | Part::Both => next = begins(*part),
        }
    }
    let mut last = Part::Answer;
    for part in parts.iter_mut() {
        match part {
            Part::Silent => *part = last,
            Part::Thinking | Part::Answer => last = *part,
            Part::Both => last = Part::Answer,
        }
    }
}

/// Where the thought ends that a text begins with: after its closing marker, or at the end of a text that has none. A
/// text that only closes began inside. `None` of a text that neither begins with a thought nor closes one.
fn thought_end(text: &str) -> Option<usize> {
    let start = text.trim_start();
    let closes = |close: &str| text.find(close).map(|at| at + close.len());
    let opened = MARKERS.iter().find(|(open, _)| start.starts_with(open));
    match opened {
        Some((_, close)) => Some(closes(close).unwrap_or(text.len())),
        // A marker that an answer quotes has its beginning in front of it.
        None => MARKERS
            .iter()
            .filter_map(|(open, close)| Some((text.find(close)?, open, close)))
            .find(|&(at, open, _)| !text[..at].contains(open))
            .map(|(at, _, close)| at + close.len()),
    }
}

#[cfg(test)]
mod tests;
