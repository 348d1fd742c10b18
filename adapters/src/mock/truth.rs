//! What the server really did: the books behind `/truth`.

use std::collections::BTreeMap;
use std::time::Duration;

use bench_core::clock;
use serde::{Deserialize, Serialize};

/// Width of a histogram's bins.
const BIN_US: u128 = 10;

/// The answer of `/truth`: everything since the start or the last `/reset`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Requests that were whole.
    pub requests: u64,
    /// Answers that were written to their end.
    pub completed: u64,
    /// Streams whose client went away.
    pub aborted: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Most streams at one time.
    pub streams_peak: u64,
    /// Chunks with content.
    pub chunks: u64,
    /// Tokens in them.
    pub tokens: u64,
    /// First request whole, milliseconds since 1970.
    pub first_request_unix_ms: Option<u64>,
    /// Last write, milliseconds since 1970.
    pub last_write_unix_ms: Option<u64>,
    /// From a request being whole to its first chunk written.
    pub ttft: Spread,
    /// From one chunk written to the next.
    pub itl: Spread,
    /// From a request being whole to its last chunk written.
    pub e2e: Spread,
    /// From a chunk's deadline to its write.
    pub late: Spread,
}

/// A distribution, in milliseconds; percentiles by nearest rank, to 10 us. All `None` of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spread {
    /// Values.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_ms: Option<f64>,
    /// Median.
    pub p50_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// Largest.
    pub max_ms: Option<f64>,
}

#[derive(Debug, Default)]
struct Histogram {
    bins: BTreeMap<u64, u64>,
    count: u64,
    sum: Duration,
}

impl Histogram {
    fn add(&mut self, value: Duration) {
        let bin = u64::try_from(value.as_micros() / BIN_US).unwrap_or(u64::MAX);
        *self.bins.entry(bin).or_default() += 1;
        self.count += 1;
        self.sum += value;
    }

    fn spread(&self) -> Spread {
        let last = self.bins.last_key_value().map(|(&bin, _)| bin);
        Spread {
            count: self.count,
            mean_ms: (self.count > 0).then(|| self.sum.as_secs_f64() * 1e3 / self.count as f64),
            p50_ms: self.percentile_ms(50),
            p99_ms: self.percentile_ms(99),
            max_ms: last.map(middle_ms),
        }
    }

    fn percentile_ms(&self, percent: u64) -> Option<f64> {
        let rank = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        let bin = self.bins.iter().find(|&(_, &count)| {
            seen += count;
            seen >= rank
        });
        bin.map(|(&bin, _)| middle_ms(bin))
    }
}

/// The middle of a bin of 10 us.
fn middle_ms(bin: u64) -> f64 {
    (bin * 10 + 5) as f64 / 1e3
}

/// Accepted drafts of all requests, never reset: a server's counters only grow.
#[derive(Debug, Clone, Default)]
pub(super) struct SpecTotals {
    pub(super) steps: u64,
    pub(super) drafted: u64,
    pub(super) accepted_per_position: Vec<u64>,
}

/// Sums as the server goes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    requests: u64,
    completed: u64,
    aborted: u64,
    connections: u64,
    streams: u64,
    streams_peak: u64,
    chunks: u64,
    tokens: u64,
    first_request_unix_ms: Option<u64>,
    last_write_unix_ms: Option<u64>,
    ttft: Histogram,
    itl: Histogram,
    e2e: Histogram,
    late: Histogram,
    pub(super) spec: SpecTotals,
}

impl Ledger {
    pub(super) fn connected(&mut self) {
        self.connections += 1;
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections
    }

    pub(super) fn started(&mut self) {
        self.requests += 1;
        self.streams += 1;
        self.streams_peak = self.streams_peak.max(self.streams);
        self.first_request_unix_ms.get_or_insert_with(clock::unix_ms);
    }

    /// A chunk was written `since_start` after its request, `gap` after the chunk before, `late` after its deadline.
    pub(super) fn wrote(
        &mut self,
        tokens: u32,
        since_start: Duration,
        gap: Option<Duration>,
        late: Duration,
    ) {
        self.chunks += 1;
        self.tokens += u64::from(tokens);
        match gap {
            Some(gap) => self.itl.add(gap),
            None => self.ttft.add(since_start),
        }
        self.late.add(late);
    }

    /// A step of speculation that accepted `accepted` of `drafted`.
    pub(super) fn stepped(&mut self, drafted: u32, accepted: u32) {
        let spec = &mut self.spec;
        spec.steps += 1;
        spec.drafted += u64::from(drafted);
        spec.accepted_per_position.resize(usize::try_from(drafted).unwrap_or(0), 0);
        for count in spec.accepted_per_position.iter_mut().take(usize::try_from(accepted).unwrap_or(0)) {
            *count += 1;
        }
    }

    pub(super) fn finished(&mut self, since_start: Duration) {
        self.completed += 1;
        self.streams = self.streams.saturating_sub(1);
        self.e2e.add(since_start);
        self.last_write_unix_ms = Some(clock::unix_ms());
    }

    pub(super) fn aborted(&mut self) {
        self.aborted += 1;
        self.streams = self.streams.saturating_sub(1);
    }

    /// Forgets everything but the streams that run and the counters of speculation.
    pub(super) fn reset(&mut self) {
        let (streams, spec) = (self.streams, std::mem::take(&mut self.spec));
        *self = Self { streams, streams_peak: streams, spec, ..Self::default() };
    }

    pub(super) fn truth(&self) -> Truth {
        Truth {
            requests: self.requests,
            completed: self.completed,
            aborted: self.aborted,
            connections: self.connections,
            streams_peak: self.streams_peak,
            chunks: self.chunks,
            tokens: self.tokens,
            first_request_unix_ms: self.first_request_unix_ms,
            last_write_unix_ms: self.last_write_unix_ms,
            ttft: self.ttft.spread(),
            itl: self.itl.spread(),
            e2e: self.e2e.spread(),
            late: self.late.spread(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.spread(), Spread::default());
        for ms in 1..=100 {
            histogram.add(Duration::from_millis(ms));
        }
        let spread = histogram.spread();
        assert_eq!(
            (spread.p50_ms, spread.p99_ms, spread.max_ms),
            (Some(50.005), Some(99.005), Some(100.005))
        );
        assert_eq!((spread.count, spread.mean_ms), (100, Some(50.5)));
    }

    #[test]
    fn positions_count_the_steps_that_reached_them() {
        let mut ledger = Ledger::default();
        for accepted in [3, 1, 2, 0] {
            ledger.stepped(3, accepted);
        }
        assert_eq!((ledger.spec.steps, ledger.spec.drafted), (4, 12));
        assert_eq!(ledger.spec.accepted_per_position, [3, 2, 1]);
    }
}
