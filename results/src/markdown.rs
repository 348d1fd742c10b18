//! The report as Markdown, for pull requests and issues.

use std::fmt::Write;

use bench_core::audit::FirstDivergence;
use bench_core::report::{
    ArmReport, CategoryReport, Comparison, Estimate, Gaps, PositionReport, Report, Verdict,
};

use crate::explanation_table::write_explanations;
use crate::kv_quality::write_kv_quality;
use crate::sweep_table::{write_loads, write_sweeps};
use crate::truth_table::{write_environment, write_truth};

/// The whole report as a document.
pub(crate) fn markdown(report: &Report) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    write_all(&mut text, report)?;
    Ok(text)
}

fn write_all(text: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(text, "# {}\n\n{}\n", report.preset, report.preset_description)?;
    for note in &report.notes {
        writeln!(text, "> {note}\n")?;
    }
    if report.interrupted {
        writeln!(text, "> The run did not reach its end.\n")?;
    }
    writeln!(
        text,
        "| arm | requests | tokens/s | TTFT ms | TPOT ms | accepted / drafted | tokens per verify step |"
    )?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|--:|")?;
    for arm in &report.arms {
        writeln!(text, "{}", arm_row(arm))?;
    }
    writeln!(text, "\n| candidate | baseline | tokens/s ratio | pairs | verdict | same output |")?;
    writeln!(text, "|---|---|--:|--:|---|---|")?;
    for comparison in &report.comparisons {
        writeln!(text, "{}", comparison_row(report, comparison))?;
    }
    write_peaks(text, report)?;
    write_sweeps(text, report)?;
    write_loads(text, report)?;
    write_gaps(text, report)?;
    write_thinking(text, report)?;
    write_tests(text, report)?;
    write_audits(text, report)?;
    write_kv_quality(text, report)?;
    write_explanations(text, report)?;
    write_categories(text, report)?;
    write_prompt_lengths(text, report)?;
    write_remarks(text, report)?;
    write_truth(text, report)?;
    write_environment(text, report)?;
    let percent = report.confidence * 100.0;
    writeln!(
        text,
        "\nBrackets: {percent:.0} % interval, bootstrap over {} full blocks, for acceptance over prompts. Suite {}, \
         preset `{}`, {}, {}.",
        report.blocks,
        report.suite_version,
        report.preset_sha256.chars().take(12).collect::<String>(),
        report.prompt_set.as_ref().map_or_else(|| "unknown prompts".to_owned(), ToString::to_string),
        report.hardware(),
    )
}

/// Mean and peaks side by side, so that none is quoted for the other.
fn write_peaks(text: &mut String, report: &Report) -> std::fmt::Result {
    let peaks =
        report.comparisons.iter().filter_map(|comparison| Some((comparison, comparison.peak.as_ref()?)));
    let peaks: Vec<_> = peaks.collect();
    if peaks.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n| candidate | baseline | mean ratio | best category | best request |")?;
    writeln!(text, "|---|---|--:|---|---|")?;
    for (comparison, peak) in peaks {
        let category = peak
            .category
            .as_ref()
            .map_or_else(unknown, |name| format!("{name} {}", cell(peak.category_ratio, 3)));
        writeln!(
            text,
            "| `{}` | `{}` | {} | {category} | `{}`, block {}: {:.3} |",
            comparison.candidate,
            comparison.baseline,
            cell(comparison.ratio, 3),
            peak.prompt_id,
            peak.block,
            peak.request_ratio
        )?;
    }
    Ok(())
}

