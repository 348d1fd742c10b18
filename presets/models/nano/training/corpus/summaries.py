"""A short report and a question on it: one sentence that says it all, or the names,
dates and figures that it holds. The report is written from drawn facts, so the
answer is exact."""

import random
from typing import NamedTuple

import words
from samples import Sample, capitalised, chat, spin


class Report(NamedTuple):
    """A text with what there is to extract from it."""

    key: str
    text: str
    gist: str
    people: list[str]
    dates: list[str]
    places: list[str]
    figures: list[str]


# Remarks that fit a gathering, and remarks that fit any news.
_GATHERING = (
    "[The weather was good|It rained in the morning|The sun came out late], and [nobody complained|the mood was cheerful|many came by bicycle].",
    "[Visitors|Neighbours|Children] [asked many questions|took pictures|brought cake].",
    "[Parking|Lunch|The sound] was [a small problem|better than last year|simple but good].",
    "[There was coffee afterwards|The doors closed at six|Two volunteers cleaned up afterwards].",
    "[The music was loud|The room was warm|The hall was nearly full], [yet|but] [the guests stayed|no one left early].",
)
_NEWS = (
    "[A local paper|A radio station|A magazine] [sent a reporter|wrote a short note about it|asked for an interview].",
    "[Some|A few] people [had doubts at first|were surprised|had expected it].",
    "[It was not the first time|Something like this had happened before|Most people heard of it only later].",
    "[A longer report will follow|More will be known soon|Pictures can be seen online].",
    "[A year earlier|Some years ago|For a long time], [nobody would have thought of it|things looked different|it had been quiet].",
    "[The neighbours talked about it for days|Many wrote to the paper|There were several questions afterwards].",
    "[All of this was confirmed later|The news spread fast|Soon everyone knew].",
)
_GATHERINGS = ("opening", "meeting", "match", "course", "gift", "product")
# Ranges of the one number of a report, where the usual one would be odd.
_NUMBERS = {
    "meeting": (2, 40),
    "rescue": (3, 60),
    "product": (3, 36),
    "storm": (3, 200),
    "outage": (5, 240),
    "course": (6, 30),
    "trip": (8, 40),
    "match": (50, 900),
    "gift": (2, 60),
}

