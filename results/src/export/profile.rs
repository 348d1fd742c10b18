//! NVIDIA's `speculation_profile.json`, one file an arm that speculates.

use std::path::Path;

use bench_core::acceptance::SpeculationProfile;
use bench_core::report::Report;
use bench_core::stack::SpecCounts;
use serde_json::json;

use super::{Exported, write};
use crate::error::ResultsError;
use crate::load::Loaded;
use crate::samples::completed_rows;
use crate::tables::file_name;

pub(super) fn export(loaded: &Loaded, report: &Report, out: &Path) -> Result<Exported, ResultsError> {
    let mut exported = Exported::default();
    for arm in &report.arms {
        let Some(draft_max) = arm.speculation.draft_max() else { continue };
        let rows = completed_rows(loaded, &arm.label);
        let counts: Option<Vec<_>> = rows.iter().map(|row| row.spec().cloned().map(with_histogram)).collect();
        let left_out = |why: &str| format!("{}: {why}", arm.label);
        if let Some(why) = arm.acceptance_refused() {
            exported.left_out.push(left_out(why));
            continue;
        }
        let Some(counts) = counts else {
            exported.left_out.push(left_out("some request does not tell what was drafted"));
            continue;
        };
        let counts: Vec<_> = counts.iter().collect();
        match SpeculationProfile::of_requests(arm.speculation.method(), draft_max.get(), &counts) {
            Ok(mut profile) => {
                profile.measurement_conditions = [
                    ("preset".to_owned(), json!(report.preset)),
                    ("preset_sha256".to_owned(), json!(report.preset_sha256)),
                    ("run_ids".to_owned(), json!(report.run_ids)),
                    ("arm".to_owned(), json!(arm.label)),
                    ("valid".to_owned(), json!(arm.valid)),
                    ("requests".to_owned(), json!(rows.len())),
                    ("temperature".to_owned(), json!(loaded.first().preset.sampling.temperature)),
                ]
                .into();
                let name = format!("speculation_profile-{}.json", file_name(&arm.label));
                let text = serde_json::to_string_pretty(&profile)? + "\n";
                exported.files.push(write(out, &name, &text)?);
            }
            Err(why) => exported.left_out.push(left_out(&why.to_string())),
        }
    }
    Ok(exported)
}

/// Rows from before histograms were kept tell the same by position: a draft is accepted only after those before it, so the
/// rounds that accepted exactly j drafts are those that reached position j without the next.
fn with_histogram(mut spec: SpecCounts) -> SpecCounts {
    spec.accepted_histogram = spec.accepted_histogram.take().or_else(|| by_position(&spec));
    spec
}

fn by_position(spec: &SpecCounts) -> Option<Vec<u64>> {
    let drafting = spec.drafted_per_position.as_ref()?.first().copied().unwrap_or(0);
    let reached = spec.accepted_per_position.as_ref()?;
    let from = std::iter::once(drafting).chain(reached.iter().copied());
    let to = reached.iter().copied().chain([0]);
    // Counts that rise from a position to the next are no prefix of anything.
    from.zip(to).map(|(from, to)| from.checked_sub(to)).collect()
}

#[cfg(test)]
mod tests {
    use bench_core::stack::SpecSource;

    use super::*;

    fn counts(accepted: &[u64], drafted: Option<&[u64]>) -> SpecCounts {
        SpecCounts {
            drafted: 0,
            accepted: accepted.iter().sum(),
            verify_steps: Some(9),
            accepted_per_position: Some(accepted.to_vec()),
            drafted_per_position: drafted.map(<[u64]>::to_vec),
            accepted_histogram: None,
            source: SpecSource::Engine,
        }
    }

    #[test]
    fn rounds_are_counted_by_how_far_they_got() {
        // Of eight rounds five kept the first draft, two of these the second, and all of those the third.
        let histogram = |spec| with_histogram(spec).accepted_histogram;
        assert_eq!(histogram(counts(&[5, 2, 2], Some(&[8, 8, 7]))), Some(vec![3, 3, 0, 2]));
        assert_eq!(histogram(counts(&[5, 6], Some(&[8, 8]))), None);
        assert_eq!(histogram(counts(&[5, 2], None)), None, "how many rounds drafted is unknown");
    }
}
