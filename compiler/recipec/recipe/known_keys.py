"""What a user may have meant by a key that the language does not have.

In: the key, and the keys of the section it stands in. Out: a hint: the nearest name of that
section, or the likeliest places where the language has that key, or the section's keys.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Sequence
from functools import cache
from typing import Any

from recipec.recipe.document import dotted
from recipec.recipe.json_schema import json_schema, resolved

PLACES = 3
"""Places of a key that a hint names at most."""

WIDTH = 80
"""Characters of a line of known keys."""


def hint_for(key: str, known: Sequence[str]) -> str:
    """The hint for an unknown `key` in a section whose keys are `known`."""
    folded = key.lower().replace("-", "_")
    here = _nearest(folded, known, cutoff=0.8)
    if here:
        return f"did you mean `{here}`?"
    elsewhere = _likeliest(folded)
    if elsewhere:
        return f"that key belongs at {elsewhere}"
    here = _nearest(folded, known, cutoff=0.6)
    if here:
        return f"did you mean `{here}`?"
    elsewhere = _likeliest(_nearest(folded, sorted({name for *_, name in _places()}), cutoff=0.8))
    if elsewhere:
        return f"that key belongs at {elsewhere}"
    return textwrap.fill(f"known keys: {', '.join(known)}", WIDTH, break_long_words=False)


def _nearest(key: str, names: Sequence[str], *, cutoff: float) -> str:
    near = difflib.get_close_matches(key, names, n=1, cutoff=cutoff)
    return near[0] if near else ""


def _likeliest(name: str) -> str:
    """The places of `name` that are nearest to the root, in the order of the language."""
    places = [place for place in _places() if place[-1] == name]
    depth = min(map(len, places), default=0)
    shown = [f"`{dotted(place)}`" for place in places if len(place) == depth][:PLACES]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)


@cache
def _places() -> tuple[tuple[str, ...], ...]:
    """The path of every key of the language."""
    found: list[tuple[str, ...]] = []

    def walk(entry: dict[str, Any], path: tuple[str, ...]) -> None:
        for name, child in resolved(entry).get("properties", {}).items():
            found.append((*path, name))
            walk(child, (*path, name))

    walk(json_schema(), ())
    return tuple(found)
