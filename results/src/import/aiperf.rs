//! AIPerf (0.13.0), `profile_export_aiperf.json`: a metric is an object of statistics.
//!
//! Its `inter_token_latency` is a mean of each request and then over requests: our TPOT, not our `inter_token`. Its
//! `inter_chunk_latency` is our `inter_chunk`.

use bench_core::preset::StackKind;
use bench_core::report::Gaps;
use serde_json::Value;

use super::field::Field;
use super::{Document, ImportError, arm, failures, llama_bench, point};

pub(super) fn read(document: &Value) -> Result<Document, ImportError> {
    let root = Field::root(document);
    let statistic =
        |metric: &str, name: &str| root.get(metric).map_or(Ok(None), |metric| metric.number(name));
    let total = |metric: &str| root.get(metric).map_or(Ok(None), |metric| metric.count("avg"));
    let model = root.path(&["input_config", "models"]).map_or(Ok(None), |models| models.list("items"))?;
    let model = model.and_then(|models| models.first()?.label("name"));
    let mut label = format!("aiperf/{}", model.unwrap_or_else(|| "model".to_owned()));
    let phases = root.get("input_config").map_or(Ok(None), |config| config.list("phases"))?;
    let profiling = phases.iter().flatten().find(|phase| phase.label("kind").as_deref() == Some("profiling"));
    if let Some(concurrency) = profiling.map_or(Ok(None), |phase| phase.count("concurrency"))? {
        label += &format!("-c{concurrency}");
    }
    let mut arm = arm(StackKind::OpenAi, label);
    let completed = total("request_count")?.unwrap_or(0);
    arm.failures = total("error_request_count")?.unwrap_or(0);
    arm.failure_kinds = failures(arm.failures, "see `error_summary` in the file");
    arm.n_requests = completed.saturating_add(arm.failures);
    arm.ttft_ms = statistic("time_to_first_token", "p50")?.map(point);
    arm.tpot_ms = statistic("inter_token_latency", "p50")?.map(point);
    arm.output_tokens = total("total_osl")?.or(total("total_output_tokens")?);
    arm.prompt_tokens = total("total_isl")?;
    arm.inter_chunk = root.get("inter_chunk_latency").map_or(Ok(None), |metric| gaps(&metric))?;
    let sum = |metric: &str| statistic(metric, "sum");
    if let (Some(tokens), Some(decode_ms)) = (arm.output_tokens, sum("decode_duration")?) {
        let after_first = tokens.saturating_sub(completed) as f64;
        arm.tokens_per_s = (decode_ms > 0.0).then(|| point(after_first / decode_ms * 1e3));
    }
    if let (Some(tokens), Some(all_ms)) = (arm.output_tokens, sum("request_latency")?) {
        arm.e2e_tokens_per_s = (all_ms > 0.0).then(|| point(tokens as f64 / all_ms * 1e3));
    }
    arm.acceptance_length = statistic("spec_decode_token_weighted_acceptance_length", "avg")?.map(point);
    let command = root.path(&["run_info", "cli_command"]).is_some();
    let notes = vec![
        "TPOT is AIPerf's inter_token_latency (a mean of each request); tokens/s counts one token in each first chunk"
            .to_owned(),
    ];
    if command {
        arm.effective.extend(
            root.get("run_info")
                .and_then(|run| run.label("cli_command"))
                .map(|line| ("command".to_owned(), line)),
        );
    }
    Ok(Document {
        tool_version: root.text("aiperf_version")?,
        unix_ms: root.text("start_time")?.as_deref().and_then(llama_bench::unix_ms),
        cpu: None,
        arms: vec![arm],
        notes,
    })
}

/// Percentiles of theirs are interpolated, ours by nearest rank: of many gaps the same to what is drawn.
fn gaps(metric: &Field<'_>) -> Result<Option<Gaps>, ImportError> {
    let found = (
        metric.count("count")?,
        metric.number("avg")?,
        metric.number("p50")?,
        metric.number("p99")?,
        metric.number("max")?,
    );
    let (Some(count), Some(mean_ms), Some(p50_ms), Some(p99_ms), Some(max_ms)) = found else {
        return Ok(None);
    };
    Ok(Some(Gaps { count, mean_ms, p50_ms, p99_ms, max_ms }))
}
