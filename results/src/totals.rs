//! Counts and sums of each arm's measured requests, by polars over the frame.

use std::collections::BTreeMap;

use polars::prelude::{DataFrame, IntoLazy, col, len, lit};

use crate::error::ResultsError;
use crate::frame::{COMPLETED, MEASURED, name};

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

pub(crate) fn totals(requests: &DataFrame) -> Result<BTreeMap<String, Totals>, ResultsError> {
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
