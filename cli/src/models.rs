//! From a preset's model source to files on disk, and their hashes.
//!
//! A file in the cache is trusted only if it is whole: a synthetic one is written anew, a bundled one is compared byte
//! by byte. Files appear under their names by a rename, so that a run beside this one never reads half of one.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bench_adapters::ModelPaths;
use bench_core::clock;
use bench_core::preset::{ModelSource, Preset, StackKind, SynthTiny, WeightType};
use bench_core::record::RunManifest;
use bench_core::run_dir::content_sha256;
use bench_engine::gguf::GgmlType;
use bench_engine::synth::tiny::{TinyPair, write_tiny_pair};
use bench_presets::{BundledFile, BundledPair, find_bundled};

use crate::failure::Failure;

/// Bytes from which on a person would wonder what takes so long: some seconds of hashing.
const LONG_TO_HASH: u64 = 4 << 30;

/// The directory that relative paths of model files are looked for in, after the current one.
const MODELS_DIR_VAR: &str = "BENCH_MODELS_DIR";

/// The files of a preset's models. A synthetic pair is written anew (a fraction of a second): equal
/// parameters give byte-equal files, and an old or damaged one cannot be taken for it. Files that none of the stacks
/// that start here reads need not be there.
pub(crate) fn resolve(preset: &Preset, starting: &[StackKind]) -> Result<ModelPaths, Failure> {
    match &preset.models {
        ModelSource::Files { target, assistant, hf: _ } if reads_files(preset, starting) => {
            let dir = std::env::var_os(MODELS_DIR_VAR).filter(|dir| !dir.is_empty()).map(PathBuf::from);
            let found = |key: &str, path: &PathBuf| find(key, path, dir.as_deref());
            Ok(ModelPaths {
                target: found("models.target", target)?,
                assistant: assistant.as_ref().map(|path| found("models.assistant", path)).transpose()?,
            })
        }
        ModelSource::Files { target, assistant, hf: _ } => {
            Ok(ModelPaths { target: target.clone(), assistant: assistant.clone() })
        }
        ModelSource::Bundled(name) => unpack(find_bundled(name)?),
        ModelSource::SynthTiny(parameters) => synthesise(parameters),
    }
}

/// The names of a preset's models, wherever they are; nothing is looked for, and nothing is written.
pub(crate) fn names(source: &ModelSource) -> Result<ModelPaths, Failure> {
    match source {
        ModelSource::Files { target, assistant, hf: _ } => {
            Ok(ModelPaths { target: target.clone(), assistant: assistant.clone() })
        }
        ModelSource::Bundled(name) => {
            let pair = find_bundled(name)?;
            Ok(ModelPaths { target: pair.target.name.into(), assistant: Some(pair.assistant.name.into()) })
        }
        ModelSource::SynthTiny(_) => Ok(ModelPaths {
            target: "tiny-target.gguf".into(),
            assistant: Some("tiny-assistant.gguf".into()),
        }),
    }
}

/// Whether any of the stacks that start here opens the preset's GGUF files. A server of another kind is told of them only
/// where the same models have no other name.
fn reads_files(preset: &Preset, starting: &[StackKind]) -> bool {
    let has_hub_names = matches!(preset.models, ModelSource::Files { hf: Some(_), .. });
    starting.iter().any(|&kind| kind.needs_gguf() || (kind == StackKind::OpenAi && !has_hub_names))
}

/// A model file: as the path says, else below the models' directory.
fn find(key: &str, path: &Path, dir: Option<&Path>) -> Result<PathBuf, Failure> {
    let below = dir.filter(|_| path.is_relative()).map(|dir| dir.join(path));
    let places: Vec<_> = std::iter::once(path.to_owned()).chain(below).collect();
    if let Some(found) = places.iter().find(|place| place.is_file()) {
        return Ok(found.clone());
    }
    let looked: Vec<_> = places.iter().map(|place| format!("`{}`", absolute(place).display())).collect();
    let elsewhere = match dir {
        None if path.is_relative() => format!(", or {MODELS_DIR_VAR} to the directory that holds it"),
        None | Some(_) => String::new(),
    };
    Err(Failure::with_hint(
        format!(
            "model file `{}` of `{key}` does not exist; looked for {}",
            path.display(),
            looked.join(" and ")
        ),
        format!("set its place with `--set {key}=/path/to/file.gguf`{elsewhere}"),
    ))
}

/// The whole path where the system tells it.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_no_current_directory| path.to_owned())
}

