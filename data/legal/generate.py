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
import json
import os
import random
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
SEED = 20261
ROWS = {"train": 3000, "validation": 300, "test": 300}
CLAUSE_WORDS = range(30, 111)
SUMMARY_WORDS = range(10, 31)
HELD_OUT_EVERY = 5  # one party name in five is kept for test

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")

ROLES = [
    "Supplier/Buyer", "Licensor/Licensee", "Landlord/Tenant", "Seller/Purchaser",
    "Provider/Customer", "Contractor/Owner", "Consultant/Client", "Lender/Borrower",
    "Franchisor/Franchisee", "Carrier/Shipper", "Agency/Advertiser",
    "!Manufacturer/Distributor",
]  # fmt: skip
NAME_STARTS = (
    "Al Bar Cor Del Fen Gar Hol Kes Lan Mer Nor Or Pel Quin Ros Sel Tar Ul Ver Wen Yar Zel Bel Cas Dun Ev"
).split()
NAME_MIDDLES = "ba co da fi ga lo ma ni po ra si to va wi xo".split()
NAME_ENDS = "dan ford gate len mark nis port rion stead tek ton vale wick zen".split()
NAME_KINDS = ["Ltd", "LLC", "GmbH", "SA", "Inc", "BV", "plc", "& Sons", "Group", "Partners"]
AGREEMENTS = [
    "Agreement", "Contract", "Supply Agreement", "Master Services Agreement", "Framework Contract",
    "Lease", "Licence Agreement", "Purchase Order", "Deed", "!Memorandum of Terms",
]  # fmt: skip
PLACES = [
    "Bavaria", "Scotland", "Ontario", "Tuscany", "Catalonia", "Normandy", "Texas", "Ohio", "Queensland",
    "Flanders", "Jutland", "the European Union", "the Nordic countries", "Wallonia", "!Andalusia", "!Quebec",
]  # fmt: skip
LAWS = [
    "Ireland", "Denmark", "Germany", "France", "New York", "Delaware", "Austria", "Portugal", "Norway",
    "England and Wales", "Switzerland", "Singapore", "Japan", "Spain", "!Finland", "!Estonia",
]  # fmt: skip
CITIES = [
    "Dublin", "Hamburg", "Lyon", "Boston", "Vienna", "Lisbon", "Oslo", "Leeds", "Zurich", "Osaka", "Seville",
    "Ghent", "Turin", "Bergen", "Chicago", "Toronto", "Krakow", "Malmo", "!Tampere", "!Porto", "!Graz",
]  # fmt: skip
GOODS = [
    "pumps", "servers", "machines", "vehicles", "turbines", "lifts", "printers", "cables", "sensors", "boilers",
    "batteries", "valves", "displays", "robots", "cranes", "!looms", "!kilns",
]  # fmt: skip
WORKS = [
    "drawings", "software", "designs", "reports", "manuals", "photographs", "logos", "translations", "films",
    "plans", "source code", "!sculptures", "!scores",
]  # fmt: skip
EVENTS = [
    "war", "flood", "fire", "strikes", "earthquake", "epidemic", "embargo", "storm", "a power failure",
    "cyber attacks", "riots", "!drought", "!volcanic ash",
]  # fmt: skip
INSURANCES = [
    "public liability", "professional indemnity", "product liability", "cargo", "fire", "cyber", "marine",
    "property", "!equipment breakdown",
]  # fmt: skip
CAUSES = [
    "infringement of patents", "defective goods", "breach of this clause", "negligence of its staff",
    "unpaid taxes", "pollution of the site", "false statements", "loss of data", "injury to visitors",
    "misuse of trade marks", "!smoke damage", "!unlicensed software",
]  # fmt: skip
CHANNELS = ["registered post", "courier", "e-mail", "recorded delivery", "secure portal", "!telex"]
ARBITERS = ["a sole arbitrator", "three arbitrators", "a panel of experts", "a mediator", "!two umpires"]
LANGUAGES = ["English", "German", "French", "Spanish", "Dutch", "Italian", "!Finnish"]
TERMS = ["term", "initial term", "contract period"]
MONTHS = (
    "January February March April May June July August September October November December"
).split()  # fmt: skip
SURNAMES = "Abel Brandt Castro Dekker Egan Falk Greco Hansen Ivory Jonas Keller Lind Moreau Nolan".split()
CURRENCIES = ["EUR", "USD", "GBP", "CHF"]
DAYS = "5 7 8 10 14 15 20 21 28 30 42 45 60 75 90 120 !12 !18 !25 !35".split()
MONTH_COUNTS = "2 3 4 6 8 9 12 15 18 24 30 36 !10 !20".split()
YEAR_COUNTS = "2 3 4 5 6 7 10 15 !8 !12".split()
HOUR_COUNTS = "12 24 36 48 72 !60 !96".split()

SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()

T = TypeVar("T")


class Dice:
    """Draws that depend on nothing but the seed; `held_out` lets a draw land on test-only parts."""

    def __init__(self, seed: int, *, held_out: bool) -> None:
        self._random = random.Random(seed).random
        self.held_out = held_out

    def below(self, n: int) -> int:
        """An integer in [0, n)."""
        return int(self._random() * n)

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def pick(self, options: Sequence[str]) -> str:
        """One of the options; those marked with ``!`` only when test-only parts are allowed."""
        allowed = [o for o in options if self.held_out or not o.startswith("!")]
        return allowed[self.below(len(allowed))].removeprefix("!")

    def sample(self, items: Sequence[T], n: int) -> list[T]:
        """n of the items without repetition, in random order."""
        pool = list(items)
        return [pool.pop(self.below(len(pool))) for _ in range(n)]


@dataclass(frozen=True, kw_only=True)
class Value:
    """One fact, as lawyers write it and as people say it."""

    legal: str
    plain: str


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


def count(options: Sequence[str], unit: str) -> Callable[[Dice], Value]:
    """A drawer of counted things: "thirty (30) days" in a clause, "30 days" in a summary."""

    def draw(dice: Dice) -> Value:
        n = dice.pick(options)
        return Value(legal=dice.pick([f"{spell(int(n))} ({n}) {unit}", f"{n} {unit}"]), plain=f"{n} {unit}")

    return draw


def word(options: Sequence[str]) -> Callable[[Dice], Value]:
    def draw(dice: Dice) -> Value:
        text = dice.pick(options)
        return Value(legal=text, plain=text)

    return draw


def draw_amount(dice: Dice) -> Value:
    number = (1 + dice.below(99)) * (100, 1000, 10000)[dice.below(3)] + 50 * dice.below(20)
    text = f"{dice.pick(CURRENCIES)} {number:,}"
    return Value(legal=text, plain=text)


def draw_percentage(dice: Dice) -> Value:
    number = f"{1 + dice.below(15)}" + dice.pick(["", "", ".5"])
    return Value(legal=dice.pick([f"{number} per cent", f"{number}%"]), plain=f"{number}%")


def draw_date(dice: Dice) -> Value:
    text = f"{1 + dice.below(28)} {dice.pick(MONTHS)} {2024 + dice.below(8)}"
    return Value(legal=text, plain=text)


def draw_number(dice: Dice) -> Value:
    text = f"{1 + dice.below(24)}" + dice.pick(["", ".1", ".2", ".3"])
    return Value(legal=text, plain=text)


def draw_person(dice: Dice) -> Value:
    text = f"{dice.pick(['Ms', 'Mr', 'Dr'])} {dice.pick(SURNAMES)}"
    return Value(legal=text, plain=text)


def draw_name(dice: Dice) -> str:
    """A company name; every fifth combination of its first two parts is for test only."""
    while True:
        start, middle = dice.below(len(NAME_STARTS)), dice.below(len(NAME_MIDDLES))
        if dice.held_out or (start + middle) % HELD_OUT_EVERY:
            name = NAME_STARTS[start] + NAME_MIDDLES[middle] + dice.pick(NAME_ENDS)
            return f"{name} {dice.pick(NAME_KINDS)}"


def draw_agreement(dice: Dice) -> Value:
    return Value(legal=dice.pick(AGREEMENTS), plain="contract")


SLOTS: dict[str, Callable[[Dice], Value]] = {
    "agreement": draw_agreement,
    "amount": draw_amount,
    "arbiters": word(ARBITERS),
    "cause": word(CAUSES),
    "channel": word(CHANNELS),
    "city": word(CITIES),
    "date": draw_date,
    "date2": draw_date,
    "days": count(DAYS, "days"),
    "days2": count(DAYS, "days"),
    "days3": count(DAYS, "days"),
    "event": word(EVENTS),
    "goods": word(GOODS),
    "hours": count(HOUR_COUNTS, "hours"),
    "insurance": word(INSURANCES),
    "language": word(LANGUAGES),
    "law": word(LAWS),
    "months": count(MONTH_COUNTS, "months"),
    "num": draw_number,
    "pct": draw_percentage,
    "person": draw_person,
    "place": word(PLACES),
    "term": word(TERMS),
    "times": count("2 3 4 5".split(), "times"),
    "works": word(WORKS),
    "years": count(YEAR_COUNTS, "years"),
}


