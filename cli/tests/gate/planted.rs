//! Runs whose truth is planted, as directories.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use bench_core::jsonl::RowSink;
use bench_core::noise::{NoiseEntry, NoiseFloor};
use bench_core::preset::{AcceptanceRule, DraftHead, PromptSpec, SpecDecode, SpecVariant, StackKind};
use bench_core::record::{ArmManifest, ArmStatus, Outcome, RequestRecord, RunEnd, RunManifest};
use bench_core::report::Estimate;
use bench_core::run_dir::{RunDir, prompt_sha256};
use bench_core::stack::{FailureKind, SpecCounts, SpecSource};
use bench_core::stats::Metric;
use bench_core::testing::{manifest, preset, record, stack_info};

/// What a run shows. The arms are `native/none` and `native/mtp`.
#[derive(Clone)]
pub(crate) struct Planted {
    pub(crate) id: &'static str,
    pub(crate) blocks: u32,
    /// Time of decoding, by that of a run without a difference: 1.05 is 5 % slower.
    pub(crate) slower: [f64; 2],
    /// Accepted drafts of 40, in 20 verify steps.
    pub(crate) accepted: u64,
    /// Requests of `native/none` that fail.
    pub(crate) failing: usize,
    /// Whether an A/A run was made before.
    pub(crate) has_floor: bool,
}

impl Planted {
    pub(crate) const fn sound(id: &'static str) -> Self {
        Self { id, blocks: 8, slower: [1.0, 1.0], accepted: 30, failing: 0, has_floor: true }
    }

    /// As a run directory `dir/ID`.
    pub(crate) fn store(&self, dir: &Path) -> PathBuf {
        self.store_with(dir, |_, _| ())
    }

    /// The same with a last change.
    pub(crate) fn store_with(
        &self,
        dir: &Path,
        change: impl FnOnce(&mut RunManifest, &mut Vec<RequestRecord>),
    ) -> PathBuf {
        let mut run = self.manifest();
        let mut rows: Vec<_> = (0..run.arms.len()).flat_map(|nth| self.rows_of(&run, nth)).collect();
        for (row, index) in rows.iter_mut().zip(0..) {
            row.request_index = index;
        }
        run.end = Some(RunEnd { unix_ms: 1, interrupted: false, rows: rows.len() as u64 });
        change(&mut run, &mut rows);
        let root = dir.join(self.id);
        let stored = RunDir::create(&root).unwrap();
        stored.write_manifest(&run).unwrap();
        let mut writer = stored.row_writer().unwrap();
        rows.iter().for_each(|row| writer.append(row).unwrap());
        root
    }

    fn manifest(&self) -> RunManifest {
        let mut preset = preset();
        let mtp = SpecDecode::Mtp {
            draft_max: NonZeroU32::MIN.saturating_add(1),
            acceptance: AcceptanceRule::SampleAndCompare,
            draft_head: DraftHead::Auto,
        };
        preset.variants.push(SpecVariant::new("mtp", mtp));
        preset.workload.prompts = ["a", "b", "c", "d", "e", "f"].map(prompt).to_vec();
        preset.workload.max_tokens = NonZeroU32::MIN.saturating_add(3);
        preset.run.blocks = NonZeroU32::new(self.blocks).unwrap();
        let mut run = manifest(preset);
        run.run_id = self.id.to_owned();
        run.host.cpu = Some("Test CPU".to_owned());
        run.noise_floor = self.has_floor.then(floor);
        run.arms = run.preset.variants.iter().map(arm).collect();
        run
    }

    fn rows_of(&self, run: &RunManifest, nth: usize) -> Vec<RequestRecord> {
        let arm = &run.arms[nth];
        let mut rows = Vec::new();
        for block in 0..self.blocks {
            for (prompt, of_prompt) in run.preset.workload.prompts.iter().zip(0_u64..) {
                let mut row = record(&arm.label, block, 0);
                row.run_id = self.id.to_owned();
                row.prompt_id.clone_from(&prompt.id);
                row.prompt_sha256 = prompt_sha256(prompt);
                row.token_ids = None;
                row.text = format!("answer to {}", prompt.id);
                // The machine's mood, and each arm's own: some tenths of a per cent.
                let noise = (u64::from(block) * 7 + nth as u64 * 3 + self.id.len() as u64) % 5;
                let gap_us = (10_000 + 10 * noise + 100 * of_prompt) as f64 * self.slower[nth];
                let first_us = 250_000.0 + (400 * noise) as f64;
                for (chunk, index) in row.timing.chunks.iter_mut().zip(0_u32..) {
                    chunk.at_ns = nanoseconds(first_us + f64::from(index) * gap_us);
                }
                row.timing.first_token_ns = row.timing.chunks.first().map(|chunk| chunk.at_ns);
                row.timing.last_token_ns = row.timing.chunks.last().map(|chunk| chunk.at_ns);
                row.spec = arm.spec.draft_max().map(|_| self.counts(of_prompt));
                if nth == 0 && rows.len() < self.failing {
                    row.outcome = Outcome::Failed {
                        kind: FailureKind::Aborted,
                        detail: "<abort> & \"more\"".to_owned(),
                        hint: None,
                        death: None,
                    };
                }
                rows.push(row);
            }
        }
        rows
    }

    fn counts(&self, of_prompt: u64) -> SpecCounts {
        SpecCounts {
            drafted: 40,
            accepted: self.accepted - of_prompt % 3,
            verify_steps: Some(20),
            accepted_per_position: None,
            drafted_per_position: None,
            accepted_histogram: None,
            source: SpecSource::Engine,
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction of a second")]
fn nanoseconds(us: f64) -> u64 {
    (us * 1e3) as u64
}

fn prompt(id: &str) -> PromptSpec {
    PromptSpec {
        id: id.to_owned(),
        category: "prose".to_owned(),
        system: None,
        text: format!("text of {id}"),
        later_turns: Vec::new(),
    }
}

fn arm(variant: &SpecVariant) -> ArmManifest {
    ArmManifest {
        label: format!("native/{}", variant.label),
        stack: StackKind::Native,
        variant: variant.label.clone(),
        spec: variant.spec.clone(),
        status: ArmStatus::Ready,
        info: Some(stack_info()),
        config_sha256: None,
        kv_quality: None,
        concurrency: None,
    }
}

fn floor() -> NoiseFloor {
    let entry = |metric| NoiseEntry {
        stack: StackKind::Native,
        metric,
        blocks: 10,
        ratio: Estimate { point: 1.0, low: Some(0.995), high: Some(1.005) },
        floor: 0.005,
        block_sd: 0.005,
        needed: Vec::new(),
    };
    NoiseFloor {
        key: "planted".to_owned(),
        run_id: "aa".to_owned(),
        started_unix_ms: 1,
        suite_version: env!("CARGO_PKG_VERSION").to_owned(),
        entries: Metric::ALL.map(entry).to_vec(),
    }
}
