"""Small code with its request. The tasks stand in `python_tasks` and `other_tasks`;
each is a template whose names vary, so that code is not learnt by heart."""

import random
from string import Template
from typing import NamedTuple

from other_tasks import OTHER_TASKS
from python_tasks import PYTHON_TASKS
from samples import Sample, chat, raw, spin


class Snippet(NamedTuple):
    """Code with an example that holds (Python only: an expression that is true)."""

    task: str
    language: str
    ask: str
    code: str
    example: str | None


def sample(rng: random.Random) -> Sample:
    """A request with its code, or the code alone."""
    snippet, key = snippet_and_key(rng)
    form = rng.random()
    if form < 0.25:
        example = f"\n\n\nassert {snippet.example}" if snippet.example and rng.random() < 0.6 else ""
        return raw("code", key, snippet.code + example + "\n")
    fenced = form < 0.75
    body = f"```{snippet.language}\n{snippet.code}\n```" if fenced else snippet.code
    if fenced and snippet.example and rng.random() < 0.4:
        body += f"\n\nExample: `{snippet.example}` is true."
    return chat("code", key, snippet.ask, body)


_LABELS = {"python": "Python", "rust": "Rust", "javascript": "JavaScript", "sql": "SQL", "bash": "shell"}


def snippet_and_key(rng: random.Random) -> tuple[Snippet, str]:
    """Draws a task and its names; the key holds both."""
    if rng.random() < 0.45:
        name, task = rng.choice(list(PYTHON_TASKS.items()))
        language, example = "python", task.get("example")
    else:
        name, task = rng.choice(list(OTHER_TASKS.items()))
        language, example = task["language"], None
    names = {slot: rng.choice(options.split()) for slot, options in task["names"].items()}
    # One name must not stand for two things in the same snippet.
    while len(set(names.values())) < len(names):
        names = {slot: rng.choice(options.split()) for slot, options in task["names"].items()}
    write = lambda text: Template(text.strip("\n")).substitute(names)
    ask = _ask(rng, language, write(task["ask"]))
    snippet = Snippet(name, language, ask, write(task["code"]), write(example) if example else None)
    return snippet, f"{name}|{'|'.join(names.values())}"


def _ask(rng: random.Random, language: str, what: str) -> str:
    label = _LABELS[language]
    if language == "sql":
        return spin(rng, "[Write a SQL query that|Give me SQL that|SQL query that|I need a query that] ") + what + "."
    if language == "bash":
        return spin(rng, "[Write a shell script that|Write a bash script that|A shell command that|Show me a shell script that] ") + what + "."
    lead = spin(rng, "[Write a {l} function that|Write a small {l} function that|I need a {l} function that|Show me a {l} function that|In {l}, write a function that|Please write a {l} function that] ", l=label)
    return lead + what + spin(rng, "[.|.|. Keep it short.|. Add a short comment.|. Code only.]")
