"""Sums with their working. The operands are the content key, in either order, so a
held-out sum is never asked in training, not even turned around or as a word
problem. It may still appear as one line of a longer working.
"""

import random

import words
from samples import Sample, chat, raw, spin


def sample(rng: random.Random) -> Sample:
    """One exercise of any kind."""
    kinds = (_sum, _sum, _difference, _product, _division, _story, _story, _chain, _comparison, _drill, _percent)
    return rng.choice(kinds)(rng)


def _key(sign: str, left: int, right: int) -> str:
    low, high = sorted((left, right))
    return f"{low}{sign}{high}"


def _pair(rng: random.Random) -> tuple[int, int]:
    top = rng.choice((20, 100, 100, 1000))
    return rng.randint(2, top), rng.randint(2, top)


def _sum(rng: random.Random) -> Sample:
    left, right = _pair(rng)
    ask = spin(
        rng,
        "[What is {a} + {b}?|Add {a} and {b}.|Calculate {a} + {b}.|{a} + {b} = ?|Please add {b} to {a}, step by step.]",
        a=left,
        b=right,
    )
    return chat("arithmetic", _key("+", left, right), ask, _sum_steps(left, right))


def _sum_steps(left: int, right: int) -> str:
    if right < 10:
        return f"{left} + {right} = {left + right}"
    tens, ones = right // 10 * 10, right % 10
    lines = [f"{left} + {tens} = {left + tens}"]
    if ones:
        lines.append(f"{left + tens} + {ones} = {left + right}")
    return "\n".join(lines + [f"So {left} + {right} = {left + right}."])


def _difference(rng: random.Random) -> Sample:
    right, left = sorted(_pair(rng))
    ask = spin(
        rng,
        "[What is {a} - {b}?|Subtract {b} from {a}.|Calculate {a} - {b}.|{a} - {b} = ?|How much is {a} minus {b}?]",
        a=left,
        b=right,
    )
    tens, ones = right // 10 * 10, right % 10
    lines = [f"{left} - {tens} = {left - tens}"] if tens else []
    if ones:
        lines.append(f"{left - tens} - {ones} = {left - right}")
    lines.append(f"So {left} - {right} = {left - right}.")
    return chat("arithmetic", _key("-", left, right), ask, "\n".join(lines))


def _product(rng: random.Random) -> Sample:
    left, right = rng.randint(2, 99), rng.randint(2, 20)
    ask = spin(
        rng,
        "[What is {a} x {b}?|Multiply {a} by {b}.|Calculate {a} x {b} step by step.|{a} x {b} = ?|How much is {a} times {b}?]",
        a=left,
        b=right,
    )
    tens, ones = left // 10 * 10, left % 10
    lines = []
    if tens and ones:
        lines = [
            f"{left} = {tens} + {ones}",
            f"{tens} x {right} = {tens * right}",
            f"{ones} x {right} = {ones * right}",
            f"{tens * right} + {ones * right} = {left * right}",
        ]
    lines.append(f"So {left} x {right} = {left * right}.")
    return chat("arithmetic", _key("x", left, right), ask, "\n".join(lines))


def _division(rng: random.Random) -> Sample:
    divisor, quotient = rng.randint(2, 20), rng.randint(2, 60)
    rest = rng.choice((0, 0, rng.randint(0, divisor - 1)))
    whole = divisor * quotient + rest
    ask = spin(
        rng, "[What is {a} / {b}?|Divide {a} by {b}.|How often does {b} go into {a}?|{a} : {b} = ?]", a=whole, b=divisor
    )
    lines = [f"{divisor} x {quotient} = {divisor * quotient}"]
    if rest:
        lines += [
            f"{whole} - {divisor * quotient} = {rest}",
            f"So {whole} / {divisor} = {quotient} with remainder {rest}.",
        ]
    else:
        lines.append(f"So {whole} / {divisor} = {quotient}.")
    return chat("arithmetic", _key("/", whole, divisor), ask, "\n".join(lines))


