//! Were the arms asked the same?

use std::collections::BTreeMap;

use bench_core::record::Phase;
use bench_core::run_dir::prompt_sha256;
use bench_core::truth::RuleId;

use super::{Facts, Finding, in_requests};
use crate::row::Row;

/// The hash in the row is of what was sent; the preset says what had to be.
pub(super) fn prompts_equal(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::PromptsEqual;
    let prompts = &facts.loaded.first().preset.workload.prompts;
    let hashes: BTreeMap<&str, String> =
        prompts.iter().map(|prompt| (prompt.id.as_str(), prompt_sha256(prompt))).collect();
    let all = facts.measured().count();
    let foreign = facts
        .measured()
        .filter(|row| hashes.get(row.prompt_id.as_str()).is_none_or(|hash| row.prompt_sha256 != *hash))
        .count();
    let what = "prompt text differs from the preset's, and so from other arms',";
    Finding::broken_or(rule, in_requests(foreign, all, what).into_iter().collect(), || match all {
        0 => Finding::unknown(rule, "nothing was asked"),
        _ => Finding::held(rule, format!("the hashes of {all} prompts are the preset's")),
    })
}

/// Which request of a run: block, prompt, and the how manieth of the same.
type Key<'a> = (&'a str, u32, &'a str, usize);

/// Hashes of all measured requests of an arm.
fn hashes<'a>(rows: &'a [Row], arm: &str) -> BTreeMap<Key<'a>, Option<&'a str>> {
    let mut of_arm: Vec<_> =
        rows.iter().filter(|row| row.arm == arm && row.phase == Phase::Measured).collect();
    // With several requests in flight rows are stored as they end.
    of_arm.sort_by_key(|row| row.request_index);
    let mut seen: BTreeMap<(&str, u32, &str), usize> = BTreeMap::new();
    let key = |row: &'a Row| {
        let same = (row.run_id.as_str(), row.block, row.prompt_id.as_str());
        let nth = seen.entry(same).or_default();
        *nth += 1;
        ((same.0, same.1, same.2, *nth), row.request_sha256.as_deref())
    };
    of_arm.into_iter().map(key).collect()
}

/// Requests against those of the first arm that was asked anything. Equal prompts are not enough: length, sampling and
/// seed are part of the question.
pub(super) fn requests_equal(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::RequestsEqual;
    let rows = &facts.loaded.rows;
    let asked = |label: &str| rows.iter().any(|row| row.arm == label && row.phase == Phase::Measured);
    let asked: Vec<_> =
        facts.loaded.arms.iter().map(|arm| arm.label.as_str()).filter(|label| asked(label)).collect();
    let mine = hashes(rows, &facts.arm.label);
    if mine.is_empty() {
        return Finding::unknown(rule, "nothing was asked");
    }
    let first = match asked[..] {
        [] | [_] => return Finding::does_not_apply(rule, "one arm was asked"),
        [first, ..] => first,
    };
    let untold = mine.values().filter(|hash| hash.is_none()).count();
    if first == facts.arm.label {
        return match untold {
            0 => Finding::held(rule, format!("the other arms are held against its {} requests", mine.len())),
            _ => Finding::unknown(rule, format!("no hash in {untold} of {} requests", mine.len())),
        };
    }
    let theirs = hashes(rows, first);
    let pairs: Vec<_> =
        mine.iter().filter_map(|(key, hash)| Some(((*hash)?, (*theirs.get(key)?)?))).collect();
    let other = pairs.iter().filter(|(mine, theirs)| mine != theirs).count();
    let what = format!("another request than that of {first} was sent");
    Finding::broken_or(rule, in_requests(other, pairs.len(), &what).into_iter().collect(), || {
        match mine.len() - pairs.len() {
            0 => Finding::held(rule, format!("{} requests are those of {first}", pairs.len())),
            lone => Finding::unknown(
                rule,
                format!("{lone} of {} requests have no hash, or no match in {first}", mine.len()),
            ),
        }
    })
}
