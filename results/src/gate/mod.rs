//! From rows to what a gate is decided by: which arms, what stands in the way, and the evidence of each metric.
//!
//! The verdict is made by [`bench_core::gate`]; here runs are held against each other. Whatever stands in the way becomes a
//! problem in the report and not an error, so that a CI job has its files either way. Invariant: an arm of the baseline
//! that was measured is judged or named as not judged, never left out in silence.

mod arm;
mod metrics;
mod save;

use bench_core::gate::{
    ArmEvidence, ArmGate, FloorPolicy, GATE_SCHEMA, GateReport, GateRules, Policy, Provenance, Sitting,
    Terms, alpha_in_force, days_between, judge, overall,
};
use bench_core::noise::is_aa;
use bench_core::record::{ArmManifest, ArmStatus, RunManifest};
use bench_core::report::Report;
use bench_core::stats::{BootstrapConfig, Looks};

use self::arm::{Side, arm_evidence};
pub use self::save::{Saved, provenance, save_baseline};
use crate::aggregate::aggregate;
use crate::between::labels;
use crate::differences::differences;
use crate::error::ResultsError;
use crate::load::Loaded;
use crate::reasons::{Allowed, Reason, Refusal};

/// Holds arms of one run to others of it: they were interleaved, the trustworthy case. Which ones say the rules; of an A/A
/// run they need not.
///
/// # Errors
///
/// What [`aggregate`] fails with.
pub fn gate_arms(run: &Loaded, rules: &GateRules) -> Result<GateReport, ResultsError> {
    let manifest = run.first();
    let mut pairs = asked(rules);
    if pairs.is_empty()
        && let (true, [a, b]) = (is_aa(&manifest.preset), &run.arms[..])
    {
        pairs = vec![(a.label.clone(), b.label.clone())];
    }
    let mut problems = missing(run, pairs.iter().flat_map(|(a, b)| [a, b]));
    if pairs.is_empty() {
        problems.push(format!(
            "nothing says which arm is held to which; the run has {} (`--candidate ARM --against ARM`, or `[[arms]]` in the \
             rules)",
            labels(manifest)
        ));
    }
    problems.extend(pairs.iter().filter(|(a, b)| a == b).map(|(a, _)| format!("{a} is held to itself")));
    let report = aggregate(run)?;
    let gate = Gate { sitting: Sitting::Interleaved, runs: [run, run], reports: [&report, &report], rules };
    gate.judged(None, &pairs, Standing { problems, warnings: Vec::new() })
}

/// Holds a run to a baseline of another sitting.
///
/// # Errors
///
/// What [`aggregate`] fails with.
pub fn gate_runs(
    (baseline, provenance): (&Loaded, Option<&Provenance>),
    candidate: &Loaded,
    rules: &GateRules,
) -> Result<GateReport, ResultsError> {
    let (pairs, warnings) = pairs_of_runs(baseline, candidate, rules);
    let mut standing = Standing { problems: Vec::new(), warnings };
    if pairs.is_empty() {
        let (a, b) = (labels(baseline.first()), labels(candidate.first()));
        standing.problems.push(format!("no arm of the baseline was measured ({a} there, {b} here)"));
    }
    if !rules.arms.is_empty() {
        standing.problems.extend(missing(baseline, rules.arms.iter().map(|pair| &pair.baseline)));
        standing.problems.extend(missing(candidate, rules.arms.iter().map(|pair| &pair.candidate)));
    }
    for found in differences((baseline, candidate), &pairs) {
        standing.sort(found, rules);
    }
    for (policy, key, what) in versions(baseline, candidate, &pairs, rules) {
        standing.differ(policy, key, what);
    }
    standing.problems.extend(too_old(baseline, candidate, rules));
    let reports = (aggregate(baseline)?, aggregate(candidate)?);
    let gate = Gate {
        sitting: Sitting::TwoSittings,
        runs: [baseline, candidate],
        reports: [&reports.0, &reports.1],
        rules,
    };
    gate.judged(provenance, &pairs, standing)
}

