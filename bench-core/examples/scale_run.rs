//! Writes a run of any size, the same bytes for the same arguments: what `bench report` and its peers are timed with.
//!
//! `cargo run --release -p bench-core --features testing --example scale_run -- DIR [REQUESTS] [TOKENS]`: by default
//! 100,000 requests of 183 tokens, half of them plain decoding (183 chunks each) and half drafting three tokens a step
//! (74 chunks on average): 12.8 million chunks in all. Nothing was measured: stamps come from a seeded generator, and
//! the manifest says so.

use std::error::Error;
use std::num::NonZeroU32;
use std::path::Path;

use bench_core::jsonl::RowSink;
use bench_core::preset::{AcceptanceRule, DraftHead, Preset, PromptSpec, SpecDecode, SpecVariant};
use bench_core::record::{ArmManifest, Chunk, Phase, RequestRecord, RunEnd, RunManifest};
use bench_core::run_dir::{RunDir, preset_sha256, prompt_sha256};
use bench_core::stack::{SpecCounts, SpecSource};
use bench_core::testing::{manifest, preset, record};

const PROMPTS: u32 = 1000;
const CATEGORIES: u32 = 11;
const DRAFT_MAX: u32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |nth: usize, default: u32| args.get(nth).map_or(Ok(default), |text| text.parse());
    let (Some(dir), requests, tokens) = (args.first(), number(1, 100_000)?, number(2, 183)?) else {
        return Err("expected DIR [REQUESTS] [TOKENS]".into());
    };
    let blocks = NonZeroU32::new(requests / (2 * PROMPTS)).ok_or("at least 2000 requests are one block")?;
    let run = scaled(blocks, NonZeroU32::new(tokens).ok_or("no tokens")?)?;
    let dir = RunDir::create(Path::new(dir))?;
    let mut writer = dir.row_writer()?;
    let hashes: Vec<_> = run.preset.workload.prompts.iter().map(prompt_sha256).collect();
    let mut random = SplitMix64(1);
    let asked = |block, prompt: usize, arm: &ArmManifest, index: u64| {
        let (prompt, hash) = (&run.preset.workload.prompts[prompt], &hashes[prompt]);
        let mut row = record(&arm.label, block, index);
        row.run_id.clone_from(&run.run_id);
        row.prompt_id.clone_from(&prompt.id);
        row.category.clone_from(&prompt.category);
        row.prompt_sha256.clone_from(hash);
        row.request_sha256 = Some(hash.clone());
        row.sent_unix_ms += index * 2000;
        row
    };
    for arm in &run.arms {
        let mut row = asked(0, 0, arm, writer.rows());
        row.phase = Phase::Warmup;
        fill(&mut row, arm, tokens, &mut random);
        writer.append(&row)?;
    }
    for block in 0..blocks.get() {
        for prompt in 0..hashes.len() {
            for arm in &run.arms {
                let mut row = asked(block, prompt, arm, writer.rows());
                fill(&mut row, arm, tokens, &mut random);
                writer.append(&row)?;
            }
        }
    }
    let end = RunEnd { unix_ms: run.started_unix_ms, interrupted: false, rows: writer.rows() };
    dir.write_manifest(&RunManifest { end: Some(end), ..run })?;
    Ok(())
}

fn scaled(blocks: NonZeroU32, tokens: NonZeroU32) -> Result<RunManifest, Box<dyn Error>> {
    let draft_max = NonZeroU32::new(DRAFT_MAX).ok_or("drafts")?;
    let mtp = SpecDecode::Mtp {
        draft_max,
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head: DraftHead::Auto,
    };
    let mut preset: Preset = preset();
    preset.name = "scale".to_owned();
    preset.description = "Generated, not measured: for timing the report.".to_owned();
    preset.variants = vec![SpecVariant::new("none", SpecDecode::None), SpecVariant::new("mtp-3", mtp)];
    let prompt = |nth: u32| PromptSpec {
        id: format!("p{nth:04}"),
        category: format!("category-{}", nth % CATEGORIES),
        system: None,
        text: format!("prompt {nth}"),
        later_turns: Vec::new(),
    };
    preset.workload.prompts = (0..PROMPTS).map(prompt).collect();
    preset.workload.max_tokens = tokens;
    preset.run.blocks = blocks;
    let run = manifest(preset);
    let ready = run.arms.first().ok_or("no arm")?;
    let arm = |variant: &SpecVariant| ArmManifest {
        label: format!("native/{}", variant.label),
        variant: variant.label.clone(),
        spec: variant.spec.clone(),
        ..ready.clone()
    };
    let arms = run.preset.variants.iter().map(arm).collect();
    Ok(RunManifest { run_id: "scale".to_owned(), preset_sha256: preset_sha256(&run.preset)?, arms, ..run })
}

/// Chunks about 10 ms apart, of one token each or, with drafts, of one to four.
fn fill(row: &mut RequestRecord, arm: &ArmManifest, tokens: u32, random: &mut SplitMix64) {
    let drafts = arm.spec.draft_max().is_some();
    // Blocks are not alike, as on any machine.
    let gap_ns = 9_500_000 + 10_007 * u64::from(row.block % 7);
    let mut at_ns = 50_000_000 + random.below(5_000_000);
    let mut chunks = vec![Chunk { at_ns, tokens: Some(1) }];
    let (mut left, mut histogram) = (tokens.saturating_sub(1), [0_u64; 4]);
    while left > 0 {
        at_ns += gap_ns + random.below(1_000_000);
        let wanted = if drafts { random.below(4) } else { 0 };
        let accepted = u32::try_from(wanted).unwrap_or(0).min(left - 1);
        histogram[accepted as usize] += 1;
        chunks.push(Chunk { at_ns, tokens: Some(1 + accepted) });
        left -= 1 + accepted;
    }
    let steps = chunks.len() as u64 - 1;
    row.timing.first_token_ns = chunks.first().map(|chunk| chunk.at_ns);
    row.timing.last_token_ns = Some(at_ns);
    row.timing.ended_ns = at_ns + 1_000_000;
    row.timing.chunks = chunks;
    row.usage.output_tokens = Some(tokens);
    row.output.tokens = Some(tokens);
    // Both arms write the same: what they share is compared token by token.
    row.token_ids = Some((0..tokens).map(|nth| (nth * 7919) % 32_000).collect());
    row.text = "word ".repeat(tokens as usize);
    row.spec = drafts.then(|| {
        let per_position: Vec<u64> = (1..4).map(|from| histogram[from..].iter().sum()).collect();
        SpecCounts {
            drafted: steps * u64::from(DRAFT_MAX),
            accepted: per_position.iter().sum(),
            verify_steps: Some(steps),
            accepted_per_position: Some(per_position),
            drafted_per_position: Some(vec![steps; 3]),
            accepted_histogram: Some(histogram.to_vec()),
            source: SpecSource::Engine,
        }
    });
}

/// Steele, Lea, Flood 2014.
struct SplitMix64(u64);

impl SplitMix64 {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
