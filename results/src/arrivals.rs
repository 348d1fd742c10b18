//! An open loop in numbers: what was offered, how late it went out, and what a user would have waited.

use std::collections::BTreeMap;

use bench_core::load::{LoadReport, OpenLoad, Spread};
use bench_core::record::Phase;

use crate::load::Loaded;
use crate::row::Row;

/// Of one arm; `None` in a closed loop.
pub(crate) fn load_report(loaded: &Loaded, arm: &str) -> Option<LoadReport> {
    let load: &OpenLoad = loaded.first().preset.run.load.open()?;
    let rows: Vec<_> =
        loaded.rows.iter().filter(|row| row.arm == arm && row.phase == Phase::Measured).collect();
    let mut passes: BTreeMap<u32, Vec<&Row>> = BTreeMap::new();
    for row in &rows {
        passes.entry(row.block).or_default().push(row);
    }
    let late = rows.iter().filter_map(|row| row.arrival?.late_ns());
    Some(LoadReport {
        arrivals: load.arrivals.word().to_owned(),
        offered_per_s: rate(passes.values().map(|pass| offered(pass))),
        completed_per_s: rate(passes.values().map(|pass| completed(pass))),
        peak_in_flight: passes.values().map(|pass| peak(pass)).max().unwrap_or(0),
        lateness_ms: spread(late.collect()),
        ttft_from_intended_ms: spread(
            rows.iter().filter_map(|row| from_intended(row, row.timing.first_token_ns)).collect(),
        ),
        e2e_from_intended_ms: spread(
            rows.iter().filter_map(|row| from_intended(row, row.timing.last_token_ns)).collect(),
        ),
    })
}

/// A time after the send, counted from when the request was meant to be sent; of completed requests.
fn from_intended(row: &Row, after_send_ns: Option<u64>) -> Option<u64> {
    let late = row.arrival?.late_ns()?;
    after_send_ns.filter(|_| row.outcome.is_completed())?.checked_add(late)
}

/// Gaps between arrivals of a pass, and their time.
fn offered(pass: &[&Row]) -> (u64, u64) {
    let times = || pass.iter().filter_map(|row| Some(row.arrival?.intended_ns));
    let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    (times().count().saturating_sub(1) as u64, last - first)
}

/// Completed requests of a pass, and the time from its first send to its last end.
fn completed(pass: &[&Row]) -> (u64, u64) {
    let spans: Vec<_> = pass.iter().filter_map(|row| in_flight(row)).collect();
    let first = spans.iter().map(|(sent, _)| *sent).min().unwrap_or(0);
    let last = spans.iter().map(|(_, ended)| *ended).max().unwrap_or(0);
    (pass.iter().filter(|row| row.outcome.is_completed()).count() as u64, last - first)
}

/// When a request was sent and when it ended, nanoseconds of its pass.
fn in_flight(row: &Row) -> Option<(u64, u64)> {
    let sent = row.arrival?.sent_ns?;
    Some((sent, sent.saturating_add(row.timing.ended_ns)))
}

fn peak(pass: &[&Row]) -> u64 {
    // Ends before sends of the same moment.
    let mut moments: Vec<(u64, i64)> = pass
        .iter()
        .filter_map(|row| in_flight(row))
        .flat_map(|(sent, ended)| [(sent, 1), (ended, -1)])
        .collect();
    moments.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, step) in moments {
        now += step;
        most = most.max(now);
    }
    u64::try_from(most).unwrap_or(0)
}

/// Counts over nanoseconds, a second.
fn rate(parts: impl Iterator<Item = (u64, u64)>) -> Option<f64> {
    let (count, ns) = parts.fold((0, 0), |(count, ns), (c, n)| (count + c, ns + n));
    (ns > 0).then(|| count as f64 * 1e9 / ns as f64)
}

fn spread(mut values_ns: Vec<u64>) -> Option<Spread> {
    values_ns.sort_unstable();
    // Nearest rank: the least value that this share of all do not exceed.
    let rank = |per_cent: usize| {
        let rank = (values_ns.len() * per_cent).div_ceil(100).max(1);
        values_ns.get(rank - 1).map(|ns| *ns as f64 / 1e6)
    };
    Some(Spread { p50: rank(50)?, p90: rank(90)?, p99: rank(99)?, max: rank(100)? })
}

#[cfg(test)]
mod tests {
    use bench_core::record::Arrival;
    use bench_core::testing::record;

    use super::*;

    fn row(intended_ms: u64, sent_ms: u64, ended_ms: u64) -> Row {
        let mut row = record("a", 0, 0);
        row.arrival = Some(Arrival {
            slot: 0,
            intended_ns: intended_ms * 1_000_000,
            sent_ns: Some(sent_ms * 1_000_000),
        });
        row.timing.ended_ns = (ended_ms - sent_ms) * 1_000_000;
        Row::of(row)
    }

    #[test]
    fn rates_and_peaks_are_of_the_pass() {
        let rows = [row(0, 0, 100), row(50, 60, 150), row(100, 100, 200)];
        let pass: Vec<_> = rows.iter().collect();
        assert_eq!(rate(std::iter::once(offered(&pass))), Some(20.0));
        assert_eq!(rate(std::iter::once(completed(&pass))), Some(15.0));
        assert_eq!(peak(&pass), 2, "one that ends when another is sent is not beside it");
    }

    #[test]
    fn latency_begins_when_a_request_was_meant_to_be_sent() {
        let row = row(50, 60, 150);
        // The first token comes 250 ms after the send.
        assert_eq!(from_intended(&row, row.timing.first_token_ns), Some(260_000_000));
    }

    #[test]
    fn percentiles_are_values_that_were_there() {
        let spread = spread((1..=200).map(|ms| ms * 1_000_000).collect()).unwrap();
        assert_eq!((spread.p50, spread.p90, spread.p99, spread.max), (100.0, 180.0, 198.0, 200.0));
    }
}
