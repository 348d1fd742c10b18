//! A made-up vocabulary for the `gemma4` tokenizer: special tokens, bytes, ASCII, letter pairs, invented words.

use std::collections::HashSet;

use crate::gguf::{Array, GgufWriter, Value, Width};

/// Special tokens in id order; the first five are where Gemma 4 has them.
const SPECIAL: [&str; 11] = [
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<|turn>",
    "<turn|>",
    "<|think|>",
    "<|channel>",
    "<channel|>",
    "<|tool_response>",
];

/// What fits at least: special tokens, bytes, newline, space, printable ASCII and some merges.
pub(super) const MIN_VOCAB: usize = 384;

const CHAT_TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}<|turn>{{ 'model' if m['role'] == 'assistant' \
     else m['role'] }}\n{{ m['content'] | trim }}<turn|>\n{% endfor %}{% if add_generation_prompt %}<|turn>model\n\
     {% if not enable_thinking %}<|channel>thought\n<channel|>{% endif %}{% endif %}";

/// Token types of the format.
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const BYTE: i64 = 6;

/// Tokens, their types, and the merges.
#[derive(Debug, Clone)]
pub(super) struct Vocab {
    tokens: Vec<String>,
    types: Vec<i64>,
    merges: Vec<String>,
}

impl Vocab {
    /// `size` tokens, at least [`MIN_VOCAB`].
    pub(super) fn new(size: usize) -> Self {
        let mut vocab = Self { tokens: Vec::with_capacity(size), types: Vec::new(), merges: Vec::new() };
        for token in SPECIAL {
            vocab.add(token.to_owned(), if token == "<unk>" { UNKNOWN } else { CONTROL });
        }
        (0..256).for_each(|byte| vocab.add(format!("<0x{byte:02X}>"), BYTE));
        vocab.add("\n".to_owned(), NORMAL);
        vocab.add("\u{2581}".to_owned(), NORMAL);
        ('!'..='~').for_each(|c| vocab.add(c.to_string(), NORMAL));
        vocab.add_pairs(size);
        let mut word = 0;
        while vocab.tokens.len() < size {
            vocab.add(format!("\u{2581}wd{word}"), NORMAL);
            word += 1;
        }
        vocab
    }

    /// Letter pairs, then pairs that start a word, as far as there is room.
    fn add_pairs(&mut self, size: usize) {
        let pairs: Vec<String> =
            ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| format!("{a}{b}"))).collect();
        let room = |vocab: &Self| size.saturating_sub(vocab.tokens.len());
        for pair in pairs.iter().take(room(self)) {
            self.merges.push(format!("{} {}", &pair[..1], &pair[1..]));
            self.add(pair.clone(), NORMAL);
        }
        for pair in pairs.iter().take(room(self)) {
            self.merges.push(format!("\u{2581} {pair}"));
            self.add(format!("\u{2581}{pair}"), NORMAL);
        }
    }

    fn add(&mut self, token: String, kind: i64) {
        self.tokens.push(token);
        self.types.push(kind);
    }

    /// Ids of the tokens that text is made of: neither special nor bytes nor the newline.
    pub(super) fn words(&self) -> Vec<usize> {
        let is_word = |&id: &usize| self.types[id] == NORMAL && self.tokens[id] != "\n";
        (0..self.tokens.len()).filter(is_word).collect()
    }

    /// Adds the tokenizer's metadata.
    pub(super) fn describe(self, writer: &mut GgufWriter) {
        debug_assert_eq!(self.tokens.iter().collect::<HashSet<_>>().len(), self.tokens.len());
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        writer.set(&key("model"), Value::str("gemma4"));
        writer.set(&key("scores"), Value::Array(Array::F32(vec![0.0; self.tokens.len()])));
        writer.set(&key("tokens"), Value::Array(Array::Str(self.tokens)));
        writer.set(&key("token_type"), Value::Array(Array::Signed(self.types, Width::W32)));
        writer.set(&key("merges"), Value::Array(Array::Str(self.merges)));
        let ids = [("padding", 0), ("eos", 1), ("bos", 2), ("unknown", 3), ("mask", 4), ("eot", 6)];
        for (name, id) in ids {
            writer.set(&key(&format!("{name}_token_id")), Value::u32(id));
        }
        writer.set(&key("add_space_prefix"), Value::Bool(false));
        writer.set(&key("add_bos_token"), Value::Bool(true));
        writer.set("tokenizer.chat_template", Value::str(CHAT_TEMPLATE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_and_tokens_unique() {
        for size in [MIN_VOCAB, 400, 2048, 4096] {
            let vocab = Vocab::new(size);
            assert_eq!((vocab.tokens.len(), vocab.types.len()), (size, size));
            assert_eq!(vocab.tokens.iter().collect::<HashSet<_>>().len(), size);
            assert!(!vocab.merges.is_empty());
        }
    }

    #[test]
    fn every_merge_makes_a_token() {
        let vocab = Vocab::new(1500);
        let tokens: HashSet<&String> = vocab.tokens.iter().collect();
        for merge in &vocab.merges {
            assert!(tokens.contains(&merge.replacen(' ', "", 1)), "{merge}");
        }
    }
}
