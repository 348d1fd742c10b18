//! `bench publish` over the runs of this repository: links resolve, filters filter, nothing is loaded.
//!
//! Needs `chromium` for the second half. Without it the test says SKIP; with `BENCH_REQUIRE_CHROMIUM=1` it fails instead.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it skipped"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{bench, text};

/// Puts the site into a frame, filters by its first preset, and writes what is left.
const PROBE: &str = r#"<script>
addEventListener("load", () => {
  const frame = document.createElement("iframe");
  frame.style = "width:WIDTHpx;height:900px;border:0";
  frame.src = "index.html";
  frame.onload = () => {
    const view = frame.contentWindow, page = frame.contentDocument, root = page.documentElement;
    const shown = () => [...page.querySelectorAll("ul.runs > li")].filter(run => run.getClientRects().length).length;
    const preset = page.querySelector("select[name=preset]"), all = shown();
    const choose = value => { preset.value = value; preset.dispatchEvent(new view.Event("change", { bubbles: true })); };
    choose("quickstart");
    const some = shown(), said = page.getElementById("count").textContent;
    choose("");
    const note = document.createElement("pre");
    note.id = "probe";
    note.textContent = JSON.stringify({ width: root.clientWidth, scroll: root.scrollWidth, all, some, said, again: shown(),
      loaded: view.performance.getEntriesByType("resource").filter(entry => !entry.name.startsWith("data:")).length });
    document.body.append(note);
  };
  document.body.append(frame);
});
</script>"#;

fn published() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/published");
    let run = |day: &str, name: &str| root.join(format!("{day}-epyc-2cpu-{name}"));
    vec![
        run("2026-11-22", "quickstart"),
        run("2026-11-23", "quickstart"),
        run("2026-11-23", "nano-draft-length-1-thread"),
        run("2026-11-23", "nano-draft-length-2-threads"),
    ]
}

/// Targets of all links of a page that lead to files.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    targets.filter(|target| !target.starts_with('#') && !target.starts_with("data:")).collect()
}

#[test]
fn a_site_links_what_it_holds_and_its_filters_work() {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("site");
    let output = bench(dir.path()).arg("publish").arg(&site).args(published()).output().unwrap();
    let (stderr, _) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let index = std::fs::read_to_string(site.join("index.html")).unwrap();
    let pages: Vec<_> = links(&index).into_iter().filter(|link| link.ends_with("index.html")).collect();
    assert_eq!(pages.len(), 4);
    assert!(!index.contains("speed-up over builds"), "other models and other threads are other experiments");
    for page in std::iter::once("index.html").chain(pages) {
        let at = site.join(page);
        let text = std::fs::read_to_string(&at).unwrap();
        for link in links(&text) {
            let target = at.parent().unwrap().join(link);
            assert!(target.is_file(), "{page}: `{link}` leads nowhere");
        }
    }

    let copy = site.join("runs/2026-11-22-epyc-2cpu-quickstart");
    let again = bench(dir.path()).arg("publish").arg(&site).arg(copy).output().unwrap();
    let (stderr, _) = text(&again);
    assert!(stderr.contains("already part of this site"), "{stderr}");
    let nothing = bench(dir.path()).arg("publish").arg(&site).output().unwrap();
    assert!(nothing.status.code() == Some(1) && text(&nothing).0.contains("results/published"));
    for width in [400, 1440] {
        filters_work(&site, width);
    }
}

#[test]
fn an_experiment_that_was_repeated_makes_a_trend() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["monday", "tuesday"] {
        let arguments = ["run", "smoke", "--stack", "native", "--set", "run.blocks=5", "--out", name];
        let output = bench(dir.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output).0);
    }
    let output = bench(dir.path()).args(["publish", "site", "monday", "tuesday"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output).0);
    let index = std::fs::read_to_string(dir.path().join("site/index.html")).unwrap();
    assert_eq!(
        index.matches("<title>smoke: speed-up over builds</title>").count(),
        4,
        "wide, narrow, light, dark"
    );
    assert!(index.contains("1: 20") && index.contains("2: 20"), "each run with its day");
}

fn filters_work(site: &Path, width: u32) {
    let probe = site.join("probe.html");
    let script = PROBE.replace("WIDTH", &width.to_string());
    std::fs::write(&probe, format!("<!doctype html><meta charset=utf-8><body>{script}</body>")).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-component-update"])
        .args(["--disable-background-networking", "--disable-sync", "--allow-file-access-from-files"])
        .args([
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--log-level=0",
            "--virtual-time-budget=20000",
        ])
        .arg("--dump-dom")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", probe.display()))
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) if std::env::var("BENCH_REQUIRE_CHROMIUM").is_ok_and(|value| value == "1") => {
            panic!("chromium is required and cannot be run: {error}")
        }
        Err(error) => {
            eprintln!("SKIP: chromium cannot be run: {error}");
            return;
        }
    };
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!log.contains("CONSOLE"), "{log}");
    let expected = format!(
        "{{\"width\":{width},\"scroll\":{width},\"all\":4,\"some\":2,\"said\":\"2 of 4 runs\",\"again\":4,\"loaded\":0}}"
    );
    assert!(dom.contains(&expected), "{dom}");
}