# opening (facts), middle (facts), gist; fills are those of `_facts`.
_SUBJECTS = {
    "opening": (
        "[A new {place} opened in {city} on {date}.|On {date}, {city} got a new {place}.|{city} has a new {place} since {date}.]",
        "[It was paid for by {company}.|{company} gave {money} euros for it.|The money, {money} euros, came from {company}.]",
        "[{a}, the mayor, cut the ribbon.|{a} held a short speech.] [{b} showed the guests around.|The plans were drawn by {b}.]",
        "A new {place}, paid for by {company}, opened in {city} on {date}.",
    ),
    "meeting": (
        "[The {dept} team met in {city} on {date}.|On {date} there was a meeting of {dept} in {city}.]",
        "[{a} explained that costs rose by {n} percent.|According to {a}, costs are up by {n} percent.]",
        "[{b} proposed to buy fewer {goods}s.|It was the idea of {b} to buy fewer {goods}s.] [The team agreed.|Nobody was against it.]",
        "Because costs rose by {n} percent, the {dept} team agreed with {b} to buy fewer {goods}s.",
    ),
    "rescue": (
        "[A(n) {animal} fell into the river near {city} on {date}.|On {date}, a(n) {animal} fell into the river at {city}.]",
        "[{a}, a(n) {job}, heard it and called for help.|It was {a}, a(n) {job}, who noticed it.]",
        "[{b} pulled it out with a rope after {n} minutes.|After {n} minutes {b} got it out with a net.] [The animal is well.|It is well again.]",
        "{a} noticed a(n) {animal} in the river near {city}, and {b} saved it.",
    ),
    "match": (
        "[{city} played against {city2} on {date}.|On {date}, {city} met {city2}.]",
        "[{n} people watched the game.|There were {n} people in the stands.] [{a} scored first for {city}.|{a} made the first goal, for {city}.]",
        "[{b} turned the game around with two goals for {city2}.|Then {b} scored twice for {city2}.]",
        "{city2} beat {city} by two goals to one, both scored by {b}.",
    ),
    "product": (
        "[{company} presented a new {goods} on {date}.|On {date}, {company} showed its new {goods} in {city}.]",
        "[It costs {money} euros and is made in {city}.|The price is {money} euros, and it is built in {city}.]",
        "[{a} designed it together with {b}.|The design is by {a} and {b}.] [It took them {n} months.|They worked on it for {n} months.]",
        "{company} presented a {goods} for {money} euros, designed by {a} and {b}.",
    ),
    "storm": (
        "[A storm hit {city} in the night of {date}.|In the night of {date} there was a storm in {city}.]",
        "[It broke {n} trees and covered the road to {city2}.|{n} trees fell, and the road to {city2} was closed.]",
        "[{a} from the fire brigade said that nobody was hurt.|Nobody was hurt, said {a} of the fire brigade.] [{b} lost the roof of a barn.|The barn of {b} has no roof any more.]",
        "A storm in {city} broke {n} trees and closed the road to {city2}, but nobody was hurt.",
    ),
    "outage": (
        "[The {service} of {company} failed on {date}.|On {date} the {service} of {company} went down.]",
        "[The outage lasted {n} minutes.|It took {n} minutes until it was back.] [The cause was a full disk.|A full disk was the cause.]",
        "[{a} noticed it first, and {b} freed the space.|It was noticed by {a} and fixed by {b}.]",
        "A full disk stopped the {service} of {company} for {n} minutes until {b} fixed it.",
    ),
    "course": (
        "[A course for beginners starts in {city} on {date}.|On {date}, a new course for beginners begins in {city}.]",
        "[It is taught by {a}, a(n) {job}.|The teacher is {a}, who works as a(n) {job}.] [It costs {money} euros.|The fee is {money} euros.]",
        "[There are {n} places.|Only {n} people can take part.] [Write to {b} to sign up.|{b} takes the names of all who want to come.]",
        "{a} teaches a beginners' course in {city} for {money} euros, with {n} places.",
    ),
    "move": (
        "[{company} moves its office from {city} to {city2}.|The office of {company} will move from {city} to {city2}.]",
        "[The move is planned for {date}.|All should be in place on {date}.] [{n} people work there.|It concerns {n} people.]",
        "[{a} looks after the transport, and {b} answers questions.|Ask {b} about desks and {a} about the transport.]",
        "{company} moves its office with {n} people from {city} to {city2} on {date}.",
    ),
    "study": (
        "[Researchers in {city} counted birds in {n} gardens.|Birds in {n} gardens were counted by researchers in {city}.]",
        "[The results came out on {date}.|They published the results on {date}.] [{a} led the study.|The study was led by {a}.]",
        "[Gardens with old trees had twice as many birds.|Where trees were old, there were twice as many birds.] [{b} wants to repeat it in {city2}.|Next, {b} will count in {city2}.]",
        "A study of {n} gardens in {city} found twice as many birds where trees are old.",
    ),
    "gift": (
        "[{a} gave {money} euros to the library of {city}.|The library of {city} got {money} euros from {a}.]",
        "[The gift was announced on {date}.|It became known on {date}.] [The money is for {n} new shelves.|It will pay for {n} shelves.]",
        '[{b}, who runs the library, was moved to tears.|"We are very happy," said {b}, who runs the library.]',
        "{a} gave the library of {city} {money} euros for {n} shelves.",
    ),
    "trip": (
        "[{a} and {b} travelled from {city} to {city2}.|From {city} to {city2}: that was the trip of {a} and {b}.]",
        "[They left on {date} and walked {n} kilometres a day.|On {date} they set out, {n} kilometres each day.]",
        "[On the way they met a(n) {job} who lent them a(n) {goods}.|A(n) {job} lent them a(n) {goods} on the way.]",
        "{a} and {b} walked from {city} to {city2}, {n} kilometres a day.",
    ),
}


def sample(rng: random.Random) -> Sample:
    """A report with one question on it."""
    report = _report(rng)
    instruction, reply = rng.choice((_one_sentence, _one_sentence, _one_sentence, _names, _all_facts, _question))(
        rng, report
    )
    if rng.random() < 0.25:
        return chat("summary", report.key, report.text, reply, system=instruction)
    user = f"{instruction}\n\n{report.text}" if rng.random() < 0.5 else f"{report.text}\n\n{instruction}"
    return chat("summary", report.key, user, reply)


