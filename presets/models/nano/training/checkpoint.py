"""Checkpoints: one f32 file for the next step on the same machine, and f16 shards small enough to be carried away.

`NAME.pt` holds {"model": state dict, "step": int}; `NAME.shard-I.pt` together hold the same in f16. `load` takes the path
without an ending, and prefers the f32 file.
"""
from pathlib import Path

import torch

SHARD_BYTES = 15_000_000


def save(model: torch.nn.Module, step: int, out: Path, name: str) -> None:
    state = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    torch.save({"model": state, "step": step}, out / f"{name}.pt")
    shards, room = [{}], SHARD_BYTES
    for key, value in state.items():
        if key == "lm_head.weight":
            continue  # tied to the embedding
        small = value.half() if value.dtype == torch.float32 else value
        size = small.numel() * small.element_size()
        if size > room:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][key] = small
        room -= size
    for number, shard in enumerate(shards):
        torch.save({"model": shard, "step": step}, out / f"{name}.shard-{number}.pt")


def load(path: str) -> tuple[dict, int]:
    """State dict in f32 and step."""
    whole = Path(f"{path}.pt")
    parts = [whole] if whole.exists() else sorted(whole.parent.glob(f"{whole.stem}.shard-*.pt"))
    if not parts:
        raise FileNotFoundError(f"there is neither {whole} nor {whole.stem}.shard-*.pt beside it")
    state, step = {}, 0
    for part in parts:
        saved = torch.load(part, map_location="cpu")
        state |= {key: value.float() if value.is_floating_point() else value for key, value in saved["model"].items()}
        step = saved["step"]
    if "lm_head.weight" not in state:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return state, step
