//! GuideLLM (0.8.1): one benchmark a load, a metric split into successful, errored and incomplete requests.
//!
//! Its `inter_token_latency_ms` is our TPOT; its `time_per_output_token_ms` holds the TTFT and is nothing of ours.

use bench_core::preset::StackKind;
use bench_core::report::ArmReport;
use serde_json::Value;

use super::field::Field;
use super::{Document, ImportError, arm, failures, point};

pub(super) fn read(document: &Value) -> Result<Document, ImportError> {
    let root = Field::root(document);
    let mut arms = Vec::new();
    let benchmarks = root.need("benchmarks", "a list of benchmarks")?.as_list()?;
    for benchmark in &benchmarks {
        arms.push(one(&root, benchmark)?);
    }
    let started = benchmarks.first().map_or(Ok(None), |benchmark| benchmark.number("start_time"))?;
    Ok(Document {
        tool_version: root.path(&["metadata"]).map_or(Ok(None), |metadata| metadata.text("guidellm_version"))?,
        unix_ms: started.filter(|&seconds| (0.0..1e11).contains(&seconds)).and_then(|seconds| format!("{:.0}", seconds * 1e3).parse().ok()),
        cpu: None,
        arms,
        notes: vec!["TPOT is GuideLLM's inter_token_latency; tokens/s counts one token in each first chunk; gaps of chunks are not in the file".to_owned()],
    })
}

fn one(root: &Field<'_>, benchmark: &Field<'_>) -> Result<ArmReport, ImportError> {
    let model = root.path(&["config", "spec", "backend"]).and_then(|backend| backend.label("model"));
    let mut label = format!("guidellm/{}", model.unwrap_or_else(|| "model".to_owned()));
    let strategy = benchmark.path(&["config", "strategy"]);
    if let Some(kind) = strategy.as_ref().and_then(|strategy| strategy.label("type_")) {
        label += &format!("-{kind}");
    }
    if let Some(streams) = strategy.as_ref().and_then(|strategy| strategy.label("streams")) {
        label += &format!("-c{streams}");
    }
    let mut arm = arm(StackKind::OpenAi, label);
    let metrics = benchmark.need("metrics", "an object of metrics")?;
    let totals = metrics.need("request_totals", "an object of counts")?;
    let successful = totals.need("successful", "a count")?.as_count()?;
    arm.failures = totals.count("errored")?.unwrap_or(0);
    arm.failure_kinds = failures(arm.failures, "see `requests.errored` in the file");
    arm.n_requests = successful.saturating_add(arm.failures);
    let of = |metric: &str, name: &str| {
        metrics.path(&[metric, "successful"]).map_or(Ok(None), |metric| metric.number(name))
    };
    let total = |metric: &str| {
        metrics.path(&[metric, "successful"]).map_or(Ok(None), |metric| metric.count("total_sum"))
    };
    arm.ttft_ms = of("time_to_first_token_ms", "median")?.map(point);
    arm.tpot_ms = of("inter_token_latency_ms", "median")?.map(point);
    arm.output_tokens = total("output_token_count")?;
    // 0 where the server told none.
    arm.prompt_tokens = total("prompt_token_count")?.filter(|&tokens| tokens > 0);
    // A mean over tokens, each gap counted: its sum is the decode time of all requests.
    if let (Some(gaps), Some(decode_ms)) =
        (of("inter_token_latency_ms", "count")?, of("inter_token_latency_ms", "total_sum")?)
    {
        arm.tokens_per_s = (decode_ms > 0.0).then(|| point(gaps / decode_ms * 1e3));
    }
    if let (Some(tokens), Some(all_s)) = (arm.output_tokens, of("request_latency", "total_sum")?) {
        arm.e2e_tokens_per_s = (all_s > 0.0).then(|| point(tokens as f64 / all_s));
    }
    Ok(arm)
}
