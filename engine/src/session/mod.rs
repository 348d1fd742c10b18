//! The engine as a caller sees it: a loaded target and a way of speculating. Token ids in, token ids out.
//! The caller may also bring text: the engine holds the file's tokenizer and chat template.
//! One sequence at a time; every generation starts from empty caches, so that equal requests give equal tokens and
//! equal counts. Starts no thread of its own besides the backend's workers and does not know what its timings are used
//! for.

mod backend;
mod config;
mod gpus;
mod info;
pub mod kv_quality;

use std::ops::ControlFlow;
use std::sync::Arc;

pub use config::{DeviceChoice, EngineConfig, Speculation};
pub use gpus::{GpuInfo, GpuState, gpu_state};
pub use info::EngineInfo;

use crate::EngineError;
use crate::chat::{ChatMessage, ChatTemplate};
use crate::gguf::Gguf;
use crate::spec::divergence::NextToken;
use crate::spec::generation::{GenerateParams, GenerateSummary, SpecTotals, StepEvent};
use crate::tokenizer::Tokenizer;
use backend::{Backend, Running};
use info::Inventory;

/// A loaded model, ready to generate.
pub struct Engine {
    backend: Backend,
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
        Self::load_with(config, &mut |_| ())
    }

    /// [`Self::load`], telling the bytes of weights that are on the device by now; on the CPU, where weights stay in the
    /// file, nothing is told.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(config: &EngineConfig, progress: &mut dyn FnMut(usize)) -> Result<Self, EngineError> {
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
        let in_target = |error: EngineError| error.in_file(&config.target);
        // The model first: a file of another architecture is called that, not one with a strange tokenizer.
        let backend = Backend::load(config, &gguf, progress)?;
        let tokenizer = Arc::new(Tokenizer::from_gguf(&gguf).map_err(in_target)?);
        let chat = ChatTemplate::from_gguf(&gguf).map_err(in_target)?.map(Arc::new);
        let info = describe(config, &gguf, backend.describe())?;
        Ok(Self { backend, speculation, tokenizer, chat, info })
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
        let system = system.map(|text| ChatMessage::new("system", text));
        let messages: Vec<_> = system.into_iter().chain([ChatMessage::new("user", user)]).collect();
        self.encode_messages(&messages)
    }

    /// The same of any messages: a conversation with the answers that were given.
    ///
    /// # Errors
    /// As [`Self::encode_chat`].
    pub fn encode_messages(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, EngineError> {
        let Some(chat) = &self.chat else {
            return Err(EngineError::ChatTemplate { detail: "the model file has none".to_owned() });
        };
        chat.encode(&self.tokenizer, messages, false)
    }

    /// Generates after `prompt` from empty caches. `on_step` gets every round's tokens as soon as they are known and
    /// may end the generation.
    ///
    /// # Errors
    /// As [`crate::spec::driver::Driver::generate`].
    pub fn generate(
        &mut self,
        prompt: &[u32],
        params: &GenerateParams,
        on_step: &mut dyn FnMut(&StepEvent<'_>) -> ControlFlow<()>,
    ) -> Result<GenerateSummary, EngineError> {
        let Self { backend, speculation, tokenizer, .. } = self;
        backend.generate(speculation, tokenizer.eog(), prompt, params, on_step)
    }

    /// Counts what the engine's way of speculating has accepted, greedily, along `text` of at most `wanted` tokens, see
    /// [`crate::spec::follow::follow`]; `None` for plain decoding.
    ///
    /// # Errors
    /// As there.
    pub fn follow(
        &mut self,
        prompt: &[u32],
        text: &[u32],
        wanted: usize,
    ) -> Result<Option<SpecTotals>, EngineError> {
        self.backend.follow(&self.speculation, prompt, (text, wanted))
    }

    /// Shows the target's logits position by position, see [`crate::spec::divergence::walk`]: nothing is drafted.
    ///
    /// # Errors
    /// As there.
    pub fn walk(&mut self, prompt: &[u32], next: &mut NextToken<'_>) -> Result<(), EngineError> {
        self.backend.walk(prompt, next)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("info", &self.info).finish_non_exhaustive()
    }
}

fn describe(config: &EngineConfig, gguf: &Gguf, running: Running) -> Result<EngineInfo, EngineError> {
    let inventory = Inventory::of(gguf);
    Ok(EngineInfo {
        architecture: gguf.architecture()?.to_owned(),
        model_name: gguf.opt_str("general.name")?.map(str::to_owned),
        layers: running.layers,
        parameters: inventory.parameters,
        weight_types: inventory.types,
        weight_bytes: inventory.bytes,
        assistant_weight_bytes: running.assistant_weight_bytes,
        kv_type: config.kv_type,
        threads: config.threads.get(),
        context_tokens: config.context_tokens,
        speculation: config.speculation.to_string(),
        draft_head: running.draft_head,
        kernels: running.kernels,
        device: running.device,
        step_bytes: running.step_bytes,
        attention_routes: running.attention_routes,
        ple_table: running.ple_table,
    })
}
