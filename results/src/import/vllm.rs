//! `vllm bench serve` (0.32.0) and SGLang's serving benchmark (0.5.23), which took over its names.
//!
//! Their TPOT is the time after the first chunk by the tokens but one, ours by the tokens after the first chunk: equal where
//! the first chunk holds one token. Their ITL is our `inter_chunk`, under speculation, too.

use bench_core::preset::StackKind;
use bench_core::report::ArmReport;
use serde_json::Value;

use super::field::Field;
use super::{Document, ImportError, arm, failures, gaps_of, point};

pub(super) fn vllm(document: &Value) -> Result<Document, ImportError> {
    let root = Field::root(document);
    let model = root.label("model_id").unwrap_or_else(|| "model".to_owned());
    let mut arm = serving(&root, format!("vllm-bench/{}", with_concurrency(&root, &model)?))?;
    speculation(&root, &mut arm)?;
    if let Some(errors) = root.list("errors")? {
        let first = errors.iter().find_map(|error| error.as_text().filter(|text| !text.is_empty()));
        if let (Some(kind), Some(text)) = (arm.failure_kinds.first_mut(), first) {
            kind.first_message = text;
        }
    }
    Ok(Document {
        // The file names every setting but the version.
        tool_version: None,
        unix_ms: root.text("date")?.as_deref().and_then(unix_ms),
        cpu: None,
        notes: notes(&arm),
        arms: vec![arm],
    })
}

pub(super) fn sglang(document: &Value) -> Result<Document, ImportError> {
    let mut arms = Vec::new();
    for line in Field::root(document).as_list()? {
        let name = line.label("tag").or_else(|| line.label("backend")).unwrap_or_else(|| "run".to_owned());
        let mut arm = serving(&line, format!("sglang-bench/{}", with_concurrency(&line, &name)?))?;
        arm.acceptance_length = line.number("accept_length")?.map(point);
        arms.push(arm);
    }
    let mut all: Vec<String> = Vec::new();
    for note in arms.iter().flat_map(notes) {
        if !all.contains(&note) {
            all.push(note);
        }
    }
    Ok(Document { tool_version: None, unix_ms: None, cpu: None, arms, notes: all })
}

fn with_concurrency(root: &Field<'_>, name: &str) -> Result<String, ImportError> {
    Ok(root.count("max_concurrency")?.map_or_else(|| name.to_owned(), |most| format!("{name}-c{most}")))
}

fn serving(root: &Field<'_>, label: String) -> Result<ArmReport, ImportError> {
    let mut arm = arm(StackKind::OpenAi, label);
    let completed = root.need("completed", "how many requests completed")?.as_count()?;
    arm.failures = root.count("failed")?.unwrap_or(0);
    arm.failure_kinds = failures(arm.failures, "the file does not say why");
    arm.n_requests = completed.saturating_add(arm.failures);
    arm.output_tokens = root.count("total_output_tokens")?;
    arm.prompt_tokens = root.count("total_input_tokens")?;
    arm.ttft_ms = root.number("median_ttft_ms")?.map(point);
    arm.tpot_ms = root.number("median_tpot_ms")?.map(point);
    details(root, &mut arm)?;
    for key in ["backend", "request_rate", "max_concurrency", "duration", "output_throughput", "model_id"] {
        arm.effective.extend(root.label(key).map(|value| (key.to_owned(), value)));
    }
    Ok(arm)
}

/// What only `--save-detailed` (`--output-details`) tells: every gap, and with it the throughput of one stream.
fn details(root: &Field<'_>, arm: &mut ArmReport) -> Result<(), ImportError> {
    let (Some(ttfts), Some(lists), Some(lengths)) =
        (root.numbers("ttfts")?, root.list("itls")?, root.numbers("output_lens")?)
    else {
        return Ok(());
    };
    let mut itls = Vec::new();
    for list in lists {
        itls.push(list.as_list()?.iter().map(Field::as_number).collect::<Result<Vec<_>, _>>()?);
    }
    let (mut after_first, mut decode_s, mut tokens, mut all_s) = (0.0, 0.0, 0.0, 0.0);
    for ((ttft, gaps), length) in ttfts.iter().zip(&itls).zip(&lengths).filter(|(_, length)| **length > 0.0) {
        let span: f64 = gaps.iter().sum();
        after_first += length - 1.0;
        decode_s += span;
        tokens += length;
        all_s += ttft + span;
    }
    let rate = |tokens: f64, seconds: f64| (seconds > 0.0).then(|| point(tokens / seconds));
    arm.tokens_per_s = rate(after_first, decode_s);
    arm.e2e_tokens_per_s = rate(tokens, all_s);
    arm.inter_chunk = gaps_of(itls.concat().into_iter().map(|gap| gap * 1e3).collect());
    Ok(())
}

fn speculation(root: &Field<'_>, arm: &mut ArmReport) -> Result<(), ImportError> {
    arm.drafted = root.count("spec_decode_draft_tokens")?;
    arm.accepted = root.count("spec_decode_accepted_tokens")?;
    if let (Some(drafted), Some(accepted)) = (arm.drafted.filter(|&drafted| drafted > 0), arm.accepted) {
        arm.acceptance_rate = Some(point(accepted as f64 / drafted as f64));
    }
    arm.acceptance_length = root.number("spec_decode_acceptance_length")?.map(point);
    let drafts = root.count("spec_decode_num_drafts")?;
    let rates = root.numbers("spec_decode_per_position_acceptance_rates")?;
    if let (Some(drafts), Some(rates)) = (drafts, rates) {
        arm.accepted_per_position = rates.iter().map(|rate| count_behind(*rate, drafts)).collect();
    }
    Ok(())
}

/// The count that was divided by `drafts`; `None` if the rate is of no whole number.
fn count_behind(rate: f64, drafts: u64) -> Option<u64> {
    let count = rate * drafts as f64;
    let whole = count.round();
    ((0.0..=drafts as f64).contains(&whole) && (count - whole).abs() < 1e-6)
        .then(|| format!("{whole:.0}").parse().ok())?
}

fn notes(arm: &ArmReport) -> Vec<String> {
    let mut notes = vec![
        "TPOT is theirs: time after the first chunk by the tokens but one; medians are over requests"
            .to_owned(),
    ];
    notes.push(match arm.inter_chunk {
        Some(_) => "tokens/s: all tokens but the first of each request, by all their gaps, from the details"
            .to_owned(),
        None => {
            "the file was saved without details: neither the throughput of one stream nor gaps can be told"
                .to_owned()
        }
    });
    notes
}

/// `20261123-095223`, local time of the machine that measured, taken for UTC: the day is what it is read for.
fn unix_ms(date: &str) -> Option<u64> {
    let (day, time) = date.split_once('-')?;
    let number = |text: &str, at: std::ops::Range<usize>| text.get(at)?.parse::<u64>().ok();
    let days =
        bench_core::clock::days_since_1970(number(day, 0..4)?, number(day, 4..6)?, number(day, 6..8)?)?;
    let seconds = number(time, 0..2)? * 3600 + number(time, 2..4)? * 60 + number(time, 4..6)?;
    Some((days * 86_400 + seconds) * 1000)
}
