//! What two runs, or two arms, differ in besides what is asked about: evidence for the table in [`crate::reasons`].
//!
//! Reads manifests and the readings of the machine, no rows. What one side does not know contradicts nothing.

use std::collections::BTreeMap;

use bench_core::environment::{EnvironmentRead, GpuHost};
use bench_core::preset::{Preset, RunOrder, RunParams, SpecDecode, StackKind};
use bench_core::prompt_set::PromptSet;
use bench_core::record::{ArmManifest, HostInfo, RunManifest};
use bench_core::run_dir::prompt_sha256;
use bench_core::stack::StackInfo;

use crate::load::Loaded;
use crate::reasons::{Reason, Refusal};

/// Everything that stands between two runs and a comparison of these arms.
pub(crate) fn differences(
    (baseline, candidate): (&Loaded, &Loaded),
    pairs: &[(String, String)],
) -> Vec<Refusal> {
    let (a, b) = (baseline.first(), candidate.first());
    let gpus = |run: &Loaded| gpus(run.environments.first()?.as_ref());
    let of_runs = [
        (a.run_id == b.run_id).then(|| Reason::SameRun.with(&a.run_id)),
        prompts_differ(&a.preset, &b.preset),
        Reason::Sampling.if_differ(&a.preset.sampling, &b.preset.sampling),
        Reason::OutputLength.if_differ(&a.preset.workload.max_tokens, &b.preset.workload.max_tokens),
        Reason::IgnoreEos.if_differ(&a.preset.workload.ignore_eos, &b.preset.workload.ignore_eos),
        Reason::Sending.if_differ(&sending(&a.preset.run), &sending(&b.preset.run)),
        Reason::Machine.if_differ(&machine(&a.host), &machine(&b.host)),
        Reason::Gpu.if_known_differ(gpus(baseline), gpus(candidate)),
        models_differ(a, b),
        Reason::Serving.if_differ(&a.preset.serving, &b.preset.serving),
    ];
    let of_arms = pairs.iter().filter_map(|(of_a, of_b)| {
        let arm = |run: &RunManifest, label: &str| run.arms.iter().find(|arm| arm.label == label).cloned();
        Some(arms_differ(&arm(a, of_a)?, &arm(b, of_b)?))
    });
    of_runs.into_iter().flatten().chain(of_arms.flatten()).collect()
}

/// What makes a run no repetition of others: the first thing that is found.
pub(crate) fn no_repetition(
    (first, of_first): (&RunManifest, Option<&EnvironmentRead>),
    arms: &[ArmManifest],
    (run, of_run): (&RunManifest, Option<&EnvironmentRead>),
) -> Option<Refusal> {
    let (a, b) = (&first.preset_sha256, &run.preset_sha256);
    let preset = || (a != b).then(|| pair(Reason::Preset, &short(a), &short(b)));
    let (a, b) = (&first.suite_version, &run.suite_version);
    let suite = || (a != b).then(|| pair(Reason::SuiteVersion, a, b));
    // Shards measure a server elsewhere, each from its own machine.
    let shards = first.shard.is_some() && run.shard.is_some();
    let machines = || {
        let is_other = whole_machine(&first.host) != whole_machine(&run.host);
        let name = |host: &HostInfo| host.cpu.clone().unwrap_or_else(|| "unknown CPU".to_owned());
        is_other.then(|| pair(Reason::Machine, &name(&first.host), &name(&run.host)))
    };
    let machine = || if shards { None } else { machines().or_else(|| other_gpus(of_first, of_run)) };
    let of_arms =
        || arms.iter().find_map(|known| arm_of(run, &known.label).and_then(|arm| repeats(known, arm)));
    preset().or_else(|| models_differ(first, run)).or_else(suite).or_else(machine).or_else(of_arms)
}

fn arm_of<'a>(run: &'a RunManifest, label: &str) -> Option<&'a ArmManifest> {
    run.arms.iter().find(|arm| arm.label == label)
}

/// Another build is a question between two runs, and two things in one sample.
fn repeats(known: &ArmManifest, arm: &ArmManifest) -> Option<Refusal> {
    arms_differ(known, arm).into_iter().next().or_else(|| {
        let build = |arm: &ArmManifest| arm.info.as_ref()?.build.clone();
        build(known)
            .zip(build(arm))
            .filter(|(a, b)| a != b)
            .map(|(a, b)| Reason::StackBuild.of(&arm.label)(format!("{a:?} and {b:?}")))
    })
}

fn other_gpus(a: Option<&EnvironmentRead>, b: Option<&EnvironmentRead>) -> Option<Refusal> {
    Reason::Gpu.if_known_differ(gpus(a), gpus(b))
}

fn pair(reason: Reason, a: &str, b: &str) -> Refusal {
    reason.with(format_args!("differ ({a} and {b})"))
}

/// The load is of the moment, not of the machine.
pub(crate) fn whole_machine(host: &HostInfo) -> HostInfo {
    HostInfo { load_before: None, ..host.clone() }
}

/// Names of the GPUs that NVML told; `None` where none was asked or none answered.
fn gpus(environment: Option<&EnvironmentRead>) -> Option<Vec<String>> {
    match &environment?.head.as_ref()?.gpu {
        GpuHost::Present { devices, .. } => devices.iter().map(|device| device.name.clone()).collect(),
        GpuHost::Absent { .. } => None,
    }
}

