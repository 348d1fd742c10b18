//! Time between chunks, and time between tokens: two things, under two names.
//!
//! Under speculation a chunk holds several tokens. Calling the time between chunks "inter-token latency" makes a stack look
//! slower the better it speculates, and a mean over a request hides every stall; so every gap counts here by itself.

use bench_core::record::{Chunk, RequestRecord};
use bench_core::report::Gaps;

/// Gaps between successive chunks with output, over all requests; `None` without one.
pub(crate) fn between_chunks(rows: &[&RequestRecord]) -> Option<Gaps> {
    summary(|| pairs(rows).map(|[a, b]| (b.at_ns.saturating_sub(a.at_ns), 1)))
}

/// The same by token: each gap in equal parts to the tokens of the chunk that ends it. `None` if some chunk does not tell
/// its tokens, since gaps without it would be of other chunks.
pub(crate) fn between_tokens(rows: &[&RequestRecord]) -> Option<Gaps> {
    if pairs(rows).any(|[_, b]| b.tokens.is_none()) {
        return None;
    }
    let with_tokens = || pairs(rows).filter_map(|[a, b]| Some((b.at_ns.saturating_sub(a.at_ns), b.tokens?)));
    summary(|| with_tokens().filter(|(_, tokens)| *tokens > 0))
}

/// Gaps between chunks in milliseconds, shortest first, each counting once.
pub(crate) fn chunk_gaps(rows: &[&RequestRecord]) -> Vec<(f64, u32)> {
    sorted(pairs(rows).map(|[a, b]| (share_ms(b.at_ns.saturating_sub(a.at_ns), 1), 1)).collect())
}

/// Gaps between tokens in milliseconds, shortest first, with how many tokens each counts for.
pub(crate) fn token_gaps(rows: &[&RequestRecord]) -> Option<Vec<(f64, u32)>> {
    let by_token = pairs(rows).map(|[a, b]| {
        let tokens = b.tokens?;
        Some((share_ms(b.at_ns.saturating_sub(a.at_ns), tokens.max(1)), tokens))
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

fn sorted(mut gaps: Vec<(f64, u32)>) -> Vec<(f64, u32)> {
    gaps.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    gaps
}

fn pairs<'a>(rows: &'a [&RequestRecord]) -> impl Iterator<Item = &'a [Chunk; 2]> {
    rows.iter().flat_map(|row| row.timing.chunks.array_windows())
}

/// Of gaps in nanoseconds, each shared by so many tokens.
///
/// Walks them twice and keeps few: millions of gaps have exact percentiles without a copy and without a sort.
fn summary<I: Iterator<Item = (u64, u32)>>(gaps: impl Fn() -> I) -> Option<Gaps> {
    let mut buckets = vec![0_u64; bucket(f64::INFINITY) + 1];
    let (mut count, mut total_ns, mut max_ms) = (0_u64, 0_u64, None);
    for (gap_ns, tokens) in gaps() {
        let value = share_ms(gap_ns, tokens);
        buckets[bucket(value)] += u64::from(tokens);
        count += u64::from(tokens);
        total_ns = total_ns.saturating_add(gap_ns);
        max_ms = Some(value.max(max_ms.unwrap_or(value)));
    }
    let max_ms = max_ms?;
    let rank = |share: f64| nearest_rank(&gaps, &buckets, share * count as f64).unwrap_or(max_ms);
    let mean_ms = total_ns as f64 / 1e6 / count as f64;
    Some(Gaps { count, mean_ms, p50_ms: rank(0.5), p99_ms: rank(0.99), max_ms })
}

/// The least value up to which at least `wanted` are counted.
fn nearest_rank<I: Iterator<Item = (u64, u32)>>(
    gaps: &impl Fn() -> I,
    buckets: &[u64],
    wanted: f64,
) -> Option<f64> {
    let mut passed = 0;
    let found = buckets.iter().position(|&inside| {
        let reached = (passed + inside) as f64 >= wanted && inside > 0;
        passed += if reached { 0 } else { inside };
        reached
    })?;
    let valued = gaps().map(|(gap_ns, tokens)| (share_ms(gap_ns, tokens), tokens));
    let mut inside: Vec<_> = valued.filter(|(value, _)| bucket(*value) == found).collect();
    inside.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let reached = |(_, tokens): &&(f64, u32)| {
        passed += u64::from(*tokens);
        passed as f64 >= wanted
    };
    inside.iter().find(reached).map(|(value, _)| *value)
}

fn share_ms(gap_ns: u64, tokens: u32) -> f64 {
    gap_ns as f64 / 1e6 / f64::from(tokens)
}

/// Values of one bucket are less than 0.4 % apart, and buckets are in the order of values: the bits of floats that are
/// not negative are. 8 of 52 bits of the fraction are kept.
fn bucket(value: f64) -> usize {
    usize::try_from(value.to_bits() >> 44).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
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

    /// The definition, word by word: all gaps in order, each counted so often, by nearest rank.
    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let mut at = 0;
        let chunks: Vec<_> = (0..5000_u64)
            .map(|nth| {
                at += 1 + nth * nth * 7919 % 1009 * (1 + nth % 3 * 40);
                (at, Some(u32::try_from(1 + nth * 31 % 5).unwrap()))
            })
            .collect();
        let row = row(&chunks);
        let mut listed: Vec<f64> = Vec::new();
        for pair in chunks.windows(2) {
            let tokens = pair[1].1.unwrap();
            let share = (pair[1].0 - pair[0].0) as f64 / f64::from(tokens);
            listed.extend((0..tokens).map(|_| share));
        }
        listed.sort_by(f64::total_cmp);
        let nth = |percent: usize| listed[(percent * listed.len()).div_ceil(100) - 1];
        let gaps = between_tokens(&[&row]).unwrap();
        assert_eq!(gaps.count, listed.len() as u64);
        assert_eq!((gaps.p50_ms, gaps.p99_ms, gaps.max_ms), (nth(50), nth(99), nth(100)));
        let (first, last) = (chunks[0].0, chunks[4999].0);
        assert!((gaps.mean_ms - (last - first) as f64 / gaps.count as f64).abs() < 1e-9);
    }
}
