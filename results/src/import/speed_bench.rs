//! llama.cpp's `tools/server/bench/speed-bench`: one summary row a category, and one for all.
//!
//! Its speeds are means of the rates that the server told of each sample; ours are ratios of sums.

use bench_core::preset::StackKind;
use bench_core::report::CategoryReport;
use serde_json::Value;

use super::field::Field;
use super::{Document, ImportError, arm, failures, point};

/// The category of the row over all samples.
const OVERALL: &str = "overall";

pub(super) fn read(document: &Value) -> Result<Document, ImportError> {
    let root = Field::root(document);
    let config = |key: &str| root.get("config").and_then(|config| config.label(key));
    let name = [config("model"), config("bench"), config("concurrency").map(|many| format!("c{many}"))];
    let name: Vec<_> = name.into_iter().flatten().collect();
    let mut arm = arm(StackKind::LlamaServer, format!("speed-bench/{}", name.join("-")));
    let completed = root.need("completed_samples", "how many samples completed")?.as_count()?;
    arm.failures = root.count("failed_samples")?.unwrap_or(0);
    arm.failure_kinds = failures(arm.failures, "see `results` in the file");
    arm.n_requests = completed.saturating_add(arm.failures);
    for row in root.need("summary", "a list of rows")?.as_list()? {
        let category = row.text("category")?;
        let rate = row.number("avg_pred_t_s")?.map(point);
        let (drafted, accepted) = (row.count("draft_n")?, row.count("accepted")?);
        let share = drafted.filter(|&drafted| drafted > 0).zip(accepted);
        let acceptance_rate = share.map(|(drafted, accepted)| point(accepted as f64 / drafted as f64));
        match category.as_deref() {
            None | Some(OVERALL) => {
                arm.tokens_per_s = rate;
                (arm.drafted, arm.accepted, arm.acceptance_rate) = (drafted, accepted, acceptance_rate);
            }
            Some(name) => arm.categories.push(CategoryReport {
                category: name.to_owned(),
                prompts: row.count("requests")?.unwrap_or(0),
                drafted,
                accepted,
                verify_steps: None,
                acceptance_rate,
                acceptance_length: None,
                positions: None,
                tokens_per_s: rate,
                prompt_tokens_range: None,
                ttft_ms: None,
                prompt_tokens_per_s: None,
                ratio: None,
            }),
        }
    }
    Ok(Document {
        tool_version: None,
        unix_ms: None,
        cpu: None,
        arms: vec![arm],
        notes: vec!["tokens/s is the mean of the rates that the server told of each sample".to_owned()],
    })
}
