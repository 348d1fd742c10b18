//! The files of a report, read as text.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;

use bench_core::report::Verdict;
use bench_plots::write_report;

fn written() -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let files = write_report(&support::report(), &dir.path().join("report")).unwrap();
    if let Some(keep) = std::env::var_os("BENCH_KEEP_PAGE") {
        write_report(&support::report(), keep.as_ref()).unwrap();
    }
    (dir, files)
}

#[test]
fn every_arm_is_in_every_chart_it_belongs_to() {
    let (_dir, files) = written();
    let read = |name: &str| {
        std::fs::read_to_string(files.iter().find(|file| file.ends_with(name)).unwrap()).unwrap()
    };
    let throughput = read("throughput.svg");
    for arm in support::report().arms {
        let variant = arm.label.split('/').nth(1).unwrap();
        assert!(throughput.contains(&format!("\n{variant}\n")), "{variant} is missing");
    }
    assert!(throughput.contains("skipped: llama-server b7421"));
    assert!(throughput.contains("44.0 invalid") && throughput.contains("79.9"));
    let speedup = read("speedup.svg");
    assert!(speedup.contains("1.92× faster") && speedup.contains("not comparable: 2 failures"));
    let acceptance = read("acceptance.svg");
    assert!(acceptance.contains("83 % / 83 %") && acceptance.contains("counts by position are not reported"));
}

#[test]
fn captions_name_the_model_and_what_the_arms_ran_on() {
    let mut report = support::report();
    let cpu = report.host.cpu.clone().unwrap();
    assert_eq!(report.hardware(), cpu, "no arm tells its device, and the machine has no GPU");
    let told = |device: &str| {
        [("device", device), ("model", "/m/e4b.gguf")].map(|(n, v)| (n.to_owned(), v.to_owned()))
    };
    for arm in report.arms.iter_mut().filter(|arm| arm.skipped.is_none()) {
        arm.effective.extend(told("cpu"));
    }
    assert_eq!(report.hardware(), cpu);
    report.arms[0].effective.extend(told("NVIDIA H200"));
    assert_eq!(report.hardware(), format!("NVIDIA H200, {cpu}"));
    let dir = tempfile::tempdir().unwrap();
    write_report(&report, &dir.path().join("report")).unwrap();
    let chart = std::fs::read_to_string(dir.path().join("report/throughput.svg")).unwrap();
    assert!(chart.contains("e4b.gguf") && chart.contains("NVIDIA H200, AMD EPYC"), "{chart}");
}

#[test]
fn a_category_shows_every_arm_that_speculates() {
    let (_dir, files) = written();
    let chart = files.iter().find(|file| file.ends_with("acceptance-by-category.svg")).unwrap();
    let chart = std::fs::read_to_string(chart).unwrap();
    for group in ["code, 12 prompts", "question and answer, 8 prompts", "prose, 3 prompts", "without counts"]
    {
        assert!(chart.contains(group), "{group}");
    }
    let times = |text: &str| chart.matches(&format!("\n{text}\n")).count();
    for label in ["mtp-2 · native", "mtp-4 · native", "ngram · native", "mtp-2 · llama-server"] {
        assert_eq!(times(label), 3, "{label}");
    }
    assert_eq!((times("mtp-4 · llama-server"), times("none · native")), (1, 0));
    assert!(chart.contains("skipped: llama-server b7421") && chart.contains("62 %"));
    assert_eq!(times("67 % invalid"), 1, "a number that may not be compared says so");
    let page = std::fs::read_to_string(&files[0]).unwrap();
    assert!(page.contains("62 % [54, 70]"), "the interval over prompts");

    let mut old = support::report();
    old.arms.iter_mut().for_each(|arm| arm.categories.clear());
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(write_report(&old, dir.path()).unwrap().len(), 1 + 11 * 3, "a report without categories");
}

