#!/usr/bin/env python3
"""Our client and others against `bench mock`, in one sitting: what each reports, what was true, what each costs.

Not part of CI. Needs Linux, Python 3.11 and a built `bench`. Others run where they are given:

    pip download --no-deps sglang==0.5.23 && unzip -j sglang-*.whl '*/_bench*.so' -d sgl
    python adapters/benches/peers.py --bench target/release/bench --sglang sgl --vllm venv/bin/vllm > client.md

The mock has CPU 0 at real-time priority 20 where the system lets it; with `--priority` every client has priority 10 on all
CPUs, so that whatever else runs on the machine has no part in the figures, and all clients the same. CPU is user and system time of
the client's process tree; `per 1000` is it less that of the 1-stream case, over the chunks. Memory is the largest
resident set of one process of the tree.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PACE = ["--ttft-ms", "50", "--itl-ms", "10"]
CASES = {
    "paced 1": (PACE, 1, 4),
    "paced 64": (PACE, 64, 192),
    "paced 512": (PACE, 512, 1024),
    "unpaced 64": (["--ttft-ms", "0", "--itl-ms", "0"], 64, 512),
    "unpaced 512": (["--ttft-ms", "0", "--itl-ms", "0"], 512, 1024),
    "stall": (PACE + ["--stall-every", "40", "--stall-ms", "100"], 4, 16),
    "speculation": (PACE + ["--spec", "3,1,2,0", "--spec-k", "3"], 4, 16),
}
TOKENS = 128
EMPTY = {"ttft_p50": None, "ttft_p99": None, "itl_p50": None, "itl_p99": None, "itl_mean": None, "accept": None}


def rank(values, percent):
    return values[max(0, -(-len(values) * percent // 100) - 1)] if values else None


def from_rows(path):
    """What our rows say, by nearest rank."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row for row in rows if row["outcome"]["state"] == "completed"]
    ttft = sorted(row["timing"]["first_token_ns"] / 1e6 for row in rows)
    stamps = [[chunk["at_ns"] for chunk in row["timing"]["chunks"]] for row in rows]
    gaps = sorted((b - a) / 1e6 for row in stamps for a, b in zip(row, row[1:]))
    specs = [row["spec"] for row in rows if row["spec"] and row["spec"].get("accepted_histogram")]
    steps = sum(sum(spec["accepted_histogram"]) for spec in specs)
    return {
        "ttft_p50": rank(ttft, 50), "ttft_p99": rank(ttft, 99),
        "itl_p50": rank(gaps, 50), "itl_p99": rank(gaps, 99), "itl_mean": sum(gaps) / len(gaps),
        "accept": 1 + sum(spec["accepted"] for spec in specs) / steps if steps else None,
    }


def from_standard(result):
    """The names that vLLM and SGLang share."""
    return EMPTY | {
        "ttft_p50": result.get("median_ttft_ms"), "ttft_p99": result.get("p99_ttft_ms"),
        "itl_p50": result.get("median_itl_ms"), "itl_p99": result.get("p99_itl_ms"),
        "itl_mean": result.get("mean_itl_ms"),
        "accept": result.get("spec_decode_acceptance_length") or result.get("accept_length"),
    }


class Bench:
    name = "bench run"

    def __init__(self, program):
        self.program = program

    def command(self, case, url, streams, requests, work):
        method = 'method = "draft-model"\ndraft_max = 3' if case == "speculation" else 'method = "none"'
        text = f"""name = "peers"
description = "Clients against the mock."
[[stacks]]
kind = "openai"
required = true
[models]
target = "mock.gguf"
assistant = "mock-draft.gguf"
[serving]
route = "chat"
[sampling]
[workload]
max_tokens = {TOKENS}
ignore_eos = true
[run]
concurrency = {streams}
blocks = 1
warmup_requests = 0
[[variants]]
label = "arm"
{method}
"""
        for index in range(requests):
            text += f'[[workload.prompts]]\nid = "p{index}"\ncategory = "mock"\ntext = "{"word " * 31}{index}"\n'
        (work / "preset.toml").write_text(text)
        return [self.program, "run", work / "preset.toml", "--stack", "openai", "--at", f"openai={url}",
                "--no-report", "--out", work / "run"]

    def read(self, work):
        return from_rows(work / "run" / "rows.jsonl")


class Sglang:
    name = "sglang-bench"

    def __init__(self, directory):
        self.directory = directory

    def command(self, case, url, streams, requests, work):
        words = ["--backend", "sglang-oai-chat", "--base-url", url, "--model", "mock", "--tokenizer", tokenizer(work),
                 "--dataset-name", "random-ids", "--random-input-len", "32", "--random-output-len", str(TOKENS),
                 "--random-range-ratio", "1", "--num-prompts", str(requests), "--max-concurrency", str(streams),
                 "--warmup-requests", "0", "--ready-check-timeout-sec", "0", "--disable-tqdm",
                 "--output-file", work / "out.jsonl"]
        start = "import sys; sys.path.insert(0, sys.argv.pop(1)); import _bench; _bench.run_argv(sys.argv)"
        return [sys.executable, "-c", start, self.directory, *words]

    def read(self, work):
        return from_standard(json.loads((work / "out.jsonl").read_text().splitlines()[-1]))


