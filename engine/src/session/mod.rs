//! The engine as a caller sees it: a loaded target and a way of speculating. Token ids in, token ids out.
//! The caller may also bring text: the engine holds the file's tokenizer and chat template.
//! One sequence at a time; every generation starts from empty caches, so that equal requests give equal tokens and
//! equal counts. Starts no thread of its own besides the backend's workers and does not know what its timings are used
//! for.

mod config;
mod info;

use std::ops::ControlFlow;
use std::sync::Arc;

pub use config::{EngineConfig, Speculation};
pub use info::EngineInfo;

use crate::EngineError;
use crate::backend::cpu::Isa;
use crate::chat::{ChatMessage, ChatTemplate};
use crate::gguf::Gguf;
use crate::model::{Assistant, CpuTarget, DraftPosition, LoadOptions, MtpProposer};
use crate::spec::Proposer;
use crate::spec::driver::{Drafting, Driver};
use crate::spec::generation::{GenerateParams, GenerateSummary, StepEvent};
use crate::spec::ngram::NgramProposer;
use crate::tokenizer::Tokenizer;
use info::Inventory;

/// A drafter for the CPU target.
type CpuProposer = Box<dyn Proposer<CpuTarget> + Send>;

/// A loaded model, ready to generate.
pub struct Engine {
    target: CpuTarget,
    proposer: Option<CpuProposer>,
    speculation: Speculation,
    tokenizer: Arc<Tokenizer>,
    /// Absent where the file has none: raw text still works.
    chat: Option<Arc<ChatTemplate>>,
    info: EngineInfo,
}

impl Engine {
    /// Loads the target, and the assistant where the way of speculating needs it.
    ///
    /// # Errors
    /// [`EngineError::MissingAssistant`] for MTP without an assistant file; what is wrong with a file or does not fit
    /// into memory; [`EngineError::InvalidArgument`] for sizes that make no sense.
    pub fn load(config: &EngineConfig) -> Result<Self, EngineError> {
        let speculation = config.speculation.clone();
        let rows = speculation.draft_max() + 1;
        if rows > config.context_tokens {
            return Err(EngineError::InvalidArgument {
                what: "draft_max",
                got: speculation.draft_max().to_string(),
                expected: format!("less than the context of {} tokens", config.context_tokens),
            });
        }
        let gguf = Arc::new(Gguf::open(&config.target)?);
        let options = LoadOptions {
            context_tokens: config.context_tokens,
            kv_type: config.kv_type,
            threads: config.threads.get(),
            max_verify_rows: rows,
        };
        let in_target = |error: EngineError| error.in_file(&config.target);
        // The model first: a file of another architecture is called that, not one with a strange tokenizer.
        let target = CpuTarget::load(Arc::clone(&gguf), &options).map_err(in_target)?;
        let tokenizer = Arc::new(Tokenizer::from_gguf(&gguf).map_err(in_target)?);
        let chat = ChatTemplate::from_gguf(&gguf).map_err(in_target)?.map(Arc::new);
        let assistant = load_assistant(config, &target)?;
        let info = describe(config, &gguf, &target, assistant.as_ref())?;
        let proposer = make_proposer(&speculation, assistant.map(|(assistant, _)| assistant))?;
        Ok(Self { target, proposer, speculation, tokenizer, chat, info })
    }

    /// What is really in force.
    #[must_use]
    pub fn describe(&self) -> &EngineInfo {
        &self.info
    }

    /// The target's tokenizer; shared, since text is made from tokens elsewhere.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The file's chat template, if it has one; shared, since prompts are made elsewhere while the engine generates.
    #[must_use]
    pub fn chat_template(&self) -> Option<&Arc<ChatTemplate>> {
        self.chat.as_ref()
    }

    /// Ids of a raw text to be continued, BOS in front. Special tokens written out in it become themselves, as in
    /// llama.cpp's `/completion`.
    #[must_use]
    pub fn encode_prompt(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, true, true)
    }

    /// Ids of a chat by the model's own template, thinking off.
    ///
    /// # Errors
    /// [`EngineError::ChatTemplate`] if the file has no template, or the template refuses.
    pub fn encode_chat(&self, system: Option<&str>, user: &str) -> Result<Vec<u32>, EngineError> {
        let Some(chat) = &self.chat else {
            return Err(EngineError::ChatTemplate { detail: "the model file has none".to_owned() });
        };
        let system = system.map(|text| ChatMessage::new("system", text));
        let messages: Vec<_> = system.into_iter().chain([ChatMessage::new("user", user)]).collect();
        chat.encode(&self.tokenizer, &messages, false)
    }

    /// Generates after `prompt` from empty caches. `on_step` gets every round's tokens as soon as they are known and
    /// may end the generation.
    ///
    /// # Errors
    /// As [`Driver::generate`].
    pub fn generate(
        &mut self,
        prompt: &[u32],
        params: &GenerateParams,
        on_step: &mut dyn FnMut(&StepEvent<'_>) -> ControlFlow<()>,
    ) -> Result<GenerateSummary, EngineError> {
        let Self { target, proposer, speculation, tokenizer, .. } = self;
        let drafting = proposer.as_mut().map(|proposer| Drafting {
            proposer: &mut **proposer,
            draft_max: speculation.draft_max(),
            acceptance: speculation.acceptance(),
        });
        Driver { target, drafting, eog: tokenizer.eog() }.generate(prompt, params, on_step)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("info", &self.info).finish_non_exhaustive()
    }
}

/// The assistant, only where it will draft.
fn load_assistant(
    config: &EngineConfig,
    target: &CpuTarget,
) -> Result<Option<(Assistant, Inventory)>, EngineError> {
    let Speculation::Mtp { draft_head, .. } = config.speculation else { return Ok(None) };
    let Some(path) = config.assistant.as_deref() else {
        return Err(EngineError::MissingAssistant { target: config.target.clone() });
    };
    let gguf = Arc::new(Gguf::open(path)?);
    let inventory = Inventory::of(&gguf);
    let assistant = Assistant::load(&gguf, target, draft_head).map_err(|error| error.in_file(path))?;
    Ok(Some((assistant, inventory)))
}

fn make_proposer(
    speculation: &Speculation,
    assistant: Option<Assistant>,
) -> Result<Option<CpuProposer>, EngineError> {
    Ok(match speculation {
        Speculation::None => None,
        Speculation::Mtp { .. } => assistant
            .map(|assistant| -> CpuProposer { Box::new(MtpProposer::new(assistant, DraftPosition::AtN)) }),
        Speculation::Ngram { ngram_min, ngram_max, .. } => {
            Some(Box::new(NgramProposer::new(*ngram_min, *ngram_max)?))
        }
    })
}

fn describe(
    config: &EngineConfig,
    gguf: &Gguf,
    target: &CpuTarget,
    assistant: Option<&(Assistant, Inventory)>,
) -> Result<EngineInfo, EngineError> {
    let inventory = Inventory::of(gguf);
    Ok(EngineInfo {
        architecture: gguf.architecture()?.to_owned(),
        model_name: gguf.opt_str("general.name")?.map(str::to_owned),
        layers: target.config().decoder.layers.len(),
        parameters: inventory.parameters,
        weight_types: inventory.types,
        weight_bytes: inventory.bytes,
        assistant_weight_bytes: assistant.map(|(_, inventory)| inventory.bytes),
        kv_type: config.kv_type,
        threads: config.threads.get(),
        context_tokens: config.context_tokens,
        speculation: config.speculation.to_string(),
        draft_head: assistant.map(|(assistant, _)| assistant.draft_head()),
        kernels: Isa::detect().name(),
    })
}
