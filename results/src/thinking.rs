//! Thinking and answer tokens of an arm. A sum is known only if every completed request tells its part.

use bench_core::report::ThinkingReport;
use bench_core::stats::BootstrapConfig;
use bench_core::thinking::{SplitSource, SplitUnknown, TokenSplit};

use crate::row::Row;
use crate::samples::PromptIndex;

/// `None` where no row says whether it was told: rows from before it was recorded.
pub(crate) fn thinking(
    prompts: &PromptIndex<'_>,
    rows: &[&Row],
    config: &BootstrapConfig,
) -> Option<ThinkingReport> {
    let splits: Vec<_> = rows.iter().filter_map(|row| row.split.as_deref().copied()).collect();
    if splits.is_empty() {
        return None;
    }
    let told = splits.iter().filter(|split| split.unknown.is_none()).count();
    let sum = |of: fn(&TokenSplit) -> Option<u32>| {
        (splits.len() == rows.len()).then(|| splits.iter().map(|split| of(split).map(u64::from)).sum())?
    };
    // A server's count alone tells no moment.
    let has_moment = |split: &TokenSplit| split.first_answer.is_some() || ended_inside(split);
    let every_moment = splits.len() == rows.len() && splits.iter().all(has_moment);
    let first_answer = |row: &Row| Some(row.split.as_deref()?.first_answer? as f64 / 1e6);
    let without = splits.iter().filter(|split| ended_inside(split)).count();
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Some(ThinkingReport {
        split_requests: count(told),
        unsplit_requests: count(rows.len() - told),
        thinking_tokens: sum(|split| split.thinking_tokens),
        answer_tokens: sum(|split| split.answer_tokens),
        first_answer_ms: every_moment.then(|| prompts.median(rows, &first_answer, config)).flatten(),
        without_answer: count(without),
        split_by: sources(&splits),
    })
}

/// Whether all that came is a thought.
fn ended_inside(split: &TokenSplit) -> bool {
    let has_answer = split.answer_tokens.is_some_and(|tokens| tokens > 0);
    split.source.is_some() && split.first_answer.is_none() && !has_answer
}

/// Each means once, the best first.
pub(crate) fn sources(splits: &[TokenSplit]) -> Vec<SplitSource> {
    let mut sources: Vec<_> = splits.iter().filter_map(|split| split.source).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

/// The reasons why splits are not known, each once.
pub(crate) fn reasons(splits: &[TokenSplit]) -> Vec<SplitUnknown> {
    let mut reasons: Vec<_> = splits.iter().filter_map(|split| split.unknown).collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons
}

#[cfg(test)]
mod tests {
    use bench_core::record::RequestRecord;
    use bench_core::testing::{manifest, preset, record};
    use bench_core::thinking::Split;

    use super::*;
    use crate::load::Loaded;

    fn report(records: &[&RequestRecord]) -> Option<ThinkingReport> {
        let rows: Vec<_> = records.iter().map(|record| Row::of((*record).clone())).collect();
        let loaded = Loaded { manifests: vec![manifest(preset())], ..Loaded::default() };
        thinking(&PromptIndex::new(&loaded), &rows.iter().collect::<Vec<_>>(), &BootstrapConfig::default())
    }

    #[test]
    fn sums_are_of_all_requests_or_unknown() {
        let mut thinks = record("a", 0, 0);
        thinks.split = Some(Split {
            thinking_tokens: Some(3),
            answer_tokens: Some(1),
            first_answer: Some(280_000_000),
            source: Some(SplitSource::ServerField),
            unknown: None,
            thought_bytes: 0,
            server_thinking_tokens: None,
        });
        let answers = record("a", 0, 1);
        let both = report(&[&thinks, &answers]).unwrap();
        assert_eq!((both.thinking_tokens, both.answer_tokens), (Some(3), Some(5)));
        assert!((both.first_answer_ms.unwrap().point - 265.0).abs() < 1e-9);
        assert_eq!(both.split_by, [SplitSource::TokenIds, SplitSource::ServerField]);

        let mut endless = thinks.clone();
        endless.split =
            endless.split.map(|split| Split { first_answer: None, answer_tokens: Some(0), ..split });
        let both = report(&[&endless, &answers]).unwrap();
        assert!(both.without_answer == 1 && (both.first_answer_ms.unwrap().point - 250.0).abs() < 1e-9);

        let mut counted = record("a", 0, 3);
        let by_count =
            Split { source: Some(SplitSource::ServerCount), first_answer: None, ..thinks.split.unwrap() };
        counted.split = Some(by_count);
        let some = report(&[&counted, &answers]).unwrap();
        assert_eq!((some.thinking_tokens, some.answer_tokens), (Some(3), Some(5)));
        assert_eq!((some.first_answer_ms, some.without_answer), (None, 0), "its moment is not known");

        let mut untold = record("a", 0, 2);
        untold.split = Some(Split::untold());
        let some = report(&[&thinks, &untold]).unwrap();
        assert_eq!((some.split_requests, some.unsplit_requests), (1, 1));
        assert_eq!((some.thinking_tokens, some.answer_tokens, some.first_answer_ms), (None, None, None));
        untold.split = None;
        assert_eq!(report(&[&untold]), None, "a row from before it was recorded");
        assert_eq!(report(&[&thinks, &untold]).unwrap().thinking_tokens, None);
    }
}
