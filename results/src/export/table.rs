//! CSV: one line an arm, the names of `report.json`, an empty cell for what is unknown (RFC 4180).

use bench_core::report::{ArmReport, Estimate, Gaps, Report};

pub(super) fn csv(report: &Report) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for arm in &report.arms {
        let cells = cells(report, arm);
        if lines.is_empty() {
            lines.push(cells.iter().map(|(name, _)| name.clone()).collect());
        }
        lines.push(cells.into_iter().map(|(_, value)| value).collect());
    }
    let line = |cells: &Vec<String>| cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",");
    lines.iter().map(|cells| line(cells) + "\r\n").collect()
}

fn cells(report: &Report, arm: &ArmReport) -> Vec<(String, String)> {
    let mut cells = vec![
        ("run_ids".to_owned(), report.run_ids.join(" ")),
        ("preset".to_owned(), report.preset.clone()),
        ("preset_sha256".to_owned(), report.preset_sha256.clone()),
        (
            "prompts_sha256".to_owned(),
            report.prompt_set.as_ref().map(|set| set.sha256.clone()).unwrap_or_default(),
        ),
        ("label".to_owned(), arm.label.clone()),
        ("stack".to_owned(), arm.stack.as_str().to_owned()),
        ("method".to_owned(), arm.speculation.method().to_owned()),
        ("n_requests".to_owned(), arm.n_requests.to_string()),
        ("failures".to_owned(), arm.failures.to_string()),
        ("valid".to_owned(), arm.valid.to_string()),
        ("invalid_reasons".to_owned(), arm.invalid_reasons.join("; ")),
        ("skipped".to_owned(), arm.skipped.clone().unwrap_or_default()),
    ];
    for (name, value) in [
        ("tokens_per_s", arm.tokens_per_s),
        ("e2e_tokens_per_s", arm.e2e_tokens_per_s),
        ("ttft_ms", arm.ttft_ms),
        ("tpot_ms", arm.tpot_ms),
        ("acceptance_rate", arm.acceptance_rate),
        ("acceptance_length", arm.acceptance_length),
    ] {
        cells.extend(estimate(name, value));
    }
    for (name, value) in [("inter_chunk", arm.inter_chunk), ("inter_token", arm.inter_token)] {
        cells.extend(gaps(name, value));
    }
    for (name, value) in [
        ("output_tokens", arm.output_tokens),
        ("prompt_tokens", arm.prompt_tokens),
        ("drafted", arm.drafted),
        ("accepted", arm.accepted),
        ("verify_steps", arm.verify_steps),
    ] {
        cells.push((name.to_owned(), value.map_or_else(String::new, |value| value.to_string())));
    }
    cells
}

fn estimate(name: &str, value: Option<Estimate>) -> [(String, String); 3] {
    [
        (name.to_owned(), number(value.map(|value| value.point))),
        (format!("{name}_low"), number(value.and_then(|value| value.low))),
        (format!("{name}_high"), number(value.and_then(|value| value.high))),
    ]
}

fn gaps(name: &str, value: Option<Gaps>) -> [(String, String); 4] {
    [
        (format!("{name}_mean_ms"), number(value.map(|gaps| gaps.mean_ms))),
        (format!("{name}_p50_ms"), number(value.map(|gaps| gaps.p50_ms))),
        (format!("{name}_p99_ms"), number(value.map(|gaps| gaps.p99_ms))),
        (format!("{name}_max_ms"), number(value.map(|gaps| gaps.max_ms))),
    ]
}

/// All digits: what is read back is the same number.
fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_commas_and_quotes_are_one_cell() {
        assert_eq!(quoted("a, \"b\""), "\"a, \"\"b\"\"\"");
        assert_eq!(quoted("native/mtp-3"), "native/mtp-3");
        assert_eq!(number(Some(0.1 + 0.2)).parse(), Ok(0.1 + 0.2));
    }
}
