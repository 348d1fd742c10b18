//! Completed rows as the statistics want them: clustered by block and prompt.

use std::collections::BTreeMap;

use bench_core::record::Phase;
use bench_core::report::Estimate;
use bench_core::stack::SpecCounts;
use bench_core::stats::{
    BootstrapConfig, Clustered, Metric, Sample, estimate_median, estimate_ratio, estimate_ratio_over_prompts,
};

use crate::load::Loaded;
use crate::row::Row;

/// Measured rows of an arm whose stack said that it finished, in file order.
pub(crate) fn completed_rows<'a>(loaded: &'a Loaded, arm: &str) -> Vec<&'a Row> {
    loaded
        .rows
        .iter()
        .filter(|row| row.arm == arm && row.phase == Phase::Measured && row.outcome.is_completed())
        .collect()
}

/// Numbers the prompts in preset order, as the statistics want them.
pub(crate) struct PromptIndex<'a>(BTreeMap<&'a str, u32>);

impl<'a> PromptIndex<'a> {
    pub(crate) fn new(loaded: &'a Loaded) -> Self {
        Self(
            loaded.first().preset.workload.prompts.iter().map(|prompt| prompt.id.as_str()).zip(0..).collect(),
        )
    }

    pub(crate) fn of(&self, row: &Row) -> u32 {
        self.0.get(row.prompt_id.as_str()).copied().unwrap_or(u32::MAX)
    }

    pub(crate) fn ratio(
        &self,
        rows: &[&Row],
        parts: &dyn Fn(&Row) -> Option<(f64, f64)>,
        config: &BootstrapConfig,
    ) -> Option<Estimate> {
        estimate_ratio(&self.samples(rows, parts), config)
    }

    fn samples(&self, rows: &[&Row], parts: &dyn Fn(&Row) -> Option<(f64, f64)>) -> Vec<Sample> {
        let sample = |row: &&Row| {
            let (numerator, denominator) = parts(row)?;
            Some(Sample { block: row.block, prompt: self.of(row), numerator, denominator })
        };
        rows.iter().filter_map(sample).collect()
    }

    /// As [`Self::ratio`], for counts that blocks repeat: prompts are the clusters.
    pub(crate) fn ratio_over_prompts(
        &self,
        rows: &[&Row],
        parts: &dyn Fn(&Row) -> Option<(f64, f64)>,
        config: &BootstrapConfig,
    ) -> Option<Estimate> {
        estimate_ratio_over_prompts(&self.samples(rows, parts), config)
    }

    pub(crate) fn median(
        &self,
        rows: &[&Row],
        value: &dyn Fn(&Row) -> Option<f64>,
        config: &BootstrapConfig,
    ) -> Option<Estimate> {
        let clustered =
            |row: &&Row| Some(Clustered { block: row.block, prompt: self.of(row), value: value(row)? });
        estimate_median(&rows.iter().filter_map(clustered).collect::<Vec<_>>(), config)
    }
}

/// Decode tokens and span, scaled so that their ratio is tokens a second: both parts are whole numbers, so a sum of
/// them in any order has the same last digit.
pub(crate) fn decode_parts(row: &Row) -> Option<(f64, f64)> {
    row.decode_span().map(|span| (f64::from(span.tokens) * 1e9, span.span_ns as f64))
}

/// One request's value of a metric; `None` where it was not measured.
pub(crate) fn metric_value(row: &Row, metric: Metric) -> Option<f64> {
    match metric {
        Metric::TokensPerS => decode_parts(row).map(|(tokens, span)| tokens / span),
        Metric::E2eTokensPerS => e2e_parts(row).map(|(tokens, span)| tokens / span),
        Metric::TtftMs => row.timing.first_token_ns.map(|ns| ns as f64 / 1e6),
    }
}

/// Output tokens and the time from send to last token, scaled as [`decode_parts`].
pub(crate) fn e2e_parts(row: &Row) -> Option<(f64, f64)> {
    Some((f64::from(row.output.tokens?) * 1e9, row.timing.last_token_ns? as f64))
}

/// Prompt tokens and the time to the first output token, scaled as [`decode_parts`].
pub(crate) fn prompt_parts(row: &Row) -> Option<(f64, f64)> {
    Some((f64::from(row.usage.prompt_tokens?) * 1e9, row.timing.first_token_ns? as f64))
}

/// Accepted and drafted tokens.
pub(crate) fn accepted_of_drafted(row: &Row) -> Option<(f64, f64)> {
    row.spec().map(|spec| (spec.accepted as f64, spec.drafted as f64))
}

/// Accepted tokens and verify steps; [`plus_one`] makes their ratio the acceptance length.
pub(crate) fn extra_tokens_a_step(row: &Row) -> Option<(f64, f64)> {
    let spec = row.spec()?;
    Some((spec.accepted as f64, spec.verify_steps? as f64))
}

/// The bonus or correction token of each verify step.
pub(crate) fn plus_one(extra: Estimate) -> Estimate {
    let plus = |value: f64| 1.0 + value;
    Estimate { point: plus(extra.point), low: extra.low.map(plus), high: extra.high.map(plus) }
}

/// Position by position; `None` if some request does not tell, since a sum without it would be of something else.
pub(crate) fn position_sums(rows: &[&Row], of: impl Fn(&SpecCounts) -> Option<&[u64]>) -> Option<Vec<u64>> {
    let mut sums: Vec<u64> = Vec::new();
    for row in rows {
        let counts = of(row.spec()?)?;
        sums.resize(sums.len().max(counts.len()), 0);
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    (!sums.is_empty()).then_some(sums)
}
