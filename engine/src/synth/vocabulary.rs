//! A made-up vocabulary for the `gemma4` tokenizer: control tokens, bytes, printable ASCII, letter pairs, words.

use crate::gguf::{Array, GgufWriter, Value, Width};

/// Tokens that encode and decode any text.
#[derive(Debug)]
pub(super) struct Vocabulary {
    tokens: Vec<String>,
    kinds: Vec<i64>,
    merges: Vec<String>,
}

/// `llama_token_type` of llama.cpp.
mod kind {
    pub(super) const NORMAL: i64 = 1;
    pub(super) const UNKNOWN: i64 = 2;
    pub(super) const CONTROL: i64 = 3;
    pub(super) const BYTE: i64 = 6;
}

const CONTROL: [&str; 7] = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<turn|>"];
const SPACE: &str = "\u{2581}";

/// Fewest tokens: control, bytes, and printable ASCII.
pub(super) const SMALLEST: usize = CONTROL.len() + 256 + 96;

/// Gemma's turn format, without tools, thinking and images.
const CHAT_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}\
{{ '<|turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' }}\
{{ message['content'] | trim }}{{ '<turn|>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|turn>model\\n' }}{% endif %}";

impl Vocabulary {
    /// `size` tokens, at least [`SMALLEST`].
    pub(super) fn new(size: usize) -> Self {
        let mut all =
            Self { tokens: Vec::with_capacity(size), kinds: Vec::with_capacity(size), merges: Vec::new() };
        for token in CONTROL {
            all.add(token.to_owned(), if token == "<unk>" { kind::UNKNOWN } else { kind::CONTROL });
        }
        (0..=255_u8).for_each(|byte| all.add(format!("<0x{byte:02X}>"), kind::BYTE));
        all.add("\n".to_owned(), kind::NORMAL);
        all.add(SPACE.to_owned(), kind::NORMAL);
        ('!'..='~').for_each(|letter| all.add(letter.to_string(), kind::NORMAL));
        all.pairs(size, "");
        all.pairs(size, SPACE);
        for index in 0..size.saturating_sub(all.tokens.len()) {
            all.add(format!("{SPACE}wd{index}"), kind::NORMAL);
        }
        all
    }

    /// `ab` and, with a space in front, word starts made of those pairs.
    fn pairs(&mut self, size: usize, front: &str) {
        for a in 'a'..='z' {
            for b in 'a'..='z' {
                if self.tokens.len() >= size {
                    return;
                }
                self.add(format!("{front}{a}{b}"), kind::NORMAL);
                let (left, right) = if front.is_empty() {
                    (a.to_string(), b.to_string())
                } else {
                    (front.to_owned(), format!("{a}{b}"))
                };
                self.merges.push(format!("{left} {right}"));
            }
        }
    }

    fn add(&mut self, token: String, kind: i64) {
        self.tokens.push(token);
        self.kinds.push(kind);
    }

    /// Ids of ordinary tokens, the line feed left out: the ones a planted rule walks over.
    pub(super) fn ordinary(&self) -> Vec<usize> {
        let is_ordinary = |id: &usize| self.kinds[*id] == kind::NORMAL && self.tokens[*id] != "\n";
        (0..self.tokens.len()).filter(is_ordinary).collect()
    }

    /// Adds the tokenizer's metadata.
    pub(super) fn write(self, header: &mut GgufWriter) {
        let mut set = |key: &str, value| header.set(&format!("tokenizer.ggml.{key}"), value);
        set("model", Value::str("gemma4"));
        set("scores", Value::Array(Array::F32(vec![0.0; self.tokens.len()])));
        set("token_type", Value::Array(Array::Signed(self.kinds, Width::W32)));
        set("tokens", Value::Array(Array::Str(self.tokens)));
        set("merges", Value::Array(Array::Str(self.merges)));
        for (key, id) in [("padding", 0), ("eos", 1), ("bos", 2), ("unknown", 3), ("mask", 4), ("eot", 6)] {
            set(&format!("{key}_token_id"), Value::u32(id));
        }
        set("add_bos_token", Value::Bool(true));
        set("add_space_prefix", Value::Bool(false));
        header.set("tokenizer.chat_template", Value::str(CHAT_TEMPLATE));
    }
}