class Vllm:
    name = "vllm bench serve"

    def __init__(self, program):
        self.program = program

    def command(self, case, url, streams, requests, work):
        return [self.program, "bench", "serve", "--backend", "openai-chat", "--base-url", url,
                "--endpoint", "/v1/chat/completions", "--model", "mock", "--tokenizer", tokenizer(work),
                "--dataset-name", "random", "--random-input-len", "32", "--random-output-len", str(TOKENS),
                "--num-prompts", str(requests), "--max-concurrency", str(streams), "--ignore-eos", "--disable-tqdm",
                "--save-result", "--result-dir", work, "--result-filename", "out.json"]

    def read(self, work):
        return from_standard(json.loads((work / "out.json").read_text()))


def tokenizer(work):
    """A tokenizer whose words are tokens, for clients that insist on one."""
    vocabulary = {"<unk>": 0, "mock": 1} | {f"w{index}": index + 2 for index in range(998)}
    tokens = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    (work / "tokenizer.json").write_text(json.dumps(tokens))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "model_max_length": 100000}
    (work / "tokenizer_config.json").write_text(json.dumps(config))
    return work


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, method="GET"):
    request = urllib.request.Request(url, method=method, data=b"" if method == "POST" else None)
    return urllib.request.urlopen(request, timeout=10).read()


def start_mock(bench, words):
    port = free_port()
    first = ["taskset", "-c", "0", "chrt", "-f", "20"]
    if subprocess.run([*first, "true"], capture_output=True).returncode != 0:
        first = []
    mock = subprocess.Popen([*first, bench, "mock", "--port", str(port), *words], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(100):
        try:
            ask(f"{url}/health")
            return mock, url
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the mock does not answer")


def watch(pid):
    """Waits for a process: its status, its times, and the largest resident set that it or a child of it was seen with
    (`ru_maxrss` begins with what this script held)."""
    memory_kb = 0
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return status, usage, memory_kb / 1024
        for one in tree(pid):
            try:
                lines = Path(f"/proc/{one}/status").read_text().splitlines()
            except OSError:
                continue
            peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
            memory_kb = max([memory_kb, *peak])
        time.sleep(0.02)


def tree(pid):
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return [pid, *(one for child in children for one in tree(int(child)))]


def play(client, case, bench, before):
    words, streams, requests = CASES[case]
    mock, url = start_mock(bench, words)
    work = Path(tempfile.mkdtemp(prefix="peers-"))
    try:
        command = before + [str(word) for word in client.command(case, url, streams, requests, work)]
        ask(f"{url}/reset", "POST")
        started = time.time()
        with open(work / "log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            status, usage, memory_mb = watch(process.pid)
        ended = time.time()
        truth = json.loads(ask(f"{url}/truth"))
        try:
            reported = client.read(work)
        except (OSError, ValueError, LookupError) as error:
            print(f"{client.name}, {case}: no result ({error}); see {work}/log", file=sys.stderr)
            return None
        first, last = truth["first_request_unix_ms"], truth["last_write_unix_ms"]
        result = reported | {
            "exit": os.waitstatus_to_exitcode(status), "truth": truth, "chunks": truth["chunks"],
            "cpu_s": usage.ru_utime + usage.ru_stime, "memory_mb": memory_mb,
            "start_s": first / 1e3 - started, "tail_s": ended - last / 1e3,
            "chunks_per_s": truth["chunks"] / max((last - first) / 1e3, 1e-3),
        }
        shutil.rmtree(work)
        return result
    finally:
        mock.kill()
        mock.wait()


def show(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, type=Path)
    parser.add_argument("--sglang", type=Path, help="directory with _bench*.so of the sglang wheel")
    parser.add_argument("--vllm", type=Path, help="the vllm program")
    parser.add_argument("--priority", action="store_true", help="run every client at real-time priority 10")
    parser.add_argument("--raw", type=Path, help="append a JSON line a case and client: everything that is in the table")
    parser.add_argument("--case", action="append", choices=list(CASES))
    args = parser.parse_args()
    bench = args.bench.resolve()
    clients = [Bench(bench)]
    clients += [Sglang(args.sglang)] if args.sglang else []
    clients += [Vllm(args.vllm)] if args.vllm else []
    print("| case | client | TTFT p50/p99 ms | true | ITL p50/p99 ms | true | ITL mean | true | tokens a step "
          "| chunks/s | CPU s | CPU ms per 1000 | memory MB | start s | exit |")
    print("|" + "---|" * 15)
    base = {}
    for case in args.case or CASES:
        for client in clients:
            got = play(client, case, bench, ["chrt", "-f", "10"] if args.priority else [])
            if got is None:
                continue
            if args.raw:
                with open(args.raw, "a") as raw:
                    raw.write(json.dumps({"case": case, "client": client.name} | got) + "\n")
            if case == "paced 1":
                base[client.name] = got["cpu_s"]
            marginal = got["cpu_s"] - base[client.name] if client.name in base else None
            # Fewer chunks cost less than two starts differ.
            per_1000 = None if marginal is None or got["chunks"] < 10_000 else marginal * 1e6 / got["chunks"]
            true = got["truth"]
            cells = [
                case, client.name, f"{show(got['ttft_p50'])}/{show(got['ttft_p99'])}",
                f"{show(true['ttft']['p50_ms'])}/{show(true['ttft']['p99_ms'])}",
                f"{show(got['itl_p50'], 3)}/{show(got['itl_p99'])}",
                f"{show(true['itl']['p50_ms'], 3)}/{show(true['itl']['p99_ms'])}",
                show(got["itl_mean"]), show(true["itl"]["mean_ms"]), show(got["accept"]),
                show(got["chunks_per_s"], 0), show(got["cpu_s"]), show(per_1000, 1), show(got["memory_mb"], 0),
                show(got["start_s"], 3), str(got["exit"]),
            ]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
