//! The JSON of `vllm bench serve --save-result --save-detailed` (0.32.0), so that what reads theirs reads ours.
//!
//! Names and units are theirs: latencies in milliseconds, details in seconds, the acceptance rate in per cent. `itl` is
//! the gap between chunks. What only their client knows (burstiness, peaks, goodput) is null.

use std::path::Path;

use bench_core::clock::utc_date;
use bench_core::load::Arrivals;
use bench_core::record::ArmStatus;
use bench_core::stats::percentile;
use bench_core::synthetic::{REFUSAL, refuses_acceptance};
use serde_json::{Map, Value, json};

use super::{Exported, Serving, write};
use crate::answer::{Answers, of_all};
use crate::error::ResultsError;
use crate::load::Loaded;
use crate::row::Stamps;
use crate::samples::position_sums;
use crate::tables::file_name;

pub(super) fn export(loaded: &Loaded, out: &Path) -> Result<Exported, ResultsError> {
    let mut exported = Exported::default();
    for arm in &loaded.arms {
        let serving = Serving::new(loaded, &arm.label);
        if serving.rows.is_empty() {
            let why = match &arm.status {
                ArmStatus::Skipped { reason } => reason.as_str(),
                ArmStatus::Failed { detail, .. } => detail.as_str(),
                ArmStatus::Ready => "no request completed",
            };
            exported.left_out.push(format!("{}: {why}", arm.label));
            continue;
        }
        let refused = refuses_acceptance(&loaded.first().preset.workload, &arm.spec);
        if refused {
            exported.left_out.push(format!("{}: speculative decoding: {REFUSAL}", arm.label));
        }
        let text = serde_json::to_string(&document(loaded, &arm.label, &serving, refused)?)? + "\n";
        exported.files.push(write(out, &format!("vllm-{}.json", file_name(&arm.label)), &text)?);
    }
    Ok(exported)
}

fn document(
    loaded: &Loaded,
    label: &str,
    serving: &Serving<'_>,
    refused: bool,
) -> Result<Value, ResultsError> {
    let answers = of_all(&loaded.files, &serving.rows, Answers::of)?;
    let run = loaded.first();
    let (input, output) =
        (serving.tokens(|row| row.usage.prompt_tokens), serving.tokens(|row| row.output.tokens));
    let per_s = |count: Option<u64>| count.and_then(|count| serving.per_s(count as f64));
    let mut document = Map::new();
    let mut set = |key: &str, value: Value| document.insert(key.to_owned(), value);
    set("date", json!(utc_date(run.started_unix_ms)));
    set("endpoint_type", json!(label.split('/').next()));
    set("backend", json!(label.split('/').next()));
    set("label", json!(label));
    set("model_id", json!(model(loaded, label)));
    set("tokenizer_id", Value::Null);
    set("num_prompts", json!(serving.rows.len() as u64 + serving.failed));
    let (rate, burstiness, concurrency) = load(loaded, label);
    set("request_rate", rate);
    set("burstiness", burstiness);
    set("max_concurrency", concurrency);
    set("duration", json!(serving.duration_s));
    set("completed", json!(serving.rows.len()));
    set("failed", json!(serving.failed));
    set("total_input_tokens", json!(input));
    set("total_output_tokens", json!(output));
    set("request_throughput", json!(per_s(Some(serving.rows.len() as u64))));
    set("request_goodput", Value::Null);
    set("output_throughput", json!(per_s(output)));
    set("total_token_throughput", json!(per_s(input.zip(output).map(|(input, output)| input + output))));
    set("max_output_tokens_per_s", Value::Null);
    set("max_concurrent_requests", Value::Null);
    let itls = serving.itls_ms();
    for (name, values) in [
        ("ttft", serving.ttfts_ms()),
        ("tpot", serving.tpots_ms()),
        ("itl", itls.concat()),
        ("e2el", serving.e2els_ms()),
    ] {
        set(&format!("mean_{name}_ms"), json!(mean(&values)));
        set(&format!("median_{name}_ms"), json!(percentile(&values, 0.5)));
        set(&format!("std_{name}_ms"), json!(deviation(&values)));
        set(&format!("p99_{name}_ms"), json!(percentile(&values, 0.99)));
    }
    let seconds = |ms: &[f64]| ms.iter().map(|ms| ms / 1e3).collect::<Vec<_>>();
    let row_ns = |of: fn(&Stamps) -> Option<u64>| {
        serving.rows.iter().map(|row| of(&row.timing).map(|ns| ns as f64 / 1e9)).collect::<Vec<_>>()
    };
    set("input_lens", json!(serving.rows.iter().map(|row| row.usage.prompt_tokens).collect::<Vec<_>>()));
    set("output_lens", json!(serving.rows.iter().map(|row| row.output.tokens).collect::<Vec<_>>()));
    set("ttfts", json!(row_ns(|timing| timing.first_token_ns)));
    set("latencies", json!(row_ns(|timing| timing.last_token_ns)));
    set("itls", json!(itls.iter().map(|gaps| seconds(gaps)).collect::<Vec<_>>()));
    let sent = |row: &&crate::row::Row| row.sent_unix_ms as f64 / 1e3;
    set("start_times", json!(serving.rows.iter().map(sent).collect::<Vec<_>>()));
    set("generated_texts", json!(answers.iter().map(|answer| &answer.text).collect::<Vec<_>>()));
    // Theirs has no word for a refusal: what may not be claimed is left out, as without speculation.
    if !refused {
        document.extend(speculation(serving));
    }
    Ok(Value::Object(document))
}

