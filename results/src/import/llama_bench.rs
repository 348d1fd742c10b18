//! llama.cpp's `llama-bench`: one entry a test, `n_prompt` tokens read or `n_gen` generated at a depth, in JSON, lines of it
//! or SQL.
//!
//! No request, no stream: a test is a loop over tokens. Its mean of rates over repetitions stands where our ratio of sums
//! does; tests that only read the prompt have no output and are left out, with a note.

use bench_core::preset::StackKind;
use bench_core::report::ArmReport;
use serde_json::Value;

use super::field::Field;
use super::{Document, ImportError, arm, point};

pub(super) fn read(document: &Value) -> Result<Document, ImportError> {
    let tests = Field::root(document).as_list()?;
    let (mut arms, mut prompt_only) = (Vec::new(), 0);
    for test in &tests {
        let generated = test.need("n_gen", "how many tokens were generated")?.as_count()?;
        if generated == 0 {
            prompt_only += 1;
            continue;
        }
        arms.push(one(test, generated)?);
    }
    let first = tests.first();
    let text = |key: &str| first.and_then(|test| test.label(key));
    let version = [text("build_number"), text("build_commit")].into_iter().flatten().collect::<Vec<_>>();
    let mut notes = vec![
        "tokens/s is the mean of the rates of repetitions; where a test reads a prompt first, its time is inside".to_owned(),
    ];
    if prompt_only > 0 {
        notes.push(format!("{prompt_only} tests that only read a prompt are left out: they have no output"));
    }
    Ok(Document {
        tool_version: (!version.is_empty()).then(|| version.join(" ")),
        unix_ms: first.and_then(|test| test.label("test_time")).as_deref().and_then(unix_ms),
        cpu: text("cpu_info"),
        arms,
        notes,
    })
}

fn one(test: &Field<'_>, generated: u64) -> Result<ArmReport, ImportError> {
    let read = test.count("n_prompt")?.unwrap_or(0);
    let depth = test.count("n_depth")?.unwrap_or(0);
    let model = test.label("model_type").or_else(|| test.label("model_filename"));
    let mut label = format!("llama-bench/{}-tg{generated}", model.unwrap_or_else(|| "model".to_owned()));
    if read > 0 {
        label += &format!("-pp{read}");
    }
    if depth > 0 {
        label += &format!("-d{depth}");
    }
    let mut arm = arm(StackKind::LlamaServer, label);
    arm.tokens_per_s = test.number("avg_ts")?.map(point);
    let repetitions = test.list("samples_ns")?.map(|samples| samples.len() as u64);
    arm.n_requests = repetitions.unwrap_or(0);
    arm.output_tokens = repetitions.map(|times| times.saturating_mul(generated));
    arm.prompt_tokens = repetitions.map(|times| times.saturating_mul(read));
    for key in [
        "stddev_ts",
        "n_batch",
        "n_ubatch",
        "n_threads",
        "type_k",
        "type_v",
        "n_gpu_layers",
        "flash_attn",
        "backends",
        "gpu_info",
    ] {
        arm.effective.extend(test.label(key).map(|value| (key.to_owned(), value)));
    }
    Ok(arm)
}

/// `2026-11-23T09:52:23Z`.
pub(super) fn unix_ms(time: &str) -> Option<u64> {
    let number = |at: std::ops::Range<usize>| time.get(at)?.parse::<u64>().ok();
    let days = bench_core::clock::days_since_1970(number(0..4)?, number(5..7)?, number(8..10)?)?;
    let seconds = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    Some((days * 86_400 + seconds) * 1000)
}
