//! The error budget: what was reported beside what was true, check by check. Pure.

use bench_core::record::RequestRecord;
use serde::Serialize;

use super::case::{Case, Probe, TOKENS};
use super::measure::Figures;

const TTFT_P50_MS: f64 = 1.0;
const TTFT_P99_MS: f64 = 10.0;
const ITL_P50_MS: f64 = 0.05;
const ITL_P99_MS: f64 = 1.5;
const FIRST_REQUEST_S: f64 = 0.05;
const MEMORY_MB: f64 = 40.0;
const CHUNKS_PER_S: f64 = 200_000.0;
/// Of one stream: every chunk waits for the other process to wake up.
const CHUNKS_PER_S_ALONE: f64 = 50_000.0;
/// Gaps of the stall probe are 10 or 110 ms; what lies above is a stall.
const STALL_MS: f64 = 60.0;
/// The mock is exact to far less; beyond, the machine kept it waiting and it can be held against nobody's client.
const MOCK_LATE_P99_MS: f64 = 1.0;

/// One figure, the truth where there is one, and the limit of the difference or of the figure itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Check {
    pub(crate) figure: &'static str,
    pub(crate) reported: f64,
    pub(crate) truth: Option<f64>,
    pub(crate) limit: Limit,
    pub(crate) within: bool,
}

/// What is asked of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// This far from the truth at most.
    Error(f64),
    /// At most.
    AtMost(f64),
    /// At least.
    AtLeast(f64),
}

/// A case and its checks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct CaseResult {
    pub(crate) case: &'static str,
    pub(crate) checks: Vec<Check>,
}

impl CaseResult {
    pub(crate) fn is_within(&self) -> bool {
        self.checks.iter().all(|check| check.within)
    }
}

/// Holds a case's figures against its budget. A figure that is not there is `NaN`, which is within nothing.
pub(crate) fn judge(case: &Case, figures: &Figures) -> CaseResult {
    let rows = f64::from(u32::try_from(figures.rows.len()).unwrap_or(u32::MAX));
    let mut checks = vec![exact("requests", rows, f64::from(case.requests))];
    checks.extend(match case.probe {
        Probe::Paced => paced(case, figures),
        Probe::Unpaced => {
            vec![at_least("chunks per s", chunks_per_s(figures), least_chunks_per_s(case.streams))]
        }
        Probe::Stall => stall(case, figures),
        Probe::Speculation => speculation(case, figures),
    });
    CaseResult { case: case.name, checks }
}

fn paced(case: &Case, figures: &Figures) -> Vec<Check> {
    let (ttft, itl) = (sorted(figures, ttft_ms), sorted(figures, gaps_ms));
    let truth = &figures.truth;
    let cpu_ns: u64 = figures.client.passes.iter().filter_map(|pass| pass.cpu_ns).sum();
    let cpu_ms_per_1000 = cpu_ns as f64 / 1e6 / (chunks(figures) / 1e3);
    let start_ms = truth.first_request_unix_ms.map(|at| at.saturating_sub(figures.started_unix_ms));
    let memory = figures.client.peak_memory_bytes;
    let mut checks = vec![
        at_most("mock late p99 ms", or_nan(truth.late.p99_ms), MOCK_LATE_P99_MS),
        near("TTFT p50 ms", percentile(&ttft, 50), or_nan(truth.ttft.p50_ms), TTFT_P50_MS),
        near("TTFT p99 ms", percentile(&ttft, 99), or_nan(truth.ttft.p99_ms), TTFT_P99_MS),
        near("ITL p50 ms", percentile(&itl, 50), or_nan(truth.itl.p50_ms), ITL_P50_MS),
        near("ITL p99 ms", percentile(&itl, 99), or_nan(truth.itl.p99_ms), ITL_P99_MS),
        at_most("first request s", start_ms.map_or(f64::NAN, |ms| ms as f64 / 1e3), FIRST_REQUEST_S),
        at_most("memory MB", memory.map_or(f64::NAN, |bytes| bytes as f64 / 1e6), MEMORY_MB),
    ];
    // One stream is mostly waiting: its CPU is of the start and of the clock, not of chunks.
    if let Some(limit) = cpu_limit(case.streams) {
        checks.push(at_most("CPU ms per 1000 chunks", cpu_ms_per_1000, limit));
    }
    checks
}

fn cpu_limit(streams: u32) -> Option<f64> {
    match streams {
        512.. => Some(15.0),
        64.. => Some(25.0),
        _ => None,
    }
}

fn least_chunks_per_s(streams: u32) -> f64 {
    if streams == 1 { CHUNKS_PER_S_ALONE } else { CHUNKS_PER_S }
}

fn chunks_per_s(figures: &Figures) -> f64 {
    let (first, last) = (figures.truth.first_request_unix_ms, figures.truth.last_write_unix_ms);
    let Some((first, last)) = first.zip(last) else { return f64::NAN };
    chunks(figures) / (last.saturating_sub(first).max(1) as f64 / 1e3)
}

fn stall(case: &Case, figures: &Figures) -> Vec<Check> {
    let gaps = sorted(figures, gaps_ms);
    let stalls = gaps.iter().filter(|&&gap| gap > STALL_MS).count();
    vec![
        exact("stalls", stalls as f64, f64::from(3 * case.requests)),
        near("ITL p99 ms", percentile(&gaps, 99), or_nan(figures.truth.itl.p99_ms), ITL_P99_MS),
        near("ITL mean ms", mean(&gaps), or_nan(figures.truth.itl.mean_ms), ITL_P50_MS),
    ]
}

