//! One pair of arms: what stands in the way of a verdict, and what has to be said beside it.

use bench_core::audit::Lossless;
use bench_core::gate::{ArmEvidence, OutputPolicy, Sitting, Subject};
use bench_core::record::ArmManifest;
use bench_core::report::{ArmReport, Report};
use bench_core::truth::TruthVerdict;

use super::Gate;
use super::metrics::metrics;
use crate::between;
use crate::compare::{self, matched};
use crate::error::ResultsError;
use crate::load::Loaded;
use crate::refused::refused_between;
use crate::samples::completed_rows;

/// Planted acceptance that differs by more than this is no equal work.
const SAME_PLANTED: f64 = 0.01;

/// One arm of one run.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) run: &'a Loaded,
    pub(crate) arm: &'a ArmManifest,
    pub(crate) report: &'a ArmReport,
}

impl<'a> Side<'a> {
    /// `None` where the run does not have it.
    pub(crate) fn new(run: &'a Loaded, report: &'a Report, label: &str) -> Option<Self> {
        let arm = run.arms.iter().find(|arm| arm.label == label)?;
        let report = report.arms.iter().find(|arm| arm.label == label)?;
        Some(Self { run, arm, report })
    }

    pub(crate) fn is_synthetic(&self) -> bool {
        self.arm.spec.plants_acceptance()
    }

    /// Whether real drafts are verified.
    pub(crate) fn drafts(&self) -> bool {
        self.arm.spec.acceptance().is_some() && !self.is_synthetic()
    }

    fn why_not(&self) -> Vec<String> {
        let id = &self.run.first().run_id;
        let skipped =
            self.report.skipped.iter().map(|why| format!("run {id}: {} skipped: {why}", self.arm.label));
        let invalid = self.report.invalid_reasons.iter();
        skipped.chain(invalid.map(|why| format!("run {id}: {}: {why}", self.arm.label))).collect()
    }

    /// Broken rules that do not set the arm aside: a busy machine, a trend.
    fn told(&self, sitting: Sitting) -> impl Iterator<Item = String> {
        let place = match sitting {
            Sitting::Interleaved => self.arm.label.clone(),
            Sitting::TwoSittings => format!("run {}", self.run.first().run_id),
        };
        let broken = self.report.truth.iter().filter(|check| check.verdict == TruthVerdict::Broken);
        broken
            .filter(|check| !check.sets_aside())
            .map(move |check| format!("{place}: {}: {}", check.rule.name(), check.evidence))
    }
}

/// What a speed of these arms tells of.
pub(crate) fn subject(a: &Side<'_>, b: &Side<'_>) -> Subject {
    if a.drafts() || b.drafts() { Subject::EngineAndDrafter } else { Subject::Engine }
}

pub(crate) fn arm_evidence(
    gate: &Gate<'_>,
    (of_a, a): (&str, Option<Side<'_>>),
    (of_b, b): (&str, Option<Side<'_>>),
) -> Result<ArmEvidence, ResultsError> {
    let mut evidence = ArmEvidence {
        baseline: of_a.to_owned(),
        candidate: of_b.to_owned(),
        problems: Vec::new(),
        warnings: Vec::new(),
        metrics: Vec::new(),
    };
    let (Some(a), Some(b)) = (a, b) else {
        let side = if b.is_none() { "candidate" } else { "baseline" };
        evidence.problems.push(format!("the {side} has no such arm: it was not measured there"));
        return Ok(evidence);
    };
    evidence.problems.extend([a, b].iter().flat_map(Side::why_not));
    evidence.problems.extend(other_planted_acceptance(&a, &b));
    evidence.warnings.extend([a, b].iter().flat_map(|side| side.told(gate.sitting)));
    let (problem, warning) = outputs(gate, &a, &b)?;
    evidence.problems.extend(problem);
    evidence.warnings.extend(warning);
    evidence.metrics = metrics(gate, &a, &b);
    Ok(evidence)
}

/// An engine is judged at equal acceptance, or another thing is.
fn other_planted_acceptance(a: &Side<'_>, b: &Side<'_>) -> Option<String> {
    if !(a.is_synthetic() && b.is_synthetic()) {
        return None;
    }
    let (of_a, of_b) = (a.report.acceptance_length?.point, b.report.acceptance_length?.point);
    ((of_b / of_a).ln().abs() > SAME_PLANTED).then(|| {
        format!(
            "planted acceptance is not the same: {of_a:.3} and {of_b:.3} tokens a step, so the work is not"
        )
    })
}

/// A problem, and a warning.
type Said = (Option<String>, Option<String>);

/// Whether greedy outputs stand in the way, and what has to be said of them.
fn outputs(gate: &Gate<'_>, a: &Side<'_>, b: &Side<'_>) -> Result<Said, ResultsError> {
    let greedy = a.run.first().preset.sampling.temperature <= 0.0;
    // The text of planted acceptance is worth nothing, and of outputs that may not be compared a check says so.
    if refused_between(a.report, b.report).is_some() {
        return Ok((None, None));
    }
    if !greedy || a.is_synthetic() || b.is_synthetic() {
        return Ok((None, None));
    }
    let audit = match gate.sitting {
        Sitting::Interleaved => Some(compare::audit(a.run, &matched(a.run, &a.arm.label, &b.arm.label))?),
        Sitting::TwoSittings => {
            let rows = [a, b].map(|side| completed_rows(side.run, &side.arm.label));
            between::audit((a.run, b.run), &rows[0], &rows[1])?
        }
    };
    let Some(audit) = audit.filter(|audit| audit.requests > 0) else {
        let untold = "outputs were not compared: neither ids nor texts are on both sides".to_owned();
        return Ok((None, Some(untold)));
    };
    let said = (audit.identical < audit.requests).then(|| differing(&audit));
    Ok(match gate.rules.outputs {
        OutputPolicy::Equal if audit.defect > 0 => (said, None),
        OutputPolicy::Equal | OutputPolicy::Any => (None, said),
    })
}

fn differing(audit: &Lossless) -> String {
    let counts = [
        (audit.defect, "without a near tie"),
        (audit.near_tie, "at a near tie"),
        (audit.unknown_margin, "at logits that no stack tells"),
    ];
    let counts: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let first = audit.first.as_ref().map_or_else(String::new, |first| {
        let token = first.divergence.token.map_or_else(String::new, |token| format!(", token {token}"));
        format!("; first in prompt `{}`{token}", first.prompt_id)
    });
    format!(
        "outputs differ in {} of {} pairs ({}){first}",
        audit.requests - audit.identical,
        audit.requests,
        counts.join(", ")
    )
}