fn synthesise(parameters: &SynthTiny) -> Result<ModelPaths, Failure> {
    let pair = TinyPair {
        seed: parameters.seed,
        acceptance: parameters.acceptance,
        cycle: parameters.cycle.map(|tokens| tokens.get() as usize),
        weights: weight_type(parameters.weights),
        ..TinyPair::default()
    };
    let cycle = pair.cycle.map_or_else(String::new, |tokens| format!("-c{tokens}"));
    let name = format!("tiny-a{:03.0}{cycle}-{}-s{}", pair.acceptance * 100.0, pair.weights, pair.seed);
    let files = write_tiny_pair(&cache_dir().join(name), &pair)?;
    Ok(ModelPaths { target: files.target, assistant: Some(files.assistant) })
}

fn unpack(pair: &BundledPair) -> Result<ModelPaths, Failure> {
    Ok(ModelPaths { target: cached(&pair.target)?, assistant: Some(cached(&pair.assistant)?) })
}

/// The file in the cache, under a name that holds the beginning of its hash: another version of the suite, with
/// another pair of that name, has files of its own.
fn cached(file: &BundledFile) -> Result<PathBuf, Failure> {
    let hash = sha256(file.bytes)?;
    let stem = file.name.trim_end_matches(".gguf");
    let path = cache_dir().join(format!("{stem}-{}.gguf", &hash[..12]));
    store(&path, file.bytes)?;
    Ok(path)
}

/// Makes `path` hold `bytes`, unless it does already.
pub(crate) fn store(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if holds(path, bytes)? {
        return Ok(());
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(|error| Failure::io("create", dir, &error))?;
    // Unique, since two runs may do this at once; both then rename the same bytes to the same name.
    let beside = path.with_extension(format!("{}.tmp", clock::new_run_id(clock::unix_ms())));
    let written = File::create_new(&beside)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        // What is left of it is in nobody's way; the first error is the one to tell.
        drop(std::fs::remove_file(&beside));
        Failure::io("write", path, &error)
    })
}

/// Whether the file is there and has exactly these bytes.
pub(crate) fn holds(path: &Path, bytes: &[u8]) -> Result<bool, Failure> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() != bytes.len() as u64 => Ok(false),
        Ok(_) => {
            std::fs::read(path).map(|found| found == bytes).map_err(|error| Failure::io("read", path, &error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::io("read", path, &error)),
    }
}

/// Notes which weights a run is of, if it is of files. Reads the files whole, which warms the page cache for the engine, too.
/// Of weights that only servers elsewhere have nothing is noted.
pub(crate) fn record_hashes(
    manifest: &mut RunManifest,
    paths: &ModelPaths,
    starting: &[StackKind],
) -> Result<(), Failure> {
    let preset = &manifest.preset;
    if matches!(preset.models, ModelSource::Files { .. }) && !reads_files(preset, starting) {
        return Ok(());
    }
    let bytes = std::fs::metadata(&paths.target).map_or(0, |data| data.len());
    if bytes > LONG_TO_HASH {
        drop(writeln!(io::stderr(), "hashing {} ({} GiB)", paths.target.display(), bytes >> 30));
    }
    let hash = |path: &PathBuf| {
        let hashed = File::open(path).and_then(content_sha256);
        hashed.map_err(|error| Failure::io("read", path, &error))
    };
    manifest.target_sha256 = Some(hash(&paths.target)?);
    manifest.assistant_sha256 = paths.assistant.as_ref().map(hash).transpose()?;
    Ok(())
}

/// SHA-256, hex.
pub(crate) fn sha256(bytes: &[u8]) -> Result<String, Failure> {
    content_sha256(bytes).map_err(|error| Failure::with_hint(error.to_string(), "this is a bug"))
}

/// `BENCH_CACHE_DIR`, or `bench-runs/models` in the current directory.
pub(crate) fn cache_dir() -> PathBuf {
    std::env::var_os("BENCH_CACHE_DIR").map_or_else(|| PathBuf::from("bench-runs/models"), PathBuf::from)
}

/// The engine's word for a preset's weight type.
pub(crate) fn weight_type(weights: WeightType) -> GgmlType {
    match weights {
        WeightType::F32 => GgmlType::F32,
        WeightType::F16 => GgmlType::F16,
        WeightType::Bf16 => GgmlType::Bf16,
        WeightType::Q8_0 => GgmlType::Q8_0,
    }
}
