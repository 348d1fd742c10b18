#!/usr/bin/env python3
"""Train the byte-fallback BPE vocabulary, in the form that Gemma 4's files have.

    python3 vocabulary.py OUT.json JSONL...     # needs tokenizers

The rules of a Gemma 4 tokenizer: a space becomes U+2581, no prefix space; text is cut only into runs of newlines and the
rest, so merges run over whole lines; what is no token becomes <0xXX> byte tokens. Merges are *learned* on words (an
optional space and letters; one digit; punctuation; runs of spaces), so that no token spans two words, and *applied* to
whole lines. OUT.json is a Hugging Face tokenizer.json.
"""
import json
import sys
from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

VOCAB = 8192
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>",
           "<|tool_response>", "<tool_response|>", '<|"|>', "<|think|>", "<|channel>", "<channel|>", "<|turn>", "<turn|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
# Characters that get a token of their own; rarer ones are spelled in bytes.
ALPHABET = 160
TRAINING_BYTES = 40_000_000
WORD = r"▁+(?=▁[^▁\n])|▁?\p{L}+|\p{N}|▁?[^▁\p{L}\p{N}\n]+|▁+|\n+"

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n'"
    " + message['content'] | trim + '<turn|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn>model\\n' }}{% endif %}"
)


def texts(paths: list[str]) -> Iterator[str]:
    """Every second document of each file, up to an equal share of TRAINING_BYTES."""
    for path in paths:
        left = TRAINING_BYTES // len(paths)
        with open(path) as lines:
            for number, line in enumerate(lines):
                if number % 2 or left <= 0:
                    continue
                row = json.loads(line)
                text = "\n".join(row[key] for key in ("text", "system", "user", "model") if row.get(key))
                left -= len(text)
                yield text


def learn(paths: list[str]) -> dict:
    learner = Tokenizer(models.BPE(byte_fallback=True))
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "isolated")
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=SPECIAL + BYTES, limit_alphabet=ALPHABET,
                                  max_token_length=16, show_progress=False)
    learner.train_from_iterator(texts(paths), trainer)
    return json.loads(learner.to_str())["model"]


def assemble(model: dict) -> Tokenizer:
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(model["vocab"], merges, byte_fallback=True, unk_token="<unk>", fuse_unk=False))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    return tokenizer


if __name__ == "__main__":
    out, *inputs = sys.argv[1:]
    tokenizer = assemble(learn(inputs))
    assert tokenizer.get_vocab_size() == VOCAB, tokenizer.get_vocab_size()
    tokenizer.save(out)
    for sample in ("Hello world, this is 1990.\n\n    return a + b\n", "Grüße, 🦙!", '{"severity": "high"}'):
        ids = tokenizer.encode(sample).ids
        print(len(ids), [tokenizer.id_to_token(i) for i in ids])
        assert tokenizer.decode(ids) == sample, tokenizer.decode(ids)
