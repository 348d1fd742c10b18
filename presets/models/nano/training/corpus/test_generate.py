"""Tests of the synthetic corpus: `python3 -m unittest test_generate` in this folder."""

import ast
import json
import random
import re
import tempfile
import unittest
from collections import Counter
from pathlib import Path

import code_tasks
import generate
import record_code
import tickets
import triage
from incidents import DOMAINS
from samples import is_held_out, spin

SEED, TEXT_BYTES = 7, 3_000_000


def incident(**facts: object) -> triage.Incident:
    """A ticket that states everything and is calm, but for `facts`."""
    calm = dict(
        domain=DOMAINS[0],
        system="login page",
        impact=2,
        symptom="fails",
        site="Oslo",
        scope="one",
        team_size=5,
        workaround=False,
        minutes=30,
        risk=None,
        hedged=False,
    )
    return triage.Incident(**(calm | facts))


class Corpus(unittest.TestCase):
    """One corpus, shared by the tests that read it."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.samples = list(generate.samples(SEED, TEXT_BYTES))

    def of(self, category: str) -> list[dict]:
        return [sample.row for sample in self.samples if sample.row["category"] == category]

    def test_rows_are_complete_and_distinct(self) -> None:
        for sample in self.samples:
            row = sample.row
            with self.subTest(key=sample.key):
                if "text" in row:
                    self.assertEqual(set(row), {"category", "text"})
                    self.assertTrue(row["text"].strip())
                else:
                    self.assertEqual(set(row), {"category", "system", "user", "model"})
                    self.assertTrue(row["user"].strip() and row["model"].strip())
        lines = [json.dumps(sample.row) for sample in self.samples]
        self.assertEqual(len(lines), len(set(lines)))

    def test_no_template_marks_are_left(self) -> None:
        marks = re.compile(r"\{[a-z0-9_]{1,7}\}|a\(n\)|\[[^\]\"=]*\|[^\]\"=]*\]|  +[a-z]+ing\b")
        for category in ("lists", "arithmetic", "summary", "dialogue", "prose"):
            for row in self.of(category):
                text = row.get("text") or f"{row['user']}\n{row['model']}"
                self.assertIsNone(marks.search(text), text)

    def test_shares(self) -> None:
        sizes = Counter()
        for sample in self.samples:
            sizes[sample.row["category"]] += sample.text_bytes()
        for name, category in generate.CATEGORIES.items():
            share = 100 * sizes[name] / sum(sizes.values())
            self.assertLess(abs(share - category.share), 3, name)

    def test_lengths(self) -> None:
        lengths = [sample.text_bytes() for sample in self.samples]
        self.assertLessEqual(max(lengths), 2500)

    def test_held_out_is_two_percent_and_of_other_keys(self) -> None:
        keys = {sample.key for sample in self.samples}
        held_out = {key for key in keys if is_held_out(key)}
        self.assertAlmostEqual(len(held_out) / len(keys), 1 / 50, delta=0.006)
        pairs = {True: set(), False: set()}
        for sample in self.samples:
            row = sample.row
            pairs[is_held_out(sample.key)].add((row.get("user"), row.get("model"), row.get("text")))
        self.assertFalse(pairs[True] & pairs[False])
        for category in generate.CATEGORIES:
            self.assertTrue(any(key.startswith(category + "/") for key in held_out), category)

    def test_triage_answers(self) -> None:
        asked = [row for row in self.of("json") if row.get("model", "").startswith('{\n  "severity"')]
        self.assertGreater(len(asked), 300)
        levels = Counter()
        for row in asked:
            answer = json.loads(row["model"])
            self.assertEqual(list(answer), ["severity", "escalate", "confidence", "rationale"])
            self.assertIsInstance(answer["escalate"], bool)
            self.assertRegex(row["model"], r'"confidence": 0\.\d\d,')
            self.assertEqual(answer["rationale"].count(". "), 0)
            levels[answer["severity"]] += 1
        self.assertEqual(set(levels), {"low", "medium", "high", "critical"})
        self.assertGreater(min(levels.values()) / len(asked), 0.1)

    def test_all_json_answers_parse(self) -> None:
        for row in self.of("json"):
            text = row.get("model") or row["text"]
            for document in text.splitlines() if text.startswith('{"time"') else [text]:
                json.loads(document)

    def test_arithmetic_is_right(self) -> None:
        equations = 0
        for row in self.of("arithmetic"):
            reply = row.get("model") or row["text"]
            for left, right, rest in re.findall(r"((?:\d+ [-+x/] )+\d+) = (\d+)(?: with remainder (\d+))?", reply):
                # Only digits and signs match, so eval sees nothing else.
                value = eval(left.replace("x", "*").replace("/", "//") if rest else left.replace("x", "*"))
                self.assertAlmostEqual(value, int(right), 6, reply)
                if rest:
                    self.assertEqual(eval(left.replace("/", "%")), int(rest), reply)
                equations += 1
        self.assertGreater(equations, 1000)


class Files(unittest.TestCase):
    """What the command writes."""

    def test_same_seed_same_bytes_and_split_by_key(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            first, second, other = (Path(folder) / name for name in "abc")
            generate.write(first, 1, 400_000)
            generate.write(second, 1, 400_000)
            generate.write(other, 2, 400_000)
            for name in ("train.jsonl", "held_out.jsonl"):
                self.assertEqual((first / name).read_bytes(), (second / name).read_bytes())
                self.assertNotEqual((first / name).read_bytes(), (other / name).read_bytes())
            train, held_out = ((first / name).read_text().splitlines() for name in ("train.jsonl", "held_out.jsonl"))
        expected = list(generate.samples(1, 400_000))
        self.assertEqual(len(train) + len(held_out), len(expected))
        by_line = {json.dumps(sample.row, ensure_ascii=False): sample.key for sample in expected}
        train_keys, held_out_keys = ({by_line[line] for line in lines} for lines in (train, held_out))
        self.assertTrue(held_out_keys)
        self.assertFalse(train_keys & held_out_keys)


class SeverityRule(unittest.TestCase):
    """The rule, spelled out case by case, and the text that states its facts."""

    def test_severity(self) -> None:
        cases = (
            ("critical", dict(impact=3, scope="everyone")),
            ("high", dict(impact=3, scope="everyone", workaround=True)),
            ("critical", dict(impact=1, risk="smoke is coming out")),
            ("low", dict(impact=0, scope="everyone")),
            ("medium", dict(impact=3, scope="one")),
            ("high", dict(impact=3, scope="team")),
            ("medium", dict(impact=1, scope="site")),
            ("low", dict(impact=1, scope="one")),
            ("low", dict(impact=2, scope="one", workaround=True)),
            ("medium", dict(impact=2, scope=None)),
        )
        for expected, facts in cases:
            with self.subTest(facts):
                self.assertEqual(triage.severity(incident(**facts)), expected)

    def test_escalation(self) -> None:
        self.assertTrue(triage.escalate(incident(impact=3, scope="site")))
        self.assertTrue(triage.escalate(incident(minutes=300)))
        self.assertFalse(triage.escalate(incident(minutes=240)))
        self.assertFalse(triage.escalate(incident(impact=1, minutes=720)))

    def test_confidence_falls_with_each_missing_fact(self) -> None:
        self.assertEqual(triage.confidence(incident()), 0.96)
        self.assertEqual(triage.confidence(incident(minutes=None)), 0.87)
        self.assertEqual(triage.confidence(incident(scope=None, workaround=None, minutes=None, hedged=True)), 0.57)

    def test_the_text_states_the_facts(self) -> None:
        rng = random.Random(3)
        for _ in range(2000):
            drawn = triage.draw_incident(rng)
            text = tickets.ticket(rng, drawn)
            self.assertIn(drawn.symptom, text)
            self.assertEqual("workaround" in text, drawn.workaround is not None, text)
            for fact in (drawn.risk, triage.who(drawn) if drawn.scope else None):
                if fact:
                    self.assertIn(fact.lower(), text.lower())
            if drawn.minutes is not None:
                self.assertIn(triage.duration(drawn.minutes), text)


class Code(unittest.TestCase):
    """Every Python snippet parses and its example holds."""

    def test_python(self) -> None:
        rng = random.Random(5)
        tasks = set()
        for _ in range(3000):
            snippet, _ = code_tasks.snippet_and_key(rng)
            tasks.add(snippet.task)
            if snippet.language == "python":
                names: dict[str, object] = {}
                exec(compile(ast.parse(snippet.code), snippet.task, "exec"), names)  # noqa: S102, our own code
                self.assertTrue(eval(snippet.example, names), snippet.code)  # noqa: S307
        self.assertEqual(tasks, set(code_tasks.PYTHON_TASKS) | set(code_tasks.OTHER_TASKS))
        self.assertGreaterEqual(len(tasks), 60)

    def test_records(self) -> None:
        rng = random.Random(6)
        for _ in range(1000):
            row = record_code.sample(rng).row
            code = re.sub(r"^```\w+\n|\n```$", "", row.get("model") or row["text"])
            if code.startswith("from dataclasses"):
                exec(compile(ast.parse(code), "record", "exec"), {"__name__": "record"})


class Templates(unittest.TestCase):
    """The small template language."""

    def test_spin(self) -> None:
        rng = random.Random(0)
        drawn = {spin(rng, "[A(n) {x}|the [red|blue] {x}]", x="owl") for _ in range(100)}
        self.assertEqual(drawn, {"An owl", "the red owl", "the blue owl"})


if __name__ == "__main__":
    unittest.main()
