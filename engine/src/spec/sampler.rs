//! Chooses tokens from logits: greedy, or a seeded draw after top-k, top-p, min-p and temperature.
//!
//! The order top-k, top-p, min-p, temperature is llama.cpp's default chain, so top-p and min-p see the untempered
//! distribution there and here. Everything is f32: bf16 ratios underflow in rejection sampling. exp and sums are those of
//! [`crate::spec::mass`], so that the choice is the same on every machine, and that of a GPU given equal logits.
//! Does not know what a draft is (see [`crate::spec::accept`]).
//!
//! Invariants: a logit of NaN or +inf is an error, never a silent choice; -inf means "suppressed" and such a token is
//! never drawn; among equal logits the lowest id comes first; equal seeds give equal draws on every platform, because
//! the generator is xoshiro256++ seeded by `SplitMix64` (both fixed by their published reference code and named by
//! rand's `Xoshiro256PlusPlus`, unlike `StdRng`, which rand may replace) and the uniform is made of its 53 high bits.

use std::num::NonZeroU32;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use super::mass::{mass, nucleus, sum_of_weights, weight};
use super::select::{self, Candidate};
use crate::EngineError;

pub use super::select::{argmax, margin};

/// How tokens are chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy; logits are divided by it otherwise.
    pub temperature: f32,
    /// Keep the k most likely tokens.
    pub top_k: Option<NonZeroU32>,
    /// Keep the smallest set of most likely tokens whose probability reaches p, 0 to 1.
    pub top_p: Option<f32>,
    /// Drop tokens less likely than `min_p` times the most likely, 0 to 1.
    pub min_p: Option<f32>,
    /// Seed of the draws.
    pub seed: u64,
}

