#!/usr/bin/env python3
"""Write the preset `nano-held-out` from documents that neither model has seen.

    python3 make_prompts.py SOURCES_DIR GENERATED_DIR > ../../../presets/nano-held-out.toml

Twenty prompts a category, drawn by a fixed seed from the held-out files (see corpus/): of generated chats the user's
side, of fetched texts the beginning of a passage to be continued. The texts keep their licences: prose is in the public
domain, source code MIT OR Apache-2.0 or PSF-2.0.
"""
import json
import random
import sys
from pathlib import Path

EACH = 20
HEADER = '''\
# Made by models/nano/training/make_prompts.py; do not edit.
# What the bundled pair accepts on text that neither model has seen. With greedy decoding a repetition gives the same
# counts again, so one block is enough, and intervals are over prompts.
name = "nano-held-out"
description = "Acceptance of the bundled pair on 120 held-out prompts of six kinds, draft lengths 1 to 5, centroid head and dense head."
inherits = "quickstart"

[[stacks]]
kind = "native"

[[variants]]
label = "none"
method = "none"
{variants}
[run]
blocks = 1
'''


def literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def variants() -> str:
    lengths = [(f"mtp-{n}", n, "") for n in range(1, 6)] + [(f"mtp-{n}-dense", n, 'draft_head = "dense"\n') for n in (1, 3)]
    return "".join(f'\n[[variants]]\nlabel = "{label}"\nmethod = "mtp"\ndraft_max = {n}\n{head}'
                   for label, n, head in lengths)


def rows(folder: str) -> list[dict]:
    return [json.loads(line) for line in open(Path(folder) / "held_out.jsonl")]


def continued(documents: list[dict], rng: random.Random) -> list[dict]:
    """Passages from inside the documents, in turn, none twice."""
    prompts = {}
    long = [document["text"] for document in documents if len(document["text"]) > 4000]
    for number in range(20 * EACH):
        if len(prompts) == EACH:
            break
        text = long[number % len(long)]
        near = rng.randrange(len(text) - 2000)
        start = min(at + len(mark) for mark in ("\n", ". ", " ") if (at := text.find(mark, near)) >= 0)
        passage = text[start:start + 320].rsplit(" ", 1)[0].strip()
        if len(passage) > 200 and passage not in prompts:
            prompts[passage] = {"user": f"Continue this text:\n\n{passage}"}
    return list(prompts.values())


def chats(rows: list[dict], category: str, rng: random.Random) -> list[dict]:
    """Chats with answers of some length, no answer twice."""
    known = {row["model"]: row for row in rows if row["category"] == category and row.get("user")}
    return rng.sample([row for answer, row in known.items() if len(answer) > 100], EACH)


def main(sources: str, generated: str) -> None:
    rng, real, ours = random.Random(4), rows(sources), rows(generated)
    print(HEADER.format(variants=variants()), end="")
    for category, kind in (("json", "json"), ("code", "code"), ("list", "lists"), ("dialogue", "dialogue")):
        write(category, chats(ours, kind, rng))
    for category, kind in (("prose", "prose"), ("source", "code")):
        write(category, continued([row for row in real if row["category"] == kind], rng))


def write(category: str, prompts: list[dict]) -> None:
    for number, prompt in enumerate(prompts, 1):
        print(f'\n[[workload.prompts]]\nid = "{category}-{number:02}"\ncategory = "{category}"')
        if prompt.get("system"):
            print(f"system = {literal(prompt['system'])}")
        print(f"text = {literal(prompt['user'])}")


if __name__ == "__main__":
    main(*sys.argv[1:])
