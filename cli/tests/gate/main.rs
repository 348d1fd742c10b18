//! `bench gate` by the real binary, on runs whose truth is planted: exit codes, files, baselines, the action.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod action;
#[path = "../common/mod.rs"]
mod common;
mod planted;

use std::path::Path;
use std::process::{Command, Output};

use bench_core::gate::{GateReport, GateVerdict, Provenance, Subject};
use bench_core::record::RequestRecord;
use bench_core::run_dir::RunDir;

use common::{bench, text};
use planted::Planted;

fn gate(dir: &Path, arguments: &[&str]) -> Output {
    bench(dir)
        .arg("gate")
        .args(arguments)
        .env_remove("GITHUB_ACTIONS")
        .env_remove("GITHUB_STEP_SUMMARY")
        .output()
        .unwrap()
}

/// Exit code, standard output.
fn judged(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let output = gate(dir, arguments);
    let (stderr, stdout) = text(&output);
    (output.status.code().unwrap(), stdout + &stderr)
}

fn report(dir: &Path, arguments: &[&str]) -> GateReport {
    let output = gate(dir, &[arguments, &["--json"]].concat());
    let report: GateReport =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output).0));
    assert_eq!(output.status.code(), Some(i32::from(report.verdict.exit_code())));
    report
}

#[test]
fn a_run_against_a_baseline_passes_regresses_or_is_not_judged() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let base = Planted::sound("base");
    base.store(dir);
    for (run, code, words) in [
        (Planted::sound("sound"), 0, "Gate: pass."),
        (Planted { slower: [1.0, 1.05], ..Planted::sound("slower") }, 1, "Gate: regression."),
        (Planted { slower: [0.9, 0.9], ..Planted::sound("faster") }, 0, "pass: better"),
        (Planted { blocks: 4, ..Planted::sound("short") }, 2, "4 blocks, at least 6 are needed"),
        (
            Planted { failing: 3, ..Planted::sound("failing") },
            2,
            "not judged: run failing: native/none: 3 failures in 48 requests",
        ),
        (Planted { accepted: 27, ..Planted::sound("drafter") }, 1, "acceptance_length"),
        (Planted { slower: [1.029, 1.03], ..Planted::sound("margin") }, 2, "straddles the margin"),
    ] {
        run.store(dir);
        let (got, said) = judged(dir, &[run.id, "--baseline", "base"]);
        assert_eq!(got, code, "{}: {said}", run.id);
        assert!(said.contains(words) && said.contains("two sittings"), "{}: {said}", run.id);
    }
    // The noise of this machine is not known to either run: nothing is said of speed, by rule it may be.
    let unknown = Planted { has_floor: false, ..Planted::sound("unknown") };
    unknown.store(dir);
    Planted { has_floor: false, ..Planted::sound("before") }.store(dir);
    let (code, said) = judged(dir, &["unknown", "--baseline", "before"]);
    assert!(code == 2 && said.contains("the machine's own noise is not known"), "{said}");
    std::fs::write(dir.join("rules.toml"), "noise_floor = \"optional\"\n").unwrap();
    assert_eq!(judged(dir, &["unknown", "--baseline", "before", "--rules", "rules.toml"]).0, 0);
}

#[test]
fn what_got_worse_is_named_apart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    Planted::sound("base").store(dir);
    Planted { slower: [1.0, 1.2], ..Planted::sound("engine") }.store(dir);
    Planted { slower: [1.0, 1.2], accepted: 24, ..Planted::sound("both") }.store(dir);
    let engine = report(dir, &["engine", "--baseline", "base"]);
    let [plain, mtp] = &engine.arms[..] else { panic!("{engine:?}") };
    assert_eq!((plain.verdict, mtp.verdict), (GateVerdict::Pass, GateVerdict::Regression));
    let subjects: Vec<_> = mtp.checks.iter().map(|check| (check.subject, check.verdict)).collect();
    assert_eq!(
        subjects,
        [
            (Subject::EngineAndDrafter, GateVerdict::Regression),
            (Subject::EngineAndDrafter, GateVerdict::Pass),
            (Subject::Drafter, GateVerdict::Pass)
        ]
    );
    assert!(plain.checks.iter().all(|check| check.subject == Subject::Engine), "{plain:?}");
    assert!(mtp.warnings.iter().any(|warning| warning.contains("the engine, not the drafter")), "{mtp:?}");
    let both = report(dir, &["both", "--baseline", "base"]);
    assert!(both.arms[1].warnings.iter().any(|warning| warning.contains("synthetic acceptance")), "{both:?}");
}

