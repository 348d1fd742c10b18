//! The page in a real browser, used as by a person: by keyboard alone, on a phone and at a desk, light and dark, on paper.
//!
//! Needs `chromium`. Without it a test says SKIP; with `BENCH_REQUIRE_CHROMIUM=1` it fails instead.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it skipped"
)]

#[path = "support/chromium.rs"]
mod chromium;
mod support;

use bench_plots::write_report;
use chromium::Browser;
use serde_json::json;

const LOOKS: &str = include_str!("support/looks.js");

fn page() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let files = write_report(&support::swept_report(), dir.path()).unwrap();
    (dir, files[0].clone())
}

#[test]
fn phone_and_desk_show_the_page_light_and_dark() {
    let Some(mut browser) = Browser::start() else { return };
    let (_dir, page) = page();
    for (width, is_dark) in [(400, false), (400, true), (1440, false), (1440, true)] {
        browser.open(&page, width, is_dark);
        let looks = browser.ask(LOOKS);
        assert_eq!((&looks["width"], &looks["scroll"]), (&json!(width), &json!(width)), "{looks}");
        assert_eq!((&looks["charts"], &looks["withoutTable"]), (&json!(15), &json!(0)), "{looks}");
        assert_eq!((&looks["font"], &looks["dark"]), (&json!(true), &json!(is_dark)), "{looks}");
        assert!(looks["texts"].as_u64().unwrap() > 700, "{looks}");
        assert!(looks["least"][0].as_f64().unwrap() >= 4.5, "{looks}");
        assert_eq!((&looks["levels"], &looks["lost"]), (&json!(true), &json!(0)), "{looks}");
        assert_eq!(looks["names"], json!([]), "what can be reached has a name");
        assert_eq!(browser.ask("document.querySelector('h1').textContent.includes('1.92×')"), json!(true));
    }
    assert!(browser.requests.iter().all(|url| url.ends_with("/index.html")), "{:?}", browser.requests);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// What has the focus: kind, name, and whether the reader sees a ring around it.
const FOCUS: &str = r"(() => { const node = document.activeElement, style = getComputedStyle(node);
  return [node.tagName, (node.ariaLabel || node.textContent).trim().slice(0, 60),
    node.tagName === 'BODY' || (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2)]; })()";

#[test]
fn everything_is_reached_by_tab_and_arrows() {
    let Some(mut browser) = Browser::start() else { return };
    let (_dir, page) = page();
    for width in [400, 1440] {
        browser.open(&page, width, false);
        browser.press("Tab");
        let first = browser.ask(FOCUS);
        assert_eq!(first[1], "Skip to the verdict");
        browser.press("Enter");
        assert_eq!(browser.ask("location.hash"), "#verdict");
        browser.press("Tab");
        assert_eq!(browser.ask("document.activeElement.closest('main') !== null"), json!(true));

        browser.open(&page, width, false);
        let stops = browser.ask(
            "[...document.querySelectorAll('a[href],summary,[tabindex=\"0\"]')].filter(node => \
             node.getClientRects().length && node.checkVisibility()).length + \
             [...document.querySelectorAll('.marks')].filter(node => node.getClientRects().length).length",
        );
        let mut reached = 0;
        let mut kinds = std::collections::BTreeMap::new();
        loop {
            browser.press("Tab");
            let focus = browser.ask(FOCUS);
            let kind = focus[0].as_str().unwrap().to_owned();
            if kind == "BODY" || reached > 400 {
                break;
            }
            assert_eq!(focus[2], json!(true), "no ring around {focus}");
            reached += 1;
            *kinds.entry(kind).or_insert(0) += 1;
        }
        assert_eq!(json!(reached), stops, "{kinds:?}");
        assert_eq!(kinds["INPUT"], 15, "a stop a chart: {kinds:?}");
    }
}

/// The words beside the mark that has the focus, if they are seen, and whether they are inside the window.
const TIP: &str = r"(() => { const tip = document.activeElement.nextElementSibling, box = tip.getBoundingClientRect();
  return [getComputedStyle(tip).display, tip.textContent, box.left >= 0 && box.right <= innerWidth]; })()";

#[test]
fn the_words_of_marks_are_read_by_keyboard() {
    let Some(mut browser) = Browser::start() else { return };
    let (_dir, page) = page();
    for (width, view) in [(400, "narrow"), (1440, "wide")] {
        browser.open(&page, width, false);
        // From the last thing before the chart, by keys alone.
        browser.ask(&format!("document.querySelector('#throughput .{view} .marks input').focus()"));
        assert_eq!(
            browser.ask(TIP),
            json!(["block", "native, none: 41.7, interval 40.4 to 43.4", true]),
            "the first mark"
        );
        let mut read = Vec::new();
        for _ in 0..6 {
            browser.press("ArrowDown");
            let tip = browser.ask(TIP);
            assert_eq!((&tip[0], &tip[2]), (&json!("block"), &json!(true)), "{tip}");
            read.push(tip[1].as_str().unwrap().to_owned());
        }
        assert_eq!(read[2], "native, ngram: 44.0 invalid, interval 42.7 to 45.8");
        assert!(
            read[5].contains("skipped: llama-server b7421 cannot draft with an assistant of this"),
            "{read:?}"
        );
        let shown = "[...document.querySelectorAll('.tip')].filter(tip => getComputedStyle(tip).display !== 'none').length";
        assert_eq!(browser.ask(shown), json!(1), "one at a time");
        browser.press("Tab");
        assert_eq!(browser.ask("document.activeElement.tagName"), "SUMMARY", "one stop a chart");
    }
}

#[test]
fn paper_is_light_and_shows_all() {
    let Some(mut browser) = Browser::start() else { return };
    let (_dir, page) = page();
    browser.open(&page, 1000, true);
    browser.prefer("dark", "print");
    let paper = browser.ask(
        r"(() => { const of = (query, name) => getComputedStyle(document.querySelector(query))[name];
          const seen = query => [...document.querySelectorAll(query)].filter(node => node.checkVisibility({ contentVisibilityAuto: true })).length;
          return [of('body', 'backgroundColor'), seen('.view.wide > .light'), seen('.dark, .narrow, .marks, .skip'),
            of('.view', 'breakInside'), of('thead', 'display'), seen('details td'), seen('td'),
            Math.max(...[...document.querySelectorAll('.wide svg')].map(svg => svg.getBoundingClientRect().height)) <= 900]; })()",
    );
    let cells = &paper[6];
    assert_eq!(
        paper,
        json!(["rgb(255, 255, 255)", 15, 0, "avoid", "table-header-group", paper[5], cells, true])
    );
    assert!(paper[5].as_u64().unwrap() > 300, "folds are open: {paper}");
    let pdf = browser.print();
    assert!(pdf.starts_with("JVBERi"), "%PDF in base64");
}
