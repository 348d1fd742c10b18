//! A preset as TOML, every key written out: what `bench presets show` prints, and what loads back equal.

use std::num::NonZeroU32;
use std::path::Path;

use bench_core::load::{Arrivals, Load, OpenLoad};
use bench_core::preset::{
    AcceptanceRule, ModelSource, Preset, PromptSpec, SpecDecode, SpecVariant, StackChoice,
};
use bench_core::synthetic::SyntheticPrompts;

use crate::error::PresetError;
use crate::raw::{
    Acceptance, LoadWord, Method, RawModels, RawPreset, RawPrompt, RawRun, RawSampling, RawServing, RawStack,
    RawSynthTiny, RawSynthetic, RawVariant, RawWorkload,
};

/// The preset's TOML.
///
/// # Errors
///
/// What TOML cannot hold: a seed above `i64::MAX`, a path that is not UTF-8. No preset that was read from TOML has
/// either.
pub fn to_toml(preset: &Preset) -> Result<String, PresetError> {
    raw(preset).and_then(|raw| toml::to_string_pretty(&raw)).map_err(|source| PresetError::Write { source })
}

fn raw(preset: &Preset) -> Result<RawPreset, toml::ser::Error> {
    let Preset { schema: _, name, description, models, stacks, variants, serving, workload, sampling, run } =
        preset;
    Ok(RawPreset {
        name: Some(name.clone()),
        description: Some(description.clone()),
        inherits: None,
        models: Some(raw_models(models)?),
        stacks: Some(stacks.iter().map(raw_stack).collect()),
        variants: Some(variants.iter().map(raw_variant).collect()),
        serving: Some(RawServing {
            context_tokens: Some(serving.context_tokens.get().into()),
            kv_type: Some(serving.kv_type),
            threads: Some(serving.threads.get().into()),
            route: Some(serving.route),
            device: Some(serving.device),
            ple_table: Some(serving.ple_table),
            slots: Some(serving.slots.get().into()),
        }),
        workload: Some(RawWorkload {
            max_tokens: Some(workload.max_tokens.get().into()),
            ignore_eos: Some(workload.ignore_eos),
            salted: Some(workload.salted),
            synthetic: workload.synthetic.as_ref().map(raw_synthetic).transpose()?,
            // Synthetic prompts are made anew of what they were made of.
            prompts: workload.synthetic.is_none().then(|| workload.prompts.iter().map(raw_prompt).collect()),
            ..RawWorkload::default()
        }),
        sampling: Some(RawSampling {
            temperature: Some(widen(sampling.temperature)),
            top_k: sampling.top_k.map(|k| k.get().into()),
            top_p: sampling.top_p.map(widen),
            min_p: sampling.min_p.map(widen),
            seed: Some(seed(sampling.seed)?),
        }),
        run: Some(RawRun {
            blocks: Some(run.blocks.get().into()),
            warmup_requests: Some(run.warmup_requests.into()),
            concurrency: Some(run.concurrency.get().into()),
            request_timeout: Some(format!("{}ms", run.request_timeout_ms)),
            max_restarts: Some(run.max_restarts.into()),
            min_acceptance: Some(run.min_acceptance),
            order: Some(run.order),
            max_looks: Some(run.max_looks.into()),
            throughput_margin: Some(run.throughput_margin),
            ttft_margin: Some(run.ttft_margin),
            think_time_ms: Some(whole("think time", run.think_time_ms)?),
            kv_quality_tokens: Some(run.kv_quality_tokens.into()),
            sweep_concurrency: (!run.sweep_concurrency.is_empty())
                .then(|| run.sweep_concurrency.iter().map(|n| n.get().into()).collect()),
            duration_s: run.duration_s.map(|seconds| seconds.get().into()),
            ..raw_load(&run.load)
        }),
    })
}

/// The load, and nothing else of the section.
fn raw_load(load: &Load) -> RawRun {
    let Load::Open(OpenLoad { arrivals, requests, max_in_flight }) = load else {
        return RawRun { load: Some(LoadWord::Closed), ..RawRun::default() };
    };
    let raw = RawRun {
        // So many stand for all that fall into `run.duration_s`.
        requests: (*requests != NonZeroU32::MAX).then(|| requests.get().into()),
        max_in_flight: max_in_flight.map(|most| most.get().into()),
        ..RawRun::default()
    };
    match arrivals {
        Arrivals::Constant { rate } => RawRun { load: Some(LoadWord::Constant), rate: Some(*rate), ..raw },
        Arrivals::Poisson { rate } => RawRun { load: Some(LoadWord::Poisson), rate: Some(*rate), ..raw },
        Arrivals::Gamma { rate, burstiness } => {
            RawRun { load: Some(LoadWord::Gamma), rate: Some(*rate), burstiness: Some(*burstiness), ..raw }
        }
        Arrivals::Ramp { from, to, curve } => RawRun {
            load: Some(LoadWord::Ramp),
            rate: Some(*from),
            rate_end: Some(*to),
            ramp: Some(*curve),
            ..raw
        },
        Arrivals::Trace { at_us } => {
            RawRun { load: Some(LoadWord::Trace), trace_us: Some(at_us.clone()), ..raw }
        }
    }
}

