#!/usr/bin/env python3
"""Figures of published reports, computed again from the raw rows by other code: `recompute.py RUN_DIR...`

Plain Python and nothing of the suite. Every figure has to be the same number to the last digit; the exit code is 1 if
one is not. The formulas are those of docs/metrics.md.
"""
import json
import sys
from pathlib import Path


def measured(run):
    """Completed requests that count, by arm."""
    arms = {}
    for line in (run / "rows.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["phase"] == "measured" and row["outcome"]["state"] == "completed":
            arms.setdefault(row["arm"], []).append(row)
    return arms


def decode_throughput(rows):
    """Tokens after the first chunk by the time after the first chunk, both summed."""
    tokens = nanoseconds = 0
    for row in rows:
        chunks, total = row["timing"]["chunks"], row["output"]["tokens"]
        if total is None or len(chunks) < 2:
            continue
        first = chunks[0]["tokens"]
        if first is None and total == len(chunks):
            first = 1
        if first is None or total <= first or row["timing"]["last_token_ns"] <= chunks[0]["at_ns"]:
            continue
        tokens += total - first
        nanoseconds += row["timing"]["last_token_ns"] - chunks[0]["at_ns"]
    return tokens * 10**9 / nanoseconds if nanoseconds else None


def median_ttft(rows):
    values = sorted(row["timing"]["first_token_ns"] / 1e6 for row in rows)
    low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
    return low + (high - low) * 0.5


def acceptance_rate(rows):
    counts = [row["spec"] for row in rows]
    if any(spec is None for spec in counts):
        return None
    drafted = sum(spec["drafted"] for spec in counts)
    return sum(spec["accepted"] for spec in counts) / drafted if drafted else None


def chunk_gaps(rows):
    gaps = []
    for row in rows:
        stamps = [chunk["at_ns"] for chunk in row["timing"]["chunks"]]
        gaps += [b - a for a, b in zip(stamps, stamps[1:])]
    return sorted(gaps)


def p99_chunk_gap(rows):
    gaps = chunk_gaps(rows)
    return gaps[-(-99 * len(gaps) // 100) - 1] / 1e6 if gaps else None


FIGURES = {
    "tokens_per_s": (decode_throughput, lambda arm: (arm["tokens_per_s"] or {}).get("point")),
    "ttft_ms": (median_ttft, lambda arm: (arm["ttft_ms"] or {}).get("point")),
    "acceptance_rate": (acceptance_rate, lambda arm: (arm["acceptance_rate"] or {}).get("point")),
    "inter_chunk.p99_ms": (p99_chunk_gap, lambda arm: (arm.get("inter_chunk") or {}).get("p99_ms")),
}


def main(runs):
    checked = wrong = 0
    for run in map(Path, runs):
        report = json.loads((run / "report" / "report.json").read_text(encoding="utf-8"))
        rows = measured(run)
        for arm in report["arms"]:
            for name, (compute, published) in FIGURES.items():
                theirs = published(arm)
                if theirs is None or arm["label"] not in rows:
                    continue
                mine = compute(rows[arm["label"]])
                checked += 1
                if repr(mine) != repr(theirs):
                    wrong += 1
                    print(f"{run.name}: {arm['label']}: {name}: published {theirs!r}, from the rows {mine!r}")
    print(f"{checked} figures of {len(runs)} reports computed again, {wrong} differ")
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