/// What every pair of arms is judged by. Of one run both sides are the same.
pub(crate) struct Gate<'a> {
    pub(crate) sitting: Sitting,
    /// Baseline and candidate.
    pub(crate) runs: [&'a Loaded; 2],
    pub(crate) reports: [&'a Report; 2],
    pub(crate) rules: &'a GateRules,
}

impl Gate<'_> {
    /// The level that looks have left, of the run that had more.
    fn alpha(&self) -> f64 {
        let of = |run: &&Loaded| {
            let run = &run.first().preset.run;
            alpha_in_force(self.rules.alpha, Looks::new(run.blocks.get(), run.max_looks).confidence())
        };
        self.runs.iter().map(of).fold(self.rules.alpha, f64::min)
    }

    pub(crate) fn config(&self) -> BootstrapConfig {
        BootstrapConfig { confidence: 1.0 - self.alpha(), ..BootstrapConfig::default() }
    }

    fn judged(
        &self,
        provenance: Option<&Provenance>,
        pairs: &[(String, String)],
        Standing { problems, mut warnings }: Standing,
    ) -> Result<GateReport, ResultsError> {
        let arms = if problems.is_empty() { self.arms(pairs)? } else { Vec::new() };
        let [a, b] = self.runs.map(Loaded::first);
        for (run, report) in self.runs.iter().zip(self.reports) {
            let id = &run.first().run_id;
            warnings.extend(report.interrupted.then(|| format!("run {id} was stopped before its end")));
            warnings.extend(report.notes.iter().map(|note| format!("run {id}: {note}")));
        }
        // Of one run both sides say the same.
        let mut seen = std::collections::BTreeSet::new();
        warnings.retain(|warning| seen.insert(warning.clone()));
        Ok(GateReport {
            schema: GATE_SCHEMA,
            verdict: overall(&problems, &arms),
            sitting: self.sitting,
            baseline_run: a.run_id.clone(),
            candidate_run: b.run_id.clone(),
            provenance: provenance.cloned(),
            confidence: 1.0 - self.alpha(),
            problems,
            arms,
            warnings,
            notes: self.notes(),
            rules: self.rules.clone(),
        })
    }

    fn arms(&self, pairs: &[(String, String)]) -> Result<Vec<ArmGate>, ResultsError> {
        let evidence: Result<Vec<ArmEvidence>, _> = pairs
            .iter()
            .map(|(of_a, of_b)| {
                let side = |nth: usize, label: &str| Side::new(self.runs[nth], self.reports[nth], label);
                arm_evidence(self, (of_a, side(0, of_a)), (of_b, side(1, of_b)))
            })
            .collect();
        let floor_needed = match self.rules.noise_floor {
            FloorPolicy::Required => true,
            FloorPolicy::TwoSittings => self.sitting == Sitting::TwoSittings,
            FloorPolicy::Optional => false,
        };
        Ok(judge(evidence?, self.rules, &Terms { alpha: self.alpha(), floor_needed }))
    }

    fn notes(&self) -> Vec<String> {
        let sitting = match self.sitting {
            Sitting::Interleaved => "arms of one run: blocks are pairs, and what hit both cancels".to_owned(),
            Sitting::TwoSittings => {
                "two sittings, not interleaved: what changed on the machine between them is part of every ratio of speeds, \
                 and a noise floor of interleaved arms is the least of it; both builds in one run is the better experiment"
                    .to_owned()
            }
        };
        let error = self.alpha() / 2.0 * 100.0;
        let errors = format!(
            "a gate without a loss beyond its margins calls a regression in at most {error:.1} % of cases, one with such a \
             loss passes in at most {error:.1} %"
        );
        vec![sitting, errors]
    }
}

fn asked(rules: &GateRules) -> Vec<(String, String)> {
    rules.arms.iter().map(|pair| (pair.baseline.clone(), pair.candidate.clone())).collect()
}

