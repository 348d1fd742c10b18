//! A request as the report keeps it: what figures, pairs and rules are made of, in a quarter of what its line takes.
//!
//! Names that many rows share are kept once, chunks are packed, and of the answer (ids, text, timings of the stack) only a
//! digest stays: whether two answers are the same is asked of all of them, what they say of a few, which
//! [`crate::answer`] reads again. So this has no text to forget, and nobody can take an answer that was dropped for an
//! empty one.

use std::sync::Arc;

use bench_core::explanation::ROUND_TIMES;
use bench_core::record::{Arrival, DecodeSpan, Outcome, OutputCount, Phase, Place, RequestRecord, Timing};
use bench_core::run_dir::text_digest;
use bench_core::stack::{Readback, SpecCounts, Usage};
use bench_core::thinking::TokenSplit;

use crate::answer::AnswerPlace;
use crate::chunks::Chunks;
use crate::name::{Name, Names};

/// One request. Fields are those of [`RequestRecord`], where nothing else is said.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) run_id: Name,
    pub(crate) arm: Name,
    pub(crate) phase: Phase,
    /// Counted over all runs: see [`crate::load::Loaded`].
    pub(crate) block: u32,
    pub(crate) request_index: u64,
    pub(crate) prompt_id: Name,
    pub(crate) category: Name,
    pub(crate) prompt_sha256: Name,
    pub(crate) request_sha256: Option<Name>,
    pub(crate) sent_unix_ms: u64,
    pub(crate) arrival: Option<Arrival>,
    /// Turn of a conversation, from 1; 0 where it is none.
    pub(crate) turn: u32,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) timing: Stamps,
    pub(crate) chunks: Chunks,
    /// As [`RequestRecord::decode_span`] has it.
    pub(crate) decode_span: Option<DecodeSpan>,
    pub(crate) usage: Usage,
    pub(crate) output: OutputCount,
    pub(crate) spec: Option<Box<SpecCounts>>,
    pub(crate) spec_disputed: Option<Box<SpecCounts>>,
    pub(crate) readback: Option<Arc<Readback>>,
    pub(crate) split: Option<Box<TokenSplit>>,
    pub(crate) restarted_in_silence: bool,
    pub(crate) digest: AnswerDigest,
    /// Digest of what the next turn carries of the text, where that is not all of it.
    pub(crate) said: Option<Box<u128>>,
    /// Whether the stack told the times of its rounds.
    pub(crate) has_rounds: bool,
    pub(crate) answer: AnswerPlace,
    /// Which of the manifests it belongs to.
    pub(crate) run: u32,
    /// Its number among the rows of its run, from 0.
    pub(crate) position: u64,
}

/// [`Timing`] without its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamps {
    pub(crate) opened_ns: Option<u64>,
    pub(crate) first_token_ns: Option<u64>,
    pub(crate) last_token_ns: Option<u64>,
    pub(crate) ended_ns: u64,
}

/// What tells two answers apart: half of a SHA-256 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerDigest {
    /// Of all ids; `None` where the stack does not tell them.
    pub(crate) ids: Option<u128>,
    /// Of the text; `None` of an empty one.
    pub(crate) text: Option<u128>,
}

/// A record whose large parts were packed by the thread that parsed it.
pub(crate) struct Packed {
    /// Without chunks, ids, text and timings of the stack.
    record: RequestRecord,
    chunks: Chunks,
    decode_span: Option<DecodeSpan>,
    digest: AnswerDigest,
    said: Option<Box<u128>>,
    has_rounds: bool,
    answer: AnswerPlace,
}

/// What rows share, each once.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    names: Names,
    /// Of requests that completed: there are as many as reasons.
    ends: Vec<Arc<Outcome>>,
    readbacks: Vec<Arc<Readback>>,
}

/// More kinds of readbacks than this are not looked for: a stack that says something new in each shares nothing.
const MOST_READBACKS: usize = 16;

impl Packed {
    pub(crate) fn new(mut record: RequestRecord, answer: AnswerPlace) -> Self {
        let decode_span = record.decode_span();
        let chunks = Chunks::pack(&std::mem::take(&mut record.timing.chunks));
        let carries_part = record.turn.is_some() && record.answer().len() < record.text.len();
        let said = carries_part.then(|| Box::new(digest(record.answer().bytes())));
        let ids = record.token_ids.take();
        let text = std::mem::take(&mut record.text);
        let timings = record.stack_timings.take();
        Self {
            chunks,
            decode_span,
            digest: AnswerDigest {
                ids: ids.map(|ids| digest(ids.iter().flat_map(|id| id.to_le_bytes()))),
                text: (!text.is_empty()).then(|| digest(text.bytes())),
            },
            said,
            has_rounds: timings.is_some_and(|timings| timings.get(ROUND_TIMES).is_some()),
            answer,
            record,
        }
    }

