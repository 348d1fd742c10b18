//! Two runs against each other: yesterday's build and today's, one KV type and another.
//!
//! They were not interleaved, so their blocks are two groups and not pairs: `bench_core::stats::unpaired_log_ratio`.
//! What differs besides the thing that is asked about makes the answer one about something else, and is refused with its
//! name, unless the caller allows it.

use std::collections::BTreeMap;

use bench_core::audit::{Lossless, compare};
use bench_core::environment::GpuHost;
use bench_core::preset::{Preset, RunOrder, RunParams, StackKind};
use bench_core::prompt_set::PromptSet;
use bench_core::record::{ArmManifest, HostInfo, RunManifest};
use bench_core::report::{
    ArmComparison, ArmReport, BlockTest, COMPARISON_SCHEMA, MetricComparison, RunComparison,
};
use bench_core::run_dir::prompt_sha256;
use bench_core::stack::StackInfo;
use bench_core::stats::{Evidence, LogValue, Metric, UnpairedRatio, unpaired_log_ratio, verdict};

use crate::aggregate::aggregate;
use crate::compare::holm_of_known;
use crate::error::ResultsError;
use crate::load::Loaded;
use crate::row::Row;
use crate::samples::{completed_rows, metric_value};

/// Coverage of every interval.
const CONFIDENCE: f64 = 0.95;

/// A difference between runs that a caller may ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Another machine.
    Machine,
    /// Other model files.
    Models,
    /// Another way of serving: KV type, threads, context, device, route.
    Serving,
}

impl Allowed {
    /// As the command line has it.
    fn word(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Models => "models",
            Self::Serving => "serving",
        }
    }
}

/// Compares the candidate with the baseline: every arm that both have, or the arms named in `arms` as (baseline's label,
/// candidate's label).
///
/// # Errors
///
/// [`ResultsError::Incomparable`] with everything that stands in the way; what [`aggregate`] fails with.
pub fn compare_runs(
    (baseline, candidate): (&Loaded, &Loaded),
    arms: &[(String, String)],
    allowed: &[Allowed],
) -> Result<RunComparison, ResultsError> {
    let (a, b) = (baseline.first(), candidate.first());
    let pairs = arm_pairs(a, b, arms);
    let (reasons, mut notes) = refused_and_allowed(differences((baseline, candidate), &pairs), allowed);
    let mut reasons = [reasons, unknown_arms(a, b, &pairs)].concat();
    if pairs.is_empty() {
        reasons.push(format!("no arm in common ({} and {})", labels(a), labels(b)));
    }
    if !reasons.is_empty() {
        return Err(ResultsError::Incomparable { reasons });
    }
    notes.insert(
        0,
        "the runs were not interleaved: what changed on the machine between them is part of every ratio"
            .to_owned(),
    );
    notes.extend(other_set(a, b));
    let reports = (aggregate(baseline)?, aggregate(candidate)?);
    let compared: Result<Vec<_>, _> = pairs
        .iter()
        .map(|(of_a, of_b)| {
            let report_of =
                |arms: &[ArmReport], label: &str| arms.iter().find(|arm| arm.label == label).cloned();
            let arms = (report_of(&reports.0.arms, of_a), report_of(&reports.1.arms, of_b));
            compare_arms((baseline, candidate), (of_a, of_b), arms)
        })
        .collect();
    Ok(RunComparison {
        schema: COMPARISON_SCHEMA,
        baseline_run: a.run_id.clone(),
        candidate_run: b.run_id.clone(),
        confidence: CONFIDENCE,
        arms: compared?,
        notes,
    })
}

/// What forbids a comparison, and what was allowed and has to be said.
fn refused_and_allowed(found: Vec<Differing>, allowed: &[Allowed]) -> (Vec<String>, Vec<String>) {
    let (mut reasons, mut notes) = (Vec::new(), Vec::new());
    for Differing { may, what } in found {
        match may {
            None => reasons.push(what),
            Some(may) if allowed.contains(&may) => notes.push(format!("allowed: {what}")),
            Some(may) => reasons.push(format!("{what} (`--allow {}` if that is the question)", may.word())),
        }
    }
    (reasons, notes)
}

/// Something that two runs differ in besides their candidates.
pub(crate) struct Differing {
    /// As what it may be the question; `None`: never.
    pub(crate) may: Option<Allowed>,
    /// In words, with both values.
    pub(crate) what: String,
}

