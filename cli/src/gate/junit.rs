//! `JUnit` XML, as CI systems read it: a suite a pair of arms, a case a metric. A regression is a failure; what could not be
//! judged is an error, so that silence fails the job, too.
//!
//! The format is the common subset of what Jenkins, GitLab and GitHub's report actions take (testmoapp/junitxml).

use bench_core::gate::{ArmGate, GateReport, GateVerdict};

use super::words;

/// The whole document.
pub(crate) fn junit(report: &GateReport) -> String {
    let mut suites = vec![Suite { name: "gate".to_owned(), cases: vec![standing(report)] }];
    suites.extend(report.arms.iter().map(suite));
    let cases: Vec<_> = suites.iter().flat_map(|suite| &suite.cases).collect();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml += &format!("<testsuites name=\"bench gate\" {}>\n", counts(&cases));
    for suite in &suites {
        let cases: Vec<_> = suite.cases.iter().collect();
        xml += &format!("  <testsuite name=\"{}\" {}>\n", escaped(&suite.name), counts(&cases));
        for case in &suite.cases {
            xml += &case_xml(&suite.name, case);
        }
        xml += "  </testsuite>\n";
    }
    xml + "</testsuites>\n"
}

struct Suite {
    name: String,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    verdict: GateVerdict,
    /// One sentence.
    message: String,
    /// All there is to say.
    details: Vec<String>,
}

/// Whether anything could be judged at all.
fn standing(report: &GateReport) -> Case {
    let judged = report.problems.is_empty() && !report.arms.is_empty();
    let message = report.problems.first().cloned().unwrap_or_else(|| words::runs(report));
    let told = words::provenance(report).into_iter().chain(report.warnings.iter().cloned());
    Case {
        name: "comparable".to_owned(),
        verdict: if judged { GateVerdict::Pass } else { GateVerdict::Inconclusive },
        message,
        details: report
            .problems
            .iter()
            .skip(1)
            .cloned()
            .chain(told)
            .chain(report.notes.iter().cloned())
            .collect(),
    }
}

fn suite(arm: &ArmGate) -> Suite {
    let validity = Case {
        name: "validity".to_owned(),
        verdict: if arm.problems.is_empty() { GateVerdict::Pass } else { GateVerdict::Inconclusive },
        message: arm.problems.first().cloned().unwrap_or_else(|| "both arms are valid".to_owned()),
        details: arm.problems.iter().skip(1).chain(&arm.warnings).cloned().collect(),
    };
    let checks = arm.checks.iter().map(|check| Case {
        name: check.metric.to_string(),
        verdict: check.verdict,
        message: words::sentence(arm, check),
        details: Vec::new(),
    });
    Suite { name: words::arms(arm), cases: std::iter::once(validity).chain(checks).collect() }
}

fn counts(cases: &[&Case]) -> String {
    let of = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
    format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\"",
        cases.len(),
        of(GateVerdict::Regression),
        of(GateVerdict::Inconclusive)
    )
}

fn case_xml(suite: &str, case: &Case) -> String {
    let head = format!("    <testcase classname=\"{}\" name=\"{}\"", escaped(suite), escaped(&case.name));
    let text = escaped(&[std::slice::from_ref(&case.message), &case.details[..]].concat().join("\n"));
    let element = match case.verdict {
        GateVerdict::Pass => {
            return format!("{head}>\n      <system-out>{text}</system-out>\n    </testcase>\n");
        }
        GateVerdict::Regression => "failure",
        GateVerdict::Inconclusive => "error",
    };
    let message = escaped(&case.message).replace('\n', "&#10;");
    format!(
        "{head}>\n      <{element} message=\"{message}\" type=\"{}\">{text}</{element}>\n    </testcase>\n",
        case.verdict
    )
}

/// Text for XML 1.0, which has no word at all for most control characters: they become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' => out.push(letter),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ if letter < ' ' => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::testing::report;

    #[test]
    fn a_regression_is_a_failure_and_silence_an_error() {
        insta::assert_snapshot!(junit(&report()));
        let mut nothing = report();
        nothing.arms.clear();
        assert!(junit(&nothing).contains("tests=\"1\" failures=\"0\" errors=\"1\""), "{}", junit(&nothing));
    }

    #[test]
    fn what_xml_has_no_word_for_is_replaced() {
        assert_eq!(
            escaped("a<b>&\"'\u{1b}[31m\u{0}\u{ffff}ä\n"),
            "a&lt;b&gt;&amp;&quot;&apos;\u{fffd}[31m\u{fffd}\u{fffd}ä\n"
        );
    }
}
