//! The borders between the crates, read from `cargo metadata`: who may import whom, and which heavy dependency only
//! one crate may know. ARCHITECTURE.md draws the same table.

#![expect(clippy::expect_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Crate, ours it may import (features included), heavy dependencies it may have.
const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    ("bench-core", &[], &["sysinfo", "libloading"]),
    ("bench-engine", &[], &["cudarc"]),
    ("bench-presets", &["bench-core"], &["toml"]),
    ("bench-adapters", &["bench-core", "bench-engine"], &["reqwest", "axum", "object_store"]),
    ("bench-results", &["bench-core"], &["polars", "polars-io", "polars-parquet"]),
    ("bench-plots", &["bench-core"], &["plotters", "resvg", "maud"]),
    (
        "bench-cli",
        &["bench-core", "bench-engine", "bench-presets", "bench-adapters", "bench-results", "bench-plots"],
        &["clap", "indicatif"],
    ),
];

/// Dependencies that belong to one crate only.
const OWNED: &[&str] = &[
    "polars",
    "polars-io",
    "polars-parquet",
    "plotters",
    "resvg",
    "maud",
    "reqwest",
    "axum",
    "object_store",
    "cudarc",
    "sysinfo",
    "libloading",
    "clap",
    "indicatif",
    "toml",
];

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let found = normal_dependencies();
    assert_eq!(
        found.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        ALLOWED.iter().map(|row| row.0).collect(),
        "a crate is missing from the table, or the table names one that is gone"
    );
    let mut wrong = Vec::new();
    for (name, ours, heavy) in ALLOWED {
        for dependency in &found[*name] {
            let is_ours = ALLOWED.iter().any(|row| row.0 == dependency);
            let allowed = if is_ours { ours } else { heavy };
            if (is_ours || OWNED.contains(&dependency.as_str())) && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} -> {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the architecture forbids: {wrong:?}");
}

#[test]
fn the_engine_does_not_wait_on_a_runtime() {
    let engine = &normal_dependencies()["bench-engine"];
    for name in ["tokio", "futures-util", "async-trait"] {
        assert!(!engine.contains(name), "the engine is synchronous, but depends on {name}");
    }
}

/// Normal and build dependencies of every workspace member (dev-dependencies may point anywhere).
fn normal_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let names = dependencies
                .iter()
                .filter(|d| d["kind"] != "dev")
                .map(|d| d["name"].as_str().expect("a name").to_owned())
                .collect();
            (package["name"].as_str().expect("a name").to_owned(), names)
        })
        .collect()
}
