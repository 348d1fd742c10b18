//! Any text as a metrics page: what is read can be written and read again, and counters are whole numbers or none.

#![no_main]

use bench_adapters::prometheus::{Sample, parse, process_start, spec_counts};
use libfuzzer_sys::fuzz_target;

/// A sample as the format has it.
fn written(sample: &Sample<'_>) -> String {
    let label = |(name, value): &(&str, String)| {
        format!("{name}=\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n"))
    };
    let labels: Vec<_> = sample.labels.iter().map(label).collect();
    format!("{}{{{}}} {}\n", sample.name, labels.join(","), sample.value)
}

fn same(a: &Sample<'_>, b: &Sample<'_>) -> bool {
    let values = a.value == b.value || (a.value.is_nan() && b.value.is_nan());
    a.name == b.name && a.labels == b.labels && values
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let samples = match parse(text) {
        Ok(samples) => samples,
        Err(error) => {
            assert!((1..=text.lines().count()).contains(&error.line), "{error}");
            return;
        }
    };
    let again: String = samples.iter().map(written).collect();
    let again = parse(&again).expect("what was read can be read again");
    assert_eq!(samples.len(), again.len());
    assert!(samples.iter().zip(&again).all(|(a, b)| same(a, b)), "{samples:?} {again:?}");
    for prefix in ["llamacpp:", "vllm:", ""] {
        let counts = spec_counts(&samples, prefix);
        assert_eq!(counts, spec_counts(&again, prefix));
        if let Some(counts) = counts {
            assert!(counts.verify_steps.is_none() && counts.accepted_per_position != Some(Vec::new()));
        }
    }
    std::hint::black_box(process_start(&samples));
});
