//! Conversations through the real binary on the native engine: what later turns carry, what they are paired with, and the
//! report of both.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "functions of tests, which clippy does not take for tests"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bench_core::jsonl::read_rows;
use bench_core::preset::Preset;
use bench_core::record::{Phase, Place, RequestRecord, RunManifest};
use bench_core::report::Report;
use bench_core::run_dir::turn_sha256;
use bench_core::truth::{RuleId, TruthVerdict};
use common::{bench, text};

const BASELINE: &str = "native/none";
const SPECULATING: &str = "native/mtp-3";

/// The shipped conversations, drawn, with drafts accepted by a rule that keeps the distribution and not the draws.
const DRAWN: &str = r#"
inherits = "nano-chat"
name = "drawn"

[[variants]]
label = "none"
method = "none"

[[variants]]
label = "mtp-3"
method = "mtp"
draft_max = 3
acceptance = "rejection"

[sampling]
temperature = 1.5
"#;

/// What a run of the shipped conversations left behind.
struct Ran {
    preset: Preset,
    /// Measured ones.
    rows: Vec<RequestRecord>,
    report: Report,
    markdown: String,
}

fn run(dir: &Path, preset: &str) -> Ran {
    let mut command = bench(dir);
    command.args(["run", preset, "--stack", "native", "--out", "run"]);
    for set in ["workload.max_tokens=16", "run.blocks=2", "run.think_time_ms=1"] {
        command.args(["--set", set]);
    }
    let output = command.output().expect("bench runs");
    let (err, out) = text(&output);
    assert_eq!(output.status.code(), Some(0), "stderr: {err}\nstdout: {out}");
    let root = dir.join("run");
    let manifest: RunManifest =
        serde_json::from_slice(&std::fs::read(root.join("manifest.json")).unwrap()).unwrap();
    let rows = read_rows(&root.join("rows.jsonl")).unwrap().rows;
    let page = std::fs::read_to_string(root.join("report/index.html")).unwrap();
    assert!(page.contains(SPECULATING) && page.contains("</html>"));
    Ran {
        preset: manifest.preset,
        rows: rows.into_iter().filter(|row| row.phase == Phase::Measured).collect(),
        report: serde_json::from_slice(&std::fs::read(root.join("report/report.json")).unwrap()).unwrap(),
        markdown: std::fs::read_to_string(root.join("report/report.md")).unwrap(),
    }
}

impl Ran {
    fn of<'a>(&'a self, arm: &'a str) -> impl Iterator<Item = &'a RequestRecord> {
        self.rows.iter().filter(move |row| row.arm == arm)
    }

    /// Requests of both arms that were the same question: first turns, and later ones after equal answers. Told by the
    /// texts in the rows, not by hashes.
    fn same_questions(&self) -> usize {
        let answers = |arm| -> BTreeMap<Place<'_>, &str> {
            self.of(arm).map(|row| (row.place(), row.answer())).collect()
        };
        let (ours, theirs) = (answers(SPECULATING), answers(BASELINE));
        let same_before = |place: &&Place<'_>| {
            (1..place.turn).all(|turn| {
                let before = Place { turn, ..**place };
                ours[&before] == theirs[&before]
            })
        };
        ours.keys().filter(same_before).count()
    }

    fn pairs(&self) -> usize {
        let comparison = self.report.comparisons.iter().find(|pair| pair.candidate == SPECULATING).unwrap();
        usize::try_from(comparison.pairs).unwrap()
    }

    fn evidence(&self, rule: RuleId) -> (TruthVerdict, &str) {
        let arm = self.report.arms.iter().find(|arm| arm.label == SPECULATING).unwrap();
        assert!(arm.valid, "{:?}", arm.invalid_reasons);
        let check = arm.truth.iter().find(|check| check.rule == rule).unwrap();
        (check.verdict, &check.evidence)
    }
}

#[test]
fn every_turn_is_a_row_and_carries_the_answers_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(dir.path(), "nano-chat");
    for arm in [BASELINE, SPECULATING] {
        let rows: Vec<_> = ran.of(arm).collect();
        assert_eq!(rows.len(), 2 * (2 + 3), "two blocks of a conversation of two turns and one of three");
        let conversations: BTreeSet<_> =
            rows.iter().map(|row| row.turn.as_ref().unwrap().conversation.as_str()).collect();
        assert_eq!(conversations.len(), 2 * 2);
        for row in &rows {
            let turn = row.turn.as_ref().unwrap();
            assert_eq!(turn.since_answer_ns.is_some(), turn.turn > 1);
            assert!(turn.since_answer_ns.is_none_or(|waited| waited >= 1_000_000), "{turn:?}");
            let of_it = |other: &&&RequestRecord| {
                let of = other.turn.as_ref().unwrap();
                of.conversation == turn.conversation && of.turn < turn.turn
            };
            let before: Vec<_> = rows.iter().filter(of_it).map(|row| row.answer()).collect();
            assert_eq!(before.len(), usize::try_from(turn.turn - 1).unwrap());
            let prompt =
                ran.preset.workload.prompts.iter().find(|prompt| prompt.id == row.prompt_id).unwrap();
            assert_eq!(row.prompt_sha256, turn_sha256(prompt, before));
        }
        let longer = |turn| {
            let tokens = rows.iter().filter(|row| row.place().turn == turn);
            tokens.map(|row| row.usage.prompt_tokens.unwrap()).min().unwrap()
        };
        assert!(longer(1) < longer(2) && longer(2) < longer(3), "what was said is in the prompt");
    }
    // Greedy and lossless: all turns are pairs.
    assert_eq!((ran.same_questions(), ran.pairs()), (10, 10));
    let (verdict, evidence) = ran.evidence(RuleId::PromptsEqual);
    assert_eq!(verdict, TruthVerdict::Held);
    assert!(evidence.contains("6 later turns"), "{evidence}");
    assert!(ran.markdown.contains(SPECULATING), "{}", ran.markdown);
}

#[test]
fn later_turns_after_other_answers_are_no_pairs() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("drawn.toml"), DRAWN).unwrap();
    let ran = run(dir.path(), "drawn.toml");
    let same = ran.same_questions();
    // Four of them are first turns.
    assert!((4..10).contains(&same), "{same} questions are the same");
    assert_eq!(ran.pairs(), same);
    let (verdict, evidence) = ran.evidence(RuleId::RequestsEqual);
    assert_eq!(verdict, TruthVerdict::Held);
    assert!(evidence.contains(&format!("{} later turns followed other answers", 10 - same)), "{evidence}");
    assert_eq!(ran.evidence(RuleId::PromptsEqual).0, TruthVerdict::Held);
}