#[test]
fn a_chart_without_numbers_says_why() {
    let (_dir, files) = written();
    let page = std::fs::read_to_string(&files[0]).unwrap();
    assert!(page.contains("no stack of this run tells the times of its rounds"));
    assert!(!page.contains("Latencies and timeline: the report was made before"));
    let mut old = support::report();
    for arm in &mut old.arms {
        (arm.latency, arm.timeline, arm.environment) = (None, None, None);
    }
    let dir = tempfile::tempdir().unwrap();
    let files = write_report(&old, dir.path()).unwrap();
    assert_eq!(files.len(), 1 + 7 * 3);
    let page = std::fs::read_to_string(&files[0]).unwrap();
    assert!(page.contains("Latencies and timeline: the report was made before"));
    assert!(page.contains("Run hygiene: the machine was not read"));
}

#[test]
fn latencies_show_every_arm_and_failures_as_failures() {
    let (_dir, files) = written();
    let read = |name: &str| {
        std::fs::read_to_string(files.iter().find(|file| file.ends_with(name)).unwrap()).unwrap()
    };
    let strip = read("latency.svg");
    assert_eq!(strip.matches("skipped: llama-server b7421").count(), 3, "a gap in each of three groups");
    // 1000 / 79.9 ms and its spread; the tail is ten times as long.
    assert!(strip.contains("\n13.0 / 125\n"), "{strip}");
    let cumulative = read("ecdf-token.svg");
    assert!(cumulative.contains("g llama-server/mtp-4: skipped"));
    let timeline = read("timeline.svg");
    assert!(timeline.contains("Prompt code-1 in block 0") && timeline.matches("\n20 chunks\n").count() == 6);
    let forest = read("speedup-by-category.svg");
    assert!(forest.contains("\n1.40×\n") && forest.contains("\nprose\n"));
}

#[test]
fn a_sweep_over_concurrency_shows_its_crossover_and_what_failed() {
    let dir = tempfile::tempdir().unwrap();
    write_report(&support::swept_report(), dir.path()).unwrap();
    if let Some(keep) = std::env::var_os("BENCH_KEEP_PAGE") {
        write_report(&support::swept_report(), &PathBuf::from(keep).join("swept")).unwrap();
    }
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let (curve, ratios) = (read("latency-throughput.svg"), read("concurrency.svg"));
    for x in ["1", "2", "4"] {
        assert_eq!(curve.matches(&format!("\n{x}\n")).count(), 2, "both lines have a point at {x}");
    }
    let gap = "vllm/mtp-3 (not at 8: 1 failure in 60 requests (1 x timed_out))";
    assert!(curve.contains(gap) && ratios.contains("vllm/mtp-3 (not at 8: 1 failure"), "{curve}");
    assert!(ratios.contains("where speculation stops paying"));
    let page = read("index.html");
    assert!(page.contains("the speed-up falls through 1 at 2.83 [2.60, beyond what was measured] in flight"));
    assert!(page.contains(
        "vllm/mtp-3 at 2: 108 [105, 112] tokens/s of all streams together, 16.7 [16.0, 17.2] ms a token"
    ));
    assert!(page.contains("vllm, against none at as many requests in flight"));
    assert!(!read("index.html").contains("no way of speculating was measured at two concurrencies"));
    assert!(
        !dir.path().join("draft-length.svg").exists()
            || read("draft-length.svg").matches("in flight").count() > 0
    );
}

#[test]
fn the_configuration_shows_first_what_differs() {
    let mut report = support::report();
    report.arms[1].effective[1].1.push_str(" --slots 4 --no-warmup");
    report.arms[2].effective[0].1 = "b7422".to_owned();
    let dir = tempfile::tempdir().unwrap();
    let files = write_report(&report, dir.path()).unwrap();
    let page = std::fs::read_to_string(&files[0]).unwrap();
    let from = page.find("id=\"configuration\"").unwrap();
    let section = &page[from..page[from..].find("</section>").unwrap() + from];
    assert!(section.contains("<td class=\"differs\">≠ b7422</td>"), "{section}");
    assert!(
        section.contains("<td class=\"differs\">≠ <code>+ --slots 4 --no-warmup</code></td>"),
        "{section}"
    );
    assert_eq!(section.matches("the most common one").count(), 3, "the long recipe is not repeated");
    assert!(section.contains("All of them tell the same"), "the arms of llama-server");
    let (table, all) =
        (section.find("class=\"differs\">≠").unwrap(), section.find("All settings of").unwrap());
    assert!(table < all && section.matches("<details>").count() == 1 + 7);
}

