//! The `gemma4` tokenizer of a GGUF file: byte-pair encoding over raw UTF-8, with U+2581 for spaces.
//!
//! Encoding: special tokens are split out first (longest match); the rest is cut into runs of line feeds and runs of
//! anything else; a run of line feeds that is a token is taken whole; every other run is merged by rank; what is no
//! token then becomes its bytes. Decoding is [`TextDecoder`]'s.
//!
//! Follows llama.cpp's `LLAMA_VOCAB_PRE_TYPE_GEMMA4`. Invariant: decoding the encoding of a text without special
//! tokens gives that text.

mod bpe;
mod decoder;

use std::collections::HashMap;

use crate::EngineError;
use crate::gguf::{Gguf, GgufError};

pub use decoder::TextDecoder;

/// The tokenizer of one file.
#[derive(Debug)]
pub struct Tokenizer {
    tokens: Vec<String>,
    kinds: Vec<TokenKind>,
    ids: HashMap<String, u32>,
    merges: bpe::Merges,
    /// `bytes[b]`: the token of a single byte.
    bytes: Vec<Option<u32>>,
    /// Special tokens by the first byte of their text, longest first.
    special: HashMap<u8, Vec<u32>>,
    bos: Option<u32>,
    /// Sorted.
    eog: Vec<u32>,
}

/// `llama_token_type` of llama.cpp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// Tokens that end a generation by their text, whatever the metadata says (llama.cpp's list, as far as Gemma has them).
const EOG_TEXTS: [&str; 3] = ["<eos>", "<turn|>", "<|tool_response>"];

impl Tokenizer {
    /// Reads a file's tokenizer.
    ///
    /// # Errors
    /// Another tokenizer model, missing metadata, arrays that do not fit together, ids outside the vocabulary.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, EngineError> {
        const MODEL: &str = "tokenizer.ggml.model";
        let model = gguf.str(MODEL)?;
        if model != "gemma4" {
            return Err(wrong(MODEL, model, "`gemma4`, the only tokenizer this engine has"));
        }
        let tokens = gguf.str_array("tokenizer.ggml.tokens")?.to_vec();
        let kinds = kinds(gguf, tokens.len())?;
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in (0_u32..).zip(&tokens) {
            // Of tokens with equal text the first one counts, as in llama.cpp.
            ids.entry(token.clone()).or_insert(id);
        }
        let merges = bpe::Merges::new(gguf.str_array("tokenizer.ggml.merges")?)?;
        let bos = special_id(gguf, "bos", tokens.len())?;
        let mut eog: Vec<u32> = EOG_TEXTS.iter().filter_map(|text| ids.get(*text).copied()).collect();
        eog.extend(special_id(gguf, "eos", tokens.len())?);
        eog.extend(special_id(gguf, "eot", tokens.len())?);
        eog.sort_unstable();
        eog.dedup();
        let mut all =
            Self { bytes: Vec::new(), special: HashMap::new(), tokens, kinds, ids, merges, bos, eog };
        all.bytes = (0..=255_u8).map(|byte| all.ids.get(&format!("<0x{byte:02X}>")).copied()).collect();
        all.special = all.special_tokens();
        Ok(all)
    }

    fn special_tokens(&self) -> HashMap<u8, Vec<u32>> {
        let is_special = |kind: TokenKind| {
            matches!(kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown)
        };
        let mut special: HashMap<u8, Vec<u32>> = HashMap::new();
        for (id, (text, &kind)) in (0_u32..).zip(self.tokens.iter().zip(&self.kinds)) {
            if let Some(&first) = text.as_bytes().first().filter(|_| is_special(kind)) {
                special.entry(first).or_default().push(id);
            }
        }
        for ids in special.values_mut() {
            ids.sort_by_key(|&id| (std::cmp::Reverse(self.tokens[id as usize].len()), id));
        }
        special
    }

    /// Ids run from 0 to this, exclusive.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// The token every sequence begins with.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// End-of-generation tokens, ascending.
    #[must_use]
    pub fn eog(&self) -> &[u32] {
        &self.eog
    }

    /// Whether a token ends a generation.
    #[must_use]
    pub fn is_eog(&self, id: u32) -> bool {
        self.eog.binary_search(&id).is_ok()
    }

    /// The token of exactly this text.
    #[must_use]
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// A token's text as the vocabulary has it (U+2581 for spaces).
    #[must_use]
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }

    /// Ids of a text. With `parse_special`, special tokens written out in it (`<|turn>`) become themselves; user-defined
    /// ones always do. With `add_bos` the result begins with BOS, once.
    #[must_use]
    pub fn encode(&self, text: &str, parse_special: bool, add_bos: bool) -> Vec<u32> {
        let mut ids: Vec<u32> = self.bos.filter(|_| add_bos).into_iter().collect();
        let mut rest = text;
        let mut plain = 0;
        while plain < rest.len() {
            match self.special_at(&rest[plain..], parse_special) {
                Some(id) => {
                    self.encode_plain(&rest[..plain], &mut ids);
                    rest = &rest[plain + self.tokens[id as usize].len()..];
                    plain = 0;
                    if !(ids.len() == 1 && self.bos == Some(id) && ids.first() == Some(&id)) {
                        ids.push(id);
                    }
                }
                None => plain += rest[plain..].chars().next().map_or(1, char::len_utf8),
            }
        }
        self.encode_plain(rest, &mut ids);
        ids
    }

    /// The longest special token that `text` begins with.
    fn special_at(&self, text: &str, parse_special: bool) -> Option<u32> {
        let wanted = |id: u32| parse_special || self.kinds[id as usize] == TokenKind::UserDefined;
        let candidates = self.special.get(text.as_bytes().first()?)?;
        candidates.iter().copied().find(|&id| text.starts_with(&self.tokens[id as usize]) && wanted(id))
    }

    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) {
        for run in text.split_inclusive_runs() {
            let run = run.replace(' ', decoder::SPACE);
            match self.ids.get(&run) {
                Some(&id) if run.starts_with('\n') => ids.push(id),
                _ => self.merges.encode(&run, |symbol| self.push_symbol(symbol, ids)),
            }
        }
    }

    /// A merged symbol: its token, or its bytes.
    fn push_symbol(&self, symbol: &str, ids: &mut Vec<u32>) {
        match self.ids.get(symbol) {
            Some(&id) => ids.push(id),
            None => ids.extend(symbol.bytes().filter_map(|byte| self.bytes[usize::from(byte)])),
        }
    }

    fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }
}

