//! Noise floors on disk: beside an A/A run as `noise.json`, and in the cache for the runs after it.
//!
//! A file that is there and cannot be read is an error: a run that silently knows no floor would claim what a floor
//! refuses.

use std::path::{Path, PathBuf};

use bench_core::noise::{NoiseFloor, noise_key};
use bench_core::preset::Preset;
use bench_core::record::HostInfo;

use crate::failure::Failure;
use crate::models::cache_dir;

/// The floor that an A/A run of this machine and experiment has left in the cache.
pub(crate) fn known(host: &HostInfo, preset: &Preset) -> Result<Option<NoiseFloor>, Failure> {
    let key = noise_key(host, preset)
        .map_err(|error| Failure::with_hint(format!("cannot hash the preset: {error}"), "this is a bug"))?;
    read(&path(&key))
}

/// Keeps a floor: beside its run, and in the cache, where stacks that it did not measure keep theirs. Returns the path
/// in the cache.
pub(crate) fn publish(floor: &NoiseFloor, run: &Path) -> Result<PathBuf, Failure> {
    write(&run.join("noise.json"), floor)?;
    let path = path(&floor.key);
    let mut merged = floor.clone();
    if let Some(before) = read(&path)? {
        let of_others =
            before.entries.into_iter().filter(|old| floor.entries.iter().all(|new| new.stack != old.stack));
        merged.entries.extend(of_others);
    }
    write(&path, &merged)?;
    Ok(path)
}

fn path(key: &str) -> PathBuf {
    let name: String = key.chars().take(16).collect();
    cache_dir().join("noise").join(format!("{name}.json"))
}

fn read(path: &Path) -> Result<Option<NoiseFloor>, Failure> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::io("read", path, &error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Failure::with_hint(
            format!("`{}` is no noise floor: {error}", path.display()),
            "delete it and measure again with `bench run PRESET --aa`",
        )
    })
}

fn write(path: &Path, floor: &NoiseFloor) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let json = serde_json::to_vec_pretty(floor).map_err(std::io::Error::from);
    made.and(json).and_then(|json| std::fs::write(path, json)).map_err(|e| Failure::io("write", path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_floor_is_an_error_and_what_is_not_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&dir.path().join("none.json")).unwrap(), None);
        let broken = dir.path().join("broken.json");
        std::fs::write(&broken, "{").unwrap();
        assert!(format!("{:?}", read(&broken).unwrap_err()).contains("--aa"));
    }
}
