#!/usr/bin/env python3
"""Composes the small data sets of the example recipes: the mail of a made-up office.

In: a seed. Out, beside this file: tickets (a text and its class), entities (words and BIO tags),
questions (SQuAD form), assistant (chats), phrases (English and German), each with train, validation
and test files of JSON Lines.

Never: reads the clock, the network or the environment, iterates over a set, or calls any method of
`random.Random` but `random()`, whose sequence Python promises to keep between versions. The same
bytes come out on every Python from 3.11. Standard library only. CC0-1.0.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
SEED = 41
ROWS = {"train": 400, "validation": 60, "test": 120}

T = TypeVar("T")
Row = dict[str, Any]

FIRST = [
    "Ada",
    "Bruno",
    "Chen",
    "Dalia",
    "Emil",
    "Fatima",
    "Goran",
    "Hana",
    "Ines",
    "Jonas",
    "Kavya",
]
LAST = ["Abel", "Brandt", "Castro", "Dvorak", "Engel", "Farouk", "Garcia", "Haas", "Ito", "Jansen"]
FIRMS = ["Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel"]
FORMS = ["Ltd", "GmbH", "Partners", "Works"]
CITIES = ["Aachen", "Bergen", "Cork", "Delft", "Evora", "Faro", "Ghent", "Hull"]
MONTHS = ["January", "March", "May", "July", "September", "November"]
ROOMS = ["the archive", "the east wing", "room 12", "the annex", "the studio"]

TICKETS = {
    "billing": [
        "I was charged twice for {thing}.",
        "The invoice for {thing} shows the wrong amount.",
        "Please refund what I paid for {thing}.",
        "Why did the price of {thing} go up?",
    ],
    "delivery": [
        "{Thing} was due last week and has not arrived.",
        "The courier left {thing} with a neighbour.",
        "Can you send {thing} to another address?",
        "The box that {thing} came in was crushed.",
    ],
    "account": [
        "I cannot sign in to see {thing}.",
        "The link to reset my password for {thing} does not work.",
        "Please change the e-mail address on my order of {thing}.",
        "My profile still lists {thing} under my old name.",
    ],
    "fault": [
        "{Thing} stopped working after two days.",
        "There is a crack in {thing}.",
        "{Thing} makes a loud noise when I switch it on.",
        "The screen of {thing} stays black.",
    ],
}
THINGS = [
    *("the lamp", "the desk", "the printer", "the kettle", "the monitor", "the chair"),
    *("the scanner", "the keyboard", "the fan", "the clock", "the radio", "the speaker"),
]
OPENINGS = ["Hello,", "Good morning,", "Hi there,", "To whom it may concern,", ""]
CLOSINGS = ["Thank you.", "Please help.", "I look forward to your answer.", "Regards.", ""]

NOUNS = [
    ("lamp", "die", "Lampe"),
    ("desk", "der", "Tisch"),
    ("book", "das", "Buch"),
    ("chair", "der", "Stuhl"),
    ("door", "die", "Tür"),
    ("window", "das", "Fenster"),
    ("letter", "der", "Brief"),
    ("bottle", "die", "Flasche"),
    ("house", "das", "Haus"),
    ("garden", "der", "Garten"),
    ("key", "der", "Schlüssel"),
    ("street", "die", "Straße"),
    ("picture", "das", "Bild"),
    ("car", "das", "Auto"),
    ("bag", "die", "Tasche"),
    ("coat", "der", "Mantel"),
    ("shirt", "das", "Hemd"),
    ("kitchen", "die", "Küche"),
    ("train", "der", "Zug"),
    ("clock", "die", "Uhr"),
]
ADJECTIVES = [
    ("old", "alt"),
    ("new", "neu"),
    ("red", "rot"),
    ("small", "klein"),
    ("big", "groß"),
    ("clean", "sauber"),
    ("cold", "kalt"),
    ("white", "weiß"),
    ("black", "schwarz"),
    ("warm", "warm"),
    ("beautiful", "schön"),
    ("expensive", "teuer"),
]
ADVERBS = [("very", "sehr"), ("quite", "ziemlich"), ("always", "immer"), ("never", "nie"), ("", "")]


class Dice:
    """Draws that depend on nothing but the seed."""

    def __init__(self, seed: str) -> None:
        self._draw = random.Random(seed).random

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self._draw() * len(items))]

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._draw() * (high - low + 1))

    def person(self) -> str:
        """A first and a last name."""
        return f"{self.pick(FIRST)} {self.pick(LAST)}"

    def firm(self) -> str:
        """The name of a firm."""
        return f"{self.pick(FIRMS)} {self.pick(FORMS)}"

    def day(self) -> str:
        """A day of the year."""
        return f"{self.number(1, 28)} {self.pick(MONTHS)}"


def ticket(dice: Dice) -> Row:
    """A customer's mail and the desk that it belongs to."""
    label = dice.pick(sorted(TICKETS))
    thing = dice.pick(THINGS)
    said = dice.pick(TICKETS[label]).format(thing=thing, Thing=thing.capitalize())
    parts = [dice.pick(OPENINGS), said, dice.pick(CLOSINGS)]
    return {"text": " ".join(part for part in parts if part), "label": label}