#[test]
fn acceptance_on_synthetic_prompts_is_never_passed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let synthetic = |run: &mut bench_core::record::RunManifest, _: &mut Vec<RequestRecord>| {
        let one = std::num::NonZeroU32::MIN;
        let made_of = bench_core::synthetic::SyntheticPrompts {
            input_tokens: vec![one],
            count: one,
            spread: 0.0,
            seed: 1,
        };
        run.preset.workload.synthetic = Some(made_of);
    };
    Planted::sound("base").store_with(dir, synthetic);
    Planted::sound("same").store_with(dir, synthetic);
    let gate = report(dir, &["same", "--baseline", "base"]);
    let [plain, mtp] = &gate.arms[..] else { panic!("{gate:?}") };
    assert_eq!((plain.verdict, mtp.verdict), (GateVerdict::Pass, GateVerdict::Inconclusive));
    let refused = "refused: prompts are synthetic tokens: acceptance says nothing about text";
    for check in &mtp.checks {
        let is_ttft = check.metric == bench_core::gate::GateMetric::TtftMs;
        assert_eq!(check.verdict == GateVerdict::Pass, is_ttft, "{check:?}");
        assert_eq!(check.why.as_deref() == Some(refused), !is_ttft, "{check:?}");
        assert!(
            is_ttft || (check.ratio.is_none() && check.metric.is_acceptance() == check.candidate.is_none())
        );
    }
    assert!(mtp.checks.iter().any(|check| check.metric.is_acceptance()), "{mtp:?}");
}

#[test]
fn arms_of_one_run_are_held_to_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    Planted { slower: [1.0, 1.06], has_floor: false, ..Planted::sound("run") }.store(dir);
    let ask = ["--candidate", "native/mtp", "--against", "native/none"];
    let lost = report(dir, &[&["run"], &ask[..]].concat());
    assert_eq!(lost.verdict, GateVerdict::Regression);
    // Acceptance applies where both draft.
    assert_eq!(lost.arms[0].checks.len(), 2);
    let back = report(dir, &["run", "--candidate", "native/none", "--against", "native/mtp"]);
    assert_eq!(back.verdict, GateVerdict::Pass, "interleaved arms need no noise floor");

    let (code, said) = judged(dir, &["run"]);
    assert!(code == 2 && said.contains("the run has native/none, native/mtp"), "{said}");
    let (code, said) = judged(dir, &["run", "--candidate", "native/mtpp", "--against", "native/none"]);
    assert!(code == 2 && said.contains("no arm `native/mtpp`"), "{said}");
}

#[test]
fn an_arm_that_is_gone_or_writes_something_else_is_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    Planted::sound("base").store(dir);
    Planted::sound("gone").store_with(dir, |run, rows| {
        run.arms.truncate(1);
        rows.retain(|row| row.arm == "native/none");
    });
    let (code, said) = judged(dir, &["gone", "--baseline", "base"]);
    assert!(code == 2 && said.contains("native/mtp: not judged: the candidate has no such arm"), "{said}");

    // Without ids nothing tells a near tie from a defect: it is said, and not held against it.
    Planted::sound("other").store_with(dir, |_, rows| rows.iter_mut().for_each(|row| row.text.push('!')));
    let (code, said) = judged(dir, &["other", "--baseline", "base"]);
    assert!(code == 0 && said.contains("outputs differ in 6 of 6 pairs"), "{said}");
    let with_ids = |wrong: u32| {
        move |_: &mut _, rows: &mut Vec<RequestRecord>| {
            for row in rows {
                row.token_ids = Some(vec![1, 2, 3, wrong]);
                row.stack_timings = Some(serde_json::json!({ "top2_margins": [9.0, 9.0, 9.0, 9.0] }));
            }
        }
    };
    Planted::sound("ids").store_with(dir, with_ids(4));
    Planted::sound("defect").store_with(dir, with_ids(5));
    let (code, said) = judged(dir, &["defect", "--baseline", "ids"]);
    assert!(code == 2 && said.contains("6 without a near tie") && said.contains("token 3"), "{said}");
    std::fs::write(dir.join("rules.toml"), "outputs = \"any\"\n").unwrap();
    assert_eq!(judged(dir, &["defect", "--baseline", "ids", "--rules", "rules.toml"]).0, 0);
}

