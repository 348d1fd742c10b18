//! From evidence to verdicts.

use super::evidence::{ArmEvidence, Evidence, Found};
use super::report::{ArmGate, Check, GateVerdict, Subject};
use super::rules::GateRules;
use crate::stats::{Power, holm};

/// What holds for all checks of a gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// The level in force, two-sided: see [`alpha_in_force`].
    pub alpha: f64,
    /// Whether speeds without a known noise floor are left open.
    pub floor_needed: bool,
}

/// The level of a run that was allowed to look at itself: of what the rules allow, the share that its looks have left.
/// `confidence_of_looks` is that of [`crate::stats::Looks`], 0.95 for one look.
#[must_use]
pub fn alpha_in_force(alpha: f64, confidence_of_looks: f64) -> f64 {
    alpha * ((1.0 - confidence_of_looks) / 0.05).min(1.0)
}

/// Judges all arms together: their regressions share one Holm adjustment.
#[must_use]
pub fn judge(arms: Vec<ArmEvidence>, rules: &GateRules, terms: &Terms) -> Vec<ArmGate> {
    let counts = |arm: &ArmEvidence, evidence: &Evidence| {
        arm.problems.is_empty() && unjudged(evidence, rules, terms).is_none()
    };
    let p_values: Vec<Vec<Option<f64>>> = arms
        .iter()
        .map(|arm| {
            let p = |evidence: &Evidence| evidence.found?.p_regression.filter(|_| counts(arm, evidence));
            arm.metrics.iter().map(p).collect()
        })
        .collect();
    let known: Vec<f64> = p_values.iter().flatten().copied().flatten().collect();
    let mut adjusted = holm(&known).into_iter();
    arms.into_iter()
        .zip(p_values)
        .map(|(arm, p_values)| {
            let p_holm: Vec<_> = p_values.iter().map(|p| p.and_then(|_| adjusted.next())).collect();
            judge_arm(arm, &p_holm, rules, terms)
        })
        .collect()
}

/// The verdict of a whole gate: a regression that was shown, else inconclusive where anything is, else pass. With a
/// problem of the gate itself nothing was judged.
#[must_use]
pub fn overall(problems: &[String], arms: &[ArmGate]) -> GateVerdict {
    let worst = arms.iter().map(|arm| arm.verdict).min();
    worst.filter(|_| problems.is_empty()).unwrap_or(GateVerdict::Inconclusive)
}

fn judge_arm(arm: ArmEvidence, p_holm: &[Option<f64>], rules: &GateRules, terms: &Terms) -> ArmGate {
    let valid = arm.problems.is_empty();
    let checks: Vec<_> = arm
        .metrics
        .iter()
        .zip(p_holm)
        .map(|(evidence, &p_holm)| check(evidence, (valid, p_holm), rules, terms))
        .collect();
    let worst = checks.iter().map(|check| check.verdict).min();
    let mut warnings = arm.warnings;
    warnings.extend(attribution(&checks));
    ArmGate {
        baseline: arm.baseline,
        candidate: arm.candidate,
        verdict: worst.filter(|_| valid).unwrap_or(GateVerdict::Inconclusive),
        problems: arm.problems,
        warnings,
        checks,
    }
}

fn check(
    evidence: &Evidence,
    (valid, p_holm): (bool, Option<f64>),
    rules: &GateRules,
    terms: &Terms,
) -> Check {
    let found = evidence.found.filter(|_| valid);
    let (verdict, why) = if valid {
        match (unjudged(evidence, rules, terms), found) {
            (Some(why), _) => (GateVerdict::Inconclusive, Some(why)),
            (None, Some(found)) => verdict(evidence, &found, p_holm, terms.alpha),
            (None, None) => (GateVerdict::Inconclusive, Some("not measured".to_owned())),
        }
    } else {
        (GateVerdict::Inconclusive, Some("not judged: the arm is not valid".to_owned()))
    };
    let needed = found.filter(|_| verdict == GateVerdict::Inconclusive).and_then(|found| {
        Power { alpha: terms.alpha, power: rules.power }
            .needed_blocks(found.spread?, evidence.margin)
            .map(|blocks| blocks.max(rules.min_blocks))
    });
    Check {
        metric: evidence.metric,
        subject: evidence.subject,
        verdict,
        why,
        baseline: evidence.values[0],
        candidate: evidence.values[1],
        ratio: found.map(|found| found.ratio),
        margin: evidence.margin,
        clusters: evidence.found.map_or(0, |found| found.clusters),
        p_regression: found.and_then(|found| found.p_regression),
        p_holm,
        noise_floor: evidence.noise_floor,
        needed,
    }
}

