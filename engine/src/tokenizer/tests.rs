use proptest::prelude::*;

use super::*;
use crate::gguf::{Array, GgufWriter, Value, Width};

/// A vocabulary with bytes, letters, a few merges, special and user-defined tokens.
fn gguf_with(change: impl FnOnce(&mut Vec<(&'static str, Value)>)) -> Gguf {
    let mut tokens: Vec<(String, i64)> =
        ["<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>"].map(|t| (t.to_owned(), 3)).to_vec();
    tokens.push(("<|channel>".to_owned(), 4));
    tokens.extend((0..=255_u8).map(|b| (format!("<0x{b:02X}>"), 6)));
    let plain = ["\n", "\n\n", SPACE_TOKEN, "a", "b", "c", "ab", "abc", "▁a", "bc", "▁ab", "é", "<", "▁▁"];
    tokens.extend(plain.map(|t| (t.to_owned(), 1)));
    let merges = ["b c", "a b", "ab c", "▁ a", "▁a b", "▁ ▁", "\n \n"];
    let strings = |texts: Vec<String>| Value::Array(Array::Str(texts));
    let mut values = vec![
        ("tokenizer.ggml.model", Value::str("gemma4")),
        (
            "tokenizer.ggml.token_type",
            Value::Array(Array::Signed(tokens.iter().map(|t| t.1).collect(), Width::W32)),
        ),
        ("tokenizer.ggml.tokens", strings(tokens.into_iter().map(|t| t.0).collect())),
        ("tokenizer.ggml.merges", strings(merges.map(str::to_owned).to_vec())),
        ("tokenizer.ggml.bos_token_id", Value::u32(2)),
        ("tokenizer.ggml.eos_token_id", Value::u32(1)),
    ];
    change(&mut values);
    let mut writer = GgufWriter::new();
    values.into_iter().for_each(|(key, value)| writer.set(key, value));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.gguf");
    writer.begin(&path).unwrap().finish().unwrap();
    Gguf::parse(std::fs::read(path).unwrap()).unwrap()
}

const SPACE_TOKEN: &str = "▁";

fn tokenizer() -> Tokenizer {
    Tokenizer::from_gguf(&gguf_with(|_| ())).unwrap()
}

fn texts(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.token_text(id).unwrap().to_owned()).collect()
}

fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut decoder = TextDecoder::new();
    let mut text: String = ids.iter().map(|&id| decoder.push(tokenizer, id)).collect();
    text.push_str(&decoder.finish());
    text
}

#[test]
fn merges_follow_rank_not_position() {
    let t = tokenizer();
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(texts(&t, &t.encode(text, false, false)), expected, "{text:?}");
    };
    // `b c` has the lowest rank, so `abc` becomes a + bc, although `ab c` exists.
    check("abc", &["a", "bc"]);
    check("ab", &["ab"]);
    check(" ab", &["▁", "ab"]);
    check("a  b", &["a", "▁▁", "b"]);
    check("aa\n\nb", &["a", "a", "\n\n", "b"]);
    check("\n\n\n", &["\n\n", "\n"]);
    check("é", &["é"]);
    check("ü", &["<0xC3>", "<0xBC>"]);
    check("", &[]);
}

#[test]
fn special_tokens_are_split_out_when_asked_for() {
    let t = tokenizer();
    let text = "a<|turn>b<|channel>";
    assert_eq!(texts(&t, &t.encode(text, true, true)), ["<bos>", "a", "<|turn>", "b", "<|channel>"]);
    let without = texts(&t, &t.encode(text, false, false));
    assert!(!without.contains(&"<|turn>".to_owned()) && without.contains(&"<|channel>".to_owned()));
    assert_eq!(decode(&t, &t.encode(text, false, false)), text);
    assert_eq!(decode(&t, &t.encode(text, true, true)), "ab<|channel>", "control tokens are invisible");
}

