//! `bench kernels` without a GPU: what would run, and one clear error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Output;

use common::{bench, text};
use serde_json::Value;

fn kernels(args: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    // No GPU is seen, even where there is one.
    bench(dir.path()).env("CUDA_VISIBLE_DEVICES", "").arg("kernels").args(args).output().unwrap()
}

#[test]
fn a_card_that_is_not_here_is_told_its_kernels_and_their_shared_memory() {
    let out =
        kernels(&["--list", "--compute", "8.6", "--multiprocessors", "28", "--filter", "e4b/full/turbo3"]);
    let (err, out) = text(&out);
    assert_eq!(err, "");
    assert!(
        out.contains("compute capability 8.6, 28 multiprocessors, 99.0 KiB of shared memory a block"),
        "{out}"
    );
    let planned: Vec<_> = out.lines().filter(|line| line.starts_with("attention/e4b/full/turbo3/")).collect();
    assert_eq!(planned.len(), 15, "5 depths, 3 numbers of rows: {out}");
    assert!(
        planned.iter().all(|line| line.contains("mma-turbo-d512-c16-") && line.contains(" KiB")),
        "{out}"
    );
    let deep = "mma-d512-c16-k32-w8-s5";
    assert!(out.lines().any(|line| line.starts_with(deep) && line.contains("no: needs")), "{out}");
}

#[test]
fn the_list_as_json_has_instances_and_plans_that_fit() {
    let out = kernels(&["--list", "--compute", "120", "--json", "--rows", "1"]);
    assert!(out.status.success());
    let list: Value = serde_json::from_slice(&out.stdout).unwrap();
    let most = list["device"]["shared_per_block"].as_u64().unwrap();
    let plans = list["plans"].as_array().unwrap();
    assert!(plans.len() > 100 && list["instances"].as_array().unwrap().len() > 40);
    for plan in plans {
        let planned = &plan["planned"];
        assert!(planned["shared_bytes"].as_u64().unwrap() <= most, "{plan}");
        assert!(planned["kernel"].as_str().is_some_and(|name| !name.is_empty()), "{plan}");
    }
}

#[test]
fn without_a_gpu_it_is_one_error_that_says_what_is_missing() {
    let out = kernels(&[]);
    let (err, printed) = text(&out);
    assert_eq!((out.status.code(), &*printed), (Some(1), ""));
    assert!(
        err.starts_with("error: `bench kernels` measures a GPU, and there is none to measure: "),
        "{err}"
    );
    assert!(err.contains("`bench doctor`") && err.contains("`bench kernels --list --compute 86`"), "{err}");
    let out = kernels(&["--list"]);
    let (err, _) = text(&out);
    assert_eq!(out.status.code(), Some(1));
    assert!(err.contains("hint: name one: `--compute 86`"), "{err}");
}

#[test]
fn what_makes_no_sense_is_refused_before_a_gpu_is_looked_for() {
    for (args, part) in [
        (&["--filter", "turbo9"][..], "filter: got turbo9, expected words of names like attention/"),
        (&["--rows", "1,9"], "rows: got 9, expected 1 to 8"),
        (&["--depths", "2"], "depth: got 2, expected 8 to"),
        (&["--list", "--compute", "86x"], "`86x` is no compute capability"),
        (&["--compute", "86"], "--list"),
    ] {
        let out = kernels(args);
        let (err, printed) = text(&out);
        assert_eq!((out.status.code(), &*printed), (Some(1), ""), "{args:?}");
        assert!(err.contains(part), "{args:?}: {err}");
    }
}