@dataclass(kw_only=True)
class Facts:
    """The values of one clause: each slot is drawn once, when a frame first asks for it."""

    dice: Dice
    values: dict[str, Value] = field(default_factory=dict)

    def __getitem__(self, slot: str) -> Value:
        while slot not in self.values:
            value = SLOTS[slot](self.dice)
            # Two slots with the same text would make it unclear which of them a summary repeats.
            if all(value.plain != other.plain for other in self.values.values()):
                self.values[slot] = value
        return self.values[slot]


def draw_parties(dice: Dice) -> dict[str, Value]:
    """The slots A and B as frames use them, NA and NB (names), RA and RB (roles)."""
    roles = dice.pick(ROLES).split("/")
    if dice.chance(0.5):
        roles.reverse()
    names = [draw_name(dice), draw_name(dice)]
    parties = [f"the {role}" for role in roles] if dice.chance(0.6) else names
    texts = {"A": parties[0], "B": parties[1], "NA": names[0], "NB": names[1], "RA": roles[0], "RB": roles[1]}
    return {slot: Value(legal=text, plain=text) for slot, text in texts.items()}


def compose(frame: str, facts: Facts, *, plain: bool) -> str:
    """One sentence from a frame: alternatives chosen, slots filled, first letter capital."""
    while CHOICE.search(frame):
        frame = CHOICE.sub(lambda match: facts.dice.pick(match[1].split("|")), frame)

    def fill(match: re.Match[str]) -> str:
        value = facts[match[1]]
        return value.plain if plain else value.legal

    sentence = SLOT.sub(fill, frame)
    return sentence[:1].upper() + sentence[1:]


def draft(dice: Dice, frames: dict[str, Any], topic: dict[str, Any]) -> tuple[str, str]:
    """A clause about the topic and its summary, of whatever length."""
    facts = Facts(dice=dice, values=draw_parties(dice))
    details = dice.sample(topic["detail"], 1 + dice.below(2))
    rule = dice.pick(topic["clause"])
    if dice.chance(0.4):
        rule = dice.pick(frames["lead"]) + rule
    clause = [dice.pick(frames["opener"])] if dice.chance(0.75) else []
    clause += [rule, *(dice.pick(detail["clause"]) for detail in details)]
    fillers = [filler for filler in frames["filler"] if dice.held_out or not filler.startswith("!")]
    for filler in dice.sample(fillers, dice.below(3)):
        clause.insert(dice.below(len(clause) + 1), filler.removeprefix("!"))
    summary = [dice.pick(topic["summary"]), *(dice.pick(detail["summary"]) for detail in details)]
    return (
        " ".join(compose(frame, facts, plain=False) for frame in clause),
        " ".join(compose(frame, facts, plain=True) for frame in summary),
    )


def pairs(seed: int, *, held_out: bool) -> Iterator[dict[str, str]]:
    """Rows for ever, each within CLAUSE_WORDS and SUMMARY_WORDS, no clause twice."""
    frames = tomllib.loads((HERE / "frames.toml").read_text(encoding="utf-8"))
    dice = Dice(seed, held_out=held_out)
    seen: set[str] = set()  # asked for membership only
    while True:
        topic = frames["topic"][dice.below(len(frames["topic"]))]
        clause, summary = draft(dice, frames, topic)
        fits = len(clause.split()) in CLAUSE_WORDS and len(summary.split()) in SUMMARY_WORDS
        if fits and clause not in seen:
            seen.add(clause)
            yield {"clause": clause, "summary": summary}


def stream(seed: int, *, avoid: AbstractSet[str]) -> Iterator[str]:
    """Clauses without summaries, for ever, for pre-training: no test-only part and none of `avoid`.

    The caller passes the clauses of the three files as `avoid`.
    """
    return (row["clause"] for row in pairs(seed, held_out=False) if row["clause"] not in avoid)


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
    parser = argparse.ArgumentParser(description="Write train.jsonl, validation.jsonl and test.jsonl.")
    parser.add_argument("--out", type=Path, default=HERE, help="directory to write to (default: this one)")
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    for split, rows in splits().items():
        temporary = out / f".{split}.jsonl.{os.getpid()}"
        temporary.write_bytes(encode(rows))
        os.replace(temporary, out / f"{split}.jsonl")
        print(f"{split}: {len(rows)} rows", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