    /// With a span that is known without its chunks.
    pub(crate) fn with_decode_span(self, decode_span: Option<DecodeSpan>) -> Self {
        Self { decode_span, ..self }
    }

    /// Without chunks, ids, text and timings of the stack.
    pub(crate) fn record(&self) -> &RequestRecord {
        &self.record
    }
}

impl Row {
    pub(crate) fn new(packed: Packed, shared: &mut Shared) -> Self {
        let Packed { record, chunks, decode_span, digest, said, has_rounds, answer } = packed;
        let Timing { opened_ns, first_token_ns, last_token_ns, ended_ns, chunks: _ } = record.timing;
        Self {
            run_id: shared.names.of(record.run_id),
            arm: shared.names.of(record.arm),
            phase: record.phase,
            block: record.block,
            request_index: record.request_index,
            prompt_id: shared.names.of(record.prompt_id),
            category: shared.names.of(record.category),
            prompt_sha256: shared.names.of(record.prompt_sha256),
            request_sha256: record.request_sha256.map(|hash| shared.names.of(hash)),
            sent_unix_ms: record.sent_unix_ms,
            arrival: record.arrival,
            turn: record.turn.map_or(0, |turn| turn.turn),
            outcome: shared.outcome(record.outcome),
            timing: Stamps { opened_ns, first_token_ns, last_token_ns, ended_ns },
            chunks,
            decode_span,
            usage: record.usage,
            output: record.output,
            spec: record.spec.map(Box::new),
            spec_disputed: record.spec_disputed.map(Box::new),
            readback: record.readback.map(|readback| shared.readback(readback)),
            split: record.split.map(Box::new),
            restarted_in_silence: record.restarted_in_silence,
            digest,
            said,
            has_rounds,
            answer,
            run: 0,
            position: 0,
        }
    }

    /// Of a record that no file has.
    #[cfg(test)]
    pub(crate) fn of(record: RequestRecord) -> Self {
        Self::new(Packed::new(record, AnswerPlace::TableRow { file: 0, row: 0 }), &mut Shared::default())
    }

    /// As [`RequestRecord::place`] has it.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            block: self.block,
            prompt_id: &self.prompt_id,
            slot: self.arrival.map_or(0, |arrival| arrival.slot),
            turn: self.turn.max(1),
        }
    }

    /// Whether another row of the same place answers the same. Only a later turn may differ without a fault: where the
    /// answers before differed, so does what it follows.
    pub(crate) fn follows_the_same(&self, other: &Self) -> bool {
        self.turn < 2 || self.prompt_sha256 == other.prompt_sha256
    }

    /// As [`RequestRecord::decode_span`] has it.
    pub(crate) fn decode_span(&self) -> Option<DecodeSpan> {
        self.decode_span
    }

    /// Speculation of this request, where the stack tells.
    pub(crate) fn spec(&self) -> Option<&SpecCounts> {
        self.spec.as_deref()
    }
}

impl Shared {
    fn outcome(&mut self, outcome: Outcome) -> Arc<Outcome> {
        if let Some(known) = self.ends.iter().find(|known| ***known == outcome) {
            return Arc::clone(known);
        }
        let outcome = Arc::new(outcome);
        if outcome.is_completed() {
            self.ends.push(Arc::clone(&outcome));
        }
        outcome
    }

    fn readback(&mut self, readback: Readback) -> Arc<Readback> {
        if let Some(known) = self.readbacks.iter().find(|known| ***known == readback) {
            return Arc::clone(known);
        }
        let readback = Arc::new(readback);
        if self.readbacks.len() < MOST_READBACKS {
            self.readbacks.push(Arc::clone(&readback));
        }
        readback
    }
}

fn digest(bytes: impl Iterator<Item = u8>) -> u128 {
    text_digest(&bytes.collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use bench_core::testing::record;

    use super::*;

    /// A million of them are in memory at once.
    #[test]
    fn a_row_is_small() {
        assert!(size_of::<Row>() <= 464, "{} bytes", size_of::<Row>());
    }

    #[test]
    fn answers_are_told_apart_and_nothing_is_no_answer() {
        let digest = |ids: Option<Vec<u32>>, text: &str| {
            let mut record = record("a", 0, 0);
            record.token_ids = ids;
            text.clone_into(&mut record.text);
            Row::of(record).digest
        };
        let known = digest(Some(vec![1, 2]), "ab");
        assert_eq!(known, digest(Some(vec![1, 2]), "ab"));
        assert_ne!(known.ids, digest(Some(vec![1, 2, 0]), "ab").ids);
        assert_ne!(known.text, digest(None, "ab\0").text);
        assert_eq!(digest(None, ""), AnswerDigest { ids: None, text: None });
        assert!(digest(Some(Vec::new()), "").ids.is_some(), "no token is an answer where ids are told");
    }
}
