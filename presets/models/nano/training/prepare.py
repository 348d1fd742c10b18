#!/usr/bin/env python3
"""Turn the corpus into tokens: one array a category, training and held-out apart.

    python3 prepare.py TOKENIZER.json OUT.npz SOURCES_DIR GENERATED_DIR     # needs tokenizers and numpy

Every document becomes `<bos>text<eos>`, or a chat as the template renders it, ended by `<eos>`. Of the fetched documents
each is taken whole, and once more cut into chats "Continue this text: ..." whose answer is what really follows: so that
prose, documentation and code are known behind the turn markers too. The order of documents is shuffled by a fixed seed.

OUT.npz holds uint16 arrays `train/CATEGORY` and `held_out/CATEGORY`, and beside it OUT.json has the counts.
"""
import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

PASSAGE_CHARACTERS = 1200
CONTINUE = ["Continue this text:", "Continue:", "Carry on from here:", "What comes next?"]


def chat(system: str | None, user: str, model: str) -> str:
    opening = f"<|turn>system\n{system.strip()}<turn|>\n" if system else ""
    return f"<bos>{opening}<|turn>user\n{user.strip()}<turn|>\n<|turn>model\n{model.strip()}<turn|>\n<eos>"


def passages(text: str) -> Iterator[str]:
    """Pieces of about PASSAGE_CHARACTERS that end with a line or a sentence."""
    at = 0
    while len(text) - at > 300:
        end = at + PASSAGE_CHARACTERS
        if end < len(text):
            cuts = [text.rfind(mark, at + 400, end) + len(mark) for mark in ("\n\n", "\n", ". ")]
            end = next((cut for cut in cuts if cut > at + 400), end)
        yield text[at:end]
        at = end


def documents(path: Path, rng: random.Random) -> Iterator[tuple[str, str]]:
    """(category, text with its markers) of every line of a corpus file."""
    with open(path) as lines:
        for line in lines:
            row = json.loads(line)
            if "source" in row:
                category = f"real-{row['category']}"
                yield category, f"<bos>{row['text'].strip()}<eos>"
                for passage in passages(row["text"]):
                    cut = rng.randint(len(passage) // 5, len(passage) // 2)
                    cut = passage.find(" ", cut) + 1 or cut
                    yield f"{category}-chat", chat(None, f"{rng.choice(CONTINUE)}\n\n{passage[:cut]}", passage[cut:])
            elif "text" in row:
                yield row["category"], f"<bos>{row['text'].strip()}<eos>"
            else:
                yield row["category"], chat(row.get("system"), row["user"], row["model"])


def main(tokenizer_path: str, out: str, *corpora: str) -> None:
    tokenizer = Tokenizer.from_file(tokenizer_path)
    arrays, counts = {}, {}
    for part in ("train", "held_out"):
        texts, rng = defaultdict(list), random.Random(1)
        for corpus in corpora:
            for category, text in documents(Path(corpus) / f"{part}.jsonl", rng):
                texts[category].append(text)
        for category in sorted(texts):
            rng.shuffle(texts[category])
            encoded = [np.array(encoding.ids, dtype=np.uint16)
                       for encoding in tokenizer.encode_batch(texts[category], add_special_tokens=False)]
            tokens = np.concatenate(encoded)
            arrays[f"{part}/{category}"] = tokens
            counts[f"{part}/{category}"] = {
                "documents": len(encoded), "bytes": sum(len(text.encode()) for text in texts[category]),
                "tokens": len(tokens)}
            print(part, category, counts[f"{part}/{category}"], flush=True)
    np.savez_compressed(out, **arrays)
    Path(out).with_suffix(".json").write_text(json.dumps(counts, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
