//! What was in force on an arm, and whose numbers are shown, as words for a report.

use std::collections::BTreeSet;

use bench_core::record::{ArmManifest, OutputCount};
use bench_core::stack::{SpecSource, StackInfo};

use crate::row::Row;

/// The configuration read back, and the sources of the arm's counts.
pub(crate) fn effective(arm: &ArmManifest, completed: &[&Row]) -> Vec<(String, String)> {
    let mut words = arm.info.as_ref().map(configuration).unwrap_or_default();
    words.extend(sources(completed).into_iter().map(|(name, value)| (name.to_owned(), value)));
    words
}

fn configuration(info: &StackInfo) -> Vec<(String, String)> {
    let unknown = || "unknown".to_owned();
    let number = |value: Option<u32>| value.map_or_else(unknown, |value| value.to_string());
    let word = |value: &Option<String>| value.clone().unwrap_or_else(unknown);
    let named = [
        ("build", word(&info.build)),
        ("model", word(&info.model)),
        ("speculation", word(&info.speculation)),
        ("drafts a round", number(info.draft_max)),
        ("KV type", word(&info.kv_type)),
        ("device", word(&info.device)),
        ("context tokens", number(info.context_tokens)),
        ("threads", number(info.threads)),
        ("recipe", info.recipe.clone()),
    ];
    let named = named.into_iter().map(|(name, value)| (name.to_owned(), value));
    named.chain(info.details.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
}

/// Who counted: output tokens, and what was accepted.
fn sources(completed: &[&Row]) -> Vec<(&'static str, String)> {
    let joined = |words: BTreeSet<&str>| words.into_iter().collect::<Vec<_>>().join("; ");
    let believed: BTreeSet<_> = completed.iter().map(|row| OutputCount::because(&row.output)).collect();
    let counted: BTreeSet<_> =
        completed.iter().filter_map(|row| row.spec()).map(|spec| source(spec.source)).collect();
    let mut found = Vec::new();
    if !believed.is_empty() {
        found.push(("output tokens", joined(believed)));
    }
    found.extend(retokenised(completed));
    if !counted.is_empty() {
        found.push(("acceptance counted by", joined(counted)));
    }
    found
}

/// How often the text, made tokens again by the stack's own tokenizer, gives the count that is believed.
fn retokenised(completed: &[&Row]) -> Option<(&'static str, String)> {
    let checked = completed.iter().filter_map(|row| Some((row.output.retokenised?, row.output.tokens?)));
    let (mut same, mut all) = (0, 0);
    for (again, believed) in checked {
        all += 1;
        same += usize::from(again == believed);
    }
    (all > 0).then(|| ("text made tokens again", format!("the same count in {same} of {all} requests")))
}

fn source(source: SpecSource) -> &'static str {
    match source {
        SpecSource::Engine => "our engine",
        SpecSource::ResponseBody => "the server, in each response",
        SpecSource::MetricsDelta => "the server's metrics, read before and after each request",
        SpecSource::Log => "the server's log",
    }
}
