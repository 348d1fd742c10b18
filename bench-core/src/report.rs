//! The report: aggregates of one or more runs, derived from rows, never edited. Unknown values are `None`.

mod hardware;

use serde::{Deserialize, Serialize};

use crate::audit::Lossless;
use crate::environment::{EnvironmentHead, Span};
use crate::explanation::Explanation;
use crate::kv_quality::KvQualityOutcome;
use crate::latency::{LatencyPercentiles, RequestTimeline};
use crate::load::LoadReport;
use crate::preset::{SpecDecode, StackKind};
use crate::prompt_set::PromptSet;
use crate::record::HostInfo;
use crate::stats::Metric;
use crate::sweep::Sweep;
use crate::thinking::SplitSource;
use crate::truth::TruthCheck;

/// Version of `report.json`.
pub const REPORT_SCHEMA: u32 = 1;

/// What is shown of one or more runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always [`REPORT_SCHEMA`].
    pub schema: u32,
    /// Preset name.
    pub preset: String,
    /// Preset description.
    pub preset_description: String,
    /// SHA-256 of the preset, hex.
    pub preset_sha256: String,
    /// The prompts that were asked. `None` in reports made before it was told, and in imported ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_set: Option<PromptSet>,
    /// SHA-256 of the target's file, hex; `None` in reports of runs that did not record it.
    #[serde(default)]
    pub target_sha256: Option<String>,
    /// SHA-256 of the assistant's file, hex.
    #[serde(default)]
    pub assistant_sha256: Option<String>,
    /// Runs it was made from.
    pub run_ids: Vec<String>,
    /// Start of the first run, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Whether some run was stopped by the user.
    pub interrupted: bool,
    /// Version of the suite that measured.
    pub suite_version: String,
    /// The machine.
    pub host: HostInfo,
    /// Blocks in which every arm was asked every prompt.
    pub blocks: u32,
    /// Coverage of every interval, for example 0.95.
    pub confidence: f64,
    /// What a reader has to know before the numbers: a crash, a lost row.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How to read the numbers: looks that were paid for, and what is known of the machine's own noise.
    #[serde(default)]
    pub method_notes: Vec<String>,
    /// One entry an arm, in report order.
    pub arms: Vec<ArmReport>,
    /// Every candidate against its baseline.
    pub comparisons: Vec<Comparison>,
    /// Ways of speculating over several concurrencies or draft lengths; empty where there is but one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweeps: Vec<Sweep>,
    /// The truth rules over all arms, each with the worst verdict; empty in reports made before there were rules.
    #[serde(default)]
    pub truth: Vec<TruthCheck>,
    /// The machine around the requests, one entry a run; empty for runs that did not record it.
    #[serde(default)]
    pub environment: Vec<RunEnvironment>,
    /// Where the figures are from, if another tool measured them: such a report has no rows behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
}

/// The file of another tool that a report was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The tool.
    pub tool: String,
    /// Its version; `None` where the file does not say.
    pub tool_version: Option<String>,
    /// Name of the file.
    pub source: String,
    /// SHA-256 of the file, hex.
    pub source_sha256: String,
}

/// The machine around the requests of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEnvironment {
    /// The run.
    pub run_id: String,
    /// What does not change: the GPUs among it. `None` if it was not recorded.
    pub head: Option<EnvironmentHead>,
    /// Readings in all.
    pub readings: u64,
    /// Lines that could not be read.
    pub unreadable: u64,
    /// From the first reading to the first request.
    pub before: Option<Span>,
    /// The measured requests of all arms.
    pub during: Option<Span>,
    /// After the last request.
    pub after: Option<Span>,
    /// Block by block, numbered as in this report.
    pub blocks: Vec<BlockEnvironment>,
}

/// The machine while one block was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockEnvironment {
    /// The block.
    pub block: u32,
    /// What happened; `None` if the readings do not cover it.
    pub span: Option<Span>,
}

/// A value with its interval. `low` and `high` are `None` when there are too few blocks to tell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Best single value.
    pub point: f64,
    /// Lower end of the interval.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
}

