//! GitHub's workflow commands: what a pull request shows without a look at the log.

use bench_core::gate::{GateReport, GateVerdict};

use super::words;

/// One line a regression (`::error`), a problem, and a check that could not be judged (`::warning`).
pub(crate) fn annotations(report: &GateReport) -> String {
    let mut lines: Vec<String> =
        report.problems.iter().map(|problem| command("warning", "not judged", problem)).collect();
    for arm in &report.arms {
        let name = words::arms(arm);
        lines.extend(
            arm.problems.iter().map(|problem| command("warning", &format!("{name}: not judged"), problem)),
        );
        // Of an arm that is not valid its problems say it all.
        let checks = arm.checks.iter().filter(|_| arm.problems.is_empty());
        lines.extend(checks.filter_map(|check| {
            let level = match check.verdict {
                GateVerdict::Pass => return None,
                GateVerdict::Regression => "error",
                GateVerdict::Inconclusive => "warning",
            };
            let title = format!("{name}: {} of {}", check.verdict, check.metric);
            Some(command(level, &title, &words::sentence(arm, check)))
        }));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn command(level: &str, title: &str, message: &str) -> String {
    let title = data(&format!("bench gate: {title}")).replace(':', "%3A").replace(',', "%2C");
    format!("::{level} title={title}::{}", data(message))
}

/// As the runner decodes it: a line break would end the command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::testing::report;

    #[test]
    fn passes_are_silent_and_breaks_are_encoded() {
        insta::assert_snapshot!(annotations(&report()));
        assert_eq!(command("error", "a,b:c", "1 %\n2"), "::error title=bench gate%3A a%2Cb%3Ac::1 %25%0A2");
    }
}
