//! What stacks say of themselves and of their answers.

use std::collections::BTreeSet;

use crate::row::Row;
use bench_core::effective::{Asked, configuration_differences, file_differences};
use bench_core::preset::StackKind;
use bench_core::thinking::{SplitSource, SplitUnknown, TokenSplit};
use bench_core::truth::RuleId;

use super::{Facts, Finding, in_requests};
use crate::thinking::{reasons, sources};

const NOTHING: &str = "no request completed";

pub(super) fn cache_empty(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::CacheEmpty;
    let (rows, all) = (&facts.completed, facts.completed.len());
    let cached = rows.iter().filter(|row| row.usage.cached_tokens.is_some_and(|tokens| tokens > 0)).count();
    let untold = rows.iter().filter(|row| row.usage.cached_tokens.is_none()).count();
    let words = in_requests(cached, all, "prompt tokens came from a cache").into_iter().collect();
    let is_salted = facts.loaded.first().preset.workload.salted;
    let salted = if is_salted { "; prompts are salted" } else { "" };
    Finding::broken_or(rule, words, || match (all, untold) {
        (0, _) => Finding::unknown(rule, NOTHING),
        (_, 0) => {
            let later = rows.iter().filter(|row| row.turn > 1).count();
            let turns = match later {
                0 => String::new(),
                _ => format!(", {later} of them later turns, which begin with what was sent before"),
            };
            Finding::held(
                rule,
                format!("the stack counts 0 cached tokens in each of {all} requests{turns}{salted}"),
            )
        }
        (_, untold) => Finding::unknown(
            rule,
            format!("not told in {untold} of {all} requests; {}{salted}", against_caches(facts.arm.stack)),
        ),
    })
}

/// What is done against reuse; done is not proven.
fn against_caches(stack: StackKind) -> &'static str {
    match stack {
        StackKind::Native => "the engine keeps nothing between requests",
        StackKind::LlamaServer | StackKind::AtomicLlamaServer | StackKind::LlamaSwap => {
            "every request asked for none (`cache_prompt`)"
        }
        StackKind::Vllm => "every request had a cache salt of its own",
        StackKind::OpenAi => "there is no word to ask for none",
    }
}

pub(super) fn sampling_in_force(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::SamplingInForce;
    let (rows, all) = (&facts.completed, facts.completed.len());
    let told =
        |row: &&&Row| row.readback.as_ref().is_some_and(|readback| readback.sampling_changed.is_some());
    let untold = all - rows.iter().filter(told).count();
    Finding::broken_or(rule, changed_sampling(rows).into_iter().collect(), || match (all, untold) {
        (0, _) => Finding::unknown(rule, NOTHING),
        (_, _) if facts.arm.stack == StackKind::Native => {
            Finding::held(rule, "the engine in this process takes the request's own")
        }
        (_, 0) => Finding::held(rule, format!("what was sent is what {all} answers say was in force")),
        (_, untold) => Finding::unknown(rule, format!("not told in {untold} of {all} answers")),
    })
}

fn changed_sampling(rows: &[&Row]) -> Option<String> {
    let changes = rows.iter().filter_map(|row| row.readback.as_ref()?.sampling_changed.as_deref());
    let changed: Vec<_> = changes.filter(|changes| !changes.is_empty()).collect();
    let first = changed.first()?;
    let what = "sampling was changed on the way";
    Some(format!("{what} in {} of {} requests ({})", changed.len(), rows.len(), first.join(", ")))
}

