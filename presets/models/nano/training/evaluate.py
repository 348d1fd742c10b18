#!/usr/bin/env python3
"""What the target is worth: held-out perplexity beside a 5-gram model, and samples.

    python3 evaluate.py DATA.npz HF_DIR OUT_DIR [--tokens 20000]     # HF_DIR from ../to_transformers.py

Both models see the same tokens: the first --tokens of each held-out category, in windows of 512 (the neural model starts
each window with nothing before it; the 5-gram model likewise sees nothing across). The first token of a window is not
scored. Writes OUT_DIR/perplexity.csv and OUT_DIR/samples.md (ten greedy answers a category to prompts of the preset
nano-held-out, cut at 96 tokens).
"""
import argparse
import csv
import tomllib
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ngram import KneserNey
from shapes import VOCAB

LENGTH, ORDER, SAMPLES, SAMPLE_TOKENS = 512, 5, 10, 96
PRESET = Path(__file__).parent / "../../../presets/nano-held-out.toml"


def neural(model, windows: np.ndarray) -> float:
    """Mean negative log-likelihood in nats."""
    total = 0.0
    with torch.no_grad():
        for part in torch.from_numpy(windows.astype(np.int64)).split(8):
            logs = model(input_ids=part, use_cache=False).logits[:, :-1].log_softmax(-1)
            total -= float(torch.gather(logs, 2, part[:, 1:, None]).double().sum())
    return total / (windows.shape[0] * (LENGTH - 1))


def perplexities(data: str, model, tokens: int, out: Path) -> None:
    arrays = np.load(data)
    baseline = KneserNey(np.concatenate([arrays[name] for name in arrays if name.startswith("train/")]), ORDER, VOCAB)
    with open(out / "perplexity.csv", "w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["category", "tokens", "target", "five_gram"])
        for name in sorted(name for name in arrays if name.startswith("held_out/")):
            windows = arrays[name][:tokens]
            windows = windows[:len(windows) // LENGTH * LENGTH].reshape(-1, LENGTH)
            if not len(windows):
                continue
            five = -np.mean([baseline.log_probabilities(window)[1:].mean() for window in windows])
            row = [name.removeprefix("held_out/"), windows.size, np.exp(neural(model, windows)), np.exp(five)]
            table.writerow([row[0], row[1], f"{row[2]:.2f}", f"{row[3]:.2f}"])
            print(*row, flush=True)


def samples(model, tokenizer, out: Path) -> None:
    prompts = tomllib.loads(PRESET.read_text())["workload"]["prompts"]
    with open(out / "samples.md", "w") as file:
        file.write("# Samples\n\nMade by evaluate.py: greedy, at most 96 tokens, held-out prompts.\n")
        for category in dict.fromkeys(prompt["category"] for prompt in prompts):
            file.write(f"\n## {category}\n")
            for prompt in [p for p in prompts if p["category"] == category][:SAMPLES]:
                messages = [{"role": "system", "content": prompt["system"]}] if "system" in prompt else []
                messages.append({"role": "user", "content": prompt["text"]})
                inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt",
                                                       return_dict=True)
                with torch.no_grad():
                    ids = model.generate(**inputs, max_new_tokens=SAMPLE_TOKENS, do_sample=False)[0]
                answer = tokenizer.decode(ids[inputs["input_ids"].shape[1]:], skip_special_tokens=True)
                file.write(f"\n**{prompt['id']}**\n\n~~~text\n{prompt['text'].strip()}\n~~~\n\n~~~text\n{answer.strip()}\n~~~\n")


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("data"), p.add_argument("hf", type=Path), p.add_argument("out", type=Path)
    p.add_argument("--tokens", type=int, default=20_000)
    a = p.parse_args()
    target = AutoModelForCausalLM.from_pretrained(a.hf / "target", dtype=torch.float32).eval()
    a.out.mkdir(parents=True, exist_ok=True)
    samples(target, AutoTokenizer.from_pretrained(a.hf / "target"), a.out)
    perplexities(a.data, target, a.tokens, a.out)