/// One arm in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmReport {
    /// The stack.
    pub stack: StackKind,
    /// Preset name.
    pub preset: String,
    /// `STACK/VARIANT`.
    pub label: String,
    /// Speculation as asked.
    pub speculation: SpecDecode,
    /// Measured requests, failures included.
    pub n_requests: u64,
    /// Requests that did not complete, and set-ups that failed.
    pub failures: u64,
    /// Each kind of failure once: kind, count, first message.
    pub failure_kinds: Vec<FailureSummary>,
    /// Whether its numbers may be compared.
    pub valid: bool,
    /// Why not.
    pub invalid_reasons: Vec<String>,
    /// An optional stack this machine does not have: not measured, not a failure.
    pub skipped: Option<String>,
    /// Decode throughput of one stream: tokens after the first chunk, summed, over their time, summed.
    pub tokens_per_s: Option<Estimate>,
    /// Output tokens over send-to-last-token time, both summed: prefill included.
    pub e2e_tokens_per_s: Option<Estimate>,
    /// All streams together: output tokens over the time from the first send of a pass to its last token, both summed over
    /// passes. `None` where some request does not tell its tokens, and in reports made before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_tokens_per_s: Option<Estimate>,
    /// Median time to first token, milliseconds.
    pub ttft_ms: Option<Estimate>,
    /// Median over requests of decode time per token, milliseconds.
    pub tpot_ms: Option<Estimate>,
    /// Time between successive chunks, over all of them: a chunk may hold several tokens.
    #[serde(default)]
    pub inter_chunk: Option<Gaps>,
    /// Time between tokens: each gap in equal parts to the tokens of the chunk that ends it. `None` where some chunk does
    /// not tell its tokens.
    #[serde(default)]
    pub inter_token: Option<Gaps>,
    /// Thinking and answer apart; `None` in reports of runs that did not tell them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<ThinkingReport>,
    /// Output tokens of completed requests.
    pub output_tokens: Option<u64>,
    /// Prompt tokens of completed requests.
    pub prompt_tokens: Option<u64>,
    /// Tokens proposed.
    pub drafted: Option<u64>,
    /// Tokens kept.
    pub accepted: Option<u64>,
    /// Target passes after prefill.
    pub verify_steps: Option<u64>,
    /// accepted / drafted.
    pub acceptance_rate: Option<Estimate>,
    /// Mean tokens a verify step emits, bonus token included.
    pub acceptance_length: Option<Estimate>,
    /// Rounds whose draft at position i was accepted.
    pub accepted_per_position: Option<Vec<u64>>,
    /// Rounds that drafted at position i.
    pub drafted_per_position: Option<Vec<u64>>,
    /// Rounds that drafted and of whose drafts exactly j were accepted; `None` where some request does not tell.
    #[serde(default)]
    pub accepted_histogram: Option<Vec<u64>>,
    /// The arm by category of prompt, in preset order; empty in reports made before there were categories.
    #[serde(default)]
    pub categories: Vec<CategoryReport>,
    /// Configuration read back, as words.
    pub effective: Vec<(String, String)>,
    /// The truth rules, each with its verdict and evidence; empty for skipped arms, and in reports made before there were
    /// rules.
    #[serde(default)]
    pub truth: Vec<TruthCheck>,
    /// The machine while the arm's requests were measured; `None` where the readings do not cover them.
    #[serde(default)]
    pub environment: Option<Span>,
    /// Energy of all visible GPUs while the arm's requests were measured, by its output tokens, joules. `None` where a
    /// GPU's energy or a request's tokens are not known, the arm ran on the CPU, or its server is not on this machine.
    #[serde(default)]
    pub joules_per_token: Option<f64>,
    /// Arrivals and lateness in an open loop; `None` in a closed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadReport>,
    /// Where its decode time went and what follows from it; `None` where the stack tells no times of rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// Latencies as curves; `None` without a completed request, and in reports made before they were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyPercentiles>,
    /// One request, chunk by chunk: the first prompt of the first block that the arm completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<RequestTimeline>,
    /// What its KV cache costs in quality against f16, or why that is not known; `None` for caches that lose nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_quality: Option<KvQualityOutcome>,
}

impl Report {
    /// Why a comparison's claims that depend on acceptance are refused: outputs, and all speeds but time to first token;
    /// `None` where they are not.
    #[must_use]
    pub fn acceptance_refused(&self, comparison: &Comparison) -> Option<&str> {
        let of = |label: &String| self.arms.iter().find(|arm| arm.label == *label)?.acceptance_refused();
        of(&comparison.baseline).or_else(|| of(&comparison.candidate))
    }
}

impl ArmReport {
    /// Why its claims about acceptance are refused and not shown; `None` where they are not.
    #[must_use]
    pub fn acceptance_refused(&self) -> Option<&str> {
        self.truth.iter().find(|check| check.refuses_acceptance()).map(|check| check.evidence.as_str())
    }
}