#[test]
fn the_page_stands_alone_and_escapes() {
    let (_dir, files) = written();
    let page = std::fs::read_to_string(&files[0]).unwrap();
    assert!(files[0].ends_with("index.html"));
    assert!(page.contains("native/mtp-4 decodes 1.92× as fast as native/none"));
    assert!(page.contains("95 % interval 1.86× to 1.99×, 60 pairs of equal prompts"));
    assert!(page.contains("on &lt;eight&gt; threads"));
    for loads in ["<script", "src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(loads), "{loads}");
    }
    assert!(page.contains("href=\"../rows.jsonl\"") && page.contains("href=\"../manifest.json\""));
}

#[test]
fn rules_and_machine_are_on_the_page() {
    let (_dir, files) = written();
    let page = std::fs::read_to_string(&files[0]).unwrap();
    assert!(page.contains("Of 3 rules: 1 held, 1 unknown, 0 not applicable, 1 broken (0 set an arm aside)."));
    for part in [
        "title=\"others used 9.0 % of the CPUs &amp; more\"><strong>broken</strong>",
        "No GPU can be read: libnvidia-ml.so.1: no such &lt;file&gt;",
        "href=\"../environment.jsonl\"",
        "<th scope=\"row\">block 1</th><td class=\"n\">12.5</td>",
        "<td class=\"n\">412</td>",
        "<td class=\"n\">30.2</td><td class=\"n\">110</td>",
        "<td class=\"n\">0.219</td>",
    ] {
        assert!(page.contains(part), "{part}");
    }

    let mut old = support::report();
    old.truth.clear();
    old.environment.clear();
    old.arms.iter_mut().for_each(|arm| arm.truth.clear());
    let dir = tempfile::tempdir().unwrap();
    let files = write_report(&old, dir.path()).unwrap();
    let page = std::fs::read_to_string(&files[0]).unwrap();
    assert!(!page.contains("Truth rules") && !page.contains("Around run"), "a report from before the rules");
}

#[test]
fn pictures_are_pictures() {
    let (_dir, files) = written();
    assert_eq!(files.len(), 1 + 13 * 3);
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "png")) {
        let bytes = std::fs::read(file).unwrap();
        assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
        let width = u32::from_be_bytes(bytes[16..20].try_into().unwrap());
        assert_eq!(width, 1680, "twice 840");
    }
}

#[test]
fn a_run_in_which_all_failed_still_has_a_page() {
    let mut report = support::report();
    for arm in &mut report.arms {
        (arm.tokens_per_s, arm.valid, arm.skipped) = (None, false, None);
        (arm.accepted_per_position, arm.drafted_per_position) = (None, None);
        arm.invalid_reasons = vec!["no request completed".to_owned()];
    }
    for comparison in &mut report.comparisons {
        (comparison.ratio, comparison.verdict) = (None, Verdict::NotComparable);
    }
    let dir = tempfile::tempdir().unwrap();
    let files = write_report(&report, dir.path()).unwrap();
    let page = std::fs::read_to_string(&files[0]).unwrap();
    assert!(page.contains("No speed-up can be stated: nothing was comparable"));
    let throughput = std::fs::read_to_string(dir.path().join("throughput.svg")).unwrap();
    assert_eq!(throughput.matches("\nno request completed\n").count(), 6, "a gap is not labelled");
    assert!(!page.contains("NaN") && !throughput.contains("inf"));
}

#[test]
fn an_unwritable_place_is_told_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = write_report(&support::report(), &file).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
    assert!(error.hint().is_some());
}
