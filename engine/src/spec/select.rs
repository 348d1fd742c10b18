//! Selection over a whole vocabulary (262144 logits): the largest, the k largest, a quantile.
//!
//! One pass each and no full sort, since this runs for every row of every verify step. Knows no sampling parameters.

use std::cmp::Ordering;

use super::mass::{ONE, mass, place};
use crate::EngineError;

/// A token that is still in the race.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) id: u32,
    pub(super) logit: f32,
}

impl Candidate {
    /// Of a token's place and logit; -0 becomes 0, which it equals and would be ranked below.
    fn new(place: usize, logit: f32) -> Self {
        Self { id: as_id(place), logit: logit + 0.0 }
    }

    /// Most likely first, then the lowest id; total, as NaN never gets here.
    pub(super) fn rank(a: &Self, b: &Self) -> Ordering {
        b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
    }
}

/// The id of the largest logit, the lowest on ties.
///
/// # Errors
/// [`EngineError::BadLogit`] if any logit is NaN or +inf, or if all are -inf;
/// [`EngineError::InvalidArgument`] if there are none.
pub fn argmax(logits: &[f32]) -> Result<u32, EngineError> {
    let (max, any_nan) = largest(logits);
    if any_nan || !max.is_finite() {
        return Err(bad_logit(logits));
    }
    let id = logits.iter().position(|&x| x >= max).unwrap_or(0);
    Ok(as_id(id))
}

/// How far the logit of `chosen` is above all others; infinite where it is the only one left. Equal to the difference
/// of the two tokens' log probabilities, since softmax moves both alike. `None` for an id outside the vocabulary.
pub fn margin(logits: &[f32], chosen: u32) -> Option<f32> {
    let chosen = usize::try_from(chosen).ok()?;
    let own = *logits.get(chosen)?;
    let (before, after) = (largest(&logits[..chosen]).0, largest(&logits[chosen + 1..]).0);
    Some(own - before.max(after))
}

/// The largest value, -inf of none, and whether any is NaN.
fn largest(logits: &[f32]) -> (f32, bool) {
    const LANES: usize = 16;
    // Lane-wise so that the compiler can vectorise; a position is searched in a second pass.
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut nan = [false; LANES];
    let chunks = logits.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            let x = chunk[lane];
            best[lane] = if x > best[lane] { x } else { best[lane] };
            nan[lane] |= x.is_nan();
        }
    }
    let max = best.iter().chain(tail).fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m });
    (max, nan.contains(&true) || tail.iter().any(|x| x.is_nan()))
}

/// Says which logit cannot be worked with.
fn bad_logit(logits: &[f32]) -> EngineError {
    let bad = logits.iter().position(|x| x.is_nan() || *x == f32::INFINITY).unwrap_or(0);
    match logits.get(bad) {
        Some(&value) => EngineError::BadLogit { id: as_id(bad), value },
        None => EngineError::InvalidArgument {
            what: "logits",
            got: "none".to_owned(),
            expected: "one for each token of the vocabulary".to_owned(),
        },
    }
}

#[expect(clippy::cast_possible_truncation, reason = "an index into a vocabulary, whose ids are u32")]
fn as_id(index: usize) -> u32 {
    index as u32
}

/// Every token that is not suppressed.
pub(super) fn candidates(logits: &[f32]) -> impl Iterator<Item = Candidate> {
    logits
        .iter()
        .enumerate()
        .filter(|&(_, &logit)| logit > f32::NEG_INFINITY)
        .map(|(id, &logit)| Candidate::new(id, logit))
}

/// The k most likely, ordered, in one pass over `logits` and O(k) memory: candidates below the k-th best so far are
/// dropped by one comparison. Ids rise during the scan, so among equals the earlier (lower) one stays.
pub(super) fn top_k(logits: &[f32], k: usize, kept: &mut Vec<Candidate>) {
    let room = 2 * k.max(64);
    let mut threshold = f32::NEG_INFINITY;
    for (block, values) in logits.chunks(32).enumerate() {
        let block_max = values.iter().fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m });
        if block_max <= threshold {
            continue;
        }
        for (offset, &logit) in values.iter().enumerate().filter(|&(_, &x)| x > threshold) {
            kept.push(Candidate::new(block * 32 + offset, logit));
        }
        if kept.len() >= room {
            threshold = kept.select_nth_unstable_by(k - 1, Candidate::rank).1.logit;
            kept.truncate(k);
        }
    }
    kept.sort_unstable_by(Candidate::rank);
    kept.truncate(k);
}

