//! Latencies of an arm as curves, and one of its requests chunk by chunk: what the charts draw.

use bench_core::latency::{LatencyPercentiles, RequestTimeline, TimelineChunk};
use bench_core::record::RequestRecord;

use crate::gaps::{chunk_gaps, nearest_ranks, token_gaps};
use crate::load::Loaded;
use crate::samples::PromptIndex;

/// `None` without a completed request.
pub(crate) fn percentiles(rows: &[&RequestRecord]) -> Option<LatencyPercentiles> {
    if rows.is_empty() {
        return None;
    }
    let mut ttft: Vec<_> =
        rows.iter().filter_map(|row| Some((row.timing.first_token_ns? as f64 / 1e6, 1))).collect();
    ttft.sort_by(|a, b| a.0.total_cmp(&b.0));
    Some(LatencyPercentiles {
        ttft: curve(&ttft),
        between_chunks: curve(&chunk_gaps(rows)),
        between_tokens: token_gaps(rows).and_then(|gaps| curve(&gaps)),
    })
}

fn curve(sorted: &[(f64, u32)]) -> Option<Vec<f64>> {
    let curve = nearest_ranks(sorted, (0..=100).map(|percent| f64::from(percent) / 100.0));
    (!curve.is_empty()).then_some(curve)
}

/// The completed request that comes first by block and then by the preset's prompts: the same one for every arm that
/// completed it, whatever the order in which they ran.
pub(crate) fn timeline(loaded: &Loaded, rows: &[&RequestRecord]) -> Option<RequestTimeline> {
    let prompts = PromptIndex::new(loaded);
    let first = rows.iter().min_by_key(|row| (row.block, prompts.of(row)))?;
    let chunk = |chunk: &bench_core::record::Chunk| TimelineChunk {
        at_ms: chunk.at_ns as f64 / 1e6,
        tokens: chunk.tokens,
    };
    Some(RequestTimeline {
        prompt_id: first.prompt_id.clone(),
        block: first.block,
        chunks: first.timing.chunks.iter().map(chunk).collect(),
    })
}

#[cfg(test)]
mod tests {
    use bench_core::record::Chunk;
    use bench_core::testing::record;

    use super::*;

    #[test]
    fn curves_are_nearest_ranks() {
        // Gaps of 10, 20 and 30 ms, the last one of two tokens.
        let mut row = record("a", 0, 0);
        let chunks = [(50, 1), (60, 1), (80, 1), (110, 2)];
        row.timing.chunks =
            chunks.map(|(ms, tokens)| Chunk { at_ns: ms * 1_000_000, tokens: Some(tokens) }).to_vec();
        row.timing.first_token_ns = Some(50_000_000);
        let curves = percentiles(&[&row]).unwrap();
        let at = |curve: &Option<Vec<f64>>, percent: usize| curve.as_ref().unwrap()[percent];
        assert_eq!(curves.ttft, Some(vec![50.0; 101]));
        let chunks = [0, 33, 34, 66, 67, 100].map(|percent| at(&curves.between_chunks, percent));
        assert_eq!(chunks.to_vec(), vec![10.0, 10.0, 20.0, 20.0, 30.0, 30.0]);
        let tokens = [0, 25, 26, 75, 76, 100].map(|percent| at(&curves.between_tokens, percent));
        assert_eq!(tokens.to_vec(), vec![10.0, 10.0, 15.0, 15.0, 20.0, 20.0]);
        row.timing.chunks[1].tokens = None;
        assert_eq!(percentiles(&[&row]).unwrap().between_tokens, None);
        assert_eq!(percentiles(&[]), None);
    }
}