pub(super) fn configuration_in_force(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::ConfigurationInForce;
    let mut words: Vec<_> = speculation_counts(facts).into_iter().collect();
    let Some(info) = &facts.arm.info else {
        return Finding::broken_or(rule, words, || Finding::unknown(rule, "the stack was never ready"));
    };
    words.extend(configuration_differences(asked(facts), info));
    Finding::broken_or(rule, words, || {
        let fields = [
            ("speculation", info.speculation.is_some()),
            ("drafts a round", info.draft_max.is_some() || facts.arm.spec.draft_max().is_none()),
            ("KV type", info.kv_type.is_some()),
            ("context", info.context_tokens.is_some()),
            ("device", info.device.is_some()),
        ];
        let named = |wanted: bool| {
            let names = fields.iter().filter(|(_, told)| *told == wanted).map(|(name, _)| *name);
            names.collect::<Vec<_>>().join(", ")
        };
        let (told, untold) = (named(true), named(false));
        let untold = if untold.is_empty() { untold } else { format!("; not told: {untold}") };
        let counted = facts.totals.drafted.is_some();
        match (info.speculation.is_some() || counted, told.is_empty()) {
            (false, _) => Finding::unknown(rule, format!("nobody says whether it speculates{untold}")),
            (true, true) => Finding::held(rule, format!("drafts are counted as asked{untold}")),
            (true, false) => Finding::held(rule, format!("as asked: {told}{untold}")),
        }
    })
}

/// Counts speak louder than a setting.
fn speculation_counts(facts: &Facts<'_>) -> Option<String> {
    let (arm, drafted) = (facts.arm, facts.totals.drafted.filter(|_| facts.totals.completed > 0)?);
    match (arm.spec.draft_max(), drafted) {
        (None, 0) => None,
        (None, drafted) => Some(format!("plain decoding asked, and {drafted} tokens were drafted")),
        (Some(_), 0) => Some(format!("speculation asked ({}), nothing drafted", arm.spec.method())),
        (Some(_), _) => None,
    }
}

pub(super) fn model_file(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::ModelFile;
    let Some(info) = &facts.arm.info else { return Finding::unknown(rule, "the stack was never ready") };
    Finding::broken_or(rule, file_differences(asked(facts), info), || {
        let of_ours = facts.loaded.first().target_sha256.as_deref();
        let started_here = !facts.is_attached() && facts.arm.stack.needs_gguf();
        match (of_ours, info.target_sha256.as_deref()) {
            (Some(ours), Some(_)) => Finding::held(rule, format!("the target's SHA-256 is {}", short(ours))),
            (Some(ours), None) if started_here => {
                Finding::held(rule, format!("it was started with the file that was hashed ({})", short(ours)))
            }
            (Some(_), None) => Finding::unknown(rule, "the stack names no file that can be read here"),
            (None, _) => Finding::unknown(rule, "the preset's file was not hashed"),
        }
    })
}

pub(super) fn one_answerer(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::OneAnswerer;
    let (rows, all) = (&facts.completed, facts.completed.len());
    let readbacks = || rows.iter().filter_map(|row| row.readback.as_ref());
    let models: BTreeSet<_> = readbacks().filter_map(|readback| readback.model.as_deref()).collect();
    let builds: BTreeSet<_> = readbacks().filter_map(|readback| readback.fingerprint.as_deref()).collect();
    let several = |names: &BTreeSet<&str>, what: &str| {
        let listed = || names.iter().copied().collect::<Vec<_>>().join(", ");
        (names.len() > 1).then(|| format!("{} {what} answered: {}", names.len(), listed()))
    };
    let restarted = rows.iter().filter(|row| row.restarted_in_silence).count();
    let restarted = in_requests(restarted, all, "another process answered than before, without a word");
    let words: Vec<_> =
        [restarted, several(&models, "models"), several(&builds, "builds")].into_iter().flatten().collect();
    Finding::broken_or(rule, words, || match (all, models.first()) {
        (0, _) => Finding::unknown(rule, NOTHING),
        (_, _) if facts.arm.stack == StackKind::Native => Finding::held(rule, "the engine in this process"),
        (_, Some(model)) => Finding::held(rule, format!("{all} answers name `{model}`")),
        (_, None) => Finding::unknown(rule, "no answer names its model"),
    })
}

