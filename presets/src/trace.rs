//! Traces: when requests came, one JSON object a line.
//!
//! Read are `at_s` (seconds), `at_ms` or `timestamp` (both milliseconds, the latter as Mooncake's traces have it); other
//! keys of a line are left alone. The first line is time 0.

use serde::Deserialize;

/// A trace beyond this is a mistake, or wants to be cut.
const MOST_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct Line {
    at_s: Option<f64>,
    at_ms: Option<f64>,
    timestamp: Option<f64>,
}

/// Microseconds from the first line on, or what was expected.
pub(crate) fn read_trace(path: &str) -> Result<Vec<u64>, String> {
    let read = |error: std::io::Error| format!("a file that can be read ({error})");
    let bytes = std::fs::metadata(path).map_err(read)?.len();
    if bytes > MOST_BYTES {
        return Err(format!("at most {MOST_BYTES} bytes, not {bytes}"));
    }
    parse_trace(&std::fs::read_to_string(path).map_err(read)?)
}

fn parse_trace(text: &str) -> Result<Vec<u64>, String> {
    let mut times = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let at_us = line_us(line).map_err(|problem| format!("on line {number} {problem}"))?;
        if times.last().is_some_and(|before| at_us < *before) {
            return Err(format!("on line {number} a time not before that of the line before"));
        }
        times.push(at_us);
    }
    let Some(first) = times.first().copied() else { return Err("at least one line".to_owned()) };
    Ok(times.into_iter().map(|at_us| microseconds(at_us - first)).collect())
}

/// Time of a line, microseconds.
fn line_us(line: &str) -> Result<f64, String> {
    let Line { at_s, at_ms, timestamp } =
        serde_json::from_str(line).map_err(|error| format!("a JSON object ({error})"))?;
    let at_us = match (at_s, at_ms.or(timestamp)) {
        (Some(seconds), None) => seconds * 1e6,
        (None, Some(ms)) => ms * 1e3,
        (Some(_), Some(_)) => return Err("one time, not two".to_owned()),
        (None, None) => return Err("`at_s`, `at_ms` or `timestamp`".to_owned()),
    };
    if at_us.is_finite() && at_us.abs() < 1e18 {
        Ok(at_us)
    } else {
        Err("a time that is a number".to_owned())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "differences of ascending times below 1e18 are not negative and fit"
)]
fn microseconds(at_us: f64) -> u64 {
    at_us.round() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_begin_at_zero_in_any_of_the_units() {
        assert_eq!(parse_trace("{\"at_s\": 1.5}\n\n{\"at_s\": 2.25, \"x\": 1}\n").unwrap(), [0, 750_000]);
        assert_eq!(parse_trace("{\"timestamp\": 27}\n{\"timestamp\": 27}\n").unwrap(), [0, 0]);
        assert_eq!(parse_trace("{\"at_ms\": -1}\n{\"at_ms\": 0.5}").unwrap(), [0, 1500]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, words) in [
            ("", "at least one line"),
            ("{\"at_s\": 1}\nnot JSON", "line 2 a JSON object"),
            ("{\"at_s\": 1}\n{\"at_s\": 0.5}", "line 2 a time not before"),
            ("{\"t\": 1}", "line 1 `at_s`"),
            ("{\"at_s\": 1, \"at_ms\": 1}", "one time, not two"),
            ("{\"at_s\": 1e300}", "a time that is a number"),
        ] {
            let problem = parse_trace(text).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}", lines in prop::collection::vec("\\{\"at_(s|ms)\": [-0-9.e]{1,6}\\}", 0..5)) {
            drop(parse_trace(&text));
            drop(parse_trace(&lines.join("\n")));
        }
    }
}
