"""The user's side of the triage task: one set of facts written as an email, a form,
a log, a chat message, an alert or a note. Every writer states exactly the facts
that `triage.Incident` carries, because the answer is derived from them."""

import json
import random

import words
from samples import Sample, capitalised, chat, same_side, spin
from triage import Incident, answer, content_key, draw_incident, duration, who

_SHAPE = '{"severity": ..., "escalate": ..., "confidence": ..., "rationale": ...}'
_DEFAULT = f"You are a triage assistant. Answer with strict JSON only: {_SHAPE}"

# The first one is what most users of the quickstart write, so it comes most often.
SYSTEM_PROMPTS = (_DEFAULT,) * 5 + (
    f"You are a triage assistant. Reply with strict JSON only, no other text: {_SHAPE}",
    f"You triage incidents. Output only JSON of this form: {_SHAPE}",
    "You are a triage assistant. Answer with strict JSON only. Keys: severity (low, medium, high "
    "or critical), escalate (true or false), confidence (0 to 1), rationale (one sentence).",
    "You sort support tickets. Return one JSON object with the keys severity, escalate, confidence "
    "and rationale. severity is low, medium, high or critical. Do not write anything else.",
    "Act as the on-call triage bot. Respond in JSON with severity, escalate, confidence and a "
    "rationale of one sentence.",
    "Read the report and rate it. Strict JSON, four keys: severity, escalate, confidence, rationale.",
    f"You are an incident classifier. Strict JSON only, two spaces of indent: {_SHAPE}",
    "You help the service desk. For each message give JSON only: severity (low|medium|high|critical), "
    "escalate (bool), confidence (0-1, two decimals), rationale (one sentence).",
    f"Classify the incident below. The answer must be valid JSON: {_SHAPE}",
    "Your task is triage. Never explain outside of the JSON object. Use the keys severity, escalate, "
    "confidence and rationale, in this order.",
)


def single(rng: random.Random) -> Sample:
    """One ticket with its answer; the instructions are the system prompt or lead the text."""
    incident = draw_incident(rng)
    prompt = rng.choice(SYSTEM_PROMPTS)
    text = ticket(rng, incident)
    reply = answer(rng, incident)
    key = content_key(incident)
    if rng.random() < 0.12:
        return chat("json", key, f"{prompt}\n\n{text}", reply)
    return chat("json", key, text, reply, system=prompt)


def batch(rng: random.Random) -> Sample:
    """Two or three short tickets at once; the answer is a list with their numbers."""
    first = draw_incident(rng)
    key = content_key(first)
    incidents = [first]
    count = rng.choice((2, 3))
    while len(incidents) < count:
        incident = draw_incident(rng)
        if same_side("json", key, content_key(incident)):
            incidents.append(incident)
    listed = "\n".join(f"Ticket {number}: {_plain(rng, incident)}" for number, incident in enumerate(incidents, 1))
    replies = [json.loads(answer(rng, incident)) for incident in incidents]
    entries = [{"ticket": number} | reply for number, reply in enumerate(replies, 1)]
    ask = spin(
        rng,
        "[Triage these tickets.|Rate each ticket.|Classify the tickets below.|Triage the list.] [Answer with|Return|Give] a JSON "
        "list of objects with the keys ticket, severity, escalate, confidence and rationale.",
    )
    return chat("json", key, listed, json.dumps(entries, indent=2), system=ask)


def ticket(rng: random.Random, incident: Incident) -> str:
    """The incident in one of the forms that real reports have."""
    return rng.choice((_email, _form, _log, _log, _message, _alert, _note, _plain, _plain, _terse, _payload, _thread))(
        rng, incident
    )


def _facts(rng: random.Random, incident: Incident) -> list[str]:
    """Each stated fact as a sentence; the fault comes first."""
    fault = f"{incident.system} in {incident.site} {incident.symptom}"
    hedge = "[I am not sure, but maybe|It is only a guess, but|Someone said that|Perhaps] "
    opening = hedge + f"the {fault}." if incident.hedged else f"[The|Our] {fault}."
    facts = [spin(rng, opening)]
    rest = [_risk(rng, incident), _scope(rng, incident)]
    rest += [_workaround(rng, incident), _since(rng, incident)]
    rest = [fact for fact in rest if fact]
    rng.shuffle(rest)
    # Remarks that change nothing: the answer must not depend on them.
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        rest.insert(rng.randint(0, len(rest)), _remark(rng))
    return facts + rest


