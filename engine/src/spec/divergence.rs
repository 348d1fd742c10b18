//! How far two next-token distributions over one vocabulary are apart.
//!
//! For the question what a KV type costs: the same model over the same tokens, once with the type and once with the
//! reference. Logarithms of probabilities are f64, whatever the logits are, so that a divergence of 1e-9 nats is no rounding
//! error. Invariant: a logit that is not finite is an error, never a number. Knows no model but through [`Target`].

use super::sampler::argmax;
use super::target::{LogitRows, Target};
use crate::EngineError;

/// One position: the reference's distribution p against the candidate's q.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// KL(p || q) = sum of p ln(p / q), nats; at least 0.
    pub kl_nats: f64,
    /// Whether both have the same most likely token (the lowest id on ties).
    pub same_top1: bool,
    /// -ln p of the token that stands there.
    pub reference_nll_nats: f64,
    /// -ln q of the same token.
    pub candidate_nll_nats: f64,
}

impl Divergence {
    /// Compares two rows of logits at a position where `token` stands.
    ///
    /// # Errors
    /// [`EngineError::BadLogit`] for a logit that is not finite, [`EngineError::UnknownToken`],
    /// [`EngineError::InvalidArgument`] for rows of different lengths.
    pub fn between(reference: &[f32], candidate: &[f32], token: u32) -> Result<Self, EngineError> {
        if reference.len() != candidate.len() {
            return Err(EngineError::InvalidArgument {
                what: "logits",
                got: format!("rows of {} and {}", reference.len(), candidate.len()),
                expected: "the same vocabulary".to_owned(),
            });
        }
        let (p, q) = (log_softmax(reference)?, log_softmax(candidate)?);
        let at = token as usize;
        let (Some(p_token), Some(q_token)) = (p.get(at), q.get(at)) else {
            return Err(EngineError::UnknownToken { id: token, vocab_size: p.len() });
        };
        let kl: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
        Ok(Self {
            // The sum of nearly equal rows may round to just below 0.
            kl_nats: kl.max(0.0),
            same_top1: argmax(reference)? == argmax(candidate)?,
            reference_nll_nats: -p_token,
            candidate_nll_nats: -q_token,
        })
    }
}

/// Natural logarithms of probabilities, `[vocab]`.
///
/// # Errors
/// [`EngineError::BadLogit`] for the first logit that is not finite.
pub fn log_softmax(logits: &[f32]) -> Result<Vec<f64>, EngineError> {
    if let Some((id, &value)) = (0..).zip(logits).find(|(_, logit)| !logit.is_finite()) {
        return Err(EngineError::BadLogit { id, value });
    }
    let most = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - most).exp()).sum();
    let shift = most + sum.ln();
    Ok(logits.iter().map(|&logit| f64::from(logit) - shift).collect())
}

/// Gets the logits that say what comes next; tells the token that is to stand there, or that this was all.
pub type NextToken<'a> = dyn FnMut(&[f32]) -> Result<Option<u32>, EngineError> + 'a;

/// Shows the logits of every position after `prompt`, token by token from an empty cache: `next` gets the row that says
/// what comes next, and tells the token that is to stand there, or that this was all. One pass over the prompt and one a
/// token that is told.
///
/// # Errors
/// What the target and `next` fail with.
pub fn walk<T: Target + ?Sized>(
    target: &mut T,
    prompt: &[u32],
    next: &mut NextToken<'_>,
) -> Result<(), EngineError> {
    target.truncate(0);
    target.forward(prompt, LogitRows::Last)?;
    loop {
        target.fetch_logits()?;
        let Some(token) = next(target.logits(0))? else { return Ok(()) };
        target.forward(&[token], LogitRows::Last)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        (2_usize..60).prop_flat_map(|n| {
            let row = || prop::collection::vec(-30.0_f32..30.0, n);
            (row(), row())
        })
    }

    proptest! {
        #[test]
        fn a_divergence_is_never_negative_and_of_a_row_from_itself_exactly_nothing((p, q) in rows()) {
            let between = Divergence::between(&p, &q, 0).unwrap();
            prop_assert!(between.kl_nats >= 0.0 && between.kl_nats.is_finite());
            let itself = Divergence::between(&p, &p, 1).unwrap();
            prop_assert!(itself.kl_nats.abs() <= 0.0 && itself.same_top1);
            prop_assert_eq!(itself.reference_nll_nats.to_bits(), itself.candidate_nll_nats.to_bits());
        }

        /// Pinsker: total variation <= sqrt(KL / 2).
        #[test]
        fn a_divergence_bounds_the_total_variation((p, q) in rows()) {
            let kl = Divergence::between(&p, &q, 0).unwrap().kl_nats;
            let (p, q) = (log_softmax(&p).unwrap(), log_softmax(&q).unwrap());
            let variation: f64 = p.iter().zip(&q).map(|(p, q)| (p.exp() - q.exp()).abs()).sum::<f64>() / 2.0;
            prop_assert!(variation <= (kl / 2.0).sqrt() + 1e-7, "{variation} for {kl}");
        }

        #[test]
        fn probabilities_add_up_to_one_and_shifting_all_logits_changes_nothing((p, q) in rows(), shift in -64_i8..64) {
            let sum: f64 = log_softmax(&p).unwrap().iter().map(|log| log.exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-12);
            // Halves of integers, so that the shift itself rounds nothing.
            let halves = |row: &[f32]| row.iter().map(|x| (x * 2.0).round() / 2.0).collect::<Vec<_>>();
            let shifted = |row: &[f32]| row.iter().map(|x| x + f32::from(shift)).collect::<Vec<_>>();
            let (p, q) = (halves(&p), halves(&q));
            let (a, b) = (
                Divergence::between(&p, &q, 1).unwrap(),
                Divergence::between(&shifted(&p), &shifted(&q), 1).unwrap(),
            );
            prop_assert!((a.kl_nats - b.kl_nats).abs() < 1e-9 * (1.0 + a.kl_nats));
            prop_assert!((a.candidate_nll_nats - b.candidate_nll_nats).abs() < 1e-9);
            prop_assert_eq!(a.same_top1, b.same_top1);
        }
    }

    #[test]
    fn a_divergence_is_what_it_is_by_hand() {
        // p = (1/2, 1/2), q = (3/4, 1/4): ln(2/3)/2 + ln(2)/2.
        let found = Divergence::between(&[1.0, 1.0], &[3.0_f32.ln(), 0.0], 1).unwrap();
        assert!((found.kl_nats - 0.5 * (4.0_f64 / 3.0).ln()).abs() < 1e-7, "{found:?}");
        assert!((found.reference_nll_nats - 2.0_f64.ln()).abs() < 1e-12);
        assert!((found.candidate_nll_nats - 4.0_f64.ln()).abs() < 1e-7);
        assert!(found.same_top1);
        assert!(!Divergence::between(&[1.0, 0.0], &[0.0, 1.0], 0).unwrap().same_top1);
    }

    #[test]
    fn what_is_not_finite_is_an_error_and_so_is_a_foreign_token() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (p, q) in [([0.0, bad], [0.0, 0.0]), ([0.0, 0.0], [0.0, bad])] {
                let error = Divergence::between(&p, &q, 0).unwrap_err();
                assert!(matches!(error, EngineError::BadLogit { id: 1, .. }), "{error}");
            }
        }
        let error = Divergence::between(&[0.0; 3], &[0.0; 3], 3).unwrap_err();
        assert!(matches!(error, EngineError::UnknownToken { id: 3, vocab_size: 3 }), "{error}");
        assert!(Divergence::between(&[0.0; 3], &[0.0; 2], 0).is_err());
    }
}
