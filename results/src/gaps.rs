//! Time between chunks, and time between tokens: two things, under two names.
//!
//! Under speculation a chunk holds several tokens. Calling the time between chunks "inter-token latency" makes a stack look
//! slower the better it speculates, and a mean over a request hides every stall; so every gap counts here by itself.

use bench_core::report::Gaps;

use crate::ranks::{nearest_ranks, per_cent};
use crate::row::Row;

/// Gaps in numbers, and as a curve.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spread {
    pub(crate) gaps: Gaps,
    /// Milliseconds at 0, 1, ..., 100 per cent, by nearest rank.
    pub(crate) curve: Vec<f64>,
}

/// Gaps between successive chunks with output, over all requests; `None` without one.
pub(crate) fn between_chunks(rows: &[&Row]) -> Option<Spread> {
    spread(|| gaps(rows).map(|(gap_ns, _)| (gap_ns, 1)))
}

/// The same by token: each gap in equal parts to the tokens of the chunk that ends it. `None` if some chunk does not tell
/// its tokens, since gaps without it would be of other chunks.
pub(crate) fn between_tokens(rows: &[&Row]) -> Option<Spread> {
    if gaps(rows).any(|(_, tokens)| tokens.is_none()) {
        return None;
    }
    let with_tokens = || gaps(rows).filter_map(|(gap_ns, tokens)| Some((gap_ns, tokens?)));
    spread(|| with_tokens().filter(|(_, tokens)| *tokens > 0))
}

fn gaps(rows: &[&Row]) -> impl Iterator<Item = (u64, Option<u32>)> {
    rows.iter().flat_map(|row| row.chunks.gaps())
}

/// Of gaps in nanoseconds, each shared by so many tokens.
fn spread<I: Iterator<Item = (u64, u32)>>(gaps: impl Fn() -> I) -> Option<Spread> {
    let (mut count, mut total_ns, mut max_ms) = (0_u64, 0_u64, None);
    for (gap_ns, tokens) in gaps() {
        let value = share_ms(gap_ns, tokens);
        count += u64::from(tokens);
        total_ns = total_ns.saturating_add(gap_ns);
        max_ms = Some(value.max(max_ms.unwrap_or(value)));
    }
    let max_ms = max_ms?;
    let curve =
        nearest_ranks(|| gaps().map(|(gap_ns, tokens)| (share_ms(gap_ns, tokens), tokens)), &per_cent());
    let (p50_ms, p99_ms) = (*curve.get(50)?, *curve.get(99)?);
    let mean_ms = total_ns as f64 / 1e6 / count as f64;
    Some(Spread { gaps: Gaps { count, mean_ms, p50_ms, p99_ms, max_ms }, curve })
}

fn share_ms(gap_ns: u64, tokens: u32) -> f64 {
    gap_ns as f64 / 1e6 / f64::from(tokens)
}

#[cfg(test)]
mod tests {
    use bench_core::record::Chunk;
    use bench_core::testing::record;

    use super::*;

    /// Chunks at these milliseconds with these tokens.
    fn row(chunks: &[(u64, Option<u32>)]) -> Row {
        let mut row = record("a", 0, 0);
        let chunk = |&(ms, tokens): &(u64, Option<u32>)| Chunk { at_ns: ms * 1_000_000, tokens };
        row.timing.chunks = chunks.iter().map(chunk).collect();
        Row::of(row)
    }

    #[test]
    fn a_chunk_gap_is_no_token_gap() {
        // Steps of 10 ms that emit 4, 2 and 1 tokens after a first chunk of one.
        let row = row(&[(50, Some(1)), (60, Some(4)), (70, Some(2)), (80, Some(1))]);
        let chunks = between_chunks(&[&row]).unwrap().gaps;
        assert_eq!((chunks.count, chunks.p50_ms, chunks.mean_ms, chunks.max_ms), (3, 10.0, 10.0, 10.0));
        let tokens = between_tokens(&[&row]).unwrap().gaps;
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
        let gaps = between_chunks(&[&stalled]).unwrap().gaps;
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
        let gaps = between_tokens(&[&row]).unwrap().gaps;
        assert_eq!(gaps.count, listed.len() as u64);
        assert_eq!((gaps.p50_ms, gaps.p99_ms, gaps.max_ms), (nth(50), nth(99), nth(100)));
        let (first, last) = (chunks[0].0, chunks[4999].0);
        assert!((gaps.mean_ms - (last - first) as f64 / gaps.count as f64).abs() < 1e-9);
    }
}