def _remark(rng: random.Random) -> str:
    form = (
        "[The last check was in {month}.|{name} looked at it already.|The unit is {n} years old.|It worked fine on {day}."
        "|The serial number is {serial}.|Please call {name} with questions.|{name} is on holiday until {day}."
        "|We had a similar case in {month}.|The update of {day} went well.|Version {v} is installed."
        "|I am in the office until {n} o'clock.|The contract runs until {month}.|Nothing else has changed since {day}."
        "|My extension is {n}{n}.|A picture is attached.|{name} from {dept} can show you the place.|Please answer by mail."
        "|The room number is {n}{v}.|This is the {n}th message this week.|The weather in {city} was bad on {day}.]"
    )
    return spin(
        rng,
        form,
        month=rng.choice(words.MONTHS),
        name=rng.choice(words.NAMES),
        n=rng.randint(4, 17),
        day=rng.choice(words.DAYS),
        serial=f"{rng.randint(10, 99)}-{rng.randint(1000, 9999)}",
        v=rng.randint(1, 9),
        dept=rng.choice(words.DEPARTMENTS),
        city=rng.choice(words.CITIES),
    )


def _risk(rng: random.Random, incident: Incident) -> str:
    lead = "[Also, |What is worse, |Please note that |We also see that |Careful: |]"
    return capitalised(spin(rng, lead) + incident.risk + ".") if incident.risk else ""


def _scope(rng: random.Random, incident: Incident) -> str:
    if not incident.scope:
        return ""
    verb = "is" if incident.scope in ("one", "team") else "are"
    forms = (
        "[It affects {who}.|This concerns {who}.|{who} {verb} affected.|Affected: {who}."
        "|The problem hits {who}.|{who} {verb} waiting.]"
    )
    return capitalised(spin(rng, forms, who=who(incident), verb=verb))


def _workaround(rng: random.Random, incident: Incident) -> str:
    forms = {
        True: "[There is a workaround: we use {other}.|We can use {other} as a workaround."
        "|As a workaround we work with {other}.]",
        False: "[There is no workaround.|We found no workaround.|No workaround so far.|We tried a "
        "restart, but there is no workaround.]",
        None: "",
    }
    other = rng.choice(
        (
            "paper lists",
            "the old system",
            "the spare unit",
            "the phone",
            "a second browser",
            "a manual copy",
            "the test server",
            "the device next door",
            "a spreadsheet",
        )
    )
    return spin(rng, forms[incident.workaround], other=other)


def _since(rng: random.Random, incident: Incident) -> str:
    if incident.minutes is None:
        return ""
    forms = (
        "[It started {time} ago.|This has been going on for {time}.|Open for {time}.|It began about "
        "{time} ago.|We have seen this for {time} now.]"
    )
    return spin(rng, forms, time=duration(incident.minutes))


def _plain(rng: random.Random, incident: Incident) -> str:
    return " ".join(_facts(rng, incident))


def _terse(rng: random.Random, incident: Incident) -> str:
    """How people write in a hurry."""
    facts = [fact.rstrip(".") for fact in _facts(rng, incident)]
    lead = spin(
        rng, "[|help: |urgent? |fyi: |please look: |{site}: |{system}!! ]", site=incident.site, system=incident.system
    )
    return lead + rng.choice((", ", " - ", "; ", "\n")).join(map(_small_start, facts))


def _small_start(fact: str) -> str:
    return fact if fact.split()[0] in words.NAMES else fact[0].lower() + fact[1:]


def _email(rng: random.Random, incident: Incident) -> str:
    name, surname = rng.choice(words.NAMES), rng.choice(words.SURNAMES)
    hello = spin(rng, "[Hello|Hi|Dear team|Good morning|Hello support|Good afternoon],")
    bye = spin(rng, "[Thanks|Best regards|Thank you|Kind regards|Please help|Regards],")
    subject = spin(rng, "[Problem with the|Question about the|Help:|Issue:|Trouble with the] {s}", s=incident.system)
    body = " ".join(_facts(rng, incident))
    return f"From: {name.lower()}.{surname.lower()}@example.com\nSubject: {subject}\n\n{hello}\n\n{body}\n\n{bye}\n{name} {surname}"


