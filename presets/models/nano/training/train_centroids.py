#!/usr/bin/env python3
"""Make the assistant's centroid head: equal clusters of tokens, and a matrix that finds the clusters worth scoring.

    python3 train_centroids.py DATA.npz RUN_DIR [--steps 3000]     # RUN_DIR holds target.pt and assistant.pt

Minutes on a CPU. Post-norm rows of the assistant are collected once, over rollouts of the target and over corpus, all
draft steps. Tokens are grouped into equal clusters by balanced k-means over the directions of their head rows; then the
matrix is trained, everything else frozen, to rank the cluster of the token that the dense head would choose. An eighth of
the texts is kept apart, and the share of their rows whose cluster is among the kept ones is printed: what it lacks to 1
is the most that the head can lose against the dense one.
"""
import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

import checkpoint
from batches import Batches, causal_masks
from rollouts import make_rollouts
from shapes import CENTROIDS, CENTROIDS_KEPT, VOCAB, WINDOW, new_assistant, new_target
from train_assistant import Unrolled, teach
from train_target import rate

RATE, MINIBATCH = 1e-2, 8192


def collect(target, assistant, rows: torch.Tensor, device: str) -> torch.Tensor:
    """Post-norm rows `[anchors * steps, width]` of every draft step."""
    full, strict = (causal_masks(rows.shape[1], WINDOW, device, strict=strict) for strict in (False, True))
    unrolled = Unrolled(assistant, strict, rows.shape[1], device)
    with torch.no_grad():
        parts = [y.flatten(0, 1) for part in rows.split(8) for _, y, _ in unrolled.states(teach(target, part, full))]
    return torch.cat(parts).float()


def balanced_clusters(vectors: torch.Tensor, clusters: int, rounds: int = 8) -> torch.Tensor:
    """Cluster of every row, all clusters equally large. Lloyd's iterations; each assigns rows by falling similarity, a
    row to its nearest cluster that still has room."""
    vectors = F.normalize(vectors.float().cpu(), dim=-1)
    size = len(vectors) // clusters
    g = torch.Generator().manual_seed(1)
    centres = vectors[torch.randperm(len(vectors), generator=g)[:clusters]]
    for _ in range(rounds):
        order = (vectors @ centres.T).flatten().argsort(descending=True).tolist()
        of_row, room, left = [-1] * len(vectors), [size] * clusters, len(vectors)
        for pair in order:
            row, cluster = divmod(pair, clusters)
            if of_row[row] < 0 and room[cluster]:
                of_row[row], room[cluster], left = cluster, room[cluster] - 1, left - 1
                if not left:
                    break
        assigned = torch.tensor(of_row)
        centres = F.normalize(torch.zeros_like(centres).index_add_(0, assigned, vectors), dim=-1)
    return assigned


def recall(weight: torch.Tensor, rows: torch.Tensor, answers: torch.Tensor) -> float:
    kept = F.linear(rows, weight).topk(CENTROIDS_KEPT, dim=-1).indices
    return float((kept == answers[:, None]).any(-1).float().mean())


def fit(rows: torch.Tensor, answers: torch.Tensor, start: torch.Tensor, steps: int, seed: int) -> torch.Tensor:
    weight = start.clone().requires_grad_(True)
    opt = torch.optim.Adam([weight], lr=RATE)
    g = torch.Generator().manual_seed(seed)
    for step in range(steps):
        opt.param_groups[0]["lr"] = RATE * rate(step, steps, 50)
        pick = torch.randint(len(rows), (MINIBATCH,), generator=g)
        loss = F.cross_entropy(F.linear(rows[pick], weight), answers[pick])
        loss.backward()
        opt.step()
        opt.zero_grad(set_to_none=True)
    return weight.detach()


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("data"), p.add_argument("run")
    p.add_argument("--steps", type=int, default=3000)
    p.add_argument("--rollout-batches", type=int, default=4)
    p.add_argument("--rows", type=int, default=64, help="rollouts in a batch")
    p.add_argument("--rows-each", type=int, default=40, help="rows of every category of the corpus")
    p.add_argument("--length", type=int, default=384)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    run = Path(a.run)
    target, assistant = new_target().eval().requires_grad_(False), new_assistant().eval().requires_grad_(False)
    target.load_state_dict(checkpoint.load(str(run / "target"))[0])
    state, step = checkpoint.load(str(run / "assistant"))
    assistant.load_state_dict(state)
    train = Batches(a.data, "train", "cpu", a.seed)
    own = make_rollouts(target, train, a.rollout_batches, a.rows, a.length, seed=30_000).long()
    # Equal parts of all categories: where drafts are accepted most, there is the most to lose.
    tokens = torch.cat([own] + [train.draw(7, a.rows_each, a.length, category) for category in train.names])
    tokens = tokens[torch.randperm(len(tokens), generator=torch.Generator().manual_seed(a.seed))]
    rows = collect(target, assistant, tokens, "cpu")
    head = assistant.lm_head.weight.detach()
    dense = torch.cat([F.linear(part, head).argmax(-1) for part in rows.split(4096)])
    print(f"{len(rows)} rows", flush=True)

    clusters = balanced_clusters(head, CENTROIDS)
    means = torch.zeros(CENTROIDS, head.shape[1]).index_add_(0, clusters, head) / (VOCAB // CENTROIDS)
    apart = len(rows) // 8
    weight = fit(rows[apart:], clusters[dense[apart:]], means, a.steps, a.seed)
    for name, matrix in (("cluster means", means), ("trained", weight)):
        print(f"{name}: {recall(matrix, rows[:apart], clusters[dense[:apart]]):.4f}", flush=True)
    assistant.masked_embedding.token_ordering.copy_(clusters.argsort(stable=True))
    assistant.masked_embedding.centroids.weight.copy_(weight)
    checkpoint.save(assistant, step, run, "assistant")


if __name__ == "__main__":
    main()
