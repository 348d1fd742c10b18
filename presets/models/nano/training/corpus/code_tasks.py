"""Small code with its request. The tasks stand in the `*_tasks` modules; each
is a template whose names vary, so that code is not learnt by heart."""

import random
from string import Template
from typing import NamedTuple

import record_code
from javascript_tasks import JAVASCRIPT_TASKS
from python_data_tasks import DATA_TASKS
from python_number_tasks import NUMBER_TASKS
from query_tasks import SHELL_TASKS, SQL_TASKS
from rust_tasks import RUST_TASKS
from samples import Sample, chat, raw, same_side, spin

PYTHON_TASKS = NUMBER_TASKS | DATA_TASKS
OTHER_TASKS = RUST_TASKS | JAVASCRIPT_TASKS | SQL_TASKS | SHELL_TASKS


class Snippet(NamedTuple):
    """Code with an example that holds (Python only: an expression that is true)."""

    task: str
    language: str
    what: str
    ask: str
    code: str
    example: str | None


def sample(rng: random.Random) -> Sample:
    """A request with its code, the code alone, or code with a question on it."""
    if rng.random() < 0.3:
        return record_code.sample(rng)
    snippet, key = snippet_and_key(rng)
    form = rng.random()
    if form < 0.14:
        return raw("code", key, snippet.code + _assertion(rng, snippet) + "\n")
    if form < 0.24:
        return _file(rng, snippet, key)
    fenced = f"```{snippet.language}\n{snippet.code}\n```"
    if form < 0.38 and same_side("code", f"explain|{snippet.what}", key):
        return _explanation(rng, snippet, key, fenced)
    if form < 0.6:
        return chat("code", key, snippet.ask, snippet.code)
    if snippet.example and rng.random() < 0.4:
        fenced += spin(rng, "\n\n[Example: `{e}` is true.|For example, `{e}`.|Test: `assert {e}`]", e=snippet.example)
    return chat("code", key, snippet.ask, fenced)


def _assertion(rng: random.Random, snippet: Snippet) -> str:
    return f"\n\n\nassert {snippet.example}" if snippet.example and rng.random() < 0.6 else ""


def _file(rng: random.Random, first: Snippet, key: str) -> Sample:
    """A raw file of two or three snippets in one language, of the same side of the split."""
    snippets = [first]
    for _ in range(40):
        snippet, other = snippet_and_key(rng)
        fresh = snippet.task not in {known.task for known in snippets}
        if snippet.language == first.language and fresh and same_side("code", key, other):
            snippets.append(snippet)
        if len(snippets) == 3:
            break
    gap = "\n\n\n" if first.language == "python" else "\n\n"
    return raw("code", key, gap.join(snippet.code for snippet in snippets) + "\n")


def _explanation(rng: random.Random, snippet: Snippet, key: str, fenced: str) -> Sample:
    ask = spin(
        rng,
        "[What does this do?|Explain this code.|What is this {l} code for?|Describe the code in one sentence.|Can you explain this {l} code?]",
        l=_LABELS[snippet.language],
    )
    told = spin(
        rng,
        "[It is|This is|The code is] {n} that {w}.",
        n=_noun(snippet.language, snippet.what),
        w=snippet.what.removeprefix("class: "),
    )
    return chat("code", key, f"{ask}\n\n{fenced}", told)


_LABELS = {"python": "Python", "rust": "Rust", "javascript": "JavaScript", "sql": "SQL", "bash": "shell"}


def snippet_and_key(rng: random.Random) -> tuple[Snippet, str]:
    """Draws a task and its names; the key holds both."""
    tasks = rng.choices((PYTHON_TASKS, OTHER_TASKS), (45, 55))[0]
    name, task = rng.choice(list(tasks.items()))
    names = {slot: rng.choice(options.split()) for slot, options in task["names"].items()}
    # One name must not stand for two things in the same snippet.
    while len(set(names.values())) < len(names):
        names = {slot: rng.choice(options.split()) for slot, options in task["names"].items()}
    language = task["language"]
    what, code = (Template(task[part].strip("\n")).substitute(names) for part in ("ask", "code"))
    proved = Template(task["example"]).substitute(names) if task["example"] else None
    snippet = Snippet(name, language, what, _ask(rng, language, what), code, proved)
    return snippet, f"{name}|{'|'.join(names.values())}"


def _noun(language: str, what: str) -> str:
    if language == "sql":
        return "a SQL query"
    if language == "bash":
        return "a shell script"
    kind = "function"
    if what.startswith("class: "):
        kind = "struct" if language == "rust" else "class"
    return f"a {_LABELS[language]} {kind}"


def _ask(rng: random.Random, language: str, what: str) -> str:
    lead = "[Write {n}|I need {n}|Show me {n}|Please write {n}|Can you write {n}|Give me {n}|Help me to write {n}] that {w}"
    text = spin(rng, lead, n=_noun(language, what), w=what.removeprefix("class: "))
    mark = "?" if text.startswith("Can") else "."
    return text + mark + spin(rng, "[|||| Keep it short.| Add a short comment.| Code only.| Use clear names.]")