/// The token at quantile `u` of the distribution `probs`, which need not sum to 1.
pub(super) fn pick(probs: &[f32], u: f64) -> Result<u32, EngineError> {
    const BLOCK: usize = 256;
    let blocks = probs.chunks(BLOCK);
    let total = blocks.clone().try_fold(0_u64, |total, block| total.checked_add(block_mass(block)?));
    let Some(total) = total.filter(|&total| total > 0) else {
        let sum: f32 = probs.iter().sum();
        return Err(EngineError::InvalidArgument {
            what: "probabilities to draw from",
            got: format!("a sum of {sum}"),
            expected: "probabilities of 0 to 1, not all of them 0".to_owned(),
        });
    };
    let mut left = place(u, total);
    for (block, values) in blocks.enumerate() {
        let sum = block_mass(values).unwrap_or(0);
        if sum <= left {
            left -= sum;
            continue;
        }
        for (offset, &p) in values.iter().enumerate() {
            match left.checked_sub(mass(p)) {
                Some(rest) => left = rest,
                None => return Ok(as_id(block * BLOCK + offset)),
            }
        }
    }
    // Not reached: the place is below the total.
    Ok(as_id(probs.len().saturating_sub(1)))
}

/// Mass of a block; `None` where it holds what is no probability: NaN, below 0, or 2 and above.
fn block_mass(values: &[f32]) -> Option<u64> {
    // After top-k or top-p nearly every block is empty.
    if values.iter().fold(0, |bits, p| bits | p.to_bits()) == 0 {
        return Some(0);
    }
    let (mut sum, mut bits) = (0_u64, 0);
    for &p in values {
        let mass = mass(p);
        sum = sum.wrapping_add(mass);
        bits |= mass;
    }
    (bits < 2 * ONE).then_some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn argmax_takes_the_lowest_id_on_ties() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]).unwrap(), 1);
        let mut many = vec![0.0; 100];
        many[37] = 5.0;
        many[98] = 5.0;
        assert_eq!(argmax(&many).unwrap(), 37);
        assert_eq!(argmax(&[f32::NEG_INFINITY, -1e30]).unwrap(), 1);
    }

    #[test]
    fn the_margin_is_to_the_best_of_the_others() {
        assert_eq!(margin(&[1.0, 3.5, 3.0, 2.0], 1), Some(0.5));
        assert_eq!(margin(&[1.0, 3.0, 3.0], 1), Some(0.0));
        assert_eq!(margin(&[1.0, 3.0, 3.0], 0), Some(-2.0), "not the largest");
        assert_eq!(margin(&[2.0], 0), Some(f32::INFINITY));
        assert_eq!(margin(&[2.0], 1), None);
    }

    #[test]
    fn argmax_refuses_what_has_no_maximum() {
        for bad_at in [0, 15, 16, 33, 39] {
            for value in [f32::NAN, f32::INFINITY] {
                let mut logits = vec![0.5; 40];
                logits[bad_at] = value;
                let error = argmax(&logits).unwrap_err();
                let at = u32::try_from(bad_at).unwrap();
                assert!(matches!(error, EngineError::BadLogit { id, .. } if id == at), "{error}");
            }
        }
        assert!(matches!(argmax(&[f32::NEG_INFINITY; 20]), Err(EngineError::BadLogit { id: 0, .. })));
        assert!(matches!(argmax(&[]), Err(EngineError::InvalidArgument { .. })));
    }

    #[test]
    fn pick_walks_the_quantiles_and_never_takes_an_impossible_token() {
        let mut probs = vec![0.0; 1000];
        probs[3] = 0.25;
        probs[500] = 0.5;
        probs[900] = 0.25;
        for (u, id) in [(0.0, 3), (0.2499, 3), (0.25, 500), (0.7499, 500), (0.75, 900), (1.0, 900)] {
            assert_eq!(pick(&probs, u).unwrap(), id, "at quantile {u}");
        }
        assert!(pick(&[0.0; 5], 0.5).is_err());
        for bad in [f32::NAN, f32::INFINITY, -0.25, 2.0] {
            assert!(pick(&[bad, 1.0], 0.5).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn top_k_is_the_head_of_the_full_sort(
            // Few distinct values, so that ties are common; -inf is a suppressed token.
            levels in prop::collection::vec(0u8..40, 1..2000),
            k in 1usize..300,
        ) {
            let logits: Vec<f32> =
                levels.iter().map(|&l| if l == 0 { f32::NEG_INFINITY } else { f32::from(l) }).collect();
            let mut all: Vec<Candidate> = candidates(&logits).collect();
            all.sort_by(Candidate::rank);
            all.truncate(k);
            let mut kept = Vec::new();
            top_k(&logits, k, &mut kept);
            let ids = |c: &[Candidate]| c.iter().map(|c| c.id).collect::<Vec<_>>();
            prop_assert_eq!(ids(&kept), ids(&all));
        }
    }
}
