//! What a KV type costs in quality: the same models on the same tokens, once with it and once with an f16 cache.
//!
//! The tokens are the f16 cache's own greedy answers, so that every KV type is judged on the same text. Both walk through
//! them position by position; a way of speculating then follows them with both caches, which tells whether drafts are
//! accepted less often. The two are loaded one after the other: no more memory than one of them takes, besides the
//! reference's logits (positions x vocabulary x 4 bytes on the host). Floor: 2 x positions passes over the weights, 1 x
//! without distributions, and what speculation needs for as many tokens twice. Keeps no time; does not judge what is
//! good enough.

use std::ops::ControlFlow;

use super::Engine;
use super::config::{EngineConfig, Speculation};
use crate::EngineError;
use crate::kv_cache::KvType;
use crate::spec::accept::AcceptanceRule;
use crate::spec::divergence::Divergence;
use crate::spec::generation::SpecTotals;
use crate::spec::sampler::argmax;

/// The cache that others are compared with.
pub const REFERENCE: KvType = KvType::F16;

/// On what to compare.
#[derive(Debug, Clone, Copy)]
pub struct KvQualityPlan<'a> {
    /// Ids of the prompts, none empty.
    pub prompts: &'a [Vec<u32>],
    /// Tokens of an answer at most.
    pub answer_tokens: usize,
    /// Positions in all at most; prompts beyond are not asked.
    pub positions: usize,
    /// Go on past end-of-generation tokens.
    pub ignore_eos: bool,
    /// Whether to compare distributions; otherwise only what drafts are accepted.
    pub divergence: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KvQuality {
    /// Position by position; empty where it was not asked for.
    pub divergences: Vec<Divergence>,
    /// Counts of speculation with the KV type and with the reference, along the same answers; `None` for plain decoding,
    /// and where acceptance is drawn by lot.
    pub acceptance: Option<[SpecTotals; 2]>,
}

/// An answer of the reference.
struct Answer {
    prompt: usize,
    tokens: Vec<u32>,
    /// Tokens that it could have had.
    wanted: usize,
}

/// The reference's greedy answers.
#[derive(Default)]
struct Answers {
    all: Vec<Answer>,
    /// Its logits `[positions][vocab]` at their tokens, where distributions are wanted.
    logits: Vec<f32>,
}

