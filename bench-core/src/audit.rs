//! Is speculation lossless? Greedy outputs of two arms, token by token.
//!
//! With greedy sampling a drafter may change the speed and nothing else. Where outputs differ there are two causes that
//! look alike from outside: a *near tie*, two tokens so close that another order of additions (a verify step works on
//! several rows at once, plain decoding on one) picks the other, and a *defect* (a wrong cache, an acceptance rule that
//! accepts too much). The distance of the two best logits at the place of the first difference tells them apart, where
//! a stack tells it.
//!
//! Pure. Compares ids where both arms tell them, else text. Says nothing about sampled outputs, and nothing about what comes
//! after the first difference: from there on the two arms read different texts.

use serde::{Deserialize, Serialize};

use crate::record::RequestRecord;
use crate::stack::TOP2_MARGINS;

/// A difference at a smaller distance of the two best logits is a near tie.
///
/// Logits of magnitude 16 to 32, where the best ones of Gemma's capped logits (at most 30) lie, are 0.125 apart in bf16:
/// a step by either of two candidates is worth two of those.
pub const NEAR_TIE: f64 = 0.25;

/// Characters of text kept on each side of a difference.
const CONTEXT_CHARS: usize = 60;

/// One greedy output.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// Ids of all tokens, where the stack tells them.
    pub token_ids: Option<&'a [u32]>,
    /// The text.
    pub text: &'a str,
    /// Distance of the two best logits at each token, where the stack tells it.
    pub margins: Option<&'a serde_json::Value>,
}

impl<'a> Output<'a> {
    /// The output in a row.
    #[must_use]
    pub fn of(row: &'a RequestRecord) -> Self {
        let margins = row.stack_timings.as_ref().and_then(|timings| timings.get(TOP2_MARGINS));
        Self { token_ids: row.token_ids.as_deref(), text: &row.text, margins }
    }

    fn margin_at(&self, token: usize) -> Option<f64> {
        self.margins?.get(token)?.as_f64()
    }
}

/// Where two outputs part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// What it is taken for.
    pub kind: DivergenceKind,
    /// Index of the first token that differs; `None` where texts were compared.
    pub token: Option<u64>,
    /// Distance of the two best logits there, by the baseline or else by the candidate; `None` where neither tells.
    pub margin: Option<f64>,
    /// The end of what both wrote.
    pub before: String,
    /// How the baseline goes on.
    pub baseline: String,
    /// How the candidate goes on.
    pub candidate: String,
}

/// What a difference is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DivergenceKind {
    /// The two best logits are at most [`NEAR_TIE`] apart.
    NearTie,
    /// They are further apart: arithmetic does not explain it.
    Defect,
    /// No stack tells how far they are apart.
    UnknownMargin,
}

/// What comparing two outputs came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Audited {
    /// Token for token, or letter for letter, the same.
    Identical,
    /// They part.
    Diverged(Box<Divergence>),
    /// Neither ids on both sides nor text on both sides.
    Nothing,
}

/// Compares two greedy outputs of one prompt.
#[must_use]
pub fn compare(baseline: &Output<'_>, candidate: &Output<'_>) -> Audited {
    let token = match (baseline.token_ids, candidate.token_ids) {
        (Some(a), Some(b)) if a == b => return Audited::Identical,
        (Some(a), Some(b)) => Some(common(a.iter(), b.iter())),
        (Some(_), None) | (None, Some(_)) | (None, None) => {
            if baseline.text.is_empty() || candidate.text.is_empty() {
                return Audited::Nothing;
            }
            if baseline.text == candidate.text {
                return Audited::Identical;
            }
            None
        }
    };
    // The baseline decodes one row at a time: its logits are the ones that count.
    let margin = token.and_then(|token| baseline.margin_at(token).or_else(|| candidate.margin_at(token)));
    let kind = match margin {
        None => DivergenceKind::UnknownMargin,
        Some(margin) if margin <= NEAR_TIE => DivergenceKind::NearTie,
        Some(_) => DivergenceKind::Defect,
    };
    let chars = common(baseline.text.chars(), candidate.text.chars());
    Audited::Diverged(Box::new(Divergence {
        kind,
        token: token.map(|token| token as u64),
        margin,
        before: baseline.text.chars().take(chars).skip(chars.saturating_sub(CONTEXT_CHARS)).collect(),
        baseline: baseline.text.chars().skip(chars).take(CONTEXT_CHARS).collect(),
        candidate: candidate.text.chars().skip(chars).take(CONTEXT_CHARS).collect(),
    }))
}

fn common<T: PartialEq>(a: impl Iterator<Item = T>, b: impl Iterator<Item = T>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}

/// All pairs of two arms: how many outputs were the same, and what the others are taken for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lossless {
    /// Pairs compared. The counts below add up to it.
    pub requests: u64,
    /// The same, token for token.
    pub identical: u64,
    /// First difference between two tokens that were nearly equally likely.
    pub near_tie: u64,
    /// First difference that arithmetic does not explain.
    pub defect: u64,
    /// First difference at a place of which no stack tells the logits.
    pub unknown_margin: u64,
    /// The first pair that differs, defects before all others.
    pub first: Option<FirstDivergence>,
}

/// The pair that shows a difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirstDivergence {
    /// The prompt's id.
    pub prompt_id: String,
    /// The block.
    pub block: u32,
    /// The difference.
    #[serde(flatten)]
    pub divergence: Divergence,
}

impl Lossless {
    /// Adds one pair; a pair of which nothing can be said is not counted.
    pub fn add(&mut self, baseline: &RequestRecord, candidate: &RequestRecord) {
        let audited = compare(&Output::of(baseline), &Output::of(candidate));
        self.count(&baseline.prompt_id, baseline.block, audited);
    }