/// Thinking and answer tokens of an arm's completed requests. Counts of speculation stay of all tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThinkingReport {
    /// Requests whose tokens are told apart.
    pub split_requests: u64,
    /// Requests whose tokens are not.
    pub unsplit_requests: u64,
    /// Tokens of thoughts, markers included; `None` unless every request tells.
    pub thinking_tokens: Option<u64>,
    /// All other tokens; `None` unless every request tells.
    pub answer_tokens: Option<u64>,
    /// Median time to the first chunk with a token of the answer, milliseconds, over requests that came to one. `None`
    /// where some request does not tell.
    pub first_answer_ms: Option<Estimate>,
    /// Requests that ended inside their thought.
    pub without_answer: u64,
    /// By which means, each once.
    pub split_by: Vec<SplitSource>,
}

impl ThinkingReport {
    /// Whether there is more to show than that nothing was thought, or that nobody tells.
    #[must_use]
    pub fn has_thoughts(&self) -> bool {
        !self.split_by.is_empty() && self.thinking_tokens != Some(0)
    }

    /// By which means it was told, in words.
    #[must_use]
    pub fn split_by_words(&self) -> String {
        self.split_by.iter().map(|source| source.words()).collect::<Vec<_>>().join(", ")
    }
}

/// The best of a comparison, by decode throughput: what an "up to" would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// The category of the greatest ratio; `None` where there is but one.
    pub category: Option<String>,
    /// Its ratio.
    pub category_ratio: Option<Estimate>,
    /// The prompt of the pair with the greatest ratio.
    pub prompt_id: String,
    /// Its block.
    pub block: u32,
    /// Its ratio: one pair, so it has no interval.
    pub request_ratio: f64,
}

/// Gaps of completed requests, each counted by itself: no mean over a request hides a stall.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gaps {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean_ms: f64,
    /// Half of them are no longer (nearest rank).
    pub p50_ms: f64,
    /// 99 of 100 are no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// One arm on the prompts of one category. Intervals of acceptance are over prompts, those of speed over blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CategoryReport {
    /// `json`, `code`, `prose`, ...
    pub category: String,
    /// Prompts of it that were completed at least once.
    pub prompts: u64,
    /// Tokens proposed; `None` without speculation, and if some request does not tell.
    pub drafted: Option<u64>,
    /// Tokens kept.
    pub accepted: Option<u64>,
    /// Target passes after prefill.
    pub verify_steps: Option<u64>,
    /// accepted / drafted.
    pub acceptance_rate: Option<Estimate>,
    /// Mean tokens a verify step emits, bonus token included.
    pub acceptance_length: Option<Estimate>,
    /// By draft position, from the first; `None` where the stack does not count by position.
    pub positions: Option<Vec<PositionReport>>,
    /// Decode throughput, as [`ArmReport::tokens_per_s`].
    pub tokens_per_s: Option<Estimate>,
    /// Least and most prompt tokens of its requests, as the stack counted them; `None` where some request does not tell,
    /// and in reports made before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_range: Option<[u32; 2]>,
    /// Median time to first token, milliseconds; `None` in reports made before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<Estimate>,
    /// Prompt tokens over time to first token, both summed: reading the prompt, and the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_per_s: Option<Estimate>,
    /// Throughput by that of the first arm of the stack (in a sweep, of the same concurrency), paired by block and prompt; `None` for that arm itself, and
    /// if one of the two is invalid.
    pub ratio: Option<Estimate>,
}

/// One draft position.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PositionReport {
    /// Rounds that drafted here; `None` where the stack does not tell.
    pub drafted: Option<u64>,
    /// Rounds whose draft here was accepted.
    pub accepted: u64,
    /// accepted / drafted here: does the draft hold, given that all before it did?
    pub conditional: Option<Estimate>,
    /// accepted here / verify steps that drafted at all: how often does a round get this far?
    pub marginal: Option<Estimate>,
}

/// One kind of failure of an arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureSummary {
    /// `aborted`, `timed_out`, `http_status`, ...
    pub kind: String,
    /// How often.
    pub count: u64,
    /// The first message of that kind.
    pub first_message: String,
}

