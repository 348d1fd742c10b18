"""The triage task: an incident in, strict JSON with four keys out.

The answer follows from the facts that the text states, by one fixed rule, so a
small model can learn it: see `severity`, `escalate` and `confidence`. The facts
are drawn first and the text is written from them, never the other way round.
"""

import json
import random
from typing import NamedTuple

import words
from incidents import DOMAINS, Domain
from samples import spin

# The people whose systems come with error rates and latencies.
MEASURED = ("users", "analysts", "engineers", "clerks", "cashiers")
SCOPES = ("one", "team", "site", "everyone")


class Incident(NamedTuple):
    """The facts of one ticket; `None` means that the text does not state it."""

    domain: Domain
    system: str
    impact: int
    symptom: str
    site: str
    scope: str | None
    team_size: int
    workaround: bool | None
    minutes: int | None
    risk: str | None
    hedged: bool


def severity(incident: Incident) -> str:
    """Any danger or loss is critical, cosmetics are low, else impact plus scope
    (one 0, team 1, site 2, everyone 3) less one for a known workaround."""
    if incident.risk:
        return "critical"
    if incident.impact == 0:
        return "low"
    reach = SCOPES.index(incident.scope) if incident.scope else 0
    score = incident.impact + reach - (1 if incident.workaround else 0)
    return "critical" if score >= 6 else "high" if score >= 4 else "medium" if score >= 2 else "low"


def escalate(incident: Incident) -> bool:
    """High and critical go up, and so does a medium one that is open over four hours."""
    level = severity(incident)
    overdue = level == "medium" and (incident.minutes or 0) > 240
    return overdue or level in ("high", "critical")


def confidence(incident: Incident) -> float:
    """0.96, less 0.09 for each fact left out, less 0.12 where the reporter is unsure."""
    unstated = [incident.scope, incident.workaround, incident.minutes].count(None)
    return round(0.96 - 0.09 * unstated - (0.12 if incident.hedged else 0.0), 2)


def draw_incident(rng: random.Random) -> Incident:
    """Random facts, with each severity common enough to be learnt."""
    domain = rng.choice(DOMAINS)
    impact = rng.choice((0, 1, 1, 2, 2, 3, 3))
    return Incident(
        domain=domain,
        system=rng.choice(domain.systems),
        impact=impact,
        symptom=_symptom(rng, domain, impact),
        site=rng.choice(words.CITIES),
        scope=rng.choice(SCOPES + (None,)),
        team_size=rng.randint(3, 40),
        workaround=rng.choice((True, False, None)),
        minutes=rng.choice((None, rng.randint(2, 59), 60 * rng.randint(1, 12))),
        risk=rng.choice(domain.risks) if impact and rng.random() < 0.18 else None,
        hedged=rng.random() < 0.15,
    )


def _symptom(rng: random.Random, domain: Domain, impact: int) -> str:
    """A phrase of the domain, or for services that are measured, figures."""
    if not impact or domain.people[1] not in MEASURED or rng.random() < 0.55:
        return rng.choice(domain.symptoms[impact])
    figures = {
        3: "[returns|answers with] error {code} for {most} percent of [all requests|calls]|has had no successful [call|request] since {hour}"
        "|has been down since the [release|restart|deploy] at {hour}|[crashes|restarts] every {few} seconds with exit code {exit}",
        2: "[returns|answers with] error {code} for {some} percent of [all requests|calls]|times out on {some} percent of [requests|calls]"
        "|drops {some} of 100 [jobs|messages]|fails on {few} of 10 nodes|has an error rate of {some} percent",
        1: "answers after {few} seconds instead of {ms} milliseconds|has a p95 latency of {few}{ms} ms"
        "|runs {few} times slower than [yesterday|last week|before the release]|has a queue of {few}{ms} [jobs|messages]",
    }
    return spin(
        rng,
        f"[{figures[impact]}]",
        code=rng.choice((500, 502, 503, 504)),
        most=rng.randint(92, 100),
        some=rng.randint(8, 55),
        few=rng.randint(2, 9),
        ms=rng.randint(100, 900),
        exit=rng.choice((1, 2, 137, 139)),
        hour=f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
    )


def content_key(incident: Incident) -> str:
    """Product, fault (whatever its figures) and site: held-out tickets are unseen combinations."""
    fault = "".join(letter for letter in incident.risk or incident.symptom if not letter.isdigit())
    return f"{incident.system}|{fault}|{incident.site}"


def answer(rng: random.Random, incident: Incident) -> str:
    """The pretty-printed JSON, keys in the asked order, confidence with two decimals."""
    lines = [
        f'  "severity": "{severity(incident)}",',
        f'  "escalate": {json.dumps(escalate(incident))},',
        f'  "confidence": {confidence(incident):.2f},',
        f'  "rationale": {json.dumps(rationale(rng, incident))}',
    ]
    return "{\n" + "\n".join(lines) + "\n}"


def rationale(rng: random.Random, incident: Incident) -> str:
    """One sentence that quotes the facts the severity came from."""
    fault = f"the {incident.system} in {incident.site} {incident.symptom}"
    if incident.risk:
        form = "[{risk}, and {fault}|{fault}, and {risk}|{fault} and, worse, {risk}]."
    elif incident.impact == 0:
        form = "[{fault}, which is only cosmetic|{fault}, but nobody is kept from work]."
    else:
        form = "{fault}{who}{since}[, and|;] {remedy}."
    text = spin(
        rng,
        form,
        fault=fault,
        risk=incident.risk,
        who=f" for {who(incident)}" if incident.scope else "",
        remedy=_remedy(rng, incident),
        since=f" for {duration(incident.minutes)}" if (incident.minutes or 0) > 240 else "",
    )
    return text[0].upper() + text[1:]


def _remedy(rng: random.Random, incident: Incident) -> str:
    phrases = {
        True: "[a workaround is known|there is a workaround]",
        False: "[there is no workaround|no workaround is known]",
        None: "[a workaround is not mentioned|the ticket names no workaround]",
    }
    return spin(rng, phrases[incident.workaround])


def who(incident: Incident) -> str:
    """The people concerned, in words."""
    one, many = incident.domain.people
    phrases = {
        "one": f"one {one}",
        "team": f"a team of {incident.team_size} {many}",
        "site": f"all {many} in {incident.site}",
        "everyone": f"all {many} at every site",
    }
    return phrases[incident.scope]


def duration(minutes: int) -> str:
    """`25 minutes`, `1 hour`, `3 hours`."""
    if minutes < 60:
        return f"{minutes} minutes"
    return "1 hour" if minutes == 60 else f"{minutes // 60} hours"
