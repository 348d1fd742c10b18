//! What all streams of an arm get together: the other side of what one stream gets, once several are in flight.

use std::collections::BTreeMap;

use bench_core::report::Estimate;
use bench_core::stats::{BootstrapConfig, Sample, estimate_ratio};

use crate::row::Row;

/// Output tokens by time, pass by pass, over completed requests; `None` if one does not tell its tokens. A pass is an arm's
/// requests of one block, from whichever machine they were sent: no other arm is asked meanwhile.
pub(crate) fn served(rows: &[&Row], config: &BootstrapConfig) -> Option<Estimate> {
    let mut passes: BTreeMap<u32, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        passes.entry(row.block).or_default().push(row);
    }
    let sample = |(block, pass): (u32, Vec<&Row>)| {
        let (tokens, ns) = pass_parts(&pass)?;
        Some(Sample { block, prompt: 0, numerator: tokens as f64 * 1e9, denominator: ns as f64 })
    };
    let samples: Option<Vec<_>> = passes.into_iter().map(sample).collect();
    estimate_ratio(&samples?, config)
}

/// Tokens, and nanoseconds from the first send to the last token.
fn pass_parts(pass: &[&Row]) -> Option<(u64, u64)> {
    let tokens = pass.iter().map(|row| row.output.tokens.map(u64::from)).sum::<Option<u64>>()?;
    let first = pass.iter().filter_map(|row| sent_ns(row)).min()?;
    let ends = pass.iter().filter_map(|row| sent_ns(row)?.checked_add(row.timing.last_token_ns?));
    let ns = ends.max()?.checked_sub(first)?;
    (ns > 0).then_some((tokens, ns))
}

/// In an open loop from the beginning of the pass; in a closed one since 1970, known to the millisecond.
fn sent_ns(row: &Row) -> Option<u64> {
    match row.arrival {
        Some(arrival) => arrival.sent_ns,
        None => row.sent_unix_ms.checked_mul(1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use bench_core::testing::record;

    use super::*;

    fn row(block: u32, sent_ms: u64, last_ms: u64, tokens: u32) -> Row {
        let mut row = record("a", block, 0);
        row.sent_unix_ms = 1_000 + sent_ms;
        row.timing.last_token_ns = Some(last_ms * 1_000_000);
        row.output.tokens = Some(tokens);
        Row::of(row)
    }

    #[test]
    fn streams_side_by_side_share_the_time_of_their_pass() {
        // Two at once for 100 ms, then one alone: 300 tokens in 150 ms. The second block is half as fast.
        let rows = [row(0, 0, 100, 100), row(0, 0, 90, 100), row(0, 100, 50, 100), row(1, 0, 150, 150)];
        let rows: Vec<_> = rows.iter().collect();
        let found = served(&rows, &BootstrapConfig::default()).unwrap();
        assert!((found.point - 1500.0).abs() < 1e-9, "{found:?}");
        let mut silent = row(0, 0, 1, 0);
        silent.output.tokens = None;
        assert_eq!(served(&[rows[0], &silent], &BootstrapConfig::default()), None, "unknown is not 0");
    }
}
