"""JSON beside triage: records read out of a text, calls of tools, and raw documents."""

import json
import random

import words
from samples import Sample, chat, raw, spin
from tickets import batch, single

_ONLY_JSON = (
    "Answer with JSON only.",
    "Reply with one JSON object and nothing else.",
    "You extract data. Output strict JSON.",
    "You turn text into JSON. No comments, no extra text.",
    "Return valid JSON with two spaces of indent.",
)


def sample(rng: random.Random) -> Sample:
    """Mostly triage, the task of the quickstart; the rest keeps JSON general."""
    if rng.random() < 0.68:
        return single(rng) if rng.random() < 0.92 else batch(rng)
    return rng.choice((_order, _contact, _event, _items, _call, _document, _settings, _log_lines))(rng)


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2)


def _name(rng: random.Random) -> tuple[str, str]:
    return rng.choice(words.NAMES), rng.choice(words.SURNAMES)


def _ask(rng: random.Random, key: str, task: str, text: str, reply: object) -> Sample:
    """The task as a system prompt, or before or after the text."""
    form = rng.randrange(3)
    if form == 0:
        return chat("json", key, text, _pretty(reply), system=f"{rng.choice(_ONLY_JSON)} {task}")
    user = f"{task}\n\n{text}" if form == 1 else f"{text}\n\n{task}"
    return chat("json", key, user, _pretty(reply))


def _order(rng: random.Random) -> Sample:
    first, last = _name(rng)
    goods = rng.sample(words.GOODS, rng.randint(1, 4))
    items = [{"product": product, "quantity": rng.randint(1, 12)} for product in goods]
    listed = " and ".join(f"{item['quantity']} x {item['product']}" for item in items)
    order = {
        "customer": f"{first} {last}",
        "city": rng.choice(words.CITIES),
        "items": items,
        "express": rng.random() < 0.4,
    }
    form = (
        "[Hello, this is {n}. Please send {l} to {c}.|{n} from {c} would like to order {l}."
        "|New order by {n}: {l}. Ship to {c}.|Please note an order of {l} for {n}, {c}.]"
        " {e}"
    )
    speed = "[It is urgent, please use express.|Express delivery, please.]"
    calm = "[There is no hurry.|Normal delivery is fine.|Standard shipping.]"
    text = spin(
        rng, form, n=order["customer"], l=listed, c=order["city"], e=spin(rng, speed if order["express"] else calm)
    )
    task = spin(
        rng,
        "[Extract the order as JSON|Turn the order into JSON|Give the order as JSON] "
        "with the keys customer, city, items (product, quantity) and express.",
    )
    return _ask(rng, f"order|{goods[0]}|{last}|{order['city']}", task, text, order)


def _contact(rng: random.Random) -> Sample:
    first, last = _name(rng)
    company, city = rng.choice(words.COMPANIES), rng.choice(words.CITIES)
    mail = f"{first}.{last}@{company.split()[0]}.example".lower()
    phone = f"+{rng.randint(20, 99)} {rng.randint(100, 999)} {rng.randint(1000, 9999)}"
    person = {
        "name": f"{first} {last}",
        "company": company,
        "job": rng.choice(words.JOBS),
        "email": mail,
        "phone": phone,
        "address": {"street": f"{rng.choice(words.STREETS)} {rng.randint(1, 99)}", "city": city},
    }
    form = (
        "[{n} works as a(n) {j} at {c}. You can write to {m} or call {p}. The office is at {s} in {t}."
        "|Please add {n}, {j}, {c}, {s}, {t}. Phone {p}, email {m}."
        "|Kind regards\n{n}\n{j}, {c}\n{s}\n{t}\n{p}\n{m}"
        "|My name is {n} and I am a(n) {j}. I am with {c} at {s}, {t}. My number is {p} and my mail is {m}.]"
    )
    text = spin(
        rng, form, n=person["name"], j=person["job"], c=company, m=mail, p=phone, s=person["address"]["street"], t=city
    )
    task = spin(
        rng, "[Extract|Read|Collect] the contact as JSON: name, company, job, email, phone, " "address (street, city)."
    )
    return _ask(rng, f"contact|{last}|{company}|{city}", task, text, person)


