"""Record types with drawn fields, in five languages: the part of the code samples
that cannot be learnt by heart, because each type is a new combination."""

import random
from typing import NamedTuple

import words
from samples import Sample, chat, raw, spin

# Each language's name of the same kind of value.
_TYPES = {
    "text": {"python": "str", "rust": "String", "sql": "TEXT", "javascript": "string"},
    "whole": {"python": "int", "rust": "i64", "sql": "INTEGER", "javascript": "number"},
    "decimal": {"python": "float", "rust": "f64", "sql": "REAL", "javascript": "number"},
    "flag": {"python": "bool", "rust": "bool", "sql": "BOOLEAN", "javascript": "boolean"},
}
_FIELDS = {
    "text": "name city street colour status title email phone country note kind label owner author".split(),
    "whole": "count year age stock pages floor seats rooms score level points visits".split(),
    "decimal": "price weight height width length rating discount distance speed".split(),
    "flag": "active paid hidden urgent open done locked public".split(),
}
_RECORDS = (
    "Order Customer Book Room Ticket Invoice Employee Product Garden Vehicle Lesson Recipe Patient Parcel Machine Player "
    "Concert Library Meeting Shop Train Animal House Song Task Note Event Sensor Report Account"
).split()


# What a text field holds, where it is not the name of a product.
_VALUES = {
    "name": words.NAMES,
    "owner": words.NAMES,
    "author": words.NAMES,
    "city": words.CITIES,
    "colour": words.COLOURS,
    "street": words.STREETS,
    "status": ("new", "open", "done"),
}


class Record(NamedTuple):
    """A type: its name, and its fields with the kind of each."""

    name: str
    fields: tuple[tuple[str, str], ...]

    @property
    def numbers(self) -> list[str]:
        return [field for field, kind in self.fields if kind in ("whole", "decimal")]


def sample(rng: random.Random) -> Sample:
    """A request for a type or for a function over a list of them."""
    record = _record(rng)
    language = rng.choice(("python", "python", "rust", "sql", "javascript", "html"))
    what, code = _WRITERS[language](rng, record)
    key = f"record|{record.name}|{'|'.join(field for field, _ in record.fields)}"
    if rng.random() < 0.3:
        return raw("code", key, code + "\n")
    ask = spin(
        rng,
        "[Write|I need|Give me|Show me|Please write] {w} with the fields {f}.",
        w=what,
        f=", ".join(field for field, _ in record.fields),
    )
    return chat("code", key, ask, f"```{language}\n{code}\n```" if rng.random() < 0.7 else code)


def _record(rng: random.Random) -> Record:
    fields = {}
    for _ in range(rng.randint(2, 5)):
        kind = rng.choice(("text", "text", "whole", "decimal", "flag"))
        fields[rng.choice(_FIELDS[kind])] = kind
    return Record(rng.choice(_RECORDS), tuple(fields.items()))


def _python(rng: random.Random, record: Record) -> tuple[str, str]:
    small = record.name.lower()
    lines = [
        "from dataclasses import dataclass",
        "",
        "",
        "@dataclass",
        f"class {record.name}:",
        f'    """A(n) {small}."""',
        "",
    ]
    lines += [f"    {field}: {_TYPES[kind]['python']}" for field, kind in record.fields]
    code = spin(rng, "\n".join(lines))
    if record.numbers and rng.random() < 0.6:
        number = rng.choice(record.numbers)
        code += (
            f"\n\n\ndef total_{number}({small}s: list[{record.name}]) -> float:\n"
            f'    """Return the sum of all {number} values."""\n'
            f"    return sum({small}.{number} for {small} in {small}s)"
        )
    return f"a Python dataclass {record.name}", code


def _rust(rng: random.Random, record: Record) -> tuple[str, str]:
    small = record.name.lower()
    lines = [spin(rng, f"/// A(n) {small}."), "#[derive(Debug, Clone)]", f"pub struct {record.name} {{"]
    lines += [f"    pub {field}: {_TYPES[kind]['rust']}," for field, kind in record.fields]
    lines.append("}")
    if record.numbers and rng.random() < 0.6:
        number = rng.choice(record.numbers)
        kind = _TYPES[dict(record.fields)[number]]["rust"]
        lines += [
            "",
            f"/// Returns the sum of all {number} values.",
            f"pub fn total_{number}({small}s: &[{record.name}]) -> {kind} {{",
            f"    {small}s.iter().map(|{small}| {small}.{number}).sum()",
            "}",
        ]
    return f"a Rust struct {record.name}", "\n".join(lines)


def _sql(rng: random.Random, record: Record) -> tuple[str, str]:
    table = record.name.lower() + "s"
    columns = [f"  {field} {_TYPES[kind]['sql']}{rng.choice(('', ' NOT NULL'))}" for field, kind in record.fields]
    code = f"CREATE TABLE {table} (\n  id INTEGER PRIMARY KEY,\n" + ",\n".join(columns) + "\n);"
    rows = [
        f"  ({number}, {', '.join(_literal(rng, field, kind) for field, kind in record.fields)})"
        for number in range(1, rng.randint(1, 4) + 1)
    ]
    if rng.random() < 0.6:
        names = ", ".join(field for field, _ in record.fields)
        code += f"\n\nINSERT INTO {table} (id, {names}) VALUES\n" + ",\n".join(rows) + ";"
    return f"a SQL table {table}", code


def _literal(rng: random.Random, field: str, kind: str) -> str:
    return {
        "text": f"'{rng.choice(_VALUES.get(field, words.GOODS))}'",
        "whole": str(rng.randint(1, 200)),
        "decimal": f"{rng.randint(1, 99)}.{rng.randint(0, 9)}",
        "flag": rng.choice(("TRUE", "FALSE")),
    }[kind]


def _javascript(rng: random.Random, record: Record) -> tuple[str, str]:
    names = [field for field, _ in record.fields]
    lines = [
        spin(rng, f"// A(n) {record.name.lower()}."),
        f"class {record.name} {{",
        f"  constructor({', '.join(names)}) {{",
    ]
    lines += [f"    this.{name} = {name};" for name in names] + ["  }"]
    if rng.random() < 0.5:
        shown = rng.choice(names)
        lines += ["", "  toString() {", f'    return "{record.name}: " + this.{shown};', "  }"]
    return f"a JavaScript class {record.name}", "\n".join(lines + ["}"])


def _html(rng: random.Random, record: Record) -> tuple[str, str]:
    inputs = {"text": "text", "whole": "number", "decimal": "number", "flag": "checkbox"}
    lines = [f"<h2>{record.name}</h2>", f'<form action="/{record.name.lower()}" method="post">']
    for field, kind in record.fields:
        lines.append(f'  <label for="{field}">{field.capitalize()}</label>')
        lines.append(f'  <input id="{field}" name="{field}" type="{inputs[kind]}">')
    lines += [f"  <button>{rng.choice(('Save', 'Send', 'Submit', 'Add'))}</button>", "</form>"]
    return f"an HTML form {record.name}", "\n".join(lines)


_WRITERS = {"python": _python, "rust": _rust, "sql": _sql, "javascript": _javascript, "html": _html}
