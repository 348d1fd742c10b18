//! Were the arms asked the same?

use std::collections::BTreeMap;

use bench_core::preset::PromptSpec;
use bench_core::record::{Phase, Place};
use bench_core::run_dir::{EMPTY_ANSWER, prompt_sha256, turn_sha256_of};
use bench_core::truth::RuleId;

use super::{Facts, Finding, in_requests};
use crate::row::Row;

/// The hash in the row is of what was sent; the preset says what had to be. A later turn holds the arm's own answers too,
/// which its rows tell.
pub(super) fn prompts_equal(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::PromptsEqual;
    let prompts = &facts.loaded.first().preset.workload.prompts;
    let prompts: BTreeMap<&str, &PromptSpec> =
        prompts.iter().map(|prompt| (prompt.id.as_str(), prompt)).collect();
    let answers = answers(facts);
    // Hashing every row anew would be most of the time of a report: a first turn's is its prompt's.
    let hashes: BTreeMap<&str, String> =
        prompts.values().map(|prompt| (prompt.id.as_str(), prompt_sha256(prompt))).collect();
    let expected = |row: &Row| {
        if row.turn < 2 {
            return hashes.get(row.prompt_id.as_str()).cloned();
        }
        let prompt = prompts.get(row.prompt_id.as_str())?;
        let of: &(&str, Place<'_>) = &(&row.run_id, first_turn(row));
        let before = answers.get(of).into_iter().flatten();
        let before = before.take_while(|(nth, _)| **nth < row.turn).map(|(_, digest)| *digest);
        Some(turn_sha256_of(prompt, before))
    };
    let all = facts.measured().count();
    let foreign =
        facts.measured().filter(|row| expected(row).is_none_or(|hash| row.prompt_sha256 != *hash)).count();
    let what = "prompt text differs from the preset's, and so from other arms',";
    Finding::broken_or(rule, in_requests(foreign, all, what).into_iter().collect(), || match all {
        0 => Finding::unknown(rule, "nothing was asked"),
        _ => {
            let later = facts.measured().filter(|row| row.turn > 1).count();
            let own = match later {
                0 => String::new(),
                _ => format!(", those of {later} later turns with the arm's own answers before them"),
            };
            Finding::held(rule, format!("the hashes of {all} prompts are the preset's{own}"))
        }
    })
}

/// A conversation: the place of its first turn. And which turn was answered how.
type Answers<'a> = BTreeMap<(&'a str, Place<'a>), BTreeMap<u32, u128>>;

fn answers<'a>(facts: &Facts<'a>) -> Answers<'a> {
    let mut answers = Answers::new();
    for row in facts.completed.iter().filter(|row| row.turn > 0) {
        let of = answers.entry((&row.run_id, first_turn(row))).or_default();
        of.insert(row.turn, row.said.as_deref().copied().or(row.digest.text).unwrap_or(EMPTY_ANSWER));
    }
    answers
}

fn first_turn(row: &Row) -> Place<'_> {
    Place { turn: 1, ..row.place() }
}

/// Which request of a run: its place, and the how manieth of the same.
type Key<'a> = (&'a str, Place<'a>, usize);

/// All measured requests of an arm.
fn asked_of<'a>(rows: &'a [Row], arm: &str) -> BTreeMap<Key<'a>, &'a Row> {
    let mut of_arm: Vec<_> =
        rows.iter().filter(|row| row.arm == arm && row.phase == Phase::Measured).collect();
    // With several requests in flight rows are stored as they end.
    of_arm.sort_by_key(|row| row.request_index);
    let mut seen: BTreeMap<(&str, Place<'_>), usize> = BTreeMap::new();
    let key = |row: &'a Row| {
        let same: (&'a str, Place<'a>) = (&row.run_id, row.place());
        let nth = seen.entry(same).or_default();
        *nth += 1;
        ((same.0, same.1, *nth), row)
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
    let mine = asked_of(rows, &facts.arm.label);
    if mine.is_empty() {
        return Finding::unknown(rule, "nothing was asked");
    }
    let first = match asked[..] {
        [] | [_] => return Finding::does_not_apply(rule, "one arm was asked"),
        [first, ..] => first,
    };
    let untold = mine.values().filter(|row| row.request_sha256.is_none()).count();
    if first == facts.arm.label {
        return match untold {
            0 => Finding::held(rule, format!("the other arms are held against its {} requests", mine.len())),
            _ => Finding::unknown(rule, format!("no hash in {untold} of {} requests", mine.len())),
        };
    }
    let theirs = asked_of(rows, first);
    let met: Vec<_> = mine.iter().filter_map(|(key, row)| Some((*row, *theirs.get(key)?))).collect();
    let (same, apart): (Vec<_>, Vec<_>) =
        met.into_iter().partition(|(mine, theirs)| mine.follows_the_same(theirs));
    let hashes = |(mine, theirs): &(&Row, &Row)| {
        Some(mine.request_sha256.as_ref()? == theirs.request_sha256.as_ref()?)
    };
    let pairs: Vec<bool> = same.iter().filter_map(hashes).collect();
    let other = pairs.iter().filter(|are_equal| !**are_equal).count();
    let apart = apart.len();
    let unpaired = match apart {
        0 => String::new(),
        _ => format!(
            "; {apart} later turns followed other answers than {first}'s: another question, and not paired"
        ),
    };
    let what = format!("another request than that of {first} was sent");
    Finding::broken_or(rule, in_requests(other, pairs.len(), &what).into_iter().collect(), || {
        match mine.len() - apart - pairs.len() {
            0 => Finding::held(rule, format!("{} requests are those of {first}{unpaired}", pairs.len())),
            lone => Finding::unknown(
                rule,
                format!("{lone} of {} requests have no hash, or no match in {first}{unpaired}", mine.len()),
            ),
        }
    })
}
