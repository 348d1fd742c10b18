//! `bench model`: looks into GGUF files, copies bundled ones out, and writes synthetic ones.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use bench_adapters::llama_server::without_centroids;
use bench_engine::EngineError;
use bench_engine::gguf::{GgmlType, Gguf};
use bench_engine::synth::real::{RealPair, RealSize, write_real_pair};
use bench_engine::synth::tiny::{TinyPair, write_tiny_pair};
use bench_presets::{BundledPair, find_bundled};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{ModelCommand, Size, SynthCommand, Weights};
use crate::failure::Failure;
use crate::models;
use crate::table;

pub(crate) fn model(command: &ModelCommand) -> Result<ExitCode, Failure> {
    let text = match command {
        ModelCommand::Info { file } => match file.to_str().map(find_bundled) {
            Some(Ok(pair)) => pair_info(pair)?,
            Some(Err(_)) | None => info(&Gguf::open(file).map_err(EngineError::from)?),
        },
        ModelCommand::Export { name, dir } => export(find_bundled(name)?, dir)?,
        ModelCommand::Synth(command) => synth(command)?,
    };
    // A closed pipe is no failure.
    drop(anstream::stdout().write_all(text.as_bytes()));
    Ok(ExitCode::SUCCESS)
}

/// Both files of a pair, each under its name, size and hash.
fn pair_info(pair: &BundledPair) -> Result<String, Failure> {
    let mut text = String::new();
    for (role, file) in [("target", pair.target), ("assistant", pair.assistant)] {
        let gguf = Gguf::parse(file.bytes.to_vec()).map_err(EngineError::from)?;
        let (name, bytes, sha256) = (file.name, file.bytes.len(), models::sha256(file.bytes)?);
        let gap = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{gap}{role}: {name}, {bytes} bytes, SHA-256 {sha256}\n{}", info(&gguf)));
    }
    Ok(text)
}

/// The written paths, one a line: target, assistant, and a copy of the assistant without its centroid head if it has
/// one. A file of the pair that is there and holds something else is not replaced.
fn export(pair: &BundledPair, dir: &Path) -> Result<String, Failure> {
    let paths = [pair.target, pair.assistant].map(|file| (dir.join(file.name), file.bytes));
    for (path, bytes) in &paths {
        if path.exists() && !models::holds(path, bytes)? {
            return Err(Failure::with_hint(
                format!("`{}` exists and is another file", path.display()),
                "remove it, or name another directory",
            ));
        }
    }
    for (path, bytes) in &paths {
        models::store(path, bytes)?;
    }
    let [target, assistant] = paths.map(|(path, _)| path);
    // One more for llama.cpp, where it would refuse the assistant.
    let loadable = without_centroids(&assistant, dir)?;
    let mut written = vec![target.as_path(), assistant.as_path()];
    written.extend(Some(loadable.as_path()).filter(|path| *path != assistant));
    Ok(lines(&written))
}

/// Metadata (long arrays by their length), then a count of tensors, elements and bytes for each type.
fn info(gguf: &Gguf) -> String {
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
    text
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
