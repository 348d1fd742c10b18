//! The pictures of docs/charts.md are those of published runs: made again, they are the same. `BLESS=1` rewrites them.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{bench, text};

/// A run, and what is shown of it.
const SHOWN: [(&str, &[&str]); 2] = [
    (
        "2026-11-23-epyc-2cpu-nano-concurrency",
        &[
            "throughput",
            "speedup",
            "speedup-by-category",
            "acceptance",
            "acceptance-by-category",
            "latency-throughput",
            "concurrency",
            "acceptance-length",
            "round-time",
            "ceiling",
            "latency",
            "ecdf-ttft",
            "ecdf-token",
            "ecdf-chunk",
            "timeline",
            "hygiene",
        ],
    ),
    ("2026-11-23-epyc-2cpu-nano-draft-length-1-thread", &["draft-length"]),
];

#[test]
fn every_chart_of_the_guide_is_that_of_a_published_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pictures = root.join("docs/charts");
    let guide = std::fs::read_to_string(root.join("docs/charts.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut size = 0;
    let mut drawn = BTreeSet::new();
    for (run, names) in SHOWN {
        let run = root.join("results/published").join(run);
        let out = dir.path().join(names[0]);
        let output = bench(dir.path()).arg("report").arg(&run).arg("--out").arg(&out).output().unwrap();
        assert!(output.status.success(), "{}", text(&output).0);
        for entry in std::fs::read_dir(&out).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            drawn.extend(name.strip_suffix("-dark.svg").map(str::to_owned));
        }
        for name in names {
            let file = format!("{name}.svg");
            let made = std::fs::read_to_string(out.join(&file)).unwrap();
            size += made.len();
            if std::env::var_os("BLESS").is_some() {
                std::fs::create_dir_all(&pictures).unwrap();
                std::fs::write(pictures.join(&file), &made).unwrap();
            }
            let kept = std::fs::read_to_string(pictures.join(&file)).unwrap_or_default();
            assert!(kept == made, "docs/charts/{file} is not what the run shows: BLESS=1 writes it again");
            assert!(guide.contains(&format!("(charts/{file})")), "docs/charts.md does not show {file}");
        }
    }
    let shown: BTreeSet<_> =
        SHOWN.iter().flat_map(|(_, names)| *names).map(|name| (*name).to_owned()).collect();
    assert_eq!(drawn, shown, "a chart without a picture");
    assert!(size < 1_000_000, "{size} bytes of pictures");
}