def _facts(rng: random.Random, subject: str) -> dict[str, object]:
    a, b = (f"{name} {rng.choice(words.SURNAMES)}" for name in rng.sample(words.NAMES, 2))
    city, city2 = rng.sample(words.CITIES, 2)
    return {
        "a": a,
        "b": b,
        "city": city,
        "city2": city2,
        "place": rng.choice(words.PLACES),
        "date": f"{rng.randint(1, 28)} {rng.choice(words.MONTHS)}",
        "company": rng.choice(words.COMPANIES),
        "money": rng.randint(2, 40) * (10 if subject == "course" else 100),
        "n": rng.randint(*_NUMBERS.get(subject, (5, 400))),
        "dept": rng.choice(words.DEPARTMENTS),
        "goods": rng.choice([good for good in words.GOODS if not good.endswith(("s", "h", "f"))]),
        "animal": rng.choice(words.ANIMALS),
        "job": rng.choice(words.JOBS),
        "service": rng.choice(("web shop", "mail server", "booking page", "database", "login service", "wiki")),
    }


def _report(rng: random.Random) -> Report:
    subject, (opening, middle, end, gist) = rng.choice(list(_SUBJECTS.items()))
    facts = _facts(rng, subject)
    sentences = [capitalised(spin(rng, part, **facts)) for part in (opening, middle, end)]
    fillers = _NEWS + _GATHERING if subject in _GATHERINGS else _NEWS
    for filler in rng.sample(fillers, rng.randint(1, 4)):
        remark = spin(rng, filler)
        sentences.insert(rng.randint(1, len(sentences)), remark)
    text = " ".join(sentences)
    stated = lambda names: [str(facts[name]) for name in names if str(facts[name]) in text]
    figures = [
        figure for figure in (f"{facts['money']} euros", f"{facts['n']} {_unit(text, facts['n'])}") if figure in text
    ]
    key = f"{subject}|{facts['a']}|{facts['city']}"
    return Report(
        key,
        text,
        capitalised(spin(rng, gist, **facts)),
        stated(("a", "b")),
        stated(("date",)),
        stated(("city", "city2")),
        figures,
    )


def _unit(text: str, number: object) -> str:
    """The word after the number in the text."""
    _, found, rest = text.partition(f" {number} ")
    return rest.split()[0].strip(".,") if found else ""


def _one_sentence(rng: random.Random, report: Report) -> tuple[str, str]:
    ask = "[Summarise in one sentence.|Summarise the text in one sentence.|Summarize this in one sentence.|What happened? One sentence, please.|Give the main point in one sentence.|Shorten this text to one sentence.|TL;DR, one sentence:]"
    return spin(rng, ask), report.gist


def _names(rng: random.Random, report: Report) -> tuple[str, str]:
    ask = "[Extract the names and dates.|List the names and dates.|Which names and dates are in the text?|Find all names and dates.]"
    return spin(rng, ask), f"Names: {', '.join(report.people) or 'none'}\nDates: {', '.join(report.dates) or 'none'}"


def _all_facts(rng: random.Random, report: Report) -> tuple[str, str]:
    ask = "[List the people, places, dates and figures.|Extract people, places, dates and figures.|Give the key facts: people, places, dates, figures.]"
    rows = (("people", report.people), ("places", report.places), ("dates", report.dates), ("figures", report.figures))
    return spin(rng, ask), "\n".join(f"- {name}: {', '.join(found) or 'none'}" for name, found in rows)


def _question(rng: random.Random, report: Report) -> tuple[str, str]:
    asked = [("When did this happen?|Which date is named?", f"The date is {report.dates[0]}.")] if report.dates else []
    if report.places:
        asked.append(
            ("Which places are named?|Where does the text play?", f"The text names {' and '.join(report.places)}.")
        )
    if report.people:
        asked.append(
            ("Who is named in the text?|Which people does it name?", f"The text names {' and '.join(report.people)}.")
        )
    question, reply = rng.choice(asked)
    return spin(rng, f"[{question}]"), reply