def _event(rng: random.Random) -> Sample:
    kinds = (
        "team meeting",
        "concert",
        "workshop",
        "birthday party",
        "book reading",
        "fire drill",
        "yoga class",
        "town hall",
        "flea market",
        "chess evening",
        "guided walk",
        "open day",
    )
    hour, length = rng.randint(7, 19), rng.choice((1, 2, 3))
    event = {
        "title": rng.choice(kinds),
        "day": rng.choice(words.DAYS),
        "date": f"2025-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
        "start": f"{hour:02d}:00",
        "end": f"{hour + length:02d}:00",
        "place": f"{rng.choice(words.PLACES)} in {rng.choice(words.CITIES)}",
        "guests": rng.sample(words.NAMES, rng.randint(1, 4)),
    }
    form = (
        "[The {t} is on {d}, {date}, from {a} to {b} at the {p}. {g} will come."
        "|Please plan a(n) {t} for {d} ({date}). It starts at {a} and ends at {b}. Place: {p}. Guests: {g}."
        "|Do not forget: {t}, {d} {date}, {a} to {b}, {p}. With {g}.]"
    )
    text = spin(
        rng,
        form,
        t=event["title"],
        d=event["day"],
        date=event["date"],
        a=event["start"],
        b=event["end"],
        p=event["place"],
        g=", ".join(event["guests"]),
    )
    task = spin(rng, "[Give|Return|Write] the event as JSON with title, day, date, start, end, place " "and guests.")
    return _ask(rng, f"event|{event['title']}|{event['place']}", task, text, event)


def _items(rng: random.Random) -> Sample:
    kind, bank = rng.choice(
        (
            ("animals", words.ANIMALS),
            ("fruits", words.FRUITS),
            ("goods", words.GOODS),
            ("tools", words.OBJECTS),
            ("groceries", words.GROCERIES),
        )
    )
    chosen = rng.sample(bank, rng.randint(2, 6))
    field, values = rng.choice((("price", range(1, 200)), ("count", range(1, 60)), ("weight", range(1, 90))))
    rows = [{"id": number, "name": name, field: rng.choice(values)} for number, name in enumerate(chosen, 1)]
    text = "; ".join(f"{row['name']} ({field} {row[field]})" for row in rows)
    task = spin(
        rng,
        "[Make a JSON list of these {k}|Write these {k} as a JSON array|List the {k} as JSON] "
        "with id, name and {f}.",
        k=kind,
        f=field,
    )
    return _ask(rng, f"items|{chosen[0]}|{chosen[1]}|{field}", task, text, rows)