/// The two gaps side by side, so that none is taken for the other.
fn write_gaps(text: &mut String, report: &Report) -> std::fmt::Result {
    if report.arms.iter().all(|arm| arm.inter_chunk.is_none()) {
        return Ok(());
    }
    writeln!(text, "\n| arm | between chunks ms: p50 | p99 | max | between tokens ms: p50 | p99 | mean |")?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|--:|")?;
    for arm in report.arms.iter().filter(|arm| arm.skipped.is_none()) {
        let cell = |gaps: Option<Gaps>, of: fn(Gaps) -> f64| {
            gaps.map_or_else(unknown, |gaps| format!("{:.3}", of(gaps)))
        };
        let (chunk, token) = (arm.inter_chunk, arm.inter_token);
        let cells = [
            cell(chunk, |gaps| gaps.p50_ms),
            cell(chunk, |gaps| gaps.p99_ms),
            cell(chunk, |gaps| gaps.max_ms),
            cell(token, |gaps| gaps.p50_ms),
            cell(token, |gaps| gaps.p99_ms),
            cell(token, |gaps| gaps.mean_ms),
        ];
        writeln!(text, "| `{}` | {} |", arm.label, cells.join(" | "))?;
    }
    Ok(())
}

/// Thinking and answer apart, where something was thought.
fn write_thinking(text: &mut String, report: &Report) -> std::fmt::Result {
    let told = report.arms.iter().filter_map(|arm| Some((arm, arm.thinking.as_ref()?)));
    let told: Vec<_> = told.collect();
    if !told.iter().any(|(_, thinking)| thinking.has_thoughts()) {
        return Ok(());
    }
    writeln!(
        text,
        "\n| arm | thinking tokens | answer tokens | first answer token ms | no answer | not told | told by |"
    )?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|---|")?;
    for (arm, thinking) in told {
        let count = |count: Option<u64>| count.map_or_else(unknown, |count| count.to_string());
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} | {} |",
            arm.label,
            count(thinking.thinking_tokens),
            count(thinking.answer_tokens),
            cell(thinking.first_answer_ms, 1),
            thinking.without_answer,
            thinking.unsplit_requests,
            thinking.split_by_words(),
        )?;
    }
    Ok(())
}

/// Every metric of every comparison, with what its verdict rests on.
fn write_tests(text: &mut String, report: &Report) -> std::fmt::Result {
    if !report.comparisons.iter().any(|comparison| comparison.test.is_some() || comparison.has_ratio()) {
        return Ok(());
    }
    writeln!(
        text,
        "\n| candidate | baseline | metric | ratio | verdict | p (Holm) | p (ranks) | could find |"
    )?;
    writeln!(text, "|---|---|---|--:|---|--:|--:|--:|")?;
    // What could not be compared stands above, with its reason.
    for comparison in report.comparisons.iter().filter(|comparison| comparison.has_ratio()) {
        let word = |verdict, why: &Option<String>| verdict_with(verdict, why.as_deref());
        let main = (comparison.metric.as_str(), comparison.ratio, word(comparison.verdict, &comparison.why));
        let others = comparison
            .other_metrics
            .iter()
            .map(|other| ((other.metric.as_str(), other.ratio, word(other.verdict, &other.why)), other.test));
        for ((metric, ratio, verdict), test) in std::iter::once((main, comparison.test)).chain(others) {
            writeln!(
                text,
                "| `{}` | `{}` | {metric} | {} | {} | {} | {} | {} |",
                comparison.candidate,
                comparison.baseline,
                cell(ratio, 3),
                verdict,
                chance(test.and_then(|test| test.p_holm)),
                chance(test.and_then(|test| test.p_ranks)),
                test.and_then(|test| test.detectable)
                    .map_or_else(unknown, |share| format!("{:.1} %", share * 100.0)),
            )?;
        }
    }
    writeln!(text)?;
    for note in &report.method_notes {
        writeln!(text, "* {}", one_line(note))?;
    }
    Ok(())
}

/// Greedy outputs compared token by token.
fn write_audits(text: &mut String, report: &Report) -> std::fmt::Result {
    let mut audited = report.comparisons.iter().filter_map(|c| Some((c, c.lossless.as_ref()?))).peekable();
    if audited.peek().is_none() {
        return Ok(());
    }
    writeln!(
        text,
        "\n| candidate | baseline | outputs | identical | near tie | defect | unknown margin | first difference |"
    )?;
    writeln!(text, "|---|---|--:|--:|--:|--:|--:|---|")?;
    for (comparison, audit) in audited {
        let first = audit.first.as_ref().map_or_else(String::new, first_difference);
        writeln!(
            text,
            "| `{}` | `{}` | {} | {} | {} | {} | {} | {first} |",
            comparison.candidate,
            comparison.baseline,
            audit.requests,
            audit.identical,
            audit.near_tie,
            audit.defect,
            audit.unknown_margin
        )?;
    }
    Ok(())
}

