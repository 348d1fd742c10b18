//! What a gate asks: which metrics, of which arms, with which margins.

use serde::{Deserialize, Serialize};

use crate::stats::Metric;

/// A metric that a gate can hold a candidate to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateMetric {
    /// Decode throughput of one stream, tokens a second.
    TokensPerS,
    /// Output tokens by send-to-last-token time, prefill included.
    E2eTokensPerS,
    /// Time to first token, milliseconds: the geometric mean of a block's requests.
    TtftMs,
    /// Decode time a token, milliseconds.
    TpotMs,
    /// Tokens a verify step emits, the bonus token included.
    AcceptanceLength,
    /// Accepted by drafted tokens.
    AcceptanceRate,
}

impl GateMetric {
    /// All, speed first.
    pub const ALL: [Self; 6] = [
        Self::TokensPerS,
        Self::E2eTokensPerS,
        Self::TtftMs,
        Self::TpotMs,
        Self::AcceptanceLength,
        Self::AcceptanceRate,
    ];

    /// The name in rules and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokensPerS => "tokens_per_s",
            Self::E2eTokensPerS => "e2e_tokens_per_s",
            Self::TtftMs => "ttft_ms",
            Self::TpotMs => "tpot_ms",
            Self::AcceptanceLength => "acceptance_length",
            Self::AcceptanceRate => "acceptance_rate",
        }
    }

    /// Whether it counts drafts; else it is a speed.
    #[must_use]
    pub fn is_acceptance(self) -> bool {
        match self {
            Self::AcceptanceLength | Self::AcceptanceRate => true,
            Self::TokensPerS | Self::E2eTokensPerS | Self::TtftMs | Self::TpotMs => false,
        }
    }

    /// The metric whose noise floor holds for it; counts have none. TPOT is decode throughput turned around.
    #[must_use]
    pub fn noise_of(self) -> Option<Metric> {
        match self {
            Self::TokensPerS | Self::TpotMs => Some(Metric::TokensPerS),
            Self::E2eTokensPerS => Some(Metric::E2eTokensPerS),
            Self::TtftMs => Some(Metric::TtftMs),
            Self::AcceptanceLength | Self::AcceptanceRate => None,
        }
    }

    /// 1 where more is better, -1 where less is.
    pub(super) fn sign(self) -> f64 {
        match self {
            Self::TtftMs | Self::TpotMs => -1.0,
            Self::TokensPerS | Self::E2eTokensPerS | Self::AcceptanceLength | Self::AcceptanceRate => 1.0,
        }
    }
}

impl std::fmt::Display for GateMetric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a gate asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateRules {
    /// 1 minus the coverage of every interval. Each of the two errors (a regression called that is within the margin, a
    /// pass that is not) has half of it.
    pub alpha: f64,
    /// Chance to show that a candidate without a difference passes, for the blocks that are told to be needed.
    pub power: f64,
    /// Fewer blocks are not judged.
    pub min_blocks: u32,
    /// Fewer prompts are not judged, where prompts are the clusters (acceptance).
    pub min_prompts: u32,
    /// When a noise floor has to be known.
    pub noise_floor: FloorPolicy,
    /// Whether greedy outputs have to be those of the baseline.
    pub outputs: OutputPolicy,
    /// What is judged, in the order of the table.
    pub metrics: Vec<MetricRule>,
    /// Which arms; empty: of two runs all that have equal labels, of an A/A run its two arms.
    pub arms: Vec<ArmPair>,
    /// What two runs may differ in.
    pub differences: Differences,
    /// A baseline that was measured longer ago is not judged against; `None`: of any age.
    pub max_age_days: Option<u32>,
}

impl Default for GateRules {
    /// 95 %, 80 %, six blocks; 3 % of decode throughput, 5 % of TTFT, 2 % of acceptance length.
    fn default() -> Self {
        let rule = |metric, margin| MetricRule { metric, margin };
        Self {
            alpha: 0.05,
            power: 0.8,
            min_blocks: 6,
            min_prompts: 5,
            noise_floor: FloorPolicy::TwoSittings,
            outputs: OutputPolicy::Equal,
            metrics: vec![
                rule(GateMetric::TokensPerS, 0.03),
                rule(GateMetric::TtftMs, 0.05),
                rule(GateMetric::AcceptanceLength, 0.02),
            ],
            arms: Vec::new(),
            differences: Differences::default(),
            max_age_days: None,
        }
    }
}

/// One metric and its margin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricRule {
    /// The metric.
    pub metric: GateMetric,
    /// The loss that is acted on, as a share above 0: 0.03 allows throughput to fall to 1 / 1.03, and times to rise to
    /// 1.03.
    pub margin: f64,
}

/// An arm and what it is held to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmPair {
    /// Label of the arm below the line.
    pub baseline: String,
    /// Label of the arm that is judged.
    pub candidate: String,
}

/// When a noise floor has to be known before anything is said of speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FloorPolicy {
    /// Always.
    Required,
    /// Where the runs were not interleaved.
    TwoSittings,
    /// Never; one that is known is used.
    Optional,
}

/// Whether greedy outputs have to be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputPolicy {
    /// A difference that no near tie explains makes the arm one that is not judged.
    Equal,
    /// A difference is told.
    Any,
}

/// What is done about a difference between the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Nothing is judged.
    Refuse,
    /// It is told.
    Warn,
}

/// What two runs may differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differences {
    /// System, CPU, number of CPUs, GPUs.
    pub machine: Policy,
    /// Model files and the format of the weights.
    pub models: Policy,
    /// KV type, context, threads, device, route, draft positions.
    pub serving: Policy,
    /// The build that a stack tells: mostly what a gate is asked about.
    pub stack_version: Policy,
    /// The version of this suite.
    pub suite_version: Policy,
}

impl Default for Differences {
    /// Another machine, another model, another way of serving is another question; builds are the question.
    fn default() -> Self {
        Self {
            machine: Policy::Refuse,
            models: Policy::Refuse,
            serving: Policy::Refuse,
            stack_version: Policy::Warn,
            suite_version: Policy::Warn,
        }
    }
}
