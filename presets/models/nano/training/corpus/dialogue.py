"""Talk: customer support, small talk, everyday explanations, and chats with a short
history in the text."""

import random

import words
from facts import FACTS
from samples import Sample, capitalised, chat, raw, same_side, spin

_HELLO = "[Hello|Hi|Good morning|Good afternoon|Hello there|Good evening]"
_PERSONAS = (
    "You are a friendly assistant.",
    "You are a helpful assistant.",
    "You work for customer support. Be polite and short.",
    "Answer in a few short sentences.",
    "You are a patient teacher.",
    "Be brief.",
    None,
    None,
    None,
)

# Matter, what the customer says, what the support answers.
_MATTERS = {
    "late": (
        "[My {g} has not arrived yet.|I am still waiting for my {g}.|Where is my {g}? I ordered it on {d}.|The {g} that I ordered {n} days ago is not here.]",
        "[I am sorry that your {g} is late.|I am sorry for the delay.|Sorry that you have to wait.] [Order {o} left our store in {c} on {d} and should arrive within {k} days.|I can see that order {o} is in {c} and will reach you in {k} days.|Your order {o} is on its way from {c} and needs {k} more days.] [You will get a message when it is at your door.|Thank you for your patience.|I will keep an eye on it.]",
    ),
    "broken": (
        "[My {g} arrived broken.|The {g} stopped working after {n} days.|The {g} I bought has a scratch.|My new {g} does not turn on.]",
        "[I am sorry to hear that.|That should not happen, I am sorry.|Thank you for telling us.] [We will send you a new {g} at no cost.|You can return the {g} for free, and we will replace it.|Please send it back to {c}; we will repair or replace it.] [The label for order {o} is on its way to you.|Please use the number {o} when you write to us.|It will take about {k} days.]",
    ),
    "refund": (
        "[I want my money back for the {g}.|Can I return the {g}?|How do I get a refund for order {o}?|I do not like the {g}. Can I send it back?]",
        "[Yes, of course.|Certainly.|No problem.] [You can return the {g} within {n} days.|Please send the {g} to our store in {c}.|Returns are free for {n} days.] [The refund for order {o} takes {k} days.|You will have your money back after {k} days.|We will refund order {o} as soon as it arrives.]",
    ),
    "address": (
        "[I have moved to {c}. Can you change my address?|Please change the address of order {o}.|My new address is in {c}.]",
        "[Thank you for letting us know.|Gladly.|Of course.] [I have changed the address of order {o} to {c}.|Order {o} will now go to {c}.] [Please check the street in your account.|It will arrive {k} days later than planned.|Is there anything else?]",
    ),
    "hours": (
        "[When are you open?|Is the shop in {c} open on {d}?|What are your opening hours?|Can I come on {d}?]",
        "[Our shop in {c} is open from {k} to 18 o'clock.|We open at {k} and close at 18 o'clock.] [On {d} we are open as well.|On {d} we close at noon.|On {d} the shop is closed.] [We look forward to your visit.|See you soon.|You can also order online.]",
    ),
    "stock": (
        "[Do you have the {g} in {l}?|Is the {l} {g} in stock?|I am looking for a(n) {l} {g}.|Do you sell a(n) {l} {g} in {c}?]",
        "[Yes, we have {n} of them.|We have {n} left in {c}.|The {l} {g} is in stock.|The {l} {g} is sold out at the moment.] [It costs {m} euros.|The price is {m} euros.] [Shall I put one aside for you?|Would you like to order one?|New ones come on {d}.]",
    ),
    "password": (
        "[I forgot my password.|I cannot sign in.|My account is locked.|The shop does not accept my password.]",
        '[I can help you with that.|That happens.|No problem, let us fix it.] [Please click on "Forgot password" and enter your email.|I have sent you a link that works for {n} minutes.|Wait {k} minutes and try again, then use the link in the mail.] [Do not give the link to anyone.|Please choose a long password.|Write again if it does not work.]',
    ),
    "invoice": (
        "[I need an invoice for order {o}.|The invoice of {d} is wrong.|I was charged {m} euros twice.|Why did I pay {m} euros?]",
        "[Let me check order {o}.|Thank you, I looked at order {o}.] [You paid {m} euros for one {g}.|The sum is {m} euros for the {g} and the delivery.|There was a mistake of {m} euros, and I am sorry for it.] [The invoice is in your mail.|I have sent you a new invoice.|You will see the change within {k} days.]",
    ),
    "cancel": (
        "[Please cancel order {o}.|I do not need the {g} any more.|Can I still cancel my order of {d}?]",
        "[Yes, order {o} is cancelled.|I have cancelled order {o} for you.|Order {o} has already left {c}, so please refuse it at the door.] [You will not be charged.|You get {m} euros back within {k} days.] [Have a nice day.|We hope to see you again.|Thank you for the quick message.]",
    ),
}

