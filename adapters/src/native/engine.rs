//! The real engine behind the native stack: what an arm's words mean to it, and its tokenizer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bench_core::preset::{self, SpecDecode, StackKind};
use bench_core::stack::{
    DRAFT_HEAD_DETAIL, PLE_TABLE_DETAIL, Prompt, STEP_BYTES_DETAIL, StackError, StackInfo, chat_messages,
};
use bench_core::thinking::{MarkerIds, Splitter};
use bench_engine::chat::ChatMessage;
use bench_engine::kv_cache::turbo::TurboType;
use bench_engine::kv_cache::{KvType, KvTypes};
use bench_engine::model::{DraftHead, PleTable};
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::spec::generation::{GenerateParams, GenerateSummary, StepEvent};
use bench_engine::tokenizer::{TextDecoder, Tokenizer};
use bench_engine::{DeviceChoice, Engine, EngineConfig, EngineError, EngineInfo, Speculation};

use super::{Decode, Generate, Loaded, engine_error, failed};
use crate::arm::ConnectRequest;

/// The engine's words for an arm.
pub(crate) fn config(request: &ConnectRequest<'_>) -> Result<EngineConfig, StackError> {
    let size = |n: std::num::NonZeroU32| {
        n.try_into().map_err(|error| failed(format!("{n} is more than this machine's sizes hold: {error}")))
    };
    let speculation = match *request.spec {
        SpecDecode::None => Speculation::None,
        SpecDecode::Nextn { .. } => {
            return Err(unsupported("draft with next-token layers of the target itself"));
        }
        SpecDecode::DraftModel { .. } => return Err(unsupported("draft with a second whole model")),
        SpecDecode::Mtp { draft_max, ref acceptance, draft_head } => {
            let acceptance = match acceptance {
                preset::AcceptanceRule::SampleAndCompare => AcceptanceRule::SampleAndCompare,
                preset::AcceptanceRule::Rejection => AcceptanceRule::Rejection,
                preset::AcceptanceRule::Synthetic(rates) => AcceptanceRule::Synthetic(rates.conditional()),
            };
            let draft_head = match draft_head {
                preset::DraftHead::Auto => DraftHead::Auto,
                preset::DraftHead::Dense => DraftHead::Dense,
            };
            Speculation::Mtp { draft_max: size(draft_max)?, acceptance, draft_head }
        }
        SpecDecode::Ngram { draft_max, ngram_min, ngram_max } => Speculation::Ngram {
            draft_max: size(draft_max)?,
            ngram_min: size(ngram_min)?,
            ngram_max: size(ngram_max)?,
        },
    };
    Ok(EngineConfig {
        target: request.models.target.clone(),
        assistant: request.models.assistant.clone(),
        context_tokens: size(request.serving.context_tokens)?.get(),
        kv_type: kv_types(request.serving.kv_type)?,
        threads: size(request.serving.threads)?,
        speculation,
        device: match request.serving.device {
            preset::Device::Auto => DeviceChoice::Auto,
            preset::Device::Cpu => DeviceChoice::Cpu,
            preset::Device::Gpu => DeviceChoice::Gpu(0),
        },
        ple_table: match request.serving.ple_table {
            preset::PleTable::Auto => PleTable::Auto,
            preset::PleTable::Device => PleTable::Device,
            preset::PleTable::Host => PleTable::Host,
        },
    })
}

/// The engine's types of a preset's.
///
/// # Errors
/// A type that it does not have.
pub fn kv_types(asked: preset::KvTypes) -> Result<KvTypes, StackError> {
    Ok(KvTypes { k: kv_type(asked.k)?, v: kv_type(asked.v)? })
}

fn kv_type(asked: preset::KvType) -> Result<KvType, StackError> {
    match asked {
        preset::KvType::F32 => Ok(KvType::F32),
        preset::KvType::F16 => Ok(KvType::F16),
        preset::KvType::Bf16 => Ok(KvType::Bf16),
        preset::KvType::Q8_0 => Ok(KvType::Q8_0),
        preset::KvType::Turbo2 => Ok(KvType::Turbo(TurboType::Turbo2)),
        preset::KvType::Turbo3 => Ok(KvType::Turbo(TurboType::Turbo3)),
        preset::KvType::Turbo4 => Ok(KvType::Turbo(TurboType::Turbo4)),
        preset::KvType::Turbo4Atomic => Ok(KvType::Turbo(TurboType::Turbo4Atomic)),
        preset::KvType::Q4_0 => Err(unsupported(
            "keep its KV cache as q4_0: it has f32, f16, q8_0, turbo2 to 4 and turbo4-atomic, and on a GPU bf16",
        )),
    }
}

