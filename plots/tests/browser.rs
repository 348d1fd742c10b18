//! The page in a real browser: no console error, nothing loaded, nothing wider than a phone.
//!
//! Needs `chromium`. Without it the test says SKIP; with `BENCH_REQUIRE_CHROMIUM=1` it fails instead.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it skipped"
)]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use bench_plots::write_report;

/// Beside a copy of the page: writes what a visitor cannot see into the document. The page is put into a frame of the
/// width asked for, since a headless window has a least width of its own.
const PROBE: &str = r#"<script>
const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
  .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (a, b) => {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
};
const parse = text => (text.match(/[\d.]+/g) || []).map(Number);
const ground = (view, node) => {
  for (; node; node = node.parentElement) {
    const colour = parse(view.getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
addEventListener("load", () => {
  const frame = document.createElement("iframe");
  frame.style = "width:WIDTHpx;height:900px;border:0";
  frame.src = "index.html";
  frame.onload = () => {
    const view = frame.contentWindow, page = frame.contentDocument, root = page.documentElement;
    page.querySelectorAll("details").forEach(node => { node.open = true; });
    const seen = node => node.getClientRects().length > 0;
    const texts = [...page.querySelectorAll("body *")].filter(node => seen(node) && !node.closest("svg")
      && [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()));
    const faint = texts.map(node =>
      [contrast(parse(view.getComputedStyle(node).color), ground(view, node)), node.textContent.slice(0, 40)]);
    page.querySelectorAll("svg").forEach(svg => {
      if (!seen(svg)) return;
      const paper = svg.querySelector("rect");
      svg.querySelectorAll("text").forEach(text => faint.push([contrast(
        parse(view.getComputedStyle(text).fill), parse(view.getComputedStyle(paper).fill)), text.textContent]));
    });
    faint.sort((a, b) => a[0] - b[0]);
    const stops = [...page.querySelectorAll("a[href],summary,[tabindex='0']")].filter(seen);
    const unreached = stops.filter(node => { node.focus(); return page.activeElement !== node; });
    const wide = [...page.querySelectorAll(".scroll")].filter(node => node.tabIndex !== 0);
    const lost = [...page.querySelectorAll("a[href^='#']")]
      .filter(node => !page.getElementById(node.getAttribute("href").slice(1)));
    const resources = view.performance.getEntriesByType("resource")
      .map(entry => entry.name).filter(name => !name.startsWith("data:"));
    const shown = [...page.querySelectorAll("figure svg")].filter(svg => svg.getBoundingClientRect().width > 0);
    const bare = [...page.querySelectorAll("figure")].filter(figure => !figure.querySelector("table"));
    const note = document.createElement("pre");
    note.id = "probe";
    note.textContent = JSON.stringify({
      width: root.clientWidth, scroll: root.scrollWidth, resources, charts: shown.length, bare: bare.length,
      font: page.fonts.check("600 16px Inter"), dark: view.matchMedia("(prefers-color-scheme:dark)").matches,
      unreached: unreached.length, wide: wide.length, lost: lost.length, first: stops[0].textContent,
      readable: faint[0][0] >= 4.5, texts: faint.length > 500, least: faint[0],
      headline: page.querySelector("h1").textContent,
    });
    document.body.append(note);
  };
  document.body.append(frame);
});
</script>"#;

fn chromium(page: &Path, profile: &Path, is_dark: bool) -> std::io::Result<Output> {
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
        // 0 is dark, 1 is light.
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!is_dark)))
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .output()
}

/// What the probe found at this width and scheme; `None` without a browser.
fn probe(width: u32, is_dark: bool) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    write_report(&support::report(), dir.path()).unwrap();
    let probe = dir.path().join("probe.html");
    let script = PROBE.replace("WIDTH", &width.to_string());
    std::fs::write(&probe, format!("<!doctype html><meta charset=utf-8><body>{script}</body>")).unwrap();
    let output = match chromium(&probe, &dir.path().join("profile"), is_dark) {
        Ok(output) => output,
        Err(error) if std::env::var("BENCH_REQUIRE_CHROMIUM").is_ok_and(|value| value == "1") => {
            panic!("chromium is required and cannot be run: {error}")
        }
        Err(error) => {
            eprintln!("SKIP: chromium cannot be run: {error}");
            return None;
        }
    };
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!log.contains("CONSOLE"), "{log}");
    let found = dom.split_once("<pre id=\"probe\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    Some(found.unwrap_or_else(|| panic!("no answer from the page:\n{dom}\n{log}")).0.to_owned())
}

#[test]
fn phone_and_desk_show_the_page_light_and_dark() {
    for (width, is_dark) in [(400, false), (400, true), (1440, false), (1440, true)] {
        let Some(found) = probe(width, is_dark) else { return };
        let expected = format!(
            "{{\"width\":{width},\"scroll\":{width},\"resources\":[],\"charts\":13,\"bare\":0,\"font\":true,\
             \"dark\":{is_dark},\"unreached\":0,\"wide\":0,\"lost\":0,\"first\":\"Skip to the verdict\",\
             \"readable\":true,\"texts\":true"
        );
        assert!(found.starts_with(&expected), "{found}");
        assert!(found.contains("decodes 1.92× as fast"), "{found}");
    }
}