impl SamplingParams {
    /// The most likely token, always.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: None, min_p: None, seed: 0 }
    }

    /// Whether no randomness is involved.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }

    /// Checks every field's range.
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`] with the field's name.
    pub fn validate(&self) -> Result<(), EngineError> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(out_of_range(
                "temperature",
                self.temperature,
                "a finite number, 0 (greedy) or above",
            ));
        }
        for (what, value) in [("top_p", self.top_p), ("min_p", self.min_p)] {
            match value {
                Some(p) if !(0.0..=1.0).contains(&p) => return Err(out_of_range(what, p, "0 to 1")),
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}

fn out_of_range(what: &'static str, got: f32, expected: &str) -> EngineError {
    EngineError::InvalidArgument { what, got: got.to_string(), expected: expected.to_owned() }
}

/// A seeded sampler. One uniform number is consumed for each [`Sampler::draw`], none elsewhere.
#[derive(Debug, Clone)]
pub struct Sampler {
    params: SamplingParams,
    rng: Xoshiro256PlusPlus,
    /// Scratch: what is left of the vocabulary, most likely first where an order was needed.
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler at the start of its seed's sequence.
    ///
    /// # Errors
    /// As [`SamplingParams::validate`].
    pub fn new(params: &SamplingParams) -> Result<Self, EngineError> {
        params.validate()?;
        let rng = Xoshiro256PlusPlus::seed_from_u64(params.seed);
        Ok(Self { params: params.clone(), rng, candidates: Vec::new() })
    }

    /// What it was made from.
    #[must_use]
    pub fn params(&self) -> &SamplingParams {
        &self.params
    }

    /// Turns `logits` `[vocab]` into the probabilities `probs` `[vocab]` a token is drawn with; tokens cut away have
    /// exactly 0. Greedy parameters give a point mass on the most likely token.
    ///
    /// # Errors
    /// [`EngineError::BadLogit`].
    pub fn distribution(&mut self, logits: &[f32], probs: &mut Vec<f32>) -> Result<(), EngineError> {
        let top = argmax(logits)?;
        probs.clear();
        probs.resize(logits.len(), 0.0);
        if self.params.is_greedy() {
            probs[top as usize] = 1.0;
            return Ok(());
        }
        let max = logits[top as usize];
        self.keep_top_k(logits);
        self.keep_top_p(max);
        if let Some(min_p) = self.params.min_p.filter(|&p| p > 0.0) {
            let floor = max + min_p.ln();
            self.candidates.retain(|c| c.logit >= floor);
        }
        self.write_softmax(max, probs);
        Ok(())
    }

    /// Draws a token from `probs` `[vocab]` (need not sum to exactly 1).
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`] if all probabilities are 0, or one is not within 0 to 1.
    pub fn draw(&mut self, probs: &[f32]) -> Result<u32, EngineError> {
        let u = self.uniform();
        select::pick(probs, u)
    }

    /// The next `count` numbers that [`Sampler::uniform`] will give, which are not consumed by that.
    #[must_use]
    pub fn upcoming(&self, count: usize) -> Vec<f64> {
        let mut ahead = Self { candidates: Vec::new(), ..self.clone() };
        (0..count).map(|_| ahead.uniform()).collect()
    }

    /// Consumes `count` numbers, for whoever has used those of [`Sampler::upcoming`].
    pub fn skip(&mut self, count: usize) {
        (0..count).for_each(|_| {
            self.uniform();
        });
    }

    /// A number in [0, 1), a multiple of 2^-53.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in an f64")]
    pub fn uniform(&mut self) -> f64 {
        const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
        (self.rng.next_u64() >> 11) as f64 * SCALE
    }

    /// Fills `candidates` with the k most likely (ordered), or with every token that is not suppressed (unordered).
    fn keep_top_k(&mut self, logits: &[f32]) {
        self.candidates.clear();
        match self.params.top_k.map(|k| k.get() as usize).filter(|&k| k < logits.len()) {
            Some(k) => select::top_k(logits, k, &mut self.candidates),
            None => self.candidates.extend(select::candidates(logits)),
        }
    }

    /// Cuts `candidates` to the nucleus; leaves them ordered if it does.
    fn keep_top_p(&mut self, max: f32) {
        let Some(top_p) = self.params.top_p.filter(|&p| p < 1.0) else { return };
        let mass_of = |c: &Candidate| mass(weight(c.logit - max));
        let wanted = nucleus(top_p, self.candidates.iter().map(mass_of).sum());
        // The nucleus is small as a rule: order ever larger heads of the list instead of all 262144.
        let (mut ordered, mut reached) = (0, 0);
        while ordered < self.candidates.len() {
            let rest = &mut self.candidates[ordered..];
            let block = (7 * ordered).max(256).min(rest.len());
            if block < rest.len() {
                rest.select_nth_unstable_by(block - 1, Candidate::rank);
            }
            rest[..block].sort_unstable_by(Candidate::rank);
            for candidate in &rest[..block] {
                reached += mass_of(candidate);
                ordered += 1;
                if reached >= wanted {
                    self.candidates.truncate(ordered);
                    return;
                }
            }
        }
    }

    /// Softmax of the candidates at the temperature, into their places in `probs`.
    #[expect(clippy::cast_possible_truncation, reason = "probabilities are f32")]
    fn write_softmax(&self, max: f32, probs: &mut [f32]) {
        let (mut total, mut weights) = (0, [0.0; 64]);
        // Weights apart from their places, so that they vectorise.
        for chunk in self.candidates.chunks(weights.len()) {
            for (to, c) in weights.iter_mut().zip(chunk) {
                *to = weight((c.logit - max) / self.params.temperature);
            }
            for (&weight, c) in weights.iter().zip(chunk) {
                probs[c.id as usize] = weight;
                total += mass(weight);
            }
        }
        // The most likely token weighs exp(0) = 1, so the total is at least 1.
        let scale = (1.0 / sum_of_weights(total)) as f32;
        for c in &self.candidates {
            probs[c.id as usize] *= scale;
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::float_cmp, reason = "reference values, exact ones")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(temperature: f32, top_k: u32, top_p: f32, min_p: f32) -> SamplingParams {
        SamplingParams {
            temperature,
            top_k: NonZeroU32::new(top_k),
            top_p: Some(top_p),
            min_p: Some(min_p),
            seed: 7,
        }
    }

    /// The chain, step by step over a full sort.
    fn chain_by_sorting(p: &SamplingParams, logits: &[f32]) -> Vec<f32> {
        let mut left: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
        left.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        left.truncate(p.top_k.map_or(usize::MAX, |k| k.get() as usize));
        let max = left[0].1;
        let softmax = |left: &[(usize, f32)], t: f32| -> Vec<f64> {
            let weights: Vec<f64> = left.iter().map(|l| f64::from((l.1 - max) / t).exp()).collect();
            let total: f64 = weights.iter().sum();
            weights.iter().map(|w| w / total).collect()
        };
        let mut mass = 0.0;
        let untempered = softmax(&left, 1.0);
        let nucleus = untempered.iter().position(|p_i| {
            mass += p_i;
            mass >= f64::from(p.top_p.unwrap_or(1.0))
        });
        left.truncate(nucleus.map_or(usize::MAX, |i| i + 1));
        left.retain(|l| f64::from(l.1 - max).exp() >= f64::from(p.min_p.unwrap_or(0.0)));
        let mut probs = vec![0.0; logits.len()];
        for ((id, _), weight) in left.iter().zip(softmax(&left, p.temperature)) {
            probs[*id] = weight as f32;
        }
        probs
    }

    proptest! {
        #[test]
        fn distribution_is_the_chain_over_a_full_sort(
            logits in prop::collection::vec(-9.0f32..9.0, 1..900),
            temperature in 0.3f32..2.0,
            top_k in 0u32..200,
            // Thresholds at which f32 and f64 sums could disagree by rounding alone are avoided by not being round.
            top_p in 0.0501f32..0.9993,
            min_p in 0.0f32..0.4,
        ) {
            let params = params(temperature, top_k, top_p, min_p);
            let mut probs = Vec::new();
            Sampler::new(&params).unwrap().distribution(&logits, &mut probs).unwrap();
            let expected = chain_by_sorting(&params, &logits);
            prop_assert_eq!(probs.len(), logits.len());
            for (id, (got, want)) in probs.iter().zip(&expected).enumerate() {
                prop_assert!((got - want).abs() <= 2e-5, "token {}: {} against {}", id, got, want);
            }
        }
    }

    #[test]
    fn cutting_comes_before_the_temperature() {
        // p = 0.665, 0.245, 0.090 untempered: a nucleus of 0.6 is the first token alone. At temperature 10 it would
        // have been two.
        let mut probs = Vec::new();
        let mut sampler = Sampler::new(&params(10.0, 0, 0.6, 0.0)).unwrap();
        sampler.distribution(&[2.0, 1.0, 0.0], &mut probs).unwrap();
        assert_eq!(probs, [1.0, 0.0, 0.0]);
    }

    #[test]
    fn greedy_is_a_point_mass() {
        let mut probs = Vec::new();
        Sampler::new(&SamplingParams::greedy()).unwrap().distribution(&[0.0, 4.0, 4.0], &mut probs).unwrap();
        assert_eq!(probs, [0.0, 1.0, 0.0]);
    }

    #[test]
    fn the_generator_is_xoshiro256_plus_plus() {
        // First outputs of the reference code seeded with SplitMix64(0): 0x53175d61490b23df, 0x61da6f3dc380d507.
        let mut sampler =
            Sampler::new(&SamplingParams { temperature: 1.0, ..SamplingParams::greedy() }).unwrap();
        let expected =
            [0x5317_5d61_490b_23df_u64, 0x61da_6f3d_c380_d507].map(|x| (x >> 11) as f64 / 2f64.powi(53));
        assert_eq!([sampler.uniform(), sampler.uniform()], expected);
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        for (bad, name) in [
            (params(-1.0, 0, 1.0, 0.0), "temperature"),
            (params(f32::NAN, 0, 1.0, 0.0), "temperature"),
            (params(1.0, 0, 1.5, 0.0), "top_p"),
            (params(1.0, 0, 1.0, -0.1), "min_p"),
        ] {
            let message = Sampler::new(&bad).unwrap_err().to_string();
            assert!(message.starts_with(name), "{message}");
        }
    }
}