fn unsupported(what: &str) -> StackError {
    StackError::Unsupported { stack: StackKind::Native, what: what.to_owned() }
}

/// Loads weights and vocabulary.
pub(super) fn load(config: &EngineConfig) -> Result<Loaded<Engine, Text>, StackError> {
    let generator = Engine::load(config).map_err(engine_error)?;
    let info = stack_info(config, generator.describe());
    let tokenizer = generator.tokenizer().clone();
    let text = Text { tokenizer: tokenizer.clone(), decoder: TextDecoder::new() };
    let counter = move |text: &str| tokenizer.encode(text, true, false).len();
    Ok(Loaded { info, generator, decoder: text, counter: Arc::new(counter) })
}

fn stack_info(config: &EngineConfig, info: &EngineInfo) -> StackInfo {
    let mut details: BTreeMap<_, _> = [
        ("model.arch", info.architecture.clone()),
        ("model.layers", info.layers.to_string()),
        ("model.n_params", info.parameters.to_string()),
        ("model.weight_types", info.weight_types.clone()),
        ("model.weight_bytes", info.weight_bytes.to_string()),
        ("kernels", info.kernels.clone()),
        ("speculation", info.speculation.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    details.extend(info.step_bytes.map(|bytes| (STEP_BYTES_DETAIL.to_owned(), bytes.to_string())));
    let routes = info.attention_routes.iter().enumerate();
    details.extend(routes.map(|(i, route)| (format!("attention.{i}"), route.clone())));
    details.extend(info.draft_head.clone().map(|head| (DRAFT_HEAD_DETAIL.to_owned(), head)));
    details.extend(info.ple_table.clone().map(|place| (PLE_TABLE_DETAIL.to_owned(), place)));
    let assistant = config.assistant.as_ref().map(|path| format!(" assistant {}", path.display()));
    let method = match config.speculation {
        Speculation::None => "none",
        Speculation::Mtp { .. } => "mtp",
        Speculation::Ngram { .. } => "ngram",
    };
    StackInfo {
        kind: StackKind::Native,
        build: Some(format!("{} ({})", env!("CARGO_PKG_VERSION"), info.kernels)),
        model: Some(info.model_name.clone().unwrap_or_else(|| config.target.display().to_string())),
        speculation: Some(method.to_owned()),
        kv_type: Some(info.kv_type.name()),
        context_tokens: u32::try_from(info.context_tokens).ok(),
        threads: u32::try_from(info.threads).ok(),
        draft_max: u32::try_from(config.speculation.draft_max()).ok().filter(|&drafts| drafts > 0),
        device: Some(info.device.clone()),
        target_sha256: None,
        assistant_sha256: None,
        recipe: format!("in process: target {}{}", config.target.display(), assistant.unwrap_or_default()),
        details,
    }
}

impl Generate for Engine {
    fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, StackError> {
        match prompt {
            Prompt::Text(text) => Ok(self.encode_prompt(text)),
            Prompt::Chat { system, history, user } => {
                let messages: Vec<_> = chat_messages(system.as_deref(), history, user)
                    .map(|(role, content)| ChatMessage::new(role, content))
                    .collect();
                self.encode_messages(&messages).map_err(engine_error)
            }
        }
    }

    fn generate(
        &mut self,
        prompt: &[u32],
        params: &GenerateParams,
        on_step: &mut dyn FnMut(&StepEvent<'_>) -> std::ops::ControlFlow<()>,
    ) -> Result<GenerateSummary, EngineError> {
        Self::generate(self, prompt, params, on_step)
    }
}

/// The text of the generation that runs.
#[derive(Debug)]
pub(super) struct Text {
    tokenizer: Arc<Tokenizer>,
    decoder: TextDecoder,
}

impl Decode for Text {
    fn decode(&mut self, ids: &[u32]) -> String {
        ids.iter().map(|&id| self.decoder.push(&self.tokenizer, id)).collect()
    }

    fn splitter(&self, prompt: &[u32]) -> Splitter {
        let markers = MarkerIds::of_vocabulary(|text| self.tokenizer.token_id(text));
        Splitter::after_prompt(markers, prompt)
    }

    fn rest(&mut self) -> String {
        self.decoder.finish()
    }
}
