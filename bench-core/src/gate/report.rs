//! What a gate says: a document that tables, `JUnit` files and summaries are made from.

use serde::{Deserialize, Serialize};

use super::baseline::Provenance;
use super::rules::{GateMetric, GateRules};
use crate::report::Estimate;

/// Version of [`GateReport`].
pub const GATE_SCHEMA: u32 = 1;

/// The verdict of a check, of an arm and of the whole gate; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// The whole interval lies beyond the margin: it got worse by more than that.
    Regression,
    /// Neither was shown, or nothing could be judged. Not a pass.
    Inconclusive,
    /// The whole interval lies within the margin or above it: non-inferiority was shown.
    Pass,
}

impl GateVerdict {
    /// 0 pass, 1 regression, 2 could not judge.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Regression => 1,
            Self::Inconclusive => 2,
        }
    }

    /// In a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regression => "regression",
            Self::Inconclusive => "inconclusive",
            Self::Pass => "pass",
        }
    }
}

impl std::fmt::Display for GateVerdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which blocks are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sitting {
    /// Two arms of one run: blocks are pairs, and what hit both cancels.
    Interleaved,
    /// Two runs: what changed on the machine in between is part of every ratio of speeds.
    TwoSittings,
}

/// What a check tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Speed without speculation, or with planted acceptance: no drafter is in it.
    Engine,
    /// What the target keeps of the drafts.
    Drafter,
    /// Speed with real drafts: either may have changed it.
    EngineAndDrafter,
}

impl Subject {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Drafter => "drafter",
            Self::EngineAndDrafter => "engine and drafter",
        }
    }
}

/// A gate's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    /// Always [`GATE_SCHEMA`].
    pub schema: u32,
    /// The worst of all checks; inconclusive where something stands in the way.
    pub verdict: GateVerdict,
    /// Whether the blocks are pairs.
    pub sitting: Sitting,
    /// The run below the line.
    pub baseline_run: String,
    /// The run that is judged.
    pub candidate_run: String,
    /// When, where and of which commit the baseline was saved, where `bench gate save` did.
    pub provenance: Option<Provenance>,
    /// Coverage of every interval.
    pub confidence: f64,
    /// Why nothing was judged; empty where something was.
    pub problems: Vec<String>,
    /// One entry a pair of arms.
    pub arms: Vec<ArmGate>,
    /// What a reader has to know beside the verdict.
    pub warnings: Vec<String>,
    /// How to read it.
    pub notes: Vec<String>,
    /// What was asked.
    pub rules: GateRules,
}

/// One pair of arms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmGate {
    /// Label of the arm below the line.
    pub baseline: String,
    /// Label of the arm that is judged.
    pub candidate: String,
    /// The worst of its checks; inconclusive with a problem or without a check.
    pub verdict: GateVerdict,
    /// Why it was not judged: failures, broken truth rules, other outputs. Validity comes before the verdict.
    pub problems: Vec<String>,
    /// What does not stand in the way and has to be said.
    pub warnings: Vec<String>,
    /// One entry a metric.
    pub checks: Vec<Check>,
}

/// One metric of one pair of arms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The metric.
    pub metric: GateMetric,
    /// What it tells of.
    pub subject: Subject,
    /// The verdict.
    pub verdict: GateVerdict,
    /// Why no more than that; for a pass, that it got better.
    pub why: Option<String>,
    /// Values of both arms, in the metric's unit.
    pub baseline: Option<f64>,
    /// The candidate's.
    pub candidate: Option<f64>,
    /// candidate / baseline; `None` where an arm is not valid.
    pub ratio: Option<Estimate>,
    /// The loss that is acted on, as a share.
    pub margin: f64,
    /// What was counted: blocks for speed, prompts for acceptance.
    pub clusters: u64,
    /// Without a loss beyond the margin such values, or worse ones, come this often.
    pub p_regression: Option<f64>,
    /// The same, adjusted for all checks of the gate (Holm).
    pub p_holm: Option<f64>,
    /// The noise floor, as a share; `None`: not known, or the metric has none.
    pub noise_floor: Option<f64>,
    /// Blocks (prompts) that would show a pass where nothing changed, at the power of the rules; `None` where not known.
    pub needed: Option<u32>,
}
