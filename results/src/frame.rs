//! The table of requests: every column in one place, one row a request. What is unknown is null, never 0.

use bench_core::record::{Outcome, Phase, RequestRecord};
use polars::prelude::{Column, DataFrame, IntoColumn, NamedFrom, Series};

use crate::error::ResultsError;
use crate::load::Loaded;

/// Names that the aggregation reads.
pub(crate) mod name {
    pub(crate) const ARM: &str = "arm";
    pub(crate) const PHASE: &str = "phase";
    pub(crate) const OUTCOME: &str = "outcome";
    pub(crate) const OUTPUT_TOKENS: &str = "output_tokens";
    pub(crate) const PROMPT_TOKENS: &str = "prompt_tokens";
    pub(crate) const DRAFTED: &str = "drafted";
    pub(crate) const ACCEPTED: &str = "accepted";
    pub(crate) const VERIFY_STEPS: &str = "verify_steps";
    pub(crate) const DECODE_TOKENS: &str = "decode_tokens";
    pub(crate) const DISPUTED: &str = "output_disputed";
}

/// Value of [`name::PHASE`] for counted requests.
pub(crate) const MEASURED: &str = "measured";
/// Value of [`name::OUTCOME`] for requests that finished.
pub(crate) const COMPLETED: &str = "completed";

/// All rows as a table.
pub(crate) fn frame(loaded: &Loaded) -> Result<DataFrame, ResultsError> {
    let rows = &loaded.rows;
    let stack_of = |row: &RequestRecord| {
        loaded.arms.iter().find(|arm| arm.label == row.arm).map(|arm| arm.stack.as_str().to_owned())
    };
    let spec = |row: &RequestRecord, field: fn(&bench_core::stack::SpecCounts) -> Option<u64>| {
        row.spec.as_ref().and_then(field)
    };
    let columns = vec![
        text("run_id", rows, |row| Some(row.run_id.clone())),
        text(name::ARM, rows, |row| Some(row.arm.clone())),
        text("stack", rows, stack_of),
        text(name::PHASE, rows, |row| Some(phase(row.phase).to_owned())),
        number("block", rows, |row| Some(u64::from(row.block))),
        number("request_index", rows, |row| Some(row.request_index)),
        text("prompt_id", rows, |row| Some(row.prompt_id.clone())),
        text("category", rows, |row| Some(row.category.clone())),
        text("prompt_sha256", rows, |row| Some(row.prompt_sha256.clone())),
        number("sent_unix_ms", rows, |row| Some(row.sent_unix_ms)),
        text(name::OUTCOME, rows, |row| Some(outcome(&row.outcome).to_owned())),
        text("failure_kind", rows, |row| failure(&row.outcome).map(|(kind, _)| kind)),
        text("failure_message", rows, |row| failure(&row.outcome).map(|(_, message)| message)),
        number("ttft_ns", rows, |row| row.timing.first_token_ns),
        number("e2e_ns", rows, |row| row.timing.last_token_ns),
        number("ended_ns", rows, |row| Some(row.timing.ended_ns)),
        number("chunks", rows, |row| Some(row.timing.chunks.len() as u64)),
        number(name::DECODE_TOKENS, rows, |row| row.decode_span().map(|span| u64::from(span.tokens))),
        number("decode_span_ns", rows, |row| row.decode_span().map(|span| span.span_ns)),
        number(name::OUTPUT_TOKENS, rows, |row| row.output.tokens.map(u64::from)),
        Series::new(name::DISPUTED.into(), rows.iter().map(|row| row.output.disputed).collect::<Vec<_>>())
            .into_column(),
        number(name::PROMPT_TOKENS, rows, |row| row.usage.prompt_tokens.map(u64::from)),
        number("cached_tokens", rows, |row| row.usage.cached_tokens.map(u64::from)),
        number(name::DRAFTED, rows, |row| spec(row, |counts| Some(counts.drafted))),
        number(name::ACCEPTED, rows, |row| spec(row, |counts| Some(counts.accepted))),
        number(name::VERIFY_STEPS, rows, |row| spec(row, |counts| counts.verify_steps)),
        text("text", rows, |row| Some(row.text.clone())),
    ];
    Ok(DataFrame::new(rows.len(), columns)?)
}

/// Kind and message of a request that did not complete.
pub(crate) fn failure(outcome: &Outcome) -> Option<(String, String)> {
    match outcome {
        Outcome::Completed { .. } => None,
        Outcome::Failed { kind, detail, .. } => Some((kind_name(*kind), detail.clone())),
        Outcome::TimedOut { limit_ms } => {
            Some(("timed_out".to_owned(), format!("no end within {limit_ms} ms")))
        }
        Outcome::Cancelled => Some(("cancelled".to_owned(), "the run was stopped".to_owned())),
    }
}

/// The kind as rows and reports spell it.
pub(crate) fn kind_name(kind: bench_core::stack::FailureKind) -> String {
    serde_json::to_value(kind)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{kind:?}"))
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Setup => "setup",
        Phase::Warmup => "warmup",
        Phase::Measured => MEASURED,
    }
}

fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed { .. } => COMPLETED,
        Outcome::Failed { .. } => "failed",
        Outcome::TimedOut { .. } => "timed_out",
        Outcome::Cancelled => "cancelled",
    }
}

fn text(name: &str, rows: &[RequestRecord], value: impl Fn(&RequestRecord) -> Option<String>) -> Column {
    Series::new(name.into(), rows.iter().map(value).collect::<Vec<_>>()).into_column()
}

fn number(name: &str, rows: &[RequestRecord], value: impl Fn(&RequestRecord) -> Option<u64>) -> Column {
    Series::new(name.into(), rows.iter().map(value).collect::<Vec<_>>()).into_column()
}