/// Their six names; none where the arm does not count, as theirs has none without speculation.
fn speculation(serving: &Serving<'_>) -> Map<String, Value> {
    let sum = |of: fn(&bench_core::stack::SpecCounts) -> Option<u64>| {
        serving.rows.iter().map(|row| row.spec().and_then(of)).sum::<Option<u64>>()
    };
    let mut found = Map::new();
    let (Some(drafted), Some(accepted)) = (sum(|spec| Some(spec.drafted)), sum(|spec| Some(spec.accepted)))
    else {
        return found;
    };
    if drafted == 0 {
        return found;
    }
    let position =
        |of: fn(&bench_core::stack::SpecCounts) -> Option<&[u64]>| position_sums(&serving.rows, of);
    let accepted_at = position(|spec| spec.accepted_per_position.as_deref());
    // Theirs counts steps that drafted; those are the drafts at the first position.
    let drafts = position(|spec| spec.drafted_per_position.as_deref())
        .and_then(|drafted| drafted.first().copied())
        .filter(|&drafts| drafts > 0);
    let by_drafts = |count: u64| drafts.map(|drafts| count as f64 / drafts as f64);
    let rates: Option<Vec<f64>> =
        accepted_at.and_then(|accepted| accepted.into_iter().map(by_drafts).collect());
    found.extend([
        ("spec_decode_acceptance_rate".to_owned(), json!(accepted as f64 / drafted as f64 * 100.0)),
        ("spec_decode_acceptance_length".to_owned(), json!(by_drafts(accepted).map(|extra| 1.0 + extra))),
        ("spec_decode_num_drafts".to_owned(), json!(drafts)),
        ("spec_decode_draft_tokens".to_owned(), json!(drafted)),
        ("spec_decode_accepted_tokens".to_owned(), json!(accepted)),
        ("spec_decode_per_position_acceptance_rates".to_owned(), json!(rates)),
    ]);
    found
}

/// Request rate, burstiness and concurrency in their words: a closed loop sends at once what may be in flight.
fn load(loaded: &Loaded, label: &str) -> (Value, Value, Value) {
    let run = &loaded.first().preset.run;
    let Some(open) = run.load.open() else {
        let arm = loaded.arms.iter().find(|arm| arm.label == label);
        let concurrency = arm.and_then(|arm| arm.concurrency).unwrap_or(run.concurrency);
        return (json!("inf"), Value::Null, json!(concurrency));
    };
    let (rate, burstiness) = match &open.arrivals {
        Arrivals::Constant { rate } => (json!(rate), Value::Null),
        // Theirs is a gamma process whose burstiness 1 is Poisson's.
        Arrivals::Poisson { rate } => (json!(rate), json!(1.0)),
        Arrivals::Gamma { rate, burstiness } => (json!(rate), json!(burstiness)),
        Arrivals::Ramp { .. } | Arrivals::Trace { .. } => (Value::Null, Value::Null),
    };
    (rate, burstiness, json!(open.max_in_flight))
}

fn model(loaded: &Loaded, label: &str) -> Option<String> {
    loaded.arms.iter().find(|arm| arm.label == label)?.info.as_ref()?.model.clone()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Of the values themselves, as numpy's `std` has it: divided by their number.
fn deviation(values: &[f64]) -> Option<f64> {
    let center = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    Some((squares / values.len() as f64).sqrt())
}