/// What two arms differ in that neither their labels nor the presets say: where the models ran, the format of the weights,
/// which files were read, the KV type in force, and at which position a chain of drafts is made.
pub(crate) fn arms_differ(a: &ArmManifest, b: &ArmManifest) -> Vec<Refusal> {
    let told: [(Reason, Told); 5] = [
        (Reason::Device, device),
        (Reason::WeightFormat, weight_format),
        (Reason::TargetFile, |arm| info(arm)?.target_sha256.clone()),
        (Reason::KvType, |arm| info(arm)?.kv_type.as_ref().map(|kv| kv.to_lowercase())),
        (Reason::DraftPosition, draft_position),
    ];
    let names = if a.label == b.label { a.label.clone() } else { format!("{} and {}", a.label, b.label) };
    let differing = |(reason, of): (Reason, Told)| {
        let (a, b) = of(a).zip(of(b)).filter(|(a, b)| a != b)?;
        Some(reason.of(&names)(format!("{a:?} and {b:?}")))
    };
    told.into_iter().filter_map(differing).collect()
}

/// What is known of an arm, where it is.
type Told = fn(&ArmManifest) -> Option<String>;

fn info(arm: &ArmManifest) -> Option<&StackInfo> {
    arm.info.as_ref()
}

/// Stacks have words of their own for a GPU.
fn device(arm: &ArmManifest) -> Option<String> {
    let on_cpu = info(arm)?.device.as_ref()?.to_lowercase().starts_with("cpu");
    Some(if on_cpu { "CPU" } else { "GPU" }.to_owned())
}

fn weight_format(arm: &ArmManifest) -> Option<String> {
    let format = match arm.stack {
        StackKind::Native | StackKind::LlamaServer | StackKind::AtomicLlamaServer | StackKind::LlamaSwap => {
            "GGUF"
        }
        StackKind::Vllm => "safetensors",
        StackKind::OpenAi => return None,
    };
    Some(format.to_owned())
}

/// The detail under which a stack may say at which position it drafts. None does today, so what the sources of the stacks
/// say stands in for it.
const DRAFT_POSITION: &str = "draft_position";

/// The Gemma 4 assistant drafts a whole chain at one position, after n tokens at n in ours and llama.cpp's, at n - 1 in vLLM
/// (EAGLE's convention): its drafts are not the same.
fn draft_position(arm: &ArmManifest) -> Option<String> {
    if let Some(told) = info(arm).and_then(|info| info.details.get(DRAFT_POSITION)) {
        return Some(told.clone());
    }
    let SpecDecode::Mtp { .. } = arm.spec else { return None };
    let position = match arm.stack {
        StackKind::Native | StackKind::LlamaServer | StackKind::LlamaSwap => "n",
        StackKind::Vllm => "n - 1",
        StackKind::AtomicLlamaServer | StackKind::OpenAi => return None,
    };
    Some(position.to_owned())
}

fn machine(host: &HostInfo) -> (Option<&str>, Option<&str>, Option<u32>) {
    (host.os.as_deref(), host.cpu.as_deref(), host.cpu_count)
}

/// How requests are sent, without how often and how the result is judged.
fn sending(run: &RunParams) -> RunParams {
    RunParams {
        blocks: std::num::NonZeroU32::MIN,
        order: RunOrder::Abba,
        max_looks: 1,
        throughput_margin: 0.0,
        ttft_margin: 0.0,
        kv_quality_tokens: 0,
        max_restarts: 0,
        min_acceptance: 0.0,
        ..run.clone()
    }
}

/// Equal paths are not equal weights. What one of them does not know contradicts nothing.
fn models_differ(a: &RunManifest, b: &RunManifest) -> Option<Refusal> {
    let hashes = [
        ("target", &a.target_sha256, &b.target_sha256),
        ("assistant", &a.assistant_sha256, &b.assistant_sha256),
    ];
    let known = hashes.into_iter().filter_map(|(which, a, b)| Some((which, a.as_deref()?, b.as_deref()?)));
    let (which, a, b) = { known }.find(|(_, a, b)| a != b)?;
    Some(Reason::Models.with(format_args!("differ ({which}: {} and {})", short(a), short(b))))
}

/// Prompts that only one run has do no harm; one of the same id and another text does, and so does having none in common.
fn prompts_differ(a: &Preset, b: &Preset) -> Option<Refusal> {
    let of_b: BTreeMap<_, _> =
        b.workload.prompts.iter().map(|prompt| (&prompt.id, prompt_sha256(prompt))).collect();
    let common = a.workload.prompts.iter().filter_map(|prompt| Some((prompt, of_b.get(&prompt.id)?)));
    let (mut known, mut changed) = (0, 0);
    for (prompt, hash) in common {
        known += 1;
        changed += usize::from(prompt_sha256(prompt) != *hash);
    }
    let sets = || format!("({}; {})", PromptSet::of(&a.workload), PromptSet::of(&b.workload));
    let what = match (known, changed) {
        (0, _) => "none in common".to_owned(),
        (_, 0) => return None,
        (known, changed) => format!("{changed} of {known} prompts have the same id and another text"),
    };
    Some(Reason::Prompts.with(format_args!("differ: {what} {}", sets())))
}

fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}
