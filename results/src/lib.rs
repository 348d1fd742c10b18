//! From runs to a report: reads `manifest.json` and `rows.jsonl`, aggregates, compares, writes.
//!
//! The only crate that knows polars; no polars type is in a public signature. It measures nothing and draws nothing:
//! a [`bench_core::report::Report`] is all that leaves. Invariant: every number is a function of the rows alone, by
//! the formulas of `docs/metrics.md`, so equal rows give an equal report; what is unknown stays `None`.

mod aggregate;
mod answer;
mod arrivals;
mod between;
mod categories;
mod chunks;
mod client;
mod compare;
mod differences;
mod effective;
mod error;
mod explanation;
mod explanation_table;
mod export;
mod frame;
mod gaps;
mod gate;
mod import;
mod kv_quality;
mod latency;
mod load;
mod markdown;
mod name;
mod ranks;
mod reasons;
mod refused;
mod row;
mod samples;
mod served;
mod shards;
mod surroundings;
mod sweep_table;
mod sweeps;
mod tables;
mod thinking;
mod totals;
mod truth;
mod truth_table;
mod validity;
mod write;

pub use self::aggregate::{aggregate, noise_floor};
pub use self::between::compare_runs;
pub use self::error::ResultsError;
pub use self::export::{ExportFormat, Exported, export, export_tables};
pub use self::gate::{Saved, gate_arms, gate_runs, provenance, save_baseline};
pub use self::import::{IMPORTED_FILE, ImportError, ImportFormat, import, imported_report, parse_import};
pub use self::load::{Loaded, load};
pub use self::reasons::{Allowed, REASONS, Reason, ReasonRow, Refusal, Treatment, incomparable_document};
pub use self::write::{comparison_json, gate_json, report_json, write_files, write_report_files};
