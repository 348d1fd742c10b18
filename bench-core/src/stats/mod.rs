//! Statistics of a run: pure functions on slices, the same answer for the same input and seed.
//!
//! # What is resampled
//!
//! Requests of one block share the machine's mood of that minute, so they are not independent; blocks nearly are.
//! Intervals therefore come from a cluster bootstrap: blocks are drawn with replacement, then requests within each
//! drawn block (Davison and Hinkley 1997, section 3.8). Comparisons draw the same clusters for both arms, so what
//! hit both in one block cancels.
//!
//! Counts of accepted drafts are another matter: greedy decoding repeats them exactly in every block, so blocks
//! replicate nothing. What varies is the text. Their clusters are prompts, drawn whole ([`estimate_ratio_over_prompts`]),
//! and the interval says what other prompts of the same kind would have given.
//!
//! # Few blocks
//!
//! Plain percentile intervals of five blocks are too narrow: they behave like a normal interval with the variance
//! divided by n, where Student's t and n - 1 are due. The tails are widened to match, the *expanded percentile*
//! interval (Hesterberg 2015, "What teachers should know about the bootstrap"). Below [`MIN_BLOCKS`]
//! there is no interval at all; the same holds for prompts where they are the clusters.
//!
//! # Which ratio
//!
//! Throughput and acceptance are ratios of sums (all tokens over all time), not means of ratios: a long request
//! weighs as much as it lasts, and the figure answers "how long will all this take".

mod bootstrap;
mod distribution;
mod percentile;
mod proportion;
mod steady;
mod verdict;

pub use self::bootstrap::{
    BootstrapConfig, Clustered, MIN_BLOCKS, PairSample, Sample, estimate_median, estimate_ratio,
    estimate_ratio_over_prompts, paired_ratio,
};
pub use self::percentile::{median, percentile};
pub use self::proportion::wilson;
pub use self::steady::{Finding, Steadiness, steadiness};
pub use self::verdict::verdict;
