"""Short stories and descriptions in simple words, past tense.

A story is a plot from `plots` (its beats in order) between an opening and an end,
with weather, feelings and small talk where they fit. Each sentence has many
variants, and the frame itself varies, so that stories do not read alike.
"""

import random

import words
from plots import PLOTS
from samples import Sample, capitalised, chat, raw, same_side, spin

_OPENINGS = (
    "[Once|Long ago|Many years ago], there was a(n) {job} called {h}, who lived near the {place}.",
    "{h} lived in a small house [beside|behind|near] the {place} in {city}.",
    "[One {day}|On a {day}|Early one {day}], {h} [woke before the sun|got up late|could not sleep any longer].",
    "[Nobody|Hardly anyone] in the {place} knew {h} well, [but everyone liked {him}|and {he} liked it that way].",
    "It was [a cold|a warm|a grey|a bright|a windy|a quiet] [morning|evening|afternoon] in {month}, and {h} was [alone|at home|on the way to the {place}].",
    "In a house with a {colour} door lived {h} and a(n) {animal}.",
    "{h} was a(n) [young|old|careful|cheerful|quiet|clever|tired] {job} who [loved|knew|often visited] the {place}.",
    "[Every {day}|Each morning], {h} walked [past|through|around] the {place}.",
    "The {place} was [empty|full of people|silent|covered with leaves] when {h} [arrived|came|got there].",
    '"[Not again|What a day|Here we go]," said {h} and [closed the door|looked out of the window|put on {his} coat].',
    "When {h} was [seven|eight|nine|ten] years old, {he} moved to a house near the {place}.",
    "There was [little|nothing|not much] to do in the {place} [in {month}|on a {day}], and {h} was bored.",
)
_WEATHER = (
    "[Rain fell|It rained|The rain came down] [all morning|without a break|on the roofs], and the [road was full of puddles|streets were empty].",
    "The sun [shone|stood high|was warm], and [a soft wind came from the hills|the air smelled of grass|bees hummed in the flowers].",
    "Snow [lay on the fields|covered the roofs|fell in thick flakes], and [every step crackled|the world was quiet].",
    "[Dark|Heavy|Low] clouds hung over the {place}.",
    "[Fog|Mist] [came up from the water|hid the trees|lay in the valley], and one could hardly see the {place}.",
    "The wind [shook the trees|blew the leaves across the yard|whistled around the house].",
    "It was so hot that [even the {animal} stayed in the shade|nobody wanted to work].",
    "The first stars [came out|were in the sky], and [somewhere a dog barked|a lamp burned in one window].",
)
_FEELINGS = (
    "{h} felt [happy|sad|lonely|curious|afraid|proud|hopeful|a little silly], but {he} did not [show it|say so|know why].",
    "{his} heart [beat fast|felt heavy|was light].",
    '"I [can do this|will not give up|wish {f} were here|only need a little luck]," {he} [thought|told {himself}|said softly].',
    "[For a long time|For a while|For a moment], {h} [said nothing|stood still|only listened|thought about it].",
    "{he} [was hungry|was tired|had cold hands], [but there was no time to rest|and still {he} went on].",
    "{h} [took a deep breath|counted to ten|closed {his} eyes] and [tried to stay calm|smiled].",
)
_ENDINGS = (
    "[That night|In the evening], {h} slept [well|deeply|better than ever].",
    "[From that day on|After that|Since then], {h} and {f} were [friends|good friends|never far apart].",
    "{h} [laughed|smiled] all the way home.",
    "[They|{h} and {f}] [ate soup|drank tea|shared a cake|sat by the fire] and [talked until late|told the story again and again].",
    "And {h} [never forgot it|told it to everyone who asked|still has the {thing} today].",
    '"Some things [take time|need a friend|are worth the trouble]," said {f}, and {h} [nodded|agreed].',
    "[The next morning|A week later], [everything was as before, only better|the {place} looked different to {him}].",
    "It was [a small thing|only a(n) {thing}], but it [made {h} happy|was enough].",
    "[Slowly|At last], the [light went out|moon came up] over the {place}, and all was well.",
    "{h} had learned [to ask for help|to be patient|to look twice|to trust {f}|to tell the truth].",
)
_TITLES = (
    "{h} and the {thing}",
    "The {thing} of {city}",
    "The {job} and the {animal}",
    "A {day} at the {place}",
    "The {colour} {thing}",
    "{h} and {f}",
    "What {h} found",
    "The {animal} near the {place}",
)


def sample(rng: random.Random) -> Sample:
    """A story with or without a request for it, or a description."""
    if rng.random() < 0.16:
        return _description(rng)
    name, beats = rng.choice(list(PLOTS.items()))
    fills = cast(rng)
    text = _story(rng, beats, fills)
    key = _key(name, fills)
    second = rng.choice(list(PLOTS))
    if rng.random() < 0.2 and second != name and same_side("prose", _key(second, fills), key):
        text += "\n\n" + _second_chapter(rng, PLOTS[second], fills)
    form = rng.random()
    if form < 0.5:
        return raw("prose", key, text)
    if form < 0.7:
        return raw("prose", key, spin(rng, rng.choice(_TITLES), **fills) + "\n\n" + text)
    ask = "[Tell me|Write|Please write] a [short|little|simple|] story about [a(n) {job} called {h}|{h} and {f}|{h} and a(n) {thing}|a(n) {animal} and a(n) {job} named {h}|{h} in {city}]."
    return chat("prose", key, " ".join(spin(rng, ask, **fills).split()), text)


