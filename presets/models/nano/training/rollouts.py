"""Text that the target writes itself: what the assistant is trained to foresee.

A rollout opens with the first tokens of a training document and goes on with the target's own choices: greedy in most
batches (what greedy decoding walks through), sampled in the others (so that the assistant knows less trodden ground).
"""
import torch
from transformers import DynamicCache

OPENINGS = (24, 48, 96, 160)
SAMPLED_EVERY = 4


@torch.no_grad()
def rollout(model, openings: torch.Tensor, total: int, temperature: float | None, seed: int) -> torch.Tensor:
    """`[rows, total]` token ids that start with `openings`."""
    device = openings.device
    g = torch.Generator(device=device).manual_seed(seed)
    cache = DynamicCache(config=model.config)
    tokens, step = openings, openings
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        while tokens.shape[1] < total:
            logits = model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].float()
            if temperature is None:
                step = logits.argmax(-1, keepdim=True)
            else:
                step = torch.multinomial((logits / temperature).softmax(-1), 1, generator=g)
            tokens = torch.cat([tokens, step], dim=1)
    return tokens


def make_rollouts(model, batches, count: int, rows: int, total: int, seed: int, bos: int = 2) -> torch.Tensor:
    """`[count * rows, total]`, on the host."""
    done = []
    for number in range(count):
        openings = batches.draw_openings(seed + number, rows, OPENINGS[number % len(OPENINGS)], bos)
        temperature = 0.8 if number % SAMPLED_EVERY == SAMPLED_EVERY - 1 else None
        done.append(rollout(model, openings, total, temperature, seed + number).to(torch.int16).cpu())
    return torch.cat(done)
