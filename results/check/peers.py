#!/usr/bin/env python3
"""The aggregation of a report by pandas and by DuckDB, from the same `rows.jsonl`: `peers.py pandas|duckdb RUN_DIR`

What each computes by arm: requests, decode throughput, median TTFT, acceptance rate, and of the gaps between chunks their
number, mean, median, 99th percentile and maximum. No intervals, no pairs, no audit of outputs, no Parquet, no page:
`bench report` does all that besides. Run under `/usr/bin/time -v`; docs/results.md has the figures.
"""
import json
import sys
import time


def of_pandas(path):
    import numpy
    import pandas

    frames = []
    for part in pandas.read_json(path, lines=True, chunksize=5000):
        part = part[(part["phase"] == "measured") & (part["outcome"].str["state"] == "completed")]
        if part.empty:
            continue
        stamps = [numpy.array([chunk["at_ns"] for chunk in timing["chunks"]]) for timing in part["timing"]]
        frames.append(pandas.DataFrame({
            "arm": part["arm"].to_numpy(),
            "tokens": [o["tokens"] - t["chunks"][0]["tokens"] for o, t in zip(part["output"], part["timing"])],
            "span_ns": [int(s[-1] - s[0]) for s in stamps],
            "ttft_ms": [t["first_token_ns"] / 1e6 for t in part["timing"]],
            "drafted": [s["drafted"] if s else 0 for s in part["spec"]],
            "accepted": [s["accepted"] if s else 0 for s in part["spec"]],
            "gaps": [numpy.diff(s) for s in stamps],
        }))
    table = pandas.concat(frames)
    answers = {}
    for arm, rows in table.groupby("arm"):
        gaps = numpy.concatenate(rows["gaps"].to_numpy())
        answers[arm] = {
            "requests": len(rows),
            "tokens_per_s": rows["tokens"].sum() * 1e9 / rows["span_ns"].sum(),
            "ttft_ms": rows["ttft_ms"].median(),
            "acceptance_rate": rows["accepted"].sum() / rows["drafted"].sum() if rows["drafted"].sum() else None,
            "gaps": len(gaps),
            "mean_ms": gaps.sum() / 1e6 / len(gaps),
            "p50_ms": numpy.percentile(gaps, 50, method="inverted_cdf") / 1e6,
            "p99_ms": numpy.percentile(gaps, 99, method="inverted_cdf") / 1e6,
            "max_ms": gaps.max() / 1e6,
        }
    return answers


def of_duckdb(path):
    import duckdb

    columns = """{arm: 'VARCHAR', phase: 'VARCHAR', outcome: 'STRUCT(state VARCHAR)', request_index: 'BIGINT',
        timing: 'STRUCT(first_token_ns BIGINT, last_token_ns BIGINT, chunks STRUCT(at_ns BIGINT, tokens INTEGER)[])',
        output: 'STRUCT(tokens INTEGER)', spec: 'STRUCT(drafted BIGINT, accepted BIGINT)'}"""
    duckdb.sql("SET threads = 2; SET preserve_insertion_order = false")
    result = duckdb.sql(f"""
        WITH rows AS MATERIALIZED (
            SELECT arm, timing.first_token_ns AS ttft_ns, spec.drafted AS drafted, spec.accepted AS accepted,
                   output.tokens - timing.chunks[1].tokens AS tokens,
                   timing.last_token_ns - timing.chunks[1].at_ns AS span_ns,
                   list_transform(range(2, len(timing.chunks) + 1),
                                  lambda i: timing.chunks[i].at_ns - timing.chunks[i - 1].at_ns) AS gaps
            FROM read_json('{path}', format = 'newline_delimited', columns = {columns},
                           maximum_object_size = 67108864)
            WHERE phase = 'measured' AND outcome.state = 'completed'),
        by_request AS (
            SELECT arm, count(*) AS requests, sum(tokens)::DOUBLE * 1e9 / sum(span_ns)::DOUBLE AS tokens_per_s,
                   median(ttft_ns) / 1e6 AS ttft_ms, sum(accepted)::DOUBLE / sum(drafted)::DOUBLE AS acceptance_rate
            FROM rows GROUP BY arm),
        by_gap AS (
            SELECT arm, count(*) AS gaps, sum(gap)::DOUBLE / 1e6 / count(*) AS mean_ms,
                   quantile_disc(gap, 0.5) / 1e6 AS p50_ms, quantile_disc(gap, 0.99) / 1e6 AS p99_ms, max(gap) / 1e6 AS max_ms
            FROM (SELECT arm, unnest(gaps) AS gap FROM rows) GROUP BY arm)
        SELECT * FROM by_request JOIN by_gap USING (arm) ORDER BY arm""")
    return {row[0]: dict(zip(result.columns[1:], row[1:])) for row in result.fetchall()}


if __name__ == "__main__":
    tool, run = sys.argv[1:]
    started = time.perf_counter()
    found = {"pandas": of_pandas, "duckdb": of_duckdb}[tool](f"{run}/rows.jsonl")
    print(json.dumps(found, indent=1, default=float))
    print(f"{tool}: {time.perf_counter() - started:.1f} s", file=sys.stderr)