/// Measures `config.kv_type` against [`REFERENCE`]. `on_answer` is told after each answer, some of them twice, and may stop
/// it; `None` then.
///
/// # Errors
/// What loading and decoding fail with; [`EngineError::OutOfMemory`] for the reference's logits.
pub fn measure(
    config: &EngineConfig,
    plan: &KvQualityPlan<'_>,
    on_answer: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Option<KvQuality>, EngineError> {
    let config = with_short_context(config, plan);
    let speculates = speculates(&config.speculation);
    if !plan.divergence && !speculates {
        return Ok(Some(KvQuality::default()));
    }
    let mut engine = Engine::load(&EngineConfig { kv_type: REFERENCE.into(), ..config.clone() })?;
    let ControlFlow::Continue(answers) = answer(&mut engine, plan, on_answer)? else { return Ok(None) };
    let mut accepted = |engine: &mut Engine| -> Result<_, EngineError> {
        if speculates {
            follow(engine, plan, &answers.all, on_answer)
        } else {
            Ok(ControlFlow::Continue(None))
        }
    };
    let ControlFlow::Continue(reference) = accepted(&mut engine)? else { return Ok(None) };
    // Its memory first: two models may not fit beside each other.
    drop(engine);
    let mut engine = Engine::load(&config)?;
    let ControlFlow::Continue(candidate) = accepted(&mut engine)? else { return Ok(None) };
    let divergences = if plan.divergence {
        compare(&mut engine, plan, &answers, on_answer)?
    } else {
        ControlFlow::Continue(Vec::new())
    };
    let ControlFlow::Continue(divergences) = divergences else { return Ok(None) };
    let acceptance = candidate.zip(reference).map(|(candidate, reference)| [candidate, reference]);
    Ok(Some(KvQuality { divergences, acceptance }))
}

/// No more context than the longest answer needs: an f16 cache of the whole may not fit where the KV type's does.
fn with_short_context(config: &EngineConfig, plan: &KvQualityPlan<'_>) -> EngineConfig {
    let longest = plan.prompts.iter().map(Vec::len).max().unwrap_or(0);
    let needed =
        longest.saturating_add(plan.answer_tokens).saturating_add(config.speculation.draft_max() + 1);
    EngineConfig { context_tokens: config.context_tokens.min(needed), ..config.clone() }
}

fn speculates(speculation: &Speculation) -> bool {
    speculation.draft_max() > 0 && !matches!(speculation.acceptance(), AcceptanceRule::Synthetic(_))
}

/// Has the reference answer, and keeps its logits where distributions are wanted.
fn answer(
    engine: &mut Engine,
    plan: &KvQualityPlan<'_>,
    on_answer: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<ControlFlow<(), Answers>, EngineError> {
    let eog = if plan.ignore_eos { Vec::new() } else { engine.tokenizer().eog().to_vec() };
    let mut answers = Answers::default();
    let mut left = plan.positions;
    for (prompt, ids) in plan.prompts.iter().enumerate() {
        let wanted = plan.answer_tokens.min(left);
        if wanted == 0 {
            break;
        }
        let mut tokens: Vec<u32> = Vec::with_capacity(wanted);
        engine.walk(ids, &mut |row| {
            let token = argmax(row)?;
            if plan.divergence {
                keep(&mut answers.logits, row, left - tokens.len())?;
            }
            tokens.push(token);
            Ok((tokens.len() < wanted && !eog.contains(&token)).then_some(token))
        })?;
        left -= tokens.len();
        answers.all.push(Answer { prompt, tokens, wanted });
        if on_answer().is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(answers))
}

/// Appends a row; room for all `rows` that may still come is made with the first one.
fn keep(logits: &mut Vec<f32>, row: &[f32], rows: usize) -> Result<(), EngineError> {
    let needed = row.len().saturating_mul(rows);
    logits.try_reserve_exact(needed).map_err(|source| EngineError::OutOfMemory {
        what: "the logits that another KV type is compared with",
        bytes: needed.saturating_mul(4),
        source,
    })?;
    logits.extend_from_slice(row);
    Ok(())
}

/// Walks through the reference's answers and compares position by position.
fn compare(
    engine: &mut Engine,
    plan: &KvQualityPlan<'_>,
    answers: &Answers,
    on_answer: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<ControlFlow<(), Vec<Divergence>>, EngineError> {
    let mut divergences: Vec<Divergence> = Vec::new();
    for Answer { prompt, tokens, .. } in &answers.all {
        let mut rest = &tokens[..];
        engine.walk(&plan.prompts[*prompt], &mut |row| {
            let Some((&token, after)) = rest.split_first() else { return Ok(None) };
            let start = divergences.len() * row.len();
            let reference = &answers.logits[start..start + row.len()];
            divergences.push(Divergence::between(reference, row, token)?);
            rest = after;
            Ok((!rest.is_empty()).then_some(token))
        })?;
        if on_answer().is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(divergences))
}

/// Counts of the engine's own way of speculating along the reference's answers.
fn follow(
    engine: &mut Engine,
    plan: &KvQualityPlan<'_>,
    answers: &[Answer],
    on_answer: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<ControlFlow<(), Option<SpecTotals>>, EngineError> {
    let mut sum = None;
    for Answer { prompt, tokens, wanted } in answers {
        let Some(totals) = engine.follow(&plan.prompts[*prompt], tokens, *wanted)? else { continue };
        let sum = sum.get_or_insert_with(SpecTotals::default);
        sum.drafted += totals.drafted;
        sum.accepted += totals.accepted;
        sum.verify_steps += totals.verify_steps;
        if on_answer().is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(sum))
}
