"""The paths that a recipe may have, as the JSON Schema has them.

In: a path. Out: what the schema says of the value there, or the paths that are nearest in spelling.
It knows nothing of any one recipe.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from recipec.recipe.document import KeyPath, dotted
from recipec.recipe.json_schema import json_schema

Entry = Mapping[str, Any]


def entry_at(path: KeyPath) -> Entry | None:
    """What the schema says of the value at a path; None where a recipe has no such key."""
    entry: Entry = json_schema()
    for part in path:
        entry = _resolved(entry)
        known: Mapping[str, Entry] = entry.get("properties", {})
        free = entry.get("additionalProperties")
        if isinstance(part, str) and part in known:
            entry = known[part]
        elif isinstance(part, str) and isinstance(free, Mapping):
            entry = free
        else:
            return None
    return _resolved(entry)


def is_mapping_or_not(path: KeyPath) -> bool:
    """Whether both a mapping and something else may stand at a path."""
    entry = entry_at(path) or {}
    choices = [_resolved(choice).get("type") == "object" for choice in entry.get("anyOf", ())]
    return any(choices) and not all(choices)


def path_of(key: str) -> KeyPath | None:
    """The path that a dotted key means; None where a recipe has no such key.

    Below a mapping with free keys, such as `image.versions`, the rest is one key, dots and all.
    """
    path: KeyPath = ()
    rest = key
    while rest:
        if "properties" not in (entry_at(path) or {}):
            path, rest = (*path, rest), ""
        else:
            part, dot, rest = rest.partition(".")
            path = (*path, part)
            if dot and not rest:
                return None
        if entry_at(path) is None:
            return None
    return path or None


def nearest_key(key: str) -> str:
    """The dotted key that is nearest in spelling, empty where none is near."""
    folded = key.lower().replace("-", "_")
    last = folded.rpartition(".")[2]
    every = sorted(map(dotted, _every()), key=lambda known: known.count("."))
    if folded in every:
        return folded
    near = [known for known in every if last and known.endswith(f".{last}")]
    near += difflib.get_close_matches(folded, every, n=1, cutoff=0.7)
    if near:
        return near[0]
    ends = {known.rpartition(".")[2]: known for known in reversed(every)}
    alike = difflib.get_close_matches(last, ends, n=1, cutoff=0.8)
    return ends[alike[0]] if alike else ""


@cache
def _every() -> tuple[KeyPath, ...]:
    def walk(entry: Entry, path: KeyPath) -> Iterator[KeyPath]:
        for name, child in _resolved(entry).get("properties", {}).items():
            yield (*path, name)
            yield from walk(child, (*path, name))

    return tuple(walk(json_schema(), ()))


def _resolved(entry: Entry) -> Entry:
    if "$ref" not in entry:
        return entry
    target: Entry = json_schema()["$defs"][entry["$ref"].rsplit("/", 1)[1]]
    return target
