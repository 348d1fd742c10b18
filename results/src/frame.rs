//! The tables of requests and of chunks: every column in one place. What is unknown is null, never 0.

use bench_core::record::{Outcome, Phase};
use bench_core::stack::SpecCounts;
use polars::prelude::{Column, DataFrame, IntoColumn, NamedFrom, Series};

use crate::error::ResultsError;
use crate::row::Row;

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

/// What the totals of arms are made of: no texts, which are most of a row.
pub(crate) fn counts(rows: &[&Row]) -> Result<DataFrame, ResultsError> {
    Ok(DataFrame::new(rows.len(), count_columns(rows))?)
}

fn count_columns(rows: &[&Row]) -> Vec<Column> {
    let spec = |row: &Row, field: fn(&SpecCounts) -> Option<u64>| row.spec().and_then(field);
    vec![
        text(name::ARM, rows, |row| Some(&row.arm)),
        text(name::PHASE, rows, |row| Some(phase(row.phase))),
        text(name::OUTCOME, rows, |row| Some(outcome(&row.outcome))),
        number(name::DECODE_TOKENS, rows, |row| row.decode_span().map(|span| u64::from(span.tokens))),
        number(name::OUTPUT_TOKENS, rows, |row| row.output.tokens.map(u64::from)),
        Series::new(name::DISPUTED.into(), rows.iter().map(|row| row.output.disputed).collect::<Vec<_>>())
            .into_column(),
        number(name::PROMPT_TOKENS, rows, |row| row.usage.prompt_tokens.map(u64::from)),
        number(name::DRAFTED, rows, |row| spec(row, |counts| Some(counts.drafted))),
        number(name::ACCEPTED, rows, |row| spec(row, |counts| Some(counts.accepted))),
        number(name::VERIFY_STEPS, rows, |row| spec(row, |counts| counts.verify_steps)),
    ]
}

/// One row a request, with a column each for what was drafted and accepted at `positions` draft positions, from 1.
pub(crate) fn requests(rows: &[&Row], texts: &[&str], positions: usize) -> Result<DataFrame, ResultsError> {
    let failures: Vec<_> = rows.iter().map(|row| failure(&row.outcome).unzip()).collect();
    let (kinds, messages): (Vec<_>, Vec<_>) = failures.into_iter().unzip();
    let mut columns = count_columns(rows);
    columns.extend([
        text("run_id", rows, |row| Some(&row.run_id)),
        // An arm's label is STACK/VARIANT.
        text("stack", rows, |row| row.arm.split('/').next()),
        number("block", rows, |row| Some(u64::from(row.block))),
        number("request_index", rows, |row| Some(row.request_index)),
        text("prompt_id", rows, |row| Some(&row.prompt_id)),
        text("category", rows, |row| Some(&row.category)),
        text("prompt_sha256", rows, |row| Some(&row.prompt_sha256)),
        text("request_sha256", rows, |row| row.request_sha256.as_deref()),
        number("sent_unix_ms", rows, |row| Some(row.sent_unix_ms)),
        number("slot", rows, |row| row.arrival.map(|arrival| u64::from(arrival.slot))),
        number("intended_ns", rows, |row| row.arrival.map(|arrival| arrival.intended_ns)),
        number("sent_ns", rows, |row| row.arrival.and_then(|arrival| arrival.sent_ns)),
        Series::new("failure_kind".into(), kinds).into_column(),
        Series::new("failure_message".into(), messages).into_column(),
        number("ttft_ns", rows, |row| row.timing.first_token_ns),
        number("e2e_ns", rows, |row| row.timing.last_token_ns),
        number("ended_ns", rows, |row| Some(row.timing.ended_ns)),
        number("chunks", rows, |row| Some(row.chunks.len() as u64)),
        number("decode_span_ns", rows, |row| row.decode_span().map(|span| span.span_ns)),
        number("cached_tokens", rows, |row| row.usage.cached_tokens.map(u64::from)),
        Series::new("text".into(), texts).into_column(),
    ]);
    for nth in 0..positions {
        columns.push(at_position("drafted", nth, rows, |spec| spec.drafted_per_position.as_deref()));
        columns.push(at_position("accepted", nth, rows, |spec| spec.accepted_per_position.as_deref()));
    }
    Ok(DataFrame::new(rows.len(), columns)?)
}

/// The most draft positions that any request tells of.
pub(crate) fn draft_positions(rows: &[&Row]) -> usize {
    let of = |row: &&Row| {
        let spec = row.spec()?;
        let lengths = [&spec.drafted_per_position, &spec.accepted_per_position];
        lengths.into_iter().flatten().map(Vec::len).max()
    };
    rows.iter().filter_map(of).max().unwrap_or(0)
}

/// A stack that counts by position and had fewer of them counted 0 there; one that does not count by position is null.
fn at_position(what: &str, nth: usize, rows: &[&Row], of: impl Fn(&SpecCounts) -> Option<&[u64]>) -> Column {
    let name = format!("{what}_at_{}", nth + 1);
    number(&name, rows, |row| Some(of(row.spec()?)?.get(nth).copied().unwrap_or(0)))
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

fn text<'a>(name: &str, rows: &[&'a Row], value: impl Fn(&'a Row) -> Option<&'a str>) -> Column {
    Series::new(name.into(), rows.iter().map(|row| value(row)).collect::<Vec<_>>()).into_column()
}

fn number(name: &str, rows: &[&Row], value: impl Fn(&Row) -> Option<u64>) -> Column {
    Series::new(name.into(), rows.iter().map(|row| value(row)).collect::<Vec<_>>()).into_column()
}
