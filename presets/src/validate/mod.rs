//! Makes a [`Preset`] of what was written, or says which value cannot be run.
//!
//! Defaults are here and, in words, in `fields`.

use std::collections::HashSet;
use std::num::NonZeroU32;

use bench_core::kv_quality::DEFAULT_KV_QUALITY_TOKENS;
use bench_core::preset::{
    DEFAULT_MAX_LOOKS, DEFAULT_MAX_RESTARTS, DEFAULT_MIN_ACCEPTANCE, DEFAULT_THROUGHPUT_MARGIN,
    DEFAULT_TTFT_MARGIN, HfModels, KvType, KvTypes, ModelSource, PRESET_SCHEMA, Preset, PromptSpec, Route,
    RunParams, SamplingParams, ServingParams, SynthTiny, WeightType, Workload,
};
use bench_core::stats::MAX_LOOKS;

use self::values::{Checked, count, duration_ms, invalid, label, missing, narrow, path, seed, share};
use crate::bundled::{self, find_bundled};
use crate::error::InvalidValue;
use crate::raw::{
    RawModels, RawPreset, RawPrompt, RawRun, RawSampling, RawServing, RawSynthTiny, RawWorkload,
};

mod load;
mod prompt_file;
mod prompt_set;
mod speculation;
mod stacks;
mod synthetic;
mod values;

/// The preset, and in `notes` what a reader of its results has to know.
pub(crate) fn validate(raw: RawPreset, notes: &mut Vec<String>) -> Checked<Preset> {
    let models = models(raw.models)?;
    let stacks = stacks::stacks(raw.stacks.unwrap_or_default())?;
    let raw_serving = raw.serving.unwrap_or_default();
    let workload =
        workload(raw.workload.unwrap_or_default(), raw_serving.route.unwrap_or(Route::Completion), notes)?;
    let run = run(raw.run.unwrap_or_default(), workload.prompts.len())?;
    load::ends_no_conversation(run.duration_s, &workload.prompts)?;
    let serving = serving(&raw_serving, load::slots(&run.load, run.concurrency))?;
    if serving.context_tokens <= workload.max_tokens {
        let expected = format!("more than `workload.max_tokens`, which is {}", workload.max_tokens);
        return Err(invalid("serving.context_tokens", serving.context_tokens, expected)
            .hint("a request's prompt and output share the context"));
    }
    if let Some(synthetic) = &workload.synthetic {
        synthetic::fits(synthetic, workload.max_tokens, serving.context_tokens)?;
    }
    Ok(Preset {
        schema: PRESET_SCHEMA,
        name: label("name".to_owned(), raw.name)?,
        description: raw.description.unwrap_or_default(),
        variants: speculation::variants(raw.variants.unwrap_or_default(), &models, &stacks)?,
        stacks,
        models,
        serving,
        workload,
        sampling: sampling(&raw.sampling.unwrap_or_default())?,
        run,
    })
}

