"""What one sample is, and the small template language the categories write with.

A sample carries a content key: the fillers that decide what it says (product,
fault and site; operands; plot, hero and place). The key alone decides whether
the sample is held out, so no two samples of the same content ever land on
different sides of the split. Nothing here knows about any category.
"""

import random
import re
import zlib
from typing import NamedTuple

# One key in this many is held out: about 2 % of the bytes.
HELD_OUT_ONE_IN = 50

_CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
_ARTICLE = re.compile(r"\b([Aa])\(n\) (\w)")
# Not after `?" ` and `!" `, where the speaker often follows.
_SENTENCE_START = re.compile(r"(^|[.!?] |[.]\" |\n)([a-z])")


class Sample(NamedTuple):
    """One line of the corpus with the key of its content."""

    key: str
    row: dict

    def text_bytes(self) -> int:
        """UTF-8 bytes of the parts a model reads (no JSON framing)."""
        parts = ("system", "user", "model", "text")
        return sum(len((self.row.get(part) or "").encode()) for part in parts)


def chat(category: str, key: str, user: str, model: str, system: str | None = None) -> Sample:
    """A question with its answer."""
    row = {"category": category, "system": system, "user": user, "model": model}
    return Sample(f"{category}/{key}", row)


def raw(category: str, key: str, text: str) -> Sample:
    """A text of its own, without roles."""
    return Sample(f"{category}/{key}", {"category": category, "text": text})


def is_held_out(key: str) -> bool:
    """The split: a checksum of the content key, the same on every machine."""
    return zlib.crc32(key.encode()) % HELD_OUT_ONE_IN == 0


def same_side(category: str, key: str, other: str) -> bool:
    """Whether a sample of `key` may also hold the content of `other`."""
    return is_held_out(f"{category}/{key}") == is_held_out(f"{category}/{other}")


def spin(rng: random.Random, template: str, **fills: object) -> str:
    """Write a template: `[a|b]` draws one branch (they nest), `{name}` is filled,
    `a(n)` becomes the article that fits the next word."""
    while _CHOICE.search(template):
        template = _CHOICE.sub(lambda found: rng.choice(found[1].split("|")), template)
    text = template.format(**fills) if fills else template
    return _ARTICLE.sub(_article, text)


def _article(found: re.Match) -> str:
    vowel = found[2].lower() in "aeiou"
    return f"{found[1]}{'n' if vowel else ''} {found[2]}"


def capitalised(text: str) -> str:
    """Capital letters at the start of sentences that a template left small."""
    return _SENTENCE_START.sub(lambda found: found[1] + found[2].upper(), text)


def joined(words: list[str], last: str = "and") -> str:
    """`a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