/// Why a metric of a valid arm gets no verdict; `None` where it does.
fn unjudged(evidence: &Evidence, rules: &GateRules, terms: &Terms) -> Option<String> {
    if let Some(refused) = &evidence.refused {
        return Some(format!("refused: {refused}"));
    }
    let Some(found) = evidence.found else {
        return Some("not measured: no pair of requests tells it on both arms".to_owned());
    };
    let (least, what) = if evidence.metric.is_acceptance() {
        (rules.min_prompts, "prompts")
    } else {
        (rules.min_blocks, "blocks")
    };
    if found.clusters < u64::from(least) {
        return Some(format!("{} {what}, at least {least} are needed", found.clusters));
    }
    if found.ratio.low.is_none() || found.ratio.high.is_none() {
        return Some(format!("no interval of {} {what}", found.clusters));
    }
    let without_floor = evidence.noise_floor.is_none() && evidence.metric.noise_of().is_some();
    (terms.floor_needed && without_floor)
        .then(|| "the machine's own noise is not known: measure it with `bench run PRESET --aa`".to_owned())
}

fn verdict(
    evidence: &Evidence,
    found: &Found,
    p_holm: Option<f64>,
    alpha: f64,
) -> (GateVerdict, Option<String>) {
    let sign = evidence.metric.sign();
    let log = |end: Option<f64>| sign * end.unwrap_or(f64::NAN).ln();
    let (low, high) = if sign > 0.0 {
        (log(found.ratio.low), log(found.ratio.high))
    } else {
        (log(found.ratio.high), log(found.ratio.low))
    };
    let bound = -evidence.margin.ln_1p();
    if low > bound {
        return (GateVerdict::Pass, (low > 0.0).then(|| "better".to_owned()));
    }
    // Not `high >= bound`: an end that is no number claims nothing.
    let beyond = high < bound;
    if !beyond {
        let why = "the interval straddles the margin: neither a pass nor a regression was shown";
        return (GateVerdict::Inconclusive, Some(why.to_owned()));
    }
    if p_holm.is_none_or(|p| p > alpha / 2.0) {
        let why = "beyond the margin, but not significant among all checks (Holm)";
        return (GateVerdict::Inconclusive, Some(why.to_owned()));
    }
    if let Some(floor) = evidence.noise_floor.filter(|floor| found.ratio.point.ln().abs() <= floor.ln_1p()) {
        let why = format!("beyond the margin, but under the noise floor ({:.1} %)", floor * 100.0);
        return (GateVerdict::Inconclusive, Some(why));
    }
    (GateVerdict::Regression, None)
}

/// Where speed and acceptance of real drafts tell more together than apart.
fn attribution(checks: &[Check]) -> Option<String> {
    let slower = checks.iter().any(|check| {
        check.subject == Subject::EngineAndDrafter
            && check.verdict == GateVerdict::Regression
            && check.metric.noise_of() == Some(crate::stats::Metric::TokensPerS)
    });
    let drafter = checks.iter().filter(|check| check.subject == Subject::Drafter);
    let worst = drafter.map(|check| check.verdict).min()?;
    let words = match worst {
        GateVerdict::Pass => "slower with acceptance held: the engine, not the drafter",
        GateVerdict::Regression => {
            "slower and fewer drafts accepted: gate a run with synthetic acceptance to tell engine from drafter"
        }
        GateVerdict::Inconclusive => return None,
    };
    slower.then(|| words.to_owned())
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