#[test]
fn bos_is_not_doubled() {
    let t = tokenizer();
    assert_eq!(t.encode("<bos>a", true, true), t.encode("a", true, true));
    assert_eq!(t.encode("a<bos>", true, true).iter().filter(|&&id| Some(id) == t.bos()).count(), 2);
}

#[test]
fn ends_of_generation_come_from_metadata_and_text() {
    let t = tokenizer();
    assert_eq!(texts(&t, t.eog()), ["<eos>", "<turn|>"]);
    assert!(t.is_eog(1) && !t.is_eog(2));
}

#[test]
fn bytes_that_are_no_character_are_replaced_once_that_is_certain() {
    let t = tokenizer();
    let byte = |b: u8| t.bytes[usize::from(b)].unwrap();
    let mut decoder = TextDecoder::new();
    assert_eq!(decoder.push(&t, byte(0xC3)), "");
    assert_eq!(decoder.push(&t, byte(0xBC)), "ü");
    assert_eq!(decoder.push(&t, byte(0xC3)), "");
    assert_eq!(decoder.push(&t, byte(b'x')), "\u{FFFD}x");
    assert_eq!(decoder.push(&t, byte(0xF0)), "");
    assert_eq!(decoder.finish(), "\u{FFFD}");
    assert_eq!(decoder.push(&t, 9999), "");
}

#[test]
fn hostile_metadata_is_named() {
    let error = |change: fn(&mut Vec<(&'static str, Value)>)| {
        Tokenizer::from_gguf(&gguf_with(change)).unwrap_err().to_string()
    };
    let message = error(|values| values[0].1 = Value::str("llama"));
    assert!(
        message.contains("tokenizer.ggml.model") && message.contains("llama") && message.contains("gemma4")
    );
    assert!(
        error(|values| values[1].1 = Value::Array(Array::Signed(vec![1], Width::W32))).contains("1 long")
    );
    assert!(
        error(|values| values[1].1 = Value::Array(Array::Signed(vec![9; 277], Width::W32))).contains("kinds")
    );
    assert!(
        error(|values| values[3].1 = Value::Array(Array::Str(vec!["ab".to_owned()])))
            .contains("`ab` at index 0")
    );
    assert!(error(|values| values[4].1 = Value::u32(9999)).contains("9999"));
}

/// The definition, quadratic: again and again merge the lowest rank, leftmost first.
fn naive(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let mut symbols: Vec<String> = text.chars().map(String::from).collect();
    let ranks = ["b c", "a b", "ab c", "▁ a", "▁a b", "▁ ▁", "\n \n"];
    loop {
        let rank = |i: usize| ranks.iter().position(|m| *m == format!("{} {}", symbols[i], symbols[i + 1]));
        let best = (0..symbols.len().saturating_sub(1)).filter_map(|i| rank(i).map(|r| (r, i))).min();
        let Some((_, i)) = best else { break };
        let right = symbols.remove(i + 1);
        symbols[i].push_str(&right);
    }
    let bytes = |s: &String| s.bytes().map(|b| format!("<0x{b:02X}>")).collect::<Vec<_>>();
    symbols
        .iter()
        .flat_map(|s| if tokenizer.ids.contains_key(s) { vec![s.clone()] } else { bytes(s) })
        .collect()
}

proptest! {
    #[test]
    fn any_text_survives(text in "\\PC*|[abc \n▁é]{0,60}") {
        // U+2581 itself reads back as the space it stands for, as in every tokenizer of this family.
        let t = tokenizer();
        prop_assert_eq!(decode(&t, &t.encode(&text, false, false)), text.replace('▁', " "));
    }

    #[test]
    fn the_queue_merges_as_the_definition_does(text in "[abc▁]{0,40}") {
        let t = tokenizer();
        prop_assert_eq!(texts(&t, &t.encode(&text, false, false)), naive(&t, &text));
    }
}

#[test]
fn a_long_line_takes_no_quadratic_time() {
    // 400,000 characters; the quadratic definition would need 10^11 steps.
    let t = tokenizer();
    let text = "abc ".repeat(100_000);
    assert_eq!(decode(&t, &t.encode(&text, false, false)), text);
}
