"""The JSON Schema that editors use says what the checker says."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from recipec.recipe import schema
from recipec.recipe.json_schema import SCHEMA_ID, json_schema, json_schema_text

LEAST = {
    "name": "a",
    "task": {"type": "summarization"},
    "domain": {"data": {"train": "t"}},
    "architecture": {"model": "path:m"},
}


def objects(entry: Any) -> Iterator[dict[str, Any]]:
    if isinstance(entry, dict):
        if "properties" in entry:
            yield entry
        for child in entry.values():
            yield from objects(child)
    elif isinstance(entry, list):
        for child in entry:
            yield from objects(child)


def test_it_is_a_schema_of_its_draft() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json_schema()["$id"] == SCHEMA_ID


def test_the_text_is_the_same_each_time() -> None:
    assert json_schema_text() == json_schema_text()
    assert json_schema_text().endswith("}\n")
    assert json_schema_text().isascii()


@pytest.mark.parametrize(
    "gone", [("task",), ("task", "type"), ("domain", "data", "train"), ("architecture", "model")]
)
def test_editors_ask_for_what_is_missing_only_where_no_base_has_it(gone: tuple[str, ...]) -> None:
    editor, checker = (
        Draft202012Validator(json.loads(json_schema_text())),
        Draft202012Validator(json_schema()),
    )
    Draft202012Validator.check_schema(editor.schema)
    less = json.loads(json.dumps(LEAST))
    assert editor.is_valid(less)
    *parents, last = gone
    section = less
    for part in parents:
        section = section[part]
    del section[last]
    assert not editor.is_valid(less)
    assert not checker.is_valid(less)
    assert editor.is_valid({**less, "extends": "base.yaml"})
    assert not editor.is_valid({**less, "extends": "base.yaml", "nme": "a"})


def test_only_what_has_no_default_is_required() -> None:
    assert json_schema()["required"] == ["name", "task", "domain", "architecture"]
    assert Draft202012Validator(json_schema()).is_valid(LEAST)
    for key in LEAST:
        less = {name: value for name, value in LEAST.items() if name != key}
        assert not Draft202012Validator(json_schema()).is_valid(less)


def test_every_section_is_closed_and_every_key_described() -> None:
    sections = list(objects(json_schema()))
    assert len(sections) >= 15
    for section in sections:
        assert section["additionalProperties"] is False
        for name, entry in section["properties"].items():
            if [*entry] == ["$ref"]:
                continue  # a name of the recipe's own, for a section that is described
            assert entry["description"].endswith("."), name
            assert len(entry["description"]) > 10, name


def test_nothing_may_be_null() -> None:
    assert '"null"' not in json_schema_text()
    assert '"default": null' not in json_schema_text()


def test_patterns_end_where_the_text_ends_and_take_ascii_digits() -> None:
    patterns = re.findall(r'"pattern": (".*")', json_schema_text())
    assert len(patterns) >= 5
    for pattern in map(json.loads, patterns):
        assert pattern.startswith("^")
        assert pattern.endswith(r"$(?!\n)")
        assert not re.search(r"\\[dDwWbB]", pattern)


def test_the_defaults_that_are_stated_are_those_of_the_types() -> None:
    for kind in vars(schema).values():
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            continue
        section = json_schema() if kind is schema.Recipe else json_schema()["$defs"][kind.__name__]
        for field in dataclasses.fields(kind):
            entry = section["properties"][field.name]
            if "default" in entry and field.default is not dataclasses.MISSING:
                assert entry["default"] == field.default
    recipe = msgspec.convert(LEAST, schema.Recipe)
    assert Draft202012Validator(json_schema()).is_valid(without_none(msgspec.to_builtins(recipe)))


def without_none(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: without_none(value) for key, value in plain.items() if value is not None}
    return plain