_SMALL_TALK = (
    (
        "[How are you?|How are you today?|How is it going?|Are you well?]",
        "[I am fine, thank you.|Very well, thanks.|Good, thank you for asking.|All is well here.] [And you?|How was your {d}?|What can I do for you?|What are your plans for {d}?]",
    ),
    (
        "[It is raining in {c} again.|What bad weather in {c}.|It is so hot in {c} today.|The sun is shining in {c} at last.]",
        "[Then it is a good day for {t}.|How about {t}?|In {c} that is normal in {m}.|I hope it is better on {d}.] [Do not forget your {b}.|Take a(n) {b} with you.|Stay at home with a cup of tea.]",
    ),
    (
        "[I am bored.|What shall I do on {d}?|I have a free day. Any idea?|What can I do in {c}?]",
        "[You could try {t}.|How about {t}?|Why not call {n} and try {t} together?] [If it rains, there is always {u}.|In the evening you could enjoy {u}.|{u} is nice as well.]",
    ),
    (
        "[I had a bad day.|I am sad today.|Today everything went wrong.|I lost my {b} today.]",
        "[I am sorry to hear that.|That sounds hard.|Oh no.] [Would you like to tell me more?|Perhaps {t} helps a little.|Talk to {n} about it, that may help.] [Tomorrow is a new day.|Be kind to yourself.|I am here if you want to talk.]",
    ),
    (
        "[I passed my exam!|I got the job as a(n) {j}!|{n} and I won the game!|My {a} had three young ones!]",
        "[Congratulations!|That is wonderful!|Well done!|What good news!] [You must be proud.|How will you celebrate?|Did you tell {n} already?] [Enjoy the day.|You have earned it.|I am happy for you.]",
    ),
    (
        "[What is your name?|Who are you?|What can you do?|Are you a person?]",
        "[I am an assistant, a program that answers questions.|I am a small language model.|I am a program, not a person.] [I can write lists, short texts and simple code.|I can help with sums, lists and letters.|Ask me about texts, numbers or plans.]",
    ),
    (
        "[Thank you!|Thanks for your help.|That was helpful, thank you.|Great, thanks.]",
        "[You are welcome!|Gladly.|My pleasure.|No problem.] [Have a nice {d}.|Come back any time.|Is there anything else?|Good luck with the {b}.]",
    ),
    (
        "[Do you like {t}?|What do you think of {t}?|Is {t} hard to learn?|{n} says that {t} is fun. Is it?]",
        "[Many people enjoy {t}.|I cannot try {t}, but it sounds nice.|It takes some time, but most people like it.] [Start with {k} minutes a day.|{n} could show you how.|Begin slowly and have fun.]",
    ),
    (
        "[Can you recommend a present for {n}?|What shall I give {n}? {n} is a(n) {j}.|I need a present for a(n) {j}.]",
        "[How about a(n) {l} {b}?|A(n) {l} {b} would be nice.|Perhaps a(n) {b} and some flowers.] [A day of {t} is a good idea as well.|Or you give some time: {t} together.|Add a card with a kind sentence.]",
    ),
    (
        "[Wake me up at {k}, please.|Can you call {n} for me?|Can you open the door?|Buy me a(n) {b}, please.]",
        "[I am sorry, I cannot do that.|I can only write, so I cannot do that.|That is not possible for me.] [But I can write a note for {n}.|I can make a list for {d}, if you like.|Please ask {n}.]",
    ),
)
_HOBBIES = (
    "reading",
    "swimming",
    "baking",
    "chess",
    "a walk in the park",
    "gardening",
    "painting",
    "a visit to the museum",
    "cycling",
    "cooking soup",
    "a game of cards",
    "knitting",
    "singing",
    "fishing",
    "a long bath",
    "photography",
    "dancing",
    "a puzzle",
)


def sample(rng: random.Random) -> Sample:
    """One exchange of any kind."""
    return rng.choice(
        (
            _support,
            _support,
            _small_talk,
            _fact,
            _fact,
            _history,
            _history,
            _transcript,
            _about_text,
            _about_text,
            _reply,
        )
    )(rng)


