//! The gate: may this candidate replace that baseline? Three verdicts, and silence is never a pass.
//!
//! What for: a CI job has to say yes, no, or "I cannot tell" by itself. Validity comes before the verdict: arms that
//! failed, that broke a truth rule or wrote something else are not judged. Then each metric is held against its margin,
//! the loss that somebody would act on: a *regression* is a whole interval beyond it, a *pass* a whole interval within it
//! or above (non-inferiority, shown), anything else is *inconclusive*, with the blocks that would settle it.
//!
//! # Errors that are paid for
//!
//! A gate asks many questions at once. That some metric without a loss beyond its margin is called a regression has at most
//! the chance alpha / 2, by Holm's adjustment over all checks of all arms; a pass of the whole gate needs every check to
//! pass, so that a loss beyond some margin slips through with at most alpha / 2, without an adjustment (an
//! intersection-union test, Berger 1982). Looks that ended a run early are paid for by alpha ([`alpha_in_force`]).
//!
//! Pure: knows no files, and no rows; [`Found`] is made of log ratios and counts. Invariant: no input makes a pass but an
//! interval that lies where a pass lies, of enough clusters, of arms without a problem.

mod baseline;
mod evidence;
mod judge;
mod report;
mod rules;

pub use self::baseline::{PROVENANCE_FILE, PROVENANCE_SCHEMA, Provenance, days_between};
pub use self::evidence::{ArmEvidence, Evidence, Found};
pub use self::judge::{Terms, alpha_in_force, judge, overall};
pub use self::report::{ArmGate, Check, GATE_SCHEMA, GateReport, GateVerdict, Sitting, Subject};
pub use self::rules::{
    ArmPair, Differences, FloorPolicy, GateMetric, GateRules, MetricRule, OutputPolicy, Policy,
};
