//! Prometheus' text format, version 0.0.4, as far as counters of speculation need it.
//!
//! Comments are skipped: the type of a metric is known by whoever asks for it. Escapes in label values are undone,
//! time stamps are ignored. A line that is none of these is an error, because a counter that is silently left out
//! would look like one that the build lacks.

use std::collections::BTreeMap;

use bench_core::stack::{SpecCounts, SpecSource};

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// Metric name, colons included.
    pub name: &'a str,
    /// Labels in the order they came.
    pub labels: Vec<(&'a str, String)>,
    /// The value; NaN and infinities are values of the format.
    pub value: f64,
}

/// A line that is not the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no sample of Prometheus' text format: `{excerpt}`")]
pub struct PrometheusError {
    /// Counted from 1.
    pub line: usize,
    /// Its beginning.
    pub excerpt: String,
}

/// All samples, in order.
pub fn parse(text: &str) -> Result<Vec<Sample<'_>>, PrometheusError> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let samples = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let bad = |number, line: &str| PrometheusError { line: number, excerpt: line.chars().take(80).collect() };
    samples.map(|(number, line)| sample(line).ok_or_else(|| bad(number, line))).collect()
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(line.len());
    let (name, rest) = line.split_at_checked(end)?;
    let starts_well = name.starts_with(|c: char| !c.is_ascii_digit());
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // Go's spelling of infinity and NaN is understood by Rust's parser.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    starts_well.then_some(Sample { name, labels, value })
}

type Labels<'a> = Vec<(&'a str, String)>;

/// Labels up to and with the closing brace, and what comes after it.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        labels.push((name.trim(), value));
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest,
            None if rest.starts_with('}') => rest,
            None => return None,
        };
    }
}

/// A label value up to its closing quote, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                _ => return None,
            },
            c => value.push(c),
        }
    }
    None
}