#[test]
fn a_baseline_is_put_aside_with_its_provenance_and_watched() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    Planted::sound("base").store(dir);
    Planted::sound("run").store(dir);
    let saved = bench(dir)
        .args(["gate", "save", "base", "--as", "baselines/main"])
        .envs([("GITHUB_SHA", "0123abc"), ("GITHUB_ACTOR", "robot"), ("RUNNER_NAME", "runner-7")])
        .output()
        .unwrap();
    assert!(saved.status.success(), "{}", text(&saved).0);
    let root = dir.join("baselines/main");
    let provenance: Provenance =
        serde_json::from_slice(&std::fs::read(root.join("baseline.json")).unwrap()).unwrap();
    assert_eq!(
        (provenance.commit.as_deref(), provenance.saved_by.as_deref(), provenance.host.as_deref()),
        (Some("0123abc"), Some("robot"), Some("runner-7"))
    );
    let rows = RunDir::existing(&root).read_rows().unwrap().rows;
    assert!(rows.len() == 96 && rows.iter().all(|row| row.text.is_empty() && !row.timing.chunks.is_empty()));
    let (code, said) = judged(dir, &["run", "--baseline", "baselines/main"]);
    assert!(code == 0 && said.contains("by robot on runner-7 at commit 0123abc"), "{said}");

    let again = gate(dir, &["save", "base", "--as", "baselines/main"]);
    assert!(again.status.code() == Some(1) && text(&again).0.contains("already holds a run"));
    let path = RunDir::existing(&root).rows();
    let kept = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, kept.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let (code, said) = judged(dir, &["run", "--baseline", "baselines/main"]);
    assert!(code == 2 && said.contains("rows.jsonl was changed after it was put aside"), "{said}");
}

#[test]
fn another_machine_build_or_age_is_refused_or_told_by_rule() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    Planted::sound("base").store(dir);
    Planted::sound("elsewhere").store_with(dir, |run, _| run.host.cpu = Some("Another CPU".to_owned()));
    let (code, said) = judged(dir, &["elsewhere", "--baseline", "base"]);
    assert!(code == 2 && said.contains("machines differ") && said.contains("differences.machine"), "{said}");
    std::fs::write(dir.join("rules.toml"), "[differences]\nmachine = \"warn\"\n").unwrap();
    let (code, said) = judged(dir, &["elsewhere", "--baseline", "base", "--rules", "rules.toml"]);
    assert!(code == 0 && said.contains("machines differ"), "{said}");

    let build = |build: &'static str| {
        move |run: &mut bench_core::record::RunManifest, _: &mut Vec<RequestRecord>| {
            run.arms
                .iter_mut()
                .filter_map(|arm| arm.info.as_mut())
                .for_each(|info| info.build = Some(build.to_owned()));
        }
    };
    Planted::sound("old").store_with(dir, build("b1"));
    Planted::sound("new").store_with(dir, build("b2"));
    let (code, said) = judged(dir, &["new", "--baseline", "old"]);
    assert!(code == 0 && said.contains("builds of native/mtp differ: \"b1\" and \"b2\""), "{said}");
    std::fs::write(dir.join("strict.toml"), "[differences]\nstack_version = \"refuse\"\n").unwrap();
    assert_eq!(judged(dir, &["new", "--baseline", "old", "--rules", "strict.toml"]).0, 2);

    Planted::sound("late").store_with(dir, |run, _| run.started_unix_ms += 40 * 86_400_000);
    std::fs::write(dir.join("age.toml"), "max_age_days = 30\n").unwrap();
    let (code, said) = judged(dir, &["late", "--baseline", "base", "--rules", "age.toml"]);
    assert!(code == 2 && said.contains("40 days before the candidate, at most 30"), "{said}");
    // The same run twice is no comparison.
    assert_eq!(judged(dir, &["base", "--baseline", "base"]).0, 2);
}

