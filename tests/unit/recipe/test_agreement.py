"""The types and the schema made from them accept the very same values.

A recipe is accepted by msgspec alone; jsonschema only puts into words what msgspec refused. Were
they to differ, a wrong recipe would pass, or a refused one would hear no reason.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipec.recipe.convert import convert
from recipec.recipe.explain import validator
from recipec.recipe.json_schema import json_schema, resolved

VALIDATOR = validator()
LEAST: dict[str, Any] = {
    "name": "a",
    "task": {"type": "summarization"},
    "domain": {"data": {"train": "t"}},
    "architecture": {"model": "path:m"},
}
NEEDED: dict[str, dict[str, Any]] = {
    "corpus": {"train": "t"},
    "rope": {"type": "yarn", "factor": 2.0},
    "early_stopping": {"patience": 1},
}
"""What sections that may be left out need where they stand."""
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)
OF_PATTERN = {
    "name": ["a", "a-b", "x" * 63],
    "model": ["path:m", "hub:a/b", "hub:a/b@c0ffee", "wheel:a==1/b"],
    "exclude_newer": ["2026-11-01", "2026-11-01T12:00:00Z"],
    "driver": ["580", "580.65", "580.95.05"],
    "packages": ["git", "libstdc++6", "python3.11"],
    "base": ["debian-12", "debian-13", f"r.example/a/b@sha256:{'a' * 64}", "r.example:5000/a"],
}
ODD = [
    *[None, True, False, 0, 1, -1, 2, 3.0, 0.5, 1.0, -0.0, 1e308, 5e-324, 1e-9, -1e9],
    *[10**9, 10**9 + 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**60, 10.0**60],
    *["", " ", "v1", "V1", "lora", "balanced", "cpu", "a\n", "a\r", "a\u2028", "１", "é", "\0"],
    *["x" * 64, "path:", "path:m\n", "path:a\nb", "hub:a/b@", "hub:a\u00a0/b", "hub:a/b\n"],
    *["wheel:a==1/b\n", "2026-11-01\n", "２０２６-11-01", "2026-11-01T00:00:00", "1", "1.5"],
    *["580.", "580\n", "５８０", "580.1.1.1"],
    *[[], [""], [None], [1], ["a"], ["a", ""], [["a"]], [True], [{}], [{"a": None}]],
    *[
        {},
        {"": 1},
        {"a": None},
        {"a": 1},
        {"a": 0},
        {"a": 1.5},
        {"a": ""},
        {"a": []},
        {"a": [None]},
    ],
]
KEYS = st.sampled_from(["zzz", "Name", "", "seed", "type", "train", "learning_rate", "a\n"])


def sound(entry: dict[str, Any], key: str = "") -> st.SearchStrategy[Any]:
    """Values that a part of the schema accepts."""
    entry = resolved(entry)
    if "anyOf" in entry:
        return st.one_of(*(sound(choice) for choice in entry["anyOf"]))
    if "enum" in entry:
        return st.sampled_from(entry["enum"])
    if "properties" in entry:
        members = {name: sound(child, name) for name, child in entry["properties"].items()}
        needed = {name: members.pop(name) for name in entry.get("required", ())}
        return st.fixed_dictionaries(needed, optional=members)
    return OF_TYPE[entry.get("type", "")](entry, key)


def _number(entry: dict[str, Any], _: str) -> st.SearchStrategy[float]:
    low = entry.get("minimum", entry.get("exclusiveMinimum"))
    high = entry.get("maximum", entry.get("exclusiveMaximum"))
    return st.floats(
        low,
        high,
        exclude_min="exclusiveMinimum" in entry,
        exclude_max="exclusiveMaximum" in entry,
        allow_nan=False,
        allow_infinity=False,
    )


def _integer(entry: dict[str, Any], _: str) -> st.SearchStrategy[int]:
    high = entry.get("maximum", entry.get("exclusiveMaximum", 1) - 1)
    return st.integers(entry["minimum"], high)


def _text(entry: dict[str, Any], key: str) -> st.SearchStrategy[str]:
    return st.sampled_from(OF_PATTERN[key]) if "pattern" in entry else WORDS


def _list(entry: dict[str, Any], key: str) -> st.SearchStrategy[list[Any]]:
    items = sound(entry["items"], key) if "items" in entry else st.sampled_from(ODD)
    return st.lists(items, min_size=entry.get("minItems", 0), max_size=3)


def _mapping(entry: dict[str, Any], _: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(WORDS, sound(entry["additionalProperties"]), max_size=3)


OF_TYPE: dict[str, Callable[[dict[str, Any], str], st.SearchStrategy[Any]]] = {
    "number": _number,
    "integer": _integer,
    "string": _text,
    "boolean": lambda _, __: st.booleans(),
    "array": _list,
    "object": _mapping,
}

RECIPES = sound(json_schema())


def slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container below `value` with each of its keys or indices."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in list(pairs):
        yield value, key
        if isinstance(child, dict | list):
            yield from slots(child)


def agreed(value: Any) -> bool:
    """Whether both accept the value; the test fails if only one does."""
    by_types, by_schema = convert(value) is not None, VALIDATOR.is_valid(value)
    assert by_types == by_schema, list(VALIDATOR.iter_errors(value))
    return by_types


def arrived(given: Any, made: Any) -> bool:
    """Whether every value given is there afterwards; whole numbers may stand for numbers."""
    if isinstance(given, dict) and isinstance(made, dict):
        return all(key in made and arrived(value, made[key]) for key, value in given.items())
    return bool(given == made)


@settings(max_examples=150)
@given(RECIPES)
def test_sound_recipes_are_accepted_by_both(recipe: dict[str, Any]) -> None:
    assert agreed(recipe)
    assert arrived(recipe, msgspec.to_builtins(convert(recipe)))


@settings(max_examples=400)
@given(st.data())
def test_spoilt_recipes_are_accepted_or_refused_by_both(data: st.DataObject) -> None:
    recipe = copy.deepcopy(data.draw(RECIPES))
    for _ in range(data.draw(st.integers(1, 2))):
        container, key = data.draw(st.sampled_from(list(slots(recipe))))
        match data.draw(st.sampled_from(["replace", "add", "remove"])):
            case "replace":
                container[key] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
            case "add" if isinstance(container, dict):
                container[data.draw(KEYS)] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
            case "remove":
                del container[key]
        if not recipe:
            break
    agreed(recipe)


def leaves() -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    def walk(entry: dict[str, Any], path: tuple[str, ...]) -> Iterator[Any]:
        for name, raw in entry.get("properties", {}).items():
            child = resolved(raw)
            yield (*path, name), child
            yield from walk(child, (*path, name))

    yield from walk(json_schema(), ())


EVERY = list(leaves())


@pytest.mark.parametrize("path", [path for path, _ in EVERY], ids=".".join)
def test_every_odd_value_of_every_key(path: tuple[str, ...]) -> None:
    accepted = []
    for odd in ODD:
        recipe = copy.deepcopy(LEAST)
        section = recipe
        for part in path[:-1]:
            section = section.setdefault(part, {})
            section |= NEEDED.get(part, {})
        section[path[-1]] = copy.deepcopy(odd)
        accepted.append(agreed(recipe))
    assert not all(accepted)
    assert not accepted[ODD.index(None)]