/// A candidate against a baseline, on one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Label of the baseline arm.
    pub baseline: String,
    /// Label of the candidate arm.
    pub candidate: String,
    /// `tokens_per_s`, ...
    pub metric: String,
    /// candidate / baseline: the geometric mean of pairs by block and prompt; what it would be in other blocks.
    pub ratio: Option<Estimate>,
    /// Pairs used.
    pub pairs: u64,
    /// The ratio in a word.
    pub verdict: Verdict,
    /// Why the verdict is no more than that, where there is more to say.
    #[serde(default)]
    pub why: Option<String>,
    /// The same ratio with what it would be on other prompts of the same kind.
    #[serde(default)]
    pub other_prompts: Option<Estimate>,
    /// All tokens over all time, candidate by baseline: long requests weigh more.
    #[serde(default)]
    pub ratio_of_sums: Option<Estimate>,
    /// The best category and the best request beside the mean that `ratio` is: "up to" is a peak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<Peak>,
    /// The tests behind the verdict.
    #[serde(default)]
    pub test: Option<BlockTest>,
    /// The other metrics of these two arms.
    #[serde(default)]
    pub other_metrics: Vec<MetricComparison>,
    /// Greedy outputs compared token by token; `None` if sampled, if acceptance was planted, or if nothing could be compared.
    #[serde(default)]
    pub lossless: Option<Lossless>,
    /// Greedy output equal to the baseline's in every pair; `None` if sampled, planted, or texts are missing.
    pub same_output: Option<bool>,
}

impl Comparison {
    /// Whether some metric has a ratio: where acceptance is refused, time to first token alone.
    #[must_use]
    pub fn has_ratio(&self) -> bool {
        self.ratio.is_some() || self.other_metrics.iter().any(|other| other.ratio.is_some())
    }
}

/// A candidate against a baseline, on a metric beside the main one. Fields as in [`Comparison`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricComparison {
    /// The metric.
    pub metric: Metric,
    /// candidate / baseline.
    pub ratio: Option<Estimate>,
    /// Pairs used.
    pub pairs: u64,
    /// The ratio in a word.
    pub verdict: Verdict,
    /// Why no more than that.
    pub why: Option<String>,
    /// With other prompts of the same kind.
    pub other_prompts: Option<Estimate>,
    /// The tests behind the verdict.
    pub test: Option<BlockTest>,
}

/// Version of the JSON of [`RunComparison`].
pub const COMPARISON_SCHEMA: u32 = 1;

/// Two runs, one against the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunComparison {
    /// Always [`COMPARISON_SCHEMA`].
    pub schema: u32,
    /// The run below the line.
    pub baseline_run: String,
    /// The run above it.
    pub candidate_run: String,
    /// Coverage of every interval.
    pub confidence: f64,
    /// What a reader has to know before the numbers.
    pub notes: Vec<String>,
    /// One entry a pair of arms.
    pub arms: Vec<ArmComparison>,
}

/// One arm of a run against an arm of another. Blocks are not paired; `pairs` of its metrics counts prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmComparison {
    /// Label of the baseline run's arm.
    pub baseline: String,
    /// Label of the candidate run's arm.
    pub candidate: String,
    /// Why there are no ratios; empty where there are.
    pub not_comparable: Vec<String>,
    /// One entry a metric.
    pub metrics: Vec<MetricComparison>,
    /// Greedy outputs compared token by token, one a prompt.
    pub lossless: Option<Lossless>,
}

/// Tests on one log ratio a block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BlockTest {
    /// Blocks.
    pub blocks: u64,
    /// Scatter of their log ratios; `None` where blocks are not paired.
    pub block_sd: Option<f64>,
    /// Student's t test, two-sided.
    pub p_value: Option<f64>,
    /// The same, adjusted for all metrics of the comparison (Holm). The verdict asks for this one.
    pub p_holm: Option<f64>,
    /// Wilcoxon's signed-rank test (rank-sum test where blocks are not paired). Stands beside the verdict.
    pub p_ranks: Option<f64>,
    /// The smallest value `p_ranks` could have had with so many blocks.
    pub smallest_p_ranks: Option<f64>,
    /// The margin of equivalence, as a share.
    pub margin: f64,
    /// The noise floor, as a share; `None`: no A/A run was made on this machine.
    pub noise_floor: Option<f64>,
    /// The smallest effect these blocks find in 80 % of runs, as a share.
    pub detectable: Option<f64>,
}

/// What a ratio says: more throughput is faster, and so is less time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval lies on the faster side of 1.
    Faster,
    /// The interval lies on the slower side of 1.
    Slower,
    /// The interval lies within the margin of 1: a difference nobody would act on.
    Equivalent,
    /// The interval holds 1, or what it claims is refused.
    NotResolved,
    /// There is no interval: an arm is invalid, skipped, or has too few pairs.
    NotComparable,
}
