//! Statistics of a run: pure functions on slices, the same answer for the same input and seed.
//!
//! # What is resampled
//!
//! Requests of one block share the machine's mood of that minute, so they are not independent; blocks nearly are.
//! Intervals therefore come from a cluster bootstrap: blocks are drawn with replacement, each with all its requests
//! (Davison and Hinkley 1997, section 3.8, their first strategy). The prompts of a block are not drawn again: they are the
//! same in every block, so they are no sample, and drawing them would count the differences between them as noise.
//! Comparisons draw the same blocks for both arms, so what hit both in one block cancels.
//!
//! Counts of accepted drafts are another matter: greedy decoding repeats them exactly in every block, so blocks
//! replicate nothing. What varies is the text. Their clusters are prompts, drawn whole ([`estimate_ratio_over_prompts`]),
//! and the interval says what other prompts of the same kind would have given. [`PairedRatio::other_prompts`] asks the
//! same of a ratio of speeds, and draws both.
//!
//! # Few blocks
//!
//! Plain percentile intervals of five blocks are too narrow: they behave like a normal interval with the variance
//! divided by n, where Student's t and n - 1 are due. The tails are widened to match, the *expanded percentile*
//! interval (Hesterberg 2015, "What teachers should know about the bootstrap"), and no end is nearer than Student's.
//! Below [`MIN_BLOCKS`] there is no interval at all; the same holds for prompts where they are the clusters.
//!
//! What all of this covers is simulated in the tests and, at length, by `examples/statistics.rs`: docs/statistics.md.
//!
//! # Which ratio
//!
//! Throughput and acceptance of an arm are ratios of sums (all tokens over all time), not means of ratios: a long request
//! weighs as much as it lasts, and the figure answers "how long will all this take". Two arms are compared pair by pair
//! ([`paired_log_ratio`]): every prompt counts alike, and its own length cancels.

mod bootstrap;
mod distribution;
mod holm;
mod looks;
mod metric;
mod paired;
mod percentile;
mod power;
mod proportion;
mod steady;
mod unpaired;
mod verdict;
mod wilcoxon;

pub use self::bootstrap::{
    BootstrapConfig, Clustered, MIN_BLOCKS, PairSample, Sample, estimate_median, estimate_ratio,
    estimate_ratio_over_prompts, paired_ratio,
};
pub use self::holm::holm;
pub use self::looks::{Looks, MAX_LOOKS};
pub use self::metric::Metric;
pub use self::paired::{LogPair, PairedRatio, block_interval, block_test, paired_log_ratio};
pub use self::percentile::{median, percentile};
pub use self::power::Power;
pub use self::proportion::wilson;
pub use self::steady::{Finding, Steadiness, steadiness};
pub use self::unpaired::{LogValue, UnpairedRatio, unpaired_log_ratio};
pub use self::verdict::{Evidence, verdict};
pub use self::wilcoxon::{EXACT_BELOW, RankTest, rank_sum, signed_rank};
