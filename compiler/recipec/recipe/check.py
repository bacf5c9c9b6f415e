"""Pass: check. A `Document` in, a `Recipe` out, or every diagnostic at once.

First the schema (jsonschema), then what a schema cannot say (`rules.py`). What the schema refused
is left out before the rules run, so one mistake hides no other. It reads no file: whether a path
exists is asked later, by those who touch the disk.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from recipec.errors import Diagnostic, RecipeError, visible
from recipec.recipe.document import Document, KeyPath, dotted
from recipec.recipe.json_schema import json_schema
from recipec.recipe.schema import Recipe

_TYPE_NAMES = {
    "object": "a section (a mapping)",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "empty",
}


MAX_PROBLEMS = 100
"""Diagnostics of one recipe; what comes after them is noise."""

_NUMERAL = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def check(document: Document) -> Recipe:
    """The recipe in a document. Raises RecipeError with all diagnostics at once."""
    from recipec.recipe.rules import broken_rules

    found: list[Diagnostic] = []
    bad: list[KeyPath] = []
    for path, diagnostic in itertools.islice(_schema_errors(document), MAX_PROBLEMS):
        found.append(diagnostic)
        if path is not None:
            bad.append(path)
    sound: Any = _without(document.value, bad)
    task_known = "type" in sound.get("task", ())
    recipe = _convert(sound, complete=not found)
    if recipe is not None:
        found += [
            document.diagnostic(rule.path, rule.message, rule.hint, key=rule.at_key)
            for rule in itertools.islice(broken_rules(recipe, task_known), MAX_PROBLEMS)
            if not any(path == rule.path[: len(path)] for path in bad)
        ]
    if found:
        raise RecipeError(found)
    assert recipe is not None, "the schema and the types disagree"
    return recipe


def _convert(value: Any, *, complete: bool) -> Recipe | None:
    """The typed recipe. What an incomplete one lacks is filled in, so that the rules can run."""
    if not complete:
        value.setdefault("name", "unnamed")
        value.setdefault("task", {}).setdefault("type", "text-to-text")
        value.setdefault("architecture", {}).setdefault("model", "path:model")
        value.setdefault("domain", {}).setdefault("data", {}).setdefault("train", "train")
    try:
        return msgspec.convert(value, Recipe)
    except msgspec.ValidationError:
        return None


def _without(value: object, paths: Iterable[KeyPath]) -> object:
    """A copy of the values without those at `paths`."""
    kept = copy.deepcopy(value)
    # Removing one item would move the ones after it: the whole list goes instead.
    whole = (
        path[: next((i for i, p in enumerate(path) if isinstance(p, int)), None)] for path in paths
    )
    for path in sorted(whole, key=len, reverse=True):
        parent: Any = kept
        for part in path[:-1]:
            parent = parent[part] if _holds(parent, part) else None
        if path and _holds(parent, path[-1]):
            del parent[path[-1]]
    return kept


def _holds(parent: object, part: str | int) -> bool:
    return isinstance(parent, dict) and part in parent


def _schema_errors(document: Document) -> Iterator[tuple[KeyPath | None, Diagnostic]]:
    """Each violation, with the path that must not reach the rules (None: only something lacks)."""
    from jsonschema.validators import Draft202012Validator, extend

    # YAML's 3.0 is a float: JSON Schema would take it for an integer, Python's range() would not.
    types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict: Any = extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {"pattern": _pattern}, type_checker=types
    )
    validator = strict(json_schema())
    missing_at: set[KeyPath] = set()
    wrong_type: set[KeyPath] = set()
    for error in validator.iter_errors(document.value):
        path: KeyPath = tuple(error.absolute_path)
        if path in wrong_type:
            continue  # that 3.0 is no whole number and below 5 is one mistake
        if error.validator == "type":
            wrong_type.add(path)
        if error.validator == "additionalProperties":
            yield from _unknown_keys(document, path, error.instance, error.schema)
        elif error.validator == "required":
            if path not in missing_at:
                missing_at.add(path)
                yield None, _missing(document, path, error.instance, error.schema)
        else:
            message, hint = _explain(error, path)
            yield path, document.diagnostic(path, message, hint)


def _pattern(_: Any, pattern: str, instance: object, schema: object) -> Iterator[Any]:  # noqa: ARG001
    """The keyword as JSON Schema means it: `$` is the end, and digits are ASCII.

    In Python's `re` alone, `$` would let a newline through, and `\\d` every script's digits.
    """
    from jsonschema import ValidationError

    if isinstance(instance, str) and not re.fullmatch(pattern, instance, re.ASCII):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _unknown_keys(
    document: Document, path: KeyPath, instance: Any, schema: Any
) -> Iterator[tuple[KeyPath, Diagnostic]]:
    known = list(schema["properties"])
    for key in instance:
        if key in schema["properties"]:
            continue
        place = (*path, key)
        section = f"`{dotted(path)}`" if path else "a recipe"
        message = f"unknown key `{visible(key)}` in {section}"
        yield place, document.diagnostic(place, message, _key_hint(key, path, known), key=True)


def _key_hint(key: str, path: KeyPath, known: list[str]) -> str:
    folded = key.lower().replace("-", "_")
    near = difflib.get_close_matches(folded, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    elsewhere = [dotted(where) for where in _places_of(folded) if where[:-1] != path]
    if elsewhere:
        return f"that key belongs at `{elsewhere[0]}`"
    return f"known keys: {', '.join(known)}"


def _places_of(key: str) -> list[KeyPath]:
    """Every path of the language that ends in `key`, or in something very near it."""
    schema = json_schema()
    every: list[KeyPath] = []

    def walk(entry: dict[str, Any], path: KeyPath) -> None:
        target = schema["$defs"][entry["$ref"].rsplit("/", 1)[1]] if "$ref" in entry else entry
        for choice in target.get("allOf", ()):
            walk(choice, path)
        for name, child in target.get("properties", {}).items():
            every.append((*path, name))
            walk(child, (*path, name))

    walk(schema, ())
    exact = [path for path in every if path[-1] == key]
    names = sorted({str(path[-1]) for path in every})
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.8)
    return exact or [path for path in every if near and path[-1] == near[0]]


def _missing(document: Document, path: KeyPath, instance: Any, schema: Any) -> Diagnostic:
    absent = [key for key in schema["required"] if key not in instance]
    names = ", ".join(f"`{dotted((*path, key))}`" for key in absent)
    verb = "is" if len(absent) == 1 else "are"
    descriptions = [
        f"{key}: {text}"
        for key in absent
        if (text := schema["properties"].get(key, {}).get("description"))
    ]
    return document.diagnostic(
        path, f"{names} {verb} missing", " ".join(descriptions), key=bool(path)
    )


def _explain(error: Any, path: KeyPath) -> tuple[str, str]:
    """Message and hint for one violated keyword."""
    name = f"`{dotted(path)}`" if path else "a recipe"
    value, wanted = error.instance, error.validator_value
    description = str(error.schema.get("description", ""))
    match error.validator:
        case "type":
            return _wrong_type(name, value, str(wanted), description)
        case "enum" | "const" if value is None:
            return _wrong_type(name, value, "string", description)
        case "enum":
            choices = {str(choice).lower(): str(choice) for choice in wanted}
            near = difflib.get_close_matches(str(value).lower(), choices, n=1, cutoff=0.5)
            if len(choices) == 1:
                return f"{name} is {_show(value)}; it is {wanted[0]}", description
            hint = f"did you mean `{choices[near[0]]}`?" if near else description
            return f"{name} is {_show(value)}; it is one of: {', '.join(choices.values())}", hint
        case "const":
            return f"{name} is {_show(value)}; it is {wanted}", description
        case "minimum":
            return f"{name} is {value}; it is at least {wanted}", description
        case "maximum":
            return f"{name} is {value}; it is at most {wanted}", description
        case "exclusiveMinimum":
            return f"{name} is {value}; it is above {wanted}", description
        case "exclusiveMaximum":
            return f"{name} is {value}; it is below {wanted}", description
        case "minLength" | "minItems":
            return f"{name} is empty", description
        case "pattern":
            return f"{name} is {_show(value)}, which is not of the right form", description
    return f"{name}: {error.message}", description


def _wrong_type(name: str, value: object, wanted: str, description: str) -> tuple[str, str]:
    message = f"{name} is {_show(value)}; it is {_TYPE_NAMES.get(wanted, wanted)}"
    if value is None:
        return f"{name} is empty; it is {_TYPE_NAMES.get(wanted, wanted)}", (
            "give it a value, or remove the line to take the default"
        )
    if wanted == "string" and isinstance(value, bool | int | float):
        return message, "put it in quotes to make it text"
    if wanted in {"number", "integer"} and isinstance(value, str) and _NUMERAL.fullmatch(value):
        plain = value.replace("_", "")
        return message, f"write {plain}" if "_" in value else f"remove the quotes: {value}"
    if wanted == "integer" and isinstance(value, float) and value.is_integer():
        return message, f"write {int(value)}" if abs(value) < 1e15 else description
    return message, description


def _show(value: object) -> str:
    if isinstance(value, dict):
        return "a section (a mapping)"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
