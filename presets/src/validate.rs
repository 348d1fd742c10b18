//! Makes a [`Preset`] of what was written, or says which value cannot be run.
//!
//! Defaults are here and, in words, in `fields`.

use std::collections::HashSet;
use std::num::NonZeroU32;

use bench_core::preset::{
    KvType, ModelSource, PRESET_SCHEMA, Preset, PromptSpec, Route, RunParams, SamplingParams, ServingParams,
    SpecDecode, SpecVariant, StackChoice, SynthTiny, WeightType, Workload,
};

use crate::bundled::{self, find_bundled};
use crate::error::InvalidValue;
use crate::raw::{
    Method, RawModels, RawPreset, RawPrompt, RawRun, RawSampling, RawServing, RawStack, RawSynthTiny,
    RawVariant, RawWorkload,
};

type Checked<T> = Result<T, InvalidValue>;

/// More drafts a round than any stack takes; keeps a typing error from becoming a huge batch.
const MOST_DRAFTS: u32 = 64;

pub(crate) fn validate(raw: RawPreset) -> Checked<Preset> {
    let models = models(raw.models)?;
    let serving = serving(&raw.serving.unwrap_or_default())?;
    let workload = workload(raw.workload.unwrap_or_default(), serving.route)?;
    if serving.context_tokens <= workload.max_tokens {
        let expected = format!("more than `workload.max_tokens`, which is {}", workload.max_tokens);
        return Err(invalid("serving.context_tokens", serving.context_tokens, expected)
            .hint("a request's prompt and output share the context"));
    }
    Ok(Preset {
        schema: PRESET_SCHEMA,
        name: label("name".to_owned(), raw.name)?,
        description: raw.description.unwrap_or_default(),
        stacks: stacks(raw.stacks.unwrap_or_default())?,
        variants: variants(raw.variants.unwrap_or_default(), &models)?,
        models,
        serving,
        workload,
        sampling: sampling(&raw.sampling.unwrap_or_default())?,
        run: run(raw.run.unwrap_or_default())?,
    })
}

fn models(raw: Option<RawModels>) -> Checked<ModelSource> {
    let raw = raw.unwrap_or_default();
    match (raw.target, raw.assistant, raw.bundled, raw.synth_tiny) {
        (Some(target), assistant, None, None) => {
            let target = path("models.target", target)?.into();
            let assistant = assistant.map(|text| path("models.assistant", text)).transpose()?.map(Into::into);
            Ok(ModelSource::Files { target, assistant })
        }
        (None, None, Some(name), None) => bundled(name),
        (None, None, None, Some(synth)) => Ok(ModelSource::SynthTiny(synth_tiny(&synth)?)),
        (None, _, None, None) => Err(missing("models.target", "the path of a GGUF file").hint(
            "or write `models.bundled = \"nano\"`, or a `[models.synth_tiny]` section for a synthetic pair",
        )),
        (_, _, Some(_), _) => Err(second_source("models.bundled")),
        (_, _, None, Some(_)) => Err(second_source("models.synth_tiny")),
    }
}

fn second_source(key: &str) -> InvalidValue {
    invalid(key, "given beside another source", "one source of weights")
        .hint("keep one of `models.target` with `models.assistant`, `models.bundled` and `models.synth_tiny`")
}

fn bundled(name: String) -> Checked<ModelSource> {
    match find_bundled(&name) {
        Ok(_) => Ok(ModelSource::Bundled(name)),
        Err(unknown) => {
            let expected = format!("the name of a bundled pair: {}", bundled::names());
            Err(InvalidValue { hint: unknown.hint(), ..invalid("models.bundled", name, expected) })
        }
    }
}

fn synth_tiny(raw: &RawSynthTiny) -> Checked<SynthTiny> {
    Ok(SynthTiny {
        acceptance: share("models.synth_tiny.acceptance", raw.acceptance)?.unwrap_or(0.7),
        cycle: raw.cycle.map(|n| count("models.synth_tiny.cycle", Some(n), 1)).transpose()?,
        weights: raw.weights.unwrap_or(WeightType::F16),
        seed: seed("models.synth_tiny.seed", raw.seed, 1)?,
    })
}

fn stacks(raw: Vec<RawStack>) -> Checked<Vec<StackChoice>> {
    if raw.is_empty() {
        return Err(
            missing("stacks", "at least one stack").hint("write `[[stacks]]` and `kind = \"native\"`")
        );
    }
    let mut seen = HashSet::new();
    let choices = raw.into_iter().enumerate().map(|(index, stack)| {
        if !seen.insert(stack.kind) {
            return Err(invalid(format!("stacks[{index}].kind"), stack.kind, "each stack once"));
        }
        Ok(StackChoice { kind: stack.kind, required: stack.required.unwrap_or(true) })
    });
    choices.collect()
}

