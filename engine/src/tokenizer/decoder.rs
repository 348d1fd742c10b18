//! Text from tokens, as they come.

use super::{TokenKind, Tokenizer};

/// How vocabularies write a space.
pub(super) const SPACE: &str = "\u{2581}";

/// Turns a stream of tokens into text. Holds back bytes until they are whole characters; control tokens are
/// invisible, user-defined ones are not. However the stream is cut, the pieces join to the same text.
#[derive(Debug, Clone, Default)]
pub struct TextDecoder {
    /// Bytes of a character that is not whole yet.
    pending: Vec<u8>,
}

impl TextDecoder {
    /// A decoder at the start of a text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The text that is complete once `id` has come; often a word, sometimes nothing. An id outside the vocabulary
    /// has no text.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        let (Some(kind), Some(token)) = (tokenizer.kind(id), tokenizer.token_text(id)) else {
            return String::new();
        };
        match kind {
            TokenKind::Control | TokenKind::Unknown | TokenKind::Unused => String::new(),
            TokenKind::Byte => match byte_of(token) {
                Some(byte) => {
                    self.pending.push(byte);
                    self.take_whole()
                }
                None => String::new(),
            },
            TokenKind::Normal | TokenKind::UserDefined => {
                let mut text = self.finish();
                text.push_str(&token.replace(SPACE, " "));
                text
            }
        }
    }

    /// What is left at the end of the stream: bytes that never became a character, as U+FFFD.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }

    /// Whole characters at the front of the pending bytes; bytes that can never become one, as U+FFFD.
    fn take_whole(&mut self) -> String {
        let whole = match std::str::from_utf8(&self.pending) {
            Ok(_) => self.pending.len(),
            // `None`: the end is missing and may still come.
            Err(error) => match error.error_len() {
                None => error.valid_up_to(),
                Some(bad) => error.valid_up_to() + bad,
            },
        };
        let rest = self.pending.split_off(whole);
        let mut text = self.finish();
        self.pending = rest;
        if !self.pending.is_empty() && whole > 0 {
            text.push_str(&self.take_whole());
        }
        text
    }
}

/// The byte that `<0xXX>` stands for.
fn byte_of(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(hex, 16).ok()
}
