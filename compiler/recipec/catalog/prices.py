"""Reader of prices.toml, and of a user's own prices that override it.

In: the data file beside this module; the text of a user's file. Out: prices by machine type, in US
dollars an hour, each with its region, date and source. It asks no cloud: prices are as old as they
say.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from recipec.catalog.hardware import CLOUDS, machine_hint, machines
from recipec.catalog.support import read_table
from recipec.errors import Diagnostic, RecipeError

FILE = "recipec-prices.toml"
"""The user's file, beside the project's root, where RECIPEC_PRICES does not name another."""

KINDS = ("on_demand", "spot")
_SAYS = ("region", "date", "source")


@dataclass(frozen=True, kw_only=True)
class Price:
    """Of one machine for an hour."""

    dollars: float
    region: str
    date: str
    """Of the list, as YYYY-MM-DD; empty where the user's file has none."""
    source: str


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What one machine costs; None where no price is known."""

    on_demand: Price | None = None
    spot: Price | None = None
    """At a price that moves; the cloud may take the machine back at any time."""


@cache
def list_prices() -> Mapping[str, Offer]:
    """The prices that this version of recipec carries, by machine type."""
    return _offers(read_table("prices.toml"), {})


def with_own(text: str, file: str) -> Mapping[str, Offer]:
    """The list prices, where the user's file has none of its own.

    The file has the form of prices.toml: a table for each cloud, in it `on_demand` and `spot`, and
    `region`, `date` and `source` if you like. Raises RecipeError with every fault of the file.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError([_fault(file, f"not TOML: {error}", "")]) from None
    faults = [_fault(file, message, hint) for message, hint in _faults(table)]
    if faults:
        raise RecipeError(faults)
    return _offers(table, list_prices(), default_source=file)


def _offers(
    table: Mapping[str, Any], below: Mapping[str, Offer], *, default_source: str = ""
) -> dict[str, Offer]:
    """The prices of a checked table, laid over others."""
    found = dict(below)
    for row in table.values():
        said = {
            "region": row.get("region", ""),
            "date": str(row.get("date", "")),
            "source": row.get("source", default_source),
        }
        for kind in KINDS:
            for name, dollars in row.get(kind, {}).items():
                price = Price(dollars=float(dollars), **said)
                found[name] = replace(found.get(name, Offer()), **{kind: price})
    return found


def _faults(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Message and hint of everything that is wrong with a user's table."""
    for cloud, row in table.items():
        if cloud not in CLOUDS or not isinstance(row, dict):
            yield f"`{cloud}` is no cloud's table", f"the tables are {', '.join(CLOUDS)}"
            continue
        for key, value in row.items():
            if key in KINDS and isinstance(value, dict):
                yield from _price_faults(cloud, key, value)
            elif key not in _SAYS:
                known = ", ".join((*_SAYS, *KINDS))
                yield f"`{cloud}.{key}` is not known", f"known keys: {known}"
            elif not isinstance(value, datetime.date if key == "date" else str):
                form = "a date such as 2026-11-01" if key == "date" else "text"
                yield f"`{cloud}.{key}` must be {form}", ""


def _price_faults(cloud: str, kind: str, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in row.items():
        machine = machines().get(name)
        if machine is None or machine.cloud != cloud:
            where = f" of {machine.cloud}" if machine is not None else ""
            hint = f"it is a machine{where}" if where else machine_hint(name)
            yield f"`{cloud}.{kind}`: {cloud} has no machine {name}", hint
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < 1e6:
            yield f"`{cloud}.{kind}.{name}` must be a number of US dollars an hour", ""


def _fault(file: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(file=file, line=0, column=0, message=message, hint=hint)
