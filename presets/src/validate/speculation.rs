//! Ways of speculating: which keys belong to a method, draft lengths, acceptance rules.

use std::collections::HashSet;
use std::num::NonZeroU32;

use bench_core::draft_length;
use bench_core::preset::{AcceptanceRule, ModelSource, SpecDecode, SpecVariant, StackChoice, SyntheticRates};

use super::values::{Checked, count, invalid, label, missing};
use crate::raw::{Acceptance, Method, RawVariant};

/// More drafts a round than any stack takes; keeps a typing error from becoming a huge batch.
pub(crate) const MOST_DRAFTS: u32 = 64;

pub(super) fn variants(
    raw: Vec<RawVariant>,
    models: &ModelSource,
    stacks: &[StackChoice],
) -> Checked<Vec<SpecVariant>> {
    if raw.is_empty() {
        return Err(missing("variants", "at least one way of speculating")
            .hint("write `[[variants]]`, `label = \"none\"` and `method = \"none\"` for a baseline"));
    }
    let raw = swept(raw)?;
    let mut seen = HashSet::new();
    let checked = raw.into_iter().enumerate().map(|(index, variant)| {
        let label = label(format!("variants[{index}].label"), variant.label.clone())?;
        if !seen.insert(label.clone()) {
            return Err(invalid(format!("variants[{index}].label"), label, "a label no other variant has"));
        }
        let at = format!("variants.{label}");
        let spec = spec(&at, &variant)?;
        if spec.needs_assistant() {
            check_assistant(&at, models, stacks)?;
        }
        Ok(SpecVariant { label, spec, kv_type: variant.kv_type })
    });
    checked.collect()
}

/// A variant of every length of a sweep, in its place. Rates of acceptance are of the first positions, whatever the length.
fn swept(raw: Vec<RawVariant>) -> Checked<Vec<RawVariant>> {
    let mut all = Vec::with_capacity(raw.len());
    for (index, variant) in raw.into_iter().enumerate() {
        let Some(lengths) = &variant.sweep_draft_max else {
            all.push(variant);
            continue;
        };
        let at = format!("variants[{index}].sweep_draft_max");
        if variant.draft_max.or(variant.draft_block_size).is_some() {
            return Err(invalid(at, "given", "no `draft_max` beside it"));
        }
        if lengths.is_empty() {
            return Err(invalid(at, "[]", "at least one draft length"));
        }
        if let Some(place) = (1..lengths.len()).find(|&place| lengths[place] <= lengths[place - 1]) {
            let expected = format!("more than {}, the one before", lengths[place - 1]);
            return Err(invalid(format!("{at}[{place}]"), lengths[place], expected));
        }
        let of = |&length: &i64| RawVariant {
            label: variant.label.as_ref().map(|label| format!("{label}-{length}")),
            draft_max: Some(length),
            sweep_draft_max: None,
            synthetic_rates: variant.synthetic_rates.as_ref().map(|rates| first(rates, length).to_vec()),
            ..variant.clone()
        };
        all.extend(lengths.iter().map(of));
    }
    Ok(all)
}

/// All of them where there are fewer: the check of a variant says so.
fn first(rates: &[f64], length: i64) -> &[f64] {
    usize::try_from(length).ok().and_then(|length| rates.get(..length)).unwrap_or(rates)
}

fn spec(at: &str, raw: &RawVariant) -> Checked<SpecDecode> {
    let Some(method) = raw.method else {
        return Err(missing(format!("{at}.method"), "`none`, `mtp`, `nextn`, `draft-model` or `ngram`"));
    };
    refuse_foreign_keys(at, raw, method)?;
    if method == Method::None {
        return Ok(SpecDecode::None);
    }
    let draft_max = draft_max(at, raw)?;
    match method {
        Method::None => Ok(SpecDecode::None),
        Method::Mtp => Ok(SpecDecode::Mtp {
            draft_max,
            acceptance: acceptance(at, raw, draft_max)?,
            draft_head: raw.draft_head.unwrap_or_default(),
        }),
        Method::Nextn => Ok(SpecDecode::Nextn {
            draft_max,
            draft_min: draft_min(at, raw, draft_max)?,
            acceptance: acceptance(at, raw, draft_max)?,
        }),
        Method::DraftModel => {
            Ok(SpecDecode::DraftModel { draft_max, acceptance: acceptance(at, raw, draft_max)? })
        }
        Method::Ngram => {
            let ngram_min = count(format!("{at}.ngram_min"), raw.ngram_min, 2)?;
            let ngram_max = count(format!("{at}.ngram_max"), raw.ngram_max, 4)?;
            if ngram_max < ngram_min {
                let expected = format!("at least `ngram_min`, which is {ngram_min}");
                return Err(invalid(format!("{at}.ngram_max"), ngram_max, expected));
            }
            Ok(SpecDecode::Ngram { draft_max, ngram_min, ngram_max })
        }
    }
}

/// A second model drafts: it has to be named, for stacks that read GGUF files as a file.
fn check_assistant(at: &str, models: &ModelSource, stacks: &[StackChoice]) -> Checked<()> {
    let ModelSource::Files { assistant: None, hf, .. } = models else { return Ok(()) };
    let is_named = hf.as_ref().is_some_and(|hf| hf.assistant.is_some());
    if is_named && !stacks.iter().any(|stack| stack.kind.needs_gguf()) {
        return Ok(());
    }
    let expected = format!("the path of a drafter, since `{at}` drafts with one");
    Err(missing("models.assistant", expected)
        .hint("set `models.assistant = \"path.gguf\"`, or use `method = \"ngram\"`"))
}

