//! NVIDIA's `speculation_profile.json`, one file an arm that speculates.

use std::path::Path;

use bench_core::acceptance::SpeculationProfile;
use bench_core::report::Report;
use serde_json::json;

use super::{Exported, file_name, write};
use crate::error::ResultsError;
use crate::load::Loaded;
use crate::samples::completed_rows;

pub(super) fn export(loaded: &Loaded, report: &Report, out: &Path) -> Result<Exported, ResultsError> {
    let mut exported = Exported::default();
    for arm in &report.arms {
        let Some(draft_max) = arm.speculation.draft_max() else { continue };
        let rows = completed_rows(loaded, &arm.label);
        let counts: Option<Vec<_>> = rows.iter().map(|row| row.spec.as_ref()).collect();
        let left_out = |why: &str| format!("{}: {why}", arm.label);
        let Some(counts) = counts else {
            exported.left_out.push(left_out("some request does not tell what was drafted"));
            continue;
        };
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