def _call(rng: random.Random) -> Sample:
    """Arguments of a tool call."""
    city, name, day = rng.choice(words.CITIES), rng.choice(words.NAMES), rng.choice(words.DAYS)
    number, thing = rng.randint(2, 50), rng.choice(words.GOODS)
    calls = (
        ("get_weather", {"city": city, "day": day}, "[What is the weather in {c} on {d}?|Will it rain in {c} on {d}?]"),
        (
            "send_message",
            {"to": name, "text": f"I will be {number} minutes late."},
            "[Tell {n} that I will be {k} minutes late.|Write to {n} that I am {k} minutes late.]",
        ),
        (
            "set_timer",
            {"minutes": number, "label": thing},
            "[Set a timer of {k} minutes for the {t}.|Remind me of the {t} in {k} minutes.]",
        ),
        (
            "find_train",
            {"to": city, "day": day, "seats": number},
            "[Find a train to {c} on {d} for {k} people.|We are {k} people and want to go to {c} on {d}.]",
        ),
        (
            "search_products",
            {"query": thing, "max_price": number * 10},
            "[Show me a(n) {t} below {m} euros.|I need a(n) {t}, at most {m} euros.]",
        ),
        (
            "add_to_list",
            {"item": thing, "quantity": number},
            "[Put {k} of the {t} on the list.|Add {t} to the list, {k} pieces.]",
        ),
        (
            "book_room",
            {"city": city, "guest": name, "nights": number},
            "[Book a room in {c} for {n}, {k} nights.|{n} needs a room in {c} for {k} nights.]",
        ),
    )
    tool, arguments, form = rng.choice(calls)
    user = spin(rng, form, c=city, d=day, n=name, k=number, t=thing, m=number * 10)
    listed = ", ".join(arguments)
    system = spin(
        rng,
        "[You can call the tool|Use the tool|The only tool is] {t}({a}). Answer with the call as JSON.",
        t=tool,
        a=listed,
    )
    values = "|".join(str(value) for value in arguments.values())
    return chat("json", f"call|{tool}|{values}", user, _pretty({"tool": tool, "arguments": arguments}), system=system)


def _document(rng: random.Random) -> Sample:
    """A raw record of a shop, as a file would hold it."""
    goods = rng.sample(words.GOODS, rng.randint(1, 4))
    lines = [
        {
            "sku": f"{product[:3].upper()}-{rng.randint(100, 999)}",
            "name": product,
            "colour": rng.choice(words.COLOURS),
            "price": rng.randint(3, 400),
            "in_stock": rng.random() < 0.7,
        }
        for product in goods
    ]
    city, company = rng.choice(words.CITIES), rng.choice(words.COMPANIES)
    document = {
        "store": company,
        "city": city,
        "currency": rng.choice(("EUR", "USD", "GBP")),
        "products": lines,
        "total": sum(line["price"] for line in lines),
    }
    return raw("json", f"document|{company}|{city}|{goods[0]}", _pretty(document))


def _settings(rng: random.Random) -> Sample:
    """A raw configuration file."""
    service = rng.choice(("web", "mail", "search", "billing", "cache", "queue", "proxy", "login"))
    region = rng.choice(words.CITIES).lower()
    settings = {
        "service": service,
        "region": region,
        "port": rng.randint(1024, 9999),
        "debug": rng.random() < 0.3,
        "workers": rng.randint(1, 32),
        "log": {"level": rng.choice(("debug", "info", "warn", "error")), "file": f"/var/log/{service}.log"},
        "limits": {"timeout_ms": 100 * rng.randint(1, 90), "retries": rng.randint(0, 9)},
        "tags": rng.sample(words.COLOURS, rng.randint(1, 3)),
    }
    return raw("json", f"settings|{service}|{region}", _pretty(settings))


def _log_lines(rng: random.Random) -> Sample:
    """A raw log with one JSON object a line."""
    service = rng.choice(("web", "mail", "search", "billing", "cache", "queue", "proxy", "login"))
    host = rng.choice(words.CITIES).lower()
    second = rng.randint(0, 80000)
    levels = ("info", "info", "info", "debug", "warn", "error")
    events = (
        "request served",
        "job started",
        "job finished",
        "cache miss",
        "retry planned",
        "disk almost full",
        "user signed in",
        "connection closed",
        "slow query",
        "token expired",
        "file written",
        "queue empty",
        "health check ok",
        "limit reached",
    )
    lines = []
    for _ in range(rng.randint(3, 8)):
        second += rng.randint(1, 300)
        time = f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        event = {
            "time": time,
            "level": rng.choice(levels),
            "service": service,
            "host": f"{host}-{rng.randint(1, 9)}",
            "event": rng.choice(events),
            "ms": rng.randint(1, 900),
        }
        lines.append(json.dumps(event))
    return raw("json", f"log|{service}|{host}|{second}", "\n".join(lines))
