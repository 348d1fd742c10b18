"""Batches of fixed length cut from the token arrays at random places, by category shares and seed."""
import numpy as np
import torch

# Shares of a training batch; categories of the corpus that are missing here are not trained on.
SHARES = {
    "json": 0.16, "code": 0.07, "lists": 0.06, "arithmetic": 0.04, "summary": 0.06, "dialogue": 0.08, "prose": 0.07,
    "real-prose": 0.14, "real-prose-chat": 0.06, "real-docs": 0.08, "real-docs-chat": 0.04,
    "real-code": 0.10, "real-code-chat": 0.04,
}


class Batches:
    """Same seed and same step: same batch, whatever was drawn before."""

    def __init__(self, path: str, part: str, device: str, seed: int):
        arrays = np.load(path)
        names = [name for name in SHARES if f"{part}/{name}" in arrays]
        assert names, f"{path} has no category of SHARES in part {part}"
        tokens = [arrays[f"{part}/{name}"].astype(np.int32) for name in names]
        self.names, self.device, self.seed = names, device, seed
        self.lengths = torch.tensor([len(t) for t in tokens], device=device)
        self.starts = torch.cumsum(self.lengths, 0) - self.lengths
        self.tokens = torch.from_numpy(np.concatenate(tokens)).to(device)
        self.shares = torch.tensor([SHARES[name] for name in names], device=device)

    def generator(self, step: int) -> torch.Generator:
        return torch.Generator(device=self.device).manual_seed(self.seed * 1_000_003 + step)

    def draw(self, step: int, rows: int, length: int, category: str | None = None) -> torch.Tensor:
        """`[rows, length]` of token ids."""
        g = self.generator(step)
        if category is None:
            kinds = torch.multinomial(self.shares, rows, replacement=True, generator=g)
        else:
            kinds = torch.full((rows,), self.names.index(category), device=self.device)
        room = (self.lengths[kinds] - length).clamp(min=1)
        offsets = (torch.rand(rows, device=self.device, generator=g, dtype=torch.float64) * room).long()
        index = (self.starts[kinds] + offsets)[:, None] + torch.arange(length, device=self.device)
        return self.tokens[index.clamp(max=len(self.tokens) - 1)].long()

    def draw_openings(self, step: int, rows: int, length: int, bos: int) -> torch.Tensor:
        """`[rows, length]` that each begin with a document's <bos>."""
        g = self.generator(step)
        wide = self.draw(step, rows, 4096)
        begins = (wide[:, :4096 - length] == bos).float() + 1e-9
        at = torch.multinomial(begins, 1, generator=g)
        return torch.gather(wide, 1, at + torch.arange(length, device=self.device))


def causal_masks(length: int, window: int, device: str, strict: bool = False) -> dict[str, torch.Tensor]:
    """Boolean masks `[1, 1, length, length]`. Strict: a row does not see itself, as the assistant, whose query of
    position n sees keys 0..n-1, the sliding layers the last window-1 of them (llama.cpp's convention). Row 0 then sees
    key 0, because a softmax over nothing is NaN; its output is not used."""
    query = torch.arange(length, device=device)[:, None]
    key = torch.arange(length, device=device)[None, :]
    seen = key < query if strict else key <= query
    seen = seen | ((query == 0) & (key == 0))
    near = query - key < window
    return {"full_attention": seen[None, None], "sliding_attention": (seen & near)[None, None]}