/// Cuts a text into runs of line feeds and runs of anything else.
trait Runs {
    fn split_inclusive_runs(&self) -> impl Iterator<Item = &str>;
}

impl Runs for str {
    fn split_inclusive_runs(&self) -> impl Iterator<Item = &Self> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let first = rest.chars().next()?;
            let end = rest.find(|c| (c == '\n') != (first == '\n')).unwrap_or(rest.len());
            let (run, tail) = rest.split_at(end);
            rest = tail;
            Some(run)
        })
    }
}

fn wrong(key: &str, got: impl std::fmt::Display, expected: impl Into<String>) -> EngineError {
    GgufError::WrongValue { key: key.to_owned(), got: got.to_string(), expected: expected.into() }.into()
}

fn kinds(gguf: &Gguf, vocab: usize) -> Result<Vec<TokenKind>, EngineError> {
    const KEY: &str = "tokenizer.ggml.token_type";
    let Some(numbers) = gguf.opt_i64_array(KEY)? else { return Ok(vec![TokenKind::Normal; vocab]) };
    if numbers.len() != vocab {
        return Err(wrong(KEY, format!("{} long", numbers.len()), format!("{vocab}, one for each token")));
    }
    let kind = |&number: &i64| match number {
        1 => Ok(TokenKind::Normal),
        2 => Ok(TokenKind::Unknown),
        3 => Ok(TokenKind::Control),
        4 => Ok(TokenKind::UserDefined),
        5 => Ok(TokenKind::Unused),
        6 => Ok(TokenKind::Byte),
        other => Err(wrong(KEY, other, "kinds from 1 to 6")),
    };
    numbers.iter().map(kind).collect()
}

/// `tokenizer.ggml.NAME_token_id`, checked against the vocabulary.
fn special_id(gguf: &Gguf, name: &str, vocab: usize) -> Result<Option<u32>, EngineError> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match gguf.opt_u32(&key)? {
        Some(id) if id as usize >= vocab => {
            Err(wrong(&key, id, format!("below {vocab}, the vocabulary's size")))
        }
        id => Ok(id),
    }
}

#[cfg(test)]
mod tests;
