//! The truth rules, evaluated: each of `bench_core::truth::RULES` for one arm, by the rows, the manifest and the readings
//! of the machine.
//!
//! Every evaluator answers with a verdict and its evidence; what was not told is unknown, never held. The words of a
//! broken rule that sets aside are the arm's reasons for being invalid, so that the two never differ.

mod answers;
mod machine;
mod requests;
mod work;

use bench_core::record::{ArmManifest, Phase};
use bench_core::truth::{RuleId, TruthCheck, TruthVerdict};

use crate::load::Loaded;
use crate::row::Row;
use crate::samples::completed_rows;
use crate::surroundings::Surroundings;
use crate::totals::Totals;

/// Everything that a rule may look at.
pub(crate) struct Facts<'a> {
    pub(crate) loaded: &'a Loaded,
    pub(crate) arm: &'a ArmManifest,
    pub(crate) totals: &'a Totals,
    /// Measured rows that completed.
    pub(crate) completed: Vec<&'a Row>,
    /// The machine while they were measured.
    pub(crate) surroundings: &'a Surroundings<'a>,
}

/// What an evaluator found.
pub(crate) struct Finding {
    pub(crate) rule: RuleId,
    pub(crate) verdict: TruthVerdict,
    /// The evidence, in sentences.
    pub(crate) words: Vec<String>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(
        loaded: &'a Loaded,
        arm: &'a ArmManifest,
        totals: &'a Totals,
        surroundings: &'a Surroundings<'a>,
    ) -> Self {
        Self { loaded, arm, totals, completed: completed_rows(loaded, &arm.label), surroundings }
    }

    /// Measured rows, whatever became of them.
    fn measured(&self) -> impl Iterator<Item = &'a Row> {
        let label = self.arm.label.as_str();
        self.loaded.rows.iter().filter(move |row| row.arm == label && row.phase == Phase::Measured)
    }
}

impl Finding {
    pub(crate) fn held(rule: RuleId, words: impl Into<String>) -> Self {
        Self { rule, verdict: TruthVerdict::Held, words: vec![words.into()] }
    }

    pub(crate) fn unknown(rule: RuleId, words: impl Into<String>) -> Self {
        Self { rule, verdict: TruthVerdict::Unknown, words: vec![words.into()] }
    }

    pub(crate) fn does_not_apply(rule: RuleId, words: impl Into<String>) -> Self {
        Self { rule, verdict: TruthVerdict::DoesNotApply, words: vec![words.into()] }
    }

    /// Broken if there are words, else what `otherwise` says.
    pub(crate) fn broken_or(rule: RuleId, words: Vec<String>, otherwise: impl FnOnce() -> Self) -> Self {
        if words.is_empty() { otherwise() } else { Self { rule, verdict: TruthVerdict::Broken, words } }
    }

    /// As a report carries it.
    pub(crate) fn check(&self) -> TruthCheck {
        TruthCheck { rule: self.rule, verdict: self.verdict, evidence: self.words.join("; ") }
    }
}

/// All rules for one arm, in the order of the table.
pub(crate) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    vec![
        requests::prompts_equal(facts),
        requests::requests_equal(facts),
        answers::cache_empty(facts),
        work::output_length(facts),
        work::equal_work(facts),
        work::warm_up(facts),
        work::steady_state(facts),
        answers::sampling_in_force(facts),
        answers::configuration_in_force(facts),
        answers::model_file(facts),
        answers::one_answerer(facts),
        answers::counts_undisputed(facts),
        answers::thinking_apart(facts),
        work::acceptance_of_text(facts),
        machine::client_valid(facts),
        machine::environment_quiet(facts),
        machine::gpu_undisturbed(facts),
    ]
}

/// `WHAT in 3 of 18 requests`; nothing for none.
fn in_requests(count: usize, all: usize, what: &str) -> Option<String> {
    (count > 0).then(|| format!("{what} in {count} of {all} requests"))
}