def _key(plot: str, fills: dict[str, str]) -> str:
    return f"{plot}|{fills['h']}|{fills['place']}"


def cast(rng: random.Random) -> dict[str, str]:
    """Who and what a story is about, with the pronouns of its hero."""
    she = rng.random() < 0.5
    hero = rng.choice(words.SHE if she else words.HE)
    friend = rng.choice([name for name in words.NAMES if name != hero])
    thing, second = rng.sample(words.OBJECTS, 2)
    pronouns = ("she", "her", "her", "herself") if she else ("he", "his", "him", "himself")
    return {
        "h": hero,
        "f": friend,
        **dict(zip(("he", "his", "him", "himself"), pronouns)),
        "thing": thing,
        "other": second,
        "animal": rng.choice(words.ANIMALS),
        "place": rng.choice(words.PLACES),
        "job": rng.choice(words.JOBS),
        "city": rng.choice(words.CITIES),
        "colour": rng.choice(words.COLOURS),
        "day": rng.choice(words.DAYS),
        "month": rng.choice(words.MONTHS),
        "n": str(rng.randint(3, 20)),
    }


def _story(rng: random.Random, beats: tuple[str, ...], fills: dict[str, str]) -> str:
    parts = [rng.choice(_OPENINGS)]
    if rng.random() < 0.5:
        parts.append(rng.choice(_WEATHER))
    extra = rng.randrange(1, len(beats)) if rng.random() < 0.7 else None
    for number, beat in enumerate(beats):
        if number == extra:
            parts.append(rng.choice(_FEELINGS))
        parts.append(beat)
    parts += rng.sample(_ENDINGS, rng.choice((1, 1, 2)))
    sentences = [capitalised(spin(rng, part, **fills)) for part in parts]
    sentences = _with_pronouns(rng, sentences, fills)
    cut = rng.randint(2, len(sentences) - 2)
    mark = rng.choice((" ", "\n\n"))
    return " ".join(sentences[:cut]) + mark + " ".join(sentences[cut:])


def _with_pronouns(rng: random.Random, sentences: list[str], fills: dict[str, str]) -> list[str]:
    """The hero's name gives way to the pronoun where the sentence before names nobody else."""
    hero, friend = fills["h"] + " ", fills["f"]
    written = sentences[:1]
    for before, sentence in zip(sentences, sentences[1:]):
        clear = before.startswith(hero) and friend not in before
        if clear and sentence.startswith(hero) and rng.random() < 0.7:
            sentence = fills["he"].capitalize() + sentence.removeprefix(fills["h"])
        written.append(sentence)
    return written


def _second_chapter(rng: random.Random, beats: tuple[str, ...], fills: dict[str, str]) -> str:
    """Another plot for the same people, some time later."""
    later = "[Some weeks later|In the following year|When {month} came|Not long after], {h} and {f} met again [near the {place}|in {city}|by chance|on a {day}]."
    parts = [later, *beats, rng.choice(_ENDINGS)]
    return " ".join(capitalised(spin(rng, part, **fills)) for part in parts)


_DESCRIPTIONS = (
    "The {place} of {city} [was|had always been] [small|wide|old|noisy|beautiful|strange].",
    "[On the left|To the north|Near the gate|Behind it] stood [a(n) {colour} house|an old tree|a stone wall|a bench] where [people rested|children played|{h} liked to sit].",
    "In {month}, [the trees turned yellow|the first flowers came out|the days were long|it grew dark early].",
    "[Somebody|A child|An old man] had [left|lost|hidden] a(n) {thing} [under the bench|on the wall|in the grass].",
    "There [was a smell of|was always a smell of] [bread|wet leaves|smoke|the sea|fresh paint|coffee].",
    "{h}, the {job}, [came here every {day}|sold {colour} flowers|told stories|swept the steps], and [everyone greeted {him}|a(n) {animal} followed {him}].",
    "[At noon|In the evening|In the early morning], [bells rang|the lamps were lit|the shops opened|the boats came home].",
    "A(n) {animal} [slept in the sun|ran across the road|looked out of a window|hid behind a {thing}].",
    "[Nothing|Little] [ever changed there|happened there], and [that was good|people liked it|visitors wondered why].",
    "[Whoever came|A stranger who came] [once|by chance] [wanted to stay|came back|remembered the light].",
    "The [windows|doors|roofs] were {colour}, and [the walls were white|moss grew between the stones|paint came off in places].",
    "One could [hear the water|see as far as the hills|smell the orchard], [even in winter|when the wind was right|if one stood still].",
)


def _description(rng: random.Random) -> Sample:
    fills = cast(rng)
    chosen = rng.sample(_DESCRIPTIONS, rng.randint(4, 9))
    text = " ".join(capitalised(spin(rng, sentence, **fills)) for sentence in chosen)
    key = f"description|{fills['place']}|{fills['city']}"
    if rng.random() < 0.6:
        return raw("prose", key, text)
    ask = spin(rng, "[Describe|Write a few sentences about|Tell me about] the {place} in {city}.", **fills)
    return chat("prose", key, ask, text)
