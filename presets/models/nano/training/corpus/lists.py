"""Lists: packing and shopping, steps of everyday tasks, tables and enumerations."""

import random
import string
from collections.abc import Sequence

import words
from howto import STEPS
from samples import Sample, chat, raw, spin

_TRIPS = {
    "the beach": "swimsuit,towel,sun cream,sunglasses,hat,sandals,water bottle,book,umbrella,snacks,ball,shorts",
    "the mountains": "hiking boots,rain jacket,map,compass,water bottle,warm socks,first aid kit,gloves,torch,snacks,rope,whistle",
    "a camping weekend": "tent,sleeping bag,mat,torch,matches,pot,cup,spoon,warm sweater,rope,insect spray,pillow",
    "a city break": "passport,camera,charger,comfortable shoes,jacket,map,umbrella,wallet,tickets,notebook,small bag,phone",
    "a ski trip": "skis,helmet,goggles,thick gloves,scarf,warm socks,ski pass,lip balm,thermos,hat,sweater,boots",
    "a business trip": "laptop,charger,passport,shirts,suit,notebook,pens,business cards,tickets,shoes,phone,toothbrush",
    "a picnic": "blanket,basket,bread,cheese,apples,juice,cups,plates,knife,napkins,ball,cake",
    "a bicycle tour": "helmet,pump,repair kit,water bottle,map,gloves,rain jacket,lights,snacks,lock,sunglasses,phone",
    "a night in hospital": "insurance card,slippers,pyjamas,toothbrush,book,phone,charger,glasses,towel,list of medicines,socks,soap",
    "a school trip": "lunch box,water bottle,rain jacket,pencil,notebook,hat,sun cream,pocket money,snacks,tissues,backpack,map",
    "a boat trip": "life jacket,hat,rope,rain jacket,water bottle,sun cream,map,torch,sandwiches,gloves,towel,whistle",
    "a visit to the grandparents": "pyjamas,toothbrush,photo album,flowers,book,card game,slippers,sweater,charger,drawing,cake,socks",
}
_GROUPS = {
    "fruits": words.FRUITS,
    "vegetables": words.VEGETABLES,
    "animals": words.ANIMALS,
    "jobs": words.JOBS,
    "household objects": words.OBJECTS,
    "cities": words.CITIES,
    "colours": words.COLOURS,
    "first names": words.NAMES,
    "things in a kitchen cupboard": words.GROCERIES,
    "products": words.GOODS,
    "places": words.PLACES,
    "departments": words.DEPARTMENTS,
    "planets": tuple("Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split()),
    "months": words.MONTHS,
    "days of the week": words.DAYS,
    "instruments": tuple("piano violin flute drum guitar trumpet harp cello clarinet organ banjo tuba".split()),
    "sports": tuple("football tennis swimming running rowing cycling skiing boxing golf judo hockey sailing".split()),
    "trees": tuple("oak beech birch pine maple willow elm ash fir lime chestnut alder".split()),
    "metals": tuple("iron copper zinc tin lead gold silver nickel aluminium titanium".split()),
}
_ORDERED = {
    "the months of the year": words.MONTHS,
    "the days of the week": words.DAYS,
    "the planets from the sun outwards": _GROUPS["planets"],
    "the letters of the alphabet": tuple(string.ascii_uppercase),
    "the seasons": ("spring", "summer", "autumn", "winter"),
    "the colours of the rainbow": tuple("red orange yellow green blue indigo violet".split()),
    "the continents": ("Africa", "Antarctica", "Asia", "Europe", "North America", "Oceania", "South America"),
    "the oceans": ("Arctic Ocean", "Atlantic Ocean", "Indian Ocean", "Pacific Ocean", "Southern Ocean"),
    "the meals of the day": ("breakfast", "lunch", "dinner"),
    "the five senses": ("sight", "hearing", "smell", "taste", "touch"),
    "the primes below fifty": tuple("2 3 5 7 11 13 17 19 23 29 31 37 41 43 47".split()),
    "the powers of two up to 4096": tuple(str(2**n) for n in range(13)),
}


def sample(rng: random.Random) -> Sample:
    """One list of any kind."""
    kinds = (
        _packing,
        _packing,
        _shopping,
        _shopping,
        _steps,
        _steps,
        _steps,
        _table,
        _table,
        _table,
        _naming,
        _naming,
        _ordered,
        _numbers,
        _plan,
        _sorting,
    )
    return rng.choice(kinds)(rng)


def _bullets(rng: random.Random, entries: list[str], numbered: bool = False) -> str:
    if numbered:
        return "\n".join(f"{n}. {entry}" for n, entry in enumerate(entries, 1))
    mark = rng.choice(("-", "-", "*"))
    return "\n".join(f"{mark} {entry}" for entry in entries)


def _in_bank_order(rng: random.Random, bank: Sequence[str], count: int) -> list[str]:
    """Some entries in the order of the bank: as in real lists, what belongs together
    stands together, so the next entry can be guessed."""
    return [bank[place] for place in sorted(rng.sample(range(len(bank)), count))]


def _packing(rng: random.Random) -> Sample:
    trip, bank = rng.choice(list(_TRIPS.items()))
    entries = _in_bank_order(rng, bank.split(","), rng.randint(4, 10))
    name = rng.choice(words.NAMES)
    numbered = rng.random() < 0.4
    ask = spin(
        rng,
        "[Write a packing list for {t}.|What should {n} pack for {t}? [Give a list.|List {k} things.]|{n} is going on {t}. Make a packing list with {k} things."
        "|Packing list for {t}, please.|Help {n} to pack for {t}: {k} things.|List {k} things to take for {t}.]",
        t=trip,
        n=name,
        k=len(entries),
    )
    ask = ask.replace("going on the", "going to the")
    lead = spin(
        rng,
        "[|Packing list for {t}:\n|For {t}:\n|Here is a packing list for {t}:\n|{n} should pack:\n]",
        t=trip,
        n=name,
    )
    return chat(
        "lists", f"packing|{trip}|{'|'.join(sorted(entries[:2]))}", ask, lead + _bullets(rng, entries, numbered)
    )


def _shopping(rng: random.Random) -> Sample:
    amounts = ("1 kg", "2 kg", "500 g", "a bag", "2 packs", "one box", "3", "6", "a jar", "one bottle")
    bank = words.GROCERIES if rng.random() < 0.4 else words.FRUITS + words.VEGETABLES
    entries = rng.sample(bank, rng.randint(3, 9))
    with_amounts = bank is not words.GROCERIES and rng.random() < 0.6
    written = [f"{rng.choice(amounts[:6])} of {entry}" if with_amounts else entry for entry in entries]
    occasion = spin(
        rng,
        "[dinner with {n}|the weekend|a soup|a party|the week|breakfast|a cake for {n}|the family|a lunch in the garden]",
        n=rng.choice(words.NAMES),
    )
    key = f"shopping|{'|'.join(sorted(entries[:2]))}"
    if rng.random() < 0.25:
        return raw("lists", key, f"Shopping list for {occasion}:\n{_bullets(rng, written)}")
    ask = spin(
        rng,
        "[Turn this into a shopping list: {e}.|We need {e} for {o}. Write it as a list.|Make a shopping list for {o} with {e}.|List on separate lines: {e}.]",
        e=", ".join(written),
        o=occasion,
    )
    lead = spin(rng, "[|Shopping list for {o}:\n|Shopping list:\n]", o=occasion)
    return chat("lists", key, ask, lead + _bullets(rng, written, rng.random() < 0.3))


def _steps(rng: random.Random) -> Sample:
    """Instructions: each step is said in one of several ways, some steps may be left out."""
    task, steps = rng.choice(list(STEPS.items()))
    kept = [step for step in steps if not step.startswith("?") or rng.random() < 0.6]
    entries = [spin(rng, step.removeprefix("?"), k=rng.randint(2, 15)) for step in kept]
    ask = spin(
        rng,
        "[How do I {t}?|Explain step by step how to {t}.|Write instructions: how to {t}.|Give me the steps to {t}.|List the steps to {t}.|I want to {t}. What are the steps?]",
        t=task,
    )
    lead = spin(rng, "[|Follow these steps to {t}:\n|How to {t}:\n|Steps:\n|Here is how to {t}:\n]", t=task)
    return chat(
        "lists", f"steps|{task}|{entries[0]}|{entries[-1]}", ask, lead + _bullets(rng, entries, rng.random() < 0.85)
    )


def _table(rng: random.Random) -> Sample:
    """A markdown table of records that the question gives in a row."""
    columns = {
        "name": words.NAMES,
        "city": words.CITIES,
        "product": words.GOODS,
        "job": words.JOBS,
        "day": words.DAYS,
        "colour": words.COLOURS,
        "animal": words.ANIMALS,
        "age": range(5, 90),
        "price": range(1, 300),
        "count": range(1, 60),
    }
    heads = rng.sample(list(columns), rng.randint(2, 4))
    rows = [[str(rng.choice(columns[head])) for head in heads] for _ in range(rng.randint(2, 6))]
    lines = ["| " + " | ".join(heads) + " |", "|" + "|".join(" --- " for _ in heads) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    key = f"table|{'|'.join(heads)}|{rows[0][0]}|{rows[1][0]}"
    if rng.random() < 0.2:
        return raw("lists", key, "\n".join(lines))
    given = "; ".join(", ".join(row) for row in rows)
    ask = spin(
        rng,
        "[Make a markdown table with the columns {h}: {g}.|Write this as a markdown table ({h}): {g}.|Format as a table with {h}: {g}.]",
        h=", ".join(heads),
        g=given,
    )
    return chat("lists", key, ask, "\n".join(lines))


def _naming(rng: random.Random) -> Sample:
    group, bank = rng.choice(list(_GROUPS.items()))
    entries = _in_bank_order(rng, bank, rng.randint(3, min(10, len(bank))))
    ask = spin(
        rng,
        "[Name {k} {g}.|List {k} {g}.|Give me {k} {g} as a list.|Write down {k} {g}, one per line.]",
        k=len(entries),
        g=group,
    )
    return chat(
        "lists", f"naming|{group}|{'|'.join(sorted(entries[:2]))}", ask, _bullets(rng, entries, rng.random() < 0.5)
    )


def _ordered(rng: random.Random) -> Sample:
    """A stretch of a fixed order: a whole, its beginning, its end or from an entry on."""
    what, entries = rng.choice(list(_ORDERED.items()))
    count = rng.randint(2, len(entries))
    start = rng.randrange(len(entries) - count + 1)
    chosen = list(entries[start : start + count])
    if count == len(entries):
        ask = spin(rng, "[List|Name|Write down|Enumerate] {w}[.| in order.|, one per line.]", w=what)
    else:
        ask = spin(
            rng,
            "[Of {w}, list {k} from {f} on.|Start at {f} and list {k} of {w}.|List {k} of {w}, beginning with {f}.]",
            w=what,
            k=count,
            f=chosen[0],
        )
    style = rng.randrange(3)
    reply = ", ".join(chosen) + "." if style == 2 else _bullets(rng, chosen, style == 0)
    return chat("lists", f"ordered|{what}|{start}|{count}", ask, reply)


def _numbers(rng: random.Random) -> Sample:
    names = {
        "squares": lambda n: n * n,
        "cubes": lambda n: n**3,
        "even numbers": lambda n: 2 * n,
        "odd numbers": lambda n: 2 * n - 1,
        "triangular numbers": lambda n: n * (n + 1) // 2,
        "multiples of {m}": lambda n: n * multiple,
    }
    multiple = rng.randint(3, 30)
    name, rule = rng.choice(list(names.items()))
    name = name.format(m=multiple)
    first, count = rng.randint(1, 20), rng.randint(4, 12)
    values = [str(rule(n)) for n in range(first, first + count)]
    ask = spin(
        rng,
        "[List {k} {n} from {f} on.|Write {k} {n}, starting at {f}.|Continue with {k} {n}, beginning at {f}.]",
        k=count,
        n=name,
        f=values[0],
    )
    reply = ", ".join(values) if rng.random() < 0.5 else _bullets(rng, values, rng.random() < 0.5)
    return chat("lists", f"numbers|{name}|{first}", ask, reply)


def _plan(rng: random.Random) -> Sample:
    """A day or a week with one entry a line."""
    things = (
        "clean the kitchen",
        "water the plants",
        "call {n}",
        "buy bread",
        "read a book",
        "swim",
        "write to {n}",
        "pay the bills",
        "visit {n}",
        "repair the {o}",
        "cook soup",
        "go for a walk",
        "wash the car",
        "practise the piano",
        "meet {n} at the {p}",
        "paint the {o}",
        "feed the {a}",
        "bake a cake",
        "play chess with {n}",
        "tidy the desk",
        "look for the {o}",
    )
    days = rng.random() < 0.5
    heads = (
        list(words.DAYS[: rng.randint(3, 7)])
        if days
        else [f"{h:02d}:00" for h in sorted(rng.sample(range(7, 22), rng.randint(3, 7)))]
    )
    fills = lambda: {
        "n": rng.choice(words.NAMES),
        "o": rng.choice(words.OBJECTS),
        "p": rng.choice(words.PLACES),
        "a": rng.choice(words.ANIMALS),
    }
    entries = [f"{head}: {thing.format(**fills())}" for head, thing in zip(heads, rng.sample(things, len(heads)))]
    name = rng.choice(words.NAMES)
    key = f"plan|{entries[0]}|{name}"
    body = _bullets(rng, entries)
    if rng.random() < 0.4:
        return raw("lists", key, f"Plan of {name} for the {'week' if days else 'day'}:\n{body}")
    ask = spin(
        rng,
        "[Make a plan for the {w} for {n}.|Write a timetable of the {w} for {n}.|Plan the {w} of {n} with {k} entries.]",
        w="week" if days else "day",
        n=name,
        k=len(entries),
    )
    return chat("lists", key, ask, body)


def _sorting(rng: random.Random) -> Sample:
    bank = rng.choice((words.NAMES, words.CITIES, words.GOODS, words.ANIMALS, words.OBJECTS))
    entries = rng.sample(bank, rng.randint(3, 9))
    ask = spin(
        rng,
        "[Sort these from a to z: {e}.|Put in alphabetical order: {e}.|Alphabetical list, please: {e}.]",
        e=", ".join(entries),
    )
    return chat(
        "lists", f"sorting|{'|'.join(sorted(entries)[:2])}", ask, _bullets(rng, sorted(entries), rng.random() < 0.4)
    )