fn first_difference(first: &FirstDivergence) -> String {
    let found = &first.divergence;
    let token = found.token.map_or_else(String::new, |token| format!(", token {token}"));
    let margin = found.margin.map_or_else(String::new, |margin| format!(", logits {margin:.3} apart"));
    // A text of a model must break neither the table nor the code span it stands in.
    let quoted = |text: &str| format!("`{}`", one_line(text).replace('|', "¦").replace('`', "'"));
    let (before, one, other) = (quoted(&found.before), quoted(&found.baseline), quoted(&found.candidate));
    format!("`{}`{token}{margin}: {before} then {one} or {other}", first.prompt_id)
}

fn write_categories(text: &mut String, report: &Report) -> std::fmt::Result {
    if report.arms.iter().all(|arm| arm.categories.is_empty()) {
        return Ok(());
    }
    writeln!(
        text,
        "\n| arm | category | prompts | accepted / drafted | accepted % | by position % | tokens per verify step | \
         tokens/s | tokens/s ratio |"
    )?;
    writeln!(text, "|---|---|--:|--:|--:|--:|--:|--:|--:|")?;
    for arm in &report.arms {
        for category in &arm.categories {
            writeln!(text, "{}", category_row(arm, category))?;
        }
    }
    writeln!(text, "\nBy position: accepted there, of the rounds that drafted there.")
}

/// Time to first token by the length that was asked for, beside the length that was read back: where prompts are of
/// synthetic tokens, a category is a length.
fn write_prompt_lengths(text: &mut String, report: &Report) -> std::fmt::Result {
    if !report.prompt_set.as_ref().is_some_and(|set| set.synthetic) {
        return Ok(());
    }
    writeln!(text, "\n| arm | prompts of | prompt tokens, read back | TTFT ms | prompt tokens/s |")?;
    writeln!(text, "|---|---|--:|--:|--:|")?;
    for arm in &report.arms {
        for category in &arm.categories {
            let range = category.prompt_tokens_range.map_or_else(unknown, |[least, most]| {
                if least == most { least.to_string() } else { format!("{least} to {most}") }
            });
            writeln!(
                text,
                "| `{}` | {} | {range} | {} | {} |",
                arm.label,
                category.category,
                cell(category.ttft_ms, 2),
                cell(category.prompt_tokens_per_s, 0),
            )?;
        }
    }
    writeln!(
        text,
        "\nPrompt tokens/s: prompt tokens over time to first token, which holds the first output token too."
    )
}

fn write_remarks(text: &mut String, report: &Report) -> std::fmt::Result {
    for arm in &report.arms {
        let skipped = arm.skipped.iter().map(|why| format!("skipped: {why}"));
        let invalid = arm.invalid_reasons.iter().map(|why| format!("invalid: {why}"));
        let refused = arm
            .acceptance_refused()
            .map(|why| format!("refused: acceptance, speed that depends on it, equal outputs; {why}"));
        let failed = arm
            .failure_kinds
            .iter()
            .map(|kind| format!("{} x {}: {}", kind.count, kind.kind, kind.first_message));
        for (index, line) in skipped.chain(invalid).chain(refused).chain(failed).enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            writeln!(text, "{gap}* `{}`: {}", arm.label, one_line(&line))?;
        }
    }
    Ok(())
}

