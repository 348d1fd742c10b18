//! What a stack says of itself, completed and compared with what was asked, before anything is measured.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use bench_core::effective::{Asked, differences};
use bench_core::record::{ArmManifest, RunManifest};
use bench_core::run_dir::content_sha256;
use bench_core::stack::StackInfo;

/// Hashes the model a server names, if we did not start it and its file can be read here: only then is it known that
/// the server loaded what the preset means.
pub(crate) fn hash_loaded(info: &mut StackInfo) {
    let attached = info.recipe.starts_with("http://") || info.recipe.starts_with("https://");
    let path = info.model.as_deref().map(Path::new).filter(|path| attached && path.is_file());
    info.target_sha256 = path.and_then(|path| content_sha256(File::open(path).ok()?).ok());
}

/// The report calls an arm with differences invalid; whoever started it should not have to wait for that.
pub(crate) fn say_differences(manifest: &RunManifest, arm: &ArmManifest, info: &StackInfo) {
    let asked = Asked {
        preset: &manifest.preset,
        spec: &arm.spec,
        kv_type: manifest.preset.kv_types_of(&arm.variant),
        target_sha256: manifest.target_sha256.as_deref(),
        assistant_sha256: manifest.assistant_sha256.as_deref(),
    };
    for difference in differences(asked, info) {
        let line = format!("{}: {difference}; its numbers will not be compared", arm.label);
        drop(writeln!(std::io::stderr(), "{line}"));
    }
}