pub(super) fn counts_undisputed(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::CountsUndisputed;
    let (rows, all) = (&facts.completed, facts.completed.len());
    let count = |is: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count();
    let spec = |is: &dyn Fn(&bench_core::stack::SpecCounts) -> bool| count(&|row| row.spec().is_some_and(is));
    let found = [
        (count(&|row| row.output.disputed), "output count disputed by two sources"),
        (count(&|row| row.output.tokens.is_none()), "output count unknown"),
        (count(&|row| row.spec_disputed.is_some()), "drafted and accepted tokens disputed by two sources"),
        (spec(&|spec| !spec.contradictions().is_empty()), "counts of speculation contradict each other"),
        (spec(&|spec| accepts_beyond(facts, spec)), "more drafts a round accepted than the preset allows"),
    ];
    let mut words: Vec<_> = found.iter().filter_map(|(count, what)| in_requests(*count, all, what)).collect();
    if facts.arm.spec.draft_max().is_some() && facts.totals.drafted.is_none() {
        let untold = count(&|row| row.spec.is_none());
        let what = format!("speculation asked ({}), drafts unknown", facts.arm.spec.method());
        words.extend(in_requests(untold, all, &what));
    }
    Finding::broken_or(rule, words, || match all {
        0 => Finding::unknown(rule, NOTHING),
        _ => Finding::held(rule, format!("no source contradicts another in {all} requests")),
    })
}

pub(super) fn thinking_apart(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::ThinkingApart;
    let (rows, all) = (&facts.completed, facts.completed.len());
    let splits: Vec<_> = rows.iter().filter_map(|row| row.split.as_deref().copied()).collect();
    let adds_up = |row: &&&Row| {
        let Some(split) = row.split.as_deref() else { return true };
        let parts = split.thinking_tokens.zip(split.answer_tokens);
        parts.is_none_or(|(thinking, answer)| thinking.checked_add(answer) == row.output.tokens)
    };
    let odd = all - rows.iter().filter(adds_up).count();
    let disputed = splits.iter().filter(|split| split.is_disputed()).count();
    let beyond = |row: &&&Row| {
        let theirs = row.split.as_deref().and_then(|split| split.server_thinking_tokens);
        theirs.zip(row.output.tokens).is_some_and(|(theirs, output)| theirs > output)
    };
    let words = [
        in_requests(odd, all, "thinking and answer tokens are not the output"),
        in_requests(disputed, all, "the server counts other thinking tokens than were split here"),
        in_requests(
            rows.iter().filter(beyond).count(),
            all,
            "the server counts more thinking than output tokens",
        ),
    ];
    Finding::broken_or(rule, words.into_iter().flatten().collect(), || {
        let untold = all - splits.iter().filter(|split| split.unknown.is_none()).count();
        let sum =
            |of: fn(&TokenSplit) -> Option<u32>| splits.iter().filter_map(of).map(u64::from).sum::<u64>();
        let by: Vec<_> = sources(&splits).into_iter().map(SplitSource::words).collect();
        let by = by.join(" and by ");
        match (all, untold) {
            (0, _) => Finding::unknown(rule, NOTHING),
            (_, 0) => {
                let (thinking, answer) =
                    (sum(|split| split.thinking_tokens), sum(|split| split.answer_tokens));
                let counts = format!("{thinking} thinking and {answer} answer tokens in {all} requests");
                Finding::held(rule, format!("{counts}, by {by}"))
            }
            (_, untold) => {
                let why: Vec<_> = reasons(&splits).into_iter().map(SplitUnknown::words).collect();
                let why = if why.is_empty() { "rows do not say".to_owned() } else { why.join("; ") };
                Finding::unknown(rule, format!("not told in {untold} of {all} requests: {why}"))
            }
        }
    })
}

fn accepts_beyond(facts: &Facts<'_>, spec: &bench_core::stack::SpecCounts) -> bool {
    let Some(most) = facts.arm.spec.draft_max() else { return false };
    let most = usize::try_from(most.get()).unwrap_or(usize::MAX);
    let accepted = spec.accepted_per_position.as_deref().unwrap_or_default();
    accepted.iter().skip(most).any(|&rounds| rounds > 0)
}

fn asked<'a>(facts: &Facts<'a>) -> Asked<'a> {
    let run = facts.loaded.first();
    Asked {
        preset: &run.preset,
        spec: &facts.arm.spec,
        kv_type: run.preset.kv_types_of(&facts.arm.variant),
        target_sha256: run.target_sha256.as_deref(),
        assistant_sha256: run.assistant_sha256.as_deref(),
    }
}

fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}
