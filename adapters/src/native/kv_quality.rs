//! The quality of a KV type on the engine, in the documents' words. Loads engines of its own: those that answered requests
//! are gone by then, and their memory with them.

use std::ops::ControlFlow;

use bench_core::kv_quality::{
    DraftCounts, KvAcceptance, KvDivergence, KvQuality, KvQualityOutcome, KvSample, NO_LOGITS,
    PositionDivergence,
};
use bench_core::preset::StackKind;
use bench_core::stack::{Prompt, StackError, chat_messages};
use bench_engine::chat::{ChatMessage, ChatTemplate};
use bench_engine::gguf::Gguf;
use bench_engine::session::kv_quality::{self as engine, KvQualityPlan};
use bench_engine::spec::divergence::Divergence;
use bench_engine::spec::generation::SpecTotals;
use bench_engine::tokenizer::Tokenizer;
use bench_engine::{EngineConfig, EngineError};

use super::engine_error;
use crate::arm::ConnectRequest;

/// Measures what the arm's KV type costs in quality. `known` is what another arm of the same models and KV type showed of
/// its distributions, which does not depend on how drafts are made. `on_answer` is told of progress and may stop it.
/// Whatever goes wrong is a reason, never a figure.
pub fn measure_kv_quality(
    request: &ConnectRequest<'_>,
    sample: &KvSample,
    known: Option<KvDivergence>,
    on_answer: &mut dyn FnMut() -> ControlFlow<()>,
) -> KvQualityOutcome {
    let measured = match request.kind {
        StackKind::Native => measure(request, sample, known, on_answer),
        StackKind::LlamaServer
        | StackKind::AtomicLlamaServer
        | StackKind::LlamaSwap
        | StackKind::Vllm
        | StackKind::OpenAi => return KvQualityOutcome::NotMeasured { reason: NO_LOGITS.to_owned() },
    };
    match measured {
        Ok(Some(quality)) => KvQualityOutcome::Measured(quality),
        Ok(None) => KvQualityOutcome::NotMeasured { reason: "the run was stopped before it".to_owned() },
        Err(error) => KvQualityOutcome::NotMeasured { reason: error.to_string() },
    }
}

fn measure(
    request: &ConnectRequest<'_>,
    sample: &KvSample,
    known: Option<KvDivergence>,
    on_answer: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Option<KvQuality>, StackError> {
    let config = super::config(request)?;
    let size = |tokens: u32| {
        usize::try_from(tokens).map_err(|error| super::failed(format!("{tokens} tokens: {error}")))
    };
    let prompts = encode(&config, &sample.prompts).map_err(engine_error)?;
    let plan = KvQualityPlan {
        prompts: &prompts,
        answer_tokens: size(sample.answer_tokens)?,
        positions: size(sample.positions)?,
        ignore_eos: sample.ignore_eos,
        divergence: known.is_none(),
    };
    let Some(found) = engine::measure(&config, &plan, on_answer).map_err(engine_error)? else {
        return Ok(None);
    };
    let positions: Vec<_> = found.divergences.iter().map(position).collect();
    let divergence = known.or_else(|| KvDivergence::of(&positions));
    let divergence = divergence.ok_or_else(|| super::failed("no position could be compared".to_owned()))?;
    let acceptance = found
        .acceptance
        .map(|[with, reference]| KvAcceptance { with: counts(&with), reference: counts(&reference) });
    Ok(Some(KvQuality {
        kv_type: config.kv_type.name(),
        reference: engine::REFERENCE.name().to_owned(),
        divergence,
        acceptance,
    }))
}

/// Ids as the engine itself makes them of a request's prompt, without its weights.
fn encode(config: &EngineConfig, prompts: &[Prompt]) -> Result<Vec<Vec<u32>>, EngineError> {
    let gguf = Gguf::open(&config.target)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let template = ChatTemplate::from_gguf(&gguf)?;
    let ids = |prompt: &Prompt| match (prompt, &template) {
        (Prompt::Text(text), _) => Ok(tokenizer.encode(text, true, true)),
        (Prompt::Chat { .. }, None) => {
            Err(EngineError::ChatTemplate { detail: "the model file has none".to_owned() })
        }
        (Prompt::Chat { system, history, user }, Some(template)) => {
            let messages: Vec<_> = chat_messages(system.as_deref(), history, user)
                .map(|(role, content)| ChatMessage::new(role, content))
                .collect();
            template.encode(&tokenizer, &messages, false)
        }
    };
    prompts.iter().map(ids).collect()
}

fn position(at: &Divergence) -> PositionDivergence {
    let &Divergence { kl_nats, same_top1, reference_nll_nats, candidate_nll_nats } = at;
    PositionDivergence { kl_nats, same_top1, reference_nll_nats, nll_nats: candidate_nll_nats }
}

fn counts(totals: &SpecTotals) -> DraftCounts {
    let &SpecTotals { drafted, accepted, verify_steps, .. } = totals;
    DraftCounts { drafted, accepted, verify_steps }
}