fn arm_row(arm: &ArmReport) -> String {
    if arm.skipped.is_some() {
        return format!("| `{}` | skipped | | | | | |", arm.label);
    }
    let accepted = match (arm.accepted, arm.drafted) {
        _ if arm.acceptance_refused().is_some() => REFUSED.to_owned(),
        (Some(accepted), Some(drafted)) if drafted > 0 => format!("{accepted} / {drafted}"),
        _ if arm.speculation.draft_max().is_none() => String::new(),
        _ => "?".to_owned(),
    };
    format!(
        "| `{}`{} | {} | {} | {} | {} | {accepted} | {} |",
        arm.label,
        if arm.valid { "" } else { " (invalid)" },
        arm.n_requests,
        cell(arm.tokens_per_s, 1),
        cell(arm.ttft_ms, 2),
        cell(arm.tpot_ms, 3),
        match arm.acceptance_refused() {
            Some(_) => REFUSED.to_owned(),
            None if arm.speculation.draft_max().is_none() => String::new(),
            None => cell(arm.acceptance_length, 2),
        },
    )
}

fn category_row(arm: &ArmReport, category: &CategoryReport) -> String {
    let CategoryReport { category: name, prompts, tokens_per_s, .. } = category;
    let speculation = if arm.speculation.draft_max().is_none() {
        [""; 4].join(" | ")
    } else if arm.acceptance_refused().is_some() {
        [REFUSED; 4].join(" | ")
    } else {
        let counts = category.accepted.zip(category.drafted);
        format!(
            "{} | {} | {} | {}",
            counts.map_or_else(unknown, |(accepted, drafted)| format!("{accepted} / {drafted}")),
            cell(category.acceptance_rate.map(percent), 1),
            by_position(category.positions.as_deref()),
            cell(category.acceptance_length, 2),
        )
    };
    let ratio = category.ratio.map_or_else(String::new, |ratio| cell(Some(ratio), 3));
    let speed = cell(*tokens_per_s, 1);
    format!("| `{}` | {} | {prompts} | {speculation} | {speed} | {ratio} |", arm.label, one_line(name))
}

/// Conditional shares, the first position first.
fn by_position(positions: Option<&[PositionReport]>) -> String {
    let share = |position: &PositionReport| position.conditional.map(|share| percent(share).point);
    let word = |position| share(position).map_or_else(unknown, |share| format!("{share:.0}"));
    positions.map_or_else(unknown, |positions| positions.iter().map(word).collect::<Vec<_>>().join(", "))
}

/// `0.031`, or that it is below what three digits show.
fn chance(p: Option<f64>) -> String {
    match p {
        None => unknown(),
        Some(p) if p < 0.001 => "< 0.001".to_owned(),
        Some(p) => format!("{p:.3}"),
    }
}

fn percent(share: Estimate) -> Estimate {
    let times = |value: f64| value * 100.0;
    Estimate { point: times(share.point), low: share.low.map(times), high: share.high.map(times) }
}

/// A claim that was withheld, where a number would be.
const REFUSED: &str = "refused";

fn unknown() -> String {
    "?".to_owned()
}

/// The word, and why it is no more than that.
fn verdict_with(verdict: Verdict, why: Option<&str>) -> String {
    let why = why.map_or_else(String::new, |why| format!(": {}", one_line(why)));
    verdict_word(verdict).to_owned() + &why
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Faster => "faster",
        Verdict::Slower => "slower",
        Verdict::Equivalent => "equivalent",
        Verdict::NotResolved => "not resolved",
        Verdict::NotComparable => "not comparable",
    }
}

fn comparison_row(report: &Report, comparison: &Comparison) -> String {
    let verdict = verdict_with(comparison.verdict, comparison.why.as_deref());
    let same = match comparison.same_output {
        Some(true) => "yes",
        Some(false) => "no",
        None if report.acceptance_refused(comparison).is_some() => REFUSED,
        None => "unknown",
    };
    format!(
        "| `{}` | `{}` | {} | {} | {verdict} | {same} |",
        comparison.candidate,
        comparison.baseline,
        cell(comparison.ratio, 3),
        comparison.pairs
    )
}

fn cell(estimate: Option<Estimate>, digits: usize) -> String {
    match estimate {
        None => unknown(),
        Some(Estimate { point, low: Some(low), high: Some(high) }) => {
            format!("{point:.digits$} [{low:.digits$}, {high:.digits$}]")
        }
        Some(Estimate { point, .. }) => format!("{point:.digits$}"),
    }
}

/// A message of a foreign program must not break the list it stands in.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