def _fills(rng: random.Random) -> dict[str, object]:
    t, u = rng.sample(_HOBBIES, 2)
    return {
        "g": rng.choice(words.GOODS),
        "d": rng.choice(words.DAYS),
        "n": rng.randint(3, 30),
        "k": rng.randint(2, 9),
        "o": rng.randint(10000, 99999),
        "c": rng.choice(words.CITIES),
        "l": rng.choice(words.COLOURS),
        "m": rng.randint(5, 300),
        "t": t,
        "u": u,
        "b": rng.choice(words.OBJECTS),
        "j": rng.choice(words.JOBS),
        "a": rng.choice(words.ANIMALS),
    }


def _content(reply: str) -> str:
    """An answer without its numbers: what decides on which side it goes."""
    return "".join(letter for letter in reply if not letter.isdigit())


def _support_turn(rng: random.Random) -> tuple[str, str, str]:
    matter, (asks, answers) = rng.choice(list(_MATTERS.items()))
    fills = _fills(rng)
    reply = spin(rng, answers, **fills)
    return f"{matter}|{_content(reply)}", spin(rng, asks, **fills), reply


def _talk_turn(rng: random.Random) -> tuple[str, str, str]:
    fills = _fills(rng) | {"n": rng.choice(words.NAMES), "m": rng.choice(words.MONTHS)}
    asks, answers = rng.choice(_SMALL_TALK)
    question, reply = spin(rng, asks, **fills), capitalised(spin(rng, answers, **fills))
    return f"talk|{_content(reply)}", capitalised(question), reply


def _turns(rng: random.Random, kinds: tuple, count: int) -> list[tuple[str, str, str]]:
    """Exchanges that are all on one side of the split."""
    last = rng.choice(kinds)(rng)
    turns = [last]
    while len(turns) < count:
        turn = rng.choice(kinds)(rng)
        if same_side("dialogue", turn[0], last[0]):
            turns.insert(0, turn)
    return turns


def _support(rng: random.Random) -> Sample:
    key, question, reply = _support_turn(rng)
    if rng.random() < 0.4:
        question = spin(rng, f"{_HELLO}, ") + "I have a question. " + question
    if rng.random() < 0.3:
        reply = spin(rng, f"{_HELLO}! ") + reply
    return chat("dialogue", key, question, reply, system=rng.choice(_PERSONAS))


def _small_talk(rng: random.Random) -> Sample:
    key, question, reply = _talk_turn(rng)
    return chat("dialogue", key, question, reply, system=rng.choice(_PERSONAS))


def _fact(rng: random.Random) -> Sample:
    question, reply = rng.choice(FACTS)
    lead = spin(
        rng,
        "[||||Can you tell me: |Please explain: |A question from {n}, {a} years old: |{n} asks: |In simple words: ]",
        n=rng.choice(words.NAMES),
        a=rng.randint(5, 12),
    )
    tail = spin(
        rng,
        "[||||  Does that help?| Ask me if you want to know more.| I hope this helps, {n}.]",
        n=rng.choice(words.NAMES),
    ).replace("  ", " ")
    asked, told = spin(rng, question), spin(rng, reply)
    return chat("dialogue", f"fact|{told}", lead + asked, told + tail, system=rng.choice(_PERSONAS))


def _history(rng: random.Random) -> Sample:
    """Two or three exchanges; the earlier ones stand in the user's text."""
    turns = _turns(rng, (_support_turn, _talk_turn), rng.randint(2, 3))
    you, me = rng.choice(
        (("User", "Assistant"), ("Customer", "Agent"), ("A", "B"), (rng.choice(words.NAMES), "Assistant"))
    )
    lines = [f"{you}: {question}\n{me}: {reply}" for _, question, reply in turns[:-1]]
    key, question, reply = turns[-1]
    user = "\n".join(lines + [f"{you}: {question}", f"{me}:"])
    return chat("dialogue", key, user, reply, system=rng.choice(_PERSONAS))


def _transcript(rng: random.Random) -> Sample:
    """A raw conversation between two named people."""
    one, two = rng.sample(words.NAMES, 2)
    turns = _turns(rng, (_talk_turn,), rng.randint(2, 4))
    text = "\n".join(f"{one}: {question}\n{two}: {reply}" for _, question, reply in turns)
    return raw("dialogue", turns[-1][0], text)