fn speculation(case: &Case, figures: &Figures) -> Vec<Check> {
    let requests = f64::from(case.requests);
    let specs = || figures.rows.iter().filter_map(|row| row.spec.as_ref());
    let accepted: u64 = specs().map(|spec| spec.accepted).sum();
    let drafted: u64 = specs().map(|spec| spec.drafted).sum();
    let steps: u64 = specs().filter_map(|spec| spec.rounds_with_draft()).sum();
    let tokens: u64 = figures.rows.iter().filter_map(|row| row.output.tokens).map(u64::from).sum();
    vec![
        exact("chunks", chunks(figures), 51.0 * requests),
        exact("tokens", tokens as f64, f64::from(TOKENS) * requests),
        exact("rounds with a draft", steps as f64, 51.0 * requests),
        exact("drafted", drafted as f64, 153.0 * requests),
        exact("accepted", accepted as f64, 77.0 * requests),
        near("acceptance length", 1.0 + accepted as f64 / steps as f64, 128.0 / 51.0, 1e-9),
    ]
}

fn check(figure: &'static str, reported: f64, truth: Option<f64>, limit: Limit) -> Check {
    let within = match limit {
        Limit::Error(most) => truth.is_some_and(|truth| (reported - truth).abs() <= most),
        Limit::AtMost(most) => reported <= most,
        Limit::AtLeast(least) => reported >= least,
    };
    Check { figure, reported, truth, limit, within }
}

fn near(figure: &'static str, reported: f64, truth: f64, error: f64) -> Check {
    check(figure, reported, Some(truth), Limit::Error(error))
}

/// Counts: any difference is an error.
fn exact(figure: &'static str, reported: f64, truth: f64) -> Check {
    near(figure, reported, truth, 0.0)
}

fn at_most(figure: &'static str, reported: f64, limit: f64) -> Check {
    check(figure, reported, None, Limit::AtMost(limit))
}

fn at_least(figure: &'static str, reported: f64, limit: f64) -> Check {
    check(figure, reported, None, Limit::AtLeast(limit))
}

fn or_nan(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::NAN)
}

fn chunks(figures: &Figures) -> f64 {
    figures.rows.iter().map(|row| row.timing.chunks.len()).sum::<usize>() as f64
}

fn ttft_ms(row: &RequestRecord) -> Vec<f64> {
    row.timing.first_token_ns.map(|ns| ns as f64 / 1e6).into_iter().collect()
}

fn gaps_ms(row: &RequestRecord) -> Vec<f64> {
    row.timing.chunks.windows(2).map(|pair| (pair[1].at_ns - pair[0].at_ns) as f64 / 1e6).collect()
}

fn sorted(figures: &Figures, of: impl Fn(&RequestRecord) -> Vec<f64>) -> Vec<f64> {
    let mut values: Vec<_> = figures.rows.iter().flat_map(of).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Nearest rank, as the mock counts.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The table's rows, its head included.
pub(crate) fn rows(results: &[CaseResult]) -> Vec<[String; 6]> {
    let head = ["case", "figure", "reported", "truth", "limit", "verdict"].map(str::to_owned);
    let lines = results.iter().flat_map(|result| {
        result.checks.iter().map(|check| {
            let limit = match check.limit {
                Limit::Error(most) => format!("+-{most}"),
                Limit::AtMost(most) => format!("<= {most}"),
                Limit::AtLeast(least) => format!(">= {least}"),
            };
            [
                result.case.to_owned(),
                check.figure.to_owned(),
                format!("{:.3}", check.reported),
                check.truth.map_or_else(|| "-".to_owned(), |truth| format!("{truth:.3}")),
                limit,
                if check.within { "within" } else { "OUTSIDE" }.to_owned(),
            ]
        })
    });
    std::iter::once(head).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_bad_figure_is_outside_and_a_missing_one_too() {
        assert!(near("TTFT p50 ms", 50.9, 50.0, TTFT_P50_MS).within);
        assert!(!near("TTFT p50 ms", 51.1, 50.0, TTFT_P50_MS).within);
        assert!(
            !near("ITL p50 ms", 0.006, 10.0, ITL_P50_MS).within,
            "a client that reads many chunks at once"
        );
        assert!(!exact("stalls", 47.0, 48.0).within);
        assert!(!near("ITL p99 ms", f64::NAN, 10.0, ITL_P99_MS).within);
        assert!(
            !at_most("memory MB", f64::NAN, MEMORY_MB).within
                && !at_least("chunks per s", f64::NAN, 1.0).within
        );
        let good = exact("requests", 4.0, 4.0);
        let result = |checks| CaseResult { case: "paced-1", checks };
        assert!(result(vec![good.clone()]).is_within());
        assert!(!result(vec![good, at_most("memory MB", 41.0, MEMORY_MB)]).is_within());
    }

    #[test]
    fn percentiles_are_nearest_ranks_and_cpu_is_asked_of_many_streams() {
        let values: Vec<_> = (1..=127).map(f64::from).collect();
        assert!((percentile(&values, 99) - 126.0).abs() < 1e-12 && percentile(&[], 50).is_nan());
        assert_eq!((cpu_limit(1), cpu_limit(64), cpu_limit(512)), (None, Some(25.0), Some(15.0)));
    }

    #[test]
    fn the_table_says_what_is_outside() {
        let results = [CaseResult { case: "stall", checks: vec![exact("stalls", 47.0, 48.0)] }];
        assert_eq!(rows(&results)[1], ["stall", "stalls", "47.000", "48.000", "+-0", "OUTSIDE"]);
    }
}
