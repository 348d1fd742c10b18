//! What handlers know of the loaded model while its engine works: text to ids and back, and what it is.

use std::sync::Arc;

use bench_engine::chat::ChatTemplate;
use bench_engine::tokenizer::{TextDecoder, Tokenizer};
use bench_engine::{Engine, EngineInfo};

use super::ask::Prompt;
use super::error::ApiError;

/// The engine's shared parts.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) tokenizer: Arc<Tokenizer>,
    chat: Option<Arc<ChatTemplate>>,
    pub(super) info: EngineInfo,
    /// The name that requests call it by.
    pub(super) alias: String,
}

impl Model {
    pub(super) fn new(engine: &Engine, alias: &str) -> Self {
        Self {
            tokenizer: Arc::clone(engine.tokenizer()),
            chat: engine.chat_template().cloned(),
            info: engine.describe().clone(),
            alias: alias.to_owned(),
        }
    }

    /// Ids of a prompt, all of them in the vocabulary.
    pub(super) fn encode(&self, prompt: Prompt) -> Result<Vec<u32>, ApiError> {
        match prompt {
            Prompt::Text(text) => Ok(self.tokenizer.encode(&text, true, true)),
            Prompt::Ids(ids) => self.known(ids, "prompt"),
            Prompt::Chat { messages, thinking } => {
                let no_template = || {
                    ApiError::bad_request("the model file has no chat template; `/v1/completions` needs none")
                };
                let chat = self.chat.as_ref().ok_or_else(no_template)?;
                let ids = chat.encode(&self.tokenizer, &messages, thinking);
                ids.map_err(|error| ApiError::bad_request(error.to_string()))
            }
        }
    }

    /// The same ids, if the vocabulary has them all.
    pub(super) fn known(&self, ids: Vec<u32>, field: &str) -> Result<Vec<u32>, ApiError> {
        let size = self.tokenizer.vocab_size();
        match ids.iter().find(|&&id| id as usize >= size) {
            Some(&id) => Err(ApiError::bad_field(
                field,
                &id.into(),
                &format!("ids below {size}, the vocabulary's size"),
            )),
            None => Ok(ids),
        }
    }

    /// The text of some ids.
    pub(super) fn decode(&self, ids: &[u32]) -> String {
        let mut decoder = TextDecoder::new();
        let mut text: String = ids.iter().map(|&id| decoder.push(&self.tokenizer, id)).collect();
        text.push_str(&decoder.finish());
        text
    }

    /// Output tokens of a request: what it asks for, or what fits. The last token is emitted and needs no room.
    pub(super) fn output_room(&self, prompt_tokens: usize, asked: Option<usize>) -> Result<usize, ApiError> {
        let context = self.info.context_tokens;
        let room = (context + 1).checked_sub(prompt_tokens).filter(|&room| room > 0);
        let room = room.ok_or_else(|| ApiError::prompt_too_long(prompt_tokens, context))?;
        match asked {
            Some(asked) if asked > room => {
                let fits =
                    format!("at most {room}: the prompt has {prompt_tokens} tokens, the context {context}");
                Err(ApiError::bad_field("max_tokens", &asked.into(), &fits))
            }
            asked => Ok(asked.unwrap_or(room)),
        }
    }
}