/// Counts of speculation since the server started, from metrics `{prefix}spec_decode_num_*`; llama.cpp's prefix is
/// `llamacpp:`, vLLM uses the same words. `None` where the build has no such counters.
///
/// Counters of several engines behind one server (vLLM's label `engine`) are summed. `verify_steps` stays `None`: the
/// counter of drafts leaves out steps that had no draft.
#[must_use]
pub fn spec_counts(samples: &[Sample<'_>], prefix: &str) -> Option<SpecCounts> {
    let named = |name: &str| {
        let wanted = format!("{prefix}spec_decode_num_{name}_total");
        samples.iter().filter(move |sample| sample.name == wanted)
    };
    let total = |name| {
        let values = named(name).map(|sample| whole(sample.value));
        values.reduce(|sum, value| sum?.checked_add(value?)).flatten()
    };
    let mut positions: BTreeMap<usize, u64> = BTreeMap::new();
    for sample in named("accepted_tokens_per_pos") {
        let position = sample.labels.iter().find(|(name, _)| *name == "position")?;
        let sum = positions.entry(position.1.parse().ok()?).or_default();
        *sum = sum.checked_add(whole(sample.value)?)?;
    }
    let consecutive = positions.keys().enumerate().all(|(index, position)| index == *position);
    Some(SpecCounts {
        drafted: total("draft_tokens")?,
        accepted: total("accepted_tokens")?,
        verify_steps: None,
        accepted_per_position: (consecutive && !positions.is_empty())
            .then(|| positions.into_values().collect()),
        drafted_per_position: None,
        accepted_histogram: None,
        source: SpecSource::MetricsDelta,
    })
}

/// Prompt tokens that came from vLLM's prefix cache since the server started, over all of its engines; `None` where the
/// build does not count them.
#[must_use]
pub fn cached_tokens(samples: &[Sample<'_>]) -> Option<u64> {
    let hits = samples.iter().filter(|sample| sample.name == "vllm:prefix_cache_hits_total");
    hits.map(|sample| whole(sample.value)).reduce(|sum, value| sum?.checked_add(value?)).flatten()
}

/// When the process began, as Python's client library tells it.
#[must_use]
pub fn process_start(samples: &[Sample<'_>]) -> Option<String> {
    let start = samples.iter().find(|sample| sample.name == "process_start_time_seconds")?;
    Some(start.value.to_string())
}

/// A counter's value, if it is a whole number that a float holds exactly.
fn whole(value: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let fits = (0.0..=EXACT).contains(&value) && value.fract() == 0.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and in range, just checked"
    )]
    fits.then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAPTURE: &str = include_str!("../tests/fixtures/llama-server/metrics_after.txt");

    #[test]
    fn a_real_answer_gives_its_counters() {
        let counts = spec_counts(&parse(CAPTURE).unwrap(), "llamacpp:").unwrap();
        assert_eq!((counts.drafted, counts.accepted, counts.verify_steps), (1225, 343, None));
        assert_eq!(counts.accepted_per_position, Some(vec![129, 81, 60, 35, 24, 14]));
    }

    #[test]
    fn a_build_without_counters_gives_none() {
        assert_eq!(spec_counts(&parse("llamacpp:n_decode_total 264\n").unwrap(), "llamacpp:"), None);
    }

    #[test]
    fn engines_behind_one_server_are_summed() {
        let text = "p_spec_decode_num_draft_tokens_total{engine=\"0\"} 4\np_spec_decode_num_draft_tokens_total{engine=\"1\"} 5\n\
            p_spec_decode_num_accepted_tokens_total{engine=\"0\"} 3\np_spec_decode_num_accepted_tokens_total{engine=\"1\"} 1\n\
            p_spec_decode_num_accepted_tokens_per_pos_total{engine=\"0\",position=\"0\"} 2\n\
            p_spec_decode_num_accepted_tokens_per_pos_total{engine=\"1\",position=\"0\"} 1\n\
            p_spec_decode_num_accepted_tokens_per_pos_total{engine=\"0\",position=\"1\"} 1\n";
        let counts = spec_counts(&parse(text).unwrap(), "p_").unwrap();
        assert_eq!((counts.drafted, counts.accepted), (9, 4));
        assert_eq!(counts.accepted_per_position, Some(vec![3, 1]));
    }

    #[test]
    fn hits_of_the_prefix_cache_are_tokens() {
        let hits = |text: &str| cached_tokens(&parse(text).unwrap());
        let page = "vllm:prefix_cache_queries_total{engine=\"0\"} 90.0\nvllm:prefix_cache_hits_total{engine=\"0\"} 32.0\n\
            vllm:prefix_cache_hits_total{engine=\"1\"} 16.0\nvllm:prefix_cache_hits_created{engine=\"0\"} 1.79e+09\n";
        assert_eq!(hits(page), Some(48));
        assert_eq!(hits("vllm:prefix_cache_hits_total 0.0\n"), Some(0));
        assert_eq!((hits("vllm:prefix_cache_hits_total 0.5\n"), hits("a 1\n")), (None, None));
    }

    #[test]
    fn labels_escapes_and_stamps() {
        let samples = parse("a{x=\"1\\\"\\n\", y = \"}\",} 2e3 1700000000\nb NaN\nc{} +Inf\n").unwrap();
        assert_eq!(samples[0].labels, [("x", "1\"\n".to_owned()), ("y", "}".to_owned())]);
        assert_eq!((samples[0].value, samples[2].value), (2000.0, f64::INFINITY));
        assert!(samples[1].value.is_nan());
    }

    #[test]
    fn a_bad_line_is_named() {
        for bad in ["a", "a{x=1} 1", "a{x=\"1\" 1", "1a 2", "a 1x", "{} 1x"] {
            let error = parse(&format!("ok 1\n{bad}\n")).unwrap_err();
            assert_eq!((error.line, error.excerpt.as_str()), (2, bad));
        }
    }

    #[test]
    fn counters_that_are_no_whole_numbers_are_not_counters() {
        let text = "spec_decode_num_draft_tokens_total -1\nspec_decode_num_accepted_tokens_total 0\n";
        assert_eq!(spec_counts(&parse(text).unwrap(), ""), None);
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "[a-c{}=\",\\\\ \n0-9.#é-]{0,60}") {
            if let Ok(samples) = parse(&text) {
                prop_assert!(spec_counts(&samples, "").is_none_or(|counts| counts.verify_steps.is_none()));
            }
        }

        #[test]
        fn what_is_written_is_read(name in "[a-z_:][a-z0-9_:]{0,8}", label in "\\PC{0,8}", value in any::<u32>()) {
            let escaped = label.replace('\\', r"\\").replace('"', "\\\"");
            let text = format!("{name}{{l=\"{escaped}\"}} {value}\n");
            let samples = parse(&text).unwrap();
            prop_assert_eq!(&samples[0].labels, &vec![("l", label)]);
            prop_assert_eq!((samples[0].name, samples[0].value), (name.as_str(), f64::from(value)));
        }
    }
}