fn missing<'a>(run: &Loaded, labels_asked: impl Iterator<Item = &'a String>) -> Vec<String> {
    let has = |label: &String| run.arms.iter().any(|arm| arm.label == *label);
    let known = labels(run.first());
    let mut unknown: Vec<_> = labels_asked.filter(|label| !has(label)).collect();
    unknown.dedup();
    unknown
        .into_iter()
        .map(|label| format!("run {} has no arm `{label}`; it has {known}", run.first().run_id))
        .collect()
}

fn was_measured(arm: &ArmManifest) -> bool {
    match arm.status {
        ArmStatus::Ready | ArmStatus::Failed { .. } => true,
        ArmStatus::Skipped { .. } => false,
    }
}

/// Every arm of the baseline that was measured, with that of the same label whether the candidate has it or not; and
/// warnings of arms that only the candidate has.
fn pairs_of_runs(
    baseline: &Loaded,
    candidate: &Loaded,
    rules: &GateRules,
) -> (Vec<(String, String)>, Vec<String>) {
    let asked = asked(rules);
    if !asked.is_empty() {
        return (asked, Vec::new());
    }
    let measured = |run: &Loaded| -> Vec<String> {
        run.arms.iter().filter(|arm| was_measured(arm)).map(|arm| arm.label.clone()).collect()
    };
    let of_baseline = measured(baseline);
    let new = measured(candidate)
        .into_iter()
        .filter(|label| !of_baseline.contains(label))
        .map(|label| format!("{label} was not measured in the baseline and is not judged"))
        .collect();
    (of_baseline.into_iter().map(|label| (label.clone(), label)).collect(), new)
}

/// What was found before any arm was looked at.
struct Standing {
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Standing {
    fn sort(&mut self, Refusal { reason, words: what }: Refusal, rules: &GateRules) {
        let of = &rules.differences;
        match reason.may() {
            None => self.problems.push(what),
            Some(Allowed::Machine) => self.differ(of.machine, "machine", what),
            Some(Allowed::Models) => self.differ(of.models, "models", what),
            Some(Allowed::Serving) => self.differ(of.serving, "serving", what),
        }
    }

    fn differ(&mut self, policy: Policy, key: &str, what: String) {
        match policy {
            Policy::Warn => self.warnings.push(what),
            Policy::Refuse => self.problems.push(format!(
                "{what} (`differences.{key} = \"warn\"` in the rules if that is the question)"
            )),
        }
    }
}

/// What the stacks and the suite say of their builds, where it is not the same.
fn versions(
    baseline: &Loaded,
    candidate: &Loaded,
    pairs: &[(String, String)],
    rules: &GateRules,
) -> Vec<(Policy, &'static str, String)> {
    let build = |run: &RunManifest, label: &str| {
        run.arms.iter().find(|arm| arm.label == label)?.info.as_ref()?.build.clone()
    };
    let (a, b) = (baseline.first(), candidate.first());
    let mut found: Vec<_> = pairs
        .iter()
        .filter_map(|(of_a, of_b)| {
            let (a, b) = build(a, of_a).zip(build(b, of_b)).filter(|(a, b)| a != b)?;
            Some(Reason::StackBuild.of(of_b)(format!("{a:?} and {b:?}")))
        })
        .map(|Refusal { words, .. }| (rules.differences.stack_version, "stack_version", words))
        .collect();
    let suites = Reason::SuiteVersion.if_differ(&a.suite_version, &b.suite_version);
    found.extend(
        suites.map(|Refusal { words, .. }| (rules.differences.suite_version, "suite_version", words)),
    );
    found
}

fn too_old(baseline: &Loaded, candidate: &Loaded, rules: &GateRules) -> Option<String> {
    let most = u64::from(rules.max_age_days?);
    let days = days_between(baseline.first().started_unix_ms, candidate.first().started_unix_ms);
    (days > most).then(|| {
        format!("the baseline was measured {days} days before the candidate, at most {most} are allowed")
    })
}