#[test]
fn what_is_wrong_with_the_question_is_never_a_regression() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    Planted::sound("base").store(dir);
    std::fs::write(dir.join("rules.toml"), "[metrics.tokens_per_sec]\nmargin = 0.03\n").unwrap();
    for (arguments, words) in [
        (&["nowhere", "--baseline", "base"][..], "cannot read"),
        (&["base", "--baseline", "nowhere"], "cannot read"),
        (&["base", "--no-such-flag"], "--no-such-flag"),
        (&["base", "--candidate", "native/mtp"], "--against"),
        (&[], "<RUN>"),
        (&["base", "--baseline", "base", "--rules", "rules.toml"], "did you mean `metrics.tokens_per_s`?"),
        (&["base", "--baseline", "base", "--rules", "nowhere.toml"], "nowhere.toml"),
        (&["base", "--baseline", "base", "--junit", "no/such/dir.xml"], "dir.xml"),
    ] {
        let (code, said) = judged(dir, arguments);
        assert!(code == 2 && said.contains(words), "{arguments:?}: {code}: {said}");
    }
    let (code, rules) = judged(dir, &["rules"]);
    assert!(code == 0 && rules.contains("min_blocks = 6"), "{rules}");
}

/// Prints suites and cases with their outcome.
const OUTSIDE_PARSER: &str = "
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
print(root.tag, root.get('tests'), root.get('failures'), root.get('errors'))
for suite in root:
    for case in suite:
        print(suite.get('name'), case.get('name'), ' '.join(child.tag for child in case), (case[0].get('message') or '').replace('\\n', '|'), sep=';')
";

#[test]
fn an_outside_parser_reads_the_junit_file() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    Planted::sound("base").store(dir);
    Planted { slower: [1.0, 1.1], failing: 1, ..Planted::sound("run") }.store(dir);
    let (code, said) =
        judged(dir, &["run", "--baseline", "base", "--junit", "gate.xml", "--summary", "gate.md"]);
    assert_eq!(code, 1, "{said}");
    let summary = std::fs::read_to_string(dir.join("gate.md")).unwrap();
    assert!(summary.starts_with("### bench gate: regression"), "{summary}");
    assert!(summary.contains("| native/mtp | `tokens_per_s` | engine and drafter |"), "{summary}");
    let python = Command::new("python3").args(["-c", OUTSIDE_PARSER, "gate.xml"]).current_dir(dir).output();
    let Ok(read) = python else {
        println!("SKIP: no python3 to read the file with");
        return;
    };
    let (stderr, cases) = text(&read);
    assert!(read.status.success(), "{stderr}");
    let lines: Vec<_> = cases.lines().collect();
    // The gate itself; of either arm validity and its metrics.
    assert_eq!(lines[0], "testsuites 8 1 3", "{cases}");
    assert!(lines[1].starts_with("gate;comparable;system-out"), "{cases}");
    assert!(
        lines[2].starts_with(
            "native/none;validity;error;run run: native/none: 1 failures in 48 requests (1 x aborted)"
        ),
        "{cases}"
    );
    assert!(lines[5].starts_with("native/mtp;validity;system-out"), "{cases}");
    assert!(
        lines[6].starts_with(
            "native/mtp;tokens_per_s;failure;tokens_per_s of native/mtp (engine and drafter): 0.9"
        ),
        "{cases}"
    );
}

#[test]
fn github_gets_its_summary_and_annotations_and_nobody_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    Planted::sound("base").store(dir);
    Planted { slower: [1.1, 1.0], ..Planted::sound("run") }.store(dir);
    std::fs::write(dir.join("summary.md"), "before\n").unwrap();
    let output = bench(dir)
        .args(["gate", "run", "--baseline", "base", "--json"])
        .env("GITHUB_STEP_SUMMARY", dir.join("summary.md"))
        .env("GITHUB_ACTIONS", "true")
        .output()
        .unwrap();
    let (stderr, stdout) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.starts_with("::error title=bench gate%3A native/none%3A regression of tokens_per_s::"),
        "{stderr}"
    );
    assert!(serde_json::from_str::<GateReport>(&stdout).is_ok(), "data alone on stdout");
    let summary = std::fs::read_to_string(dir.join("summary.md")).unwrap();
    assert!(summary.starts_with("before\n### bench gate: regression"), "{summary}");
    let (_, said) = judged(dir, &["run", "--baseline", "base"]);
    assert!(!said.contains("::error"), "{said}");
}