fn variants(raw: Vec<RawVariant>, models: &ModelSource) -> Checked<Vec<SpecVariant>> {
    if raw.is_empty() {
        return Err(missing("variants", "at least one way of speculating")
            .hint("write `[[variants]]`, `label = \"none\"` and `method = \"none\"` for a baseline"));
    }
    let mut seen = HashSet::new();
    let checked = raw.into_iter().enumerate().map(|(index, variant)| {
        let label = label(format!("variants[{index}].label"), variant.label.clone())?;
        if !seen.insert(label.clone()) {
            return Err(invalid(format!("variants[{index}].label"), label, "a label no other variant has"));
        }
        let spec = spec(&format!("variants.{label}"), &variant, models)?;
        Ok(SpecVariant { label, spec })
    });
    checked.collect()
}

fn spec(at: &str, raw: &RawVariant, models: &ModelSource) -> Checked<SpecDecode> {
    let Some(method) = raw.method else {
        return Err(missing(format!("{at}.method"), "`none`, `mtp` or `ngram`"));
    };
    refuse_foreign_keys(at, raw, method)?;
    match method {
        Method::None => Ok(SpecDecode::None),
        Method::Mtp => {
            if let ModelSource::Files { assistant: None, .. } = models {
                return Err(missing(
                    "models.assistant",
                    format!("the path of a drafter, since `{at}` drafts with one"),
                )
                .hint("set `models.assistant = \"path.gguf\"`, or use `method = \"ngram\"`"));
            }
            Ok(SpecDecode::Mtp {
                draft_max: draft_max(at, raw)?,
                acceptance: raw.acceptance.unwrap_or_default(),
                draft_head: raw.draft_head.unwrap_or_default(),
            })
        }
        Method::Ngram => {
            let ngram_min = count(format!("{at}.ngram_min"), raw.ngram_min, 2)?;
            let ngram_max = count(format!("{at}.ngram_max"), raw.ngram_max, 4)?;
            if ngram_max < ngram_min {
                let expected = format!("at least `ngram_min`, which is {ngram_min}");
                return Err(invalid(format!("{at}.ngram_max"), ngram_max, expected));
            }
            Ok(SpecDecode::Ngram { draft_max: draft_max(at, raw)?, ngram_min, ngram_max })
        }
    }
}