def entity(dice: Dice) -> Row:
    """A sentence as words, with the people, firms and places in it tagged."""
    person, firm, city, day = dice.person(), dice.firm(), dice.pick(CITIES), dice.day()
    frames: list[list[tuple[str, str]]] = [
        [(person, "PER"), ("of", ""), (firm, "ORG"), ("called from", ""), (city, "LOC"), (".", "")],
        [("On", ""), (day, ""), (firm, "ORG"), ("moves to", ""), (city, "LOC"), (".", "")],
        [("Please forward this to", ""), (person, "PER"), ("before", ""), (day, ""), (".", "")],
        [("The", ""), (city, "LOC"), ("office of", ""), (firm, "ORG"), ("is closed .", "")],
        [(person, "PER"), ("will meet", ""), (dice.person(), "PER"), ("in", ""), (city, "LOC")],
        [("Nobody answered the letter of", ""), (day, ""), (".", "")],
    ]
    words: list[str] = []
    tags: list[str] = []
    for text, kind in dice.pick(frames):
        for place, word in enumerate(text.split()):
            words.append(word)
            tags.append("O" if not kind else f"{'I' if place else 'B'}-{kind}")
    return {"words": words, "tags": tags}


def question(dice: Dice) -> Row:
    """A note, a question about it, and where the answer stands."""
    facts = {
        "who": dice.person(),
        "where": dice.pick(ROOMS),
        "when": dice.day(),
        "firm": dice.firm(),
    }
    context = (
        f"{facts['who']} keeps the keys. The contract with {facts['firm']} was signed on"
        f" {facts['when']}, and the files are in {facts['where']}."
    )
    asked, answer = dice.pick(
        [
            ("Who keeps the keys?", facts["who"]),
            ("Where are the files?", facts["where"]),
            ("When was the contract signed?", facts["when"]),
            ("With whom was the contract signed?", facts["firm"]),
        ]
    )
    return {
        "question": asked,
        "context": context,
        "answers": {"text": [answer], "answer_start": [context.index(answer)]},
    }


def chat(dice: Dice) -> Row:
    """A request to the office's assistant, and the answer in the office's own form."""
    label = dice.pick(sorted(TICKETS))
    thing = dice.pick(THINGS)
    said = dice.pick(TICKETS[label]).format(thing=thing, Thing=thing.capitalize())
    parts = ["Which desk is this for?", dice.pick(OPENINGS), said, dice.pick(CLOSINGS)]
    return {
        "messages": [
            {"role": "user", "content": " ".join(part for part in parts if part)},
            {"role": "assistant", "content": f"DESK {label.upper()} / ITEM {thing.split()[-1]}"},
        ]
    }


def phrase(dice: Dice) -> Row:
    """A short sentence in English and in German."""
    english, article, german = dice.pick(NOUNS)
    quality, deutsch = dice.pick(ADJECTIVES)
    adverb, umstand = dice.pick(ADVERBS)
    return {
        "en": " ".join(word for word in ("The", english, "is", adverb, quality) if word) + ".",
        "de": " ".join(w for w in (article.capitalize(), german, "ist", umstand, deutsch) if w)
        + ".",
    }


SETS: dict[str, Callable[[Dice], Row]] = {
    "tickets": ticket,
    "entities": entity,
    "questions": question,
    "assistant": chat,
    "phrases": phrase,
}


def write(folder: Path) -> None:
    """Every set's three files below `folder`; no row is in two files of a set."""
    for name, make in SETS.items():
        seen: set[str] = set()
        for split, count in ROWS.items():
            dice = Dice(f"{SEED} {name} {split}")
            lines: list[str] = []
            draws = 0
            while len(lines) < count and draws < 100 * count:
                draws += 1
                line = json.dumps(make(dice), ensure_ascii=False)
                if line not in seen:
                    seen.add(line)
                    lines.append(line)
            path = folder / name / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    write(HERE)
