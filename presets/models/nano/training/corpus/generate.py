"""Writes the synthetic part of the nano presets' training text.

    python3 generate.py OUT_DIR --seed 1 --megabytes 24

gives OUT_DIR/train.jsonl and OUT_DIR/held_out.jsonl: one JSON object a line,
`{"category", "system", "user", "model"}` for a chat and `{"category", "text"}` for
a raw text. All of it is written by the modules beside this file, under the
licence of the repository; nothing is fetched.

The held-out rule: each sample names its content by a key of its fillers
(product, fault and site of a ticket; operands of a sum; plot, hero and place of
a story; task and names of a snippet; the answer of a dialogue without its
figures), and one key in fifty, by checksum, is held out. All samples of a key
go to the same file, and a sample that holds the content of several keys (a
batch of tickets, a chat with history) takes them from one side only. So a
held-out text is a combination that training never saw, not another wording of
one it did; its words, templates and system prompts are those of training. The
rule needs no seed: corpora of different seeds can be joined without leaking.

It does not tokenise, shuffle epochs or mix in the fetched sources. The same
arguments give the same bytes on every machine.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import arithmetic
import code_tasks
import dialogue
import documents
import lists
import stories
import summaries
from samples import Sample, is_held_out


class Category(NamedTuple):
    """A kind of text with its share of the bytes, in percent."""

    share: int
    sample: Callable[[random.Random], Sample]


CATEGORIES = {
    "json": Category(30, documents.sample),
    "code": Category(15, code_tasks.sample),
    "lists": Category(12, lists.sample),
    "arithmetic": Category(8, arithmetic.sample),
    "summary": Category(10, summaries.sample),
    "dialogue": Category(13, dialogue.sample),
    "prose": Category(12, stories.sample),
}

# Draws in a row that may repeat an earlier row before a category counts as used up.
MAX_REPEATS = 2000


def samples(seed: int, text_bytes: int) -> Iterator[Sample]:
    """Distinct samples until their text has `text_bytes`; each is of the category that
    is furthest behind its share, so every stretch of the file has the same mix."""
    rng = random.Random(seed)
    written = dict.fromkeys(CATEGORIES, 0)
    seen: set[str] = set()
    while sum(written.values()) < text_bytes:
        name = min(written, key=lambda kind: written[kind] / CATEGORIES[kind].share)
        sample = _distinct(rng, name, seen)
        written[name] += sample.text_bytes()
        yield sample


def _distinct(rng: random.Random, name: str, seen: set[str]) -> Sample:
    for _ in range(MAX_REPEATS):
        sample = CATEGORIES[name].sample(rng)
        line = json.dumps(sample.row)
        if line not in seen:
            seen.add(line)
            return sample
    sys.exit(f"category {name}: {MAX_REPEATS} draws in a row repeat earlier rows; ask for fewer --megabytes")


def write(out_dir: Path, seed: int, text_bytes: int) -> dict[str, Counter]:
    """Writes both files and returns the text bytes of each category in each."""
    out_dir.mkdir(parents=True, exist_ok=True)
    sizes = {"train": Counter(), "held_out": Counter()}
    with (
        open(out_dir / "train.jsonl", "w", encoding="utf-8", newline="\n") as train,
        open(out_dir / "held_out.jsonl", "w", encoding="utf-8", newline="\n") as held_out,
    ):
        files = {"train": train, "held_out": held_out}
        for sample in samples(seed, text_bytes):
            part = "held_out" if is_held_out(sample.key) else "train"
            files[part].write(json.dumps(sample.row, ensure_ascii=False) + "\n")
            sizes[part][sample.row["category"]] += sample.text_bytes()
    return sizes


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=Path, help="folder of train.jsonl and held_out.jsonl")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--megabytes", type=float, default=24.0, help="text without JSON framing, 10^6 bytes")
    arguments = parser.parse_args()
    if arguments.megabytes <= 0:
        parser.error(f"--megabytes {arguments.megabytes}: expected a number above 0")
    sizes = write(arguments.out_dir, arguments.seed, int(arguments.megabytes * 1e6))
    for part, by_category in sizes.items():
        listed = ", ".join(f"{name} {by_category[name]}" for name in CATEGORIES)
        print(f"{part}: {sum(by_category.values())} bytes ({listed})")


if __name__ == "__main__":
    main()