fn models(raw: Option<RawModels>) -> Checked<ModelSource> {
    let raw = raw.unwrap_or_default();
    let hf = hf_models(raw.hf_target, raw.hf_assistant)?;
    match (raw.target, raw.assistant, raw.bundled, raw.synth_tiny) {
        (Some(target), assistant, None, None) => {
            let target = path("models.target", target)?.into();
            let assistant = assistant.map(|text| path("models.assistant", text)).transpose()?.map(Into::into);
            Ok(ModelSource::Files { target, assistant, hf })
        }
        (None, None, Some(_), None) | (None, None, None, Some(_)) if hf.is_some() => {
            Err(invalid("models.hf_target", "given", "no such key without `models.target`")
                .hint("only model files have a second form; attach to a running server instead (BENCH_VLLM)"))
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

/// The same models as transformers keeps them. A name must not look like an option to whoever is told of it.
fn hf_models(target: Option<String>, assistant: Option<String>) -> Checked<Option<HfModels>> {
    let name = |key: &str, text: Option<String>| match text {
        Some(text) if text.is_empty() || text.starts_with('-') => {
            Err(invalid(key, text, "a folder, or a name on a model hub such as `google/gemma-4-E4B-it`"))
        }
        text => Ok(text),
    };
    let assistant = name("models.hf_assistant", assistant)?;
    match (name("models.hf_target", target)?, assistant) {
        (Some(target), assistant) => Ok(Some(HfModels { target, assistant })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(missing("models.hf_target", "the target of `models.hf_assistant`")),
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

fn serving(raw: &RawServing, slots: NonZeroU32) -> Checked<ServingParams> {
    Ok(ServingParams {
        context_tokens: count("serving.context_tokens", raw.context_tokens, 4096)?,
        kv_type: raw.kv_type.unwrap_or(KvTypes::same(KvType::F16)),
        threads: count("serving.threads", raw.threads, 4)?,
        route: raw.route.unwrap_or(Route::Completion),
        device: raw.device.unwrap_or_default(),
        ple_table: raw.ple_table.unwrap_or_default(),
        slots: count("serving.slots", raw.slots, slots.get())?,
    })
}

fn workload(raw: RawWorkload, route: Route, notes: &mut Vec<String>) -> Checked<Workload> {
    let max_tokens = count("workload.max_tokens", raw.max_tokens, 128)?;
    if let Some(synthetic) = synthetic::synthetic(&raw)? {
        return Ok(Workload {
            prompts: synthetic.prompts(),
            max_tokens,
            ignore_eos: raw.ignore_eos.unwrap_or(false),
            salted: raw.salted.unwrap_or(false),
            synthetic: Some(synthetic),
        });
    }
    let of_file = prompt_file::prompts(&raw, route, notes)?;
    let prompts = if of_file.is_some() { of_file } else { prompt_set::prompts(&raw, route)? };
    let prompts = prompts.or(raw.prompts).unwrap_or_default();
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
        max_tokens,
        ignore_eos: raw.ignore_eos.unwrap_or(false),
        salted: raw.salted.unwrap_or(false),
        synthetic: None,
    })
}

fn prompt(at: &str, raw: RawPrompt, route: Route) -> Checked<PromptSpec> {
    let id = label(format!("{at}.id"), raw.id)?;
    let (text, later_turns) = user_texts(at, raw.text, raw.turns)?;
    let raw_route = match route {
        Route::Completion => Some("completion"),
        Route::OpenAiCompletion => Some("openai-completion"),
        Route::Chat => None,
    };
    if let (Some(_), Some(route)) = (&raw.system, raw_route) {
        let expected = format!("no system message with `serving.route = \"{route}\"`");
        return Err(invalid(format!("{at}.system"), "given", expected)
            .hint("raw text has no system message: put it into `text`, or set `serving.route = \"chat\"`"));
    }
    if let (false, Some(route)) = (later_turns.is_empty(), raw_route) {
        let expected = format!("one turn with `serving.route = \"{route}\"`");
        return Err(invalid(format!("{at}.turns"), later_turns.len() + 1, expected)
            .hint("a conversation is made of messages: set `serving.route = \"chat\"`"));
    }
    let category = raw.category.unwrap_or_else(|| "prose".to_owned());
    if category.trim().is_empty() {
        return Err(invalid(format!("{at}.category"), category, "a word"));
    }
    Ok(PromptSpec { id, category, system: raw.system, text, later_turns })
}

/// The first user turn, and those after it.
fn user_texts(at: &str, text: Option<String>, turns: Option<Vec<String>>) -> Checked<(String, Vec<String>)> {
    let is_blank = |text: &String| text.trim().is_empty();
    let mut turns = match (text, turns) {
        (Some(_), Some(_)) => {
            return Err(invalid(format!("{at}.turns"), "given", "either this or `text`"));
        }
        (Some(text), None) if !is_blank(&text) => return Ok((text, Vec::new())),
        (Some(_), None) | (None, None) => {
            return Err(missing(format!("{at}.text"), "the text of the prompt"));
        }
        (None, Some(turns)) => turns,
    };
    if let Some(blank) = turns.iter().position(is_blank) {
        return Err(missing(format!("{at}.turns[{blank}]"), "what the user says"));
    }
    if turns.is_empty() {
        return Err(invalid(format!("{at}.turns"), "[]", "at least one text"));
    }
    let first = turns.remove(0);
    Ok((first, turns))
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

fn think_time(raw: Option<i64>) -> Checked<u64> {
    /// Longer than any run.
    const MOST_MS: u64 = 24 * 60 * 60 * 1000;
    let value = raw.unwrap_or_default();
    u64::try_from(value)
        .ok()
        .filter(|ms| *ms <= MOST_MS)
        .ok_or_else(|| invalid("run.think_time_ms", value, format!("0 to {MOST_MS}, which is a day")))
}

fn run(raw: RawRun, prompts: usize) -> Checked<RunParams> {
    let number = |key: &str, value: Option<i64>, default: u32| {
        let value = value.unwrap_or(i64::from(default));
        u32::try_from(value).map_err(|_out_of_range| invalid(key, value, format!("0 to {}", u32::MAX)))
    };
    let fraction = |key: &str, value: Option<f64>, default: f64| {
        let value = value.unwrap_or(default);
        if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(invalid(key, value, "0 to 1")) }
    };
    let max_looks = number("run.max_looks", raw.max_looks, DEFAULT_MAX_LOOKS)?;
    if !(1..=MAX_LOOKS).contains(&max_looks) {
        return Err(invalid("run.max_looks", max_looks, format!("1 to {MAX_LOOKS}"))
            .hint("every look widens all intervals; 1 looks at the end only"));
    }
    let duration_s = load::duration(&raw)?;
    let load = load::load(&raw, prompts)?;
    let (concurrency, sweep_concurrency) = load::concurrency(&raw, &load)?;
    Ok(RunParams {
        blocks: count("run.blocks", raw.blocks, 5)?,
        warmup_requests: number("run.warmup_requests", raw.warmup_requests, 1)?,
        concurrency,
        sweep_concurrency,
        load,
        request_timeout_ms: raw
            .request_timeout
            .map_or(Ok(120_000), |text| duration_ms("run.request_timeout", &text))?,
        max_restarts: number("run.max_restarts", raw.max_restarts, DEFAULT_MAX_RESTARTS)?,
        min_acceptance: fraction("run.min_acceptance", raw.min_acceptance, DEFAULT_MIN_ACCEPTANCE)?,
        order: raw.order.unwrap_or_default(),
        max_looks,
        throughput_margin: fraction(
            "run.throughput_margin",
            raw.throughput_margin,
            DEFAULT_THROUGHPUT_MARGIN,
        )?,
        ttft_margin: fraction("run.ttft_margin", raw.ttft_margin, DEFAULT_TTFT_MARGIN)?,
        duration_s,
        think_time_ms: think_time(raw.think_time_ms)?,
        kv_quality_tokens: number("run.kv_quality_tokens", raw.kv_quality_tokens, DEFAULT_KV_QUALITY_TOKENS)?,
    })
}
