#!/usr/bin/env python3
"""Train the MTP assistant on the frozen target's own hidden states and outputs.

    python3 train_assistant.py DATA.npz OUT_DIR --target OUT_DIR/target --steps 6000 [--resume OUT_DIR/assistant]

One batch trains every position n of every row as the anchor of a draft, all in parallel: the first draft step gets token
t_n and the target's post-norm hidden state of row n-1, each later step the next token and the assistant's own projected
post-norm state; position n and keys 0..n-1 of the target stay the same through all steps (reference: transformers'
Gemma4 assistant; llama.cpp draws the same boundary). Step k is taught what the target answers at row n+k: half its
argmax, half its whole distribution.

Rows are two thirds rollouts of the target itself and one third corpus. The centroid head is not touched here: it is
made from the finished assistant by train_centroids.py.

Writes OUT_DIR/assistant.pt, OUT_DIR/assistant-loss.csv (step, seconds, draft position, loss, argmax agreement, chain: all
positions up to this one agree) measured on held-out rollouts.
"""
import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import checkpoint
from batches import Batches, causal_masks
from rollouts import make_rollouts
from shapes import WINDOW, new_assistant, new_target
from train_target import optimisers, rate

UNROLLED = 5
STEP_WEIGHTS = (1.0, 0.8, 0.7, 0.6, 0.5)


@torch.no_grad()
def teach(target, tokens, masks):
    """What the target makes of a batch: answers, log-probabilities, hidden rows, its KV by layer type, embeddings."""
    out = target.model(input_ids=tokens, attention_mask=masks, use_cache=False, return_shared_kv_states=True)
    hidden = out.last_hidden_state
    logits = target.lm_head(hidden)
    logits = (30.0 * torch.tanh(logits / 30.0)).float()
    kv = {name: (pair[0], pair[1]) for name, pair in out.shared_kv_states.items()}
    return logits.log_softmax(-1).to(torch.bfloat16), hidden, kv, target.model.embed_tokens(tokens)


def draft_step(assistant, token, state, positions, kv, masks):
    """One draft step of every anchor: the post-norm rows, and the state that the next step gets."""
    inputs = assistant.pre_projection(torch.cat([token, state], dim=-1))
    out = assistant.model(inputs_embeds=inputs, attention_mask=masks, position_ids=positions, shared_kv_states=kv,
                          use_cache=False)
    return out.last_hidden_state, assistant.post_projection(out.last_hidden_state)


def step_loss(head, y, teacher_logs):
    """Half cross-entropy to the teacher's argmax, half to its distribution; and where the argmax agrees."""
    logs = F.linear(y, head).float().log_softmax(-1)
    answers = teacher_logs.argmax(-1)
    hard = -torch.gather(logs, 2, answers[..., None]).mean()
    soft = -(teacher_logs.float().exp() * logs).sum(-1).mean()
    return 0.5 * hard + 0.5 * soft, logs.argmax(-1) == answers


class Unrolled:
    """The chained draft steps over whole batches; compiled a step at a time, which compiles five times less."""

    def __init__(self, assistant, masks, length, device):
        self.assistant, self.masks, self.device = assistant, masks, device
        self.anchors = length - UNROLLED - 1
        self.positions = torch.arange(length, device=device)[None]
        self.step, self.loss = (torch.compile(draft_step), torch.compile(step_loss)) if device == "cuda" else \
            (draft_step, step_loss)

    def states(self, teacher):
        """Yields (step, post-norm rows of the anchors, what the teacher answers there)."""
        target_logs, hidden, kv, embeddings = teacher
        state = F.pad(hidden, (0, 0, 1, 0))[:, :hidden.shape[1]]
        positions = self.positions.expand(len(hidden), -1)
        for step in range(UNROLLED):
            token = F.pad(embeddings[:, step:], (0, 0, 0, step))
            y, state = self.step(self.assistant, token, state, positions, kv, self.masks)
            yield step, y[:, 1:self.anchors + 1], target_logs[:, 1 + step:self.anchors + 1 + step]

    def losses(self, teacher):
        """Per step: loss, share of agreement, share where all steps so far agree."""
        chain, result = None, []
        for _, y, teacher_logs in self.states(teacher):
            loss, agree = self.loss(self.assistant.lm_head.weight, y, teacher_logs)
            chain = agree if chain is None else chain & agree
            result.append((loss, agree, chain))
        return result


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("data"), p.add_argument("out")
    p.add_argument("--target", required=True)
    p.add_argument("--steps", type=int, required=True)
    p.add_argument("--rows", type=int, default=48)
    p.add_argument("--length", type=int, default=384)
    p.add_argument("--rollout-batches", type=int, default=8)
    p.add_argument("--rollout-rows", type=int, default=3072)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--resume")
    a = p.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    begun = time.time()

    target = new_target().to(device).eval().requires_grad_(False)
    target.load_state_dict(checkpoint.load(a.target)[0])
    assistant = new_assistant().to(device)
    if a.resume:
        assistant.load_state_dict(checkpoint.load(a.resume)[0])
    assistant.masked_embedding.requires_grad_(False)
    train, held = Batches(a.data, "train", device, a.seed), Batches(a.data, "held_out", device, a.seed)
    written = make_rollouts(target, train, a.rollout_batches, a.rollout_rows, a.length, seed=10_000).to(device)
    exam = make_rollouts(target, held, 2, 64, a.length, seed=20_000).to(device).long()
    print(f"{len(written)} rollouts of {a.length} tokens in {time.time() - begun:.1f} s", flush=True)

    full = causal_masks(a.length, WINDOW, device)
    unrolled = Unrolled(assistant, causal_masks(a.length, WINDOW, device, strict=True), a.length, device)
    compiled_teach = torch.compile(teach) if device == "cuda" else teach

    def batch(step):
        own = a.rows * 2 // 3
        pick = torch.randint(len(written), (own,), device=device, generator=train.generator(step + 5_000_000))
        return torch.cat([written[pick].long(), train.draw(step, a.rows - own, a.length)])

    opts = optimisers(assistant)
    rates = [[group["lr"] for group in opt.param_groups] for opt in opts]
    log = open(out / "assistant-loss.csv", "w")
    log.write("step,seconds,position,loss,agreement,chain\n")

    def examine(step):
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            parts = [unrolled.losses(compiled_teach(target, rows, full)) for rows in exam.split(a.rows)[:2]]
        for position in range(UNROLLED):
            values = [sum(float(part[position][i].float().mean()) for part in parts) / len(parts) for i in range(3)]
            log.write(f"{step},{time.time() - begun:.1f},{position + 1}," + ",".join(f"{v:.4f}" for v in values) + "\n")
            print(step, f"{time.time() - begun:.0f} s", position + 1, [round(v, 4) for v in values], flush=True)
        log.flush()

    for step in range(a.steps):
        for opt, bases in zip(opts, rates):
            for group, base in zip(opt.param_groups, bases):
                group["lr"] = base * rate(step, a.steps, 100)
        with torch.autocast(device, torch.bfloat16):
            parts = unrolled.losses(compiled_teach(target, batch(step), full))
            loss = sum(weight * part[0] for weight, part in zip(STEP_WEIGHTS, parts))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(assistant.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        if (step + 1) % 1000 == 0 or step + 1 == a.steps or step == 99:
            examine(step + 1)
        if (step + 1) % 1000 == 0 or step + 1 == a.steps:
            checkpoint.save(assistant, step + 1, out, "assistant")


if __name__ == "__main__":
    main()
