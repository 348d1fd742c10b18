//! Claims about acceptance that are refused: what is taken out of a report, and where.
//!
//! Which arms, the truth rule `acceptance-of-text` decides. Counts stay in the rows; a report that showed them would be
//! quoted without the reason. Invariant: nothing that is left in the report of such an arm tells how many drafts were kept.

use bench_core::kv_quality::KvQualityOutcome;
use bench_core::report::{ArmReport, CategoryReport};

/// Takes the claims out of an arm that may not make them; any other stays as it is.
pub(crate) fn withhold_acceptance(arm: &mut ArmReport) {
    if arm.acceptance_refused().is_none() {
        return;
    }
    arm.accepted = None;
    // With the output tokens they tell the acceptance length.
    arm.verify_steps = None;
    arm.drafted = None;
    arm.acceptance_rate = None;
    arm.acceptance_length = None;
    arm.accepted_per_position = None;
    arm.drafted_per_position = None;
    arm.accepted_histogram = None;
    // Accepted drafts a round, and a speedup that was predicted from them.
    arm.explanation = None;
    if let Some(KvQualityOutcome::Measured(quality)) = &mut arm.kv_quality {
        quality.acceptance = None;
    }
    arm.categories.iter_mut().for_each(withhold_of_category);
}

fn withhold_of_category(category: &mut CategoryReport) {
    category.drafted = None;
    category.accepted = None;
    category.verify_steps = None;
    category.acceptance_rate = None;
    category.acceptance_length = None;
    category.positions = None;
}

/// Why speeds of these two may not be held against each other where they depend on acceptance; `None` where they may.
pub(crate) fn refused_between<'a>(baseline: &'a ArmReport, candidate: &'a ArmReport) -> Option<&'a str> {
    baseline.acceptance_refused().or_else(|| candidate.acceptance_refused())
}