def _story(rng: random.Random) -> Sample:
    """A word problem on one of the four operations."""
    one, two = rng.sample(words.NAMES, 2)
    thing = rng.choice(
        words.FRUITS + words.VEGETABLES + ("stickers", "marbles", "books", "stamps", "shells", "coins", "cards", "eggs")
    )
    big, small, each = rng.randint(20, 120), rng.randint(2, 19), rng.randint(2, 12)
    form, working, key = rng.choice(
        (
            (
                "[{x} has {b} {t} and {y} gives {x} {s} more. How many {t} does {x} have now?|There are {b} {t} in the box. {x} puts in {s} more. How many {t} are in the box?|{x} picked {b} {t} and {y} picked {s}. How many {t} did they pick together?]",
                f"{big} + {small} = {big + small}\nThe answer is {big + small} {thing}.",
                _key("+", big, small),
            ),
            (
                "[{x} has {b} {t} and gives {s} to {y}. How many {t} are left?|A shop has {b} {t}. {x} buys {s} of them. How many {t} does the shop still have?|Of {b} {t}, {s} were bad. How many {t} were good?]",
                f"{big} - {small} = {big - small}\nThe answer is {big - small} {thing}.",
                _key("-", big, small),
            ),
            (
                "[{x} fills {s} boxes with {e} {t} each. How many {t} are that?|{y} buys {s} bags. There are {e} {t} in each bag. How many {t} does {y} have?|Each of {s} children gets {e} {t}. How many {t} do they need?]",
                f"{small} x {each} = {small * each}\nThe answer is {small * each} {thing}.",
                _key("x", small, each),
            ),
            (
                "[{x} shares {m} {t} among {s} friends. How many {t} does each get?|{m} {t} go into {s} equal bags. How many {t} are in each bag?|{y} sorts {m} {t} into {s} rows. How many {t} are in one row?]",
                f"{small * each} / {small} = {each}\nThe answer is {each} {thing}.",
                _key("/", small * each, small),
            ),
        )
    )
    ask = spin(rng, form, x=one, y=two, t=thing, b=big, s=small, e=each, m=small * each)
    return chat("arithmetic", key, ask, working)


def _chain(rng: random.Random) -> Sample:
    """A shopping bill: several products and their total."""
    goods = rng.sample(words.GOODS, rng.randint(2, 4))
    counts = [rng.randint(1, 6) for _ in goods]
    prices = [rng.randint(2, 40) for _ in goods]
    name = rng.choice(words.NAMES)
    bought = ", ".join(f"{n} x {g} at {p} euros" for n, g, p in zip(counts, goods, prices))
    lines = [f"{g}: {n} x {p} = {n * p}" for n, g, p in zip(counts, goods, prices)]
    parts = [n * p for n, p in zip(counts, prices)]
    total = " + ".join(str(part) for part in parts)
    lines.append(f"total: {total} = {sum(parts)}")
    ask = spin(
        rng,
        "[{n} buys {b}. What is the total?|How much does {n} pay for {b}?|Bill for {n}: {b}. Work out the total.]",
        n=name,
        b=bought,
    )
    return chat("arithmetic", "bill|" + total, ask, "\n".join(lines))


def _comparison(rng: random.Random) -> Sample:
    left, right = rng.sample(range(10, 2000), 2)
    ask = spin(rng, "[Which is larger, {a} or {b}?|Compare {a} and {b}.|Is {a} larger than {b}?]", a=left, b=right)
    high, low = max(left, right), min(left, right)
    return chat(
        "arithmetic", _key("<", left, right), ask, f"{high} is larger than {low}. The difference is {high - low}."
    )


def _drill(rng: random.Random) -> Sample:
    """A row of a times table, or a count in steps."""
    start, step, length = rng.randint(0, 60), rng.randint(2, 25), rng.randint(5, 12)
    if rng.random() < 0.5:
        lines = [f"{n} x {step} = {n * step}" for n in range(start // 6 + 1, start // 6 + 1 + length)]
        return raw("arithmetic", f"table|{step}|{start // 6 + 1}", "\n".join(lines))
    ask = spin(
        rng,
        "[Count from {a} in steps of {s}, {n} numbers.|Start at {a} and add {s} again and again. Give {n} numbers.]",
        a=start,
        s=step,
        n=length,
    )
    return chat("arithmetic", f"count|{start}|{step}", ask, ", ".join(str(start + i * step) for i in range(length)))


def _percent(rng: random.Random) -> Sample:
    share, whole = rng.choice((5, 10, 15, 20, 25, 30, 40, 50, 60, 75)), 20 * rng.randint(1, 60)
    ask = spin(rng, "[What is {p} percent of {w}?|Calculate {p}% of {w}.|How much is {p} % of {w}?]", p=share, w=whole)
    result = whole * share // 100
    return chat(
        "arithmetic",
        f"percent|{share}|{whole}",
        ask,
        f"{whole} / 100 x {share} = {result}\nSo {share} percent of {whole} is {result}.",
    )
