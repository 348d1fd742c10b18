#!/usr/bin/env python3
"""Draw record/losses.svg from the loss files: python3 plot_losses.py record     # needs matplotlib"""
import csv
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

SHOWN = {"train": "training batches", "json": "held-out json", "lists": "held-out lists", "prose": "held-out stories",
         "real-prose": "held-out novels, speeches", "real-code": "held-out source code"}


def rows(path: Path) -> list[dict]:
    return list(csv.DictReader(open(path)))


def main(folder: Path) -> None:
    plt.rcParams.update({"svg.hashsalt": "nano", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    lines = defaultdict(list)
    for row in rows(folder / "target-loss.csv"):
        lines[row["part"]].append((int(row["tokens"]) / 1e6, float(row["loss"])))
    for part, label in SHOWN.items():
        style = {"color": "0.75", "linewidth": 0.8} if part == "train" else {"marker": "o", "markersize": 3}
        left.plot(*zip(*lines[part]), label=label, **style)
    left.set(title="Target", xlabel="million tokens", ylabel="loss, nats a token", ylim=(0, 6.5))
    left.legend(frameon=False)
    for position in range(1, 6):
        points = [(int(row["step"]), 100 * float(row["chain"])) for row in rows(folder / "assistant-loss.csv")
                  if row["phase"] == "first" and int(row["position"]) == position]
        right.plot(*zip(*points), marker="o", markersize=3, label=f"position {position}")
    right.set(title="Assistant, on held-out rollouts", xlabel="step", ylabel="accepted up to here, %", ylim=(0, 100))
    right.legend(frameon=False)
    figure.savefig(folder / "losses.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
