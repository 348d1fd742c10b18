//! `bench publish` over the runs of this repository: links resolve, filters filter, nothing is loaded.
//!
//! Needs `chromium` for the second half. Without it the test says SKIP; with `BENCH_REQUIRE_CHROMIUM=1` it fails instead.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it skipped"
)]

#[path = "../../plots/tests/support/chromium.rs"]
mod chromium;
mod common;

use std::path::{Path, PathBuf};

use chromium::Browser;
use common::{bench, text};
use serde_json::json;

const LOOKS: &str = include_str!("../../plots/tests/support/looks.js");

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
    assert!(
        index.contains("· 1 thread · nano") && index.contains("· 2 threads · nano"),
        "runs are told apart"
    );
    assert!(index.contains(" hidden aria-label=\"Filters\""), "without the script they would do nothing");
    let Some(mut browser) = Browser::start() else { return };
    for (width, is_dark) in [(400, false), (400, true), (1440, false), (1440, true)] {
        browser.open(&site.join("index.html"), width, is_dark);
        readable(&browser.ask(LOOKS), width, is_dark);
        filters_work(&mut browser);
    }
    assert!(browser.print().starts_with("JVBERi"), "%PDF in base64");
    assert!(browser.requests.iter().all(|url| url.ends_with("/index.html")), "{:?}", browser.requests);
    assert_eq!(browser.complaints, Vec::<String>::new());
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
        index.matches("aria-label=\"smoke: speed-up over builds\"").count(),
        4,
        "wide, narrow, light, dark"
    );
    assert!(index.contains("1: monday, 20") && index.contains("2: tuesday, 20"), "each run with its day");
}

fn readable(looks: &serde_json::Value, width: u32, is_dark: bool) {
    assert_eq!((&looks["width"], &looks["scroll"]), (&json!(width), &json!(width)), "{looks}");
    assert!(looks["least"][0].as_f64().unwrap() >= 4.5, "{looks}");
    assert_eq!(
        (&looks["dark"], &looks["levels"], &looks["lost"]),
        (&json!(is_dark), &json!(true), &json!(0))
    );
    assert_eq!(looks["names"], json!([]), "what can be reached has a name");
}

/// Chooses a preset and a number of threads, and follows a link, by keys alone.
fn filters_work(browser: &mut Browser) {
    let at = "document.activeElement.name || document.activeElement.textContent";
    let to = |browser: &mut Browser, name: &str| {
        for _ in 0..20 {
            browser.press("Tab");
            if browser.ask(at) == json!(name) {
                return;
            }
        }
        panic!("Tab does not reach {name}");
    };
    let shown = "[[...document.querySelectorAll('ul.runs > li')].filter(run => run.getClientRects().length).length, \
                 document.getElementById('count').textContent]";
    assert_eq!(browser.ask(shown), json!([4, "4 of 4 runs"]));
    to(browser, "preset");
    // The presets are in the order of their names: all, nano-draft-length, quickstart.
    browser.press("ArrowDown");
    assert_eq!(browser.ask(shown), json!([2, "2 of 4 runs"]));
    to(browser, "threads");
    browser.press("ArrowDown");
    browser.press("ArrowDown");
    assert_eq!(browser.ask(shown), json!([1, "1 of 4 runs"]), "two threads");
    browser.press("Tab");
    let link = browser.ask("document.activeElement.getAttribute('href')");
    assert_eq!(link, "runs/2026-11-23-epyc-2cpu-nano-draft-length-2-threads/report/index.html");
}
