//! The page in a real browser: no console error, nothing loaded, nothing wider than a phone.
//!
//! Needs `chromium`. Without it the test says SKIP; with `BENCH_REQUIRE_CHROMIUM=1` it fails instead.

mod support;

use std::path::Path;
use std::process::{Command, Output};

use bench_plots::write_report;

/// Appended to a copy of the page: writes what a visitor cannot see into the document. The page is put into a frame
/// of 400 px, since a headless window has a least width of its own.
const PROBE: &str = r#"<script>
addEventListener("load", () => {
  const frame = document.createElement("iframe");
  frame.style = "width:400px;height:900px;border:0";
  frame.src = "index.html";
  frame.onload = () => {
    const page = frame.contentDocument, root = page.documentElement;
    const resources = frame.contentWindow.performance.getEntriesByType("resource")
      .map(entry => entry.name).filter(name => !name.startsWith("data:"));
    const shown = [...page.querySelectorAll("figure svg")].filter(svg => svg.getBoundingClientRect().width > 0);
    const note = document.createElement("pre");
    note.id = "probe";
    note.textContent = JSON.stringify({
      width: root.clientWidth, scroll: root.scrollWidth, resources, charts: shown.length,
      font: page.fonts.check("600 16px Inter"), headline: page.querySelector("h1").textContent,
    });
    document.body.append(note);
  };
  document.body.append(frame);
});
</script>"#;

fn chromium(page: &Path, profile: &Path) -> std::io::Result<Output> {
    Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-component-update"])
        .args(["--disable-background-networking", "--disable-sync", "--allow-file-access-from-files"])
        .args([
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--log-level=0",
            "--virtual-time-budget=20000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .output()
}

#[test]
fn a_phone_shows_the_page_without_an_error() {
    let dir = tempfile::tempdir().unwrap();
    write_report(&support::report(), dir.path()).unwrap();
    let probe = dir.path().join("probe.html");
    std::fs::write(&probe, format!("<!doctype html><meta charset=utf-8><body>{PROBE}</body>")).unwrap();
    let output = match chromium(&probe, &dir.path().join("profile")) {
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
    let found = dom.split_once("<pre id=\"probe\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let found = found.unwrap_or_else(|| panic!("no answer from the page:\n{dom}\n{log}")).0;
    assert!(
        found.starts_with("{\"width\":400,\"scroll\":400,\"resources\":[],\"charts\":4,\"font\":true"),
        "{found}"
    );
    assert!(found.contains("decodes 1.92× as fast"), "{found}");
    assert!(!log.contains("CONSOLE"), "{log}");
}
