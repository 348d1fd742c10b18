//! A baseline that was put aside: what it is, and that it is still what it was.

use serde::{Deserialize, Serialize};

/// Name of the file beside `manifest.json` and `rows.jsonl`.
pub const PROVENANCE_FILE: &str = "baseline.json";

/// Version of [`Provenance`].
pub const PROVENANCE_SCHEMA: u32 = 1;

/// Who put a run aside as a baseline, when, and of which commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Always [`PROVENANCE_SCHEMA`].
    pub schema: u32,
    /// The run.
    pub run_id: String,
    /// When it was put aside, milliseconds since 1970.
    pub saved_unix_ms: u64,
    /// By whom; `None` where the environment does not tell.
    pub saved_by: Option<String>,
    /// The commit of the working directory, or of the CI job.
    pub commit: Option<String>,
    /// The machine it was put aside on; the one it was measured on is in the manifest.
    pub host: Option<String>,
    /// Version of the suite that put it aside.
    pub suite_version: String,
    /// Texts were left out of the rows; token ids and counts were kept.
    pub without_text: bool,
    /// SHA-256 of `manifest.json`, hex.
    pub manifest_sha256: String,
    /// SHA-256 of `rows.jsonl`, hex.
    pub rows_sha256: String,
}

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// Whole days between two moments in milliseconds since 1970; 0 where the later one is not later.
#[must_use]
pub fn days_between(earlier_unix_ms: u64, later_unix_ms: u64) -> u64 {
    later_unix_ms.saturating_sub(earlier_unix_ms) / DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_went_back_makes_no_old_baseline() {
        assert_eq!(days_between(0, DAY_MS * 3 - 1), 2);
        assert_eq!(days_between(DAY_MS, 0), 0);
    }
}