/// A key of another method would be ignored, and whoever wrote it would believe it held.
fn refuse_foreign_keys(at: &str, raw: &RawVariant, method: Method) -> Checked<()> {
    let has_rule = matches!(method, Method::Mtp | Method::Nextn | Method::DraftModel);
    let given = [
        ("draft_max", raw.draft_max.is_some(), method != Method::None),
        ("draft_block_size", raw.draft_block_size.is_some(), method != Method::None),
        ("draft_min", raw.draft_min.is_some(), method == Method::Nextn),
        ("acceptance", raw.acceptance.is_some(), has_rule),
        ("synthetic_rates", raw.synthetic_rates.is_some(), has_rule),
        ("synthetic_length", raw.synthetic_length.is_some(), has_rule),
        ("draft_head", raw.draft_head.is_some(), method == Method::Mtp),
        ("ngram_min", raw.ngram_min.is_some(), method == Method::Ngram),
        ("ngram_max", raw.ngram_max.is_some(), method == Method::Ngram),
    ];
    match given.into_iter().find(|(_, written, fits)| *written && !fits) {
        Some((key, ..)) => Err(invalid(format!("{at}.{key}"), "given", "no such key with this `method`")
            .hint("remove it, or choose the method it belongs to")),
        None => Ok(()),
    }
}

fn draft_max(at: &str, raw: &RawVariant) -> Checked<NonZeroU32> {
    let key = format!("{at}.draft_max");
    let within = |drafts: &NonZeroU32| drafts.get() <= MOST_DRAFTS;
    match (raw.draft_max, raw.draft_block_size) {
        (Some(value), None) => {
            let drafts = u32::try_from(value).ok().and_then(NonZeroU32::new).filter(within);
            drafts.ok_or_else(|| invalid(key, value, format!("1 to {MOST_DRAFTS}")))
        }
        (None, Some(value)) => {
            let drafts = u32::try_from(value).ok().and_then(draft_length::from_block_size).filter(within);
            drafts.ok_or_else(|| {
                invalid(format!("{at}.draft_block_size"), value, format!("2 to {}", MOST_DRAFTS + 1))
                    .hint("a block holds the drafts and the token they follow: B drafts B - 1 tokens")
            })
        }
        (None, None) => Err(missing(key, format!("1 to {MOST_DRAFTS}"))),
        (Some(_), Some(_)) => {
            Err(invalid(format!("{at}.draft_block_size"), "given", "no `draft_max` beside it")
                .hint("both say the same: a block of B drafts B - 1 tokens"))
        }
    }
}

fn draft_min(at: &str, raw: &RawVariant, draft_max: NonZeroU32) -> Checked<u32> {
    let value = raw.draft_min.unwrap_or(0);
    let checked = u32::try_from(value).ok().filter(|&least| least <= draft_max.get());
    checked.ok_or_else(|| {
        invalid(format!("{at}.draft_min"), value, format!("0 to `draft_max`, which is {draft_max}"))
    })
}

fn acceptance(at: &str, raw: &RawVariant, draft_max: NonZeroU32) -> Checked<AcceptanceRule> {
    let (rates, length) = (&raw.synthetic_rates, raw.synthetic_length);
    let rule = raw.acceptance.unwrap_or(Acceptance::SampleAndCompare);
    if rule != Acceptance::Synthetic {
        let given = [("synthetic_rates", rates.is_some()), ("synthetic_length", length.is_some())];
        if let Some((key, _)) = given.into_iter().find(|(_, written)| *written) {
            let expected = "no such key without `acceptance = \"synthetic\"`";
            return Err(invalid(format!("{at}.{key}"), "given", expected));
        }
    }
    match rule {
        Acceptance::SampleAndCompare => Ok(AcceptanceRule::SampleAndCompare),
        Acceptance::Rejection => Ok(AcceptanceRule::Rejection),
        Acceptance::Synthetic => {
            synthetic(at, rates.as_deref(), length, draft_max).map(AcceptanceRule::Synthetic)
        }
    }
}

fn synthetic(
    at: &str,
    rates: Option<&[f64]>,
    length: Option<f64>,
    draft_max: NonZeroU32,
) -> Checked<SyntheticRates> {
    let key = format!("{at}.synthetic_rates");
    match (rates, length) {
        (Some(rates), None) => {
            let words = list(rates);
            if rates.len() != draft_max.get() as usize {
                return Err(invalid(key, words, format!("a rate for each of {draft_max} drafts")));
            }
            SyntheticRates::new(rates.to_vec()).map_err(|why| {
                let expected = "shares from 0 to 1 that never increase";
                invalid(key, words, expected).hint(&why)
            })
        }
        (None, Some(length)) => SyntheticRates::from_length(length, draft_max).map_err(|_out_of_range| {
            let most = draft_length::block_size(draft_max);
            invalid(format!("{at}.synthetic_length"), length, format!("1 to {most}"))
                .hint("it is the mean tokens of a verify step, the bonus token included")
        }),
        (None, None) => Err(missing(key, "rates of acceptance, a draft position each")
            .hint("or write `synthetic_length`, the mean tokens of a verify step")),
        (Some(_), Some(_)) => Err(invalid(
            format!("{at}.synthetic_length"),
            length.unwrap_or_default(),
            "no `synthetic_rates` beside it",
        )),
    }
}

fn list(rates: &[f64]) -> String {
    let rates: Vec<_> = rates.iter().map(f64::to_string).collect();
    format!("[{}]", rates.join(", "))
}