/// A key of another method would be ignored, and whoever wrote it would believe it held.
fn refuse_foreign_keys(at: &str, raw: &RawVariant, method: Method) -> Checked<()> {
    let given = [
        ("draft_max", raw.draft_max.is_some(), method != Method::None),
        ("acceptance", raw.acceptance.is_some(), method == Method::Mtp),
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
    let expected = format!("1 to {MOST_DRAFTS}");
    let Some(value) = raw.draft_max else { return Err(missing(key, expected)) };
    let checked = u32::try_from(value).ok().filter(|&drafts| drafts <= MOST_DRAFTS).and_then(NonZeroU32::new);
    checked.ok_or_else(|| invalid(key, value, expected))
}

fn serving(raw: &RawServing) -> Checked<ServingParams> {
    Ok(ServingParams {
        context_tokens: count("serving.context_tokens", raw.context_tokens, 4096)?,
        kv_type: raw.kv_type.unwrap_or(KvType::F16),
        threads: count("serving.threads", raw.threads, 4)?,
        route: raw.route.unwrap_or(Route::Completion),
    })
}

fn workload(raw: RawWorkload, route: Route) -> Checked<Workload> {
    let prompts = raw.prompts.unwrap_or_default();
    if prompts.is_empty() {
        return Err(missing("workload.prompts", "at least one prompt")
            .hint("write `[[workload.prompts]]` with `id` and `text`"));
    }
    let mut seen = HashSet::new();
    let checked = prompts.into_iter().enumerate().map(|(index, raw)| {
        let prompt = prompt(&format!("workload.prompts[{index}]"), raw, route)?;
        if !seen.insert(prompt.id.clone()) {
            let key = format!("workload.prompts[{index}].id");
            return Err(invalid(key, prompt.id, "an id no other prompt has"));
        }
        Ok(prompt)
    });
    Ok(Workload {
        prompts: checked.collect::<Checked<_>>()?,
        max_tokens: count("workload.max_tokens", raw.max_tokens, 128)?,
        ignore_eos: raw.ignore_eos.unwrap_or(false),
    })
}

fn prompt(at: &str, raw: RawPrompt, route: Route) -> Checked<PromptSpec> {
    let id = label(format!("{at}.id"), raw.id)?;
    let Some(text) = raw.text.filter(|text| !text.trim().is_empty()) else {
        return Err(missing(format!("{at}.text"), "the text of the prompt"));
    };
    if raw.system.is_some() && route == Route::Completion {
        return Err(invalid(
            format!("{at}.system"),
            "given",
            "no system message with `serving.route = \"completion\"`",
        )
        .hint("raw text has no system message: put it into `text`, or set `serving.route = \"chat\"`"));
    }
    let category = raw.category.unwrap_or_else(|| "prose".to_owned());
    if category.trim().is_empty() {
        return Err(invalid(format!("{at}.category"), category, "a word"));
    }
    Ok(PromptSpec { id, category, system: raw.system, text })
}

fn sampling(raw: &RawSampling) -> Checked<SamplingParams> {
    let temperature = raw.temperature.unwrap_or(0.0);
    if !(temperature >= 0.0 && narrow(temperature).is_finite()) {
        return Err(invalid("sampling.temperature", temperature, "0 (greedy) or more"));
    }
    let top_p = share("sampling.top_p", raw.top_p)?;
    if top_p.is_some_and(|p| p <= 0.0) {
        return Err(invalid("sampling.top_p", 0, "above 0, up to 1").hint("leave it out to switch it off"));
    }
    Ok(SamplingParams {
        temperature: narrow(temperature),
        top_k: raw.top_k.map(|k| count("sampling.top_k", Some(k), 1)).transpose()?,
        top_p,
        min_p: share("sampling.min_p", raw.min_p)?,
        seed: seed("sampling.seed", raw.seed, 42)?,
    })
}

fn run(raw: RawRun) -> Checked<RunParams> {
    let warmup = raw.warmup_requests.unwrap_or(1);
    Ok(RunParams {
        blocks: count("run.blocks", raw.blocks, 5)?,
        warmup_requests: u32::try_from(warmup)
            .map_err(|_out_of_range| invalid("run.warmup_requests", warmup, "0 or more"))?,
        concurrency: count("run.concurrency", raw.concurrency, 1)?,
        request_timeout_ms: raw
            .request_timeout
            .map_or(Ok(120_000), |text| duration_ms("run.request_timeout", &text))?,
    })
}

/// A number of things, at least 1.
fn count(key: impl Into<String>, value: Option<i64>, default: u32) -> Checked<NonZeroU32> {
    let value = value.unwrap_or(i64::from(default));
    let checked = u32::try_from(value).ok().and_then(NonZeroU32::new);
    checked.ok_or_else(|| invalid(key, value, format!("1 to {}", u32::MAX)))
}

fn seed(key: &str, value: Option<i64>, default: u64) -> Checked<u64> {
    value.map_or(Ok(default), |value| {
        u64::try_from(value).map_err(|_negative| invalid(key, value, format!("0 to {}", i64::MAX)))
    })
}

/// A share from 0 to 1.
fn share(key: &str, value: Option<f64>) -> Checked<Option<f32>> {
    match value {
        Some(value) if !(0.0..=1.0).contains(&value) => Err(invalid(key, value, "0 to 1")),
        value => Ok(value.map(narrow)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest f32 is meant")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// A label: it becomes part of arm names, file names and `--set` paths.
fn label(key: String, value: Option<String>) -> Checked<String> {
    let Some(value) = value else { return Err(missing(key, "a name of `a-z`, `0-9` and `-`")) };
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if value.is_empty() || !value.chars().all(fits) {
        return Err(invalid(key, value, "a name of `a-z`, `0-9` and `-`"));
    }
    Ok(value)
}

fn path(key: &str, value: String) -> Checked<String> {
    if value.is_empty() { Err(invalid(key, value, "a path")) } else { Ok(value) }
}

/// `500ms`, `30s`, `2m`: a whole number and its unit, above 0.
fn duration_ms(key: &str, text: &str) -> Checked<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let number: Option<u64> = digits.trim_end().parse().ok();
    let ms = number.zip(unit_ms).and_then(|(number, unit_ms)| number.checked_mul(unit_ms));
    // A deadline is added to the clock: a century is far enough, and cannot overflow it.
    ms.filter(|ms| (1..=3_155_760_000_000).contains(ms)).ok_or_else(|| {
        invalid(key, text, "a duration above 0")
            .hint("write a whole number and `ms`, `s` or `m`, such as `30s`")
    })
}

#[expect(clippy::needless_pass_by_value, reason = "callers hand over numbers and strings alike")]
fn invalid(key: impl Into<String>, value: impl ToString, expected: impl Into<String>) -> InvalidValue {
    InvalidValue { key: key.into(), value: Some(value.to_string()), expected: expected.into(), hint: None }
}

fn missing(key: impl Into<String>, expected: impl Into<String>) -> InvalidValue {
    InvalidValue { key: key.into(), value: None, expected: expected.into(), hint: None }
}

impl InvalidValue {
    fn hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }
}