/// Everything that stands between two runs and a comparison of these arms.
pub(crate) fn differences(
    (baseline, candidate): (&Loaded, &Loaded),
    pairs: &[(String, String)],
) -> Vec<Differing> {
    let (a, b) = (baseline.first(), candidate.first());
    let strict = [
        (a.run_id == b.run_id).then(|| format!("both are the run {}", a.run_id)),
        prompts_differ(&a.preset, &b.preset),
        differ("sampling", &a.preset.sampling, &b.preset.sampling),
        differ("max_tokens", &a.preset.workload.max_tokens, &b.preset.workload.max_tokens),
        differ("ignore_eos", &a.preset.workload.ignore_eos, &b.preset.workload.ignore_eos),
        differ("the way requests are sent", &sending(&a.preset.run), &sending(&b.preset.run)),
    ];
    let may = [
        (Allowed::Machine, differ("machines", &machine(&a.host), &machine(&b.host))),
        (Allowed::Machine, known_differ("GPUs", gpus(baseline), gpus(candidate))),
        (Allowed::Models, models_differ(a, b)),
        (Allowed::Serving, differ("serving", &a.preset.serving, &b.preset.serving)),
    ];
    let of_arms = pairs.iter().filter_map(|(of_a, of_b)| {
        let arm = |run: &'_ RunManifest, label: &str| run.arms.iter().find(|arm| arm.label == label).cloned();
        Some(arms_differ(&arm(a, of_a)?, &arm(b, of_b)?))
    });
    let never = strict.into_iter().flatten().map(|what| Differing { may: None, what });
    let maybe = may.into_iter().chain(of_arms.flatten());
    never.chain(maybe.filter_map(|(may, what)| Some(Differing { may: Some(may), what: what? }))).collect()
}

fn differ<T: PartialEq + std::fmt::Debug>(what: &str, a: &T, b: &T) -> Option<String> {
    (a != b).then(|| format!("{what} differ: {a:?} and {b:?}"))
}

/// What one of them does not know contradicts nothing.
pub(crate) fn known_differ<T: PartialEq + std::fmt::Debug>(
    what: &str,
    a: Option<T>,
    b: Option<T>,
) -> Option<String> {
    a.zip(b).and_then(|(a, b)| differ(what, &a, &b))
}

/// Names of the GPUs that NVML told; `None` where none was asked or none answered.
fn gpus(run: &Loaded) -> Option<Vec<String>> {
    match &run.environments.first()?.as_ref()?.head.as_ref()?.gpu {
        GpuHost::Present { devices, .. } => devices.iter().map(|device| device.name.clone()).collect(),
        GpuHost::Absent { .. } => None,
    }
}

/// A difference that may be allowed: by what, and the words if there is one.
type Difference = (Allowed, Option<String>);

/// What two arms differ in that neither their labels nor the presets say: the format of the weights, which files were
/// read, the KV type in force, and at which position a chain of drafts is made.
fn arms_differ(a: &ArmManifest, b: &ArmManifest) -> [Difference; 4] {
    let format = |arm: &ArmManifest| match arm.stack {
        StackKind::Native | StackKind::LlamaServer | StackKind::AtomicLlamaServer | StackKind::LlamaSwap => {
            Some("GGUF")
        }
        StackKind::Vllm => Some("safetensors"),
        StackKind::OpenAi => None,
    };
    let told = |arm: &ArmManifest, of: fn(&StackInfo) -> Option<String>| arm.info.as_ref().and_then(of);
    let both = |what: &str, of: fn(&StackInfo) -> Option<String>| {
        known_differ(&format!("{what} of {} and {}", a.label, b.label), told(a, of), told(b, of))
    };
    let formats = format!("formats of the weights of {} and {}", a.label, b.label);
    [
        (Allowed::Models, known_differ(&formats, format(a), format(b))),
        (Allowed::Models, both("target files", |info| info.target_sha256.clone())),
        (Allowed::Serving, both("KV types", |info| info.kv_type.clone())),
        (Allowed::Serving, both("draft positions", |info| info.details.get(DRAFT_POSITION).cloned())),
    ]
}

/// The detail under which a stack says at which position it drafts: `constant` (that of the last token, for all drafts of
/// a round) or `rising`.
const DRAFT_POSITION: &str = "draft_position";

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

