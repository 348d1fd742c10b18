//! Time between chunks, and time between tokens: two things, under two names.
//!
//! Under speculation a chunk holds several tokens. Calling the time between chunks "inter-token latency" makes a stack look
//! slower the better it speculates, and a mean over a request hides every stall; so every gap counts here by itself.

use bench_core::record::RequestRecord;
use bench_core::report::Gaps;

/// Gaps between successive chunks with output, over all requests; `None` without one.
pub(crate) fn between_chunks(rows: &[&RequestRecord]) -> Option<Gaps> {
    summary(&chunk_gaps(rows))
}

/// The same by token: each gap in equal parts to the tokens of the chunk that ends it. `None` if some chunk does not tell
/// its tokens, since gaps without it would be of other chunks.
pub(crate) fn between_tokens(rows: &[&RequestRecord]) -> Option<Gaps> {
    summary(&token_gaps(rows)?)
}

/// Gaps between chunks in milliseconds, shortest first, each counting once.
pub(crate) fn chunk_gaps(rows: &[&RequestRecord]) -> Vec<(f64, u32)> {
    let gaps = rows.iter().flat_map(|row| row.timing.chunks.windows(2));
    sorted(gaps.map(|pair| (ms(pair[0].at_ns, pair[1].at_ns), 1)).collect())
}

/// Gaps between tokens in milliseconds, shortest first, with how many tokens each counts for.
pub(crate) fn token_gaps(rows: &[&RequestRecord]) -> Option<Vec<(f64, u32)>> {
    let gaps = rows.iter().flat_map(|row| row.timing.chunks.windows(2));
    let by_token = gaps.map(|pair| {
        let tokens = pair[1].tokens?;
        Some((ms(pair[0].at_ns, pair[1].at_ns) / f64::from(tokens.max(1)), tokens))
    });
    let by_token: Option<Vec<_>> = by_token.collect();
    Some(sorted(by_token?.into_iter().filter(|(_, tokens)| *tokens > 0).collect()))
}

/// Each of these shares' nearest rank: the least value that at least this share of all do not exceed. `shares` ascend,
/// and so do `values`, each with how often it counts. Nothing of nothing.
pub(crate) fn nearest_ranks(values: &[(f64, u32)], shares: impl Iterator<Item = f64>) -> Vec<f64> {
    let count: u64 = values.iter().map(|(_, times)| u64::from(*times)).sum();
    let mut rest = values.iter();
    let Some(&(mut value, times)) = rest.next() else { return Vec::new() };
    let mut passed = f64::from(times);
    let rank = |share: f64| {
        while passed < share * count as f64 {
            let Some(&(next, times)) = rest.next() else { break };
            value = next;
            passed += f64::from(times);
        }
        value
    };
    shares.map(rank).collect()
}

fn ms(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e6
}

fn sorted(mut gaps: Vec<(f64, u32)>) -> Vec<(f64, u32)> {
    gaps.sort_by(|a, b| a.0.total_cmp(&b.0));
    gaps
}

/// Sorted values with how often each counts.
fn summary(gaps: &[(f64, u32)]) -> Option<Gaps> {
    let count: u64 = gaps.iter().map(|(_, times)| u64::from(*times)).sum();
    let max_ms = gaps.last()?.0;
    let total: f64 = gaps.iter().map(|(gap, times)| gap * f64::from(*times)).sum();
    let ranks = nearest_ranks(gaps, [0.5, 0.99].into_iter());
    Some(Gaps { count, mean_ms: total / count as f64, p50_ms: ranks[0], p99_ms: ranks[1], max_ms })
}

#[cfg(test)]
mod tests {
    use bench_core::record::Chunk;
    use bench_core::testing::record;

    use super::*;

    /// Chunks at these milliseconds with these tokens.
    fn row(chunks: &[(u64, Option<u32>)]) -> RequestRecord {
        let mut row = record("a", 0, 0);
        let chunk = |&(ms, tokens): &(u64, Option<u32>)| Chunk { at_ns: ms * 1_000_000, tokens };
        row.timing.chunks = chunks.iter().map(chunk).collect();
        row
    }

    #[test]
    fn a_chunk_gap_is_no_token_gap() {
        // Steps of 10 ms that emit 4, 2 and 1 tokens after a first chunk of one.
        let row = row(&[(50, Some(1)), (60, Some(4)), (70, Some(2)), (80, Some(1))]);
        let chunks = between_chunks(&[&row]).unwrap();
        assert_eq!((chunks.count, chunks.p50_ms, chunks.mean_ms, chunks.max_ms), (3, 10.0, 10.0, 10.0));
        let tokens = between_tokens(&[&row]).unwrap();
        assert_eq!((tokens.count, tokens.p50_ms, tokens.p99_ms), (7, 2.5, 10.0));
        assert!((tokens.mean_ms - 30.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn a_stall_is_seen_and_silence_is_unknown() {
        // 127 gaps of 10 ms, three of which stall for 110 ms.
        let mut at = 0;
        let stalled: Vec<_> = (0..128)
            .map(|chunk| {
                at += if chunk % 40 == 39 { 110 } else { 10 };
                (at, Some(1))
            })
            .collect();
        let stalled = row(&stalled);
        let gaps = between_chunks(&[&stalled]).unwrap();
        assert_eq!((gaps.count, gaps.p50_ms, gaps.p99_ms, gaps.max_ms), (127, 10.0, 110.0, 110.0));
        let silent = row(&[(1, Some(1)), (2, None)]);
        assert!(between_chunks(&[&silent]).is_some() && between_tokens(&[&stalled, &silent]).is_none());
        assert!(between_chunks(&[&row(&[(1, Some(1))])]).is_none());
    }
}
