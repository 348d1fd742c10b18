//! `workload.synthetic`: which lengths, how many of each.

use std::collections::HashSet;
use std::num::NonZeroU32;

use bench_core::synthetic::{MAX_SYNTHETIC_PROMPTS, MAX_SYNTHETIC_TOKENS, SyntheticPrompts};

use super::values::{Checked, count, invalid, missing, seed};
use crate::raw::RawWorkload;

/// What the prompts are made of; `None` where the preset asks for text.
pub(super) fn synthetic(raw: &RawWorkload) -> Checked<Option<SyntheticPrompts>> {
    let Some(asked) = &raw.synthetic else { return Ok(None) };
    alone(raw)?;
    let lengths = asked.input_tokens.as_deref().unwrap_or_default();
    if lengths.is_empty() {
        return Err(missing("workload.synthetic.input_tokens", "at least one length, such as `[512]`"));
    }
    let spread = asked.spread.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&spread) {
        return Err(invalid("workload.synthetic.spread", spread, "0 to 1"));
    }
    let synthetic = SyntheticPrompts {
        input_tokens: lengths.iter().map(|tokens| length(*tokens)).collect::<Checked<_>>()?,
        count: count("workload.synthetic.count", asked.count, 8)?,
        spread,
        seed: seed("workload.synthetic.seed", asked.seed, 1)?,
    };
    let mut seen = HashSet::new();
    if let Some(twice) = synthetic.input_tokens.iter().find(|tokens| !seen.insert(**tokens)) {
        return Err(invalid("workload.synthetic.input_tokens", twice, "each length once")
            .hint("`workload.synthetic.count` says how many prompts there are of each"));
    }
    let all = synthetic.prompts_in_all();
    if all > MAX_SYNTHETIC_PROMPTS {
        let expected = format!("at most {MAX_SYNTHETIC_PROMPTS} prompts of all lengths together, not {all}");
        return Err(invalid("workload.synthetic.count", synthetic.count, expected).hint(
            "each prompt begins with a word that no other begins with; more requests come from `run.blocks`",
        ));
    }
    Ok(Some(synthetic))
}

/// Prompts come from one place.
fn alone(raw: &RawWorkload) -> Checked<()> {
    let has_prompts = raw.prompts.as_ref().is_some_and(|prompts| !prompts.is_empty());
    let others = [
        ("workload.prompts", has_prompts),
        ("workload.set", raw.set.is_some()),
        ("workload.file", raw.file.is_some()),
        ("workload.categories", raw.categories.is_some()),
        ("workload.per_category", raw.per_category.is_some()),
    ];
    match others.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((key, _)) => {
            Err(invalid("workload.synthetic", "given", format!("no such prompts beside `{key}`"))
                .hint("write `prompts = []` to drop inherited prompts"))
        }
    }
}

fn length(tokens: i64) -> Checked<NonZeroU32> {
    let checked = u32::try_from(tokens).ok().filter(|tokens| *tokens <= MAX_SYNTHETIC_TOKENS);
    checked.and_then(NonZeroU32::new).ok_or_else(|| {
        invalid("workload.synthetic.input_tokens", tokens, format!("1 to {MAX_SYNTHETIC_TOKENS}"))
    })
}

/// Whether the longest prompt and its output share the context. About: what a prompt really is, a tokenizer decides.
pub(super) fn fits(
    synthetic: &SyntheticPrompts,
    max_tokens: NonZeroU32,
    context_tokens: NonZeroU32,
) -> Checked<()> {
    let longest = synthetic.longest_tokens();
    let needed = longest.saturating_add(max_tokens.get());
    if needed <= context_tokens.get() {
        return Ok(());
    }
    let expected = format!(
        "at least {needed}: prompts of `workload.synthetic` have up to {longest} tokens, outputs up to {max_tokens}"
    );
    Err(invalid("serving.context_tokens", context_tokens, expected)
        .hint("leave room above it: templates and tokenizers add tokens of their own"))
}
