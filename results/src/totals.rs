//! Counts and sums of each arm's measured requests, by polars over the frame.

use std::collections::BTreeMap;

use polars::prelude::{DataFrame, IntoLazy, col, len, lit};

use crate::error::ResultsError;
use crate::frame::{COMPLETED, MEASURED, counts, name};
use crate::row::Row;

/// Counts and sums of one arm's measured requests. A sum is `None` unless every completed request knows its part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) n_requests: u64,
    pub(crate) completed: u64,
    pub(crate) disputed: u64,
    /// Completed requests with a decode span.
    pub(crate) with_span: u64,
    /// Completed requests whose output was counted.
    pub(crate) with_output: u64,
    /// Completed requests that tell what was drafted.
    pub(crate) with_drafted: u64,
    pub(crate) output_tokens: Option<u64>,
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) drafted: Option<u64>,
    pub(crate) accepted: Option<u64>,
    pub(crate) verify_steps: Option<u64>,
}

/// Rows of one table: a table of all of a long run's would be as large as a good part of the run.
const GROUP: usize = 1 << 16;

/// By arm.
pub(crate) fn totals(rows: &[Row]) -> Result<BTreeMap<String, Totals>, ResultsError> {
    let mut totals: BTreeMap<String, Totals> = BTreeMap::new();
    for group in rows.chunks(GROUP) {
        for (arm, part) in totals_of(&counts(&group.iter().collect::<Vec<_>>())?)? {
            let whole = totals.entry(arm).or_default();
            *whole = whole.and(&part);
        }
    }
    Ok(totals)
}

impl Totals {
    /// Of the requests of both.
    fn and(&self, other: &Self) -> Self {
        // Without a completed request there is nothing to sum, and nothing unknown.
        let both = |a: Option<u64>, b: Option<u64>| match (self.completed, other.completed) {
            (_, 0) => a,
            (0, _) => b,
            (_, _) => Some(a? + b?),
        };
        Self {
            n_requests: self.n_requests + other.n_requests,
            completed: self.completed + other.completed,
            disputed: self.disputed + other.disputed,
            with_span: self.with_span + other.with_span,
            with_output: self.with_output + other.with_output,
            with_drafted: self.with_drafted + other.with_drafted,
            output_tokens: both(self.output_tokens, other.output_tokens),
            prompt_tokens: both(self.prompt_tokens, other.prompt_tokens),
            drafted: both(self.drafted, other.drafted),
            accepted: both(self.accepted, other.accepted),
            verify_steps: both(self.verify_steps, other.verify_steps),
        }
    }
}

fn totals_of(requests: &DataFrame) -> Result<BTreeMap<String, Totals>, ResultsError> {
    let measured = requests.clone().lazy().filter(col(name::PHASE).eq(lit(MEASURED)));
    let asked = measured.clone().group_by([col(name::ARM)]).agg([len().alias("n")]).collect()?;
    let known = |column: &str| col(column).count().alias(format!("known_{column}"));
    let sum = |column: &str| col(column).sum().alias(format!("sum_{column}"));
    let summed = [
        name::OUTPUT_TOKENS,
        name::PROMPT_TOKENS,
        name::DRAFTED,
        name::ACCEPTED,
        name::VERIFY_STEPS,
        name::DECODE_TOKENS,
    ];
    let mut aggregates = vec![len().alias("n"), sum(name::DISPUTED)];
    aggregates.extend(summed.iter().flat_map(|column| [known(column), sum(column)]));
    let completed = measured
        .filter(col(name::OUTCOME).eq(lit(COMPLETED)))
        .group_by([col(name::ARM)])
        .agg(aggregates)
        .collect()?;

    let mut totals: BTreeMap<String, Totals> = BTreeMap::new();
    for (arm, row) in labels(&asked)?.into_iter().zip(0..) {
        totals.entry(arm).or_default().n_requests = cell(&asked, "n", row)?;
    }
    for (arm, row) in labels(&completed)?.into_iter().zip(0..) {
        read_completed(&completed, row, totals.entry(arm).or_default())?;
    }
    Ok(totals)
}

fn read_completed(table: &DataFrame, row: usize, totals: &mut Totals) -> Result<(), ResultsError> {
    let completed = cell(table, "n", row)?;
    let known = |column: &str| cell(table, &format!("known_{column}"), row);
    let whole = |column: &str| -> Result<Option<u64>, ResultsError> {
        // Polars sums nulls as 0: only a sum without a null is one.
        if known(column)? < completed {
            return Ok(None);
        }
        cell(table, &format!("sum_{column}"), row).map(Some)
    };
    *totals = Totals {
        n_requests: totals.n_requests,
        completed,
        disputed: cell(table, &format!("sum_{}", name::DISPUTED), row)?,
        with_span: known(name::DECODE_TOKENS)?,
        with_output: known(name::OUTPUT_TOKENS)?,
        with_drafted: known(name::DRAFTED)?,
        output_tokens: whole(name::OUTPUT_TOKENS)?,
        prompt_tokens: whole(name::PROMPT_TOKENS)?,
        drafted: whole(name::DRAFTED)?,
        accepted: whole(name::ACCEPTED)?,
        verify_steps: whole(name::VERIFY_STEPS)?,
    };
    Ok(())
}

fn labels(table: &DataFrame) -> Result<Vec<String>, ResultsError> {
    Ok(table.column(name::ARM)?.str()?.iter().map(|label| label.unwrap_or_default().to_owned()).collect())
}

fn cell(table: &DataFrame, column: &str, row: usize) -> Result<u64, ResultsError> {
    let value = table.column(column)?.get(row)?.try_extract::<u64>()?;
    Ok(value)
}