    /// [`Self::add`] for a pair of a prompt and a block that was compared already.
    pub fn count(&mut self, prompt_id: &str, block: u32, audited: Audited) {
        let divergence = match audited {
            Audited::Nothing => return,
            Audited::Identical => {
                (self.requests, self.identical) = (self.requests + 1, self.identical + 1);
                return;
            }
            Audited::Diverged(divergence) => *divergence,
        };
        self.requests += 1;
        let count = match divergence.kind {
            DivergenceKind::NearTie => &mut self.near_tie,
            DivergenceKind::Defect => &mut self.defect,
            DivergenceKind::UnknownMargin => &mut self.unknown_margin,
        };
        *count += 1;
        let is_defect = divergence.kind == DivergenceKind::Defect;
        let shown_is_defect =
            self.first.as_ref().map(|first| first.divergence.kind == DivergenceKind::Defect);
        if shown_is_defect.is_none_or(|shown| is_defect && !shown) {
            self.first = Some(FirstDivergence { prompt_id: prompt_id.to_owned(), block, divergence });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::record;

    fn row(ids: Option<&[u32]>, text: &str, margins: Option<&[f64]>) -> RequestRecord {
        let mut row = record("native/none", 0, 0);
        row.token_ids = ids.map(<[u32]>::to_vec);
        text.clone_into(&mut row.text);
        row.stack_timings = margins.map(|margins| json!({ TOP2_MARGINS: margins }));
        row
    }

    fn compared(a: &RequestRecord, b: &RequestRecord) -> Audited {
        compare(&Output::of(a), &Output::of(b))
    }

    fn diverged(a: &RequestRecord, b: &RequestRecord) -> Divergence {
        match compared(a, b) {
            Audited::Diverged(divergence) => *divergence,
            other @ (Audited::Identical | Audited::Nothing) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_distance_at_the_first_difference_tells_tie_from_defect() {
        let candidate = row(Some(&[1, 2, 4, 9]), "one two four nine", None);
        for (margin, kind) in
            [(0.01, DivergenceKind::NearTie), (0.25, DivergenceKind::NearTie), (3.0, DivergenceKind::Defect)]
        {
            let baseline = row(Some(&[1, 2, 3, 3]), "one two three three", Some(&[9.0, 8.0, margin, 9.0]));
            let got = diverged(&baseline, &candidate);
            assert_eq!((got.kind, got.token, got.margin), (kind, Some(2), Some(margin)));
            assert_eq!(
                (&*got.before, &*got.baseline, &*got.candidate),
                ("one two ", "three three", "four nine")
            );
        }
    }

    #[test]
    fn the_candidate_s_logits_count_where_the_baseline_tells_none() {
        let baseline = row(Some(&[1, 2]), "ab", None);
        let candidate = row(Some(&[1, 3]), "ac", Some(&[5.0, 0.1]));
        assert_eq!(diverged(&baseline, &candidate).kind, DivergenceKind::NearTie);
        assert_eq!(diverged(&baseline, &row(Some(&[1, 3]), "ac", None)).kind, DivergenceKind::UnknownMargin);
    }

    #[test]
    fn an_output_that_ends_early_parts_at_its_end() {
        let got = diverged(&row(Some(&[1, 2]), "ab", Some(&[1.0, 1.0])), &row(Some(&[1]), "a", Some(&[1.0])));
        assert_eq!((got.token, got.margin, got.kind), (Some(1), Some(1.0), DivergenceKind::Defect));
        assert_eq!((&*got.baseline, &*got.candidate), ("b", ""));
    }

    #[test]
    fn without_ids_the_text_decides_and_without_text_nobody_knows() {
        assert_eq!(compared(&row(None, "same", None), &row(Some(&[1]), "same", None)), Audited::Identical);
        let got = diverged(&row(None, "naïve é", None), &row(None, "naïve è", None));
        assert_eq!((got.token, &*got.before, got.kind), (None, "naïve ", DivergenceKind::UnknownMargin));
        assert_eq!(compared(&row(None, "", None), &row(None, "x", None)), Audited::Nothing);
        // Equal ids are equal whatever the text looks like.
        assert_eq!(compared(&row(Some(&[7]), "", None), &row(Some(&[7]), "", None)), Audited::Identical);
    }

    #[test]
    fn counts_add_up_and_a_defect_is_shown_before_a_tie() {
        let mut lossless = Lossless::default();
        let baseline = |margin| row(Some(&[1, 2]), "ab", Some(&[9.0, margin]));
        let other = row(Some(&[1, 3]), "ac", None);
        lossless.add(&baseline(0.1), &other);
        lossless.add(&baseline(9.0), &other);
        lossless.add(&row(Some(&[1, 2]), "ab", None), &other);
        lossless.add(&other, &other);
        lossless.add(&row(None, "", None), &other);
        let Lossless { requests, identical, near_tie, defect, unknown_margin, first } = lossless;
        assert_eq!((requests, identical, near_tie, defect, unknown_margin), (4, 1, 1, 1, 1));
        assert_eq!(first.unwrap().divergence.margin, Some(9.0));
    }

    proptest! {
        #[test]
        fn the_first_difference_is_where_it_was_planted(ids in prop::collection::vec(0_u32..50, 1..40), at in any::<prop::sample::Index>()) {
            let at = at.index(ids.len());
            let mut other = ids.clone();
            other[at] += 100;
            other.iter_mut().skip(at + 1).for_each(|id| *id ^= 1);
            let got = diverged(&row(Some(&ids), "", None), &row(Some(&other), "", None));
            prop_assert_eq!(got.token, Some(at as u64));
            prop_assert_eq!(compared(&row(Some(&ids), "", None), &row(Some(&ids), "", None)), Audited::Identical);
        }
    }
}
