//! Latencies of an arm as curves, and one of its requests chunk by chunk: what the charts draw.

use crate::row::Row;
use bench_core::latency::{LatencyPercentiles, RequestTimeline, TimelineChunk};

use crate::gaps::Spread;
use crate::load::Loaded;
use crate::ranks::{nearest_ranks, per_cent};
use crate::samples::PromptIndex;

/// `None` without a completed request.
pub(crate) fn percentiles(
    rows: &[&Row],
    chunks: Option<&Spread>,
    tokens: Option<&Spread>,
) -> Option<LatencyPercentiles> {
    let ttft = || rows.iter().filter_map(|row| Some((row.timing.first_token_ns? as f64 / 1e6, 1)));
    let curve = |spread: Option<&Spread>| spread.map(|spread| spread.curve.clone());
    (!rows.is_empty()).then(|| LatencyPercentiles {
        ttft: Some(nearest_ranks(ttft, &per_cent())).filter(|curve| !curve.is_empty()),
        between_chunks: curve(chunks),
        between_tokens: curve(tokens),
    })
}

/// The completed request that comes first by block and then by the preset's prompts: the same one for every arm that
/// completed it, whatever the order in which they ran.
pub(crate) fn timeline(loaded: &Loaded, rows: &[&Row]) -> Option<RequestTimeline> {
    let prompts = PromptIndex::new(loaded);
    let first = rows.iter().min_by_key(|row| (row.block, prompts.of(row)))?;
    let chunk = |chunk: bench_core::record::Chunk| TimelineChunk {
        at_ms: chunk.at_ns as f64 / 1e6,
        tokens: chunk.tokens,
    };
    // Of a table without chunks: their course is unknown, not empty.
    (first.chunks.len() > 0).then(|| RequestTimeline {
        prompt_id: first.prompt_id.to_string(),
        block: first.block,
        chunks: first.chunks.iter().map(chunk).collect(),
    })
}

#[cfg(test)]
mod tests {
    use bench_core::record::{Chunk, RequestRecord};
    use bench_core::testing::record;

    use super::*;
    use crate::gaps::{between_chunks, between_tokens};

    #[test]
    fn curves_are_nearest_ranks() {
        // Gaps of 10, 20 and 30 ms, the last one of two tokens.
        let mut row = record("a", 0, 0);
        let chunks = [(50, 1), (60, 1), (80, 1), (110, 2)];
        row.timing.chunks =
            chunks.map(|(ms, tokens)| Chunk { at_ns: ms * 1_000_000, tokens: Some(tokens) }).to_vec();
        row.timing.first_token_ns = Some(50_000_000);
        let curves_of = |row: &RequestRecord| {
            let row = Row::of(row.clone());
            let rows = [&row];
            percentiles(&rows, between_chunks(&rows).as_ref(), between_tokens(&rows).as_ref()).unwrap()
        };
        let curves = curves_of(&row);
        let at = |curve: &Option<Vec<f64>>, percent: usize| curve.as_ref().unwrap()[percent];
        assert_eq!(curves.ttft, Some(vec![50.0; 101]));
        let chunks = [0, 33, 34, 66, 67, 100].map(|percent| at(&curves.between_chunks, percent));
        assert_eq!(chunks.to_vec(), vec![10.0, 10.0, 20.0, 20.0, 30.0, 30.0]);
        let tokens = [0, 25, 26, 75, 76, 100].map(|percent| at(&curves.between_tokens, percent));
        assert_eq!(tokens.to_vec(), vec![10.0, 10.0, 15.0, 15.0, 20.0, 20.0]);
        row.timing.chunks[1].tokens = None;
        assert_eq!(curves_of(&row).between_tokens, None);
        assert_eq!(percentiles(&[], None, None), None);
    }
}
