#!/usr/bin/env python3
"""Train the target on next-token prediction.

    python3 train_target.py DATA.npz OUT_DIR --steps 7600 [--resume OUT_DIR/target] [--rows 42] [--length 768]

Muon (torch.optim) for the matrices inside the layers, AdamW for embeddings, projections of embeddings and norms; linear
warm-up, then a cosine down to 2 % of the rate. bf16 autocast over f32 weights, compiled. Everything is drawn from --seed.
Writes OUT_DIR/target.pt and its shards (see checkpoint.py; --resume goes on from there with fresh optimiser state) and
OUT_DIR/target-loss.csv (step, tokens, seconds, part, loss in nats a token).
"""
import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import checkpoint
from batches import Batches, causal_masks
from shapes import WINDOW, new_target

MUON_RATE, ADAM_RATE, EMBEDDING_RATE = 0.02, 2e-3, 6e-3


def optimisers(model: torch.nn.Module) -> list[torch.optim.Optimizer]:
    matrices, embeddings, rest = [], [], []
    for name, parameter in model.named_parameters():
        if "embed_tokens" in name:
            embeddings.append(parameter)
        elif parameter.dim() == 2 and ".layers." in name:
            matrices.append(parameter)
        else:
            rest.append(parameter)
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, momentum=0.95, nesterov=True, weight_decay=0.01,
                         adjust_lr_fn="original"),
        torch.optim.AdamW([{"params": embeddings, "lr": EMBEDDING_RATE}, {"params": rest, "lr": ADAM_RATE}],
                          betas=(0.9, 0.95), weight_decay=0.0, fused=torch.cuda.is_available()),
    ]


def rate(step: int, steps: int, warmup: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def loss_of(model, tokens, masks):
    inputs, labels = tokens[:, :-1], tokens[:, 1:]
    logits = model(input_ids=inputs, attention_mask=masks, use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("data"), p.add_argument("out")
    p.add_argument("--steps", type=int, required=True)
    p.add_argument("--rows", type=int, default=42)
    p.add_argument("--length", type=int, default=768)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--resume")
    p.add_argument("--stop-after-s", type=float, default=1e9, help="save and stop early, to be resumed")
    a = p.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)

    train, held = Batches(a.data, "train", device, a.seed), Batches(a.data, "held_out", device, a.seed)
    model = new_target().to(device)
    first = 0
    if a.resume:
        state, first = checkpoint.load(a.resume)
        model.load_state_dict(state)
    masks = causal_masks(a.length, WINDOW, device)
    opts = optimisers(model)
    rates = [[group["lr"] for group in opt.param_groups] for opt in opts]
    compiled = torch.compile(loss_of) if device == "cuda" else loss_of
    log = open(out / "target-loss.csv", "a" if first else "w")
    if not first:
        log.write("step,tokens,seconds,part,loss\n")

    def write(step, part, loss):
        line = f"{step},{step * a.rows * a.length},{time.time() - begun:.1f},{part},{loss:.4f}"
        log.write(line + "\n")
        log.flush()
        print(line, flush=True)

    begun = time.time()
    for step in range(first, a.steps):
        warmup = 200 if not a.resume else 20
        factor = rate(step, a.steps, warmup) if step >= first + warmup else \
            rate(first + warmup, a.steps, warmup) * (step - first + 1) / warmup
        for opt, bases in zip(opts, rates):
            for group, base in zip(opt.param_groups, bases):
                group["lr"] = base * factor
        with torch.autocast(device, torch.bfloat16):
            loss = compiled(model, train.draw(step, a.rows, a.length + 1), masks)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        last = step + 1 == a.steps or time.time() - begun > a.stop_after_s
        if (step + 1) % 100 == 0 or last:
            write(step + 1, "train", loss.item())
        if (step + 1) % 2000 == 0 or last:
            for name in held.names:
                with torch.no_grad(), torch.autocast(device, torch.bfloat16):
                    draw = held.draw(0, 2 * a.rows, a.length + 1, name)
                    write(step + 1, name, loss_of(model, draw, masks).item())
        if last:
            checkpoint.save(model, step + 1, out, "target")
            break


if __name__ == "__main__":
    main()
