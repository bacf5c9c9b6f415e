"""Reader of regions.toml: the regions or zones in which a cloud offers a machine type.

In: the data file beside this module. Out: the places, with the date of the list; None where
nothing is known. It asks no cloud, and knows nothing of what is left there today.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from recipec.catalog.support import read_table


@dataclass(frozen=True, kw_only=True)
class Offer:
    """Where one machine type is offered."""

    places: tuple[str, ...]
    kind: str
    """What the places are: `regions` or `zones`."""
    date: str
    """Of the list, as YYYY-MM-DD."""


@cache
def _table() -> Mapping[str, Any]:
    return read_table("regions.toml")


def offer_of(cloud: str, machine: str) -> Offer | None:
    """Where a cloud offers a machine type, such as `p5.48xlarge`; None if that is not known."""
    row = _table().get(cloud, {})
    fitting = [key for key in row.get("offered", ()) if _fits(key, machine)]
    if not fitting:
        return None
    key = max(fitting, key=len)
    return Offer(places=tuple(row["offered"][key]), kind=row["places"], date=str(row["date"]))


def _fits(key: str, machine: str) -> bool:
    return machine == key or machine.startswith((f"{key}.", f"{key}-"))
