//! `docs/faults.md`: the tables in words.

use std::fmt::Write as _;

use crate::faults::{FAULTS, Fault};
use crate::stacks::{CASES, Case, KEPT_EVENTS};

const INTRO: &str = "\
# Faults and their rows

Every request that is sent becomes a row, whatever became of it. This is what each stack makes of each way in which a
server, a proxy or a network can misbehave: a conformance suite plays every fault below to every stack from a scripted
server on loopback, runs it through the same runner as a measurement, and compares the row that is stored.

Written from the suite's own table; `BLESS=1 cargo test --release -p bench-adapters --test conformance` writes it anew.

Words of a row: how the request ended (`completed`, `failed` with its kind, `timed out`, `cancelled`); the output tokens
and who counted them (the ids that came, the usage report, the chunks; *disputed* if two of them differ); what was
drafted. Only `completed` rows enter a mean; all others are counted as what they are, with what came before they broke.
";

/// The whole document.
pub(crate) fn render() -> String {
    let mut text = INTRO.to_owned();
    stacks(&mut text);
    matrix(&mut text);
    details(&mut text);
    text
}

fn stacks(text: &mut String) {
    text.push_str("\n## Stacks\n\nThe recorded stream of each is a real server's answer.\n\n");
    let kept = format!("kept of its first {KEPT_EVENTS} events");
    line(text, &["stack and route", "recorded from", "row of its recorded stream", &kept]);
    line(text, &["---"; 4]);
    for case in CASES {
        line(text, &[case.label, case.recorded, case.ordinary, case.kept]);
    }
}

fn matrix(text: &mut String) {
    text.push_str(
        "\n## Fault by stack\n\n`=` is the row of the recorded stream, `·` cannot happen there; all else is what the row says of its end.\n\n",
    );
    let labels = CASES.iter().map(|case| case.label);
    line(text, &["fault"].into_iter().chain(labels).collect::<Vec<_>>());
    line(text, &vec!["---"; CASES.len() + 1]);
    for fault in FAULTS {
        let cells = CASES.iter().map(|case| short(fault, case));
        let cells: Vec<_> = [fault.name.to_owned()].into_iter().chain(cells).collect();
        line(text, &cells.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// How it ended, in one or two words, and what is remarkable about it.
fn short(fault: &Fault, case: &Case) -> String {
    let Some((words, _)) = fault.row_of(case).words(case) else { return "·".to_owned() };
    if words == case.ordinary {
        return "=".to_owned();
    }
    if let Some(more) = words.strip_prefix(case.ordinary) {
        return format!("={more}");
    }
    let end = words.split([';', ',']).next().unwrap_or_default();
    let end = end.trim_start_matches("failed: ").trim_end_matches(" (length)");
    let remarks = ["disputed", "nobody counted", "with the server's death"];
    let remarks = remarks.into_iter().filter(|remark| end == "completed" || remark.contains("death"));
    let remarks: Vec<_> = remarks.filter(|remark| words.contains(remark)).collect();
    [vec![end], remarks].concat().join(", ")
}

fn details(text: &mut String) {
    text.push_str("\n## Fault by fault\n\n");
    for fault in FAULTS {
        let groups = grouped(fault);
        let alone = if let [(words, _)] = &groups[..] { format!(" → {words}") } else { String::new() };
        writeln!(text, "- **{}**: {}{alone}", fault.name, fault.why).expect("a string takes everything");
        for (words, labels) in groups.iter().filter(|_| alone.is_empty()) {
            writeln!(text, "  - {} → {words}", labels.join(", ")).expect("a string takes everything");
        }
    }
}

/// Rows as they stand in the table, each with the stacks that have it: by name where all its routes do.
fn grouped(fault: &Fault) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for case in CASES {
        let Some(words) = fault.row_of(case).template() else { continue };
        let routes = CASES.iter().filter(|other| other.stack() == case.stack());
        let alike = routes.clone().all(|other| fault.row_of(other) == fault.row_of(case));
        let label = if alike { case.stack() } else { case.label }.to_owned();
        match groups.iter_mut().find(|(known, _)| *known == words) {
            Some((_, labels)) if labels.contains(&label) => {}
            Some((_, labels)) => labels.push(label),
            None => groups.push((words, vec![label])),
        }
    }
    groups
}

fn line(text: &mut String, cells: &[&str]) {
    writeln!(text, "| {} |", cells.join(" | ")).expect("a string takes everything");
}