def _form(rng: random.Random, incident: Incident) -> str:
    facts = _facts(rng, incident)
    lines = [
        f"Ticket: {rng.choice(('INC', 'REQ', 'SD', 'TK'))}-{rng.randint(1000, 99999)}",
        f"System: {incident.system}",
        f"Site: {incident.site}",
        f"Reported by: {rng.choice(words.NAMES)} {rng.choice(words.SURNAMES)}",
        f"Description: {' '.join(facts)}",
    ]
    return "\n".join(lines)


def _log(rng: random.Random, incident: Incident) -> str:
    second = rng.randint(0, 86000)
    day = f"2025-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    level = ("INFO", "WARN", "WARN", "ERROR")[incident.impact]
    unit = incident.system.replace(" ", "-")
    lines = []
    noise = (
        "INFO heartbeat ok",
        f"INFO job {rng.randint(1, 9999)} queued",
        "INFO config loaded",
        "DEBUG cache refreshed",
        "INFO health check sent",
        "DEBUG timer fired",
        f"INFO connection {rng.randint(1, 99)} opened",
        f"INFO {rng.randint(2, 90)} entries read",
        f"DEBUG memory at {rng.randint(10, 80)} percent",
        f"INFO user {rng.choice(words.NAMES).lower()} signed in",
        f"WARN retry {rng.randint(1, 5)} of 5",
        f"INFO next run in {rng.randint(1, 60)} s",
        f"DEBUG took {rng.randint(2, 900)} ms",
    )
    events = rng.sample(noise, rng.randint(1, 5)) + [f"{level} {incident.symptom}"]
    events += [f"{level} {incident.symptom} (repeated {rng.randint(2, 90)} times)"] * rng.randint(0, 1)
    for event in events:
        second += rng.randint(1, 100)
        lines.append(f"{day} {second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d} {unit} {event}")
    note = spin(rng, "[Note|Comment|Remark|Operator]") + ": " + " ".join(_facts(rng, incident))
    return "\n".join(lines + [note])


def _message(rng: random.Random, incident: Incident) -> str:
    name = rng.choice(words.NAMES)
    hour = f"{rng.randint(6, 21):02d}:{rng.randint(0, 59):02d}"
    return "\n".join(f"[{hour}] {name}: {fact}" for fact in _facts(rng, incident))


def _alert(rng: random.Random, incident: Incident) -> str:
    head = spin(rng, "[ALERT|Alarm|Monitoring alert|Notification] #{n}", n=rng.randint(10, 9999))
    body = "\n".join(f"- {fact}" for fact in _facts(rng, incident))
    return f"{head}: {incident.system} ({incident.site})\n{body}"


def _note(rng: random.Random, incident: Incident) -> str:
    caller = f"{rng.choice(words.NAMES)} from {rng.choice(words.DEPARTMENTS)}"
    lead = spin(rng, "[Phone call from {c}:|{c} called:|Voice mail by {c}:|Note from {c}:]", c=caller)
    return f"{lead} {' '.join(_facts(rng, incident))}"


def _payload(rng: random.Random, incident: Incident) -> str:
    """An event as a monitoring system sends it: JSON in, JSON out."""
    event = {
        "source": rng.choice(("monitor", "webhook", "agent", "probe", "sensor")),
        "system": incident.system,
        "site": incident.site,
        "code": rng.randint(100, 599),
        "details": _facts(rng, incident),
    }
    return json.dumps(event, indent=rng.choice((None, 2)))


def _thread(rng: random.Random, incident: Incident) -> str:
    """Two people talk about it; the second asks, the first answers."""
    one, two = rng.sample(words.NAMES, 2)
    facts = _facts(rng, incident)
    questions = (
        "Thanks. What else do you know?",
        "Anything else?",
        "I see. More details, please.",
        "Who can tell me more?",
        "Noted. Is that all?",
        "Can you add something?",
        "Understood. Please go on.",
    )
    lines = [f"{one}: {facts[0]}"]
    for fact in facts[1:]:
        if rng.random() < 0.4:
            lines.append(f"{two}: {rng.choice(questions)}")
        lines.append(f"{one}: {fact}")
    return "\n".join(lines)