fn raw_models(models: &ModelSource) -> Result<RawModels, toml::ser::Error> {
    let path_text = |path: &Path| -> Result<String, toml::ser::Error> {
        match path.to_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(serde::ser::Error::custom(format!("the path `{}` is not UTF-8", path.display()))),
        }
    };
    Ok(match models {
        ModelSource::Files { target, assistant, hf } => RawModels {
            target: Some(path_text(target)?),
            assistant: assistant.as_deref().map(path_text).transpose()?,
            hf_target: hf.as_ref().map(|hf| hf.target.clone()),
            hf_assistant: hf.as_ref().and_then(|hf| hf.assistant.clone()),
            ..RawModels::default()
        },
        ModelSource::Bundled(name) => RawModels { bundled: Some(name.clone()), ..RawModels::default() },
        ModelSource::SynthTiny(synth) => RawModels {
            synth_tiny: Some(RawSynthTiny {
                acceptance: Some(widen(synth.acceptance)),
                cycle: synth.cycle.map(|n| i64::from(n.get())),
                weights: Some(synth.weights),
                seed: Some(seed(synth.seed)?),
            }),
            ..RawModels::default()
        },
    })
}

fn raw_stack(stack: &StackChoice) -> RawStack {
    let command = (!stack.command.is_empty()).then(|| stack.command.clone());
    RawStack { kind: stack.kind, required: Some(stack.required), command }
}

fn raw_variant(variant: &SpecVariant) -> RawVariant {
    let mut raw = RawVariant {
        label: Some(variant.label.clone()),
        draft_max: variant.spec.draft_max().map(|n| n.get().into()),
        kv_type: variant.kv_type,
        ..RawVariant::default()
    };
    match &variant.spec {
        SpecDecode::None => raw.method = Some(Method::None),
        SpecDecode::Mtp { draft_max: _, acceptance, draft_head } => {
            raw.method = Some(Method::Mtp);
            raw.draft_head = Some(*draft_head);
            set_acceptance(&mut raw, acceptance);
        }
        SpecDecode::Nextn { draft_max: _, draft_min, acceptance } => {
            raw.method = Some(Method::Nextn);
            raw.draft_min = Some((*draft_min).into());
            set_acceptance(&mut raw, acceptance);
        }
        SpecDecode::DraftModel { draft_max: _, acceptance } => {
            raw.method = Some(Method::DraftModel);
            set_acceptance(&mut raw, acceptance);
        }
        SpecDecode::Ngram { draft_max: _, ngram_min, ngram_max } => {
            raw.method = Some(Method::Ngram);
            raw.ngram_min = Some(ngram_min.get().into());
            raw.ngram_max = Some(ngram_max.get().into());
        }
    }
    raw
}

fn set_acceptance(raw: &mut RawVariant, rule: &AcceptanceRule) {
    raw.acceptance = Some(match rule {
        AcceptanceRule::SampleAndCompare => Acceptance::SampleAndCompare,
        AcceptanceRule::Rejection => Acceptance::Rejection,
        AcceptanceRule::Synthetic(rates) => {
            raw.synthetic_rates = Some(rates.marginal().to_vec());
            Acceptance::Synthetic
        }
    });
}

fn raw_prompt(prompt: &PromptSpec) -> RawPrompt {
    RawPrompt {
        id: Some(prompt.id.clone()),
        category: Some(prompt.category.clone()),
        system: prompt.system.clone(),
        text: prompt.later_turns.is_empty().then(|| prompt.text.clone()),
        turns: (!prompt.later_turns.is_empty())
            .then(|| std::iter::once(&prompt.text).chain(&prompt.later_turns).cloned().collect()),
    }
}

fn raw_synthetic(synthetic: &SyntheticPrompts) -> Result<RawSynthetic, toml::ser::Error> {
    let SyntheticPrompts { input_tokens, count, spread, seed: drawn_by } = synthetic;
    Ok(RawSynthetic {
        input_tokens: Some(input_tokens.iter().map(|tokens| tokens.get().into()).collect()),
        count: Some(count.get().into()),
        spread: Some(*spread),
        seed: Some(seed(*drawn_by)?),
    })
}

/// The shortest decimal that reads back as this `f32`: 0.7, not 0.699999988079071.
fn widen(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

fn seed(seed: u64) -> Result<i64, toml::ser::Error> {
    whole("seed", seed)
}

fn whole(what: &str, value: u64) -> Result<i64, toml::ser::Error> {
    i64::try_from(value)
        .map_err(|_too_large| serde::ser::Error::custom(format!("the {what} {value} is above {}", i64::MAX)))
}