/// What one of them does not know contradicts nothing.
fn models_differ(a: &RunManifest, b: &RunManifest) -> Option<String> {
    let hashes = [
        ("targets", &a.target_sha256, &b.target_sha256),
        ("assistants", &a.assistant_sha256, &b.assistant_sha256),
    ];
    let (what, a, b) = hashes.into_iter().find(|(_, a, b)| a.is_some() && b.is_some() && a != b)?;
    let short =
        |hash: &Option<String>| hash.as_deref().unwrap_or_default().chars().take(12).collect::<String>();
    Some(format!("{what} differ: {} and {}", short(a), short(b)))
}

/// Prompts that only one run has do no harm; one of the same id and another text does, and so does having none in common.
fn prompts_differ(a: &Preset, b: &Preset) -> Option<String> {
    let of_b: BTreeMap<_, _> =
        b.workload.prompts.iter().map(|prompt| (&prompt.id, prompt_sha256(prompt))).collect();
    let common = a.workload.prompts.iter().filter_map(|prompt| Some((prompt, of_b.get(&prompt.id)?)));
    let (mut known, mut changed) = (0, 0);
    for (prompt, hash) in common {
        known += 1;
        changed += usize::from(prompt_sha256(prompt) != *hash);
    }
    let sets = || format!("({}; {})", PromptSet::of(&a.workload), PromptSet::of(&b.workload));
    match (known, changed) {
        (0, _) => Some(format!("no prompt in common {}", sets())),
        (_, 0) => None,
        (known, changed) => {
            Some(format!("{changed} of {known} prompts have the same id and another text {}", sets()))
        }
    }
}

/// What has to be said of sets of which one has prompts that the other lacks.
fn other_set(a: &RunManifest, b: &RunManifest) -> Option<String> {
    let (of_a, of_b) = (PromptSet::of(&a.preset.workload), PromptSet::of(&b.preset.workload));
    (of_a.sha256 != of_b.sha256)
        .then(|| format!("the prompt sets differ ({of_a}; {of_b}): compared are the prompts that both have"))
}

/// (baseline's label, candidate's label).
pub(crate) fn arm_pairs(
    a: &RunManifest,
    b: &RunManifest,
    asked: &[(String, String)],
) -> Vec<(String, String)> {
    if !asked.is_empty() {
        return asked.to_vec();
    }
    let has = |run: &RunManifest, label: &str| run.arms.iter().any(|arm| arm.label == label);
    let common = a.arms.iter().filter(|arm| has(b, &arm.label));
    common.map(|arm| (arm.label.clone(), arm.label.clone())).collect()
}

pub(crate) fn unknown_arms(a: &RunManifest, b: &RunManifest, pairs: &[(String, String)]) -> Vec<String> {
    let missing = |run: &RunManifest, label: &str| {
        let is_missing = !run.arms.iter().any(|arm| arm.label == label);
        is_missing.then(|| format!("run {} has no arm `{label}`; it has {}", run.run_id, labels(run)))
    };
    pairs.iter().flat_map(|(of_a, of_b)| [missing(a, of_a), missing(b, of_b)]).flatten().collect()
}

pub(crate) fn labels(run: &RunManifest) -> String {
    run.arms.iter().map(|arm| arm.label.as_str()).collect::<Vec<_>>().join(", ")
}

fn compare_arms(
    (baseline, candidate): (&Loaded, &Loaded),
    (of_a, of_b): (&str, &str),
    (report_a, report_b): (Option<ArmReport>, Option<ArmReport>),
) -> Result<ArmComparison, ResultsError> {
    let invalid: Vec<String> = [&report_a, &report_b]
        .into_iter()
        .zip([baseline, candidate])
        .flat_map(|(arm, run)| why_not(arm.as_ref(), &run.first().run_id))
        .collect();
    let refusal = [&report_a, &report_b].into_iter().flatten().find_map(ArmReport::acceptance_refused);
    let refused = |metric: Metric| refusal.filter(|_| metric.depends_on_acceptance());
    let rows = (completed_rows(baseline, of_a), completed_rows(candidate, of_b));
    let ratios = Metric::ALL.map(|metric| {
        let values = |run: &Loaded, rows: &[&Row]| log_values(baseline, run, rows, metric);
        unpaired_log_ratio(&values(baseline, &rows.0), &values(candidate, &rows.1), CONFIDENCE)
            .filter(|_| invalid.is_empty() && refused(metric).is_none())
    });
    let p_values = ratios.map(|ratio| ratio.and_then(|ratio| ratio.p_value));
    let adjusted = holm_of_known(&p_values);
    let metrics = Metric::ALL.into_iter().zip(ratios).zip(adjusted).map(|((metric, ratio), p_holm)| {
        let floor = [(baseline, of_a), (candidate, of_b)].map(|(run, label)| floor(run, label, metric));
        let judged = judge(metric, ratio, p_holm, (candidate.first().preset.run.margin(metric), floor));
        let why = refused(metric).map(|why| format!("refused: {why}")).or(judged.why);
        MetricComparison { why, ..judged }
    });
    Ok(ArmComparison {
        baseline: of_a.to_owned(),
        candidate: of_b.to_owned(),
        not_comparable: invalid.clone(),
        metrics: metrics.collect(),
        lossless: if refusal.is_some()
            || baseline.plants_acceptance(of_a)
            || candidate.plants_acceptance(of_b)
        {
            None
        } else {
            audit((baseline, candidate), &rows.0, &rows.1)?
        },
    })
}

