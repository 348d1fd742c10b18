//! One output, cut into chunks, split by the best means that there is.
//!
//! What for: a push keeps what came while it is read, and all else is done after the last read. It knows neither servers nor
//! tokenizers; whoever reads tells it ids, fields and counts. Invariant: as of the module above.

use tokio::time::Instant;

use super::{MARKERS, MarkerIds, Split, SplitSource, SplitUnknown};

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
    /// Thinking tokens and all tokens, as the server counts them.
    told: Option<(u32, u32)>,
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
            told: None,
        }
    }
}

impl Splitter {
    /// Of an output after a prompt that is not known.
    #[must_use]
    pub fn new(markers: MarkerIds) -> Self {
        Self { markers, ..Self::default() }
    }

    /// Of an output after a prompt of these ids.
    #[must_use]
    pub fn after_prompt(markers: MarkerIds, prompt: &[u32]) -> Self {
        let mut splitter = Self::new(markers);
        splitter.prompt(prompt);
        splitter
    }

    /// Of an output that goes on with this text, as it was sent.
    #[must_use]
    pub fn after_text(markers: MarkerIds, prompt: &str) -> Self {
        let opened = MARKERS.iter().filter_map(|(open, _)| prompt.rfind(open)).max();
        let closed = MARKERS.iter().filter_map(|(_, close)| prompt.rfind(close)).max();
        // Without a marker both are `None`.
        Self { begins_inside: Some(opened > closed), ..Self::new(markers) }
    }

    /// Takes the ids of the prompt, which a server may tell with the answer.
    pub fn prompt(&mut self, ids: &[u32]) {
        self.begins_inside = Some(self.markers.ends_inside(ids).unwrap_or(false));
    }

    /// Takes the server's own count of thinking tokens, among all that it counted.
    pub fn told(&mut self, thinking: u32, output: u32) {
        self.told = Some((thinking, output));
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
        let mut split = self.by_what_came();
        let Some((thinking, output)) = self.told else { return split };
        split.server_thinking_tokens = Some(thinking);
        let answer = output.checked_sub(thinking).filter(|_| split.unknown.is_some());
        if let Some(answer) = answer {
            // Where among the chunks a thought ends it does not say.
            split.thinking_tokens = Some(thinking);
            split.answer_tokens = Some(answer);
            split.source = Some(SplitSource::ServerCount);
            split.unknown = None;
            if thinking == 0 {
                let first = self.pieces.iter().find(|piece| piece.tokens != Some(0));
                split.first_answer = first.map(|piece| piece.at);
            }
        }
        split
    }

    fn by_what_came(&self) -> Split<Instant> {
        if let Some(split) = self.by_ids() {
            return split;
        }
        if self.has_field {
            return self.by_parts(SplitSource::ServerField, self.field_end(), |from, piece| {
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

    /// Where the text ends that came in a field for thoughts.
    fn field_end(&self) -> usize {
        let thoughts = self.spans().filter(|(_, piece)| piece.field_bytes > 0);
        thoughts.last().map_or(0, |(from, piece)| from + piece.field_bytes)
    }

    /// An end of thoughts with the blanks after it, which no template carries on.
    fn with_blanks(&self, end: usize) -> usize {
        let rest = if end == 0 { "" } else { self.text.get(end..).unwrap_or_default() };
        end + (rest.len() - rest.trim_start().len())
    }

    /// Where the text of the thought ends whose last token is at `place`. Markers may leave no text: a chunk that goes on
    /// with the answer then counts as answer.
    fn text_end_of(&self, place: usize) -> usize {
        if self.has_field {
            return self.field_end();
        }
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
            server_thinking_tokens: None,
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
            server_thinking_tokens: None,
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
