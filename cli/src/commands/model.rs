//! `bench model`: looks into GGUF files and writes synthetic ones.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use bench_engine::EngineError;
use bench_engine::gguf::{GgmlType, Gguf};
use bench_engine::synth::real::{RealPair, RealSize, write_real_pair};
use bench_engine::synth::tiny::{TinyPair, write_tiny_pair};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{ModelCommand, Size, SynthCommand, Weights};
use crate::failure::Failure;
use crate::table;

pub(crate) fn model(command: &ModelCommand) -> Result<ExitCode, Failure> {
    let text = match command {
        ModelCommand::Info { file } => info(file)?,
        ModelCommand::Synth(command) => synth(command)?,
    };
    // A closed pipe is no failure.
    drop(anstream::stdout().write_all(text.as_bytes()));
    Ok(ExitCode::SUCCESS)
}

/// Metadata (long arrays by their length), then a count of tensors, elements and bytes for each type.
fn info(file: &Path) -> Result<String, Failure> {
    let gguf = Gguf::open(file).map_err(EngineError::from)?;
    let mut text = table::columns(
        &gguf.metadata().map(|(key, value)| [key.to_owned(), value.summary()]).collect::<Vec<_>>(),
    );
    let mut by_type: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    for tensor in gguf.tensors() {
        let entry = by_type.entry(tensor.ty.to_string()).or_default();
        entry.0 += 1;
        entry.1 += tensor.n_elements();
        entry.2 += tensor.data.len() as u64;
    }
    text.push('\n');
    let rows: Vec<[String; 4]> = by_type
        .iter()
        .map(|(ty, (tensors, elements, bytes))| {
            [
                ty.clone(),
                format!("{tensors} tensors"),
                format!("{:.2} M elements", *elements as f64 / 1e6),
                format!("{:.1} MiB", *bytes as f64 / f64::from(1 << 20)),
            ]
        })
        .collect();
    text.push_str(&table::columns(&rows));
    Ok(text)
}

/// The written paths, one a line.
fn synth(command: &SynthCommand) -> Result<String, Failure> {
    match command {
        SynthCommand::Tiny { dir, acceptance, weights, seed } => {
            let pair = TinyPair {
                seed: *seed,
                acceptance: *acceptance,
                weights: ggml_type(*weights),
                ..TinyPair::default()
            };
            let files = write_tiny_pair(dir, &pair)?;
            Ok(lines(&[&files.target, &files.assistant, &files.rule]))
        }
        SynthCommand::Real { size, dir, weights, seed } => {
            let bar = byte_bar();
            let pair = RealPair { size: real_size(*size), weights: ggml_type(*weights), seed: *seed };
            let files = write_real_pair(dir, &pair, &mut |done, total| {
                bar.set_length(total);
                bar.set_position(done);
            })?;
            bar.finish_and_clear();
            Ok(lines(&[&files.target, &files.assistant]))
        }
    }
}

fn byte_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:28} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn lines(paths: &[&Path]) -> String {
    paths.iter().map(|path| format!("{}\n", path.display())).collect()
}

fn ggml_type(weights: Weights) -> GgmlType {
    match weights {
        Weights::F32 => GgmlType::F32,
        Weights::F16 => GgmlType::F16,
        Weights::Bf16 => GgmlType::Bf16,
        Weights::Q8_0 => GgmlType::Q8_0,
    }
}

fn real_size(size: Size) -> RealSize {
    match size {
        Size::E2b => RealSize::E2b,
        Size::E4b => RealSize::E4b,
        Size::B12 => RealSize::B12,
        Size::B26A4b => RealSize::B26A4b,
        Size::B31 => RealSize::B31,
    }
}