def _about_text(rng: random.Random) -> Sample:
    """Questions whose answer stands in a few sentences."""
    name, other = rng.sample(words.NAMES, 2)
    facts = {
        "n": name,
        "o": other,
        "c": rng.choice(words.CITIES),
        "j": rng.choice(words.JOBS),
        "a": rng.choice(words.ANIMALS),
        "b": rng.choice(words.OBJECTS),
        "l": rng.choice(words.COLOURS),
        "d": rng.choice(words.DAYS),
        "k": rng.randint(2, 60),
        "p": rng.choice(words.PLACES),
        "t": rng.choice(_HOBBIES),
    }
    lines = {
        "job": (
            "[{n} works as a(n) {j}.|{n} is a(n) {j} by trade.]",
            "[What is the job of {n}?|What does {n} do for a living?]",
            "{n} is a(n) {j}.",
        ),
        "city": (
            "[{n} lives in {c}.|The home of {n} is in {c}.]",
            "[Where does {n} live?|In which city does {n} live?]",
            "{n} lives in {c}.",
        ),
        "animal": (
            "[{n} has a(n) {l} {a}.|A(n) {l} {a} belongs to {n}.]",
            "[Which animal does {n} have?|What colour is the {a} of {n}?]",
            "{n} has a(n) {l} {a}.",
        ),
        "visit": (
            "[On {d}, {o} comes to visit.|{o} comes every {d}.]",
            "[Who comes on {d}?|When does {o} come?]",
            "{o} comes on {d}.",
        ),
        "thing": (
            "[The {b} is in the {p}.|{n} keeps the {b} in the {p}.]",
            "[Where is the {b}?|What is in the {p}?]",
            "The {b} is in the {p}.",
        ),
        "hobby": (
            "[In the evening {n} likes {t}.|What {n} enjoys most is {t}.]",
            "[What does {n} like?|What does {n} enjoy?]",
            "{n} likes {t}.",
        ),
        "age": (
            "[{o} is {k} years old.|At {k} years, {o} is still curious.]",
            "[How old is {o}?|What is the age of {o}?]",
            "{o} is {k} years old.",
        ),
    }
    chosen = rng.sample(list(lines), rng.randint(3, 6))
    text = " ".join(spin(rng, lines[kind][0], **facts) for kind in chosen)
    _, question, reply = lines[rng.choice(chosen)]
    asked = spin(rng, question, **facts)
    user = f"{text}\n\n{asked}" if rng.random() < 0.6 else f"{asked}\n\n{text}"
    return chat(
        "dialogue",
        f"about|{name}|{facts['c']}|{facts['b']}",
        user,
        spin(rng, reply, **facts),
        system=rng.choice(_PERSONAS),
    )


def _reply(rng: random.Random) -> Sample:
    """A short letter on request."""
    name, other = rng.sample(words.NAMES, 2)
    day, place, thing = rng.choice(words.DAYS), rng.choice(words.PLACES), rng.choice(words.OBJECTS)
    aims = {
        "invites {o} to the {p} on {d}": "[I would like to invite you to the {p} on {d}.|Will you come to the {p} on {d}?] [There will be cake and music.|We start at three.|Bring your {b} if you like.]",
        "thanks {o} for the {b}": "[Thank you so much for the {b}.|The {b} is beautiful, thank you.] [I use it every {d}.|It stands next to my window.|It reminds me of the {p}.]",
        "says sorry to {o} for the broken {b}": "[I am sorry that I broke your {b}.|Please forgive me for the broken {b}.] [I will bring you a new one on {d}.|I should have been more careful.]",
        "asks {o} for the {b}": "[May I borrow your {b} on {d}?|Could you lend me your {b}?] [I need it for the {p}.|You will have it back on {d}.]",
        "tells {o} about the {p}": "[On {d} I was at the {p}.|The {p} was lovely on {d}.] [I found a(n) {b} there.|I wish you had been there.|Next time you must come along.]",
        "cancels the meeting with {o} on {d}": "[I am afraid I cannot come on {d}.|Something came up, so I have to cancel {d}.] [Can we meet at the {p} next week?|I am sorry for the late message.]",
    }
    fills = {"n": name, "o": other, "p": place, "d": day, "b": thing}
    aim, body = rng.choice(list(aims.items()))
    ask = spin(
        rng,
        "[Write a short [letter|message|email] that "
        + aim
        + ".|A short [note|letter] from {n} that "
        + aim
        + ", please.]",
        **fills,
    )
    close = spin(rng, "[Best wishes|Yours|Kind regards|See you soon|All the best],\n{n}", n=name)
    reply = spin(rng, "[Dear|Hello|Hi] {o},\n\n" + body, **fills) + "\n\n" + close
    return chat("dialogue", f"letter|{aim}|{other}|{thing}", ask, reply)
