//! Any bytes as a GGUF file: parse, touch every value and the ends of every tensor, make tokenizer and template.

#![no_main]

use bench_engine::chat::ChatTemplate;
use bench_engine::gguf::Gguf;
use bench_engine::tokenizer::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(gguf) = Gguf::parse(bytes.to_vec()) else { return };
    for (key, value) in gguf.metadata() {
        std::hint::black_box((value.summary(), value.type_name()));
        std::hint::black_box((gguf.u32(key).is_ok(), gguf.str(key).is_ok(), gguf.u32_per_layer(key, 4).is_ok()));
    }
    for tensor in gguf.tensors() {
        let expected = tensor.ty.row_bytes(tensor.ne0()).and_then(|bytes| bytes.checked_mul(tensor.rows()));
        assert_eq!(Some(tensor.data.len() as u64), expected, "{}", tensor.name);
        std::hint::black_box((tensor.data.first(), tensor.data.last(), tensor.n_elements()));
    }
    std::hint::black_box(ChatTemplate::from_gguf(&gguf).is_ok());
    if let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) {
        std::hint::black_box(tokenizer.encode("a<bos> \n\nü", true, true));
    }
});