fn why_not(arm: Option<&ArmReport>, run_id: &str) -> Vec<String> {
    let Some(arm) = arm else { return vec![format!("run {run_id}: the arm was not reported")] };
    let skipped = arm.skipped.iter().map(|why| format!("run {run_id}: skipped: {why}"));
    skipped.chain(arm.invalid_reasons.iter().map(|why| format!("run {run_id}: {why}"))).collect()
}

/// Prompts are numbered as in the baseline; one that it does not have has no pair.
fn log_values(baseline: &Loaded, run: &Loaded, rows: &[&Row], metric: Metric) -> Vec<LogValue> {
    let prompts = &baseline.first().preset.workload.prompts;
    let has = |id: &str| run.first().preset.workload.prompts.iter().any(|prompt| prompt.id == id);
    let numbers: BTreeMap<&str, u32> = prompts
        .iter()
        .zip(0..)
        .filter(|(prompt, _)| has(&prompt.id))
        .map(|(p, n)| (p.id.as_str(), n))
        .collect();
    let value = |row: &&Row| {
        LogValue::new(row.block, *numbers.get(row.prompt_id.as_str())?, metric_value(row, metric)?)
    };
    rows.iter().filter_map(value).collect()
}

fn floor(run: &Loaded, label: &str, metric: Metric) -> Option<f64> {
    let stack = run.first().arms.iter().find(|arm| arm.label == label)?.stack;
    run.noise_floor()?.of(stack, metric)
}

fn judge(
    metric: Metric,
    found: Option<UnpairedRatio>,
    p_holm: Option<f64>,
    (margin, floors): (f64, [Option<f64>; 2]),
) -> MetricComparison {
    // A floor is of interleaved arms, so that of runs apart is at least as high: the higher known one is better than none.
    let noise_floor = floors.into_iter().flatten().max_by(f64::total_cmp);
    let ratio = found.map(|found| found.ratio);
    let (verdict, why) = verdict(&Evidence {
        ratio,
        p_adjusted: p_holm,
        alpha: 1.0 - CONFIDENCE,
        margin,
        noise_floor,
        more_is_faster: metric.more_is_faster(),
    });
    let test = found.map(|found| BlockTest {
        blocks: found.blocks[0].min(found.blocks[1]) as u64,
        block_sd: None,
        p_value: found.p_value,
        p_holm,
        p_ranks: found.ranks.map(|ranks| ranks.p_value),
        smallest_p_ranks: found.ranks.map(|ranks| ranks.smallest_p),
        margin,
        noise_floor,
        detectable: None,
    });
    let pairs = found.map_or(0, |found| found.prompts as u64);
    MetricComparison { metric, ratio, pairs, verdict, why, other_prompts: None, test }
}

/// The first completed output of every prompt in either run: greedy ones repeat themselves, and where they do not the
/// audit within each run says so.
pub(crate) fn audit(
    (baseline, candidate): (&Loaded, &Loaded),
    a: &[&Row],
    b: &[&Row],
) -> Result<Option<Lossless>, ResultsError> {
    if baseline.first().preset.sampling.temperature > 0.0 {
        return Ok(None);
    }
    let mut audit = Lossless::default();
    let (mut of_a, mut of_b) = (baseline.answers(), candidate.answers());
    for prompt in &baseline.first().preset.workload.prompts {
        let asks = |row: &&&Row| row.prompt_id == prompt.id;
        if let (Some(a), Some(b)) = (a.iter().find(asks), b.iter().find(asks)) {
            let compared = compare(&of_a.of(a)?.output(), &of_b.of(b)?.output());
            audit.count(&a.prompt_id, a.block, compared);
        }
    }
    Ok((audit.requests > 0).then_some(audit))
}
