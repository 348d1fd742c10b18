//! Why speculation paid, or did not: where the time of a round went, and what follows from it.
//!
//! One round drafts n tokens, verifies them in one target pass over n + 1 rows, and emits a + 1 tokens, a of them
//! accepted drafts. Its cost is modelled as
//!
//! ```text
//! R(n) = W + n C      the verify pass: W reads the weights once, C is one more row
//!      + n D          drafting, D a token
//!      + o            choosing tokens, and the host: rollback, detokenising, handing over
//! ```
//!
//! so a token costs R / (1 + a), the predicted speedup is the baseline's cost of a token by the candidate's, and
//! speculation pays nothing where a = R / t - 1, t being the baseline's cost of a token (the arithmetic of Leviathan et
//! al., arXiv:2211.17192, section 3, with measured costs and counted drafts). docs/explanation.md tells it in words.
//!
//! Pure: rows in, numbers out. It measures nothing and reads no file. Invariant: every number is a function of the
//! [`RoundTimes`] in the rows and of the bandwidth in the manifest, so it can be recomputed from them.

mod fit;
mod rounds;
mod speedup;
mod words;

use serde::{Deserialize, Serialize};

pub use self::fit::{NoFit, VerifySamples};
pub use self::rounds::{BadRoundTimes, ROUND_TIMES, Round, RoundSums, RoundTimes};
pub use self::speedup::{ArmCosts, ceiling, speedup};

/// Where the decode time of one arm went, and what follows from it. Times are means over rounds, milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Rounds (verify steps) that told their times.
    pub rounds: u64,
    /// n: mean tokens drafted in a round; rounds that drafted nothing count.
    pub drafted_per_round: f64,
    /// a: mean accepted drafts of a round.
    pub accepted_per_round: f64,
    /// Where the time of a round went.
    pub round_ms: RoundParts,
    /// D: time of drafting by tokens drafted; `None` if nothing was drafted.
    pub draft_ms_per_token: Option<f64>,
    /// The verify pass by its drafts, over the rounds of all arms of the stack: one target, one law.
    pub fit: Option<VerifyFit>,
    /// Why there is no fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_fit: Option<String>,
    /// The same law by the tokens in the KV cache, shallowest first; only depths that have a fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_kv_depth: Vec<DepthFit>,
    /// Predicted against measured; `None` for the baseline, and without a fit.
    pub speedup: Option<Speedup>,
    /// How near the verify pass is to reading its weights and nothing else; `None` where bytes or bandwidth are unknown.
    pub ceiling: Option<Ceiling>,
}

/// Parts of a mean round, milliseconds. They add up to `total`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RoundParts {
    /// The proposer.
    pub draft: f64,
    /// The target's pass.
    pub verify: f64,
    /// Choosing tokens and deciding over drafts.
    pub sample: f64,
    /// What is left: rollback, detokenising, handing tokens over.
    pub host: f64,
    /// From the stamp of the round before to the stamp of this one.
    pub total: f64,
}

/// `T(n) = W + n C`: the time of a verify pass by its drafted tokens, ordinary least squares over rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyFit {
    /// W: a pass without drafts, milliseconds.
    pub w_ms: f64,
    /// Its standard error.
    pub w_se_ms: f64,
    /// C: one more drafted token, milliseconds.
    pub c_ms: f64,
    /// Its standard error.
    pub c_se_ms: f64,
    /// Scatter of rounds about the line, milliseconds.
    pub residual_sd_ms: f64,
    /// Rounds it was made from.
    pub rounds: u64,
    /// What was measured, by drafted tokens, fewest first: where the line is wrong, it shows here.
    pub points: Vec<VerifyPoint>,
}

/// The verify passes with one number of drafts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VerifyPoint {
    /// n.
    pub drafted: u32,
    /// Rounds that drafted n.
    pub rounds: u64,
    /// Their mean time, milliseconds.
    pub mean_ms: f64,
    /// Their standard deviation, milliseconds; `None` of a single round.
    pub sd_ms: Option<f64>,
}

/// The law of the verify pass while the KV cache held `from` to below `to` tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DepthFit {
    /// Fewest tokens in the cache.
    pub from: u64,
    /// One more than the most.
    pub to: u64,
    /// The law there.
    pub fit: VerifyFit,
}

/// What the costs of two arms predict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Speedup {
    /// Label of the arm it is a speedup over.
    pub baseline: String,
    /// Baseline's predicted time of a token / this arm's.
    pub predicted: f64,
    /// Decode throughput by the baseline's, sums over sums ([`crate::report::Comparison::ratio_of_sums`]); `None` where
    /// the two are not comparable.
    pub measured: Option<f64>,
    /// Accepted drafts a round at which this arm would be as fast as its baseline. Above `drafted_per_round` it cannot
    /// pay, whatever is accepted.
    pub break_even_accepted: f64,
}

/// The verify pass against the time that reading its weights takes at the least.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Bytes of weights that a pass reads.
    pub step_bytes: u64,
    /// Read bandwidth over as many bytes.
    pub bandwidth_bytes_per_s: f64,
    /// `step_bytes` / `bandwidth_bytes_per_s`, milliseconds.
    pub floor_ms: f64,
    /// `floor_ms` / mean verify time of the arm: 1 is the ceiling.
    pub share: f64,
}
