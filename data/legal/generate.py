#!/usr/bin/env python3
"""Composes contract clauses and plain-language summaries, the data of recipes/legal-t5.yaml.

In: frames.toml beside this file and a seed. Out: train.jsonl, validation.jsonl and test.jsonl, one
``{"clause": ..., "summary": ...}`` a line; and, for pre-training, `stream`: clauses without
summaries, for ever. The three files share no clause. Some frames, words, party names and numbers
appear in test clauses only.

Never: reads the clock, the network or the environment, iterates over a set, or calls any method of
`random.Random` but `random()`, the one whose sequence Python promises to keep between versions.
The same bytes come out on every Python from 3.11. Standard library only. CC0-1.0.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
SEED = 20261
ROWS = {"train": 3000, "validation": 300, "test": 300}
CLAUSE_WORDS = range(30, 111)
SUMMARY_WORDS = range(10, 31)
NOTES = 0.6  # notes for each clause of the stream
HELD_OUT_ROWS = 0.6  # of the test rows, those that may use test-only parts
HELD_OUT_EVERY = 5  # one in so many starts of party names is kept for test

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")
SLOT_NUMBER = re.compile(r"\d$")

SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
]  # fmt: skip
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]

T = TypeVar("T")


@functools.cache
def frames() -> dict[str, Any]:
    """frames.toml: boilerplate, words and topics."""
    return tomllib.loads((HERE / "frames.toml").read_text(encoding="utf-8"))


class Dice:
    """Draws that depend on nothing but the seed; `held_out` lets a draw land on test-only parts."""

    def __init__(self, seed: int, *, held_out: bool) -> None:
        self._random = random.Random(seed).random
        self.held_out = held_out

    def below(self, n: int) -> int:
        """An integer in [0, n)."""
        return int(self._random() * n)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random() < probability

    def allowed(self, options: Sequence[str]) -> list[str]:
        """The options unmarked; those marked ``!`` only when test-only parts may be used."""
        return [o.removeprefix("!") for o in options if self.held_out or not o.startswith("!")]

    def pick(self, options: Sequence[str]) -> str:
        """One of the allowed options."""
        allowed = self.allowed(options)
        return allowed[self.below(len(allowed))]

    def sample(self, items: Sequence[T], n: int) -> list[T]:
        """n of the items without repetition, in random order."""
        pool = list(items)
        return [pool.pop(self.below(len(pool))) for _ in range(n)]


@dataclass(frozen=True, kw_only=True)
class Value:
    """One fact, as lawyers write it and as people say it."""

    legal: str
    plain: str


def same(text: str) -> Value:
    """A value that lawyers and other people write alike."""
    return Value(legal=text, plain=text)


def spell(n: int) -> str:
    """English words for 0 <= n < 200.

    >>> spell(45), spell(120)
    ('forty-five', 'one hundred and twenty')
    """
    if n < 20:
        return SMALL[n]
    if n < 100:
        return TENS[n // 10] + (f"-{SMALL[n % 10]}" if n % 10 else "")
    return "one hundred" + (f" and {spell(n - 100)}" if n > 100 else "")


def draw_count(dice: Dice, unit: str) -> Value:
    """A counted thing: "thirty (30) days" or "30 days" in a clause, "30 days" in a summary."""
    n = dice.pick(frames()["counts"][unit])
    plain = f"{n} {unit}"
    return Value(legal=dice.pick([f"{spell(int(n))} ({n}) {unit}", plain]), plain=plain)


def draw_amount(dice: Dice) -> Value:
    """Money, "EUR 43,300"."""
    number = (1 + dice.below(99)) * (100, 1000, 10000)[dice.below(3)] + 50 * dice.below(20)
    return same(f"{dice.pick(frames()['parts']['currency'])} {number:,}")


def draw_percentage(dice: Dice) -> Value:
    """A share, "4.5 per cent" or "4.5%" in a clause, "4.5%" in a summary."""
    number = f"{1 + dice.below(15)}" + dice.pick(["", "", ".5"])
    return Value(legal=dice.pick([f"{number} per cent", f"{number}%"]), plain=f"{number}%")


def draw_date(dice: Dice) -> Value:
    """A day between 2024 and 2031, "3 March 2027"."""
    return same(
        f"{1 + dice.below(28)} {dice.pick(frames()['parts']['month'])} {2024 + dice.below(8)}"
    )


def draw_number(dice: Dice) -> Value:
    """The number of a clause or schedule, "14.2"."""
    return same(f"{1 + dice.below(24)}" + dice.pick(["", ".1", ".2", ".3"]))


def draw_person(dice: Dice) -> Value:
    """A person, "Dr Lind"."""
    return same(f"{dice.pick(['Ms', 'Mr', 'Dr'])} {dice.pick(frames()['parts']['surname'])}")


def draw_name(dice: Dice) -> str:
    """A company name; every fifth combination of its first two parts is for test only."""
    parts = frames()["parts"]
    while True:
        start = dice.below(len(parts["name_start"]))
        middle = dice.below(len(parts["name_middle"]))
        if dice.held_out or (start + middle) % HELD_OUT_EVERY:
            stem = parts["name_start"][start] + parts["name_middle"][middle]
            return f"{stem}{dice.pick(parts['name_end'])} {dice.pick(parts['name_kind'])}"


def draw_slot(dice: Dice, slot: str) -> Value:
    """A value for a slot of frames.toml; days2 and days3 are drawn as days is."""
    kind = SLOT_NUMBER.sub("", slot)
    special = {
        "amount": draw_amount,
        "date": draw_date,
        "num": draw_number,
        "pct": draw_percentage,
        "person": draw_person,
    }
    if kind in special:
        return special[kind](dice)
    if kind in frames()["counts"]:
        return draw_count(dice, kind)
    text = dice.pick(frames()["words"][kind])
    return Value(legal=text, plain="contract" if kind == "agreement" else text)


@dataclass(kw_only=True)
class Facts:
    """The values of one clause: each slot is drawn once, when a frame first asks for it."""

    dice: Dice
    values: dict[str, Value] = field(default_factory=dict)

    def __getitem__(self, slot: str) -> Value:
        while slot not in self.values:
            value = draw_slot(self.dice, slot)
            # Two slots with the same text would make it unclear which of them a summary repeats.
            if all(value.plain != other.plain for other in self.values.values()):
                self.values[slot] = value
        return self.values[slot]


def draw_parties(dice: Dice) -> dict[str, Value]:
    """The slots A and B as frames use them, NA and NB (names), RA and RB (roles)."""
    roles = dice.pick(frames()["parts"]["roles"]).split("/")
    if dice.chance(0.5):
        roles.reverse()
    names = [draw_name(dice), draw_name(dice)]
    parties = [f"the {role}" for role in roles] if dice.chance(0.7) else names
    texts = zip(("A", "B", "NA", "NB", "RA", "RB"), (*parties, *names, *roles), strict=True)
    return {slot: same(text) for slot, text in texts}


def compose(frame: str, facts: Facts, *, plain: bool) -> str:
    """One sentence from a frame: alternatives chosen, slots filled, first letter capital."""
    while CHOICE.search(frame):
        frame = CHOICE.sub(lambda match: facts.dice.pick(match[1].split("|")), frame)

    def fill(match: re.Match[str]) -> str:
        value = facts[match[1]]
        return value.plain if plain else value.legal

    sentence = SLOT.sub(fill, frame)
    return sentence[:1].upper() + sentence[1:]


def lay_out(dice: Dice, topic: dict[str, Any], details: Sequence[dict[str, Any]]) -> list[str]:
    """The frames of a clause: boilerplate around the rule and the details."""
    rule = dice.pick(topic["clause"])
    if dice.chance(0.4):
        rule = dice.pick(frames()["lead"]) + rule
    clause = [dice.pick(frames()["opener"])] if dice.chance(0.7) else []
    clause += [rule, *(dice.pick(detail["clause"]) for detail in details)]
    for filler in dice.sample(dice.allowed(frames()["filler"]), dice.below(3)):
        clause.insert(dice.below(len(clause) + 1), filler)
    return clause


def draft(dice: Dice, topic: dict[str, Any], style: str) -> tuple[str, str]:
    """A clause about the topic and what it says in short, of whatever length.

    In short is in plain language (style "summary") or in a lawyer's other words ("clause").
    """
    facts = Facts(dice=dice, values=draw_parties(dice))
    details = dice.sample(topic["detail"], 2 if dice.chance(0.4) else 1)
    clause = lay_out(dice, topic, details)
    short = [dice.pick(part[style]) for part in (topic, *details)]
    return (
        " ".join(compose(frame, facts, plain=False) for frame in clause),
        " ".join(compose(frame, facts, plain=True) for frame in short),
    )


def pairs(seed: int, *, held_out: bool) -> Iterator[dict[str, str]]:
    """Rows for ever, each within CLAUSE_WORDS and SUMMARY_WORDS, no clause twice.

    With `held_out`, a share of HELD_OUT_ROWS of them may use test-only parts.
    """
    topics = frames()["topic"]
    dice = Dice(seed, held_out=held_out)
    seen: set[str] = set()  # asked for membership only
    while True:
        if held_out:
            dice.held_out = dice.chance(HELD_OUT_ROWS)
        clause, summary = draft(dice, topics[dice.below(len(topics))], "summary")
        fits = len(clause.split()) in CLAUSE_WORDS and len(summary.split()) in SUMMARY_WORDS
        if fits and clause not in seen:
            seen.add(clause)
            yield {"clause": clause, "summary": summary}


def note(dice: Dice) -> str:
    """A few sentences of everyday English about contracts, not about any one clause."""
    facts = Facts(dice=dice, values=draw_parties(dice))
    chosen = dice.sample(frames()["note"], 3 + dice.below(4))
    return " ".join(compose(frame, facts, plain=True) for frame in chosen)


def stream(seed: int, *, avoid: AbstractSet[str]) -> Iterator[str]:
    """Clauses without summaries and some notes, for ever, for pre-training.

    No test-only part, and nothing of `avoid`: the caller passes the clauses of the three files.
    """
    dice = Dice(seed + 1, held_out=False)
    for row in pairs(seed, held_out=False):
        if row["clause"] not in avoid:
            yield row["clause"]
            if dice.chance(NOTES):
                yield note(dice)


def restatements(seed: int, *, avoid: AbstractSet[str]) -> Iterator[tuple[str, str]]:
    """Clauses, each with its rule and details in a lawyer's other words, for ever, as `stream`."""
    topics = frames()["topic"]
    dice = Dice(seed, held_out=False)
    while True:
        clause, other = draft(dice, topics[dice.below(len(topics))], "clause")
        if clause not in avoid:
            yield clause, other


def splits() -> dict[str, list[dict[str, str]]]:
    """The rows of every file. Raises RuntimeError if two files were to share a clause."""
    taken: set[str] = set()
    made: dict[str, list[dict[str, str]]] = {}
    for number, (split, size) in enumerate(ROWS.items()):
        source = pairs(SEED + number, held_out=split == "test")
        rows = [next(source) for _ in range(size)]
        for row in rows:
            if row["clause"] in taken:
                raise RuntimeError(f"{split} repeats a clause of another file: {row['clause']}")
        taken.update(row["clause"] for row in rows)
        made[split] = rows
    return made


def encode(rows: Sequence[dict[str, str]]) -> bytes:
    """JSON Lines in UTF-8 with a newline at the end of every row."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the three files, each under a temporary name first; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the training, validation and test rows.")
    parser.add_argument("--out", type=Path, default=HERE, help="default: beside this script")
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    for split, rows in splits().items():
        temporary = out / f".{split}.jsonl.{os.getpid()}"
        temporary.write_bytes(encode(rows))
        temporary.replace(out / f"{split}.jsonl")
        print(f"{split}: {len(rows)} rows", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
